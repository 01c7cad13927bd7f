//! What a client does next.
//!
//! Absent on purpose: doing it. That, and what must come of it, is in [`crate::client`].

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use logstor_core::{Durability, Limits};
use logstor_io_sim::SimRng;

use crate::model::{Change, KeyNumber};
use crate::plan::{Mix, Plan, geometry, weighted};
use crate::value;

/// Kinds of operations, in the order of their weights in [`Mix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Set a key.
    Put,
    /// Remove a key.
    Delete,
    /// Several of these, atomically.
    Batch,
    /// Read a key.
    Get,
    /// Make everything durable.
    Flush,
    /// Get or create a group.
    Group,
    /// Drop a group.
    DropGroup,
    /// List the groups.
    List,
    /// Look at the numbers.
    Stats,
    /// Something that is over a limit.
    OverLimit,
    /// Have segments rewritten.
    Compact,
    /// Have a group sorted out of the segments that it shares.
    Separate,
    /// Empty a group.
    Truncate,
    /// Change the capacity.
    Resize,
    /// Keep compaction from beginning by itself, for a while.
    Pause,
    /// Go through the keys of a group, or of a range of tokens.
    Scan,
    /// Write only if keys are as expected.
    Compare,
    /// Delete much at once; not drawn, but done when the store is full.
    MakeRoom,
}

/// Every kind that is drawn.
pub const KINDS: [Kind; 17] = [
    Kind::Put,
    Kind::Delete,
    Kind::Batch,
    Kind::Get,
    Kind::Flush,
    Kind::Group,
    Kind::DropGroup,
    Kind::List,
    Kind::Stats,
    Kind::OverLimit,
    Kind::Compact,
    Kind::Separate,
    Kind::Truncate,
    Kind::Resize,
    Kind::Pause,
    Kind::Scan,
    Kind::Compare,
];

/// One write: group and key by number, and the length of the value, or `None` for a delete.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// The group's place in the plan.
    pub group: usize,
    /// The key.
    pub key: KeyNumber,
    /// The length of the value.
    pub len: Option<usize>,
}

impl Write {
    /// What it changes in the group with this id, if its value is that of the write `number`.
    #[must_use]
    pub const fn change(&self, group: u32, number: u64) -> Change {
        let key = self.key;
        match self.len {
            Some(len) => Change::Put { group, key, value: value::named(number, len) },
            None => Change::Delete { group, key },
        }
    }
}

/// How a value comes that is put as a stream.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// Bytes at a time.
    pub chunk: usize,
    /// Between two of them.
    pub pause: Duration,
    /// How the stream ends.
    pub end: FeedEnd,
    /// Unless all of it comes: after so many of a hundred bytes.
    pub until: usize,
}

/// How the stream of a value ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEnd {
    /// When all of it came.
    Whole,
    /// Before, as if that were all.
    Early,
    /// When all of it came, and more.
    Late,
    /// Before, with an error.
    Failed,
    /// Not at all: it waits for ever.
    Never,
}

/// How keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One, at once or as a stream.
    One,
    /// What memory tells of one, and of how many there are.
    InMemory,
    /// Several at once.
    Many,
}

/// How a group is scanned.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Which tokens.
    pub tokens: RangeInclusive<u64>,
    /// After each so many entries, so long nobody asks for the next one.
    pub pause: Option<(u64, Duration)>,
    /// So many entries at most.
    pub most: u64,
}

/// What is expected of a key, of which this was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// That it is absent.
    Absent,
    /// That it is not.
    Present,
    /// That it has the version that was read, or any if none was.
    Version,
    /// That it has the value that was read, or any if none was.
    Value,
}

/// When an operation is given up.
#[derive(Clone, Copy, Debug)]
pub enum GiveUp {
    /// Never.
    Never,
    /// After so many polls.
    Polls(u64),
    /// After so much time.
    After(Duration),
}

/// Draws operations for one client.
#[derive(Debug)]
pub struct Draw {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The client's name.
    pub name: String,
    /// The stream of the operation that is drawn.
    pub rng: SimRng,
    /// What the store takes.
    pub limits: Limits,
}

impl Draw {
    /// For the client of this name.
    #[must_use]
    pub fn new(plan: Arc<Plan>, name: String, limits: Limits) -> Self {
        let rng = SimRng::new(plan.seed, &name);
        Self { plan, name, rng, limits }
    }

    /// The next draws are those of the operation with this number, whatever was drawn before.
    pub fn begin(&mut self, number: u64) {
        self.rng = SimRng::new(self.plan.seed, &format!("{} op {number}", self.name));
    }

