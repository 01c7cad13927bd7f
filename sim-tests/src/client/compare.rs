//! Writes that are made only if keys are as expected: read, modified and written, beside others.
//!
//! [`crate::ledger::compares`] says what must be true of the answers. The simulation means to write
//! with a requirement on the key that it read, and now and then on others that it did not.
//!
//! Absent on purpose: large values to be written. They come through the same step, and a test of
//! their own.

use bytes::Bytes;
use logstor_core::{
    Durability, Entry, ErrorKind, Expect, Group, Outcome, Version, WriteBatch, WriteOptions,
};

use super::{Client, Shared};
use crate::ledger::OpNumber;
use crate::ledger::compares::{Expected, Meant, Required};
use crate::model::KeyNumber;
use crate::ops::{Guess, Write};
use crate::value;

/// What a client knows of a key.
#[derive(Debug)]
enum Known {
    /// It did not look.
    Nothing,
    /// It was not there.
    Absent,
    There(Entry),
}

/// A requirement, for the engine and for the ledger.
struct Requires {
    handle: Group,
    key: KeyNumber,
    expect: Expect,
    expected: Expected,
    /// What every read that began with the call had to see.
    floor: Option<usize>,
}

impl Requires {
    fn required(&self) -> Required {
        ((self.handle.id().get(), self.key), self.expected)
    }
}

impl Client {
    /// Reads a key, and writes depending on what it is.
    pub(super) async fn compare(&mut self) {
        let (group, key) = (self.draw.group(), self.draw.key());
        let Some(handle) = self.handle(group).await else { return };
        let known = if self.draw.rng.chance(4, 5) {
            let Some(known) = self.entry(&handle, key).await else { return };
            known
        } else {
            Known::Nothing
        };
        if let Some(pause) = self.draw.pause() {
            self.shared.clock.sleep(pause).await;
        }
        let mut requires = vec![self.requires(handle, key, known)];
        let writes = match self.draw.rng.below(4) {
            0 => vec![Write { group, key, len: None }],
            1 => {
                let (other, key) = (self.draw.group(), self.draw.key());
                let Some(handle) = self.handle(other).await else { return };
                requires.push(self.requires(handle, key, Known::Nothing));
                self.draw.batch()
            }
            _ => vec![Write { group, key, ..self.draw.put() }],
        };
        self.write_if(requires, writes).await;
    }

    /// Reads an entry; `None` if that was given up or failed.
    async fn entry(&mut self, handle: &Group, key: KeyNumber) -> Option<Known> {
        let (give_up, id) = (self.draw.give_up(), handle.id().get());
        let what = format!("{}: entry of key {key} of group {id}", self.name);
        let (shared, bytes) = (self.shared.clone(), self.shared.plan.keys[key].clone());
        let faults = self.shared.faults().all_reads();
        let handle = handle.clone();
        let future = async move {
            let before = shared.ledger.lock().read_begins((id, key));
            handle.get_entry(&bytes).await.map(|entry| (before, entry))
        };
        let (op, result) = self.shared.call(what, Durability::Buffered, give_up, future).await;
        let ((floor, accepted, _), entry) = match result? {
            Ok(found) => found,
            Err(error) => {
                self.shared.judge_read(op, &error, id, faults);
                return None;
            }
        };
        let mut facts = self.shared.ledger.lock();
        let Some(entry) = entry else {
            facts.seen((id, key), floor, accepted, None);
            return Some(Known::Absent);
        };
        match entry.value.whole().map(|value| value::parse(value)).transpose() {
            Ok(value) => {
                let version = entry.version.get();
                facts.seen_version((id, key), floor, accepted, (version, value));
            }
            Err(what) => facts.fail(format!("op {op}: {what}")),
        }
        Some(Known::There(entry))
    }

    /// Expects something of a key of which this is known, if anything is.
    fn requires(&mut self, handle: Group, key: KeyNumber, known: Known) -> Requires {
        let (present, entry) = match known {
            Known::Nothing => (None, None),
            Known::Absent => (Some(false), None),
            Known::There(entry) => (Some(true), Some(entry)),
        };
        let guess = self.draw.guess(present);
        let any = value::make(self.draw.rng.bits(), 30);
        let (expect, expected) = match (guess, entry) {
            (Guess::Absent, _) => (Expect::Absent, Expected::Absent),
            (Guess::Present, _) => (Expect::Present, Expected::Present),
            (Guess::Version, Some(entry)) => version(entry.version),
            (Guess::Version, None) => version(Version::new(self.draw.rng.below(2000))),
            (Guess::Value, Some(entry)) => match entry.value.whole() {
                Some(bytes) => of_value(bytes.clone()),
                None => version(entry.version),
            },
            (Guess::Value, None) => of_value(any),
        };
        Requires { handle, key, expect, expected, floor: None }
    }

