//! Everything that is one per simulation: disk, time, agenda, streams, trace.
//!
//! ```text
//!   issue ──> agenda (what completes when) ──> advance: the earliest completes, a task is woken
//! ```
//!
//! 1. Time stands still while a task is ready; `advance` is called only when none is.
//! 2. What completes in one moment does so in an order drawn from the seed.
//! 3. After a stop nothing changes any more: operations are swallowed, nothing completes.
//! 4. A call from an earlier boot, or after a stop, never completes and has no effect.
//!
//! Absent on purpose: tasks. They belong to the executor, which holds no lock while one runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::task::{Poll, Waker};
use std::time::Duration;

use logstor_core::types::to_u64;

use crate::counters::Counters;
use crate::device::{self, Came};
use crate::disk::{Disk, DiskImage, FileId};
use crate::faults::Faults;
use crate::op::{Answer, Op, Taint};
use crate::options::{Latencies, SimOptions};
use crate::rng::Streams;
use crate::stops::{Side, StopAt, Stops};
use crate::trace::{EventKind, Trace};

/// Number of an operation or a timer.
pub(crate) type Ticket = u64;

/// Where an event stands in the agenda: time, then the draw that breaks ties, then the ticket.
pub(crate) type When = (u64, u64, Ticket);

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) disk: Disk,
    pub(crate) rng: Streams,
    pub(crate) trace: Trace,
    pub(crate) counters: Counters,
    pub(crate) faults: Faults,
    pub(crate) latencies: Latencies,
    pub(crate) max_steps: u64,
    pub(crate) max_polls: u64,
    // Until then nothing completes but timers.
    pub(crate) device_hangs_until: u64,
    // Whether the file system can punch.
    pub(crate) punches: bool,
    // Nanoseconds since the simulation began; never goes back.
    pub(crate) now: u64,
    // When this boot began, and what the wall clock said then.
    pub(crate) boot_start: u64,
    pub(crate) boot_wall: Duration,
    // The number of this boot; a handle with another one is dead.
    pub(crate) boot: u64,
    pub(crate) booted: bool,
    pub(crate) stopped: bool,
    stops: Stops,
    // Invariant: holds exactly the entries of `pending` that have no answer yet.
    pub(crate) agenda: BTreeSet<When>,
    pub(crate) pending: BTreeMap<Ticket, Pending>,
    next_ticket: Ticket,
}

/// An operation from its issue until its answer has been fetched.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) when: When,
    pub(crate) state: State,
    // `None` once nobody waits for it.
    pub(crate) waker: Option<Waker>,
    // When it would have completed had nothing held it up.
    pub(crate) held: Option<u64>,
}

#[derive(Debug)]
pub(crate) enum State {
    InFlight(Op),
    Answered(io::Result<Answer>),
}

impl Pending {
    /// Whether it is a write in flight.
    fn is_write(&self) -> bool {
        matches!(&self.state, State::InFlight(op) if op.written().is_some())
    }
}

/// In seconds.
const HOUR: u64 = 3600;
const YEAR: u64 = 365 * 24 * HOUR;

/// What came of [`World::advance`].
#[derive(Debug)]
pub(crate) enum Advance {
    /// There is nothing to wait for.
    Idle,
    /// The run was stopped.
    Stopped,
    /// Something completed, or was dropped; its waker, if anyone waits.
    Happened(Option<Waker>),
}

impl World {
    pub(crate) fn new(options: &SimOptions, image: &DiskImage) -> Self {
        Self {
            seed: options.seed,
            disk: Disk::at_rest(options.sector, image),
            rng: Streams::new(options.seed),
            trace: Trace::new(options.seed, options.recording),
            counters: Counters::default(),
            faults: options.faults,
            latencies: options.latencies,
            max_steps: options.max_steps,
            max_polls: options.max_polls,
            device_hangs_until: 0,
            punches: options.punches,
            now: 0,
            boot_start: 0,
            boot_wall: options.wall,
            boot: 0,
            booted: false,
            stopped: false,
            stops: Stops::default(),
            agenda: BTreeSet::new(),
            pending: BTreeMap::new(),
            next_ticket: 1,
        }
    }

