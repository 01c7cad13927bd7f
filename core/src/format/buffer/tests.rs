//! Buffers survive the way to the disk and back; damage is found, and named.

use super::*;
use crate::format::record::{NotARecord, RecordHeader, stamp};
use crate::format::samples::{self, Sample, Whole};
use crate::format::summary::locations;
use crate::io::IoBuf;
use crate::types::{to_u32, to_u64};
use proptest::prelude::*;

fn encode(whole: &Whole) -> IoBuf {
    encode_buffer(whole.header.clone(), &whole.entries, &whole.records)
}

/// A log buffer of group 1 with two records of 40 bytes.
fn small() -> Whole {
    Whole::new(BufferKind::Log, GroupId::new(1), vec![Sample::put(6), Sample::put(0)])
}

/// The buffer with its first record stamped in another way, and the CRC of its records put right.
fn restamped(whole: &Whole, stamp: impl FnOnce(&mut [u8], &BufferHeader)) -> IoBuf {
    let mut raw = encode(whole);
    let mut header = BufferHeader::parse(&raw).unwrap();
    let start = header.records_at().as_usize();
    let records = start..start + header.records_len.as_usize();
    stamp(&mut raw[records.clone()], &header);
    header.records_crc = crc::of(&[&raw[records]]);
    raw[..BufferHeader::LEN].copy_from_slice(&header.encode());
    raw
}

fn header() -> impl Strategy<Value = BufferHeader> {
    let words = any::<(u32, u32, u32, u64, [u64; 4])>();
    (samples::whole(), words, 0..256_u32).prop_map(
        |(whole, (summary_crc, records_crc, segment, store, counters), block)| {
            let [generation, number, log, rewrite] = counters;
            BufferHeader {
                summary_crc,
                records_crc,
                store,
                segment: SegmentId::new(segment),
                offset: SegmentOffset::new(block * BLOCK),
                generation: Generation::new(generation),
                number: BufferNumber::new(number),
                log_watermark: BufferNumber::new(log),
                rewrite_watermark: BufferNumber::new(rewrite),
                ..BufferHeader::parse(&encode(&whole)).unwrap()
            }
        },
    )
}

/// Changes the bytes of a good header, without putting its CRC right.
fn check_bytes(what: &str, damage: impl FnOnce(&mut [u8]), expected: NotAHeader) {
    let mut raw = encode(&small()).to_vec();
    damage(&mut raw);
    assert_eq!(BufferHeader::parse(&raw), Err(expected), "{what}");
}

/// Changes the bytes of a good header and puts its CRC right again.
fn check_signed(what: &str, damage: impl FnOnce(&mut [u8]), expected: NotAHeader) {
    let signed = |raw: &mut [u8]| {
        damage(raw);
        let crc = crc::of(&[&raw[8..BufferHeader::LEN]]);
        raw[4..8].copy_from_slice(&crc.to_le_bytes());
    };
    check_bytes(what, signed, expected);
}

/// Changes the fields of a good header.
fn check_fields(what: &str, damage: impl FnOnce(&mut BufferHeader), expected: NotAHeader) {
    let mut header = BufferHeader::parse(&encode(&small())).unwrap();
    damage(&mut header);
    assert_eq!(BufferHeader::parse(&header.encode()), Err(expected), "{what}");
}

