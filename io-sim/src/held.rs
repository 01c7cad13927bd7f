//! What is held up: an operation that hangs, a device that hangs, a timer that is late.
//!
//! 1. What is held up completes later than its latency says, and else as it would have.
//! 2. While the device hangs, nothing completes but timers, and evictions wait too; then everything
//!    that was due does, in an order drawn from the seed.
//! 3. Once nothing may hold anything up any more, what is held up goes on as if it had not been.
//!
//! Absent on purpose: errors. What hangs has not failed.

use std::time::Duration;

use logstor_core::types::to_u64;

use crate::faults::Faults;
use crate::op::Op;
use crate::trace::EventKind;
use crate::world::{State, Ticket, When, World, nanos};

/// What hangs does so for at least and at most so long.
const HANGS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A late timer is late by at most so much.
const LATE: Duration = Duration::from_secs(10);

impl World {
    /// Whether an operation that is issued now hangs, and for how long; perhaps the device does.
    pub(crate) fn hangs(&mut self) -> Option<u64> {
        if self.rng.latency.per_million(self.faults.device_stall) {
            let span = self.rng.latency.between(nanos(HANGS.0), nanos(HANGS.1));
            self.device_hangs_until = self.now.saturating_add(span);
            self.counters.device_stalls += 1;
            self.note_held("the device hangs", span);
        }
        if !self.rng.latency.per_million(self.faults.stall) {
            return None;
        }
        let span = self.rng.latency.between(nanos(HANGS.0), nanos(HANGS.1));
        self.counters.stalls += 1;
        self.note_held("the next operation hangs", span);
        Some(span)
    }

    /// Whether a timer that is set now is late, and by how much.
    pub(crate) fn is_late(&mut self) -> Option<u64> {
        let late = self.rng.latency.per_million(self.faults.late_timer);
        late.then(|| {
            self.counters.late_timers += 1;
            self.rng.latency.below(nanos(LATE))
        })
    }

    fn note_held(&mut self, what: &str, span: u64) {
        let words = [3, to_u64(what.len()), span];
        let span = Duration::from_nanos(span);
        self.note(EventKind::Fault, &words, || format!("fault: {what} for {span:?}"));
    }

    /// What completes next. What is due while the device hangs is put off until it does not.
    pub(crate) fn earliest(&mut self) -> Option<When> {
        loop {
            let &when = self.agenda.first()?;
            let (moment, tie, ticket) = when;
            if moment >= self.device_hangs_until || self.is_timer(ticket) {
                return Some(when);
            }
            self.put_off(when, (self.device_hangs_until, tie, ticket));
        }
    }

    fn is_timer(&self, ticket: Ticket) -> bool {
        let one = self.pending.get(&ticket);
        one.is_some_and(|one| matches!(one.state, State::InFlight(Op::Timer)))
    }

    fn put_off(&mut self, from: When, to: When) {
        self.agenda.remove(&from);
        self.agenda.insert(to);
        if let Some(one) = self.pending.get_mut(&to.2) {
            one.when = to;
            one.held = one.held.or(Some(from.0));
        }
    }

    /// From now on this goes wrong.
    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        if faults.holds_up() {
            return;
        }
        self.device_hangs_until = 0;
        let now = self.now;
        for one in self.pending.values_mut() {
            let Some(due) = one.held.take() else { continue };
            if self.agenda.remove(&one.when) {
                one.when.0 = due.max(now);
                self.agenda.insert(one.when);
            }
        }
    }
}
