//! Seals: the last word on a segment that takes no more appends.
//!
//! ```text
//! │ buffer │ buffer │ …                │ header │ entry entry … │ zeros        │
//! └────────┴────────┴──────────────────┴────────┴───────────────┴──────────────┘
//!                                      └ seal_offset              segment_len ┘
//! ```
//!
//! A seal lists every buffer that counts. What it lists is there or was damaged: it cannot be a
//! torn write. What it does not list never counts, whatever lies there.
//!
//! A seal is a buffer whose records are the entries, so its header and its body are checked like
//! those of any other. Its `group` says of which kind the segment's buffers are.
//!
//! 1. Entries rise strictly in offset and in number.
//! 2. Every entry lies on a block boundary, before the seal.

use thiserror::Error;

use crate::format::buffer::{
    BufferHeader, BufferKind, Damage, HEADER_LEN, NotAHeader, summary_entry_len,
};
use crate::format::crc;
use crate::format::geometry::Geometry;
use crate::format::{field, put};
use crate::io::IoBuf;
use crate::types::{
    BLOCK, BufferNumber, ByteLen, Generation, GroupId, SegmentId, SegmentOffset, Sequence, to_u32,
    to_usize,
};

/// [`SealEntry::LEN`], for arithmetic on lengths of the disk.
pub const SEAL_ENTRY_LEN: u32 = 24;

const _: () = assert!(SealEntry::LEN.is_multiple_of(8));

/// One buffer of a sealed segment.
///
/// | at | len | field          | meaning                                                       |
/// |---:|----:|----------------|---------------------------------------------------------------|
/// |  0 |   4 | offset         | where the buffer lies in the segment                          |
/// |  4 |   4 | records        | how many records it has                                       |
/// |  8 |   8 | number         | its number                                                    |
/// | 16 |   8 | first_sequence | as its header says                                            |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealEntry {
    /// Where the buffer lies in the segment.
    pub offset: SegmentOffset,
    /// How many records it has.
    pub records: u32,
    /// Its number.
    pub number: BufferNumber,
    /// The first sequence, as its header says.
    pub first_sequence: Sequence,
}

impl SealEntry {
    /// Bytes on disk.
    pub const LEN: usize = to_usize(SEAL_ENTRY_LEN);

    fn encode(&self) -> [u8; Self::LEN] {
        let mut raw = [0; Self::LEN];
        put::<0, 4, _>(&mut raw, self.offset.get().to_le_bytes());
        put::<4, 4, _>(&mut raw, self.records.to_le_bytes());
        put::<8, 8, _>(&mut raw, self.number.get().to_le_bytes());
        put::<16, 8, _>(&mut raw, self.first_sequence.get().to_le_bytes());
        raw
    }

    fn parse(raw: &[u8; Self::LEN]) -> Self {
        Self {
            offset: SegmentOffset::new(u32::from_le_bytes(field::<0, 4, _>(raw))),
            records: u32::from_le_bytes(field::<4, 4, _>(raw)),
            number: BufferNumber::new(u64::from_le_bytes(field::<8, 8, _>(raw))),
            first_sequence: Sequence::new(u64::from_le_bytes(field::<16, 8, _>(raw))),
        }
    }
}

/// Why these bytes are not the seal of that segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotASeal {
    /// They do not begin with a header.
    #[error("no header")]
    Header(#[from] NotAHeader),
    /// A buffer of another kind.
    #[error("a buffer of kind {found:?}")]
    Kind {
        /// The kind in the header.
        found: BufferKind,
    },
    /// Written for another store, segment or place.
    #[error("written for segment {segment}, offset {offset} of store {store:#018x}")]
    Foreign {
        /// The store that it says.
        store: u64,
        /// The segment that it says.
        segment: SegmentId,
        /// The offset that it says.
        offset: SegmentOffset,
    },
    /// The segment's buffers are of a kind that segments do not have.
    #[error("seal over buffers of kind {found}")]
    Buffers {
        /// The number of the kind.
        found: u32,
    },
    /// More entries than buffers fit before the seal.
    #[error("{found} entries")]
    Count {
        /// How many.
        found: u32,
    },
    /// The entries are not those that the header was written with.
    #[error("damaged entries")]
    Damage(#[from] Damage),
    /// An entry that does not lie on a block boundary before the seal.
    #[error("entry {index} at offset {found}")]
    Offset {
        /// Which entry.
        index: usize,
        /// Its offset.
        found: SegmentOffset,
    },
    /// An entry that does not follow the one before it, in offset or in number.
    #[error("entry {index} does not follow the one before it")]
    Order {
        /// Which entry.
        index: usize,
    },
}

/// What a seal says of its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The segment.
    pub segment: SegmentId,
    /// The generation that was sealed.
    pub generation: Generation,
    /// Of which kind its buffers are: log or rewrite.
    pub kind: BufferKind,
    /// Every log buffer with a lower number was durable or void when this was written.
    pub log_watermark: BufferNumber,
    /// Every rewrite buffer with a lower number was durable or void when this was written.
    pub rewrite_watermark: BufferNumber,
    /// Its buffers, in order.
    pub entries: Vec<SealEntry>,
}