#[test]
fn a_damaged_header_is_refused_for_the_right_reason() {
    check_bytes("erased", |raw| raw.fill(0), NotAHeader::Zero);
    check_bytes(
        "erased, one bit",
        |raw| (raw.fill(0), raw[95] = 1).1,
        NotAHeader::Magic { found: 0 },
    );
    check_bytes("magic", |raw| raw[..4].fill(1), NotAHeader::Magic { found: 0x0101_0101 });
    let raw = encode(&small());
    let stored = u32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]);
    let flipped = NotAHeader::Crc { stored: stored ^ 1, computed: stored };
    check_bytes("crc", |raw| raw[4] ^= 1, flipped);
    check_signed("version", |raw| raw[8] = 2, NotAHeader::Version { found: 2 });
    check_signed("kind", |raw| raw[9] = 6, NotAHeader::Kind { found: 6 });
    check_signed("reserved", |raw| raw[11] = 1, NotAHeader::Reserved);
    check_signed("reserved at the end", |raw| raw[92] = 1, NotAHeader::Reserved);
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    let lengths = |record_count, summary_len, records_len| NotAHeader::Lengths {
        record_count,
        summary_len: ByteLen::new(summary_len),
        records_len: ByteLen::new(records_len),
    };
    check_fields("count", |header| header.record_count = 3, lengths(3, 40, 80));
    check_fields("no records", |header| header.record_count = 0, lengths(0, 40, 80));
    check_fields("overflow", |header| header.record_count = u32::MAX, lengths(u32::MAX, 40, 80));
    check_fields("summary", |header| header.summary_len = ByteLen::new(48), lengths(2, 48, 80));
    check_fields("group", |header| header.group = GroupId::MIXED, lengths(2, 40, 80));
    check_fields("short", |header| header.records_len = ByteLen::new(56), lengths(2, 40, 56));
    check_fields("uneven", |header| header.records_len = ByteLen::new(81), lengths(2, 40, 81));
    check_fields("void", |header| header.kind = BufferKind::Void, lengths(2, 40, 80));
    check_fields("seal", |header| header.kind = BufferKind::Seal, lengths(2, 40, 80));
    let seal = |header: &mut BufferHeader| {
        (header.kind, header.summary_len) = (BufferKind::Seal, ByteLen::ZERO);
    };
    check_fields("seal without summary", seal, lengths(2, 0, 80));
    let piece = |count, len| {
        move |header: &mut BufferHeader| {
            (header.kind, header.offset) = (BufferKind::Piece, SegmentOffset::ZERO);
            (header.record_count, header.summary_len) = (count, ByteLen::ZERO);
            header.records_len = ByteLen::new(len);
        }
    };
    check_fields("piece with records", piece(1, 80), lengths(1, 0, 80));
    check_fields("empty piece", piece(0, 0), lengths(0, 0, 0));
    let behind = |header: &mut BufferHeader| {
        piece(0, 81)(header);
        header.offset = SegmentOffset::new(8192);
    };
    let (offset, len) = (SegmentOffset::new(8192), ByteLen::new(4096));
    check_fields("piece behind something", behind, NotAHeader::Place { offset, len });
}

#[test]
fn a_buffer_that_lies_nowhere_is_refused() {
    let place = |offset, len| NotAHeader::Place {
        offset: SegmentOffset::new(offset),
        len: ByteLen::new(len),
    };
    let moved = |at| move |header: &mut BufferHeader| header.offset = SegmentOffset::new(at);
    check_fields("not on a block", moved(4100), place(4100, BLOCK));
    check_fields("past the end", moved(MAX_SEGMENT_LEN), place(MAX_SEGMENT_LEN, BLOCK));
    check_fields("far away", moved(u32::MAX - 4095), place(u32::MAX - 4095, BLOCK));
    let longer = |header: &mut BufferHeader| header.records_len = ByteLen::new(u32::MAX - 7);
    check_fields("too long", longer, place(8192, u32::MAX));
}

#[test]
fn a_damaged_part_is_named_and_the_other_still_counts() {
    let mut raw = encode(&small()).to_vec();
    let header = BufferHeader::parse(&raw).unwrap();
    let summary = BufferHeader::LEN + 5;
    raw[summary] ^= 1;
    assert!(matches!(header.check_summary(&raw), Err(Damage::Summary { .. })));
    assert_eq!(header.check_records(&raw), Ok(()));
    raw[summary] ^= 1;
    raw[header.records_at().as_usize()] ^= 1;
    assert_eq!(header.check_summary(&raw), Ok(()));
    assert!(matches!(header.check_records(&raw), Err(Damage::Records { .. })));
    let needed = ByteLen::new(header.records_at().get() + 80);
    let found = needed.as_usize() - 1;
    assert_eq!(header.check_records(&raw[..found]), Err(Damage::Short { needed, found }));
}

