//! The laws of recovery, one by one, on segments made by hand.

use super::*;
use crate::format::seal::{Seal, SealEntry};
use crate::format::summary::Summary;
use crate::types::{ByteLen, Generation, SegmentId};

fn header(segment: u32, block: u32, number: u64, watermark: u64) -> BufferHeader {
    BufferHeader {
        kind: BufferKind::Log,
        segment: SegmentId::new(segment),
        offset: SegmentOffset::new(block * 4096),
        generation: Generation::new(u64::from(segment) + 1),
        number: BufferNumber::new(number),
        log_watermark: BufferNumber::new(watermark),
        first_sequence: Sequence::new(number * 10),
        record_count: 1,
        records_len: ByteLen::new(40),
        ..BufferHeader::default()
    }
}

fn found(header: BufferHeader, body: Body) -> FoundBuffer {
    FoundBuffer { header, summary: Some(Summary::default()), body }
}

/// A segment without a seal. Each buffer: its number, its watermark, whether it is whole.
fn open(segment: u32, buffers: &[(u64, u64, bool)]) -> Scanned {
    let generation = Generation::new(u64::from(segment) + 1);
    let mut scan = Scanned::with_head(SegmentId::new(segment), HeadBlock::InUse(generation));
    for (block, &(number, watermark, whole)) in (0_u32..).zip(buffers) {
        let body = if whole { Body::Good } else { Body::Damaged };
        scan.buffers.push(found(header(segment, block, number, watermark), body));
    }
    scan
}

/// A segment whose seal lists these numbers, all of them readable.
fn sealed(segment: u32, numbers: &[u64], watermark: u64) -> Scanned {
    let buffers: Vec<_> = numbers.iter().map(|&number| (number, 0, true)).collect();
    let mut scan = open(segment, &buffers);
    scan.buffers.iter_mut().for_each(|buffer| buffer.body = Body::Unchecked);
    let entry = |buffer: &FoundBuffer| SealEntry {
        offset: buffer.header.offset,
        records: 1,
        number: buffer.header.number,
        first_sequence: buffer.header.first_sequence,
    };
    scan.seal = Some(Seal {
        segment: scan.segment,
        generation: Generation::new(u64::from(segment) + 1),
        kind: BufferKind::Log,
        log_watermark: BufferNumber::new(watermark),
        rewrite_watermark: BufferNumber::ZERO,
        entries: scan.buffers.iter().map(entry).collect(),
    });
    scan
}

fn mark(watermark: u64) -> Mark {
    Mark {
        ordinal: 1,
        log_watermark: BufferNumber::new(watermark),
        rewrite_watermark: BufferNumber::ZERO,
        next_sequence: Sequence::ZERO,
        next_log: BufferNumber::ZERO,
        next_rewrite: BufferNumber::ZERO,
        next_generation: Generation::ZERO,
        hollow: false,
        open: Vec::new(),
        next: Vec::new(),
        files: 0,
    }
}

fn numbers(scans: &[Scanned], which: &[Which]) -> Vec<u64> {
    let mut all: Vec<u64> =
        which.iter().map(|which| which.find(scans).header.number.get()).collect();
    all.sort_unstable();
    all
}

/// Decides, and checks which numbers are kept, unsure and void, and how much is lost.
#[track_caller]
fn check(scans: &[Scanned], published: u64, kept: &[u64], void: &[u64], losses: usize) -> Verdict {
    let verdict = decide(scans, &mark(published), BufferNumber::ZERO);
    assert_eq!(numbers(scans, &verdict.kept), kept, "kept");
    assert_eq!(numbers(scans, &verdict.void), void, "void");
    assert_eq!(verdict.losses.len(), losses, "{:?}", verdict.losses);
    verdict
}

#[test]
fn the_log_ends_at_the_first_missing_number() {
    let scans = [open(0, &[(0, 0, true), (1, 0, true)]), open(1, &[(3, 0, true)])];
    let verdict = check(&scans, 0, &[0, 1], &[3], 0);
    assert_eq!(verdict.log_end, BufferNumber::new(2));
    assert_eq!(numbers(&scans, &verdict.unsure), [0, 1], "nothing says that they are durable");
}

#[test]
fn a_gap_below_a_watermark_is_where_erased_segments_were() {
    let scans = [open(0, &[(7, 5, true), (8, 7, true)])];
    let verdict = check(&scans, 7, &[7, 8], &[], 0);
    assert_eq!(numbers(&scans, &verdict.unsure), [7, 8]);
    let scans = [open(0, &[(7, 5, true), (8, 6, true)])];
    check(&scans, 6, &[], &[7, 8], 0); // 6 is missing, and nobody says that it was durable
    check(&scans, 7, &[7, 8], &[], 0); // the mark does
}

