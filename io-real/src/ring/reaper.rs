//! The task that takes completions, and what becomes of them when its runtime ends.
//!
//! ```text
//!   task: sleeps until the ring's own descriptor is readable ──> takes all, answers ──> sleeps
//!     │ the storage is gone, nothing under way        │ the runtime ends
//!     v                                               v
//!   ends                                   a thread sees the rest through, and ends
//! ```
//!
//! 1. While nothing ends, nothing wakes the task: no timer, no polling.
//! 2. It ends once nobody can begin a transfer any more and none is under way.
//! 3. A task that its runtime drops closes the ring; who wants to begin a transfer then gets it
//!    back. Those under way are answered all the same, wherever their futures are.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::driver::{Driver, Ended};
use super::kernel::{Descriptor, Uring};

pub(super) struct Reaper {
    driver: Arc<Driver<Uring>>,
    completions: AsyncFd<Descriptor>,
    // Nothing is sent: the other end goes with the storage.
    storage: oneshot::Receiver<Infallible>,
    storage_is_gone: bool,
    ended: Ended,
}

impl Reaper {
    /// On the runtime that this is called from. An error where that takes no descriptors.
    ///
    /// # Panics
    ///
    /// If the runtime was made without I/O.
    pub(super) fn new(
        driver: Arc<Driver<Uring>>,
        storage: oneshot::Receiver<Infallible>,
    ) -> io::Result<Self> {
        let completions = driver.kernel().watch()?;
        Ok(Self { driver, completions, storage, storage_is_gone: false, ended: Vec::new() })
    }
}

impl Future for Reaper {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let reaper = self.get_mut();
        if !reaper.storage_is_gone {
            reaper.storage_is_gone = Pin::new(&mut reaper.storage).poll(context).is_ready();
        }
        loop {
            if reaper.storage_is_gone && reaper.driver.is_idle() {
                return Poll::Ready(());
            }
            // An error says that the runtime ends.
            let Ok(mut readable) = ready!(reaper.completions.poll_read_ready(context)) else {
                return Poll::Ready(());
            };
            // Before looking: what is completed after the look makes it readable again.
            readable.clear_ready();
            reaper.driver.reap(&mut reaper.ended);
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if self.driver.close() == 0 {
            return;
        }
        let driver = Arc::clone(&self.driver);
        let thread = std::thread::Builder::new().name("logstor-ring".to_owned());
        if thread.spawn(move || driver.finish()).is_err() {
            // Waiting here is not nice; what waits for answers elsewhere would wait for ever.
            self.driver.finish();
        }
    }
}
