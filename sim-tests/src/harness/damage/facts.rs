//! What the damaged bytes were, and so what a store may say after them.
//!
//! Definitions. A record is *harmed* if a byte of it is not what it was, or a piece of the value
//! that it lists. A part is *structural* if the log cannot be read without it: headers and
//! summaries, seals, marks, the first blocks of slots, records of the catalogue, whole files.
//!
//! Absent on purpose: asking the store. Everything here follows from two images of the disk.

use std::collections::{BTreeMap, BTreeSet};

use logstor_core::Loss;
use logstor_core::types::to_usize;

use super::survey::{BufferAt, Slot, Survey, What};
use super::wound::Harm;

/// Where a record lies, and whether it is harmed there.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u32,
    offset: u32,
    harmed: bool,
    /// Its buffer is, in whatever part.
    buffer_hit: bool,
}

/// What was damaged.
#[derive(Debug)]
pub(super) struct Facts {
    /// Of each record that could be read before, every place.
    places: BTreeMap<(Slot, u64), Vec<Place>>,
    /// The highest sequence of each key that is harmed somewhere.
    harmed: BTreeMap<Slot, u64>,
    /// The store may refuse to open.
    pub(super) structural: bool,
    /// It cannot open at all.
    pub(super) superblock: bool,
    /// The first sequence of the first buffer of the log that is damaged at or above the highest
    /// watermark that is not: from there on damage looks like a tear.
    pub(super) window: Option<u64>,
    /// What was hit, by kind.
    pub(super) hit: BTreeSet<&'static str>,
}

impl Facts {
    /// `short`: segments that are not wholly there any more; they are lost as a whole.
    pub(super) fn of(survey: &Survey, harms: &[Harm], short: &BTreeSet<u32>) -> Self {
        let is_harmed = |part: usize| {
            let part = &survey.parts[part];
            harms.iter().any(|(file, range)| {
                *file == part.file && range.start < part.range.end && part.range.start < range.end
            })
        };
        let harmed_parts: Vec<usize> =
            (0..survey.parts.len()).filter(|&at| is_harmed(at)).collect();
        let mut harmed_records = BTreeSet::new();
        let mut harmed_pieces = short.clone();
        let mut harmed_buffers = BTreeSet::new();
        let mut hit = BTreeSet::new();
        let (mut structural, mut superblock) = (false, false);
        for &at in &harmed_parts {
            let part = &survey.parts[at];
            hit.insert(name_of(part.what));
            match part.what {
                What::Superblock => superblock = true,
                What::Dump | What::Mark { .. } => {}
                What::RecordHeader(number) | What::Key(number) | What::Value(number) => {
                    harmed_records.insert(number);
                    structural |= survey.records[number].slot.0 == 0;
                }
                What::PieceHeader { segment } => {
                    harmed_pieces.insert(segment);
                    structural = true;
                }
                What::Piece { segment } => drop(harmed_pieces.insert(segment)),
                What::Header(place) | What::Summary(place) => {
                    harmed_buffers.insert(place);
                    structural = true;
                }
                What::Seal { .. } | What::Erased { .. } | What::Void(_) => structural = true,
            }
        }
        // A file that ends early, and what fills the head of a slot that was blank.
        structural |= harms.iter().any(|(file, range)| {
            let head = survey.segment_at(file, range.start).is_some_and(|(_, at)| at < 4096);
            head && range.start < range.end
        });
        let torn_copies = torn_copies(survey, &harmed_records, &harmed_buffers);
        let mut places = BTreeMap::<(Slot, u64), Vec<Place>>::new();
        let mut harmed = BTreeMap::<Slot, u64>::new();
        for (number, record) in survey.records.iter().enumerate() {
            let key = (record.slot, record.sequence);
            let pieces = survey.pieces.get(&key);
            let in_pieces =
                pieces.is_some_and(|all| all.iter().any(|at| harmed_pieces.contains(at)));
            let is_harmed = harmed_records.contains(&number) || in_pieces;
            if is_harmed {
                let highest = harmed.entry(record.slot).or_default();
                *highest = (*highest).max(record.sequence);
            }
            let of = survey.buffer_of(record);
            let buffer_hit = is_harmed || of.is_some_and(|of| harmed_buffers.contains(&of));
            // A copy in a damaged buffer of a segment without a seal passes for one that was torn.
            let torn = of.is_some_and(|of| torn_copies.contains(&of));
            let (segment, offset) = (record.segment, record.offset);
            let harmed_here = is_harmed || record.torn || torn;
            let place = Place { segment, offset, harmed: harmed_here, buffer_hit };
            places.entry(key).or_default().push(place);
        }
        let marks: Vec<usize> = (0..survey.parts.len())
            .filter(|&at| matches!(survey.parts[at].what, What::Mark { .. }))
            .collect();
        let no_mark = marks.iter().all(|at| harmed_parts.contains(at));
        let window = window(survey, &harmed_parts, &harmed_records, &harmed_buffers);
        structural |= no_mark || superblock || !short.is_empty();
        Self { places, harmed, structural, superblock, window, hit }
    }

