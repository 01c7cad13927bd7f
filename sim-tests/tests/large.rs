//! Large values on a disk that tears and forgets: whole or absent, at every moment.
//!
//! Scripts are cut at every effect that they have on the disk; what comes back is judged by what
//! had been acknowledged.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, select};
use futures::stream::{self, StreamExt, TryStreamExt};
use logstor_core::io::Environment;
use logstor_core::{Db, Durability, Error, ErrorKind, Group, Options};
use logstor_io_sim::{CrashKind, Faults, NameBias, SectorBias, Sim, SimOptions, StopAt};
use logstor_sim_tests::value;

const SEGMENT: u32 = 64 << 10;
const SEGMENTS: u32 = 24;

fn options() -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(4),
        capacity: Some(u64::from(SEGMENTS) * u64::from(SEGMENT)),
        buffer_len: 4096,
        sync_bytes: 8192,
        ..Options::default()
    }
}

fn open(sim: &Sim) -> Result<Db, Error> {
    sim.run(Db::open(sim.boot(), options())).expect_done()
}

/// What may be in each key: the number of its value, or none. The last one was acknowledged, if
/// nothing follows it.
#[derive(Clone, Debug, Default)]
struct Book(Arc<Mutex<Entries>>);

type Entries = BTreeMap<&'static str, Vec<Option<u64>>>;

impl Book {
    fn may_be(&self, key: &'static str, number: Option<u64>) {
        self.0.lock().unwrap().entry(key).or_insert_with(|| vec![None]).push(number);
    }

    fn is(&self, key: &'static str, number: Option<u64>) {
        self.0.lock().unwrap().insert(key, vec![number]);
    }

    async fn put(&self, group: &Group, key: &'static str, number: u64, len: usize) -> Done {
        self.may_be(key, Some(number));
        group.put(key, value::make(number, len)).await?;
        self.is(key, Some(number));
        Ok(())
    }

    async fn delete(&self, group: &Group, key: &'static str) -> Done {
        self.may_be(key, None);
        group.delete(key).await?;
        self.is(key, None);
        Ok(())
    }

    /// Reads every key, and takes what it found as what is there from now on.
    async fn check(&self, group: &Group) -> Result<(), String> {
        let expected = self.0.lock().unwrap().clone();
        for (key, numbers) in expected {
            let found = group.get(key).await.map_err(|error| format!("{key}: {error}"))?;
            let number = match &found {
                Some(bytes) => match value::parse(bytes)? {
                    value::Value::Of(number) => Some(number),
                    other @ value::Value::Short(_) => return Err(format!("{key}: {other:?}")),
                },
                None => None,
            };
            if !numbers.contains(&number) {
                return Err(format!("{key} is {number:?}, and may be one of {numbers:?}"));
            }
            if let Some(bytes) = found {
                let stream = group.get_stream(key).await.map_err(|error| error.to_string())?;
                let stream = stream.ok_or("it was just there")?;
                let pieces: Vec<Bytes> =
                    stream.try_collect().await.map_err(|error| error.to_string())?;
                if pieces.concat() != bytes {
                    return Err(format!("{key}: the stream says something else"));
                }
            }
            self.is(key, number);
        }
        Ok(())
    }
}

type Done = Result<(), Error>;

fn chunks(number: u64, len: usize) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    let whole = value::make(number, len);
    stream::iter((0..len).step_by(10_000).map(move |at| Ok(whole.slice(at..len.min(at + 10_000)))))
}

/// Large values in every way of coming and going, next to short ones.
async fn script(environment: Environment, book: Book) -> Done {
    let clock = Arc::clone(&environment.clock);
    let db = Db::open(environment, options()).await?;
    let group = db.group("a").await?;
    book.put(&group, "k", 1, 140_000).await?;
    let short = async {
        for number in 10..16 {
            book.put(&group, "s", number, 5000).await?;
        }
        Ok::<(), Error>(())
    };
    let long = book.put(&group, "k", 2, 100_000);
    let (short, long) = join(short, long).await;
    short?;
    long?;
    book.put(&group, "k", 3, 20).await?;
    book.may_be("m", Some(4));
    let written = group.put_stream_with("m", 70_000, chunks(4, 70_000), Durability::Buffered);
    written.await?;
    let broken = chunks(5, 90_000).chain(stream::empty());
    assert!(group.put_stream("m", 200_000, broken).await.is_err());
    book.put(&group, "k", 6, 130_000).await?;
    book.delete(&group, "m").await?;
    let never =
        stream::iter([Ok::<_, Infallible>(value::make(7, 65_000))]).chain(stream::pending());
    let dropped = Box::pin(group.put_stream("n", 130_000, never));
    drop(select(dropped, clock.sleep(Duration::from_millis(1))).await);
    book.put(&group, "n", 8, 80_000).await?;
    book.put(&group, "k", 9, 70_000).await?;
    db.close().await
}

