//! Fault class C: a disk that damages what it holds, and says nothing.
//!
//! ```text
//!   epochs ──> crash ──> at rest ──┬──> fork: what an undamaged opening shows
//!                                  └──> survey, wounds ──> opening ──> check ──> rounds of use
//! ```
//!
//! Promise: a read gives the correct value or says `Corruption`, never an older version, and
//! nothing but what was damaged suffers. In detail, for one piece of damage, or two that do not lie
//! in the same segment:
//!
//! 1. A read gives the value that it would give of the undamaged disk, or `Corruption`. Absent is
//!    only what was absent.
//! 2. A key of whose newest record no byte is damaged, wherever it lies, gives its value.
//! 3. The store opens, or is refused with an error of kind `Corruption`; refused only if something
//!    was damaged that the log cannot be read without. Salvaging then succeeds, the superblock
//!    apart, and reports what is lost. There a key whose newest record lies within a reported loss
//!    may have an older value or none; every other key is as law 1 says.
//! 4. The window: damage to a buffer of the log at or above the highest undamaged watermark looks
//!    like a torn write. There the log may end before that buffer, as after a crash.
//! 5. Afterwards the store goes on: writes, deletes, compaction, crashes, other openings, and the
//!    same laws hold; a key that was written again has its new value.
//!
//! Two pieces of damage in one segment may cover for each other: the seal and the header that it
//! lists, or both blocks that say that a slot is erased; and so may one in a copy that no seal
//! vouches for, which passes for torn, and one in its original. So may a misdirected write within
//! one segment, since what is written over and what is missing both lie there; and damage to both
//! slots of the mark. A loss that only the mark tells of is reported by the opening that finds it,
//! and not by the next one, which has another mark. Of a segment that its file does not hold as a
//! whole nothing counts.
//!
//! A quarter of the plans have no wound, but reads that give other bytes than those that lie there
//! ([`Faults::misread`]), while the store is used and while it is opened. There a read gives the
//! right value or says `Corruption`, whatever was read; an opening may be refused as corrupt; and
//! the disk stays right: the next opening, if its reads are, shows everything.
//!
//! Another quarter has a disk that *lies* in the last epoch, about one write at most, whatever that
//! writes, and of those that get lost in half of these plans also in the opening of that epoch:
//! some sectors of it are lost, or arrive elsewhere ([`Faults::lost_write`],
//! [`Faults::astray_write`]). The disk as it was meant is known ([`RawDisk::meant`]), so what is
//! wrong at the end is judged like a wound: what differs from it is damaged, and what its opening
//! shows is what laws 1 to 5 speak of. Besides:
//!
//! 6. While it lies, every get gives the right value or `Corruption`; a run of compaction may fail,
//!    and what it does not believe stays where it is. No other call errs.
//! 7. What the store wrote since is right: the disk as it was meant shows every promise kept. So
//!    nothing was moved, dropped or erased because of what the lie left there.
//!
//! No engine that reads once finds a lie about the end of the log while nothing durable says that
//! the end lies further on: neither a header, nor a seal, nor the mark. That is the window of
//! law 4: of acknowledged writes it takes what that buffer holds, and what followed it.
//!
//! Absent on purpose: lies while the store is opened or erased at rest; more than one lie in a run,
//! for two may cover for each other. Reported errors beside it: a device that fails *and* lies may
//! lose the copy that a failed write was saved by.
//!
//! [`RawDisk::meant`]: logstor_io_sim::RawDisk::meant

mod after;
mod facts;
mod model;
mod survey;
mod wound;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use logstor_core::{Db, Error, ErrorKind, Options, RecoveryMode};
use logstor_io_sim::{CrashKind, DiskImage, Faults};

use self::facts::Facts;
use self::model::{Model, Shown, read_all};
use self::survey::Survey;
use self::wound::{Patient, harms};
use super::{Over, Run, Step};
use crate::model::{Change, Record, State, is_legal};
use crate::plan::{Damage, Opening};