    fn mix(&self) -> &Mix {
        &self.plan.mix
    }

    /// What to do next.
    pub fn kind(&mut self) -> Kind {
        KINDS[weighted(&mut self.rng, &self.plan.mix.kinds)]
    }

    /// A group, by its place in the plan.
    pub fn group(&mut self) -> usize {
        self.rng.index(self.plan.groups.len())
    }

    /// A key.
    pub fn key(&mut self) -> KeyNumber {
        if self.rng.chance(self.plan.mix.hot, 100) {
            0
        } else {
            self.rng.index(self.plan.keys.len())
        }
    }

    /// The length of a value.
    fn value_len(&mut self) -> usize {
        let limit = u64::try_from(self.limits.value_len).expect("limits fit in 64 bits");
        let len = match weighted(&mut self.rng, &self.plan.mix.sizes) {
            0 => self.rng.between(0, 64),
            1 => self.rng.between(500, 1500),
            _ if self.rng.chance(1, 8) => limit,
            _ => self.rng.between(2000, limit),
        };
        let len = self.plan.value_max.map_or(len, |most| len.min(most));
        usize::try_from(len).expect("lengths are within the limit")
    }

    /// One put.
    pub fn put(&mut self) -> Write {
        Write { group: self.group(), key: self.key(), len: Some(self.value_len()) }
    }

    /// One put, perhaps of a large value, and perhaps as a stream.
    pub fn single(&mut self) -> (Write, Option<Feed>) {
        let write = self.put();
        let Some(large) = self.plan.large else { return (write, None) };
        let len = if self.rng.chance(large.puts, 100) {
            Some(self.large_len(large.pieces))
        } else {
            write.len
        };
        let write = Write { len, ..write };
        let feed = self.rng.chance(large.streamed, 100).then(|| self.feed(large.broken));
        (write, feed)
    }

    /// The length of a value of at most so many pieces; now and then one of the extremes.
    fn large_len(&mut self, pieces_max: u64) -> usize {
        let shortest = u64::try_from(self.limits.value_len).expect("limits fit in 64 bits") + 1;
        let piece = u64::from(geometry().piece_len().get());
        let full = piece * self.rng.between(1, pieces_max);
        let len = match self.rng.below(6) {
            0 => shortest,
            1 => full,
            2 => (full - piece + 1).max(shortest),
            _ => self.rng.between(shortest, full),
        };
        usize::try_from(len).expect("values of a simulation are short")
    }

    fn feed(&mut self, broken: u64) -> Feed {
        let chunk = *self.rng.pick(&[3000, 20_000, 100_000]);
        let pause = if self.rng.coin() { 0 } else { self.rng.below(10_000) };
        let end = if self.rng.chance(broken, 100) {
            let ends = [FeedEnd::Early, FeedEnd::Late, FeedEnd::Failed, FeedEnd::Never];
            *self.rng.pick(&ends)
        } else {
            FeedEnd::Whole
        };
        Feed { chunk, pause: Duration::from_micros(pause), end, until: self.rng.index(100) }
    }

    /// How a key is read.
    pub fn way(&mut self) -> Way {
        let Some(reads) = self.plan.reads else { return Way::One };
        if self.rng.chance(reads.in_memory, 100) {
            return Way::InMemory;
        }
        if self.rng.chance(reads.many, 100) { Way::Many } else { Way::One }
    }

    /// Keys that are read at once, some perhaps twice; now and then none.
    pub fn many_keys(&mut self) -> Vec<KeyNumber> {
        let count = if self.rng.chance(1, 20) { 0 } else { self.rng.between(1, 12) };
        (0..count).map(|_| self.key()).collect()
    }

    /// Whether a read is of a stream.
    pub fn reads_on(&mut self) -> bool {
        self.plan.large.is_some_and(|large| self.rng.chance(large.read_on, 100))
    }

    /// When a write is given up that takes longer than others.
    pub fn give_up_late(&mut self, end: Option<FeedEnd>) -> GiveUp {
        if end == Some(FeedEnd::Never) {
            return GiveUp::After(Duration::from_micros(self.rng.below(300_000)));
        }
        let more = self.plan.large.map_or(0, |large| large.given_up);
        if self.rng.chance(more, 100) {
            return GiveUp::After(Duration::from_micros(self.rng.below(60_000)));
        }
        match self.give_up() {
            GiveUp::Polls(polls) => GiveUp::Polls(polls * 5),
            GiveUp::After(time) => GiveUp::After(time * 10),
            GiveUp::Never => GiveUp::Never,
        }
    }

