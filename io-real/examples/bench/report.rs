//! Figures of several rounds, as a table, in markdown or as JSON.

use std::fmt::Write as _;

use crate::args::Args;
use crate::reopen::{Opening, rows};

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// What was measured, in the unit of its row.
    pub(crate) per_second: f64,
    /// Latency in microseconds.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// Device reads an operation.
    pub(crate) reads: Option<f64>,
    /// Bytes written to the device for each byte of keys and values.
    pub(crate) amplification: Option<f64>,
    /// Syncs an operation.
    pub(crate) syncs: Option<f64>,
    /// Processor time an operation, in microseconds.
    pub(crate) cpu: Option<f64>,
}

/// One thing that was measured, over all rounds.
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    fio: Vec<Sample>,
    ours: Vec<Sample>,
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    comparisons: Vec<Comparison>,
    openings: Vec<Opening>,
}

/// Two rows whose p99 is to be compared: without a burden, and with it.
#[derive(PartialEq)]
struct Comparison {
    without: String,
    with: String,
    /// The ratio may be so much.
    goal: f64,
}

/// A name and how to get the figure out of a sample.
type Column = (&'static str, fn(&Sample) -> Option<f64>);

const FIGURES: [Column; 7] = [
    ("per_second", |sample| Some(sample.per_second)),
    ("p50_us", |sample| sample.p50),
    ("p99_us", |sample| sample.p99),
    ("device_reads_per_op", |sample| sample.reads),
    ("write_amplification", |sample| sample.amplification),
    ("syncs_per_op", |sample| sample.syncs),
    ("cpu_us_per_op", |sample| sample.cpu),
];

const HEADINGS: [&str; 12] = [
    "measurement",
    "",
    "fio",
    "logstor",
    "ratio",
    "fio p50",
    "p50 us",
    "fio p99",
    "p99 us",
    "reads/op",
    "WA",
    "CPU us",
];

impl Report {
    /// Adds a round of a measurement, and tells the user.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, round: Round) {
        let shown = |sample: Option<Sample>| sample.map(|sample| sample.per_second);
        eprintln!(
            "{name:<34} fio {:>9} {unit}, logstor {:>9} {unit}",
            digits(shown(round.fio)),
            digits(Some(round.ours.per_second)),
        );
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or(self.rows.len());
        if at == self.rows.len() {
            self.rows.push(Row { name: name.into(), unit, fio: vec![], ours: vec![] });
        }
        self.rows[at].fio.extend(round.fio);
        self.rows[at].ours.push(round.ours);
    }

    /// Has the p99 of two measurements compared in the end.
    pub(crate) fn compare(&mut self, without: &str, with: &str, goal: f64) {
        let comparison = Comparison { without: without.into(), with: with.into(), goal };
        if !self.comparisons.contains(&comparison) {
            self.comparisons.push(comparison);
        }
    }

    fn print_comparisons(&self) {
        let p99 = |name: &str| {
            let row = self.rows.iter().find(|row| row.name == name)?;
            median(&row.ours, |sample| sample.p99)
        };
        if !self.comparisons.is_empty() {
            println!();
        }
        for Comparison { without, with, goal } in &self.comparisons {
            let ratio = p99(without).zip(p99(with)).map(|(without, with)| with / without);
            println!("p99 of {with}: {} times that of {without}; goal {goal}", fraction(ratio));
        }
    }

    /// Has an opening shown in the end, and tells the user.
    pub(crate) fn opened(&mut self, opening: Opening) {
        eprintln!("{}", opening.line());
        self.openings.push(opening);
    }

    /// Prints the medians.
    pub(crate) fn print(&self, args: &Args) {
        if !self.rows.is_empty() {
            println!(
                "\nValues of 1 KiB; {} records; medians of {} rounds, {} s each.\n",
                args.records, args.rounds, args.seconds
            );
            let rows =
                [HEADINGS.map(String::from)].into_iter().chain(self.rows.iter().map(Row::cells));
            print_table(&rows.collect::<Vec<_>>(), 2, args.markdown);
            self.print_comparisons();
        }
        if !self.openings.is_empty() {
            println!();
            print_table(&rows(&self.openings), 2, args.markdown);
        }
    }

    /// Every figure of every round.
    pub(crate) fn json(&self, args: &Args) -> String {
        let rows: Vec<String> = self.rows.iter().map(Row::json).collect();
        let openings: Vec<String> = self.openings.iter().map(Opening::json).collect();
        format!(
            "{{\"seconds\":{},\"rounds\":{},\"records\":{},\"rows\":[\n{}\n],\
             \"openings\":[\n{}\n]}}\n",
            args.seconds,
            args.rounds,
            args.records,
            rows.join(",\n"),
            openings.join(",\n")
        )
    }
}

