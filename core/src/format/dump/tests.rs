//! A dump is read back as it was written, or not believed at all.

use super::*;
use crate::format::crc;
use crate::format::samples;
use crate::types::{
    BufferNumber, ByteLen, Generation, GroupId, KeyHash, Location, SegmentId, SegmentOffset,
    Sequence, to_u64, to_usize,
};
use proptest::prelude::*;

const STORE: u64 = 0x0102_0304_0506_0708;
const FRAME: usize = to_usize(DUMP_FRAME_LEN);
const HEADER: usize = FRAME - PAYLOAD_LEN;

fn head() -> DumpItem {
    DumpItem::Head(DumpHead {
        next_sequence: Sequence::new(1),
        next_log: BufferNumber::new(2),
        next_rewrite: BufferNumber::new(3),
        next_generation: Generation::new(4),
        mark_ordinal: 5,
        files: 6,
    })
}

fn group(id: u32) -> DumpItem {
    DumpItem::Group(DumpGroup { id: GroupId::new(id), name: format!("group {id}") })
}

fn segment(state: u8, words: [u64; 7], lens: [u32; 4]) -> DumpItem {
    let [generation, live, tombstones, log_end, guard, rewrite_end, born] = words;
    let [records, fronts, padding, tail] = lens.map(ByteLen::new);
    let kind = match tail.get() % 4 {
        0 => DumpKind::Log,
        3 => DumpKind::Large(GroupId::new(records.get() / 2)),
        1 => DumpKind::Group(GroupId::new(records.get() / 2)),
        _ => DumpKind::Shared,
    };
    DumpItem::Segment(DumpSegment {
        segment: SegmentId::new(7),
        state,
        generation: Generation::new(generation),
        live,
        tombstones,
        log_end: BufferNumber::new(log_end),
        guard: Generation::new(guard),
        kind,
        rewrite_end: BufferNumber::new(rewrite_end),
        born: Sequence::new(born),
        records,
        fronts,
        padding,
        tail,
    })
}

fn entry(group: u32, hash: u128, at: u32) -> DumpItem {
    let (segment, offset) = (SegmentId::new(at / 3), SegmentOffset::new(at));
    let location = Location::new(segment, offset, ByteLen::new(at / 5));
    DumpItem::Entry(DumpEntry { group: GroupId::new(group), hash: KeyHash::new(hash), location })
}

/// Items behind the head: runs of one kind, and enough of them to fill frames.
fn items() -> impl Strategy<Value = Vec<DumpItem>> {
    let name = prop_oneof!["\\PC{0,20}", "[a-z]{255}"];
    let group = (0..u32::MAX, name)
        .prop_map(|(id, name)| vec![DumpItem::Group(DumpGroup { id: GroupId::new(id), name })]);
    let segment = (0..=3_u8, any::<([u64; 7], [u32; 4])>())
        .prop_map(|(state, (words, lens))| vec![segment(state, words, lens)]);
    let entries = (0..u32::MAX, any::<u128>(), 1..3000_u32).prop_map(|(group, hash, count)| {
        (0..count).map(|at| entry(group, hash.wrapping_mul(u128::from(at)), at)).collect()
    });
    let pieces = (0..u32::MAX, any::<u128>(), 1..3000_u32).prop_map(|(group, hash, count)| {
        let (group, hash) = (GroupId::new(group), KeyHash::new(hash));
        let piece = |at| DumpItem::Piece(DumpPiece { group, hash, segment: SegmentId::new(at) });
        (0..count).map(piece).collect()
    });
    prop::collection::vec(prop_oneof![group, segment, entries, pieces], 0..8)
        .prop_map(|runs| runs.concat())
}

fn write(dump_id: u64, items: &[DumpItem]) -> Vec<Vec<u8>> {
    let mut writer = DumpWriter::new(STORE, dump_id);
    let all = std::iter::once(&head()).chain(items).cloned().collect::<Vec<_>>();
    let mut frames: Vec<_> = all.iter().filter_map(|item| writer.push(item)).collect();
    frames.extend(writer.finish());
    frames.iter().map(|frame| frame.to_vec()).collect()
}

