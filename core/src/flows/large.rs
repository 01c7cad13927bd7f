//! A large value on its way to the device: cut into pieces, each in a segment of its own.
//!
//! ```text
//!   caller: stream ─cut─> channel ─> task: take a segment, write ─┐ a few at a time
//!                                    task: sync every file <──────┘
//!   caller: put of the record that lists the pieces <── pieces, list
//! ```
//!
//! | step | where | what | a crash here costs |
//! |--:|---|---|---|
//! | 1 | caller | wait for a turn; start the task | nothing |
//! | 2 | caller | cut the stream into pieces and hand them over, one at a time | nothing |
//! | 3 | task | a segment for each piece; wait while there is no room | slots to erase again |
//! | 4 | task | write the pieces, several in flight | the pieces: nobody claims them |
//! | 5 | task | sync the files that they lie in | the pieces: nobody claims them |
//! | 6 | caller | the record with the list goes the way of every put | the pieces, or nothing |
//! | 7 | writer | the record is complete: index, pieces live, in one step | nothing |
//!
//! Step 5 before step 6: a record that can be read has pieces that can be read. After a crash the
//! segments of pieces that no record claims are erased, whatever had become of them.
//!
//! The caller's future may be dropped at any await, and a write of the device that nobody waits for
//! may still land. So a task owns the pieces: if the caller leaves, the stream breaks off, a write
//! fails or the store closes, it waits for what is in flight and then gives the segments up. The
//! caller gets them once everything is durable, with [`Pieces`], which gives them up when it is
//! dropped; they are the record's from the step on that accepts it.
//!
//! Absent on purpose: writing a failed piece again elsewhere. The caller hears of it, and nothing
//! was changed.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};

use crate::format::geometry::Geometry;
use crate::format::pieces::{
    PieceEntry, PieceId, PieceList, piece_image, piece_range, pieces_of, sign_piece,
};
use crate::io::IoBuf;
use crate::log::Failure;
use crate::memory::{LargeValue, Outlook, Refused, TakenPiece};
use crate::segment_io::{Purpose, Unsynced};
use crate::store::{Pieces, Store};
use crate::types::{ByteLen, GroupId, SegmentOffset, to_u32, to_u64, to_usize};

/// An error of whoever gives the value.
pub(crate) type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Why the pieces of a value were not written. Nothing is left of them.
#[derive(Debug)]
pub(crate) enum LargeError {
    /// The state, or the lack of room, does not allow it.
    Refused(Refused),
    /// A piece could not be written or made durable.
    Io(Failure),
    /// The stream gave another number of bytes; of one that gave too many, those until then.
    Len { found: u64 },
    /// The stream failed.
    Source(SourceError),
}

/// A value whose pieces are durable.
#[derive(Debug)]
pub(crate) struct Durable {
    /// What the record holds in its place.
    pub(crate) list: Vec<u8>,
    pub(crate) value: LargeValue,
    pub(crate) pieces: Pieces,
}

/// Bytes of one value that are on their way to the device at the same time; at least one piece.
const IN_FLIGHT_BYTES: u32 = 1 << 20;
/// Pieces of one value under way together, at most.
const IN_FLIGHT_MAX: u32 = 4;

/// A piece, ready but for its header.
#[derive(Debug)]
struct Cut {
    image: IoBuf,
    len: ByteLen,
}

/// What the caller hands to the task.
#[derive(Debug)]
enum Fed {
    Piece(Cut),
    /// That was all of it.
    Whole,
}

