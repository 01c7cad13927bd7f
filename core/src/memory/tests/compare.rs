//! Requirements, on states made by hand: what a step knows, and when an answer may be given.

use super::*;
use crate::groups::GroupChange;
use crate::types::{Location, SegmentOffset};

const G: GroupId = GroupId::new(1);
const KEY: &[u8] = b"key";

fn hash() -> KeyHash {
    KeyHasher::new([0; 16]).hash(KEY)
}

fn with_group() -> State {
    let mut state = state(1 << 20);
    state.groups.apply(&GroupChange::Created { id: G, name: "g".into() });
    state
}

fn write(kind: RecordKind, value: &'static [u8], durability: Durability) -> NewBatch {
    let write = NewWrite {
        group: G,
        hash: hash(),
        kind,
        body_crc: body_crc(KEY, value),
        len: record_len(KEY.len(), value.len()).unwrap(),
        key: Bytes::from_static(KEY),
        value: Bytes::from_static(value),
        large: None,
    };
    NewBatch { writes: vec![write], durability, charge: 0 }
}

fn put(durability: Durability) -> NewBatch {
    write(RecordKind::Put, b"value", durability)
}

fn nothing() -> NewBatch {
    NewBatch { writes: Vec::new(), durability: Durability::Buffered, charge: 0 }
}

fn expects(expected: Expected) -> Requirement {
    Requirement { group: G, hash: hash(), key: Bytes::from_static(KEY), expected, evidence: None }
}

/// What a step says of one requirement.
fn decide(state: &mut State, one: Requirement) -> Verdict {
    state.accept_if(&nothing(), &[one], NOW).unwrap()
}

fn holds(state: &mut State, expected: Expected) -> bool {
    matches!(decide(state, expects(expected)), Verdict::Accepted(_))
}

#[test]
fn of_two_that_want_a_key_to_be_absent_the_second_hears_of_the_first_when_that_is_durable() {
    let mut state = with_group();
    let batch = put(Durability::Synced);
    let first = state.accept_if(&batch, &[expects(Expected::Absent)], NOW).unwrap();
    let Verdict::Accepted(Accepted { first: Some(first), .. }) = first else { panic!("{first:?}") };
    let second = state.accept_if(&batch, &[expects(Expected::Absent)], NOW).unwrap();
    let Verdict::Fails { number: 0, present, done: Some(mut done) } = second else {
        panic!("{second:?}");
    };
    assert_eq!(present, Some(first));
    assert!(done.try_recv().is_err(), "the answer waits");
    // It became durable: now all of it is known, but for its value.
    let mut job = state.plan(NOW).writes.pop().unwrap();
    let (number, image) = (job.number, job.encode(7));
    state.landed(number, image, Ok(0), NOW);
    assert_eq!(state.plan(NOW).syncs, [0]);
    state.synced(0, Ok(0));
    assert!(done.try_recv().unwrap().is_ok());
    assert!(matches!(decide(&mut state, expects(Expected::Absent)), Verdict::Unread { number: 0 }));
}

#[test]
fn a_write_that_relies_on_one_that_nobody_may_see_waits_for_both() {
    let mut state = with_group();
    state.accept(&put(Durability::Synced), NOW).unwrap();
    let batch = put(Durability::Buffered);
    let verdict = state.accept_if(&batch, &[expects(Expected::Present)], NOW).unwrap();
    let Verdict::Accepted(accepted) = verdict else { panic!("{verdict:?}") };
    assert!(accepted.done.is_some(), "a buffered write is acknowledged at once otherwise");
    let value = expects(Expected::Value(Bytes::from_static(b"value")));
    assert!(matches!(decide(&mut state, value), Verdict::Accepted(_)), "the buffered one is seen");
}

#[test]
fn the_value_of_a_write_that_nobody_may_see_is_waited_for() {
    let mut state = with_group();
    state.accept(&put(Durability::Synced), NOW).unwrap();
    let value = expects(Expected::Value(Bytes::from_static(b"value")));
    assert!(matches!(decide(&mut state, value), Verdict::OnItsWay { number: 0 }));
}

#[test]
fn what_is_on_its_way_and_readable_is_known_at_once() {
    let mut state = with_group();
    let accepted = state.accept(&put(Durability::Buffered), NOW).unwrap();
    let version = accepted.first.unwrap();
    assert!(holds(&mut state, Expected::Version(version)));
    assert!(!holds(&mut state, Expected::Version(version.next())));
    assert!(holds(&mut state, Expected::Value(Bytes::from_static(b"value"))));
    assert!(!holds(&mut state, Expected::Value(Bytes::from_static(b"other"))));
    state.accept(&write(RecordKind::Delete, b"", Durability::Buffered), NOW).unwrap();
    assert!(holds(&mut state, Expected::Absent));
    assert!(!holds(&mut state, Expected::Value(Bytes::from_static(b"value"))));
}

/// A truncation that is accepted and not durable has not emptied the index yet.
#[test]
fn a_truncation_on_its_way_removes_what_was_accepted_before_it_and_nothing_else() {
    let mut state = with_group();
    state.accept(&put(Durability::Buffered), NOW).unwrap();
    let key = crate::groups::truncation_key(G);
    state.accept(&system(RecordKind::Put, &key, b""), NOW).unwrap();
    let verdict = decide(&mut state, expects(Expected::Present));
    let Verdict::Fails { present: None, done: Some(_), .. } = verdict else {
        panic!("{verdict:?}")
    };
    state.accept(&put(Durability::Buffered), NOW).unwrap();
    assert!(holds(&mut state, Expected::Present));
}

#[test]
fn what_was_read_holds_for_one_place_in_one_life_of_a_segment() {
    let mut state = with_group();
    let (segment, generation) =
        state.segments.take(Claim::Put, SegmentKind::Log, Sequence::ZERO).unwrap();
    let place = |offset| Location::new(segment, SegmentOffset::new(offset), ByteLen::new(40));
    state.groups.get_mut(G).unwrap().index.insert(hash(), place(64));
    let version = Sequence::new(7);
    let with = |at, generation| {
        let place = Some((at, generation));
        let evidence = Some(Evidence { sequence: version, place, is_value: false });
        Requirement { evidence, ..expects(Expected::Version(version)) }
    };
    let unread = |verdict| matches!(verdict, Verdict::Unread { number: 0 });
    assert!(unread(decide(&mut state, expects(Expected::Version(version)))));
    assert!(unread(decide(&mut state, with(place(128), generation))));
    assert!(unread(decide(&mut state, with(place(64), generation.next()))));
    let known = decide(&mut state, with(place(64), generation));
    assert!(matches!(known, Verdict::Accepted(_)), "{known:?}");
}

#[test]
fn nothing_is_written_if_one_of_several_does_not_hold() {
    let mut state = with_group();
    let before = state.log.next_sequence;
    let required = [expects(Expected::Absent), expects(Expected::Present)];
    let verdict = state.accept_if(&put(Durability::Synced), &required, NOW).unwrap();
    assert!(matches!(verdict, Verdict::Fails { number: 1, present: None, done: None }));
    assert_eq!(state.log.next_sequence, before);
}
