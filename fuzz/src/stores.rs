//! Small stores to damage: disks of different pasts, made on the simulated disk.
//!
//! ```text
//! calm        two groups, values and tombstones, closed            has a dump
//! cut         writes under way, half of their sectors lost
//! killed      writes under way, the process gone
//! compacted   overwritten for so long that segments were reused, then compacted
//! large       values in segments of their own, one overwritten, power cut
//! sorted      groups sorted out, one dropped, one emptied, closed   has a dump
//! fresh       nothing was ever written
//! ```
//!
//! Law: the same code makes the same disks, bit for bit.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use bytes::Bytes;
use logstor_core::io::Environment;
use logstor_core::{CompactRequest, Db, Durability, Error, Group, Options, WriteBatch};
use logstor_io_sim::{CrashKind, DiskImage, NameBias, SectorBias, Sim, SimOptions, StopAt};
use logstor_sim_tests::value;

use crate::places::{Place, places};

const SEGMENT: u32 = 64 << 10;
const SEGMENTS: u64 = 12;
/// The names of all groups that any of the stores has.
pub(crate) const GROUPS: [&str; 3] = ["a", "b", "a group"];
/// Keys of every group.
pub(crate) const KEYS: u8 = 8;
/// How many stores there are.
pub(crate) const STORES: usize = 7;

/// A disk, and what was ever written to it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) image: DiskImage,
    /// Everything with a structure.
    pub(crate) places: Vec<Place>,
    /// The numbers of the values that a key had, by group and key.
    pub(crate) written: Written,
    /// Names of files, sorted.
    pub(crate) files: Vec<String>,
}

type Written = BTreeMap<(String, u8), BTreeSet<u64>>;

thread_local! {
    static PREPARED: [OnceCell<Prepared>; STORES] = const { [const { OnceCell::new() }; STORES] };
}

/// Lends one of the stores.
pub(crate) fn with_store<T>(which: usize, look: impl FnOnce(&Prepared) -> T) -> T {
    PREPARED.with(|all| look(all[which].get_or_init(|| prepare(which))))
}

/// How every store is made and opened.
pub(crate) fn options() -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(2),
        capacity: Some(SEGMENTS * u64::from(SEGMENT)),
        buffer_len: 8192,
        sync_bytes: 16 << 10,
        mixed_percent: 10,
        ..Options::default()
    }
}

/// How the key with this number is spelled.
pub(crate) fn key(number: u8) -> Vec<u8> {
    let mut key = vec![b'k', number];
    key.resize(2 + usize::from(number) * 9, b'.');
    key
}

/// The world of one of the stores.
fn sim(which: usize) -> Sim {
    let seed = u64::try_from(which).expect("there are few");
    Sim::new(&SimOptions::new(seed).sector_size(if which.is_multiple_of(2) { 512 } else { 4096 }))
}

fn prepare(which: usize) -> Prepared {
    let sim = sim(which);
    let kept = |sectors| CrashKind::PowerCut { sectors: Some(sectors), names: Some(NameBias::All) };
    match which {
        0 => run(&sim, None, calm),
        1 => cut(&sim, kept(SectorBias::Half)),
        2 => cut(&sim, CrashKind::ProcessKill),
        3 => run(&sim, None, compacted),
        4 => run(&sim, None, large),
        5 => run(&sim, None, sorted),
        _ => run(&sim, None, fresh),
    }
    let _ = sim.crash(kept(SectorBias::None));
    let image = sim.raw().image();
    let files: Vec<String> = sim.raw().list().into_iter().map(|entry| entry.name).collect();
    let places = places(&sim.raw());
    let written = ever_written(which);
    Prepared { image, places, written, files }
}

/// Every store draws its values from the same history, whether or not it came to all of it.
fn ever_written(which: usize) -> Written {
    let mut written = Written::new();
    for group in GROUPS {
        for key in 0..KEYS {
            let all = written.entry((group.to_owned(), key)).or_default();
            all.extend((0..ROUNDS).map(|round| number(group, key, round)));
        }
    }
    if which + 1 == STORES { Written::new() } else { written }
}

