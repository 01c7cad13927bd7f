//! The story of a run: who did what from when to when, in lanes over virtual time.
//!
//! ```text
//!   events ──> lanes of spans, and marks ──┬──> chrome: a file for trace viewers
//!   samples, history, plan ────────────────┴──> page: one page for people
//! ```
//!
//! 1. A span begins and ends with an event; what was under way at a crash ends there, as lost.
//! 2. Spans of one lane that overlap lie in different rows of it.
//! 3. An operation of the device is in the lane of the task that issued it, but syncs are in one;
//!    what is rewritten is in the lane of what the run is for.
//!
//! Absent on purpose: anything that is not in the events. What matters is noted by the harness.

pub mod chrome;
mod json;
pub mod page;

use std::collections::BTreeMap;

use logstor_io_sim::{Event, EventKind};

use crate::harness::Told;
use crate::sample::Cause;

/// How a span ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Done,
    /// With an error.
    Failed,
    /// Nobody waited any more.
    GivenUp,
    /// By a crash, or not at all.
    Lost,
}

/// Something that took time, in nanoseconds since the simulation began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The lane, by its place.
    pub lane: usize,
    /// The row in it.
    pub row: usize,
    /// From.
    pub from: u64,
    /// Until.
    pub until: u64,
    /// What it was.
    pub what: String,
    /// What came of it, if there is more to say.
    pub came_to: String,
    /// How it ended.
    pub ending: Ending,
}

/// Something that happened at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: u64,
    /// `fault`, `crash` or `stop`.
    pub kind: &'static str,
    /// What.
    pub what: String,
}

/// Lanes with their spans, and marks.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The lanes: name, and rows.
    pub lanes: Vec<(String, usize)>,
    /// All spans, by when they began.
    pub spans: Vec<Span>,
    /// All marks, in order.
    pub marks: Vec<Mark>,
}

/// Lanes in their order; those of clients come in between.
const ABOVE: [&str; 2] = ["epochs", "recovery"];
const BELOW: [&str; 11] = [
    "harness",
    "flushes",
    "syncs",
    "separator",
    "compaction",
    "on request",
    "reclaim",
    "grow",
    "large values",
    "reads",
    "I/O of recovery",
];

/// Of those below, the ones that are there although nothing is in them.
const ALWAYS: [&str; 4] = ["flushes", "syncs", "separator", "compaction"];

impl Story {
    /// The story that the events tell.
    #[must_use]
    pub fn of(told: &Told) -> Self {
        let mut teller = Teller { runs: told.runs.clone(), ..Teller::default() };
        told.events.iter().for_each(|event| teller.hear(event));
        teller.end()
    }
}

/// What is under way, by lane name.
#[derive(Debug, Default)]
struct Open {
    lane: String,
    from: u64,
    what: String,
}

#[derive(Default)]
struct Teller {
    done: Vec<(Open, u64, String, Ending)>,
    marks: Vec<Mark>,
    /// The task that runs.
    task: String,
    operations: BTreeMap<u64, Open>,
    /// Operations of clients and harness, by their numbers.
    calls: BTreeMap<u64, Open>,
    epoch: Option<Open>,
    opening: Option<Open>,
    /// When runs of compaction began, and what for.
    runs: Vec<(u64, Cause)>,
    now: u64,
}

impl Teller {
    fn hear(&mut self, event: &Event) {
        self.now = event.at;
        let text = event.text.as_str();
        match event.kind {
            EventKind::Poll => {
                let name = text.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
                name.map_or("", |(name, _)| name).clone_into(&mut self.task);
            }
            EventKind::Issue => self.issued(event),
            EventKind::Complete => {
                let (_, came_to) = text.split_once(' ').unwrap_or_default();
                let failed = came_to.starts_with("failed");
                let ending = if failed { Ending::Failed } else { Ending::Done };
                if let Some(open) = self.operations.remove(&event.number) {
                    let came_to = if failed { came_to } else { "" };
                    self.close(open, came_to, ending);
                }
            }
            EventKind::Abandon => {
                if text.ends_with("does not happen")
                    && let Some(open) = self.operations.remove(&event.number)
                {
                    self.close(open, "did not happen", Ending::GivenUp);
                }
            }
            EventKind::Fault => self.mark("fault", text),
            EventKind::Stop => self.mark("stop", text),
            EventKind::Crash => {
                self.mark("crash", text);
                self.crashed();
            }
            EventKind::Note => self.noted(text),
            _ => {}
        }
    }

