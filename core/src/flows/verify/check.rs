//! Bytes of a segment against what was written there: pure, so that every damage can be tried.
//!
//! Absent on purpose: what is live. Whoever knows the index says so of what is found here.

use super::report::{Finding, Flaw};
use crate::format::buffer::{BufferHeader, BufferKind};
use crate::format::hash::KeyHasher;
use crate::format::record::Record;
use crate::format::seal::SealEntry;
use crate::format::summary::{SummaryEntry, locations, parse_summary};
use crate::types::{
    BLOCK, ByteLen, Generation, GroupId, KeyHash, Location, SegmentId, SegmentOffset, to_u32,
    to_usize,
};

/// How much of a buffer to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Summaries,
    Records,
}

/// What was found in one segment.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) found: Vec<Found>,
    pub(super) records: u64,
}

/// Something that is not as it was written.
#[derive(Debug)]
pub(super) struct Found {
    offset: SegmentOffset,
    group: Option<GroupId>,
    /// The record that it is about, if it is about one.
    pub(super) record: Option<(GroupId, KeyHash, Location)>,
    flaw: Flaw,
}

impl Found {
    pub(super) fn at(offset: SegmentOffset, flaw: Flaw) -> Self {
        Self { offset, group: None, record: None, flaw }
    }

    /// In a buffer of which the header is whole.
    fn under(header: &BufferHeader, flaw: Flaw) -> Self {
        let group = Some(header.group).filter(|_| !header.is_mixed());
        Self { group, ..Self::at(header.offset, flaw) }
    }

    fn of_record(entry: &SummaryEntry, at: Location, flaw: Flaw) -> Self {
        let record = Some((entry.group, entry.hash, at));
        Self { offset: at.offset(), group: Some(entry.group), record, flaw }
    }

    pub(super) fn into_finding(self, segment: SegmentId, live: Option<bool>) -> Finding {
        let Self { offset, group, flaw, .. } = self;
        Finding { segment, offset, group, live, flaw }
    }
}

/// The life of a segment that its bytes must be of.
pub(super) struct Life<'a> {
    pub(super) store: u64,
    pub(super) hasher: &'a KeyHasher,
    pub(super) segment: SegmentId,
    pub(super) generation: Generation,
}