    /// When the reader of a stream leaves in the midst of a piece.
    pub fn give_up_reading(&mut self) -> GiveUp {
        let leaves = self.rng.chance(1, 8);
        if leaves { GiveUp::Polls(self.rng.between(1, 3)) } else { self.give_up() }
    }

    /// One delete.
    pub fn delete(&mut self) -> Write {
        Write { group: self.group(), key: self.key(), len: None }
    }

    /// A batch that a store takes; sometimes of deletes alone, sometimes empty.
    pub fn batch(&mut self) -> Vec<Write> {
        let count = if self.rng.chance(1, 20) { 0 } else { self.rng.between(1, 8) };
        let deletes = *self.rng.pick(&[0, 30, 100]);
        let mut left = usize::try_from(self.limits.batch_len / 2).unwrap_or(usize::MAX);
        let mut write = |draw: &mut Self| {
            let write = if draw.rng.chance(deletes, 100) { draw.delete() } else { draw.put() };
            let len = write.len.map(|len| len.min(left));
            left -= len.unwrap_or(0);
            Write { len, ..write }
        };
        (0..count).map(|_| write(self)).collect()
    }

    /// The durability of a write; `None` is the store's own.
    pub fn durability(&mut self) -> Option<Durability> {
        let weights = self.mix().durability;
        match weighted(&mut self.rng, &weights) {
            0 => Some(Durability::Buffered),
            1 => Some(Durability::Written),
            2 => Some(Durability::Synced),
            _ => None,
        }
    }

    /// Whether, and when, the operation is given up.
    pub fn give_up(&mut self) -> GiveUp {
        let dropped = self.mix().dropped;
        if !self.rng.chance(dropped, 100) {
            return GiveUp::Never;
        }
        if self.rng.coin() {
            GiveUp::Polls(self.rng.below(4))
        } else {
            GiveUp::After(Duration::from_micros(self.rng.below(5000)))
        }
    }

    /// What to have compacted: of all groups or one, from how much that could be given back on.
    pub fn compaction(&mut self) -> (Option<usize>, u32) {
        let group = if self.rng.coin() { Some(self.group()) } else { None };
        (group, *self.rng.pick(&[0, 1, 6, 30, 70, 100]))
    }

    /// A capacity for a store that has one of `now`, with files of `file_len` bytes.
    pub fn capacity(&mut self, now: Option<u64>, file_len: u64) -> Option<u64> {
        let Some(now) = now else { return self.plan.options.capacity };
        let planned = self.plan.options.capacity;
        match self.rng.below(6) {
            0 => None,
            1 => planned.or(Some(now)),
            2 => Some(now.saturating_sub(self.rng.below(3 * file_len))),
            3 => Some(now.saturating_add(self.rng.below(3 * file_len))),
            4 => Some(now.saturating_add(file_len)),
            _ => Some(now.saturating_sub(file_len)),
        }
    }

    /// How a group is scanned: most often to the end, and not always at once.
    pub fn walk(&mut self) -> Walk {
        let tokens = if self.rng.coin() {
            let (one, other) = (self.rng.bits(), self.rng.bits());
            one.min(other)..=one.max(other)
        } else {
            0..=u64::MAX
        };
        let slow = self.rng.coin();
        let pause = slow
            .then(|| (self.rng.between(1, 5), Duration::from_micros(1 << self.rng.between(6, 22))));
        let most = if self.rng.chance(1, 8) { self.rng.below(20) } else { u64::MAX };
        Walk { tokens, pause, most }
    }

    /// What to expect of a key: most often that nothing happened since it was read, if it was.
    pub fn guess(&mut self, present: Option<bool>) -> Guess {
        let any = [Guess::Absent, Guess::Present, Guess::Version, Guess::Value];
        match present {
            Some(true) if self.rng.chance(4, 5) => {
                *self.rng.pick(&[Guess::Version, Guess::Version, Guess::Value])
            }
            Some(false) if self.rng.chance(4, 5) => Guess::Absent,
            _ => *self.rng.pick(&any),
        }
    }

    /// How long to wait before the next operation.
    pub fn pause(&mut self) -> Option<Duration> {
        let pauses = self.mix().pauses;
        let pause = self.rng.chance(pauses, 100);
        pause.then(|| Duration::from_micros(self.rng.below(30_000)))
    }
}
