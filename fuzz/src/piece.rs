//! Pieces of large values and their lists, for the target `decode_small`.

use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::format::crc;
use logstor_core::format::geometry::Geometry;
use logstor_core::format::pieces::{
    NotThePiece, PieceEntry, PieceId, PieceList, piece_image, piece_range, pieces_of, sign_piece,
};

use crate::{Verdict, repair, verdict};

/// No list is made that is longer, only to name the piece that was drawn.
const MOST_PIECES: u64 = 8;

/// The first byte says how long the segments are. A list lies within a record: it has no CRC.
pub(crate) fn list(data: &[u8]) -> Verdict {
    let Some((bits, data)) = data.split_first() else { return Verdict::Refused };
    let geometry = geometry(*bits);
    let parsed = PieceList::parse(data, geometry);
    if let Ok(list) = &parsed {
        assert_eq!(list.encode(), data);
        let count = u32::try_from(list.entries().len()).expect("each takes twelve bytes");
        assert_eq!(u64::from(count), pieces_of(list.total_len(), geometry));
        let lens = (0..count).map(|index| u64::from(list.len_of(index, geometry).get()));
        assert_eq!(lens.sum::<u64>(), list.total_len(), "the pieces are the value");
        assert!((0..count).all(|index| list.read_len(index, geometry) <= geometry.data_len()));
        let again = PieceList::new(list.total_len(), list.entries().to_vec(), geometry);
        assert_eq!(&again, list);
    }
    verdict(&parsed)
}

/// What was read of a segment, held against a list that names the piece that it says it is. The
/// first byte says how long the segments are.
pub(crate) fn image(data: &[u8], is_repaired: bool) -> Verdict {
    let Some((bits, data)) = data.split_first() else { return Verdict::Refused };
    let geometry = geometry(*bits);
    let mut bytes = data.to_vec();
    if is_repaired {
        piece(&mut bytes);
    }
    let Ok(header) = BufferHeader::parse(&bytes) else { return Verdict::Refused };
    let (len, index) = (header.records_len, header.number.get());
    let fits = (1..=geometry.piece_len().get()).contains(&len.get());
    if header.kind != BufferKind::Piece || !fits || index >= MOST_PIECES {
        return Verdict::Refused;
    }
    let entry = PieceEntry {
        segment: header.segment,
        generation_low: header.generation.low(),
        crc: header.records_crc,
    };
    let (count, total_len) =
        (index + 1, index * u64::from(geometry.piece_len().get()) + u64::from(len.get()));
    let entries = (0..count).map(|_| entry).collect();
    let list = PieceList::new(total_len, entries, geometry);
    let index = u32::try_from(index).expect("it is one of few");
    assert!(list.names(index, &header, geometry), "the list was made for it");
    assert!(!list.names(index + 1, &header, geometry), "there is no further piece");

    let whose = (header.store, header.group);
    let checked = list.check(index, whose, &bytes, geometry);
    let other = list.check(index, (!header.store, header.group), &bytes, geometry);
    assert!(matches!(other, Err(NotThePiece::Other { .. })), "of another store: {other:?}");
    if checked.is_ok() {
        let mut again = piece_image(len);
        let range = piece_range(len);
        again[range.clone()].copy_from_slice(&bytes[range.clone()]);
        let (store, group) = whose;
        let (segment, generation) = (header.segment, header.generation);
        let id = PieceId { store, segment, generation, group, index };
        assert_eq!(sign_piece(&mut again, len, id), header.records_crc);
        assert!(list.check(index, whose, &again, geometry).is_ok());
        assert_eq!(again[range.clone()], bytes[range.clone()]);
        again[range.end - 1] ^= 1;
        let flipped = list.check(index, whose, &again, geometry);
        assert!(matches!(flipped, Err(NotThePiece::Crc { .. })), "a flipped bit: {flipped:?}");
    }
    verdict(&checked)
}

/// Both CRCs of a piece.
fn piece(bytes: &mut [u8]) {
    repair::header(bytes);
    let Ok(mut header) = BufferHeader::parse(bytes) else { return };
    if let Some(piece) = bytes.get(piece_range(header.records_len)) {
        header.records_crc = crc::of(&[piece]);
        bytes[..BufferHeader::LEN].copy_from_slice(&header.encode());
    }
}

fn geometry(bits: u8) -> Geometry {
    Geometry::new(1 << (16 + bits % 7), 64).expect("64 KiB to 4 MiB")
}
