//! What each key may be after damage, and what a store showed.
//!
//! Absent on purpose: a history. After the damage one client works alone, so that every key has
//! one state, or the two around the operation that was cut short.

use std::collections::{BTreeMap, BTreeSet};

use logstor_core::{Db, ErrorKind};

use crate::model::{Change, KeyNumber, Record, State};
use crate::plan::Plan;
use crate::value::{self, Value};

/// A key of a group.
pub(super) type Key = (u32, KeyNumber);

/// What a read may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expect {
    /// Each of these, `None` for "absent".
    pub(super) values: BTreeSet<Option<Value>>,
    /// Or an error that says so.
    pub(super) corrupt: bool,
}

impl Expect {
    pub(super) fn exactly(value: Option<Value>) -> Self {
        Self { values: BTreeSet::from([value]), corrupt: false }
    }

    fn allows(&self, answer: Answer) -> bool {
        match answer {
            Answer::Is(value) => self.values.contains(&value),
            Answer::Corrupt => self.corrupt,
        }
    }
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Is(Option<Value>),
    Corrupt,
}

/// Every key of every group that a store shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) groups: BTreeMap<u32, String>,
    pub(super) keys: BTreeMap<Key, Answer>,
}

/// Reads everything.
pub(super) async fn read_all(db: &Db, plan: &Plan) -> Result<Shown, String> {
    let mut shown = Shown::default();
    for name in db.groups() {
        let group = db.group(&name).await.map_err(|error| format!("group {name:?}: {error}"))?;
        let id = group.id().get();
        for (number, key) in plan.keys.iter().enumerate() {
            let told = |what: String| format!("key {number} of {name:?}: {what}");
            let answer = match group.get(key).await {
                Ok(value) => {
                    let value = value.as_deref().map(value::parse).transpose();
                    Answer::Is(value.map_err(told)?)
                }
                Err(error) if error.kind() == ErrorKind::Corruption => Answer::Corrupt,
                Err(error) => return Err(told(format!("{error:?}"))),
            };
            shown.keys.insert((id, number), answer);
        }
        if shown.groups.insert(id, name).is_some() {
            return Err(format!("id {id} has two names"));
        }
    }
    Ok(shown)
}

/// What a store may show.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// Names of groups; a group whose name may be lost has none.
    pub(super) groups: BTreeMap<u32, Option<String>>,
    /// Groups that need not be there, or may be there again.
    pub(super) doubtful: BTreeSet<u32>,
    pub(super) keys: BTreeMap<Key, Expect>,
    /// Every value that was ever written for a key.
    ever: BTreeMap<Key, BTreeSet<Option<Value>>>,
    /// Every id that was ever given out.
    pub(super) ids: BTreeSet<u32>,
    /// The record of which ids were given out may be lost; those of groups without any record may
    /// be given out again.
    pub(super) ids_lost: bool,
    /// A group of this name was being made when all was cut short.
    pub(super) being_made: Option<String>,
}

impl Model {
    /// A store that shows this state, after the records that survived, of all of these.
    pub(super) fn of<'a>(
        state: &State,
        survived: &[Record],
        all: impl Iterator<Item = &'a Record>,
        keys: usize,
    ) -> Self {
        let mut model = Self::default();
        for record in survived {
            if let Change::Create { group, .. } = &record.change {
                model.ids.insert(*group);
            }
        }
        for record in all {
            if let Change::Put { group, key, value } = &record.change {
                model.ever.entry((*group, *key)).or_default().insert(Some(*value));
            }
        }
        for (&id, group) in &state.groups {
            model.groups.insert(id, Some(group.name.to_string()));
            for key in 0..keys {
                let value = group.keys.get(&key).copied();
                model.keys.insert((id, key), Expect::exactly(value));
            }
        }
        model
    }

    /// Nothing is known of a key any more but what it never was.
    pub(super) fn loosen(&mut self, key: Key) {
        let mut values = self.ever.get(&key).cloned().unwrap_or_default();
        values.insert(None);
        self.keys.insert(key, Expect { values, corrupt: true });
    }

    /// A key may have this value as well.
    pub(super) fn may_be(&mut self, key: Key, value: Option<Value>, corrupt: bool) {
        let expect = self.keys.entry(key).or_insert_with(|| Expect::exactly(None));
        expect.values.insert(value);
        expect.corrupt |= corrupt;
    }

    /// A key is about to get a value, or to lose it.
    pub(super) fn is_written(&mut self, key: Key, value: Option<Value>) {
        self.ever.entry(key).or_default().insert(value);
        let expect = self.keys.entry(key).or_insert_with(|| Expect::exactly(None));
        expect.values.insert(value);
    }

    /// It did.
    pub(super) fn was_written(&mut self, key: Key, value: Option<Value>) {
        self.keys.insert(key, Expect::exactly(value));
    }

    /// Judges one answer.
    pub(super) fn judge(&self, key: Key, answer: Answer) -> Result<(), String> {
        let nothing = Expect::exactly(None);
        let expect = self.keys.get(&key).unwrap_or(&nothing);
        if expect.allows(answer) {
            return Ok(());
        }
        Err(format!("key {} of group {} is {answer:?}; it may be {expect:?}", key.1, key.0))
    }

    /// A group that was being made is there, or is not.
    pub(super) fn settle(&mut self, shown: &Shown) {
        let Some(name) = self.being_made.take() else { return };
        let is_new =
            |id: &u32| !self.groups.contains_key(id) && (self.ids_lost || !self.ids.contains(id));
        let made = shown.groups.iter().find(|(id, found)| **found == name && is_new(id));
        if let Some((&id, _)) = made {
            self.ids.insert(id);
            self.groups.insert(id, Some(name));
        }
    }

    /// Judges everything that a store shows.
    pub(super) fn judge_all(&self, shown: &Shown) -> Result<(), String> {
        for (id, name) in &self.groups {
            match (shown.groups.get(id), name) {
                (Some(found), Some(name)) if found != name => {
                    return Err(format!("group {id} is {found:?} instead of {name:?}"));
                }
                (None, _) if !self.doubtful.contains(id) => {
                    return Err(format!("group {id} ({name:?}) is gone"));
                }
                _ => {}
            }
        }
        for id in shown.groups.keys() {
            if !self.groups.contains_key(id) && !self.doubtful.contains(id) {
                return Err(format!("group {id} is there, and should not be"));
            }
        }
        shown.keys.iter().try_for_each(|(key, answer)| self.judge(*key, *answer))
    }

    /// How many keys a store says to be corrupt.
    pub(super) fn corrupt(shown: &Shown) -> usize {
        shown.keys.values().filter(|answer| **answer == Answer::Corrupt).count()
    }
}
