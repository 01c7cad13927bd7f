//! Steps whose breaking a sweep meets too rarely: floors and seals, on a state made by hand.

mod compare;
mod room;
mod scan;

use super::*;
use crate::format::hash::KeyHasher;
use crate::format::record::{RecordKind, body_crc, record_len};
use crate::options::Durability;
use crate::segments::{Claim, SegmentKind, SegmentState, Slot};
use crate::types::BufferNumber;
use crate::types::{GroupId, KeyHash, Sequence, to_u32};
use bytes::Bytes;

const NOW: Duration = Duration::ZERO;

/// A store of one file with eight free slots, whose mark sets generations below `floor` aside.
fn state(floor: u64) -> State {
    let geometry = Geometry::new(64 << 10, 8).unwrap();
    let mut segments = Segments::new(Generation::new(1), geometry.data_len());
    (0..8).for_each(|_| segments.push(Slot::fresh()));
    let published = Mark {
        ordinal: 1,
        log_watermark: BufferNumber::ZERO,
        rewrite_watermark: BufferNumber::ZERO,
        next_sequence: Sequence::new(1),
        next_log: BufferNumber::ZERO,
        next_rewrite: BufferNumber::ZERO,
        next_generation: Generation::new(floor),
        files: 1,
        hollow: false,
        open: Vec::new(),
        next: Vec::new(),
    };
    let growth = Growth::new(1, 1, false);
    let rules = Rules::new(&Options::default(), geometry);
    State::new(rules, Parts { groups: Groups::new(geometry), segments, published, growth })
}

/// A put of the next group id: a record that the system group always takes.
fn put() -> NewBatch {
    system(RecordKind::Put, b"n", &[1, 0, 0, 0])
}

/// A write of the system group.
fn system(kind: RecordKind, key: &[u8], value: &[u8]) -> NewBatch {
    let write = NewWrite {
        group: GroupId::SYSTEM,
        hash: KeyHasher::new([0; 16]).hash(key),
        kind,
        body_crc: body_crc(key, value),
        len: record_len(key.len(), value.len()).unwrap(),
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        large: None,
    };
    NewBatch { writes: vec![write], durability: Durability::Synced, charge: 0 }
}

/// Without this a segment whose first write is lost in a crash gives its generation to another
/// one, and its later blocks come back to life.
#[test]
fn no_generation_is_used_that_the_mark_has_not_set_aside() {
    let mut state = state(1);
    let refused = state.accept(&put(), NOW).unwrap_err();
    assert!(matches!(refused, Refused::NoRoom(Outlook::Wait)), "{refused:?}");
    assert!(state.calls.reclaim, "which publishes a higher floor");
    assert!(matches!(state.plan_reclaim(), Reclaim::Publish));

    let mark = state.next_mark();
    assert_eq!(mark.next_generation, Generation::new(1 + GENERATIONS_AHEAD));
    state.mark_published(mark);
    state.accept(&put(), NOW).unwrap();
}

/// An opening looks for what a lost first block hides only where the mark says that it may be.
#[test]
fn no_slot_is_taken_that_the_mark_does_not_name() {
    let mut state = state(1 << 20);
    let mark = state.next_mark();
    let slots: Vec<SegmentId> = (0..8).map(SegmentId::new).collect();
    assert_eq!(mark.next, slots, "all are free");
    let half = Mark { next: slots[..2].to_vec(), ..mark };
    state.mark_published(half);
    let take = |state: &mut State| {
        let taken = state.take_segment(Claim::Rewrite, SegmentKind::Shared);
        taken.map(|place| place.segment)
    };
    assert_eq!([take(&mut state), take(&mut state)], [Some(slots[0]), Some(slots[1])]);
    assert_eq!(take(&mut state), None);
    assert!(state.calls.reclaim, "which publishes a mark that names more");
    assert!(matches!(state.plan_reclaim(), Reclaim::Publish));
    assert!(matches!(state.outlook(Claim::Put, NOW), Outlook::Wait));

    let mark = state.next_mark();
    assert!(slots.iter().all(|&slot| mark.names(slot)), "the two that are open as well");
    assert_eq!(take(&mut state), None, "it is not durable yet");
    state.mark_published(mark);
    assert_eq!(take(&mut state), Some(slots[2]));
}