#[test]
fn a_record_that_its_summary_does_not_describe_is_refused() {
    // Each changes one field of the second record; header, summary and all CRCs stay good.
    let reference = small();
    let check = |sample: &Sample| {
        let mut whole = reference.clone();
        whole.records.truncate(40);
        whole.records.extend(sample.encode());
        whole.entries[1].len = ByteLen::of(&whole.records[40..]);
        let raw = encode(&whole);
        decode_buffer(&raw).map(|decoded| decoded.records.len())
    };
    let other = Err(NotABuffer::Disagreement { index: 1 });
    assert_eq!(check(&Sample::put(4)), Ok(2));
    assert_eq!(check(&Sample::put(5)), other);
    assert_eq!(check(&Sample { group: GroupId::new(2), ..Sample::put(4) }), other);
    let delete = crate::format::record::RecordKind::Delete;
    let deleted = Sample { kind: delete, value: Vec::new(), ..Sample::put(4) };
    assert_eq!(check(&deleted), other);
    let other_life = restamped(&reference, |record, header| {
        let at = SegmentOffset::new(header.offset.get() + header.records_at().get());
        stamp(record, header.segment, Generation::new(8), at);
    });
    assert_eq!(decode_buffer(&other_life), Err(NotABuffer::Disagreement { index: 0 }));
    let elsewhere = restamped(&reference, |record, header| {
        stamp(record, header.segment, header.generation, header.offset);
    });
    let refused = decode_buffer(&elsewhere);
    assert!(matches!(
        refused,
        Err(NotABuffer::Record { index: 0, reason: NotARecord::HeaderCrc { .. } })
    ));
    let mut whole = reference.clone();
    (whole.entries[0].len, whole.entries[1].len) = (ByteLen::new(48), ByteLen::new(32));
    let raw = encode(&whole);
    let (expected, found) = (ByteLen::new(48), ByteLen::new(40));
    let reason = NotARecord::OtherLength { expected, found };
    assert_eq!(decode_buffer(&raw), Err(NotABuffer::Record { index: 0, reason }));
    let mut whole = reference.clone();
    whole.records[RecordHeader::LEN] ^= 1;
    let raw = encode(&whole);
    assert!(matches!(decode_buffer(&raw), Err(NotABuffer::Record { index: 0, .. })));
}

#[test]
fn a_void_block_is_a_header_and_nothing_else() {
    let (segment, offset) = (SegmentId::new(3), SegmentOffset::new(8192));
    let block = void_block(77, segment, offset, Generation::new(5));
    let header = BufferHeader::parse(&block).unwrap();
    assert_eq!(block.byte_len(), ByteLen::new(BLOCK));
    assert_eq!(header.total_len(), ByteLen::new(BLOCK));
    assert_eq!(header.kind, BufferKind::Void);
    assert_eq!(header.generation, Generation::new(5));
    assert_eq!((header.check_summary(&block), header.check_records(&block)), (Ok(()), Ok(())));
    assert!(header.belongs_at(77, segment, offset));
    assert!(!header.belongs_at(78, segment, offset));
    assert!(!header.belongs_at(77, SegmentId::new(4), offset));
    assert!(!header.belongs_at(77, segment, SegmentOffset::new(4096)));
    assert_eq!(decode_buffer(&block), Err(NotABuffer::Kind { found: BufferKind::Void }));
}

#[test]
fn lengths_past_all_numbers_have_no_encoded_length() {
    assert_eq!(encoded_len(BufferKind::Log, 0, 0, false), Some(96));
    assert_eq!(encoded_len(BufferKind::Log, 1, 40, false), Some(96 + 24 + 40));
    assert_eq!(encoded_len(BufferKind::Log, 1, 40, true), Some(96 + 24 + 40));
    assert_eq!(encoded_len(BufferKind::Log, 3, 120, true), Some(96 + 72 + 120));
    assert_eq!(encoded_len(BufferKind::Log, usize::MAX, 0, false), None);
    assert_eq!(encoded_len(BufferKind::Log, 178_956_967, 0, true), None);
    assert_eq!(encoded_len(BufferKind::Log, 1, u32::MAX, false), None);
}

