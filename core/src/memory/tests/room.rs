//! Bugs that sweeps found in stores that were full, or nearly: each as the state it began with.
//!
//! What they have in common: a store in which everything lives, or which is stuck, is the same to
//! whoever only asks whether it takes writes. Seeds die with the generator; these do not.

use super::*;
use crate::format::summary::SummaryEntry;
use crate::groups::GroupChange;
use crate::log::Place;
use crate::memory::requests::RequestFailed;
use crate::rewrites::{Destination, Draft, Output};
use crate::segments::Content;
use crate::types::{ByteLen, Location, SegmentOffset};
use tokio::sync::oneshot;

const G: GroupId = GroupId::new(1);
const OTHER: GroupId = GroupId::new(2);

/// Takes a slot, and fills it: `live` bytes of `group`, the rest is dead.
fn full(state: &mut State, group: GroupId, live: u32) -> SegmentId {
    let (id, _) = state.segments.take(Claim::Rewrite, SegmentKind::Log, Sequence::ZERO).unwrap();
    if live > 0 {
        state.segments.add_live(id, group, ByteLen::new(live));
    }
    state.segments.note_buffer(id, Content::of_piece(state.rules.geometry.data_len(), LONG));
    state.segments.seal(id, 0);
    id
}

/// Most of a segment.
const LONG: ByteLen = ByteLen::new(60 << 10);

fn run(state: &mut State) -> Option<Run> {
    match state.plan_rewrite(NOW) {
        RewritePlan::Run(run) => Some(run),
        RewritePlan::Nothing(_) => None,
    }
}

fn accept(state: &mut State, batch: &NewBatch) -> bool {
    state.accept(batch, NOW).is_ok()
}

/// Seed 1571: a request need not give back more than it takes, and took the last slot. After that
/// nothing could be compacted any more.
#[test]
fn a_request_leaves_the_slots_that_are_kept_for_compaction() {
    let mut state = state(1 << 20);
    for live in [40 << 10, 40 << 10, LONG.get(), LONG.get()] {
        full(&mut state, G, live);
    }
    assert_eq!(state.segments.free(), Claim::Put.leaves());
    let pause = |state: &mut State, guards| state.compaction.pauses = guards;
    pause(&mut state, 1); // compaction would make room first
    let (sender, mut answer) = oneshot::channel();
    state.request_compaction(None, 6, sender);
    assert!(run(&mut state).is_none());
    assert!(matches!(answer.try_recv(), Ok(Err(RequestFailed::NoRoom))));
    pause(&mut state, 0);
    assert_eq!(run(&mut state).expect("it may take them").why, Why::Room);
}

/// The index has no entries for places beyond that.
#[test]
fn a_store_has_at_most_thirty_two_tebibytes() {
    let geometry = Geometry::new(4 << 20, 1 << 16).unwrap();
    assert_eq!(files_max(None, geometry), Ok(128));
    assert_eq!(files_max(Some(32 << 40), geometry), Ok(128));
    let refused = files_max(Some((32 << 40) + 1), geometry).unwrap_err();
    assert_eq!((refused.name, refused.most), ("capacity", 32 << 40));
    let small = Geometry::new(64 << 10, 1).unwrap();
    let refused = files_max(Some(7 * (64 << 10)), small).unwrap_err();
    assert_eq!(refused.least, 8 * (64 << 10));
    let last = u32::try_from((32_u64 << 40) / (64 << 10) - 1).unwrap();
    let at = Location::new(SegmentId::new(last), SegmentOffset::new(65528), ByteLen::new(65528));
    assert!(Groups::new(small).get(GroupId::SYSTEM).unwrap().index.takes(at));
}

/// A request waited for room that was about to come: a sealed segment whose seal was on its way, a
/// file to be made. It was told at once that the store is full.
#[test]
fn a_request_waits_for_room_that_is_on_its_way() {
    let mut state = state(1 << 20);
    for _ in 0..4 {
        full(&mut state, G, 40 << 10);
    }
    state.compaction.pauses = 1;
    state.growth.files_max = 2;
    let (sender, mut answer) = oneshot::channel();
    state.request_compaction(None, 6, sender);
    assert!(run(&mut state).is_none() && state.calls.grow);
    assert!(answer.try_recv().is_err(), "the next file may be made");
    state.file_made();
    let mark = state.next_mark();
    state.mark_published(mark);
    assert!(state.calls.rewriter, "it is called when the file is there");
    assert_eq!(run(&mut state).expect("there is room").why, Why::Request);
}

