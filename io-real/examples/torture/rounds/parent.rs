//! The parent: one round after the other on one store, each with a child that dies somewhere else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::child::{Setting, State};
use super::dice::Dice;
use super::listener::{Heard, Listener, never};
use super::model::{Checked, Fate, Model};
#[cfg(not(test))]
use super::pauses::Copies;
use super::pauses::Pauses;
use super::wire::Said;
use super::{Outcome, WORKERS};

/// A child that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// When a child dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// So long after it began to open the store.
    Opening(Duration),
    /// So long after it began to read the keys.
    Reading(Duration),
    /// So long after so many writes were acknowledged.
    Writing(u64, Duration),
    /// So long after it was told, after so many writes, to close the store.
    Closing(u64, Duration),
    /// It is left to close the store after so many writes.
    Never(u64),
}

/// What a run came to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) rounds: u64,
    pub(crate) kills: u64,
    /// Of the kills, those before the store was open, and those while it was being closed.
    pub(crate) kills_opening: u64,
    pub(crate) kills_closing: u64,
    pub(crate) closed: u64,
    /// Openings after which every key was compared.
    pub(crate) openings: u64,
    pub(crate) checked: Checked,
    pub(crate) refused: u64,
    pub(crate) seen: u64,
    /// Of openings that were not from a dump.
    pub(crate) recovery_longest: Duration,
    pub(crate) recovery_last: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (checked, millis) = (&self.checked, |time: Duration| time.as_secs_f64() * 1e3);
        write!(
            out,
            "{} rounds, {} kills ({} opening, {} closing), {} closed; {} openings checked, {} keys; \
             acknowledged: {} had to be there and were, {} more were, {} were not and need not, {} \
             were refused; {} seen by others; recovery {:.1} ms, at most {:.1}",
            self.rounds,
            self.kills,
            self.kills_opening,
            self.kills_closing,
            self.closed,
            self.openings,
            checked.keys,
            checked.sure,
            checked.lucky,
            checked.lost,
            self.refused,
            self.seen,
            millis(self.recovery_last),
            millis(self.recovery_longest),
        )
    }
}

/// A store, and what is known of it.
pub(crate) struct Run {
    launch: Arc<dyn Fn() -> Command + Send + Sync>,
    store: PathBuf,
    seed: u64,
    round: u32,
    model: Model,
    /// The last round closed the store in order.
    closed: bool,
    dice: Dice,
    opening: Duration,
    closing: Duration,
    tally: Tally,
    pauses: Option<Pauses>,
}

/// How far a child has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Born,
    Opening,
    Open,
    Ready,
    Settled,
    Closed,
}

/// One round under way.
struct Life {
    moment: Moment,
    /// When it is to be killed.
    death: Option<Instant>,
    /// It was told to close the store.
    told: Option<Instant>,
    killed: bool,
    stage: Stage,
    acknowledged: u64,
    found: Vec<State>,
}

impl Run {
    /// A run of this seed on the store in this folder, which does not exist yet. `launch` gives a
    /// command that starts a child.
    pub(crate) fn new(
        launch: Arc<dyn Fn() -> Command + Send + Sync>,
        store: &Path,
        seed: u64,
    ) -> Self {
        Self {
            launch,
            store: store.to_path_buf(),
            seed,
            round: 0,
            model: Model::new(),
            closed: false,
            dice: Dice::of(seed, 0, 0),
            opening: Duration::from_millis(20),
            closing: Duration::from_millis(20),
            tally: Tally::default(),
            pauses: None,
        }
    }

    /// The store lies in an image that is copied in mid-flight.
    #[cfg(not(test))]
    pub(crate) fn pausing(self, pauses: Pauses) -> Self {
        Self { pauses: Some(pauses), ..self }
    }

    /// What came of the copies so far.
    #[cfg(not(test))]
    pub(crate) fn copies(&self) -> Copies {
        self.pauses.as_ref().map_or_else(Copies::default, |pauses| *pauses.copies())
    }