/// What is taken while a mark is on its way must be named by that one too: a crash may leave it.
#[test]
fn a_mark_on_its_way_lets_nothing_be_taken_that_it_does_not_name() {
    let mut named = Named::by(&Mark { next: vec![SegmentId::new(1)], ..Mark::unknown() });
    let other = Mark { next: vec![SegmentId::new(1), SegmentId::new(2)], ..Mark::unknown() };
    named.meet(Named::by(&other));
    assert_eq!([1, 2].map(|slot| named.has(SegmentId::new(slot))), [true, false]);
    let mut all = Named::by(&Mark::unknown());
    all.meet(Named::by(&other));
    assert_eq!([2, 3].map(|slot| all.has(SegmentId::new(slot))), [true, false]);
    all.meet(Named::by(&Mark::unknown()));
    assert!(!all.has(SegmentId::new(3)), "the mark before may be the one that is left");
}

impl State {
    /// Accepts a batch that requires nothing.
    fn accept(&mut self, batch: &NewBatch, now: Duration) -> Result<Accepted, Refused> {
        self.check_open()?;
        self.accept_to(batch, batch.durability, now)
    }
}

/// A segment in which nothing is live.
fn die(state: &mut State) -> SegmentId {
    let (id, _) = state.segments.take(Claim::Put, SegmentKind::Log, Sequence::ZERO).unwrap();
    state.segments.seal(id, 0);
    id
}

/// What was written again elsewhere must stay until the failed segment says what of it counts.
#[test]
fn nothing_is_erased_while_the_seal_of_a_failed_segment_is_owed() {
    let mut state = state(1 << 20);
    let dead = die(&mut state);
    state.seals_owed = 1;
    assert!(matches!(state.plan_reclaim(), Reclaim::Nothing));
    assert_eq!(state.segments.get(dead).state, SegmentState::Sealed);
    state.seals_owed = 0;
    let Reclaim::Erase(segments) = state.plan_reclaim() else { panic!("it is dead") };
    assert_eq!(segments, [dead]);
}

/// A failed write moves its buffer; the seal that leaves it out is owed, and waits until the buffer
/// is durable where it went.
#[test]
fn the_seal_of_a_failed_segment_waits_for_what_it_leaves_out() {
    let mut state = state(1 << 20);
    let accepted = state.accept(&put(), NOW).unwrap();
    let mut job = state.plan(NOW).writes.pop().unwrap();
    let (number, failed) = (job.number, job.place.segment);
    let image = job.encode(7);
    state.landed(number, image, Err(std::io::Error::other("the first writing fails")), NOW);

    let mut plan = state.plan(NOW);
    assert_eq!((plan.seals.len(), state.seals_owed), (0, 1));
    let mut again = plan.writes.pop().unwrap();
    assert_eq!(again.number, number);
    assert_ne!(again.place.segment, failed);
    let image = again.encode(7);
    state.landed(number, image, Ok(0), NOW);
    assert_eq!(state.plan(NOW).syncs, [0]);
    state.synced(0, Ok(0));

    assert!(accepted.done.unwrap().try_recv().unwrap().is_ok());
    let plan = state.plan(NOW);
    let (job, _) = plan.seals.first().expect("now it may be written");
    assert!(job.owed && job.entries.is_empty());
    assert_eq!(job.segment, failed);
    state.seal_written(job.clone(), true);
    assert_eq!(state.seals_owed, 0);
}

