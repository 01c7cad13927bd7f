//! Torn or rotten, kept or void: what the log is, given everything that was found.
//!
//! A function without I/O: the same finds give the same verdict, in every opening (promise P7).
//!
//! Definitions. *W*: the higher of the published log watermark and the highest in any header;
//! every log buffer below it was durable or void once. *E*: the first number from W on that no
//! whole buffer carries; the log ends there. A buffer is *accepted* if nothing before it in its
//! segment ends the walk.
//!
//! 1. A sealed segment is accepted as its seal lists it; what is listed and not there is lost.
//! 2. In a segment without a seal the first damaged buffer ends the walk, if its number is not
//!    below its watermark, or if the same number is whole elsewhere (it was written again).
//! 3. Otherwise the damage is rot: it is reported, and the walk goes on behind it.
//! 4. Accepted log buffers from E on are void, and so is everything behind the end of a walk.
//! 5. But a buffer behind the end of a walk that is below its watermark and nowhere else was
//!    durable once, so the end of the walk is rot as well. What lies behind it counts then like
//!    what was accepted: only salvaging goes on from there.
//! 6. No log buffer from the published watermark on was ever erased (see [`crate::memory`]). So
//!    every number from there to W is somewhere, or it is lost.
//! 7. What the mark lists as written in an open segment is there, or a later life of the slot is. A
//!    segment that lost its first block is listed from then on, so that it is a loss each time.
//! 8. In a segment without a seal, what is not below its watermark, or is whole elsewhere as well,
//!    may be readable without being durable: a write that failed, or whose sync did. It is made
//!    durable where it lies, because everything behind it in its segment depends on it.
//!
//! Only rot at or above W cannot be told from a tear. "A valid later buffer proves corruption" is
//! no law here: buffers in flight together tear together.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::buffer::{BufferHeader, BufferKind};
use crate::format::mark::{Mark, OpenSegment};
use crate::open_error::Loss;
use crate::segment_io::{Body, FoundBuffer, HeadBlock, Scanned};
use crate::types::{BufferNumber, Generation, SegmentId, SegmentOffset, Sequence, to_usize};

/// A buffer, by its segment's place in the list of scans and its own in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Which {
    pub(super) scan: usize,
    pub(super) buffer: usize,
    /// It lies behind a place where the walk broke off.
    pub(super) behind: bool,
}

/// What is to be done with everything found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Every log buffer below this number that is to count does.
    pub(super) log_end: BufferNumber,
    /// Every rewrite buffer below this number was durable or void once.
    pub(super) rewrite_watermark: BufferNumber,
    /// They count.
    pub(super) kept: Vec<Which>,
    /// Of those, the ones that may not be durable yet although they can be read.
    pub(super) unsure: Vec<Which>,
    /// They do not count, and must never.
    pub(super) void: Vec<Which>,
    /// Whole parts of the log that nothing is known of any more.
    pub(super) losses: Vec<Loss>,
    /// Segments that hold what counts although their first block does not say so. Only the mark can
    /// tell the next opening.
    pub(super) lost_heads: Vec<OpenSegment>,
}

impl Which {
    pub(super) fn find(self, scans: &[Scanned]) -> &FoundBuffer {
        let scan = &scans[self.scan];
        if self.behind { &scan.behind[self.buffer] } else { &scan.buffers[self.buffer] }
    }

    pub(super) fn find_mut(self, scans: &mut [Scanned]) -> &mut FoundBuffer {
        let scan = &mut scans[self.scan];
        if self.behind { &mut scan.behind[self.buffer] } else { &mut scan.buffers[self.buffer] }
    }
}

