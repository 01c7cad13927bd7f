//! Bars as SVG, readable on light and on dark pages.
//!
//! One part for each number of callers, one bar for each engine, best first; the thin line on a bar
//! reaches from the lowest to the highest round. Each part has an axis of its own: what one caller
//! does would not be seen beside what many do.

use std::fmt::Write as _;

use crate::data::float;
use crate::engines::DEVICE;
use crate::report::digits;

const WIDTH: f64 = 760.0;
/// Where bars begin and where the longest ends.
const LEFT: f64 = 110.0;
const RIGHT: f64 = 660.0;
const TOP: f64 = 62.0;
const BAR: f64 = 18.0;
const GAP: f64 = 5.0;
const HEADING: f64 = 30.0;
const AXIS: f64 = 22.0;
const FOOT: f64 = 30.0;
/// Letters of a note that fit into a line.
const LETTERS: usize = 118;

/// Colours of the page decide: an image is asked for the scheme of whoever looks at it.
const STYLE: &str = "
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 15px }
  .note, .tick { fill: #59636e; font-size: 11px }
  .page { fill: #ffffff }
  .grid { stroke: #d1d9e0 }
  .spread { stroke: #1f2328 }
  .own { fill: #1a7f37 }
  .peer { fill: #8c959f }
  .device { fill: #54aeff }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .note, .tick { fill: #9198a1 }
    .page { fill: #0d1117 }
    .grid { stroke: #3d444d }
    .spread { stroke: #f0f6fc }
    .own { fill: #3fb950 }
    .peer { fill: #6e7681 }
    .device { fill: #1f6feb }
  }
";

/// One workload.
pub struct Chart<'a> {
    pub title: &'a str,
    pub notes: &'a [String],
    pub unit: &'static str,
    pub parts: Vec<Part>,
}

/// Bars under a heading.
pub struct Part {
    pub title: String,
    pub bars: Vec<Bar>,
}

/// One engine.
pub struct Bar {
    pub name: &'static str,
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Chart<'_> {
    /// The whole file.
    pub fn svg(&self) -> String {
        let notes = self.notes.iter().flat_map(|note| wrapped(note)).collect::<Vec<_>>();
        let mut y = TOP + 14.0 * float(notes.len() as u64 - 1);
        let height = y + self.parts.iter().map(Part::height).sum::<f64>() + FOOT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{0}</title>\n\
             <style>{STYLE}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n\
             <text class=\"title\" x=\"16\" y=\"26\">{0}</text>\n",
            self.title
        );
        for (at, note) in notes.iter().enumerate() {
            let y = 44.0 + 14.0 * float(at as u64);
            let _ = writeln!(svg, "<text class=\"note\" x=\"16\" y=\"{y}\">{note}</text>");
        }
        for part in &self.parts {
            part.write(&mut svg, &mut y);
        }
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, RIGHT),
            y + 14.0,
            if self.unit == "ms" { "milliseconds" } else { "operations a second" }
        );
        svg + "</svg>\n"
    }
}

impl Part {
    fn height(&self) -> f64 {
        HEADING + self.bars_height() + AXIS
    }

    fn bars_height(&self) -> f64 {
        (BAR + GAP) * float(self.bars.len() as u64)
    }

    fn write(&self, svg: &mut String, y: &mut f64) {
        let _ = writeln!(svg, "<text x=\"16\" y=\"{:.1}\">{}</text>", *y + 20.0, self.title);
        *y += HEADING;
        let scale = Scale::of(self.bars.iter().map(|bar| bar.high));
        self.write_axis(svg, scale, *y);
        for bar in &self.bars {
            bar.write(svg, scale, *y);
            *y += BAR + GAP;
        }
        *y += AXIS;
    }

    fn write_axis(&self, svg: &mut String, scale: Scale, top: f64) {
        let bottom = top + self.bars_height();
        for tick in scale.ticks() {
            let (x, name) = (scale.x(tick), digits(tick));
            let name = name.trim_end_matches(".0");
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                bottom + 13.0
            );
        }
    }
}

impl Bar {
    fn write(&self, svg: &mut String, scale: Scale, y: f64) {
        let class = match self.name {
            "logstor" => "own",
            DEVICE => "device",
            _ => "peer",
        };
        let (end, low, high) = (scale.x(self.value), scale.x(self.low), scale.x(self.high));
        let (text, middle) = (y + 13.5, y + BAR / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" \
             rx=\"2\"/>\
             <line class=\"spread\" x1=\"{low:.1}\" y1=\"{middle:.1}\" x2=\"{high:.1}\" \
             y2=\"{middle:.1}\"/>\
             <text x=\"{:.1}\" y=\"{text:.1}\">{}</text>",
            LEFT - 8.0,
            self.name,
            (end - LEFT).max(1.0),
            high + 6.0,
            digits(self.value)
        );
    }
}

/// From figures to places.
#[derive(Clone, Copy)]
struct Scale {
    step: f64,
    end: f64,
}

impl Scale {
    /// Four to eight steps of 1, 2 or 5 times a power of ten.
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let most = figures.fold(1.0, f64::max);
        let power = 10_f64.powf((most / 4.0).log10().floor());
        let fits = |step: &f64| most / step >= 4.0;
        let step = [5.0, 2.0].map(|times| times * power).into_iter().find(fits).unwrap_or(power);
        Self { step, end: (most / step).ceil() * step }
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        (0..).map(move |at| float(at) * self.step).take_while(move |tick| *tick <= self.end * 1.001)
    }

    fn x(self, figure: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * figure / self.end
    }
}

/// Lines of a note that are not too long.
fn wrapped(note: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in note.split(' ') {
        let last = lines.last_mut().expect("there is one from the start");
        if last.len() + word.len() > LETTERS {
            lines.push(word.to_owned());
        } else {
            *last += if last.is_empty() { "" } else { " " };
            *last += word;
        }
    }
    lines
}
