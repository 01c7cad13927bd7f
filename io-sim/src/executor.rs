//! The scheduler: one thread, no clock of its own, and every choice drawn from the seed.
//!
//! ```text
//!   spawn ──> waiting <── poll gave Pending ── running
//!                │ wake                          ^
//!                └────────> ready ── drawn ──────┘
//! ```
//!
//! 1. One task runs at a time, and no lock of the simulation is held while it does.
//! 2. Among the ready tasks the next one is drawn; arrival gives no precedence.
//! 3. Time passes only when no task is ready.
//! 4. A task that has ended is never polled again, whoever still holds its waker.
//! 5. Only so many polls are made in one moment; a task that wakes itself for ever ends the run.
//!
//! Wakers may be sent to other threads, as `std` demands, but a wake from one would not be
//! repeatable: code under simulation has no threads.
//!
//! Absent on purpose: priorities, preemption, join handles, cancellation from outside.

use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;

use crate::shared::{Shared, Spawned};
use crate::trace::EventKind;
use crate::world::Advance;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome<T> {
    /// The main future gave this.
    Done(T),
    /// The stop that was asked for was reached. The boot stands still for good: crash it.
    Stopped,
    /// No task is ready and nothing is on its way: the code under test waits for itself.
    Stuck {
        /// The names of the tasks that wait, `"main"` first.
        waiting: Vec<&'static str>,
    },
    /// A task was polled again and again, and no virtual time passed: it wakes itself for ever, or
    /// several wake each other.
    Spins {
        /// The task that was polled most.
        task: &'static str,
        /// The polls of that moment, of all tasks.
        polls: u64,
    },
    /// The run took more steps than allowed.
    RanTooLong {
        /// So many.
        steps: u64,
        /// The names of the tasks that had not ended, `"main"` first.
        waiting: Vec<&'static str>,
    },
}

impl<T> Outcome<T> {
    /// What the main future gave, if it ended.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Stopped | Self::Stuck { .. } | Self::Spins { .. } | Self::RanTooLong { .. } => {
                None
            }
        }
    }

    /// What the main future gave.
    ///
    /// # Panics
    ///
    /// If it did not end; the message says why.
    #[track_caller]
    pub fn expect_done(self) -> T {
        match self {
            Self::Done(value) => value,
            Self::Stopped => panic!("the run was stopped"),
            Self::Stuck { waiting } => panic!("the run is stuck; these wait: {waiting:?}"),
            Self::Spins { task, polls } => {
                panic!("{polls} polls while no time passed, most of them of {task:?}")
            }
            Self::RanTooLong { steps, waiting } => {
                panic!("the run took {steps} steps; these had not ended: {waiting:?}")
            }
        }
    }

    /// Whether the stop that was asked for was reached.
    pub const fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

/// What the main future is called.
const MAIN: &str = "main";

/// The tasks of one boot.
#[derive(Debug)]
pub(crate) struct Executor {
    // Indexed by slot.
    tasks: Vec<Option<Task>>,
    free: Vec<usize>,
    ready: Arc<Ready>,
    next_number: u64,
}

struct Task {
    // `None` while it runs.
    future: Option<BoxFuture<'static, ()>>,
    token: Arc<Token>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Task({})", self.token.name)
    }
}

#[derive(Debug, Default)]
struct Ready {
    tokens: Mutex<Vec<Arc<Token>>>,
}

impl Ready {
    fn tokens(&self) -> MutexGuard<'_, Vec<Arc<Token>>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a waker holds: which task, and whether it is already on the list.
#[derive(Debug)]
struct Token {
    // `None`: the main future.
    slot: Option<usize>,
    number: u64,
    name: &'static str,
    // Also set for good once the task has ended.
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.tokens().push(Arc::clone(self));
        }
    }
}

impl Token {
    /// The task has ended: from now on a wake is nothing.
    fn retire(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::Relaxed) {
            self.ready.tokens().retain(|other| !Arc::ptr_eq(other, self));
        }
    }
}

/// What to do next.
enum Next {
    Poll(Arc<Token>),
    Event(Option<Waker>),
    Stopped,
    Idle,
    Spins(&'static str, u64),
}

/// The polls of one moment of virtual time.
#[derive(Debug, Default)]
struct Moment {
    now: u64,
    polls: u64,
    // Of the second half of those that are allowed: how many each task had, by its number.
    by_task: BTreeMap<u64, (u64, &'static str)>,
}

impl Moment {
    /// A task is polled.
    fn polls(&mut self, now: u64, max: u64, token: &Token) {
        if now != self.now {
            *self = Self { now, ..Self::default() };
        }
        self.polls += 1;
        if self.polls > max / 2 {
            self.by_task.entry(token.number).or_insert((0, token.name)).0 += 1;
        }
    }

