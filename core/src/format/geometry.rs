//! How a store is cut into files, segments and blocks: fixed at creation, all of it arithmetic.
//!
//! ```text
//! file 0                        file 1
//! ┌─────────┬─────────┬──┬────┐ ┌─────────┬──
//! │segment 0│segment 1│..│n-1 │ │segment n│ ..       n = segments_per_file
//! └─────────┴─────────┴──┴────┘ └─────────┴──
//!   │
//!   └─ buffers: data_len │ seal: seal_len             data_len + seal_len = segment_len
//! ```
//!
//! 1. Everything here is a whole number of blocks.
//! 2. The room of the seal suffices for as many buffers as can lie before it.

use thiserror::Error;

use crate::format::buffer::HEADER_LEN;
use crate::format::pieces::{PieceEntry, PieceList};
use crate::format::record;
use crate::format::seal::SEAL_ENTRY_LEN;
use crate::io::FileOffset;
use crate::types::{BLOCK, ByteLen, SegmentId, SegmentOffset, to_u64, to_usize};

/// The smallest segment, in bytes.
pub const MIN_SEGMENT_LEN: u32 = 64 << 10;
/// The largest segment, in bytes.
pub const MAX_SEGMENT_LEN: u32 = 4 << 20;
/// The most segments in one file.
pub const MAX_SEGMENTS_PER_FILE: u32 = 1 << 16;
/// The most bytes in all segments of a store: 32 TiB. An entry of the index has room for no place
/// beyond it.
pub const MAX_STORE_LEN: u64 = 32 << 40;

const _: () = assert!(MIN_SEGMENT_LEN.is_multiple_of(BLOCK));
// A largest record, alone in a buffer, fits into every segment: half of it is plenty.
const _: () = assert!(MIN_SEGMENT_LEN / 2 > MIN_SEGMENT_LEN / 4 + MIN_SEGMENT_LEN / 8 + BLOCK);

/// Why these numbers are no geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadGeometry {
    /// Not a power of two, or too small, or too large.
    #[error(
        "segments of {found} bytes: not a power of two from {MIN_SEGMENT_LEN} to {MAX_SEGMENT_LEN}"
    )]
    SegmentLen {
        /// The length asked for or found.
        found: u32,
    },
    /// None, or too many.
    #[error("{found} segments in a file: not from 1 to {MAX_SEGMENTS_PER_FILE}")]
    SegmentsPerFile {
        /// The number asked for or found.
        found: u32,
    },
}

/// The cut of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    // Invariant: a power of two, `MIN_SEGMENT_LEN..=MAX_SEGMENT_LEN`.
    segment_len: u32,
    // Invariant: `1..=MAX_SEGMENTS_PER_FILE`.
    segments_per_file: u32,
}

impl Geometry {
    /// Segments of this length, this many in a file.
    pub const fn new(segment_len: u32, segments_per_file: u32) -> Result<Self, BadGeometry> {
        let in_range = MIN_SEGMENT_LEN <= segment_len && segment_len <= MAX_SEGMENT_LEN;
        if !in_range || !segment_len.is_power_of_two() {
            return Err(BadGeometry::SegmentLen { found: segment_len });
        }
        if segments_per_file == 0 || segments_per_file > MAX_SEGMENTS_PER_FILE {
            return Err(BadGeometry::SegmentsPerFile { found: segments_per_file });
        }
        Ok(Self { segment_len, segments_per_file })
    }

    /// Bytes in a segment, its seal included.
    #[must_use]
    pub const fn segment_len(self) -> ByteLen {
        ByteLen::new(self.segment_len)
    }

    /// Segments in a file.
    #[must_use]
    pub const fn segments_per_file(self) -> u32 {
        self.segments_per_file
    }

    /// Bytes in a file: every file of the store has this length.
    #[must_use]
    pub fn file_len(self) -> u64 {
        u64::from(self.segment_len) * u64::from(self.segments_per_file)
    }

    /// The most files of a store.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it never does, as the text says")]
    pub fn max_files(self) -> u32 {
        u32::try_from(MAX_STORE_LEN / self.file_len()).expect("a file has 64 KiB or more")
    }

    /// Bytes at the end of every segment that only its seal may use.
    ///
    /// The fewest blocks `s` with `header + (blocks - s) × entry ≤ s × BLOCK`.
    #[must_use]
    pub const fn seal_len(self) -> ByteLen {
        let blocks = self.segment_len / BLOCK;
        let needed = (HEADER_LEN + SEAL_ENTRY_LEN * blocks).div_ceil(BLOCK + SEAL_ENTRY_LEN);
        ByteLen::new(needed * BLOCK)
    }

    /// Bytes of a segment that buffers may use.
    #[must_use]
    pub const fn data_len(self) -> ByteLen {
        ByteLen::new(self.segment_len - self.seal_len().get())
    }

    /// Where the seal begins: right after the last byte that a buffer may use.
    #[must_use]
    pub const fn seal_offset(self) -> SegmentOffset {
        SegmentOffset::new(self.data_len().get())
    }

    /// No segment has more buffers than this: one in every block before the seal.
    #[must_use]
    pub const fn max_buffers(self) -> u32 {
        self.data_len().get() / BLOCK
    }