/// After everything: the numbers add up, nothing is left of what is dead, and writing goes on.
async fn go_on(sim: &Sim, db: &Db, book: &Book) -> Result<(), String> {
    let group = db.group("a").await.map_err(|error| error.to_string())?;
    book.check(&group).await?;
    let put = book.put(&group, "z", 99, 150_000).await;
    put.map_err(|error| format!("no room for one more: {error}"))?;
    book.check(&group).await?;
    let clock = sim.boot().clock;
    clock.sleep(Duration::from_secs(5)).await;
    let stats = db.stats();
    if stats.space.sum() != stats.file_bytes {
        return Err(format!("the numbers do not add up: {stats:?}"));
    }
    let mut expected = 0;
    for key in ["k", "m", "n", "z"] {
        let stream = group.get_stream(key).await.map_err(|error| error.to_string())?;
        let len = stream.map_or(0, |stream| stream.len());
        expected += if len > 16_384 { len.div_ceil(61_344) } else { 0 };
    }
    if u64::from(stats.kinds.large) != expected {
        return Err(format!("{expected} pieces are live: {:?}", stats.kinds));
    }
    Ok(())
}

fn look(sim: &Sim, book: &Book, what: &str) {
    let db = match open(sim) {
        Ok(db) => db,
        Err(error) => panic!("{what}: {error}"),
    };
    assert!(db.recovery_report().damaged_values.is_empty(), "{what}");
    let went = sim.run(go_on(sim, &db, book)).expect_done();
    assert_eq!(went, Ok(()), "{what}");
    // And once more, from what this opening left behind.
    drop(db);
    sim.crash(CrashKind::POWER_CUT);
    let db = open(sim).unwrap();
    let again = async {
        let group = db.group("a").await.map_err(|error| error.to_string())?;
        book.check(&group).await
    };
    assert_eq!(sim.run(again).expect_done(), Ok(()), "{what}, a crash later");
}

fn crash_at_every_effect(seed: u64, kind: impl Fn(u64) -> CrashKind) {
    for effects in 1.. {
        let sim = Sim::new(&SimOptions::new(seed ^ (effects << 20)));
        let book = Book::default();
        sim.stop_at(StopAt::Effects(effects));
        let ended = sim.run(script(sim.boot(), book.clone())).done();
        if let Some(ended) = &ended {
            assert!(ended.is_ok(), "seed {seed}: {ended:?}");
        }
        sim.crash(kind(effects));
        look(&sim, &book, &format!("seed {seed}, {effects} effects"));
        if ended.is_some() {
            assert!(effects > 100, "the script did something");
            return;
        }
    }
}

#[test]
fn large_values_are_whole_or_absent_wherever_the_power_is_cut() {
    for seed in 0..4 {
        crash_at_every_effect(seed, |_| CrashKind::POWER_CUT);
    }
}

#[test]
fn large_values_are_whole_or_absent_if_nothing_unsynced_survives() {
    let nothing =
        CrashKind::PowerCut { sectors: Some(SectorBias::None), names: Some(NameBias::None) };
    crash_at_every_effect(7, |_| nothing);
}

#[test]
fn large_values_are_whole_or_absent_wherever_the_process_dies() {
    for seed in 0..2 {
        crash_at_every_effect(seed, |_| CrashKind::ProcessKill);
    }
}

/// A failed write or sync of a piece fails its value and changes nothing: whoever tries again
/// succeeds. How often it failed.
async fn insist(environment: Environment, book: Book) -> Result<u64, String> {
    let clock = Arc::clone(&environment.clock);
    let db = Db::open(environment, options()).await.map_err(|error| error.to_string())?;
    let group = db.group("a").await.map_err(|error| error.to_string())?;
    let (mut failures, mut current) = (0, None);
    for number in 1..12 {
        let len = 61_000 + 20_000 * (usize::try_from(number).unwrap() % 5);
        while current != Some(number) {
            match book.put(&group, "k", number, len).await {
                Ok(()) => current = Some(number),
                Err(error) if error.kind() == ErrorKind::Io => {
                    failures += 1;
                    book.is("k", current);
                    book.check(&group).await?;
                }
                // Making a file failed, and is tried again after a while; or slots could not be
                // erased, and are not used again in this opening.
                Err(error) if error.kind() == ErrorKind::Full && failures < 100 => {
                    failures += 1;
                    book.is("k", current);
                    clock.sleep(Duration::from_secs(2)).await;
                }
                Err(error) if error.kind() == ErrorKind::Full => return Ok(failures),
                Err(error) if error.kind() == ErrorKind::Failed => return Ok(failures),
                Err(error) => return Err(format!("value {number}: {error}")),
            }
        }
    }
    Ok(failures)
}

#[test]
fn a_device_in_trouble_costs_attempts_and_no_values() {
    let mut failures = 0;
    for seed in 0..200 {
        let sim = Sim::new(&SimOptions::new(seed));
        let db = open(&sim).unwrap();
        sim.run(async { db.group("a").await.map(|_| ()) }).expect_done().unwrap();
        sim.run(async { db.close().await }).expect_done().unwrap();
        drop(db);
        let faults = Faults { write_error: 20_000, sync_error: 20_000, ..Faults::none() };
        sim.set_faults(faults);
        let book = Book::default();
        match sim.run(insist(sim.boot(), book.clone())).expect_done() {
            Ok(count) => failures += count,
            Err(what) if what.contains("publishing") || what.contains("syncing") => {}
            Err(what) => panic!("seed {seed}: {what}"),
        }
        sim.set_faults(Faults::none());
        sim.crash(CrashKind::POWER_CUT);
        look(&sim, &book, &format!("seed {seed}"));
    }
    assert!(failures > 50, "{failures} failures are too few to show anything");
}
