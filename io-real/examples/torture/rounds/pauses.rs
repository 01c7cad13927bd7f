//! Copies of the file system under a child in mid-flight, and what recovery makes of them.
//!
//! ```text
//! child   ───load───┤stopped├───────load───────┤stopped├──
//! parent    SIGSTOP, hear all it said, copy the image, SIGCONT
//!                           └──> aside: mount the copy, open the store in it, read every key, compare
//! ```
//!
//! A stopped child issues nothing: its calls of the system have ended, its threads stand still, and
//! all that it said has been heard. What the file system in the image had in memory only (names,
//! lengths and where blocks lie that no sync made durable; where the page cache is used, also data)
//! is not in the image, so it is lost in the copy, as in a power cut.
//!
//! What this does not lose: writes past the page cache that ended and were not synced, since a loop
//! device keeps what it was given, in order, from its end on. That a disk with a cache of its own
//! forgets or tears these is the business of the simulation.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::child::{Setting, State};
use super::dice::Dice;
use super::disk::{Kind, Mounted, copy};
use super::listener::{Heard, Listener};
use super::model::{Checked, Fate, Model};
use super::wire::Said;
use super::{Outcome, WORKERS};

/// Longer than any opening of a copy.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest time between two pauses.
const PAUSE_EVERY: u64 = 800;

/// What copies came to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    /// Copies in which every key was compared.
    pub(crate) looked_at: u64,
    /// Readings that met a write, and did not count.
    pub(crate) again: u64,
    pub(crate) checked: Checked,
}

/// Where and when to copy.
pub(crate) struct Pauses {
    kind: Kind,
    image: PathBuf,
    copy: PathBuf,
    mount: PathBuf,
    next: Instant,
    dice: Dice,
    looking: Option<JoinHandle<Outcome<Checked>>>,
    copies: Copies,
}

impl Pauses {
    /// Copies of `image` go to `place`, and are mounted there.
    pub(crate) fn new(kind: Kind, image: &Path, place: &Path, seed: u64) -> Self {
        Self {
            kind,
            image: image.to_path_buf(),
            copy: place.join("copy"),
            mount: place.join("mounted-copy"),
            next: Instant::now(),
            dice: Dice::of(seed, 0, 1),
            looking: None,
            copies: Copies::default(),
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn copies(&self) -> &Copies {
        &self.copies
    }

    /// The child stands still: copies the image.
    pub(super) fn copy(&mut self) -> Outcome<()> {
        let readings = copy(&self.image, &self.copy)?;
        self.copies.again += u64::from(readings - 1);
        Ok(())
    }

    /// Looks at the last copy, aside.
    pub(super) fn look(
        &mut self,
        launch: &Arc<dyn Fn() -> Command + Send + Sync>,
        model: Model,
        (seed, round): (u64, u32),
    ) {
        self.next = Instant::now() + Duration::from_millis(self.dice.roll(PAUSE_EVERY));
        let (kind, copy, mount) = (self.kind, self.copy.clone(), self.mount.clone());
        let launch = Arc::clone(launch);
        let setting = Setting { seed, round, looks: true, folder: mount.join("store") };
        self.looking = Some(thread::spawn(move || {
            let mounted = Mounted::mount(kind, &copy, &mount)?;
            let checked = look(launch(), &setting, &model);
            let unmounted = mounted.unmount();
            let checked =
                checked.map_err(|error| format!("in a copy, {}: {error}", copy.display()))?;
            unmounted.map(|()| checked)
        }));
    }

    /// Waits for the look at the copy before, if there is one.
    pub(super) fn finish(&mut self) -> Outcome<()> {
        let Some(looking) = self.looking.take() else { return Ok(()) };
        let checked = looking.join().map_err(|_| "looking at a copy panicked")??;
        self.copies.looked_at += 1;
        self.copies.checked.add(checked);
        Ok(())
    }
}

impl Drop for Pauses {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            eprintln!("torture: {error}");
        }
    }
}

/// Opens the store in a copy and compares what it shows.
fn look(launch: Command, setting: &Setting, model: &Model) -> Outcome<Checked> {
    let mut child = Listener::start(launch, setting)?;
    let mut found = vec![State::new(); usize::from(WORKERS)];
    let mut checked = None;
    loop {
        match child.next(Instant::now() + PATIENCE)? {
            Heard::Said(Said::Found { worker, slot, version }) => {
                let state = found.get_mut(usize::from(worker)).ok_or("there is no such worker")?;
                state.insert(slot, version);
            }
            Heard::Said(Said::Ready) => checked = Some(model.check(&found, Fate::PowerCut)?),
            Heard::Said(Said::Wrong(why)) => return Err(why.into()),
            Heard::Said(_) => {}
            Heard::Nothing => return Err(format!("nothing heard for {PATIENCE:?}").into()),
            Heard::End => break,
        }
    }
    let ended = child.wait()?;
    let checked = checked.filter(|_| ended.success());
    checked.ok_or_else(|| format!("the child ended by itself: {ended}").into())
}
