//! Scans of whole stores: against a map, over damage, and beside those who change everything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use logstor_core::{CompactRequest, Db, Durability, EntryValue, Error, ErrorKind, Group, Options};
use logstor_io_sim::{Faults, Latencies, Latency, Sim, SimOptions, SimRng};

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

fn run(seed: u64, body: impl AsyncFnOnce(&Sim, Db)) {
    let sim = Sim::new(&SimOptions::new(seed));
    sim.run(async {
        let db = Db::open(sim.boot(), options()).await.unwrap();
        body(&sim, db).await;
    })
    .expect_done();
}

async fn fill(group: &Group, keys: u8) {
    for key in 0..keys {
        group.put([key], vec![key; 3000]).await.unwrap();
    }
}

/// Key and value of each entry.
async fn pairs(
    scan: impl StreamExt<Item = Result<logstor_core::Entry, Error>>,
) -> Vec<(Bytes, Bytes)> {
    let pair = |entry: logstor_core::Entry| {
        let value = entry.value.whole().unwrap().clone();
        (entry.key, value)
    };
    scan.map_ok(pair).try_collect().await.unwrap()
}

#[test]
fn a_scan_sees_what_a_map_holds_durable_or_not() {
    for seed in 0..40 {
        run(seed, async |sim, db| {
            let group = db.group("a").await.unwrap();
            let (mut rng, mut map) = (SimRng::new(seed, "scans"), BTreeMap::new());
            let levels = [Durability::Buffered, Durability::Written, Durability::Synced];
            for _ in 0..rng.below(120) {
                let key = format!("key {}", rng.below(40));
                let level = *rng.pick(&levels);
                if rng.chance(1, 4) {
                    group.delete_with(&key, level).await.unwrap();
                    map.remove(&Bytes::from(key));
                } else {
                    let value = Bytes::from(vec![1; rng.index(4000)]);
                    group.put_with(&key, value.clone(), level).await.unwrap();
                    map.insert(Bytes::from(key), value);
                }
            }
            let mut found = pairs(group.scan()).await;
            let split = rng.bits();
            let (low, high) = (group.scan_tokens(..split), group.scan_tokens(split..));
            let halves = [pairs(low).await, pairs(high).await].concat();
            assert_eq!(found, halves, "seed {seed}");
            let keys: Vec<Bytes> = group.keys().try_collect().await.unwrap();
            assert!(keys.iter().eq(found.iter().map(|pair| &pair.0)), "seed {seed}");
            let tokens = keys.iter().map(|key| group.token_of(key).unwrap());
            assert!(tokens.is_sorted(), "seed {seed}");
            found.sort();
            assert!(found.into_iter().eq(map), "seed {seed}");
            let mut scan = group.scan();
            while let Some(entry) = scan.try_next().await.unwrap() {
                assert_eq!(group.get_entry(&entry.key).await.unwrap(), Some(entry));
            }
            sim.note("scanned");
        });
    }
}

#[test]
fn a_scan_that_nobody_polls_is_in_nobodys_way_and_goes_on_where_it_was() {
    run(1, async |sim, db| {
        let group = db.group("a").await.unwrap();
        fill(&group, 60).await;
        let mut scan = group.scan();
        let first = scan.try_next().await.unwrap().unwrap();
        // Everything is overwritten, several times what the store holds, and moved.
        for round in 0..20 {
            for key in 0..60_u8 {
                group.put([key], vec![round; 3000]).await.unwrap();
            }
            db.compact(CompactRequest::default()).await.unwrap();
        }
        let clock = sim.boot().clock;
        clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(db.stats().space.pinned, 0);
        let rest: Vec<_> = scan.try_collect().await.unwrap();
        assert_eq!(rest.len(), 59);
        assert!(rest.iter().all(|entry| entry.key != first.key));
    });
}

/// The records that were listed have moved, and their old places were written over, by the time
/// that they are read.
#[test]
fn records_that_move_away_under_a_scan_are_found_where_they_are() {
    for seed in 0..20 {
        run(seed, async |sim, db| {
            let group = db.group("a").await.unwrap();
            fill(&group, 60).await;
            db.flush().await.unwrap();
            let slow = Latency::micros(1_000_000, 60_000_000);
            sim.set_latencies(Latencies { read: slow, ..Latencies::default() });
            let entries = group.scan().try_collect::<Vec<_>>();
            let others = async {
                sim.set_latencies(Latencies::default());
                for round in 0..30 {
                    for key in (0..60_u8).filter(|key| key % 10 > 0) {
                        group.put([key], vec![100 + round; 3000]).await.unwrap();
                    }
                }
            };
            let (entries, ()) = futures::join!(entries, others);
            let mut keys: Vec<u8> = entries.unwrap().iter().map(|entry| entry.key[0]).collect();
            keys.sort_unstable();
            assert!(keys.into_iter().eq(0..60), "seed {seed}");
        });
    }
}

