//! What the engine knows of keys: where the durable ones lie, and which writes are on their way.
//!
//! Law: the index only ever points at durable records. What is accepted and not yet durable is in
//! the pending writes, and leaves them in the step that gives it to the index.
//!
//! Absent on purpose: keys. The index knows most bits of a keyed hash of each; the key itself is
//! in the record and compared at every read. And deleted keys: no memory is kept for them.

mod index;
mod pending;

#[cfg(feature = "fuzzing")]
pub(crate) use index::Shape;
pub(crate) use index::{Index, IndexBuilder, Packing};
pub(crate) use pending::{Pending, PendingWrite, Readable, Shown};

use crate::types::KeyHash;

/// Where a hash belongs in a table: its low half; the high half is the token.
#[expect(clippy::as_conversions, reason = "the low half is what is meant")]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]
fn position(hash: KeyHash) -> u64 {
    hash.get() as u64
}