#[test]
fn nothing_behind_a_tear_counts() {
    let scans = [open(0, &[(0, 0, true), (1, 0, false), (2, 0, true)])];
    check(&scans, 0, &[0], &[1, 2], 0);
}

#[test]
fn buffers_in_flight_together_tear_together_and_are_no_corruption() {
    let mut scan = open(0, &[(4, 4, true)]);
    scan.behind.push(found(header(0, 5, 6, 4), Body::Good));
    check(&[scan], 4, &[4], &[6], 0);
}

#[test]
fn rot_below_a_watermark_is_reported_and_does_not_end_the_walk() {
    let scans = [open(0, &[(0, 0, true), (1, 0, false), (2, 2, true)])];
    let verdict = check(&scans, 0, &[0, 1, 2], &[], 0);
    let rotten = verdict.kept.iter().filter(|which| is_rotten(which.find(&scans)));
    assert_eq!(rotten.count(), 1);
}

#[test]
fn a_summary_lost_below_a_watermark_is_a_loss() {
    let mut scan = open(0, &[(0, 0, true), (1, 0, false), (2, 2, true)]);
    scan.buffers[1].summary = None;
    let verdict = check(&[scan], 0, &[0, 2], &[], 1);
    assert_eq!(verdict.losses[0].first_sequence, Some(Sequence::new(10)));
    assert_eq!(verdict.losses[0].end_sequence, Some(Sequence::new(11)));
}

#[test]
fn a_durable_buffer_behind_the_end_of_a_walk_means_that_the_end_is_rot() {
    let mut scan = open(0, &[(0, 0, true)]);
    scan.behind.push(found(header(0, 2, 2, 0), Body::Good));
    let verdict = check(&[scan], 3, &[0, 2], &[], 1);
    assert_eq!(verdict.losses[0].place.unwrap().1, SegmentOffset::new(4096));
    assert_eq!(verdict.losses[0].first_sequence, Some(Sequence::new(1)));
    assert_eq!(verdict.losses[0].end_sequence, Some(Sequence::new(20)));
}

#[test]
fn a_failed_write_that_was_written_again_elsewhere_is_no_damage() {
    let failed = open(0, &[(0, 0, true), (1, 0, false), (2, 0, true)]);
    let again = open(1, &[(1, 1, true), (2, 1, true), (3, 3, true)]);
    let verdict = check(&[failed, again], 0, &[0, 1, 2, 3], &[1, 2], 0);
    assert!(verdict.kept.iter().filter(|which| which.scan == 1).count() == 3);
}

/// The case that a body check of buffers below the watermark is for: the retry of 1 is durable and
/// 2 is only in the old place, behind the damaged 1. It was never acknowledged. Were it kept, the
/// voiding of 1 would hide it at the next recovery.
#[test]
fn what_lies_behind_a_failed_write_does_not_count_even_if_it_is_whole() {
    let failed = open(0, &[(0, 0, true), (1, 0, false), (2, 0, true)]);
    let again = open(1, &[(1, 1, true)]);
    let verdict = check(&[failed, again], 2, &[0, 1], &[1, 2], 0);
    assert_eq!(verdict.log_end, BufferNumber::new(2));
}

#[test]
fn what_a_seal_lists_and_is_not_there_is_lost_unless_it_is_whole_elsewhere() {
    let mut scan = sealed(0, &[0, 1, 2], 3);
    scan.buffers.remove(1);
    let entry = scan.seal.as_ref().unwrap().entries[1];
    scan.missing.push(entry);
    check(&[scan], 0, &[0, 2], &[], 1);

    let mut scan = sealed(0, &[0, 1, 2], 3);
    scan.buffers.remove(1);
    scan.missing.push(entry);
    check(&[scan, open(1, &[(1, 1, true)])], 0, &[0, 1, 2], &[], 0);
}

#[test]
fn a_head_block_that_no_write_leaves_is_a_loss() {
    let scan = Scanned::with_head(SegmentId::new(0), HeadBlock::Unreadable);
    check(&[scan], 0, &[], &[], 1);
}

#[test]
fn a_seal_vouches_for_its_watermark() {
    let scans = [sealed(0, &[0, 1], 2), open(1, &[(2, 0, true)])];
    let verdict = check(&scans, 0, &[0, 1, 2], &[], 0);
    assert_eq!(numbers(&scans, &verdict.unsure), [2]);
}

