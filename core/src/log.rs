//! The end of the log: the buffer being filled, and the buffers on their way to the device.
//!
//! ```text
//!   records ──> head ──seal──> ring: Ready ─> Writing ─> Written ─> Syncing ─> Durable ──> index
//!                                      ^                                │
//!                                      └──── written again elsewhere ── Broken
//! ```
//!
//! 1. The head is bound to a segment and an offset from the moment it is opened, and holds only
//!    what fits there; no tail of a segment is wasted on a buffer that came out too long.
//! 2. The ring holds every sealed buffer that the index does not know yet, in order of number,
//!    without a gap.
//! 3. Buffers complete in order of number, which in every segment is the order of position. So a
//!    buffer counts only when every earlier one of its segment is durable: nothing behind a tear.
//! 4. The log watermark is the number of the ring's first buffer: everything lower is durable.
//!
//! Absent on purpose: I/O, and the choice of segments. This module says what is where; the steps
//! of [`crate::memory`] move it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::format::buffer::{BufferHeader, BufferKind, encode_buffer, encoded_len};
use crate::format::summary::SummaryEntry;
use crate::groups::GroupChange;
use crate::io::IoBuf;
use crate::options::Durability;
use crate::types::{
    BufferNumber, ByteLen, Generation, GroupId, SegmentId, SegmentOffset, Sequence,
    round_up_to_block, to_u32,
};

/// Where the next buffer of a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: SegmentId,
    pub(crate) generation: Generation,
    pub(crate) offset: SegmentOffset,
}

/// The store could not make a write durable, and takes no more of them.
pub(crate) type Failure = Arc<io::Error>;

/// Somebody waits for a write to come this far.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) level: Durability,
    pub(crate) done: oneshot::Sender<Result<(), Failure>>,
}

/// The buffer being filled.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) place: Place,
    /// Bytes that the buffer may take at its place.
    pub(crate) room: ByteLen,
    pub(crate) records: Vec<u8>,
    pub(crate) entries: Vec<SummaryEntry>,
    pub(crate) changes: Vec<(usize, GroupChange)>,
    /// Of records of large values, the segments of their pieces.
    pub(crate) pieces: Vec<(usize, Arc<[SegmentId]>)>,
    pub(crate) waiters: Vec<Waiter>,
    /// How far somebody wants it to go at once.
    pub(crate) demand: Durability,
    pub(crate) opened_at: Duration,
    /// Bytes of write memory that its writes hold.
    pub(crate) charge: usize,
}

impl Head {
    pub(crate) fn at(place: Place, room: ByteLen, now: Duration) -> Self {
        Self {
            place,
            room,
            records: Vec::new(),
            entries: Vec::new(),
            changes: Vec::new(),
            pieces: Vec::new(),
            waiters: Vec::new(),
            demand: Durability::Buffered,
            opened_at: now,
            charge: 0,
        }
    }

    /// Bytes on the device if `entries` more with `bytes` of records came in, or `None` if that is
    /// past any buffer. Counted as if the groups were mixed, which is never too little.
    pub(crate) fn len_with(&self, entries: usize, bytes: u32) -> Option<ByteLen> {
        let records = ByteLen::of(&self.records).get().checked_add(bytes)?;
        buffer_len(self.entries.len() + entries, records)
    }

    /// Bytes on the device as it stands.
    pub(crate) fn len(&self) -> ByteLen {
        self.len_with(0, 0).expect("a head never outgrows its segment")
    }

    /// Whether it is `full` bytes long, and another record like those in it would not go into the
    /// padding of its last block.
    pub(crate) fn is_full(&self, full: u32) -> bool {
        let len = self.len();
        let average = self.records.len() / self.entries.len().max(1);
        let more = self.len_with(1, to_u32(average));
        len.get() >= full && more.is_none_or(|more| more > len)
    }

    /// The one group of all records, or the mark for several.
    fn group(&self) -> GroupId {
        let mut groups = self.entries.iter().map(|entry| entry.group);
        let first = groups.next().unwrap_or(GroupId::SYSTEM);
        if groups.all(|group| group == first) { first } else { GroupId::MIXED }
    }
}

