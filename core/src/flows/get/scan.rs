//! The record of a key that a scan came to.
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | read the record where the list says, pinning nothing | nothing: a scan writes nothing |
//! | 2 | it is whole, of this place, life, group and hash: it is what the list saw | |
//! | 3 | otherwise ask where the hash is now | |
//! | 4 | it is still there: the error is true. It moved: from 1 again. It is gone: no entry | |
//!
//! A record is good for one place in one life of a segment, so what passes step 2 is the record
//! that the index pointed at when the list was made, whatever became of the segment meanwhile. A
//! segment that gets another life loses its records before; so in step 4 the same place in the same
//! life was never given away.
//!
//! Step 1 is made again only if, within one read, the record was copied and its old place erased.
//!
//! Absent on purpose: the pieces of large values. Whoever wants one asks for it by its key.

use std::sync::Arc;

use bytes::Bytes;

use super::{GetError, WrongRecord, check, keep};
use crate::catalog::Packing;
use crate::format::pieces::PieceList;
use crate::memory::{Sight, Sighted};
use crate::store::Store;
use crate::types::{Generation, GroupId, KeyHash, Location, Sequence};

/// A key that a scan saw, and its value.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) hash: KeyHash,
    pub(crate) key: Bytes,
    pub(crate) sequence: Sequence,
    pub(crate) value: SeenValue,
}

/// The value of a key that a scan saw.
#[derive(Debug)]
pub(crate) enum SeenValue {
    Whole(Bytes),
    /// So many bytes, in pieces.
    Large(u64),
}

/// Reads what a list found; `None` if the key is gone.
pub(crate) async fn read_sight(
    store: Arc<Store>,
    group: GroupId,
    sight: Sight,
) -> Result<Option<Seen>, GetError> {
    let (hash, mut what) = (sight.hash, sight.what);
    loop {
        let (at, generation) = match what {
            Sighted::Durable(at, generation) => (at, generation),
            Sighted::Pending(key, value, sequence) => {
                return Ok(Some(seen(&store, key, sequence, SeenValue::Whole(value))));
            }
            Sighted::PendingLarge(key, list, sequence) => {
                let list = PieceList::parse(&list, store.device.geometry());
                let list = list.expect("the list was encoded by this store");
                return Ok(Some(seen(&store, key, sequence, SeenValue::Large(list.total_len()))));
            }
        };
        // 1., 2.
        let error = match read_unpinned(&store, group, hash, (at, generation)).await {
            Ok(seen) => return Ok(Some(seen)),
            Err(error) => error,
        };
        // 3., 4.
        let now = store.step(|state| state.sight_again(group, hash));
        match now.map_err(GetError::Refused)? {
            None => return Ok(None),
            Some(there) if there == Sighted::Durable(at, generation) => return Err(error),
            Some(elsewhere) => what = elsewhere,
        }
    }
}

async fn read_unpinned(
    store: &Store,
    group: GroupId,
    hash: KeyHash,
    (at, generation): (Location, Generation),
) -> Result<Seen, GetError> {
    let corrupt = |why| GetError::Corrupt { at, why };
    let raw = store.device.read_record_if_there(at).await;
    let raw = raw.map_err(|error| GetError::of_read(at, error))?;
    let raw = raw.ok_or_else(|| corrupt(WrongRecord::EndOfFile))?;
    let whole = check(&raw, at, generation, group).map_err(corrupt)?;
    let geometry = store.device.geometry();
    let alike = Packing::new(geometry).known(store.hasher.hash(&raw.sectors[whole.key.clone()]));
    if alike != hash {
        return Err(corrupt(WrongRecord::Foreign));
    }
    // The value follows the key.
    let both = whole.key.start..whole.value.end;
    let both = keep(store, raw.sectors, both, whole.sequence).value;
    let (key, value) = (both.slice(..whole.key.len()), both.slice(whole.key.len()..));
    let value = if whole.large {
        let list = PieceList::parse(&value, geometry).map_err(|why| corrupt(why.into()))?;
        SeenValue::Large(list.total_len())
    } else {
        SeenValue::Whole(value)
    };
    Ok(seen(store, key, whole.sequence, value))
}

fn seen(store: &Store, key: Bytes, sequence: Sequence, value: SeenValue) -> Seen {
    Seen { hash: store.hasher.hash(&key), key, sequence, value }
}
