//! What a fuzzer starts from: every structure once whole, and then cut, flipped and scrambled.
//!
//! Absent on purpose: chance. The same code makes the same seeds.

use logstor_core::format::buffer::{BufferHeader, BufferKind, void_block};
use logstor_core::format::dump::{
    DumpEntry, DumpGroup, DumpHead, DumpItem, DumpKind, DumpPiece, DumpSegment, DumpWriter,
};
use logstor_core::format::geometry::Geometry;
use logstor_core::format::mark::Mark;
use logstor_core::format::pieces::{
    PieceEntry, PieceId, PieceList, piece_image, piece_range, sign_piece,
};
use logstor_core::format::record::{NewRecord, RecordKind, append, body_crc, stamp};
use logstor_core::format::seal::{Seal, SealEntry};
use logstor_core::format::superblock::{StoreId, Superblock};
use logstor_core::types::{
    BLOCK, BufferNumber, ByteLen, Generation, GroupId, KeyHash, Location, SegmentId, SegmentOffset,
    Sequence,
};

use crate::plan::{Plan, PlannedRecord};
use crate::small;

/// The targets that have seeds.
pub const TARGETS: [&str; 6] =
    ["decode_buffer", "decode_small", "index", "plan_text", "recover", "script"];

const STORE: u64 = 0x0807_0605_0403_0201;

/// An input of a target.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Its file in the corpus.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// The seeds of one of [`TARGETS`]; none of any other target.
#[must_use]
pub fn of(target: &str) -> Vec<Seed> {
    match target {
        "decode_buffer" => buffers(),
        "decode_small" => small(),
        "index" => steps(),
        "plan_text" => texts(),
        "recover" => disks(),
        "script" => scripts(),
        _ => Vec::new(),
    }
}

fn seed(name: &str, head: &[u8], bytes: &[u8]) -> Seed {
    Seed { name: name.to_owned(), bytes: [head, bytes].concat() }
}

/// A structure as it is, cut in the middle, and with a bit flipped that `at` names, once with the
/// CRC that found it and once with CRCs put right. `heads` are what an input begins with to be
/// taken as it is, and to be repaired.
fn with_damage(name: &str, heads: [&[u8]; 2], bytes: &[u8], at: usize) -> Vec<Seed> {
    let [plain, repaired] = heads;
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 1;
    vec![
        seed(&format!("{name}-whole"), plain, bytes),
        seed(&format!("{name}-cut"), plain, &bytes[..bytes.len() / 2]),
        seed(&format!("{name}-flipped"), plain, &flipped),
        seed(&format!("{name}-repaired"), repaired, &flipped),
    ]
}

/// Without the zeros at the end, which a target adds by itself.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &bytes[..len]
}

fn record(number: u8) -> PlannedRecord {
    PlannedRecord {
        hash: u128::from(number) << 64 | 0x55,
        group: u16::from(number),
        sequence: 200 - u64::from(number),
        key: format!("key {number}").into_bytes(),
        value: (!number.is_multiple_of(3)).then(|| vec![number; usize::from(number)]),
    }
}

fn plan(is_rewrite: bool, group: Option<u16>, records: u8) -> Plan {
    Plan {
        is_rewrite,
        group,
        store: STORE,
        segment: 5,
        block: 2,
        generation: 0x1_0000_0007,
        first_sequence: 200,
        number: 11,
        watermarks: [12, 13],
        records: (1..=records).map(record).collect(),
    }
}

fn buffers() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let kinds = [
        ("log", plan(false, Some(1), 3), 80),
        ("log-mixed", plan(false, None, 3), 120),
        ("log-empty", plan(false, Some(1), 0), 84),
        ("rewrite", plan(true, Some(9), 4), 50),
        ("rewrite-mixed", plan(true, None, 4), 88),
        ("rewrite-long", plan(true, None, 24), 300),
    ];
    for (name, plan, at) in kinds {
        let bytes = plan.encode().bytes;
        let header = BufferHeader::parse(&bytes).expect("it was just encoded");
        let end = header.records_at().as_usize() + header.records_len.as_usize();
        seeds.extend(with_damage(name, [&[0], &[1]], &bytes[..end], at));
    }
    let (segment, offset) = (SegmentId::new(5), SegmentOffset::new(BLOCK));
    let void = void_block(STORE, segment, offset, Generation::new(7));
    seeds.push(seed("void", &[0], trimmed(&void)));
    for (number, len) in (1..).zip([40_usize, 200, 400, 800, 1600, 3000]) {
        seeds.push(seed(&format!("plan-{number}"), &[2], &noise(number, len)));
    }
    seeds
}