    /// The longest key, in bytes.
    #[must_use]
    pub fn max_key_len(self) -> usize {
        to_usize((self.segment_len / 8).min(u32::from(u16::MAX)))
    }

    /// The longest value that lies in the log itself, in bytes.
    #[must_use]
    pub const fn max_value_len(self) -> usize {
        to_usize(self.segment_len / 4)
    }

    /// The most bytes of a large value that one segment takes.
    #[must_use]
    pub const fn piece_len(self) -> ByteLen {
        ByteLen::new(self.data_len().get() - HEADER_LEN)
    }

    /// The longest value, in bytes: as many pieces as a record has room to list.
    #[must_use]
    pub fn max_large_value_len(self) -> u64 {
        let pieces = (self.max_value_len() - PieceList::HEADER_LEN) / PieceEntry::LEN;
        to_u64(pieces) * u64::from(self.piece_len().get())
    }

    /// The longest record: header, longest key, longest value, padding.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it never does, as the text says")]
    pub fn max_record_len(self) -> ByteLen {
        record::record_len(self.max_key_len(), self.max_value_len())
            .expect("a key of an eighth and a value of a quarter fit into a segment")
    }

    /// The file that holds a segment, and where in it the segment begins.
    #[must_use]
    pub fn place(self, segment: SegmentId) -> (u32, FileOffset) {
        let file = segment.get() / self.segments_per_file;
        let slot = segment.get() % self.segments_per_file;
        (file, FileOffset::new(u64::from(slot) * u64::from(self.segment_len)))
    }

    /// The segment in a slot of a file, or `None` if the file has no such slot or segments of it
    /// can have no number.
    #[must_use]
    pub fn segment(self, file: u32, slot: u32) -> Option<SegmentId> {
        if slot >= self.segments_per_file {
            return None;
        }
        file.checked_mul(self.segments_per_file)?.checked_add(slot).map(SegmentId::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples;
    use proptest::prelude::*;

    #[test]
    fn a_geometry_out_of_bounds_is_refused_for_the_right_reason() {
        let len = |found| Err(BadGeometry::SegmentLen { found });
        let count = |found| Err(BadGeometry::SegmentsPerFile { found });
        for found in [0, 1, MIN_SEGMENT_LEN / 2, MIN_SEGMENT_LEN + BLOCK, MAX_SEGMENT_LEN * 2] {
            assert_eq!(Geometry::new(found, 1), len(found));
        }
        for found in [0, MAX_SEGMENTS_PER_FILE + 1, u32::MAX] {
            assert_eq!(Geometry::new(MIN_SEGMENT_LEN, found), count(found));
        }
    }

    #[test]
    fn the_seal_costs_one_block_in_a_small_segment_and_six_in_the_largest() {
        let blocks = |len| Geometry::new(len, 1).unwrap().seal_len().get() / BLOCK;
        assert_eq!(blocks(64 << 10), 1);
        assert_eq!(blocks(256 << 10), 1);
        assert_eq!(blocks(4 << 20), 6);
    }

    #[test]
    fn a_gibibyte_is_a_value_of_a_store_with_default_segments() {
        let longest = |len| Geometry::new(len, 1).unwrap().max_large_value_len();
        assert!(longest(256 << 10) >= 1 << 30);
        assert!(longest(64 << 10) >= 64 << 20);
    }

    proptest! {
        #[test]
        fn the_seal_has_room_for_every_buffer_that_fits_before_it(cut in samples::geometry()) {
            let needed = HEADER_LEN + SEAL_ENTRY_LEN * cut.max_buffers();
            prop_assert!(needed <= cut.seal_len().get());
            prop_assert!(cut.seal_len().get().is_multiple_of(BLOCK));
            prop_assert_eq!(cut.data_len().get() + cut.seal_len().get(), cut.segment_len().get());
            prop_assert_eq!(cut.seal_offset().get(), cut.data_len().get());
        }

        #[test]
        fn a_longest_record_fits_into_a_buffer_of_its_own(cut in samples::geometry()) {
            let front = HEADER_LEN + 32;
            prop_assert!(front + cut.max_record_len().get() <= cut.data_len().get());
            prop_assert!(u16::try_from(cut.max_key_len()).is_ok());
        }

        #[test]
        fn a_segment_is_found_again_in_the_slot_where_it_lies(
            cut in samples::geometry(),
            id: u32,
        ) {
            let (file, at) = cut.place(SegmentId::new(id));
            prop_assert!(at.get() + u64::from(cut.segment_len().get()) <= cut.file_len());
            let slot = u32::try_from(at.get() / u64::from(cut.segment_len().get())).unwrap();
            prop_assert_eq!(cut.segment(file, slot), Some(SegmentId::new(id)));
            prop_assert_eq!(cut.segment(file, cut.segments_per_file()), None);
        }
    }

    #[test]
    fn a_file_whose_segments_have_no_numbers_has_no_segments() {
        let cut = Geometry::new(MIN_SEGMENT_LEN, MAX_SEGMENTS_PER_FILE).unwrap();
        assert_eq!(cut.segment(1 << 16, 0), None);
        assert!(cut.segment((1 << 16) - 1, (1 << 16) - 1).is_some());
    }
}
