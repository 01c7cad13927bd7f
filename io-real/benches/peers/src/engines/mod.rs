//! The engines, each set up as its own documentation says, and what each promises in the runs.

mod candystore;
mod device;
mod fjall;
mod lmdb;
mod logstor;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::Outcome;
use crate::child::{self, Job};
use crate::data::value;
use crate::meter::Figures;
use crate::step::Step;

/// What an engine is told when its store is opened.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Bytes of memory that it may take in all, page cache included.
    pub memory: u64,
    /// Records that the store will hold.
    pub records: u64,
    /// Bytes of each value.
    pub value_len: usize,
    /// Whether puts will be durable when they return.
    pub synced: bool,
}

/// One store, as the workloads use it. Futures of engines that block are ready at once.
pub trait Store: Clone + Send + Sync + 'static {
    /// Whether callers are tasks of a tokio runtime; otherwise each is a thread.
    const TASKS: bool = false;

    /// Opens or creates the store in a folder, which exists.
    fn open(folder: &Path, setup: Setup) -> impl Future<Output = Outcome<Self>>;

    /// Reads a record and checks it.
    fn get(&self, number: u64) -> impl Future<Output = Outcome<()>> + Send;

    /// Writes a record, with this value.
    fn put(&self, number: u64, value: Vec<u8>) -> impl Future<Output = Outcome<()>> + Send;

    /// Writes many records, of values so long, in the way that is best for that.
    fn put_many(
        &self,
        numbers: Range<u64>,
        value_len: usize,
    ) -> impl Future<Output = Outcome<()>> + Send {
        async move {
            for number in numbers {
                self.put(number, value(number, 0, value_len)).await?;
            }
            Ok(())
        }
    }

    /// Makes everything durable that was put.
    fn flush(&self) -> impl Future<Output = Outcome<()>> + Send;

    /// Closes the store as its documentation asks for.
    fn close(self) -> impl Future<Output = Outcome<()>> + Send;
}

/// One engine, as tables name it.
pub struct Engine {
    pub name: &'static str,
    /// The package whose version is shown.
    pub package: &'static str,
    /// What a put that is not synced promises, what a synced one does, and what a read checks.
    pub unsynced: &'static str,
    pub synced: &'static str,
    pub checks: &'static str,
    pub run: fn(&Job) -> Outcome<Figures>,
}

/// All engines that were built in, in the order of the tables.
pub const ENGINES: &[Engine] = &[
    Engine {
        name: "logstor",
        package: "logstor",
        unsynced: "lost: 10 ms at the death of the process, 0.2 s in a power cut; a prefix stays",
        synced: "flushed to the device, writers together",
        checks: "two CRCs, generation, group and key",
        run: child::run_tasks::<logstor::Logstor>,
    },
    Engine {
        name: "fjall",
        package: "fjall",
        unsynced: "lost: nothing at the death of the process, up to the system in a power cut",
        synced: "fdatasync of the journal, each writer by itself",
        checks: "checksum of a block that is not in the cache",
        run: child::run::<fjall::Fjall>,
    },
    Engine {
        name: "redb",
        package: "redb",
        unsynced: "lost: 1 s at the death of the process or in a power cut",
        synced: "a transaction each, flushed to the device",
        checks: "nothing",
        run: child::run::<redb::Redb>,
    },
    Engine {
        name: "lmdb",
        package: "heed",
        unsynced: "lost: nothing at the death of the process; a power cut may break the store",
        synced: "a transaction each, flushed to the device",
        checks: "nothing",
        run: child::run::<lmdb::Lmdb>,
    },
    Engine {
        name: "candystore",
        package: "candystore",
        unsynced: "lost: nothing at the death of the process; since its last checkpoint in a \
                   power cut",
        synced: "a checkpoint, writers together",
        checks: "a CRC of 16 bits",
        run: child::run::<candystore::Candy>,
    },
    #[cfg(feature = "rocksdb")]
    Engine {
        name: "rocksdb",
        package: "rocksdb",
        unsynced: "lost: nothing at the death of the process, up to the system in a power cut",
        synced: "fsync of the log, writers together",
        checks: "checksum of a block that is not in the cache",
        run: child::run::<rocksdb::Rocks>,
    },
    Engine {
        name: DEVICE,
        package: "",
        unsynced: "128 KiB writes in order, past the page cache; counted in records",
        synced: "4 KiB dsync writes in order into files filled before, a file each",
        checks: "4 KiB random reads past the page cache, a thread each",
        run: device::run,
    },
];

/// The device itself takes part as if it were an engine.
pub const DEVICE: &str = "device";

/// The engine of this name.
pub fn find(name: &str) -> Option<&'static Engine> {
    ENGINES.iter().find(|engine| engine.name == name)
}

impl Engine {
    /// Whether the step means anything for it.
    pub fn can(&self, step: Step) -> bool {
        self.name != DEVICE || device::can(step)
    }
}

/// Says once a second that it is time: for engines that must be told to make writes durable.
struct EverySecond {
    begun: Instant,
    last: AtomicU64,
}

impl EverySecond {
    fn new() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }

    fn is_due(&self) -> bool {
        let now = self.begun.elapsed().as_secs();
        self.last.fetch_max(now, Ordering::Relaxed) < now
    }
}
