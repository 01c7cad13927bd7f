//! Lookups, and the pins that keep what they found.
//!
//! A read pins its segment in the step that finds the location, so the segment cannot be erased
//! under it. The pin is a value; dropping it, also in a dropped future, lets the segment go.

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
    /// A durable record, and the generation that it must have; its segment is pinned.
    Durable(Location, Generation),
}

/// Why a lookup was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupRefused {
    GroupDropped,
    Closed,
}

impl State {
    /// Looks a key up: pending writes first, then the index.
    pub(crate) fn look_up(
        &mut self,
        group: GroupId,
        hash: KeyHash,
    ) -> Result<Found, LookupRefused> {
        if matches!(self.status, Status::Closed) {
            return Err(LookupRefused::Closed);
        }
        let group = self.groups.get(group).ok_or(LookupRefused::GroupDropped)?;
        match group.pending.newest_readable(hash) {
            Some(Readable::Value(value)) => return Ok(Found::Pending(value.clone())),
            Some(Readable::Deleted) => return Ok(Found::Nothing),
            None => {}
        }
        let Some(at) = group.index.get(hash) else { return Ok(Found::Nothing) };
        self.segments.pin(at.segment());
        Ok(Found::Durable(at, self.segments.get(at.segment()).generation))
    }

    /// A reader is done with a segment.
    pub(crate) fn unpin(&mut self, segment: SegmentId) {
        if self.segments.unpin(segment) {
            self.calls.reclaim = true;
            self.calls.room = true;
        }
    }
}
