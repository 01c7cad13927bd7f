//! A leaf: some hundred entries next to each other, in order of hash.
//!
//! ```text
//! low ┌────────┬────────┬─    ─┬────────┬──────┐ last
//!     │ entry  │ entry  │  ..  │ entry  │ room │         each 18 - cut bytes
//!     └────────┴────────┴─    ─┴────────┴──────┘
//! ```
//!
//! 1. Entries ascend, and no two have the same hash.
//! 2. Every hash is in the range of the leaf, from `low` to the `last` before the next leaf's. The
//!    first `cut` bytes of all hashes in the range are the same: they are not stored.
//! 3. The room at the end is less than a sixteenth of the leaf, or a few bytes.
//!
//! A search begins where the hash should be if hashes are spread evenly, which a keyed hash sees
//! to; where they are not, it takes more steps and stays logarithmic.

use std::cmp::Ordering;

use super::packing::{ENTRY_LEN, Packing, WORD_LEN};
use super::{ALLOCATION, common_bytes, guess, partition};
use crate::types::{KeyHash, Location};

/// Bytes of a hash that a leaf may leave out. More would only help in stores of terabytes.
const MAX_CUT: usize = 3;
/// Bytes behind the cut in which all that is kept of a hash lies.
const TAIL_LEN: usize = 12;

const _: () = assert!(TAIL_LEN <= ENTRY_LEN - MAX_CUT);

/// Entries next to each other.
#[derive(Debug)]
pub(super) struct Leaf {
    // Invariant: the first 96 bits of the lowest hash of the range; the others are zeros.
    low_token: u64,
    low_rest: u32,
    len: u16,
    cut: u8,
    entries: Box<[u8]>,
}

/// The range of a leaf and how its entries are packed: what only its neighbours know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) packing: Packing,
    /// The last hash of the range.
    pub(super) last: u128,
}

impl Leaf {
    /// An empty one.
    pub(super) fn new(low: u128, last: u128) -> Self {
        let cut = common_bytes(low, last).min(MAX_CUT);
        let rest = u32::try_from((low >> 32) & u128::from(u32::MAX)).expect("masked to 32 bits");
        Self {
            low_token: KeyHash::new(low).token(),
            low_rest: rest,
            len: 0,
            cut: u8::try_from(cut).expect("at most three"),
            entries: Box::default(),
        }
    }

