//! Silent damage as data: what of the disk is hit, how, and how the store is used after it.
//!
//! A *wound* is one piece of damage at rest. It says what it aims at (a kind of structure, as the
//! decoded image shows them), what happens there, and over how much; which of all structures of the
//! kind it hits is drawn from a number of its own. So a wound stays the same wound when another is
//! left out of the plan.
//!
//! Absent on purpose: doing the damage; see [`crate::harness`].

use logstor_io_sim::SimRng;

use super::word::Word;

/// Damage, and what comes after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// What befalls the disk at rest, after the last epoch.
    pub wounds: Vec<Wound>,
    /// Uses of the store after it.
    pub rounds: u64,
    /// Operations of each of them.
    pub ops: u64,
    /// How often a read gives other bytes than those that lie there, during those uses and in the
    /// openings after them; only of a disk without wounds.
    pub misread: u32,
    /// Writes that get lost in the last epoch, per million.
    pub lost: u32,
    /// Writes that go astray in it, per million.
    pub astray: u32,
    /// So many of both, at most.
    pub silent_max: u64,
    /// Writes get lost also in the opening of that epoch.
    pub lost_early: bool,
}

/// One piece of damage at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wound {
    /// What it hits.
    pub aim: Aim,
    /// What happens there.
    pub how: How,
    /// Over how much.
    pub reach: Reach,
    /// Which one it hits, and with what.
    pub draw: u64,
}

/// A kind of structure on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aim {
    /// The header of a buffer.
    Header,
    /// The summary of a buffer.
    Summary,
    /// The header of a record.
    RecordHeader,
    /// A key.
    Key,
    /// A value.
    Value,
    /// A record of the catalogue of groups.
    Catalogue,
    /// The first buffer of a segment: its header.
    Head,
    /// The last buffer of a segment without a seal: its header.
    Last,
    /// A seal.
    Seal,
    /// The superblock.
    Superblock,
    /// The slot of the mark that counts.
    Mark,
    /// The other one.
    OtherMark,
    /// The dump.
    Dump,
    /// The first block of a slot that was erased.
    Erased,
    /// The header that makes a buffer void.
    Void,
    /// The header of a piece of a large value.
    PieceHeader,
    /// The bytes of a piece.
    Piece,
    /// Any place in a file of segments.
    Anywhere,
    /// A file of segments as a whole.
    File,
    /// The file of the mark as a whole.
    MarkFile,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// A few bits are other ones.
    Flip,
    /// Other bytes.
    Garbage,
    /// Zeros.
    Zeros,
    /// What was there at an earlier time: a write was lost.
    Stale,
    /// What was written for another place.
    Foreign,
    /// The same, and that place has what was there before: a write went astray.
    Astray,
    /// A file ends early.
    Cut,
    /// A file is gone.
    Gone,
}

/// Over how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The structure itself.
    Part,
    /// A sector of it.
    Sector,
    /// A block of it.
    Block,
}

impl Damage {
    pub(super) fn draw(seed: u64) -> Self {
        let rng = &mut SimRng::new(seed, "damage");
        let (rounds, ops) = (rng.between(1, 3), rng.between(5, 60));
        if let Some(lying) = Self::draw_lying(seed) {
            return Self { rounds, ops, ..lying };
        }
        if rng.chance(1, 4) {
            let misread = *rng.pick(&[1_000, 10_000, 100_000]);
            return Self { rounds, ops, misread, ..Self::default() };
        }
        let first = Wound::draw(rng);
        let mut wounds = vec![first];
        if rng.chance(1, 4) {
            let second = Wound::draw(rng);
            // One copy of what is there twice is enough to lose.
            if !(first.is_of_the_whole() || second.is_of_the_whole()) {
                wounds.push(second);
            }
        }
        Self { wounds, rounds, ops, ..Self::default() }
    }

    /// In one of four seeds: writes that do something else than they say, and nothing besides.
    fn draw_lying(seed: u64) -> Option<Self> {
        let rng = &mut SimRng::new(seed, "silent writes");
        if !rng.chance(1, 4) {
            return None;
        }
        let rate = *rng.pick(&[5000, 20_000, 100_000, 400_000]);
        let (lost, astray) = *rng.pick(&[(rate, 0), (0, rate)]);
        let lost_early = rng.coin();
        Some(Self { lost, astray, silent_max: 1, lost_early, ..Self::default() })
    }

    /// Whether writes do something else than they say.
    #[must_use]
    pub const fn lies(&self) -> bool {
        self.lost + self.astray > 0
    }
}

impl Wound {
    fn draw(rng: &mut SimRng) -> Self {
        let aim = *rng.pick(Aim::EVERY);
        let how = match aim {
            Aim::File | Aim::MarkFile => *rng.pick(&[How::Cut, How::Gone]),
            _ => *rng.pick(&[
                How::Flip,
                How::Garbage,
                How::Zeros,
                How::Stale,
                How::Foreign,
                How::Astray,
            ]),
        };
        // What is written is written in sectors.
        let reach = match how {
            How::Stale | How::Foreign | How::Astray => *rng.pick(&[Reach::Sector, Reach::Block]),
            _ => *rng.pick(&[Reach::Part, Reach::Part, Reach::Sector, Reach::Block]),
        };
        Self { aim, how, reach, draw: rng.bits() }
    }

    /// Whether it may hit what stands for the whole store: a second wound is then left out.
    fn is_of_the_whole(self) -> bool {
        matches!(self.aim, Aim::Superblock | Aim::Mark | Aim::OtherMark | Aim::File | Aim::MarkFile)
    }
}

macro_rules! names {
    ($type:ident { $($value:ident = $name:literal),* $(,)? }) => {
        impl $type {
            /// Every one there is.
            const EVERY: &[Self] = &[$(Self::$value),*];

            /// Its name in a plan.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$value => $name),* }
            }

            fn named(text: &str) -> Option<Self> {
                Self::EVERY.iter().copied().find(|value| value.name() == text)
            }
        }
    };
}

names!(Aim {
    Header = "header",
    Summary = "summary",
    RecordHeader = "record-header",
    Key = "key",
    Value = "value",
    Catalogue = "catalogue",
    Head = "head",
    Last = "last",
    Seal = "seal",
    Superblock = "superblock",
    Mark = "mark",
    OtherMark = "other-mark",
    Dump = "dump",
    Erased = "erased",
    Void = "void",
    PieceHeader = "piece-header",
    Piece = "piece",
    Anywhere = "anywhere",
    File = "file",
    MarkFile = "mark-file",
});
names!(How {
    Flip = "flip",
    Garbage = "garbage",
    Zeros = "zeros",
    Stale = "stale",
    Foreign = "foreign",
    Astray = "astray",
    Cut = "cut",
    Gone = "gone",
});
names!(Reach { Part = "part", Sector = "sector", Block = "block" });

impl Word for Wound {
    fn say(&self) -> String {
        let Self { aim, how, reach, draw } = self;
        format!("{} {} {} {draw}", aim.name(), how.name(), reach.name())
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let wound = Self {
            aim: Aim::named(words.next()?)?,
            how: How::named(words.next()?)?,
            reach: Reach::named(words.next()?)?,
            draw: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(wound)
    }
}

impl Word for Vec<Wound> {
    fn say(&self) -> String {
        self.iter().map(Word::say).collect::<Vec<_>>().join("; ")
    }

    fn read(text: &str) -> Option<Self> {
        text.split(';').filter(|text| !text.trim().is_empty()).map(Word::read).collect()
    }
}
