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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tag {
    Boot,
    Poll,
    Spawn,
    Issue,
    Complete,
    Abandon,
    Fault,
    Stop,
    Crash,
    Sectors,
    Note,
    Raw,
}

impl Tag {
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
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hash: u64,
    recording: Recording,
    // Invariant: no more lines than `recording` allows.
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(seed: u64, recording: Recording) -> Self {
        Self { hash: absorb(0, seed), recording, lines: VecDeque::new() }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    pub(crate) fn record(&mut self, recording: Recording) {
        self.recording = recording;
        self.lines.clear();
    }

    /// Folds one event in. `line` is asked for its text only while recording.
    pub(crate) fn event<L>(&mut self, now: u64, tag: Tag, words: &[u64], line: L)
    where
        L: FnOnce() -> String,
    {
        let start = absorb(absorb(self.hash, tag.word()), now);
        self.hash = words.iter().fold(start, |hash, &word| absorb(hash, word));
        let limit = match self.recording {
            Recording::Off => return,
            Recording::Last(limit) => limit,
            Recording::All => usize::MAX,
        };
        while !self.lines.is_empty() && self.lines.len() >= limit {
            self.lines.pop_front();
        }
        if limit > 0 {
            let (micros, nanos) = (now / 1000, now % 1000);
            self.lines.push_back(format!("{micros:>10}.{nanos:03} us  {}", line()));
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
            trace.event(5, Tag::Poll, words, || "a line".to_owned());
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
            trace.event(n, Tag::Note, &[n], || format!("line {n}"));
        }
        let lines = trace.lines();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("line 3") && lines[1].ends_with("line 4"));
        let mut silent = Trace::new(1, Recording::Last(0));
        silent.event(0, Tag::Note, &[], || unreachable!("no line is kept"));
        assert!(silent.lines().is_empty());
    }
}
