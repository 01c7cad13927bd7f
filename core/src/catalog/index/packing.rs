//! How a hash and a location go into eighteen bytes.
//!
//! An entry is a number of 144 bits, the first bit first:
//!
//! ```text
//! │ hash: 105 - s │ place: 42 │ len: s - 3 │        segments of 2^s bytes, s from 16 to 22
//! ```
//!
//! | at | len | field | meaning                                                               |
//! |---:|----:|-------|-----------------------------------------------------------------------|
//! |  0 |  10 | hash  | the first 80 bits of the hash                                         |
//! | 10 |   8 | word  | from above: 25 - s more bits of it; the place, in units of 8 bytes,   |
//! |    |     |       | counted over all segments; the length of the record in such units     |
//!
//! 1. Every location that [`Geometry`] allows fits: a store has at most [`MAX_STORE_LEN`] bytes,
//!    and a record lies in its segment. What would not fit is never cut off: [`Packing::takes`]
//!    says so, and packing asserts it.
//! 2. Entries with other hashes compare as their hashes do.
//!
//! Of 128 bits of hash 83 to 89 are kept, 87 with segments of the default length. Two keys of one
//! group that agree in all of them are one key to the engine; ARCHITECTURE.md says how likely that
//! is, and what happens then.

use crate::catalog::position;
use crate::format::geometry::{Geometry, MAX_STORE_LEN};
use crate::types::{ByteLen, KeyHash, Location, SegmentId, SegmentOffset};

/// Bytes of an entry of which nothing is left out.
pub(super) const ENTRY_LEN: usize = 18;
/// Bytes of it that hold nothing but hash.
pub(super) const HASH_LEN: usize = 10;
/// Bytes of its word.
pub(super) const WORD_LEN: usize = ENTRY_LEN - HASH_LEN;

/// Bits of the unit in which places and lengths are counted.
const UNIT_BITS: u32 = 3;
const PLACE_BITS: u32 = 42;
const WORD_BITS: u32 = u64::BITS;
const HASH_BITS: u32 = 80;

const _: () = assert!(MAX_STORE_LEN >> UNIT_BITS == 1 << PLACE_BITS);

/// The cut of entries in one store: it follows from the length of its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    // Invariant: segments are `1 << segment_bits` bytes long.
    segment_bits: u32,
}

