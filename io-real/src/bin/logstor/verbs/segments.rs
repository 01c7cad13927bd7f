//! `segments`: what each segment is for, as a table or as a map.

use std::collections::BTreeMap;

use logstor::types::GroupId;
use logstor::{Db, SegmentInfo, SegmentUse, SegmentWriter};
use serde_json::{Value, json};

use super::map;
use crate::args::Segments;
use crate::failure::{Failure, Verdict};
use crate::open::{OfStore, Place};
use crate::out::Out;

pub(crate) async fn segments(asked: &Segments, out: &mut Out) -> Result<Verdict, Failure> {
    let db = asked.place.open().await?;
    let segments = db.segments();
    if asked.map {
        let map = map::draw(&segments, db.stats().segment_len);
        if out.is_json() {
            out.line(map.json())?;
        } else {
            out.text(&map.text(out.is_terminal() && std::env::var_os("NO_COLOR").is_none()))?;
        }
        return Ok(Verdict::Fine);
    }
    let names = names(&db, &asked.place).await?;
    let rows: Vec<Value> = segments.iter().map(|segment| row(segment, &names)).collect();
    out.table(&rows)?;
    Ok(Verdict::Fine)
}

/// The names of all groups, by id.
pub(super) async fn names(db: &Db, place: &Place) -> Result<BTreeMap<GroupId, String>, Failure> {
    let mut names = BTreeMap::new();
    for name in db.groups() {
        names.insert(db.group(&name).await.of(&place.path)?.id(), name);
    }
    Ok(names)
}

fn row(segment: &SegmentInfo, names: &BTreeMap<GroupId, String>) -> Value {
    let (writer, group) = match segment.writer {
        None => (Value::Null, None),
        Some(SegmentWriter::Log) => ("log".into(), None),
        Some(SegmentWriter::Group(group)) => ("group".into(), Some(group)),
        Some(SegmentWriter::Shared) => ("shared".into(), None),
        Some(SegmentWriter::Large(group)) => ("large".into(), Some(group)),
        Some(_) => ("other".into(), None),
    };
    let group = group.map(|id| names.get(&id).cloned().unwrap_or_else(|| format!("#{id}")));
    let space = segment.space;
    json!({
        "segment": segment.segment.get(),
        "used": used(segment.used),
        "writer": writer,
        "group": group,
        "generation": segment.generation.get(),
        "live_records": segment.live_records,
        "groups": segment.groups,
        "live_bytes": space.live,
        "dead_bytes": space.dead,
        "tombstone_bytes": space.tombstones,
        "padding_bytes": space.padding,
    })
}

/// A word for where a segment is in its life.
pub(super) fn used(used: SegmentUse) -> &'static str {
    match used {
        SegmentUse::Free => "free",
        SegmentUse::Hollow => "given back",
        SegmentUse::Active => "open",
        SegmentUse::Sealed => "sealed",
        SegmentUse::Retired => "dead",
        SegmentUse::Quarantined => "quarantined",
        _ => "other",
    }
}
