//! What an opening found and did, for people and for tests.

use std::time::Duration;

use crate::open_error::Loss;
use crate::types::{Location, SegmentId, SegmentOffset};

/// What an opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct RecoveryReport {
    /// The store did not exist and was created.
    pub created: bool,
    /// The index came from the dump of a clean close; segments were not read.
    pub from_dump: bool,
    /// There was a dump, and it was not to be believed; segments were read.
    pub dump_ignored: bool,
    /// Segments looked at.
    pub segments_read: u64,
    /// Of these, segments of which the seal says what they hold: their values were not read.
    pub segments_sealed: u64,
    /// Of these, segments that were open at the end: all of them was read, buffer by buffer.
    pub segments_walked: u64,
    /// Bytes read from segments.
    pub bytes_read: u64,
    /// Buffers that count.
    pub buffers_kept: u64,
    /// Buffers of writes that were never acknowledged, made void for good.
    pub buffers_voided: u64,
    /// Buffers written anew in their place, because they could be read and may not have been
    /// durable.
    pub buffers_made_durable: u64,
    /// Records that count, tombstones included.
    pub records_kept: u64,
    /// Keys in the index.
    pub keys: u64,
    /// Groups.
    pub groups: u64,
    /// Parts of the log that nothing is known of any more; only with `RecoveryMode::Salvage`. Where
    /// the log ended is then not known for certain: all that is whole counts, also writes that were
    /// never acknowledged, and one that the power loss tore may be listed here.
    pub losses: Vec<Loss>,
    /// Buffers whose records are damaged; reading one of them says `Corruption`.
    pub damaged: Vec<DamagedBuffer>,
    /// Files of segments that are missing, or not as long as they were made; only with
    /// `RecoveryMode::Salvage`.
    pub damaged_files: Vec<String>,
    /// Records of the catalogue of groups that cannot be read; only with `RecoveryMode::Salvage`.
    /// A group whose record it was is open as `lost+` and its id.
    pub damaged_catalogue: Vec<Location>,
    /// Neither slot of the mark could be read, and what it said was made up for from what the
    /// segments say; only with `RecoveryMode::Salvage`. Writes that were never acknowledged may be
    /// there.
    pub mark_lost: bool,
    /// Large values of which something is missing; reading one of them says `Corruption`.
    pub damaged_values: Vec<DamagedValue>,
    /// How long it took, by the clock of the environment.
    pub took: Duration,
}

/// A buffer with damaged records and an intact summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedBuffer {
    /// The segment.
    pub segment: SegmentId,
    /// Where in the segment.
    pub offset: SegmentOffset,
    /// Records in it; not all of them need be damaged.
    pub records: u32,
}

/// A large value that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedValue {
    /// Where its record lies.
    pub at: Location,
    /// How many pieces are missing; `None` if the record itself is damaged.
    pub pieces: Option<u32>,
}
