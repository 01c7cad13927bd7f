//! The target `decode_buffer`: whole buffers.

use arbitrary::{Arbitrary, Unstructured};
use logstor_core::format::buffer::{self, BufferHeader, BufferKind, DecodedBuffer, encode_buffer};
use logstor_core::format::geometry::MAX_SEGMENT_LEN;
use logstor_core::format::record::{NewRecord, RecordKind, append, body_crc};
use logstor_core::format::summary::{SummaryEntry, locations, parse_summary};

use crate::plan::{Damage, Encoded, Plan};
use crate::{Verdict, repair, verdict};

/// Longer plans could hold keys that no record has.
const LONGEST_PLAN: usize = 32 << 10;

/// The first byte says how the others are taken; see the head of this crate.
///
/// # Panics
///
/// If a law of the format is broken: that is what it is for.
#[must_use]
pub fn decode_buffer(data: &[u8]) -> Verdict {
    let Some((mode, data)) = data.split_first() else { return Verdict::Refused };
    match mode % 4 {
        0 => check(data),
        1 => {
            let mut bytes = data.to_vec();
            repair::buffer(&mut bytes);
            check(&bytes)
        }
        _ if data.len() > LONGEST_PLAN => Verdict::Refused,
        _ => planned(data).unwrap_or(Verdict::Refused),
    }
}

fn planned(data: &[u8]) -> arbitrary::Result<Verdict> {
    let mut source = Unstructured::new(data);
    let is_repaired = bool::arbitrary(&mut source)?;
    let harm = <Vec<Damage>>::arbitrary(&mut source)?;
    let plan = Plan::arbitrary(&mut source)?;
    let Encoded { entries, bytes } = plan.encode();
    check_intact(&plan, &entries, &bytes);

    let mut damaged = bytes.clone();
    for damage in &harm {
        damage.apply(&mut damaged);
    }
    if is_repaired {
        repair::buffer(&mut damaged);
    } else if let [Damage::Flip { .. }] = harm.as_slice() {
        let header = BufferHeader::parse(&bytes).expect("it was decoded");
        let end = header.records_at().as_usize() + header.records_len.as_usize();
        let is_found = buffer::decode_buffer(&damaged).is_err();
        assert!(is_found || damaged[..end] == bytes[..end], "a flipped bit is found");
    }
    Ok(check(&damaged))
}

/// What was encoded is what was planned.
fn check_intact(plan: &Plan, entries: &[SummaryEntry], bytes: &[u8]) {
    assert_eq!(check(bytes), Verdict::Decoded);
    let decoded = buffer::decode_buffer(bytes).expect("what was encoded decodes");
    assert_eq!(decoded.header.kind, plan.kind());
    assert_eq!(decoded.header.total_len().as_usize(), bytes.len());
    assert_eq!(decoded.entries, entries);
    let records = plan.records.iter().map(|record| {
        let value = record.value.as_deref();
        (record.key.as_slice(), value.unwrap_or_default(), value.is_some())
    });
    let found = decoded
        .records
        .iter()
        .map(|record| (record.key, record.value, record.kind == RecordKind::Put));
    assert!(found.eq(records), "every key and value is read back");
}

/// Every law, on any bytes.
fn check(bytes: &[u8]) -> Verdict {
    if let Ok(header) = BufferHeader::parse(bytes) {
        check_header(&header, bytes);
    }
    let decoded = buffer::decode_buffer(bytes);
    if let Ok(decoded) = &decoded {
        check_again(decoded);
    }
    verdict(&decoded)
}

/// A header that was parsed describes a buffer within the longest segment, and itself.
fn check_header(header: &BufferHeader, bytes: &[u8]) {
    assert_eq!(header.encode(), bytes[..BufferHeader::LEN]);
    assert!(header.front_len() <= header.records_at());
    assert!(header.records_at() <= header.total_len());
    let end = header.offset.checked_add(header.total_len()).expect("a buffer has an end");
    assert!(end.get() <= MAX_SEGMENT_LEN);
    assert!(header.belongs_at(header.store, header.segment, header.offset));
    let (summary, records) = (header.check_summary(bytes), header.check_records(bytes));
    if bytes.len() >= header.total_len().as_usize() {
        let short = |part| matches!(part, Err(buffer::Damage::Short { .. }));
        assert!(!short(summary) && !short(records), "nothing is missing from a whole buffer");
    }
    if let Ok(entries) = parse_summary(header, &bytes[BufferHeader::LEN..]) {
        assert_eq!(u32::try_from(entries.len()), Ok(header.record_count));
        for at in locations(header, &entries) {
            let record_end = at.offset().checked_add(at.len()).expect("a record has an end");
            assert!(header.offset < at.offset() && record_end <= end);
        }
    }
}

/// What was decoded can be encoded, and decodes to the same meaning. Only CRCs may differ (zeros
/// between the parts need not have been zeros), and the first sequence of a rewrite buffer, which
/// is a lower bound.
fn check_again(decoded: &DecodedBuffer<'_>) {
    let DecodedBuffer { header, entries, records } = decoded;
    let mut raw = Vec::new();
    for record in records {
        append(
            &mut raw,
            &NewRecord {
                sequence: record.sequence,
                group: record.group,
                kind: record.kind,
                key: record.key,
                value: record.value,
                body_crc: body_crc(record.key, record.value),
            },
        );
    }
    let again = encode_buffer(header.clone(), entries, &raw);
    let again = buffer::decode_buffer(&again).expect("what was decoded can be encoded");
    assert_eq!((&again.entries, &again.records), (entries, records));
    let mut expected = header.clone();
    (expected.summary_crc, expected.records_crc) =
        (again.header.summary_crc, again.header.records_crc);
    if header.kind == BufferKind::Rewrite {
        assert!(header.first_sequence <= again.header.first_sequence);
        expected.first_sequence = again.header.first_sequence;
    }
    assert_eq!(again.header, expected);
}