/// A sync that ends well after another one of the file has failed makes nothing durable.
#[test]
fn a_sync_after_a_failed_one_is_not_trusted() {
    let mut state = state(1 << 20);
    let mut accepted = state.accept(&put(), NOW).unwrap();
    let mut job = state.plan(NOW).writes.pop().unwrap();
    let image = job.encode(7);
    state.landed(job.number, image, Ok(0), NOW);
    assert_eq!(state.plan(NOW).syncs, [0]);
    state.synced(0, Ok(1));
    assert!(accepted.done.as_mut().unwrap().try_recv().is_err(), "nobody is told that it is");
    let again = state.plan(NOW).writes.pop().expect("it is written again");
    assert_ne!(again.place.segment, job.place.segment);
}

/// A record that lists one piece, which was just taken.
fn large(state: &mut State) -> (NewBatch, SegmentId) {
    let taken = state.take_piece(GroupId::SYSTEM, ByteLen::new(5000), NOW).unwrap();
    let large = LargeValue {
        pieces: [taken.segment].into(),
        len: 5000,
        #[cfg(feature = "verify")]
        shown: Bytes::new(),
    };
    let mut batch = put();
    batch.writes[0].large = Some(large);
    (batch, taken.segment)
}

/// Brings everything accepted to the index.
fn complete(state: &mut State) {
    let mut job = state.plan(NOW).writes.pop().unwrap();
    let image = job.encode(7);
    state.landed(job.number, image, Ok(0), NOW);
    assert_eq!(state.plan(NOW).syncs, [0]);
    state.synced(0, Ok(0));
}

#[test]
fn pieces_live_from_the_completion_of_their_record_until_the_next_one() {
    let mut state = state(1 << 20);
    let (batch, piece) = large(&mut state);
    state.accept(&batch, NOW).unwrap();
    let look = |state: &State| {
        let slot = state.segments.get(piece);
        (slot.state, slot.live, slot.holds)
    };
    assert_eq!(look(&state), (SegmentState::Active, 0, 1));
    complete(&mut state);
    assert_eq!(look(&state), (SegmentState::Sealed, 5000, 0));
    assert!(matches!(state.plan_reclaim(), Reclaim::Nothing));

    state.accept(&put(), NOW).unwrap();
    assert_eq!(look(&state), (SegmentState::Sealed, 5000, 0), "not before that is durable");
    complete(&mut state);
    assert_eq!(look(&state), (SegmentState::Sealed, 0, 0));
    let mark = state.next_mark();
    state.mark_published(mark);
    let Reclaim::Erase(segments) = state.plan_reclaim() else { panic!("it is dead") };
    assert_eq!(segments, [piece]);
}

/// Damage seeds 397 and 6146: a truncation was durable and not below the mark, what it truncated
/// was erased, and then the truncation rotted. It passed for a torn write, and the values before it
/// were not lost but "absent".
#[test]
fn nothing_is_erased_before_the_mark_covers_what_it_died_of() {
    let mut state = state(1 << 20);
    let (batch, piece) = large(&mut state);
    state.accept(&batch, NOW).unwrap();
    complete(&mut state);
    state.accept(&put(), NOW).unwrap();
    complete(&mut state);
    let durable = state.log.watermark();
    assert!(state.published.log_watermark < durable);
    assert!(matches!(state.plan_reclaim(), Reclaim::Publish));
    assert_eq!(state.segments.get(piece).state, SegmentState::Retired);
    let mark = state.next_mark();
    assert_eq!(mark.log_watermark, durable);
    state.mark_published(mark);
    assert!(matches!(state.plan_reclaim(), Reclaim::Erase(_)));
}

#[test]
fn pieces_that_are_given_up_are_room_again_and_those_of_a_lost_record_never() {
    let mut state = state(1 << 20);
    let (_, given_up) = large(&mut state);
    let (batch, accepted) = large(&mut state);
    state.accept(&batch, NOW).unwrap();
    state.abandon_pieces(&[given_up]);
    state.give_up(std::sync::Arc::new(std::io::Error::other("the log is lost")));
    let Reclaim::Erase(segments) = state.plan_reclaim() else { panic!("one is dead") };
    assert_eq!(segments, [given_up], "the record may have reached the device");
    assert_eq!(state.segments.get(accepted).state, SegmentState::Active);
}

