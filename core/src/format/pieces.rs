//! Piece lists: what the record of a large value holds in place of the value.
//!
//! ```text
//!  segment 40               segment 17               segment 41
//! ┌────────┬─────────────┐ ┌────────┬─────────────┐ ┌────────┬──────┬──────┐
//! │ header │ piece 0     │ │ header │ piece 1     │ │ header │ 2    │ zeros│
//! └────────┴─────────────┘ └────────┴─────────────┘ └────────┴──────┴──────┘
//!      ^                        ^                        ^
//!      └────────────┬───────────┴────────────────────────┘
//!   record:  key │ total_len, count │ entry 0 │ entry 1 │ entry 2
//! ```
//!
//! 1. A piece lies alone in its segment, behind a buffer header of kind piece; all pieces but the
//!    last are as long as a segment allows. So the list need not say how long each of them is.
//! 2. The list says of each piece in which life of which segment it lies, and what its CRC is: a
//!    piece that is lost, stale or of another value is found out.
//! 3. The list lies within a record, whose CRC covers it.
//!
//! Absent on purpose: any check against the segments themselves. That takes the device.

use thiserror::Error;

use crate::format::buffer::{BufferHeader, BufferKind};
use crate::format::crc;
use crate::format::geometry::Geometry;
use crate::format::{field, put};
use crate::io::IoBuf;
use crate::types::{
    BufferNumber, ByteLen, Generation, GroupId, SegmentId, to_u32, to_u64, to_usize,
};

/// Why these bytes are no list of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAPieceList {
    /// Not as many bytes as the list says that it has entries.
    #[error("{found} bytes of a list of {count} pieces")]
    Length {
        /// Pieces, as the list says; zero if not even that is there.
        count: u32,
        /// Bytes given.
        found: usize,
    },
    /// Something lies where this format has only zeros.
    #[error("unused bytes are not zero")]
    Reserved,
    /// A value of this length has another number of pieces.
    #[error("{count} pieces of a value of {total_len} bytes")]
    Count {
        /// Pieces, as the list says.
        count: u32,
        /// Bytes of the value, as the list says.
        total_len: u64,
    },
}

/// One piece of a large value.
///
/// | at | len | field          | meaning                                          |
/// |---:|----:|----------------|--------------------------------------------------|
/// |  0 |   4 | segment        | the segment that it lies in                      |
/// |  4 |   4 | generation_low | low half of the generation of that segment       |
/// |  8 |   4 | crc            | CRC-32C of the piece                             |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceEntry {
    /// The segment that it lies in.
    pub segment: SegmentId,
    /// The low half of the generation of that segment.
    pub generation_low: u32,
    /// The CRC of the piece.
    pub crc: u32,
}

impl PieceEntry {
    /// Bytes on disk.
    pub const LEN: usize = 12;

    fn encode(&self) -> [u8; Self::LEN] {
        let mut raw = [0; Self::LEN];
        put::<0, 4, _>(&mut raw, self.segment.get().to_le_bytes());
        put::<4, 4, _>(&mut raw, self.generation_low.to_le_bytes());
        put::<8, 4, _>(&mut raw, self.crc.to_le_bytes());
        raw
    }

    fn parse(raw: &[u8; Self::LEN]) -> Self {
        Self {
            segment: SegmentId::new(u32::from_le_bytes(field::<0, 4, _>(raw))),
            generation_low: u32::from_le_bytes(field::<4, 4, _>(raw)),
            crc: u32::from_le_bytes(field::<8, 4, _>(raw)),
        }
    }
}

/// Where the pieces of a large value lie.
///
/// | at | len        | field     | meaning                      |
/// |---:|-----------:|-----------|------------------------------|
/// |  0 |          8 | total_len | bytes of the value           |
/// |  8 |          4 | count     | pieces                       |
/// | 12 |          4 | reserved  | zero                         |
/// | 16 | 12 × count | entries   | one a piece, in order        |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceList {
    // Invariant: `entries` has as many pieces as a value of this length is cut into.
    total_len: u64,
    entries: Vec<PieceEntry>,
}

/// How many pieces a value is cut into.
#[must_use]
pub fn pieces_of(total_len: u64, geometry: Geometry) -> u64 {
    total_len.div_ceil(geometry.piece_len().get().into())
}

impl PieceList {
    /// Bytes before the entries.
    pub const HEADER_LEN: usize = 16;

