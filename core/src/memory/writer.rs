//! What the log writer should do next, and what came of it.
//!
//! `plan` is the whole policy of the write path, as one function of the state and the time:
//!
//! 1. After a failure: wait until nothing is in flight, then write everything incomplete again,
//!    in order, in fresh segments.
//! 2. Seal the head when no write is in flight and somebody waits for it, or it has waited long
//!    enough (group commit by load: under load the next buffer grows while this one is written).
//! 3. Hand sealed buffers to the device, a few at a time.
//! 4. Sync a file when a durable write is waited for, or enough bytes or time went by.
//!
//! Absent on purpose: a retry of a failed sync. What it should have made durable is written again
//! elsewhere (storage contract, 3).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{State, Status};
use crate::format::buffer::BufferKind;
use crate::format::seal::{Seal, SealEntry};
use crate::io::IoBuf;
use crate::log::{Failure, Phase, Place, Watermarks, WriteJob};
use crate::options::Durability;
use crate::segments::Claim;
use crate::types::{BufferNumber, ByteLen, Generation, SegmentId};

/// A seal to be written.
#[derive(Clone, Debug)]
pub(crate) struct SealJob {
    pub(crate) segment: SegmentId,
    pub(crate) generation: Generation,
    /// Of which kind its buffers are.
    pub(crate) kind: BufferKind,
    pub(crate) entries: Arc<Vec<SealEntry>>,
    pub(crate) owed: bool,
    /// How often writing it has failed.
    pub(crate) failed: u32,
    /// Not before every log buffer below this number is durable: what it leaves out may be all
    /// there is of writes that were acknowledged as `Written`.
    pub(crate) after: BufferNumber,
}

/// After so many failures an owed seal is given up; nothing is erased until the next opening.
const SEAL_TRIES: u32 = 3;

impl SealJob {
    /// The bytes for the device.
    pub(crate) fn encode(
        &self,
        store: u64,
        geometry: crate::format::geometry::Geometry,
        watermarks: Watermarks,
    ) -> IoBuf {
        let seal = Seal {
            segment: self.segment,
            generation: self.generation,
            kind: self.kind,
            log_watermark: watermarks.log,
            rewrite_watermark: watermarks.rewrite,
            entries: self.entries.to_vec(),
        };
        seal.encode(store, geometry)
    }
}

/// What the writer should start now.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) writes: Vec<WriteJob>,
    /// Files to sync.
    pub(crate) syncs: Vec<u32>,
    pub(crate) seals: Vec<(SealJob, Watermarks)>,
    /// When to look again although nothing happened.
    pub(crate) look_again_at: Option<Duration>,
}

impl State {
    /// Decides what to start now; everything in the plan counts as started.
    pub(crate) fn plan(&mut self, now: Duration) -> Plan {
        let mut plan = Plan::default();
        if !matches!(self.status, Status::Failed(_)) {
            let broken = self.log.ring.iter().any(|buffer| buffer.phase == Phase::Broken);
            if !broken || self.write_again() {
                self.plan_writes(now, &mut plan);
                self.plan_syncs(now, &mut plan);
            }
            if self.draining && self.log.is_idle() {
                self.close_tail(false);
            }
        }
        let watermarks = self.watermarks();
        let due = self.seals_due.extract_if(.., |job| job.after <= watermarks.log);
        plan.seals = due.map(|job| (job, watermarks)).collect();
        plan
    }

    fn plan_writes(&mut self, now: Duration, plan: &mut Plan) {
        let count = |phase| self.log.ring.iter().filter(|buffer| buffer.phase == phase).count();
        let mut writing = count(Phase::Writing);
        if writing == 0 && count(Phase::Ready) == 0 {
            if self.head_is_due(now) {
                self.seal_head();
            } else if let Some(head) = &self.log.head {
                plan.look_again_at = Some(head.opened_at + self.rules.flush_after);
            }
        }
        let watermarks = self.watermarks();
        for buffer in &mut self.log.ring {
            if writing == self.rules.writes_in_flight {
                break;
            }
            if buffer.phase == Phase::Ready {
                plan.writes.push(buffer.write_job(watermarks));
                writing += 1;
            }
        }
    }

