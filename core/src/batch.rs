//! Writes that are made together or not at all, in any groups of one store.

use bytes::Bytes;

use crate::db::{Db, log_len};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::memory::NewWrite;

/// A list of writes for [`Db::write`]. They are made in order: of two writes of a key the later
/// one wins.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    writes: Vec<(Group, Bytes, Option<Bytes>)>,
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

    pub(crate) fn prepare(self, db: &Db) -> Result<Vec<NewWrite>> {
        let prepare = |(group, key, value): (Group, Bytes, Option<Bytes>)| {
            if !group.is_of(&db.handle) {
                return Err(Error::ForeignGroup { name: group.name().into() });
            }
            group.prepare(&key, value)
        };
        self.writes.into_iter().map(prepare).collect()
    }
}
