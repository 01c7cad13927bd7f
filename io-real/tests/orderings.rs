//! Every interleaving, and every value that a weak memory may show, of the one piece of the engine
//! whose laws rest on the order of atomics: `core/src/segment_io/syncs.rs`.
//!
//! ```text
//! RUSTFLAGS="--cfg logstor_loom" cargo test --release -p logstor --test orderings --target-dir target/loom
//! ```
//!
//! Without the flag this is empty, and `loom` is not built. The other atomics of the engine are
//! counters for people (`core/src/segment_io/counters.rs`), of which no decision depends; everything
//! else is under locks.

#![cfg(logstor_loom)]

use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::{Arc, Mutex};
use loom::thread;

/// Where `syncs` takes its atomics from.
mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[path = "../../core/src/segment_io/syncs.rs"]
mod syncs;

use syncs::Syncs;

/// A file with one block. What the device does is ordered by nothing of its own: the least that any
/// kernel gives.
struct File {
    syncs: Syncs,
    /// The number of the last sync that succeeded.
    turn: Mutex<u64>,
    /// The write has ended.
    written: AtomicBool,
    /// A good sync saw it, before any that failed.
    durable: AtomicBool,
    /// A failed sync saw it before, and took it away.
    lost: AtomicBool,
}

impl File {
    fn new() -> Self {
        let no = || AtomicBool::new(false);
        let (written, durable, lost) = (no(), no(), no());
        let (syncs, turn) = (Syncs::new(), Mutex::new(0));
        Self { syncs, turn, written, durable, lost }
    }

    /// As `SegmentFile::sync` does it; `good` is what the device says if it is asked.
    fn sync(&self, good: bool) -> Option<u64> {
        let asked_after = self.syncs.asked();
        let mut last_good = self.turn.lock().unwrap();
        if *last_good <= asked_after {
            let number = self.syncs.begin();
            let saw = self.written.load(Relaxed);
            if !good {
                self.lost.fetch_or(saw && !self.durable.load(Relaxed), Relaxed);
                self.syncs.failed();
                return None;
            }
            self.durable.fetch_or(saw && !self.lost.load(Relaxed), Relaxed);
            *last_good = number;
        }
        Some(self.syncs.failures())
    }

    /// Writes and syncs; what is durable by the rule of `segment_io` must be.
    fn write_and_sync(&self) {
        let before = self.syncs.failures();
        self.written.store(true, Relaxed);
        if self.sync(true) == Some(before) {
            let lost = self.lost.load(Relaxed);
            assert!(self.durable.load(Relaxed), "called durable, and is not; lost: {lost}");
        }
    }
}

/// One who writes and syncs, beside others who sync, well or not.
fn model(others: &'static [bool]) {
    let mut interleavings = loom::model::Builder::new();
    // With one other all of them, with more those that a few switches at bad moments lead to.
    interleavings.preemption_bound = (others.len() > 1).then_some(3);
    interleavings.check(move || {
        let file = Arc::new(File::new());
        let sync = |good: bool| {
            let file = Arc::clone(&file);
            thread::spawn(move || file.sync(good))
        };
        let others: Vec<_> = others.iter().map(|&good| sync(good)).collect();
        file.write_and_sync();
        for other in others {
            let _ = other.join().unwrap();
        }
    });
}

#[test]
fn a_sync_that_serves_another_has_seen_its_writes() {
    model(&[true]);
    model(&[true, true]);
}

#[test]
fn a_write_that_a_failed_sync_took_is_never_called_durable() {
    model(&[false]);
    model(&[false, true]);
}