/// The caller of a request waited for ever when the log was lost.
#[test]
fn a_request_hears_that_the_store_gave_up() {
    let mut state = state(1 << 20);
    let (sender, mut answer) = oneshot::channel();
    state.request_compaction(None, 6, sender);
    state.give_up(std::sync::Arc::new(std::io::Error::other("the log is lost")));
    assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
}

/// The log's own segment was nearly all dead, the next record did not fit into it, and there was no
/// other: it stayed open, no victim, and the store full.
#[test]
fn the_open_segment_of_the_log_is_closed_when_it_is_all_there_is_to_compact() {
    let mut state = state(1 << 20);
    assert!(accept(&mut state, &put()));
    complete(&mut state);
    let tail = state.log.tail.expect("the log is open").segment;
    for _ in 0..3 {
        full(&mut state, G, LONG.get());
    }
    let room = state.room_behind(state.log.tail.unwrap());
    state.log.tail.as_mut().unwrap().offset = SegmentOffset::new(60 << 10); // as if it were full
    state.segments.note_buffer(tail, Content::of_piece(room, LONG));
    while accept(&mut state, &put()) {
        complete(&mut state);
    }
    assert_eq!(state.segments.get(tail).state, SegmentState::Sealed);
}

/// Each group had a segment for its copies, open and nearly empty; nothing else was worth a run.
#[test]
fn what_groups_have_open_is_closed_when_nothing_else_gives_room() {
    let mut state = state(1 << 20);
    for group in [G, OTHER] {
        let kind = SegmentKind::Group(group);
        let tail = state.take_segment(Claim::Rewrite, kind).unwrap();
        let output = Output { tail, draft: Draft::default(), used: 0 };
        state.rewrites.outputs.insert(Destination::Group(group), output);
        state.segments.add_live(tail.segment, group, ByteLen::new(100));
    }
    while state.segments.free() > Claim::Put.leaves() {
        full(&mut state, G, LONG.get());
    }
    assert!(matches!(state.accept(&put(), NOW), Err(Refused::NoRoom(_))));
    assert!(run(&mut state).is_none(), "nothing is worth it yet");
    assert!(state.rewrites.outputs.is_empty());
    assert_eq!(state.plan(NOW).seals.len(), 2, "and once these are written, they are victims");
}

/// Outputs of groups took slots that are kept for compaction, were closed because room was short,
/// were the best victims, and were rewritten into such outputs again.
#[test]
fn groups_get_segments_of_their_own_only_while_there_is_room() {
    let mut roomy = state(1 << 20);
    let mut tight = state(1 << 20);
    full(&mut roomy, G, 20 << 10);
    full(&mut tight, G, 20 << 10);
    full(&mut tight, G, LONG.get());
    full(&mut tight, G, LONG.get());
    for (state, own) in [(&mut roomy, true), (&mut tight, false)] {
        state.compaction.wanted = true;
        let run = run(state).expect("one is worth it");
        let expected = if own { Destination::Group(G) } else { Destination::Shared };
        assert_eq!(run.destination(G), expected);
    }
}

/// Truncating a group is a put of the system group: a full store refused it, like any put, though
/// it makes room.
#[test]
fn a_full_store_takes_deletes_and_truncations() {
    let mut state = state(1 << 20);
    while state.segments.free() > Claim::Put.leaves() {
        full(&mut state, G, LONG.get());
    }
    let key = crate::groups::truncation_key(G);
    let truncation = system(RecordKind::Put, &key, b"");
    let delete = system(RecordKind::Delete, &key, b"");
    assert!(matches!(state.accept(&put(), NOW), Err(Refused::NoRoom(Outlook::Full { .. }))));
    assert!(accept(&mut state, &truncation));
    complete(&mut state);
    assert!(accept(&mut state, &delete), "it has room behind the truncation");
    complete(&mut state);
    assert!(matches!(state.accept(&put(), NOW), Err(Refused::NoRoom(Outlook::Full { .. }))));
}

