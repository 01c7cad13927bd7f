//! The trace: everything that happened, as one number, and on demand as text.
//!
//! Every event is folded into a 64-bit hash as it happens: which task ran, what was issued and
//! completed, where, with which bytes, which fault fell, what a crash decided. Two runs with the
//! same hash did the same; the first line in which two recorded traces differ is where they part.
//!
//! 1. The hash is a function of the events alone: equal on every platform, recorded or not.
//! 2. Lines are made only while recording is on; otherwise an event costs a few multiplications.
//!
//! Absent on purpose: levels and filters. What matters to a test is its own notes.

use std::collections::VecDeque;
use std::fmt;

use logstor_core::types::to_u64;

/// Which lines of the trace are kept as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Recording {
    /// None: only the hash.
    #[default]
    Off,
    /// The last so many.
    Last(usize),
    /// All of them.
    All,
}

/// What kind of event it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A boot begins; its number.
    Boot,
    /// A task runs; its number in this boot.
    Poll,
    /// A task is spawned.
    Spawn,
    /// An operation goes to the device; its number.
    Issue,
    /// It completes, well or not; its number.
    Complete,
    /// A part of it is done, and the rest follows; its number.
    Part,
    /// Nobody waits for it any more; its number.
    Abandon,
    /// A fault is injected.
    Fault,
    /// The run stops.
    Stop,
    /// The boot ends by a crash.
    Crash,
    /// What the crash decided.
    Sectors,
    /// A line of the harness.
    Note,
    /// The medium was changed past every handle.
    Raw,
}

/// One event of a recorded trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds of virtual time since the simulation began.
    pub at: u64,
    /// What kind of event.
    pub kind: EventKind,
    /// The number that goes with its kind, if any: of a boot, a task, an operation.
    pub number: u64,
    /// It as text.
    pub text: String,
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (micros, nanos) = (self.at / 1000, self.at % 1000);
        write!(out, "{micros:>10}.{nanos:03} us  {}", self.text)
    }
}

impl EventKind {
    const fn word(self) -> u64 {
        match self {
            Self::Boot => 1,
            Self::Poll => 2,
            Self::Spawn => 3,
            Self::Issue => 4,
            Self::Complete => 5,
            Self::Abandon => 6,
            Self::Fault => 7,
            Self::Stop => 8,
            Self::Crash => 9,
            Self::Sectors => 10,
            Self::Note => 11,
            Self::Raw => 12,
            Self::Part => 13,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hash: u64,
    recording: Recording,
    // Invariant: no more events than `recording` allows.
    events: VecDeque<Event>,
}

impl Trace {
    pub(crate) fn new(seed: u64, recording: Recording) -> Self {
        Self { hash: absorb(0, seed), recording, events: VecDeque::new() }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.events.iter().map(Event::to_string).collect()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }

    pub(crate) fn record(&mut self, recording: Recording) {
        self.recording = recording;
        self.events.clear();
    }

    /// Folds one event in. `line` is asked for its text only while recording.
    pub(crate) fn event<L>(&mut self, now: u64, kind: EventKind, words: &[u64], line: L)
    where
        L: FnOnce() -> String,
    {
        let start = absorb(absorb(self.hash, kind.word()), now);
        self.hash = words.iter().fold(start, |hash, &word| absorb(hash, word));
        let limit = match self.recording {
            Recording::Off => return,
            Recording::Last(limit) => limit,
            Recording::All => usize::MAX,
        };
        while !self.events.is_empty() && self.events.len() >= limit {
            self.events.pop_front();
        }
        if limit > 0 {
            let number = words.first().copied().unwrap_or(0);
            self.events.push_back(Event { at: now, kind, number, text: line() });
        }
    }
}

/// A number for some bytes, for [`Trace::event`].
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    u64::from(crc32c::crc32c(bytes)) << 32 ^ to_u64(bytes.len())
}

/// One step of the hash: every bit of `word` and of `hash` changes about half the result.
const fn absorb(hash: u64, word: u64) -> u64 {
    let mixed = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_word_and_not_on_the_recording() {
        let run = |recording, words: &[u64]| {
            let mut trace = Trace::new(1, recording);
            trace.event(5, EventKind::Poll, words, || "a line".to_owned());
            trace.hash()
        };
        assert_eq!(run(Recording::Off, &[1, 2]), run(Recording::All, &[1, 2]));
        assert_ne!(run(Recording::Off, &[1, 2]), run(Recording::Off, &[2, 1]));
        assert_ne!(run(Recording::Off, &[0]), run(Recording::Off, &[0, 0]));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut trace = Trace::new(1, Recording::Last(2));
        for n in 0..5 {
            trace.event(n, EventKind::Note, &[n], || format!("line {n}"));
        }
        let lines = trace.lines();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("line 3") && lines[1].ends_with("line 4"));
        let mut silent = Trace::new(1, Recording::Last(0));
        silent.event(0, EventKind::Note, &[], || unreachable!("no line is kept"));
        assert!(silent.lines().is_empty());
    }
}
