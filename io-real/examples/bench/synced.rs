//! Synced puts: what a commit costs, alone and in company.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use logstor::{Db, Group};

use crate::latencies::Latencies;
use crate::measure::{Begun, together};
use crate::report::{Report, Round, Sample};
use crate::{Bench, Outcome, RECORD, key_of, make_room, value_of};

pub(crate) const WRITERS: [u64; 3] = [1, 8, 64];
/// Room that is made before: more than the fastest writers fill in a second.
const RECORDS_A_SECOND: u64 = 1 << 17;

/// Measures every number of writers in every round.
pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> Outcome<()> {
    let seconds = bench.args.seconds;
    let time = Duration::from_secs(seconds);
    for _ in 0..bench.args.rounds {
        for writers in WRITERS {
            let fio = bench.fio.as_ref().and_then(|fio| fio.synced_writes(writers, seconds));
            for &backend in &bench.args.backends {
                let db = bench.open("synced", backend).await?;
                make_room(&db, seconds * RECORDS_A_SECOND).await?;
                let ours = puts(&db, Callers { writers, keys: u64::MAX }, time).await?;
                db.close().await?;
                drop(db);
                bench.remove("synced")?;
                let name = format!("synced puts, {writers:>2} writers");
                report.add(&bench.row(&name, backend), "/s", Round { fio, ours });
            }
        }
    }
    Ok(())
}

/// Who puts at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Callers {
    pub(crate) writers: u64,
    /// Keys of each of them, which it puts in turn.
    pub(crate) keys: u64,
}

/// Synced puts for so long.
pub(crate) async fn puts(db: &Db, callers: Callers, time: Duration) -> Outcome<Sample> {
    let group = db.group("synced").await?;
    let begun = Begun::now(db);
    let until = Instant::now() + time;
    let put = |writer| tokio::spawn(put_until(group.clone(), (writer, callers.keys), until));
    let latencies = try_join_all((0..callers.writers).map(put)).await?;
    let latencies = together(latencies.into_iter().collect::<Outcome<Vec<_>>>()?)?;
    Ok(begun.end_with(db, &latencies, latencies.count() * RECORD))
}

async fn put_until(group: Group, (writer, keys): (u64, u64), until: Instant) -> Outcome<Latencies> {
    let mut latencies = Latencies::new()?;
    let mut start = Instant::now();
    for turn in 0.. {
        if start >= until {
            break;
        }
        let number = (writer << 32) + turn % keys;
        group.put(key_of(number), value_of(number)).await?;
        start = latencies.note(start);
    }
    Ok(latencies)
}
