//! A plan as a small file for people: sections of lines `name = value`.
//!
//! ```text
//!   plan 1                 the version of this form
//!   seed = 7
//!   [store]                then [disk], [mix], perhaps [large], [reads], [damage]
//!   capacity = 786432
//!   [epoch]                as often as there are epochs
//!   clients = 0: 3 5-9     client 0 does its operations 3 and 5 to 9
//!   # to the end of the line is a remark
//! ```
//!
//! 1. The text of a plan, read, is the same plan: it has the same text and the same run.
//! 2. A file with a name too many, a name too few, or a value that cannot be is refused.
//!
//! Absent on purpose: reading other versions. A plan is kept as long as its bug is.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use super::form::{self, Visitor};
use super::word::Word;
use super::{Damage, Epoch, Large, Mode, Plan, Reads};

const FIRST: &str = "plan 1";
const KINDS: usize = crate::ops::KINDS.len();

/// Why a text is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "this is no plan: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut plan, mut text) = (self.clone(), Writer(String::from(FIRST)));
        text.0.push('\n');
        form::head(&mut plan, &mut text);
        text.section("store");
        form::store(&mut plan.options, &mut text);
        text.section("disk");
        form::disk(&mut plan.sector, &mut plan.faults, &mut plan.latencies, &mut text);
        text.section("mix");
        form::mix(&mut plan.mix, &mut text);
        if let Some(large) = &mut plan.large {
            text.section("large");
            form::large(large, &mut text);
        }
        if let Some(reads) = &mut plan.reads {
            text.section("reads");
            form::reads(reads, &mut text);
        }
        if let Some(damage) = &mut plan.damage {
            text.section("damage");
            form::damage(damage, &mut text);
        }
        for epoch in &mut plan.epochs {
            text.section("epoch");
            form::epoch(epoch, &mut text);
        }
        out.write_str(&text.0)
    }
}

struct Writer(String);

impl Writer {
    fn section(&mut self, name: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "\n[{name}]\n");
    }
}

impl Visitor for Writer {
    fn field<T: Word>(&mut self, name: &'static str, value: &mut T) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{name} = {}", value.say());
    }
}

impl FromStr for Plan {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        // Every field of it is overwritten.
        let mut plan = Self { scenario: None, ..Self::draw(0, Mode::Mixed) };
        let any_epoch = plan.epochs[0].clone();
        let (mut large, mut reads, mut damage, mut epochs) = (None, None, None, Vec::new());
        let mut sections = sections(text)?.into_iter();
        let head = sections.next().ok_or_else(|| Unreadable("it is empty".into()))?;
        head.read(|form| form::head(&mut plan, form))?;
        let (mut stores, mut disks, mut mixes) = (0, 0, 0);
        for section in sections {
            match section.name {
                "store" => {
                    stores += 1;
                    section.read(|form| form::store(&mut plan.options, form))?;
                }
                "disk" => {
                    disks += 1;
                    let (faults, latencies) = (&mut plan.faults, &mut plan.latencies);
                    section.read(|form| form::disk(&mut plan.sector, faults, latencies, form))?;
                }
                "mix" => {
                    mixes += 1;
                    section.read(|form| form::mix(&mut plan.mix, form))?;
                }
                "large" => {
                    section.read(|form| form::large(large.insert(Large::default()), form))?;
                }
                "reads" => {
                    section.read(|form| form::reads(reads.insert(Reads::default()), form))?;
                }
                "damage" => {
                    let damage = damage.insert(Damage::default());
                    section.read(|form| form::damage(damage, form))?;
                }
                "epoch" => {
                    let mut epoch: Epoch = any_epoch.clone();
                    section.read(|form| form::epoch(&mut epoch, form))?;
                    epochs.push(epoch);
                }
                other => return Err(Unreadable(format!("there is no section [{other}]"))),
            }
        }
        if (stores, disks, mixes) != (1, 1, 1) {
            return Err(Unreadable("[store], [disk] and [mix] must be there once".into()));
        }
        (plan.large, plan.reads) = (large, reads);
        (plan.damage, plan.epochs) = (damage, epochs);
        plan.check()?;
        Ok(plan)
    }
}

impl Plan {
    /// What a run takes for granted.
    fn check(&self) -> Result<(), Unreadable> {
        let weights = |weights: &[u64]| weights.iter().any(|&weight| weight > 0);
        let mix = &self.mix;
        let (kinds, sizes) = (weights(&mix.kinds), weights(&mix.sizes));
        if mix.kinds.len() != KINDS || !kinds || !sizes || !weights(&mix.durability) {
            return Err(Unreadable(format!("weights are {KINDS} kinds, and none are all 0")));
        }
        if self.sector != 512 && self.sector != 4096 {
            return Err(Unreadable(format!("a sector of {} bytes", self.sector)));
        }
        if (self.mode == Mode::Damage) != self.damage.is_some() {
            return Err(Unreadable("[damage] belongs to the mode of that name".into()));
        }
        let Some(large) = self.large else { return Ok(()) };
        if large.pieces == 0 {
            return Err(Unreadable("large values have at least one piece".into()));
        }
        Ok(())
    }
}

