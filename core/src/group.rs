//! A group of keys, as a caller holds it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::compact::CompactReport;
use crate::db::{Db, Handle, WriteOptions, check_lens};
use crate::error::{Error, Result};
use crate::flows::{get, put};
use crate::memory::NewWrite;
use crate::store::Store;
use crate::types::GroupId;

/// Keys kept together: the unit of separation, compaction, dropping and moving. Clones are cheap.
#[derive(Clone)]
pub struct Group {
    handle: Arc<Handle>,
    id: GroupId,
    name: Arc<str>,
}

impl fmt::Debug for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Group")
            .field("name", &self.name)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Group {
    pub(crate) fn new(handle: Arc<Handle>, id: GroupId, name: Arc<str>) -> Self {
        Self { handle, id, name }
    }

    fn store(&self) -> &Store {
        &self.handle.store
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id; a group created again under the same name has another one.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }

    pub(crate) fn is_of(&self, handle: &Arc<Handle>) -> bool {
        Arc::ptr_eq(&self.handle, handle)
    }

    /// Sets `key` to `value`, with the durability of the store.
    ///
    /// If the future is dropped, the write may or may not be made, whole.
    pub async fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Result<()> {
        self.put_with(key, value, WriteOptions::default()).await
    }

    /// Sets `key` to `value`; `options` may just be a [`Durability`](crate::Durability).
    ///
    /// If the future is dropped, the write may or may not be made, whole.
    pub async fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: impl Into<WriteOptions>,
    ) -> Result<()> {
        let write = self.prepare(key.as_ref(), Some(value.into()))?;
        self.write(write, options.into()).await
    }

    /// Removes `key`, with the durability of the store. Removing a key that is not there is fine.
    ///
    /// If the future is dropped, the write may or may not be made, whole.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.delete_with(key, WriteOptions::default()).await
    }

    /// Removes `key`; `options` may just be a [`Durability`](crate::Durability).
    ///
    /// If the future is dropped, the write may or may not be made, whole.
    pub async fn delete_with(
        &self,
        key: impl AsRef<[u8]>,
        options: impl Into<WriteOptions>,
    ) -> Result<()> {
        let write = self.prepare(key.as_ref(), None)?;
        self.write(write, options.into()).await
    }

    /// The value of `key`, or `None`: at most one device read.
    ///
    /// The value shares the memory that was read, up to a sector more at either end than itself;
    /// copy it to keep a small one for long.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        let key = key.as_ref();
        check_lens(self.store(), key, None)?;
        let got = get::get(self.store(), self.id, key).await;
        got.map_err(|error| Error::of_get(error, self.id.get()))
    }

    /// Moves what this group shares segments for with other groups into segments of its own.
    ///
    /// The separator does so by itself when the store has many mixed segments; this is for moving
    /// or exporting a group. Completes when no segment holds records of this group, accepted before
    /// the call, together with those of another. Dropping the future stops nothing.
    pub async fn separate(&self) -> Result<CompactReport> {
        put::flush(self.store()).await?;
        let (sender, done) = tokio::sync::oneshot::channel();
        self.store().step(|state| {
            state.check_open()?;
            if state.groups.get(self.id).is_none() {
                return Err(Error::GroupDropped { id: self.id.get() });
            }
            state.request_separation(self.id, sender);
            Ok(())
        })?;
        Db { handle: Arc::clone(&self.handle) }.answered(done).await
    }

    /// Checks and encodes what can be encoded before the write is accepted.
    pub(crate) fn prepare(&self, key: &[u8], value: Option<Bytes>) -> Result<NewWrite> {
        check_lens(self.store(), key, value.as_deref())?;
        let key = Bytes::copy_from_slice(key);
        let write = put::prepare(self.store(), self.id, key, value);
        Ok(write.expect("the limits are below the length of any record"))
    }

    async fn write(&self, write: NewWrite, options: WriteOptions) -> Result<()> {
        let durability = options.durability.unwrap_or(self.store().durability);
        put::write(self.store(), vec![write], durability).await?;
        Ok(())
    }
}