    fn most_polled(&self) -> &'static str {
        self.by_task.values().max_by_key(|(polls, _)| *polls).map_or(MAIN, |(_, name)| name)
    }
}

impl Executor {
    pub(crate) fn new() -> Self {
        Self {
            tasks: Vec::new(),
            free: Vec::new(),
            ready: Arc::new(Ready::default()),
            next_number: 1,
        }
    }

    /// Runs everything until `main` has ended, or nothing can go on.
    pub(crate) fn run<F: Future>(&mut self, shared: &Shared, main: F) -> Outcome<F::Output> {
        let mut main = pin!(main);
        let token = self.token(None, MAIN);
        token.wake_by_ref();
        let outcome = self.drive(shared, main.as_mut());
        token.retire();
        if !matches!(outcome, Outcome::Done(_)) {
            // A main future that is dropped half-way must not act on the disk while it is.
            shared.world().stop("its main future did not end");
        }
        outcome
    }

    fn drive<F: Future>(&mut self, shared: &Shared, mut main: Pin<&mut F>) -> Outcome<F::Output> {
        let (max_steps, mut moment) = (shared.world().max_steps, Moment::default());
        for _ in 0..max_steps {
            self.adopt(shared);
            match self.next(shared, &mut moment) {
                Next::Event(waker) => waker.into_iter().for_each(Waker::wake),
                Next::Stopped => return Outcome::Stopped,
                Next::Spins(task, polls) => return Outcome::Spins { task, polls },
                Next::Idle => return Outcome::Stuck { waiting: self.names() },
                Next::Poll(token) => {
                    token.queued.store(false, Ordering::Relaxed);
                    let Some(slot) = token.slot else {
                        let waker = Waker::from(token);
                        match main.as_mut().poll(&mut Context::from_waker(&waker)) {
                            Poll::Ready(value) => return Outcome::Done(value),
                            Poll::Pending => continue,
                        }
                    };
                    self.poll_task(slot, &token);
                }
            }
        }
        Outcome::RanTooLong { steps: max_steps, waiting: self.names() }
    }

    fn next(&self, shared: &Shared, moment: &mut Moment) -> Next {
        let mut world = shared.world();
        if world.stopped {
            return Next::Stopped;
        }
        let mut ready = self.ready.tokens();
        world.step();
        if world.stopped {
            return Next::Stopped;
        }
        if !ready.is_empty() {
            let index = world.choose(ready.len());
            let token = ready.swap_remove(index);
            let number = token.number;
            moment.polls(world.now, world.max_polls, &token);
            if moment.polls > world.max_polls {
                return Next::Spins(moment.most_polled(), moment.polls);
            }
            world.note(EventKind::Poll, &[number], || {
                format!("task {number} ({}) runs", token.name)
            });
            return Next::Poll(token);
        }
        drop(ready);
        match world.advance() {
            Advance::Idle => Next::Idle,
            Advance::Stopped => Next::Stopped,
            Advance::Happened(waker) => Next::Event(waker),
        }
    }

    fn poll_task(&mut self, slot: usize, token: &Arc<Token>) {
        let task = self.tasks[slot].as_mut().expect("a token on the list has a living task");
        let mut future = task.future.take().expect("a task that does not run is at home");
        let waker = Waker::from(Arc::clone(token));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            let task = self.tasks[slot].as_mut().expect("only a poll that ends it removes a task");
            task.future = Some(future);
            return;
        }
        drop(future);
        token.retire();
        self.tasks[slot] = None;
        self.free.push(slot);
    }

    /// Takes in what was spawned since.
    fn adopt(&mut self, shared: &Shared) {
        for Spawned { name, task } in shared.take_spawned() {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.tasks.push(None);
                self.tasks.len() - 1
            });
            let token = self.token(Some(slot), name);
            token.wake_by_ref();
            self.tasks[slot] = Some(Task { future: Some(task), token });
        }
    }

    fn token(&mut self, slot: Option<usize>, name: &'static str) -> Arc<Token> {
        let number = self.next_number;
        self.next_number += 1;
        let (queued, ready) = (AtomicBool::new(false), Arc::clone(&self.ready));
        Arc::new(Token { slot, number, name, queued, ready })
    }

    fn names(&self) -> Vec<&'static str> {
        let mut tasks: Vec<&Task> = self.tasks.iter().flatten().collect();
        tasks.sort_by_key(|task| task.token.number);
        std::iter::once(MAIN).chain(tasks.iter().map(|task| task.token.name)).collect()
    }

    /// How many tasks have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.tasks.iter().flatten().count()
    }

    /// Drops every task, in the order of their slots; the next boot counts from 1 again.
    pub(crate) fn clear(&mut self) {
        let tasks = mem::take(&mut self.tasks);
        for task in tasks.into_iter().flatten() {
            drop(task.future);
        }
        self.free.clear();
        self.next_number = 1;
        self.ready.tokens().clear();
        self.ready = Arc::new(Ready::default());
    }
}
