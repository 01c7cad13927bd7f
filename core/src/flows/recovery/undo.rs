//! Rewrites that a crash cut short are undone.
//!
//! A run takes a slot for its copies before its victims give theirs back. Cut short again and again
//! it would take the last one, and then nothing could be compacted any more. So a segment of copies
//! that was open at the crash does not count if everything in it lies elsewhere as well: its slot
//! is free again, and the originals are what they were.
//!
//! Either copy of a record would do: both are durable by the time this is asked.
//!
//! Absent on purpose: sealed segments. A run that sealed its output filled a segment, and has most
//! likely given one back.

use std::collections::BTreeSet;

use super::decide::{Verdict, is_rotten};
use crate::format::buffer::BufferKind;
use crate::segment_io::{FoundBuffer, Scanned};
use crate::types::{GroupId, KeyHash, Sequence};

/// A record, wherever it lies.
type Identity = (GroupId, KeyHash, Sequence);

/// The segments of copies, by their place among the scans, that need not count.
pub(super) fn undone(scans: &[Scanned], verdict: &Verdict) -> BTreeSet<usize> {
    let open = |found: &FoundBuffer, scan: usize| {
        scans[scan].seal.is_none() && found.header.kind == BufferKind::Rewrite
    };
    let mut missing: Vec<(usize, BTreeSet<Identity>)> = Vec::new();
    for which in &verdict.kept {
        let found = which.find(scans);
        if !open(found, which.scan) {
            continue;
        }
        match missing.last_mut() {
            Some((scan, records)) if *scan == which.scan => records.extend(identities(found)),
            _ => missing.push((which.scan, identities(found).collect())),
        }
    }
    if missing.is_empty() {
        return BTreeSet::new();
    }
    for which in &verdict.kept {
        let found = which.find(scans);
        if open(found, which.scan) || is_rotten(found) {
            continue;
        }
        for record in identities(found) {
            for (_, records) in &mut missing {
                records.remove(&record);
            }
        }
    }
    missing.into_iter().filter(|(_, records)| records.is_empty()).map(|entry| entry.0).collect()
}

fn identities(found: &FoundBuffer) -> impl Iterator<Item = Identity> {
    let entries = found.entries.iter().flatten();
    entries.map(|entry| (entry.group, entry.hash, entry.sequence))
}
