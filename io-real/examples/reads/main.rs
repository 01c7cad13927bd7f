//! What a read costs in memory and time, one key at a time and many at once.
//!
//! ```text
//! cargo run --release --example reads -- [FOLDER]
//! ```
//!
//! Fills a new store in FOLDER (the system's own for such things, if none is given), and reads
//! random keys of it, with io_uring and then with threads. Allocations are those of the whole
//! process, counted; one of them is the value. It is no test, since it depends on the clock.

use std::alloc::System;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use logstor::{Backend, Db, Durability, Group, Options};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes of the values, a group for each.
const LENS: [usize; 4] = [100, 1000, 8000, 60_000];
/// Keys of a group, and reads of each measurement.
const KEYS: u32 = 4096;
/// Room for all of them.
const CACHE: u64 = 1 << 30;
/// Keys that are read at once.
const MANY: u32 = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let above = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(above)?;
    let path = folder.path().join("store");
    fill(&path).await?;
    println!("{:<38} {:>10} {:>12} {:>10}", "", "allocated", "bytes of it", "µs a key");
    for backend in [Backend::Auto, Backend::Threads] {
        let db = logstor::builder(&path).backend(backend).open().await?;
        for len in LENS {
            let group = db.group(len.to_string()).await?;
            row(&db, len, "get", one_by_one(&group).await?);
            row(&db, len, &format!("multi_get of {MANY}"), together(&group).await?);
        }
        db.close().await?;
    }
    let options = Options { value_cache: CACHE, ..Options::default() };
    let db = logstor::builder(&path).options(options).open().await?;
    for len in LENS {
        let group = db.group(len.to_string()).await?;
        row(&db, len, "into cache", one_by_one(&group).await?);
        row(&db, len, "from cache", one_by_one(&group).await?);
    }
    let cache = db.stats().cache;
    println!("{} hits, {} misses, {} MB cached", cache.hits, cache.misses, cache.bytes / 1_000_000);
    db.close().await?;
    Ok(())
}

async fn fill(path: &Path) -> Outcome<()> {
    let db = logstor::open(path).await?;
    for len in LENS {
        let group = db.group(len.to_string()).await?;
        for key in 0..KEYS {
            group.put_with(key.to_le_bytes(), vec![7; len], Durability::Buffered).await?;
        }
    }
    db.close().await?;
    Ok(())
}

/// Of one read: allocations, their bytes, and microseconds.
type Cost = [f64; 3];

fn row(db: &Db, len: usize, what: &str, [count, bytes, micros]: Cost) {
    let what = format!("{}, {what}, {len} bytes", db.stats().storage.backend);
    println!("{what:<38} {count:>10.2} {bytes:>12.0} {micros:>10.1}");
}

/// All keys once, in an order in which neighbours are far apart.
fn keys() -> impl Iterator<Item = [u8; 4]> {
    (0..KEYS).map(|number| (number.wrapping_mul(2_654_435_761) % KEYS).to_le_bytes())
}

async fn one_by_one(group: &Group) -> Outcome<Cost> {
    let begun = Begun::now();
    for key in keys() {
        group.get(key).await?.ok_or("a key is gone")?;
    }
    Ok(begun.cost())
}

async fn together(group: &Group) -> Outcome<Cost> {
    let all: Vec<[u8; 4]> = keys().collect();
    let begun = Begun::now();
    for many in all.chunks(usize::try_from(MANY)?) {
        for found in group.multi_get(many).await {
            found?.ok_or("a key is gone")?;
        }
    }
    Ok(begun.cost())
}

struct Begun {
    memory: Region<'static, System>,
    at: Instant,
}

impl Begun {
    fn now() -> Self {
        Self { memory: Region::new(ALLOCATOR), at: Instant::now() }
    }

    fn cost(&self) -> Cost {
        let (time, change) = (self.at.elapsed(), self.memory.change());
        let of_one = |count: usize| {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            f64::from(count) / f64::from(KEYS)
        };
        let counted = change.allocations + change.reallocations;
        let micros = time.as_secs_f64() * 1e6 / f64::from(KEYS);
        [of_one(counted), of_one(change.bytes_allocated), micros]
    }
}
