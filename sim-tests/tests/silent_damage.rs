//! Bugs that the sweeps of damaged disks found, each as a script of its own.
//!
//! The promise (`harness/damage`): a read gives the right value or says `Corruption`, and a store
//! that lost a part of its log says so when it is opened.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::collections::BTreeMap;

use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::{CompactRequest, Db, Durability, Error, ErrorKind, Options, RecoveryMode};
use logstor_io_sim::{CrashKind, Faults, SectorBias, Sim, SimOptions, StopAt};

const SEGMENT: u32 = 64 << 10;
const KEYS: u8 = 40;

fn options() -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(2),
        capacity: Some(16 * u64::from(SEGMENT)),
        buffer_len: 4096,
        ..Options::default()
    }
}

fn open(sim: &Sim, recovery: RecoveryMode) -> Result<Db, Error> {
    sim.run(Db::open(sim.boot(), Options { recovery, ..options() })).expect_done()
}

async fn put_all(db: &Db, byte: u8) {
    let group = db.group("a").await.unwrap();
    for key in 0..KEYS {
        group.put([key], vec![byte; 3000]).await.unwrap();
    }
    db.flush().await.unwrap();
}

/// The first byte of each value, or the error.
fn read_all(sim: &Sim, db: &Db) -> Vec<Result<Option<u8>, ErrorKind>> {
    let group = sim.run(db.group("a")).expect_done().unwrap();
    let read = |key: u8| {
        let value = sim.run(group.get(&[key])).expect_done();
        value.map(|value| value.map(|value| value[0])).map_err(|error| error.kind())
    };
    (0..KEYS).map(read).collect()
}

