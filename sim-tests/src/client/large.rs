//! Values that take segments of their own: put whole or as a stream, read bit by bit.
//!
//! | answer to a put | what must be true |
//! |---|---|
//! | `Full` | not judged: slots that its first pieces took are free again when it is heard |
//! | `Io` | a write or a sync failed while it was under way; nothing was accepted |
//! | `Invalid` | the stream broke off; nothing was accepted |
//! | all others | as of any write |
//!
//! A stream of a value shows one record, that it found when it was asked for, however late its
//! bytes are read and whatever became of the key.
//!
//! Absent on purpose: looking for the pieces. The numbers at rest, the image check and every later
//! read do that.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use logstor_core::io::Clock;
use logstor_core::{Durability, Error, ErrorKind, ValueStream, WriteOptions};
use logstor_io_sim::FaultCounts;

use super::{Client, Shared};
use crate::ledger::OpNumber;
use crate::model::KeyNumber;
use crate::ops::{Feed, FeedEnd, Way, Write};
use crate::plan::Mode;
use crate::value;

/// A stream of a value that was not read to its end.
#[derive(Debug)]
pub(super) struct Reading {
    /// The group's id, and the key.
    slot: (u32, KeyNumber),
    /// What the read had to see when it looked the key up, and how many records there were.
    floor: Option<usize>,
    accepted: usize,
    /// Reads that had failed by then.
    faults: u64,
    stream: ValueStream,
    bytes: Vec<u8>,
    ended: bool,
    /// The ledger knows what it shows.
    judged: bool,
}

/// A put of one value.
#[derive(Clone, Copy, Debug)]
struct Asked {
    op: OpNumber,
    group: u32,
    /// It takes segments of its own.
    large: bool,
    /// Its stream does not give what was said.
    broken: bool,
    /// The faults before.
    before: FaultCounts,
}

impl Client {
    /// Puts one value, in the way that fits.
    pub(super) async fn put_one(&mut self, write: Write, feed: Option<Feed>) {
        let len = write.len.unwrap_or(0);
        let large = len > self.draw.limits.value_len;
        if feed.is_none() && !large {
            self.write(vec![write], false).await;
            return;
        }
        let Some(group) = self.handle(write.group).await else { return };
        let (name, key, id) = (&self.name, write.key, group.id().get());
        let what = format!("{name}: put key {key} of group {id}, {len} bytes, {feed:?}");
        let number = self.draw.rng.bits();
        let (value, change) = (value::make(number, len), write.change(id, number));
        let mut options = WriteOptions::default();
        options.durability = self.draw.durability();
        let level = options.durability.unwrap_or(self.shared.plan.options.durability);
        let give_up = self.draw.give_up_late(feed.map(|feed| feed.end));
        let (before, clock) = (self.shared.faults(), Arc::clone(&self.shared.clock));
        let key = self.shared.plan.keys[write.key].clone();
        let future = async move {
            let Some(feed) = feed else { return group.put_with(key, value, options).await };
            let len = u64::try_from(len).unwrap_or(u64::MAX);
            group.put_stream_with(key, len, chunks(&value, feed, clock), options).await
        };
        let called = self.shared.call_to_write(what, level, vec![change], give_up, future);
        let (op, result) = called.await;
        let broken = feed.is_some_and(|feed| is_broken(feed, len));
        let asked = Asked { op, group: id, large, broken, before };
        match result {
            None => self.shared.count("large/given up"),
            Some(Ok(())) if broken => {
                self.shared.ledger.fail(format!("op {op} is done, and its stream broke off"));
            }
            Some(Ok(())) => {
                self.wrote(op, &[write]);
                self.shared.count(match (large, feed) {
                    (true, None) => "large/put",
                    (true, Some(_)) => "large/put by stream",
                    (false, _) => "large/short put by stream",
                });
            }
            Some(Err(error)) => {
                let full = error.kind() == ErrorKind::Full;
                self.met_full = full && self.shared.plan.mode == Mode::Mixed;
                self.shared.judge_put(asked, &error);
            }
        }
    }

    /// Reads a key: at once, bit by bit, or only what memory knows of it. Or several of them.
    pub(super) async fn read(&mut self) {
        match self.draw.way() {
            Way::One => {}
            Way::InMemory => return self.know().await,
            Way::Many => return self.get_many().await,
        }
        if !self.draw.reads_on() {
            return self.get().await;
        }
        let reading = match self.reading.take() {
            Some(reading) => Some(reading),
            None => self.find().await,
        };
        if let Some(reading) = reading {
            self.read_on(reading).await;
        }
    }

