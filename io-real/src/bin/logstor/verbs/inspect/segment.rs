//! A segment, block by block: what begins where, and what the seal says of it.
//!
//! 1. Every block of the segment is in one row: of a buffer, or of a run of blocks in which none
//!    begins.
//! 2. Behind a buffer of which all is whole the next one is looked for at its end; behind any other
//!    one in the next block.

use logstor::format::buffer::{BufferHeader, BufferKind, NotAHeader};
use logstor::format::seal::Seal;
use logstor::types::{BLOCK, SegmentOffset, to_u32, to_usize};
use serde_json::{Value, json};

use super::slots::Place;
use super::{Decoded, number, reason};

pub(super) fn segment(image: &[u8], place: &Place) -> Decoded {
    let geometry = place.geometry;
    let data_len = to_usize(geometry.data_len().get());
    let head = BufferHeader::parse(image);
    // Without the superblock a header is believed about whose it is.
    let store = place.store.or(number::<8>(image, 24)).unwrap_or_default();
    let end = image.get(data_len..).unwrap_or_default();
    let seal = Seal::parse(end, store, place.segment, geometry);
    let rows = walk(&image[..image.len().min(data_len)], place, seal.as_ref().ok());
    let (state, wrong) = state(&head, &rows, seal.as_ref().ok());
    let short = image.len() < to_usize(geometry.segment_len().get());
    let sealed = |seal: &Seal| {
        json!({
            "generation": seal.generation.get(),
            "kind": word(seal.kind),
            "buffers": seal.entries.len(),
            "log_watermark": seal.log_watermark.get(),
            "rewrite_watermark": seal.rewrite_watermark.get(),
        })
    };
    let may_have_seal = !head.as_ref().is_ok_and(|head| !head.kind.has_records());
    let missing: Vec<u32> = seal.as_ref().map(|seal| missing(seal, &rows)).unwrap_or_default();
    let object = json!({
        "segment": place.segment.get(),
        "bytes": image.len(),
        "ends_early": short,
        "state": state,
        "generation": head.as_ref().ok().map(|head| head.generation.get()),
        "no_seal_because": seal.as_ref().err().filter(|_| may_have_seal).map(|error| reason(error)),
        "seal": seal.as_ref().ok().map(sealed),
        "listed_and_not_there": missing,
        "blocks": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    Decoded { object, wrong: wrong || short || !missing.is_empty() }
}

/// What lies from one block on.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    at: u32,
    len: u32,
    what: String,
    /// Of a buffer.
    header: Option<BufferHeader>,
    listed: Option<bool>,
}

impl Row {
    fn json(&self) -> Value {
        let header = self.header.as_ref();
        json!({
            "offset": self.at,
            "len": self.len,
            "kind": header.map(|header| word(header.kind)),
            "number": header.map(|header| header.number.get()),
            "generation": header.map(|header| header.generation.get()),
            "records": header.map(|header| header.record_count),
            "listed": self.listed,
            "state": self.what,
        })
    }
}

fn walk(image: &[u8], place: &Place, seal: Option<&Seal>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut at = 0;
    while at < image.len() {
        let (bytes, here) = (&image[at..], SegmentOffset::new(to_u32(at)));
        let block = to_usize(BLOCK).min(bytes.len());
        let mut add = |what: String| match rows.last_mut() {
            Some(last) if last.header.is_none() && last.what == what => last.len += to_u32(block),
            _ => {
                let (at, len) = (here.get(), to_u32(block));
                rows.push(Row { at, len, what, header: None, listed: None });
            }
        };
        let header = match BufferHeader::parse(bytes) {
            Ok(header) => header,
            Err(NotAHeader::Zero) if bytes[..block].iter().all(|&byte| byte == 0) => {
                add("zeros".into());
                at += block;
                continue;
            }
            Err(NotAHeader::Crc { .. }) => {
                add("a header that is damaged".into());
                at += block;
                continue;
            }
            Err(_) => {
                add("no header".into());
                at += block;
                continue;
            }
        };
        let (what, whole) = check(&header, bytes, here, place);
        let len = if whole { header.total_len().get() } else { BLOCK };
        let listed = seal.map(|seal| {
            let same = seal.generation == header.generation;
            same && seal.entries.iter().any(|entry| entry.offset == here)
        });
        rows.push(Row { at: here.get(), len, what, header: Some(header), listed });
        at += to_usize(len).max(block);
    }
    rows
}

/// What is to be said of a buffer, and whether all of it is whole.
fn check(header: &BufferHeader, bytes: &[u8], at: SegmentOffset, place: &Place) -> (String, bool) {
    let store = place.store.unwrap_or(header.store);
    if !header.belongs_at(store, place.segment, at) {
        let (segment, offset) = (header.segment, header.offset);
        let whose = if header.store == store { "" } else { " of another store" };
        return (format!("written for segment {segment} offset {offset}{whose}"), false);
    }
    if header.kind.has_records()
        && let Err(error) = header.check_summary(bytes)
    {
        return (reason(&error), false);
    }
    match header.check_records(bytes) {
        Ok(()) => ("whole".into(), true),
        Err(error) => (reason(&error), false),
    }
}

/// A word for the whole, and whether something in it is not what it should be: not what lies behind
/// the end of a log, which may be left from anything.
fn state(
    head: &Result<BufferHeader, NotAHeader>,
    rows: &[Row],
    seal: Option<&Seal>,
) -> (&'static str, bool) {
    let whole = |row: &&Row| row.header.is_none() || row.what == "whole";
    match head {
        Err(NotAHeader::Zero) if rows.len() == 1 => ("never used", false),
        Err(_) => ("its first block is no header", true),
        Ok(head) => match (head.kind, seal) {
            (BufferKind::Void, _) => ("erased", false),
            (BufferKind::Piece, _) => {
                ("a piece of a large value", rows.first().is_some_and(|row| !whole(&row)))
            }
            (_, Some(seal)) if seal.generation == head.generation => {
                let listed = rows.iter().filter(|row| row.listed == Some(true));
                ("sealed", !listed.clone().all(|row| whole(&row)))
            }
            (BufferKind::Seal, _) => ("its first block is a seal", true),
            (_, Some(_)) => ("the seal is of another life", true),
            (_, None) => ("not sealed", rows.first().is_some_and(|row| !whole(&row))),
        },
    }
}

/// Offsets of buffers that the seal lists, and that are not there.
fn missing(seal: &Seal, rows: &[Row]) -> Vec<u32> {
    let is_there = |at: SegmentOffset| {
        let mut there = rows.iter().filter_map(|row| Some((row.at, row.header.as_ref()?)));
        there.any(|(offset, header)| offset == at.get() && header.generation == seal.generation)
    };
    let offsets = seal.entries.iter().map(|entry| entry.offset);
    offsets.filter(|&at| !is_there(at)).map(SegmentOffset::get).collect()
}

/// A word for a kind of buffers.
pub(super) fn word(kind: BufferKind) -> &'static str {
    match kind {
        BufferKind::Log => "log",
        BufferKind::Rewrite => "rewrite",
        BufferKind::Seal => "seal",
        BufferKind::Void => "void",
        BufferKind::Piece => "piece",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logstor::format::buffer::{erased_block, void_block};
    use logstor::format::geometry::Geometry;
    use logstor::types::{Generation, SegmentId};

    fn place() -> Place {
        let geometry = Geometry::new(64 << 10, 4).unwrap();
        Place { segment: SegmentId::new(3), geometry, store: Some(5), hasher: None }
    }

    #[test]
    fn every_block_is_in_one_row_whatever_lies_there() {
        let (segment_id, life) = (SegmentId::new(3), Generation::new(9));
        let mut image = vec![0; 64 << 10];
        image[..4096].copy_from_slice(&erased_block(5, segment_id, life));
        let void = void_block(5, segment_id, SegmentOffset::new(12_288), life);
        image[12_288..16_384].copy_from_slice(&void);
        image[20_480..24_576].copy_from_slice(&void); // not where it was written for
        image[30_000] = 1;
        let decoded = segment(&image, &place());
        assert_eq!(decoded.object["state"], "erased");
        let rows = decoded.object["blocks"].as_array().unwrap().clone();
        let mut end = 0;
        for row in &rows {
            assert_eq!(row["offset"], end, "{rows:?}");
            end += row["len"].as_u64().unwrap();
        }
        assert_eq!(end, u64::from(place().geometry.data_len().get()));
        assert!(rows.iter().any(|row| row["state"] == "written for segment 3 offset 12288"));
        assert!(rows.iter().any(|row| row["state"] == "no header"));
    }

    #[test]
    fn what_is_short_or_noise_is_decoded_all_the_same() {
        assert_eq!(segment(&vec![0; 64 << 10], &place()).object["state"], "never used");
        for len in [0, 1, 95, 96, 4096, 5000, 65_535] {
            let noise: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[0] ^ 0x5a).collect();
            let decoded = segment(&noise, &place());
            assert!(decoded.wrong, "{len} bytes");
            assert_eq!(decoded.object["ends_early"], true);
        }
    }
}