    /// The same world without its tasks: what is in flight goes on, and nobody waits for it.
    pub(crate) fn fork(&self) -> Self {
        let mut pending = BTreeMap::new();
        for (&ticket, one) in &self.pending {
            if let State::InFlight(op) = &one.state
                && let Some(op) = op.orphan()
            {
                let state = State::InFlight(op);
                let held = one.held;
                pending.insert(ticket, Pending { when: one.when, state, waker: None, held });
            }
        }
        Self {
            seed: self.seed,
            disk: self.disk.clone(),
            rng: self.rng.clone(),
            trace: self.trace.clone(),
            counters: self.counters,
            faults: self.faults,
            latencies: self.latencies,
            max_steps: self.max_steps,
            max_polls: self.max_polls,
            device_hangs_until: self.device_hangs_until,
            punches: self.punches,
            now: self.now,
            boot_start: self.boot_start,
            boot_wall: self.boot_wall,
            boot: self.boot,
            booted: false,
            stopped: false,
            stops: Stops::default(),
            agenda: pending.values().map(|one| one.when).collect(),
            pending,
            next_ticket: self.next_ticket,
        }
    }

    /// Whether a handle of boot `boot` may do anything.
    pub(crate) const fn is_live(&self, boot: u64) -> bool {
        self.boot == boot && !self.stopped
    }

    pub(crate) fn note(&mut self, tag: EventKind, words: &[u64], line: impl FnOnce() -> String) {
        self.trace.event(self.now, tag, words, line);
    }

