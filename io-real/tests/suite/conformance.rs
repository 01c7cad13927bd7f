//! The suite of the contract, on a real disk: past the page cache and through it, with many
//! threads and with one.
//!
//! Absent on purpose: crashes. What a sync is worth is the kernel's and the device's promise.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use logstor::io::{Environment, Storage};
use logstor::{Direct, RealOptions, RealStorage, TokioRuntime};
use tempfile::TempDir;

/// Runs every check in folders made by `make`, which live until the end.
async fn check(options: RealOptions, make: fn() -> std::io::Result<TempDir>) {
    let folders = Arc::new(Mutex::new(Vec::new()));
    let fresh = || -> BoxFuture<'static, Environment> {
        let folders = Arc::clone(&folders);
        Box::pin(async move {
            let folder = make().unwrap();
            let storage = RealStorage::open(folder.path(), options).await.unwrap();
            if options == options.direct(Direct::Never) {
                assert!(!storage.info().direct);
            }
            folders.lock().unwrap().push(folder);
            TokioRuntime::current().unwrap().environment(storage).unwrap()
        })
    };
    let passed = logstor_core::conformance::run(&fresh).await.unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(passed, folders.lock().unwrap().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_passes_with_the_best_that_the_file_system_allows() {
    check(super::real_options(), tempfile::tempdir).await;
}

#[tokio::test]
async fn the_storage_passes_through_the_page_cache() {
    check(super::real_options().direct(Direct::Never), tempfile::tempdir).await;
}

#[tokio::test]
async fn the_storage_passes_with_one_thread() {
    check(super::real_options().threads(1), tempfile::tempdir).await;
}

#[tokio::test]
async fn the_storage_passes_in_memory() {
    if tempfile::tempdir_in("/dev/shm").is_ok() {
        check(super::real_options(), || tempfile::tempdir_in("/dev/shm")).await;
    }
}
