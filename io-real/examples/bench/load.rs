//! Buffered puts: how fast a data set comes in.

use futures::future::try_join_all;
use logstor::{Db, Durability, Group};

use crate::measure::Begun;
use crate::numbers::float;
use crate::report::{Report, Round, Sample};
use crate::{Bench, Outcome, RECORD, key_of, until_nothing_is_in_use, value_of};

/// Tasks that put at the same time.
const WRITERS: u64 = 4;

/// Measures a load into a new store, and one into files that are there, in every round.
pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> Outcome<()> {
    let records = bench.args.records;
    let rounds = (0..bench.args.rounds).flat_map(|_| &bench.args.backends);
    for &backend in rounds {
        let db = bench.open("load", backend).await?;
        let fio = || bench.fio.as_ref().and_then(|fio| fio.large_writes(records * RECORD));
        note(report, &bench.row("load, new files", backend), fio(), load(&db, records).await?);
        db.drop_group("load").await?;
        until_nothing_is_in_use(&db).await?;
        note(report, &bench.row("load, files there", backend), fio(), load(&db, records).await?);
        db.close().await?;
        drop(db);
        bench.remove("load")?;
    }
    Ok(())
}

fn note(report: &mut Report, name: &str, fio: Option<Sample>, ours: Sample) {
    report.add(&format!("{name}, records"), "/s", Round { fio: None, ours });
    let per_second = ours.per_second * float(RECORD) / 1e6;
    report.add(
        &format!("{name}, bytes"),
        "MB/s",
        Round { fio, ours: Sample { per_second, ..ours } },
    );
}

async fn load(db: &Db, records: u64) -> Outcome<Sample> {
    let group = db.group("load").await?;
    let begun = Begun::now(db);
    fill(&group, records).await?;
    db.flush().await?;
    Ok(begun.end(db, records, records * RECORD))
}

/// Puts `records` into a group, without waiting for the device.
pub(crate) async fn fill(group: &Group, records: u64) -> Outcome<()> {
    let share = records.div_ceil(WRITERS);
    let tasks = (0..WRITERS).map(|writer| {
        let (group, first) = (group.clone(), writer * share);
        let numbers = first..records.min(first + share);
        tokio::spawn(async move {
            for number in numbers {
                let value = value_of(number);
                group.put_with(key_of(number), value, Durability::Buffered).await?;
            }
            Ok(())
        })
    });
    let ended: Vec<logstor::Result<()>> = try_join_all(tasks).await?;
    Ok(ended.into_iter().collect::<logstor::Result<()>>()?)
}
