//! Synced puts: what a commit costs, alone and in company.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use logstor::{Db, Group};

use crate::measure::{Begun, Latencies};
use crate::report::{Report, Round, Sample};
use crate::{Bench, Outcome, RECORD, key_of, make_room, value_of};

const WRITERS: [u64; 3] = [1, 8, 64];
/// Room that is made before: more than the fastest writers fill in a second.
const RECORDS_A_SECOND: u64 = 1 << 17;

/// Measures every number of writers in every round.
pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> Outcome<()> {
    let seconds = bench.args.seconds;
    for _ in 0..bench.args.rounds {
        for writers in WRITERS {
            let fio = bench.fio.as_ref().and_then(|fio| fio.synced_writes(writers, seconds));
            let db = bench.open("synced").await?;
            make_room(&db, seconds * RECORDS_A_SECOND).await?;
            let ours = puts(&db, writers, Duration::from_secs(seconds)).await?;
            db.close().await?;
            drop(db);
            bench.remove("synced")?;
            let name = format!("synced puts, {writers:>2} writers");
            report.add(&name, "/s", Round { fio, ours });
        }
    }
    Ok(())
}

async fn puts(db: &Db, writers: u64, time: Duration) -> Outcome<Sample> {
    let group = db.group("synced").await?;
    let begun = Begun::now(db);
    let until = Instant::now() + time;
    let tasks = (0..writers).map(|writer| tokio::spawn(put_until(group.clone(), writer, until)));
    let latencies = try_join_all(tasks).await?.into_iter().collect::<Outcome<Vec<_>>>()?;
    let latencies = Latencies::sum(latencies)?;
    Ok(begun.end_with(db, &latencies, latencies.count() * RECORD))
}

async fn put_until(group: Group, writer: u64, until: Instant) -> Outcome<Latencies> {
    let mut latencies = Latencies::new()?;
    let mut start = Instant::now();
    for number in writer << 32.. {
        if start >= until {
            break;
        }
        group.put(key_of(number), value_of(number)).await?;
        start = latencies.note(start);
    }
    Ok(latencies)
}
