//! Going through the keys of a group, in order of their tokens.
//!
//! ```text
//!   span of hashes ──list──> a few keys ──read, some at a time──> entries, in order
//!        ^                       │
//!        └── go on behind the last one, wherever the index is by then
//! ```
//!
//! 1. Between two polls nothing is pinned and nothing is held: a scan that is left alone for a day
//!    is in nobody's way.
//! 2. What is read ahead is bounded in number and in bytes.
//! 3. Nothing follows the error that ends a scan: a dropped group, or a closed store. Any other
//!    error is of one key, and the scan goes on.
//!
//! [`crate::memory`] says what a list shows, and so why each key is seen once.
//!
//! Absent on purpose: a snapshot. Entries are of the moments at which they were listed.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesOrdered, Stream, StreamExt};

use super::{Entry, EntryValue, Group, Version};
use crate::db::{Handle, check_lens};
use crate::error::{Error, Result};
use crate::flows::get::{self, GetError, Seen, SeenValue};
use crate::memory::{LookupRefused, Most, Sights, Span};
use crate::types::{GroupId, KeyHash};

/// Records that are read ahead, at most.
const READS: usize = 16;
/// Bytes of records that are read ahead: no more are begun from here on.
const READ_BYTES: u64 = 1 << 20;

/// A record on its way: the bytes that it takes, and what it came to.
type Read = BoxFuture<'static, (u64, std::result::Result<Option<Seen>, GetError>)>;

/// The entries of a group, in order of token; see [`Group::scan`].
///
/// While it lives, the store is not closed by the end of its other handles.
pub struct Scan {
    handle: Arc<Handle>,
    group: GroupId,
    /// What was not listed yet.
    rest: Option<Span>,
    reads: FuturesOrdered<Read>,
    // Invariant: the bytes of all `reads`.
    bytes: u64,
    /// Why it ended early.
    end: Option<Error>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scan")
            .field("group", &self.group)
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}

impl Scan {
    fn new(handle: Arc<Handle>, group: GroupId, rest: Option<Span>) -> Self {
        Self { handle, group, rest, reads: FuturesOrdered::new(), bytes: 0, end: None }
    }

    /// Begins to read the next records, if only few are on their way.
    fn read_ahead(&mut self) {
        while let Some(span) = self.rest
            && self.reads.len() <= READS / 2
            && self.bytes < READ_BYTES
        {
            let (keys, bytes) = (READS - self.reads.len(), READ_BYTES - self.bytes);
            let store = &self.handle.store;
            match store.step(|state| state.sight(self.group, span, Most { keys, bytes })) {
                Ok(sights) => self.begin(sights),
                Err(refused) => self.ends(refused),
            }
        }
    }

    fn begin(&mut self, sights: Sights) {
        self.rest = sights.rest;
        for sight in sights.found {
            let bytes = sight.bytes();
            let read = get::read_sight(Arc::clone(&self.handle.store), self.group, sight);
            self.reads.push_back(read.map(move |found| (bytes, found)).boxed());
            self.bytes += bytes;
        }
    }

    fn ends(&mut self, refused: LookupRefused) {
        self.rest = None;
        self.end = Some(Error::of_lookup(refused, self.group.get()));
    }
}

impl Stream for Scan {
    type Item = Result<Entry>;

    /// Dropping the stream stops it; a read under way ends by itself.
    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Entry>>> {
        loop {
            self.read_ahead();
            let Poll::Ready(next) = self.reads.poll_next_unpin(context) else {
                return Poll::Pending;
            };
            let Some((bytes, found)) = next else {
                return Poll::Ready(self.end.take().map(Err));
            };
            self.bytes -= bytes;
            match found {
                Ok(None) => {} // deleted meanwhile
                Ok(Some(seen)) => return Poll::Ready(Some(Ok(Entry::of(seen)))),
                Err(GetError::Refused(refused)) => {
                    (self.reads, self.bytes) = (FuturesOrdered::new(), 0);
                    self.ends(refused);
                }
                Err(error) => {
                    return Poll::Ready(Some(Err(Error::of_get(error, self.group.get()))));
                }
            }
        }
    }
}

/// The keys of a group, in order of token; see [`Group::keys`].
#[derive(Debug)]
pub struct Keys(Scan);

impl Stream for Keys {
    type Item = Result<Bytes>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes>>> {
        // Copied, so that the value is not kept with it.
        let key = |entry: Result<Entry>| entry.map(|entry| Bytes::copy_from_slice(&entry.key));
        self.0.poll_next_unpin(context).map(|next| next.map(key))
    }
}