    fn head_is_due(&self, now: Duration) -> bool {
        let Some(head) = &self.log.head else { return false };
        self.draining
            || head.demand > Durability::Buffered
            || head.is_full(self.rules.buffer_len)
            || now >= head.opened_at + self.rules.flush_after
    }

    fn plan_syncs(&mut self, now: Duration, plan: &mut Plan) {
        let mut written = BTreeMap::<u32, Unsynced>::new();
        let geometry = self.rules.geometry;
        for buffer in &self.log.ring {
            let file = written.entry(geometry.place(buffer.place.segment).0).or_default();
            match buffer.phase {
                Phase::Written { .. } => {
                    file.bytes += u64::from(buffer.len.get());
                    file.since = file.since.min(buffer.written_at);
                    file.wanted |= buffer.number < self.log.sync_below || self.draining;
                }
                Phase::Syncing { .. } => file.busy = true,
                _ => {}
            }
        }
        for (file, unsynced) in written {
            if unsynced.bytes == 0 || unsynced.busy {
                continue;
            }
            let deadline = unsynced.since + self.rules.sync_after;
            if unsynced.wanted || unsynced.bytes >= self.rules.sync_bytes || now >= deadline {
                self.begin_sync(file);
                plan.syncs.push(file);
            } else {
                let soonest = plan.look_again_at.map_or(deadline, |at| at.min(deadline));
                plan.look_again_at = Some(soonest);
            }
        }
    }

    fn begin_sync(&mut self, file: u32) {
        for buffer in &mut self.log.ring {
            if let Phase::Written { failures } = buffer.phase
                && self.rules.geometry.place(buffer.place.segment).0 == file
            {
                buffer.phase = Phase::Syncing { failures };
            }
        }
    }

    /// A write completed; `failures` counted the failed syncs of its file when it began.
    pub(crate) fn landed(
        &mut self,
        number: BufferNumber,
        image: Arc<IoBuf>,
        result: Result<u64, io::Error>,
        now: Duration,
    ) {
        let buffer = self.log.buffer(number);
        assert_eq!(buffer.phase, Phase::Writing);
        buffer.body = crate::log::Body::Image(image);
        buffer.written_at = now;
        match result {
            Ok(failures) => buffer.phase = Phase::Written { failures },
            Err(error) => {
                buffer.phase = Phase::Broken;
                self.last_failure = Some(Arc::new(error));
            }
        }
        // `Written` means that everything before it is written too.
        for buffer in &mut self.log.ring {
            if !buffer.is_written() {
                break;
            }
            buffer.wake(Durability::Written, &Ok(()));
        }
    }

    /// A sync of `file` ended; `Ok` holds how many syncs of the file have failed so far.
    pub(crate) fn synced(&mut self, file: u32, result: Result<u64, io::Error>) {
        let geometry = self.rules.geometry;
        for buffer in &mut self.log.ring {
            if geometry.place(buffer.place.segment).0 != file {
                continue;
            }
            buffer.phase = match (buffer.phase, &result) {
                (Phase::Syncing { failures }, Ok(now)) if failures == *now => Phase::Durable,
                // Nothing is known of any unsynced write of a file after a failed sync.
                (Phase::Syncing { .. }, _) | (Phase::Written { .. }, Err(_)) => Phase::Broken,
                (other, _) => other,
            };
        }
        if let Err(error) = result {
            self.last_failure = Some(Arc::new(error));
        }
        self.complete();
    }

