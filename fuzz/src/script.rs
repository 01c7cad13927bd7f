//! The target `script`: a whole simulated life of a store, in which the bytes choose.
//!
//! ```text
//! seed: 1 │ world: 2 │ choices ..            begin with the plan of a seed, then change it
//!                      └─ an option, a fault, a latency, a weight of the mix, or an epoch:
//!                         operations by number, when it is cut short, what the crash keeps
//! ```
//!
//! What a plan is, and what its run checks, is in `logstor-sim-tests`. Here every choice lies
//! within what a plan may say, so a run that fails is a find.
//!
//! The operations of a client are drawn from a stream for each number, so with a given seed the
//! numbers are an alphabet. A byte says how many numbers are left out before the next one.
//!
//! Absent on purpose: stores that are filled until they are full. Their runs take too long.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use logstor_core::Durability;
use logstor_io_sim::{
    CrashKind, FailedSync, Faults, Latencies, Latency, NameBias, SectorBias, StopAt,
};
use logstor_sim_tests::harness::{Watching, run_plan};
use logstor_sim_tests::plan::{
    Again, Cut, End, Epoch, Fork, Large, Mode, Numbers, Opening, Part, Plan, SEGMENT,
};

use crate::Verdict;

/// Bounds that keep a run short.
const MOST_EPOCHS: usize = 4;
const MOST_CLIENTS: usize = 3;
const MOST_OPS: usize = 40;
const MOST_CUTS: usize = 2;

#[derive(Arbitrary, Clone, Debug)]
enum Choice {
    Option { which: u8, to: u8 },
    Fault { which: u8, to: u16 },
    Faultless,
    DiskCapacity { files: u8, part: u16 },
    Sector { large: bool },
    Latency { which: u8, to: u8 },
    Keys { count: u8 },
    Groups { count: u8 },
    Kind { which: u8, weight: u8 },
    OneKind { which: u8 },
    Size { which: u8, weight: u8 },
    Durability { which: u8, weight: u8 },
    Percents { dropped: u8, pauses: u8, hot: u8 },
    Large { some: bool, to: [u8; 7] },
    Last { opening: DrawnOpening },
    Epoch { epoch: DrawnEpoch },
}

#[derive(Arbitrary, Clone, Debug)]
struct DrawnEpoch {
    opening: DrawnOpening,
    again: Option<(DrawnCrash, DrawnOpening)>,
    /// Of each client the gaps between the numbers of its operations.
    clients: Vec<Vec<u8>>,
    stop: Option<DrawnStop>,
    end: u8,
    flags: u8,
    crash: DrawnCrash,
    fork: Option<(u16, DrawnOpening)>,
}

