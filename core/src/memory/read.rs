//! Lookups, and the pins that keep what they found.
//!
//! A read pins its segment, and those of the pieces of a large value, in the step that finds the
//! location, so no segment can be erased under it. A pin is a value; dropping it, also in a dropped
//! future, lets the segment go.

use std::sync::Arc;

use bytes::Bytes;

use super::{State, Status};
use crate::catalog::Readable;
use crate::types::{Generation, GroupId, KeyHash, Location, SegmentId};

/// What a lookup found.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// No such key.
    Nothing,
    /// A value that is on its way to the device, and may be seen.
    Pending(Bytes),
    /// A durable record, and the generation that it must have; its segment is pinned. Of a large
    /// value, the segments of its pieces are pinned as well.
    Durable(Location, Generation, Option<Arc<[SegmentId]>>),
    /// The list of a large value, on its way to the device; the segments of its pieces are pinned.
    PendingLarge(Bytes, Arc<[SegmentId]>),
}

/// Why a lookup was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupRefused {
    GroupDropped,
    Closed,
}

impl State {
    /// Refuses what no read may do now.
    pub(crate) fn check_readable(&self) -> Result<(), LookupRefused> {
        if matches!(self.status, Status::Closed) { Err(LookupRefused::Closed) } else { Ok(()) }
    }

    /// Looks a key up: pending writes first, then the index.
    pub(crate) fn look_up(
        &mut self,
        group: GroupId,
        hash: KeyHash,
    ) -> Result<Found, LookupRefused> {
        self.check_readable()?;
        let group = self.groups.get(group).ok_or(LookupRefused::GroupDropped)?;
        match group.pending.newest_readable(hash) {
            Some(Readable::Value(value)) => return Ok(Found::Pending(value.clone())),
            Some(Readable::Deleted) => return Ok(Found::Nothing),
            Some(Readable::Large(list, pieces)) => {
                let found = Found::PendingLarge(list.clone(), Arc::clone(pieces));
                pieces.iter().for_each(|&piece| self.segments.pin(piece));
                return Ok(found);
            }
            None => {}
        }
        let Some(at) = group.index.get(hash) else { return Ok(Found::Nothing) };
        let pieces = group.pieces_of(hash).cloned();
        self.segments.pin(at.segment());
        pieces.iter().flat_map(|pieces| &**pieces).for_each(|&piece| self.segments.pin(piece));
        Ok(Found::Durable(at, self.segments.get(at.segment()).generation, pieces))
    }

    /// A reader is done with a segment.
    pub(crate) fn unpin(&mut self, segment: SegmentId) {
        if self.segments.unpin(segment) {
            self.calls.reclaim = true;
            self.calls.room = true;
        }
    }
}
