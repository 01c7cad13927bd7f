//! One file of segments: how many of its syncs failed, and who a sync is for.
//!
//! ```text
//!   log      asks ───────────── waits ──┐
//!   sync 1        ──running──> ends     │ sync 2 ──running──> ends: both are served
//!   copies        asks ──── waits ──────┘
//! ```
//!
//! 1. Syncs take turns: the system may report an error to one of two that run together only.
//! 2. A sync that succeeded serves all who asked before it began, whatever they wrote (storage
//!    contract, 1): when their turn comes, they leave the device alone. So nobody waits for more
//!    than the sync that is running and one more.
//! 3. Who drops a sync in mid-flight takes its outcome with it. So only tasks sync that run to the
//!    end, and a close, after which nothing is acknowledged any more.
//!
//! Absent on purpose: the outcome of a failed sync for others. Who finds none that serves it asks
//! the device itself, and learns from the count that one failed.

use std::io;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::syncs::Syncs;
use crate::io::File;

/// One file, and how many of its syncs have failed.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) file: Arc<dyn File>,
    syncs: Syncs,
    /// The number of the last sync that succeeded. Who holds this may sync.
    turn: Mutex<u64>,
}

impl SegmentFile {
    pub(super) fn new(file: Arc<dyn File>) -> Self {
        Self { file, syncs: Syncs::new(), turn: Mutex::default() }
    }

    /// How many syncs have failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.syncs.failures()
    }

    /// Makes every write that completed before this call durable; says how many syncs have failed
    /// by then. `begins` is called if the device is asked.
    pub(super) async fn sync(&self, begins: impl FnOnce()) -> io::Result<u64> {
        let asked_after = self.syncs.asked();
        let mut last_good = self.turn.lock().await;
        if *last_good <= asked_after {
            let number = self.syncs.begin();
            begins();
            if let Err(error) = self.file.sync().await {
                self.syncs.failed();
                return Err(error);
            }
            *last_good = number;
        }
        Ok(self.failures())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex as StdMutex;
    use std::task::{Context, Poll, Waker};

    use async_trait::async_trait;
    use tokio::sync::oneshot;

    use super::*;
    use crate::io::{FileOffset, IoBuf};

    type Outcome = oneshot::Sender<io::Result<()>>;

    /// A file of which only syncs are used; each ends when and how the test says.
    #[derive(Debug, Default)]
    struct Scripted(StdMutex<Vec<Outcome>>);

    impl Scripted {
        /// Ends the sync under way, the only one.
        fn end(&self, outcome: io::Result<()>) {
            let mut running = self.0.lock().unwrap();
            assert_eq!(running.len(), 1, "syncs take turns");
            running.pop().unwrap().send(outcome).unwrap();
        }
    }

    #[async_trait]
    impl File for Scripted {
        async fn sync(&self) -> io::Result<()> {
            let (sender, ended) = oneshot::channel();
            self.0.lock().unwrap().push(sender);
            ended.await.unwrap()
        }

        async fn read(&self, _: FileOffset, _: IoBuf) -> io::Result<IoBuf> {
            unreachable!()
        }

        async fn write(&self, _: FileOffset, _: Arc<IoBuf>) -> io::Result<()> {
            unreachable!()
        }

        async fn len(&self) -> io::Result<u64> {
            unreachable!()
        }

        async fn preallocate(&self, _: u64) -> io::Result<()> {
            unreachable!()
        }

        async fn punch(&self, _: FileOffset, _: u64) -> io::Result<()> {
            unreachable!()
        }

        async fn shrink(&self, _: u64) -> io::Result<()> {
            unreachable!()
        }

        async fn allocate(&self, _: FileOffset, _: u64) -> io::Result<()> {
            unreachable!()
        }
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn good(outcome: &Poll<io::Result<u64>>) -> u64 {
        let Poll::Ready(Ok(failures)) = outcome else { panic!("{outcome:?}") };
        *failures
    }

    #[test]
    fn one_sync_serves_all_who_asked_before_it_began_and_nobody_who_asked_later() {
        let device = Arc::new(Scripted::default());
        let file = SegmentFile::new(device.clone());
        let mut first = pin!(file.sync(|| ()));
        assert!(poll(first.as_mut()).is_pending());

        // Their writes may have completed after the first one began: it is no use to them.
        let mut second = pin!(file.sync(|| ()));
        let mut third = pin!(file.sync(|| panic!("the second one serves it")));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        device.end(Ok(()));
        assert_eq!(good(&poll(first.as_mut())), 0);
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());

        let mut late = pin!(file.sync(|| ()));
        assert!(poll(late.as_mut()).is_pending());
        device.end(Ok(()));
        assert_eq!(good(&poll(second.as_mut())), 0);
        assert_eq!(good(&poll(third.as_mut())), 0);
        assert!(poll(late.as_mut()).is_pending());
        device.end(Ok(()));
        assert_eq!(good(&poll(late.as_mut())), 0);
    }

    #[test]
    fn a_failed_sync_serves_nobody_and_all_learn_of_it() {
        let device = Arc::new(Scripted::default());
        let file = SegmentFile::new(device.clone());
        let mut first = pin!(file.sync(|| ()));
        let mut second = pin!(file.sync(|| ()));
        let mut third = pin!(file.sync(|| ()));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        device.end(Ok(()));
        assert_eq!(good(&poll(first.as_mut())), 0);
        assert!(poll(second.as_mut()).is_pending());
        device.end(Err(io::ErrorKind::Other.into()));
        assert!(matches!(poll(second.as_mut()), Poll::Ready(Err(_))));
        assert!(poll(third.as_mut()).is_pending(), "it asks the device itself");
        device.end(Ok(()));
        assert_eq!(good(&poll(third.as_mut())), 1);
    }

    #[test]
    fn a_sync_that_was_dropped_serves_nobody() {
        let device = Arc::new(Scripted::default());
        let file = SegmentFile::new(device.clone());
        let mut dropped = Box::pin(file.sync(|| ()));
        assert!(poll(dropped.as_mut()).is_pending());
        let mut asked = pin!(file.sync(|| ()));
        assert!(poll(asked.as_mut()).is_pending());
        drop(dropped);
        device.0.lock().unwrap().clear();
        assert!(poll(asked.as_mut()).is_pending());
        device.end(Ok(()));
        assert_eq!(good(&poll(asked.as_mut())), 0);
    }
}