/// Prints lines, the first of them headings, of which the first `words` columns are words.
fn print_table<const N: usize>(lines: &[[String; N]], words: usize, markdown: bool) {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let (start, between, end) = if markdown { ("| ", " | ", " |") } else { ("", "  ", "") };
    for (at, line) in lines.iter().enumerate() {
        let cells = line.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            if column < words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        println!("{start}{}{end}", cells.collect::<Vec<_>>().join(between));
        if markdown && at == 0 {
            let dashes = (0..N).map(|column| {
                let end = if column < words { "-" } else { ":" };
                "-".repeat(width(column).max(1) - 1) + end
            });
            println!("{start}{}{end}", dashes.collect::<Vec<_>>().join(between));
        }
    }
}

/// One round: what fio said, if it is there, and what the engine did.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    pub(crate) fio: Option<Sample>,
    pub(crate) ours: Sample,
}

impl Row {
    fn cells(&self) -> [String; 12] {
        let fio = |figure: fn(&Sample) -> Option<f64>| median(&self.fio, figure);
        let ours = |figure: fn(&Sample) -> Option<f64>| median(&self.ours, figure);
        let speed = |sample: &Sample| Some(sample.per_second);
        let ratio = fio(speed).zip(ours(speed)).map(|(fio, ours)| ours / fio);
        [
            self.name.clone(),
            self.unit.into(),
            digits(fio(speed)),
            digits(ours(speed)),
            fraction(ratio),
            digits(fio(|sample| sample.p50)),
            digits(ours(|sample| sample.p50)),
            digits(fio(|sample| sample.p99)),
            digits(ours(|sample| sample.p99)),
            fraction(ours(|sample| sample.reads)),
            fraction(ours(|sample| sample.amplification)),
            fraction(ours(|sample| sample.cpu)),
        ]
    }

    fn json(&self) -> String {
        let list = |samples: &[Sample]| samples.iter().map(json_of).collect::<Vec<_>>().join(",");
        format!(
            "{{\"name\":\"{}\",\"unit\":\"{}\",\"fio\":[{}],\"logstor\":[{}]}}",
            self.name,
            self.unit,
            list(&self.fio),
            list(&self.ours)
        )
    }
}

fn json_of(sample: &Sample) -> String {
    let mut text = String::new();
    for (name, figure) in FIGURES {
        let Some(figure) = figure(sample) else { continue };
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}\"{name}\":{figure:.3}").expect("a string takes all text");
    }
    format!("{{{text}}}")
}

/// The figure in the middle; of two in the middle the mean.
fn median(samples: &[Sample], figure: fn(&Sample) -> Option<f64>) -> Option<f64> {
    let mut figures: Vec<f64> = samples.iter().filter_map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    Some(f64::midpoint(figures[(figures.len() - 1) / 2], upper))
}

fn digits(figure: Option<f64>) -> String {
    figure.map_or("-".into(), |figure| format!("{figure:.0}"))
}

fn fraction(figure: Option<f64>) -> String {
    figure.map_or("-".into(), |figure| format!("{figure:.2}"))
}