    /// The list of a value of `total_len` bytes.
    ///
    /// # Panics
    ///
    /// If such a value has another number of pieces.
    #[must_use]
    pub fn new(total_len: u64, entries: Vec<PieceEntry>, geometry: Geometry) -> Self {
        assert!(total_len > 0, "an empty value is not large");
        assert_eq!(to_u64(entries.len()), pieces_of(total_len, geometry));
        Self { total_len, entries }
    }

    /// Bytes of the value.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        self.total_len
    }

    /// The pieces, in order.
    #[must_use]
    pub fn entries(&self) -> &[PieceEntry] {
        &self.entries
    }

    /// How long the piece at this place of the value is.
    #[must_use]
    pub fn len_of(&self, index: u32, geometry: Geometry) -> ByteLen {
        let full = geometry.piece_len().get();
        let before = u64::from(index) * u64::from(full);
        let rest = u32::try_from(self.total_len.saturating_sub(before)).unwrap_or(u32::MAX);
        ByteLen::new(rest.min(full))
    }

    /// The bytes to write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = [0; Self::HEADER_LEN];
        put::<0, 8, _>(&mut raw, self.total_len.to_le_bytes());
        put::<8, 4, _>(&mut raw, to_u32(self.entries.len()).to_le_bytes());
        let mut out = raw.to_vec();
        self.entries.iter().for_each(|entry| out.extend_from_slice(&entry.encode()));
        out
    }

    /// The only way from bytes to a list: all of them.
    pub fn parse(bytes: &[u8], geometry: Geometry) -> Result<Self, NotAPieceList> {
        let short = NotAPieceList::Length { count: 0, found: bytes.len() };
        let (raw, rest) = bytes.split_first_chunk::<{ Self::HEADER_LEN }>().ok_or(short)?;
        let total_len = u64::from_le_bytes(field::<0, 8, _>(raw));
        let count = u32::from_le_bytes(field::<8, 4, _>(raw));
        if field::<12, 4, _>(raw) != [0; 4] {
            return Err(NotAPieceList::Reserved);
        }
        let (entries, behind) = rest.as_chunks::<{ PieceEntry::LEN }>();
        if entries.len() != to_usize(count) || !behind.is_empty() {
            return Err(NotAPieceList::Length { count, found: bytes.len() });
        }
        if count == 0 || u64::from(count) != pieces_of(total_len, geometry) {
            return Err(NotAPieceList::Count { count, total_len });
        }
        Ok(Self { total_len, entries: entries.iter().map(PieceEntry::parse).collect() })
    }
}

/// Bytes on the device of a piece of `len` bytes: its header before it, and the padding behind.
///
/// # Panics
///
/// If no segment takes such a piece.
#[must_use]
pub fn image_len(len: ByteLen) -> ByteLen {
    let header = BufferHeader { kind: BufferKind::Piece, records_len: len, ..Default::default() };
    assert_eq!(header.check_lengths(), Ok(()));
    header.total_len()
}

/// Memory for a piece of `len` bytes as it goes to the device: all zeros.
///
/// # Panics
///
/// If no segment takes such a piece.
#[must_use]
pub fn piece_image(len: ByteLen) -> IoBuf {
    IoBuf::zeroed(image_len(len))
}

/// Where the piece lies in its image.
#[must_use]
pub fn piece_range(len: ByteLen) -> std::ops::Range<usize> {
    BufferHeader::LEN..BufferHeader::LEN + len.as_usize()
}

/// Whose piece it is, where it lies, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceId {
    /// The short id of the store.
    pub store: u64,
    /// The segment that it lies in.
    pub segment: SegmentId,
    /// The generation of that segment.
    pub generation: Generation,
    /// The group of the key.
    pub group: GroupId,
    /// Its place in the value.
    pub index: u32,
}

/// Puts the header before a piece that lies in its image; returns the CRC of the piece.
///
/// # Panics
///
/// If the image was not made for a piece of `len` bytes.
pub fn sign_piece(image: &mut IoBuf, len: ByteLen, id: PieceId) -> u32 {
    let crc = crc::of(&[&image[piece_range(len)]]);
    let header = BufferHeader {
        kind: BufferKind::Piece,
        records_crc: crc,
        store: id.store,
        segment: id.segment,
        group: id.group,
        generation: id.generation,
        number: BufferNumber::new(id.index.into()),
        records_len: len,
        ..BufferHeader::default()
    };
    assert_eq!(header.check_lengths(), Ok(()));
    assert_eq!(header.total_len(), image.byte_len());
    image[..BufferHeader::LEN].copy_from_slice(&header.encode());
    crc
}

