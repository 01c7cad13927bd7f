//! What a check was asked for, and what it found.

use std::io;
use std::sync::Arc;

use crate::format::buffer::{Damage, NotAHeader};
use crate::format::record::NotARecord;
use crate::format::seal::NotASeal;
use crate::format::summary::BadSummary;
use crate::types::{GroupId, SegmentId, SegmentOffset};

/// What [`Db::verify`](crate::Db::verify) should look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Look at what seals and buffers say of their records, and not at keys and values: of
    /// large buffers a small part is read. Finds what would keep the store from opening. By default
    /// all is read.
    pub summaries_only: bool,
    /// Bytes a second to read at most; `None`, the default, is as fast as the device gives them.
    pub bytes_per_second: Option<u64>,
}

impl VerifyOptions {
    /// Only what seals and buffers say of their records.
    #[must_use]
    pub fn summaries_only(mut self) -> Self {
        self.summaries_only = true;
        self
    }

    /// No more than so many bytes a second.
    #[must_use]
    pub fn bytes_per_second(mut self, rate: u64) -> Self {
        self.bytes_per_second = Some(rate);
        self
    }
}

/// A segment that was checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifiedSegment {
    /// The segment.
    pub segment: SegmentId,
    /// How many segments the store had when this one was begun: they are checked in order.
    pub segments: u32,
    /// Bytes that were read of it; none if nothing is in it.
    pub bytes_read: u64,
    /// Records in it, whole or not, tombstones and what is dead included; pieces of large values
    /// are none.
    pub records: u64,
    /// What is not as it was written; empty if all is.
    pub findings: Vec<Finding>,
}

impl VerifiedSegment {
    pub(super) fn empty(segment: SegmentId, segments: u32) -> Self {
        Self { segment, segments, bytes_read: 0, records: 0, findings: Vec::new() }
    }
}

/// Something that is not as it was written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The segment.
    pub segment: SegmentId,
    /// Where in the segment.
    pub offset: SegmentOffset,
    /// Whose it is, if that is known and it is of one group.
    pub group: Option<GroupId>,
    /// Whether a read of some key needs it: `Some(false)` of what was overwritten or deleted, and
    /// of tombstones; `None` if nothing tells.
    pub live: Option<bool>,
    /// What is wrong.
    pub flaw: Flaw,
}

impl Finding {
    pub(super) fn quarantined(segment: SegmentId, live: bool) -> Self {
        let (offset, flaw) = (SegmentOffset::ZERO, Flaw::Quarantined);
        Self { segment, offset, group: None, live: Some(live), flaw }
    }
}

/// What is wrong with something that was found.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The segment is not used in this opening.
    #[error("part of the segment is lost, or erasing it failed; the recovery report says more")]
    Quarantined,
    /// The device gives no bytes.
    #[error("it cannot be read: {0}")]
    Unreadable(Arc<io::Error>),
    /// The segment is full, and has no seal that says what is in it. An opening still finds that,
    /// block by block; but if more is damaged, it may not know what is lost.
    #[error("no seal: {0}")]
    Seal(NotASeal),
    /// The same; the seal is the one of an earlier life of the segment.
    #[error("the seal is that of an earlier use of the segment")]
    SealOfAnotherLife,
    /// No buffer begins where one was written.
    #[error("no buffer where one was written: {0}")]
    Header(NotAHeader),
    /// Another buffer lies where this one was written.
    #[error("another buffer lies where this one was written")]
    OtherBuffer,
    /// What a buffer says of its records is damaged.
    #[error("damaged {0}")]
    Summary(Damage),
    /// What a buffer says of its records makes no sense.
    #[error("impossible summary: {0}")]
    BadSummary(BadSummary),
    /// The records of a buffer are damaged, and none of them by itself.
    #[error("damaged {0}")]
    Records(Damage),
    /// A record is damaged: reading its key says `Corruption`.
    #[error("damaged record: {0}")]
    Record(NotARecord),
    /// A record is whole, and not the one that its buffer speaks of.
    #[error("a record that is not the one that its buffer speaks of")]
    OtherRecord,
    /// Part of a large value is damaged.
    #[error("damaged piece of a large value: {0}")]
    Piece(Damage),
}
