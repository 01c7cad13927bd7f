//! The steps of large values: segments for their pieces, and what becomes of these.
//!
//! ```text
//!            take            record complete             record superseded
//!   (free) ───────> Active ─────────────────> Sealed, live ─────────> dead ──> (retired)
//!                     │ writing given up                                ^
//!                     └─────────────────────────────────────────────────┘
//! ```
//!
//! 1. While a piece is on its way its segment is held: by the task that writes it, then by the
//!    record that lists it. So a piece is there when somebody may read its record.
//! 2. The pieces of a key die in the step that replaces or removes its entry in the index, and
//!    with their group.
//! 3. What moves the record does not touch the pieces: they belong to the key.
//!
//! Absent on purpose: I/O. Who gives up the writing of a piece has seen to it that no write of it
//! is on its way any more.

use std::sync::Arc;
use std::time::Duration;

use super::{Refused, State};
use crate::format::pieces::image_len;
use crate::format::summary::SummaryEntry;
use crate::segments::{Claim, Content, SegmentKind};
use crate::types::{ByteLen, Generation, GroupId, Location, SegmentId, SegmentOffset, to_u64};

/// A segment for a piece of a large value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakenPiece {
    pub(crate) segment: SegmentId,
    pub(crate) generation: Generation,
    /// How long the writer should be held up, because compaction is behind.
    pub(crate) throttle: Duration,
}

impl State {
    /// Refuses a value for which even an empty store has no room, with a segment of the log.
    pub(crate) fn check_large(&self, group: GroupId, pieces: u64) -> Result<(), Refused> {
        self.check_open()?;
        self.check_group(group)?;
        let files = u64::from(self.growth.files_max);
        let slots = files.saturating_mul(self.rules.geometry.segments_per_file().into());
        if pieces.saturating_add(to_u64(Claim::Put.leaves()) + 1) > slots {
            return Err(Refused::NoRoom(super::Outlook::Full { capacity: self.capacity() }));
        }
        Ok(())
    }

    /// Bytes of segments that hold large values, or are about to.
    pub(super) fn large_bytes(&self) -> u64 {
        let segments = self.segments.totals().large + to_u64(self.pieces.len());
        segments * self.segment_len()
    }

    /// Takes a segment for a piece of a large value.
    pub(crate) fn take_piece(
        &mut self,
        group: GroupId,
        len: ByteLen,
        now: Duration,
    ) -> Result<TakenPiece, Refused> {
        self.check_open()?;
        self.check_group(group)?;
        let Some(place) = self.take_slot(Claim::Put, SegmentKind::Large(group)) else {
            return Err(Refused::NoRoom(self.outlook(Claim::Put, now)));
        };
        self.pieces.insert(place.segment, len);
        let throttle = self.throttle_per_kib() * len.get().div_ceil(1024);
        Ok(TakenPiece { segment: place.segment, generation: place.generation, throttle })
    }

    /// The writing of these pieces was given up; nothing of them is on its way to the device.
    pub(crate) fn abandon_pieces(&mut self, pieces: &[SegmentId]) {
        self.close_pieces(pieces);
        self.calls.reclaim = true;
        self.calls.room = true;
    }

    /// These pieces are on their way no more: the record that lists them is complete, or they
    /// belong to none.
    pub(super) fn close_pieces(&mut self, pieces: &[SegmentId]) {
        for &piece in pieces {
            if let Some(len) = self.pieces.remove(&piece) {
                self.close_piece(piece, len);
            }
        }
    }

    fn close_piece(&mut self, piece: SegmentId, len: ByteLen) {
        self.segments.note_buffer(piece, Content::of_piece(image_len(len), len));
        self.segments.seal(piece, 0);
        self.segments.release(piece);
    }

    /// The record of a large value is in the index now, and its pieces live.
    pub(super) fn adopt_pieces(&mut self, entry: &SummaryEntry, pieces: &Arc<[SegmentId]>) {
        self.close_pieces(pieces);
        let Some(group) = self.groups.get_mut(entry.group) else { return };
        group.keep_pieces(entry.hash, Arc::clone(pieces));
        for &piece in &**pieces {
            self.add_live(entry.group, self.location_of(piece));
        }
    }

    /// The record of these pieces is in the index no more.
    pub(super) fn kill_pieces(&mut self, group: GroupId, pieces: &[SegmentId]) {
        for &piece in pieces {
            self.sub_live(group, self.location_of(piece));
        }
    }

    /// Bytes of the value whose pieces these are, on their way or there.
    pub(super) fn len_of_pieces(&self, pieces: &[SegmentId]) -> u64 {
        let there = |piece| ByteLen::new(self.segments.get(piece).records);
        let len_of = |piece| self.pieces.get(&piece).copied().unwrap_or_else(|| there(piece));
        pieces.iter().map(|&piece| u64::from(len_of(piece).get())).sum()
    }

    /// A piece, counted as if it were a record.
    fn location_of(&self, piece: SegmentId) -> Location {
        let len = ByteLen::new(self.segments.get(piece).records);
        Location::new(piece, SegmentOffset::ZERO, len)
    }
}
