//! The tests of a store on a real disk, which `ring.rs` and `threads.rs` both run: one on
//! `io_uring`, the other without.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod bad_input;
mod conformance;
mod dropped;
mod folder;
mod golden;
mod large;
mod lookups;
mod read_only;
mod recovery;
mod runtimes;
mod spawned;
mod stress;

use std::sync::LazyLock;

use logstor::{Backend, OpenFolderError, RealOptions, RealStorage};

/// The backend that these tests are about; threads where the kernel refuses a ring.
pub(crate) fn backend() -> Backend {
    static REFUSED: LazyLock<bool> = LazyLock::new(|| {
        let asked = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let folder = tempfile::tempdir().unwrap();
            let options = RealOptions::default().backend(Backend::Ring);
            match runtime.unwrap().block_on(RealStorage::open(folder.path(), options)) {
                Err(OpenFolderError::Ring { source }) => {
                    eprintln!("SKIPPED: no io_uring here ({source}); threads are tested again");
                    true
                }
                opened => opened.map(|_| false).unwrap(),
            }
        });
        asked.join().unwrap()
    });
    if crate::BACKEND == Backend::Ring && *REFUSED { Backend::Threads } else { crate::BACKEND }
}

/// Options for a store on that backend.
pub(crate) fn real_options() -> RealOptions {
    RealOptions::default().backend(backend())
}

/// Begins to open a store on that backend.
pub(crate) fn builder(path: impl AsRef<std::path::Path>) -> logstor::Builder {
    logstor::builder(path).backend(backend())
}
