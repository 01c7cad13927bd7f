//! Transfers from callers to the kernel, and their answers back.
//!
//! 1. A caller submits its own transfer, or all of those at once that it begins together. Its
//!    future is then a place where an answer may arrive: dropping it changes nothing but that
//!    nobody hears the answer.
//! 2. One at a time takes completions: the reaper. What is not done yet it submits again, under the
//!    laws of [`Transfer`].
//! 3. Before an answer is given, file and memory of the transfer are let go of, but for the memory
//!    that is part of the answer.
//! 4. Two results are not answers: the kernel had no thread free for what would wait (it is asked
//!    again for one that may), and the thread that submitted the call ended before the kernel had
//!    begun it. The kernel never says the latter of a call that it had begun.
//! 5. A submission that the kernel refuses, for want of memory, is tried again by a thread of the
//!    pool until it goes through; meanwhile everything is owned as if it had.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::oneshot;

use super::held::{self, Submit};
use super::kernel::{Kernel, Order, Queue};
use crate::pool::Pool;
use crate::transfer::{Answer, Holds, Next, Transfer};

/// What has ended, to be used again for what ends next.
pub(super) type Ended = Vec<(Order<oneshot::Sender<Answer>>, i32)>;

/// How long to wait before asking a kernel again that had no memory.
const PATIENCE: Duration = Duration::from_millis(1);

/// One ring.
pub(super) struct Driver<K: Kernel> {
    queue: Queue<K, oneshot::Sender<Answer>>,
    pool: Arc<Pool>,
    /// A thread of the pool is trying to submit.
    insisting: AtomicBool,
}

impl<K: Kernel + 'static> Driver<K> {
    pub(super) fn new(kernel: K, depth: usize, pool: Arc<Pool>) -> Arc<Self> {
        let (queue, insisting) = (Queue::new(kernel, depth), AtomicBool::new(false));
        Arc::new(Self { queue, pool, insisting })
    }

    pub(super) fn kernel(&self) -> &K {
        self.queue.kernel()
    }

    /// Begins a transfer; one that is closed gives it back. Within [`held::together`] it is
    /// submitted at the end of that.
    pub(super) fn start(
        self: &Arc<Self>,
        file: Arc<dyn Holds>,
        transfer: Transfer,
    ) -> Result<oneshot::Receiver<Answer>, Transfer> {
        let (waiter, answered) = oneshot::channel();
        let order = Order { file, transfer, patiently: false, waiter };
        self.queue.push(order).map_err(|order| order.transfer)?;
        if !held::is_noted(self) {
            self.submit();
        }
        Ok(answered)
    }

    /// Answers everybody whose transfer has ended. Only the reaper does this.
    pub(super) fn reap(self: &Arc<Self>, ended: &mut Ended) {
        let mut pushed = self.queue.take(ended);
        for (order, result) in ended.drain(..) {
            pushed |= self.settle(order, result);
        }
        if pushed {
            self.submit();
        }
    }

    /// Takes nothing new; says how many transfers are under way.
    pub(super) fn close(&self) -> usize {
        self.queue.close()
    }

    /// Takes nothing new any more.
    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.len() == 0
    }

    /// Sees all transfers to their end, on this thread.
    pub(super) fn finish(self: &Arc<Self>) {
        let mut ended = Vec::new();
        while !self.is_idle() {
            if let Err(error) = self.kernel().wait()
                && error.kind() != io::ErrorKind::Interrupted
            {
                std::thread::sleep(PATIENCE);
            }
            self.reap(&mut ended);
        }
    }

    /// Answers, or pushes again what is left; says which.
    fn settle(&self, order: Order<oneshot::Sender<Answer>>, result: i32) -> bool {
        let outcome = usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result));
        let Order { file, transfer, patiently, waiter } = order;
        let (next, patiently) = match outcome {
            Err(Errno::CANCELED) => (Next::Again(transfer), patiently),
            Err(Errno::AGAIN) if !patiently => (Next::Again(transfer), true),
            outcome => (transfer.after(outcome.map_err(io::Error::from)), patiently),
        };
        match next {
            Next::Again(transfer) => {
                self.queue.push_again(Order { file, transfer, patiently, waiter });
                true
            }
            Next::Ended(answer) => {
                drop(file);
                // Nobody waits any more: the caller dropped its future.
                let _ = waiter.send(answer);
                false
            }
        }
    }

    fn submit(self: &Arc<Self>) {
        loop {
            match self.kernel().submit() {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.insist(&error),
            }
        }
    }

    fn insist(self: &Arc<Self>, error: &io::Error) {
        if self.insisting.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::warn!(%error, "io_uring takes nothing now: it is asked again");
        let driver = Arc::clone(self);
        self.pool.submit(Box::new(move || {
            std::thread::sleep(PATIENCE);
            // Whoever is refused from here on has somebody else insist.
            driver.insisting.store(false, Ordering::SeqCst);
            driver.submit();
        }));
    }
}

impl<K: Kernel + 'static> Submit for Driver<K> {
    fn submit(self: Arc<Self>) {
        Self::submit(&self);
    }
}