impl Seal {
    /// Whether it breaks none of the laws above, and can be encoded.
    #[must_use]
    pub fn is_lawful(&self, geometry: Geometry) -> bool {
        self.kind.has_records() && check_entries(&self.entries, geometry).is_ok()
    }

    /// Bytes from the start of one of its buffers that hold the header and summary of that: whole
    /// blocks.
    #[must_use]
    pub fn front_len(&self, entry: &SealEntry, geometry: Geometry) -> ByteLen {
        let summary = entry.records.saturating_mul(summary_entry_len(self.kind, GroupId::MIXED));
        let len = summary.saturating_add(HEADER_LEN + BLOCK - 1) / BLOCK * BLOCK;
        ByteLen::new(len.min(geometry.data_len().get().saturating_sub(entry.offset.get())))
    }

    /// The bytes to write at [`Geometry::seal_offset`].
    ///
    /// # Panics
    ///
    /// If the seal breaks one of the laws above.
    #[must_use]
    pub fn encode(&self, store_short: u64, geometry: Geometry) -> IoBuf {
        assert!(self.kind.has_records());
        assert_eq!(check_entries(&self.entries, geometry), Ok(()));
        let body: Vec<u8> = self.entries.iter().flat_map(SealEntry::encode).collect();
        let header = BufferHeader {
            kind: BufferKind::Seal,
            records_crc: crc::of(&[&body]),
            store: store_short,
            segment: self.segment,
            offset: geometry.seal_offset(),
            group: GroupId::new(u32::from(self.kind.code())),
            generation: self.generation,
            log_watermark: self.log_watermark,
            rewrite_watermark: self.rewrite_watermark,
            record_count: to_u32(self.entries.len()),
            records_len: ByteLen::of(&body),
            ..BufferHeader::default()
        };
        assert_eq!(header.check_lengths(), Ok(()));
        let mut seal = IoBuf::zeroed(geometry.seal_len());
        seal[..BufferHeader::LEN].copy_from_slice(&header.encode());
        seal[BufferHeader::LEN..BufferHeader::LEN + body.len()].copy_from_slice(&body);
        seal
    }

    /// The only way from bytes to a seal. `bytes` are those at [`Geometry::seal_offset`] of
    /// `segment`, [`Geometry::seal_len`] of them.
    pub fn parse(
        bytes: &[u8],
        store_short: u64,
        segment: SegmentId,
        geometry: Geometry,
    ) -> Result<Self, NotASeal> {
        let header = BufferHeader::parse(bytes)?;
        if !header.belongs_at(store_short, segment, geometry.seal_offset()) {
            let BufferHeader { store, segment, offset, .. } = header;
            return Err(NotASeal::Foreign { store, segment, offset });
        }
        if header.kind != BufferKind::Seal {
            return Err(NotASeal::Kind { found: header.kind });
        }
        let kind = u8::try_from(header.group.get()).ok().and_then(BufferKind::from_code);
        let kind = kind
            .filter(|kind| kind.has_records())
            .ok_or(NotASeal::Buffers { found: header.group.get() })?;
        if header.record_count > geometry.max_buffers() {
            return Err(NotASeal::Count { found: header.record_count });
        }
        header.check_summary(bytes)?;
        header.check_records(bytes)?;
        let (entries, _) = bytes[BufferHeader::LEN..].as_chunks::<{ SealEntry::LEN }>();
        let entries: Vec<SealEntry> =
            entries.iter().take(to_usize(header.record_count)).map(SealEntry::parse).collect();
        check_entries(&entries, geometry)?;
        Ok(Self {
            segment,
            generation: header.generation,
            kind,
            log_watermark: header.log_watermark,
            rewrite_watermark: header.rewrite_watermark,
            entries,
        })
    }
}

