//! The superblock and the mark: what lies where it lies for ever.

use logstor::format::geometry::Geometry;
use logstor::format::mark::{Mark, OpenSegment};
use logstor::format::superblock::Superblock;
use serde_json::{Value, json};

use super::{Decoded, number, number32, reason};
use crate::text::show;

/// More than this is no part of either.
pub(super) const MOST: usize = 4 * Superblock::LEN;

/// The short id of the store, as far as the superblock tells, damaged or not.
pub(super) fn store_of(superblock: &[u8]) -> Option<u64> {
    number::<8>(superblock, 16).filter(|&store| store != 0)
}

/// How a store is cut, as far as a damaged superblock tells.
pub(super) fn geometry_of(superblock: &[u8]) -> Option<Geometry> {
    Geometry::new(number32(superblock, 32)?, number32(superblock, 36)?).ok()
}

pub(super) fn superblock(bytes: &[u8]) -> Decoded {
    let parsed = Superblock::parse(bytes);
    let problem = parsed.as_ref().err().map(|error| reason(error));
    let id = bytes.get(16..32).map(|id| data_encoding::HEXLOWER.encode(id));
    let object = json!({
        "problem": problem,
        "file_bytes": bytes.len(),
        "magic": show(bytes.get(..8).unwrap_or(bytes)),
        "format": number32(bytes, 8),
        "crc": number32(bytes, 12).map(|crc| format!("{crc:#010x}")),
        "store": id,
        "segment_len": number32(bytes, 32),
        "segments_per_file": number32(bytes, 36),
    });
    Decoded { object, wrong: problem.is_some() }
}

/// Both slots. `store`: the short id of the store, if it is known.
pub(super) fn mark(bytes: &[u8], store: Option<u64>) -> Decoded {
    let slots = [0, 1].map(|slot| {
        let block = bytes.get(slot * Mark::LEN..).unwrap_or_default();
        let block = &block[..block.len().min(Mark::LEN)];
        // Without the superblock a mark is believed about whose it is.
        let whose = store.or(number::<8>(block, 8)).unwrap_or_default();
        (slot, block, Mark::parse(block, whose))
    });
    let ordinal = |slot: &(usize, &[u8], Result<Mark, _>)| Some(slot.2.as_ref().ok()?.ordinal);
    let newest = slots.iter().filter_map(ordinal).max();
    let rows = slots.iter().map(|(slot, block, parsed)| {
        let problem = parsed.as_ref().err().map(|error| reason(error));
        let counts = parsed.as_ref().is_ok_and(|mark| Some(mark.ordinal) == newest);
        json!({
            "slot": slot,
            "counts": counts,
            "problem": problem,
            "ordinal": number::<8>(block, 16),
            "log_watermark": number::<8>(block, 24),
            "rewrite_watermark": number::<8>(block, 32),
            "next_sequence": number::<8>(block, 40),
            "next_log": number::<8>(block, 48),
            "next_rewrite": number::<8>(block, 56),
            "next_generation": number::<8>(block, 64),
            "files": number32(block, 72),
        })
    });
    let rows: Vec<Value> = rows.collect();
    let counting = slots.iter().find(|slot| ordinal(slot) == newest && newest.is_some());
    let mark = counting.and_then(|slot| slot.2.as_ref().ok());
    let next = |mark: &Mark| mark.next.iter().map(|slot| slot.get()).collect::<Vec<_>>();
    let object = json!({
        "file_bytes": bytes.len(),
        "slots": rows,
        "hollow": mark.map(|mark| mark.hollow),
        "open_segments": mark.map(|mark| mark.open.iter().map(open).collect::<Vec<_>>()),
        "slots_that_may_be_next": mark.map(next),
    });
    let wrong = slots.iter().any(|slot| slot.2.is_err()) || bytes.len() != Mark::FILE_LEN;
    Decoded { object, wrong }
}

fn open(open: &OpenSegment) -> Value {
    json!({
        "segment": open.segment.get(),
        "end": open.end.get(),
        "generation": open.generation.get(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use logstor::format::superblock::StoreId;

    fn sample() -> Vec<u8> {
        let geometry = Geometry::new(256 << 10, 64).unwrap();
        Superblock { store: StoreId::new([7; 16]), geometry, secret: [9; 16] }.encode().to_vec()
    }

    #[test]
    fn a_damaged_superblock_is_shown_as_far_as_it_goes_and_its_secret_never() {
        let whole = superblock(&sample());
        assert!(!whole.wrong && whole.object["problem"].is_null());
        let mut bytes = sample();
        bytes[4000] = 1;
        let damaged = superblock(&bytes);
        assert!(damaged.wrong);
        assert!(damaged.object["problem"].as_str().unwrap().starts_with("crc "));
        assert_eq!(damaged.object["segment_len"], 256 << 10);
        assert!(!damaged.object.to_string().contains("0909"));
        assert_eq!(store_of(&bytes), Some(0x0707_0707_0707_0707));
        assert_eq!(geometry_of(&bytes), Some(Geometry::new(256 << 10, 64).unwrap()));
        for len in [0, 1, 20, 33, 4095] {
            assert!(superblock(&bytes[..len]).wrong);
        }
        assert_eq!(geometry_of(&bytes[..33]), None);
    }

    #[test]
    fn of_two_marks_the_one_counts_that_is_whole_and_has_the_higher_ordinal() {
        let older = Mark { ordinal: 6, files: 2, ..Mark::unknown() };
        let newer = Mark { ordinal: 7, files: 3, ..Mark::unknown() };
        let mut bytes = [older.encode(5).to_vec(), newer.encode(5).to_vec()].concat();
        let whole = mark(&bytes, Some(5));
        assert!(!whole.wrong && whole.object["slots"][1]["counts"] == true);
        bytes[5000] ^= 1;
        let half = mark(&bytes, None);
        assert!(half.wrong && half.object["slots"][0]["counts"] == true);
        assert_eq!(half.object["slots"][1]["files"], 3, "shown, and not believed");
        assert!(mark(&bytes[..4096], Some(6)).object["slots"][0]["problem"].is_string());
        assert!(mark(&[], None).wrong);
    }
}
