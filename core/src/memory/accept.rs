//! Accepting writes: the step that gives them their sequence and their place.
//!
//! 1. A batch is accepted whole into one buffer, or not at all.
//! 2. What is accepted has room: its segment is chosen here, so no accepted write can meet a full
//!    store later.
//! 3. Puts leave the reserve whole; deletes may use it.
//! 4. An index that takes all the memory that it may gets no new keys.
//!
//! A crash here costs what is only in memory: nothing was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{OpenSegment, Outlook, State, Status};
use crate::catalog::{PendingWrite, Readable};
use crate::format::record::{self, NewRecord, RecordKind};
use crate::format::summary::SummaryEntry;
use crate::groups::{GroupChange, is_truncation};
use crate::log::{Failure, Head, Place, Waiter, buffer_len};
use crate::options::Durability;
use crate::segments::{Claim, SegmentKind};
use crate::types::{ByteLen, GroupId, KeyHash, SegmentId, SegmentOffset, Sequence};

/// One write, prepared outside of the lock.
#[derive(Debug)]
pub(crate) struct NewWrite {
    pub(crate) group: GroupId,
    pub(crate) hash: KeyHash,
    pub(crate) kind: RecordKind,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) body_crc: u32,
    pub(crate) len: ByteLen,
    /// Of a large value, what the value in the record is only the list of.
    pub(crate) large: Option<LargeValue>,
}

/// A large value whose pieces are durable.
#[derive(Clone, Debug)]
pub(crate) struct LargeValue {
    pub(crate) pieces: Arc<[SegmentId]>,
    pub(crate) len: u64,
    /// The value itself, where somebody follows the log.
    #[cfg(feature = "verify")]
    pub(crate) shown: Bytes,
}

impl NewWrite {
    /// Whether it only makes room: it deletes a key, or truncates a group.
    fn gives_room(&self) -> bool {
        let truncates = self.group == GroupId::SYSTEM && is_truncation(&self.key);
        self.kind == RecordKind::Delete || truncates
    }

    fn value(&self) -> Option<&[u8]> {
        (!self.kind.is_delete()).then_some(&*self.value)
    }
}

/// Writes that are accepted together or not at all.
#[derive(Debug)]
pub(crate) struct NewBatch {
    pub(crate) writes: Vec<NewWrite>,
    pub(crate) durability: Durability,
    /// Bytes of write memory that it holds until it is durable.
    pub(crate) charge: usize,
}

impl NewBatch {
    fn claim(&self) -> Claim {
        if self.writes.iter().all(NewWrite::gives_room) { Claim::Delete } else { Claim::Put }
    }

    fn record_bytes(&self) -> Option<u32> {
        self.writes.iter().try_fold(0_u32, |sum, write| sum.checked_add(write.len.get()))
    }
}

/// Why a batch was not accepted.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// No segment for it now; the outlook says whether waiting helps.
    NoRoom(Outlook),
    /// The index takes all the memory that it may, so many bytes, and has no such key.
    IndexFull(usize),
    /// The group does not exist any more.
    GroupDropped(GroupId),
    /// The store was opened to be read.
    ReadOnly,
    Closed,
    Failed(Failure),
}

/// An accepted batch.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// Completes when the batch has come as far as was asked for, and all before it; `None` if it
    /// already has.
    pub(crate) done: Option<oneshot::Receiver<Result<(), Failure>>>,
    /// Whether it holds its write memory now; a batch that changes nothing does not.
    pub(crate) charged: bool,
    /// How long the caller should be held up, because compaction is behind.
    pub(crate) throttle: Duration,
    /// The number of its first write; the others follow. `None` if nothing had to be written.
    pub(crate) first: Option<Sequence>,
}

impl Accepted {
    fn at_once(charged: bool, throttle: Duration) -> Self {
        Self { done: None, charged, throttle, first: None }
    }
}

impl State {
    /// Refuses what no write may do now.
    pub(crate) fn check_open(&self) -> Result<(), Refused> {
        match &self.status {
            Status::Open if self.rules.read_only => Err(Refused::ReadOnly),
            Status::Open => Ok(()),
            Status::Closed => Err(Refused::Closed),
            Status::Failed(failure) => Err(Refused::Failed(failure.clone())),
        }
    }

    /// Refuses what no write of this group may do now.
    pub(super) fn check_group(&self, id: GroupId) -> Result<(), Refused> {
        let group = self.groups.get(id).filter(|group| !group.dropping);
        group.map(|_| ()).ok_or(Refused::GroupDropped(id))
    }

