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
//!    durable once, so the end of the walk is rot as well.
//! 6. In a segment without a seal, what is not below its watermark, or is whole elsewhere as well,
//!    may be readable without being durable: a write that failed, or whose sync did. It is made
//!    durable where it lies, because everything behind it in its segment depends on it.
//!
//! Only rot at or above W cannot be told from a tear. "A valid later buffer proves corruption" is
//! no law here: buffers in flight together tear together.

use std::collections::BTreeSet;

use crate::format::buffer::{BufferHeader, BufferKind};
use crate::format::mark::Mark;
use crate::open_error::Loss;
use crate::segment_io::{Body, FoundBuffer, HeadBlock, Scanned};
use crate::types::{BufferNumber, SegmentOffset, Sequence};

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
    /// They count.
    pub(super) kept: Vec<Which>,
    /// Of those, the ones that may not be durable yet although they can be read.
    pub(super) unsure: Vec<Which>,
    /// They do not count, and must never.
    pub(super) void: Vec<Which>,
    /// Whole parts of the log that nothing is known of any more.
    pub(super) losses: Vec<Loss>,
}

impl Which {
    pub(super) fn find(self, scans: &[Scanned]) -> &FoundBuffer {
        let scan = &scans[self.scan];
        if self.behind { &scan.behind[self.buffer] } else { &scan.buffers[self.buffer] }
    }
}

/// Decides.
pub(super) fn decide(scans: &[Scanned], mark: &Mark) -> Verdict {
    let mut walks = Walks::new(scans, mark);
    walks.go_past_rot();
    let mut verdict = Verdict { log_end: walks.logs.end(), ..Verdict::default() };
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
    verdict
}

/// How far each segment is accepted, and which numbers are whole there.
struct Walks<'a> {
    scans: &'a [Scanned],
    ends: Vec<usize>,
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
    fn new(scans: &'a [Scanned], mark: &Mark) -> Self {
        let (logs, rewrites) = (Numbers::default(), Numbers::default());
        let mut walks = Self { scans, ends: vec![0; scans.len()], logs, rewrites };
        walks.see(mark.log_watermark, mark.rewrite_watermark);
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

    fn accept_until_damage(&mut self, at: usize) {
        let scan = &self.scans[at];
        while let Some(found) = scan.buffers.get(self.ends[at]) {
            if scan.seal.is_none() && !found.is_whole() {
                return;
            }
            if found.is_whole() {
                let rewrite = found.header.kind == BufferKind::Rewrite;
                let numbers = if rewrite { &mut self.rewrites } else { &mut self.logs };
                numbers.add(found.header.number);
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
                let Some(found) = self.scans[at].buffers.get(self.ends[at]) else { continue };
                if self.was_durable(&found.header) {
                    self.ends[at] += 1;
                    self.accept_until_damage(at);
                    changed = true;
                }
            }
        }
    }

    /// Whether the buffer was durable here once: below its watermark, and whole nowhere else.
    fn was_durable(&self, header: &BufferHeader) -> bool {
        let numbers = self.numbers(header.kind);
        header.number < numbers.watermark && !numbers.whole.contains(&header.number)
    }

    fn judge_accepted(&self, which: Which, verdict: &mut Verdict) {
        let found = which.find(self.scans);
        let header = &found.header;
        if found.entries.is_none() {
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

    /// Law 6. What a seal lists was durable before the seal was written.
    fn may_not_be_durable(&self, which: Which, header: &BufferHeader) -> bool {
        let numbers = self.numbers(header.kind);
        let doubted = header.number >= numbers.watermark || numbers.twice.contains(&header.number);
        doubted && self.scans[which.scan].seal.is_none()
    }

    /// Laws 4 and 5.
    fn judge_behind(&self, which: Which, verdict: &mut Verdict) {
        let found = which.find(self.scans);
        if !self.was_durable(&found.header) {
            verdict.void.push(which);
            return;
        }
        let scan = &self.scans[which.scan];
        verdict.losses.push(Loss {
            segment: scan.segment,
            offset: end_of_walk(scan, self.ends[which.scan]),
            first_sequence: sequence_behind(scan, self.ends[which.scan]),
            end_sequence: Some(found.header.first_sequence),
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
    Some(header.first_sequence.advance(header.record_count.into()))
}

/// What a segment should hold by its seal or its head block, and does not.
fn losses_of(scan: &Scanned, walks: &Walks<'_>) -> Vec<Loss> {
    let kind = scan.seal.as_ref().map_or(BufferKind::Log, |seal| seal.kind);
    let whole = &walks.numbers(kind).whole;
    let missing = scan.missing.iter().filter(|entry| !whole.contains(&entry.number));
    let mut losses: Vec<Loss> = missing
        .map(|entry| Loss {
            segment: scan.segment,
            offset: entry.offset,
            first_sequence: Some(entry.first_sequence),
            end_sequence: Some(entry.first_sequence.advance(entry.records.into())),
        })
        .collect();
    if scan.head == HeadBlock::Unreadable && scan.seal.is_none() {
        losses.push(Loss {
            segment: scan.segment,
            offset: SegmentOffset::ZERO,
            first_sequence: None,
            end_sequence: None,
        });
    }
    losses
}

/// Whether the records of a kept buffer are known to be damaged.
pub(super) fn is_rotten(found: &FoundBuffer) -> bool {
    found.body == Body::Damaged
}

#[cfg(test)]
mod tests;
