//! The ledger itself: it must find every violation that is planted here.

use logstor_core::Durability;
use logstor_core::types::{GroupId, Sequence};

use super::reads::Seen;
use super::*;
use crate::value::Value;

const GROUP: u32 = 1;

/// A store with one group, and everything that the engine could say of it.
struct Planted {
    ledger: Ledger,
    next: u64,
}

impl Planted {
    fn new() -> Self {
        let ledger = Ledger::new(&[b"0".to_vec(), b"1".to_vec(), b"2".to_vec()], None);
        let mut planted = Self { ledger, next: 10 };
        planted.catalogue(&[b"g\x01\0\0\0"], Some(b"a"));
        planted
    }

    fn catalogue(&mut self, keys: &[&[u8]], value: Option<&[u8]>) -> OpNumber {
        let op = self.ledger.begin("catalogue", Durability::Synced);
        let batch = self.next;
        for key in keys {
            self.accept(op, GroupId::SYSTEM, batch, key, value);
        }
        self.ledger.lock().succeeded(op);
        op
    }

    fn accept(
        &mut self,
        op: OpNumber,
        group: GroupId,
        batch: u64,
        key: &[u8],
        value: Option<&[u8]>,
    ) {
        self.ledger.polling(Some(op));
        self.ledger.lock().accepted(&AcceptedWrite {
            sequence: Sequence::new(self.next),
            group,
            key,
            value,
            batch: Sequence::new(batch),
        });
        self.ledger.polling(None);
        self.next += 1;
    }

    /// A call that means to put these values, and of which all is accepted as one batch.
    fn puts(&mut self, durability: Durability, values: &[(KeyNumber, u64)]) -> OpNumber {
        let op = self.ledger.begin("put", durability);
        let change = |&(key, number): &(KeyNumber, u64)| Change::Put {
            group: GROUP,
            key,
            value: Value::Of(number),
        };
        let changes: Vec<Change> = values.iter().map(change).collect();
        self.ledger.lock().intends(op, changes);
        let batch = self.next;
        for (key, number) in values {
            let (key, value) = (key.to_string(), value::make(*number, 20));
            self.accept(op, GroupId::new(GROUP), batch, key.as_bytes(), Some(&value));
        }
        op
    }

    /// A read that takes effect now.
    fn read(&self, key: KeyNumber, value: Option<u64>) {
        let mut facts = self.ledger.lock();
        let (floor, accepted) = (facts.floor(GROUP, key), facts.history.len());
        facts.seen((GROUP, key), floor, accepted, value.map(Value::Of));
    }

    fn passes(&self) {
        assert_eq!(self.ledger.lock().failure, None);
    }

    fn fails(&self, with: &str) {
        let failure = self.ledger.lock().failure.clone().expect("a planted violation is found");
        assert!(failure.contains(with), "{failure}");
    }
}

#[test]
fn a_size_is_that_of_a_value_that_may_be_seen() {
    let check = |size, wrong: Option<&str>| {
        let mut store = Planted::new();
        store.puts(Durability::Buffered, &[(0, 7)]);
        let mut facts = store.ledger.lock();
        let (floor, accepted) = (facts.floor(GROUP, 0), facts.history.len());
        facts.seen_as((GROUP, 0), floor, accepted, Seen::Size(size));
        drop(facts);
        wrong.map_or_else(|| store.passes(), |wrong| store.fails(wrong));
    };
    check(Some((20, 20)), None);
    check(Some((15, 22)), None);
    check(Some((21, 28)), Some("gave 21 to 28 bytes; it had to see record Some(1)"));
    check(None, Some("gave no size; it had to see record Some(1)"));
}

#[test]
fn a_write_that_is_not_durable_may_be_seen_or_not_until_somebody_saw_it() {
    let mut store = Planted::new();
    store.puts(Durability::Synced, &[(0, 7)]);
    store.read(0, None);
    store.read(0, Some(7));
    store.passes();
    assert_eq!(store.ledger.lock().must_survive, 2, "what was seen cannot vanish");
    store.read(0, None);
    store.fails("gave None; it had to see record Some(1)");
}

