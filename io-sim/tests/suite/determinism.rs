//! Same seed, same run; forks, images, damage; and a model of the contract over random scripts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{create, durable, fill, open, reboot_and_read, sectors};
use futures::FutureExt;
use futures::future::join_all;
use logstor_core::io::FileOffset;
use logstor_io_sim::{
    CrashKind, DiskImage, Faults, NameBias, Recording, SectorBias, Sim, SimOptions, StopAt,
};

fn faulty() -> Faults {
    let (read_error, write_error, sync_error) = (10_000, 20_000, 50_000);
    Faults { read_error, write_error, sync_error, name_error: 1000, ..Faults::none() }
}

/// Some boots of busy tasks with faults and crashes.
fn busy(sim: &Sim) {
    let mut rng = sim.rng("workload");
    for _ in 0..4 {
        sim.set_faults(Faults::none());
        let env = sim.boot();
        let file = sim.run(async {
            match open(&env, "f").await {
                Ok(file) => file,
                Err(_) => durable(&env, "f", 0, 64).await,
            }
        });
        let file = file.expect_done();
        sim.set_faults(faulty());
        for task in 0..4 {
            let (file, mut rng) = (Arc::clone(&file), sim.rng(&format!("task {task}")));
            let work = async move {
                for byte in 0..20 {
                    drop(fill(&file, rng.below(60), byte, 1 + rng.index(4)).await);
                    if rng.chance(1, 4) {
                        drop(file.sync().await);
                    }
                }
            };
            env.spawn.spawn("worker", work.boxed());
        }
        sim.stop_at(StopAt::Effects(rng.between(1, 200)));
        let sleep = env.clock.sleep(std::time::Duration::from_secs(1));
        let _ = sim.run(sleep);
        sim.crash(if rng.coin() { CrashKind::POWER_CUT } else { CrashKind::ProcessKill });
    }
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    let run = |seed, recording| {
        let sim = Sim::new(&SimOptions::new(seed).sector_size(512).recording(recording));
        busy(&sim);
        (sim.trace_hash(), sim.counters(), sim.raw().export())
    };
    let mut hashes = BTreeSet::new();
    for seed in 0..50 {
        let first = run(seed, Recording::Off);
        assert_eq!(first, run(seed, Recording::All), "seed {seed}");
        assert!(hashes.insert(first.0), "seed {seed} ran like another");
    }
}

/// If this number changes, every recorded seed means another run: say so in the changelog.
#[test]
fn the_run_of_a_seed_is_the_same_on_every_platform() {
    let sim = Sim::new(&SimOptions::new(42).sector_size(512));
    busy(&sim);
    assert_eq!(sim.trace_hash(), GOLDEN, "{:#x}", sim.trace_hash());
}

const GOLDEN: u64 = 0x1056_f92f_cf58_0c05;

#[test]
fn the_lines_of_the_trace_tell_what_happened() {
    let sim = Sim::new(&SimOptions::new(3).sector_size(512).recording(Recording::All));
    sim.note("here it begins");
    busy(&sim);
    let text = sim.trace_lines().join("\n");
    for part in ["here it begins", "write file 1 +", "fault: ", "crash: ", "spawn worker"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    sim.record(Recording::Last(1));
    sim.note("a");
    sim.note("b");
    assert_eq!(sim.trace_lines().len(), 1);
}

#[test]
fn both_sector_sizes_are_drawn() {
    let sizes: BTreeSet<u32> =
        (0..20).map(|seed| Sim::new(&SimOptions::new(seed)).sector_size()).collect();
    assert_eq!(sizes, BTreeSet::from([512, 4096]));
}

#[test]
fn a_fork_has_the_same_future_and_a_reseeded_one_another() {
    let mut different = 0;
    for seed in 0..20 {
        let sim = Sim::new(&SimOptions::new(seed).sector_size(512));
        busy(&sim);
        let (same, other) = (sim.fork(), sim.fork());
        other.reseed(1000 + seed);
        for sim in [&sim, &same, &other] {
            busy(sim);
        }
        assert_eq!(sim.trace_hash(), same.trace_hash());
        assert_eq!(sim.raw().image(), same.raw().image());
        different += u64::from(sim.raw().image() != other.raw().image());
    }
    assert!(different > 15, "{different}");
}

#[test]
fn a_fork_from_inside_a_run_can_crash_while_the_original_goes_on() {
    for seed in 0..50 {
        let sim = Sim::new(&SimOptions::new(seed).sector_size(512));
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 1).await;
            let shadow = RefCell::new(None);
            let fork_meanwhile = async { *shadow.borrow_mut() = Some(sim.fork()) };
            let writing = fill(&file, 0, 2, 1);
            let (written, ()) = futures::future::join(writing, fork_meanwhile).await;
            written.unwrap();
            file.sync().await.unwrap();
            let shadow = shadow.take().unwrap();
            assert_eq!(shadow.crash(CrashKind::POWER_CUT).in_flight, 1);
            let left = reboot_and_read(&shadow, "f").unwrap();
            assert!(left == [1] || left == [2]);
            assert_eq!(sectors(&file).await.unwrap(), [2], "the original is untouched");
        })
        .expect_done();
    }
}

