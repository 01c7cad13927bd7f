//! A story as a file in the trace event format, which Perfetto and `chrome://tracing` open.
//!
//! Every row of a lane is a thread of one process; free slots and debt are counters; faults and
//! crashes are instants that go through all lanes.
//!
//! Absent on purpose: shortening of quiet times. Viewers zoom.

use super::json::{list, micros, quoted};
use super::{Ending, Mark, Span, Story};
use crate::harness::Told;
use crate::sample::Sample;

/// The file.
#[must_use]
pub fn render(told: &Told) -> String {
    let story = Story::of(told);
    let names = story.lanes.iter().zip(0..).flat_map(|((name, rows), lane)| {
        (0..*rows).flat_map(move |row| {
            let thread = thread(lane, row);
            let name = if row == 0 { name.clone() } else { format!("{name} {}", row + 1) };
            let about = |what: &str, argument: String| {
                format!(
                    r#"{{"ph":"M","pid":1,"tid":{thread},"name":"{what}","args":{{{argument}}}}}"#
                )
            };
            [
                about("thread_name", format!(r#""name":{}"#, quoted(&name))),
                about("thread_sort_index", format!(r#""sort_index":{thread}"#)),
            ]
        })
    });
    let spans = story.spans.iter().map(span);
    let marks = story.marks.iter().map(mark);
    let samples = told.samples.iter().map(counters);
    let events = list(names.chain(spans).chain(marks).chain(samples));
    format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\":{events}}}\n")
}

/// Rows of a lane are numbered next to each other.
fn thread(lane: usize, row: usize) -> usize {
    1 + lane * 1000 + row
}

fn span(span: &Span) -> String {
    let ending = match span.ending {
        Ending::Done => "done",
        Ending::Failed => "failed",
        Ending::GivenUp => "given up",
        Ending::Lost => "lost",
    };
    let (name, came_to) = (quoted(&span.what), quoted(&span.came_to));
    let arguments = format!(r#"{{"ended":"{ending}","came to":{came_to}}}"#);
    format!(
        r#"{{"ph":"X","pid":1,"tid":{},"ts":{},"dur":{},"name":{name},"args":{arguments}}}"#,
        thread(span.lane, span.row),
        micros(span.from),
        micros(span.until - span.from),
    )
}

fn mark(mark: &Mark) -> String {
    let (scope, thread) = if mark.kind == "note" { ("t", 1) } else { ("g", 1) };
    format!(
        r#"{{"ph":"i","s":"{scope}","pid":1,"tid":{thread},"ts":{},"name":{},"cat":"{}"}}"#,
        micros(mark.at),
        quoted(&mark.what),
        mark.kind,
    )
}

fn counters(sample: &Sample) -> String {
    let stats = &sample.stats;
    format!(
        r#"{{"ph":"C","pid":1,"ts":{},"name":"slots","args":{{"free":{},"missing":{}}}}}"#,
        micros(sample.at),
        stats.segments.free,
        stats.compaction.debt_segments,
    )
}
