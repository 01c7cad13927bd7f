//! A sector that cannot be read any more: one key suffers, and nothing else.
//!
//! Compaction cannot move a record that it cannot read. The segment stays; the store must go on
//! without it, take writes for ever, and give the key a new value when one is put.

use std::time::Duration;

use logstor_core::{Db, ErrorKind, Options};
use logstor_io_sim::{Faults, Sim, SimOptions};

const SEGMENT: u32 = 64 << 10;

fn options() -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(2),
        capacity: Some(16 * u64::from(SEGMENT)),
        buffer_len: 4096,
        ..Options::default()
    }
}

#[test]
fn a_sector_gone_bad_costs_its_key_and_holds_up_nothing_else() {
    for seed in 0..3 {
        let sim = Sim::new(&SimOptions::new(seed));
        let env = sim.boot();
        let clock = env.clock.clone();
        sim.run(async {
            let db = Db::open(env, options()).await.unwrap();
            let group = db.group("a").await.unwrap();
            for key in 0..60_u8 {
                group.put([key], vec![key; 3000]).await.unwrap();
            }
            db.flush().await.unwrap();
            sim.set_faults(Faults { latent_error: 1_000_000, ..Faults::none() });
            assert_eq!(group.get(&[7]).await.unwrap_err().kind(), ErrorKind::Io);
            // What is bad stays so, and one in a million does not fall here.
            sim.set_faults(Faults { latent_error: 1, ..Faults::none() });
            assert!(sim.counters().bad_sectors > 0);

            // Everything else is overwritten, five times what the store holds.
            for round in 0..40_u8 {
                for key in (0..60).filter(|&key| key != 7) {
                    group.put([key], vec![round; 3000]).await.unwrap();
                }
                assert_eq!(group.get(&[7]).await.unwrap_err().kind(), ErrorKind::Io);
            }
            for key in (0..60).filter(|&key| key != 7) {
                assert_eq!(group.get(&[key]).await.unwrap().unwrap()[0], 39);
            }

            // A new value is as good as ever, and then nothing holds the bad segment.
            group.put([7], "new").await.unwrap();
            assert_eq!(group.get(&[7]).await.unwrap().unwrap(), "new");
            clock.sleep(Duration::from_secs(60)).await;
            assert!(!db.stats().compaction.running, "seed {seed}: {:?}", db.stats().compaction);
        })
        .expect_done();
    }
}