    /// A seal was written, or could not be.
    pub(crate) fn seal_written(&mut self, mut job: SealJob, durable: bool) {
        self.calls.room = true;
        self.calls.reclaim = true;
        self.calls.rewriter = true;
        self.segments.release(job.segment);
        if !job.owed {
            return; // without a seal the segment is walked at recovery
        }
        if durable {
            self.seals_owed -= 1;
            self.rewrites.abandoned.remove(&job.segment);
            return;
        }
        job.failed += 1;
        if job.failed == SEAL_TRIES {
            self.seals_lost += 1;
            return;
        }
        self.segments.hold(job.segment);
        self.seals_due.push(job);
    }

    /// Binds everything incomplete to fresh segments, in order and under the same numbers. `false`
    /// while the device is still busy with it, or when the store has to give up.
    fn write_again(&mut self) -> bool {
        let busy = |phase| matches!(phase, Phase::Writing | Phase::Syncing { .. });
        if self.log.ring.iter().any(|buffer| busy(buffer.phase)) {
            return false;
        }
        if self.log.ring.iter().any(|buffer| buffer.again && buffer.phase == Phase::Broken) {
            self.fail();
            return false;
        }
        let mut failed: BTreeSet<SegmentId> =
            self.log.ring.iter().map(|buffer| buffer.place.segment).collect();
        if let Some(tail) = self.log.tail.take() {
            failed.insert(tail.segment);
            self.segments.seal(tail.segment, 0);
        }
        for segment in failed {
            self.seal_is_due(segment, true);
        }
        let rebound = self.rebind_ring() && self.rebind_head();
        if !rebound {
            self.fail();
        }
        rebound
    }

    fn rebind_ring(&mut self) -> bool {
        for at in 0..self.log.ring.len() {
            let len = self.log.ring[at].len;
            let Some(place) = self.bind(len) else { return false };
            let buffer = &mut self.log.ring[at];
            buffer.place = place;
            buffer.phase = Phase::Ready;
            buffer.again = true;
            self.buffer_is_coming(place.segment);
        }
        true
    }

    fn rebind_head(&mut self) -> bool {
        let Some(mut head) = self.log.head.take() else { return true };
        let Some(place) = self.bind(head.len()) else {
            self.log.head = Some(head);
            return false;
        };
        self.log.tail = Some(place);
        head.place = place;
        head.room = self.room_behind(place);
        self.log.head = Some(head);
        true
    }

    /// A place for a buffer of `len` bytes; the tail moves behind it.
    fn bind(&mut self, len: ByteLen) -> Option<Place> {
        let fits = self.log.tail.is_some_and(|tail| len <= self.room_behind(tail));
        if !fits && !self.open_segment(Claim::Again) {
            return None;
        }
        let place = self.log.tail.expect("a segment is open");
        let next = place.offset.checked_add(len).expect("a buffer ends in its segment");
        self.log.tail = Some(Place { offset: next, ..place });
        Some(place)
    }

    /// Gives up: nothing more is written, everybody who waits is told.
    fn fail(&mut self) {
        let unknown = || Arc::new(io::Error::other("the log could not be written"));
        let failure: Failure = self.last_failure.clone().unwrap_or_else(unknown);
        self.give_up(failure);
    }

    pub(crate) fn give_up(&mut self, failure: Failure) {
        for buffer in &mut self.log.ring {
            buffer.wake(Durability::Synced, &Err(failure.clone()));
        }
        if let Some(head) = &mut self.log.head {
            for waiter in head.waiters.drain(..) {
                // A caller who left does not hear it.
                let _ = waiter.done.send(Err(failure.clone()));
            }
        }
        self.status = Status::Failed(failure);
        self.drop_requests();
        self.calls.room = true;
    }
}

/// What of one file waits for a sync.
struct Unsynced {
    bytes: u64,
    since: Duration,
    wanted: bool,
    busy: bool,
}

impl Default for Unsynced {
    fn default() -> Self {
        Self { bytes: 0, since: Duration::MAX, wanted: false, busy: false }
    }
}
