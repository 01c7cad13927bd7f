//! Rewriting: the one mechanism by which records move.
//!
//! ```text
//!   victims ── read ──> candidates ── place (one step) ──> drafts ── write ──> copies
//!                                                                                │ sync, read back
//!   victims free <── unpinned, dead <── repoint the index (steps) <──────────────┘
//! ```
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | read the victims: summaries, and the records that are needed | nothing |
//! | 2 | check each record, and give its copy a place while the index needs it | nothing |
//! | 3 | write the copies, several buffers at a time | nothing: the originals are there |
//! | 4 | sync every file written to | nothing |
//! | 5 | read every copy back and compare its checksum | nothing: nothing relies on them yet |
//! | 6 | repoint the index, buffer by buffer, in order of number | nothing: both are durable |
//! | 7 | let the victims go; reclaim erases what is dead in its own time | nothing |
//!
//! A record that does not check is not copied: it stays where it is, its segment is not freed, and
//! reading it says what is wrong. If writing or syncing a copy fails, or what is read back is not
//! what was written, nothing of the run counts: a copy replaces its original for good, and a device
//! that lost the write of one, or put it elsewhere, would otherwise take both.
//!
//! Absent on purpose: the choice of victims.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::compact::CompactReport;
use crate::format::record::Record;
use crate::log::{Failure, WriteJob};
use crate::memory::{Candidate, Run, State, Why};
use crate::segment_io::{Found, FoundRecord, Purpose, ReadBack, Source, Unsynced};
use crate::store::Store;
use crate::types::{Generation, Location, SegmentId};

/// Records that one step gives their places.
const PLACED_TOGETHER: usize = 16;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) report: CompactReport,
    /// Victims of which not everything could be read.
    pub(crate) suspects: Vec<SegmentId>,
    /// Victims in which something is damaged.
    pub(crate) damaged: Vec<SegmentId>,
    /// Why a victim could not be read, if one could not.
    pub(crate) read_failure: Option<Failure>,
    /// Why no copy counts, if none does.
    pub(crate) write_failure: Option<Failure>,
}

/// A copy that was written: its file, and the failed syncs of that when it was begun.
type Written = (u32, io::Result<u64>);

struct Rewriter<'a> {
    store: &'a Store,
    run: &'a Run,
    report: CompactReport,
    in_flight: FuturesUnordered<BoxFuture<'a, Written>>,
    unsynced: Unsynced,
    /// Everything that was handed to the device.
    copies: ReadBack,
    failure: Option<io::Error>,
    /// No more room for copies.
    full: bool,
    started: Duration,
    /// Bytes of copies handed to the device.
    written: u64,
}

/// Rewrites the victims of a run. To be run to its end: it is not safe to drop half-way.
pub(crate) async fn rewrite(store: &Store, run: &Run) -> Rewritten {
    let mut rewriter = Rewriter {
        store,
        run,
        report: CompactReport::default(),
        in_flight: FuturesUnordered::new(),
        unsynced: Unsynced::default(),
        copies: ReadBack::default(),
        failure: None,
        full: false,
        started: store.now(),
        written: 0,
    };
    let (mut done, mut suspects, mut read_failure) = (Vec::new(), Vec::new(), None);
    let mut damaged = Vec::new();
    for &(victim, generation) in &run.victims {
        if rewriter.failure.is_some() || rewriter.full || store.is_ending() {
            break;
        }
        match rewriter.victim(victim, generation).await {
            Ok(true) => done.push((victim, generation)),
            Ok(false) if rewriter.full || rewriter.failure.is_some() => {}
            Ok(false) => {
                tracing::warn!(%victim, "something in a segment to be rewritten is damaged");
                damaged.push(victim);
            }
            Err(error) => {
                tracing::warn!(%victim, %error, "a segment could not be read to be rewritten");
                read_failure = Some(Arc::new(error));
                suspects.push(victim);
            }
        }
    }
    let (report, write_failure) = rewriter.finish(&done).await;
    Rewritten {
        report,
        suspects,
        damaged,
        read_failure,
        write_failure: write_failure.map(Arc::new),
    }
}