    fn issued(&mut self, event: &Event) {
        let (_, what) = event.text.split_once(' ').unwrap_or_default();
        if what == "timer" {
            return;
        }
        let lane = match self.task.as_str() {
            _ if what.starts_with("sync") => "syncs",
            "logstor writer" => "flushes",
            "logstor rewriter" => match self.cause() {
                Some(Cause::Separation) => "separator",
                Some(Cause::Request) => "on request",
                Some(Cause::Room) | None => "compaction",
            },
            "logstor reclaim" => "reclaim",
            "logstor grow" => "grow",
            "logstor large value" => "large values",
            "client" => "reads",
            _ if self.opening.is_some() => "I/O of recovery",
            _ => "reads",
        };
        let open = Open { lane: lane.into(), from: event.at, what: what.into() };
        self.operations.insert(event.number, open);
    }

    /// What the run is for that is under way.
    fn cause(&self) -> Option<Cause> {
        let begun = self.runs.partition_point(|run| run.0 <= self.now);
        self.runs.get(begun.checked_sub(1)?).map(|run| run.1)
    }

    fn noted(&mut self, text: &str) {
        let open =
            |lane: &str, from| Open { lane: lane.into(), from, what: text.lines().collect() };
        if text.starts_with("epoch ") {
            let next = open("epochs", self.now);
            if let Some(epoch) = self.epoch.replace(next) {
                self.close(epoch, "", Ending::Done);
            }
        } else if text == "open" {
            self.opening = Some(open("recovery", self.now));
        } else if text.starts_with("opened: ") || text.starts_with("open: ") {
            let ending = if text.starts_with("opened") { Ending::Done } else { Ending::Failed };
            if let Some(opening) = self.opening.take() {
                self.close(opening, text, ending);
            }
        } else if let Some((op, what)) = call(text) {
            self.called(op, what);
        } else {
            self.mark("note", text);
        }
    }

    fn called(&mut self, op: u64, what: &str) {
        let Some(open) = self.calls.remove(&op) else {
            let client = what.split_once(": ").filter(|(name, _)| name.starts_with("client "));
            let lane = client.and_then(|(name, _)| name.split_once('.'));
            let lane = lane.map_or("harness".into(), |(_, number)| format!("client {number}"));
            let what = client.map_or(what, |(_, what)| what);
            let what = format!("op {op}: {what}");
            self.calls.insert(op, Open { lane, from: self.now, what });
            return;
        };
        let ending = match what {
            "ok" => Ending::Done,
            "dropped" => Ending::GivenUp,
            _ => Ending::Failed,
        };
        self.close(open, what, ending);
    }

    fn crashed(&mut self) {
        let operations = std::mem::take(&mut self.operations).into_values();
        let calls = std::mem::take(&mut self.calls).into_values();
        let lost: Vec<Open> = operations.chain(calls).chain(self.opening.take()).collect();
        for open in lost {
            self.close(open, "the crash came first", Ending::Lost);
        }
    }

    fn close(&mut self, open: Open, came_to: &str, ending: Ending) {
        self.done.push((open, self.now, came_to.to_owned(), ending));
    }

    fn mark(&mut self, kind: &'static str, what: &str) {
        self.marks.push(Mark { at: self.now, kind, what: what.into() });
    }