#[test]
fn an_image_goes_out_and_in_again() {
    let sim = Sim::new(&SimOptions::new(1).sector_size(512));
    busy(&sim);
    let files = sim.raw().export();
    assert_eq!(files["f"].len(), 64 * 512);
    let image = DiskImage::from_files(&files);
    assert_eq!(image, sim.raw().image());
    let other = Sim::with_image(&SimOptions::new(2).sector_size(512), &image);
    other.crash(CrashKind::POWER_CUT);
    assert_eq!(other.raw().export(), files);
}

#[test]
fn damage_is_read_back_and_survives() {
    let sim = Sim::new(&SimOptions::new(1).sector_size(512));
    let env = sim.boot();
    sim.run(durable(&env, "f", 1, 4)).expect_done();
    sim.crash(CrashKind::ProcessKill);
    let raw = sim.raw();
    raw.corrupt("f", 512..1024, |bytes| bytes.fill(5)).unwrap();
    raw.truncate("f", 1024).unwrap();
    raw.put("g", &[7; 512]);
    assert_eq!(raw.read("f", 1000..1024).unwrap(), [5; 24]);
    assert!(raw.read("f", 1000..1025).is_err());
    assert!(raw.corrupt("h", 0..1, |_| ()).is_err());
    assert_eq!(raw.used(), 1536);
    sim.crash(CrashKind::POWER_CUT);
    assert_eq!(reboot_and_read(&sim, "f"), Some(vec![1, 5]));
    assert_eq!(reboot_and_read(&sim, "g"), Some(vec![7]));
    raw.remove("g").unwrap();
    sim.crash(CrashKind::POWER_CUT);
    assert_eq!(reboot_and_read(&sim, "g"), None);
}

/// What the contract says of each sector: the durable value and the newer ones.
#[derive(Default)]
struct Model {
    // For each sector: the durable value first, then every value written since.
    sectors: BTreeMap<u64, Vec<u8>>,
}

impl Model {
    fn write(&mut self, first: u64, count: u64, byte: u8) {
        for sector in first..first + count {
            self.sectors.entry(sector).or_insert_with(|| vec![0]).push(byte);
        }
    }

    /// What was newest when a sync began is the oldest that may be left once it succeeded.
    fn synced(&mut self, newest: &BTreeMap<u64, u8>) {
        for (sector, byte) in newest {
            let values = self.sectors.get_mut(sector).unwrap();
            let at = values.iter().position(|value| value == byte);
            // Already dropped from the history: a later sync overtook this one.
            values.drain(..at.unwrap_or(0));
        }
    }

    fn newest(&self) -> BTreeMap<u64, u8> {
        let newest = |(sector, values): (&u64, &Vec<u8>)| (*sector, *values.last().unwrap());
        self.sectors.iter().map(newest).collect()
    }
}