proptest! {
    #[test]
    fn a_header_is_read_back_as_written(header in header()) {
        prop_assert_eq!(BufferHeader::parse(&header.encode()), Ok(header));
    }

    #[test]
    fn a_header_with_one_bit_flipped_is_refused(
        header in header(),
        bit in 0..BufferHeader::LEN * 8,
    ) {
        let mut raw = header.encode();
        raw[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(BufferHeader::parse(&raw).is_err());
    }

    #[test]
    fn a_header_cut_short_is_refused(header in header(), found in 0..BufferHeader::LEN) {
        let raw = header.encode();
        prop_assert_eq!(BufferHeader::parse(&raw[..found]), Err(NotAHeader::Length { found }));
    }

    #[test]
    fn a_buffer_is_read_back_as_written(whole in samples::whole()) {
        let raw = encode(&whole);
        let decoded = decode_buffer(&raw).unwrap();
        prop_assert_eq!(&decoded.entries, &whole.entries);
        let at = decoded.header.records_at().as_usize();
        let mut stamped = whole.records.clone();
        let mut rest = &mut stamped[..];
        for place in locations(&decoded.header, &whole.entries) {
            stamp(rest, place.segment(), decoded.header.generation, place.offset());
            rest = &mut rest[place.len().as_usize()..];
        }
        prop_assert_eq!(&raw[at..at + stamped.len()], &stamped);
        prop_assert_eq!(decoded.header.total_len(), raw.byte_len());
        prop_assert_eq!(raw.len() % to_usize(BLOCK), 0);
        let first = whole.entries.iter().map(|entry| entry.sequence).min();
        prop_assert_eq!(decoded.header.first_sequence, first.unwrap_or(Sequence::ZERO));
        let as_written = encode_buffer(decoded.header, &decoded.entries, &whole.records);
        prop_assert_eq!(&*as_written, &*raw);
    }

    #[test]
    fn the_encoded_length_is_where_the_records_of_a_log_buffer_end(
        whole in samples::whole_of(Just(BufferKind::Log), 0..8),
    ) {
        let header = BufferHeader::parse(&encode(&whole)).unwrap();
        let end = header.records_at().get() + header.records_len.get();
        let (entries, records) = (whole.entries.len(), to_u32(whole.records.len()));
        let len = encoded_len(header.kind, entries, records, header.is_mixed());
        prop_assert_eq!(len, Some(end));
        let start = records_offset(header.kind, entries, header.is_mixed());
        prop_assert_eq!(start, header.records_at());
    }

    #[test]
    fn a_buffer_with_one_bit_flipped_is_refused(
        whole in samples::whole(),
        bit: prop::sample::Index,
    ) {
        let mut raw = encode(&whole);
        let header = BufferHeader::parse(&raw).unwrap();
        let end = header.records_at().as_usize() + whole.records.len();
        let bit = bit.index(end * 8);
        raw[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode_buffer(&raw).is_err());
    }

    #[test]
    fn a_buffer_torn_at_a_sector_is_refused_but_its_header_stays_known(
        // Enough records to reach into the second sector.
        whole in samples::whole_of(Just(BufferKind::Log), 13..20),
        sector: prop::sample::Index,
    ) {
        let mut raw = encode(&whole);
        let header = BufferHeader::parse(&raw).unwrap();
        let end = header.records_at().as_usize() + whole.records.len();
        // One sector did not land: whatever lies there, it is not what was to be there.
        let at = 512 + sector.index((end - 512).div_ceil(512)) * 512;
        for byte in &mut raw[at..at + 512] {
            *byte = !*byte;
        }
        prop_assert_eq!(BufferHeader::parse(&raw), Ok(header));
        prop_assert!(matches!(decode_buffer(&raw), Err(NotABuffer::Damage(_))));
    }

    #[test]
    fn any_bytes_behind_a_good_header_give_an_answer(
        mut header in header(),
        noise in samples::noise(600),
        // Bodies that check, so that what is behind the CRCs meets the noise too.
        signed: bool,
    ) {
        let start = header.records_at().as_usize();
        let mut raw = header.encode().to_vec();
        raw.extend(&noise);
        raw.resize(raw.len().max(start + header.records_len.as_usize()), 0);
        if signed {
            header.summary_crc = crc::of(&[&raw[BufferHeader::LEN..start]]);
            let records = &raw[start..start + header.records_len.as_usize()];
            header.records_crc = crc::of(&[records]);
            raw[..BufferHeader::LEN].copy_from_slice(&header.encode());
        }
        if let Ok(decoded) = decode_buffer(&raw) {
            prop_assert_eq!(to_u64(decoded.records.len()), u64::from(header.record_count));
        }
    }

    #[test]
    fn any_bytes_give_an_answer(raw in samples::noise(5000)) {
        prop_assert!(decode_buffer(&raw).is_err());
    }
}
