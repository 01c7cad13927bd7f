//! Scans beside writers, compaction and crashes.
//!
//! A scan takes time, and its entries are of different moments within it. So each is judged as a
//! read whose moment is anywhere from the scan's beginning to when the entry was given.
//!
//! 1. Tokens never go down, and lie in the range asked for.
//! 2. No key is seen twice.
//! 3. An entry is of one record: it has its value, or the length of it, and its version.
//! 4. A key of the range that a scan to its end did not see was absent at some moment meanwhile. So
//!    one that was there throughout must have been seen.
//! 5. A record that could not be read may hide one key.
//! 6. Nothing follows a dropped group or a closed store.
//!
//! Absent on purpose: two keys of one token, which no keyed hash of forty keys gives. Unit tests of
//! the engine make them by hand.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use futures::StreamExt;
use logstor_core::{Durability, Entry, EntryValue, Error, ErrorKind, Group};

use super::{Client, Shared};
use crate::ledger::{Facts, OpNumber};
use crate::model::KeyNumber;
use crate::ops::Walk;
use crate::value;

/// What a scan has to see, and what it saw.
struct Scanned {
    group: u32,
    tokens: RangeInclusive<u64>,
    /// The token of each key, and what a read at the beginning had to see of it.
    keys: Vec<(u64, Option<usize>)>,
    seen: BTreeSet<KeyNumber>,
    last_token: u64,
    /// Records that could not be read.
    hidden: usize,
    /// The group was durably dropped when it began.
    gone: bool,
    /// Records accepted when it began, and failed reads.
    accepted: usize,
    faults: u64,
}

impl Client {
    pub(super) async fn scan(&mut self) {
        let group = self.draw.group();
        let Some(handle) = self.handle(group).await else { return };
        let (walk, give_up) = (self.draw.walk(), self.draw.give_up_late(None));
        let id = handle.id().get();
        let what = format!("{}: scan group {id}, {walk:?}", self.name);
        let shared = self.shared.clone();
        let op = self.shared.ledger.next_op();
        let future = async move {
            shared.walk(op, &handle, walk).await;
            Ok(())
        };
        if let (_, None) = self.shared.call(what, Durability::Buffered, give_up, future).await {
            self.shared.count("scans/given up");
        }
    }
}

impl Shared {
    /// Scans a group, and judges what it sees on the way.
    async fn walk(&self, op: OpNumber, group: &Group, walk: Walk) {
        let mut scanned = match self.begin(group, &walk) {
            Ok(scanned) => scanned,
            Err(error) => return self.ledger.fail(format!("op {op}: a token: {error:?}")),
        };
        let mut scan = group.scan_tokens(walk.tokens.clone());
        let mut ended = false;
        for count in 0..walk.most {
            if let Some((every, pause)) = walk.pause
                && count % every == every - 1
            {
                self.clock.sleep(pause).await;
            }
            match scan.next().await {
                None => {
                    ended = true;
                    break;
                }
                Some(Ok(entry)) => {
                    if let Err(what) = self.judge_entry(&mut scanned, &entry) {
                        return self.ledger.fail(format!("op {op}: {what}"));
                    }
                }
                Some(Err(error))
                    if matches!(error.kind(), ErrorKind::Io | ErrorKind::Corruption) =>
                {
                    self.judge_read(op, &error, scanned.group, scanned.faults);
                    self.count("scans/past a failed read");
                    scanned.hidden += 1;
                }
                Some(Err(error)) => return self.broke_off(op, &scanned, &error, scan.next().await),
            }
        }
        if ended {
            self.judge_unseen(op, &scanned);
        }
    }

    fn begin(&self, group: &Group, walk: &Walk) -> Result<Scanned, Error> {
        let id = group.id().get();
        let tokens: Result<Vec<u64>, Error> =
            self.plan.keys.iter().map(|key| group.token_of(key)).collect();
        let facts = self.ledger.lock();
        let keys = tokens?.into_iter().zip(0..).map(|(token, key)| (token, facts.floor(id, key)));
        Ok(Scanned {
            group: id,
            tokens: walk.tokens.clone(),
            keys: keys.collect(),
            seen: BTreeSet::new(),
            last_token: 0,
            hidden: 0,
            gone: facts.is_gone(id),
            accepted: facts.history.len(),
            faults: self.faults().all_reads(),
        })
    }

    fn judge_entry(&self, scanned: &mut Scanned, entry: &Entry) -> Result<(), String> {
        self.count("scans/entries");
        let key = self.plan.keys.iter().position(|key| **key == *entry.key);
        let key = key.ok_or_else(|| format!("a scan saw {:?}, which nobody wrote", entry.key))?;
        let (token, floor) = scanned.keys[key];
        let last = std::mem::replace(&mut scanned.last_token, token);
        if entry.token != token || token < last || !scanned.tokens.contains(&token) {
            return Err(format!("a scan saw key {key} of token {token} as of {}", entry.token));
        }
        if !scanned.seen.insert(key) {
            return Err(format!("a scan saw key {key} twice"));
        }
        if scanned.gone {
            return Err(format!("a scan saw key {key} of a group that was dropped"));
        }
        let value = match &entry.value {
            EntryValue::Whole(bytes) => Some(value::parse(bytes)?),
            EntryValue::Large(_) => None,
        };
        let mut facts = self.ledger.lock();
        let accepted = facts.history.len();
        let slot = (scanned.group, key);
        facts.seen_version(slot, floor, accepted, (entry.version.get(), value));
        if facts.is_overwritten(slot, scanned.accepted) {
            facts.tally.one("scans/beside writes");
        }
        Ok(())
    }

    /// Law 6.
    fn broke_off(
        &self,
        op: OpNumber,
        scanned: &Scanned,
        error: &Error,
        next: Option<Result<Entry, Error>>,
    ) {
        self.judge_read(op, error, scanned.group, scanned.faults);
        if let Some(next) = next {
            self.ledger.fail(format!("op {op}: {next:?} follows {error}"));
        }
        self.count("scans/broken off");
    }

    /// Laws 4 and 5.
    fn judge_unseen(&self, op: OpNumber, scanned: &Scanned) {
        let mut facts = self.ledger.lock();
        let accepted = facts.history.len();
        let (mut hidden, group) = (scanned.hidden, scanned.group);
        if scanned.gone {
            return facts.fail(format!("op {op} came to the end of a group that was dropped"));
        }
        for (key, &(token, floor)) in scanned.keys.iter().enumerate() {
            if !scanned.tokens.contains(&token) || scanned.seen.contains(&key) {
                continue;
            }
            if facts.was_absent((group, key), floor, accepted) {
                if scanned.hidden == 0 {
                    facts.seen((group, key), floor, accepted, None);
                }
            } else if hidden > 0 {
                hidden -= 1;
            } else {
                return missed(&mut facts, op, (group, key), floor);
            }
        }
        facts.tally.one("scans/to the end");
        if scanned.tokens != (0..=u64::MAX) {
            facts.tally.one("scans/of a range");
        }
    }
}

fn missed(facts: &mut Facts, op: OpNumber, (group, key): (u32, KeyNumber), floor: Option<usize>) {
    let what = format!(
        "op {op}: the scan missed key {key} of group {group}, there from record {floor:?} on:{}",
        facts.told_of((group, key))
    );
    facts.fail(what);
}
