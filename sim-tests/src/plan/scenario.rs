//! Scenarios: seeds in which the ingredients of a rare accident come together.
//!
//! A mixture of everything meets what takes one or two conditions. What takes five it does not meet
//! in a night: a write that fails, is made again elsewhere, whose seal fails too, whose second copy
//! then dies and is erased, and then the power goes. So some of the seeds are given to one such
//! story each. Only their conditions are set; when what happens is drawn as ever.
//!
//! | scenario | what comes together |
//! |---|---|
//! | seals | writes fail, those of seals most of all, and segments die young |
//! | syncs | syncs fail, few files, and compaction writes where the log does; the process dies |
//! | openings | syncs fail in openings, several in a row, in between the process dies |
//! | overwrites | a few long values, each soon dead, then quiet, then a power cut |
//! | tiny | many small records in long buffers, small sectors, torn |
//! | pieces | pieces of large values fail while others are on their way, late |
//! | late | large values are written over, and long after that the write over them is durable |
//! | compares | a key is written while those who compare it read it, which takes long |
//! | crashes (full) | a store that is nearly full crashes in run after run |
//! | brim (full) | large values take the last room |
//! | tombstones (full) | keys of up to 8,000 bytes, most of them longer than their values |
//! | readers (full) | reads take long, and of large values they are left half-way |
//!
//! 1. One seed in four, and of full stores every second one, is of a scenario.
//! 2. It is drawn from a stream of its own and changes a plan that is drawn already: all other
//!    seeds are as if there were no scenarios.
//! 3. Seeds of silent damage have no scenario.
//! 4. A scenario is *met* in a run in which its accident happened, as far as counts can tell; a
//!    sweep that never meets one of them fails ([`crate::marks`]).
//!
//! Absent on purpose: anything that no plain seed could do, but for the place of failing writes.

use std::time::Duration;

use logstor_core::{Durability, Options};
use logstor_io_sim::{
    CrashKind, FailedSync, Faults, Latencies, Latency, SectorBias, SimRng, StopAt, Stretch,
};

use crate::ops::KINDS;

use super::epoch::{Again, Cut, End, Epoch, Numbers, Opening};
use super::{Large, Mode, Plan, SEGMENT, geometry, key};
use crate::tally::Tally;

/// One story.
#[derive(Debug)]
pub struct Scenario {
    /// The mark of runs in which it was met.
    pub mark: &'static str,
    /// What such a run has counted, and how often at least.
    needs: &'static [(&'static str, u64)],
    /// What it makes of a plan.
    change: fn(&mut Plan, &mut SimRng),
}

impl Scenario {
    /// Whether a run with these counts met it.
    #[must_use]
    pub fn is_met(&self, tally: &Tally) -> bool {
        self.needs.iter().all(|(what, least)| tally.get(what) >= *least)
    }
}

const MIXED: [Scenario; 8] = [
    Scenario {
        mark: "scenario/seals",
        needs: &[("faults/writes at a place", 1), ("image/segments erased", 1)],
        change: seals,
    },
    Scenario {
        mark: "scenario/syncs",
        needs: &[("compaction/moved", 1), ("faults/syncs", 1), ("crashes/power cut", 1)],
        change: syncs,
    },
    Scenario {
        mark: "scenario/openings",
        needs: &[("recoveries/failed", 2), ("crashes/in recovery", 1)],
        change: openings,
    },
    Scenario {
        mark: "scenario/overwrites",
        needs: &[("image/segments erased", 2), ("crashes/power cut", 1)],
        change: overwrites,
    },
    Scenario { mark: "scenario/tiny", needs: &[("tears/middle sector", 1)], change: tiny },
    Scenario { mark: "scenario/pieces", needs: &[("large/write failed", 1)], change: pieces },
    Scenario {
        mark: "scenario/late",
        needs: &[("large/accounted for", 1), ("crashes/in use", 1)],
        change: late,
    },
    Scenario {
        mark: "scenario/compares",
        needs: &[("compares/made", 10), ("compares/unmet", 10)],
        change: compares,
    },
];

const FULL: [Scenario; 4] = [
    Scenario {
        mark: "scenario/crashes",
        needs: &[("crashes/in use", 5), ("compaction/segments", 5)],
        change: crashes,
    },
    Scenario { mark: "scenario/brim", needs: &[("large/no room", 1)], change: brim },
    Scenario {
        mark: "scenario/tombstones",
        needs: &[("compaction/tombstones dropped", 1)],
        change: tombstones,
    },
    Scenario {
        mark: "scenario/readers",
        needs: &[("large/read after its end", 1)],
        change: readers,
    },
];