impl Entry {
    fn of(seen: Seen) -> Self {
        let value = match seen.value {
            SeenValue::Whole(value) => EntryValue::Whole(value),
            SeenValue::Large(len) => EntryValue::Large(len),
        };
        let (version, token) = (Version::of(seen.sequence), seen.hash.token());
        Self { key: seen.key, value, version, token }
    }
}

impl Group {
    /// All entries of the group, in order of token: that is, in no order of keys.
    ///
    /// Each key that is there throughout the scan is seen exactly once, with a value that it had at
    /// some moment meanwhile. A key that is written or deleted while the scan runs is seen at most
    /// once. What is seen is what [`Group::get`] would have given at that moment, writes that are
    /// not durable yet included; all entries together are no snapshot. Between two entries no
    /// segment is kept from compaction, however long that takes.
    ///
    /// Costs a device read an entry, of up to 16 at a time and about 1 MiB ahead. Of a large value
    /// only the length is read.
    ///
    /// A record that cannot be read gives an error that names its place, and the scan goes on
    /// behind it. Dropping the group ends the scan with [`Error::GroupDropped`] and closing the
    /// store with [`Error::Closed`], if it was not at its end by then; truncating the group removes
    /// keys as deleting them does.
    ///
    /// ```
    /// # async fn example(users: logstor_core::Group) -> logstor_core::Result<()> {
    /// use futures::TryStreamExt;
    ///
    /// let mut scan = users.scan();
    /// while let Some(entry) = scan.try_next().await? {
    ///     println!("{:?}: {} bytes", entry.key, entry.value.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn scan(&self) -> Scan {
        self.scan_tokens(..)
    }

    /// The same, of the keys whose [token](Group::token_of) lies in a range.
    ///
    /// Tokens are spread evenly over all 64 bits, so equal ranges are equal shares of the keys, to
    /// be scanned side by side. To go on later where a scan was left, begin with the token of the
    /// last entry: that one is seen again, and others of its token, of which there are next to
    /// none, are not missed.
    #[must_use]
    pub fn scan_tokens(&self, tokens: impl RangeBounds<u64>) -> Scan {
        Scan::new(Arc::clone(&self.handle), self.id, span_of(&tokens))
    }

    /// All keys of the group, in order of token.
    ///
    /// The index in memory knows hashes and no keys, so this reads whole records as [`Group::scan`]
    /// does, at the same cost and with the same promises; it only keeps no values.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys(self.scan())
    }

    /// The token of a key: the upper half of a keyed hash of it, by which keys are in order in a
    /// scan. It is the same in all groups and openings of one store, and another one in another
    /// store. Needs no I/O, and the key need not be there.
    pub fn token_of(&self, key: impl AsRef<[u8]>) -> Result<u64> {
        check_lens(self.store(), key.as_ref(), 0)?;
        Ok(self.store().hasher.hash(key.as_ref()).token())
    }
}

/// The hashes with these tokens.
fn span_of(tokens: &impl RangeBounds<u64>) -> Option<Span> {
    let first = match tokens.start_bound() {
        Bound::Unbounded => 0,
        Bound::Included(&token) => token,
        Bound::Excluded(&token) => token.checked_add(1)?,
    };
    let last = match tokens.end_bound() {
        Bound::Unbounded => u64::MAX,
        Bound::Included(&token) => token,
        Bound::Excluded(&token) => token.checked_sub(1)?,
    };
    Span::new(KeyHash::first_of(first), KeyHash::last_of(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_tokens_are_spans_of_hashes_and_empty_ones_are_none() {
        let span = |first, last| Span::new(KeyHash::first_of(first), KeyHash::last_of(last));
        assert_eq!(span_of(&(..)), Span::new(KeyHash::new(0), KeyHash::new(u128::MAX)));
        assert_eq!(span_of(&(3..5)), span(3, 4));
        assert_eq!(span_of(&(3..=5)), span(3, 5));
        assert_eq!(span_of(&(Bound::Excluded(3), Bound::Unbounded)), span(4, u64::MAX));
        assert_eq!(span_of(&(5..5)), None);
        #[expect(clippy::reversed_empty_ranges, reason = "a caller may ask so")]
        let reversed = 6..5;
        assert_eq!(span_of(&reversed), None);
        assert_eq!(span_of(&(..0)), None);
        assert_eq!(span_of(&(Bound::Excluded(u64::MAX), Bound::Unbounded)), None);
    }
}
