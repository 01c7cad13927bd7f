//! Writes that are made only if keys are as the caller expects them.
//!
//! ```text
//!   check and accept, in one step ──holds──> made      ──fails──> unmet, with the version
//!            │        ^
//!            └─ unread ─> read the key ── not as expected ──> unmet
//! ```
//!
//! 1. Nothing is written unless everything required holds at one moment, and that is the moment at
//!    which the writes are accepted.
//! 2. An expectation that does not hold at the moment of a read within the call is unmet: there is
//!    nothing to try again. So only a key that was found as expected, and then changed, is looked
//!    at again. Each time somebody else's write of it was made, or compaction moved its record.
//!
//! Absent on purpose: reads of several keys at one moment, and locks. A caller who has to look at
//! much before it can decide reads versions, and requires them.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;

use super::{Group, Version};
use crate::db::{Handle, WriteOptions, check_lens};
use crate::error::{Error, Result};
use crate::flows::get::{self, GetError, Hit};
use crate::flows::put::{self, Decided};
use crate::memory::{Evidence, Expected, NewBatch, Requirement};
use crate::options::Durability;
use crate::store::Pieces;
use crate::types::{Sequence, to_u64};

/// What a key has to be for a write to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It has no value.
    Absent,
    /// It has some value.
    Present,
    /// Its value was made by this write: nobody wrote the key since.
    Version(Version),
    /// It has this value, whoever made it.
    Value(Bytes),
}

/// What came of a write with a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Everything required held, and the write was made.
    ///
    /// Its version; of a batch that of the first write, which the others follow one by one. `None`
    /// if there was nothing to write: the batch is empty, or deletes alone a key that is not there.
    Made(Option<Version>),
    /// Something required did not hold, and nothing was written.
    Unmet {
        /// Which one, counted from zero in the order of the calls of
        /// [`WriteBatch::require`](crate::WriteBatch::require).
        requirement: usize,
        /// The version that the key has instead, or `None` if it is not there.
        present: Option<Version>,
    },
}

impl Outcome {
    /// Whether the write was made.
    #[must_use]
    pub const fn is_made(self) -> bool {
        matches!(self, Self::Made(_))
    }

    fn unmet(requirement: usize, present: Option<Sequence>) -> Self {
        Self::Unmet { requirement, present: present.map(Version::of) }
    }
}