/// A segment that takes no more buffers could not be compacted before it had its seal, which was on
/// its way; writers were told meanwhile that the store is full.
#[test]
fn a_store_is_not_full_while_a_seal_is_on_its_way() {
    let mut state = state(1 << 20);
    while state.segments.free() > Claim::Put.leaves() {
        full(&mut state, G, LONG.get());
    }
    let outlook = |state: &mut State| match state.accept(&put(), NOW) {
        Err(Refused::NoRoom(outlook)) => outlook,
        other => panic!("there is no room: {other:?}"),
    };
    assert!(matches!(outlook(&mut state), Outlook::Full { .. }));
    let last = SegmentId::new(3);
    state.segments.hold(last);
    assert!(matches!(outlook(&mut state), Outlook::Wait));
    state.segments.release(last);
    assert!(matches!(outlook(&mut state), Outlook::Full { .. }));
}

/// A store was resized to less than what lives in it. Every free slot lay in the file that was to
/// go, none was free any more, and nothing could be moved.
#[test]
fn a_file_stays_while_what_lives_in_it_has_nowhere_to_go() {
    let mut state = state(1 << 20);
    for _ in 0..8 {
        full(&mut state, G, LONG.get());
    }
    state.file_made();
    let mark = state.next_mark();
    state.mark_published(mark);
    full(&mut state, G, 10 << 10);
    state.resize(Some(8 * (64 << 10))).unwrap();
    assert_eq!(state.segments.free(), 7, "they are needed");
    state.segments.sub_live(SegmentId::new(0), G, LONG);
    assert!(matches!(state.plan_reclaim(), Reclaim::Erase(_)));
    state.erase_ended(SegmentId::new(0), true);
    assert_eq!(state.segments.free(), 8);
}

/// A slot was given to the free list when its file was already to go, and could be taken.
#[test]
fn the_slots_of_a_file_that_is_to_go_are_never_free() {
    let mut state = state(1 << 20);
    state.segments.set_limit(SegmentId::new(8));
    state.file_made();
    let mark = state.next_mark();
    state.mark_published(mark);
    assert_eq!((state.segments.free(), state.segments.hollow()), (8, 8));
}

/// What was closed because a long record did not fit counted as full up to its end, however little
/// was in it: a store of such segments was full for ever.
#[test]
fn what_stayed_unused_at_the_end_of_a_segment_comes_back() {
    let mut state = state(1 << 20);
    let (id, _) = state.segments.take(Claim::Put, SegmentKind::Log, Sequence::ZERO).unwrap();
    state.segments.add_live(id, G, ByteLen::new(4000));
    state.segments.seal(id, 50 << 10);
    assert!(state.segments.get(id).is_worth_rewriting(state.segments.data_len()));
}

/// The last file had left the store, but not its name the folder, when the store needed room again
/// and made the next one: behind the gap that was left by then, which looked like a loss.
#[test]
fn a_file_leaves_for_good_before_another_one_is_made() {
    let mut state = state(1 << 20);
    state.growth.files_max = 3;
    state.growth.leaving = Some(1);
    while state.segments.free() > 0 {
        full(&mut state, G, LONG.get());
    }
    assert_eq!(state.plan_growth(NOW), Grow::Remove(1));
    state.file_not_made(std::io::Error::other("the name does not go"), NOW);
    assert_eq!(state.plan_growth(NOW), Grow::Nothing);
    let later = Duration::from_secs(2);
    assert_eq!(state.plan_growth(later), Grow::Remove(1));
    state.file_has_left();
    assert_eq!(state.plan_growth(later), Grow::Make(1));
}