struct Section<'a> {
    name: &'a str,
    fields: BTreeMap<&'a str, &'a str>,
}

fn sections(text: &str) -> Result<Vec<Section<'_>>, Unreadable> {
    let mut lines = text
        .lines()
        .map(|line| line.split_once('#').map_or(line, |(before, _)| before).trim())
        .filter(|line| !line.is_empty());
    if lines.next() != Some(FIRST) {
        return Err(Unreadable(format!("the first line is not {FIRST:?}")));
    }
    let (mut done, mut section) = (Vec::new(), Section { name: "", fields: BTreeMap::new() });
    for line in lines {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let next = Section { name, fields: BTreeMap::new() };
            done.push(std::mem::replace(&mut section, next));
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| Unreadable(format!("{line:?} is not `name = value`")))?;
        if section.fields.insert(name.trim(), value.trim()).is_some() {
            return Err(Unreadable(format!("{:?} is there twice", name.trim())));
        }
    }
    done.push(section);
    Ok(done)
}

/// Takes the fields of a section, and the first thing that is wrong with them.
struct Reader<'a> {
    section: Section<'a>,
    wrong: Option<String>,
}

impl<'a> Section<'a> {
    fn read(self, fields: impl FnOnce(&mut Reader<'a>)) -> Result<(), Unreadable> {
        let mut reader = Reader { section: self, wrong: None };
        fields(&mut reader);
        let more = reader.section.fields.keys().next();
        let more = more.map(|name| format!("there is no {name:?} in [{}]", reader.section.name));
        reader.wrong.or(more).map_or(Ok(()), |wrong| Err(Unreadable(wrong)))
    }
}

impl Visitor for Reader<'_> {
    fn field<T: Word>(&mut self, name: &'static str, value: &mut T) {
        let Some(text) = self.section.fields.remove(name) else {
            let section = self.section.name;
            self.wrong.get_or_insert_with(|| format!("[{section}] lacks {name:?}"));
            return;
        };
        match T::read(text) {
            Some(read) => *value = read,
            None => {
                self.wrong.get_or_insert_with(|| format!("{name} = {text:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_the_same_after_a_round_trip_through_text() {
        for seed in 0..500 {
            for mode in [Mode::Mixed, Mode::Full, Mode::Damage] {
                // What story was made of the seed is no part of the plan that came of it.
                let plan = Plan { scenario: None, ..Plan::draw(seed, mode) };
                let text = plan.to_string();
                let read: Plan = text.parse().unwrap();
                assert_eq!(format!("{plan:?}"), format!("{read:?}"), "seed {seed}");
                assert_eq!(read.to_string(), text);
            }
        }
    }

    #[test]
    fn a_text_that_says_too_much_or_too_little_is_refused() {
        let text = Plan::draw(1, Mode::Mixed).to_string();
        let refused = |text: &str| text.parse::<Plan>().unwrap_err().0;
        assert_eq!(refused("plan 2"), "the first line is not \"plan 1\"");
        assert_eq!(refused(&text.replace("seed = 1", "")), "[] lacks \"seed\"");
        assert_eq!(refused(&text.replace("seed = 1", "seed = x")), "seed = \"x\"");
        assert_eq!(
            refused(&text.replace("[mix]", "[mix]\nmore = 1")),
            "there is no \"more\" in [mix]"
        );
        assert_eq!(refused(&text.replace("[mix]", "[else]")), "there is no section [else]");
        assert!(refused(&format!("{text}seed = 2\nseed = 3")).contains("twice"));
    }

    /// A fuzzer wrote 63333333337 where the length of a key belongs, and so much was allocated.
    #[test]
    fn a_key_that_no_store_takes_is_refused_before_it_is_made() {
        let mut plan = Plan::draw(1, Mode::Mixed);
        plan.keys.truncate(1);
        let text = plan.to_string();
        let with = |len: u64| {
            let before = format!("lengths of keys = {}", plan.keys[0].len());
            text.replace(&before, &format!("lengths of keys = {len}"))
        };
        assert!(with(8192).parse::<Plan>().is_ok());
        for len in [8193, 63_333_333_337, u64::MAX] {
            let refused = with(len).parse::<Plan>().unwrap_err().0;
            assert_eq!(refused, format!("lengths of keys = \"{len}\""));
        }
    }

    #[test]
    fn remarks_and_empty_lines_change_nothing() {
        let plan = Plan::draw(1, Mode::Mixed).to_string();
        let text = format!("# found on a Monday\n{}\n# the end", plan.replace('\n', " # so\n\n"));
        assert_eq!(text.parse::<Plan>().unwrap().to_string(), plan);
    }
}
