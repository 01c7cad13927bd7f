//! Lookups, and the pins that keep what they found.
//!
//! A read pins its segment, and those of the pieces of a large value, in the step that finds the
//! location, so no segment can be erased under it. A pin is a value; dropping it, also in a dropped
//! future, lets the segment go.
//!
//! What can be said without a look at a record is said by the same facts in the same order: pending
//! writes, then the index. So it agrees with a lookup made in its place.
//!
//! Absent on purpose: a count of visible keys that is kept. A write that is readable and on its way
//! would have to be looked up in the index to be accepted, and that for those who never ask; who
//! does ask pays for it.

use std::sync::Arc;

use bytes::Bytes;

use super::{State, Status};
use crate::catalog::{Readable, Shown};
use crate::groups::Group;
use crate::types::{ByteLen, Generation, GroupId, KeyHash, Location, SegmentId, Sequence, to_u64};
use crate::value_cache::{Kept, Origin};

/// What a lookup found.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// No such key.
    Nothing,
    /// A value that is on its way to the device, and may be seen.
    Pending(Bytes, Sequence),
    /// A durable value that was read lately.
    Cached(Bytes, Sequence, Origin),
    /// A durable record, and the generation that it must have; its segment is pinned. Of a large
    /// value, the segments of its pieces are pinned as well.
    Durable(Location, Generation, Option<Arc<[SegmentId]>>),
    /// The list of a large value, on its way to the device; the segments of its pieces are pinned.
    PendingLarge(Bytes, Arc<[SegmentId]>, Sequence),
}

/// What is known of the value of a key without a look at its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// There is none.
    Nothing,
    /// It is so many bytes long.
    Value(u64),
    /// Its record, key and padding included, is so long.
    Record(ByteLen),
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
    pub(crate) fn look_up(&mut self, id: GroupId, hash: KeyHash) -> Result<Found, LookupRefused> {
        self.check_readable()?;
        let group = self.groups.get(id).ok_or(LookupRefused::GroupDropped)?;
        match group.pending.newest_shown(hash) {
            Some(Shown { readable: Readable::Value(value), sequence, .. }) => {
                return Ok(Found::Pending(value.clone(), sequence));
            }
            Some(Shown { readable: Readable::Deleted, .. }) => return Ok(Found::Nothing),
            Some(Shown { readable: Readable::Large(list, pieces), sequence, .. }) => {
                let found = Found::PendingLarge(list.clone(), Arc::clone(pieces), sequence);
                pieces.iter().for_each(|&piece| self.segments.pin(piece));
                return Ok(found);
            }
            None => {}
        }
        let Some(at) = group.index.get(hash) else { return Ok(Found::Nothing) };
        let generation = self.segments.get(at.segment()).generation;
        let origin = Origin { at, generation };
        if let Some(cache) = &mut self.cache
            && let Some((value, sequence)) = cache.get(id, hash, origin)
        {
            return Ok(Found::Cached(value, sequence, origin));
        }
        let pieces = group.pieces_of(hash).cloned();
        self.segments.pin(at.segment());
        pieces.iter().flat_map(|pieces| &**pieces).for_each(|&piece| self.segments.pin(piece));
        Ok(Found::Durable(at, generation, pieces))
    }

    pub(super) fn readable_group(&self, group: GroupId) -> Result<&Group, LookupRefused> {
        self.check_readable()?;
        self.groups.get(group).ok_or(LookupRefused::GroupDropped)
    }

    /// What a lookup would find, as far as memory tells.
    pub(crate) fn know(&self, group: GroupId, hash: KeyHash) -> Result<Known, LookupRefused> {
        let group = self.readable_group(group)?;
        let pending = &group.pending;
        Ok(match pending.newest_shown(hash).map(|shown| shown.readable) {
            Some(Readable::Value(value)) => Known::Value(to_u64(value.len())),
            Some(Readable::Large(_, pieces)) => Known::Value(self.len_of_pieces(pieces)),
            Some(Readable::Deleted) => Known::Nothing,
            None => match (group.index.get(hash), group.pieces_of(hash)) {
                (None, _) => Known::Nothing,
                (Some(_), Some(pieces)) => Known::Value(self.len_of_pieces(pieces)),
                (Some(at), None) => Known::Record(at.len()),
            },
        })
    }

    /// How many keys a lookup would find now. A look at the index for each key with a readable
    /// write that is not durable yet; none for the others.
    pub(crate) fn count_keys(&self, group: GroupId) -> Result<usize, LookupRefused> {
        let group = self.readable_group(group)?;
        let mut count = group.index.len();
        if group.pending.readable() == 0 {
            return Ok(count);
        }
        for (hash, shown) in group.pending.newest_of_each() {
            let is = *shown.readable != Readable::Deleted;
            let was = group.index.get(hash).is_some();
            count += usize::from(is && !was);
            count = count.saturating_sub(usize::from(!is && was));
        }
        Ok(count)
    }

    /// Whether a lookup would find any key.
    pub(crate) fn has_keys(&self, group: GroupId) -> Result<bool, LookupRefused> {
        // Each of them hides one key of the index at most.
        let hidden = self.readable_group(group)?.pending.readable();
        let sure = self.readable_group(group)?.index.len() > hidden;
        if sure { Ok(true) } else { self.count_keys(group).map(|count| count > 0) }
    }

    /// A value was read from there; the key may have another one by now, which does not matter.
    pub(crate) fn note_read(&mut self, group: GroupId, hash: KeyHash, origin: Origin, kept: Kept) {
        if let Some(cache) = &mut self.cache {
            cache.put(group, hash, origin, kept);
        }
    }

    /// A reader is done with a segment.
    pub(crate) fn unpin(&mut self, segment: SegmentId) {
        if self.segments.unpin(segment) {
            self.calls.reclaim = true;
            self.calls.room = true;
        }
    }
}