    fn end(mut self) -> Story {
        if let Some(epoch) = self.epoch.take() {
            self.close(epoch, "", Ending::Done);
        }
        self.crashed();
        self.done.sort_by_key(|(open, ..)| open.from);
        let mut clients: Vec<&str> = self.done.iter().map(|(open, ..)| &*open.lane).collect();
        clients.retain(|lane| lane.starts_with("client "));
        clients.sort_unstable();
        clients.dedup();
        let used = |lane: &&str| self.done.iter().any(|(open, ..)| open.lane == **lane);
        let below = BELOW.into_iter().filter(|lane| ALWAYS.contains(lane) || used(lane));
        let names = ABOVE.into_iter().chain(clients).chain(below).map(str::to_owned);
        let mut lanes: Vec<(String, usize)> = names.map(|name| (name, 1)).collect();
        // When each row of each lane is free again.
        let mut free: Vec<Vec<u64>> = vec![Vec::new(); lanes.len()];
        let mut spans = Vec::new();
        for (open, until, came_to, ending) in self.done {
            let lane = lanes.iter().position(|(name, _)| *name == open.lane);
            let Some(lane) = lane else { continue };
            let row = free[lane].iter().position(|&at| at <= open.from);
            let row = row.unwrap_or_else(|| {
                free[lane].push(0);
                free[lane].len() - 1
            });
            free[lane][row] = until;
            lanes[lane].1 = free[lane].len();
            let Open { from, what, .. } = open;
            spans.push(Span { lane, row, from, until, what, came_to, ending });
        }
        Story { lanes, spans, marks: self.marks }
    }
}

/// The number and the rest of a note of the form `op 12: rest`.
fn call(text: &str) -> Option<(u64, &str)> {
    let (number, rest) = text.strip_prefix("op ")?.split_once(": ")?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use logstor_io_sim::Recording;

    use super::*;
    use crate::harness::{Report, Watching, run_plan, run_seed};
    use crate::plan::{Mode, Plan};

    fn told(seed: u64) -> Report {
        let watching = Watching { recording: Recording::All, story: true, ..Watching::default() };
        run_plan(Plan::draw(seed, Mode::Mixed), &watching)
    }

    #[test]
    fn a_run_that_is_looked_at_is_the_run_that_is_not() {
        for seed in 0..40 {
            let looked_at = told(seed);
            assert_eq!(
                looked_at.trace_hash,
                run_seed(seed, Mode::Mixed, Recording::Off).trace_hash
            );
            let story = looked_at.story.unwrap();
            assert!(!story.samples.is_empty() && !story.events.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn what_overlaps_lies_in_different_rows() {
        let mut used = BTreeSet::new();
        for seed in 0..20 {
            let story = Story::of(&told(seed).story.unwrap());
            let mut ends = BTreeMap::new();
            for span in &story.spans {
                assert!(span.from <= span.until && span.row < story.lanes[span.lane].1);
                let end = ends.insert((span.lane, span.row), span.until).unwrap_or(0);
                assert!(end <= span.from, "seed {seed}: {span:?}");
                used.insert(story.lanes[span.lane].0.clone());
            }
        }
        for lane in ["client 0", "flushes", "syncs", "recovery", "separator", "compaction"] {
            assert!(used.contains(lane), "{lane}");
        }
    }

    #[test]
    fn what_was_under_way_at_a_crash_is_lost_there() {
        let event = |at, kind, number, text: &str| Event { at, kind, number, text: text.into() };
        let mut teller = Teller::default();
        teller.hear(&event(1, EventKind::Poll, 4, "task 4 (logstor writer) runs"));
        teller.hear(&event(2, EventKind::Issue, 7, "#7 write file 1 +0x0 4096 bytes"));
        teller.hear(&event(3, EventKind::Issue, 8, "#8 write file 1 +0x1000 4096 bytes"));
        teller.hear(&event(5, EventKind::Complete, 7, "#7 done"));
        teller.hear(&event(6, EventKind::Crash, 1, "crash: ProcessKill"));
        let story = teller.end();
        let ends: Vec<_> = story.spans.iter().map(|s| (s.from, s.until, s.row, s.ending)).collect();
        assert_eq!(ends, [(2, 5, 0, Ending::Done), (3, 6, 1, Ending::Lost)]);
        assert_eq!(story.lanes[story.spans[0].lane], ("flushes".to_owned(), 2));
    }
}
