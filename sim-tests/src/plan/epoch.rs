//! One use of the store as data: how it is opened, who does what, how it ends.
//!
//! 1. An epoch is drawn from a stream of its own, named by its number.
//! 2. Its number stays what it is when other epochs are left out, and so do those of its clients
//!    and of their operations.
//!
//! Absent on purpose: doing any of it; see [`crate::harness`].

use std::fmt::Write as _;
use std::ops::Range;

use logstor_io_sim::{CrashKind, SimRng, StopAt};

use super::draw_stop;

/// Operations of one client in a full store: more than it ever does.
const FULL_OPS: u64 = 5000;

/// One use of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number, which names the streams of its clients.
    pub number: u64,
    /// How it begins.
    pub opening: Opening,
    /// Nobody writes, the store crashes, and is opened once more.
    pub again: Option<Again>,
    /// Who does what.
    pub clients: Vec<Part>,
    /// How often a full store is filled.
    pub cycles: u64,
    /// All is cut short when this is reached.
    pub stop: Option<StopAt>,
    /// How it ends, unless it is cut short.
    pub end: End,
    /// It is closed while the clients are at work.
    pub close_early: bool,
    /// Nothing fails any more when the clients are done.
    pub calm_end: bool,
    /// The store comes to rest before the end.
    pub settle: bool,
    /// How it crashes, if it does.
    pub crash: CrashKind,
    /// If it is cut short: on a fork it crashes as well.
    pub fork: Option<Fork>,
}

/// One opening, perhaps of several attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// So many attempts at most meet faults.
    pub faulty: u64,
    /// Crashes on the way, one after the other.
    pub cuts: Vec<Cut>,
}

/// A crash at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// When.
    pub stop: StopAt,
    /// How.
    pub crash: CrashKind,
}

/// A crash of a store in which nobody wrote, and another opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// How it crashes.
    pub crash: CrashKind,
    /// How it is opened.
    pub opening: Opening,
}

/// The same disk, crashed and opened apart from the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// What the world draws there.
    pub world: u64,
    /// How it is opened.
    pub opening: Opening,
}

/// How an epoch ends, if it is not cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By a crash.
    Crash,
    /// Everything is flushed before.
    FlushThenCrash,
    /// The store is closed before.
    CloseThenCrash,
    /// It is closed, and opened in the same process.
    CloseThenOpen,
    /// All handles are dropped, and it is opened in the same process.
    DropThenOpen,
}

/// What one client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The client's number.
    pub client: u64,
    /// Its operations, by their numbers.
    pub ops: Numbers,
}

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(
    // Invariant: none is empty, they rise, and none touches the next one.
    Vec<Range<u64>>,
);

impl Epoch {
    pub(super) fn draw_mixed(
        seed: u64,
        number: u64,
        clients: u64,
        kills: u64,
        large: bool,
    ) -> Self {
        let rng = &mut SimRng::new(seed, &format!("epoch {number}"));
        let opening = Opening::draw(rng, kills);
        let again = rng
            .chance(1, 4)
            .then(|| Again { crash: draw_crash(rng, kills), opening: Opening::draw(rng, kills) });
        let end = *rng.pick(&[
            End::Crash,
            End::Crash,
            End::FlushThenCrash,
            End::CloseThenCrash,
            End::CloseThenOpen,
            End::DropThenOpen,
        ]);
        let ops = rng.between(10, 80);
        let closes = matches!(end, End::CloseThenCrash | End::CloseThenOpen);
        let calm_end = rng.coin();
        Self {
            number,
            opening,
            again,
            clients: parts(clients, ops),
            cycles: 0,
            stop: rng.chance(3, 5).then(|| draw_stop(rng, 11, 10)),
            end,
            close_early: rng.chance(1, 4) && closes,
            calm_end,
            settle: rng.coin() && calm_end && large,
            crash: draw_crash(rng, kills),
            fork: rng
                .chance(1, 4)
                .then(|| Fork { world: rng.bits(), opening: Opening::draw(rng, kills) }),
        }
    }

