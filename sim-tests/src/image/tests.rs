//! The check itself: it must find every violation that is planted here, and nothing else.

use logstor_core::format::buffer::{BufferHeader, BufferKind, encode_buffer, void_block};
use logstor_core::format::geometry::Geometry;
use logstor_core::format::hash::KeyHasher;
use logstor_core::format::mark::Mark;
use logstor_core::format::pieces::{
    PieceEntry, PieceId, PieceList, piece_image, piece_range, sign_piece,
};
use logstor_core::format::record::{NewRecord, RecordKind, append, body_crc, record_len};
use logstor_core::format::seal::{Seal, SealEntry};
use logstor_core::format::summary::SummaryEntry;
use logstor_core::format::superblock::{StoreId, Superblock};
use logstor_core::types::{BufferNumber, ByteLen, Generation, GroupId, SegmentOffset, Sequence};
use logstor_io_sim::{Sim, SimOptions};

use super::*;

const GROUP: u32 = 1;
const EXISTS: &[u8] = b"g\x01\0\0\0";
const TRUNCATED: &[u8] = b"t\x01\0\0\0";

/// The one large value of these tests lies in this segment, under the key `large`.
const PIECE_AT: u32 = 3;
const PIECE: &[u8] = b"it is longer than it looks";

/// A record: group, key, sequence, whether it is a put.
type Record = (u32, &'static [u8], u64, bool);

/// A buffer: its number if it is one of the log, and its records.
#[derive(Clone, Debug)]
struct Buffer(Option<u64>, Vec<Record>);

/// A segment, and what is wrong with it.
#[derive(Clone, Debug, Default)]
struct Plant {
    buffers: Vec<Buffer>,
    /// Sealed, with so many buffers on the list.
    sealed: Option<usize>,
    /// The records of the last buffer are damaged.
    torn: bool,
    /// A void header lies over the first one.
    void: bool,
    /// Instead of buffers, the piece of the large value.
    piece: bool,
}

fn put(key: &'static [u8], sequence: u64) -> Record {
    (GROUP, key, sequence, true)
}

fn tombstone(key: &'static [u8], sequence: u64) -> Record {
    (GROUP, key, sequence, false)
}

/// A segment with one buffer of copies.
fn copies(records: &[Record]) -> Plant {
    Plant { buffers: vec![Buffer(None, records.to_vec())], ..Plant::default() }
}

/// A segment with buffers of the log, one record each.
fn log(buffers: &[(u64, Record)]) -> Plant {
    let buffers = buffers.iter().map(|&(number, record)| Buffer(Some(number), vec![record]));
    Plant { buffers: buffers.collect(), ..Plant::default() }
}

/// The piece of the large value.
fn piece() -> Plant {
    Plant { piece: true, ..Plant::default() }
}

/// The piece as it lies in its segment, and the list that names it.
fn piece_and_list() -> (Vec<u8>, Vec<u8>) {
    let superblock = superblock();
    let len = ByteLen::new(u32::try_from(PIECE.len()).unwrap());
    let (segment, generation) = (SegmentId::new(PIECE_AT), Generation::new(PIECE_AT.into()).next());
    let mut image = piece_image(len);
    image[piece_range(len)].copy_from_slice(PIECE);
    let store = superblock.store.short();
    let id = PieceId { store, segment, generation, group: GroupId::new(GROUP), index: 0 };
    let crc = sign_piece(&mut image, len, id);
    let entry = PieceEntry { segment, generation_low: generation.low(), crc };
    let list = PieceList::new(u64::from(len.get()), vec![entry], superblock.geometry);
    (image.to_vec(), list.encode())
}

/// The catalogue: group 1 exists.
fn catalogue() -> Plant {
    copies(&[(0, EXISTS, 1, true)])
}

fn superblock() -> Superblock {
    Superblock {
        store: StoreId::new([7; 16]),
        geometry: Geometry::new(64 << 10, 4).unwrap(),
        secret: [9; 16],
    }
}

fn mark(log_watermark: u64) -> Mark {
    Mark {
        ordinal: 4,
        log_watermark: BufferNumber::new(log_watermark),
        rewrite_watermark: BufferNumber::ZERO,
        next_sequence: Sequence::new(1000),
        next_log: BufferNumber::new(1000),
        next_rewrite: BufferNumber::new(1000),
        next_generation: Generation::new(1000),
        files: 1,
        hollow: false,
        open: Vec::new(),
        next: Vec::new(),
    }
}

fn encode(buffer: &Buffer, header: &BufferHeader) -> Vec<u8> {
    let Buffer(number, records) = buffer;
    let hasher = KeyHasher::new(superblock().secret);
    let (mut entries, mut bytes) = (Vec::new(), Vec::new());
    for &(group, key, sequence, is_put) in records {
        let kind = match (is_put, key) {
            (true, b"large") => RecordKind::Large,
            (true, _) => RecordKind::Put,
            (false, _) => RecordKind::Delete,
        };
        let list = if kind == RecordKind::Large { piece_and_list().1 } else { Vec::new() };
        let (group, sequence) = (GroupId::new(group), Sequence::new(sequence));
        let value = &list[..];
        let body_crc = body_crc(key, value);
        append(&mut bytes, &NewRecord { sequence, group, kind, key, value, body_crc });
        let len = record_len(key.len(), value.len()).unwrap();
        entries.push(SummaryEntry { hash: hasher.hash(key), kind, len, group, sequence });
    }
    let header = BufferHeader {
        kind: if number.is_some() { BufferKind::Log } else { BufferKind::Rewrite },
        number: BufferNumber::new(number.unwrap_or_default()),
        ..header.clone()
    };
    encode_buffer(header, &entries, &bytes).to_vec()
}

/// The bytes of a segment; its generation is its number and 1.
fn lay_out(id: u32, plant: &Plant) -> Vec<u8> {
    let superblock = superblock();
    let geometry = superblock.geometry;
    let generation = Generation::new(u64::from(id) + 1);
    let (segment, store) = (SegmentId::new(id), superblock.store.short());
    let mut bytes = vec![0; geometry.segment_len().as_usize()];
    let (mut at, mut listed) = (0, Vec::new());
    for buffer in &plant.buffers {
        let offset = SegmentOffset::new(u32::try_from(at).unwrap());
        let header = BufferHeader {
            store,
            segment,
            offset,
            generation,
            group: GroupId::MIXED,
            ..BufferHeader::default()
        };
        let mut image = encode(buffer, &header);
        let header = BufferHeader::parse(&image).unwrap();
        listed.push(SealEntry {
            offset,
            records: header.record_count,
            number: header.number,
            first_sequence: header.first_sequence,
        });
        if plant.torn && listed.len() == plant.buffers.len() {
            image[header.records_at().as_usize()..].fill(0);
        }
        bytes[at..at + image.len()].copy_from_slice(&image);
        at += image.len();
    }
    if plant.piece {
        let image = piece_and_list().0;
        bytes[..image.len()].copy_from_slice(&image);
        if plant.torn {
            bytes[BufferHeader::LEN + 1] ^= 1;
        }
    }
    if let Some(count) = plant.sealed {
        let seal = Seal {
            segment,
            generation,
            kind: BufferKind::Log,
            log_watermark: BufferNumber::ZERO,
            rewrite_watermark: BufferNumber::ZERO,
            entries: listed[..count].to_vec(),
        };
        let at = geometry.data_len().as_usize();
        bytes[at..].copy_from_slice(&seal.encode(store, geometry));
    }
    if plant.void {
        let block = void_block(store, segment, SegmentOffset::ZERO, generation);
        bytes[..BufferHeader::LEN].copy_from_slice(&block[..BufferHeader::LEN]);
    }
    bytes
}

/// What the check says of these segments, when `doubtful` ones may be gone.
fn judge(plants: &[Plant], published: u64, doubtful: &[usize]) -> Result<LookedAt, String> {
    let sim = Sim::new(&SimOptions::new(1));
    let store = superblock().store.short();
    let mut segments: Vec<u8> = Vec::new();
    for (id, plant) in (0..4).zip(plants.iter().chain(std::iter::repeat(&Plant::default()))) {
        segments.extend(lay_out(id, plant));
    }
    sim.raw().put("superblock", &superblock().encode());
    let mut marks = mark(published).encode(store).to_vec();
    marks.resize(Mark::FILE_LEN, 0);
    sim.raw().put("mark", &marks);
    sim.raw().put("segments-000000.log", &segments);
    let mut disk = Disk::default();
    disk.look(&sim.raw().durable()).unwrap();
    View::new(&disk, &doubtful.iter().copied().collect()).check()
}

fn allowed(plants: &[Plant], doubtful: &[usize]) {
    assert_eq!(judge(plants, 100, doubtful).err(), None);
}

fn found(what: &str, plants: &[Plant], published: u64, doubtful: &[usize]) {
    let said = judge(plants, published, doubtful).expect_err(what);
    assert!(said.contains(what), "{said}");
}

#[test]
fn the_newest_put_must_live_elsewhere() {
    let twice = [catalogue(), copies(&[put(b"k", 5)]), copies(&[put(b"k", 5)])];
    allowed(&twice, &[1]);
    allowed(&twice, &[2]);
    found("lives nowhere else", &twice, 100, &[1, 2]);
    found("lives nowhere else", &twice, 100, &[0]); // that the group exists, said in segment 0
    let newer = [catalogue(), copies(&[put(b"k", 5)]), copies(&[put(b"k", 6)])];
    allowed(&newer, &[1]);
    found("lives nowhere else", &newer, 100, &[2]);
}

#[test]
fn a_tombstone_stays_while_an_older_put_may_be_on_disk() {
    let deleted = [catalogue(), copies(&[put(b"k", 5)]), copies(&[tombstone(b"k", 6)])];
    allowed(&deleted, &[1]);
    found("would be back", &deleted, 100, &[2]);
    found("would be back", &deleted, 100, &[1, 2]); // 2 may be gone while 1 is not
    let again = [deleted.to_vec(), vec![copies(&[tombstone(b"k", 7)])]].concat();
    allowed(&again, &[2]);
    allowed(&again, &[3]);
    found("would be back", &again, 100, &[2, 3]);
    let together = [catalogue(), copies(&[put(b"k", 5), tombstone(b"k", 6)])];
    allowed(&together, &[1]);
}

#[test]
fn a_truncation_stays_while_it_hides_something() {
    let cut = (0, TRUNCATED, 6, true);
    let plants = [catalogue(), copies(&[put(b"k", 5)]), copies(&[cut])];
    allowed(&plants, &[1]);
    found("would be back", &plants, 100, &[2]);
    allowed(&[catalogue(), copies(&[put(b"k", 7)]), copies(&[cut])], &[2]);
    let later = [plants.to_vec(), vec![copies(&[(0, TRUNCATED, 8, true)])]].concat();
    allowed(&later, &[2]);
}

#[test]
fn a_dropped_group_does_not_come_back() {
    let dropped = (0, EXISTS, 6, false);
    let plants = [catalogue(), copies(&[put(b"k", 5)]), copies(&[dropped])];
    allowed(&plants, &[0]);
    allowed(&plants, &[0, 1]);
    found("would be back", &plants, 100, &[2]);
    // Without any record of the group its keys are dead.
    let plants = [copies(&[(0, EXISTS, 1, true), dropped]), copies(&[put(b"k", 5)])];
    allowed(&plants, &[0]);
}

#[test]
fn the_log_does_not_end_too_early() {
    let plants = [catalogue(), log(&[(3, put(b"k", 5))]), log(&[(4, put(b"l", 6))])];
    let looked = judge(&[plants.to_vec(), vec![copies(&[put(b"k", 7)])]].concat(), 5, &[1]);
    assert_eq!(looked.unwrap().keys, 1);
    let plants = [plants.to_vec(), vec![copies(&[put(b"k", 7)])]].concat();
    found("the log would end at buffer 3", &plants, 3, &[1]);
    // Behind a gap nothing counts: that put was never durable.
    let gap = [catalogue(), copies(&[put(b"k", 5)]), log(&[(7, put(b"k", 6))])];
    found("lives nowhere else", &gap, 3, &[1]);
}

#[test]
fn what_a_seal_leaves_out_does_not_count() {
    let unlisted = Plant { sealed: Some(1), ..log(&[(1, put(b"x", 3)), (2, put(b"k", 5))]) };
    let plants = [catalogue(), copies(&[put(b"k", 5)]), unlisted];
    found("lives nowhere else", &plants, 100, &[1]);
    let listed = Plant { sealed: Some(2), ..plants[2].clone() };
    allowed(&[catalogue(), copies(&[put(b"k", 5)]), listed], &[1]);
}

#[test]
fn what_is_torn_or_void_does_not_count() {
    for (torn, void) in [(true, false), (false, true)] {
        let plants =
            [catalogue(), copies(&[put(b"k", 5)]), Plant { torn, void, ..copies(&[put(b"k", 5)]) }];
        found("lives nowhere else", &plants, 100, &[1]);
        allowed(&plants, &[2]);
    }
}

#[test]
fn a_torn_buffer_keeps_its_other_copy() {
    let torn = Plant { torn: true, ..log(&[(3, put(b"k", 5))]) };
    let plants = [catalogue(), torn, log(&[(3, put(b"k", 5))]), copies(&[put(b"k", 9)])];
    found("would look like damage", &plants, 100, &[2]);
    allowed(&plants, &[1]);
}

#[test]
fn a_large_value_keeps_its_pieces_while_it_is_the_newest() {
    let large = copies(&[put(b"large", 5)]);
    let plants = [catalogue(), large.clone(), copies(&[]), piece()];
    let looked = judge(&plants, 100, &[]);
    assert_eq!(looked.unwrap().pieces, 1);
    found("segment 3 goes", &plants, 100, &[3]);
    let overwritten = [catalogue(), large.clone(), copies(&[tombstone(b"large", 6)]), piece()];
    allowed(&overwritten, &[3]);
    // The tombstone is not durable: its buffer of the log has no whole one before it.
    let unsure = [catalogue(), large.clone(), log(&[(9, tombstone(b"large", 6))]), piece()];
    found("segment 3 goes", &unsure, 3, &[3]);
    let truncated = [catalogue(), large.clone(), copies(&[(0, TRUNCATED, 6, true)]), piece()];
    allowed(&truncated, &[3]);
    let no_group = [copies(&[]), large, copies(&[]), piece()];
    allowed(&no_group, &[3]);
}

#[test]
fn a_large_value_has_all_its_pieces_whole() {
    let large = copies(&[put(b"large", 5)]);
    let plants = [catalogue(), large.clone(), copies(&[])];
    found("segment 3 is not there", &plants, 100, &[]);
    let torn = Plant { torn: true, ..piece() };
    let plants = [plants.to_vec(), vec![torn]].concat();
    found("segment 3 is not there", &plants, 100, &[]);
    let plants = [plants[..3].to_vec(), vec![Plant { void: true, ..piece() }]].concat();
    found("segment 3 is not there", &plants, 100, &[]);
}

#[test]
fn a_dead_large_value_does_not_come_back() {
    let large = copies(&[put(b"large", 5)]);
    let plants = [catalogue(), large, copies(&[tombstone(b"large", 6)])];
    found("would be back", &plants, 100, &[2]);
}
