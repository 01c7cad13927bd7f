//! One segment at one moment: what a map of a store is drawn from.
//!
//! 1. The space of a segment adds up to its length, by the same accounts as those of the store.
//! 2. The segments that puts must leave free count as free here: which of the free ones these are
//!    is nobody's choice.

use super::SpaceStats;
use crate::memory::State;
use crate::segments::{SegmentKind, SegmentState};
use crate::types::{Generation, GroupId, SegmentId, to_u32, to_u64};

/// Segments that one step lists at most.
const LISTED_TOGETHER: u32 = 4096;

/// Where a segment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SegmentUse {
    /// Erased, ready for use.
    Free,
    /// Erased, and given back to the device, or on the way there.
    Hollow,
    /// Taking writes.
    Active,
    /// Full.
    Sealed,
    /// Dead, about to be erased.
    Retired,
    /// Not used in this opening: part of it is lost, or erasing it failed.
    Quarantined,
}

impl From<SegmentState> for SegmentUse {
    fn from(state: SegmentState) -> Self {
        match state {
            SegmentState::Free => Self::Free,
            SegmentState::Hollow => Self::Hollow,
            SegmentState::Active => Self::Active,
            SegmentState::Sealed => Self::Sealed,
            SegmentState::Retired => Self::Retired,
            SegmentState::Quarantined => Self::Quarantined,
        }
    }
}

/// Who wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SegmentWriter {
    /// The log: records of whatever group came along.
    Log,
    /// Compaction or separator, for this group.
    Group(GroupId),
    /// Compaction or separator, for groups that have too little for one of their own.
    Shared,
    /// A large value of a key of this group: one piece of it.
    Large(GroupId),
}

impl From<SegmentKind> for SegmentWriter {
    fn from(kind: SegmentKind) -> Self {
        match kind {
            SegmentKind::Log => Self::Log,
            SegmentKind::Group(group) => Self::Group(group),
            SegmentKind::Shared => Self::Shared,
            SegmentKind::Large(group) => Self::Large(group),
        }
    }
}

/// One segment at one moment; see [`Db::segments`](crate::Db::segments).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its number. Divided by the segments of a file it gives the file, and where in it.
    pub segment: SegmentId,
    /// Where it is in its life.
    pub used: SegmentUse,
    /// Who wrote it, or will, or did; `None` if nothing is in it.
    pub writer: Option<SegmentWriter>,
    /// The number of this life of it; zero if nothing is in it.
    pub generation: Generation,
    /// Every byte of it, by what it is for; the sum is the length of a segment.
    pub space: SpaceStats,
    /// Records in it that are the newest of their key; of a piece of a large value, one.
    pub live_records: u32,
    /// Groups with live records in it.
    pub groups: u32,
}

impl SegmentInfo {
    /// Adds the segments behind those that are listed, a few thousand; whether there are more.
    pub(crate) fn list_more(state: &State, listed: &mut Vec<Self>) -> bool {
        let (first, len) = (to_u32(listed.len()), to_u32(state.segments.len()));
        let end = len.min(first.saturating_add(LISTED_TOGETHER));
        listed.extend((first..end).map(|number| Self::of(state, SegmentId::new(number))));
        to_u64(listed.len()) < u64::from(len)
    }

    fn of(state: &State, segment: SegmentId) -> Self {
        let slot = state.segments.get(segment);
        let used = SegmentUse::from(slot.state);
        let mut space = SpaceStats::default();
        space.add_slot(slot, state.rules.geometry);
        let empty = matches!(used, SegmentUse::Free | SegmentUse::Hollow);
        Self {
            segment,
            used,
            writer: (!empty).then(|| slot.kind.into()),
            generation: slot.generation,
            space,
            live_records: slot.live_records,
            groups: to_u32(slot.shares.len()),
        }
    }
}
