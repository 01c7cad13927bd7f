//! Puts CRCs right after damage, so that what lies behind them is decoded too.
//!
//! Absent on purpose: any other field. A repaired structure says what the damage made it say.

use logstor_core::format::buffer::BufferHeader;
use logstor_core::format::crc;
use logstor_core::format::record::{RecordHeader, body_crc, record_len, stamp};
use logstor_core::types::{ByteLen, Generation, SegmentId, SegmentOffset};

/// Puts the CRC of `covered` at `at`, if all of it is there.
pub(crate) fn sign(bytes: &mut [u8], at: usize, covered: &[&std::ops::Range<usize>]) {
    let pieces: Option<Vec<&[u8]>> =
        covered.iter().map(|range| bytes.get((*range).clone())).collect();
    let Some(crc) = pieces.map(|pieces| crc::of(&pieces)) else { return };
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
}

/// The CRC of a buffer's header.
pub(crate) fn header(bytes: &mut [u8]) {
    sign(bytes, 4, &[&(8..BufferHeader::LEN)]);
}

/// Every CRC of a buffer that can be found: of its records, of its parts, of its header.
pub(crate) fn buffer(bytes: &mut [u8]) {
    header(bytes);
    let Ok(mut found) = BufferHeader::parse(bytes) else { return };
    let start = found.records_at().as_usize();
    let end = start.saturating_add(found.records_len.as_usize());
    if found.kind.has_records() {
        let end = end.min(bytes.len());
        let first = found.offset.get().saturating_add(found.records_at().get());
        let records_at = SegmentOffset::new(first);
        records(bytes.get_mut(start..end).unwrap_or_default(), found.segment, records_at);
    }
    if let Some(summary) = bytes.get(BufferHeader::LEN..start) {
        found.summary_crc = crc::of(&[summary]);
    }
    if let Some(records) = bytes.get(start..end) {
        found.records_crc = crc::of(&[records]);
    }
    bytes[..BufferHeader::LEN].copy_from_slice(&found.encode());
}

/// Both CRCs of each record, as far as one follows the other from a place on.
pub(crate) fn records(mut bytes: &mut [u8], segment: SegmentId, mut offset: SegmentOffset) {
    while let Some(len) = record(bytes, segment, offset) {
        bytes = bytes.get_mut(len.as_usize()..).unwrap_or_default();
        let Some(next) = offset.checked_add(len) else { return };
        offset = next;
    }
}

/// How long a record says that it is; `None` if there is no such record.
pub(crate) fn declared_len(bytes: &[u8]) -> Option<ByteLen> {
    let (key_len, value_len) = lengths(bytes)?;
    record_len(key_len, value_len)
}

/// Key and value.
fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let value_len = u32::from_le_bytes(*bytes.get(24..)?.first_chunk()?);
    let key_len = u16::from_le_bytes(*bytes.get(28..)?.first_chunk()?);
    Some((usize::from(key_len), usize::try_from(value_len).ok()?))
}

/// Both CRCs of one record. How long it says that it is.
fn record(bytes: &mut [u8], segment: SegmentId, offset: SegmentOffset) -> Option<ByteLen> {
    let (key_len, value_len) = lengths(bytes)?;
    let len = record_len(key_len, value_len);
    let body = len.and_then(|_| bytes.get(RecordHeader::LEN..)?.get(..key_len + value_len));
    if let Some(crc) = body.map(|body| body_crc(&body[..key_len], &body[key_len..])) {
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    }
    if bytes.len() >= RecordHeader::LEN {
        let generation_low = u32::from_le_bytes(*bytes.get(16..)?.first_chunk()?);
        stamp(bytes, segment, Generation::new(generation_low.into()), offset);
    }
    len
}
