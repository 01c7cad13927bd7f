//! `recover`: what an opening would do, in words, and, where it is asked for, that opening.
//!
//! What would be done is not guessed: the store is opened to be read, which recovers it in full,
//! over an overlay in memory. If an opening is refused, the same is asked of one that salvages.

use logstor::{Db, ErrorKind, Loss, RecoveryMode, RecoveryReport};
use serde_json::json;

use crate::args::Recover;
use crate::failure::{Failure, Verdict};
use crate::open::{OfStore, Place};
use crate::out::Out;

pub(crate) async fn recover(recover: &Recover, out: &mut Out) -> Result<Verdict, Failure> {
    if recover.yes {
        let mode = if recover.salvage { RecoveryMode::Salvage } else { RecoveryMode::Normal };
        let db = recover.target.open_as(|builder| builder.recovery(mode), false).await?;
        let said = tell(&db, None, recover.salvage, out)?;
        db.close().await.of(&recover.target.path)?;
        return Ok(said);
    }
    let place = Place { salvage: recover.salvage, ..recover.target.place() };
    match place.open().await {
        Ok(db) => {
            let verdict = tell(&db, None, place.salvage, out)?;
            eprintln!("logstor: nothing was changed; any opening for writing does this");
            Ok(verdict)
        }
        Err(Failure::Store { error, .. }) if error.kind() == ErrorKind::Corruption => {
            let refused = error.to_string();
            let salvaging = Place { salvage: true, ..place };
            let Ok(db) = salvaging.open().await else { return Err(error).of(&salvaging.path) };
            let verdict = tell(&db, Some(&refused), true, out)?;
            eprintln!("logstor: nothing was changed; --salvage --yes opens it so for good");
            Ok(verdict)
        }
        Err(failure) => Err(failure),
    }
}

fn tell(
    db: &Db,
    refused: Option<&str>,
    salvaging: bool,
    out: &mut Out,
) -> Result<Verdict, Failure> {
    let report = db.recovery_report();
    let found = damage(report);
    let verdict = Verdict::of(refused.is_some() || !found.is_empty());
    if out.is_json() {
        out.line(json!({
            "refused": refused,
            "salvaging": salvaging,
            "done": done(report),
            "damage": found,
        }))?;
        return Ok(verdict);
    }
    if let Some(refused) = refused {
        out.line(format_args!("An opening is refused: {refused}"))?;
        out.line("\nAn opening that salvages what is left:")?;
    }
    done(report).iter().try_for_each(|line| out.line(line))?;
    if !found.is_empty() {
        out.line("\nDamaged or lost:")?;
        found.iter().try_for_each(|line| out.line(line))?;
    }
    Ok(verdict)
}

/// What an opening does, step by step.
fn done(report: &RecoveryReport) -> Vec<String> {
    let mut lines = Vec::new();
    if report.from_dump {
        lines.push("The store was closed in order: the index comes from the dump.".into());
    } else {
        lines.push("The store was not closed in order: the index is made of the segments.".into());
        if report.dump_ignored {
            lines.push("A dump is there, and is not believed: it is damaged or older.".into());
        }
        lines.push(format!(
            "{} segments are looked at: {} by their seals, {} block by block; {} bytes.",
            report.segments_read, report.segments_sealed, report.segments_walked, report.bytes_read
        ));
    }
    lines.push(format!(
        "{} keys in {} groups are there.{}",
        report.keys,
        report.groups,
        if report.from_dump {
            String::new()
        } else {
            let (records, buffers) = (report.records_kept, report.buffers_kept);
            format!(" {records} records in {buffers} buffers count.")
        }
    ));
    if report.buffers_made_durable > 0 {
        lines.push(format!(
            "{} buffers at the end of the log are whole and may not be durable: they are written \
             again in their places.",
            report.buffers_made_durable
        ));
    }
    if report.buffers_voided > 0 {
        lines.push(format!(
            "{} buffers of writes that were never acknowledged do not count: they are made void.",
            report.buffers_voided
        ));
    }
    lines
}

/// What is damaged or lost, one a line.
fn damage(report: &RecoveryReport) -> Vec<String> {
    let mut lines: Vec<String> = report.losses.iter().map(loss).collect();
    if report.mark_lost {
        lines.push("The mark: neither of its slots can be read.".into());
    }
    lines.extend(
        report
            .damaged_files
            .iter()
            .map(|name| format!("The file {name}: it is missing, or not as long as it was made.")),
    );
    lines.extend(report.damaged.iter().map(|buffer| {
        format!(
            "Segment {} offset {}: some of {} records; reading such a key says so.",
            buffer.segment, buffer.offset, buffer.records
        )
    }));
    lines.extend(report.damaged_values.iter().map(|value| match value.pieces {
        Some(pieces) => format!("The large value of the record in {}: {pieces} pieces.", value.at),
        None => format!("The record of a large value in {}.", value.at),
    }));
    lines.extend(report.damaged_catalogue.iter().map(|at| {
        format!("The record of a group in {at}: the group is there as `lost+` and its number.")
    }));
    lines
}

fn loss(loss: &Loss) -> String {
    let place = loss.place.map_or_else(
        || "Somewhere".to_owned(),
        |(segment, offset)| format!("Segment {segment} offset {offset}"),
    );
    let writes = match (loss.first_sequence, loss.end_sequence) {
        (Some(first), Some(end)) => {
            format!("the writes {first} to {}", end.get().saturating_sub(1))
        }
        (Some(first), None) => format!("writes from {first} on"),
        (None, Some(end)) => format!("writes before {end}"),
        (None, None) => "an unknown number of writes".into(),
    };
    format!("{place}: {writes}; their keys may be missing or show an older value.")
}