/// All items, or the reason why the dump as a whole is not believed.
fn read(frames: &[Vec<u8>]) -> Result<Vec<DumpItem>, Option<BadDump>> {
    let mut reader = DumpReader::new(STORE);
    let mut items = Vec::new();
    for frame in frames {
        items.extend(reader.read(frame).map_err(Some)?);
    }
    if reader.finished() { Ok(items) } else { Err(None) }
}

/// Changes frame `at` of a dump of head, group, two segments, end, and puts its CRC right again.
fn check(at: usize, what: &str, damage: impl FnOnce(&mut [u8]), expected: BadDump) {
    let mut frames = write(9, &[group(1), segment(1, [0; 7], [0; 4]), segment(2, [0; 7], [0; 4])]);
    damage(&mut frames[at]);
    let crc = crc::of(&[&frames[at][8..]]);
    frames[at][4..8].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(read(&frames), Err(Some(expected)), "{what}");
}

#[test]
fn a_changed_frame_is_refused_for_the_right_reason() {
    use BadDump::{Foreign, Head, Item, Items, Kind, Magic, Ordinal, OtherDump, Reserved};
    check(0, "magic", |raw| raw[..4].fill(0), Magic { found: 0 });
    check(0, "store", |raw| raw[8..16].fill(0), Foreign { found: 0 });
    check(1, "dump", |raw| raw[16] = 8, OtherDump { found: 8, expected: 9 });
    check(1, "ordinal", |raw| raw[24] = 5, Ordinal { found: 5, expected: 1 });
    check(1, "kind", |raw| raw[40] = 7, Kind { found: 7 });
    check(1, "second head", |raw| raw[40] = 1, Head { ordinal: 1 });
    check(0, "no head", |raw| raw[40] = 4, Head { ordinal: 0 });
    check(1, "reserved", |raw| raw[47] = 1, Reserved);
    check(1, "padding", |raw| raw[FRAME - 1] = 1, Reserved);
    check(2, "more items", |raw| raw[32] = 3, Items { count: 3, len: 164 });
    check(2, "less items", |raw| raw[32] = 1, Items { count: 1, len: 164 });
    let nothing = |raw: &mut [u8]| raw[32..40].fill(0);
    check(2, "no items", |raw| (nothing(raw), raw[HEADER..].fill(0)).1, Items { count: 0, len: 0 });
    check(2, "too long", |raw| raw[39] = 1, Items { count: 2, len: 0x0100_00a4 });
    check(1, "name that is no text", |raw| raw[HEADER + 5] = 0xff, Item { index: 0 });
    check(1, "name too long", |raw| raw[HEADER + 4] = 200, Item { index: 0 });
    check(1, "mixed group", |raw| raw[HEADER..HEADER + 4].fill(0xff), Item { index: 0 });
    check(2, "state", |raw| raw[HEADER + 82 + 4] = 4, Item { index: 1 });
    check(2, "kind", |raw| raw[HEADER + 45] = 9, Item { index: 0 });
    let totals = |found, stated| BadDump::Totals { found, stated };
    check(3, "more groups", |raw| raw[HEADER + 8] = 9, totals(4, 12));
    let none = |raw: &mut [u8]| raw[36] = 40;
    check(3, "no pieces, in a field of their own", none, Items { count: 1, len: 40 });
    check(3, "counts for nothing", |raw| raw[32] = 2, Items { count: 2, len: 32 });
}

#[test]
fn two_heads_in_one_frame_are_refused() {
    let twice = |raw: &mut [u8]| {
        (raw[32], raw[36]) = (2, 88);
        raw.copy_within(HEADER..HEADER + 44, HEADER + 44);
    };
    check(0, "two heads", twice, BadDump::Head { ordinal: 0 });
}

