//! Doing damage at rest, and telling exactly which bytes are other ones now.
//!
//! Absent on purpose: what follows from it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use logstor_core::types::to_u64;
use logstor_io_sim::{DiskImage, RawDisk, SimRng};

use super::survey::{Files, Part, Survey, What};
use crate::plan::{Aim, How, Reach, Wound};

/// Bytes of a file that are not what they were.
pub(super) type Harm = (String, Range<u64>);

/// A file, and a segment in it.
type Place = (String, u64);

/// The disk that is damaged, and what it was like.
pub(super) struct Patient<'a> {
    pub(super) raw: &'a RawDisk,
    pub(super) before: &'a Files,
    pub(super) survey: &'a Survey,
    /// What it was like at earlier times.
    pub(super) past: &'a [DiskImage],
    /// Bytes of a sector.
    pub(super) sector: u64,
    /// Segments, and other files, that were hit, and by which wound.
    pub(super) taken: &'a RefCell<BTreeMap<Place, usize>>,
    /// Which wound this is.
    pub(super) number: usize,
}

impl Patient<'_> {
    /// Does one piece of damage; says where, and what that was, if there was anything to hit.
    pub(super) fn wound(&self, wound: Wound) -> Option<String> {
        let rng = &mut SimRng::new(wound.draw, "wound");
        if matches!(wound.aim, Aim::File | Aim::MarkFile) {
            return self.wound_file(wound, rng);
        }
        let part = self.target(wound.aim, rng)?;
        let range = self.reach(&part, wound.reach, rng)?;
        let told = format!("{:?} over {} {range:?}: {:?}", wound.how, part.file, part.what);
        if !self.take(&part.file, &range) {
            return None;
        }
        let old = self.bytes(&part.file, &range)?;
        let new = match wound.how {
            How::Flip => flipped(old, rng),
            How::Garbage => {
                let mut bytes = vec![0; old.len()];
                rng.fill(&mut bytes);
                bytes
            }
            How::Zeros | How::Cut | How::Gone => vec![0; old.len()],
            How::Stale => self.stale(&part.file, &range, rng).unwrap_or(vec![0; old.len()]),
            How::Foreign | How::Astray => {
                let (file, from) = self.another(&part, &range, rng)?;
                // Within one segment it is two pieces of damage there.
                let apart = self.place(&part.file, &range) != self.place(&file, &from);
                if wound.how == How::Astray && !(apart && self.take(&file, &from)) {
                    return None;
                }
                let bytes = self.bytes(&file, &from)?.to_vec();
                if wound.how == How::Astray
                    && let Some(stale) = self.stale(&file, &from, rng)
                {
                    self.write(&file, &from, &stale);
                }
                bytes
            }
        };
        self.write(&part.file, &range, &new);
        Some(told)
    }

    fn wound_file(&self, wound: Wound, rng: &mut SimRng) -> Option<String> {
        let files = self.segment_files();
        let name = match wound.aim {
            Aim::MarkFile => "mark".to_owned(),
            _ if files.is_empty() => return None,
            _ => (*rng.pick(&files)).clone(),
        };
        let len = to_u64(self.before.get(&name)?.len());
        if wound.how == How::Gone {
            self.raw.remove(&name).ok()?;
            return Some(format!("{name} is gone"));
        }
        let left = rng.below(len / self.sector) * self.sector;
        self.raw.truncate(&name, left).ok()?;
        Some(format!("{name} is cut to {left} of {len} bytes"))
    }

    fn place(&self, file: &str, range: &Range<u64>) -> Place {
        let segment = u64::from(self.survey.geometry.segment_len().get());
        (file.to_owned(), range.start / segment)
    }

    /// Whether no other wound lies in the same segment: two that do may cover for each other.
    fn take(&self, file: &str, range: &Range<u64>) -> bool {
        let place = self.place(file, range);
        *self.taken.borrow_mut().entry(place).or_insert(self.number) == self.number
    }

    /// One structure of the kind; if there is none, any place.
    fn target(&self, aim: Aim, rng: &mut SimRng) -> Option<Part> {
        let newest = self.survey.newest();
        // What is live is more telling than what is dead.
        let live = rng.chance(3, 4);
        let fits = |part: &&Part| self.is(aim, part.what, live.then_some(&newest));
        let parts: Vec<&Part> = self.survey.parts.iter().filter(fits).collect();
        if !parts.is_empty() {
            return Some((*rng.pick(&parts)).clone());
        }
        let names = self.segment_files();
        if names.is_empty() {
            return None;
        }
        let name = *rng.pick(&names);
        let at = rng.below(to_u64(self.before.get(name)?.len()) / 8) * 8;
        // Nothing is known of it, so it is as good as a dump that nobody reads.
        Some(Part { file: name.clone(), range: at..at + 8, what: What::Dump })
    }

    fn segment_files(&self) -> Vec<&String> {
        let files = self.before.iter().filter(|(name, bytes)| {
            name.starts_with("segments-") && !name.contains(".new") && bytes.len() >= 4096
        });
        files.map(|(name, _)| name).collect()
    }

    fn is(&self, aim: Aim, what: What, newest: Option<&BTreeSet<((u32, u128), u64)>>) -> bool {
        let record = |number: usize, system: bool| {
            let record = &self.survey.records[number];
            let live = newest.is_none_or(|all| all.contains(&(record.slot, record.sequence)));
            live && (record.slot.0 == 0) == system
        };
        let buffer = |at| self.survey.buffers.get(at);
        match (aim, what) {
            (Aim::Header, What::Header(_))
            | (Aim::Summary, What::Summary(_))
            | (Aim::Seal, What::Seal { .. })
            | (Aim::Superblock, What::Superblock)
            | (Aim::Mark, What::Mark { counts: true })
            | (Aim::OtherMark, What::Mark { counts: false })
            | (Aim::Dump, What::Dump)
            | (Aim::Erased, What::Erased { .. })
            | (Aim::Void, What::Void(_))
            | (Aim::PieceHeader, What::PieceHeader { .. })
            | (Aim::Piece, What::Piece { .. }) => true,
            (Aim::Head, What::Header(at)) => buffer(&at).is_some_and(|buffer| buffer.first),
            (Aim::Last, What::Header(at)) => buffer(&at).is_some_and(|buffer| buffer.last),
            (Aim::RecordHeader, What::RecordHeader(number))
            | (Aim::Key, What::Key(number))
            | (Aim::Value, What::Value(number)) => record(number, false),
            (Aim::Catalogue, What::Key(number) | What::Value(number)) => record(number, true),
            _ => false,
        }
    }

    /// The bytes that are hit.
    fn reach(&self, part: &Part, reach: Reach, rng: &mut SimRng) -> Option<Range<u64>> {
        let Range { start, end } = part.range;
        let unit = match reach {
            Reach::Part if start < end => return Some(start..end),
            Reach::Part | Reach::Sector => self.sector,
            Reach::Block => 4096,
        };
        let at = (start + rng.below((end - start).max(1))) / unit * unit;
        let len = to_u64(self.before.get(&part.file)?.len());
        (at + unit <= len).then_some(at..at + unit)
    }

    /// Another place as long, in units of itself: in the same segment, or anywhere.
    fn another(
        &self,
        part: &Part,
        range: &Range<u64>,
        rng: &mut SimRng,
    ) -> Option<(String, Range<u64>)> {
        let len = range.end - range.start;
        let name = if rng.coin() || !part.file.starts_with("segments-") {
            part.file.clone()
        } else {
            (*rng.pick(&self.segment_files())).clone()
        };
        let size = to_u64(self.before.get(&name)?.len());
        let near = u64::from(self.survey.geometry.segment_len().get());
        let (from, size) = if name == part.file && size > near && rng.coin() {
            (range.start / near * near, near)
        } else {
            (0, size)
        };
        let at = from + rng.below((size / len).max(1)) * len;
        (at + len <= from + size).then_some((name, at..at + len))
    }

    /// What was there at some earlier time, if it was something else.
    fn stale(&self, file: &str, range: &Range<u64>, rng: &mut SimRng) -> Option<Vec<u8>> {
        let now = self.bytes(file, range)?;
        let mut older: Vec<Vec<u8>> = Vec::new();
        for image in self.past {
            let Some(bytes) = image.bytes_of(file, range) else { continue };
            if bytes != now && !older.contains(&bytes) {
                older.push(bytes);
            }
        }
        (!older.is_empty()).then(|| rng.pick(&older).clone())
    }

    fn bytes(&self, file: &str, range: &Range<u64>) -> Option<&[u8]> {
        let at = |at: u64| usize::try_from(at).ok();
        self.before.get(file)?.get(at(range.start)?..at(range.end)?)
    }

    fn write(&self, file: &str, range: &Range<u64>, bytes: &[u8]) {
        let written = self.raw.corrupt(file, range.clone(), |place| place.copy_from_slice(bytes));
        written.expect("the place was read before");
    }
}

fn flipped(old: &[u8], rng: &mut SimRng) -> Vec<u8> {
    let mut bytes = old.to_vec();
    for _ in 0..rng.between(1, 3) {
        let at = rng.index(bytes.len());
        bytes[at] ^= 1 << rng.below(8);
    }
    bytes
}

/// Which bytes differ: each run of them, and what a file has less.
pub(super) fn harms(before: &Files, after: &Files) -> Vec<Harm> {
    let mut harms = Vec::new();
    for (name, old) in before {
        let new = after.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut run: Option<Range<u64>> = None;
        for (at, byte) in (0..).zip(old) {
            let same = usize::try_from(at).ok().and_then(|at| new.get(at)) == Some(byte);
            match (&mut run, same) {
                (Some(run), false) => run.end = at + 1,
                (None, false) => run = Some(at..at + 1),
                (_, true) => harms.extend(run.take().map(|run| (name.clone(), run))),
            }
        }
        harms.extend(run.map(|run| (name.clone(), run)));
    }
    harms
}
