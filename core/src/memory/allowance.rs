//! How much of the device what is done in the background takes at a time.
//!
//! | | when | parts of | in flight |
//! |---|---|---|--:|
//! | modest | a synced write is on its way, or was a moment ago, and there is room | 64 KiB | 1 |
//! | full | otherwise | any length | 4 |
//!
//! A synced write waits for the device twice, and each time for everything that is in front of it.
//! So in front of it there should never be more than one short operation. Measured on a device
//! that a synced write of 4 KiB takes 0.2 ms: beside four writes of 256 KiB at a time the slowest
//! hundredth takes six times as long as alone, beside one of 64 KiB one and a half times.
//!
//! 1. Modest or not, the work goes on: nothing here waits for callers to be done.
//! 2. Where writers are held up because there is little room, they wait for this work, and it takes
//!    what it can get.
//!
//! And how much writers are held up, when this work is behind all the same.
//!
//! Absent on purpose: measuring the device. What is in front of a synced write is what counts, and
//! that is known here.

use std::time::Duration;

use super::State;
use crate::options::Durability;
use crate::segments::Claim;
use crate::types::{BLOCK, ByteLen, to_u64};

/// What one flow of the background may have with the device at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Reads and writes are done in parts of so many bytes at most, one after the other.
    pub(crate) part: ByteLen,
    /// Operations under way at the same time.
    pub(crate) in_flight: usize,
}

impl Allowance {
    const MODEST: Self = Self { part: ByteLen::new(64 << 10), in_flight: 1 };
    const FULL: Self = Self { part: ByteLen::new(u32::MAX / BLOCK * BLOCK), in_flight: 4 };
}

/// After the last synced write was accepted, callers may be about to make the next one for so long.
const LULL: Duration = Duration::from_millis(10);

impl State {
    /// What the background may take now.
    pub(crate) fn allowance(&self, now: Duration) -> Allowance {
        let modest = self.synced_writes_are_made(now) && self.writers_have_room();
        if modest { Allowance::MODEST } else { Allowance::FULL }
    }

    fn synced_writes_are_made(&self, now: Duration) -> bool {
        let head = self.log.head.as_ref();
        self.log.sync_below > self.log.watermark()
            || head.is_some_and(|head| head.demand == Durability::Synced)
            || self.log.synced_at.is_some_and(|at| now < at + LULL)
    }

    fn writers_have_room(&self) -> bool {
        self.segments.reserve_is_whole()
            && self.throttle_per_kib().is_zero()
            && !self.presses_bound()
    }

    /// How long a writer should wait for every KiB that it adds, because compaction is behind: it
    /// grows with the square of what is missing.
    pub(crate) fn throttle_per_kib(&self) -> Duration {
        let (reserve, low) = (to_u64(Claim::Put.leaves()), to_u64(self.low_mark()));
        let middle = (reserve + low).div_ceil(2);
        let free = to_u64(self.segments.free()).max(reserve);
        let missing = middle.saturating_sub(free);
        if missing == 0 || low < reserve + 4 {
            return Duration::ZERO;
        }
        let percent = missing * 100 / (middle - reserve);
        THROTTLE_MAX * u32::try_from(percent * percent).unwrap_or(10_000) / 10_000
    }
}

/// The longest wait for a KiB: about 10 MB a second for all writers together.
const THROTTLE_MAX: Duration = Duration::from_micros(100);
