//! Futures around futures: who is polled, when to drop it, and what if it panics.
//!
//! A panic inside the engine is a finding. It must not unwind through the scheduler, and what it
//! leaves behind must not be touched: a state may be half-way and its lock poisoned, so even
//! dropping it could panic again. [`guarded`] catches the panic and forgets the future.
//!
//! Absent on purpose: recovery from a panic. The run ends there.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use logstor_core::io::{Environment, Spawn};
use logstor_io_sim::Handle;

use crate::ledger::{Ledger, OpNumber};

/// A future as an operation: while it is polled, the ledger knows whose records are accepted.
#[derive(Debug)]
pub struct Tagged<F> {
    inner: Pin<Box<F>>,
    ledger: Ledger,
    op: OpNumber,
    polls_left: Option<u64>,
}

/// `inner` as operation `op`, dropped after `polls` polls that did not end it.
pub fn tagged<F: Future>(ledger: &Ledger, op: OpNumber, polls: Option<u64>, inner: F) -> Tagged<F> {
    Tagged { inner: Box::pin(inner), ledger: ledger.clone(), op, polls_left: polls }
}

impl<F: Future> Future for Tagged<F> {
    /// `None` if it was given up.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == Some(0) {
            return Poll::Ready(None);
        }
        self.ledger.polling(Some(self.op));
        let polled = self.inner.as_mut().poll(context);
        self.ledger.polling(None);
        self.polls_left = self.polls_left.map(|left| left - 1);
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls_left == Some(0) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// One who looks at a run between two polls of its tasks.
pub trait Look: Send + Sync + fmt::Debug {
    /// Looks, and changes nothing.
    fn look(&self, sim: &Handle);
}

/// All who look at a run.
pub type Lookers = Arc<Vec<Box<dyn Look>>>;

/// A future whose panic ends the run as a failure.
struct Guarded<F: Future> {
    // `None` once it panicked.
    inner: Option<Pin<Box<F>>>,
    ledger: Ledger,
    sim: Handle,
    lookers: Lookers,
}

/// Runs `inner`; if it panics, the failure is noted, the run stops, and this never completes.
pub fn guarded<F: Future>(
    ledger: &Ledger,
    sim: &Handle,
    lookers: &Lookers,
    inner: F,
) -> impl Future<Output = F::Output> + use<F> {
    Guarded {
        inner: Some(Box::pin(inner)),
        ledger: ledger.clone(),
        sim: sim.clone(),
        lookers: Arc::clone(lookers),
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut inner = self.inner.take();
        let polled = catch(&self.ledger, || {
            self.lookers.iter().for_each(|looker| looker.look(&self.sim));
            let polled = inner.as_mut().map_or(Poll::Pending, |inner| inner.as_mut().poll(context));
            if polled.is_ready() {
                inner = None; // its destructors are guarded as well
            }
            polled
        });
        let Ok(polled) = polled else {
            mem::forget(inner);
            self.sim.stop();
            return Poll::Pending;
        };
        self.inner = inner;
        polled
    }
}

/// The run panicked; the ledger knows with what.
#[derive(Clone, Copy, Debug)]
pub struct Panicked;

/// Calls `run`; if it panics, notes the failure.
///
/// # Errors
///
/// It panicked.
pub fn catch<T>(ledger: &Ledger, run: impl FnOnce() -> T) -> Result<T, Panicked> {
    install_hook();
    // A shadow runs inside of a poll, and is caught apart from it.
    let outer = CAUGHT.replace(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(run));
    let place = CAUGHT.replace(outer).unwrap_or_default();
    result.map_err(|payload| {
        ledger.fail(format!("panic at {place}: {}", message_of(&*payload)));
        Panicked
    })
}

thread_local! {
    /// While this thread catches panics: where the last one was.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics that are caught here say nothing on standard error.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let noted = CAUGHT
                .with_borrow_mut(|caught| caught.as_mut().map(|caught| *caught = place).is_some());
            if !noted {
                before(info);
            }
        }));
    });
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "?".into())
}

/// Guards every task that the engine spawns.
#[derive(Debug)]
struct GuardedSpawn {
    spawn: Arc<dyn Spawn>,
    ledger: Ledger,
    sim: Handle,
    lookers: Lookers,
}

impl Spawn for GuardedSpawn {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let task = guarded(&self.ledger, &self.sim, &self.lookers, task);
        self.spawn.spawn(name, Box::pin(task));
    }
}

/// The environment, with every task guarded.
#[must_use]
pub fn guard_tasks(
    mut environment: Environment,
    ledger: &Ledger,
    sim: &Handle,
    lookers: &Lookers,
) -> Environment {
    let spawn = Arc::clone(&environment.spawn);
    environment.spawn = Arc::new(GuardedSpawn {
        spawn,
        ledger: ledger.clone(),
        sim: sim.clone(),
        lookers: Arc::clone(lookers),
    });
    environment
}
