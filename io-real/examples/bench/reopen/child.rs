//! What the children of the section `reopen` do.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use std::{fs, io};

use futures::future::try_join_all;
use logstor::types::to_usize;
use logstor::{Db, Durability, Group, Options, RealOptions, RealStorage, TokioRuntime};

use super::gauge::Gauge;
use crate::measure::cpu_time;
use crate::numbers::scramble;
use crate::{Outcome, key_of};

/// The argument that makes this program a child.
pub(crate) const CHILD: &str = "--child";
/// Tasks that put at the same time.
const WRITERS: u64 = 4;
/// Keys that are overwritten until the kill.
const OVERWRITTEN: u64 = 1000;

/// Does what the words say: the store, then `open`, or `load`, records and bytes of each value.
pub(crate) fn run(words: &[String]) -> Outcome<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [store, "open"] => runtime.block_on(open(Path::new(store))),
        [store, "load", records, len] => {
            runtime.block_on(load(Path::new(store), records.parse()?, to_usize(len.parse()?)))
        }
        _ => Err(format!("a child cannot do {words:?}").into()),
    }
}

/// Opens the store and says what that took; then closes it.
async fn open(store: &Path) -> Outcome<()> {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let storage = RealStorage::open(store, RealOptions::default()).await?;
    let gauge = Arc::new(Gauge::new(storage));
    let environment = TokioRuntime::current()?.environment(Arc::clone(&gauge) as _)?;
    let db = Db::open(environment, Options::default()).await?;
    let (micros, cpu) = (begun.elapsed().as_micros(), cpu_time().saturating_sub(cpu).as_micros());

    let (read, peak) = (gauge.read(), peak_memory()?);
    let (index, keys) = (db.stats().index_bytes, db.recovery_report().keys);
    let from_dump = u64::from(db.recovery_report().from_dump);
    tell(&format!(
        "{micros} {cpu} {} {} {} {peak} {index} {keys} {from_dump}",
        read.reads, read.bytes, read.in_flight
    ))?;
    db.close().await?;
    Ok(())
}

/// Fills the store, says so, and writes on until the process is killed.
async fn load(store: &Path, records: u64, len: usize) -> Outcome<()> {
    let db = logstor::open(store).await?;
    let group = db.group("reopen").await?;
    put(&group, (0, records), len).await?;
    db.flush().await?;
    tell("loaded")?;
    loop {
        put(&group, (0, OVERWRITTEN.min(records)), len).await?;
    }
}

async fn put(group: &Group, (first, end): (u64, u64), len: usize) -> Outcome<()> {
    let share = (end - first).div_ceil(WRITERS);
    let tasks = (0..WRITERS).map(|writer| {
        let (group, first) = (group.clone(), first + writer * share);
        tokio::spawn(async move {
            for number in first..end.min(first + share) {
                let value = scramble(number).to_be_bytes().repeat(len.div_ceil(8));
                group.put_with(key_of(number), value[..len].to_vec(), Durability::Buffered).await?;
            }
            Ok(())
        })
    });
    let ended: Vec<logstor::Result<()>> = try_join_all(tasks).await?;
    Ok(ended.into_iter().collect::<logstor::Result<()>>()?)
}

fn tell(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// The most memory that this process had resident, in bytes.
fn peak_memory() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(kib.parse::<u64>()? << 10)
}