/// Both laws. Strictly rising blocks before the seal are never too many.
fn check_entries(entries: &[SealEntry], geometry: Geometry) -> Result<(), NotASeal> {
    let mut before: Option<&SealEntry> = None;
    for (index, entry) in entries.iter().enumerate() {
        let found = entry.offset;
        if !found.get().is_multiple_of(BLOCK) || found >= geometry.seal_offset() {
            return Err(NotASeal::Offset { index, found });
        }
        let follows = |before: &SealEntry| before.offset < found && before.number < entry.number;
        if !before.is_none_or(follows) {
            return Err(NotASeal::Order { index });
        }
        before = Some(entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples;
    use proptest::prelude::*;

    const STORE: u64 = 0x0102_0304_0506_0708;
    const SEGMENT: SegmentId = SegmentId::new(3);

    fn cut() -> Geometry {
        Geometry::new(64 << 10, 16).unwrap()
    }

    fn entry(block: u32, number: u64) -> SealEntry {
        SealEntry {
            offset: SegmentOffset::new(block * BLOCK),
            records: 10,
            number: BufferNumber::new(number),
            first_sequence: Sequence::new(number * 10),
        }
    }

    fn sample(entries: Vec<SealEntry>) -> Seal {
        Seal {
            segment: SEGMENT,
            generation: Generation::new(9),
            kind: BufferKind::Rewrite,
            log_watermark: BufferNumber::new(4),
            rewrite_watermark: BufferNumber::new(5),
            entries,
        }
    }

    fn seal() -> impl Strategy<Value = (Geometry, Seal)> {
        let blocks = prop::collection::btree_set(0..1018_u32, 0..60);
        (samples::geometry(), blocks, any::<[u64; 3]>(), any::<bool>()).prop_map(
            |(geometry, blocks, [generation, log, rewrite], is_log)| {
                let blocks = blocks.into_iter().filter(|&block| block < geometry.max_buffers());
                let entries = (1..).zip(blocks).map(|(number, block)| entry(block, number * 3));
                let seal = Seal {
                    generation: Generation::new(generation),
                    kind: if is_log { BufferKind::Log } else { BufferKind::Rewrite },
                    log_watermark: BufferNumber::new(log),
                    rewrite_watermark: BufferNumber::new(rewrite),
                    ..sample(entries.collect())
                };
                (geometry, seal)
            },
        )
    }

    /// Changes the header and the entries of a good seal, puts the CRCs right, and parses it.
    fn check(what: &str, damage: impl FnOnce(&mut BufferHeader, &mut [u8]), expected: NotASeal) {
        let mut raw = sample(vec![entry(0, 1), entry(2, 4)]).encode(STORE, cut()).to_vec();
        let mut header = BufferHeader::parse(&raw).unwrap();
        damage(&mut header, &mut raw[BufferHeader::LEN..]);
        let end = BufferHeader::LEN + header.records_len.as_usize();
        header.records_crc = crc::of(&[&raw[BufferHeader::LEN..end.min(BufferHeader::LEN + 48)]]);
        raw[..BufferHeader::LEN].copy_from_slice(&header.encode());
        assert_eq!(Seal::parse(&raw, STORE, SEGMENT, cut()), Err(expected), "{what}");
    }

    #[test]
    fn a_seal_that_does_not_fit_is_refused_for_the_right_reason() {
        use NotASeal::{Buffers, Count, Foreign, Kind, Offset, Order};
        let (store, segment, offset) = (STORE, SEGMENT, cut().seal_offset());
        let elsewhere = SegmentId::new(4);
        let foreign = Foreign { store, segment: elsewhere, offset };
        check("segment", |header, _| header.segment = elsewhere, foreign);
        check("store", |header, _| header.store = 1, Foreign { store: 1, segment, offset });
        let void = |header: &mut BufferHeader, _: &mut [u8]| {
            header.kind = BufferKind::Void;
            (header.record_count, header.records_len) = (0, ByteLen::ZERO);
        };
        check("kind", void, Kind { found: BufferKind::Void });
        let over = |found| move |header: &mut BufferHeader, _: &mut [u8]| header.group = found;
        check("over seals", over(GroupId::new(3)), Buffers { found: 3 });
        check("over nothing", over(GroupId::MIXED), Buffers { found: u32::MAX });
        let many = |header: &mut BufferHeader, _: &mut [u8]| {
            (header.record_count, header.records_len) = (16, ByteLen::new(16 * SEAL_ENTRY_LEN));
        };
        check("too many", many, Count { found: 16 });
        let (index, found) = (1, SegmentOffset::new(2 * BLOCK + 1));
        check("in a block", |_, raw| raw[24] = 1, Offset { index, found });
        check("in the seal", |_, raw| raw[25] = 0xf0, Offset { index, found: offset });
        check("same place", |_, raw| raw[25] = 0, Order { index });
        check("same number", |_, raw| raw[32] = 1, Order { index });
    }

    proptest! {
        #[test]
        fn a_seal_is_read_back_as_written((geometry, seal) in seal()) {
            let raw = seal.encode(STORE, geometry);
            prop_assert_eq!(raw.byte_len(), geometry.seal_len());
            prop_assert_eq!(Seal::parse(&raw, STORE, SEGMENT, geometry), Ok(seal));
        }

        #[test]
        fn a_seal_with_one_bit_flipped_is_refused(
            (geometry, seal) in seal(),
            bit: prop::sample::Index,
        ) {
            let mut raw = seal.encode(STORE, geometry);
            let bit = bit.index((BufferHeader::LEN + seal.entries.len() * SealEntry::LEN) * 8);
            raw[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Seal::parse(&raw, STORE, SEGMENT, geometry).is_err());
        }

        #[test]
        fn a_seal_cut_short_is_refused((geometry, seal) in seal(), cut: prop::sample::Index) {
            let raw = seal.encode(STORE, geometry);
            let cut = cut.index(BufferHeader::LEN + seal.entries.len() * SealEntry::LEN);
            prop_assert!(Seal::parse(&raw[..cut], STORE, SEGMENT, geometry).is_err());
        }

        #[test]
        fn any_bytes_give_an_answer(raw in samples::noise(5000)) {
            prop_assert!(Seal::parse(&raw, STORE, SEGMENT, cut()).is_err());
        }
    }
}
