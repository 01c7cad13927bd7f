//! A lookup.
//!
//! | step | what |
//! |--:|---|
//! | 1 | pending writes, then the index; pin the segment, in the same step |
//! | 2 | one read of exactly the sectors that the record lies in |
//! | 3 | check both CRCs, generation, group and key: anything else is corruption |
//! | 4 | unpin; hand out the value, and keep it for those who read it next |
//!
//! Of a large value the record holds only the list of its pieces: their segments are pinned in step
//! 1 as well, and stay so until all of it was read, a piece at a time, each checked against the
//! list.
//!
//! A value shares the memory that was read, unless that is far more than itself: then it is copied,
//! and the memory is used again. So a read allocates the value and little else.
//!
//! An absent key never touches the device, nor does one whose value is in the cache
//! (`value_cache`). Dropping the future unpins. `scan` reads many keys in order of hash, without
//! pins.

mod many;
mod scan;

pub(crate) use many::get_many;
pub(crate) use scan::{Seen, SeenValue, read_sight};

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::StreamExt;

use crate::format::pieces::{NotAPieceList, NotThePiece, PieceList};
use crate::format::record::{NotARecord, Record, RecordKind};
use crate::io::IoBuf;
use crate::memory::{Found, LookupRefused};
use crate::segment_io::{PieceError, RawRecord};
use crate::store::{Pin, Pins, Store};
use crate::types::{
    Generation, GroupId, Location, SegmentOffset, Sequence, to_u32, to_u64, to_usize,
};
use crate::value_cache::{Kept, Origin};

