//! The door: opening a store, and everything that concerns it as a whole.
//!
//! A [`Db`] is a handle; clones share one store. The store's own tasks keep working until the last
//! handle is gone or [`Db::close`] is called; then they bring what was accepted to the device, and
//! end. Closing is not needed for safety: it makes the next opening fast.
//!
//! Absent on purpose: policy. This module checks what callers pass in and starts flows.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::FutureExt;

use crate::batch::WriteBatch;
use crate::compact::{CompactReport, CompactRequest};
use crate::error::{Error, Result};
use crate::flows::recovery::RecoveryReport;
use crate::flows::{close, create, grow, put, reclaim, recovery, rewriter, writer};
use crate::format::record::record_len;
use crate::group::{Group, Outcome, decide};
use crate::groups::NAME_LEN_MAX;
use crate::groups::{group_key, truncation_key};
use crate::io::{Environment, FolderEntry};
use crate::log::buffer_len;
use crate::memory::{GroupRefused, NewWrite, RequestDone, State};
use crate::open_error::OpenError;
use crate::options::{Durability, Options};
use crate::overlay::Overlay;
use crate::segment_io::SUPERBLOCK_NAME;
use crate::stats::{SegmentInfo, Stats};
use crate::store::Store;
use crate::types::{GroupId, to_u64};

/// How to make one write; see [`Group::put_with`] and [`Db::write_with`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// How far the write has come when its future completes; `None` is what the store was opened
    /// with.
    pub durability: Option<Durability>,
}

impl From<Durability> for WriteOptions {
    fn from(durability: Durability) -> Self {
        Self { durability: Some(durability) }
    }
}

/// What a store takes at most. It depends on the length of its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a key; at least one is needed.
    pub key_len: usize,
    /// Bytes of a value in a batch. A longer one takes segments of its own.
    pub value_len: usize,
    /// Bytes of a value.
    pub large_value_len: u64,
    /// Bytes of log that a batch may take; see [`WriteBatch::log_len`].
    pub batch_len: u64,
    /// Bytes of the name of a group; at least one is needed.
    pub group_name_len: usize,
}

/// An open store.
#[derive(Clone)]
pub struct Db {
    pub(crate) handle: Arc<Handle>,
}

/// What all clones share. When it goes, the store's tasks end.
pub(crate) struct Handle {
    pub(crate) store: Arc<Store>,
    report: RecoveryReport,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.store.begin_to_end();
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Db").field("storage", &self.handle.store.device.storage().info()).finish()
    }
}

impl Db {
    /// Opens the store in the folder of `environment.storage`, or creates one if it is empty.
    ///
    /// Dropping the future before it completes is safe at any point: what recovery decided by then
    /// is decided, and the next opening goes on from there.
    pub async fn open(environment: Environment, options: Options) -> Result<Self> {
        options.check()?;
        let mut names = list(&environment).await?;
        let created = !names.iter().any(|entry| entry.name == SUPERBLOCK_NAME);
        if created {
            create::create(&environment, &options, &names).await?;
            names = list(&environment).await?;
        }
        let (store, mut report) = recovery::open(&environment, &options, &names).await?;
        report.created = created;
        spawn_tasks(&environment, &store);
        Ok(Self { handle: Arc::new(Handle { store, report }) })
    }

    /// Opens the store in the folder of `environment.storage` to be read, and changes nothing
    /// there: neither file nor name nor length.
    ///
    /// It shows what [`Db::open`] would show. What that writes on its way (the end of the log, the
    /// mark) is kept in memory, a few KiB for each segment that was not sealed, and forgotten with
    /// the store. Nothing runs in the background. Whatever would change the store says
    /// [`Error::ReadOnly`]; a folder without a store is [`Error::NoStore`].
    ///
    /// Nobody may write to the folder meanwhile: the backend's lock sees to that.
    pub async fn open_read_only(mut environment: Environment, options: Options) -> Result<Self> {
        options.check()?;
        let names = list(&environment).await?;
        if !names.iter().any(|entry| entry.name == SUPERBLOCK_NAME) {
            return Err(Error::NoStore);
        }
        environment.storage = Arc::new(Overlay::new(environment.storage));
        let (store, report) = recovery::open(&environment, &options, &names).await?;
        store.step(|state| state.rules.read_only = true);
        Ok(Self { handle: Arc::new(Handle { store, report }) })
    }

