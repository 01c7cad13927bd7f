//! A map of the segments of a store: who wrote each, and how much of it is needed.
//!
//! ```text
//!    0  L9 L9 L3 G9 G9 V9 .. ..      L log   G one group   S shared   V large value
//!    8  xx l2 .. .. .. __ __ __      digit: tenths that are needed, 9 for all
//! ```
//!
//! 1. A cell is two letters, so that the map says the same without colours.
//! 2. A map has at most [`CELLS`] cells. In a store with more segments a cell stands for several:
//!    it shows who wrote most of them, and what is needed of all of them.
//! 3. The digit is rounded down, but for the last one: 9 is nine tenths or more.

use std::collections::BTreeMap;
use std::fmt::Write;

use logstor::{SegmentInfo, SegmentUse, SegmentWriter};
use serde_json::{Value, json};

use super::segments::used;

/// Cells of a map, at most.
const CELLS: usize = 1024;
/// Cells of a line.
const COLUMNS: usize = 32;

/// A drawn map.
#[derive(Debug)]
pub(super) struct Map {
    cells: Vec<Cell>,
    /// Segments that one cell stands for.
    scale: usize,
    uses: Vec<(&'static str, usize)>,
    kinds: Vec<(&'static str, usize)>,
}

/// A letter, and the tenths that are needed of what is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    letter: char,
    tenths: Option<u64>,
}

/// Draws the map of these segments, each of `len` bytes.
pub(super) fn draw(segments: &[SegmentInfo], len: u64) -> Map {
    let scale = segments.len().div_ceil(CELLS).max(1);
    let cells = segments.chunks(scale).map(|chunk| Cell::of(chunk, len)).collect();
    let kinds = segments.iter().filter_map(|segment| segment.writer).map(kind);
    Map {
        cells,
        scale,
        uses: count(segments.iter().map(|segment| used(segment.used))),
        kinds: count(kinds),
    }
}

fn count(words: impl Iterator<Item = &'static str>) -> Vec<(&'static str, usize)> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn kind(writer: SegmentWriter) -> &'static str {
    match writer {
        SegmentWriter::Log => "log",
        SegmentWriter::Group(_) => "one group",
        SegmentWriter::Shared => "shared",
        SegmentWriter::Large(_) => "large values",
        _ => "other",
    }
}

fn letter(segment: &SegmentInfo) -> char {
    let written = match segment.writer {
        Some(SegmentWriter::Log) => 'L',
        Some(SegmentWriter::Group(_)) => 'G',
        Some(SegmentWriter::Shared) => 'S',
        Some(SegmentWriter::Large(_)) => 'V',
        _ => '?',
    };
    match segment.used {
        SegmentUse::Free => '.',
        SegmentUse::Hollow => '_',
        SegmentUse::Active => written.to_ascii_lowercase(),
        SegmentUse::Sealed => written,
        SegmentUse::Retired => 'x',
        SegmentUse::Quarantined => '!',
        _ => '?',
    }
}

impl Cell {
    fn of(segments: &[SegmentInfo], len: u64) -> Self {
        let mut letters: BTreeMap<char, usize> = BTreeMap::new();
        for segment in segments {
            *letters.entry(letter(segment)).or_default() += 1;
        }
        let most = letters.into_iter().max_by_key(|&(_, count)| count);
        let letter = most.map_or('?', |(letter, _)| letter);
        let is_used = |segment: &&SegmentInfo| {
            matches!(segment.used, SegmentUse::Active | SegmentUse::Sealed)
        };
        let (mut needed, mut all) = (0, 0);
        for segment in segments.iter().filter(is_used) {
            // What can be needed of it at all.
            all += len - segment.space.seals;
            needed += segment.space.live + segment.space.tombstones;
            needed += segment.space.headers * u64::from(segment.space.dead == 0);
        }
        let tenths = letter.is_ascii_alphabetic() && letter != 'x' && all > 0;
        Self { letter, tenths: tenths.then(|| (needed * 10 / all).min(9)) }
    }

    fn text(self) -> String {
        match self.tenths {
            Some(tenths) => format!("{}{tenths}", self.letter),
            None => format!("{0}{0}", self.letter),
        }
    }

    /// From blue, of which little is needed, to red; a colour of its own for what is out of use.
    fn colour(self) -> u8 {
        const HEAT: [u8; 10] = [17, 18, 19, 25, 30, 64, 100, 130, 166, 160];
        match (self.letter, self.tenths) {
            ('!', _) => 201,
            (_, Some(tenths)) => usize::try_from(tenths).map_or(0, |at| HEAT[at.min(9)]),
            _ => 236,
        }
    }
}

impl Map {
    pub(super) fn json(&self) -> Value {
        let pairs = |counts: &[(&'static str, usize)]| {
            let pairs = counts.iter().map(|&(word, count)| (word.to_owned(), count.into()));
            Value::Object(pairs.collect())
        };
        let cells: Vec<String> = self.cells.iter().map(|cell| cell.text()).collect();
        json!({
            "segments_in_a_cell": self.scale,
            "cells": cells,
            "uses": pairs(&self.uses),
            "writers": pairs(&self.kinds),
        })
    }

    pub(super) fn text(&self, colours: bool) -> String {
        let mut text = String::new();
        let last = self.cells.len().saturating_sub(1) / COLUMNS * COLUMNS * self.scale;
        let width = last.to_string().len();
        for (number, line) in self.cells.chunks(COLUMNS).enumerate() {
            let first = number * COLUMNS * self.scale;
            let cells: Vec<String> = line.iter().map(|&cell| paint(cell, colours)).collect();
            add(&mut text, format_args!("{first:>width$}  {}\n", cells.join(" ")));
        }
        let words = |counts: &[(&'static str, usize)]| {
            let words: Vec<String> =
                counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
            words.join(", ")
        };
        add(&mut text, format_args!("\n{LEGEND}"));
        if self.scale > 1 {
            add(&mut text, format_args!("a cell stands for {} segments\n", self.scale));
        }
        add(&mut text, format_args!("use: {}\n", words(&self.uses)));
        add(&mut text, format_args!("written by: {}\n", words(&self.kinds)));
        text
    }
}

const LEGEND: &str = "\
L log, G one group, S shared, V large value; small: still open; digit: tenths that are needed
.. free, __ given back to the device, xx dead, !! quarantined\n";

fn paint(cell: Cell, colours: bool) -> String {
    let text = cell.text();
    if !colours {
        return text;
    }
    format!("\x1b[38;5;255;48;5;{}m{text}\x1b[0m", cell.colour())
}

fn add(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes any text");
}