/// Steps 1 to 5: writes the `len` bytes that `source` gives, and makes them durable.
pub(crate) async fn write<S, E>(
    store: &Arc<Store>,
    group: GroupId,
    len: u64,
    source: S,
) -> Result<Durable, LargeError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<SourceError>,
{
    // 1. Turn and task.
    let geometry = store.device.geometry();
    let turn = store.large_turns.acquire().await;
    let turn = turn.map_err(|_| LargeError::Refused(Refused::Closed))?;
    let checked = store.step(|state| state.check_large(group, pieces_of(len, geometry)));
    checked.map_err(LargeError::Refused)?;
    let Ok(permit) = store.tasks.try_acquire() else {
        return Err(LargeError::Refused(Refused::Closed)); // a close waits for all of them
    };
    let (sender, fed) = mpsc::channel(1);
    let (reply, answer) = oneshot::channel();
    permit.forget(); // the task gives both back
    turn.forget();
    let task = run(Arc::clone(store), (group, len), fed, reply);
    store.environment.spawn.spawn("logstor large value", task.boxed());

    // 2. The caller's stream; if the task ends before it, something went wrong.
    let mut feeding = pin!(feed(source, len, geometry, sender).fuse());
    let mut answer = answer.fuse();
    let (answered, shown) = futures::select_biased! {
        fed = feeding => {
            let shown = fed?;
            (answer.await, shown)
        }
        answered = answer => (answered, Vec::new()),
    };
    let durable = answered.unwrap_or(Err(LargeError::Refused(Refused::Closed)));
    durable.map(|durable| durable.showing(shown))
}

impl Durable {
    /// With the value itself, for whoever follows the log.
    #[cfg(feature = "verify")]
    fn showing(mut self, shown: Vec<u8>) -> Self {
        self.value.shown = shown.into();
        self
    }

    #[cfg(not(feature = "verify"))]
    fn showing(self, _: Vec<u8>) -> Self {
        self
    }
}

/// Step 2. `Ok` also if the task has ended meanwhile: it knows why. Gives the value, for whoever
/// follows the log, and nothing where nobody does.
async fn feed<S, E>(
    source: S,
    len: u64,
    geometry: Geometry,
    sender: mpsc::Sender<Fed>,
) -> Result<Vec<u8>, LargeError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<SourceError>,
{
    let mut source = pin!(source);
    let mut shown = Vec::new();
    let mut cutter = Cutter { geometry, left: len, cut: None, filled: 0 };
    while let Some(chunk) = source.next().await {
        let mut chunk = chunk.map_err(|error| LargeError::Source(error.into()))?;
        if to_u64(chunk.len()) > cutter.left {
            let found = (len - cutter.left).saturating_add(to_u64(chunk.len()));
            return Err(LargeError::Len { found });
        }
        if cfg!(feature = "verify") {
            shown.extend_from_slice(&chunk);
        }
        while let Some(cut) = cutter.fill(&mut chunk) {
            if sender.send(Fed::Piece(cut)).await.is_err() {
                return Ok(shown);
            }
        }
    }
    if cutter.left > 0 {
        return Err(LargeError::Len { found: len - cutter.left });
    }
    // A task that has ended knows why.
    let _ = sender.send(Fed::Whole).await;
    Ok(shown)
}

/// Cuts a row of bytes into pieces.
#[derive(Debug)]
struct Cutter {
    geometry: Geometry,
    /// Bytes of the value that are still to come.
    left: u64,
    // Invariant: `filled` bytes of it are there, and it is not full.
    cut: Option<Cut>,
    filled: usize,
}

impl Cutter {
    /// Takes bytes from the front of `chunk`; gives a piece when one is full, and `None` when the
    /// chunk is used up.
    fn fill(&mut self, chunk: &mut Bytes) -> Option<Cut> {
        if chunk.is_empty() {
            return None;
        }
        let longest = self.geometry.piece_len();
        let left = u32::try_from(self.left).map_or(longest, |left| longest.min(ByteLen::new(left)));
        let mut cut =
            self.cut.take().unwrap_or_else(|| Cut { image: piece_image(left), len: left });
        let room = &mut cut.image[piece_range(cut.len)][self.filled..];
        let taken = room.len().min(chunk.len());
        chunk.copy_to_slice(&mut room[..taken]);
        self.filled += taken;
        self.left -= to_u64(taken);
        if self.filled < cut.len.as_usize() {
            self.cut = Some(cut);
            return None;
        }
        self.filled = 0;
        Some(cut)
    }
}