/// Bytes that look like chance: the counter of `SplitMix64`.
fn noise(number: u64, len: usize) -> Vec<u8> {
    let words = (0_u64..).flat_map(|index| {
        let mut word = index.wrapping_add(number << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()
    });
    words.take(len).collect()
}

fn small() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let geometry = Geometry::new(64 << 10, 64).expect("64 KiB is the shortest segment");
    let superblock = Superblock { store: StoreId::new([7; 16]), geometry, secret: [9; 16] };
    let superblock = superblock.encode();
    seeds.extend(with_damage("superblock", [&[0, 0], &[0, 1]], trimmed(&superblock), 36));
    seeds.push(seed("superblock-long", &[0, 2], &superblock[..100]));
    seeds.extend(with_damage("mark", [&[1, 0], &[1, 1]], &marks(), 30));
    seeds.push(seed("mark-none", &[1, 0], &[]));
    seeds.extend(with_damage("seal", [&[2, 0, 0], &[2, 1, 0]], &a_seal(geometry), 100));
    for (name, plan) in
        [("summary", plan(false, None, 3)), ("summary-rewrite", plan(true, None, 5))]
    {
        let bytes = plan.encode().bytes;
        let header = BufferHeader::parse(&bytes).expect("it was just encoded");
        let front = &bytes[..header.front_len().as_usize()];
        seeds.extend(with_damage(name, [&[3, 0], &[3, 1]], front, 80));
    }
    seeds.extend(with_damage("record", [&[4, 0], &[4, 1]], &a_record(RecordKind::Put), 24));
    seeds.extend(with_damage(
        "record-delete",
        [&[4, 0], &[4, 1]],
        &a_record(RecordKind::Delete),
        30,
    ));
    seeds.extend(with_damage("record-large", [&[4, 0], &[4, 1]], &a_record(RecordKind::Large), 24));
    seeds.extend(with_damage("dump", [&[5, 0], &[5, 1]], &a_dump(), 2 + 40));
    seeds.extend(with_damage("pieces", [&[6, 0, 0], &[6, 1, 0]], &a_piece_list().encode(), 8));
    seeds.extend(with_damage("piece", [&[7, 0, 0], &[7, 1, 0]], &a_piece(), 100));
    for (name, what) in [("nothing-void-whole", 0), ("nothing-erased-whole", 1)] {
        seeds.push(seed(name, &[8, 0, what], &noise(1, 24)));
    }
    seeds
}

/// Both slots, each half as long as all of it.
fn marks() -> Vec<u8> {
    let mark = |ordinal| Mark {
        ordinal,
        log_watermark: BufferNumber::new(ordinal + 1),
        rewrite_watermark: BufferNumber::new(2),
        next_sequence: Sequence::new(1 << 40),
        next_log: BufferNumber::new(1000),
        next_rewrite: BufferNumber::new(2000),
        next_generation: Generation::new(3000),
        files: 3,
        hollow: true,
        open: Vec::new(),
        next: Vec::new(),
    };
    [mark(8), mark(9)].iter().flat_map(|mark| mark.encode(STORE)[..80].to_vec()).collect()
}

fn a_seal(geometry: Geometry) -> Vec<u8> {
    let entry = |number: u32| SealEntry {
        offset: SegmentOffset::new(number * BLOCK),
        records: 3,
        number: BufferNumber::new((number + 40).into()),
        first_sequence: Sequence::new((number * 3 + 100).into()),
    };
    let seal = Seal {
        segment: SegmentId::new(5),
        generation: Generation::new(7),
        kind: BufferKind::Log,
        log_watermark: BufferNumber::new(40),
        rewrite_watermark: BufferNumber::new(2),
        entries: [0, 1, 4, 5].map(entry).into(),
    };
    trimmed(&seal.encode(STORE, geometry)).to_vec()
}

/// A value of two pieces, in segments of 64 KiB.
fn a_piece_list() -> PieceList {
    let geometry = Geometry::new(64 << 10, 64).expect("64 KiB is a segment");
    let entry = |number| PieceEntry {
        segment: SegmentId::new(number),
        generation_low: number + 40,
        crc: 0x0102_0304,
    };
    PieceList::new(100_000, vec![entry(3), entry(9)], geometry)
}

/// Few steps and many; what they are is chance.
fn steps() -> Vec<Seed> {
    let lens = (1..).zip([0_usize, 20, 200, 1000, 3000]);
    lens.map(|(number, len)| seed(&format!("steps-{number}"), &[], &noise(number, len))).collect()
}

