//! The target `decode_small`: everything on the disk but whole buffers.

use logstor_core::format::buffer::{BufferHeader, BufferKind, encode_buffer};
use logstor_core::format::geometry::Geometry;
use logstor_core::format::mark::{Mark, NotAMark};
use logstor_core::format::record::{NewRecord, Record, append, body_crc, stamp};
use logstor_core::format::seal::Seal;
use logstor_core::format::summary::parse_summary;
use logstor_core::format::superblock::Superblock;
use logstor_core::types::{ByteLen, Generation, Location, SegmentId, SegmentOffset};

use crate::{BLOCK_LEN, Verdict, dump, nothing, padded, piece, repair, verdict, word};

/// Where a record is taken to lie.
pub(crate) const SEGMENT: SegmentId = SegmentId::new(5);
pub(crate) const OFFSET: SegmentOffset = SegmentOffset::new(4200);

/// Longer records are not made only to see whether a summary of them can be encoded.
const LONGEST_RECORDS: u32 = 64 << 10;

/// The first byte says what the others are, the second what is done to them; see the head of
/// this crate. Bit 1 of the second: blocks keep their length instead of being filled up.
///
/// # Panics
///
/// If a law of the format is broken: that is what it is for.
#[must_use]
pub fn decode_small(data: &[u8]) -> Verdict {
    let [what, how, data @ ..] = data else { return Verdict::Refused };
    let (is_repaired, is_short) = (how & 1 != 0, how & 2 != 0);
    match what % 9 {
        0 => superblock(data, is_repaired, is_short),
        1 => mark(data, is_repaired, is_short),
        2 => seal(data, is_repaired, is_short),
        3 => summary(data, is_repaired),
        4 => record(data, is_repaired),
        6 => piece::list(data),
        7 => piece::image(data, is_repaired),
        8 => nothing::check(data),
        _ => dump::check(data, is_repaired, is_short),
    }
}

fn superblock(data: &[u8], is_repaired: bool, is_short: bool) -> Verdict {
    let mut block = if is_short { data.to_vec() } else { padded(data, BLOCK_LEN) };
    if is_repaired {
        let len = block.len();
        repair::sign(&mut block, 12, &[&(0..12), &(16..len.max(16))]);
    }
    let parsed = Superblock::parse(&block);
    if let Ok(superblock) = &parsed {
        assert_eq!(superblock.encode()[..], block[..]);
    }
    verdict(&parsed)
}

/// A file of two marks: the first and the second half of the data.
fn mark(data: &[u8], is_repaired: bool, is_short: bool) -> Verdict {
    let (first, second) = data.split_at(data.len() / 2);
    let mut file = padded(first, BLOCK_LEN);
    file.extend(padded(second, BLOCK_LEN));
    if is_repaired {
        for slot in file.chunks_mut(BLOCK_LEN) {
            repair::sign(slot, 4, &[&(8..BLOCK_LEN)]);
        }
    }
    file.truncate(if is_short { data.len() } else { file.len() });

    let store = word(&file, 8);
    let mut best = None;
    for slot in file.chunks(BLOCK_LEN) {
        if let Ok(mark) = Mark::parse(slot, store) {
            assert_eq!(mark.encode(store)[..], slot[..]);
            assert_eq!(Mark::parse(slot, !store), Err(NotAMark::Foreign { found: store }));
            best = best.max(Some(mark.ordinal));
        }
    }
    let newest = Mark::newest(&file, store);
    assert_eq!(newest.as_ref().ok().map(|mark| mark.ordinal), best);
    verdict(&newest)
}

/// The first byte says how long the segment is.
fn seal(data: &[u8], is_repaired: bool, is_short: bool) -> Verdict {
    let Some((bits, data)) = data.split_first() else { return Verdict::Refused };
    let geometry = Geometry::new(1 << (16 + bits % 7), 64).expect("64 KiB to 4 MiB");
    let len = geometry.seal_len().as_usize();
    let mut bytes = if is_short { data.to_vec() } else { padded(data, len) };
    if is_repaired {
        repair::buffer(&mut bytes);
    }
    let store = word(&bytes, 24);
    let segment = bytes.get(20..).and_then(|rest| rest.first_chunk());
    let segment = SegmentId::new(segment.map_or(0, |raw| u32::from_le_bytes(*raw)));
    let parsed = Seal::parse(&bytes, store, segment, geometry);
    if let Ok(seal) = &parsed {
        assert_eq!(Seal::parse(&bytes, !store, segment, geometry).ok(), None);
        let again = seal.encode(store, geometry);
        assert_eq!(Seal::parse(&again, store, segment, geometry).as_ref(), Ok(seal));
    }
    verdict(&parsed)
}

/// A header, and behind it a summary of which no CRC is looked at.
fn summary(data: &[u8], is_repaired: bool) -> Verdict {
    let mut data = data.to_vec();
    if is_repaired {
        repair::header(&mut data);
    }
    let Ok(header) = BufferHeader::parse(&data) else { return Verdict::Refused };
    let parsed = parse_summary(&header, &data[BufferHeader::LEN..]);
    if let Ok(entries) = &parsed {
        assert_eq!(u32::try_from(entries.len()), Ok(header.record_count));
        if header.records_len.get() <= LONGEST_RECORDS {
            // A summary knows nothing of what the records say.
            let records = vec![0; header.records_len.as_usize()];
            let buffer = encode_buffer(header.clone(), entries, &records);
            let again = BufferHeader::parse(&buffer).expect("what was encoded decodes");
            assert_eq!(again.front_len(), header.front_len());
            let is_log = header.kind == BufferKind::Log;
            assert!(!is_log || again.first_sequence == header.first_sequence);
            let again = parse_summary(&again, &buffer[BufferHeader::LEN..]);
            assert_eq!(again.as_ref(), Ok(entries));
        }
    }
    verdict(&parsed)
}

/// Where the record is taken to lie, as long as it says that it is.
fn place(raw: &[u8]) -> Location {
    let len = repair::declared_len(raw).unwrap_or(ByteLen::ZERO);
    Location::new(SEGMENT, OFFSET, len)
}

fn record(data: &[u8], is_repaired: bool) -> Verdict {
    let mut data = data.to_vec();
    if is_repaired {
        repair::records(&mut data, SEGMENT, OFFSET);
    }
    let at = place(&data);
    let parsed = Record::parse(&data, at);
    if let Ok(record) = &parsed {
        let len = record.record_len().as_usize();
        assert_eq!(&data[record.value_range()], record.value);
        let mut again = Vec::new();
        let new = NewRecord {
            sequence: record.sequence,
            group: record.group,
            kind: record.kind,
            key: record.key,
            value: record.value,
            body_crc: body_crc(record.key, record.value),
        };
        append(&mut again, &new);
        let generation = Generation::new(record.generation_low.into());
        stamp(&mut again, SEGMENT, generation, OFFSET);
        assert_eq!(again, data[..len]);

        let moved = SegmentOffset::new(OFFSET.get() + 8);
        let elsewhere = Location::new(SEGMENT, moved, at.len());
        assert!(
            Record::parse(&again, elsewhere).is_err(),
            "a record lies where it was stamped for"
        );
        stamp(&mut again, SEGMENT, generation, moved);
        let copy = Record::parse(&again, elsewhere).expect("a copy is a record of its place");
        assert_eq!(&copy, record, "a copy says what its original says");
    }
    verdict(&parsed)
}
