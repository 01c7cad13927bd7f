//! Reads that memory answers: whether there is a key, how long its value is, how many there are.
//!
//! 1. The answers of one moment agree: with each other, and for the whole group.
//! 2. Each is that of a read in its place; [`crate::ledger::reads`] says which that is.
//! 3. None needs the device, so none may fail but for a group that is dropped or a closed store.
//!
//! Absent on purpose: a store that counts by itself. What is counted here is asked key by key.

use logstor_core::{Durability, Error, Group, ValueSize};

use super::Client;
use crate::ledger::reads::Seen;
use crate::ops::GiveUp;

/// What a store says of a key and its group at one moment.
#[derive(Debug)]
struct Told {
    there: bool,
    size: Option<ValueSize>,
    len: u64,
    is_empty: bool,
    /// Keys of the group that are there, asked one by one.
    counted: u64,
}

impl Client {
    pub(super) async fn know(&mut self) {
        let (group, key) = (self.draw.group(), self.draw.key());
        let Some(handle) = self.handle(group).await else { return };
        let id = handle.id().get();
        let what = format!("{}: know key {key} of group {id}", self.name);
        let shared = self.shared.clone();
        let faults = self.shared.faults().all_reads();
        let future = async move {
            let before = shared.ledger.lock().read_begins((id, key));
            ask(&handle, &shared.plan.keys, key).map(|told| (before, told))
        };
        let called = self.shared.call(what, Durability::Buffered, GiveUp::Never, future).await;
        match called {
            (_, None) => {}
            (op, Some(Err(error))) => self.shared.judge_read(op, &error, id, faults),
            (op, Some(Ok(((floor, accepted, gone), told)))) => {
                let mut facts = self.shared.ledger.lock();
                if gone {
                    facts.fail(format!("op {op} knows group {id}, which was dropped"));
                }
                if told.there != told.size.is_some()
                    || told.len != told.counted
                    || told.is_empty != (told.len == 0)
                {
                    facts.fail(format!("op {op}: the answers do not agree: {told:?}"));
                }
                let size = told.size.map(|size| (size.at_least(), size.at_most()));
                facts.seen_as((id, key), floor, accepted, Seen::Size(size));
                facts.tally.one("reads/known");
            }
        }
    }
}

/// All answers, in one poll.
fn ask(group: &Group, keys: &[Vec<u8>], key: usize) -> Result<Told, Error> {
    let mut counted = 0;
    for key in keys {
        counted += u64::from(group.contains_key(key)?);
    }
    Ok(Told {
        there: group.contains_key(&keys[key])?,
        size: group.size_of(&keys[key])?,
        len: group.len()?,
        is_empty: group.is_empty()?,
        counted,
    })
}
