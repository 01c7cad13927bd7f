//! What may be left out of a plan, or lessened.
//!
//! Law: a step makes a plan smaller, so that a search that takes every step it can must end.
//!
//! Absent on purpose: steps that only make a plan different.

use std::time::Duration;

use logstor_io_sim::{CrashKind, Faults, Latencies};

use crate::plan::{End, Epoch, Mix, Plan};

/// The plan with one thing less, by the number of the thing; `None` if there are no more of them.
/// A thing that is as small as can be is passed over.
type Step = fn(&Plan, usize) -> Option<Plan>;

/// All steps, large ones first.
pub(super) const ALL: [Step; 14] = [
    without_an_epoch,
    without_a_client,
    without_a_wound,
    less_use_after_damage,
    without_ops::<1>,
    without_ops::<2>,
    without_ops::<4>,
    without_ops::<16>,
    without_ops::<5000>,
    without_faults,
    without_a_turn_in_an_epoch,
    without_what_is_rare,
    shorter_values,
    fewer_names,
];

fn without_an_epoch(plan: &Plan, place: usize) -> Option<Plan> {
    let mut plan = plan.clone();
    // The last ones first: what comes after the failure was never reached.
    let at = plan.epochs.len().checked_sub(place + 1)?;
    plan.epochs.remove(at);
    Some(plan)
}

fn without_a_client(plan: &Plan, place: usize) -> Option<Plan> {
    let mut plan = plan.clone();
    let mut places = (0..plan.epochs.len())
        .flat_map(|epoch| (0..plan.epochs[epoch].clients.len()).map(move |client| (epoch, client)));
    let (epoch, client) = places.nth(place)?;
    drop(places);
    plan.epochs[epoch].clients.remove(client);
    Some(plan)
}

fn without_a_wound(plan: &Plan, place: usize) -> Option<Plan> {
    let mut plan = plan.clone();
    let wounds = &mut plan.damage.as_mut()?.wounds;
    if place >= wounds.len() {
        return None;
    }
    wounds.remove(place);
    Some(plan)
}

fn less_use_after_damage(plan: &Plan, place: usize) -> Option<Plan> {
    fn damage(plan: &mut Plan, change: impl FnOnce(&mut crate::plan::Damage)) {
        if let Some(damage) = &mut plan.damage {
            change(damage);
        }
    }
    let changes: [fn(&mut Plan); 6] = [
        |plan| damage(plan, |damage| damage.rounds = 0),
        |plan| damage(plan, |damage| damage.rounds = damage.rounds.min(1)),
        |plan| damage(plan, |damage| damage.ops /= 2),
        |plan| damage(plan, |damage| damage.ops = damage.ops.saturating_sub(1)),
        |plan| damage(plan, |damage| damage.misread = 0),
        |plan| damage(plan, |damage| damage.misread /= 2),
    ];
    changed(plan, &changes, place)
}

/// Without one of `PARTS` parts of the operations of a client; with few of them, without one.
fn without_ops<const PARTS: u64>(plan: &Plan, place: usize) -> Option<Plan> {
    let mut plan = plan.clone();
    let mut left = u64::try_from(place).ok()?;
    for part in plan.epochs.iter_mut().flat_map(|epoch| &mut epoch.clients) {
        let chunk = part.ops.len().div_ceil(PARTS).max(1);
        let chunks = part.ops.len().div_ceil(chunk);
        if left < chunks {
            // From the end: what comes after the failure was never reached.
            let from = (chunks - 1 - left) * chunk;
            part.ops = part.ops.without(from, from + chunk);
            return Some(plan);
        }
        left -= chunks;
    }
    None
}

/// The first of `changes`, from `place` on, that changes anything.
fn changed(plan: &Plan, changes: &[fn(&mut Plan)], place: usize) -> Option<Plan> {
    let before = plan.to_string();
    let mut real = changes.iter().filter_map(|change| {
        let mut plan = plan.clone();
        change(&mut plan);
        (plan.to_string() != before).then_some(plan)
    });
    real.nth(place)
}