/// Seed 21320: what a request wanted moved was closed, found no room, and was then the best victim
/// of compaction, which moved it to where the next list of the request found it open.
#[test]
fn a_request_closes_no_output_that_there_is_no_room_to_move() {
    let mut state = state(1 << 20);
    for id in [G, OTHER] {
        let name = std::sync::Arc::from(format!("group {}", id.get()));
        state.groups.apply(&GroupChange::Created { id, name });
    }
    let tail = state.take_segment(Claim::Rewrite, SegmentKind::Shared).unwrap();
    let output = Output { tail, draft: Draft::default(), used: 0 };
    state.rewrites.outputs.insert(Destination::Shared, output);
    for group in [G, OTHER] {
        let at = Location::new(tail.segment, SegmentOffset::ZERO, ByteLen::new(100));
        state.add_live(group, at);
    }
    while state.segments.free() > Claim::Put.leaves() {
        full(&mut state, G, LONG.get());
    }
    let (sender, mut answer) = oneshot::channel();
    state.request_separation(G, sender);
    assert!(run(&mut state).is_none());
    assert!(matches!(answer.try_recv(), Ok(Err(RequestFailed::NoRoom))));
    assert!(state.rewrites.outputs.contains_key(&Destination::Shared), "it is still open");
}

/// The same seed: runs went on faster than the slots of the ones before were erased, down to the
/// last free one.
#[test]
fn a_run_waits_for_what_the_last_one_gave_back() {
    let mut state = state(1 << 20);
    let dead = full(&mut state, G, 0);
    for _ in 0..3 {
        full(&mut state, G, 20 << 10);
    }
    state.compaction.wanted = true;
    assert_eq!(state.segments.retire_dead(), [dead]);
    assert!(run(&mut state).is_none(), "a slot is being erased");
    state.erase_ended(dead, true);
    assert!(state.calls.rewriter);
    state.compaction.wanted = true;
    assert_eq!(run(&mut state).expect("one is worth it").why, Why::Room);
}

/// Half an hour into a soak on a slow disk: two runs in a row had made their copies before the
/// victims of the first were erased, and the store took half a per cent more than its bound.
#[test]
fn near_the_bound_a_run_waits_for_what_the_last_one_gave_back() {
    let mut state = state(1 << 20);
    (0..8).for_each(|_| state.segments.push_fresh());
    let dead = full(&mut state, G, 0);
    for _ in 0..9 {
        full(&mut state, G, 30 << 10);
    }
    assert!(state.presses_bound() && state.segments.free() >= state.low_mark());
    assert_eq!(state.segments.retire_dead(), [dead]);
    let (sender, _answer) = oneshot::channel();
    state.request_compaction(None, 6, sender);
    assert!(run(&mut state).is_none(), "neither of its own accord nor for somebody");
    state.erase_ended(dead, true);
    assert!(state.calls.rewriter);
    assert_eq!(run(&mut state).expect("now there is room for copies").why, Why::Request);
}

/// Seed 21547, as it was drawn then: a writer was told to wait for a rewrite of what tombstones
/// waited for. Whoever planned it found out first that they wait no more, had nothing to do, and
/// the writer waited for ever.
#[test]
fn a_store_is_full_if_what_tombstones_waited_for_has_passed() {
    let mut state = state(1 << 20);
    let first = full(&mut state, G, 54 << 10);
    let guard = state.segments.get(first).generation;
    state.segments.add_tombstone(first, ByteLen::new(6 << 10), guard);
    while state.segments.free() > Claim::Put.leaves() {
        let id = full(&mut state, G, 57 << 10);
        state.segments.add_tombstone(id, ByteLen::new(3 << 10), guard);
    }
    let outlook = match state.accept(&put(), NOW) {
        Err(Refused::NoRoom(outlook)) => outlook,
        other => panic!("there is no room: {other:?}"),
    };
    let planned = run(&mut state).is_some();
    assert_eq!(planned, matches!(outlook, Outlook::Wait), "{outlook:?}");
    assert!(!planned);
}

/// A request that waited for room called for compaction, which waited for a slot to be erased: the
/// rewriter called itself for ever, and nothing else got its turn.
#[test]
fn a_rewriter_that_waits_does_not_call_itself() {
    let mut state = state(1 << 20);
    let dead = full(&mut state, G, 0);
    for _ in 0..3 {
        full(&mut state, G, 20 << 10);
    }
    assert_eq!(state.segments.retire_dead(), [dead]);
    let (sender, mut answer) = oneshot::channel();
    state.request_compaction(None, 6, sender);
    state.calls.rewriter = false;
    assert!(run(&mut state).is_none() && answer.try_recv().is_err());
    assert!(!state.calls.rewriter);
    state.erase_ended(dead, true);
    assert!(state.calls.rewriter);
}