impl Plan {
    /// Law 1.
    pub(super) fn with_scenario(mut self) -> Self {
        let rng = &mut SimRng::new(self.seed, "scenario");
        let (of, all) = match self.mode {
            Mode::Mixed => (4, &MIXED[..]),
            Mode::Full => (2, &FULL[..]),
            Mode::Damage => return self,
        };
        if rng.chance(1, of) {
            let scenario = rng.pick(all);
            (scenario.change)(&mut self, rng);
            self.mix.kinds.resize(KINDS.len(), 0);
            self.scenario = Some(scenario);
        }
        self
    }

    /// So many segments, in files of `per_file`, and no more.
    fn with_segments(&mut self, segments: u64, per_file: u64) {
        let per_file = per_file.max(1);
        self.options.segments_per_file = u32::try_from(per_file).ok();
        self.options.capacity = Some(segments.next_multiple_of(per_file) * SEGMENT);
    }

    /// Short values, longer ones and the longest, as plain puts.
    fn with_values(&mut self, sizes: [u64; 3], keys: u64) {
        self.mix.sizes = sizes;
        self.keys = (0..keys).map(|number| key(number, 0)).collect();
        self.large = None;
    }

    /// Puts, and what has segments rewritten now and then.
    fn with_much_rewriting(&mut self) {
        // In the order of `Kind`.
        self.mix.kinds = vec![30, 4, 4, 6, 3, 1, 0, 0, 0, 0, 6, 3, 1, 0, 0];
    }
}

/// The process dies as often as the power goes.
fn either(rng: &mut SimRng) -> CrashKind {
    if rng.coin() { CrashKind::ProcessKill } else { CrashKind::POWER_CUT }
}

/// Uses of the store that end in a crash, each of which is followed by another one.
fn crash_twice(epoch: &mut Epoch, rng: &mut SimRng) {
    (epoch.end, epoch.calm_end, epoch.close_early) = (End::Crash, false, false);
    epoch.crash = either(rng);
    if rng.chance(2, 3) {
        epoch.stop = None;
    }
    let opening = Opening { faulty: rng.below(3), cuts: Vec::new() };
    epoch.again = Some(Again { crash: CrashKind::POWER_CUT, opening });
}

fn seals(plan: &mut Plan, rng: &mut SimRng) {
    let seal = geometry().seal_len().get().into();
    let rate = *rng.pick(&[100_000, 500_000, 900_000]);
    plan.faults = Faults {
        write_error: *rng.pick(&[5000, 20_000, 50_000]),
        write_error_at: Some(Stretch { every: SEGMENT, last: seal, rate }),
        sync_error: *rng.pick(&[0, 0, 20_000]),
        failed_sync: FailedSync::Evicts,
        stall: *rng.pick(&[0, 0, 3000]),
        ..Faults::none()
    };
    plan.with_segments(rng.between(12, 24), rng.between(2, 4));
    plan.with_values([1, 4, 4], rng.between(4, 16));
    plan.with_much_rewriting();
    plan.mix.hot = *rng.pick(&[0, 50, 80]);
    for epoch in &mut plan.epochs {
        crash_twice(epoch, rng);
    }
}

fn syncs(plan: &mut Plan, rng: &mut SimRng) {
    let ways = [FailedSync::Keeps, FailedSync::Drops, FailedSync::Evicts, FailedSync::Either];
    plan.faults = Faults {
        sync_error: *rng.pick(&[20_000, 60_000, 150_000]),
        failed_sync: *rng.pick(&ways),
        ..Faults::none()
    };
    plan.latencies = Latencies { sync: Latency::micros(500, 20_000), ..plan.latencies };
    plan.with_segments(rng.between(12, 20), rng.between(4, 10));
    plan.with_values([1, 4, 2], rng.between(2, 40));
    plan.with_much_rewriting();
    plan.options.buffer_len = *rng.pick(&[4096, 8192, 32 << 10]);
    plan.options.sync_bytes = *rng.pick(&[4096, 64 << 10]);
    for epoch in &mut plan.epochs {
        crash_twice(epoch, rng);
    }
}