impl Rewriter<'_> {
    /// Steps 1 to 3 for one victim; `false` if something in it stays.
    async fn victim(&mut self, victim: SegmentId, generation: Generation) -> io::Result<bool> {
        let device = &self.store.device;
        let (known, sparse) = self.store.step(|state| {
            let slot = state.segments.get(victim);
            let kept = slot.live + slot.tombstones;
            (slot.records + slot.fronts + slot.padding, kept < state.segments.data_len() / 4)
        });
        let mut source = Source::open(device, victim, generation, (known, sparse)).await?;
        let mut complete = true;
        loop {
            let begun = self.store.now();
            let allowed = self.store.allowance();
            let Some(mut found) = source.next(allowed.part).await? else { break };
            complete &= !found.damaged;
            complete &= self.found(&source, &mut found, generation).await?;
            if self.full || self.failure.is_some() {
                return Ok(false);
            }
            self.pace(begun).await;
        }
        self.report.segments += 1;
        Ok(complete && source.is_complete())
    }

    /// Some buffers of a victim; `false` if a record in them does not check.
    async fn found(
        &mut self,
        source: &Source<'_>,
        found: &mut Found,
        generation: Generation,
    ) -> io::Result<bool> {
        let needed = self.store.step(|state| {
            let needed =
                |record: &&FoundRecord| state.is_needed(self.run, record.at, &record.entry);
            found.records.iter().filter(needed).cloned().collect::<Vec<_>>()
        });
        let dropped = |record: &&FoundRecord| record.entry.kind.is_delete();
        let tombstones = found.records.iter().filter(dropped).count();
        let kept = needed.iter().filter(|record| record.entry.kind.is_delete()).count();
        if self.run.is_whole() {
            self.report.tombstones_dropped += crate::types::to_u64(tombstones - kept);
        }
        let wanted: Vec<Location> = needed.iter().map(|record| record.at).collect();
        source.fetch(found, &wanted, self.store.allowance().part).await?;
        yield_now().await;

        let mut complete = true;
        let mut candidates = Vec::with_capacity(needed.len());
        for record in &needed {
            let bytes = found.pieces.iter().find_map(|piece| piece.record(record.at));
            match bytes.filter(|bytes| self.checks(bytes, record, generation)) {
                Some(bytes) => {
                    candidates.push(Candidate {
                        from: record.at,
                        entry: record.entry,
                        record: bytes,
                    });
                }
                None => complete = false,
            }
        }
        for some in candidates.chunks(PLACED_TOGETHER) {
            let placed = self.store.step(|state| state.place(self.run, some));
            self.report.tombstones_dropped += placed.tombstones_dropped;
            self.full |= placed.seen < some.len();
            for job in placed.jobs {
                self.write(job).await;
            }
            if self.full || self.failure.is_some() {
                break;
            }
            yield_now().await;
        }
        Ok(complete)
    }

    /// Whether these are the bytes of the record that the summary speaks of.
    fn checks(&self, bytes: &[u8], found: &FoundRecord, generation: Generation) -> bool {
        let record = Record::parse(bytes, found.at);
        record.is_ok_and(|record| found.entry.is_of(&record, generation, &self.store.hasher))
    }

    async fn write(&mut self, mut job: WriteJob) {
        let (store, allowed) = (self.store, self.store.allowance());
        let image = job.encode(store.device.store());
        self.written += crate::types::to_u64(image.len());
        let place = job.place;
        self.copies.add(place.segment, place.offset, &image);
        let write = async move {
            let file = store.device.geometry().place(place.segment).0;
            let bytes = (image, allowed.part);
            let written =
                store.device.write_in_parts(Purpose::Copies, place.segment, place.offset, bytes);
            (file, written.await)
        };
        self.in_flight.push(write.boxed());
        while self.in_flight.len() >= allowed.in_flight {
            self.landed().await;
        }
    }

    async fn landed(&mut self) {
        match self.in_flight.next().await {
            Some((file, Ok(failures))) => self.unsynced.add(file, failures),
            Some((_, Err(error))) => self.failure = Some(error),
            None => {}
        }
    }

    /// Steps 3 to 6, for all that is left.
    async fn finish(
        mut self,
        done: &[(SegmentId, Generation)],
    ) -> (CompactReport, Option<io::Error>) {
        let mut left = BTreeSet::new();
        if self.failure.is_none() {
            let (jobs, victims) = self.store.step(|state| state.issue_rest(self.run, self.full));
            left = victims;
            for job in jobs {
                self.write(job).await;
            }
        }
        while !self.in_flight.is_empty() {
            self.landed().await;
        }
        if self.failure.is_none() {
            self.failure = std::mem::take(&mut self.unsynced).sync(&self.store.device).await.err();
        }
        if self.failure.is_none() {
            let (copies, allowed) = (std::mem::take(&mut self.copies), self.store.allowance());
            let read = copies.check(&self.store.device, allowed.in_flight, allowed.part);
            self.failure = read.await.err();
        }
        let mut report = self.report;
        if self.failure.is_some() {
            self.store.step(State::abandon_run);
            return (CompactReport::default(), self.failure);
        }
        while self.store.step(|state| state.complete_next(&mut report)) {
            yield_now().await;
        }
        self.store.step(|state| {
            for &(victim, generation) in done.iter().filter(|_| self.run.is_whole()) {
                if !left.contains(&victim) {
                    state.victim_done(victim, generation);
                }
            }
        });
        (report, None)
    }

    /// Makes way for others: when nobody waits for room, half of the time; and never faster than
    /// the rate that was asked for.
    async fn pace(&mut self, begun: Duration) {
        let now = self.store.now();
        let took = now.saturating_sub(begun);
        let urgent = matches!(self.run.why, Why::Room | Why::Request);
        let rest = if urgent { Duration::ZERO } else { took };
        let rate = self.store.step(|state| state.rules.compaction_rate);
        let due = rate.map_or(Duration::ZERO, |rate| {
            Duration::from_micros(self.written.saturating_mul(1_000_000) / rate.max(1))
        });
        let ahead = (self.started + due).saturating_sub(now);
        let rest = rest.max(ahead).min(REST_MAX);
        if !rest.is_zero() && !self.store.is_ending() {
            self.store.environment.clock.sleep(rest).await;
        }
    }
}

/// The longest rest between two reads, so that a closing store need not wait for long.
const REST_MAX: Duration = Duration::from_millis(500);

/// Lets other tasks run: nothing here takes long, and all of it together does.
async fn yield_now() {
    let mut yielded = false;
    futures::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