/// A deletion of a key of two thousand bytes.
const LONG_TOMBSTONE: ByteLen = ByteLen::new(2040);

/// Fills a slot with tombstones of long keys that wait for `guard`, in buffers of one block.
fn of_long_tombstones(state: &mut State, count: u32, guard: Generation) -> SegmentId {
    let (id, _) = state.segments.take(Claim::Rewrite, SegmentKind::Log, Sequence::ZERO).unwrap();
    for _ in 0..count {
        let entry = SummaryEntry {
            hash: KeyHash::new(7),
            kind: RecordKind::Delete,
            len: LONG_TOMBSTONE,
            group: G,
            sequence: Sequence::ZERO,
        };
        let content = Content::of(ByteLen::new(4096), ByteLen::new(104), &[entry]);
        state.segments.note_buffer(id, content);
        state.segments.add_tombstone(id, LONG_TOMBSTONE, guard);
    }
    state.segments.seal(id, 0);
    id
}

/// Tombstones were all taken for the shortest that there are, and each was given an entry of a
/// summary: of long keys a segment seemed to need nearly twice what it did. What was half empty was
/// no victim, and what was full found no room for its copies.
#[test]
fn tombstones_of_long_keys_need_no_more_than_their_bytes() {
    let mut state = state(1 << 20);
    let guard = Generation::new(1);
    let half = of_long_tombstones(&mut state, 15, guard);
    let slot = state.segments.get(half);
    assert!(slot.needed() < 34 << 10, "{} for 15 tombstones", slot.needed());
    assert!(slot.is_worth_rewriting(state.segments.data_len()));
}

/// Full stores, long keys with tiny values: deletes took the slots that are theirs, and killed as
/// many bytes as their tombstones have, but so thinly spread that nothing was worth a run. Less
/// than a twentieth of the store was tombstones, so nobody rewrote what they waited for, and the
/// next delete was refused.
#[test]
fn a_full_store_rewrites_what_few_tombstones_wait_for_when_a_delete_needs_room() {
    let mut state = state(1 << 20);
    (0..40).for_each(|_| state.segments.push_fresh());
    while state.segments.free() > Claim::Put.leaves() {
        full(&mut state, G, 56 << 10);
    }
    let guard = Generation::new(44);
    while state.segments.free() > Claim::Delete.leaves() {
        let id = full(&mut state, G, 20 << 10);
        state.segments.add_tombstone(id, ByteLen::new(30 << 10), guard);
    }
    let key = crate::groups::truncation_key(G);
    let truncation = system(RecordKind::Put, &key, b"");
    assert!(matches!(state.accept(&put(), NOW), Err(Refused::NoRoom(Outlook::Full { .. }))));
    assert!(matches!(state.accept(&truncation, NOW), Err(Refused::NoRoom(Outlook::Wait))));
    let run = run(&mut state).expect("the oldest is rewritten");
    assert_eq!((run.why, run.victims[0].0), (Why::Room, SegmentId::new(0)));
}

/// What is open is no victim. The output of compaction was all dead, and the store full.
#[test]
fn an_output_in_which_much_is_dead_is_closed_when_nothing_else_gives_room() {
    let mut state = state(1 << 20);
    let tail = state.take_segment(Claim::Rewrite, SegmentKind::Shared).unwrap();
    let tail = Place { offset: SegmentOffset::new(40 << 10), ..tail };
    let output = Output { tail, draft: Draft::default(), used: 0 };
    state.rewrites.outputs.insert(Destination::Shared, output);
    state.segments.add_live(tail.segment, G, ByteLen::new(10 << 10));
    while state.segments.free() > Claim::Put.leaves() {
        full(&mut state, G, 58 << 10);
    }
    assert!(matches!(state.accept(&put(), NOW), Err(Refused::NoRoom(Outlook::Wait))));
    assert_eq!(state.segments.get(tail.segment).state, SegmentState::Sealed);
}
