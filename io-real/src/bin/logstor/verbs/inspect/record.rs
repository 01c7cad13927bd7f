//! A record: where it is whole, key and value; where it is not, what its fields would be.

use logstor::format::pieces::PieceList;
use logstor::format::record::{NotARecord, Record, RecordKind, record_len};
use logstor::types::{ByteLen, Location, SegmentOffset, to_usize};
use serde_json::{Map, Value, json};

use super::buffer::kind;
use super::slots::Place;
use super::{Decoded, number, number32, reason};
use crate::text::Coding;

/// Bytes of a value that are shown unless all are asked for.
const SHOWN: usize = 64;

/// How to show key and value.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    pub(super) coding: Coding,
    pub(super) whole: bool,
}

pub(super) fn record(image: &[u8], place: &Place, offset: u32, shown: Shown) -> Decoded {
    let bytes = image.get(to_usize(offset)..).unwrap_or_default();
    let raw_key_len = number::<2>(bytes, 28).and_then(|len| usize::try_from(len).ok());
    let raw_value_len = number32(bytes, 24).map(to_usize);
    let len = raw_key_len.zip(raw_value_len).and_then(|(key, value)| record_len(key, value));
    let at = len.map(|len| Location::new(place.segment, SegmentOffset::new(offset), len));
    let parsed = at.map(|at| Record::parse(bytes, at));
    let problem = match &parsed {
        None => Some("its lengths are those of no record".into()),
        Some(Err(NotARecord::HeaderCrc { stored, computed })) => Some(format!(
            "no record that was written to this place: header crc {stored:#010x}, computed \
             {computed:#010x}"
        )),
        Some(Err(error)) => Some(reason(error)),
        Some(Ok(_)) => None,
    };
    let mut object = json!({
        "problem": problem,
        "segment": place.segment.get(),
        "offset": offset,
        "len": len.map(ByteLen::get),
        "sequence": number::<8>(bytes, 8),
        "generation_low": number32(bytes, 16),
        "group": number32(bytes, 20),
        "key_len": raw_key_len,
        "value_len": raw_value_len,
        "kind": number::<1>(bytes, 30),
    });
    if let (Some(Ok(record)), Some(fields)) = (&parsed, object.as_object_mut()) {
        add(fields, record, place, shown);
    }
    Decoded { object, wrong: problem.is_some() }
}

fn add(fields: &mut Map<String, Value>, record: &Record<'_>, place: &Place, shown: Shown) {
    fields.insert("kind".into(), kind(record.kind).into());
    if let Some(hasher) = &place.hasher {
        fields.insert("token".into(), format!("{:016x}", hasher.hash(record.key).token()).into());
    }
    shown.coding.put(fields, "key", record.key);
    if record.kind == RecordKind::Large {
        match PieceList::parse(record.value, place.geometry) {
            Ok(list) => pieces(fields, &list),
            Err(error) => drop(fields.insert("pieces_problem".into(), reason(&error).into())),
        }
        return;
    }
    let most = if shown.whole { record.value.len() } else { SHOWN.min(record.value.len()) };
    let name = if most < record.value.len() { "value_begins" } else { "value" };
    shown.coding.put(fields, name, &record.value[..most]);
}

fn pieces(fields: &mut Map<String, Value>, list: &PieceList) {
    let piece = |piece: &logstor::format::pieces::PieceEntry| {
        json!({
            "segment": piece.segment.get(),
            "generation_low": piece.generation_low,
            "crc": format!("{:#010x}", piece.crc),
        })
    };
    fields.insert("large_value_len".into(), list.total_len().into());
    fields.insert("pieces".into(), list.entries().iter().map(piece).collect());
}
