//! The script whose points are enumerated, and the plan of each point.
//!
//! A script is a plan without faults and without cuts: a few uses of the store by a few clients,
//! with closes and openings between them. It is run once, and its landings are counted by place.
//!
//! 1. A script is a function of its seed. It has at most [`LANDINGS_MAX`] landings.
//! 2. The plan of a point is the script up to the place of the point; there the first cut, the
//!    others in the opening after it; then a few operations, a crash, and the last opening.
//!
//! Absent on purpose: landings while the store is checked. What the background does then it may do
//! a moment later as well, when clients are at work.

use logstor_io_sim::{CrashKind, Faults, SimRng};

use super::Point;
use crate::harness::{Landings, Watching, run_plan};
use crate::ops::{KINDS, Kind};
use crate::plan::{End, Epoch, Mode, Numbers, Opening, Part, Plan};

/// Landings of a script, at most.
pub const LANDINGS_MAX: u64 = 200;

/// The number of the epoch after a point: its clients draw what no other epoch's do.
const AFTER: u64 = 1000;

/// A part of a script, by the place of its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// While the store is opened.
    Opening(usize),
    /// While clients are at work, or while it is closed.
    Use(usize),
}

impl Place {
    /// The place of the epoch in which the plan of a point here recovers.
    pub(super) const fn recovery(self) -> usize {
        match self {
            Self::Opening(epoch) => epoch,
            Self::Use(epoch) => epoch + 1,
        }
    }
}

/// A small plan, and where it has landings.
#[derive(Clone, Debug)]
pub struct Script {
    plan: Plan,
    places: Vec<(Place, u64)>,
    failure: Option<String>,
    /// Operations after a point, and how they end.
    after: (u64, End),
}

impl Script {
    /// The script of a seed: as many operations as its landings allow.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let plan = drawn(seed);
        for most in [24, 18, 14, 11, 8, 6, 4, 3, 2, 1] {
            let script = Self::of(lessened(&plan, most));
            if script.failure.is_some() || script.landings() <= LANDINGS_MAX {
                return script;
            }
        }
        // A store of few operations, none of which takes segments of its own.
        Self::of(Plan { large: None, value_max: Some(1000), ..lessened(&plan, 1) })
    }

    /// This plan as a script; its faults and cuts do not count.
    #[must_use]
    pub fn of(plan: Plan) -> Self {
        let report = run_plan(plan.clone(), &Watching::default());
        let openings = (0..plan.epochs.len()).map(Place::Opening);
        let uses = (0..plan.epochs.len()).map(Place::Use);
        let both = openings.zip(uses).zip(&report.landings);
        let places = both.flat_map(|((opening, used), &Landings { opening: first, in_use })| {
            [(opening, first), (used, in_use)]
        });
        let rng = &mut SimRng::new(plan.seed, "after");
        let ends = [End::Crash, End::FlushThenCrash, End::CloseThenCrash];
        let after = (rng.below(5), *rng.pick(&ends));
        Self { places: places.collect(), failure: report.failure, plan, after }
    }

    /// The script with points in these places alone.
    #[must_use]
    pub fn within(mut self, wanted: impl Fn(Place) -> bool) -> Self {
        self.places.retain(|&(place, _)| wanted(place));
        self
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.plan.seed
    }

    /// The script itself.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where there are how many landings.
    #[must_use]
    pub fn places(&self) -> &[(Place, u64)] {
        &self.places
    }

    /// What is wrong even without a cut.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn landings(&self) -> u64 {
        self.places.iter().map(|&(_, count)| count).sum()
    }

    /// The plan of a point.
    #[must_use]
    pub fn at(&self, point: &Point) -> Plan {
        let mut plan = self.plan.clone();
        let recovery = point.place.recovery();
        plan.epochs.truncate(recovery);
        let mut cuts = point.cuts.clone();
        if let Place::Use(epoch) = point.place
            && !cuts.is_empty()
        {
            let first = cuts.remove(0);
            plan.epochs[epoch].stop = Some(first.stop);
            plan.epochs[epoch].crash = first.crash;
        }
        let (ops, end) = self.after;
        plan.epochs.push(Epoch {
            number: AFTER,
            opening: Opening { faulty: 0, cuts },
            clients: vec![Part { client: 0, ops: Numbers::below(ops) }],
            end,
            crash: CrashKind::POWER_CUT,
            ..plain(&self.plan.epochs[0])
        });
        plan.last = Opening::default();
        plan
    }
}

/// The plan of a seed with short uses, no faults, and all that changes segments.
fn drawn(seed: u64) -> Plan {
    let rng = &mut SimRng::new(seed, "script");
    let mut plan = Plan::draw(seed, Mode::Mixed);
    plan.faults = Faults::none();
    plan.last = Opening::default();
    // Long waits are of no use here; who comes first is drawn all the same.
    plan.mix.pauses = 0;
    let more = [Kind::DropGroup, Kind::Truncate, Kind::Compact, Kind::Separate, Kind::Delete];
    for (kind, weight) in KINDS.iter().zip(&mut plan.mix.kinds) {
        if more.contains(kind) {
            *weight += 1 + rng.below(6);
        }
    }
    if rng.coin() {
        // Few keys with long values: segments die, and slots are used again.
        plan.keys.truncate(3);
        (plan.mix.sizes, plan.mix.hot, plan.mix.kinds[0]) = ([0, 1, 6], 50, 40);
    }
    let (epochs, clients) = (rng.between(1, 3), rng.between(1, 3));
    let any = plan.epochs[0].clone();
    let mut epoch = |number| {
        let ends = [End::Crash, End::FlushThenCrash, End::CloseThenCrash, End::CloseThenOpen];
        let ops = rng.between(4, 24);
        let clients = (0..clients).map(|client| Part { client, ops: Numbers::below(ops) });
        let (clients, end) = (clients.collect(), *rng.pick(&ends));
        Epoch { number, clients, end, crash: CrashKind::POWER_CUT, ..plain(&any) }
    };
    plan.epochs = (0..epochs).map(&mut epoch).collect();
    plan
}

/// The plan with at most so many operations for a client in one epoch.
fn lessened(plan: &Plan, most: u64) -> Plan {
    let mut plan = plan.clone();
    for part in plan.epochs.iter_mut().flat_map(|epoch| &mut epoch.clients) {
        part.ops = part.ops.without(most, part.ops.len());
    }
    plan
}

/// An epoch in which nothing is cut or repeated.
fn plain(epoch: &Epoch) -> Epoch {
    Epoch {
        opening: Opening::default(),
        again: None,
        stop: None,
        fork: None,
        cycles: 0,
        close_early: false,
        calm_end: true,
        settle: false,
        ..epoch.clone()
    }
}