/// What is known of a store after damage.
#[derive(Debug)]
struct Case {
    survey: Survey,
    facts: Facts,
    model: Model,
    /// Everything that was accepted and is to be seen, or may be.
    history: Vec<Record>,
    /// What may be there besides, and made no difference as long as nothing was lost.
    unseen: Vec<Record>,
    /// How much of it an undamaged opening shows.
    cut: usize,
    /// The least of it that would show the same: what lies between is on the disk, or is not.
    least: usize,
    /// How it is opened from now on.
    mode: RecoveryMode,
    /// How often a read gives other bytes from now on.
    misread: u32,
}

impl Run {
    pub(super) fn all_damaged(&mut self) -> Step {
        let plan = Arc::clone(&self.plan);
        let mut past = Vec::new();
        for epoch in &plan.epochs {
            self.note(&format!("epoch {}", epoch.number));
            past.push(self.sim.raw().image());
            self.lost_early = self.lost_in_opening(epoch);
            self.open(&epoch.opening)?;
            self.lost_early = Faults::none();
            past.push(self.sim.raw().image());
            self.check()?;
            self.work(epoch)?;
        }
        self.crash(CrashKind::POWER_CUT)?;
        let Some(damage) = &plan.damage else { return Ok(()) };
        let Some(mut case) = self.hurt(damage, &past)? else { return Ok(()) };
        self.first_opening(&mut case)?;
        for round in 0..damage.rounds {
            self.round(&mut case, round, damage.ops)?;
        }
        Ok(())
    }

    /// Damages the disk at rest; `None` if there is no store yet.
    fn hurt(&mut self, damage: &Damage, past: &[DiskImage]) -> Step<Option<Case>> {
        let raw = self.sim.raw();
        // After silent faults of writes not what is there.
        let before = raw.meant().to_files();
        let Some(survey) = Survey::of(&before) else {
            self.count("damage/no store yet");
            return Ok(None);
        };
        let (history, unseen) = {
            let ledger = self.ledger.lock();
            (ledger.history.clone(), ledger.forgotten.clone())
        };
        let (state, least) = self.undamaged()?;
        // Several cuts may explain it; what follows from damage may have its reason in the last
        // one.
        let explains = |&cut: &usize| {
            cut == least || is_legal(&history, cut) && State::after(&history[..cut]) == state
        };
        let highest = (least..=history.len()).rev().find(explains);
        let cut = highest.expect("the first of them explains it");
        let ever = history.iter().chain(&unseen);
        let model = Model::of(&state, &history[..cut], ever, self.plan.keys.len());
        let taken = std::cell::RefCell::default();
        for (number, &wound) in (0..).zip(&damage.wounds) {
            let sector = u64::from(self.plan.sector);
            let patient = Patient {
                raw: &raw,
                before: &before,
                survey: &survey,
                past,
                sector,
                taken: &taken,
                number,
            };
            let told = patient.wound(wound);
            self.note(&format!("wound: {}", told.as_deref().unwrap_or("there is nothing to hit")));
            self.count(if told.is_some() { "damage/done" } else { "damage/nothing to hit" });
        }
        let after = raw.export();
        raw.forget_meant();
        let mut facts = Facts::of(&survey, &harms(&before, &after), &survey.cut(&after));
        let is_short = |(name, old): (&String, &Vec<u8>)| {
            after.get(name).is_none_or(|new| new.len() != old.len())
        };
        facts.structural |= before.iter().any(is_short);
        self.note(&format!("window {:?}, structural {}", facts.window, facts.structural));
        for what in &facts.hit {
            self.count(what);
        }
        let (mode, misread) = (RecoveryMode::Normal, damage.misread);
        let case = Case { survey, facts, model, history, unseen, cut, least, mode, misread };
        Ok(Some(case))
    }