    /// Accepts a batch, in one step: sequence, place, pending writes. The store is open. The caller
    /// waits for `level`, which may be more than the batch asks for.
    pub(super) fn accept_to(
        &mut self,
        batch: &NewBatch,
        level: Durability,
        now: Duration,
    ) -> Result<Accepted, Refused> {
        for write in &batch.writes {
            self.check_group(write.group)?;
        }
        if self.is_absent_already(batch) {
            return Ok(self.accept_nothing(level));
        }
        self.check_index(batch)?;
        if !self.make_room(batch, now) {
            return Err(Refused::NoRoom(self.outlook(batch.claim(), now)));
        }
        let batch_sequence = self.log.next_sequence;
        for write in &batch.writes {
            self.append(write, batch.durability, batch_sequence);
        }
        let throttle = self.throttle(batch);
        let head = self.log.head.as_mut().expect("room was made in the head");
        head.charge += batch.charge;
        // A head just opened needs its timer; one that somebody waits for should go at once.
        let opened = head.entries.len() == batch.writes.len();
        self.calls.writer |= opened || level > Durability::Buffered;
        let accepted =
            Accepted { first: Some(batch_sequence), ..Accepted::at_once(true, throttle) };
        if level == Durability::Buffered {
            return Ok(accepted);
        }
        head.demand = head.demand.max(level);
        if level == Durability::Synced {
            self.log.synced_at = Some(now);
        }
        let (sender, done) = oneshot::channel();
        head.waiters.push(Waiter { level, done: sender });
        Ok(Accepted { done: Some(done), ..accepted })
    }

    /// What changes nothing is as durable as what was accepted before it: whoever wants to know how
    /// far it has come waits for that.
    fn accept_nothing(&mut self, durability: Durability) -> Accepted {
        let done = if durability == Durability::Buffered {
            None
        } else {
            let (sender, done) = oneshot::channel();
            self.calls.writer = true;
            self.log.wait_for_all(durability, sender).then_some(done)
        };
        Accepted { done, ..Accepted::at_once(false, Duration::ZERO) }
    }

    /// Refuses new keys while the index takes all the memory that it may.
    fn check_index(&self, batch: &NewBatch) -> Result<(), Refused> {
        let most = self.rules.index_memory;
        let is_new = |write: &NewWrite| !write.gives_room() && !self.knows(write.group, write.hash);
        if self.index_bytes >= most && batch.writes.iter().any(is_new) {
            return Err(Refused::IndexFull(most));
        }
        Ok(())
    }

    /// How long the caller of a batch is held up. Deletes make room, so they are not.
    fn throttle(&self, batch: &NewBatch) -> Duration {
        let per_kib = self.throttle_per_kib();
        if per_kib.is_zero() || batch.claim() == Claim::Delete {
            return Duration::ZERO;
        }
        per_kib * batch.record_bytes().unwrap_or(0).div_ceil(1024)
    }

    /// A lone delete of a key that is nowhere, durable or on its way, is done already.
    fn is_absent_already(&self, batch: &NewBatch) -> bool {
        let [write] = &batch.writes[..] else { return batch.writes.is_empty() };
        let Some(group) = self.groups.get(write.group) else { return false };
        write.kind == RecordKind::Delete
            && group.index.get(write.hash).is_none()
            && !group.pending.contains(write.hash)
    }

    /// Sees to it that the head takes the whole batch.
    fn make_room(&mut self, batch: &NewBatch, now: Duration) -> bool {
        let claim = batch.claim();
        let Some(bytes) = batch.record_bytes() else { return false };
        if let Some(head) = &self.log.head {
            let len = head.len();
            // A full one still takes what goes into the padding of its last block.
            let most = if len.get() < self.rules.buffer_len { head.room } else { len };
            if head.len_with(batch.writes.len(), bytes).is_some_and(|len| len <= most) {
                return self.may_use_open_segment(claim);
            }
            self.seal_head();
        }
        let Some(needed) = buffer_len(batch.writes.len(), bytes) else { return false };
        self.open_head(needed, claim, now)
    }

    fn may_use_open_segment(&self, claim: Claim) -> bool {
        claim != Claim::Put || self.segments.reserve_is_whole()
    }

    fn open_head(&mut self, needed: ByteLen, claim: Claim, now: Duration) -> bool {
        assert!(self.log.head.is_none());
        let fits = self.log.tail.is_some_and(|tail| needed <= self.room_behind(tail));
        let usable = if fits {
            self.may_use_open_segment(claim)
        } else {
            !(claim == Claim::Put && self.must_compact_first(now)) && self.open_segment(claim)
        };
        if !usable {
            return false;
        }
        let tail = self.log.tail.expect("a segment is open");
        let room = self.room_behind(tail);
        assert!(needed <= room, "limits keep every batch below the length of a segment");
        self.log.head = Some(Head::at(tail, room, now));
        true
    }

