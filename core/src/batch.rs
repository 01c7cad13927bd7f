//! Writes that are made together or not at all, in any groups of one store; perhaps only if keys
//! are as the caller expects them.

use bytes::Bytes;

use crate::db::{Db, log_len};
use crate::error::{Error, Result};
use crate::group::{Expect, Group};
use crate::memory::{NewWrite, Requirement};

/// A list of writes for [`Db::write`]. They are made in order: of two writes of a key the later
/// one wins.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    writes: Vec<(Group, Bytes, Option<Bytes>)>,
    required: Vec<(Group, Bytes, Expect)>,
}

impl WriteBatch {
    /// No writes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds: set `key` of `group` to `value`.
    pub fn put(
        &mut self,
        group: &Group,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> &mut Self {
        let key = Bytes::copy_from_slice(key.as_ref());
        self.writes.push((group.clone(), key, Some(value.into())));
        self
    }

    /// Adds: remove `key` of `group`.
    pub fn delete(&mut self, group: &Group, key: impl AsRef<[u8]>) -> &mut Self {
        let key = Bytes::copy_from_slice(key.as_ref());
        self.writes.push((group.clone(), key, None));
        self
    }

    /// Adds: nothing is written unless `key` of `group` is as expected when the batch is made.
    /// [`Db::write_if`] takes such a batch.
    ///
    /// Everything required must hold at that one moment, and is of before the batch: its own writes
    /// do not count. A key that is required need not be written.
    pub fn require(&mut self, group: &Group, key: impl AsRef<[u8]>, expected: Expect) -> &mut Self {
        let key = Bytes::copy_from_slice(key.as_ref());
        self.required.push((group.clone(), key, expected));
        self
    }

    /// Whether something is required.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        !self.required.is_empty()
    }

    /// How many writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of records that it takes in the log. To these come up to 24 bytes a write for the
    /// summary, and up to a block for header and padding; the whole must be within
    /// [`Limits::batch_len`](crate::Limits::batch_len).
    #[must_use]
    pub fn log_len(&self) -> u64 {
        let len = |(_, key, value): &(Group, Bytes, Option<Bytes>)| {
            log_len(key, value.as_deref().unwrap_or_default())
        };
        self.writes.iter().map(len).sum()
    }

    /// The writes, and what they require, checked.
    pub(crate) fn prepare(self, db: &Db) -> Result<(Vec<NewWrite>, Vec<Requirement>)> {
        let check = |group: &Group| {
            let own = group.is_of(&db.handle);
            if own { Ok(()) } else { Err(Error::ForeignGroup { name: group.name().into() }) }
        };
        let write = |(group, key, value): (Group, Bytes, Option<Bytes>)| {
            check(&group)?;
            group.prepare(&key, value)
        };
        let require = |(group, key, expected): (Group, Bytes, Expect)| {
            check(&group)?;
            group.requirement(&key, expected)
        };
        let writes: Result<_> = self.writes.into_iter().map(write).collect();
        let required: Result<_> = self.required.into_iter().map(require).collect();
        Ok((writes?, required?))
    }
}