    async fn write_if(&mut self, mut requires: Vec<Requires>, writes: Vec<Write>) {
        let (mut resolved, mut changes) = (Vec::new(), Vec::new());
        for write in &writes {
            let Some(group) = self.handle(write.group).await else { return };
            let number = self.draw.rng.bits();
            changes.push(write.change(group.id().get(), number));
            let key = self.shared.plan.keys[write.key].clone();
            resolved.push((group, key, write.len.map(|len| value::make(number, len))));
        }
        let mut options = WriteOptions::default();
        options.durability = self.draw.durability();
        let level = options.durability.unwrap_or(self.shared.plan.options.durability);
        let give_up = self.draw.give_up();
        let wanted: Vec<Required> = requires.iter().map(Requires::required).collect();
        let told = super::told(&writes, &resolved);
        let what = format!("{}: if {wanted:?} {told}", self.name);
        let ids =
            resolved.iter().map(|write| &write.0).chain(requires.iter().map(|one| &one.handle));
        let ids: Vec<u32> = ids.map(|group| group.id().get()).collect();
        let before = {
            let facts = self.shared.ledger.lock();
            for one in &mut requires {
                one.floor = facts.floor(one.handle.id().get(), one.key);
            }
            facts.history.len()
        };
        let faults = self.shared.faults().all_reads();
        let future = self.asked(&requires, resolved, options);
        let meant = Meant { changes, required: wanted };
        let (op, result) = self.shared.call_to_write(what, level, meant, give_up, future).await;
        match result {
            None => {}
            Some(Ok(Outcome::Made(first))) => {
                self.shared.judge_made(op, &requires, &writes, first);
                self.shared.ledger.lock().came_to(before, level);
            }
            Some(Ok(Outcome::Unmet { requirement, present })) => {
                self.shared.judge_unmet(op, &requires[requirement], present);
            }
            Some(Err(error)) if error.kind() == ErrorKind::Io => {
                self.shared.judge_read(op, &error, ids[0], faults);
                if self.shared.ledger.lock().records_of(op) > 0 {
                    self.shared.ledger.fail(format!("op {op} was accepted, and failed: {error}"));
                }
            }
            Some(Err(error)) => {
                let puts = writes.iter().any(|write| write.len.is_some());
                self.met_full = puts && error.kind() == ErrorKind::Full;
                self.shared.judge(op, &error, puts, &ids);
            }
        }
    }

    /// The call: of one key, or of a batch.
    fn asked(
        &self,
        requires: &[Requires],
        mut writes: Vec<(Group, Vec<u8>, Option<Bytes>)>,
        options: WriteOptions,
    ) -> impl Future<Output = logstor_core::Result<Outcome>> + use<> {
        let db = self.shared.db.clone();
        let requires: Vec<(Group, Vec<u8>, Expect)> = requires
            .iter()
            .map(|one| {
                let key = self.shared.plan.keys[one.key].clone();
                (one.handle.clone(), key, one.expect.clone())
            })
            .collect();
        async move {
            if let [(group, key, expect)] = &requires[..]
                && writes.len() == 1
            {
                let (_, _, value) = writes.pop().expect("there is one");
                let expect = expect.clone();
                return match value {
                    Some(value) => group.compare_and_put_with(key, expect, value, options).await,
                    None => group.compare_and_delete_with(key, expect, options).await,
                };
            }
            let mut batch: WriteBatch = super::batch_of(writes);
            for (group, key, expect) in requires {
                batch.require(&group, key, expect);
            }
            db.write_if_with(batch, options).await
        }
    }
}

fn version(version: Version) -> (Expect, Expected) {
    (Expect::Version(version), Expected::Version(version.get()))
}

fn of_value(bytes: Bytes) -> (Expect, Expected) {
    let value = value::parse(&bytes).expect("it was made or judged before");
    (Expect::Value(bytes), Expected::Value(value))
}

impl Shared {
    fn judge_made(
        &self,
        op: OpNumber,
        requires: &[Requires],
        writes: &[Write],
        first: Option<Version>,
    ) {
        self.count(if requires.len() > 1 { "compares/made with others" } else { "compares/made" });
        let mut facts = self.ledger.lock();
        facts.succeeded(op);
        let made = facts.records_of(op);
        if facts.first_of(op) != first.map(Version::get) {
            return facts.fail(format!("op {op} made {made} records, the first one {first:?}"));
        }
        if made == writes.len() {
            return;
        }
        if made > 0 || !matches!(writes, [Write { len: None, .. }]) {
            return facts.fail(format!("op {op} is done with {made} records of {}", writes.len()));
        }
        let [one] = requires else { return }; // it deletes another key, which is not judged here
        let (slot, expected) = one.required();
        if expected != Expected::Absent {
            return facts.fail(format!("op {op} deleted what is {expected:?}, and made no record"));
        }
        let accepted = facts.history.len();
        facts.seen(slot, one.floor, accepted, None);
    }

    fn judge_unmet(&self, op: OpNumber, one: &Requires, present: Option<Version>) {
        self.count("compares/unmet");
        let mut facts = self.ledger.lock();
        let accepted = facts.history.len();
        let moments = (one.floor, accepted);
        facts.was_unmet(op, one.required(), moments, present.map(Version::get));
    }
}
