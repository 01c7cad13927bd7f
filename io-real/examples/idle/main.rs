//! What an open store costs while nobody uses it: processor time and wake-ups of the whole process.
//!
//! ```text
//! cargo run --release --example idle -- [SECONDS]
//! ```
//!
//! Opens a store in a new folder, with io_uring and then with threads, writes and reads some, waits
//! until everything is at rest, and then looks twice at what the kernel counts for each thread. It
//! is no test, since it depends on the clock; it fails if anything woke up.

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use logstor::Backend;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<ExitCode> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let mut quiet = true;
    for backend in [Backend::Auto, Backend::Threads] {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let folder = tempfile::tempdir()?;
        let db = runtime.block_on(async {
            let db = logstor::builder(folder.path().join("store")).backend(backend).open().await?;
            let group = db.group("group").await?;
            for number in 0..1000_u32 {
                group.put(number.to_le_bytes(), vec![7; 1000]).await?;
                group.get(number.to_le_bytes()).await?;
            }
            logstor::Result::Ok(db)
        })?;
        // Files are made ahead, and buffers wait for a sync, for less than this.
        std::thread::sleep(Duration::from_secs(3));
        let before = switches()?;
        std::thread::sleep(Duration::from_secs(seconds));
        // This thread went to sleep once, and woke.
        let woken = switches()?.saturating_sub(before).saturating_sub(1);
        let backend = db.stats().storage.backend;
        println!("{backend}: {woken} wake-ups in {seconds} s");
        quiet &= woken == 0;
        runtime.block_on(db.close())?;
    }
    Ok(if quiet { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How often threads of this process gave the processor up of themselves: each time something woke them before.
fn switches() -> Outcome<u64> {
    let mut sum = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let counts = status.lines().filter_map(|line| {
            let (name, count) = line.split_once(':')?;
            (name == "voluntary_ctxt_switches").then(|| count.trim().parse::<u64>().ok())?
        });
        sum += counts.sum::<u64>();
    }
    Ok(sum)
}