    /// Whether reading the newest record of a key, of this sequence or a later one, may fail.
    pub(super) fn may_be_corrupt(&self, slot: Slot, newest: u64) -> bool {
        self.harmed.get(&slot).is_some_and(|&highest| highest >= newest)
    }

    /// Where the records of a key lay.
    pub(super) fn told(&self, what: &str, slot: Slot) -> String {
        let places = self.places.range((slot, 0)..=(slot, u64::MAX));
        let line = |((_, sequence), places): (&(Slot, u64), &Vec<Place>)| {
            format!("\n    {what}: sequence {sequence} at {places:?}")
        };
        places.map(line).collect()
    }

    /// Whether a record may be unknown because everywhere it lay is harmed or lost. `later`: the
    /// store was used meanwhile, and some of the places may have been given back.
    pub(super) fn may_be_lost(
        &self,
        slot: Slot,
        sequence: u64,
        losses: &[Loss],
        later: bool,
    ) -> bool {
        let Some(places) = self.places.get(&(slot, sequence)) else {
            return losses.iter().any(|loss| is_about(loss, sequence));
        };
        let lost = |place: &Place| losses.iter().any(|loss| lies_in(loss, place, sequence));
        places.iter().any(lost) && (later || places.iter().all(|place| place.harmed || lost(place)))
    }
}

fn lies_in(loss: &Loss, place: &Place, sequence: u64) -> bool {
    let Some((segment, offset)) = loss.place else {
        return (place.buffer_hit && may_hold(loss, sequence)) || is_about(loss, sequence);
    };
    let here = segment.get() == place.segment && to_usize(offset.get()) <= to_usize(place.offset);
    // Where it lay is not known if nothing followed it, or nothing came before it.
    let unplaced = loss.first_sequence.is_some() || to_usize(offset.get()) == 0;
    let last = loss.end_sequence.is_none() && unplaced && place.buffer_hit;
    ((here || last) && may_hold(loss, sequence)) || is_about(loss, sequence)
}

/// What a loss says of sequences does not rule this one out.
fn may_hold(loss: &Loss, sequence: u64) -> bool {
    loss.first_sequence.is_none_or(|first| first.get() <= sequence)
        && loss.end_sequence.is_none_or(|end| sequence < end.get())
}

/// The loss names this sequence, wherever it lay.
fn is_about(loss: &Loss, sequence: u64) -> bool {
    loss.first_sequence.is_some() && loss.end_sequence.is_some() && may_hold(loss, sequence)
}

fn name_of(what: What) -> &'static str {
    match what {
        What::Superblock => "damage/hit superblock",
        What::Mark { .. } => "damage/hit mark",
        What::Dump => "damage/hit dump",
        What::Header(_) => "damage/hit header",
        What::Summary(_) => "damage/hit summary",
        What::RecordHeader(_) => "damage/hit record header",
        What::Key(_) => "damage/hit key",
        What::Value(_) => "damage/hit value",
        What::Seal { .. } => "damage/hit seal",
        What::Erased { .. } => "damage/hit erased slot",
        What::Void(_) => "damage/hit void header",
        What::PieceHeader { .. } => "damage/hit piece header",
        What::Piece { .. } => "damage/hit piece",
    }
}

/// Damaged buffers of copies in segments without a seal.
fn torn_copies(
    survey: &Survey,
    harmed_records: &BTreeSet<usize>,
    harmed_buffers: &BTreeSet<BufferAt>,
) -> BTreeSet<BufferAt> {
    let of_record = |&number: &usize| survey.buffer_of(&survey.records[number]);
    let hit = harmed_records.iter().filter_map(of_record).chain(harmed_buffers.iter().copied());
    let is_open_copy = |place: &BufferAt| {
        survey.buffers.get(place).is_some_and(|buffer| !buffer.log && !buffer.sealed)
    };
    hit.filter(is_open_copy).collect()
}

/// See [`Facts::window`].
fn window(
    survey: &Survey,
    harmed_parts: &[usize],
    harmed_records: &BTreeSet<usize>,
    harmed_buffers: &BTreeSet<BufferAt>,
) -> Option<u64> {
    let mut watermark = 0;
    for (part, mark) in &survey.watermarks {
        if !harmed_parts.contains(part) {
            watermark = watermark.max(*mark);
        }
    }
    let mut torn = harmed_buffers.clone();
    for &at in harmed_parts {
        if let What::Header(place) = survey.parts[at].what {
            torn.insert(place);
        }
    }
    torn.extend(harmed_records.iter().filter_map(|&at| survey.buffer_of(&survey.records[at])));
    for (place, buffer) in &survey.buffers {
        let header =
            survey.parts.iter().enumerate().find(|(_, part)| part.what == What::Header(*place));
        if header.is_some_and(|(at, _)| !harmed_parts.contains(&at)) {
            watermark = watermark.max(buffer.watermark);
        }
    }
    let torn = torn.iter().filter_map(|place| survey.buffers.get(place));
    torn.filter(|buffer| buffer.log && !buffer.sealed && buffer.number >= watermark)
        .map(|buffer| buffer.first_sequence)
        .min()
}
