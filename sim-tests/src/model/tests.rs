//! The oracle itself: it must find every violation that is planted here.

use super::*;

const GROUP: u32 = 1;

fn create() -> Change {
    Change::Create { group: GROUP, name: "a".into() }
}

fn put(key: KeyNumber, value: u64) -> Change {
    Change::Put { group: GROUP, key, value: Value::Of(value) }
}

fn delete(key: KeyNumber) -> Change {
    Change::Delete { group: GROUP, key }
}

/// Every inner list is one batch.
fn history(batches: Vec<Vec<Change>>) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for (op, batch) in batches.into_iter().enumerate() {
        let first = u64::try_from(records.len()).unwrap() + 10;
        for (sequence, change) in (first..).zip(batch) {
            records.push(Record { sequence, batch: first, op, change });
        }
    }
    records
}

fn state(keys: &[(KeyNumber, u64)]) -> State {
    let keys = keys.iter().map(|&(key, value)| (key, Value::Of(value))).collect();
    State { groups: BTreeMap::from([(GROUP, GroupState { name: "a".into(), keys })]) }
}

fn why(history: &[Record], required: usize, observed: &State) -> Why {
    explain(history, required, observed).unwrap_err().why
}

fn sample() -> Vec<Record> {
    history(vec![
        vec![create()],
        vec![put(1, 100)],
        vec![put(2, 200), put(3, 300)],
        vec![delete(1)],
        vec![put(1, 101)],
    ])
}

#[test]
fn every_legal_cut_explains_itself_and_no_other_one() {
    let history = sample();
    for cut in (0..=history.len()).filter(|&cut| is_legal(&history, cut)) {
        let observed = State::after(&history[..cut]);
        assert_eq!(explain(&history, cut, &observed).unwrap(), cut);
        assert_eq!(explain(&history, 0, &observed).unwrap(), cut);
    }
}

#[test]
fn a_lost_synced_write_is_found() {
    let observed = state(&[(2, 200), (3, 300)]);
    assert_eq!(why(&sample(), 6, &observed), Why::LostWrites { cut: 5, required: 6 });
    assert_eq!(why(&sample(), 1, &State::default()), Why::LostWrites { cut: 0, required: 1 });
}

#[test]
fn a_torn_batch_is_found() {
    let observed = state(&[(1, 100), (2, 200)]);
    assert_eq!(why(&sample(), 0, &observed), Why::PartOfABatch { cut: 3 });
    assert_eq!(why(&sample(), 5, &observed), Why::PartOfABatch { cut: 3 });
}

#[test]
fn a_later_write_without_an_earlier_one_is_no_prefix() {
    assert_eq!(why(&sample(), 0, &state(&[(1, 101)])), Why::NoPrefix);
}

#[test]
fn a_resurrected_key_is_found() {
    let history = history(vec![vec![create()], vec![put(1, 7)], vec![put(2, 8)], vec![delete(1)]]);
    let observed = state(&[(1, 7), (2, 8)]);
    assert_eq!(why(&history, 4, &observed), Why::LostWrites { cut: 3, required: 4 });
    let history = [history, vec![record(put(2, 9), 14)]].concat();
    assert_eq!(why(&history, 4, &state(&[(1, 7), (2, 9)])), Why::NoPrefix);
}

fn record(change: Change, sequence: u64) -> Record {
    Record { sequence, batch: sequence, op: 0, change }
}

#[test]
fn a_group_that_came_back_is_found() {
    let history = history(vec![
        vec![create()],
        vec![put(1, 7)],
        vec![Change::Drop { group: GROUP }],
        vec![Change::Create { group: 2, name: "a".into() }],
    ]);
    let second =
        |id| BTreeMap::from([(id, GroupState { name: "a".into(), keys: BTreeMap::new() })]);
    assert!(explain(&history, 4, &State { groups: second(2) }).is_ok());
    assert!(explain(&history, 4, &State { groups: second(1) }).is_err());
    assert!(explain(&history, 3, &state(&[(1, 7)])).is_err());
}

#[test]
fn a_truncation_that_lost_part_of_its_effect_is_found() {
    let history = history(vec![
        vec![create()],
        vec![put(1, 7)],
        vec![put(2, 8)],
        vec![Change::Truncate { group: GROUP }],
        vec![put(2, 9)],
    ]);
    assert_eq!(explain(&history, 5, &state(&[(2, 9)])).unwrap(), 5);
    assert_eq!(explain(&history, 4, &state(&[])).unwrap(), 4);
    assert_eq!(why(&history, 4, &state(&[(2, 8)])), Why::NoPrefix);
    assert_eq!(why(&history, 4, &state(&[(1, 7), (2, 9)])), Why::NoPrefix);
    assert_eq!(
        why(&history, 4, &state(&[(1, 7), (2, 8)])),
        Why::LostWrites { cut: 3, required: 4 }
    );
}

#[test]
fn a_key_of_nobody_is_found() {
    let observed = state(&[(1, 101), (2, 200), (3, 300), (4, 400)]);
    let found = explain(&sample(), 6, &observed).unwrap_err();
    assert_eq!(found.why, Why::NoPrefix);
    let text = found.to_string();
    assert!(text.contains("Key(1, 4) should be absent; recovered: value 400"), "{text}");
}

#[test]
fn of_several_cuts_that_explain_a_state_the_first_one_is_taken() {
    let history = history(vec![vec![create()], vec![put(1, 7)], vec![delete(1)]]);
    assert_eq!(explain(&history, 0, &state(&[])).unwrap(), 1);
    assert_eq!(explain(&history, 2, &state(&[])).unwrap(), 3);
}