/// Why a lookup gave no answer. A missing key is an answer.
#[derive(Clone, Debug)]
pub(crate) enum GetError {
    Refused(LookupRefused),
    /// The device refused the read; the record may be intact.
    Io {
        at: Location,
        source: Arc<io::Error>,
    },
    /// The bytes arrived, and are not the record that the index promised.
    Corrupt {
        at: Location,
        why: WrongRecord,
    },
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrongRecord {
    /// It is no record at all.
    #[error(transparent)]
    Damaged(#[from] NotARecord),
    /// It is whole, and from another life of the segment: a write was lost or misdirected.
    #[error("it was written in another life of the segment (low generation {found})")]
    Generation {
        /// The low half of the generation found.
        found: u32,
    },
    /// It is whole, and another record.
    #[error("it is a whole record of another key or group")]
    Foreign,
    /// Only a tombstone is there.
    #[error("it is a tombstone")]
    Tombstone,
    /// The file ends before it.
    #[error("the file ends before it")]
    EndOfFile,
    /// It should list the pieces of a large value, and does not.
    #[error("its list of pieces is none: {0}")]
    PieceList(#[from] NotAPieceList),
    /// It lists pieces of a large value that were not there when the store was opened.
    #[error("not all pieces of the value are there")]
    PiecesMissing,
    /// It is a piece of a large value, or should be.
    #[error("piece {index} of the value: {why}")]
    Piece {
        /// Which piece, counted from zero.
        index: u32,
        /// What is wrong with it.
        why: NotThePiece,
    },
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Value {
    Whole(Bytes),
    Large(Large),
}

/// What was found, and of which write it is.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) value: Value,
    pub(crate) sequence: Sequence,
    /// Where its record lies, and the generation that it has there; nowhere while it is pending.
    pub(crate) place: Option<(Location, Generation)>,
}

/// A large value that can be read: its pieces are pinned.
#[derive(Debug)]
pub(crate) struct Large {
    group: GroupId,
    list: PieceList,
    // Invariant: the segments that `list` names, in its order.
    pins: Pins,
}

/// Pieces of a large value that are read together.
pub(crate) const READS_IN_FLIGHT: usize = 4;

/// The value of `key`, or `None`.
pub(crate) async fn get(
    store: &Arc<Store>,
    group: GroupId,
    key: &[u8],
) -> Result<Option<Bytes>, GetError> {
    match find(store, group, key).await? {
        Some(Value::Whole(value)) => Ok(Some(value)),
        Some(Value::Large(large)) => large.whole().await.map(Some),
        None => Ok(None),
    }
}

/// The value of `key`, or what is needed to read its pieces.
pub(crate) async fn find(
    store: &Arc<Store>,
    group: GroupId,
    key: &[u8],
) -> Result<Option<Value>, GetError> {
    let hit = find_hit(store, group, key).await?;
    Ok(hit.map(|hit| hit.value))
}

/// The same, with what is known of the write that made it.
pub(crate) async fn find_hit(
    store: &Arc<Store>,
    group: GroupId,
    key: &[u8],
) -> Result<Option<Hit>, GetError> {
    // 1. Where is it?
    let hash = store.hasher.hash(key);
    let pins = |segments| Pins { store: Arc::clone(store), segments };
    let hit = |value, sequence, place| Ok(Some(Hit { value, sequence, place }));
    let (at, generation, pieces) = match store.step(|state| state.look_up(group, hash)) {
        Ok(Found::Nothing) => return Ok(None),
        Ok(Found::Pending(value, sequence)) => return hit(Value::Whole(value), sequence, None),
        Ok(Found::Cached(value, sequence, Origin { at, generation })) => {
            return hit(Value::Whole(value), sequence, Some((at, generation)));
        }
        Ok(Found::PendingLarge(list, pieces, sequence)) => {
            let list = PieceList::parse(&list, store.device.geometry());
            let list = list.expect("the list was encoded by this store");
            let large = Large { group, list, pins: pins(pieces) };
            return hit(Value::Large(large), sequence, None);
        }
        Ok(Found::Durable(at, generation, pieces)) => (at, generation, pieces),
        Err(refused) => return Err(GetError::Refused(refused)),
    };
    let _pin = Pin { store, segment: at.segment() };
    let pins = pieces.map(pins);

    // 2. One read.
    let raw = store.device.read_record(at).await.map_err(|error| GetError::of_read(at, error))?;

    // 3. Is it what the index promised?
    let corrupt = |why| GetError::Corrupt { at, why };
    let whole = check(&raw, at, generation, group).map_err(corrupt)?;
    if raw.sectors[whole.key.clone()] != *key {
        return Err(corrupt(WrongRecord::Foreign));
    }
    let (sequence, place) = (whole.sequence, Some((at, generation)));
    if whole.large {
        let list = PieceList::parse(&raw.sectors[whole.value], store.device.geometry());
        let list = list.map_err(|why| corrupt(why.into()))?;
        let named = list.entries().iter().map(|entry| entry.segment);
        let known = pins.filter(|pins| named.eq(pins.segments.iter().copied()));
        let pins = known.ok_or_else(|| corrupt(WrongRecord::PiecesMissing))?;
        return hit(Value::Large(Large { group, list, pins }), sequence, place);
    }

    // 4. The next one may not have to read it.
    let kept = keep(store, raw.sectors, whole.value, sequence);
    if store.caches {
        let (origin, kept) = (Origin { at, generation }, kept.clone());
        store.step(|state| state.note_read(group, hash, origin, kept));
    }
    hit(Value::Whole(kept.value), sequence, place)
}

/// What lies there in these sectors: copied, if they are over a quarter more than it.
fn keep(store: &Store, sectors: IoBuf, value: Range<usize>, sequence: Sequence) -> Kept {
    let (memory, len) = (sectors.memory_len(), value.len());
    if memory - len <= len / 4 {
        return Kept { value: Bytes::from_owner(sectors).slice(value), sequence, memory };
    }
    let copy = Bytes::copy_from_slice(&sectors[value]);
    store.device.give_memory_back(sectors);
    Kept { value: copy, sequence, memory: len }
}

impl Value {
    /// Whether it is this one. Of a large value nothing is read if it has another length, and
    /// otherwise only up to where it differs.
    pub(crate) async fn is(&self, expected: &[u8]) -> Result<bool, GetError> {
        let large = match self {
            Self::Whole(value) => return Ok(value == expected),
            Self::Large(large) => large,
        };
        let mut rest = expected;
        if large.len() != to_u64(expected.len()) {
            return Ok(false);
        }
        for index in 0..large.pieces() {
            let piece = large.piece(index).await?;
            let Some(behind) = rest.strip_prefix(&*piece) else { return Ok(false) };
            rest = behind;
        }
        Ok(rest.is_empty())
    }
}

impl GetError {
    fn of_read(at: Location, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Corrupt { at, why: WrongRecord::EndOfFile },
            _ => Self::Io { at, source: Arc::new(error) },
        }
    }
}

impl Large {
    /// Bytes of the value.
    pub(crate) fn len(&self) -> u64 {
        self.list.total_len()
    }

    /// How many pieces.
    pub(crate) fn pieces(&self) -> u32 {
        to_u32(self.list.entries().len())
    }

    /// Reads one piece. After a close its segment may be somebody else's: then it says so.
    pub(crate) async fn piece(&self, index: u32) -> Result<Bytes, GetError> {
        let store = &self.pins.store;
        let check_open = || match store.step(|state| state.check_readable()) {
            Ok(()) => Ok(()),
            Err(refused) => Err(GetError::Refused(refused)),
        };
        check_open()?;
        let read = store.device.read_piece(&self.list, index, self.group).await;
        check_open()?;
        let segment = self.pins.segments[to_usize(index)];
        let len = self.list.len_of(index, store.device.geometry());
        let at = Location::new(segment, SegmentOffset::ZERO, len);
        read.map_err(|error| match error {
            PieceError::Io(error) => GetError::of_read(at, error),
            PieceError::Wrong(why) => {
                GetError::Corrupt { at, why: WrongRecord::Piece { index, why } }
            }
        })
    }

    /// All of it.
    async fn whole(&self) -> Result<Bytes, GetError> {
        if self.pieces() == 1 {
            return self.piece(0).await;
        }
        // What does not fit into memory at all is found out when it is read.
        let mut whole = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        let reads = futures::stream::iter(0..self.pieces()).map(|index| self.piece(index));
        let mut pieces = reads.buffered(READS_IN_FLIGHT);
        while let Some(piece) = pieces.next().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.into())
    }
}

/// A record of a put that is whole: where its parts are in the sectors that were read.
struct Whole {
    key: Range<usize>,
    value: Range<usize>,
    sequence: Sequence,
    large: bool,
}

/// Checks all that does not depend on the key.
fn check(
    raw: &RawRecord,
    at: Location,
    generation: Generation,
    group: GroupId,
) -> Result<Whole, WrongRecord> {
    let bytes = &raw.sectors[raw.at..raw.at + raw.len];
    let record = Record::parse(bytes, at)?;
    if record.generation_low != generation.low() {
        return Err(WrongRecord::Generation { found: record.generation_low });
    }
    if record.group != group {
        return Err(WrongRecord::Foreign);
    }
    if record.kind == RecordKind::Delete {
        return Err(WrongRecord::Tombstone);
    }
    let value = record.value_range();
    Ok(Whole {
        key: raw.at + value.start - record.key.len()..raw.at + value.start,
        value: raw.at + value.start..raw.at + value.end,
        sequence: record.sequence,
        large: record.kind == RecordKind::Large,
    })
}
