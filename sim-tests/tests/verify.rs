//! Checks of whole stores: nothing is found in one that is whole, whatever is written beside, and
//! what is damaged is found where it is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use logstor_core::io::Clock;
use logstor_core::{
    CompactRequest, Db, Durability, Error, ErrorKind, Finding, Flaw, Group, Options, VerifyOptions,
};
use logstor_io_sim::{Latencies, Latency, Sim, SimOptions, SimRng};

const SEGMENT: u32 = 64 << 10;

fn options() -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(2),
        capacity: Some(24 * u64::from(SEGMENT)),
        buffer_len: 4096,
        flush_after: Duration::from_millis(5),
        ..Options::default()
    }
}

fn run(seed: u64, body: impl AsyncFnOnce(&Sim, Arc<dyn Clock>, Db)) {
    // Slow reads: much happens between the two looks of a check at the state.
    let latencies = Latencies { read: Latency::micros(10, 3000), ..Latencies::default() };
    let sim = Sim::new(&SimOptions::new(seed).latencies(latencies));
    sim.run(async {
        let environment = sim.boot();
        let clock = Arc::clone(&environment.clock);
        let db = Db::open(environment, options()).await.unwrap();
        body(&sim, clock, db).await;
    })
    .expect_done();
}

/// Everything that is found.
async fn findings(db: &Db, options: VerifyOptions) -> Vec<Finding> {
    let checked: Vec<_> = db.verify(options).try_collect().await.unwrap();
    checked.into_iter().flat_map(|segment| segment.findings).collect()
}

/// Writes, deletes, large values, dropped and truncated groups, compaction, other capacities.
async fn change(db: &Db, seed: u64) {
    let mut rng = SimRng::new(seed, "changes");
    for round in 0..150_u64 {
        let name = ["a", "b", "c"][usize::try_from(rng.below(3)).unwrap()];
        let group = db.group(name).await.unwrap();
        let key = rng.below(60).to_le_bytes();
        let len = usize::try_from(rng.below(6000)).unwrap();
        let done = match rng.below(40) {
            0 => db.drop_group(name).await,
            1 => db.truncate_group(name).await,
            2 => db.compact(CompactRequest::default()).await.map(|_| ()),
            3 => db.resize(Some((20 + rng.below(8)) * u64::from(SEGMENT))),
            4 | 5 => group.put(key, vec![1; 90_000]).await,
            6..15 => group.delete(key).await,
            number => {
                let levels = [Durability::Buffered, Durability::Written, Durability::Synced];
                let level = levels[usize::try_from(number % 3).unwrap()];
                group.put_with(key, vec![number.to_le_bytes()[0]; len], level).await
            }
        };
        let full = done.as_ref().is_err_and(|error| error.kind() == ErrorKind::Full);
        assert!(done.is_ok() || full, "round {round}: {done:?}");
    }
}

#[test]
fn nothing_is_found_in_a_whole_store_whatever_is_written_beside() {
    let (mut read, mut records) = (0, 0);
    for seed in 0..6 {
        run(seed, async |_, clock, db| {
            let writers = change(&db, seed);
            let mut looks = 0;
            let checks = async {
                loop {
                    let summaries = VerifyOptions::default().summaries_only();
                    let options = [VerifyOptions::default(), summaries][looks % 2].clone();
                    let mut segments = db.verify(options);
                    while let Some(checked) = segments.try_next().await.unwrap() {
                        assert!(checked.findings.is_empty(), "seed {seed}: {checked:?}");
                        (read, records) = (read + checked.bytes_read, records + checked.records);
                    }
                    looks += 1;
                    // Of an empty store nothing is read, and nobody would be let in between.
                    clock.sleep(Duration::from_millis(1)).await;
                }
            };
            futures::pin_mut!(writers, checks);
            futures::future::select(writers, checks).await;
            let looked = findings(&db, VerifyOptions::default()).await;
            assert!(looked.is_empty(), "seed {seed}: {looked:?}");
        });
    }
    assert!(read > 1 << 20 && records > 300, "{read} bytes, {records} records");
}

async fn fill(group: &Group, keys: u8) {
    for key in 0..keys {
        group.put([key], vec![key; 3000]).await.unwrap();
    }
}

/// Keys whose reading says that they are damaged.
async fn corrupt(group: &Group, keys: u8) -> usize {
    let mut count = 0;
    for key in 0..keys {
        match group.get([key]).await {
            Ok(value) => assert_eq!(value.unwrap().len(), 3000),
            Err(error) => {
                assert!(matches!(error, Error::Corruption { .. }), "{error}");
                count += 1;
            }
        }
    }
    count
}