    pub(super) fn draw_full(seed: u64, number: u64, clients: u64, kills: u64) -> Self {
        let rng = &mut SimRng::new(seed, &format!("epoch {number}"));
        Self {
            number,
            opening: Opening::draw(rng, kills),
            again: None,
            clients: parts(clients, FULL_OPS),
            cycles: rng.between(1, 3),
            stop: rng.coin().then(|| draw_stop(rng, 14, 12)),
            end: End::Crash,
            close_early: false,
            calm_end: false,
            settle: false,
            crash: draw_crash(rng, kills),
            fork: None,
        }
    }
}

impl Opening {
    fn draw(rng: &mut SimRng, kills: u64) -> Self {
        let crashes = *rng.pick(&[0, 0, 1, 3]);
        let faulty = rng.below(3);
        let cut = |_| Cut { stop: draw_stop(rng, 6, 4), crash: draw_crash(rng, kills) };
        Self { faulty, cuts: (0..crashes).map(cut).collect() }
    }

    pub(super) fn draw_last(seed: u64, kills: u64) -> Self {
        Self::draw(&mut SimRng::new(seed, "last opening"), kills)
    }
}

fn draw_crash(rng: &mut SimRng, kills: u64) -> CrashKind {
    if rng.chance(kills, 100) { CrashKind::ProcessKill } else { CrashKind::POWER_CUT }
}

fn parts(clients: u64, ops: u64) -> Vec<Part> {
    (0..clients).map(|client| Part { client, ops: Numbers::below(ops) }).collect()
}

impl Numbers {
    /// All numbers below `end`.
    #[must_use]
    pub fn below(end: u64) -> Self {
        let mut numbers = Self::default();
        numbers.push(0..end);
        numbers
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `number` is one of them.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.0.iter().any(|range| range.contains(&number))
    }

    /// All of them, rising.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<> {
        self.0.clone().into_iter().flatten()
    }

    /// Those that are not the `from`th to the one before the `until`th.
    #[must_use]
    pub fn without(&self, from: u64, until: u64) -> Self {
        let mut rest = Self::default();
        let mut at = 0;
        for range in &self.0 {
            let len = range.end - range.start;
            let cut = |place: u64| range.start + place.clamp(at, at + len) - at;
            rest.push(range.start..cut(from));
            rest.push(cut(until.max(from))..range.end);
            at += len;
        }
        rest
    }

    fn push(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }

    /// As `0-4 7 9-12`.
    pub(super) fn say(&self) -> String {
        let mut text = String::new();
        for range in &self.0 {
            let space = if text.is_empty() { "" } else { " " };
            let last = range.end - 1;
            // Writing to a string does not fail.
            let _ = if last == range.start {
                write!(text, "{space}{last}")
            } else {
                write!(text, "{space}{}-{last}", range.start)
            };
        }
        text
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut numbers = Self::default();
        for word in text.split_whitespace() {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            let after = numbers.0.last().is_none_or(|range| range.end <= first);
            if first > last || !after {
                return None;
            }
            numbers.push(first..last.checked_add(1)?);
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_left_out_and_read_back() {
        let all = Numbers::below(10);
        assert_eq!(all.without(2, 5).say(), "0-1 5-9");
        let rest = all.without(2, 5).without(1, 3);
        assert_eq!((rest.say().as_str(), rest.len()), ("0 6-9", 5));
        assert_eq!(Numbers::read("0 6-9"), Some(rest.clone()));
        assert_eq!(rest.iter().collect::<Vec<_>>(), [0, 6, 7, 8, 9]);
        assert!(rest.contains(6) && !rest.contains(5));
        assert!(all.without(0, 10).is_empty());
        assert_eq!(Numbers::read("3 1"), None);
        assert_eq!(Numbers::read("0-18446744073709551615"), None);
    }
}
