//! `info` and `groups`: what a store is, and what is in it.

use std::fs;
use std::path::Path;

use logstor::Db;
use logstor::format::superblock::{FORMAT_VERSION, Superblock};
use serde_json::{Value, json};

use crate::failure::{Failure, Verdict};
use crate::open::{OfStore, Place, SUPERBLOCK};
use crate::out::Out;

pub(crate) async fn info(place: &Place, out: &mut Out) -> Result<Verdict, Failure> {
    let db = place.open().await?;
    out.object(&describe(&db, &place.path)?)?;
    Ok(Verdict::of(is_damaged(&db)))
}

/// Whether the opening found that something is damaged or lost.
fn is_damaged(db: &Db) -> bool {
    let report = db.recovery_report();
    !(report.losses.is_empty()
        && report.damaged.is_empty()
        && report.damaged_files.is_empty()
        && report.damaged_catalogue.is_empty()
        && report.damaged_values.is_empty())
        || report.mark_lost
}

fn describe(db: &Db, path: &Path) -> Result<Value, Failure> {
    let superblock = fs::read(path.join(SUPERBLOCK)).ok();
    let superblock = superblock.and_then(|bytes| Superblock::parse(&bytes).ok());
    let superblock = superblock.ok_or_else(|| {
        Failure::Unreadable(format!("{}: the superblock changed meanwhile", path.display()))
    })?;
    let (stats, limits, report) = (db.stats(), db.limits(), db.recovery_report());
    let geometry = superblock.geometry;
    let file_len = geometry.file_len();
    Ok(json!({
        "path": path.display().to_string(),
        "store": superblock.store.to_string(),
        "format": FORMAT_VERSION,
        "groups": stats.groups,
        "keys": stats.keys,
        "live_bytes": stats.live_bytes,
        "file_bytes": stats.file_bytes,
        "files": stats.file_bytes / file_len,
        "segments": stats.file_bytes / stats.segment_len,
        "segment_len": stats.segment_len,
        "segments_per_file": geometry.segments_per_file(),
        "writes_so_far": stats.next_sequence.saturating_sub(1),
        "longest": {
            "key_len": limits.key_len,
            "value_in_a_batch_len": limits.value_len,
            "value_len": limits.large_value_len,
            "batch_len": limits.batch_len,
        },
        "opening": {
            "closed_cleanly": report.from_dump,
            "segments_read": report.segments_read,
            "read_bytes": report.bytes_read,
            "buffers_not_counted": report.buffers_voided,
            "index_bytes": stats.index_bytes,
            "took_ms": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
            "damaged": is_damaged(db),
        },
    }))
}

pub(crate) async fn groups(place: &Place, out: &mut Out) -> Result<Verdict, Failure> {
    let db = place.open().await?;
    let mut rows = Vec::new();
    for name in db.groups() {
        let group = db.group(&name).await.of(&place.path)?;
        let stats = group.stats().of(&place.path)?;
        rows.push(json!({
            "group": name,
            "id": group.id().get(),
            "keys": stats.keys,
            "live_bytes": stats.live_bytes,
            "segments": stats.segments,
            "shared_segments": stats.shared_segments,
            "large_values": stats.large_values,
            "large_bytes": stats.large_bytes,
        }));
    }
    out.table(&rows)?;
    Ok(Verdict::Fine)
}
