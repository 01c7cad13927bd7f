//! What a child says to its parent: one line each, written in one piece.
//!
//! | line | meaning |
//! |---|---|
//! | `hello` | it begins to open the store |
//! | `opened MICROS DUMP` | it is open; 1 if from a dump |
//! | `found WORKER SLOT VERSION` | this key is there, with the whole value of this version |
//! | `ready` | no other key is there, and the books add up |
//! | `begin WORKER NUMBER LEVEL EFFECT…` | this call comes next |
//! | `done WORKER NUMBER`, `not WORKER NUMBER` | it was made; it was refused, and was not |
//! | `saw WORKER VERSION` | this write was visible to somebody else |
//! | `settled` | the store was idle, nothing pinned, and the books added up |
//! | `closed` | it closed the store |
//! | `wrong WHY` | a promise was broken, as far as a child can tell |
//!
//! A slot is `GROUP.KEY`, a version `ROUND.NUMBER`, an effect `pSLOT`, `dSLOT` or `c`.

use std::fmt;

use logstor::Durability;

/// One key of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) group: u8,
    pub(super) key: u8,
}

/// Which write of its worker set a key: the round of it, and its number in this round, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) round: u32,
    pub(super) number: u32,
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Put(Slot),
    Delete(Slot),
    /// The worker's own group is emptied.
    Clear,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Hello,
    Opened { micros: u64, from_dump: bool },
    Found { worker: u8, slot: Slot, version: Version },
    Ready,
    Begin { worker: u8, number: u32, durability: Durability, effects: Vec<Effect> },
    Done { worker: u8, number: u32 },
    Not { worker: u8, number: u32 },
    Saw { worker: u8, version: Version },
    Settled,
    Closed,
    Wrong(String),
}

impl Said {
    /// What a line says; `None` if it is none of these.
    pub(super) fn parse(line: &str) -> Option<Self> {
        if let Some(why) = line.strip_prefix("wrong ") {
            return Some(Self::Wrong(why.to_owned()));
        }
        let words: Vec<&str> = line.split(' ').collect();
        Some(match words[..] {
            ["hello"] => Self::Hello,
            ["opened", micros, dump] => {
                Self::Opened { micros: micros.parse().ok()?, from_dump: dump == "1" }
            }
            ["found", worker, slot, version] => Self::Found {
                worker: worker.parse().ok()?,
                slot: Slot::parse(slot)?,
                version: Version::parse(version)?,
            },
            ["ready"] => Self::Ready,
            ["begin", worker, number, level, ref effects @ ..] => Self::Begin {
                worker: worker.parse().ok()?,
                number: number.parse().ok()?,
                durability: durability_named(level)?,
                effects: effects
                    .iter()
                    .map(|effect| Effect::parse(effect))
                    .collect::<Option<_>>()?,
            },
            ["done", worker, number] => {
                Self::Done { worker: worker.parse().ok()?, number: number.parse().ok()? }
            }
            ["not", worker, number] => {
                Self::Not { worker: worker.parse().ok()?, number: number.parse().ok()? }
            }
            ["saw", worker, version] => {
                Self::Saw { worker: worker.parse().ok()?, version: Version::parse(version)? }
            }
            ["settled"] => Self::Settled,
            ["closed"] => Self::Closed,
            _ => return None,
        })
    }
}

impl fmt::Display for Said {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello => write!(out, "hello"),
            Self::Opened { micros, from_dump } => {
                write!(out, "opened {micros} {}", u8::from(*from_dump))
            }
            Self::Found { worker, slot, version } => write!(out, "found {worker} {slot} {version}"),
            Self::Ready => write!(out, "ready"),
            Self::Begin { worker, number, durability, effects } => {
                write!(out, "begin {worker} {number} {}", level_of(*durability))?;
                effects.iter().try_for_each(|effect| write!(out, " {effect}"))
            }
            Self::Done { worker, number } => write!(out, "done {worker} {number}"),
            Self::Not { worker, number } => write!(out, "not {worker} {number}"),
            Self::Saw { worker, version } => write!(out, "saw {worker} {version}"),
            Self::Settled => write!(out, "settled"),
            Self::Closed => write!(out, "closed"),
            Self::Wrong(why) => write!(out, "wrong {}", why.replace('\n', " ")),
        }
    }
}

fn level_of(durability: Durability) -> char {
    match durability {
        Durability::Buffered => 'b',
        Durability::Written => 'w',
        Durability::Synced => 's',
    }
}

fn durability_named(level: &str) -> Option<Durability> {
    let all = [Durability::Buffered, Durability::Written, Durability::Synced];
    all.into_iter().find(|&durability| level_of(durability).to_string() == level)
}

impl Slot {
    fn parse(word: &str) -> Option<Self> {
        let (group, key) = word.split_once('.')?;
        Some(Self { group: group.parse().ok()?, key: key.parse().ok()? })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.group, self.key)
    }
}

impl Version {
    fn parse(word: &str) -> Option<Self> {
        let (round, number) = word.split_once('.')?;
        Some(Self { round: round.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.round, self.number)
    }
}

impl Effect {
    fn parse(word: &str) -> Option<Self> {
        match word.split_at_checked(1)? {
            ("p", slot) => Slot::parse(slot).map(Self::Put),
            ("d", slot) => Slot::parse(slot).map(Self::Delete),
            ("c", "") => Some(Self::Clear),
            _ => None,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(slot) => write!(out, "p{slot}"),
            Self::Delete(slot) => write!(out, "d{slot}"),
            Self::Clear => write!(out, "c"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_what_was_meant() {
        let slot = Slot { group: 2, key: 17 };
        let version = Version { round: 4, number: 99 };
        let effects = vec![Effect::Put(slot), Effect::Delete(slot), Effect::Clear];
        let durability = Durability::Written;
        for said in [
            Said::Hello,
            Said::Opened { micros: 12, from_dump: true },
            Said::Found { worker: 3, slot, version },
            Said::Ready,
            Said::Begin { worker: 11, number: 7, durability, effects },
            Said::Begin { worker: 0, number: 8, durability, effects: Vec::new() },
            Said::Done { worker: 1, number: 2 },
            Said::Not { worker: 1, number: 2 },
            Said::Saw { worker: 5, version },
            Said::Settled,
            Said::Closed,
            Said::Wrong("of course".to_owned()),
        ] {
            assert_eq!(Said::parse(&said.to_string()), Some(said));
        }
        for other in ["", "begin", "begin 1 2 x", "begin 1 2 s p1", "found 1 2 3", "done 300 1"] {
            assert_eq!(Said::parse(other), None, "{other:?}");
        }
    }
}
