//! The figures of all cells, for people or in markdown.

use crate::args::Args;
use crate::cell::{Cell, Measured};
use crate::pattern::Pattern;

/// Every cell, in order, with what was measured unless its store refused to go on.
#[derive(Default)]
pub(crate) struct Table(Vec<(Cell, Option<Measured>)>);

const HEADINGS: [&str; 11] = [
    "live",
    "pattern",
    "groups",
    "WA",
    "goal",
    "log",
    "copies",
    "rest",
    "WA of keys and values",
    "live at the end",
    "seconds",
];

impl Table {
    pub(crate) fn add(&mut self, cell: Cell, measured: Option<Measured>) {
        self.0.push((cell, measured));
    }

    /// Whether there is a figure in every cell.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.iter().all(|(_, measured)| measured.is_some())
    }

    pub(crate) fn print(&self, args: &Args) {
        let place = if args.folder.is_some() { "a disk" } else { "memory" };
        println!(
            "\nWrite amplification of the last {} of {} overwrites, values of 1 KiB, on {place}: \
             stores of {} MiB, segments of {} KiB.\n",
            args.measured,
            args.overwrites,
            args.capacity >> 20,
            args.segment_len >> 10,
        );
        let lines: Vec<_> = self.0.iter().map(|(cell, measured)| cells(*cell, *measured)).collect();
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].len());
            cells.chain([HEADINGS[column].len()]).max().unwrap_or(0)
        };
        let (start, between, end) =
            if args.markdown { ("| ", " | ", " |") } else { ("", "  ", "") };
        let show = |line: &[String]| {
            let cells = line.iter().enumerate();
            let cells =
                cells.map(|(column, cell)| format!("{cell:>width$}", width = width(column)));
            println!("{start}{}{end}", cells.collect::<Vec<_>>().join(between));
        };
        show(&HEADINGS.map(String::from));
        if args.markdown {
            let dashes = |column: usize| format!("{}:", "-".repeat(width(column) - 1));
            show(&(0..HEADINGS.len()).map(dashes).collect::<Vec<_>>());
        }
        for line in &lines {
            show(line);
        }
    }
}

fn cells(cell: Cell, measured: Option<Measured>) -> [String; 11] {
    let figure = |of: fn(Measured) -> f64, digits: usize| {
        measured.map_or("-".into(), |measured| format!("{:.digits$}", of(measured)))
    };
    [
        format!("{} %", cell.live),
        cell.pattern.to_string(),
        cell.groups.to_string(),
        figure(|measured| measured.amplification, 2),
        goal(cell).map_or("-".into(), |goal| format!("{goal:.2}")),
        figure(|measured| measured.log, 2),
        figure(|measured| measured.copies, 2),
        figure(|measured| measured.amplification - measured.log - measured.copies, 3),
        figure(|measured| measured.of_bodies, 2),
        figure(|measured| measured.live, 3),
        figure(|measured| measured.took.as_secs_f64(), 0),
    ]
}

/// What the cell may be at most; one group is allowed three per cent more than several.
fn goal(cell: Cell) -> Option<f64> {
    let goal = match (cell.live, cell.pattern) {
        (80, Pattern::Uniform) => 3.0,
        (80, Pattern::Zipf) => 2.5,
        (80, Pattern::Hot) => 2.3,
        (90, Pattern::Uniform) => 6.0,
        (90, Pattern::Zipf) => 4.2,
        (90, Pattern::Hot) => 4.4,
        _ => return None,
    };
    Some(if cell.groups == 1 { goal * 1.03 } else { goal })
}