/// Plans as they are drawn and edited, and texts that are none. No plan lies here in full: its form
/// changes with what plans can say, and the target draws it anew.
fn texts() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for number in [1, 3, 8, 129, 140] {
        seeds.push(seed(&format!("drawn-{number}-whole"), &[1, number], &[]));
    }
    for (number, len) in (1..).zip([3_usize, 8, 40, 200]) {
        seeds.push(seed(&format!("edited-{number}"), &[1, 4], &noise(number, len)));
    }
    let texts = ["", "plan 1", "plan 2\n", "plan 1\nseed = 7\n[store]\n[disk]\n[mix]\n[else]\n"];
    for (number, text) in (1..).zip(texts) {
        seeds.push(seed(&format!("text-{number}-cut"), &[0], text.as_bytes()));
    }
    seeds
}

/// Every store undamaged, opened twice and cut short; and with damage that is chance.
fn disks() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (store, number) in (0_u8..7).zip(1_u64..) {
        let plain = [store, 0, 0, 0, 0, 0, 0];
        seeds.push(seed(&format!("store-{store}-whole"), &plain, &[]));
        let cut = [store, 0, 1, 2, 20, 9, 0];
        seeds.push(seed(&format!("store-{store}-interrupted"), &cut, &[]));
        for (name, forging) in [("damaged", 0), ("forged", 1)] {
            let head = [store, forging, 0, 2, 0, 0, 0];
            seeds.push(seed(&format!("store-{store}-{name}"), &head, &noise(number, 30)));
        }
    }
    seeds
}

/// Lives of chance, short and long.
fn scripts() -> Vec<Seed> {
    let mut seeds = vec![seed("script-nothing", &[0, 0, 0], &[])];
    for (number, len) in (1..).zip([60_usize, 120, 250, 500, 800, 1200]) {
        let head = [u8::try_from(number).expect("there are few"), 0, 0];
        seeds.push(seed(&format!("script-{number}"), &head, &noise(number + 10, len)));
    }
    seeds
}

/// The second piece of a value.
fn a_piece() -> Vec<u8> {
    let len = ByteLen::new(77);
    let mut image = piece_image(len);
    image[piece_range(len)].copy_from_slice(&noise(2, 77));
    let id = PieceId {
        store: STORE,
        segment: SegmentId::new(5),
        generation: Generation::new(7),
        group: GroupId::new(1),
        index: 1,
    };
    let _ = sign_piece(&mut image, len, id);
    image[..piece_range(len).end].to_vec()
}

fn a_record(kind: RecordKind) -> Vec<u8> {
    let list = a_piece_list().encode();
    let value: &[u8] = match kind {
        RecordKind::Put => b"hello",
        RecordKind::Delete => b"",
        RecordKind::Large => &list,
    };
    let mut raw = Vec::new();
    let record = NewRecord {
        sequence: Sequence::new(7),
        group: GroupId::new(1),
        kind,
        key: b"alice",
        value,
        body_crc: body_crc(b"alice", value),
    };
    append(&mut raw, &record);
    stamp(&mut raw, small::SEGMENT, Generation::new(3), small::OFFSET);
    raw
}

fn a_dump() -> Vec<u8> {
    let head = DumpHead {
        next_sequence: Sequence::new(100),
        next_log: BufferNumber::new(20),
        next_rewrite: BufferNumber::new(3),
        next_generation: Generation::new(9),
        mark_ordinal: 4,
        files: 1,
    };
    let group = |id, name: &str| DumpGroup { id: GroupId::new(id), name: name.to_owned() };
    let segment = DumpSegment {
        segment: SegmentId::new(1),
        state: 2,
        generation: Generation::new(8),
        live: 4096,
        tombstones: 40,
        log_end: BufferNumber::new(20),
        guard: Generation::new(8),
        kind: DumpKind::Group(GroupId::new(1)),
        rewrite_end: BufferNumber::new(3),
        born: Sequence::new(50),
        records: ByteLen::new(4136),
        fronts: ByteLen::new(120),
        padding: ByteLen::new(32),
        tail: ByteLen::ZERO,
    };
    let location = Location::new(SegmentId::new(1), SegmentOffset::new(4216), ByteLen::new(48));
    let entry = DumpEntry { group: GroupId::new(1), hash: KeyHash::new(77), location };
    let items = [
        DumpItem::Head(head),
        DumpItem::Group(group(1, "users")),
        DumpItem::Group(group(2, "")),
        DumpItem::Segment(segment),
        DumpItem::Entry(entry),
        DumpItem::Piece(DumpPiece {
            group: GroupId::new(1),
            hash: KeyHash::new(77),
            segment: SegmentId::new(2),
        }),
    ];
    let mut writer = DumpWriter::new(STORE, 1);
    let mut frames: Vec<_> = items.iter().filter_map(|item| writer.push(item)).collect();
    frames.extend(writer.finish());
    let mut raw = Vec::new();
    for frame in &frames {
        let beginning = trimmed(frame);
        let len = u16::try_from(beginning.len()).expect("a frame has fewer bytes than 65536");
        raw.extend(len.to_le_bytes());
        raw.extend(beginning);
    }
    raw
}
