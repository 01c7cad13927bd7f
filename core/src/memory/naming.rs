//! Which slots the mark names: those that may be written next.
//!
//! ```text
//!   free slots   │ 4 7 9 │ 2 3 8 5 1 ..        taken from the left, given back at the right
//!   named ───────┘       └─ not yet: the next mark names more of them, well before they are needed
//! ```
//!
//! The first block of a segment may be lost, and its slot show as erased. To find out, an opening
//! reads such a slot whole, but only where a buffer can have gone since the mark was published:
//!
//! 1. A slot is taken only if the mark on disk names it, in both of its copies.
//! 2. A mark names the next free slots, those about to become free, and every segment whose seal
//!    may not be durable: what has complete buffers is listed as such, and what has none is named.
//! 3. From when a mark is made until it is durable, only slots are taken that both name, the one
//!    before and this one: a crash may leave either. If it could not be written it stays so.
//! 4. A mark that cannot list everything names nothing, and then any slot may be taken.
//!
//! Absent on purpose: segments of pieces. No buffer of the log is lost with one, and its record
//! says what is missing.

use std::collections::BTreeSet;

use super::State;
use crate::format::mark::Mark;
use crate::segments::{Claim, Segments};
use crate::types::{SegmentId, to_u32};

/// Slots that a mark names ahead of need: this share of all of them, which an opening may have to
/// read whole, within bounds. Few of them cost marks: one for each half of them that is taken.
const SHARE: usize = 64;
const LEAST: usize = 16;
const MOST: usize = 128;

/// How many slots are named ahead in a store of so many.
fn ahead(slots: usize) -> usize {
    (slots / SHARE).clamp(LEAST, MOST)
}

/// The slots that may be written next in a store whose segments are all sealed.
pub(crate) fn next_slots(segments: &Segments, room: usize) -> Vec<SegmentId> {
    let count = ahead(segments.len()).min(room);
    segments.free_slots().chain(segments.retired()).take(count).collect()
}

/// Slots that may be taken; `None` are all.
#[derive(Clone, Debug)]
pub(crate) struct Named(Option<BTreeSet<SegmentId>>);

impl Named {
    /// What a mark that is durable lets be taken.
    pub(super) fn by(mark: &Mark) -> Self {
        Self((!mark.next.is_empty()).then(|| mark.next.iter().copied().collect()))
    }

    pub(super) fn has(&self, slot: SegmentId) -> bool {
        self.0.as_ref().is_none_or(|named| named.contains(&slot))
    }

    /// Law 3.
    pub(super) fn meet(&mut self, other: Self) {
        self.0 = match (self.0.take(), other.0) {
            (Some(one), Some(other)) => Some(one.intersection(&other).copied().collect()),
            (one, other) => one.or(other),
        };
    }
}

impl State {
    /// Laws 2 and 4: fills in what a mark to be published names. `begun`: the open segments that it
    /// does not list; `None` if some were left out.
    pub(super) fn name_next(&mut self, mark: &mut Mark, begun: Option<Vec<SegmentId>>) {
        let room = Mark::next_max(mark.open.len()).min(MOST);
        if let Some(begun) = begun.filter(|begun| begun.len() < room) {
            let room = room - begun.len();
            let more = next_slots(&self.segments, room);
            let missing = ahead(self.segments.len()).min(room) - more.len();
            // The slots of a file that exists once this mark says so.
            let slots = mark.files.saturating_mul(self.rules.geometry.segments_per_file());
            let fresh = (to_u32(self.segments.len())..slots).take(missing).map(SegmentId::new);
            mark.next = begun.into_iter().chain(more).chain(fresh).collect();
        }
        self.named.meet(Named::by(mark));
    }

    /// Law 1. Whether the slot that comes next may be taken, if there is one.
    pub(super) fn next_is_named(&self) -> bool {
        self.segments.free_slots().next().is_none_or(|slot| self.named.has(slot))
    }

    /// Free slots that `claim` may take now. A run that counts on others ends where it began.
    pub(super) fn takeable(&self, claim: Claim) -> usize {
        let named = match self.named {
            Named(None) => self.segments.free(),
            Named(Some(_)) => {
                self.segments.free_slots().take_while(|&slot| self.named.has(slot)).count()
            }
        };
        named.min(self.segments.free().saturating_sub(claim.leaves()))
    }

    /// Whether half of what is named ahead is taken, and more could be named.
    pub(super) fn names_run_low(&self) -> bool {
        let low = ahead(self.segments.len()) / 2;
        self.segments.free_slots().take(low).any(|slot| !self.named.has(slot))
    }
}