    /// What an opening of the disk shows that should be there: on a fork, so that the one that is
    /// there stays as it is.
    fn undamaged(&mut self) -> Step<(State, usize)> {
        let mut fork = Self::aside(&self.plan, self.sim.fork(), self.ledger.fork(), Arc::default());
        fork.power_lost = self.power_lost;
        let there = self.sim.raw().export();
        for (name, meant) in self.sim.raw().meant().to_files() {
            if there.get(&name) != Some(&meant) {
                fork.sim.raw().put(&name, &meant);
            }
        }
        let ended = fork.open(&Opening::default()).and_then(|()| fork.check());
        let failure = fork.ledger.lock().failure.clone();
        if let (Err(Over), Some(what)) = (ended, failure) {
            std::mem::forget(fork);
            return self.fail(format!("before any damage: {what}"));
        }
        let history = fork.ledger.lock().history.clone();
        Ok((State::after(&history), history.len()))
    }

    fn damaged_options(&self, mode: RecoveryMode) -> Options {
        Options { recovery: mode, ..self.plan.options.clone() }
    }

    /// Opens the store as it is now.
    fn open_as(&mut self, mode: RecoveryMode, misread: u32) -> Step<Result<Db, Error>> {
        self.sim.set_faults(Faults { misread, ..Faults::none() });
        self.note(&format!("open: {mode:?}"));
        let open = Db::open(self.environment(), self.damaged_options(mode));
        let Some(opened) = self.run(open)? else {
            return self.fail("stopped, and nobody asked for it");
        };
        match &opened {
            Ok(db) => self.note(&format!("opened: {:?}", db.recovery_report())),
            Err(error) => self.note(&format!("open: {error}")),
        }
        Ok(opened)
    }

    fn show(&mut self, db: &Db) -> Step<Shown> {
        self.sim.set_faults(Faults::none());
        let (db, plan) = (db.clone(), Arc::clone(&self.plan));
        match self.run(async move { read_all(&db, &plan).await })? {
            Some(Ok(shown)) => Ok(shown),
            Some(Err(what)) => self.fail(what),
            None => self.fail("stopped, and nobody asked for it"),
        }
    }

    fn first_opening(&mut self, case: &mut Case) -> Step {
        self.apply_harm(case);
        match self.open_as(RecoveryMode::Normal, 0)? {
            Ok(db) => {
                self.count("damage/opened");
                let shown = self.show(&db)?;
                if let Some(from) = case.facts.window {
                    self.fit_window(case, from, &shown, None)?;
                }
                self.judge(case, &shown)?;
                self.db = Some(db);
                Ok(())
            }
            Err(error) => self.refused(case, &error, false),
        }
    }

    /// Law 1: keys whose newest record is damaged may be corrupt.
    fn apply_harm(&self, case: &mut Case) {
        let newest = newest_of(&case.history[..case.cut], case.least);
        for (&(group, key), expect) in &mut case.model.keys {
            let slot = case.survey.slot_of(group, &self.plan.keys[key]);
            let sequence = newest.get(&(group, key)).map_or(0, |all| all[0]);
            let there = expect.values.iter().any(Option::is_some);
            expect.corrupt |= there && case.facts.may_be_corrupt(slot, sequence);
        }
    }

