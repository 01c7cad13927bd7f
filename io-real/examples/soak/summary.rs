//! What a run came to.

use std::time::Duration;

use crate::Outcome;
use crate::latencies::Latencies;
use crate::load::{Call, Worker};
use crate::numbers::float;
use crate::watch::Seen;

/// Prints it.
pub(crate) fn print(workers: &[Worker], seen: &Seen, took: Duration) -> Outcome<()> {
    let per_second = |count: u64| float(count) / took.as_secs_f64();
    println!("\n{:<18} {:>12} {:>10} {:>10} {:>10}", "", "", "/s", "p50 us", "p99 us");
    for (call, name) in Call::ALL {
        let mut all = Latencies::new()?;
        for worker in workers {
            all.add(worker.latencies(call))?;
        }
        println!(
            "{name:<18} {:>12} {:>10.0} {:>10.0} {:>10.0}",
            all.count(),
            per_second(all.count()),
            all.micros(0.5),
            all.micros(0.99)
        );
    }
    println!("{:<18} {:>12} {:>10.0}", "all", seen.operations, per_second(seen.operations));
    println!("write amplification                     {:.2}", seen.amplification());
    println!(
        "most space taken for each live byte     {:.3} in use, {:.3} on disk",
        seen.most_used, seen.most_on_disk
    );
    println!(
        "looks at which the numbers added up     {}, of which {} had to hold the bound",
        seen.looks, seen.bounded
    );
    if seen.bounded == 0 {
        return Err("the run was too short: the bound was never put to the test".into());
    }
    Ok(())
}