/// The index keeps 89 of 128 bits of a hash here. Two keys that agree in them are one key to it:
/// the newer write takes the place of the older one, and nothing of that stays live.
#[test]
fn of_two_keys_that_the_index_takes_for_one_the_newer_is_left_and_all_adds_up() {
    let mut state = state(1 << 20);
    let (batch, piece) = large(&mut state);
    let hash = batch.writes[0].hash;
    state.accept(&batch, NOW).unwrap();
    complete(&mut state);
    let (index, len) = (&state.groups.get(GroupId::SYSTEM).unwrap().index, batch.writes[0].len);
    let (first, live) = (index.get(hash).unwrap(), state.segments.totals().live);
    assert_eq!(live, u64::from(len.get()) + 5000);

    let mut other = put();
    other.writes[0].hash = KeyHash::new(hash.get() ^ 1);
    state.accept(&other, NOW).unwrap();
    complete(&mut state);
    let system = state.groups.get(GroupId::SYSTEM).unwrap();
    assert_eq!((system.index.len(), system.large.len()), (1, 0));
    assert_eq!(system.index.get(hash), system.index.get(other.writes[0].hash));
    assert_ne!(system.index.get(hash), Some(first));
    assert_eq!(state.segments.totals().live, u64::from(len.get()));
    assert_eq!(state.segments.get(piece).live, 0);
}

/// Other values for keys that are there, deletes and truncations go on, and new keys do again when
/// there are fewer.
#[test]
fn a_full_index_takes_no_new_keys_and_everything_else() {
    let mut state = state(1 << 20);
    state.accept(&put(), NOW).unwrap();
    complete(&mut state);
    assert_eq!(state.index_bytes, state.groups.get(GroupId::SYSTEM).unwrap().index.memory());
    state.rules.index_memory = state.index_bytes;

    let new = system(RecordKind::Put, b"g\x01\0\0\0", b"new");
    let refused = state.accept(&new, NOW).unwrap_err();
    assert!(matches!(refused, Refused::IndexFull(limit) if limit == state.index_bytes));
    let mut both = put();
    both.writes.extend(system(RecordKind::Put, b"g\x01\0\0\0", b"new").writes);
    assert!(matches!(state.accept(&both, NOW), Err(Refused::IndexFull(_))), "whole or not at all");

    state.accept(&put(), NOW).expect("the key is there");
    state.accept(&system(RecordKind::Put, b"t\x01\0\0\0", b""), NOW).expect("it makes room");
    state.accept(&system(RecordKind::Delete, b"t\x01\0\0\0", b""), NOW).expect("so does it");
    complete(&mut state);
    state.rules.index_memory = state.index_bytes + 1;
    state.accept(&new, NOW).expect("there is room again");
}

#[test]
fn a_value_that_no_store_of_this_size_holds_is_refused_at_once() {
    let state = state(1 << 20);
    let refused = state.check_large(GroupId::SYSTEM, 8).unwrap_err();
    assert!(matches!(refused, Refused::NoRoom(Outlook::Full { .. })), "{refused:?}");
    state.check_large(GroupId::SYSTEM, 3).unwrap();
}

/// Damage to a copy must not pass for a torn write once what it was made from is gone.
#[test]
fn nothing_is_erased_before_the_mark_covers_the_copies_made_from_it() {
    let mut state = state(1 << 20);
    let dead = die(&mut state);
    let copies = BufferNumber::new(3);
    state.segments.note_rewrite_buffer(dead, copies);
    state.rewrites.next_number = copies.next();
    assert!(matches!(state.plan_reclaim(), Reclaim::Publish));
    assert_eq!(state.segments.get(dead).state, SegmentState::Retired);
    let mark = state.next_mark();
    assert_eq!(mark.rewrite_watermark, copies.next());
    state.mark_published(mark);
    let Reclaim::Erase(segments) = state.plan_reclaim() else { panic!("the mark covers it") };
    assert_eq!(segments, [dead]);
}

