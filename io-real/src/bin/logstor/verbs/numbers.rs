//! `stat`: every number of a store.

use logstor::{CompactReport, CompactionStats, DeviceCounts, RunCauses, SpaceStats, Stats};
use serde_json::{Value, json};

use crate::failure::{Failure, Verdict};
use crate::open::Place;
use crate::out::Out;

pub(crate) async fn stat(place: &Place, out: &mut Out) -> Result<Verdict, Failure> {
    let db = place.open().await?;
    out.object(&all(&db.stats()))?;
    Ok(Verdict::Fine)
}

fn all(stats: &Stats) -> Value {
    let segments = stats.segments;
    let kinds = stats.kinds;
    json!({
        "groups": stats.groups,
        "keys": stats.keys,
        "index_bytes": stats.index_bytes,
        "live_bytes": stats.live_bytes,
        "tombstone_bytes": stats.tombstone_bytes,
        "file_bytes": stats.file_bytes,
        "capacity_bytes": stats.capacity,
        "segment_len": stats.segment_len,
        "next_sequence": stats.next_sequence,
        "segments": {
            "free": segments.free,
            "given_back": segments.hollow,
            "open": segments.active,
            "sealed": segments.sealed,
            "dead": segments.retired,
            "quarantined": segments.quarantined,
        },
        "writers": {
            "log": kinds.log,
            "of_these_mixed": kinds.mixed,
            "group": kinds.group,
            "shared": kinds.shared,
            "large": kinds.large,
        },
        "space": space(&stats.space),
        "needed_twentieths": stats.utilization,
        "compaction": compaction(&stats.compaction),
        "device": device(&stats.device),
        "storage": {
            "backend": stats.storage.backend,
            "alignment_bytes": stats.storage.alignment,
            "direct": stats.storage.direct,
        },
    })
}

fn space(space: &SpaceStats) -> Value {
    json!({
        "live_bytes": space.live,
        "dead_bytes": space.dead,
        "tombstone_bytes": space.tombstones,
        "padding_bytes": space.padding,
        "header_bytes": space.headers,
        "seal_bytes": space.seals,
        "free_bytes": space.free,
        "given_back_bytes": space.given_back,
        "reserved_bytes": space.reserved,
        "pinned_bytes": space.pinned,
    })
}

fn compaction(compaction: &CompactionStats) -> Value {
    let RunCauses { requests, separation, room, space, tombstones, shrink, .. } = compaction.causes;
    let CompactReport { segments, records_moved, bytes_moved, .. } = compaction.done;
    json!({
        "debt_segments": compaction.debt_segments,
        "separator_segments": compaction.separator_segments,
        "runs": requests + separation + room + space + tombstones + shrink,
        "segments_rewritten": segments,
        "records_moved": records_moved,
        "moved_bytes": bytes_moved,
    })
}

fn device(device: &DeviceCounts) -> Value {
    json!({
        "reads": device.reads,
        "read_bytes": device.read_bytes,
    })
}
