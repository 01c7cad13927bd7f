//! Runtimes that come and go, and that lack things: no operation hangs, nothing is held for ever.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use logstor::RealStorage;
use logstor::io::{File, FileOffset, IoBuf, OpenMode, Storage};
use logstor::types::ByteLen;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const BLOCKS: u64 = 64;

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn open(folder: &TempDir) -> impl Future<Output = Arc<RealStorage>> {
    let opening = RealStorage::open(folder.path(), super::real_options());
    async { opening.await.unwrap() }
}

/// Waits for a future where there is no runtime.
fn on_no_runtime<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

async fn filled(storage: &RealStorage) -> Arc<dyn File> {
    let file = storage.open("a", OpenMode::CreateNew).await.unwrap();
    for number in 0..BLOCKS {
        let block = IoBuf::copy_of(&[u8::try_from(number).unwrap(); 4096]);
        file.write(FileOffset::new(number * 4096), Arc::new(block)).await.unwrap();
    }
    file.sync().await.unwrap();
    file
}

async fn check(file: &dyn File, number: u64) {
    let into = IoBuf::zeroed(ByteLen::new(4096));
    let block = file.read(FileOffset::new(number * 4096), into).await.unwrap();
    assert_eq!(*block, [u8::try_from(number).unwrap(); 4096]);
}

async fn check_all(file: &dyn File) {
    futures::future::join_all((0..BLOCKS).map(|number| check(file, number))).await;
    file.sync().await.unwrap();
}

/// Waits until nothing of an opening is left: then the folder can be opened again.
fn wait_until_free(folder: &TempDir) {
    for _ in 0..10_000 {
        let opened = one_thread().block_on(RealStorage::open(folder.path(), super::real_options()));
        if opened.is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("something still holds the folder");
}

#[test]
fn a_file_serves_several_runtimes_and_outlives_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let first = one_thread();
    let (storage, file) = first.block_on(async {
        let storage = open(&folder).await;
        let file = filled(&storage).await;
        (storage, file)
    });
    // The first one is there, and nobody drives it.
    for runtime in [one_thread(), two_threads(), one_thread()] {
        runtime.block_on(check_all(&*file));
    }
    drop(first);
    two_threads().block_on(check_all(&*file));
    on_no_runtime(check_all(&*file));
    drop((file, storage));
    wait_until_free(&folder);
}

#[test]
fn what_a_runtime_leaves_under_way_is_answered_elsewhere_and_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = one_thread();
    let storage = runtime.block_on(open(&folder));
    let file = runtime.block_on(filled(&storage));
    drop(runtime);
    for round in 0..50 {
        let dying = if round % 2 == 0 { one_thread() } else { two_threads() };
        let mut reads: Vec<_> = (0..BLOCKS)
            .map(|number| {
                let file = Arc::clone(&file);
                Box::pin(async move { check(&*file, number).await })
            })
            .collect();
        let mut syncs = vec![file.sync(), file.sync()];
        // Begun on a runtime that is gone before it could hear of the end.
        dying.block_on(async {
            poll_fn(|context| {
                reads.retain_mut(|read| read.as_mut().poll(context).is_pending());
                syncs.retain_mut(|sync| sync.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        });
        drop(dying);
        let heard: Vec<_> = reads.into_iter().step_by(2).collect();
        on_no_runtime(futures::future::join_all(heard));
        for synced in on_no_runtime(futures::future::join_all(syncs)) {
            synced.unwrap();
        }
    }
    drop((file, storage));
    wait_until_free(&folder);
}

/// The kernel gives up what a thread that ends has submitted and nobody has begun.
#[test]
fn threads_that_end_take_nothing_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = two_threads();
    let storage = runtime.block_on(open(&folder));
    let file = runtime.block_on(filled(&storage));
    for _ in 0..50 {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (file, handle) = (Arc::clone(&file), runtime.handle().clone());
                std::thread::spawn(move || {
                    let _here = handle.enter();
                    let mut begun: Vec<_> = (0..8)
                        .map(|_| {
                            let file = Arc::clone(&file);
                            Box::pin(async move { file.sync().await })
                        })
                        .collect();
                    let mut context = Context::from_waker(Waker::noop());
                    begun.retain_mut(|sync| sync.as_mut().poll(&mut context).is_pending());
                    begun
                })
            })
            .collect();
        for thread in threads {
            let begun = thread.join().unwrap();
            for synced in runtime.block_on(futures::future::join_all(begun)) {
                synced.unwrap();
            }
        }
    }
    drop((file, storage));
    wait_until_free(&folder);
}

#[test]
fn a_runtime_without_io_has_its_io_done_by_threads() {
    let folder = tempfile::tempdir().unwrap();
    let bare = || Builder::new_current_thread().enable_time().build().unwrap();
    let runtime = one_thread();
    let storage = runtime.block_on(open(&folder));
    let file = runtime.block_on(filled(&storage));
    bare().block_on(check_all(&*file));
    drop((file, storage));
    wait_until_free(&folder);

    // Nobody who does not insist is refused for it.
    let opened = RealStorage::open(folder.path(), logstor::RealOptions::default());
    let storage = bare().block_on(opened).unwrap();
    assert_eq!(storage.info().backend, "thread pool");
}