    /// An operation goes to the device; `waker` hears of its completion.
    pub(crate) fn issue(&mut self, mut op: Op, waker: Waker) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        device::begin(self, &mut op);
        let delay = self.delay(&op);
        let hangs = self.hangs();
        self.enlist(ticket, op, delay, hangs, Some(waker));
        ticket
    }

    /// Something happens to the disk that nobody asked for and nobody waits for.
    pub(crate) fn happens_later(&mut self, op: Op, delay: Duration) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.enlist(ticket, op, nanos(delay), None, None);
    }

    /// A timer: completes no sooner than `delay` from now.
    pub(crate) fn issue_timer(&mut self, delay: Duration, waker: Waker) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let slack = self.rng.latency.between(0, nanos(self.latencies.timer_slack));
        let late = self.is_late();
        let delay = nanos(delay).saturating_add(slack);
        self.enlist(ticket, Op::Timer, delay, late, Some(waker));
        ticket
    }

    /// `held`: for so long it is held up on top of `delay`.
    fn enlist(
        &mut self,
        ticket: Ticket,
        op: Op,
        delay: u64,
        held: Option<u64>,
        waker: Option<Waker>,
    ) {
        let due = self.now.saturating_add(delay);
        let moment = due.saturating_add(held.unwrap_or(0));
        let when = (moment, self.rng.schedule.bits(), ticket);
        let words = op.words();
        let words = [ticket, when.0, words[0], words[1], words[2], words[3], words[4]];
        self.trace.event(self.now, EventKind::Issue, &words, || format!("#{ticket} {op}"));
        let is_effect = op.is_effect();
        self.agenda.insert(when);
        let state = State::InFlight(op);
        self.pending.insert(ticket, Pending { when, state, waker, held: held.map(|_| due) });
        if is_effect {
            self.effect();
        }
    }

    fn delay(&mut self, op: &Op) -> u64 {
        let range = op.latency(&self.latencies);
        let (min, max) = (nanos(range.min), nanos(range.max));
        let drawn = self.rng.latency.between(min, max.max(min));
        let slow = self.rng.latency.per_million(self.latencies.slow_per_million);
        if slow { drawn.saturating_mul(50) } else { drawn }
    }

    /// The answer to an operation, if it has completed; `waker` is kept otherwise.
    pub(crate) fn fetch(&mut self, ticket: Ticket, waker: &Waker) -> Poll<io::Result<Answer>> {
        let Some(one) = self.pending.get_mut(&ticket) else { return Poll::Pending };
        if matches!(one.state, State::InFlight(_)) {
            match &mut one.waker {
                Some(known) => known.clone_from(waker),
                unknown => *unknown = Some(waker.clone()),
            }
            return Poll::Pending;
        }
        match self.pending.remove(&ticket).map(|one| one.state) {
            Some(State::Answered(answer)) => {
                self.hear(ticket);
                Poll::Ready(answer)
            }
            Some(State::InFlight(_)) | None => Poll::Pending,
        }
    }

    /// Nobody waits for this one any more. It then happens or not.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        let Some(one) = self.pending.get_mut(&ticket) else { return };
        one.waker = None;
        let State::InFlight(op) = &one.state else {
            self.pending.remove(&ticket);
            self.hear(ticket);
            return;
        };
        let (when, is_effect) = (one.when, op.is_effect());
        if matches!(op, Op::Timer) {
            self.withdraw(ticket, when);
            return;
        }
        self.counters.abandoned += 1;
        let withdrawn = !is_effect || self.rng.device.chance(1, 4);
        self.note(EventKind::Abandon, &[ticket, u64::from(withdrawn)], || {
            format!("#{ticket} abandoned{}", if withdrawn { ", does not happen" } else { "" })
        });
        if withdrawn {
            self.withdraw(ticket, when);
        }
    }

    /// Someone has this answer, or wants it no more.
    fn hear(&mut self, ticket: Ticket) {
        if self.stops.heard(ticket) {
            self.stop("a landing was heard of");
        }
    }

    fn withdraw(&mut self, ticket: Ticket, when: When) {
        self.agenda.remove(&when);
        self.pending.remove(&ticket);
    }

    /// Lets time pass until the next event, and lets it happen.
    pub(crate) fn advance(&mut self) -> Advance {
        if self.stops.is_unheard() {
            self.stop("a landing was not heard of");
        }
        if self.stopped {
            return Advance::Stopped;
        }
        let Some(when) = self.earliest() else { return Advance::Idle };
        if let Some(end) = self.stops.time_limit()
            && when.0 > end
        {
            self.now = self.now.max(end);
            self.stop("its time is over");
            return Advance::Stopped;
        }
        self.agenda.remove(&when);
        self.now = self.now.max(when.0);
        let ticket = when.2;
        let one = self.pending.remove(&ticket).expect("what is on the agenda is pending");
        let State::InFlight(op) = one.state else { return Advance::Happened(None) };
        let is_effect = op.is_effect();
        let side = if is_effect { self.stops.landing() } else { None };
        if side == Some(Side::Before) {
            self.note(EventKind::Abandon, &[ticket, 1], || format!("#{ticket} does not happen"));
            self.stop("a landing would come");
            return Advance::Stopped;
        }
        let answer = match device::complete(self, ticket, op) {
            Came::Answer(answer) => answer,
            Came::Part(rest) => {
                self.goes_on(ticket, rest, one.waker);
                if side.is_some() {
                    self.stop("a landing came, of a part");
                }
                return Advance::Happened(None);
            }
        };
        if is_effect {
            self.counters.landings += 1;
            self.effect();
        }
        match side {
            Some(Side::Heard) if one.waker.is_some() => self.stops.when_heard(ticket),
            Some(_) => self.stop("a landing came"),
            None => {}
        }
        if let Some(waker) = one.waker {
            let state = State::Answered(answer);
            self.pending.insert(ticket, Pending { when, state, waker: None, held: None });
            return Advance::Happened(Some(waker));
        }
        Advance::Happened(None)
    }

    /// A part of an operation is done; the rest follows.
    fn goes_on(&mut self, ticket: Ticket, rest: Op, waker: Option<Waker>) {
        let delay = self.delay(&rest);
        let when = (self.now.saturating_add(delay), self.rng.schedule.bits(), ticket);
        let is_effect = rest.is_effect();
        self.agenda.insert(when);
        let state = State::InFlight(rest);
        self.pending.insert(ticket, Pending { when, state, waker, held: None });
        if is_effect {
            self.counters.landings += 1;
            self.effect();
        }
    }

    /// The operations in flight, in the order of their issue, and the streams to draw from.
    pub(crate) fn in_flight_mut(&mut self) -> (&mut Streams, impl Iterator<Item = &mut Op>) {
        let ops = self.pending.values_mut().filter_map(|one| match &mut one.state {
            State::InFlight(op) => Some(op),
            State::Answered(_) => None,
        });
        (&mut self.rng, ops)
    }

    /// The writes in flight, as far as they have not arrived: file, place, bytes.
    pub(crate) fn writes_in_flight(&self) -> impl Iterator<Item = (FileId, u64, &[u8])> {
        self.pending.values().filter_map(|one| match &one.state {
            State::InFlight(Op::Write { file, at, bytes, progress, taint })
                if *taint != Taint::Drops =>
            {
                let at = at.saturating_add(to_u64(progress.done));
                Some((*file, at, &bytes[progress.done..]))
            }
            _ => None,
        })
    }

    /// Takes everything in flight off the device, in the order of its issue; the boot is over.
    pub(crate) fn take_in_flight(&mut self) -> Vec<Op> {
        self.agenda.clear();
        let pending = std::mem::take(&mut self.pending);
        pending
            .into_values()
            .filter_map(|one| match one.state {
                State::InFlight(op) => Some(op),
                State::Answered(_) => None,
            })
            .collect()
    }

    /// Which of `ready` tasks runs next.
    pub(crate) fn choose(&mut self, ready: usize) -> usize {
        if ready == 1 { 0 } else { self.rng.schedule.index(ready) }
    }

    /// A step happened: a task was polled, or an event came.
    pub(crate) fn step(&mut self) {
        self.counters.steps += 1;
        if self.stops.step() {
            self.stop("its count is over");
        }
    }

    fn effect(&mut self) {
        self.counters.effects += 1;
        let (disk, pending) = (&self.disk, &self.pending);
        let in_flight = || pending.values().filter(|one| one.is_write()).count();
        if self.stops.effect(|| to_u64(disk.unsynced() + in_flight())) {
            self.stop("its count is over");
        }
    }

    pub(crate) fn stop_at(&mut self, stop: StopAt) {
        self.stops.set(stop, self.now);
    }

    pub(crate) fn clear_stops(&mut self) {
        self.stops.clear();
    }

    pub(crate) fn stop(&mut self, why: &str) {
        if !self.stopped {
            self.stopped = true;
            self.note(EventKind::Stop, &[to_u64(why.len())], || format!("stopped: {why}"));
        }
    }

    /// The boot is over; the next one starts now, by a wall clock that may have jumped.
    pub(crate) fn next_boot(&mut self) {
        let wall = self.boot_wall + self.uptime();
        let rng = &mut self.rng.boot;
        let most = match rng.below(8) {
            0 => HOUR,
            1 => 40 * YEAR,
            _ => 1,
        };
        let jump = Duration::from_secs(rng.below(most));
        self.boot_wall = if rng.coin() { wall + jump } else { wall.saturating_sub(jump) };
        self.boot_start = self.now;
    }

    /// Somebody asks what the wall clock says; before that it may jump.
    pub(crate) fn wall(&mut self) -> Duration {
        let rate = self.faults.wall_jump;
        if self.rng.faults.per_million(rate) {
            let rng = &mut self.rng.faults;
            let most = *rng.pick(&[HOUR, YEAR, 40 * YEAR]);
            let jump = Duration::from_secs(1 + rng.below(most));
            let wall = self.boot_wall;
            self.boot_wall = if rng.coin() { wall + jump } else { wall.saturating_sub(jump) };
            self.counters.wall_jumps += 1;
        }
        self.boot_wall + self.uptime()
    }

    /// Time since the simulation began.
    pub(crate) const fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// Time since the boot.
    pub(crate) const fn uptime(&self) -> Duration {
        Duration::from_nanos(self.now - self.boot_start)
    }
}

/// A duration as nanoseconds; 584 years and more are all the same.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
