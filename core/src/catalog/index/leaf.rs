//! A leaf: some hundred entries next to each other, in order of hash.
//!
//! ```text
//! low ┌────────┬────────┬─    ─┬────────┬──────┐ last
//!     │ entry  │ entry  │  ..  │ entry  │ room │         each 18 - cut bytes
//!     └────────┴────────┴─    ─┴────────┴──────┘
//!     start                                    the next leaf's start
//! ```
//!
//! 1. Entries ascend, and no two have the same hash.
//! 2. Every hash is in the range of the leaf, from `low` to the `last` before the next leaf's. The
//!    first `cut` bytes of all hashes in the range are the same: they are not stored.
//!
//! A search begins where the hash should be if hashes are spread evenly, which a keyed hash sees
//! to; where they are not, it takes more steps and stays logarithmic.
//!
//! Absent on purpose: the bytes. They lie in the branch.

use super::packing::{ENTRY_LEN, Packing, WORD_LEN};
use super::{common_bytes, guess, partition};
use crate::types::{KeyHash, Location, to_u32, to_usize};

/// Bytes of a hash that a leaf may leave out. More would only help in stores of terabytes.
const MAX_CUT: usize = 3;
/// Bytes behind the cut in which all that is kept of a hash lies.
const TAIL_LEN: usize = 12;

const _: () = assert!(TAIL_LEN <= ENTRY_LEN - MAX_CUT);

/// Where some entries lie in their branch, and what they have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    // Invariant: the first 96 bits of the lowest hash of the range; the others are zeros.
    low_token: u64,
    low_rest: u32,
    start: u32,
    len: u16,
    cut: u8,
}

impl Leaf {
    /// An empty one.
    pub(super) fn new(low: u128, last: u128, start: usize) -> Self {
        let rest = u32::try_from((low >> 32) & u128::from(u32::MAX)).expect("masked to 32 bits");
        Self {
            low_token: KeyHash::new(low).token(),
            low_rest: rest,
            start: to_u32(start),
            len: 0,
            cut: u8::try_from(Self::cut_of(low, last)).expect("at most three"),
        }
    }

    /// Bytes that need not be stored of the hashes of a range.
    pub(super) fn cut_of(low: u128, last: u128) -> usize {
        common_bytes(low, last).min(MAX_CUT)
    }

    /// The lowest hash of its range.
    pub(super) fn low(&self) -> u128 {
        (u128::from(self.low_token) << 64) | (u128::from(self.low_rest) << 32)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn cut(&self) -> usize {
        usize::from(self.cut)
    }

    pub(super) fn start(&self) -> usize {
        to_usize(self.start)
    }

    /// Bytes of an entry.
    pub(super) fn stride(&self) -> usize {
        ENTRY_LEN - self.cut()
    }

    /// Bytes of all entries.
    pub(super) fn used(&self) -> usize {
        self.len() * self.stride()
    }

    pub(super) fn set_start(&mut self, start: usize) {
        self.start = to_u32(start);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.len = u16::try_from(len).expect("a leaf holds fewer than 65,536 entries");
    }

    /// Its entries, in the bytes of its branch.
    pub(super) fn entries<'a>(&self, bytes: &'a [u8]) -> Entries<'a> {
        let start = self.start();
        Entries { leaf: *self, bytes: &bytes[start..start + self.used()] }
    }
}

/// The entries of a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries<'a> {
    leaf: Leaf,
    bytes: &'a [u8],
}

impl Entries<'_> {
    /// Where the entry of a hash of the range is, or else belongs. `last` ends the range.
    pub(super) fn search(&self, hash: u128, last: u128, packing: Packing) -> Result<usize, usize> {
        let len = self.leaf.len();
        if len == 0 {
            return Err(0);
        }
        let token = |hash| KeyHash::new(self.tail_of(hash)).token();
        let start = guess((token(self.leaf.low()), token(last)), len, token(hash));
        let (looked_for, mask) = (self.tail_of(hash), self.tail_mask(packing));
        let found = partition(len, start, |at| self.tail(at) & mask < looked_for);
        if found < len && self.tail(found) & mask == looked_for { Ok(found) } else { Err(found) }
    }

    /// The hash without what is cut off.
    fn tail_of(&self, hash: u128) -> u128 {
        hash << (8 * self.leaf.cut())
    }

    /// Which bits of a tail belong to the hash.
    fn tail_mask(&self, packing: Packing) -> u128 {
        u128::MAX << (u128::BITS - packing.hash_bits() + 8 * u32::from(self.leaf.cut))
    }

    /// The tail of an entry's hash, and something of its location behind it.
    fn tail(&self, at: usize) -> u128 {
        let start = at * self.leaf.stride();
        let bytes: &[u8; TAIL_LEN] =
            self.bytes[start..].first_chunk().expect("an entry is longer than a tail");
        let mut tail = [0; size_of::<u128>()];
        tail[..TAIL_LEN].copy_from_slice(bytes);
        u128::from_be_bytes(tail)
    }

    /// The hash of an entry, as far as it is kept.
    pub(super) fn hash(&self, at: usize, packing: Packing) -> u128 {
        let cut = 8 * u32::from(self.leaf.cut);
        let kept = u128::MAX.checked_shl(u128::BITS - cut).unwrap_or(0);
        (self.leaf.low() & kept) | ((self.tail(at) & self.tail_mask(packing)) >> cut)
    }

    /// The word of an entry, with its location.
    pub(super) fn word(&self, at: usize) -> u64 {
        let end = (at + 1) * self.leaf.stride();
        let bytes = &self.bytes[end - WORD_LEN..end];
        u64::from_be_bytes(bytes.try_into().expect("a word is eight bytes long"))
    }

    pub(super) fn location(&self, at: usize, packing: Packing) -> Location {
        packing.location(self.word(at))
    }

    /// Writes the entries behind others, with `cut` bytes left out of each.
    pub(super) fn append_to(&self, target: &mut Vec<u8>, cut: usize) {
        let own = self.leaf.cut();
        let mut entry = [0; ENTRY_LEN];
        entry[..own].copy_from_slice(&self.leaf.low().to_be_bytes()[..own]);
        for stored in self.bytes.chunks_exact(self.leaf.stride()) {
            entry[own..].copy_from_slice(stored);
            target.extend_from_slice(&entry[cut..]);
        }
    }

    /// Recounts the laws.
    #[cfg(any(test, feature = "verify", feature = "fuzzing"))]
    pub(super) fn assert_invariants(&self, last: u128, packing: Packing) {
        let leaf = &self.leaf;
        assert_eq!(leaf.cut(), Leaf::cut_of(leaf.low(), last));
        assert!(leaf.low() <= last);
        let hashes = || (0..leaf.len()).map(|at| self.hash(at, packing));
        assert!(hashes().is_sorted_by(|one, next| one < next), "entries ascend");
        assert!(hashes().next().is_none_or(|first| leaf.low() <= first));
        assert!(hashes().next_back().is_none_or(|highest| highest <= last));
    }
}
