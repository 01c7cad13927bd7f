//! What the flows share: the state, the device, and who wakes whom.
//!
//! ```text
//!   put ──wakes──> writer ──frees──> write memory, room ──wakes──> put
//!                    │ segments taken            │ segments dead
//!                    └──wakes──> grow, rewriter  └──wakes──> reclaim
//! ```
//!
//! Steps collect whom they call; [`Store::step`] carries the calls out once the lock is released.
//! Every wait re-checks the state after it was woken, so a wake-up too many costs time only, and
//! none is lost: a call is stored until somebody waits for it.
//!
//! Absent on purpose: flows. Nothing here decides what to write or to read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, Semaphore};

use crate::format::hash::KeyHasher;
use crate::io::Environment;
use crate::memory::{Allowance, Calls, Memory, State, Status};
use crate::options::Durability;
use crate::segment_io::Device;
use crate::types::{SegmentId, to_usize};

/// One open store.
#[derive(Debug)]
pub(crate) struct Store {
    memory: Memory,
    pub(crate) device: Device,
    pub(crate) environment: Environment,
    pub(crate) hasher: KeyHasher,
    pub(crate) durability: Durability,
    /// Whether values that were read are kept.
    pub(crate) caches: bool,
    /// The log writer has something to look at.
    pub(crate) writer_called: Notify,
    /// A file may have to be made.
    pub(crate) grow_called: Notify,
    /// A segment may have to be erased, or the mark published.
    pub(crate) reclaim_called: Notify,
    /// Something may have to be rewritten.
    pub(crate) rewriter_called: Notify,
    /// Room may have appeared.
    pub(crate) room: Notify,
    /// Bytes of write memory that are free. First come, first served.
    pub(crate) write_memory: Semaphore,
    pub(crate) write_memory_len: usize,
    /// Changes of the catalogue take turns.
    pub(crate) catalogue_turn: Mutex<()>,
    /// Marks are published one at a time.
    mark_turn: Mutex<()>,
    /// Large values take turns, a few at a time. First come, first served.
    pub(crate) large_turns: Semaphore,
    /// Tasks that still run hold one permit each.
    pub(crate) tasks: Semaphore,
}

/// Large values that are written at the same time.
const LARGE_WRITES: u32 = 8;

/// Tasks of one store: writer, grow, reclaim, rewriter, and one for each large value.
pub(crate) const TASKS: u32 = 4 + LARGE_WRITES;

impl Store {
    pub(crate) fn new(
        state: State,
        device: Device,
        environment: Environment,
        hasher: KeyHasher,
        options: &crate::options::Options,
    ) -> Arc<Self> {
        let write_memory_len = to_usize(options.write_memory);
        Arc::new(Self {
            memory: Memory::new(state),
            device,
            environment,
            hasher,
            durability: options.durability,
            caches: options.value_cache > 0,
            writer_called: Notify::new(),
            grow_called: Notify::new(),
            reclaim_called: Notify::new(),
            rewriter_called: Notify::new(),
            room: Notify::new(),
            write_memory: Semaphore::new(write_memory_len),
            write_memory_len,
            catalogue_turn: Mutex::default(),
            mark_turn: Mutex::default(),
            large_turns: Semaphore::new(to_usize(LARGE_WRITES)),
            tasks: Semaphore::new(to_usize(TASKS)),
        })
    }

    /// Runs one uninterrupted step, then wakes whom it called.
    pub(crate) fn step<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        let (result, calls) = self.memory.step(step);
        self.carry_out(calls);
        result
    }

    /// The same for destructors. If a step panicked, nobody will ever look at the state again, and
    /// so nothing is given back to it.
    pub(crate) fn let_go(&self, step: impl FnOnce(&mut State)) {
        if let Some(((), calls)) = self.memory.last_step(step) {
            self.carry_out(calls);
        }
    }

    fn carry_out(&self, calls: Calls) {
        if calls.released > 0 {
            self.write_memory.add_permits(calls.released);
        }
        if calls.writer {
            self.writer_called.notify_one();
        }
        if calls.grow {
            self.grow_called.notify_one();
        }
        if calls.reclaim {
            self.reclaim_called.notify_one();
        }
        if calls.rewriter {
            self.rewriter_called.notify_one();
        }
        if calls.room {
            self.room.notify_waiters();
        }
        drop(calls.garbage); // perhaps large, and no longer under the lock
    }

    pub(crate) fn now(&self) -> Duration {
        self.environment.clock.now()
    }

    /// How much of the device a background task may take now.
    pub(crate) fn allowance(&self) -> Allowance {
        let now = self.now();
        self.step(|state| state.allowance(now))
    }

    /// Whether background tasks should end: the store is closing, or its last handle is gone.
    pub(crate) fn is_ending(&self) -> bool {
        self.step(|state| state.draining || matches!(state.status, Status::Closed))
    }

    /// Writes the mark and makes it durable: watermarks, floors, files.
    ///
    /// A crash in it costs nothing: the other slot of the mark still holds the one before. After a
    /// failure the next attempt takes the same slot, for the same reason.
    pub(crate) async fn publish(&self) -> io::Result<()> {
        let _turn = self.mark_turn.lock().await;
        let mark = self.step(State::next_mark);
        self.device.write_mark(&mark).await?;
        self.step(|state| state.mark_published(mark));
        Ok(())
    }

    /// Lets writes in progress finish, takes no new ones, and has the background tasks end.
    pub(crate) fn begin_to_end(&self) {
        self.let_go(|state| {
            if matches!(state.status, Status::Open) {
                state.status = Status::Closed;
            }
            state.draining = true;
            state.calls.writer = true;
            state.calls.grow = true;
            state.calls.reclaim = true;
            state.calls.rewriter = true;
            state.calls.room = true;
        });
    }
}

/// A claim on a segment: it is not erased while this lives.
#[derive(Debug)]
pub(crate) struct Pin<'a> {
    pub(crate) store: &'a Store,
    pub(crate) segment: SegmentId,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.store.let_go(|state| state.unpin(self.segment));
    }
}

/// Claims on the segments of a large value: none of them is erased while this lives.
#[derive(Debug)]
pub(crate) struct Pins {
    pub(crate) store: Arc<Store>,
    pub(crate) segments: Arc<[SegmentId]>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.store.let_go(|state| self.segments.iter().for_each(|&segment| state.unpin(segment)));
    }
}

/// The segments of a large value that is being written. They belong to whoever has this, until a
/// record that lists them is accepted; dropped before, it gives them up.
#[derive(Debug)]
pub(crate) struct Pieces {
    store: Arc<Store>,
    segments: Vec<SegmentId>,
    /// Nothing of them is on its way to the device. Before that nobody else may have them.
    settled: bool,
}

impl Pieces {
    pub(crate) fn none(store: &Arc<Store>) -> Self {
        Self { store: Arc::clone(store), segments: Vec::new(), settled: true }
    }

    /// One more, which is about to be written.
    pub(crate) fn add(&mut self, segment: SegmentId) {
        self.segments.push(segment);
        self.settled = false;
    }

    /// Every write of them has ended.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }

    pub(crate) fn segments(&self) -> &[SegmentId] {
        &self.segments
    }

    /// A record that lists them was accepted: they are its own from now on.
    pub(crate) fn handed_over(mut self) {
        assert!(self.settled, "only what is durable is listed");
        self.segments.clear();
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if self.settled && !self.segments.is_empty() {
            self.store.let_go(|state| state.abandon_pieces(&self.segments));
        }
    }
}