fn openings(plan: &mut Plan, rng: &mut SimRng) {
    plan.faults = Faults {
        sync_error: *rng.pick(&[50_000, 150_000, 300_000]),
        failed_sync: *rng.pick(&[FailedSync::Keeps, FailedSync::Evicts]),
        ..Faults::none()
    };
    plan.options.durability = *rng.pick(&[Durability::Buffered, Durability::Written]);
    plan.options.writes_in_flight = 4;
    for epoch in &mut plan.epochs {
        epoch.opening = failing(rng);
        epoch.again = Some(Again { crash: either(rng), opening: failing(rng) });
        epoch.crash = CrashKind::POWER_CUT;
    }
    plan.last = failing(rng);
}

/// Attempts that meet faults, and crashes between them.
fn failing(rng: &mut SimRng) -> Opening {
    let cuts = rng.between(1, 3);
    let cut = |_| Cut { stop: StopAt::Effects(1 + rng.below(24)), crash: either(rng) };
    let cuts = (0..cuts).map(cut).collect();
    Opening { faulty: rng.between(2, 5), cuts }
}

fn overwrites(plan: &mut Plan, rng: &mut SimRng) {
    plan.faults = Faults::none();
    plan.with_segments(rng.between(12, 20), rng.between(2, 4));
    plan.with_values([0, 0, 1], rng.between(1, 3));
    plan.mix.durability = [1, 1, 0, 0];
    plan.mix.pauses = *rng.pick(&[0, 5, 20]);
    plan.mix.dropped = 0;
    plan.mix.kinds = vec![30, 1, 2, 2, 1, 1, rng.below(2), 0, 0, 0, 0, 0, rng.below(3), 0, 0];
    plan.options.writes_in_flight = 4;
    plan.options.buffer_len = *rng.pick(&[4096, 16 << 10, 64 << 10]);
    for epoch in &mut plan.epochs {
        (epoch.end, epoch.calm_end, epoch.close_early) = (End::Crash, true, false);
        (epoch.stop, epoch.settle, epoch.crash) = (None, true, CrashKind::POWER_CUT);
    }
}

fn tiny(plan: &mut Plan, rng: &mut SimRng) {
    plan.faults = Faults::none();
    plan.sector = 512;
    plan.with_segments(8, rng.between(1, 2));
    plan.with_values([1, 0, 0], 0);
    // Of one length, so that the summary of an earlier buffer would fit as well.
    let count = rng.between(12, 40);
    plan.keys = (0..count).map(|number| key(number, 8)).collect();
    plan.value_max = *rng.pick(&[None, Some(0), Some(0)]);
    plan.mix.durability = [6, 1, 0, 0];
    // In the order of `Kind`.
    plan.mix.kinds = vec![2, 1, 30, 1, 2, 1, 0, 0, 0, 0, 2, 0, 1, 0, 0];
    plan.mix.pauses = 5;
    plan.options = Options {
        buffer_len: 64 << 10,
        flush_after: Duration::from_millis(rng.between(1, 20)),
        ..plan.options.clone()
    };
    plan.latencies = Latencies { write: Latency::micros(500, 20_000), ..plan.latencies };
    let sectors = Some(SectorBias::AllButOne);
    for epoch in &mut plan.epochs {
        epoch.end = End::Crash;
        epoch.crash = CrashKind::PowerCut { sectors, names: None };
        epoch.stop = Some(StopAt::Unsynced { count: 1 + rng.below(200), writes: 1 });
        for part in &mut epoch.clients {
            part.ops = Numbers::below(150);
        }
    }
}

fn pieces(plan: &mut Plan, rng: &mut SimRng) {
    plan.faults = Faults { write_error: *rng.pick(&[20_000, 60_000]), ..Faults::none() };
    plan.with_segments(rng.between(16, 24), rng.between(2, 4));
    plan.mix.sizes = [2, 1, 1];
    plan.large = Some(Large {
        puts: 60,
        pieces: 4,
        streamed: *rng.pick(&[0, 30]),
        broken: 10,
        given_up: *rng.pick(&[0, 10]),
        slow_writes: true,
        read_on: 10,
    });
    plan.latencies =
        Latencies { write: Latency::micros(20, 5000), slow_per_million: 200_000, ..plan.latencies };
}

