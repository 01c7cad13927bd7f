//! A small pool of threads for operations that block.
//!
//! ```text
//! run(operation) ──> queue ──> a thread: operation(), then its answer ──> the waiting future
//! ```
//!
//! 1. A thread owns what its operation captured, and lets go of it before it reports. A dropped
//!    future changes nothing but that nobody hears the answer.
//! 2. Threads are started when an operation finds none idle, up to the limit, and then stay.
//! 3. Idle threads sleep. When the pool is dropped they finish what is queued, and end.
//! 4. An operation that panics costs its caller an error, and nobody else anything.
//!
//! Everything that threads share is under one lock, so no law depends on the order of atomics. A
//! thread waits only if it saw the queue empty; what is queued later starts a thread or wakes one.
//!
//! Absent on purpose: priorities, cancelling, and waiting for the threads when the pool is
//! dropped, which may happen where blocking is not allowed.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::{fmt, io, thread};

use tokio::sync::oneshot;

/// Room for a thread's stack: operations are system calls with little around them.
const STACK: usize = 256 << 10;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Threads for operations that block.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    limit: NonZeroUsize,
    queue: Mutex<Queue>,
    work: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    // Invariant: the number of threads that wait for work, woken or not.
    idle: usize,
    // Invariant: 1 <= threads <= limit, until the pool is dropped.
    threads: usize,
    closed: bool,
}

impl Pool {
    /// A pool of at most `limit` threads, with the first one started.
    pub(crate) fn start(limit: NonZeroUsize) -> io::Result<Self> {
        let queue = Queue { jobs: VecDeque::new(), idle: 0, threads: 1, closed: false };
        let shared = Shared { limit, queue: Mutex::new(queue), work: Condvar::new() };
        let pool = Self { shared: Arc::new(shared) };
        pool.start_thread(0)?;
        Ok(pool)
    }

    /// Runs `operation` on a thread; it is queued when the future is first polled.
    pub(crate) async fn run<T, F>(&self, operation: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.submit(Box::new(move || {
            let outcome = operation();
            // Nobody waits any more: the caller dropped its future.
            let _ = answer.send(outcome);
        }));
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the operation panicked")))
    }

    /// Queues a job of which nobody hears.
    pub(crate) fn submit(&self, job: Job) {
        let mut queue = self.shared.queue();
        queue.jobs.push_back(job);
        let starved = queue.jobs.len() > queue.idle && queue.threads < self.shared.limit.get();
        if !starved {
            drop(queue);
            self.shared.work.notify_one();
            return;
        }
        let number = queue.threads;
        queue.threads += 1;
        drop(queue);
        if self.start_thread(number).is_err() {
            // There is at least one thread, so the job is done all the same, only later.
            self.shared.queue().threads -= 1;
        }
    }

