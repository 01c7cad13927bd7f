//! Blocks that say that nothing is there, for the target `decode_small`.
//!
//! ```text
//! what: 1 │ store: 8 │ segment: 4 │ block: 2 │ generation: 8 │ flipped bit: 2
//! ```

use logstor_core::format::buffer::{
    BufferHeader, BufferKind, NotABuffer, decode_buffer, erased_block, void_block,
};
use logstor_core::format::geometry::MAX_SEGMENT_LEN;
use logstor_core::types::{BLOCK, BufferNumber, Generation, SegmentId, SegmentOffset};

use crate::{BLOCK_LEN, Verdict, word};

/// Void blocks, and those of erased segments: they say what they were made with, and a flipped
/// bit is found.
pub(crate) fn check(data: &[u8]) -> Verdict {
    let Some((what, data)) = data.split_first() else { return Verdict::Refused };
    let store = word(data, 0);
    let segment = low32(word(data, 8));
    let block = low32(word(data, 12)) % (1 << 16);
    let generation = Generation::new(word(data, 14));
    let bit = usize::try_from(word(data, 22) % (1 << 16)).expect("two bytes");
    let segment = SegmentId::new(segment);
    let is_erased = what % 2 == 1;
    let offset = if is_erased { 0 } else { block % (MAX_SEGMENT_LEN / BLOCK) * BLOCK };
    let offset = SegmentOffset::new(offset);
    let bytes = if is_erased {
        erased_block(store, segment, generation)
    } else {
        void_block(store, segment, offset, generation)
    };
    assert_eq!(bytes.len(), BLOCK_LEN);
    let header = BufferHeader::parse(&bytes).expect("what was encoded decodes");
    assert_eq!(header.kind, BufferKind::Void);
    assert!(header.belongs_at(store, segment, offset));
    assert_eq!(header.generation, generation);
    assert_eq!(header.number == BufferNumber::MAX, is_erased);
    assert!(matches!(decode_buffer(&bytes), Err(NotABuffer::Kind { found: BufferKind::Void })));

    let mut flipped = bytes.to_vec();
    let bit = bit % (BufferHeader::LEN * 8);
    flipped[bit / 8] ^= 1 << (bit % 8);
    assert!(BufferHeader::parse(&flipped).is_err(), "a flipped bit is found");
    Verdict::Decoded
}

fn low32(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).expect("the low half")
}