    fn store(&self) -> &Store {
        &self.handle.store
    }

    /// Gives the group of this name, which is created, durably, if it does not exist.
    ///
    /// If the future is dropped, the group may or may not be created.
    pub async fn group(&self, name: impl AsRef<str>) -> Result<Group> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > NAME_LEN_MAX {
            return Err(Error::GroupName { len: name.len(), limit: NAME_LEN_MAX });
        }
        if let Some(group) = self.find(name) {
            return Ok(group);
        }
        let _turn = self.catalogue_turn().await?;
        if let Some(group) = self.find(name) {
            return Ok(group); // somebody had the turn before
        }
        let new = self.store().step(State::new_group).ok_or(Error::GroupsExhausted)?;
        let exists = self.system_write(&new.key, Some(name.as_bytes()));
        let next = self.system_write(&new.next_id_key, Some(&new.next_id));
        put::write(self.store(), vec![exists, next], Durability::Synced).await?;
        let group = self.find(name);
        group.ok_or(Error::GroupDropped { id: new.id.get() })
    }

    /// The right to change the catalogue, with no change of it on its way: a caller that was
    /// dropped gave its turn back, but its change goes on.
    async fn catalogue_turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>> {
        let turn = self.store().catalogue_turn.lock().await;
        if self.store().step(|state| state.catalogue_changes()) {
            put::flush(self.store()).await?;
        }
        Ok(turn)
    }

    fn find(&self, name: &str) -> Option<Group> {
        self.store().step(|state| {
            let id = state.groups.find(name)?;
            let group = state.groups.get(id).filter(|group| !group.dropping)?;
            Some(Group::new(Arc::clone(&self.handle), id, Arc::clone(&group.name)))
        })
    }

    fn system_write(&self, key: &[u8], value: Option<&[u8]>) -> NewWrite {
        let (key, value) = (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice));
        let write = put::prepare(self.store(), GroupId::SYSTEM, key, value);
        write.expect("records of the system group are short")
    }

    /// The names of all groups, sorted.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        self.store().step(|state| state.groups.names().map(|(name, _)| name.to_string()).collect())
    }

    /// Drops a group with all its keys, durably and at once. Handles of it say
    /// [`Error::GroupDropped`] from then on; a group created again under the name is a new one.
    ///
    /// If the future is dropped, the group may or may not be dropped.
    pub async fn drop_group(&self, name: impl AsRef<str>) -> Result<()> {
        let name = name.as_ref();
        let _turn = self.catalogue_turn().await?;
        let id = self.group_named(name)?;
        let mut writes = vec![self.system_write(&group_key(id), None)];
        // How far it was truncated need not be known any more.
        let truncation = self.system_write(&truncation_key(id), None);
        if self.store().step(|state| state.knows(GroupId::SYSTEM, truncation.hash)) {
            writes.push(truncation);
        }
        put::write(self.store(), writes, Durability::Synced).await?;
        Ok(())
    }

    fn group_named(&self, name: &str) -> Result<GroupId> {
        self.store().step(|state| {
            state.check_open()?;
            let found = state.group_named(name);
            found.map_err(|GroupRefused::NoSuchGroup| Error::NoSuchGroup { name: name.to_string() })
        })
    }

    /// Removes all keys of a group, durably and at once, whatever their number. Handles of it stay
    /// good.
    ///
    /// Writes that are accepted later stay; those accepted before are gone when this completes. If
    /// the future is dropped, the group may or may not be truncated, whole.
    pub async fn truncate_group(&self, name: impl AsRef<str>) -> Result<()> {
        let name = name.as_ref();
        let _turn = self.catalogue_turn().await?;
        let id = self.group_named(name)?;
        let write = self.system_write(&truncation_key(id), Some(b""));
        put::write(self.store(), vec![write], Durability::Synced).await?;
        Ok(())
    }

    /// Rewrites segments so that what is dead in them becomes room, without waiting for the need.
    ///
    /// Compaction runs by itself; this is for those who know that the time is good. Completes when
    /// the segments that were asked for have been rewritten; their slots are erased and free soon
    /// after. Dropping the future stops nothing.
    pub async fn compact(&self, request: CompactRequest) -> Result<CompactReport> {
        let (sender, done) = tokio::sync::oneshot::channel();
        let group = request.group.as_deref().map(|name| self.group_named(name)).transpose()?;
        self.store().step(|state| {
            state.check_open()?;
            state.request_compaction(group, request.reclaimable_percent, sender);
            Ok::<(), Error>(())
        })?;
        self.answered(done).await
    }

    /// Waits for the answer to a request.
    pub(crate) async fn answered(
        &self,
        done: tokio::sync::oneshot::Receiver<RequestDone>,
    ) -> Result<CompactReport> {
        let Ok(result) = done.await else {
            let refused = self.store().step(|state| state.check_open().err());
            return Err(refused.map_or(Error::Closed, Error::from));
        };
        result.map_err(|failed| {
            let capacity = self.store().step(|state| state.capacity());
            Error::of_request(failed, capacity)
        })
    }

    /// Holds compaction and separator back: while one of these guards lives, neither begins by
    /// itself. What runs already goes on, and what is asked for by [`Db::compact`] is done.
    ///
    /// A store that cannot compact is full earlier, and then says `Full` where it would have made
    /// room.
    #[must_use]
    pub fn pause_compaction(&self) -> CompactionPause {
        self.store().step(|state| {
            state.compaction.pauses += 1;
            state.calls.room = true; // who waits for compaction to make room waits in vain now
        });
        CompactionPause { store: Arc::clone(&self.handle.store) }
    }

    /// Changes how many bytes the segment files may take, until the store is closed; see
    /// [`Options::capacity`](crate::Options::capacity).
    ///
    /// At once for what is written from now on. If the files take more than that, what is live in
    /// the last ones is moved, and they are given back, in the background; `stats()` shows how far
    /// that is. While more is live than the new capacity holds, the store is full.
    pub fn resize(&self, capacity: Option<u64>) -> Result<()> {
        self.store().step(|state| {
            state.check_open()?;
            Ok(state.resize(capacity)?)
        })
    }

    /// Makes all writes of a batch, or none of them, with the durability of the store.
    pub async fn write(&self, batch: WriteBatch) -> Result<()> {
        self.write_with(batch, WriteOptions::default()).await
    }

    /// Makes all writes of a batch, or none of them.
    ///
    /// If the future is dropped, the batch may or may not be written, whole.
    pub async fn write_with(
        &self,
        batch: WriteBatch,
        options: impl Into<WriteOptions>,
    ) -> Result<()> {
        let options = options.into();
        let (writes, required) = batch.prepare(self)?;
        if !required.is_empty() {
            return Err(Error::ConditionalBatch);
        }
        self.check_batch(&writes)?;
        let durability = options.durability.unwrap_or(self.store().durability);
        put::write(self.store(), writes, durability).await?;
        Ok(())
    }

    /// Makes all writes of a batch if everything that it [requires](WriteBatch::require) holds, and
    /// none otherwise, with the durability of the store.
    pub async fn write_if(&self, batch: WriteBatch) -> Result<Outcome> {
        self.write_if_with(batch, WriteOptions::default()).await
    }

    /// The same; `options` may just be a [`Durability`].
    ///
    /// What is required is checked in the step that accepts the writes, so nothing comes in
    /// between; [`Group::compare_and_put`] says more. A batch without writes asks whether all of it
    /// holds at one moment.
    ///
    /// If the future is dropped, the batch may or may not be written, whole; it is written only if
    /// everything held.
    pub async fn write_if_with(
        &self,
        batch: WriteBatch,
        options: impl Into<WriteOptions>,
    ) -> Result<Outcome> {
        let options = options.into();
        let (writes, required) = batch.prepare(self)?;
        self.check_batch(&writes)?;
        let durability = options.durability.unwrap_or(self.store().durability);
        let batch = put::new_batch(self.store(), writes, durability);
        decide(&self.handle, &batch, required, &mut None).await
    }

    fn check_batch(&self, writes: &[NewWrite]) -> Result<()> {
        let limit = self.limits().batch_len;
        let bytes: u64 = writes.iter().map(|write| u64::from(write.len.get())).sum();
        let len = u32::try_from(bytes).ok().and_then(|bytes| buffer_len(writes.len(), bytes));
        let len = len.map_or(bytes.max(limit + 1), |len| len.get().into());
        if len > limit { Err(Error::BatchTooLarge { len, limit }) } else { Ok(()) }
    }

    /// Makes everything accepted so far durable.
    pub async fn flush(&self) -> Result<()> {
        put::flush(self.store()).await?;
        Ok(())
    }

    /// What this store takes at most.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let geometry = self.store().device.geometry();
        Limits {
            key_len: geometry.max_key_len(),
            value_len: geometry.max_value_len(),
            large_value_len: geometry.max_large_value_len(),
            batch_len: geometry.data_len().get().into(),
            group_name_len: NAME_LEN_MAX,
        }
    }

    /// The numbers of the store, as of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let store = self.store();
        let (device, storage) = (store.device.counts(), store.device.storage().info());
        store.step(|state| Stats::of(state, device, storage))
    }

    /// What each segment is for, in order of their numbers: what [`Db::stats`] adds up.
    ///
    /// Taken in steps of some thousand segments, so that nobody is held up for long; while the
    /// store is written to, all of them together are no snapshot. Needs no I/O.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let mut all = Vec::new();
        while self.store().step(|state| SegmentInfo::list_more(state, &mut all)) {}
        all
    }

    /// What the opening of this store found and did.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.handle.report
    }

    /// Makes everything accepted durable, writes a dump for the next opening, and closes the store
    /// for all handles. Closing it again does nothing.
    ///
    /// Not needed for safety. If the future is dropped, the store closes all the same, perhaps
    /// without a dump.
    pub async fn close(&self) -> Result<()> {
        close::close(self.store()).await.map_err(|source| Error::Failed { source })
    }
}