/// Why these bytes are not the piece that a list speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotThePiece {
    /// No header of a buffer.
    #[error("it has no header")]
    Header(#[from] crate::format::buffer::NotAHeader),
    /// A header of something else: another piece, another life of the segment, another place.
    #[error("something else lies there (generation {generation}, number {number})")]
    Other {
        /// The generation that the header says.
        generation: Generation,
        /// The number that the header says.
        number: BufferNumber,
    },
    /// The header is the right one, and the piece does not end here.
    #[error("{found} bytes of at least {needed}")]
    Short {
        /// Bytes up to the end of the piece.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// The header is the right one, and the bytes are not those that were written.
    #[error("crc {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// As the list says.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
}

impl PieceList {
    /// Whether a header is that of the piece at this place of the value.
    #[must_use]
    pub fn names(&self, index: u32, header: &BufferHeader, geometry: Geometry) -> bool {
        self.entries.get(to_usize(index)).is_some_and(|entry| {
            header.kind == BufferKind::Piece
                && header.segment == entry.segment
                && header.generation.low() == entry.generation_low
                && header.number == BufferNumber::new(index.into())
                && header.records_crc == entry.crc
                && header.records_len == self.len_of(index, geometry)
        })
    }

    /// Checks what was read of a segment against the list: all of the piece, header first.
    pub fn check(
        &self,
        index: u32,
        (store, group): (u64, GroupId),
        bytes: &[u8],
        geometry: Geometry,
    ) -> Result<(), NotThePiece> {
        let header = BufferHeader::parse(bytes)?;
        let (generation, number) = (header.generation, header.number);
        let ours = header.store == store && header.group == group;
        if !ours || !self.names(index, &header, geometry) {
            return Err(NotThePiece::Other { generation, number });
        }
        let range = piece_range(header.records_len);
        let (needed, found) = (range.end, bytes.len());
        let piece = bytes.get(range).ok_or(NotThePiece::Short { needed, found })?;
        let (stored, computed) = (header.records_crc, crc::of(&[piece]));
        if stored == computed { Ok(()) } else { Err(NotThePiece::Crc { stored, computed }) }
    }

    /// Bytes to read of a segment for the piece at this place of the value: whole blocks.
    #[must_use]
    pub fn read_len(&self, index: u32, geometry: Geometry) -> ByteLen {
        image_len(self.len_of(index, geometry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples;
    use proptest::prelude::*;

    const STORE: u64 = 77;
    const GROUP: GroupId = GroupId::new(3);

    fn geometry() -> Geometry {
        Geometry::new(64 << 10, 4).unwrap()
    }

    /// A list of two pieces, the second of ten bytes.
    fn list() -> PieceList {
        let entry = |number| PieceEntry {
            segment: SegmentId::new(number),
            generation_low: number + 100,
            crc: number + 7,
        };
        let total_len = u64::from(geometry().piece_len().get()) + 10;
        PieceList::new(total_len, vec![entry(4), entry(9)], geometry())
    }

    fn check(what: &str, damage: impl FnOnce(&mut Vec<u8>), expected: NotAPieceList) {
        let mut raw = list().encode();
        damage(&mut raw);
        assert_eq!(PieceList::parse(&raw, geometry()), Err(expected), "{what}");
    }

    #[test]
    fn a_list_that_is_none_is_refused_for_the_right_reason() {
        use NotAPieceList::{Count, Length, Reserved};
        let total_len = list().total_len();
        check("empty", Vec::clear, Length { count: 0, found: 0 });
        check("cut", |raw| raw.truncate(39), Length { count: 2, found: 39 });
        check("more", |raw| raw.push(0), Length { count: 2, found: 41 });
        check("count", |raw| raw[8] = 3, Length { count: 3, found: 40 });
        check("reserved", |raw| raw[12] = 1, Reserved);
        check("longer", |raw| raw[2] += 1, Count { count: 2, total_len: total_len + (1 << 16) });
        check("no bytes", |raw| raw[..8].fill(0), Count { count: 2, total_len: 0 });
        let none = |raw: &mut Vec<u8>| {
            raw.fill(0);
            raw.truncate(16);
        };
        check("no pieces", none, Count { count: 0, total_len: 0 });
    }

    /// A piece of ten bytes, the second of its value, and the list that names it.
    fn piece() -> (IoBuf, PieceList) {
        let len = ByteLen::new(10);
        let mut image = piece_image(len);
        image[piece_range(len)].copy_from_slice(b"0123456789");
        let (segment, generation) = (SegmentId::new(9), Generation::new(0x5_0000_006d));
        let id = PieceId { store: STORE, segment, generation, group: GROUP, index: 1 };
        let crc = sign_piece(&mut image, len, id);
        let mut list = list();
        list.entries[1].crc = crc;
        (image, list)
    }

    #[test]
    fn a_piece_is_the_one_that_its_list_names_or_none() {
        let (image, list) = piece();
        let check = |index, store, group, bytes: &[u8]| {
            list.check(index, (store, group), bytes, geometry())
        };
        assert_eq!(check(1, STORE, GROUP, &image), Ok(()));
        let other = Err(NotThePiece::Other {
            generation: Generation::new(0x5_0000_006d),
            number: BufferNumber::new(1),
        });
        assert_eq!(check(0, STORE, GROUP, &image), other);
        assert_eq!(check(1, STORE + 1, GROUP, &image), other);
        assert_eq!(check(1, STORE, GroupId::new(4), &image), other);
        assert_eq!(check(2, STORE, GROUP, &image), other);

        let mut torn = IoBuf::copy_of(&image);
        torn[BufferHeader::LEN + 3] ^= 1;
        let found = check(1, STORE, GROUP, &torn);
        assert!(matches!(found, Err(NotThePiece::Crc { .. })), "{found:?}");
        let cut = check(1, STORE, GROUP, &image[..100]);
        assert!(matches!(cut, Err(NotThePiece::Short { .. })), "{cut:?}");
        assert!(matches!(check(1, STORE, GROUP, &[0; 4096]), Err(NotThePiece::Header(_))));
    }

    #[test]
    fn a_piece_of_another_life_or_place_is_another_piece() {
        let (image, list) = piece();
        for change in [
            |entry: &mut PieceEntry| entry.segment = SegmentId::new(8),
            |entry: &mut PieceEntry| entry.generation_low += 1,
            |entry: &mut PieceEntry| entry.crc += 1,
        ] {
            let mut list = list.clone();
            change(&mut list.entries[1]);
            let found = list.check(1, (STORE, GROUP), &image, geometry());
            assert!(matches!(found, Err(NotThePiece::Other { .. })), "{found:?}");
        }
    }

    /// A fuzzer found it: of a piece whose CRC is 0, no byte at all has that CRC too.
    #[test]
    fn a_piece_that_is_cut_is_not_taken_for_whole() {
        let header = BufferHeader {
            kind: BufferKind::Piece,
            store: STORE,
            group: GROUP,
            records_len: ByteLen::new(77),
            ..BufferHeader::default()
        };
        let entry = PieceEntry { segment: header.segment, generation_low: 0, crc: 0 };
        let list = PieceList::new(77, vec![entry], geometry());
        let found = list.check(0, (STORE, GROUP), &header.encode(), geometry());
        let (needed, found_len) = (BufferHeader::LEN + 77, BufferHeader::LEN);
        assert_eq!(found, Err(NotThePiece::Short { needed, found: found_len }));
    }

    proptest! {
        #[test]
        fn a_list_is_read_back_as_written(
            geometry in samples::geometry(),
            count in 1..40_u32,
            rest: u32,
            words: [u32; 3],
        ) {
            let piece = u64::from(geometry.piece_len().get());
            let total_len = u64::from(count - 1) * piece + u64::from(rest) % piece + 1;
            let entry = |at: u32| PieceEntry {
                segment: SegmentId::new(words[0].wrapping_add(at)),
                generation_low: words[1].wrapping_mul(at),
                crc: words[2] ^ at,
            };
            let list = PieceList::new(total_len, (0..count).map(entry).collect(), geometry);
            let raw = list.encode();
            prop_assert_eq!(PieceList::parse(&raw, geometry), Ok(list.clone()));
            let lens = (0..count).map(|at| u64::from(list.len_of(at, geometry).get()));
            prop_assert_eq!(lens.sum::<u64>(), total_len);
            for at in 0..count {
                prop_assert!(list.read_len(at, geometry) <= geometry.data_len());
            }
        }

        #[test]
        fn any_bytes_give_an_answer(geometry in samples::geometry(), noise in samples::noise(80)) {
            if let Ok(list) = PieceList::parse(&noise, geometry) {
                prop_assert_eq!(list.encode(), noise);
            }
        }
    }
}