/// Decides. `seen`: every log buffer below this number was durable or void once, besides what
/// marks, seals and headers say.
pub(super) fn decide(scans: &[Scanned], mark: &Mark, seen: BufferNumber) -> Verdict {
    let mut walks = Walks::new(scans, mark, seen);
    walks.go_past_rot();
    let mut verdict = Verdict {
        log_end: walks.logs.end(),
        rewrite_watermark: walks.rewrites.watermark,
        ..Verdict::default()
    };
    for (at, scan) in scans.iter().enumerate() {
        let end = walks.ends[at];
        for buffer in 0..scan.buffers.len() {
            let which = Which { scan: at, buffer, behind: false };
            if buffer < end {
                walks.judge_accepted(which, &mut verdict);
            } else {
                walks.judge_behind(which, &mut verdict);
            }
        }
        for buffer in 0..scan.behind.len() {
            walks.judge_behind(Which { scan: at, buffer, behind: true }, &mut verdict);
        }
        verdict.losses.extend(losses_of(scan, &walks));
    }
    verdict.losses.extend(mark.open.iter().filter_map(|open| walks.loss_of_open(open)));
    let gaps = gaps(scans, mark, walks.logs.watermark);
    // One that nothing came before lies in a segment that is lost as a whole.
    let elsewhere = verdict.losses.is_empty();
    verdict.losses.extend(gaps.filter(|loss| elsewhere || loss.first_sequence.is_some()));
    verdict.lost_heads = walks.lost_heads();
    verdict
}

/// Above every log buffer that was found: a watermark for when none is known, or when a part of the
/// log is lost, and with it perhaps the number that the log would end at. What is whole counts
/// then, whether it was acknowledged or not, and what is not is lost.
pub(super) fn above_all(scans: &[Scanned]) -> BufferNumber {
    log_headers(scans).map(|header| header.number.next()).max().unwrap_or(BufferNumber::ZERO)
}

/// The header of every log buffer that was found, wherever it lies.
fn log_headers(scans: &[Scanned]) -> impl Iterator<Item = &BufferHeader> {
    let found = scans.iter().flat_map(|scan| scan.buffers.iter().chain(&scan.behind));
    found.map(|found| &found.header).filter(|header| header.kind == BufferKind::Log)
}

/// How far each segment is accepted, and which numbers are whole there.
struct Walks<'a> {
    scans: &'a [Scanned],
    ends: Vec<usize>,
    /// The end of the walk is rot.
    rotten_ends: Vec<bool>,
    /// No log buffer from here on was erased.
    published: BufferNumber,
    /// What the mark lists.
    open: &'a [OpenSegment],
    logs: Numbers,
    rewrites: Numbers,
}

/// What is known of the buffers that one counter numbers: those of the log, or the rewrites.
#[derive(Default)]
struct Numbers {
    /// Every lower one was durable or void once.
    watermark: BufferNumber,
    /// Accepted and whole somewhere.
    whole: BTreeSet<BufferNumber>,
    /// Whole in more than one place: one of them was a write that failed.
    twice: BTreeSet<BufferNumber>,
}

impl Numbers {
    fn add(&mut self, number: BufferNumber) {
        if !self.whole.insert(number) {
            self.twice.insert(number);
        }
    }

    /// The first number from the watermark on that nothing whole carries.
    fn end(&self) -> BufferNumber {
        let mut end = self.watermark;
        while self.whole.contains(&end) {
            end = end.next();
        }
        end
    }
}

impl<'a> Walks<'a> {
    /// Accepts what lies before the first damage of each segment.
    fn new(scans: &'a [Scanned], mark: &'a Mark, seen: BufferNumber) -> Self {
        let (logs, rewrites) = (Numbers::default(), Numbers::default());
        let (ends, rotten_ends) = (vec![0; scans.len()], vec![false; scans.len()]);
        let (published, open) = (mark.log_watermark, &mark.open[..]);
        let mut walks = Self { scans, ends, rotten_ends, published, open, logs, rewrites };
        walks.see(mark.log_watermark.max(seen), mark.rewrite_watermark);
        for scan in scans {
            for found in scan.buffers.iter().chain(&scan.behind) {
                walks.see(found.header.log_watermark, found.header.rewrite_watermark);
            }
            if let Some(seal) = &scan.seal {
                walks.see(seal.log_watermark, seal.rewrite_watermark);
            }
        }
        for at in 0..scans.len() {
            walks.accept_until_damage(at);
        }
        walks
    }