impl Group {
    /// Sets `key` to `value` if it is as expected at that moment, with the durability of the store.
    ///
    /// That it is not is an answer, with the version that the key has: nothing was written then.
    /// Of several callers that expect the same of a key, and change it, one succeeds.
    ///
    /// Costs a read of the key where memory does not tell. A value that was put `Synced` by
    /// somebody else, and is not durable yet, is as good as there: the answer waits until it is,
    /// whatever durability was asked for.
    ///
    /// If the future is dropped, the write may or may not be made, whole; it is made only if the
    /// key was as expected.
    ///
    /// ```
    /// # async fn example(users: logstor_core::Group) -> logstor_core::Result<()> {
    /// use logstor_core::{Expect, Outcome};
    ///
    /// // Counts one up, whoever else does.
    /// loop {
    ///     let entry = users.get_entry("count").await?;
    ///     let count = entry.as_ref().and_then(|entry| entry.value.whole()?.first().copied());
    ///     let expected = entry.map_or(Expect::Absent, |entry| Expect::Version(entry.version));
    ///     let next = vec![count.unwrap_or(0).wrapping_add(1)];
    ///     if users.compare_and_put("count", expected, next).await?.is_made() {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn compare_and_put(
        &self,
        key: impl AsRef<[u8]>,
        expected: Expect,
        value: impl Into<Bytes>,
    ) -> Result<Outcome> {
        self.compare_and_put_with(key, expected, value, WriteOptions::default()).await
    }

    /// The same; `options` may just be a [`Durability`](crate::Durability).
    pub async fn compare_and_put_with(
        &self,
        key: impl AsRef<[u8]>,
        expected: Expect,
        value: impl Into<Bytes>,
        options: impl Into<WriteOptions>,
    ) -> Result<Outcome> {
        let (key, value) = (key.as_ref(), value.into());
        check_lens(self.store(), key, to_u64(value.len()))?;
        let required = vec![self.requirement(key, expected)?];
        if value.len() > self.longest_inline() {
            return Box::pin(self.compare_and_put_large(key, required, value, options.into()))
                .await;
        }
        let batch = self.new_batch(key, Some(value), options.into());
        decide(&self.handle, &batch, required, &mut None).await
    }

    /// The pieces of a large value are written before the last look; where it is clear before that
    /// the key is not as expected, none is.
    async fn compare_and_put_large(
        &self,
        key: &[u8],
        required: Vec<Requirement>,
        value: Bytes,
        options: WriteOptions,
    ) -> Result<Outcome> {
        let store = &self.handle.store;
        let look = put::new_batch(store, Vec::new(), Durability::Buffered);
        let looked = decide(&self.handle, &look, required.clone(), &mut None).await?;
        if !looked.is_made() {
            return Ok(looked);
        }
        let len = to_u64(value.len());
        let whole = futures::stream::iter([Ok::<_, Infallible>(value)]);
        let (write, pieces) = self.write_pieces(key, len, whole).await?;
        let durability = options.durability.unwrap_or(store.durability);
        let batch = put::new_batch(store, vec![write], durability);
        decide(&self.handle, &batch, required, &mut Some(pieces)).await
    }

    /// Removes `key` if it is as expected at that moment, with the durability of the store; in all
    /// else as [`Group::compare_and_put`].
    pub async fn compare_and_delete(
        &self,
        key: impl AsRef<[u8]>,
        expected: Expect,
    ) -> Result<Outcome> {
        self.compare_and_delete_with(key, expected, WriteOptions::default()).await
    }

    /// The same; `options` may just be a [`Durability`](crate::Durability).
    pub async fn compare_and_delete_with(
        &self,
        key: impl AsRef<[u8]>,
        expected: Expect,
        options: impl Into<WriteOptions>,
    ) -> Result<Outcome> {
        let key = key.as_ref();
        let required = vec![self.requirement(key, expected)?];
        let batch = self.new_batch(key, None, options.into());
        decide(&self.handle, &batch, required, &mut None).await
    }

    fn new_batch(&self, key: &[u8], value: Option<Bytes>, options: WriteOptions) -> NewBatch {
        let durability = options.durability.unwrap_or(self.store().durability);
        put::new_batch(self.store(), vec![self.prepared(key, value)], durability)
    }

    /// What is required of a key, checked.
    pub(crate) fn requirement(&self, key: &[u8], expected: Expect) -> Result<Requirement> {
        check_lens(self.store(), key, 0)?;
        let expected = match expected {
            Expect::Absent => Expected::Absent,
            Expect::Present => Expected::Present,
            Expect::Version(version) => Expected::Version(Sequence::new(version.get())),
            Expect::Value(value) => Expected::Value(value),
        };
        let (hash, key) = (self.store().hasher.hash(key), Bytes::copy_from_slice(key));
        Ok(Requirement { group: self.id, hash, key, expected, evidence: None })
    }
}

/// Makes the writes of a batch if everything that is required holds.
pub(crate) async fn decide(
    handle: &Arc<Handle>,
    batch: &NewBatch,
    mut required: Vec<Requirement>,
    pieces: &mut Option<Pieces>,
) -> Result<Outcome> {
    loop {
        let number = match put::write_if(&handle.store, batch, &required, pieces).await? {
            Decided::Made(first) => return Ok(Outcome::Made(first.map(Version::of))),
            Decided::Unmet { number, present } => return Ok(Outcome::unmet(number, present)),
            Decided::Unread { number } => number,
        };
        let one = &mut required[number];
        let read = read(handle, one).await;
        let Some(evidence) = read.map_err(|error| Error::of_get(error, one.group.get()))? else {
            continue; // deleted since, as the next look says
        };
        if !one.expected.holds(Some(evidence.sequence), evidence.is_value) {
            return Ok(Outcome::unmet(number, Some(evidence.sequence)));
        }
        one.evidence = Some(evidence);
    }
}

/// What readers see of the key.
async fn read(
    handle: &Arc<Handle>,
    one: &Requirement,
) -> std::result::Result<Option<Evidence>, GetError> {
    let found = get::find_hit(&handle.store, one.group, &one.key).await?;
    let Some(Hit { value, sequence, place }) = found else { return Ok(None) };
    let is_value = match &one.expected {
        Expected::Value(expected) => value.is(expected).await?,
        Expected::Absent | Expected::Present | Expected::Version(_) => false,
    };
    Ok(Some(Evidence { sequence, place, is_value }))
}
