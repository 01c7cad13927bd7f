//! A buffer: its header, what its summary says of the records, and whether these agree.

use logstor::format::buffer::{BufferHeader, NotAHeader};
use logstor::format::record::{Record, RecordKind};
use logstor::format::summary::{SummaryEntry, locations, parse_summary};
use logstor::types::{Location, to_usize};
use serde_json::{Map, Value, json};

use super::segment::word;
use super::slots::Place;
use super::{Decoded, number, number32, reason};
use crate::text::Coding;

pub(super) fn buffer(image: &[u8], place: &Place, offset: u32, coding: Coding) -> Decoded {
    let bytes = image.get(to_usize(offset)..).unwrap_or_default();
    match BufferHeader::parse(bytes) {
        Ok(header) => decode(&header, bytes, place, coding),
        Err(error @ (NotAHeader::Magic { .. } | NotAHeader::Length { .. } | NotAHeader::Zero)) => {
            Decoded { object: json!({ "problem": reason(&error) }), wrong: true }
        }
        Err(error) => Decoded { object: raw(bytes, &reason(&error)), wrong: true },
    }
}

/// The fields of a header that was damaged.
fn raw(bytes: &[u8], problem: &str) -> Value {
    json!({
        "problem": problem,
        "kind": number::<1>(bytes, 9),
        "segment": number32(bytes, 20),
        "offset": number32(bytes, 32),
        "group": number32(bytes, 36),
        "generation": number::<8>(bytes, 40),
        "first_sequence": number::<8>(bytes, 48),
        "number": number::<8>(bytes, 56),
        "records": number32(bytes, 80),
        "summary_bytes": number32(bytes, 84),
        "record_bytes": number32(bytes, 88),
    })
}

fn decode(header: &BufferHeader, bytes: &[u8], place: &Place, coding: Coding) -> Decoded {
    let summary_wrong = header.check_summary(bytes).err().map(|error| reason(&error));
    let records_wrong = header.check_records(bytes).err().map(|error| reason(&error));
    // A damaged summary is shown as far as its entries make sense.
    let entries = if header.kind.has_records() {
        parse_summary(header, bytes.get(BufferHeader::LEN..).unwrap_or_default())
    } else {
        Ok(Vec::new())
    };
    let elsewhere =
        header.segment != place.segment || place.store.is_some_and(|store| store != header.store);
    let entries_wrong = entries.as_ref().err().map(|error| reason(error));
    let entries = entries.unwrap_or_default();
    let places = locations(header, &entries);
    let rows: Vec<(Value, bool)> = entries
        .iter()
        .zip(places)
        .map(|(entry, at)| row(entry, at, header, bytes, (place, coding)))
        .collect();
    let wrong = summary_wrong.is_some()
        || records_wrong.is_some()
        || entries_wrong.is_some()
        || elsewhere
        || rows.iter().any(|row| row.1);
    let group = if header.is_mixed() { "mixed".into() } else { Value::from(header.group.get()) };
    let object = json!({
        "problem": Value::Null,
        "kind": word(header.kind),
        "segment": header.segment.get(),
        "offset": header.offset.get(),
        "written_for_another_place": elsewhere,
        "group": group,
        "generation": header.generation.get(),
        "first_sequence": header.first_sequence.get(),
        "number": header.number.get(),
        "log_watermark": header.log_watermark.get(),
        "rewrite_watermark": header.rewrite_watermark.get(),
        "records": header.record_count,
        "summary_bytes": header.summary_len.get(),
        "record_bytes": header.records_len.get(),
        "bytes": header.total_len().get(),
        "summary_problem": summary_wrong.or(entries_wrong),
        "records_problem": records_wrong,
        "entries": rows.into_iter().map(|row| row.0).collect::<Vec<_>>(),
    });
    Decoded { object, wrong }
}

/// What a summary says of a record, and what the record says.
fn row(
    entry: &SummaryEntry,
    at: Location,
    header: &BufferHeader,
    bytes: &[u8],
    (place, coding): (&Place, Coding),
) -> (Value, bool) {
    let from = to_usize(at.offset().get().saturating_sub(header.offset.get()));
    let record = Record::parse(bytes.get(from..).unwrap_or_default(), at);
    let state = match &record {
        Err(error) => reason(error),
        Ok(record) if !agrees(entry, record, header, place) => {
            "it is not what the summary says".into()
        }
        Ok(_) => "whole".into(),
    };
    let wrong = state != "whole";
    let mut row = Map::new();
    row.insert("offset".into(), at.offset().get().into());
    row.insert("len".into(), at.len().get().into());
    row.insert("kind".into(), kind(entry.kind).into());
    row.insert("group".into(), entry.group.get().into());
    row.insert("sequence".into(), entry.sequence.get().into());
    row.insert("token".into(), format!("{:016x}", entry.hash.token()).into());
    let key = record.as_ref().map(|record| coding.show(record.key));
    row.insert("key".into(), key.ok().into());
    row.insert("state".into(), state.into());
    (row.into(), wrong)
}

fn agrees(entry: &SummaryEntry, record: &Record<'_>, header: &BufferHeader, place: &Place) -> bool {
    let hash = place.hasher.as_ref().map(|hasher| hasher.hash(record.key));
    record.kind == entry.kind
        && record.group == entry.group
        && record.sequence == entry.sequence
        && record.generation_low == header.generation.low()
        && hash.is_none_or(|hash| hash == entry.hash)
}

/// A word for what a record does to its key.
pub(super) fn kind(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Put => "put",
        RecordKind::Delete => "delete",
        RecordKind::Large => "large",
    }
}