/// Why the task stops.
enum Stop {
    /// The caller left, or its stream broke off: nobody wants to know more.
    Left,
    Because(LargeError),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Because(LargeError::Refused(refused))
    }
}

type Reply = oneshot::Sender<Result<Durable, LargeError>>;

/// The task: steps 3 to 5. To be run to its end.
async fn run(
    store: Arc<Store>,
    (group, total_len): (GroupId, u64),
    mut fed: mpsc::Receiver<Fed>,
    mut reply: Reply,
) {
    let mut task = Task {
        store: &store,
        group,
        in_flight: FuturesUnordered::new(),
        unsynced: Unsynced::default(),
        entries: Vec::new(),
        pieces: Pieces::none(&store),
        failure: None,
    };
    let written = task.write(&mut fed, &mut reply).await;
    let written = task.end(written, total_len).await;
    drop(fed);
    let result = match written {
        Ok(durable) => Ok(durable),
        Err(Stop::Because(error)) => Err(error),
        Err(Stop::Left) => Err(LargeError::Refused(Refused::Closed)),
    };
    // If nobody is there to take the pieces, they are given up here.
    drop(reply.send(result));
    store.large_turns.add_permits(1);
    store.tasks.add_permits(1);
}

/// A piece that was written: its file, and the failed syncs of that when it was begun.
type Written = (u32, io::Result<u64>);

struct Task<'a> {
    store: &'a Arc<Store>,
    group: GroupId,
    in_flight: FuturesUnordered<BoxFuture<'a, Written>>,
    unsynced: Unsynced,
    // Invariant: of each segment in `pieces` the entry, in order.
    entries: Vec<PieceEntry>,
    pieces: Pieces,
    failure: Option<io::Error>,
}

impl Task<'_> {
    /// Steps 3 and 4, until the caller says that it was all.
    async fn write(
        &mut self,
        fed: &mut mpsc::Receiver<Fed>,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let in_pieces = IN_FLIGHT_BYTES / self.store.device.geometry().segment_len().get();
        let most = to_usize(in_pieces.clamp(1, IN_FLIGHT_MAX));
        while self.failure.is_none() {
            let full = self.in_flight.len() >= most;
            let next =
                async { if full { futures::future::pending().await } else { fed.recv().await } };
            let fed = futures::select_biased! {
                written = landed(&mut self.in_flight).fuse() => {
                    self.note(written);
                    continue;
                }
                () = reply.closed().fuse() => return Err(Stop::Left),
                refused = ending(self.store).fuse() => return Err(refused.into()),
                next = next.fuse() => next,
            };
            match fed {
                None => return Err(Stop::Left),
                Some(Fed::Whole) => return Ok(()),
                Some(Fed::Piece(cut)) => self.piece(cut, reply).await?,
            }
        }
        Ok(()) // the end says what failed
    }

    /// Step 3, and the beginning of step 4, for one piece.
    async fn piece(&mut self, cut: Cut, reply: &mut Reply) -> Result<(), Stop> {
        let Cut { mut image, len } = cut;
        let taken = take(self.store, self.group, len, reply).await?;
        let (segment, generation) = (taken.segment, taken.generation);
        self.pieces.add(segment);
        let store: &Store = self.store;
        let id = PieceId {
            store: store.device.store(),
            segment,
            generation,
            group: self.group,
            index: to_u32(self.entries.len()),
        };
        let crc = sign_piece(&mut image, len, id);
        self.entries.push(PieceEntry { segment, generation_low: generation.low(), crc });
        let write = async move {
            let file = store.device.geometry().place(segment).0;
            let (at, image) = (SegmentOffset::ZERO, Arc::new(image));
            (file, store.device.write(Purpose::Piece, segment, at, image).await)
        };
        self.in_flight.push(write.boxed());
        if !taken.throttle.is_zero() {
            store.environment.clock.sleep(taken.throttle).await;
        }
        Ok(())
    }

    fn note(&mut self, (file, result): Written) {
        match result {
            Ok(failures) => self.unsynced.add(file, failures),
            Err(error) => self.failure = Some(error),
        }
    }

    /// Waits for everything in flight, whatever happened; then step 5, if there is a reason to.
    async fn end(mut self, written: Result<(), Stop>, total_len: u64) -> Result<Durable, Stop> {
        while let Some(written) = self.in_flight.next().await {
            self.note(written);
        }
        self.pieces.settle();
        if written.is_ok() && self.failure.is_none() {
            self.failure = std::mem::take(&mut self.unsynced).sync(&self.store.device).await.err();
        }
        written?;
        if let Some(error) = self.failure {
            return Err(Stop::Because(LargeError::Io(Arc::new(error))));
        }
        let geometry = self.store.device.geometry();
        let value = LargeValue {
            pieces: self.pieces.segments().into(),
            len: total_len,
            #[cfg(feature = "verify")]
            shown: Bytes::new(),
        };
        let list = PieceList::new(total_len, self.entries, geometry).encode();
        Ok(Durable { list, value, pieces: self.pieces })
    }
}

