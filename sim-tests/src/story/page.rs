//! A story as one page that needs nothing but a browser: no network, no other file.
//!
//! The page itself, with its script and its style, is `page.html`; this puts the data in.
//!
//! Absent on purpose: a library for pictures. Lanes, map and curves are rectangles and lines.

use super::json::{list, micros, quoted};
use super::{Ending, Story};
use crate::harness::{Report, Told};
use crate::ledger::History;
use crate::model::KeyNumber;
use crate::plan::Plan;
use crate::sample::{Sample, Slot};
use crate::shrink::kind;

const PAGE: &str = include_str!("page.html");
/// Where the data goes.
const DATA: &str = "/*DATA*/";

/// The page. `name` says what ran.
#[must_use]
pub fn render(name: &str, plan: &Plan, report: &Report, told: &Told) -> String {
    let story = Story::of(told);
    let failure = report.failure.as_deref();
    let lanes = story.lanes.iter().map(|(name, rows)| format!("[{},{rows}]", quoted(name)));
    let spans = story.spans.iter().map(|span| {
        let ending = match span.ending {
            Ending::Done => 0,
            Ending::Failed => 1,
            Ending::GivenUp => 2,
            Ending::Lost => 3,
        };
        let (from, until) = (micros(span.from), micros(span.until));
        let (what, came_to) = (quoted(&span.what), quoted(&span.came_to));
        format!("[{},{},{from},{until},{ending},{what},{came_to}]", span.lane, span.row)
    });
    let marks = story
        .marks
        .iter()
        .map(|mark| format!("[{},{},{}]", micros(mark.at), quoted(mark.kind), quoted(&mark.what)));
    let keys = keys_of(failure.unwrap_or_default());
    let fields = [
        ("name", quoted(name)),
        ("hash", quoted(&format!("{:016x}", report.trace_hash))),
        ("failure", failure.map_or("null".into(), quoted)),
        ("kind", failure.map_or("null".into(), |failure| quoted(&kind(failure)))),
        ("plan", quoted(&plan.to_string())),
        ("lanes", list(lanes)),
        ("spans", list(spans)),
        ("marks", list(marks)),
        ("samples", list(told.samples.iter().map(sample))),
        ("history", list(told.history.iter().map(|record| history(record, &keys)))),
        ("tally", list(report.tally.iter().map(|(what, n)| format!("[{},{n}]", quoted(what))))),
    ];
    let fields = fields.map(|(name, value)| format!("{}:{value}", quoted(name)));
    PAGE.replacen(DATA, &format!("{{{}}}", fields.join(",\n")), 1)
}

/// Numbers in the order that the page names them in.
fn sample(sample: &Sample) -> String {
    let (stats, space) = (&sample.stats, &sample.stats.space);
    let slots: String = sample.slots.iter().map(|slot| letter(*slot)).collect();
    let generations = sample.slots.iter().map(|slot| match slot {
        Slot::Blank | Slot::Erased => 0,
        Slot::Log(life) | Slot::Copies(life) | Slot::Piece(life) => *life,
    });
    let generations: Vec<String> = generations.map(|life| life.to_string()).collect();
    let numbers = [
        space.live,
        space.dead,
        space.tombstones,
        space.padding + space.headers + space.seals,
        space.pinned,
        space.reserved,
        space.free,
        space.given_back,
        u64::from(stats.segments.free),
        stats.compaction.debt_segments,
        u64::from(stats.segments.retired),
        u64::from(stats.segments.sealed),
    ];
    let numbers = numbers.map(|number| number.to_string()).join(",");
    let at = micros(sample.at);
    format!("[{at},{},[{}],[{numbers}]]", quoted(&slots), generations.join(","))
}

fn letter(slot: Slot) -> char {
    match slot {
        Slot::Blank => '.',
        Slot::Erased => 'e',
        Slot::Log(_) => 'l',
        Slot::Copies(_) => 'c',
        Slot::Piece(_) => 'p',
    }
}

fn history(record: &History, keys: &[(Option<u32>, KeyNumber)]) -> String {
    let concerned = keys.iter().any(|&(group, key)| {
        let same_group = group.is_none() || record.group.is_none() || record.group == group;
        same_group && record.key.is_none_or(|of| of == key) && record.group.is_some()
    });
    let (text, by, outcome) = (quoted(&record.text), quoted(&record.by), quoted(&record.outcome));
    format!("[{},{},{concerned},{text},{by},{outcome}]", record.at, record.op)
}

/// The keys that a failure names, with their groups where it names them.
fn keys_of(failure: &str) -> Vec<(Option<u32>, KeyNumber)> {
    let words: Vec<&str> =
        failure.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    // Further lines tell of calls, which name whatever keys they wrote.
    let first = failure.lines().next().unwrap_or_default();
    let first = first.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).count();
    let mut keys = Vec::new();
    // Of the key before, which may have been said by its hash.
    let mut group = None;
    for (at, word) in words.iter().enumerate() {
        let number = |ahead: usize| words.get(at + ahead).and_then(|word| word.parse().ok());
        let key: Option<u32> = match *word {
            // `Key(2, 3)`: the group is first.
            "Key" => {
                group = number(1).or(group);
                number(2)
            }
            // `key 3 in group 2`, `key 3 of "a"`.
            "key" if at < first || words[at - 1] == "is" => {
                let follows = words.get(at + 3) == Some(&"group");
                group = number(4).filter(|_| follows).or(group);
                number(1)
            }
            _ => None,
        };
        let key = key.and_then(|key| usize::try_from(key).ok());
        keys.extend(key.map(|key| (group, key)).filter(|found| !keys.contains(found)));
    }
    keys
}

#[cfg(test)]
mod tests {
    use logstor_io_sim::Recording;

    use super::*;
    use crate::harness::{Watching, run_plan};
    use crate::plan::Mode;

    #[test]
    fn a_failure_names_its_keys() {
        assert_eq!(keys_of("a read of key 3 in group 5 gave None"), [(Some(5), 3)]);
        assert_eq!(keys_of("Key(5, 3) should be absent; Key(5, 4)"), [(Some(5), 3), (Some(5), 4)]);
        assert_eq!(keys_of("key 7 of \"a\": torn"), [(None, 7)]);
        assert_eq!(keys_of("put of key d0 of group 2 goes: d0 is key 9"), [(Some(2), 9)]);
        assert_eq!(keys_of("the key is not there"), []);
        assert_eq!(
            keys_of("key 3 in group 5 gave None\n  1: put key 4\n d0 is key 7"),
            [(Some(5), 3), (Some(5), 7)]
        );
    }

    #[test]
    fn a_page_stands_alone_and_tells_of_the_failure() {
        let watching = Watching {
            recording: Recording::All,
            story: true,
            canary: Some(|history| {
                (history.len() > 9).then(|| "key 0 of group 1 </script>".into())
            }),
            ..Watching::default()
        };
        let plan = Plan::draw(5, Mode::Mixed);
        let report = run_plan(plan.clone(), &watching);
        let page = render("seed 5", &plan, &report, report.story.as_ref().unwrap());
        assert!(page.contains(r#""failure":"key 0 of group 1 \u003c/script>""#));
        assert!(page.contains("flushes") && !page.contains(DATA));
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
