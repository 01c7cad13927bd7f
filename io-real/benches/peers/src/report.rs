//! Figures of all rounds: as tables, as JSON, as charts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::args::Args;
use crate::chart::{Bar, Chart, Part};
use crate::engines::Engine;
use crate::meter::Figures;
use crate::step::Step;

/// Everything that was measured.
pub struct Report<'a> {
    args: &'a Args,
    /// Whether memory could be limited.
    limited: bool,
    rows: Vec<Row>,
}

/// One step of one engine, over all rounds.
struct Row {
    step: Step,
    engine: &'static Engine,
    rounds: Vec<Figures>,
    failed: Option<String>,
}

/// A heading, and the figure below it as people read it.
type Column = (&'static str, fn(&Row) -> Option<String>);

const COLUMNS: [Column; 10] = [
    ("", |row| row.main().map(digits)),
    ("lowest-highest", |row| {
        let (low, high) = row.spread()?;
        Some(format!("{}-{}", digits(low), digits(high)))
    }),
    ("p50 us", |row| row.median(|figures| figures.p50_us).map(digits)),
    ("p99 us", |row| row.median(|figures| figures.p99_us).map(digits)),
    ("p99.9 us", |row| row.median(|figures| figures.p999_us).map(digits)),
    ("CPU us", |row| row.median(|figures| figures.cpu_us_per_op).map(digits)),
    ("read KiB/op", |row| {
        if !row.step.needs_data() {
            return None;
        }
        row.median(|figures| figures.device_read_bytes_per_op).map(|bytes| fraction(bytes / 1024.0))
    }),
    ("WA", |row| row.median(|figures| figures.write_amplification).map(fraction)),
    ("SA", |row| row.median(|figures| figures.space_amplification).map(fraction)),
    ("RSS MiB", |row| row.median(|figures| figures.peak_rss_bytes).map(mib)),
];

impl<'a> Report<'a> {
    pub fn new(args: &'a Args, limited: bool) -> Self {
        Self { args, limited, rows: vec![] }
    }

    /// Adds what a round of a step gave, and tells the user.
    pub fn add(&mut self, step: Step, engine: &'static Engine, given: Result<Figures, String>) {
        let main = given.as_ref().ok().and_then(Figures::main);
        let shown = main.map_or_else(|| "failed".into(), digits);
        eprintln!("{:<32} {:<11} {shown:>12} {}", step.name(), engine.name, step.unit());
        let is_it = |row: &Row| row.step == step && row.engine.name == engine.name;
        let at = self.rows.iter().position(is_it).unwrap_or(self.rows.len());
        if at == self.rows.len() {
            self.rows.push(Row { step, engine, rounds: vec![], failed: None });
        }
        match given {
            Ok(figures) => self.rows[at].rounds.push(figures),
            Err(error) => {
                eprintln!("{} failed: {error}", engine.name);
                self.rows[at].failed = Some(error);
            }
        }
    }

    /// Tables in Markdown, best first.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.conditions());
        for (_, steps) in &self.args.workloads {
            for &step in *steps {
                self.write_step(step, &mut text);
            }
        }
        self.write_promises(&mut text);
        text
    }

    fn conditions(&self) -> String {
        let Args { records, value_len, memory, seconds, rounds, .. } = self.args;
        let limit = if self.limited {
            "(page cache included) for load, reads and YCSB"
        } else {
            "as engines were told (no control group could be made: the page cache is not limited, \
             and reads may come from it)"
        };
        format!(
            "{records} records of {value_len} bytes, {} MiB of memory {limit}; {seconds} s each; \
             median of {rounds}.",
            memory >> 20
        )
    }

    /// The rows of a step, best first; what failed comes last.
    fn rows_of(&self, step: Step) -> Vec<&Row> {
        let mut rows: Vec<_> = self.rows.iter().filter(|row| row.step == step).collect();
        let worth = |row: &&Row| match (row.main(), step.is_opening()) {
            (None, _) => f64::INFINITY,
            (Some(ms), true) => ms,
            (Some(per_second), false) => -per_second,
        };
        rows.sort_by(|one, other| worth(one).total_cmp(&worth(other)));
        rows
    }

    fn write_step(&self, step: Step, text: &mut String) {
        let rows = self.rows_of(step);
        let is_used = |column: &&Column| rows.iter().any(|row| column.1(row).is_some());
        let columns: Vec<&Column> = COLUMNS.iter().filter(is_used).collect();
        let named = |(name, _): &&Column| {
            if name.is_empty() { step.unit().to_owned() } else { (*name).to_owned() }
        };
        let heads = [step.name()].into_iter().chain(columns.iter().map(named));
        let mut lines: Vec<Vec<String>> = vec![heads.collect()];
        for row in rows {
            let cell = |(_, figure): &&Column| figure(row).unwrap_or("-".into());
            let name = match &row.failed {
                Some(why) => format!("{}: {why}", row.engine.name),
                None => row.engine.name.into(),
            };
            lines.push([name].into_iter().chain(columns.iter().map(cell)).collect());
        }
        write_table(&lines, 1, text);
    }

    fn write_promises(&self, text: &mut String) {
        let heads = ["engine", "a put that is not synced", "a synced put", "a read checks"];
        let mut lines = vec![heads.map(String::from).to_vec()];
        for engine in &self.args.engines {
            let name = format!("{} {}", engine.name, version(engine.package));
            let promises = [engine.unsynced, engine.synced, engine.checks].map(String::from);
            lines.push([name].into_iter().chain(promises).collect());
        }
        write_table(&lines, heads.len(), text);
    }

    /// Every figure of every round.
    pub fn json(&self) -> Outcome<String> {
        let mut rows: BTreeMap<Step, Map<String, Value>> = BTreeMap::new();
        for row in &self.rows {
            let fields = rows.entry(row.step).or_default();
            fields.insert("name".into(), row.step.name().into());
            fields.insert("unit".into(), row.step.unit().into());
            fields.insert(row.engine.name.into(), serde_json::to_value(&row.rounds)?);
        }
        let engines = self.args.engines.iter();
        let versions: Map<String, Value> = engines
            .map(|engine| (engine.name.to_owned(), version(engine.package).into()))
            .collect();
        let all = json!({
            "seconds": self.args.seconds,
            "rounds": self.args.rounds,
            "records": self.args.records,
            "value_len": self.args.value_len,
            "memory": self.args.memory,
            "memory_is_limited": self.limited,
            "versions": versions,
            "rows": rows.into_values().collect::<Vec<_>>(),
        });
        Ok(serde_json::to_string_pretty(&all)?)
    }

    /// A chart for each workload.
    pub fn draw(&self, folder: &Path) -> Outcome<()> {
        fs::create_dir_all(folder)?;
        for (name, steps) in &self.args.workloads {
            let unit = steps.first().map_or("", |step| step.unit());
            let better = if unit == "ms" { "less is better" } else { "more is better" };
            let notes = [format!("{unit}, {better}; {}", self.conditions())];
            let parts = steps.iter().map(|&step| self.part(step)).collect();
            let chart = Chart {
                title: &format!("logstor and its peers: {name}"),
                notes: &notes,
                unit,
                parts,
            };
            fs::write(folder.join(format!("{name}.svg")), chart.svg())?;
        }
        Ok(())
    }

    fn part(&self, step: Step) -> Part {
        let bar = |row: &&Row| {
            let (low, high) = row.spread()?;
            Some(Bar { name: row.engine.name, value: row.main()?, low, high })
        };
        Part { title: step.name(), bars: self.rows_of(step).iter().filter_map(bar).collect() }
    }
}

