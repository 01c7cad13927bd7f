//! What memory says of keys: of every state that a key can be in, the same as a read would find.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::task::Poll;

use bytes::Bytes;
use logstor_core::{Db, Durability, Error, ErrorKind, Group, Options};
use logstor_io_sim::{CrashKind, Sim, SimOptions};

fn options() -> Options {
    Options { segment_len: Some(64 << 10), segments_per_file: Some(4), ..Options::default() }
}

fn open(sim: &Sim) -> Db {
    sim.run(Db::open(sim.boot(), options())).expect_done().unwrap()
}

/// Memory says of each of these keys what a read finds, and of the group that there are no others.
async fn agree(group: &Group, keys: &[&str]) -> Result<u64, Error> {
    let mut count = 0;
    for key in keys {
        let (there, size) = (group.contains_key(key)?, group.size_of(key)?);
        let value = group.get(key).await?;
        assert_eq!(there, value.is_some(), "{key}");
        assert_eq!(size.is_some(), value.is_some(), "{key}");
        if let (Some(size), Some(value)) = (size, value) {
            let len = u64::try_from(value.len()).unwrap();
            assert!(
                (size.at_least()..=size.at_most()).contains(&len),
                "{key}: {size:?}, not {len}"
            );
            assert!(size.exact().is_none_or(|exact| exact == len), "{key}: {size:?}");
        }
        count += u64::from(there);
    }
    assert_eq!(group.len()?, count);
    assert_eq!(group.is_empty()?, count == 0);
    Ok(count)
}

fn value(len: usize) -> Bytes {
    vec![7; len].into()
}

#[test]
fn memory_says_of_every_state_of_a_key_what_a_read_finds() {
    let sim = Sim::new(&SimOptions::new(1));
    let db = open(&sim);
    let keys = ["durable", "buffered", "gone", "large", "never"];
    let group = sim.run(async {
        let group = db.group("g").await?;
        assert_eq!(agree(&group, &keys).await?, 0);
        group.put("durable", value(100)).await?;
        group.put("gone", value(101)).await?;
        assert_eq!(agree(&group, &keys).await?, 2);
        group.put_with("buffered", value(5), Durability::Buffered).await?;
        assert_eq!(group.size_of("buffered")?.unwrap().exact(), Some(5), "it is in memory");
        group.delete_with("gone", Durability::Buffered).await?;
        assert_eq!(agree(&group, &keys).await?, 2);
        group.put_with("durable", value(3), Durability::Written).await?;
        group.put_with("large", value(100_000), Durability::Buffered).await?;
        assert_eq!(group.size_of("large")?.unwrap().exact(), Some(100_000), "accepted");
        assert_eq!(agree(&group, &keys).await?, 3);
        db.flush().await?;
        assert_eq!(group.size_of("large")?.unwrap().exact(), Some(100_000), "durable");
        assert_eq!(agree(&group, &keys).await?, 3);
        Ok::<_, Error>(group)
    });
    drop(group.expect_done().unwrap());
    drop(db);
    sim.crash(CrashKind::POWER_CUT);

    let db = open(&sim);
    let done = sim.run(async {
        let group = db.group("g").await?;
        assert_eq!(agree(&group, &keys).await?, 3);
        assert_eq!(group.size_of("large")?.unwrap().exact(), Some(100_000), "recovered");
        group.put_with("never", value(1), Durability::Buffered).await?;
        db.truncate_group("g").await?;
        assert_eq!(agree(&group, &keys).await?, 0);
        group.put_with("never", value(1), Durability::Buffered).await?;
        assert_eq!(agree(&group, &keys).await?, 1);
        assert_eq!(group.contains_key("").unwrap_err().kind(), ErrorKind::Invalid);
        db.drop_group("g").await?;
        assert!(matches!(group.len(), Err(Error::GroupDropped { .. })));
        assert!(matches!(group.contains_key("never"), Err(Error::GroupDropped { .. })));
        let group = db.group("h").await?;
        db.close().await?;
        assert_eq!(group.is_empty().unwrap_err().kind(), ErrorKind::Closed);
        Ok::<_, Error>(())
    });
    done.expect_done().unwrap();
}

#[test]
fn a_value_that_was_read_is_read_again_only_when_it_changed_or_moved() {
    let sim = Sim::new(&SimOptions::new(3));
    let cached = Options { value_cache: 1 << 20, ..options() };
    let db = sim.run(Db::open(sim.boot(), cached)).expect_done().unwrap();
    let done = sim.run(async {
        let (group, other) = (db.group("g").await?, db.group("h").await?);
        // One in the log with others: what is moved lies elsewhere then.
        for key in 0..40_u8 {
            group.put([key], value(1000)).await?;
            other.put([key], value(1001)).await?;
        }
        // Whether the value was there at once: a device takes its time.
        let at_once = |key: u8, len: usize| {
            let group = &group;
            async move {
                let mut get = Box::pin(group.get([key]));
                let (at_once, found) = match futures::poll!(&mut get) {
                    Poll::Ready(found) => (true, found?),
                    Poll::Pending => (false, get.await?),
                };
                assert_eq!(found, Some(value(len)), "{key}");
                Ok::<_, Error>(at_once)
            }
        };
        assert_eq!([at_once(1, 1000).await?, at_once(1, 1000).await?], [false, true]);
        group.put([1], value(500)).await?;
        let again = [at_once(1, 500).await?, at_once(1, 500).await?];
        assert_eq!(again, [false, true], "overwritten");
        group.delete([1]).await?;
        assert_eq!(group.get([1]).await?, None);
        assert_eq!([at_once(2, 1000).await?, at_once(2, 1000).await?], [false, true]);
        group.separate().await?;
        let again = [at_once(2, 1000).await?, at_once(2, 1000).await?];
        assert_eq!(again, [false, true], "moved");
        let cache = db.stats().cache;
        assert_eq!((cache.hits, cache.misses, cache.capacity), (4, 4, 1 << 20));
        assert!(cache.entries == 2 && (1500..3000).contains(&cache.bytes), "{cache:?}");
        Ok::<_, Error>(())
    });
    done.expect_done().unwrap();
}

#[test]
fn a_synced_write_on_its_way_is_not_known() {
    let sim = Sim::new(&SimOptions::new(2));
    let db = open(&sim);
    let done = sim.run(async {
        let group = db.group("g").await?;
        let mut put = Box::pin(group.put("k", value(10)));
        assert!(futures::poll!(&mut put).is_pending(), "it is accepted, and not durable");
        assert_eq!(agree(&group, &["k"]).await?, 0);
        put.await?;
        assert_eq!(agree(&group, &["k"]).await?, 1);
        Ok::<_, Error>(())
    });
    done.expect_done().unwrap();
}
