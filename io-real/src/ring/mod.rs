//! Reads, writes and syncs through io_uring.
//!
//! ```text
//!   caller ──start──> driver ──> kernel: the slots own memory and files
//!     ^                              │ completions
//!     └──────── answer <── reaper <──┘ the ring's descriptor, in the runtime's own poll
//! ```
//!
//! 1. A transfer goes to a ring of the runtime that its future is first polled on, so it depends
//!    on no other runtime's being driven.
//! 2. A runtime has a ring for each of its workers, so that they do not wait for each other in the
//!    kernel, up to a few; threads take turns to be given one. Any thread may use any ring.
//! 3. The rings of a runtime are made when it first asks for one. They live until the storage and
//!    every file of it are gone, or the runtime is, and then until nothing is under way.
//! 4. Where there is no ring (no runtime, one without I/O, one that has ended, no memory) the
//!    transfer comes back, and goes to the pool.
//!
//! | module | job |
//! |---|---|
//! | `kernel` | the one place with `unsafe`: slots that own what the kernel works on |
//! | `driver` | short transfers, refusals, answers |
//! | `held` | one submission for all that a thread begins together |
//! | `reaper` | the task that takes completions |

mod driver;
mod held;
mod kernel;
mod reaper;

use std::convert::Infallible;
use std::io;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

use driver::Driver;
use kernel::Uring;
use reaper::Reaper;

use crate::pool::Pool;
use crate::transfer::{Answer, Holds, Transfer};

/// Calls that a ring has with the kernel at once: what a block device of Linux takes by default.
const DEPTH: u32 = 256;

/// The most rings of one runtime. Each takes some pages of memory that stay in place.
const MOST: usize = 8;

/// The rings of a storage.
pub(crate) struct Rings {
    pool: Arc<Pool>,
    runtimes: RwLock<Vec<Runtime>>,
}

/// A runtime, and its rings if it can have any.
struct Runtime {
    // Another one may have the same when this one has ended.
    id: Id,
    rings: Option<Ours>,
}

/// The rings of one runtime, at least one.
type Ours = Arc<[Ring]>;

struct Ring {
    driver: Arc<Driver<Uring>>,
    // When this goes the reaper learns that the storage is gone.
    #[expect(dead_code, reason = "held, not used")]
    storage: oneshot::Sender<Infallible>,
}

impl Rings {
    /// An error where the kernel refuses, or the runtime that this is called from has no I/O.
    pub(crate) fn start(pool: &Arc<Pool>) -> io::Result<Self> {
        let rings = Self { pool: Arc::clone(pool), runtimes: RwLock::default() };
        match Handle::try_current() {
            Ok(runtime) => rings.add(&runtime).map(drop)?,
            Err(_) => Uring::new(1).map(drop)?,
        }
        Ok(rings)
    }

    /// Begins a transfer, or gives it back where there is no ring for it.
    pub(crate) fn begin(
        &self,
        file: Arc<dyn Holds>,
        transfer: Transfer,
    ) -> Result<oneshot::Receiver<Answer>, Transfer> {
        let Ok(runtime) = Handle::try_current() else { return Err(transfer) };
        let known = {
            let runtimes = self.runtimes.read().expect("nothing panics while it holds the list");
            runtimes.iter().find(|known| known.id == runtime.id()).map(|known| known.rings.clone())
        };
        let transfer = match known {
            Some(None) => return Err(transfer),
            Some(Some(rings)) => match mine(&rings).start(Arc::clone(&file), transfer) {
                Ok(answered) => return Ok(answered),
                // That runtime has ended; this one may be another with the same id.
                Err(transfer) => transfer,
            },
            None => transfer,
        };
        match self.add(&runtime) {
            Ok(rings) => mine(&rings).start(file, transfer),
            Err(error) => {
                tracing::warn!(%error, "no io_uring on this runtime: threads do its I/O");
                Err(transfer)
            }
        }
    }

    /// Calls `begin`; what it begins on this thread is submitted when it has returned.
    #[expect(clippy::unused_self, reason = "only who has rings holds anything back")]
    pub(crate) fn together(&self, begin: &mut dyn FnMut()) {
        held::together(begin);
    }

    /// Makes the rings of the runtime that this is called from, and notes them or that there are
    /// none.
    fn add(&self, runtime: &Handle) -> io::Result<Ours> {
        let workers = runtime.metrics().num_workers().clamp(1, MOST);
        let made: io::Result<Ours> = (0..workers).map(|_| self.make(runtime)).collect();
        let note = Runtime { id: runtime.id(), rings: made.as_ref().ok().cloned() };
        let mut runtimes = self.runtimes.write().expect("nothing panics while it holds the list");
        let over = |rings: &Ours| rings.iter().any(|ring| ring.driver.is_closed());
        runtimes.retain(|known| known.id != note.id && !known.rings.as_ref().is_some_and(over));
        runtimes.push(note);
        made
    }

    fn make(&self, runtime: &Handle) -> io::Result<Ring> {
        let depth = usize::try_from(DEPTH).expect("a small number");
        let driver = Driver::new(Uring::new(DEPTH)?, depth, Arc::clone(&self.pool));
        let (storage, gone) = oneshot::channel();
        let theirs = Arc::clone(&driver);
        // Tokio has no other way to say that a runtime was made without I/O.
        let reaper = panic::catch_unwind(panic::AssertUnwindSafe(|| Reaper::new(theirs, gone)));
        let reaper = reaper.map_err(|_| io::Error::other("the runtime was made without I/O"))??;
        runtime.spawn(reaper);
        Ok(Ring { driver, storage })
    }
}

/// The ring of this thread: threads are numbered as they come.
fn mine(rings: &Ours) -> &Arc<Driver<Uring>> {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    let number = NUMBER.try_with(|&number| number).unwrap_or(0);
    &rings[number % rings.len()].driver
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runtimes = self.runtimes.read().map_or(0, |runtimes| runtimes.len());
        write!(out, "Rings(of {runtimes} runtimes)")
    }
}