    pub(super) fn room_behind(&self, tail: Place) -> ByteLen {
        let room = self.rules.geometry.data_len().get().checked_sub(tail.offset.get());
        ByteLen::new(room.expect("buffers end before the seal"))
    }

    /// Goes on in a free slot; the segment in use until now takes no more buffers.
    pub(super) fn open_segment(&mut self, claim: Claim) -> bool {
        let Some(place) = self.take_segment(claim, SegmentKind::Log) else {
            // What is in use is as good as full. Closed, it can be compacted like any other.
            if self.log.tail.is_some_and(|tail| tail.offset > SegmentOffset::ZERO) {
                self.close_tail(false);
            }
            return false;
        };
        self.close_tail(true);
        self.log.tail = Some(place);
        true
    }

    /// Opens a free slot for buffers.
    pub(super) fn take_segment(&mut self, claim: Claim, kind: SegmentKind) -> Option<Place> {
        let place = self.take_slot(claim, kind)?; // held until its seal is written
        let generation = place.generation;
        let open = OpenSegment { generation, entries: Vec::new(), incomplete: 0, closed: false };
        self.open.insert(place.segment, open);
        Some(place)
    }

    /// Takes a free slot, which is held from then on.
    pub(super) fn take_slot(&mut self, claim: Claim, kind: SegmentKind) -> Option<Place> {
        if self.segments.next_generation() >= self.published.next_generation {
            self.calls.reclaim = true; // which publishes a higher floor; none is issued above it
            return None;
        }
        if !self.next_is_named() {
            self.calls.reclaim = true; // which publishes a mark that names it
            return None;
        }
        let (segment, generation) = self.segments.take(claim, kind, self.log.next_sequence)?;
        self.calls.grow = true;
        self.calls.rewriter |= self.compaction_is_due();
        self.calls.reclaim |= self.generations_run_low() || self.names_run_low();
        self.segments.hold(segment);
        Some(Place { segment, generation, offset: SegmentOffset::ZERO })
    }

    /// The head becomes the last buffer of the ring.
    pub(super) fn seal_head(&mut self) {
        let Some(segment) = self.log.seal_head() else { return };
        self.buffer_is_coming(segment);
    }

    fn append(&mut self, write: &NewWrite, durability: Durability, batch: Sequence) {
        let sequence = self.log.next_sequence;
        self.log.next_sequence = sequence.next();
        self.user_bytes += u64::from(write.len.get());
        self.user_bytes += write.large.as_ref().map_or(0, |large| large.len);
        #[cfg(feature = "verify")]
        self.observe(write, sequence, batch);
        #[cfg(not(feature = "verify"))]
        let _ = batch;
        let head = self.log.head.as_mut().expect("room was made in the head");
        record::append(
            &mut head.records,
            &NewRecord {
                sequence,
                group: write.group,
                kind: write.kind,
                key: &write.key,
                value: &write.value,
                body_crc: write.body_crc,
            },
        );
        if write.group == GroupId::SYSTEM {
            let change = GroupChange::parse(&write.key, write.value());
            let change = change.expect("records of the system group are made here");
            if let GroupChange::Dropped { id } = change
                && let Some(group) = self.groups.get_mut(id)
            {
                group.dropping = true;
            }
            if let GroupChange::Truncated { id } = change
                && let Some(group) = self.groups.get_mut(id)
            {
                group.truncating = Some(sequence);
            }
            head.changes.push((head.entries.len(), change));
        }
        if let Some(large) = &write.large {
            head.pieces.push((head.entries.len(), Arc::clone(&large.pieces)));
        }
        head.entries.push(SummaryEntry {
            hash: write.hash,
            kind: write.kind,
            len: write.len,
            group: write.group,
            sequence,
        });
        let value = write.value.clone();
        let shown = (durability != Durability::Synced).then(|| {
            let readable = match (&write.large, write.kind) {
                (Some(large), _) => Readable::Large(value, Arc::clone(&large.pieces)),
                (None, RecordKind::Delete) => Readable::Deleted,
                (None, _) => Readable::Value(value),
            };
            (write.key.clone(), readable)
        });
        let group = self.groups.get_mut(write.group).expect("the group was looked up before");
        let deletes = write.kind.is_delete();
        group.pending.push(write.hash, PendingWrite { sequence, deletes, shown });
    }

    #[cfg(feature = "verify")]
    fn observe(&self, write: &NewWrite, sequence: Sequence, batch: Sequence) {
        let Some(observer) = &self.rules.observer else { return };
        let shown = write.large.as_ref().map(|large| &*large.shown);
        observer.0.accepted(crate::options::AcceptedWrite {
            sequence,
            group: write.group,
            key: &write.key,
            value: shown.or(write.value()),
            batch,
        });
    }
}