/// What a failed run wrote is void only once the seal that leaves it out is durable.
#[test]
fn the_rewrite_watermark_waits_for_the_seal_of_an_abandoned_segment() {
    let mut state = state(1 << 20);
    let dead = die(&mut state);
    state.rewrites.next_number = BufferNumber::new(9);
    state.rewrites.abandoned.insert(dead, BufferNumber::new(4));
    assert_eq!(state.next_mark().rewrite_watermark, BufferNumber::new(4));
    state.rewrites.abandoned.clear();
    assert_eq!(state.next_mark().rewrite_watermark, BufferNumber::new(9));
}

/// Else up to a block of padding would go with every buffer.
#[test]
fn a_full_buffer_still_takes_what_goes_into_its_last_block() {
    let mut state = state(1 << 20);
    state.rules.buffer_len = 8 << 10;
    let batch = NewBatch { durability: Durability::Buffered, ..put() };
    while state.log.ring.is_empty() {
        state.accept(&batch, NOW).unwrap();
    }
    let sealed = &state.log.ring[0];
    let (records, len) = (sealed.entries.len(), sealed.len.get());
    let used = 96 + to_u32(records) * (24 + batch.writes[0].len.get());
    assert_eq!(len, 8 << 10);
    assert!(len - used < 24 + batch.writes[0].len.get(), "{used} of {len}");
}

/// Seed 654 of full stores: after half was deleted, tombstones filled the slots that were left,
/// each waiting for the slot of another, and every put was refused for good.
#[test]
fn a_store_full_of_tombstones_rewrites_what_they_wait_for() {
    let mut state = state(1 << 20);
    let len = ByteLen::new(to_u32(usize::try_from(state.segments.data_len()).unwrap()));
    let mut old = Vec::new();
    for _ in 0..4 {
        let taken = state.segments.take(Claim::Put, SegmentKind::Log, Sequence::ZERO);
        let (id, _) = taken.unwrap();
        state.segments.add_tombstone(id, ByteLen::new(len.get() / 2), Generation::new(4));
        state.segments.seal(id, 0);
        old.push(id);
    }
    assert!(!state.segments.has_room_for(Claim::Put));
    assert!(matches!(state.outlook(Claim::Put, NOW), Outlook::Wait), "compaction can help");
    let RewritePlan::Run(run) = state.plan_rewrite(NOW) else { panic!("nothing is rewritten") };
    assert_eq!((run.why, run.victims[0].0), (Why::Room, old[0]));
}

/// Readers whose futures go while a panic unwinds must not panic themselves: that ends the process.
#[test]
fn a_destructor_does_nothing_to_a_state_that_a_panic_left_half_way() {
    let memory = Memory::new(state(1));
    let halves = || memory.step(|_| panic!("half-way")).0;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(halves));
    assert!(panicked.is_err());
    assert!(memory.last_step(|_| ()).is_none());
}

/// A synced write is followed by others, most of the time; one that was not asked to be durable
/// waits for nothing that the background could be in front of.
#[test]
fn the_background_is_modest_while_synced_writes_are_made_and_there_is_room() {
    let mut state = state(1 << 20);
    let full = state.allowance(NOW);
    assert!(full.in_flight > 1);
    state.accept(&NewBatch { durability: Durability::Buffered, ..put() }, NOW).unwrap();
    assert_eq!(state.allowance(NOW), full);

    state.accept(&put(), NOW).unwrap();
    let modest = state.allowance(NOW);
    assert!(modest.in_flight == 1 && modest.part < full.part);
    let later = Duration::from_secs(60);
    assert_eq!(state.allowance(later), modest, "it is not durable yet");
    complete(&mut state);
    assert_eq!(state.allowance(NOW), modest, "the next one may come");
    assert_eq!(state.allowance(later), full);

    state.accept(&put(), later).unwrap();
    assert_eq!(state.allowance(later), modest);
    while state.segments.reserve_is_whole() {
        state.segments.take(Claim::Rewrite, SegmentKind::Shared, Sequence::ZERO).unwrap();
    }
    assert_eq!(state.allowance(later), full, "writers wait for room");
}
