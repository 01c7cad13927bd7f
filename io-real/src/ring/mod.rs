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
//! 2. The rings of a runtime are made when it first asks for one. They live until the storage and
//!    every file of it are gone, or the runtime is, and then until nothing is under way.
//! 3. Where there is no ring (no runtime, one without I/O, one that has ended, no memory) the
//!    transfer comes back, and goes to the pool.
//!
//! | module | job |
//! |---|---|
//! | `kernel` | the one place with `unsafe`: slots that own what the kernel works on |
//! | `driver` | short transfers, refusals, answers |
//! | `reaper` | the task that takes completions |

mod driver;
mod kernel;
mod reaper;

use std::convert::Infallible;
use std::io;
use std::panic;
use std::sync::{Arc, RwLock};

use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

use driver::Driver;
pub(crate) use kernel::Holds;
use kernel::Uring;
use reaper::Reaper;

use crate::pool::Pool;
use crate::transfer::{Answer, Transfer};

/// Calls that a ring has with the kernel at once: what a block device of Linux takes by default.
const DEPTH: u32 = 256;

/// The rings of a storage.
pub(crate) struct Rings {
    pool: Arc<Pool>,
    runtimes: RwLock<Vec<Runtime>>,
}

/// A runtime, and its ring if it can have one.
struct Runtime {
    // Another one may have the same when this one has ended.
    id: Id,
    ring: Option<Ring>,
}

#[derive(Clone)]
struct Ring {
    driver: Arc<Driver<Uring>>,
    // With the last one of these the reaper learns that the storage is gone.
    #[expect(dead_code, reason = "held, not used")]
    storage: Arc<oneshot::Sender<Infallible>>,
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
            runtimes.iter().find(|known| known.id == runtime.id()).map(|known| known.ring.clone())
        };
        let transfer = match known {
            Some(None) => return Err(transfer),
            Some(Some(ring)) => match ring.driver.start(Arc::clone(&file), transfer) {
                Ok(answered) => return Ok(answered),
                // That runtime has ended; this one may be another with the same id.
                Err(transfer) => transfer,
            },
            None => transfer,
        };
        match self.add(&runtime) {
            Ok(ring) => ring.driver.start(file, transfer),
            Err(error) => {
                tracing::warn!(%error, "no io_uring on this runtime: threads do its I/O");
                Err(transfer)
            }
        }
    }

    /// Makes a ring for the runtime that this is called from, and notes it or that there is none.
    fn add(&self, runtime: &Handle) -> io::Result<Ring> {
        let made = self.make(runtime);
        let note = Runtime { id: runtime.id(), ring: made.as_ref().ok().cloned() };
        let mut runtimes = self.runtimes.write().expect("nothing panics while it holds the list");
        runtimes.retain(|known| known.id != note.id);
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
        Ok(Ring { driver, storage: Arc::new(storage) })
    }
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runtimes = self.runtimes.read().map_or(0, |runtimes| runtimes.len());
        write!(out, "Rings(of {runtimes} runtimes)")
    }
}
