//! What must be there: everything that children said since the last opening that showed all keys.
//!
//! Definition: the *place* of a worker is the number of its last write that is there. A state may be
//! that after several numbers (a refused write changes nothing, nor does deleting what is not
//! there), so a place is known as a lowest and a highest one, and each rule takes the one that cannot
//! accuse the store of what it did not do.

use std::collections::BTreeMap;

use logstor::Durability;
use logstor::types::{to_u64, to_usize};

use super::child::State;
use super::wire::{Effect, Said, Slot, Version};
use super::{Outcome, SCRATCH, WORKERS};

/// What the store went through since the writes were said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its process died, or closed it: what the system was given is there.
    Killed,
    /// Of what was not synced anything may be lost.
    PowerCut,
}

/// A write since the last opening.
#[derive(Clone, Debug)]
struct Op {
    durability: Durability,
    effects: Vec<Effect>,
    /// The last write of each worker that was acknowledged before this one began.
    before: Vec<u32>,
    /// None while nothing was said of it.
    made: Option<bool>,
}

/// One worker.
#[derive(Clone, Debug, Default)]
struct Series {
    /// What the last opening showed.
    base: State,
    /// What came after: the write of number n is at n - 1.
    ops: Vec<Op>,
    /// The last write that was said to be made, or not.
    ended: u32,
    /// Writes up to these cannot be lost by the death of a process, or by a power cut.
    written: u32,
    synced: u32,
}

/// All that is known.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// The round that made the writes since the last opening.
    round: u32,
    workers: Vec<Series>,
}

/// What one comparison showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Acknowledged writes that had to be there, and were.
    pub(crate) sure: u64,
    /// Writes that are there although they might have been lost.
    pub(crate) lucky: u64,
    /// Acknowledged writes that are not there, and need not be.
    pub(crate) lost: u64,
    /// Keys that are there.
    pub(crate) keys: u64,
}

/// Changes `state` as a write of this version does.
pub(super) fn apply(effects: &[Effect], version: Version, state: &mut State) {
    for &effect in effects {
        match effect {
            Effect::Put(slot) => drop(state.insert(slot, version)),
            Effect::Delete(slot) => drop(state.remove(&slot)),
            Effect::Clear => state.retain(|slot, _| slot.group != SCRATCH),
        }
    }
}

impl Model {
    /// An empty store.
    pub(super) fn new() -> Self {
        Self { round: 0, workers: vec![Series::default(); usize::from(WORKERS)] }
    }

    fn series(&mut self, worker: u8) -> Outcome<&mut Series> {
        let series = self.workers.get_mut(usize::from(worker));
        series.ok_or_else(|| format!("there is no worker {worker}").into())
    }

    /// Notes what a child said of its writes; anything else is none of its business.
    pub(super) fn hear(&mut self, said: &Said) -> Outcome<()> {
        match *said {
            Said::Begin { worker, number, durability, ref effects } => {
                let before = self.workers.iter().map(|series| series.ended).collect();
                let ops = &mut self.series(worker)?.ops;
                let op = Op { durability, effects: effects.clone(), before, made: None };
                ops.push(op);
                let in_turn = ops.len() == usize::try_from(number)?;
                in_turn.then_some(()).ok_or_else(|| format!("not in turn: {said}").into())
            }
            Said::Done { worker, number } => self.ended(worker, number, true),
            Said::Not { worker, number } => self.ended(worker, number, false),
            Said::Saw { worker, version } => self.saw(worker, version),
            _ => Ok(()),
        }
    }

    fn ended(&mut self, worker: u8, number: u32, made: bool) -> Outcome<()> {
        let series = self.series(worker)?;
        let op = number.checked_sub(1).and_then(|at| series.ops.get_mut(usize::try_from(at).ok()?));
        let op = op.ok_or_else(|| format!("worker {worker} never began {number}"))?;
        op.made = Some(made);
        series.ended = number;
        let durability = op.durability;
        if made {
            self.is_there(worker, number, durability);
        }
        Ok(())
    }