    fn start_thread(&self, number: usize) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let builder = thread::Builder::new().name(format!("logstor-io-{number}"));
        builder.stack_size(STACK).spawn(move || shared.work_until_closed()).map(drop)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no step on the queue panics")
    }

    fn work_until_closed(&self) {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // What it owned is gone, its answer with it, and its caller is told so.
                let _ = panic::catch_unwind(AssertUnwindSafe(job));
                queue = self.queue();
            } else if queue.closed {
                queue.threads -= 1;
                return;
            } else {
                queue.idle += 1;
                queue = self.work.wait(queue).expect("no step on the queue panics");
                queue.idle -= 1;
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Pool(at most {} threads)", self.shared.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    fn pool(limit: usize) -> Pool {
        Pool::start(NonZeroUsize::new(limit).unwrap()).unwrap()
    }

    fn wait_until(what: &str, reached: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if reached() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("never: {what}");
    }

    #[tokio::test]
    async fn answers_and_errors_come_back() {
        let pool = pool(2);
        assert_eq!(pool.run(|| Ok(7)).await.unwrap(), 7);
        let refused = pool.run(|| Err::<(), _>(io::ErrorKind::StorageFull.into())).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn operations_run_side_by_side_up_to_the_limit() {
        let pool = pool(4);
        let all_here = Arc::new(Barrier::new(4));
        let meet = || {
            let all_here = Arc::clone(&all_here);
            pool.run(move || {
                all_here.wait();
                Ok(())
            })
        };
        // Ends only if four threads are in an operation at once.
        for met in futures::future::join_all((0..4).map(|_| meet())).await {
            met.unwrap();
        }
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = || {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            pool.run(move || {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                thread::sleep(Duration::from_micros(100));
                now.fetch_sub(1, SeqCst);
                Ok(())
            })
        };
        futures::future::join_all((0..200).map(|_| count())).await;
        assert!(most.load(SeqCst) <= 4);
        assert_eq!(pool.shared.queue().threads, 4);
    }

    #[tokio::test]
    async fn one_operation_at_a_time_needs_one_thread() {
        let pool = pool(8);
        wait_until("the first thread is idle", || pool.shared.queue().idle == 1);
        for number in 0..100 {
            assert_eq!(pool.run(move || Ok(number)).await.unwrap(), number);
            wait_until("the thread is idle again", || pool.shared.queue().idle == 1);
        }
        assert_eq!(pool.shared.queue().threads, 1);
    }

    #[tokio::test]
    async fn what_an_operation_owned_is_released_before_it_reports() {
        let pool = pool(1);
        for _ in 0..1000 {
            let owned = Arc::new(());
            let theirs = Arc::clone(&owned);
            let seen = pool.run(move || Ok(Arc::strong_count(&theirs))).await.unwrap();
            assert_eq!((seen, Arc::strong_count(&owned)), (2, 1));
        }
    }

    #[tokio::test]
    async fn an_operation_that_panics_costs_nobody_else_a_thread() {
        let pool = pool(1);
        for number in 0..20 {
            // A panic without the report of one, which takes long.
            let panics = || -> io::Result<()> { panic::resume_unwind(Box::new("on purpose")) };
            let failed = pool.run(panics).await;
            assert!(failed.unwrap_err().to_string().contains("panicked"));
            assert_eq!(pool.run(move || Ok(number)).await.unwrap(), number);
        }
    }

    /// Whatever callers do with their futures, each operation that was queued runs once, and none
    /// waits for a thread that nobody wakes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn operations_of_many_callers_run_once_each_dropped_or_not() {
        let pool = Arc::new(pool(3));
        let (queued, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let callers = (0..16_usize).map(|caller| {
            let (pool, queued, ran) = (Arc::clone(&pool), Arc::clone(&queued), Arc::clone(&ran));
            tokio::spawn(async move {
                for number in 0..500_usize {
                    let ran = Arc::clone(&ran);
                    let operation = pool.run(move || Ok(ran.fetch_add(1, SeqCst)));
                    if (caller + number).is_multiple_of(3) {
                        // Polled once: it is queued, and nobody hears the answer.
                        let _ = futures::poll!(Box::pin(operation));
                    } else {
                        operation.await.unwrap();
                    }
                    queued.fetch_add(1, SeqCst);
                }
            })
        });
        for caller in futures::future::join_all(callers).await {
            caller.unwrap();
        }
        wait_until("all have run", || ran.load(SeqCst) == 16 * 500);
        let idle = || {
            let queue = pool.shared.queue();
            queue.idle == queue.threads
        };
        wait_until("all threads are idle", idle);
        assert_eq!((queued.load(SeqCst), ran.load(SeqCst)), (8000, 8000));
        assert!(pool.shared.queue().jobs.is_empty());
    }

    #[test]
    fn a_dropped_pool_finishes_its_queue_and_ends_its_threads() {
        let pool = pool(3);
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let ran = Arc::clone(&ran);
            pool.submit(Box::new(move || {
                thread::sleep(Duration::from_micros(100));
                ran.fetch_add(1, SeqCst);
            }));
        }
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        wait_until("the threads have ended", || shared.upgrade().is_none());
        assert_eq!(ran.load(SeqCst), 100);
    }
}
