//! Gathering the victims of one run: as many as find room for their copies, for certain.
//!
//! 1. A run of one victim always finds room in one free slot: what is worth rewriting leaves room
//!    for its padding.
//! 2. What is kept back for compaction is used only by runs that give back more than they take.
//!
//! Absent on purpose: which segment is worth more; that is asked one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use super::compaction::{Run, Why};
use crate::rewrites::Destination;
use crate::segments::{Claim, Slot};
use crate::types::{BLOCK, Generation, GroupId, SegmentId, to_u64};

/// Victims of one run at most.
const VICTIMS_MAX: usize = 32;

/// So many may be taken together however small the store is, if there is room for their copies.
const VICTIMS_MIN: usize = 4;

/// Victims being gathered for a run.
pub(super) struct Batch {
    pub(super) victims: Vec<(SegmentId, Generation)>,
    most: usize,
    /// Bytes that their copies take, at most.
    needed: u64,
    /// Bytes that they give back, at least.
    pub(super) gain: u64,
    /// Bytes of copies that find room for certain.
    room: u64,
    /// There is room for one victim at a time only.
    pub(super) is_tight: bool,
    why: Why,
    only: Option<GroupId>,
}

/// Free slots that copies may take.
fn takeable(state: &State, why: Why) -> u64 {
    to_u64(state.takeable(why.claim()))
}

/// Bytes of copies that find room for certain, in the open output and behind it.
fn room_for(state: &State, destination: Destination, why: Why) -> u64 {
    let len = state.segments.data_len();
    let output = state.rewrites.outputs.get(&destination);
    let open = output.map_or(0, |output| state.room_behind(output.tail).get().into());
    // Where records are long, three eighths of a segment may stay unused at its end.
    match takeable(state, why) {
        0 => open,
        more => len.max(open) + (more - 1) * len * 5 / 8,
    }
}

/// A buffer of copies is padded to a block, and its front takes some bytes; twice, where an output
/// is full in the middle of it.
const PADDING_BLOCKS: u64 = 2;

/// Bytes that the copies of what a victim needs take at most.
fn copies_of(slot: &Slot) -> u64 {
    slot.needed() + PADDING_BLOCKS * u64::from(BLOCK)
}

impl Batch {
    pub(super) fn new(state: &State, why: Why) -> Self {
        Self {
            victims: Vec::new(),
            most: Self::victims_max(state),
            needed: 0,
            gain: 0,
            room: room_for(state, Destination::Shared, why),
            is_tight: takeable(state, why) < 2,
            why,
            only: None,
        }
    }

    /// Only records of this group are moved, to a segment of its own.
    pub(super) fn only(&mut self, state: &State, group: GroupId) {
        assert!(self.is_empty());
        self.only = Some(group);
        self.room = room_for(state, Destination::Group(group), self.why);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.victims.is_empty()
    }

    /// Victims that one run takes at most.
    pub(super) fn victims_max(state: &State) -> usize {
        (state.segments.len() / 64).clamp(VICTIMS_MIN, VICTIMS_MAX)
    }

    pub(super) fn contains(&self, id: SegmentId) -> bool {
        self.victims.iter().any(|victim| victim.0 == id)
    }

    /// Whether there is room for the copies of one more victim, and it is not one too many.
    pub(super) fn fits(&self, slot: &Slot) -> bool {
        self.victims.len() < self.most && self.needed + copies_of(slot) <= self.room
    }

    /// Adds a victim; `false` if there is no room for its copies, or the batch is full.
    pub(super) fn add(&mut self, state: &State, id: SegmentId) -> bool {
        let slot = state.segments.get(id);
        if !self.fits(slot) {
            return false;
        }
        self.needed += copies_of(slot);
        self.gain += slot.reclaimable(state.segments.data_len());
        self.victims.push((id, slot.generation));
        true
    }

    /// The run. Groups get segments of their own while there is room for those, and while what the
    /// run gives back is twice the padding that they cost.
    pub(super) fn run(self, state: &State, gain: u64) -> Option<Run> {
        if self.victims.is_empty() {
            return None;
        }
        let mut bytes = BTreeMap::<GroupId, u64>::new();
        for &(victim, _) in &self.victims {
            for share in &state.segments.get(victim).shares {
                *bytes.entry(share.group).or_default() += share.bytes;
            }
        }
        let mut groups: Vec<(u64, GroupId)> =
            bytes.into_iter().map(|(id, len)| (len, id)).collect();
        groups.sort_unstable_by(|a, b| b.cmp(a));
        // Not from what is kept back: outputs of groups are closed when that is needed, and would
        // be rewritten into such outputs again.
        let mut slots = to_u64(state.takeable(Claim::Put));
        slots = slots.saturating_sub(1 + self.needed.div_ceil(state.segments.data_len() * 5 / 8));
        let most = gain / (2 * u64::from(BLOCK));
        let mut own = BTreeSet::new();
        let separated = state.being_separated(); // and would be moved once more
        for (len, group) in groups {
            let asked = self.only == Some(group);
            let worth_it = to_u64(own.len()) < most && len >= 4 * u64::from(BLOCK);
            if !asked && !worth_it && !separated.contains(&group) {
                continue;
            }
            let open = state.rewrites.outputs.contains_key(&Destination::Group(group));
            let allowed = state.rewrites.outputs.len() + own.len() < state.outputs_max();
            if asked || (allowed || open) && slots > 0 {
                slots = slots.saturating_sub(1);
                own.insert(group);
            }
        }
        // Mixed ones last, the fullest at the end: what does not fill a block comes from there.
        let mut victims = self.victims;
        victims.sort_by_key(|&(id, _)| {
            let slot = state.segments.get(id);
            (slot.is_mixed(), slot.live, id)
        });
        Some(Run { why: self.why, victims, own, only: self.only })
    }
}