#[test]
fn a_buffered_write_is_seen_at_once() {
    let mut store = Planted::new();
    store.puts(Durability::Synced, &[(0, 7)]);
    store.puts(Durability::Buffered, &[(0, 8)]);
    store.read(0, Some(8));
    store.passes();
    store.read(0, Some(7));
    store.fails("a read of key 0");
}

#[test]
fn reads_of_several_clients_never_go_back() {
    let mut store = Planted::new();
    for number in 7..10 {
        store.puts(Durability::Synced, &[(0, number)]);
    }
    store.read(0, Some(8));
    store.read(0, Some(9));
    store.passes();
    store.read(0, Some(8));
    store.fails("a read of key 0");
}

#[test]
fn a_read_gives_nothing_that_was_accepted_after_it() {
    let mut store = Planted::new();
    let accepted = store.ledger.lock().history.len();
    store.puts(Durability::Buffered, &[(0, 7)]);
    let mut facts = store.ledger.lock();
    facts.seen((GROUP, 0), None, accepted, Some(Value::Of(7)));
    drop(facts);
    store.fails("below 1");
}

#[test]
fn who_saw_one_key_of_a_batch_cannot_miss_another() {
    let mut store = Planted::new();
    store.puts(Durability::Synced, &[(0, 7), (1, 8)]);
    store.read(1, None);
    store.read(0, Some(7));
    store.passes();
    assert_eq!(store.ledger.lock().must_survive, 3, "all of the batch");
    assert_eq!(store.ledger.lock().tally.get("reads/that show a batch"), 1);
    store.read(1, None);
    store.fails("a read of key 1");
}

#[test]
fn who_saw_a_durable_write_cannot_miss_what_was_accepted_before_it() {
    let mut store = Planted::new();
    store.puts(Durability::Synced, &[(0, 7)]);
    let second = store.puts(Durability::Synced, &[(1, 8)]);
    store.read(0, None);
    store.passes();
    store.ledger.lock().succeeded(second);
    store.read(0, None);
    store.fails("a read of key 0");
}

#[test]
fn a_call_writes_what_it_means_to_and_nothing_else() {
    let mut store = Planted::new();
    let op = store.ledger.begin("get", Durability::Synced);
    store.accept(op, GroupId::new(GROUP), 11, b"0", None);
    store.fails("op 1 meant None");

    let mut store = Planted::new();
    let op = store.puts(Durability::Synced, &[(0, 7)]);
    let meant = Change::Put { group: GROUP, key: 0, value: Value::Of(7) };
    store.ledger.lock().intends(op, vec![meant.clone(), meant]);
    store.ledger.lock().ended(op, "dropped");
    store.fails("ended with 1 records of 2");
}

#[test]
fn a_call_that_is_accepted_in_two_parts_is_found() {
    let mut store = Planted::new();
    let op = store.ledger.begin("batch", Durability::Synced);
    let delete = |key| Change::Delete { group: GROUP, key };
    store.ledger.lock().intends(op, vec![delete(0), delete(1)]);
    store.accept(op, GroupId::new(GROUP), 11, b"0", None);
    store.passes();
    store.accept(op, GroupId::new(GROUP), 12, b"1", None);
    store.fails("had begun another batch");
}

#[test]
fn a_name_is_that_of_one_group_and_an_id_is_given_once() {
    let mut store = Planted::new();
    store.catalogue(&[b"g\x02\0\0\0"], Some(b"a"));
    store.fails("group 1 has that name");

    let mut store = Planted::new();
    store.catalogue(&[b"g\x01\0\0\0"], None);
    store.catalogue(&[b"g\x02\0\0\0"], Some(b"a"));
    store.passes();
    store.catalogue(&[b"g\x01\0\0\0"], Some(b"b"));
    store.fails("given out twice");
}