#[test]
fn a_missing_frame_a_frame_twice_and_a_frame_of_an_older_dump_are_found_out() {
    let frames = write(9, &[group(1), segment(1, [0; 7], [0; 4])]);
    assert_eq!(frames.len(), 4);
    for missing in 0..3 {
        let mut fewer = frames.clone();
        fewer.remove(missing);
        assert!(matches!(read(&fewer), Err(Some(BadDump::Ordinal { .. }))));
    }
    assert_eq!(read(&frames[..3]), Err(None));
    let mut more = frames.clone();
    more.push(frames[3].clone());
    assert_eq!(read(&more), Err(Some(BadDump::AfterEnd)));
    more.insert(1, frames[0].clone());
    assert_eq!(read(&more), Err(Some(BadDump::Ordinal { found: 0, expected: 1 })));
    let mut older = frames;
    older[2] = write(8, &[group(1), segment(1, [0; 7], [0; 4])]).swap_remove(2);
    assert_eq!(read(&older), Err(Some(BadDump::OtherDump { found: 8, expected: 9 })));
}

#[test]
fn a_run_of_one_kind_fills_its_frames() {
    let entries: Vec<_> = (0..10_000).map(|at| entry(1, u128::from(at), at)).collect();
    let frames = write(9, &entries);
    // One for the head, one for the end.
    assert_eq!(frames.len(), 2 + (entries.len() * 32).div_ceil(PAYLOAD_LEN));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_dump_is_read_back_as_written(dump_id: u64, items in items()) {
        let frames = write(dump_id, &items);
        prop_assert!(frames.iter().all(|frame| frame.len() == FRAME));
        let mut all = read(&frames).unwrap();
        prop_assert_eq!(all.remove(0), head());
        prop_assert_eq!(all, items);
    }

    #[test]
    fn a_dump_with_one_bit_flipped_is_not_believed(
        items in items(),
        bit: prop::sample::Index,
    ) {
        let mut frames = write(9, &items);
        let bit = bit.index(frames.len() * FRAME * 8);
        frames[bit / 8 / FRAME][bit / 8 % FRAME] ^= 1 << (bit % 8);
        prop_assert!(read(&frames).is_err());
    }

    #[test]
    fn a_dump_cut_short_is_not_believed(items in items(), cut: prop::sample::Index) {
        let frames = write(9, &items);
        prop_assert!(read(&frames[..cut.index(frames.len())]).is_err());
        let found = cut.index(FRAME);
        prop_assert_eq!(
            DumpReader::new(STORE).read(&frames[0][..found]),
            Err(BadDump::Length { found })
        );
    }

    #[test]
    fn any_items_under_a_good_crc_give_an_answer(
        kind in 0..8_u8,
        count in prop_oneof![Just(u32::MAX), 0..2000_u32],
        noise in samples::noise(PAYLOAD_LEN),
    ) {
        let mut frame = write(9, &[]).swap_remove(0);
        frame[HEADER..].fill(0);
        frame[HEADER..HEADER + noise.len()].copy_from_slice(&noise);
        frame[32..36].copy_from_slice(&count.to_le_bytes());
        frame[36..40].copy_from_slice(&u32::try_from(noise.len()).unwrap().to_le_bytes());
        frame[24] = u8::from(kind != 1);
        frame[40] = kind;
        let crc = crc::of(&[&frame[8..]]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        let mut reader = DumpReader::new(STORE);
        let mut first = write(9, &[]);
        if kind != 1 {
            reader.read(&first.swap_remove(0)).unwrap();
        }
        if let Ok(items) = reader.read(&frame) {
            prop_assert_eq!(to_u64(items.len()), u64::from(count));
        }
    }

    #[test]
    fn any_bytes_give_an_answer(raw in samples::noise(FRAME + 1)) {
        prop_assert!(DumpReader::new(STORE).read(&raw).is_err());
    }
}
