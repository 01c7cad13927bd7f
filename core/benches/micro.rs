//! What a write and a read do in memory: checksums, records, buffers, summaries and the index.
//!
//! ```text
//! cargo bench -p logstor-core --features fuzzing --bench micro
//! ```
//!
//! Without the feature the index, which is private, is left out. A name behind the command picks
//! the benches that have it in theirs. Records have keys of 8 bytes and values of 1 KiB, buffers
//! are full ones of the default length.
//!
//! Absent on purpose: the memory of the index, its growth to many millions of keys and its longest
//! insertion. They need a process for each run: see the bench `index`.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use logstor_core::format::buffer::{BufferHeader, BufferKind, decode_buffer, encode_buffer};
use logstor_core::format::crc;
use logstor_core::format::record::{NewRecord, RecordKind, append, body_crc};
use logstor_core::format::summary::{SummaryEntry, parse_summary};
use logstor_core::types::{ByteLen, Generation, GroupId, KeyHash, Sequence};

/// Bytes of a value.
const VALUE: usize = 1024;
/// Records of a buffer of 128 KiB.
const RECORDS: u64 = 120;

fn main() {
    divan::main();
}

/// Bytes that are not all the same.
fn noise(len: usize) -> Vec<u8> {
    (1..).map(scramble).flat_map(u64::to_le_bytes).take(len).collect()
}

fn scramble(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A hash that is spread as those of keys are.
fn hash(number: u64) -> KeyHash {
    let high = u128::from(scramble(number)) << 64;
    KeyHash::new(high | u128::from(scramble(number ^ (1 << 60))))
}

fn append_record(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    let (key, group) = (number.to_be_bytes(), GroupId::new(1));
    let body_crc = body_crc(&key, value);
    let (sequence, kind) = (Sequence::new(number), RecordKind::Put);
    append(out, &NewRecord { sequence, group, kind, key: &key, value, body_crc });
}

/// What a full buffer of one group is made of.
fn full() -> (BufferHeader, Vec<SummaryEntry>, Vec<u8>) {
    let (group, value) = (GroupId::new(1), noise(VALUE));
    let (mut entries, mut records) = (Vec::new(), Vec::new());
    for number in 0..RECORDS {
        let before = records.len();
        append_record(&mut records, number, &value);
        let len = ByteLen::of(&records[before..]);
        let (kind, sequence) = (RecordKind::Put, Sequence::new(number));
        entries.push(SummaryEntry { hash: hash(number), kind, len, group, sequence });
    }
    let generation = Generation::new(1);
    let header = BufferHeader { kind: BufferKind::Log, group, generation, ..Default::default() };
    (header, entries, records)
}

#[divan::bench(args = [64, 1024, 16_384, 131_072])]
fn checksum(bencher: Bencher<'_, '_>, len: usize) {
    let bytes = noise(len);
    bencher.counter(BytesCount::new(len)).bench(|| crc::of(&[black_box(&bytes)]));
}

#[divan::bench(args = [100, 1024, 16_384])]
fn record_encode(bencher: Bencher<'_, '_>, value_len: usize) {
    let (value, mut out) = (noise(value_len), Vec::new());
    bencher.counter(BytesCount::new(value_len)).bench_local(|| {
        out.clear();
        append_record(&mut out, 7, black_box(&value));
        out.len()
    });
}

#[divan::bench]
fn buffer_encode(bencher: Bencher<'_, '_>) {
    let (header, entries, records) = full();
    bencher
        .counter(BytesCount::new(records.len()))
        .bench(|| encode_buffer(black_box(&header).clone(), &entries, &records));
}

#[divan::bench]
fn buffer_decode(bencher: Bencher<'_, '_>) {
    let (header, entries, records) = full();
    let buffer = encode_buffer(header, &entries, &records);
    bencher
        .counter(BytesCount::new(records.len()))
        .bench(|| decode_buffer(black_box(&buffer)).map(|decoded| decoded.entries.len()));
}

#[divan::bench]
fn summary_decode(bencher: Bencher<'_, '_>) {
    let (header, entries, records) = full();
    let buffer = encode_buffer(header, &entries, &records);
    let header = BufferHeader::parse(&buffer).expect("it was encoded");
    let summary = &buffer[BufferHeader::LEN..header.front_len().as_usize()];
    bencher
        .counter(ItemsCount::new(RECORDS))
        .bench(|| parse_summary(&header, black_box(summary)).map(|entries| entries.len()));
}

#[cfg(feature = "fuzzing")]
mod index {
    //! Operations on an index of so many keys.

    use super::{Bencher, ItemsCount, black_box, hash};
    use logstor_core::format::geometry::Geometry;
    use logstor_core::fuzzing::Index;
    use logstor_core::types::{ByteLen, Location, SegmentId, SegmentOffset};

    /// Keys that are there.
    const KEYS: [u64; 2] = [100_000, 1_000_000];
    /// Operations of one sample.
    const EACH: u64 = 10_000;

    fn place(number: u64) -> Location {
        let narrow = |number: u64| u32::try_from(number).expect("fewer than 2^32");
        let (segment, slot) = (narrow(number / 2000), narrow(number % 2000));
        Location::new(SegmentId::new(segment), SegmentOffset::new(slot * 128), ByteLen::new(128))
    }

    fn filled(keys: u64) -> Index {
        let mut index = Index::new(Geometry::new(256 << 10, 256).expect("the default one"));
        for number in 0..keys {
            index.insert(hash(number), place(number));
        }
        index
    }

    /// Keys that are not there yet; the index grows with every sample.
    #[divan::bench(args = KEYS)]
    fn insert(bencher: Bencher<'_, '_>, keys: u64) {
        let (mut index, mut next) = (filled(keys), keys);
        bencher.counter(ItemsCount::new(EACH)).bench_local(|| {
            for number in next..next + EACH {
                index.insert(hash(number), place(number));
            }
            next += EACH;
        });
    }

    #[divan::bench(args = KEYS)]
    fn hit(bencher: Bencher<'_, '_>, keys: u64) {
        find(bencher, keys, 0);
    }

    #[divan::bench(args = KEYS)]
    fn miss(bencher: Bencher<'_, '_>, keys: u64) {
        find(bencher, keys, keys);
    }

    /// Looks keys up, in no order, whose numbers are at or above `first`.
    fn find(bencher: Bencher<'_, '_>, keys: u64, first: u64) {
        let (index, mut turn) = (filled(keys), 0_u64);
        bencher.counter(ItemsCount::new(EACH)).bench_local(|| {
            let mut found = 0;
            for _ in 0..EACH {
                turn = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let number = first + turn % keys;
                found += u64::from(index.get(black_box(hash(number))).is_some());
            }
            assert_eq!(found, if first == 0 { EACH } else { 0 });
        });
    }
}