    /// Law 4: the store shows what some earlier cut explains, not before the first damaged buffer.
    fn fit_window(
        &mut self,
        case: &mut Case,
        from: u64,
        shown: &Shown,
        salvaged: Option<(&logstor_core::RecoveryReport, bool)>,
    ) -> Step {
        let first = case.history.partition_point(|record| record.sequence < from);
        let mut told = String::new();
        for cut in (first.min(case.cut)..=case.cut).rev() {
            if !is_legal(&case.history, cut) {
                continue;
            }
            let state = State::after(&case.history[..cut]);
            let ever = case.history.iter().chain(&case.unseen);
            let model = Model::of(&state, &case.history[..cut], ever, self.plan.keys.len());
            let mut other = Case {
                model,
                cut,
                least: cut.min(case.least),
                survey: case.survey.clone(),
                history: case.history.clone(),
                unseen: case.unseen.clone(),
                facts: Facts::of(&case.survey, &[], &BTreeSet::new()),
                mode: case.mode,
                misread: case.misread,
            };
            std::mem::swap(&mut other.facts, &mut case.facts);
            self.apply_harm(&mut other);
            if let Some((report, later)) = salvaged {
                self.loosen(&mut other, &report.losses, later);
                if report.mark_lost || !report.losses.is_empty() {
                    self.loosen_end(&mut other);
                }
            }
            std::mem::swap(&mut other.facts, &mut case.facts);
            match other.model.judge_all(shown) {
                Ok(()) => {
                    if cut < case.cut {
                        self.count("damage/window");
                    }
                    case.model = other.model;
                    (case.cut, case.least) = (cut, other.least);
                    return Ok(());
                }
                Err(what) => told = what,
            }
        }
        let places = case.told(&told, &self.plan.keys);
        self.fail(format!("no cut from {first} to {} explains: {told}{places}", case.cut))
    }

    /// Laws 1 and 2.
    fn judge(&mut self, case: &Case, shown: &Shown) -> Step {
        let corrupt = Model::corrupt(shown);
        self.note(&format!("{} keys, {corrupt} of them corrupt", shown.keys.len()));
        if corrupt > 0 {
            self.count("damage/corruption reported");
        }
        self.ledger.lock().checks += 1;
        let judged = case.model.judge_all(shown);
        judged.or_else(|what| self.fail(format!("{what}{}", case.told(&what, &self.plan.keys))))
    }

    /// Law 3.
    fn refused(&mut self, case: &mut Case, error: &Error, later: bool) -> Step {
        self.count("damage/refused");
        // The version of a damaged superblock may be that of another format.
        let other_format = case.facts.superblock && error.kind() == ErrorKind::Invalid;
        if error.kind() != ErrorKind::Corruption && !other_format {
            return self.fail(format!("refused for another reason: {error:?}"));
        }
        if !case.facts.structural {
            return self.fail(format!("refused, and only values are damaged: {error:?}"));
        }
        let db = match self.open_as(RecoveryMode::Salvage, 0)? {
            Ok(db) => db,
            Err(error) if case.facts.superblock => {
                self.count("damage/superblock lost");
                let corrupt = matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Invalid);
                return if corrupt { Err(Over) } else { self.fail(format!("{error:?}")) };
            }
            Err(error) => return self.fail(format!("it cannot be salvaged: {error:?}")),
        };
        self.count("damage/salvaged");
        case.mode = RecoveryMode::Salvage;
        let report = db.recovery_report().clone();
        if !says_something(&report) {
            return self.fail(format!("refused, and nothing is reported: {error}; {report:?}"));
        }
        self.loosen(case, &report.losses, later);
        if report.mark_lost {
            self.count("damage/mark lost");
        }
        if report.mark_lost || !report.losses.is_empty() {
            self.loosen_end(case);
            Self::loosen_torn(case);
        }
        let shown = self.show(&db)?;
        case.model.settle(&shown);
        if let Some(from) = case.facts.window {
            self.fit_window(case, from, &shown, Some((&report, later)))?;
        }
        self.judge(case, &shown)?;
        self.db = Some(db);
        Ok(())
    }

    /// The same of what was written since, and cut short: the key may have its old value, the new
    /// one, or, torn, look damaged.
    fn loosen_torn(case: &mut Case) {
        for expect in case.model.keys.values_mut() {
            expect.corrupt |= expect.values.len() > 1;
        }
    }

    /// Without a mark, or a part of the log, it is not known where the log ended: what was never
    /// acknowledged may count.
    fn loosen_end(&self, case: &mut Case) {
        for record in &case.history[case.least..] {
            let all = 0..self.plan.keys.len();
            match record.change {
                // Torn, it looks like damage then.
                Change::Put { group, key, value } => {
                    case.model.may_be((group, key), Some(value), true);
                }
                Change::Delete { group, key } => case.model.may_be((group, key), None, false),
                Change::Truncate { group } => {
                    all.for_each(|key| case.model.may_be((group, key), None, false));
                }
                Change::Create { group, .. } | Change::Drop { group } => {
                    case.model.doubtful.insert(group);
                }
                Change::NextId(_) | Change::Nothing => {}
            }
        }
    }

    /// What lies within a loss is not known any more.
    fn loosen(&self, case: &mut Case, losses: &[logstor_core::Loss], later: bool) {
        let mut newest = newest_of(&case.history[..case.cut], case.least);
        for (key, sequences) in newest_of(&case.unseen, 0) {
            newest.entry(key).or_default().extend(sequences);
        }
        let lost = |slot, sequence| case.facts.may_be_lost(slot, sequence, losses, later);
        let mut loose = Vec::new();
        let mut groups = Vec::new();
        let mut unnamed = Vec::new();
        for &id in &case.model.ids {
            let slots = case.survey.slots_of_group(id);
            let of_group = |record: &&Record| match record.change {
                Change::Create { group, .. }
                | Change::Drop { group }
                | Change::Truncate { group } => group == id,
                _ => false,
            };
            if case.facts.may_be_corrupt(slots[0], 0) {
                unnamed.push(id);
            }
            let seen = &case.history[..case.cut];
            let mut records = seen.iter().chain(&case.unseen).filter(of_group);
            if records.any(|record| slots.iter().any(|&slot| lost(slot, record.sequence))) {
                groups.push(id);
            }
        }
        for (&(group, key), sequences) in &newest {
            let slot = case.survey.slot_of(group, &self.plan.keys[key]);
            if sequences.iter().any(|&sequence| lost(slot, sequence)) || groups.contains(&group) {
                loose.push((group, key));
            }
        }
        case.model.ids_lost = true;
        case.model.doubtful.extend(&groups);
        for id in groups.into_iter().chain(unnamed) {
            if let Some(name) = case.model.groups.get_mut(&id) {
                *name = None;
            }
        }
        for key in loose {
            case.model.loosen(key);
        }
    }
}

