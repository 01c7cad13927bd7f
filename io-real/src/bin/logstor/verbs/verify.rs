//! `verify`: reads a store and says what of it is not as it was written.
//!
//! First the superblock and both slots of the mark, as the files are; then what the engine finds in
//! the segments ([`logstor::Db::verify`]).

use std::collections::BTreeMap;

use futures::TryStreamExt;
use logstor::types::GroupId;
use logstor::{Db, Finding, VerifyOptions};
use serde_json::{Value, json};

use super::inspect::damaged_files;
use super::segments::names;
use crate::args::Verify;
use crate::failure::{Failure, Verdict};
use crate::open::OfStore;
use crate::out::Out;
use crate::progress::Bar;
use crate::text::size;

/// What was looked at, and what came of it.
#[derive(Default)]
struct Sum {
    segments: u64,
    records: u64,
    bytes: u64,
    findings: u64,
    live: u64,
}

pub(crate) async fn verify(verify: &Verify, out: &mut Out) -> Result<Verdict, Failure> {
    let path = &verify.place.path;
    let db = verify.place.open().await?;
    let names = names(&db, &verify.place).await?;
    let mut sum = Sum::default();
    for (file, problem) in damaged_files(path)? {
        sum.findings += 1;
        if out.is_json() {
            out.line(json!({ "what": "finding", "file": file, "flaw": problem }))?;
        } else {
            out.line(format_args!("the file {file}: {problem}"))?;
        }
    }
    let bar = Bar::new();
    let read = segments(&db, verify, &names, (&mut sum, &bar), out).await;
    bar.end();
    read?;
    tell(&sum, out)?;
    Ok(Verdict::of(sum.findings > 0))
}

async fn segments(
    db: &Db,
    verify: &Verify,
    names: &BTreeMap<GroupId, String>,
    (sum, bar): (&mut Sum, &Bar),
    out: &mut Out,
) -> Result<(), Failure> {
    let mut options = VerifyOptions::default();
    options.summaries_only = verify.summaries;
    options.bytes_per_second = verify.rate;
    let mut segments = db.verify(options);
    while let Some(checked) = segments.try_next().await.of(&verify.place.path)? {
        sum.segments += u64::from(checked.bytes_read > 0);
        sum.records += checked.records;
        sum.bytes += checked.bytes_read;
        bar.tell("checking segments", checked.segment.get().into(), checked.segments.into());
        if checked.findings.is_empty() {
            continue;
        }
        bar.end();
        for finding in &checked.findings {
            sum.findings += 1;
            sum.live += u64::from(finding.live == Some(true));
            if out.is_json() {
                out.line(object(finding, names))?;
            } else {
                out.line(text(finding, names))?;
            }
        }
    }
    Ok(())
}

fn group(finding: &Finding, names: &BTreeMap<GroupId, String>) -> Option<String> {
    finding.group.map(|id| match names.get(&id) {
        _ if id == GroupId::SYSTEM => "the catalogue".to_owned(),
        Some(name) => name.clone(),
        None => format!("#{id}"),
    })
}

fn object(finding: &Finding, names: &BTreeMap<GroupId, String>) -> Value {
    json!({
        "what": "finding",
        "segment": finding.segment.get(),
        "offset": finding.offset.get(),
        "group": group(finding, names),
        "live": finding.live,
        "flaw": finding.flaw.to_string(),
    })
}

fn text(finding: &Finding, names: &BTreeMap<GroupId, String>) -> String {
    let live = match finding.live {
        Some(true) => "; a key needs it",
        Some(false) => "; no key needs it",
        None => "",
    };
    let group = group(finding, names).map_or(String::new(), |name| format!(" ({name})"));
    let Finding { segment, offset, flaw, .. } = finding;
    format!("segment {segment} offset {offset}{group}: {flaw}{live}")
}

fn tell(sum: &Sum, out: &mut Out) -> Result<(), Failure> {
    let Sum { segments, records, bytes, findings, live } = *sum;
    if out.is_json() {
        return out.line(json!({
            "what": "sum",
            "segments": segments,
            "records": records,
            "read_bytes": bytes,
            "findings": findings,
            "needed_by_keys": live,
        }));
    }
    let found = match findings {
        0 => "nothing is damaged".to_owned(),
        1 if live == 1 => "1 finding, needed by a key".to_owned(),
        1 => "1 finding".to_owned(),
        more => format!("{more} findings, {live} of them needed by a key"),
    };
    let bytes = size(bytes);
    out.line(format_args!("{segments} segments with {records} records, {bytes} read: {found}"))
}
