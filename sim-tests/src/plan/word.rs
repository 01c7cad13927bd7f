//! How the values of a plan are said in text, and read back.
//!
//! Law: what [`Word::say`] gives, [`Word::read`] takes for the same value.
//!
//! Absent on purpose: escapes. No value has a line end or `=` in it, and lists are parted by `;`.

use std::fmt;
use std::time::Duration;

use logstor_core::Durability;
use logstor_io_sim::{
    CrashKind, FailedSync, Latency, NameBias, SectorBias, Side, Spell, StopAt, Stretch,
};

use super::epoch::{Again, Cut, End, Fork, Numbers, Opening, Part};
use super::{GROUPS, Mode, geometry, key};

/// A value of one line.
pub(super) trait Word: Sized {
    /// It in text.
    fn say(&self) -> String;
    /// The value that was said so.
    fn read(text: &str) -> Option<Self>;
}

/// Words that are what the standard library makes of them.
macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Word for $type {
            fn say(&self) -> String {
                self.to_string()
            }

            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

plain!(u32, u64, usize, bool);

/// Words that name one of few values.
macro_rules! names {
    ($type:ty { $($value:pat => $name:literal = $made:expr),* $(,)? }) => {
        impl Word for $type {
            fn say(&self) -> String {
                match self { $($value => $name),* }.to_owned()
            }

            fn read(text: &str) -> Option<Self> {
                match text { $($name => Some($made),)* _ => None }
            }
        }
    };
}

names!(Mode {
    Self::Mixed => "mixed" = Self::Mixed,
    Self::Full => "full" = Self::Full,
    Self::Damage => "damage" = Self::Damage,
});
names!(Durability {
    Self::Buffered => "buffered" = Self::Buffered,
    Self::Written => "written" = Self::Written,
    Self::Synced => "synced" = Self::Synced,
});
names!(FailedSync {
    Self::Keeps => "keeps" = Self::Keeps,
    Self::Drops => "drops" = Self::Drops,
    Self::Evicts => "evicts" = Self::Evicts,
    Self::Either => "either" = Self::Either,
});
names!(Side {
    Self::Before => "before" = Self::Before,
    Self::After => "after" = Self::After,
    Self::Heard => "heard" = Self::Heard,
});
names!(SectorBias {
    Self::None => "none" = Self::None,
    Self::All => "all" = Self::All,
    Self::Half => "half" = Self::Half,
    Self::Whole => "whole" = Self::Whole,
    Self::Prefix => "prefix" = Self::Prefix,
    Self::AllButFirst => "all-but-first" = Self::AllButFirst,
    Self::OnlyFirst => "only-first" = Self::OnlyFirst,
    Self::OnlyLast => "only-last" = Self::OnlyLast,
    Self::LengthOnly => "length-only" = Self::LengthOnly,
    Self::AllButOne => "all-but-one" = Self::AllButOne,
});
names!(NameBias {
    Self::None => "none" = Self::None,
    Self::All => "all" = Self::All,
    Self::Prefix => "prefix" = Self::Prefix,
    Self::Subset => "subset" = Self::Subset,
});
names!(End {
    Self::Crash => "crash" = Self::Crash,
    Self::FlushThenCrash => "flush, crash" = Self::FlushThenCrash,
    Self::CloseThenCrash => "close, crash" = Self::CloseThenCrash,
    Self::CloseThenOpen => "close" = Self::CloseThenOpen,
    Self::DropThenOpen => "drop" = Self::DropThenOpen,
});

impl<T: Word> Word for Option<T> {
    fn say(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), Word::say)
    }

    fn read(text: &str) -> Option<Self> {
        if text == "none" { Some(None) } else { T::read(text).map(Some) }
    }
}

/// Two words: `power cut`, all of it drawn; `power half/drawn`, sectors and names; `process kill`.
impl Word for CrashKind {
    fn say(&self) -> String {
        match self {
            Self::ProcessKill => "process kill".into(),
            Self::PowerCut { sectors: None, names: None } => "power cut".into(),
            Self::PowerCut { sectors, names } => {
                let (sectors, names) = (sectors.as_ref(), names.as_ref());
                let sectors = sectors.map_or_else(|| DRAWN.into(), Word::say);
                let names = names.map_or_else(|| DRAWN.into(), Word::say);
                format!("power {sectors}/{names}")
            }
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text {
            "process kill" => return Some(Self::ProcessKill),
            "power cut" => return Some(Self::POWER_CUT),
            _ => {}
        }
        let (sectors, names) = text.strip_prefix("power ")?.split_once('/')?;
        let sectors = if sectors == DRAWN { None } else { Some(Word::read(sectors)?) };
        let names = if names == DRAWN { None } else { Some(Word::read(names)?) };
        Some(Self::PowerCut { sectors, names })
    }
}

/// A bias that each crash draws.
const DRAWN: &str = "drawn";

impl Word for Duration {
    fn say(&self) -> String {
        format!("{} us", self.as_micros())
    }

    fn read(text: &str) -> Option<Self> {
        text.strip_suffix(" us")?.parse().ok().map(Self::from_micros)
    }
}

impl Word for Latency {
    fn say(&self) -> String {
        format!("{} to {}", self.min.say(), self.max.say())
    }

    fn read(text: &str) -> Option<Self> {
        let (min, max) = text.split_once(" to ")?;
        Some(Self { min: Word::read(min)?, max: Word::read(max)? })
    }
}

impl Word for Spell {
    fn say(&self) -> String {
        format!("{} of {}", self.lasts.say(), self.every.say())
    }

    fn read(text: &str) -> Option<Self> {
        let (lasts, every) = text.split_once(" of ")?;
        Some(Self { lasts: Word::read(lasts)?, every: Word::read(every)? })
    }
}

/// `500000 in the last 4096 of 65536`.
impl Word for Stretch {
    fn say(&self) -> String {
        format!("{} in the last {} of {}", self.rate, self.last, self.every)
    }