#[test]
fn a_dropped_group_ends_a_scan_and_so_does_a_closed_store() {
    run(2, async |_, db| {
        let kind = |next: Option<Result<logstor_core::Entry, Error>>| {
            next.map(|next| next.map_err(|error| error.kind()).map(|entry| entry.key))
        };
        for drops in [true, false] {
            let group = db.group("a").await.unwrap();
            fill(&group, 60).await;
            let mut scan = group.scan();
            scan.try_next().await.unwrap().unwrap();
            let expected = if drops {
                db.drop_group("a").await.unwrap();
                ErrorKind::NotFound
            } else {
                db.close().await.unwrap();
                ErrorKind::Closed
            };
            let (mut ended, mut entries) = (None, 0);
            while let Some(next) = kind(scan.next().await) {
                assert_eq!(ended, None, "nothing follows the end");
                entries += usize::from(next.is_ok());
                ended = next.err();
            }
            assert_eq!(ended, Some(expected));
            assert!(entries <= 16, "{entries} were read ahead");
            assert!(scan.next().await.is_none());
            let at_once = kind(group.scan().next().await);
            assert_eq!(at_once, Some(Err(expected)));
        }
    });
}

#[test]
fn a_damaged_record_is_an_error_that_names_its_place_and_the_scan_goes_on() {
    run(3, async |sim, db| {
        let group = db.group("a").await.unwrap();
        fill(&group, 40).await;
        db.flush().await.unwrap();
        let entry = group.get_entry([7]).await.unwrap().unwrap();
        let files = sim.raw().export();
        let value = entry.value.whole().unwrap();
        // In every copy of it.
        for (name, bytes) in &files {
            for at in (0..bytes.len()).filter(|&at| bytes[at..].starts_with(value)) {
                let at = u64::try_from(at).unwrap();
                sim.raw().corrupt(name, at..at + 1, |byte| byte[0] ^= 1).unwrap();
            }
        }
        let Err(Error::Corruption { at: place, .. }) = group.get([7]).await else {
            panic!("it is damaged");
        };
        let (mut seen, mut errors) = (Vec::new(), Vec::new());
        let mut scan = group.scan();
        while let Some(next) = scan.next().await {
            match next {
                Ok(entry) => seen.push(entry.key[0]),
                Err(Error::Corruption { at, .. }) => errors.push(at),
                Err(error) => panic!("{error}"),
            }
        }
        seen.sort_unstable();
        assert_eq!(errors, [place]);
        assert!(seen.into_iter().eq((0..40).filter(|&key| key != 7)));
        let keys: Vec<_> = group.keys().collect().await;
        assert_eq!(keys.iter().filter(|key| key.is_err()).count(), 1);
        assert_eq!(keys.len(), 40);
    });
}

#[test]
fn a_sector_that_cannot_be_read_hides_what_lies_in_it_and_no_more() {
    run(4, async |sim, db| {
        let group = db.group("a").await.unwrap();
        fill(&group, 40).await;
        db.flush().await.unwrap();
        sim.set_faults(Faults { latent_error: 200_000, ..Faults::none() });
        let found: Vec<_> = group.scan().collect().await;
        let failed = found.iter().filter(|next| next.is_err()).count();
        assert_eq!(found.len(), 40);
        assert!((1..40).contains(&failed), "{failed} failed");
        let io = |next: &Result<_, Error>| {
            next.as_ref().map_or_else(|error| error.kind() == ErrorKind::Io, |_| true)
        };
        assert!(found.iter().all(io));
    });
}

#[test]
fn an_entry_of_a_large_value_tells_its_length_and_reads_nothing_of_it() {
    run(5, async |_, db| {
        let group = db.group("a").await.unwrap();
        let len = 5 * u64::from(SEGMENT);
        group.put("large", vec![7; usize::try_from(len).unwrap()]).await.unwrap();
        let before = db.stats().device.read_bytes;
        let entries: Vec<_> = group.scan().try_collect().await.unwrap();
        let entry = group.get_entry("large").await.unwrap();
        let read = db.stats().device.read_bytes - before;
        assert!(read <= 4 * 4096, "{read} bytes were read");
        assert_eq!(entries[0].value, EntryValue::Large(len));
        assert_eq!(entries.first(), entry.as_ref());
        let stream = group.get_stream("large").await.unwrap().unwrap();
        assert_eq!((stream.len(), stream.version()), (len, entries[0].version));
    });
}