    fn see(&mut self, log: BufferNumber, rewrite: BufferNumber) {
        self.logs.watermark = self.logs.watermark.max(log);
        self.rewrites.watermark = self.rewrites.watermark.max(rewrite);
    }

    /// What is known of the buffers of this kind.
    fn numbers(&self, kind: BufferKind) -> &Numbers {
        if kind == BufferKind::Rewrite { &self.rewrites } else { &self.logs }
    }

    /// A whole buffer counts.
    fn add(&mut self, header: &BufferHeader) {
        let rewrite = header.kind == BufferKind::Rewrite;
        let numbers = if rewrite { &mut self.rewrites } else { &mut self.logs };
        numbers.add(header.number);
    }

    fn accept_until_damage(&mut self, at: usize) {
        let scan = &self.scans[at];
        while let Some(found) = scan.buffers.get(self.ends[at]) {
            if scan.seal.is_none() && !found.is_whole() {
                return;
            }
            if found.is_whole() {
                self.add(&found.header);
            }
            self.ends[at] += 1;
        }
    }

    /// Laws 2 and 3, until nothing changes: what is whole elsewhere may itself lie behind rot.
    fn go_past_rot(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for at in 0..self.scans.len() {
                if let Some(found) = self.scans[at].buffers.get(self.ends[at])
                    && self.was_durable(&found.header)
                {
                    self.ends[at] += 1;
                    self.accept_until_damage(at);
                    changed = true;
                }
            }
            if !changed {
                changed = self.go_behind_rotten_ends();
            }
        }
    }

    /// Law 5. Whether anything changed.
    fn go_behind_rotten_ends(&mut self) -> bool {
        for at in 0..self.scans.len() {
            if self.rotten_ends[at] {
                continue;
            }
            let scan = &self.scans[at];
            let behind = || scan.buffers[self.ends[at]..].iter().chain(&scan.behind);
            let durable = behind().any(|found| self.was_durable_behind(at, &found.header))
                || self.is_lost_behind(at);
            if !durable {
                continue;
            }
            self.rotten_ends[at] = true;
            let whole: Vec<&FoundBuffer> = behind().filter(|found| found.is_whole()).collect();
            for found in whole {
                self.add(&found.header);
            }
            return true;
        }
        false
    }

    /// The same of what lies behind the end of a walk. Where the first block shows an earlier life,
    /// it may be what a failed write left; then only a number that cannot have been erased
    /// elsewhere tells, or the mark, if it lists that life.
    fn was_durable_behind(&self, at: usize, header: &BufferHeader) -> bool {
        let in_use = matches!(self.scans[at].head, HeadBlock::InUse(_));
        let telling = header.kind == BufferKind::Log && header.number >= self.published;
        let segment = self.scans[at].segment;
        let listed = |open: &OpenSegment| {
            open.segment == segment
                && open.generation == header.generation
                && header.offset < open.end
        };
        self.was_durable(header) && (in_use || telling || self.open.iter().any(listed))
    }

    /// Whether the number before what lies behind the walk was durable once, and is whole nowhere.
    fn is_lost_behind(&self, at: usize) -> bool {
        let scan = &self.scans[at];
        let first = scan.buffers[self.ends[at]..].iter().chain(&scan.behind).next();
        let before = first.and_then(|found| match found.header.kind {
            BufferKind::Log => found.header.number.get().checked_sub(1).map(BufferNumber::new),
            _ => None,
        });
        let range = self.published..self.logs.watermark;
        before.is_some_and(|n| range.contains(&n) && !self.logs.whole.contains(&n))
    }

    /// Whether the buffer was durable here once: below its watermark, and whole nowhere else.
    fn was_durable(&self, header: &BufferHeader) -> bool {
        let numbers = self.numbers(header.kind);
        header.number < numbers.watermark && !numbers.whole.contains(&header.number)
    }

    fn judge_accepted(&self, which: Which, verdict: &mut Verdict) {
        let found = which.find(self.scans);
        let header = &found.header;
        if found.summary.is_none() {
            // A damaged summary matters only if its buffer is whole nowhere else.
            if !self.numbers(header.kind).whole.contains(&header.number) {
                verdict.losses.push(Loss::of_buffer(header));
            }
            return;
        }
        if header.kind == BufferKind::Log && header.number >= verdict.log_end {
            verdict.void.push(which);
            return;
        }
        if self.may_not_be_durable(which, header) {
            verdict.unsure.push(which);
        }
        verdict.kept.push(which);
    }

    /// Law 8. What a seal lists was durable before the seal was written.
    fn may_not_be_durable(&self, which: Which, header: &BufferHeader) -> bool {
        let numbers = self.numbers(header.kind);
        let doubted = header.number >= numbers.watermark || numbers.twice.contains(&header.number);
        doubted && self.scans[which.scan].seal.is_none()
    }

    /// What the next mark must list, or the next opening would take what lies there for what a
    /// failed write left: the log goes on above it then.
    fn lost_heads(&self) -> Vec<OpenSegment> {
        let listed = self.open.iter().filter(|open| self.loss_of_open(open).is_some());
        let mut lost: BTreeMap<SegmentId, OpenSegment> =
            listed.map(|open| (open.segment, *open)).collect();
        for (scan, _) in self.scans.iter().zip(&self.rotten_ends).filter(|(_, rotten)| **rotten) {
            let whole = scan.behind.iter().rev().find(|found| found.is_whole());
            let Some(highest) = whole.map(|found| &found.header) else { continue };
            if matches!(scan.head, HeadBlock::InUse(_)) {
                continue;
            }
            let end = highest.offset.checked_add(highest.total_len()).unwrap_or(highest.offset);
            let (segment, generation) = (scan.segment, highest.generation);
            lost.insert(segment, OpenSegment { segment, end, generation });
        }
        lost.into_values().take(Mark::OPEN_MAX).collect()
    }

    /// Law 7.
    fn loss_of_open(&self, open: &OpenSegment) -> Option<Loss> {
        let at = to_usize(open.segment.get());
        let scan = self.scans.get(at)?;
        let life = match scan.head {
            HeadBlock::Blank => Generation::ZERO,
            HeadBlock::Erased(life) | HeadBlock::InUse(life) => life,
            HeadBlock::Unreadable => return None, // a loss already
        };
        let in_use = matches!(scan.head, HeadBlock::InUse(_)) && life == open.generation;
        let end = end_of_walk(scan, self.ends[at]);
        let lost = life < open.generation || in_use && scan.seal.is_none() && end < open.end;
        lost.then(|| Loss {
            place: Some((open.segment, if in_use { end } else { SegmentOffset::ZERO })),
            first_sequence: if in_use { sequence_behind(scan, self.ends[at]) } else { None },
            end_sequence: None,
        })
    }

    /// Laws 4 and 5.
    fn judge_behind(&self, which: Which, verdict: &mut Verdict) {
        let found = which.find(self.scans);
        let header = &found.header;
        let over = header.kind == BufferKind::Log && header.number >= verdict.log_end;
        let durable = header.number < self.numbers(header.kind).watermark;
        if over || !self.rotten_ends[which.scan] || !(found.is_whole() || durable) {
            verdict.void.push(which);
            return;
        }
        let scan = &self.scans[which.scan];
        verdict.losses.push(Loss {
            place: Some((scan.segment, end_of_walk(scan, self.ends[which.scan]))),
            first_sequence: sequence_behind(scan, self.ends[which.scan]),
            // Of copies only the lowest sequence is known.
            end_sequence: (found.header.kind == BufferKind::Log)
                .then_some(found.header.first_sequence),
        });
        if found.is_whole() {
            verdict.kept.push(which);
        }
    }
}

