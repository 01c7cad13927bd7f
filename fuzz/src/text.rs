//! The target `plan_text`: plans as people read and write them.
//!
//! ```text
//! even │ any text
//! odd  │ seed: 1 │ edits: the text of a plan that was drawn, with lines changed
//! ```
//!
//! 1. No text makes the parser panic.
//! 2. What is read, said and read again is the same plan, and has the same text.
//! 3. What is refused is refused in words.
//! 4. Reading takes no more than so much memory, whatever numbers the text names.

use arbitrary::{Arbitrary, Unstructured};
use logstor_sim_tests::plan::{Mode, Plan};

use crate::Verdict;
use crate::memory::used;

/// Seeds whose plans are edited.
const SEEDS: u8 = 32;
/// The most memory that reading a text takes: some thousand of the longest keys.
const MOST_BYTES: i64 = 32 << 20;

#[derive(Arbitrary, Debug)]
enum Edit<'a> {
    /// The value of a field.
    Value {
        line: u8,
        to: &'a str,
    },
    /// Part of a value.
    Part {
        line: u8,
        at: u8,
        len: u8,
        to: &'a str,
    },
    /// The value of another field.
    Borrow {
        line: u8,
        from: u8,
    },
    Remove {
        line: u8,
    },
    Repeat {
        line: u8,
        count: u8,
    },
    Line {
        line: u8,
        text: &'a str,
    },
    Swap {
        line: u8,
        with: u8,
    },
}

/// The first byte says how the others are taken; see the head of this file.
///
/// # Panics
///
/// If a law is broken: that is what it is for.
#[must_use]
pub fn plan_text(data: &[u8]) -> Verdict {
    let Some((how, data)) = data.split_first() else { return Verdict::Refused };
    let text = if how % 2 == 0 { String::from_utf8_lossy(data).into_owned() } else { edited(data) };
    let (parsed, used) = used(|| text.parse::<Plan>());
    assert!(used.peak <= MOST_BYTES, "{used:?} for {} bytes", text.len());
    match parsed {
        Err(reason) => {
            assert!(!reason.to_string().is_empty());
            Verdict::Refused
        }
        Ok(plan) => {
            let said = plan.to_string();
            let again: Plan = said.parse().unwrap_or_else(|why| panic!("{why} in its own {said}"));
            assert_eq!(again.to_string(), said);
            assert_eq!(format!("{again:?}"), format!("{plan:?}"));
            let _ = (plan.ops(), plan.is_faultless());
            Verdict::Decoded
        }
    }
}

fn edited(data: &[u8]) -> String {
    let mut source = Unstructured::new(data);
    let seed = u8::arbitrary(&mut source).unwrap_or(0);
    let mode = if seed >= 128 { Mode::Full } else { Mode::Mixed };
    let text = Plan::draw(u64::from(seed % SEEDS), mode).to_string();
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    while !source.is_empty() {
        let Ok(edit) = Edit::arbitrary(&mut source) else { break };
        edit.apply(&mut lines);
    }
    lines.join("\n")
}

impl Edit<'_> {
    fn apply(&self, lines: &mut Vec<String>) {
        let count = lines.len().max(1);
        let index = |line: u8| usize::from(line) % count;
        match *self {
            _ if lines.is_empty() => {}
            Self::Value { line, to } => {
                let at = index(line);
                let (name, _) = parts(&lines[at]);
                lines[at] = format!("{name} = {to}");
            }
            Self::Part { line, at: place, len, to } => {
                let at = index(line);
                let (name, value) = parts(&lines[at]);
                let chars: Vec<char> = value.chars().collect();
                let from = usize::from(place).min(chars.len());
                let until = (from + usize::from(len)).min(chars.len());
                let (before, behind) = (&chars[..from], &chars[until..]);
                let (before, behind): (String, String) =
                    (before.iter().collect(), behind.iter().collect());
                lines[at] = format!("{name} = {before}{to}{behind}");
            }
            Self::Borrow { line, from } => {
                let at = index(line);
                let (name, value) = (parts(&lines[at]).0, parts(&lines[index(from)]).1);
                lines[at] = format!("{name} = {value}");
            }
            Self::Remove { line } => {
                lines.remove(index(line));
            }
            Self::Repeat { line, count } => {
                let at = index(line);
                let copy = lines[at].clone();
                lines.splice(at..at, (0..count % 4).map(|_| copy.clone()));
            }
            Self::Line { line, text } => lines.insert(index(line), text.to_owned()),
            Self::Swap { line, with } => lines.swap(index(line), index(with)),
        }
    }
}

/// Name and value of a line; a line without a value is a name.
fn parts(line: &str) -> (&str, &str) {
    line.split_once(" = ").unwrap_or((line, ""))
}