#[derive(Arbitrary, Clone, Debug)]
struct DrawnOpening {
    faulty: u8,
    cuts: Vec<(DrawnStop, DrawnCrash)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum DrawnStop {
    Effects(u16),
    Steps(u16),
    After(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct DrawnCrash {
    kill: bool,
    sectors: u8,
    names: u8,
}

/// The bytes are a plan; it is run.
///
/// # Panics
///
/// If the run found that a promise was broken: that is what it is for.
#[must_use]
pub fn script(data: &[u8]) -> Verdict {
    let Some(plan) = plan_of(data) else { return Verdict::Refused };
    let report = run_plan(plan.clone(), &Watching::default());
    if let Some(failure) = report.failure {
        panic!("{failure}\n\n{plan}");
    }
    Verdict::Decoded
}

/// The plan that the bytes say; `None` if nothing would be done.
#[must_use]
pub fn plan_of(data: &[u8]) -> Option<Plan> {
    let mut source = Unstructured::new(data);
    let seed: u8 = source.arbitrary().ok()?;
    let world: u16 = source.arbitrary().ok()?;
    let mut plan = Plan::draw(seed.into(), Mode::Mixed);
    plan.world = world.into();
    let drawn = plan.epochs.swap_remove(0);
    plan.epochs.clear();
    while !source.is_empty() {
        let Ok(choice) = Choice::arbitrary(&mut source) else { break };
        choice.apply(&mut plan, &drawn);
    }
    if plan.faults.capacity.is_some() {
        plan.options.capacity = None;
    }
    (!plan.epochs.is_empty()).then_some(plan)
}

impl Choice {
    /// An epoch begins as `drawn`.
    fn apply(&self, plan: &mut Plan, drawn: &Epoch) {
        match self {
            Self::Option { which, to } => option(plan, *which, *to),
            Self::Fault { which, to } => fault(&mut plan.faults, *which, *to),
            Self::Faultless => plan.faults = Faults::none(),
            Self::DiskCapacity { files, part } => {
                let file = u64::from(plan.options.segments_per_file.unwrap_or(2)) * SEGMENT;
                let whole = (2 + u64::from(files % 5)) * file;
                let capacity = whole + (64 << 10) + u64::from(*part) % file;
                plan.faults.capacity = Some(capacity);
            }
            Self::Sector { large } => plan.sector = if *large { 4096 } else { 512 },
            Self::Latency { which, to } => latency(&mut plan.latencies, *which, *to),
            Self::Keys { count } => plan.keys.truncate(2 + usize::from(count % 40)),
            Self::Groups { count } => plan.groups.truncate(1 + usize::from(count % 4)),
            Self::Kind { which, weight } => {
                let count = plan.mix.kinds.len();
                // The first one is never 0: not all weights may be.
                plan.mix.kinds[usize::from(*which) % count] = (*weight).max(1).into();
            }
            Self::OneKind { which } => {
                let count = plan.mix.kinds.len();
                let which = usize::from(*which) % count;
                plan.mix.kinds.fill(0);
                (plan.mix.kinds[0], plan.mix.kinds[which]) = (1, 20);
            }
            Self::Size { which, weight } => {
                plan.mix.sizes[usize::from(which % 3)] = (*weight).into();
                plan.mix.sizes[0] = plan.mix.sizes[0].max(1);
            }
            Self::Durability { which, weight } => {
                plan.mix.durability[usize::from(which % 4)] = (*weight).into();
                plan.mix.durability[3] = plan.mix.durability[3].max(1);
            }
            Self::Percents { dropped, pauses, hot } => {
                let percent = |byte: &u8| u64::from(byte % 101);
                plan.mix.dropped = percent(dropped).min(60);
                (plan.mix.pauses, plan.mix.hot) = (percent(pauses), percent(hot));
            }
            Self::Large { some, to } => plan.large = some.then(|| large(*to)),
            Self::Last { opening } => plan.last = opening.opening(),
            Self::Epoch { epoch } if plan.epochs.len() < MOST_EPOCHS => {
                let number = u64::try_from(plan.epochs.len()).expect("there are few");
                plan.epochs.push(epoch.epoch(number, drawn));
            }
            Self::Epoch { .. } => {}
        }
    }
}

fn option(plan: &mut Plan, which: u8, to: u8) {
    let options = &mut plan.options;
    let small = u32::from(to);
    match which % 13 {
        0 => {
            options.segments_per_file = Some(2 + small % 3);
            options.capacity = options.capacity.map(|capacity| whole(capacity, 2 + small % 3));
        }
        1 => {
            let per_file = options.segments_per_file.unwrap_or(2);
            options.capacity =
                (to > 0).then(|| whole((8 + u64::from(to % 13)) * SEGMENT, per_file));
        }
        2 => {
            let all = [Durability::Synced, Durability::Written, Durability::Buffered];
            options.durability = all[usize::from(to % 3)];
        }
        3 => options.buffer_len = 4096 << (to % 5),
        4 => options.write_memory = (64 << 10) << (to % 4),
        5 => options.writes_in_flight = 1 + small % 4,
        6 => options.flush_after = Duration::from_micros(200 + u64::from(to) * 80),
        7 => options.sync_bytes = 4096 << (to % 7),
        8 => options.sync_after = Duration::from_millis(1 + u64::from(to)),
        9 => options.space_percent = 110 + small * 2,
        10 => options.compaction_rate = (to > 0).then(|| (64 << 10) * u64::from(to)),
        11 => options.mixed_percent = 1 + small % 100,
        12 => options.index_memory = (to > 0).then(|| 1024 + 16 * u64::from(to)),
        _ => options.rewrite_memory = (64 << 10) << (to % 5),
    }
}

/// Rounded up to whole files.
fn whole(capacity: u64, per_file: u32) -> u64 {
    capacity.next_multiple_of(u64::from(per_file) * SEGMENT)
}

fn fault(faults: &mut Faults, which: u8, to: u16) {
    let rate = u32::from(to);
    match which % 5 {
        0 => faults.read_error = rate,
        1 => faults.write_error = rate / 2,
        2 => faults.sync_error = rate,
        3 => faults.name_error = rate,
        _ => {
            let all = [FailedSync::Keeps, FailedSync::Drops, FailedSync::Either];
            faults.failed_sync = all[usize::from(to % 3)];
        }
    }
}

fn latency(latencies: &mut Latencies, which: u8, to: u8) {
    let most = 100 + u64::from(to) * 100;
    match which % 6 {
        0 => *latencies = Latencies::constant(Duration::from_micros(1 + u64::from(to))),
        1 => latencies.read = Latency::micros(20, most),
        2 => latencies.write = Latency::micros(20, most),
        3 => latencies.sync = Latency::micros(20, most * 2),
        4 => latencies.names = Latency::micros(20, most),
        _ => latencies.slow_per_million = u32::from(to) * 200,
    }
}

fn large(to: [u8; 7]) -> Large {
    let percent = |at: usize, most: u8| u64::from(to[at] % (most + 1));
    Large {
        puts: percent(0, 30),
        pieces: 1 + percent(1, 3),
        streamed: percent(2, 60),
        broken: percent(3, 40),
        given_up: percent(4, 50),
        slow_writes: to[5] % 2 == 1,
        read_on: percent(6, 60),
    }
}

impl DrawnEpoch {
    /// What is not drawn here is that of `drawn`.
    fn epoch(&self, number: u64, drawn: &Epoch) -> Epoch {
        let ends = [
            End::Crash,
            End::FlushThenCrash,
            End::CloseThenCrash,
            End::CloseThenOpen,
            End::DropThenOpen,
        ];
        let end = ends[usize::from(self.end) % ends.len()];
        let closes = matches!(end, End::CloseThenCrash | End::CloseThenOpen);
        let calm_end = self.flags & 2 != 0;
        let clients = (0..).zip(self.clients.iter().take(MOST_CLIENTS));
        let again = self.again.as_ref();
        let fork = self.fork.as_ref();
        Epoch {
            number,
            opening: self.opening.opening(),
            again: again
                .map(|(crash, opening)| Again { crash: crash.kind(), opening: opening.opening() }),
            clients: clients
                .map(|(client, gaps)| Part { client, ops: numbers(gaps) })
                .filter(|part| !part.ops.is_empty())
                .collect(),
            stop: self.stop.map(|stop| stop.stop(12)),
            end,
            close_early: self.flags & 1 != 0 && closes,
            calm_end,
            settle: self.flags & 4 != 0 && calm_end,
            crash: self.crash.kind(),
            fork: fork.map(|(world, opening)| Fork {
                world: (*world).into(),
                opening: opening.opening(),
            }),
            ..drawn.clone()
        }
    }
}

/// Numbers that rise by the gaps.
fn numbers(gaps: &[u8]) -> Numbers {
    let mut wanted = Vec::new();
    let mut next = 0;
    for &gap in gaps.iter().take(MOST_OPS) {
        next += u64::from(gap);
        wanted.push(next);
        next += 1;
    }
    // Numbers can only be made by leaving out: from behind, so that places stay what they are.
    let mut numbers = Numbers::below(next);
    let mut end = next;
    for &number in wanted.iter().rev() {
        numbers = numbers.without(number + 1, end);
        end = number;
    }
    numbers.without(0, end)
}

impl DrawnOpening {
    fn opening(&self) -> Opening {
        let cut = |&(stop, crash): &(DrawnStop, DrawnCrash)| Cut {
            stop: stop.stop(7),
            crash: crash.kind(),
        };
        Opening {
            faulty: u64::from(self.faulty % 3),
            cuts: self.cuts.iter().take(MOST_CUTS).map(cut).collect(),
        }
    }
}

impl DrawnStop {
    /// Effects up to two to the power of `bits`, and steps and time to match.
    fn stop(self, bits: u32) -> StopAt {
        match self {
            Self::Effects(at) => StopAt::Effects(1 + u64::from(at) % (1 << bits)),
            Self::Steps(at) => StopAt::Steps(1 + u64::from(at) % (8 << bits)),
            Self::After(at) => {
                StopAt::After(Duration::from_micros(1 + u64::from(at) * 8 % (64 << bits)))
            }
        }
    }
}

impl DrawnCrash {
    fn kind(self) -> CrashKind {
        if self.kill {
            return CrashKind::ProcessKill;
        }
        CrashKind::PowerCut {
            sectors: Some(SectorBias::EVERY[usize::from(self.sectors) % SectorBias::EVERY.len()]),
            names: Some(NameBias::EVERY[usize::from(self.names) % NameBias::EVERY.len()]),
        }
    }
}
