//! When a run stops: counts of what happens, set by the harness.
//!
//! ```text
//!   issue ──────────── in flight ────────────> landing ──────────> heard
//!                                     before ^         ^ after          ^ heard
//! ```
//!
//! Definitions. A *landing* is the completion of an operation that may change the disk: the moment
//! in which it takes effect. A write is *unsynced* from its issue until it is durable.
//!
//! 1. Every stop counts from the moment it is set, and the first one reached stops.
//! 2. A stop before a landing comes when everything was done that can be done without it: no task
//!    is ready. The operation is taken off the device, and nothing of it is on the disk.
//! 3. A stop after a landing comes before whoever waits for it is woken.
//! 4. A stop at the hearing comes with the answer: what the one who waited does with it in memory
//!    it does, what it asks of the device never arrives.
//!
//! Absent on purpose: what a crash then makes of what is in flight and not durable; see
//! [`CrashKind`](crate::CrashKind).

use std::time::Duration;

use crate::world::{Ticket, nanos};

/// When a run is to stop, counted from the moment this is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAt {
    /// After so many more effects: issues and completions of what may change the disk.
    Effects(u64),
    /// After so many more steps: polls of tasks, and events.
    Steps(u64),
    /// After so much more virtual time.
    After(Duration),
    /// At the `count`th landing from now, on this side of it.
    Landing {
        /// Which one.
        count: u64,
        /// Before it, after it, or when it was heard of.
        side: Side,
    },
    /// At the `count`th effect from now that finds so many writes in flight or not yet durable.
    Unsynced {
        /// Which one.
        count: u64,
        /// So many writes, at least.
        writes: u64,
    },
}

/// A moment around a landing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The operation was issued, and nothing of it is on the disk or will be.
    Before,
    /// It took effect, and whoever asked for it does not know.
    After,
    /// Whoever asked for it has the answer. If nobody waits for it, the same as `After`.
    Heard,
}

impl Side {
    /// All of them, in the order in which they come.
    pub const EVERY: [Self; 3] = [Self::Before, Self::After, Self::Heard];
}

/// The stops of a boot that were set and not reached.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    // Invariant: counts are above 0, and `After` holds the moment itself.
    set: Vec<StopAt>,
    // The landing that was to be heard of, and was not yet.
    unheard: Option<Ticket>,
}

impl Stops {
    pub(crate) fn set(&mut self, stop: StopAt, now: u64) {
        self.set.push(match stop {
            StopAt::After(time) => StopAt::After(Duration::from_nanos(now) + time),
            StopAt::Effects(count) => StopAt::Effects(count.max(1)),
            StopAt::Steps(count) => StopAt::Steps(count.max(1)),
            StopAt::Landing { count, side } => StopAt::Landing { count: count.max(1), side },
            StopAt::Unsynced { count, writes } => StopAt::Unsynced { count: count.max(1), writes },
        });
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A step happens; `true` if the run is over.
    pub(crate) fn step(&mut self) -> bool {
        self.countdown(|stop| match stop {
            StopAt::Steps(left) => Some(left),
            _ => None,
        })
        .is_some()
    }

    /// An effect happens, with so many writes unsynced; `true` if the run is over.
    pub(crate) fn effect(&mut self, unsynced: impl FnOnce() -> u64) -> bool {
        let asked = |stop: &StopAt| matches!(stop, StopAt::Unsynced { .. });
        let unsynced = if self.set.iter().any(asked) { unsynced() } else { 0 };
        self.countdown(|stop| match stop {
            StopAt::Effects(left) => Some(left),
            StopAt::Unsynced { count, writes } if *writes <= unsynced => Some(count),
            _ => None,
        })
        .is_some()
    }

    /// The next landing comes; on which side of it to stop, if on any.
    pub(crate) fn landing(&mut self) -> Option<Side> {
        let reached = self.countdown(|stop| match stop {
            StopAt::Landing { count, .. } => Some(count),
            _ => None,
        });
        match reached {
            Some(StopAt::Landing { side, .. }) => Some(side),
            _ => None,
        }
    }

    /// The first of the counters chosen that is at its end with this count.
    fn countdown(&mut self, which: impl Fn(&mut StopAt) -> Option<&mut u64>) -> Option<StopAt> {
        let mut reached = None;
        for stop in &mut self.set {
            let Some(left) = which(stop) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 && reached.is_none() {
                reached = Some(*stop);
            }
        }
        reached
    }

    /// The run is to stop when the answer to this operation is heard.
    pub(crate) const fn when_heard(&mut self, ticket: Ticket) {
        self.unheard = Some(ticket);
    }

    /// An answer was fetched, or nobody wants it any more; `true` if the run is over.
    pub(crate) fn heard(&self, ticket: Ticket) -> bool {
        self.unheard == Some(ticket)
    }

    /// Whether the answer that was to be heard was not: everyone had the time for it.
    pub(crate) const fn is_unheard(&self) -> bool {
        self.unheard.is_some()
    }

    /// The moment at which the time is over.
    pub(crate) fn time_limit(&self) -> Option<u64> {
        let moments = self.set.iter().filter_map(|stop| match stop {
            StopAt::After(moment) => Some(nanos(*moment)),
            _ => None,
        });
        moments.min()
    }
}
