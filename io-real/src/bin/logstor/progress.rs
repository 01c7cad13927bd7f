//! How far something is, for people who wait: on stderr, if that is a terminal, and only for what
//! takes longer than a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use logstor::{OpenPhase, Progress, ProgressFn};

/// What is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// One bar, which shows itself when it is time to.
#[derive(Clone)]
pub(crate) struct Bar(Arc<Mutex<Shown>>);

struct Shown {
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Shown { begun: Instant::now(), bar: None })))
    }

    /// So much is done of so much, of this.
    pub(crate) fn tell(&self, what: &'static str, done: u64, total: u64) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.begun.elapsed() < PATIENCE {
            return;
        }
        let bar = shown.bar.get_or_insert_with(bar);
        bar.set_message(what);
        bar.set_length(total);
        bar.set_position(done);
    }

    /// Takes it away again.
    pub(crate) fn end(&self) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = shown.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// For [`logstor::Builder::on_progress`].
    pub(crate) fn of_opening(&self) -> ProgressFn {
        let bar = self.clone();
        Arc::new(move |progress: Progress| {
            let what = match progress.phase {
                OpenPhase::Dump => "reading the dump of the index",
                OpenPhase::Segments => "reading segments",
                OpenPhase::Index => "making the index",
                _ => "opening",
            };
            bar.tell(what, progress.done, progress.total);
        })
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} %, {eta} left");
    let style = style.expect("the template is one of this library");
    ProgressBar::new(0).with_style(style)
}