    /// What came of it so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// One round with a child that dies at a moment of the dice's choice.
    pub(crate) fn round(&mut self) -> Outcome<()> {
        let moment = self.choose();
        self.round += 1;
        self.tally.rounds += 1;
        let lived = self.live(moment);
        lived.map_err(|error| format!("round {}, {moment:?}: {error}", self.round).into())
    }

    /// A last round that only looks, and leaves the store closed.
    pub(crate) fn last_look(&mut self) -> Outcome<()> {
        if let Some(pauses) = &mut self.pauses {
            pauses.finish()?;
        }
        self.round += 1;
        let mut child = self.start(true)?;
        let mut life = Life::new(Moment::Never(u64::MAX));
        self.listen(&mut child, &mut life)?;
        let ended = child.wait()?;
        let whole = life.stage == Stage::Closed && ended.success();
        whole.then_some(()).ok_or_else(|| format!("the last look ended with {ended}").into())
    }

    fn choose(&mut self) -> Moment {
        let dice = &mut self.dice;
        let mut part = |whole: Duration| {
            whole.mul_f64(f64::from(u32::try_from(dice.roll(1200)).unwrap_or(0)) / 1000.0)
        };
        let (opening, closing) = (part(self.opening), part(self.closing));
        let writes = self.dice.roll(1500);
        match self.dice.roll(100) {
            0..22 => Moment::Opening(opening),
            22..30 => Moment::Reading(Duration::from_micros(self.dice.roll(40_000))),
            30..80 => Moment::Writing(writes, Duration::from_micros(self.dice.roll(2000))),
            80..90 => Moment::Closing(writes, closing),
            _ => Moment::Never(writes),
        }
    }

    fn start(&self, looks: bool) -> Outcome<Listener> {
        let (seed, round, folder) = (self.seed, self.round, self.store.clone());
        Listener::start((self.launch)(), &Setting { seed, round, looks, folder })
    }

    fn live(&mut self, moment: Moment) -> Outcome<()> {
        let mut child = self.start(false)?;
        let mut life = Life::new(moment);
        self.listen(&mut child, &mut life)?;
        let ended = child.wait()?;
        // It may have come to its end a moment before it was killed.
        if !(life.killed || life.stage == Stage::Closed && ended.success()) {
            return Err(format!("the child ended by itself: {ended}").into());
        }
        self.closed = life.stage == Stage::Closed;
        if life.killed && !self.closed {
            self.tally.kills += 1;
            self.tally.kills_opening += u64::from(life.stage < Stage::Open);
            self.tally.kills_closing += u64::from(life.told.is_some());
        }
        if self.closed {
            self.tally.closed += 1;
            self.model.closed();
        }
        Ok(())
    }

    /// Hears a child until it ends, and kills it when its time has come.
    fn listen(&mut self, child: &mut Listener, life: &mut Life) -> Outcome<()> {
        loop {
            let patience = Instant::now() + PATIENCE;
            let pause = self.pauses.as_ref().filter(|_| life.may_pause()).map(Pauses::next);
            let until = life.death.unwrap_or(patience).min(pause.unwrap_or(patience));
            match child.next(until)? {
                Heard::Said(said) => self.hear(said, child, life)?,
                Heard::End => return Ok(()),
                Heard::Nothing if until == patience => {
                    return Err(format!("the child has said nothing for {PATIENCE:?}").into());
                }
                Heard::Nothing => {}
            }
            if pause.is_some_and(|pause| pause <= Instant::now()) && life.may_pause() {
                self.pause(child, life)?;
            }
            if life.death.is_some_and(|death| death <= Instant::now()) && !life.killed {
                child.signal(Signal::KILL)?;
                life.killed = true;
                life.death = Some(never());
            }
        }
    }