#[test]
fn what_a_recovery_showed_is_what_every_read_sees() {
    let mut store = Planted::new();
    store.puts(Durability::Written, &[(0, 7)]);
    store.puts(Durability::Buffered, &[(0, 8)]);
    store.ledger.lock().recovered(2);
    store.read(0, Some(7));
    store.passes();
    store.read(0, Some(8));
    store.fails("a read of key 0");
}

/// A call that requires something of key 0 and puts it, accepted at once.
fn compared(store: &mut Planted, expected: compares::Expected) {
    let op = store.ledger.begin("compare", Durability::Synced);
    let change = Change::Put { group: GROUP, key: 0, value: Value::Of(99) };
    let required = vec![((GROUP, 0), expected)];
    store.ledger.lock().intends(op, compares::Meant { changes: vec![change], required });
    let (value, batch) = (value::make(99, 20), store.next);
    store.accept(op, GroupId::new(GROUP), batch, b"0", Some(&value));
}

#[test]
fn a_write_that_requires_what_is_not_so_is_found() {
    use compares::Expected;
    // The first put has the sequence 11.
    let with = |expected: Expected, holds: bool| {
        let mut store = Planted::new();
        store.puts(Durability::Synced, &[(0, 7)]);
        compared(&mut store, expected);
        if holds { store.passes() } else { store.fails("and key 0 of group 1 was not") }
    };
    with(Expected::Version(11), true);
    with(Expected::Version(10), false);
    with(Expected::Value(Value::Of(7)), true);
    with(Expected::Value(Value::Of(8)), false);
    with(Expected::Present, true);
    with(Expected::Absent, false);
}

#[test]
fn a_write_that_does_not_see_a_truncation_before_it_is_found() {
    let mut store = Planted::new();
    store.puts(Durability::Synced, &[(0, 7)]);
    store.catalogue(&[b"t\x01\0\0\0"], Some(b""));
    compared(&mut store, compares::Expected::Present);
    store.fails("and key 0 of group 1 was not Present");
}

#[test]
fn whoever_says_that_something_does_not_hold_must_say_what_is_there_instead() {
    use compares::Expected;
    let with = |expected: Expected, present: Option<u64>| {
        let mut store = Planted::new();
        store.puts(Durability::Buffered, &[(0, 7)]);
        let op = store.ledger.begin("compare", Durability::Synced);
        let mut facts = store.ledger.lock();
        let moments = (facts.floor(GROUP, 0), facts.history.len());
        facts.was_unmet(op, ((GROUP, 0), expected), moments, present);
        drop(facts);
        store
    };
    with(Expected::Absent, Some(11)).passes();
    with(Expected::Version(3), Some(11)).passes();
    with(Expected::Version(11), Some(11)).fails("was told that it is not");
    with(Expected::Absent, Some(3)).fails("has version 3");
    with(Expected::Present, None).fails("gave None");
}

#[test]
fn an_entry_must_have_the_version_of_its_value() {
    let mut store = Planted::new();
    store.puts(Durability::Buffered, &[(0, 7)]);
    store.puts(Durability::Buffered, &[(0, 8)]);
    let entry = |store: &Planted, version, number| {
        let mut facts = store.ledger.lock();
        let moments = (Some(1), facts.history.len());
        facts.seen_version((GROUP, 0), moments.0, moments.1, (version, Some(Value::Of(number))));
    };
    entry(&store, 11, 7);
    entry(&store, 12, 8);
    store.passes();
    entry(&store, 11, 8);
    store.fails("has version 11");
}

#[test]
fn a_key_that_was_there_throughout_was_never_absent() {
    let mut store = Planted::new();
    store.puts(Durability::Buffered, &[(0, 7)]);
    let floor = store.ledger.lock().floor(GROUP, 0);
    store.puts(Durability::Buffered, &[(0, 8)]);
    let absent = |store: &Planted| {
        let facts = store.ledger.lock();
        facts.was_absent((GROUP, 0), floor, facts.history.len())
    };
    assert!(!absent(&store));
    store.catalogue(&[b"t\x01\0\0\0"], Some(b""));
    assert!(absent(&store));
    assert!(store.ledger.lock().was_absent((GROUP, 1), None, 3));
}
