//! A lookup.
//!
//! | step | what |
//! |--:|---|
//! | 1 | pending writes, then the index; pin the segment, in the same step |
//! | 2 | one read of exactly the sectors that the record lies in |
//! | 3 | check both CRCs, generation, group and key: anything else is corruption |
//! | 4 | unpin; hand out the value without copying it |
//!
//! An absent key never touches the device. Dropping the future unpins.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::format::record::{NotARecord, Record, RecordKind};
use crate::memory::{Found, LookupRefused};
use crate::segment_io::RawRecord;
use crate::store::{Pin, Store};
use crate::types::{Generation, GroupId, Location};

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
}

/// The value of `key`, or `None`.
pub(crate) async fn get(
    store: &Store,
    group: GroupId,
    key: &[u8],
) -> Result<Option<Bytes>, GetError> {
    // 1. Where is it?
    let hash = store.hasher.hash(key);
    let (at, generation) = match store.step(|state| state.look_up(group, hash)) {
        Ok(Found::Nothing) => return Ok(None),
        Ok(Found::Pending(value)) => return Ok(Some(value)),
        Ok(Found::Durable(at, generation)) => (at, generation),
        Err(refused) => return Err(GetError::Refused(refused)),
    };
    let _pin = Pin { store, segment: at.segment() };

    // 2. One read.
    let raw = store.device.read_record(at).await.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => GetError::Corrupt { at, why: WrongRecord::EndOfFile },
        _ => GetError::Io { at, source: Arc::new(error) },
    })?;

    // 3. Is it what the index promised?
    let value = check(&raw, generation, group, key);
    let value = value.map_err(|why| GetError::Corrupt { at, why })?;

    // 4. The value keeps the sectors alive that it lies in.
    Ok(Some(Bytes::from_owner(raw.sectors).slice(value)))
}

/// The range of the value in the sectors, if they hold the record looked for.
fn check(
    raw: &RawRecord,
    generation: Generation,
    group: GroupId,
    key: &[u8],
) -> Result<std::ops::Range<usize>, WrongRecord> {
    let bytes = &raw.sectors[raw.at..raw.at + raw.len];
    let record = Record::parse(bytes)?;
    if record.generation_low != generation.low() {
        return Err(WrongRecord::Generation { found: record.generation_low });
    }
    if record.group != group || record.key != key {
        return Err(WrongRecord::Foreign);
    }
    if record.kind == RecordKind::Delete {
        return Err(WrongRecord::Tombstone);
    }
    let value = record.value_range();
    Ok(raw.at + value.start..raw.at + value.end)
}
