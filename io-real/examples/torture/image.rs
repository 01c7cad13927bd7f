//! The same load inside a file system image, which is copied in mid-flight.
//!
//! `rounds/pauses` says what a copy is worth, `rounds/disk` how it comes to be of one moment. After
//! some rounds the image is thrown away, and the next one is of the next kind of file system.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::rounds::{Kind, Mounted, Outcome, Pauses, Run};

/// Rounds on one image.
const ROUNDS: u32 = 30;

/// Tortures stores in images of all `kinds` until the time is up or somebody interrupts.
pub(crate) fn torture(
    args: &Args,
    place: &Path,
    launch: &Arc<dyn Fn() -> Command + Send + Sync>,
    (kinds, stop): (&[Kind], &AtomicBool),
) -> Outcome<()> {
    let begun = Instant::now();
    let ends = |_: &u64| begun.elapsed() >= args.time || stop.load(Ordering::Relaxed);
    for (number, &kind) in (0..).zip(kinds.iter().cycle()).take_while(|(number, _)| !ends(number)) {
        let (image, mount) = (place.join("image"), place.join("mounted"));
        kind.make(&image)?;
        let mounted = Mounted::mount(kind, &image, &mount)?;
        let seed = args.seed + number;
        let pauses = Pauses::new(kind, &image, place, seed);
        let mut run = Run::new(Arc::clone(launch), &mount.join("store"), seed).pausing(pauses);
        let tortured = rounds(&mut run, || ends(&0));
        report(begun.elapsed(), kind, seed, &run);
        drop(run);
        tortured?;
        mounted.unmount()?;
        fs::remove_file(&image)?;
    }
    Ok(())
}

fn rounds(run: &mut Run, ends: impl Fn() -> bool) -> Outcome<()> {
    for _ in 0..ROUNDS {
        if ends() {
            break;
        }
        run.round()?;
    }
    run.last_look()
}

fn report(time: Duration, kind: Kind, seed: u64, run: &Run) {
    let (copies, checked) = (run.copies(), run.copies().checked);
    println!("{:>6} s: {kind:?}, seed {seed}: {}", time.as_secs(), run.tally());
    println!(
        "          {} copies ({} readings again): {} had to be there and were, {} more were, {} \
         were not and need not",
        copies.looked_at, copies.again, checked.sure, checked.lucky, checked.lost
    );
}