/// Bytes that a log buffer takes on the device, padding included.
pub(crate) fn buffer_len(entries: usize, records: u32) -> Option<ByteLen> {
    let len = encoded_len(BufferKind::Log, entries, records, true)?;
    round_up_to_block(len).map(ByteLen::new)
}

/// How far a sealed buffer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Ready,
    Writing,
    /// The write completed; `failures` is the count of failed syncs of the file when it began.
    Written {
        failures: u64,
    },
    Syncing {
        failures: u64,
    },
    Durable,
    /// The write, or a sync that should have covered it, failed.
    Broken,
}

/// The bytes of a sealed buffer.
#[derive(Debug)]
pub(crate) enum Body {
    /// Not encoded yet.
    Records(Vec<u8>),
    /// With the flow that encodes it.
    Lent,
    /// Encoded for the place it is being written to.
    Image(Arc<IoBuf>),
}

/// A sealed buffer.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) number: BufferNumber,
    pub(crate) place: Place,
    pub(crate) len: ByteLen,
    pub(crate) group: GroupId,
    pub(crate) entries: Arc<Vec<SummaryEntry>>,
    pub(crate) changes: Vec<(usize, GroupChange)>,
    /// Of records of large values, the segments of their pieces.
    pub(crate) pieces: Vec<(usize, Arc<[SegmentId]>)>,
    pub(crate) body: Body,
    pub(crate) phase: Phase,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) charge: usize,
    pub(crate) written_at: Duration,
    /// It was written once before, elsewhere, and failed.
    pub(crate) again: bool,
}

impl Buffer {
    /// Whether the device has it.
    pub(crate) fn is_written(&self) -> bool {
        !matches!(self.phase, Phase::Ready | Phase::Writing | Phase::Broken)
    }

    /// Wakes everybody who waits for no more than `level`.
    pub(crate) fn wake(&mut self, level: Durability, result: &Result<(), Failure>) {
        for waiter in self.waiters.extract_if(.., |waiter| waiter.level <= level) {
            // A caller who left does not hear it; the write stands all the same.
            let _ = waiter.done.send(result.clone());
        }
    }

    /// Lends the bytes out to be encoded and written.
    pub(crate) fn write_job(&mut self, watermarks: Watermarks) -> WriteJob {
        assert_eq!(self.phase, Phase::Ready);
        self.phase = Phase::Writing;
        let body = std::mem::replace(&mut self.body, Body::Lent);
        WriteJob {
            kind: BufferKind::Log,
            number: self.number,
            place: self.place,
            group: self.group,
            entries: Arc::clone(&self.entries),
            body,
            watermarks,
        }
    }
}

/// Every log buffer, and every rewrite buffer, with a lower number is durable or void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) log: BufferNumber,
    pub(crate) rewrite: BufferNumber,
}

/// A buffer to be encoded and written: everything that needs no lock.
#[derive(Debug)]
pub(crate) struct WriteJob {
    pub(crate) kind: BufferKind,
    pub(crate) number: BufferNumber,
    pub(crate) place: Place,
    pub(crate) group: GroupId,
    pub(crate) entries: Arc<Vec<SummaryEntry>>,
    pub(crate) body: Body,
    pub(crate) watermarks: Watermarks,
}

impl WriteJob {
    /// The bytes for the device.
    pub(crate) fn encode(&mut self, store: u64) -> Arc<IoBuf> {
        let records = match std::mem::replace(&mut self.body, Body::Lent) {
            Body::Records(records) => records,
            Body::Image(image) => records_of(&image),
            Body::Lent => unreachable!("a job is made with the bytes in it"),
        };
        let header = BufferHeader {
            kind: self.kind,
            store,
            segment: self.place.segment,
            offset: self.place.offset,
            generation: self.place.generation,
            group: self.group,
            number: self.number,
            log_watermark: self.watermarks.log,
            rewrite_watermark: self.watermarks.rewrite,
            ..BufferHeader::default() // counts, lengths, CRCs, sequence: filled in by the encoder
        };
        Arc::new(encode_buffer(header, &self.entries, &records))
    }
}