/// Law 6: nothing from the published watermark on was ever erased.
#[test]
fn a_durable_number_that_is_nowhere_is_lost() {
    let scans = [open(0, &[(4, 4, true)]), open(1, &[(6, 6, true), (7, 7, true)])];
    let verdict = check(&scans, 4, &[4, 6, 7], &[], 1);
    assert_eq!(verdict.losses[0].first_sequence, Some(Sequence::new(41)));
    assert_eq!(verdict.losses[0].end_sequence, Some(Sequence::new(60)));
    check(&scans, 6, &[4, 6, 7], &[], 0); // 5 may have been erased
    let scans = [open(0, &[(4, 4, true)]), open(1, &[(6, 5, true)])];
    check(&scans, 4, &[4], &[6], 0); // 5 was never durable
}

/// The first block of a segment was lost: what lies behind it goes on from there, for salvaging.
#[test]
fn what_follows_a_lost_first_block_is_kept() {
    let mut scan = Scanned::with_head(SegmentId::new(1), HeadBlock::Erased(Generation::new(1)));
    scan.behind.push(found(header(1, 5, 6, 6), Body::Good));
    let verdict = check(&[open(0, &[(4, 4, true)]), scan], 4, &[4, 6], &[], 2);
    assert_eq!(verdict.log_end, BufferNumber::new(7));
}

/// Law 7: what the mark lists as written in an open segment.
#[test]
fn the_end_of_an_open_segment_cannot_vanish() {
    let scans = [open(0, &[(0, 0, true)])];
    let listed = |segment, blocks: u32, generation| {
        let entry = OpenSegment {
            segment: SegmentId::new(segment),
            end: SegmentOffset::new(blocks * 4096),
            generation: Generation::new(generation),
        };
        decide(&scans, &Mark { open: vec![entry], ..mark(2) }, BufferNumber::ZERO).losses
    };
    assert_eq!(listed(0, 1, 1), [], "all of it is there");
    let lost = listed(0, 2, 1);
    assert_eq!(lost[0].place.unwrap().1, SegmentOffset::new(4096));
    assert_eq!(lost[0].first_sequence, Some(Sequence::new(1)));
    assert_eq!(listed(0, 9, 2).len(), 1, "an earlier life shows");
}

/// Damage seeds 957, 3579, 9725 and 13123: with the first block of a segment went the number at
/// which the log would end. What was acknowledged after it, in the next segment, was made void.
#[test]
fn what_is_whole_behind_a_lost_segment_counts_for_salvaging() {
    let lost = Scanned::with_head(SegmentId::new(0), HeadBlock::Unreadable);
    let scans = [lost, open(1, &[(2, 1, true)])];
    let end_is_known = decide(&scans, &mark(0), BufferNumber::ZERO);
    assert_eq!(numbers(&scans, &end_is_known.void), [2]);
    assert!(!end_is_known.losses.is_empty(), "so nobody gets to see that");
    let salvaged = decide(&scans, &mark(0), above_all(&scans));
    assert_eq!(numbers(&scans, &salvaged.kept), [2]);
    assert!(salvaged.void.is_empty() && !salvaged.losses.is_empty());
}

/// A gap that nothing came before was said to be in segment 0, whatever lay there, and segment 0
/// was not used again in that opening.
#[test]
fn a_loss_of_which_nothing_is_known_blames_no_segment() {
    let scans = [sealed(0, &[7, 8], 9), open(1, &[(9, 9, true)])];
    let verdict = check(&scans, 5, &[7, 8, 9], &[], 1);
    let loss = &verdict.losses[0];
    assert_eq!((loss.place, loss.first_sequence), (None, None));
    assert_eq!(loss.end_sequence, Some(Sequence::new(70)));
    assert!(!loss.is_in(SegmentId::new(0)));
}

/// What follows a sealed segment in the log lies in another one.
#[test]
fn a_gap_behind_a_sealed_segment_was_not_in_it() {
    let scans = [sealed(0, &[5, 6], 7), open(1, &[(9, 9, true)])];
    let verdict = check(&scans, 5, &[5, 6, 9], &[], 1);
    let loss = &verdict.losses[0];
    assert_eq!((loss.place, loss.first_sequence), (None, Some(Sequence::new(61))));
    let scans = [open(0, &[(5, 5, true), (6, 5, true)]), open(1, &[(9, 9, true)])];
    let verdict = check(&scans, 5, &[5, 6, 9], &[], 1);
    let behind = (SegmentId::new(0), SegmentOffset::new(8192));
    assert_eq!(verdict.losses[0].place, Some(behind), "it was, as far as anybody knows");
}
