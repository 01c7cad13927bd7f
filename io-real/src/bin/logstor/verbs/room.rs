//! `compact` and `resize`: what gives room back. Neither changes a key.

use std::time::Duration;

use logstor::{CompactRequest, Db, Stats};
use serde_json::json;

use crate::args::{Compact, Resize};
use crate::failure::{Failure, Verdict};
use crate::open::OfStore;
use crate::out::Out;
use crate::progress::Bar;
use crate::text::size;

/// How often to look how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// Where nothing has changed for so long, nothing will.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn compact(compact: &Compact, out: &mut Out) -> Result<Verdict, Failure> {
    let path = &compact.target.path;
    let db = compact.target.open(false).await?;
    let before = db.stats();
    let request = CompactRequest::default().reclaimable_percent(compact.reclaimable);
    let request = match &compact.group {
        Some(group) => request.group(group),
        None => request,
    };
    let done = db.compact(request).await.of(path)?;
    let after = db.stats();
    db.close().await.of(path)?;
    out.object(&json!({
        "segments_rewritten": done.segments,
        "segments_emptied": done.segments_emptied,
        "records_moved": done.records_moved,
        "moved_bytes": done.bytes_moved,
        "tombstones_dropped": done.tombstones_dropped,
        "dead_bytes_before": before.space.dead,
        "dead_bytes_after": after.space.dead,
    }))?;
    Ok(Verdict::Fine)
}

pub(crate) async fn resize(resize: &Resize, out: &mut Out) -> Result<Verdict, Failure> {
    let path = &resize.target.path;
    let db = resize.target.open(false).await?;
    let before = db.stats().file_bytes;
    db.resize(Some(resize.capacity)).of(path)?;
    let bar = Bar::new();
    let fits = wait(&db, resize.capacity, &bar).await;
    bar.end();
    let after = db.stats().file_bytes;
    db.close().await.of(path)?;
    out.object(&json!({
        "file_bytes_before": before,
        "file_bytes_after": after,
        "capacity_bytes": resize.capacity,
        "fits": fits,
    }))?;
    if !fits {
        eprintln!(
            "logstor: the files do not fit into {}: too much is live, or lies in large values, \
             which are not moved",
            size(resize.capacity)
        );
    }
    Ok(Verdict::of(!fits))
}

/// Waits until the files take no more than that; whether they do in the end.
async fn wait(db: &Db, capacity: u64, bar: &Bar) -> bool {
    let state = |stats: &Stats| (stats.file_bytes, stats.compaction.done, stats.segments);
    let mut last = db.stats();
    let begun = last.file_bytes;
    let mut unchanged = Duration::ZERO;
    while last.file_bytes > capacity {
        if unchanged >= PATIENCE {
            return false;
        }
        tokio::time::sleep(LOOK).await;
        let now = db.stats();
        unchanged = if state(&now) == state(&last) { unchanged + LOOK } else { Duration::ZERO };
        last = now;
        let (gone, all) = (begun - last.file_bytes, begun.saturating_sub(capacity));
        bar.tell("giving files back", gone.min(all), all);
    }
    true
}