/// A segment; waits while there is none.
async fn take(
    store: &Store,
    group: GroupId,
    len: ByteLen,
    reply: &mut Reply,
) -> Result<TakenPiece, Stop> {
    let mut waited = false;
    loop {
        let mut room = pin!(store.room.notified());
        room.as_mut().enable();
        let now = store.now();
        match store.step(|state| state.take_piece(group, len, now)) {
            Ok(taken) => return Ok(taken),
            Err(Refused::NoRoom(Outlook::Wait)) if waited => {}
            Err(Refused::NoRoom(Outlook::Wait)) => {
                store.step(|state| state.waits_for_room += 1);
                waited = true;
            }
            Err(refused) => return Err(refused.into()),
        }
        futures::select_biased! {
            () = reply.closed().fuse() => return Err(Stop::Left),
            () = room.fuse() => {}
        }
    }
}

/// The next write to end; waits for ever when nothing is in flight.
async fn landed(in_flight: &mut FuturesUnordered<BoxFuture<'_, Written>>) -> Written {
    match in_flight.next().await {
        Some(written) => written,
        None => futures::future::pending().await,
    }
}

/// Completes when the store takes no more writes, and says why.
async fn ending(store: &Store) -> Refused {
    loop {
        let mut room = pin!(store.room.notified());
        room.as_mut().enable();
        if let Err(refused) = store.step(|state| state.check_open()) {
            return refused;
        }
        room.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_in_a_row_are_the_value(
            lens in prop::collection::vec(0..150_000_usize, 1..6),
        ) {
            let geometry = Geometry::new(64 << 10, 4).unwrap();
            let total: usize = lens.iter().sum();
            let value: Vec<u8> =
                (0..total).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut cutter = Cutter { geometry, left: to_u64(total), cut: None, filled: 0 };
            let (mut cuts, mut at) = (Vec::new(), 0);
            for len in lens {
                let mut chunk = Bytes::copy_from_slice(&value[at..at + len]);
                at += len;
                while let Some(cut) = cutter.fill(&mut chunk) {
                    cuts.push(cut);
                }
                prop_assert!(chunk.is_empty());
            }
            prop_assert_eq!(cutter.left, 0);
            prop_assert!(cutter.cut.is_none());
            prop_assert_eq!(to_u64(cuts.len()), pieces_of(to_u64(total), geometry));
            let (last, full) = cuts.split_last().map_or((None, &cuts[..]), |(a, b)| (Some(a), b));
            prop_assert!(full.iter().all(|cut| cut.len == geometry.piece_len()));
            prop_assert!(last.is_none_or(|cut| cut.len > ByteLen::ZERO));
            let row: Vec<u8> =
                cuts.iter().flat_map(|cut| cut.image[piece_range(cut.len)].to_vec()).collect();
            prop_assert_eq!(row, value);
        }
    }
}
