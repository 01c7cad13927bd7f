//! Where to look for segments that are worth rewriting.
//!
//! ```text
//!   bucket  0: needed    0 ..  3 %   born 17, 203, 204 ...   (oldest first)
//!   bucket  1: needed    3 ..  6 %   born 5, 90 ...
//!     ...
//!   bucket 31: needed   97 .. 100 %
//! ```
//!
//! The value of a victim rises with its age and falls with what is needed in it. So within a bucket
//! the oldest is the best, and the best of all is the best of 32: finding it costs the same however
//! many segments there are, and measures as good as looking at all of them.
//!
//! Absent on purpose: the value itself.

use std::collections::BTreeSet;

use super::Slot;
use crate::types::{SegmentId, to_usize};

const BUCKETS: u32 = 32;

/// Sealed segments by how much of them is needed, then by age.
#[derive(Debug)]
pub(crate) struct Victims {
    buckets: Vec<BTreeSet<(u64, SegmentId)>>,
}

impl Default for Victims {
    fn default() -> Self {
        Self { buckets: vec![BTreeSet::new(); to_usize(BUCKETS)] }
    }
}

/// Where a segment stands among the victims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    bucket: usize,
    /// The lower, the older.
    born: u64,
}

impl Rank {
    pub(super) fn of(slot: &Slot, data_len: u64) -> Self {
        let kept = data_len - slot.reclaimable(data_len);
        let share = (kept * u64::from(BUCKETS) / data_len).min(u64::from(BUCKETS) - 1);
        let bucket = usize::try_from(share).expect("there are few buckets");
        Self { bucket, born: slot.born.get() }
    }
}

impl Victims {
    pub(super) fn insert(&mut self, id: SegmentId, rank: Rank) {
        self.buckets[rank.bucket].insert((rank.born, id));
    }

    pub(super) fn remove(&mut self, id: SegmentId, rank: Rank) {
        self.buckets[rank.bucket].remove(&(rank.born, id));
    }

    #[cfg(feature = "verify")]
    pub(super) fn contains(&self, id: SegmentId, rank: Rank) -> bool {
        self.buckets[rank.bucket].contains(&(rank.born, id))
    }

    /// Of each bucket its segments, oldest first; emptiest bucket first.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = impl Iterator<Item = SegmentId>> {
        self.buckets.iter().map(|bucket| bucket.iter().map(|entry| entry.1))
    }
}