/// The header of each first block, by file and place.
fn heads(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<(String, u64), BufferHeader> {
    let segments = files.iter().filter(|(name, _)| name.starts_with("segments-"));
    let blocks = segments.flat_map(|(name, bytes)| {
        let places = (0..bytes.len()).step_by(SEGMENT as usize);
        places.map(move |at| (name.clone(), at as u64, &bytes[at..]))
    });
    let parsed = |(name, at, bytes): (String, u64, &[u8])| {
        Some(((name, at), BufferHeader::parse(bytes).ok()?))
    };
    blocks.filter_map(parsed).collect()
}

/// The disk as it is, but for the block at `at`.
fn with_block(sim: &Sim, name: &str, at: u64, block: &[u8]) -> Sim {
    let fork = sim.fork();
    fork.raw().corrupt(name, at..at + 4096, |place| place.copy_from_slice(block)).unwrap();
    fork
}

/// Damage seed 11132: a write of the first block of a slot got lost, and what was there was the
/// header of a piece of a large value, of an earlier life. A piece has no seal, so the seal of the
/// later life was not looked for, and a whole sealed segment was silently not there.
#[test]
fn a_stale_piece_does_not_hide_what_was_sealed_after_it() {
    let sim = Sim::new(&SimOptions::new(1));
    let db = open(&sim, RecoveryMode::Normal).unwrap();
    let before = sim.run(async {
        let group = db.group("a").await.unwrap();
        group.put(b"large", vec![7; 3 * SEGMENT as usize]).await.unwrap();
        db.flush().await.unwrap();
        let before = sim.raw().export();
        group.delete(b"large").await.unwrap();
        for round in 0..6 {
            put_all(&db, round).await;
            db.compact(CompactRequest::default()).await.unwrap();
        }
        before
    });
    let before = before.expect_done();
    drop(db);
    sim.crash(CrashKind::POWER_CUT);
    drop(open(&sim, RecoveryMode::Normal).unwrap()); // what was open is sealed
    sim.crash(CrashKind::POWER_CUT);
    let now = heads(&sim.raw().export());
    let mut hidden = 0;
    for ((name, at), head) in heads(&before) {
        let holds_records =
            |head: &&BufferHeader| matches!(head.kind, BufferKind::Log | BufferKind::Rewrite);
        let later = now.get(&(name.clone(), at)).filter(holds_records);
        if head.kind != BufferKind::Piece || later.is_none() {
            continue;
        }
        hidden += 1;
        let from = usize::try_from(at).unwrap();
        let stale = &before[&name][from..from + 4096];
        let fork = with_block(&sim, &name, at, stale);
        match open(&fork, RecoveryMode::Normal) {
            Ok(db) => {
                let read = read_all(&fork, &db);
                assert!(read.iter().all(|value| *value == Ok(Some(5))), "{name} {at}: {read:?}");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption, "{error}"),
        }
    }
    assert!(hidden > 0, "no slot of a piece was used again for records");
}

/// What salvaging gives back when the first block of one segment of the log after the other is
/// lost: everything in the other segments, and the truth about that one.
#[test]
fn salvaging_keeps_what_is_whole_behind_a_lost_segment() {
    let sim = Sim::new(&SimOptions::new(2));
    let db = open(&sim, RecoveryMode::Normal).unwrap();
    // In flight together: no buffer says of another one that it is durable.
    sim.run(async {
        let group = db.group("a").await.unwrap();
        for key in 0..KEYS {
            group.put_with([key], vec![1; 3000], Durability::Buffered).await.unwrap();
        }
        db.flush().await.unwrap();
    })
    .expect_done();
    drop(db);
    sim.crash(CrashKind::POWER_CUT);
    let heads = heads(&sim.raw().export());
    let (mut lost, mut kept) = (0, 0);
    for ((name, at), _) in heads.iter().filter(|(_, head)| head.kind == BufferKind::Log) {
        let fork = with_block(&sim, name, *at, &[0xA5; 4096]);
        let refused = match open(&fork, RecoveryMode::Normal) {
            // The last segment, which no seal vouches for: a torn write looks the same.
            Ok(db) => {
                let read = read_all(&fork, &db);
                let end = read.iter().position(|value| *value == Ok(None)).unwrap();
                assert!(read[..end].iter().all(|value| *value == Ok(Some(1))), "{read:?}");
                assert!(read[end..].iter().all(|value| *value == Ok(None)), "{read:?}");
                assert!(end > 0, "only the last segment was open");
                continue;
            }
            Err(refused) => refused,
        };
        assert_eq!(refused.kind(), ErrorKind::Corruption, "{refused}");
        let db = open(&fork, RecoveryMode::Salvage).unwrap();
        assert!(!db.recovery_report().losses.is_empty());
        assert_eq!(db.recovery_report().buffers_voided, 0, "all of it was acknowledged");
        for name in db.groups() {
            let group = fork.run(db.group(&name)).expect_done().unwrap();
            for key in 0..KEYS {
                match fork.run(group.get(&[key])).expect_done().unwrap() {
                    Some(value) => {
                        assert_eq!(value[0], 1);
                        kept += 1;
                    }
                    None => lost += 1,
                }
            }
        }
    }
    assert!(lost > 0 && kept > 0, "{lost} values lost, {kept} kept");
}

/// A slot of which only one end says that it was erased is erased: a lost write of the other end
/// must not bring back what was deleted, whose tombstones are gone.
#[test]
fn one_end_of_an_erased_slot_is_enough() {
    let sim = Sim::new(&SimOptions::new(3));
    let db = open(&sim, RecoveryMode::Normal).unwrap();
    let before = sim.run(async {
        put_all(&db, 1).await;
        let before = sim.raw().export();
        let group = db.group("a").await.unwrap();
        for key in 0..KEYS {
            group.delete([key]).await.unwrap();
        }
        for _ in 0..4 {
            db.compact(CompactRequest::default()).await.unwrap();
        }
        db.flush().await.unwrap();
        before
    });
    let before = before.expect_done();
    drop(db);
    sim.crash(CrashKind::POWER_CUT);
    let erased = heads(&sim.raw().export());
    let erased = erased.into_iter().filter(|(_, head)| head.kind == BufferKind::Void);
    let mut tried = 0;
    for ((name, at), _) in erased {
        let from = usize::try_from(at).unwrap();
        let Some(stale) = before.get(&name).map(|bytes| &bytes[from..from + 4096]) else {
            continue;
        };
        tried += 1;
        let fork = with_block(&sim, &name, at, stale);
        if let Ok(db) = open(&fork, RecoveryMode::Normal) {
            let read = read_all(&fork, &db);
            assert!(read.iter().all(|value| *value == Ok(None)), "{name} {at}: {read:?}");
        }
    }
    assert!(tried > 0, "nothing was erased");
}

/// Damage seed 141, as it was drawn then: of a sealed segment the first block read as zeros, and
/// then, with the rest, as it was. The segment counted, and its slot passed for a free one.
#[test]
fn an_opening_that_misreads_refuses_or_shows_what_is_there() {
    let sim = Sim::new(&SimOptions::new(4));
    let db = open(&sim, RecoveryMode::Normal).unwrap();
    sim.run(async {
        for round in 0..4 {
            put_all(&db, round).await;
            db.compact(CompactRequest::default()).await.unwrap();
        }
    })
    .expect_done();
    drop(db);
    sim.crash(CrashKind::POWER_CUT);
    let (mut opened, mut refused) = (0, 0);
    for seed in 0..300 {
        let fork = sim.fork();
        fork.reseed(seed);
        fork.set_faults(Faults { misread: 30_000, ..Faults::none() });
        let db = open(&fork, RecoveryMode::Normal);
        let misread = fork.counters().misreads > 0;
        fork.set_faults(Faults::none());
        match db {
            Ok(db) => {
                opened += u32::from(misread);
                let read = read_all(&fork, &db);
                assert!(read.iter().all(|value| *value == Ok(Some(3))), "{seed}: {read:?}");
                drop(db);
            }
            Err(error) => {
                refused += 1;
                let kinds = [ErrorKind::Corruption, ErrorKind::Invalid, ErrorKind::Io];
                assert!(kinds.contains(&error.kind()), "{seed}: {error:?}");
            }
        }
        fork.crash(CrashKind::POWER_CUT);
        let db = open(&fork, RecoveryMode::Normal).unwrap();
        assert!(read_all(&fork, &db).iter().all(|value| *value == Ok(Some(3))), "{seed}");
    }
    assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
}

/// Damage seed 58125, as it was drawn then: the first write of a segment was torn, and an opening
/// made it void. The block that said so then showed again what the tear had left, below a watermark
/// by then: it passed for rot, and a key that had never been written was `Corruption`.
#[test]
fn what_an_opening_made_void_stays_void_if_its_first_block_is_stale() {
    let mut tried = 0;
    for seed in 0..200 {
        let sim = Sim::new(&SimOptions::new(seed));
        let db = open(&sim, RecoveryMode::Normal).unwrap();
        sim.run(db.group("a")).expect_done().unwrap();
        // The first write of this opening's segment, cut off.
        drop(db);
        sim.crash(CrashKind::POWER_CUT);
        let db = open(&sim, RecoveryMode::Normal).unwrap();
        let still = db.pause_compaction(); // or the first write is one of its own
        sim.stop_at(StopAt::Unsynced { count: 1, writes: 1 });
        let group = sim.run(db.group("a")).expect_done();
        if let Ok(group) = group {
            let _ = sim.run(group.put([7], vec![7; 12_000]));
        }
        sim.clear_stops();
        drop((still, db));
        sim.crash(CrashKind::PowerCut { sectors: Some(SectorBias::AllButOne), names: None });
        let torn = sim.raw().export();
        drop(open(&sim, RecoveryMode::Normal).unwrap());
        sim.crash(CrashKind::POWER_CUT);
        let (was, is) = (heads(&torn), heads(&sim.raw().export()));
        for ((name, at), head) in was {
            let void = |now: &BufferHeader| {
                now.kind == BufferKind::Void && now.generation == head.generation
            };
            if head.kind != BufferKind::Log || !is.get(&(name.clone(), at)).is_some_and(void) {
                continue;
            }
            tried += 1;
            let from = usize::try_from(at).unwrap();
            let fork = with_block(&sim, &name, at, &torn[&name][from..from + 4096]);
            let db = open(&fork, RecoveryMode::Normal).unwrap();
            let report = db.recovery_report();
            assert!(report.damaged.is_empty(), "seed {seed}: {report:?}");
            let read = read_all(&fork, &db);
            assert!(read.iter().all(|value| *value == Ok(None)), "seed {seed}: {read:?}");
        }
    }
    assert!(tried > 0, "no first write was torn and made void");
}

/// No seal vouches for a large value, and the rest of its segment is not looked at. So one wrong
/// read of the first block, as zeros or as what an earlier life had left, passed for a free slot;
/// the next write destroyed the value, though it was whole on the disk.
#[test]
fn a_misread_piece_is_not_a_free_slot() {
    let sim = Sim::new(&SimOptions::new(5));
    let db = open(&sim, RecoveryMode::Normal).unwrap();
    sim.run(async {
        let group = db.group("a").await.unwrap();
        for _ in 0..3 {
            group.put(b"large", vec![7; 3 * SEGMENT as usize]).await.unwrap();
        }
    })
    .expect_done();
    drop(db);
    sim.crash(CrashKind::POWER_CUT);
    let mut opened = 0;
    for seed in 0..400 {
        let fork = sim.fork();
        fork.reseed(seed);
        fork.set_faults(Faults { misread: 20_000, ..Faults::none() });
        let db = open(&fork, RecoveryMode::Normal);
        opened += u32::from(db.is_ok() && fork.counters().misreads > 0);
        fork.set_faults(Faults::none());
        if let Ok(db) = db {
            fork.run(async {
                let group = db.group("b").await.unwrap();
                for key in 0..40_u8 {
                    // There may be no room for all of them.
                    let _ = group.put([key], vec![1; 12 << 10]).await;
                }
            })
            .expect_done();
        }
        fork.crash(CrashKind::POWER_CUT);
        let db = open(&fork, RecoveryMode::Normal).unwrap();
        let value = fork.run(async { db.group("a").await?.get(b"large").await }).expect_done();
        let value = value.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(value.map(|value| value.len()), Some(3 * SEGMENT as usize), "seed {seed}");
    }
    assert!(opened > 20, "{opened} opened in spite of a misread");
}

/// Damage seed 1174: the last buffer of the log was read twice, and wrong both times, in different
/// places. Both looks found it damaged, so they agreed, and a write that was acknowledged was taken
/// for one that a crash had torn.
#[test]
fn two_looks_that_are_wrong_in_different_places_do_not_agree() {
    const LEN: usize = 12_000;
    let origin = Sim::new(&SimOptions::new(7));
    let db = open(&origin, RecoveryMode::Normal).unwrap();
    let group = origin.run(db.group("a")).expect_done().unwrap();
    origin.run(group.put([0], vec![7; LEN])).expect_done().unwrap();
    origin.crash(CrashKind::ProcessKill);
    drop((group, db));
    let (mut opened, mut misread) = (0, 0);
    for seed in 0..200 {
        let sim = origin.fork();
        sim.reseed(seed);
        sim.set_faults(Faults { misread: 200_000, ..Faults::none() });
        let Ok(db) = open(&sim, RecoveryMode::Normal) else { continue };
        misread += sim.counters().misreads;
        sim.set_faults(Faults::none());
        let group = sim.run(db.group("a")).expect_done().unwrap();
        let value = sim.run(group.get(&[0])).expect_done().unwrap();
        assert!(value.as_deref() == Some(&[7; LEN][..]), "seed {seed}");
        opened += 1;
    }
    assert!(opened > 50 && misread > 200, "{opened} openings, {misread} misreads");
}