const ROUNDS: u8 = 24;

/// The number of the value that a key has in a round.
fn number(group: &str, key: u8, round: u8) -> u64 {
    let group = GROUPS.iter().position(|name| *name == group).expect("the group is one of these");
    u64::try_from(group).expect("there are few") << 16 | u64::from(key) << 8 | u64::from(round)
}

fn value_of(group: &str, key: u8, round: u8, len: usize) -> Bytes {
    value::make(number(group, key, round), len)
}

fn run<F, R>(sim: &Sim, stop: Option<StopAt>, script: F)
where
    F: FnOnce(Environment) -> R,
    R: Future<Output = Result<(), Error>>,
{
    if let Some(stop) = stop {
        sim.stop_at(stop);
    }
    let ended = sim.run(script(sim.boot())).done();
    assert!(ended.is_some() || stop.is_some(), "a script runs to its end");
    assert!(ended.is_none_or(|ended| ended.is_ok()), "nothing fails here");
}

fn cut(sim: &Sim, crash: CrashKind) {
    run(sim, Some(StopAt::Effects(140)), |environment| async {
        let db = Db::open(environment, options()).await?;
        fill(&db, 0, 700).await?;
        hasty(&db).await
    });
    let _ = sim.crash(crash);
}

/// One round of puts.
async fn fill(db: &Db, round: u8, len: usize) -> Result<(), Error> {
    for name in GROUPS {
        let group = db.group(name).await?;
        for number in 0..KEYS {
            put(&group, number, round, len + usize::from(number) * 40).await?;
        }
    }
    Ok(())
}

async fn put(group: &Group, number: u8, round: u8, len: usize) -> Result<(), Error> {
    group.put(key(number), value_of(group.name(), number, round, len)).await
}

/// Many writes that nobody waits for.
async fn hasty(db: &Db) -> Result<(), Error> {
    let group = db.group(GROUPS[0]).await?;
    for round in 1..ROUNDS {
        for number in 0..KEYS {
            let value = value_of(GROUPS[0], number, round, 900);
            group.put_with(key(number), value, Durability::Buffered).await?;
        }
    }
    db.flush().await
}

async fn calm(environment: Environment) -> Result<(), Error> {
    let db = Db::open(environment, options()).await?;
    fill(&db, 0, 200).await?;
    let (a, b) = (db.group(GROUPS[0]).await?, db.group(GROUPS[1]).await?);
    a.delete(key(1)).await?;
    b.delete(key(2)).await?;
    let mut batch = WriteBatch::new();
    batch.put(&a, key(3), value_of(GROUPS[0], 3, 1, 60)).delete(&b, key(3));
    db.write(batch).await?;
    db.close().await
}

async fn compacted(environment: Environment) -> Result<(), Error> {
    let db = Db::open(environment, options()).await?;
    for round in 0..8 {
        fill(&db, round, 2500).await?;
    }
    for name in GROUPS {
        db.group(name).await?.delete(key(5)).await?;
    }
    db.compact(CompactRequest::default()).await?;
    fill(&db, 9, 300).await
}

async fn large(environment: Environment) -> Result<(), Error> {
    let db = Db::open(environment, options()).await?;
    let group = db.group(GROUPS[0]).await?;
    put(&group, 0, 0, 17 << 10).await?;
    put(&group, 1, 0, 70 << 10).await?;
    put(&group, 2, 0, 300).await?;
    put(&group, 0, 1, 20 << 10).await?;
    group.delete(key(2)).await?;
    db.flush().await
}

async fn sorted(environment: Environment) -> Result<(), Error> {
    let db = Db::open(environment, options()).await?;
    for round in 0..3 {
        fill(&db, round, 1800).await?;
    }
    db.group(GROUPS[0]).await?.separate().await?;
    db.drop_group(GROUPS[1]).await?;
    db.truncate_group(GROUPS[2]).await?;
    put(&db.group(GROUPS[2]).await?, 4, 5, 100).await?;
    db.close().await
}

async fn fresh(environment: Environment) -> Result<(), Error> {
    let _ = Db::open(environment, options()).await?;
    Ok(())
}