/// Whether a report of a salvaged store names any damage.
fn says_something(report: &logstor_core::RecoveryReport) -> bool {
    !report.losses.is_empty()
        || !report.damaged.is_empty()
        || !report.damaged_values.is_empty()
        || !report.damaged_catalogue.is_empty()
        || !report.damaged_files.is_empty()
        || report.mark_lost
}

impl Case {
    /// Where the records lay that a message is about.
    fn told(&self, what: &str, keys: &[Vec<u8>]) -> String {
        let mut lines = String::new();
        for (id, slots) in self.model.ids.iter().map(|&id| (id, self.survey.slots_of_group(id))) {
            let about = |text: String| what.contains(&text);
            for slot in slots.iter().filter(|_| about(format!("group {id} "))) {
                lines += &self.facts.told(&format!("catalogue of group {id}"), *slot);
            }
            for (number, key) in keys.iter().enumerate() {
                if about(format!("key {number} of group {id} ")) {
                    let told = format!("key {number} of group {id}");
                    lines += &self.facts.told(&told, self.survey.slot_of(id, key));
                }
            }
        }
        lines
    }
}

/// The sequence of the newest record of each key at place `least` of the history, and those of all
/// that follow.
fn newest_of(history: &[Record], least: usize) -> BTreeMap<model::Key, Vec<u64>> {
    let mut newest = BTreeMap::<model::Key, Vec<u64>>::new();
    for (place, record) in history.iter().enumerate() {
        if let Change::Put { group, key, .. } | Change::Delete { group, key } = record.change {
            let all = newest.entry((group, key)).or_default();
            if place < least {
                all.clear();
            }
            all.push(record.sequence);
        }
    }
    newest
}