    /// Asks for the stream of a value.
    async fn find(&mut self) -> Option<Reading> {
        let (group, key) = (self.draw.group(), self.draw.key());
        let handle = self.handle(group).await?;
        let (give_up, id) = (self.draw.give_up(), handle.id().get());
        let what = format!("{}: stream of key {key} of group {id}", self.name);
        let (shared, bytes) = (self.shared.clone(), self.shared.plan.keys[key].clone());
        let before = self.shared.faults().all_reads();
        let future = async move {
            let seen = shared.ledger.lock().read_begins((id, key));
            handle.get_stream(&bytes).await.map(|stream| (seen, stream))
        };
        let (op, result) = self.shared.call(what, Durability::Buffered, give_up, future).await;
        let ((floor, accepted, gone), stream) = match result? {
            Ok(found) => found,
            Err(error) => {
                self.shared.judge_read(op, &error, id, before);
                return None;
            }
        };
        let mut facts = self.shared.ledger.lock();
        if gone {
            facts.fail(format!("op {op} read from group {id}, which was dropped"));
        }
        let Some(stream) = stream else {
            facts.seen((id, key), floor, accepted, None);
            return None;
        };
        Some(Reading {
            slot: (id, key),
            floor,
            accepted,
            faults: before,
            stream,
            bytes: Vec::new(),
            ended: false,
            judged: false,
        })
    }

    /// Reads some more of a stream; leaves it, or keeps it for later.
    async fn read_on(&mut self, mut reading: Reading) {
        let most = if self.draw.rng.coin() { u64::MAX } else { self.draw.rng.below(3) };
        let (slot, faults) = (reading.slot, reading.faults);
        let give_up = self.draw.give_up_reading();
        let what = format!("{}: read on in {slot:?} from {}", self.name, reading.bytes.len());
        let future = async move {
            for _ in 0..most {
                let Some(piece) = reading.stream.next().await else {
                    reading.ended = true;
                    break;
                };
                reading.bytes.extend_from_slice(&piece?);
            }
            Ok(reading)
        };
        match self.shared.call(what, Durability::Buffered, give_up, future).await {
            (_, None) => self.shared.count("large/reader left"),
            (op, Some(Err(error))) => self.shared.judge_read(op, &error, slot.0, faults),
            (op, Some(Ok(reading))) => {
                let reading = self.shared.judge_reading(op, reading);
                self.reading = reading.filter(|_| self.draw.rng.coin());
            }
        }
    }
}

impl Shared {
    fn judge_put(&self, asked: Asked, error: &Error) {
        let Asked { op, group, large, broken, before } = asked;
        let unchanged = self.ledger.lock().records_of(op) == 0;
        match error.kind() {
            ErrorKind::Invalid if broken && unchanged => self.count("large/stream broke off"),
            ErrorKind::Full if large && unchanged => self.count("large/no room"),
            ErrorKind::Io if large && unchanged && self.faults().storing() > before.storing() => {
                self.count("large/write failed");
            }
            _ => self.judge(op, error, true, &[group]),
        }
    }

    /// Judges what was read of a stream until now; gives it back if there is more.
    fn judge_reading(&self, op: OpNumber, mut reading: Reading) -> Option<Reading> {
        let len = usize::try_from(reading.stream.len()).unwrap_or(usize::MAX);
        let found = reading.bytes.len();
        let mut facts = self.ledger.lock();
        match value::parse_start(&reading.bytes, len) {
            Err(what) => facts.fail(format!("op {op}: {what}")),
            Ok(value) if value.is_some() && !reading.judged => {
                let Reading { slot, floor, accepted, .. } = reading;
                facts.seen(slot, floor, accepted, value);
                reading.judged = true;
            }
            Ok(_) => {}
        }
        if reading.ended && found != len {
            facts.fail(format!("op {op}: the stream of {len} bytes ended after {found}"));
        }
        let late = found > 0 && facts.is_overwritten(reading.slot, reading.accepted);
        drop(facts);
        if late {
            self.count("large/read after its end");
        }
        if reading.ended {
            self.count("large/read to the end");
            return None;
        }
        Some(reading)
    }
}

fn is_broken(feed: Feed, len: usize) -> bool {
    feed.end != FeedEnd::Whole && (feed.end != FeedEnd::Early || len > 0)
}

/// Why a stream broke off.
#[derive(Debug)]
struct Torn;

impl fmt::Display for Torn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the stream was drawn to fail")
    }
}

impl std::error::Error for Torn {}

/// The value, bit by bit.
fn chunks(
    value: &Bytes,
    feed: Feed,
    clock: Arc<dyn Clock>,
) -> BoxStream<'static, Result<Bytes, Torn>> {
    let given = match feed.end {
        FeedEnd::Whole | FeedEnd::Late => value.len(),
        FeedEnd::Early | FeedEnd::Failed | FeedEnd::Never => value.len() * feed.until / 100,
    };
    let value = value.slice(..given);
    let chunk = move |at: usize| {
        let (clock, chunk) = (Arc::clone(&clock), value.slice(at..given.min(at + feed.chunk)));
        async move {
            if !feed.pause.is_zero() {
                clock.sleep(feed.pause).await;
            }
            Ok(chunk)
        }
    };
    let chunks = stream::iter((0..given).step_by(feed.chunk)).then(chunk);
    match feed.end {
        FeedEnd::Whole | FeedEnd::Early => chunks.boxed(),
        FeedEnd::Late => chunks.chain(stream::iter([Ok(Bytes::from_static(b"late"))])).boxed(),
        FeedEnd::Failed => chunks.chain(stream::iter([Err(Torn)])).boxed(),
        FeedEnd::Never => chunks.chain(stream::pending()).boxed(),
    }
}
