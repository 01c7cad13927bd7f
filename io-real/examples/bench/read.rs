//! Gets of random keys, past every cache: what a lookup costs.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use logstor::{Db, Group};

use crate::latencies::Latencies;
use crate::load::fill;
use crate::measure::{Begun, together};
use crate::numbers::scramble;
use crate::report::{Report, Round, Sample};
use crate::{Bench, Outcome, RECORD, VALUE, key_of};

const READERS: [u64; 4] = [1, 8, 32, 128];

/// Measures every number of readers in every round, on one data set.
pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> Outcome<()> {
    let (records, seconds) = (bench.args.records, bench.args.seconds);
    let db = bench.open("read", bench.args.backends[0]).await?;
    fill(&db.group("read").await?, records).await?;
    db.close().await?;
    drop(db);
    for _ in 0..bench.args.rounds {
        for readers in READERS {
            let bytes = records * RECORD;
            let fio = bench.fio.as_ref();
            let fio = fio.and_then(|fio| fio.random_reads(readers, bytes, seconds));
            for &backend in &bench.args.backends {
                let db = bench.open("read", backend).await?;
                let group = db.group("read").await?;
                let time = Duration::from_secs(seconds);
                let ours = gets(&db, &group, (readers, records), time).await?;
                db.close().await?;
                drop((db, group));
                let name = bench.row(&format!("random gets, {readers:>3} readers"), backend);
                report.add(&name, "/s", Round { fio, ours });
            }
        }
    }
    bench.remove("read")
}

async fn gets(
    db: &Db,
    group: &Group,
    (readers, records): (u64, u64),
    time: Duration,
) -> Outcome<Sample> {
    let begun = Begun::now(db);
    let until = Instant::now() + time;
    let tasks =
        (0..readers).map(|reader| tokio::spawn(get_until(group.clone(), (reader, records), until)));
    let latencies = try_join_all(tasks).await?.into_iter().collect::<Outcome<Vec<_>>>()?;
    Ok(begun.end_with(db, &together(latencies)?, 0))
}

async fn get_until(
    group: Group,
    (reader, records): (u64, u64),
    until: Instant,
) -> Outcome<Latencies> {
    let mut latencies = Latencies::new()?;
    let mut start = Instant::now();
    for turn in 0.. {
        if start >= until {
            break;
        }
        let number = scramble(reader << 40 | turn) % records;
        let value = group.get(key_of(number)).await?.ok_or("a record is not there")?;
        if value.len() != VALUE || value[..8] != number.to_be_bytes() {
            return Err(format!("record {number} has the value of another").into());
        }
        start = latencies.note(start);
    }
    Ok(latencies)
}