impl Row {
    fn main(&self) -> Option<f64> {
        self.median(Figures::main)
    }

    fn sorted(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Vec<f64> {
        let mut figures: Vec<f64> = self.rounds.iter().filter_map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures
    }

    /// The figure in the middle; of two in the middle the mean.
    fn median(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        let figures = self.sorted(figure);
        let upper = *figures.get(figures.len() / 2)?;
        Some(f64::midpoint(figures[(figures.len() - 1) / 2], upper))
    }

    fn spread(&self) -> Option<(f64, f64)> {
        let figures = self.sorted(Figures::main);
        Some((*figures.first()?, *figures.last()?))
    }
}

/// The version of a package in this build.
fn version(package: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let name = format!("name = \"{package}\"\nversion = \"");
    let found = lock.split_once(&name).and_then(|(_, rest)| rest.split_once('"'));
    found.map_or("", |(version, _)| version)
}

/// Writes lines, the first of them headings, of which the first `words` columns are words.
fn write_table(lines: &[Vec<String>], words: usize, text: &mut String) {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    for (at, line) in lines.iter().enumerate() {
        let cells = line.iter().enumerate().map(|(column, cell)| {
            let width = width(column).max(2);
            if column < words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(
            text,
            "{}| {} |",
            if at == 0 { "\n" } else { "" },
            cells.collect::<Vec<_>>().join(" | ")
        );
        if at == 0 {
            let dashes = (0..columns).map(|column| {
                let end = if column < words { "-" } else { ":" };
                "-".repeat(width(column).max(2) - 1) + end
            });
            let _ = writeln!(text, "| {} |", dashes.collect::<Vec<_>>().join(" | "));
        }
    }
}

/// A number as people read it: groups of three, or a few digits if it is small.
pub fn digits(figure: f64) -> String {
    if figure < 9.95 {
        return format!("{figure:.1}");
    }
    let plain = format!("{figure:.0}");
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn fraction(figure: f64) -> String {
    format!("{figure:.2}")
}

fn mib(bytes: f64) -> String {
    format!("{:.0}", bytes / f64::from(1 << 20))
}
