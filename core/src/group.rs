//! A group of keys, as a caller holds it.

mod compare;
mod entry;
mod reads;
mod scan;

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt};

use crate::compact::CompactReport;
use crate::db::{Db, Handle, WriteOptions, check_lens};
use crate::error::{Error, Result};
use crate::flows::get::{Hit, Value};
use crate::flows::large::Durable;
use crate::flows::{get, large, put};
use crate::memory::NewWrite;
use crate::stats::GroupStats;
use crate::store::{Pieces, Store};
use crate::types::{GroupId, to_u64};
use crate::value_stream::ValueStream;

pub(crate) use compare::decide;
pub use compare::{Expect, Outcome};
pub use entry::{Entry, EntryValue, Version};
pub use reads::ValueSize;
pub use scan::{Keys, Scan};

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
    /// A value over [`Limits::value_len`](crate::Limits::value_len) goes to segments of its own,
    /// as [`Group::put_stream`] says.
    ///
    /// If the future is dropped, the write may or may not be made, whole.
    pub async fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: impl Into<WriteOptions>,
    ) -> Result<()> {
        let (key, value, options) = (key.as_ref(), value.into(), options.into());
        let len = to_u64(value.len());
        check_lens(self.store(), key, len)?;
        if value.len() <= self.longest_inline() {
            return self.write(self.prepared(key, Some(value)), options).await;
        }
        // On the heap, so that the future of a short value is not as large as this one.
        let whole = futures::stream::iter([Ok::<_, Infallible>(value)]);
        Box::pin(self.put_large(key, len, whole, options)).await
    }

    /// Sets `key` to the value of `len` bytes that `stream` gives, with the durability of the
    /// store.
    ///
    /// It is written while it comes in, a few segments at a time, so it need never be in memory as
    /// a whole. Nobody sees anything of it before all of it is durable; then it takes the place of
    /// the value before in one step, as any write does. If the stream ends early or late or with an
    /// error, if the device fails or the store has no room, nothing was changed, and what was
    /// written of it is room again.
    ///
    /// A few such values are written at the same time, others wait for their turn.
    ///
    /// If the future is dropped, the write may or may not be made, whole; not if it is dropped
    /// before the stream has ended.
    pub async fn put_stream<S, E>(&self, key: impl AsRef<[u8]>, len: u64, stream: S) -> Result<()>
    where
        S: Stream<Item = std::result::Result<Bytes, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.put_stream_with(key, len, stream, WriteOptions::default()).await
    }

    /// The same; `options` may just be a [`Durability`](crate::Durability). The pieces of a large
    /// value are durable before it is accepted, whatever is asked for.
    pub async fn put_stream_with<S, E>(
        &self,
        key: impl AsRef<[u8]>,
        len: u64,
        stream: S,
        options: impl Into<WriteOptions>,
    ) -> Result<()>
    where
        S: Stream<Item = std::result::Result<Bytes, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (key, options) = (key.as_ref(), options.into());
        check_lens(self.store(), key, len)?;
        if len > to_u64(self.longest_inline()) {
            return self.put_large(key, len, stream, options).await;
        }
        let value = collect(len, stream).await?;
        self.write(self.prepared(key, Some(value)), options).await
    }

    async fn put_large<S, E>(
        &self,
        key: &[u8],
        len: u64,
        stream: S,
        options: WriteOptions,
    ) -> Result<()>
    where
        S: Stream<Item = std::result::Result<Bytes, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let store = &self.handle.store;
        let (write, pieces) = self.write_pieces(key, len, stream).await?;
        let durability = options.durability.unwrap_or(store.durability);
        put::write_large(store, write, pieces, durability).await?;
        Ok(())
    }

    /// Writes the pieces of a large value, and makes the write of the record that lists them.
    async fn write_pieces<S, E>(
        &self,
        key: &[u8],
        len: u64,
        stream: S,
    ) -> Result<(NewWrite, Pieces)>
    where
        S: Stream<Item = std::result::Result<Bytes, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let store = &self.handle.store;
        let written = large::write(store, self.id, len, stream).await;
        let Durable { list, value, pieces } =
            written.map_err(|error| Error::of_large(error, len))?;
        let key = Bytes::copy_from_slice(key);
        let write = put::prepare_large(store, self.id, key, (list.into(), value));
        Ok((write.expect("a list of pieces is within the limits of a value"), pieces))
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
        check_lens(self.store(), key.as_ref(), 0)?;
        self.write(self.prepared(key.as_ref(), None), options.into()).await
    }

    /// The value of `key`, or `None`: at most one device read, and one more for each piece of a
    /// large value.
    ///
    /// The value keeps at most a quarter more memory than itself: a long one shares what was read.
    /// With [`Options::value_cache`](crate::Options::value_cache) it may share that of the cache,
    /// and then needs no device.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        let key = key.as_ref();
        check_lens(self.store(), key, 0)?;
        let got = get::get(&self.handle.store, self.id, key).await;
        got.map_err(|error| Error::of_get(error, self.id.get()))
    }

    /// The value of `key` as it is now, to be read piece by piece; or `None`.
    ///
    /// Overwriting or deleting the key meanwhile does not disturb the stream.
    pub async fn get_stream(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueStream>> {
        let key = key.as_ref();
        check_lens(self.store(), key, 0)?;
        let found = get::find_hit(&self.handle.store, self.id, key).await;
        let found = found.map_err(|error| Error::of_get(error, self.id.get()))?;
        Ok(found.map(|hit| ValueStream::new(Arc::clone(&self.handle), self.id, hit)))
    }

    /// The value of `key` with the [`Version`] that it has, or `None`: what a later write may be
    /// made to depend on. One device read at most; of a large value only the length is read.
    pub async fn get_entry(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        let key = key.as_ref();
        check_lens(self.store(), key, 0)?;
        let found = get::find_hit(&self.handle.store, self.id, key).await;
        let found = found.map_err(|error| Error::of_get(error, self.id.get()))?;
        let token = self.store().hasher.hash(key).token();
        Ok(found.map(|Hit { value, sequence, .. }| {
            let value = match value {
                Value::Whole(value) => EntryValue::Whole(value),
                Value::Large(large) => EntryValue::Large(large.len()),
            };
            let key = Bytes::copy_from_slice(key);
            Entry { key, value, version: Version::of(sequence), token }
        }))
    }

    /// The numbers of this group, as of now. Takes a step for each of its segments, whatever the
    /// number of its keys, and no I/O.
    pub fn stats(&self) -> Result<GroupStats> {
        self.store().step(|state| {
            state.check_readable().map_err(|refused| Error::of_lookup(refused, self.id.get()))?;
            GroupStats::of(state, self.id).ok_or(Error::GroupDropped { id: self.id.get() })
        })
    }

    /// Moves what this group shares segments for with other groups into segments of its own.
    ///
    /// The separator does so by itself when the store has many mixed segments; this is for moving
    /// or exporting a group. Completes when no segment holds records of this group, accepted before
    /// the call, together with those of another; only one that is damaged stays where it is. Says
    /// `Full` if there is no room for that. Dropping the future stops nothing.
    ///
    /// Later compaction may put a group that has little together with others again; see
    /// [`Db::pause_compaction`].
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

    /// A write for a batch: checked, and what can be encoded before it is accepted is.
    pub(crate) fn prepare(&self, key: &[u8], value: Option<Bytes>) -> Result<NewWrite> {
        let (len, limit) = (value.as_ref().map_or(0, Bytes::len), self.longest_inline());
        check_lens(self.store(), key, to_u64(len.min(limit)))?;
        if len > limit {
            return Err(Error::LargeValueInBatch { len, limit });
        }
        Ok(self.prepared(key, value))
    }

    fn longest_inline(&self) -> usize {
        self.store().device.geometry().max_value_len()
    }

    /// The lengths were checked.
    fn prepared(&self, key: &[u8], value: Option<Bytes>) -> NewWrite {
        let key = Bytes::copy_from_slice(key);
        let write = put::prepare(self.store(), self.id, key, value);
        write.expect("the limits are below the length of any record")
    }

    async fn write(&self, write: NewWrite, options: WriteOptions) -> Result<()> {
        let durability = options.durability.unwrap_or(self.store().durability);
        put::write(self.store(), vec![write], durability).await?;
        Ok(())
    }
}

/// A short value, all of it.
async fn collect<S, E>(len: u64, stream: S) -> Result<Bytes>
where
    S: Stream<Item = std::result::Result<Bytes, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut stream = pin!(stream);
    let mut value = Vec::new();
    while let Some(chunk) = stream.next().await {
        value.extend_from_slice(&chunk.map_err(|error| Error::of_source(error.into()))?);
        if to_u64(value.len()) > len {
            break;
        }
    }
    let found = to_u64(value.len());
    if found == len { Ok(value.into()) } else { Err(Error::StreamLen { expected: len, found }) }
}
