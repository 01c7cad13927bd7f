//! Reads that memory answers, and reads of many keys.
//!
//! Every answer is that of one moment within the call: what [`Group::get`] would have found there.
//! A `Synced` write on its way is not seen, any other that was accepted is.
//!
//! Absent on purpose: a look at the device for what memory can only answer by bounds.

use bytes::Bytes;

use super::Group;
use crate::db::check_lens;
use crate::error::{Error, Result};
use crate::flows::get::{self, GetError};
use crate::format::record::value_len_bounds;
use crate::memory::{Known, LookupRefused, State};
use crate::types::to_u64;

/// How many bytes a value has, as far as memory tells; see [`Group::size_of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueSize {
    // Invariant: `least <= most <= least + 7`.
    least: u64,
    most: u64,
}

impl ValueSize {
    /// It has at least so many.
    #[must_use]
    pub const fn at_least(self) -> u64 {
        self.least
    }

    /// It has at most so many.
    #[must_use]
    pub const fn at_most(self) -> u64 {
        self.most
    }

    /// It has exactly so many, if that is known.
    #[must_use]
    pub const fn exact(self) -> Option<u64> {
        if self.least == self.most { Some(self.most) } else { None }
    }

    const fn of(len: u64) -> Self {
        Self { least: len, most: len }
    }
}

impl Group {
    /// Whether `key` has a value. No I/O.
    ///
    /// It says what [`Group::get`] would find at this moment, writes on their way included. It does
    /// not look at the record: if that is damaged, `get` says `Corruption`, and this that there is
    /// a value.
    ///
    /// The index knows most bits of a hash of each key, no keys. The chance that any two of a
    /// billion keys of a group are one key to it is 3e-9, with segments of the default length.
    ///
    /// ```
    /// # async fn example(users: logstor_core::Group) -> logstor_core::Result<()> {
    /// users.put("alice", "first").await?;
    /// assert!(users.contains_key("alice")?);
    /// assert!(!users.contains_key("bob")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.know(key.as_ref()).map(|known| known != Known::Nothing)
    }

    /// How many bytes the value of `key` has, or `None` if it has none. No I/O.
    ///
    /// At the same moment and with the same limits as [`Group::contains_key`]. Exact for a large
    /// value, and for one that is not durable yet. Of any other the index knows how long its record
    /// is, in units of eight bytes, so that up to eight lengths are possible: they lie between
    /// [`ValueSize::at_least`] and [`ValueSize::at_most`]. If `get` would say `Corruption`, these
    /// bounds say nothing.
    ///
    /// ```
    /// # async fn example(users: logstor_core::Group) -> logstor_core::Result<()> {
    /// users.put("alice", "first").await?;
    /// let size = users.size_of("alice")?.expect("it was just put");
    /// assert!((size.at_least()..=size.at_most()).contains(&5));
    /// assert!(size.at_most() - size.at_least() <= 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn size_of(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueSize>> {
        let key = key.as_ref();
        Ok(match self.know(key)? {
            Known::Nothing => None,
            Known::Value(len) => Some(ValueSize::of(len)),
            Known::Record(len) => {
                let (least, most) = value_len_bounds(len, key.len());
                Some(ValueSize { least: to_u64(least), most: to_u64(most) })
            }
        })
    }

    /// How many keys of the group have a value. No I/O.
    ///
    /// Exact, of this moment: as many as those for which [`Group::contains_key`] would say yes.
    /// Costs a look at the index for each key with a `Buffered` or `Written` write that is not
    /// durable yet, of which there are none where all writes are `Synced`; whatever the number of
    /// keys.
    /// [`GroupStats::keys`](crate::GroupStats::keys) counts durable writes alone.
    ///
    /// ```
    /// # async fn example(users: logstor_core::Group) -> logstor_core::Result<()> {
    /// let before = users.len()?;
    /// users.put("a key that was not there", "").await?;
    /// assert_eq!(users.len()?, before + 1);
    /// assert!(!users.is_empty()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> Result<u64> {
        self.looked_at(|state| state.count_keys(self.id)).map(to_u64)
    }

    /// Whether no key of the group has a value. No I/O.
    ///
    /// As [`Group::len`] would say, but seldom at its cost: a group with more durable keys than
    /// writes on their way is not empty.
    pub fn is_empty(&self) -> Result<bool> {
        self.looked_at(|state| state.has_keys(self.id)).map(|has| !has)
    }

    /// The values of these keys, in their order; of a key without one, `None`.
    ///
    /// As many calls of [`Group::get`], but for the time it takes: up to 64 keys are read at once,
    /// and their reads are handed to the device together where the backend can. Each answer is that
    /// of some moment within the call, so each key by itself is read as by `get`; all of them
    /// together are no snapshot: a batch that becomes visible meanwhile may be seen in one key and
    /// not in another. A key that fails fails alone.
    ///
    /// All values are in memory when this completes. Dropping the future stops the reads that have
    /// not begun, and drops the answers of the others.
    ///
    /// ```
    /// # async fn example(users: logstor_core::Group) -> logstor_core::Result<()> {
    /// users.put("alice", "first").await?;
    /// let mut found = users.multi_get(["alice", "bob"]).await.into_iter();
    /// assert_eq!(found.next().expect("one for each key")?.as_deref(), Some(&b"first"[..]));
    /// assert_eq!(found.next().expect("one for each key")?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Bytes>>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let check = |key: &K| check_lens(self.store(), key.as_ref(), 0);
        let checked: Vec<Result<()>> = keys.iter().map(check).collect();
        let good = keys.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
        let good: Vec<&[u8]> = good.map(|(key, _)| key.as_ref()).collect();
        let found = get::get_many(&self.handle.store, self.id, &good).await;
        let found = found.into_iter().map(|got| got.map_err(|error| self.of_get(error)));
        answers(checked, found)
    }

    fn of_get(&self, error: GetError) -> Error {
        Error::of_get(error, self.id.get())
    }

    fn know(&self, key: &[u8]) -> Result<Known> {
        check_lens(self.store(), key, 0)?;
        let hash = self.store().hasher.hash(key);
        self.looked_at(|state| state.know(self.id, hash))
    }

    fn looked_at<T>(
        &self,
        look: impl FnOnce(&State) -> std::result::Result<T, LookupRefused>,
    ) -> Result<T> {
        let looked = self.store().step(|state| look(state));
        looked.map_err(|refused| Error::of_lookup(refused, self.id.get()))
    }
}

/// The answers to all keys, from those to the keys that are good.
fn answers<T>(
    checked: Vec<Result<()>>,
    found: impl IntoIterator<Item = Result<T>>,
) -> Vec<Result<T>> {
    let mut found = found.into_iter();
    let mut next = || found.next().expect("there is an answer for each good key");
    checked.into_iter().map(|checked| checked.and_then(|()| next())).collect()
}