/// Where the walk of a segment stopped.
fn end_of_walk(scan: &Scanned, end: usize) -> SegmentOffset {
    let last = end.checked_sub(1).map(|last| &scan.buffers[last].header);
    let behind = |header: &BufferHeader| header.offset.checked_add(header.total_len());
    last.and_then(behind).unwrap_or(SegmentOffset::ZERO)
}

/// The first sequence that the walk did not reach, as far as that is known.
fn sequence_behind(scan: &Scanned, end: usize) -> Option<Sequence> {
    let header = &scan.buffers[end.checked_sub(1)?].header;
    if header.kind == BufferKind::Rewrite {
        return None;
    }
    Some(header.first_sequence.advance(header.record_count.into()))
}

/// What a segment should hold by its seal or its head block, and does not.
fn losses_of(scan: &Scanned, walks: &Walks<'_>) -> Vec<Loss> {
    let kind = scan.seal.as_ref().map_or(BufferKind::Log, |seal| seal.kind);
    let whole = &walks.numbers(kind).whole;
    let missing = scan.missing.iter().filter(|entry| !whole.contains(&entry.number));
    let mut losses: Vec<Loss> = missing
        .map(|entry| {
            let place = (scan.segment, entry.offset);
            Loss::of_records(kind, place, entry.first_sequence, entry.records)
        })
        .collect();
    if scan.head == HeadBlock::Unreadable && scan.seal.is_none() {
        losses.push(Loss {
            place: Some((scan.segment, SegmentOffset::ZERO)),
            first_sequence: None,
            end_sequence: None,
        });
    }
    losses
}