    /// Stops a child, copies what is on its disk, and lets it go on.
    fn pause(&mut self, child: &mut Listener, life: &mut Life) -> Outcome<()> {
        if let Some(pauses) = &mut self.pauses {
            pauses.finish()?;
        }
        child.signal(Signal::STOP)?;
        if !child.has_stopped()? {
            return Ok(()); // it came to its end before
        }
        while let Heard::Said(said) = child.next(Instant::now())? {
            self.hear(said, child, life)?;
        }
        if let Some(pauses) = &mut self.pauses {
            let copied = pauses.copy();
            child.signal(Signal::CONT)?;
            copied?;
            pauses.look(&self.launch, self.model.clone(), (self.seed, self.round));
        }
        Ok(())
    }

    fn hear(&mut self, said: Said, child: &mut Listener, life: &mut Life) -> Outcome<()> {
        self.model.hear(&said)?;
        match said {
            Said::Hello => {
                life.stage = Stage::Opening;
                if let Moment::Opening(wait) = life.moment {
                    life.death = Some(Instant::now() + wait);
                }
            }
            Said::Opened { micros, from_dump } => {
                life.stage = Stage::Open;
                self.opened(Duration::from_micros(micros), from_dump)?;
                if let Moment::Reading(wait) = life.moment {
                    life.death = Some(Instant::now() + wait);
                }
            }
            Said::Found { worker, slot, version } => {
                let state =
                    life.found.get_mut(usize::from(worker)).ok_or("there is no such worker")?;
                state.insert(slot, version);
            }
            Said::Ready => {
                life.stage = Stage::Ready;
                let checked = self.model.check(&life.found, Fate::Killed)?;
                self.tally.openings += 1;
                self.tally.checked.add(checked);
                self.model.take(&life.found, self.round);
                child.tell("go");
                life.acknowledged(0, child);
            }
            Said::Done { .. } => life.acknowledged(1, child),
            Said::Not { .. } => self.tally.refused += 1,
            Said::Saw { .. } => self.tally.seen += 1,
            Said::Settled => {
                life.stage = Stage::Settled;
                life.told = Some(Instant::now());
            }
            Said::Closed => {
                life.stage = Stage::Closed;
                self.closing = life.told.map_or(self.closing, |told| told.elapsed());
            }
            Said::Wrong(why) => return Err(why.into()),
            Said::Begin { .. } => {}
        }
        Ok(())
    }

    /// Every opening but one behind an orderly close has something to recover.
    fn opened(&mut self, took: Duration, from_dump: bool) -> Outcome<()> {
        if self.closed && !from_dump {
            return Err("the close before left no dump".into());
        }
        // Whatever becomes of this opening, the dump is gone.
        self.closed = false;
        if !from_dump {
            self.opening = took;
            self.tally.recovery_last = took;
            self.tally.recovery_longest = self.tally.recovery_longest.max(took);
        }
        Ok(())
    }
}

impl Checked {
    /// Adds up the writes; the keys are those of the last comparison.
    pub(super) fn add(&mut self, more: Self) {
        self.sure += more.sure;
        self.lucky += more.lucky;
        self.lost += more.lost;
        self.keys = more.keys;
    }
}

impl Life {
    fn new(moment: Moment) -> Self {
        Self {
            moment,
            death: None,
            told: None,
            killed: false,
            stage: Stage::Born,
            acknowledged: 0,
            found: vec![State::new(); usize::from(WORKERS)],
        }
    }

    /// Whether it may be stopped for a while: it lives, and has begun.
    fn may_pause(&self) -> bool {
        !self.killed && (Stage::Opening..Stage::Closed).contains(&self.stage)
    }

    /// So many more writes were acknowledged: has its time come?
    fn acknowledged(&mut self, more: u64, child: &mut Listener) {
        self.acknowledged += more;
        if self.death.is_some() || self.told.is_some() {
            return;
        }
        let now = Instant::now();
        match self.moment {
            Moment::Writing(writes, wait) if self.acknowledged >= writes => {
                self.death = Some(now + wait);
            }
            Moment::Closing(writes, wait) if self.acknowledged >= writes => {
                child.tell("close");
                (self.told, self.death) = (Some(now), Some(now + wait));
            }
            Moment::Never(writes) if self.acknowledged >= writes => {
                child.tell("settle");
                self.told = Some(now);
            }
            _ => {}
        }
    }
}