impl Life<'_> {
    fn owns(&self, header: &BufferHeader, at: SegmentOffset) -> bool {
        header.belongs_at(self.store, self.segment, at) && header.generation == self.generation
    }

    /// The buffer that a seal lists, with which `bytes` begin.
    pub(super) fn check_listed(
        &self,
        entry: &SealEntry,
        bytes: &[u8],
        depth: Depth,
        checked: &mut Checked,
    ) {
        let header = match BufferHeader::parse(bytes) {
            Ok(header) => header,
            Err(why) => return checked.found.push(Found::at(entry.offset, Flaw::Header(why))),
        };
        let same = header.number == entry.number
            && header.record_count == entry.records
            && header.first_sequence == entry.first_sequence;
        if !same || !self.owns(&header, entry.offset) || !header.kind.has_records() {
            return checked.found.push(Found::at(entry.offset, Flaw::OtherBuffer));
        }
        self.check_buffer(&header, bytes, depth, checked);
    }

    /// Buffer after buffer, without a list. All of `image` is covered by buffers.
    pub(super) fn walk(&self, image: &[u8], depth: Depth, checked: &mut Checked) {
        let (mut at, mut lost) = (0, false);
        while at < image.len() {
            let (bytes, offset) = (&image[at..], SegmentOffset::new(to_u32(at)));
            let parsed = BufferHeader::parse(bytes);
            let ours = parsed.as_ref().is_ok_and(|header| self.owns(header, offset));
            let header = parsed.as_ref().ok().filter(|header| ours && header.kind.has_records());
            let Some(header) = header else {
                // Once for all that lies behind it up to the next buffer.
                if !lost {
                    let flaw = parsed.err().map_or(Flaw::OtherBuffer, Flaw::Header);
                    checked.found.push(Found::at(offset, flaw));
                }
                lost = true;
                at += to_usize(BLOCK);
                continue;
            };
            lost = false;
            self.check_buffer(header, bytes, depth, checked);
            at += header.total_len().as_usize();
        }
    }

    fn check_buffer(
        &self,
        header: &BufferHeader,
        bytes: &[u8],
        depth: Depth,
        checked: &mut Checked,
    ) {
        checked.records += u64::from(header.record_count);
        if let Err(why) = header.check_summary(bytes) {
            return checked.found.push(Found::under(header, Flaw::Summary(why)));
        }
        let entries = match parse_summary(header, &bytes[BufferHeader::LEN..]) {
            Ok(entries) => entries,
            Err(why) => return checked.found.push(Found::under(header, Flaw::BadSummary(why))),
        };
        if depth == Depth::Summaries {
            return;
        }
        let before = checked.found.len();
        for (entry, at) in entries.iter().zip(locations(header, &entries)) {
            let from = to_usize(at.offset().get().saturating_sub(header.offset.get()));
            let flaw = match Record::parse(bytes.get(from..).unwrap_or_default(), at) {
                Ok(record) if entry.is_of(&record, self.generation, self.hasher) => continue,
                Ok(_) => Flaw::OtherRecord,
                Err(why) => Flaw::Record(why),
            };
            checked.found.push(Found::of_record(entry, at, flaw));
        }
        if checked.found.len() == before
            && let Err(why) = header.check_records(bytes)
        {
            checked.found.push(Found::under(header, Flaw::Records(why)));
        }
    }

    /// A piece of a large value of `len` bytes, its header first.
    pub(super) fn check_piece(&self, bytes: &[u8], len: ByteLen, depth: Depth) -> Checked {
        let found = match BufferHeader::parse(bytes) {
            Err(why) => Some(Found::at(SegmentOffset::ZERO, Flaw::Header(why))),
            Ok(header) => {
                let ours = self.owns(&header, SegmentOffset::ZERO)
                    && header.kind == BufferKind::Piece
                    && header.records_len == len;
                let wrong = match depth {
                    _ if !ours => Some(Flaw::OtherBuffer),
                    Depth::Summaries => None,
                    Depth::Records => header.check_records(bytes).err().map(Flaw::Piece),
                };
                wrong.map(|flaw| Found::under(&header, flaw))
            }
        };
        Checked { found: found.into_iter().collect(), records: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::buffer::encode_buffer;
    use crate::format::record::{NewRecord, RecordKind, append, body_crc, record_len};
    use crate::types::{BufferNumber, Sequence};

    const STORE: u64 = 5;

    fn hasher() -> KeyHasher {
        KeyHasher::new([3; 16])
    }

    /// A buffer of these keys at this place, and what a seal says of it.
    fn buffer(number: u64, at: u32, keys: &[&[u8]]) -> (Vec<u8>, SealEntry) {
        let first = Sequence::new(10 * number);
        let (mut records, mut entries) = (Vec::new(), Vec::new());
        for (key, sequence) in keys.iter().zip(0..) {
            let (group, kind, value) = (GroupId::new(7), RecordKind::Put, &b"value"[..]);
            let sequence = first.advance(sequence);
            let body_crc = body_crc(key, value);
            append(&mut records, &NewRecord { sequence, group, kind, key, value, body_crc });
            let len = record_len(key.len(), value.len()).unwrap();
            entries.push(SummaryEntry { hash: hasher().hash(key), kind, len, group, sequence });
        }
        let header = BufferHeader {
            kind: BufferKind::Log,
            store: STORE,
            segment: SegmentId::new(2),
            offset: SegmentOffset::new(at),
            group: GroupId::new(7),
            generation: Generation::new(4),
            number: BufferNumber::new(number),
            ..BufferHeader::default()
        };
        let records_in_it = to_u32(entries.len());
        let entry = SealEntry {
            offset: header.offset,
            records: records_in_it,
            number: header.number,
            first_sequence: first,
        };
        (encode_buffer(header, &entries, &records).to_vec(), entry)
    }

    /// Two buffers of a block each.
    fn image() -> (Vec<u8>, [SealEntry; 2]) {
        let (first, listed) = buffer(1, 0, &[b"a", b"b"]);
        let (second, listed_too) = buffer(2, 4096, &[b"c"]);
        assert_eq!((first.len(), second.len()), (4096, 4096));
        ([first, second].concat(), [listed, listed_too])
    }

    /// What is found, with the seal and without it: where, and whether it is one record.
    fn found(image: &[u8], depth: Depth) -> [Vec<(u32, bool, String)>; 2] {
        let hasher = hasher();
        let (segment, generation) = (SegmentId::new(2), Generation::new(4));
        let life = Life { store: STORE, hasher: &hasher, segment, generation };
        let (mut listed, mut walked) = (Checked::default(), Checked::default());
        for entry in &self::image().1 {
            life.check_listed(entry, &image[to_usize(entry.offset.get())..], depth, &mut listed);
        }
        life.walk(image, depth, &mut walked);
        [listed, walked].map(|checked| {
            let one =
                |found: Found| (found.offset.get(), found.record.is_some(), found.flaw.to_string());
            checked.found.into_iter().map(one).collect()
        })
    }

    /// The same flaw, found both ways.
    #[track_caller]
    fn check(
        what: &str,
        depth: Depth,
        damage: impl FnOnce(&mut [u8]),
        expected: (u32, bool, &str),
    ) {
        let mut image = image().0;
        damage(&mut image);
        for found in found(&image, depth) {
            assert_eq!(found.len(), 1, "{what}: {found:?}");
            let (at, is_record, text) = &found[0];
            assert_eq!((*at, *is_record), (expected.0, expected.1), "{what}: {text}");
            assert!(text.contains(expected.2), "{what}: {text}");
        }
    }

    #[test]
    fn nothing_is_found_where_all_is_as_it_was_written() {
        for depth in [Depth::Summaries, Depth::Records] {
            assert_eq!(found(&image().0, depth), [Vec::new(), Vec::new()]);
        }
    }

    #[test]
    fn each_part_of_a_buffer_is_found_damaged_where_it_lies() {
        let all = Depth::Records;
        check("header", all, |raw| raw[4096 + 50] ^= 1, (4096, false, "header crc"));
        check("summary", all, |raw| raw[100] ^= 1, (0, false, "summary crc"));
        check("zeroed", all, |raw| raw[4096..].fill(0), (4096, false, "only zeros"));
        let second = 96 + 2 * 20 + 40; // behind the header, the summary and the first record
        check("value", all, |raw| raw[second + 34] ^= 1, (to_u32(second), true, "body crc"));
        check("its header", all, |raw| raw[second + 9] ^= 1, (to_u32(second), true, "header crc"));
        let moved = |raw: &mut [u8]| raw.copy_within(0..4096, 4096);
        check("misdirected", all, moved, (4096, false, "another buffer"));
        check("summaries", Depth::Summaries, |raw| raw[100] ^= 1, (0, false, "summary crc"));
    }

    #[test]
    fn summaries_alone_do_not_look_at_records() {
        let mut raw = image().0;
        raw[200] ^= 1;
        assert_eq!(found(&raw, Depth::Summaries), [Vec::new(), Vec::new()]);
        assert_eq!(found(&raw, Depth::Records)[0].len(), 1);
    }

    #[test]
    fn every_flipped_bit_that_means_something_is_found() {
        let whole = image().0;
        let used = |at: usize| at % 4096 < 96 + 2 * 20 + 2 * 40 && at <= 4096 + 96 + 20 + 40;
        for at in (0..whole.len()).filter(|&at| used(at)) {
            let mut raw = whole.clone();
            raw[at] ^= 0x10;
            assert!(found(&raw, Depth::Records).iter().all(|found| !found.is_empty()), "{at}");
        }
    }
}