    /// Somebody else than its worker read a value of this version.
    fn saw(&mut self, worker: u8, version: Version) -> Outcome<()> {
        if version.round != self.round {
            return Ok(()); // of an opening before, and checked by then
        }
        let series = self.series(worker)?;
        let at = usize::try_from(version.number)?.checked_sub(1);
        match at.and_then(|at| series.ops.get(at)) {
            None => Err(format!("worker {worker} never began {version}, and it was seen").into()),
            Some(op) if op.made == Some(false) => {
                Err(format!("worker {worker}: {version} was refused, and it was seen").into())
            }
            Some(op) if op.durability == Durability::Synced => {
                self.is_there(worker, version.number, Durability::Synced);
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    /// A write has this durability, and everything that was accepted before it.
    fn is_there(&mut self, worker: u8, number: u32, durability: Durability) {
        let at = usize::from(worker);
        let mut before = self.workers[at].ops[to_usize(number) - 1].before.clone();
        before[at] = number;
        for (series, number) in self.workers.iter_mut().zip(before) {
            if durability >= Durability::Written {
                series.written = series.written.max(number);
            }
            if durability == Durability::Synced {
                series.synced = series.synced.max(number);
            }
        }
    }

    /// The store was closed in order: nothing may be missing.
    pub(super) fn closed(&mut self) {
        for series in &mut self.workers {
            (series.written, series.synced) = (series.ended, series.ended);
        }
    }

    /// Compares what an opening showed with what must be there.
    pub(super) fn check(&self, found: &[State], fate: Fate) -> Outcome<Checked> {
        let mut checked = Checked::default();
        let mut places = Vec::new();
        for (worker, (series, found)) in self.workers.iter().zip(found).enumerate() {
            let floor = if fate == Fate::PowerCut { series.synced } else { series.written };
            let place = series.place(self.round, found, floor);
            let place = place.map_err(|why| format!("worker {worker}: {why}"))?;
            let acknowledged = |from: u32, end: u32| {
                let some = series.ops.get(to_usize(from)..to_usize(end)).unwrap_or_default();
                to_u64(some.iter().filter(|op| op.made == Some(true)).count())
            };
            checked.sure += acknowledged(0, floor);
            checked.lucky += acknowledged(floor, place.highest);
            checked.lost += acknowledged(place.highest, series.ended.max(place.highest));
            checked.keys += to_u64(found.len());
            places.push(place);
        }
        self.check_order(&places)?;
        Ok(checked)
    }

    /// What is there is a prefix: whatever was acknowledged before a write began that is there, is
    /// there too.
    fn check_order(&self, places: &[Place]) -> Outcome<()> {
        for (worker, place) in places.iter().enumerate() {
            let Some(last) = place.lowest.checked_sub(1) else { continue };
            let before = &self.workers[worker].ops[to_usize(last)].before;
            for (other, (place, &needed)) in places.iter().zip(before).enumerate() {
                if place.highest < needed {
                    let (it, highest) = (last + 1, place.highest);
                    return Err(format!(
                        "no prefix: write {it} of worker {worker} is there, but of worker {other} \
                         only {highest} writes, although {needed} had ended before that began"
                    )
                    .into());
                }
            }
        }
        Ok(())
    }

    /// An opening showed this, after a check: from now on it may not change any more.
    pub(super) fn take(&mut self, found: &[State], round: u32) {
        self.round = round;
        let series = |base: &State| Series { base: base.clone(), ..Series::default() };
        self.workers = found.iter().map(series).collect();
    }
}

/// How far a worker has come.
#[derive(Clone, Copy, Debug)]
struct Place {
    lowest: u32,
    highest: u32,
}

impl Series {
    /// After which writes the state is `found`; `floor` is the first that it may be.
    fn place(&self, round: u32, found: &State, floor: u32) -> Result<Place, String> {
        let mut state = self.base.clone();
        let mut lowest = (state == *found).then_some(0);
        let mut highest = lowest;
        let mut least = (usize::MAX, 0);
        for (number, op) in (1..).zip(&self.ops) {
            if op.made != Some(false) {
                apply(&op.effects, Version { round, number }, &mut state);
            }
            if state == *found {
                lowest = lowest.or(Some(number));
                highest = Some(number);
            }
            if number >= floor {
                least = least.min((differences(&state, found).len(), number));
            }
        }
        match (lowest, highest) {
            (Some(lowest), Some(highest)) if highest >= floor => Ok(Place { lowest, highest }),
            (_, Some(highest)) => {
                let what = self.ops.get(to_usize(highest)).map(|op| (op.durability, &op.effects));
                Err(format!("write {floor} must be there, but only {highest} are; next: {what:?}"))
            }
            _ => Err(self.mismatch(round, found, least.1)),
        }
    }

    /// How what was found differs from the nearest state that may be.
    fn mismatch(&self, round: u32, found: &State, nearest: u32) -> String {
        let mut state = self.base.clone();
        for (number, op) in (1..=nearest).zip(&self.ops) {
            if op.made != Some(false) {
                apply(&op.effects, Version { round, number }, &mut state);
            }
        }
        let differences = differences(&state, found);
        let said: Vec<String> = differences
            .iter()
            .map(|(slot, expected, found)| {
                let name = |version: &Option<Version>| {
                    version.map_or_else(|| "nothing".to_owned(), |version| version.to_string())
                };
                format!("{slot} holds {} instead of {}", name(found), name(expected))
            })
            .collect();
        format!(
            "what is there follows from no write; {} began, {} ended, {} are synced; beside the \
             state after {nearest}: {}",
            self.ops.len(),
            self.ended,
            self.synced,
            said.join(", ")
        )
    }
}

/// Slots that differ: what each holds in `expected` and in `found`.
fn differences(expected: &State, found: &State) -> Vec<(Slot, Option<Version>, Option<Version>)> {
    let mut slots: BTreeMap<Slot, (Option<Version>, Option<Version>)> = BTreeMap::new();
    for (&slot, &version) in expected {
        slots.entry(slot).or_default().0 = Some(version);
    }
    for (&slot, &version) in found {
        slots.entry(slot).or_default().1 = Some(version);
    }
    let differ = slots.into_iter().filter(|(_, (expected, found))| expected != found);
    differ.map(|(slot, (expected, found))| (slot, expected, found)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(key: u8) -> Slot {
        Slot { group: 0, key }
    }

    /// What two of the workers hold, as numbers of writes in the first round; others hold nothing.
    fn found(zero: &[(u8, u32)], one: &[(u8, u32)]) -> Vec<State> {
        let state = |keys: &[(u8, u32)]| -> State {
            keys.iter().map(|&(key, number)| (slot(key), Version { round: 1, number })).collect()
        };
        let mut found = vec![State::new(); usize::from(WORKERS)];
        (found[0], found[1]) = (state(zero), state(one));
        found
    }

    fn told(lines: &[&str]) -> Model {
        let mut model = Model::new();
        model.take(&found(&[], &[]), 1);
        for line in lines {
            model.hear(&Said::parse(line).expect(line)).unwrap();
        }
        model
    }

    /// Worker 0 makes a batch, and has a put under way; worker 1 begins between the two.
    const STORY: [&str; 7] = [
        "begin 0 1 b p0.1 p0.2",
        "done 0 1",
        "begin 1 1 b p0.1",
        "done 1 1",
        "begin 0 2 s p0.3",
        "begin 1 2 w d0.1",
        "not 1 2",
    ];

    #[test]
    fn any_prefix_may_be_there_and_nothing_else() {
        let model = told(&STORY);
        let check =
            |found: &[State], says: Option<&str>| match (model.check(found, Fate::Killed), says) {
                (Ok(_), None) => {}
                (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
                (outcome, says) => panic!("{outcome:?}, {says:?}"),
            };
        check(&found(&[], &[]), None);
        check(&found(&[(1, 1), (2, 1)], &[]), None);
        check(&found(&[(1, 1), (2, 1)], &[(1, 1)]), None);
        check(&found(&[(1, 1), (2, 1), (3, 2)], &[(1, 1)]), None);
        check(&found(&[(1, 1)], &[]), Some("follows from no write"));
        check(&found(&[(1, 1), (2, 1), (4, 2)], &[]), Some("0.4 holds 1.2 instead of nothing"));
        check(&found(&[], &[(1, 1)]), Some("no prefix"));
        check(&found(&[(1, 1), (2, 1), (3, 2)], &[]), Some("no prefix"));
    }

    #[test]
    fn what_is_synced_must_be_there_and_what_ended_before_it_began() {
        let mut model = told(&STORY);
        model.hear(&Said::parse("done 0 2").unwrap()).unwrap();
        for fate in [Fate::Killed, Fate::PowerCut] {
            let all = model.check(&found(&[(1, 1), (2, 1), (3, 2)], &[(1, 1)]), fate).unwrap();
            assert_eq!((all.sure, all.lucky, all.lost, all.keys), (3, 0, 0, 4));
            model.check(&found(&[(1, 1), (2, 1), (3, 2)], &[]), fate).unwrap_err();
            model.check(&found(&[(1, 1), (2, 1)], &[(1, 1)]), fate).unwrap_err();
        }
    }

    #[test]
    fn what_is_written_survives_a_process_and_may_not_survive_a_power_cut() {
        let model = told(&["begin 0 1 w p0.1", "done 0 1"]);
        model.check(&found(&[], &[]), Fate::Killed).unwrap_err();
        let lost = model.check(&found(&[], &[]), Fate::PowerCut).unwrap();
        assert_eq!((lost.sure, lost.lost), (0, 1));
    }

    #[test]
    fn what_was_seen_of_a_synced_write_must_be_there_though_it_was_not_acknowledged() {
        let model = told(&["begin 0 1 s p0.1", "saw 0 1.1"]);
        model.check(&found(&[], &[]), Fate::PowerCut).unwrap_err();
        model.check(&found(&[(1, 1)], &[]), Fate::PowerCut).unwrap();
        let buffered = told(&["begin 0 1 b p0.1", "saw 0 1.1"]);
        buffered.check(&found(&[], &[]), Fate::Killed).unwrap();
        let mut refused = told(&["begin 0 1 s p0.1", "not 0 1"]);
        refused.hear(&Said::parse("saw 0 1.1").unwrap()).unwrap_err();
        refused.hear(&Said::parse("saw 0 1.2").unwrap()).unwrap_err();
    }

    #[test]
    fn after_a_close_nothing_may_be_missing_and_what_an_opening_showed_stays() {
        let mut model = told(&["begin 0 1 b p0.1", "done 0 1"]);
        model.closed();
        model.check(&found(&[], &[]), Fate::Killed).unwrap_err();
        model.take(&found(&[(1, 1)], &[]), 2);
        model.check(&found(&[], &[]), Fate::PowerCut).unwrap_err();
        model.check(&found(&[(1, 1)], &[]), Fate::PowerCut).unwrap();
    }
}