fn late(plan: &mut Plan, rng: &mut SimRng) {
    plan.faults = Faults::none();
    plan.with_segments(rng.between(20, 32), rng.between(2, 4));
    plan.with_values([1, 0, 0], rng.between(1, 4));
    plan.groups.truncate(1);
    plan.mix.durability = *rng.pick(&[[1, 0, 0, 0], [9, 0, 1, 0]]);
    plan.mix.pauses = *rng.pick(&[0, 10, 50]);
    plan.mix.dropped = 0;
    // In the order of `Kind`.
    plan.mix.kinds = vec![30, 4, 1, 2, rng.below(2), 1, 0, 0, 0, 0, rng.below(4), 0, 0, 0, 0];
    plan.options.buffer_len = 64 << 10;
    plan.options.flush_after = Duration::from_millis(rng.between(20, 3000));
    plan.large = Some(Large { puts: 40, pieces: 2, ..Large::default() });
    for epoch in &mut plan.epochs {
        (epoch.end, epoch.calm_end, epoch.close_early) = (End::Crash, false, false);
        (epoch.settle, epoch.crash) = (false, either(rng));
    }
}

fn compares(plan: &mut Plan, rng: &mut SimRng) {
    plan.faults = Faults::none();
    plan.with_segments(rng.between(12, 20), rng.between(2, 4));
    plan.with_values([1, 1, 0], rng.between(1, 3));
    plan.groups.truncate(1);
    // In the order of `Kind`.
    plan.mix.kinds = vec![12, 2, 2, 2, 2, 1, 0, 0, 0, 0, 1, 0, rng.below(2), 0, 0, 0, 30];
    plan.mix.durability = *rng.pick(&[[3, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0]]);
    plan.mix.pauses = *rng.pick(&[0, 10, 50]);
    plan.options.flush_after = Duration::from_micros(rng.between(100, 2000));
    plan.latencies = Latencies {
        read: Latency::micros(1000, 100_000),
        write: Latency::micros(50, 500),
        sync: Latency::micros(100, 1000),
        ..plan.latencies
    };
}

fn crashes(plan: &mut Plan, rng: &mut SimRng) {
    plan.with_segments(8, rng.between(1, 4));
    plan.large = None;
    plan.mix.sizes = [1, 4, 1];
    let Some(first) = plan.epochs.first().cloned() else { return };
    plan.epochs = Vec::new();
    for number in 0..rng.between(8, 14) {
        let stop = StopAt::Effects(1 + rng.below(*rng.clone().pick(&[20, 100, 400])));
        let stop = if number == 0 { None } else { Some(stop) };
        let opening = Opening::default();
        plan.epochs.push(Epoch { number, opening, stop, cycles: 1, ..first.clone() });
    }
    let number = 20;
    plan.epochs.push(Epoch { number, stop: None, cycles: 2, ..first });
}

fn brim(plan: &mut Plan, rng: &mut SimRng) {
    plan.with_segments(rng.between(10, 20), rng.between(2, 4));
    plan.mix.sizes = [1, 4, 1];
    plan.large = Some(Large {
        puts: *rng.pick(&[30, 60, 90]),
        pieces: rng.between(2, 5),
        streamed: *rng.pick(&[0, 30]),
        broken: 0,
        given_up: 0,
        slow_writes: rng.coin(),
        read_on: 0,
    });
}

fn tombstones(plan: &mut Plan, rng: &mut SimRng) {
    let per_file = rng.between(2, 4);
    plan.with_segments(rng.between(10, 16), per_file);
    plan.large = None;
    // A tombstone is as long as what it deletes, or a good deal shorter.
    plan.mix.sizes = *rng.pick(&[[1, 0, 0], [3, 1, 0], [0, 1, 0]]);
    let longest = *rng.pick(&[400, 2000, 2000, 8000]);
    let len = usize::try_from(rng.between(100, longest)).expect("keys are short");
    let capacity = plan.options.capacity.unwrap_or_default();
    let values = if plan.mix.sizes[0] > 0 { 40 } else { 1000 };
    let each = u64::try_from(len).unwrap_or(u64::MAX) + values;
    let groups = u64::try_from(plan.groups.len()).unwrap_or(1);
    let count = (capacity * 3 / 2 / each / groups).max(2);
    plan.keys = (0..count).map(|number| key(number, len)).collect();
}

fn readers(plan: &mut Plan, rng: &mut SimRng) {
    plan.with_segments(rng.between(8, 12), rng.between(2, 4));
    plan.latencies = Latencies { read: Latency::micros(1000, 300_000), ..plan.latencies };
    plan.large = Some(Large {
        puts: 20,
        pieces: 2,
        streamed: 10,
        broken: 0,
        given_up: 0,
        slow_writes: false,
        read_on: 60,
    });
}