/// One flipped bit a run, anywhere in the files of segments. A live record is found damaged exactly
/// if reading its key says so.
#[test]
fn a_flipped_bit_is_found_where_it_matters_and_live_only_if_a_key_needs_it() {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 0..120 {
        run(seed, async |sim, _, db| {
            let _still = db.pause_compaction();
            let group = db.group("a").await.unwrap();
            fill(&group, 60).await;
            fill(&group, 30).await;
            db.flush().await.unwrap();
            let mut rng = SimRng::new(seed, "flips");
            let files: Vec<_> = sim.raw().list();
            let files: Vec<_> =
                files.iter().filter(|file| file.name.starts_with("segments-")).collect();
            let file = files[usize::try_from(rng.below(3)).unwrap()];
            let at = rng.below(file.len);
            sim.raw().corrupt(&file.name, at..at + 1, |byte| byte[0] ^= 0x20).unwrap();

            let found = findings(&db, VerifyOptions::default()).await;
            let corrupt = corrupt(&group, 60).await;
            let live = |finding: &&Finding| finding.live == Some(true);
            let unknown = found.iter().any(|finding| finding.live.is_none());
            let records = found.iter().filter(live).count();
            assert!(records == corrupt || unknown, "seed {seed}: {corrupt} {found:?}");
            let what = match &found[..] {
                [] => "nothing",
                [one] if one.live == Some(true) => "live",
                [one] if one.live == Some(false) => "dead",
                [one] if matches!(one.flaw, Flaw::Seal(_)) => "seal",
                [_] => "front",
                more => panic!("seed {seed}: one bit, and {more:?}"),
            };
            *counts.entry(what).or_default() += 1;
            if let [one] = &found[..] {
                let (file_at, segment) = (u64::from(SEGMENT), u64::from(one.segment.get() % 2));
                let start = segment * file_at + u64::from(one.offset.get());
                let near = start <= at && at < start + 64 * 1024;
                assert!(near, "seed {seed}: flipped {at}, found {one:?}");
            }
        });
    }
    let some = |what| counts.get(what).copied().unwrap_or_default() > 0;
    assert!(some("nothing") && some("live") && some("dead") && some("front"), "{counts:?}");
}

#[test]
fn a_damaged_piece_of_a_large_value_is_found_and_by_its_summary_only_its_header() {
    run(1, async |sim, _, db| {
        let group = db.group("a").await.unwrap();
        group.put("large", vec![7; 150_000]).await.unwrap();
        let pieces = |db: &Db| {
            let large = db.segments().into_iter().filter(|segment| {
                matches!(segment.writer, Some(logstor_core::SegmentWriter::Large(_)))
            });
            large.map(|segment| segment.segment.get()).collect::<Vec<_>>()
        };
        let piece = pieces(&db)[1];
        let flip = |at: u64| {
            let name = format!("segments-{:06}.log", piece / 2);
            let at = u64::from(piece % 2 * SEGMENT) + at;
            sim.raw().corrupt(&name, at..at + 1, |byte| byte[0] ^= 1).unwrap();
        };
        flip(5000);
        let found = findings(&db, VerifyOptions::default()).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(matches!(found[0].flaw, Flaw::Piece(_)), "{found:?}");
        assert_eq!((found[0].live, found[0].group), (Some(true), Some(group.id())));
        let summaries = VerifyOptions::default().summaries_only();
        assert!(findings(&db, summaries.clone()).await.is_empty());
        flip(50);
        let found = findings(&db, summaries).await;
        assert!(matches!(found[..], [Finding { flaw: Flaw::Header(_), .. }]), "{found:?}");
    });
}

#[test]
fn a_check_that_is_dropped_or_left_alone_is_in_nobodys_way() {
    run(2, async |_, _, db| {
        let group = db.group("a").await.unwrap();
        fill(&group, 60).await;
        let mut left = db.verify(VerifyOptions::default());
        assert!(left.next().await.unwrap().unwrap().findings.is_empty());
        let mut dropped = db.verify(VerifyOptions::default());
        // Polled until a read is on its way.
        while futures::poll!(dropped.next()).is_ready() {}
        drop(dropped);
        // All of the store is written anew, so nothing is held.
        for _ in 0..20 {
            fill(&group, 60).await;
        }
        while let Some(checked) = left.next().await {
            assert!(checked.unwrap().findings.is_empty());
        }
        let mut closed = db.verify(VerifyOptions::default());
        closed.next().await.unwrap().unwrap();
        db.close().await.unwrap();
        assert!(matches!(closed.next().await, Some(Err(Error::Closed))));
        assert!(closed.next().await.is_none());
    });
}

#[test]
fn a_check_reads_no_faster_than_it_may_and_summaries_are_little() {
    run(3, async |_, clock, db| {
        let group = db.group("a").await.unwrap();
        fill(&group, 100).await;
        db.flush().await.unwrap();
        let read = async |options: VerifyOptions| {
            let begun = clock.now();
            let checked: Vec<_> = db.verify(options).try_collect().await.unwrap();
            let bytes: u64 = checked.iter().map(|segment| segment.bytes_read).sum();
            (bytes, clock.now().saturating_sub(begun))
        };
        let rate = 100_000;
        let (bytes, took) = read(VerifyOptions::default().bytes_per_second(rate)).await;
        assert!(bytes > 300_000);
        assert!(took >= Duration::from_millis(bytes * 1000 / rate), "{bytes} in {took:?}");
        let (few, _) = read(VerifyOptions::default().summaries_only()).await;
        assert!(few < bytes, "{few} of {bytes}");
    });
}
