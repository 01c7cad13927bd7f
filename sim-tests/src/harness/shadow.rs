//! Recovery in the shadow: while clients are at work, the disk is copied, crashed and recovered
//! aside, and the run goes on as if nothing had been.
//!
//! 1. A shadow begins between two polls, when so many more effects came: no step is half-way then,
//!    on the disk or in the ledger.
//! 2. What it recovers must be what the ledger asks for at that moment. What it showed nobody saw:
//!    the ledger of the run learns nothing from it.
//! 3. A run with shadows is the same, bit for bit, as without.
//! 4. Every second shadow is looked at first, by somebody who only reads (`look`).
//!
//! Absent on purpose: a crash in the recovery of a shadow. Openings and forks have them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logstor_io_sim::{CrashKind, Handle, SimRng};

use super::Run;
use crate::guard::Look;
use crate::ledger::Ledger;
use crate::plan::{Opening, Plan};
use crate::tally::Tally;

/// Shadows of one run, at most.
const SHADOWS_MAX: u64 = 60;

/// Recovers copies of the disk of one run.
#[derive(Clone, Debug)]
pub(super) struct Shadow(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Effects between two shadows.
    every: u64,
    plan: Arc<Plan>,
    ledger: Ledger,
    tally: Arc<Mutex<Tally>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    at_work: bool,
    /// Shadows so far.
    number: u64,
    /// The next one comes with this effect.
    next: u64,
}

impl Shadow {
    /// For a run of this plan, if it has shadows.
    pub(super) fn new(
        plan: &Arc<Plan>,
        ledger: &Ledger,
        tally: &Arc<Mutex<Tally>>,
    ) -> Option<Self> {
        plan.shadows.map(|every| {
            Self(Arc::new(Inner {
                every: every.max(1),
                plan: Arc::clone(plan),
                ledger: ledger.clone(),
                tally: Arc::clone(tally),
                state: Mutex::default(),
            }))
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clients begin to work, or have ended.
    pub(super) fn at_work(&self, at_work: bool, effects: u64) {
        let mut state = self.state();
        (state.at_work, state.next) = (at_work, effects + self.0.every);
    }

    /// The number of the shadow that is due.
    fn due(&self, sim: &Handle) -> Option<u64> {
        let mut state = self.state();
        if !state.at_work || state.number >= SHADOWS_MAX {
            return None;
        }
        let effects = sim.counters().effects;
        if effects < state.next || sim.is_stopped() || self.0.ledger.has_failed() {
            return None;
        }
        state.next = effects + self.0.every;
        state.number += 1;
        Some(state.number)
    }
}

impl Look for Shadow {
    fn look(&self, sim: &Handle) {
        let Some(number) = self.due(sim) else { return };
        let Inner { plan, ledger, tally, .. } = &*self.0;
        let rng = &mut SimRng::new(plan.world, &format!("shadow {number}"));
        let crash = if rng.chance(1, 4) { CrashKind::ProcessKill } else { CrashKind::POWER_CUT };
        let copy = sim.fork();
        copy.reseed(rng.bits());
        // What happens there is not what the sweep is to have met.
        let mut shadow = Run::aside(plan, copy, ledger.fork(), Arc::default());
        let look_first = rng.coin();
        let failure = if look_first {
            shadow.recovers_as_seen(crash)
        } else {
            shadow.recovers(crash, &Opening::default())
        };
        let less = shadow.tally.lock().is_ok_and(|tally| tally.get("marks/recovered less") > 0);
        if let Some(what) = failure {
            std::mem::forget(shadow); // it may be half-way
            ledger.fail(format!("in shadow {number}: {what}"));
            sim.stop();
            return;
        }
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.one("shadows/recovered");
        tally.add("shadows/looked at first", u64::from(look_first));
        tally.add("shadows/recovered less", u64::from(less));
    }
}