/// Law 6: numbers that were durable, cannot have been erased, and are nowhere.
fn gaps(scans: &[Scanned], mark: &Mark, end: BufferNumber) -> impl Iterator<Item = Loss> {
    let known: BTreeMap<BufferNumber, &BufferHeader> =
        log_headers(scans).map(|header| (header.number, header)).collect();
    // What a seal lists and is not there is lost already.
    let missing = scans.iter().flat_map(|scan| &scan.missing).map(|entry| entry.number);
    let mut there: BTreeSet<BufferNumber> = known.keys().copied().chain(missing).collect();
    there.insert(end);
    let mut losses = Vec::new();
    let mut next = mark.log_watermark;
    for number in there.range(next..=end).copied() {
        if number > next {
            let before = known.range(..next).next_back().map(|(_, header)| *header);
            let behind = known.get(&number).map(|header| header.first_sequence);
            losses.push(loss_between(scans, before, behind));
        }
        next = number.next();
    }
    losses.into_iter()
}

/// The loss of what followed a buffer, and came before a sequence, as far as these are known.
///
/// It lay behind that buffer, unless that is in a segment with a seal: the seal vouches that
/// nothing else was there, so it was in another segment, and no segment is to be blamed.
fn loss_between(
    scans: &[Scanned],
    before: Option<&BufferHeader>,
    end_sequence: Option<Sequence>,
) -> Loss {
    let is_open = |header: &&BufferHeader| {
        let scan = scans.get(to_usize(header.segment.get()));
        scan.is_some_and(|scan| scan.seal.is_none())
    };
    let behind = |header: &BufferHeader| {
        let end = header.offset.checked_add(header.total_len());
        (header.segment, end.unwrap_or(SegmentOffset::ZERO))
    };
    Loss {
        place: before.filter(is_open).map(behind),
        first_sequence: before
            .map(|header| header.first_sequence.advance(header.record_count.into())),
        end_sequence,
    }
}

/// Whether the records of a kept buffer are known to be damaged.
pub(super) fn is_rotten(found: &FoundBuffer) -> bool {
    found.body == Body::Damaged
}

#[cfg(test)]
mod tests;