    fn read(text: &str) -> Option<Self> {
        let (rate, place) = text.split_once(" in the last ")?;
        let (last, every) = place.split_once(" of ")?;
        Some(Self { every: every.parse().ok()?, last: last.parse().ok()?, rate: Word::read(rate)? })
    }
}

impl Word for StopAt {
    fn say(&self) -> String {
        match self {
            Self::Effects(count) => format!("{count} effects"),
            Self::Steps(count) => format!("{count} steps"),
            Self::After(time) => time.say(),
            Self::Landing { count, side } => format!("{count} landings {}", side.say()),
            Self::Unsynced { count, writes } => format!("{count} effects with {writes} unsynced"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        Some(match words[..] {
            [count, "effects"] => Self::Effects(Word::read(count)?),
            [count, "steps"] => Self::Steps(Word::read(count)?),
            [count, "landings", side] => {
                Self::Landing { count: Word::read(count)?, side: Word::read(side)? }
            }
            [count, "effects", "with", writes, "unsynced"] => {
                Self::Unsynced { count: Word::read(count)?, writes: Word::read(writes)? }
            }
            _ => Self::After(Duration::read(text)?),
        })
    }
}

impl Word for Vec<u64> {
    fn say(&self) -> String {
        self.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
    }

    fn read(text: &str) -> Option<Self> {
        text.split_whitespace().map(|number| number.parse().ok()).collect()
    }
}

impl<const N: usize> Word for [u64; N] {
    fn say(&self) -> String {
        self.to_vec().say()
    }

    fn read(text: &str) -> Option<Self> {
        Vec::read(text)?.try_into().ok()
    }
}

/// Names of groups: how many of all.
impl Word for Vec<&'static str> {
    fn say(&self) -> String {
        self.len().to_string()
    }

    fn read(text: &str) -> Option<Self> {
        let count: usize = text.parse().ok().filter(|&count| count > 0)?;
        GROUPS.get(..count).map(<[_]>::to_vec)
    }
}

/// Keys: the length of each. One that no store takes is refused before it is made.
impl Word for Vec<Vec<u8>> {
    fn say(&self) -> String {
        self.iter().map(|key| key.len().to_string()).collect::<Vec<_>>().join(" ")
    }

    fn read(text: &str) -> Option<Self> {
        let lens = text.split_whitespace().zip(0..);
        let keys: Option<Self> = lens
            .map(|(len, number)| {
                let len = len.parse().ok().filter(|&len| len <= geometry().max_key_len())?;
                Some(key(number, len)).filter(|key| key.len() == len)
            })
            .collect();
        keys.filter(|keys| !keys.is_empty())
    }
}

impl Word for Cut {
    fn say(&self) -> String {
        format!("{} {}", self.crash.say(), self.stop.say())
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let crash = format!("{} {}", words.next()?, words.next()?);
        Some(Self { crash: Word::read(&crash)?, stop: Word::read(words.next()?)? })
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.say())
    }
}

impl Word for Opening {
    fn say(&self) -> String {
        let cuts = self.cuts.iter().map(|cut| format!("; {}", cut.say()));
        format!("{} faulty{}", self.faulty, cuts.collect::<String>())
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split("; ");
        let faulty = parts.next()?.strip_suffix(" faulty")?.parse().ok()?;
        let cuts: Option<_> = parts.map(Cut::read).collect();
        Some(Self { faulty, cuts: cuts? })
    }
}

impl Word for Again {
    fn say(&self) -> String {
        format!("{}; {}", self.crash.say(), self.opening.say())
    }

    fn read(text: &str) -> Option<Self> {
        let (crash, opening) = text.split_once("; ")?;
        Some(Self { crash: Word::read(crash)?, opening: Word::read(opening)? })
    }
}

impl Word for Fork {
    fn say(&self) -> String {
        format!("{}; {}", self.world, self.opening.say())
    }

    fn read(text: &str) -> Option<Self> {
        let (world, opening) = text.split_once("; ")?;
        Some(Self { world: world.parse().ok()?, opening: Word::read(opening)? })
    }
}

/// Who does what: `0: 3 5-9; 2: 1`.
impl Word for Vec<Part> {
    fn say(&self) -> String {
        let parts = self.iter().map(|part| format!("{}: {}", part.client, part.ops.say()));
        parts.collect::<Vec<_>>().join("; ")
    }

    fn read(text: &str) -> Option<Self> {
        let part = |text: &str| {
            let (client, ops) = text.split_once(':')?;
            Some(Part { client: client.trim().parse().ok()?, ops: Numbers::read(ops)? })
        };
        text.split(';').filter(|text| !text.trim().is_empty()).map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_and_crashes_are_read_as_they_were_said() {
        let sides = Side::EVERY.map(|side| StopAt::Landing { count: 7, side });
        let others = [StopAt::Effects(1), StopAt::Unsynced { count: 9, writes: 2 }];
        let sectors = SectorBias::EVERY.map(Some).into_iter().chain([None]);
        let names = NameBias::EVERY.map(Some).into_iter().chain([None]);
        let cuts = sectors.flat_map(|sectors| {
            names.clone().map(move |names| CrashKind::PowerCut { sectors, names })
        });
        for crash in cuts.chain([CrashKind::ProcessKill]) {
            for stop in sides.into_iter().chain(others) {
                let cut = Cut { stop, crash };
                assert_eq!(Cut::read(&cut.say()), Some(cut), "{}", cut.say());
            }
        }
        assert_eq!(CrashKind::read("power half"), None);
        assert_eq!(StopAt::read("7 landings between"), None);
    }
}
