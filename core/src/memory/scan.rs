//! What a scan sees of a group: the keys of a span of hashes, a few at a time.
//!
//! ```text
//!   index    ·──a──────c──d─────────f──·      in order of hash
//!   pending  ·──────b──c─────e─────────·      what readers may see, in the same order
//!               a   b  c  d  e(deleted)       one list goes on behind the other
//! ```
//!
//! 1. A list is that of one moment, and says of every key what a lookup would say then.
//! 2. It goes on behind the last key by hash, whatever became of that key. So each key that is
//!    there throughout is listed once, by the list that comes to its hash.
//! 3. Keys of one token have hashes of their own, and all come to their turn. Keys that are one to
//!    the index are passed together: none of them is split over two lists.
//! 4. A list looks at no more than [`LOOKED_AT`] hashes, however many of them were deleted.
//!
//! Absent on purpose: pins. A list may be old when its records are read, and whoever asked for it
//! may never come back. Who reads an unpinned record checks that it is the one, and if it is not,
//! asks for its hash again.

use bytes::Bytes;

use super::{LookupRefused, State};
use crate::catalog::Readable;
use crate::types::{Generation, GroupId, KeyHash, Location, Sequence, to_u64};

/// The hashes from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    // Invariant: `first <= last`.
    first: KeyHash,
    last: KeyHash,
}

/// How much a list may hold at most; it holds one key, however long, if there is any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) keys: usize,
    /// Of records and values.
    pub(crate) bytes: u64,
}

/// A key that a scan came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// What the index knows of its hash.
    pub(crate) hash: KeyHash,
    pub(crate) what: Sighted,
}

/// What a scan found of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sighted {
    /// A write on its way to the device, that may be seen: key, value and its number.
    Pending(Bytes, Bytes, Sequence),
    /// The same of a large value, of which it has the list of pieces.
    PendingLarge(Bytes, Bytes, Sequence),
    /// A durable record, and the generation that it must have. Nothing keeps it there.
    Durable(Location, Generation),
}

/// The keys at the beginning of a span, and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sights {
    pub(crate) found: Vec<Sight>,
    pub(crate) rest: Option<Span>,
}

/// Hashes that one list looks at, at most: a step takes no longer than that.
const LOOKED_AT: usize = 256;

impl Span {
    /// `None` if there is nothing from `first` to `last`.
    pub(crate) fn new(first: KeyHash, last: KeyHash) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// What is left of it behind `passed`.
    fn behind(self, passed: KeyHash) -> Option<Self> {
        let first = passed.get().checked_add(1)?;
        Self::new(KeyHash::new(first), self.last)
    }
}

impl Sight {
    /// Bytes of memory that it takes, or will take when its record is read.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.what {
            Sighted::Pending(key, value, _) | Sighted::PendingLarge(key, value, _) => {
                to_u64(key.len() + value.len())
            }
            Sighted::Durable(at, _) => at.len().get().into(),
        }
    }
}

impl State {
    /// Lists the keys at the beginning of a span.
    pub(crate) fn sight(
        &self,
        group: GroupId,
        span: Span,
        most: Most,
    ) -> Result<Sights, LookupRefused> {
        let group = self.readable_group(group)?;
        let index = &group.index;
        let entries = index.iter_from(span.first).take_while(|entry| entry.0 <= span.last);
        let shown = group.pending.range((index.known(span.first), span.last));
        let (mut entries, mut shown) = (entries.peekable(), shown.peekable());
        let (mut found, mut bytes, mut rest) = (Vec::new(), 0, Some(span));
        for _ in 0..LOOKED_AT {
            let next = [entries.peek().map(|entry| entry.0), shown.peek().map(|one| one.0)];
            let Some(next) = next.into_iter().flatten().min() else {
                rest = None;
                break;
            };
            let known = index.known(next);
            let durable = entries.next_if(|entry| entry.0 == known);
            let (before, mut hidden) = (found.len(), false);
            while let Some((_, one)) = shown.next_if(|one| index.known(one.0) == known) {
                hidden = true;
                let (key, sequence) = (one.key.clone(), one.sequence);
                let what = match one.readable {
                    Readable::Value(value) => Sighted::Pending(key, value.clone(), sequence),
                    Readable::Large(list, _) => Sighted::PendingLarge(key, list.clone(), sequence),
                    Readable::Deleted => continue,
                };
                found.push(Sight { hash: known, what });
            }
            if let Some((_, at)) = durable.filter(|_| !hidden) {
                let generation = self.segments.get(at.segment()).generation;
                found.push(Sight { hash: known, what: Sighted::Durable(at, generation) });
            }
            bytes += found[before..].iter().map(Sight::bytes).sum::<u64>();
            rest = span.behind(index.last_alike(known));
            if rest.is_none() || found.len() >= most.keys || bytes >= most.bytes {
                break;
            }
        }
        Ok(Sights { found, rest })
    }

    /// What there is now of a hash that was listed before, all of it that is one key to the index.
    pub(crate) fn sight_again(
        &self,
        group: GroupId,
        hash: KeyHash,
    ) -> Result<Option<Sighted>, LookupRefused> {
        let index = &self.readable_group(group)?.index;
        let most = Most { keys: 1, bytes: u64::MAX };
        let span = Span { first: index.known(hash), last: index.last_alike(hash) };
        let mut sights = self.sight(group, span, most)?;
        Ok(sights.found.pop().map(|sight| sight.what))
    }
}
