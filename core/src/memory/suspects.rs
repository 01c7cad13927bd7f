//! Victims that could not be read, or in which something is damaged: when they are tried again.
//!
//! Absent on purpose: what becomes of their records. They stay where they are.

use std::time::Duration;

use crate::types::Generation;

/// A victim of which not everything could be copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    generation: Generation,
    /// In a row.
    failures: u32,
    /// Of these, so many times the bytes came and were damaged.
    damaged: u32,
    retry_at: Duration,
}

/// The first pause after a failure; it doubles with each further one.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// It doubles so often at most.
const RETRIES_MAX: u32 = 9;
/// A victim that was found damaged so often is left alone until the next opening. Not at once: a
/// read may give other bytes than those that lie there.
const DAMAGED_TRIES: u32 = 3;

pub(super) fn pause_after(failures: u32) -> Duration {
    RETRY_AFTER * 2_u32.pow(failures.min(RETRIES_MAX))
}

impl Suspect {
    pub(super) fn new(generation: Generation) -> Self {
        Self { generation, failures: 0, damaged: 0, retry_at: Duration::ZERO }
    }

    /// The life of the segment that it is about.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Once more; `damaged`: its bytes came.
    pub(super) fn failed(&mut self, damaged: bool, now: Duration) {
        self.retry_at = now + pause_after(self.failures);
        self.failures += 1;
        self.damaged += u32::from(damaged);
    }

    /// When it may be tried again, if it may.
    pub(super) fn retry_at(&self) -> Option<Duration> {
        (self.damaged < DAMAGED_TRIES).then_some(self.retry_at)
    }

    /// Whether it may be tried now.
    pub(super) fn is_ready(&self, now: Duration) -> bool {
        self.retry_at().is_some_and(|at| at <= now)
    }
}