    /// The lowest hash of its range.
    pub(super) fn low(&self) -> u128 {
        (u128::from(self.low_token) << 64) | (u128::from(self.low_rest) << 32)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Bytes that it has of the allocator.
    pub(super) fn memory(&self) -> usize {
        if self.entries.is_empty() { 0 } else { self.entries.len() + ALLOCATION }
    }

    fn cut(&self) -> usize {
        usize::from(self.cut)
    }

    fn stride(&self) -> usize {
        ENTRY_LEN - self.cut()
    }

    /// Where the entry of a hash of the range is, or else belongs.
    pub(super) fn search(&self, hash: u128, frame: Frame) -> Result<usize, usize> {
        if self.len == 0 {
            return Err(0);
        }
        let looked_for = self.tail_of(hash);
        let first = KeyHash::new(self.tail_of(self.low())).token();
        let last = KeyHash::new(self.tail_of(frame.last)).token();
        let start = guess((first, last), self.len(), KeyHash::new(looked_for).token());
        let mask = self.tail_mask(frame.packing);
        let before = |at| (self.tail(at) & mask).cmp(&looked_for) == Ordering::Less;
        let found = partition(self.len(), start, before);
        if found < self.len() && self.tail(found) & mask == looked_for {
            Ok(found)
        } else {
            Err(found)
        }
    }

    /// The hash without what is cut off.
    fn tail_of(&self, hash: u128) -> u128 {
        hash << (8 * self.cut())
    }

    /// Which bits of a tail belong to the hash.
    fn tail_mask(&self, packing: Packing) -> u128 {
        u128::MAX << (u128::BITS - packing.hash_bits() + 8 * u32::from(self.cut))
    }

    /// The tail of an entry's hash, and something of its location behind it.
    fn tail(&self, at: usize) -> u128 {
        let start = at * self.stride();
        let bytes: &[u8; TAIL_LEN] =
            self.entries[start..].first_chunk().expect("an entry is longer than a tail");
        let mut tail = [0; size_of::<u128>()];
        tail[..TAIL_LEN].copy_from_slice(bytes);
        u128::from_be_bytes(tail)
    }

    fn word_range(&self, at: usize) -> std::ops::Range<usize> {
        let end = (at + 1) * self.stride();
        end - WORD_LEN..end
    }

    fn word(&self, at: usize) -> u64 {
        let bytes = &self.entries[self.word_range(at)];
        u64::from_be_bytes(bytes.try_into().expect("a word is eight bytes long"))
    }

    pub(super) fn hash(&self, at: usize, packing: Packing) -> u128 {
        let kept = u128::MAX.checked_shl(u128::BITS - 8 * u32::from(self.cut)).unwrap_or(0);
        let tail = self.tail(at) & self.tail_mask(packing);
        (self.low() & kept) | (tail >> (8 * self.cut()))
    }

    pub(super) fn location(&self, at: usize, packing: Packing) -> Location {
        packing.location(self.word(at))
    }

    /// Points an entry elsewhere.
    pub(super) fn repoint(&mut self, at: usize, to: Location, packing: Packing) {
        let word = packing.repointed(self.word(at), to);
        let range = self.word_range(at);
        self.entries[range].copy_from_slice(&word.to_be_bytes());
    }

    /// Puts an entry where it belongs.
    pub(super) fn insert(&mut self, at: usize, hash: u128, to: Location, packing: Packing) {
        let (stride, cut) = (self.stride(), self.cut());
        let used = self.len() * stride;
        if used + stride > self.entries.len() {
            self.resize(room(used + stride));
        }
        let start = at * stride;
        self.entries.copy_within(start..used, start + stride);
        let entry = packing.entry(hash, to);
        self.entries[start..start + stride].copy_from_slice(&entry[cut..]);
        self.len += 1;
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, at: usize) {
        let stride = self.stride();
        let used = self.len() * stride;
        self.entries.copy_within((at + 1) * stride..used, at * stride);
        self.len -= 1;
        // Two steps less, not one: who puts and removes in turn should not move the leaf each time.
        if room(room(used) + 1) <= self.entries.len() {
            self.resize(room(used - stride));
        }
    }

    fn resize(&mut self, bytes: usize) {
        let mut entries = std::mem::take(&mut self.entries).into_vec();
        if bytes > entries.len() {
            entries.reserve_exact(bytes - entries.len());
        }
        entries.resize(bytes, 0);
        self.entries = entries.into_boxed_slice();
    }

    /// Hands out the upper part of the entries, as a leaf of its own. The range is cut at a number
    /// as round as any in the middle half of the entries: so both leaves share long beginnings.
    pub(super) fn split(&mut self, frame: Frame) -> Self {
        let (len, packing) = (self.len(), frame.packing);
        let (first, last) = (self.hash(len / 4, packing), self.hash(len - 1 - len / 4, packing));
        assert!(first < last, "four different hashes have a middle half");
        let below = u128::BITS - (first ^ last).leading_zeros() - 1;
        let low = (last >> below) << below;
        let (Ok(middle) | Err(middle)) = self.search(low, frame);
        assert!(0 < middle && middle < len);
        let upper = self.part(middle, len, (low, frame.last));
        *self = self.part(0, middle, (self.low(), low - 1));
        upper
    }

    /// Takes in the entries of the next leaf, whose range ends with `last`.
    pub(super) fn join(&mut self, next: &Self, last: u128) {
        let mut joined = self.part(0, self.len(), (self.low(), last));
        joined.take_in(next, 0, next.len());
        *self = joined;
    }

    fn part(&self, from: usize, to: usize, (low, last): (u128, u128)) -> Self {
        let mut part = Self::new(low, last);
        part.take_in(self, from, to);
        part
    }

    /// Takes entries of another leaf in, behind its own.
    fn take_in(&mut self, other: &Self, from: usize, to: usize) {
        let (cut, stride) = (self.cut(), self.stride());
        let used = self.len() * stride;
        self.resize(room(used + (to - from) * stride));
        let mut entry = [0; ENTRY_LEN];
        entry[..other.cut()].copy_from_slice(&other.low().to_be_bytes()[..other.cut()]);
        let sources = other.entries.chunks_exact(other.stride()).take(to).skip(from);
        for (target, source) in self.entries[used..].chunks_exact_mut(stride).zip(sources) {
            entry[other.cut()..].copy_from_slice(source);
            target.copy_from_slice(&entry[cut..]);
        }
        let count = u16::try_from(to - from).expect("a leaf holds fewer than 65,536 entries");
        self.len = self.len.checked_add(count).expect("a leaf holds fewer than 65,536 entries");
    }

    /// Recounts the laws.
    #[cfg(any(test, feature = "verify", feature = "fuzzing"))]
    pub(super) fn assert_invariants(&self, frame: Frame) {
        let packing = frame.packing;
        assert_eq!(self.cut(), common_bytes(self.low(), frame.last).min(MAX_CUT));
        assert!(self.low() <= frame.last);
        let hashes: Vec<u128> = (0..self.len()).map(|at| self.hash(at, packing)).collect();
        assert!(hashes.is_sorted_by(|one, next| one < next), "entries ascend");
        assert!(hashes.first().is_none_or(|first| self.low() <= *first));
        assert!(hashes.last().is_none_or(|last| *last <= frame.last));
        let used = self.len() * self.stride();
        assert!(used <= self.entries.len());
        let most = room(room(room(used) + 1) + 1);
        assert!(self.entries.len() <= most, "{} bytes for {used}", self.entries.len());
    }
}

/// The bytes that a leaf of `used` bytes takes: a step of a sixteenth at most, or 16 bytes, so that
/// little is idle and the allocator sees few lengths.
fn room(used: usize) -> usize {
    let step = (used.next_power_of_two() / 32).max(16);
    used.next_multiple_of(step)
}