/// Compaction rests while this lives; see [`Db::pause_compaction`].
#[derive(Debug)]
pub struct CompactionPause {
    store: Arc<Store>,
}

impl Drop for CompactionPause {
    fn drop(&mut self) {
        self.store.let_go(|state| {
            state.compaction.pauses -= 1;
            state.calls.rewriter = true;
            state.calls.room = true;
        });
    }
}

async fn list(environment: &Environment) -> Result<Vec<FolderEntry>> {
    let listed = environment.storage.list().await;
    Ok(listed.map_err(OpenError::io("listing", "the folder"))?)
}

fn spawn_tasks(environment: &Environment, store: &Arc<Store>) {
    let spawn = &environment.spawn;
    let task = Arc::clone(store);
    spawn.spawn("logstor writer", with_permit(task, writer::run).boxed());
    let task = Arc::clone(store);
    spawn.spawn("logstor grow", with_permit(task, grow::run).boxed());
    let task = Arc::clone(store);
    spawn.spawn("logstor reclaim", with_permit(task, reclaim::run).boxed());
    let task = Arc::clone(store);
    spawn.spawn("logstor rewriter", with_permit(task, rewriter::run).boxed());
}

/// Runs a background task; `close` waits for the permit that it holds meanwhile.
fn with_permit<F: Future<Output = ()> + Send>(
    store: Arc<Store>,
    run: impl FnOnce(Arc<Store>) -> F + Send,
) -> impl Future<Output = ()> + Send {
    // Taken at once, so that a close right after the opening waits for the task.
    let permit = store.tasks.try_acquire().map(tokio::sync::SemaphorePermit::forget);
    permit.expect("there is a permit for each task");
    let running = run(Arc::clone(&store));
    async move {
        running.await;
        store.tasks.add_permits(1);
    }
}

/// Checks a key and the length of a value against the limits.
pub(crate) fn check_lens(store: &Store, key: &[u8], value_len: u64) -> Result<()> {
    let geometry = store.device.geometry();
    let (len, limit) = (key.len(), geometry.max_key_len());
    if len == 0 {
        return Err(Error::KeyEmpty);
    }
    if len > limit {
        return Err(Error::KeyTooLong { len, limit });
    }
    let limit = geometry.max_large_value_len();
    if value_len > limit {
        return Err(Error::ValueTooLong { len: value_len, limit });
    }
    Ok(())
}

/// Bytes of log that one write takes in a batch.
pub(crate) fn log_len(key: &[u8], value: &[u8]) -> u64 {
    record_len(key.len(), value.len())
        .map_or_else(|| to_u64(key.len() + value.len()), |len| len.get().into())
}