/// One script: each task owns its sectors, so that its own order of writes is the order.
fn run_against_model(seed: u64) -> (u64, u64) {
    let sim = Sim::new(&SimOptions::new(seed).sector_size(512));
    let env = sim.boot();
    let file = sim
        .run(async {
            let file = create(&env, "f").await.unwrap();
            file.preallocate(64 * 512).await.unwrap();
            file.sync().await.unwrap();
            env.storage.sync_folder().await.unwrap();
            file
        })
        .expect_done();
    let model = RefCell::new(Model::default());
    let stop = sim.rng("stop").between(1, 250);
    sim.stop_at(StopAt::Effects(stop));
    let task = |task: u64| {
        let mut rng = sim.rng(&format!("task {task}"));
        let (file, model) = (&file, &model);
        async move {
            for byte in 1..=30 {
                let (first, count) = (task * 16 + rng.below(12), rng.between(1, 4));
                // Issued is possible, so the model learns of it before it completes.
                model.borrow_mut().write(first, count, byte);
                fill(file, first, byte, usize::try_from(count).unwrap()).await.unwrap();
                if rng.chance(1, 3) {
                    let newest = model.borrow().newest();
                    let own = task * 16..(task + 1) * 16;
                    file.sync().await.unwrap();
                    let mine = newest.into_iter().filter(|(sector, _)| own.contains(sector));
                    model.borrow_mut().synced(&mine.collect());
                }
            }
        }
    };
    let _ = sim.run(join_all((0..4).map(task)));
    let crash = if sim.rng("kind").coin() { CrashKind::POWER_CUT } else { CrashKind::ProcessKill };
    let report = sim.crash(crash);
    let left = reboot_and_read(&sim, "f").unwrap();
    for (&sector, values) in &model.borrow().sectors {
        let byte = left[usize::try_from(sector).unwrap()];
        assert!(
            values.contains(&byte),
            "seed {seed}: sector {sector} is {byte}, not in {values:?}"
        );
    }
    (report.torn_writes, report.sectors_lost)
}

#[test]
fn no_script_ends_in_a_state_that_the_contract_forbids() {
    let (mut torn, mut lost) = (0, 0);
    for seed in 0..1500 {
        let report = run_against_model(seed);
        torn += report.0;
        lost += report.1;
    }
    assert!(torn > 100 && lost > 1000, "{torn} {lost}");
}

#[test]
fn a_failed_sync_never_undoes_what_an_earlier_one_made_durable() {
    for seed in 0..500 {
        let sim = Sim::new(&SimOptions::new(seed).sector_size(512));
        let env = sim.boot();
        let mut rng = sim.rng("script");
        let (durable_byte, newer) = sim
            .run(async {
                let file = durable(&env, "f", 0, 4).await;
                sim.set_faults(Faults { sync_error: 400_000, ..Faults::none() });
                let (mut durable, mut since) = (0, Vec::new());
                for byte in 1..20 {
                    fill(&file, 0, byte, 4).await.unwrap();
                    since.push(byte);
                    if rng.coin() {
                        continue;
                    }
                    // The last write came after the last failed sync: a good sync covers it.
                    if file.sync().await.is_ok() {
                        durable = byte;
                        since.clear();
                    }
                }
                (durable, since)
            })
            .expect_done();
        sim.crash(CrashKind::POWER_CUT);
        for byte in reboot_and_read(&sim, "f").unwrap() {
            assert!(byte == durable_byte || newer.contains(&byte), "seed {seed}");
        }
    }
}

#[test]
fn a_write_that_was_synced_hides_the_one_before_it_under_every_bias() {
    for bias in SectorBias::EVERY {
        let sim = Sim::new(&SimOptions::new(1).sector_size(512));
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 8).await;
            fill(&file, 2, 2, 4).await.unwrap();
            file.sync().await.unwrap();
            let page = logstor_core::io::IoBuf::zeroed(logstor_core::types::ByteLen::new(4096));
            let page = file.read(FileOffset::ZERO, page).await.unwrap();
            assert_eq!(page[1024], 2);
        })
        .expect_done();
        sim.crash(CrashKind::PowerCut { sectors: Some(bias), names: Some(NameBias::None) });
        assert_eq!(reboot_and_read(&sim, "f"), Some(vec![1, 1, 2, 2, 2, 2, 1, 1]));
    }
}