/// The records of an image that was written before, elsewhere.
fn records_of(image: &IoBuf) -> Vec<u8> {
    let header = BufferHeader::parse(image).expect("the image was encoded here");
    let at = header.records_at().as_usize();
    image[at..at + header.records_len.as_usize()].to_vec()
}

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) head: Option<Head>,
    // Invariant: numbers rise by one from buffer to buffer, and end below `next_number`.
    pub(crate) ring: VecDeque<Buffer>,
    /// Where the next head begins, if its segment has room.
    pub(crate) tail: Option<Place>,
    pub(crate) next_sequence: Sequence,
    pub(crate) next_number: BufferNumber,
    /// Sealed buffers below this number are wanted durable at once.
    pub(crate) sync_below: BufferNumber,
    /// When the last synced write was accepted.
    pub(crate) synced_at: Option<Duration>,
}

impl Log {
    pub(crate) fn new(next_sequence: Sequence, next_number: BufferNumber) -> Self {
        Self {
            head: None,
            ring: VecDeque::new(),
            tail: None,
            next_sequence,
            next_number,
            sync_below: BufferNumber::ZERO,
            synced_at: None,
        }
    }

    /// Every log buffer with a lower number is durable or void.
    pub(crate) fn watermark(&self) -> BufferNumber {
        self.ring.front().map_or(self.next_number, |buffer| buffer.number)
    }

    /// Nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.head.is_none() && self.ring.is_empty()
    }

    /// The buffer with this number, which is in the ring.
    pub(crate) fn buffer(&mut self, number: BufferNumber) -> &mut Buffer {
        let first = self.watermark().get();
        let at = usize::try_from(number.get() - first).expect("the ring fits in memory");
        let buffer = &mut self.ring[at];
        assert_eq!(buffer.number, number);
        buffer
    }

    /// Turns the head into the last buffer of the ring; says in which segment it lies.
    pub(crate) fn seal_head(&mut self) -> Option<SegmentId> {
        let head = self.head.take()?;
        assert!(!head.entries.is_empty(), "a head is opened for a write");
        let number = self.next_number;
        self.next_number = number.next();
        if head.demand == Durability::Synced {
            self.sync_below = self.next_number;
        }
        let group = head.group();
        let len = encoded_len(
            BufferKind::Log,
            head.entries.len(),
            ByteLen::of(&head.records).get(),
            group == GroupId::MIXED,
        )
        .and_then(round_up_to_block)
        .map(ByteLen::new)
        .expect("a head never outgrows its segment");
        assert!(len <= head.room);
        let next = head.place.offset.checked_add(len).expect("a buffer ends in its segment");
        self.tail = Some(Place { offset: next, ..head.place });
        self.ring.push_back(Buffer {
            number,
            place: head.place,
            len,
            group,
            entries: Arc::new(head.entries),
            changes: head.changes,
            pieces: head.pieces,
            body: Body::Records(head.records),
            phase: Phase::Ready,
            waiters: head.waiters,
            charge: head.charge,
            written_at: Duration::ZERO,
            again: false,
        });
        Some(head.place.segment)
    }

    /// Wants everything accepted so far durable, without delay.
    pub(crate) fn demand_all(&mut self) {
        if let Some(head) = &mut self.head {
            head.demand = Durability::Synced;
        }
        self.sync_below = self.next_number;
    }

    /// Adds a waiter for everything accepted so far to come to `level`; `false` if it already is
    /// there.
    pub(crate) fn wait_for_all(
        &mut self,
        level: Durability,
        done: oneshot::Sender<Result<(), Failure>>,
    ) -> bool {
        if level == Durability::Synced {
            self.demand_all();
        }
        let waiter = Waiter { level, done };
        if let Some(head) = &mut self.head {
            head.demand = head.demand.max(level);
            head.waiters.push(waiter);
            return true;
        }
        if level < Durability::Synced && self.ring.iter().all(Buffer::is_written) {
            return false;
        }
        match self.ring.back_mut() {
            Some(last) => last.waiters.push(waiter),
            None => return false,
        }
        true
    }

    /// Law 2.
    #[cfg(feature = "verify")]
    pub(crate) fn assert_invariants(&self) {
        let mut expected = self.watermark();
        for buffer in &self.ring {
            assert_eq!(buffer.number, expected);
            assert!(!buffer.entries.is_empty());
            expected = expected.next();
        }
        assert_eq!(expected, self.next_number);
        if let Some(head) = &self.head {
            assert!(head.len() <= head.room);
            assert!(!head.entries.is_empty());
        }
    }
}
