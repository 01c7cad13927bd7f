//! What the command line says.

use std::path::PathBuf;

use lexopt::prelude::{Long, Short, ValueExt};
use logstor::Options;
use logstor::format::geometry::Geometry;

use crate::Outcome;
use crate::cell::Cell;
use crate::pattern::Pattern;
use crate::words::{count, size};

/// How to measure.
pub(crate) struct Args {
    /// Where to write; `None` is memory.
    pub(crate) folder: Option<PathBuf>,
    /// Bytes of the segment files.
    pub(crate) capacity: u64,
    pub(crate) segment_len: u32,
    /// How often as many puts are made as there are keys.
    pub(crate) overwrites: u64,
    /// The last of them, which are measured.
    pub(crate) measured: u64,
    /// Callers that put at the same time.
    pub(crate) tasks: u64,
    pub(crate) markdown: bool,
    lives: Vec<u64>,
    patterns: Vec<Pattern>,
    groups: Vec<u64>,
}

const HELP: &str = "\
Measures how many bytes a store writes for each byte of users' records.

  --folder DIR         on the disk of this folder (default: in memory)
  --live LIST          share of the room that live records take, in percent (default 80,90)
  --pattern LIST       of uniform, zipf, hot (default all)
  --groups LIST        numbers of groups (default 16,1)
  --capacity SIZE      of a store (default 4G)
  --segment-len SIZE   of a segment (default 512K)
  --overwrites N       as many puts as there are keys, so often (default 10)
  --measure N          of which the last so many count (default 3)
  --tasks N            that put at the same time (default 8)
  --markdown           the table in that form

Sizes are bytes, or have K, M or G behind them.
";

/// A file is this part of the capacity, so that rounding down to whole files takes nothing.
const FILES: u64 = 16;

impl Args {
    /// Parses the command line; `None` if it only asked for help, which was given.
    pub(crate) fn parse() -> Result<Option<Self>, lexopt::Error> {
        let mut args = Self {
            folder: None,
            capacity: 4 << 30,
            segment_len: 512 << 10,
            overwrites: 10,
            measured: 3,
            tasks: 8,
            markdown: false,
            lives: vec![80, 90],
            patterns: vec![Pattern::Uniform, Pattern::Zipf, Pattern::Hot],
            groups: vec![16, 1],
        };
        let mut words = lexopt::Parser::from_env();
        while let Some(word) = words.next()? {
            match word {
                Long("folder") => args.folder = Some(words.value()?.into()),
                Long("live") => {
                    args.lives = words.value()?.parse_with(|text| list(text, percent))?;
                }
                Long("pattern") => {
                    args.patterns = words.value()?.parse_with(|text| list(text, Pattern::named))?;
                }
                Long("groups") => {
                    args.groups = words.value()?.parse_with(|text| list(text, count))?;
                }
                Long("capacity") => args.capacity = words.value()?.parse_with(size)?,
                Long("segment-len") => {
                    args.segment_len = words.value()?.parse_with(short_size)?;
                }
                Long("overwrites") => args.overwrites = words.value()?.parse_with(count)?,
                Long("measure") => args.measured = words.value()?.parse_with(count)?,
                Long("tasks") => args.tasks = words.value()?.parse_with(count)?,
                Long("markdown") => args.markdown = true,
                Short('h') | Long("help") => {
                    print!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected()),
            }
        }
        args.measured = args.measured.min(args.overwrites);
        Ok(Some(args))
    }

    /// Every cell that was asked for.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &live in &self.lives {
            for &groups in &self.groups {
                let row = self.patterns.iter().map(|&pattern| Cell { live, pattern, groups });
                cells.extend(row);
            }
        }
        cells
    }

    /// Bytes of the files that buffers may use: all but the places of the seals.
    pub(crate) fn room(&self) -> Outcome<u64> {
        let geometry = Geometry::new(self.segment_len, 1)?;
        let segments = self.capacity / u64::from(self.segment_len);
        Ok(segments * u64::from(geometry.data_len().get()))
    }

    /// The options of a store.
    pub(crate) fn options(&self) -> Options {
        let segments = self.capacity / u64::from(self.segment_len.max(1)) / FILES;
        Options {
            segment_len: Some(self.segment_len),
            segments_per_file: Some(u32::try_from(segments.max(1)).unwrap_or(u32::MAX)),
            capacity: Some(self.capacity),
            ..Options::default()
        }
    }
}

fn list<T>(text: &str, item: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(item).collect()
}

fn percent(text: &str) -> Result<u64, String> {
    count(text).and_then(|number| match number {
        ..100 => Ok(number),
        _ => Err(format!("{number} percent cannot be live in a store that is written to")),
    })
}

fn short_size(text: &str) -> Result<u32, String> {
    size(text)?.try_into().map_err(|_| format!("{text} is too long"))
}