impl Packing {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self { segment_bits: geometry.segment_len().get().trailing_zeros() }
    }

    /// Bits of a length, and of the offset in a place.
    const fn len_bits(self) -> u32 {
        self.segment_bits - UNIT_BITS
    }

    const fn location_bits(self) -> u32 {
        PLACE_BITS + self.len_bits()
    }

    /// Bits of a hash that an entry keeps.
    pub(crate) const fn hash_bits(self) -> u32 {
        HASH_BITS + WORD_BITS - self.location_bits()
    }

    /// The hash as the index knows it: the bits that it keeps, and zeros.
    pub(crate) const fn known(self, hash: KeyHash) -> KeyHash {
        KeyHash::new(hash.get() & (u128::MAX << (u128::BITS - self.hash_bits())))
    }

    /// The highest hash that is known as the same as this one.
    pub(crate) const fn last_alike(self, hash: KeyHash) -> KeyHash {
        KeyHash::new(hash.get() | (u128::MAX >> self.hash_bits()))
    }

    /// Whether a location fits into an entry.
    pub(crate) fn takes(self, at: Location) -> bool {
        let units = |bytes: u32| bytes.trailing_zeros() >= UNIT_BITS || bytes == 0;
        let inside = |bytes: u32| bytes >> self.segment_bits == 0;
        let (offset, len) = (at.offset().get(), at.len().get());
        units(offset)
            && units(len)
            && inside(offset)
            && inside(len)
            && u64::from(at.segment().get()) >> (PLACE_BITS - self.len_bits()) == 0
    }

    /// The entry of a hash that is [`known`](Self::known).
    pub(super) fn entry(self, hash: u128, at: Location) -> [u8; ENTRY_LEN] {
        let mut entry = [0; ENTRY_LEN];
        entry[..HASH_LEN].copy_from_slice(&hash.to_be_bytes()[..HASH_LEN]);
        let more = position(KeyHash::new(hash)) << (HASH_BITS - (u128::BITS - WORD_BITS));
        entry[HASH_LEN..].copy_from_slice(&(more | self.pack(at)).to_be_bytes());
        entry
    }

    fn pack(self, at: Location) -> u64 {
        assert!(self.takes(at), "{at}: no store has such a place");
        let offset = u64::from(at.offset().get() >> UNIT_BITS);
        let place = (u64::from(at.segment().get()) << self.len_bits()) | offset;
        (place << self.len_bits()) | u64::from(at.len().get() >> UNIT_BITS)
    }

    /// The word with another location.
    pub(super) fn repointed(self, word: u64, at: Location) -> u64 {
        (word & !self.location_mask()) | self.pack(at)
    }

    /// The location in the word of an entry.
    pub(super) fn location(self, word: u64) -> Location {
        let low = |bits: u64, count: u32| {
            u32::try_from(bits & ((1 << count) - 1)).expect("fields have at most 32 bits")
        };
        let place = (word & self.location_mask()) >> self.len_bits();
        let segment = low(place >> self.len_bits(), PLACE_BITS - self.len_bits());
        let offset = low(place, self.len_bits()) << UNIT_BITS;
        let len = low(word, self.len_bits()) << UNIT_BITS;
        Location::new(SegmentId::new(segment), SegmentOffset::new(offset), ByteLen::new(len))
    }

    const fn location_mask(self) -> u64 {
        (1 << self.location_bits()) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::geometry::{MAX_SEGMENT_LEN, MIN_SEGMENT_LEN};
    use proptest::prelude::*;

    fn packing(bits: u32) -> Packing {
        Packing::new(Geometry::new(1 << bits, 1).unwrap())
    }

    fn word(entry: [u8; ENTRY_LEN]) -> u64 {
        u64::from_be_bytes(*entry.last_chunk().unwrap())
    }

    #[test]
    fn eighty_seven_bits_of_hash_are_kept_with_segments_of_the_default_length() {
        let bits = |len: u32| Packing::new(Geometry::new(len, 1).unwrap()).hash_bits();
        assert_eq!(bits(MIN_SEGMENT_LEN), 89);
        assert_eq!(bits(256 << 10), 87);
        assert_eq!(bits(MAX_SEGMENT_LEN), 83);
    }

    #[test]
    fn what_does_not_fit_is_not_taken() {
        let at = |segment, offset, len| {
            Location::new(SegmentId::new(segment), SegmentOffset::new(offset), ByteLen::new(len))
        };
        let takes = |segment, offset, len| packing(18).takes(at(segment, offset, len));
        assert!(takes((1 << 27) - 1, (1 << 18) - 8, (1 << 18) - 8));
        assert!(takes(0, 0, 40));
        assert!(!takes(1 << 27, 0, 40));
        assert!(!takes(0, 1 << 18, 40));
        assert!(!takes(0, 0, 1 << 18));
        assert!(!takes(0, 4, 40));
        assert!(!takes(0, 0, 44));
    }

    proptest! {
        #[test]
        fn every_location_of_every_geometry_comes_back(
            bits in 16..=22_u32,
            hash: u128,
            segment: u32,
            (offset, len) in (0..1_u32 << 19, 0..1_u32 << 19),
        ) {
            let packing = packing(bits);
            let most = u32::try_from(MAX_STORE_LEN >> bits).unwrap();
            let inside = |units: u32| (units % (1 << (bits - 3))) * 8;
            let at = Location::new(
                SegmentId::new(segment % most),
                SegmentOffset::new(inside(offset)),
                ByteLen::new(inside(len)),
            );
            prop_assert!(packing.takes(at));
            let known = packing.known(KeyHash::new(hash));
            let entry = packing.entry(known.get(), at);
            prop_assert_eq!(packing.location(word(entry)), at);
            let elsewhere = Location::new(at.segment(), at.offset(), ByteLen::new(40));
            let other = packing.entry(known.get(), elsewhere);
            prop_assert_eq!(packing.repointed(word(other), at), word(entry));
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&entry[..16]);
            prop_assert_eq!(packing.known(KeyHash::new(u128::from_be_bytes(bytes))), known);
        }
    }
}