fn without_faults(plan: &Plan, place: usize) -> Option<Plan> {
    let changes: [fn(&mut Plan); 16] = [
        |plan| plan.faults = Faults::none(),
        |plan| plan.faults.capacity = None,
        |plan| plan.faults.read_error = 0,
        |plan| plan.faults.write_error = 0,
        |plan| plan.faults.sync_error = 0,
        |plan| plan.faults.name_error = 0,
        |plan| plan.faults.latent_error = 0,
        |plan| plan.faults.open_error = 0,
        |plan| plan.faults.list_error = 0,
        |plan| plan.faults.no_room = 0,
        |plan| plan.faults.no_room_spell = None,
        |plan| plan.faults.stall = 0,
        |plan| plan.faults.device_stall = 0,
        |plan| plan.faults.in_parts = 0,
        |plan| plan.faults.late_timer = 0,
        |plan| plan.latencies = Latencies::constant(Duration::from_micros(100)),
    ];
    changed(plan, &changes, place)
}

/// In all epochs, then in each one: no fork, no crash on the way, a simple end.
fn without_a_turn_in_an_epoch(plan: &Plan, place: usize) -> Option<Plan> {
    let turns: [fn(&mut Epoch); 9] = [
        |epoch| epoch.fork = None,
        |epoch| epoch.again = None,
        |epoch| epoch.opening.cuts.clear(),
        |epoch| epoch.opening.faulty = 0,
        |epoch| epoch.stop = None,
        |epoch| epoch.close_early = false,
        |epoch| epoch.settle = false,
        |epoch| epoch.end = End::Crash,
        |epoch| epoch.crash = CrashKind::ProcessKill,
    ];
    let before = plan.to_string();
    let last = |plan: &mut Plan| plan.last = crate::plan::Opening::default();
    let ways = (0..turns.len() * plan.epochs.len()).map(|way| {
        let mut plan = plan.clone();
        let (epoch, turn) = (way / turns.len(), way % turns.len());
        turns[turn](&mut plan.epochs[epoch]);
        plan
    });
    let mut all: Vec<Plan> = ways.collect();
    let mut plan = plan.clone();
    last(&mut plan);
    all.push(plan);
    all.into_iter().filter(|plan| plan.to_string() != before).nth(place)
}

fn without_what_is_rare(plan: &Plan, place: usize) -> Option<Plan> {
    let changes: [fn(&mut Plan); 14] = [
        |plan| plan.shadows = None,
        |plan| plan.large = None,
        |plan| plan.reads = None,
        |plan| lessen_reads(plan, |reads| reads.cache = 0),
        |plan| lessen_reads(plan, |reads| reads.many = 0),
        |plan| lessen_reads(plan, |reads| reads.in_memory = 0),
        |plan| plan.mix.dropped = 0,
        |plan| plan.mix.pauses = 0,
        |plan| lessen_large(plan, |large| large.broken = 0),
        |plan| lessen_large(plan, |large| large.given_up = 0),
        |plan| lessen_large(plan, |large| large.slow_writes = false),
        |plan| plan.options.compaction_rate = None,
        |plan| plan.options.writes_in_flight = 1,
        |plan| plan.epochs.iter_mut().for_each(|epoch| epoch.cycles = epoch.cycles.min(1)),
    ];
    changed(plan, &changes, place)
}

fn lessen_reads(plan: &mut Plan, change: impl FnOnce(&mut crate::plan::Reads)) {
    if let Some(reads) = &mut plan.reads {
        change(reads);
    }
}

fn lessen_large(plan: &mut Plan, change: impl FnOnce(&mut crate::plan::Large)) {
    if let Some(large) = &mut plan.large {
        change(large);
    }
}

fn shorter_values(plan: &Plan, place: usize) -> Option<Plan> {
    let changes: [fn(&mut Plan); 7] = [
        |plan| most(plan, 16),
        |plan| most(plan, 100),
        |plan| most(plan, 1000),
        |plan| most(plan, 4000),
        |plan| lessen_large(plan, |large| large.pieces = 1),
        |plan| lessen_large(plan, |large| large.pieces = large.pieces.min(2)),
        |plan| plan.mix = Mix { sizes: [1, 0, 0], ..plan.mix.clone() },
    ];
    changed(plan, &changes, place)
}

/// Values of at most so many bytes; tagged, so that they can be told apart.
fn most(plan: &mut Plan, len: u64) {
    plan.value_max = Some(plan.value_max.map_or(len, |most| most.min(len)));
}

fn fewer_names(plan: &Plan, place: usize) -> Option<Plan> {
    let changes: [fn(&mut Plan); 4] = [
        |plan| plan.groups.truncate(1),
        |plan| plan.keys.truncate(1),
        |plan| plan.keys.truncate(plan.keys.len().div_ceil(2)),
        |plan| plan.keys.truncate((plan.keys.len() - 1).max(1)),
    ];
    changed(plan, &changes, place)
}
