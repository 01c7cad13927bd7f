//! `dump` and `load`: all entries as lines of JSON, and back.
//!
//! ```text
//! {"group":"users"}
//! {"group":"users","key_base64":"YWxpY2U=","value_base64":"Zmlyc3Q="}
//! ```
//!
//! 1. A dump is of one moment: nobody writes to a store that is open to be read.
//! 2. A line that names only a group makes the group, so that empty ones are not lost.
//! 3. What is loaded is durable when the tool ends. Stopped before, a part of it is there: from
//!    the start of the input on, without a gap.
//!
//! A dump never has a large value in memory; a load has one line there at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use data_encoding::BASE64;
use futures::StreamExt;
use logstor::{Db, Durability, EntryValue, ErrorKind, Group};
use serde_json::{Value, json};

use super::entries::note;
use super::write::reading;
use crate::args::{Dump, Load};
use crate::failure::{Failure, Verdict};
use crate::open::{OfStore, group, is_store};
use crate::out::Out;
use crate::progress::Bar;
use crate::text::Coding;

pub(crate) async fn dump(dump: &Dump, out: &mut Out) -> Result<Verdict, Failure> {
    let path = &dump.place.path;
    let db = dump.place.open().await?;
    let names = if dump.group.is_empty() { db.groups() } else { dump.group.clone() };
    let (bar, mut done, mut damaged) = (Bar::new(), 0, false);
    let keys = db.stats().keys; // of a store that nobody writes to
    for name in names {
        let group = group(&db, path, &name).await?;
        let name = Value::from(name).to_string();
        out.line(format_args!("{{\"group\":{name}}}"))?;
        let mut entries = group.scan();
        while let Some(entry) = entries.next().await {
            done += 1;
            bar.tell("dumping entries", done, keys);
            let written = match entry {
                Ok(entry) => {
                    let key = BASE64.encode(&entry.key);
                    out.text(&format!("{{\"group\":{name},\"key_base64\":\"{key}\""))?;
                    out.text(",\"value_base64\":\"")?;
                    let value = match entry.value {
                        EntryValue::Whole(value) => out.text(&BASE64.encode(&value)),
                        EntryValue::Large(_) => large(&group, &entry.key, dump, out).await,
                    };
                    value.and_then(|()| out.line("\"}"))
                }
                Err(error) if error.kind() == ErrorKind::Corruption => {
                    bar.end();
                    note(&group, &error);
                    damaged = true;
                    continue;
                }
                Err(error) => Err(error).of(path),
            };
            written?;
        }
    }
    bar.end();
    Ok(Verdict::of(damaged))
}

/// A large value, piece by piece. One that is damaged ends the dump: half of it is out by then.
async fn large(group: &Group, key: &[u8], dump: &Dump, out: &mut Out) -> Result<(), Failure> {
    let path = &dump.place.path;
    let Some(mut value) = group.get_stream(key).await.of(path)? else { return Ok(()) };
    // Three bytes are four letters; what is left of a piece goes with the next one.
    let mut rest = Vec::new();
    while let Some(piece) = value.next().await {
        rest.extend_from_slice(&piece.of(path)?);
        let whole = rest.len() / 3 * 3;
        out.text(&BASE64.encode(&rest[..whole]))?;
        rest.drain(..whole);
    }
    out.text(&BASE64.encode(&rest))
}

/// What a load does in one group.
#[derive(Clone, Copy, Default)]
struct Loaded {
    entries: u64,
    replaced: u64,
}

pub(crate) async fn load(load: &Load, out: &mut Out) -> Result<Verdict, Failure> {
    let path = &load.target.path;
    let mut lines: Box<dyn BufRead> = match &load.file {
        Some(file) => {
            let opened = File::open(file).map_err(reading(&file.display().to_string()));
            Box::new(BufReader::new(opened?))
        }
        None => Box::new(io::stdin().lock()),
    };
    let db = match (load.yes, is_store(path)) {
        (true, _) => Some(load.target.open(load.create).await?),
        (false, true) => Some(load.target.place().open().await?),
        (false, false) => None,
    };
    let (bar, mut loaded) = (Bar::new(), BTreeMap::new());
    let read = take_all(&mut lines, load, (db.as_ref(), &bar), &mut loaded).await;
    bar.end();
    read?;
    if let Some(db) = db.filter(|_| load.yes) {
        db.close().await.of(path)?;
    }
    let row = |(group, done): (&String, &Loaded)| {
        json!({
            "group": group,
            "entries": done.entries,
            "in_place_of_other_values": done.replaced,
        })
    };
    out.table(&loaded.iter().map(row).collect::<Vec<_>>())?;
    if !load.yes {
        eprintln!("logstor: nothing was written; --yes does it");
    }
    Ok(Verdict::Fine)
}

async fn take_all(
    lines: &mut dyn BufRead,
    load: &Load,
    (db, bar): (Option<&Db>, &Bar),
    loaded: &mut BTreeMap<String, Loaded>,
) -> Result<(), Failure> {
    let path = &load.target.path;
    let (mut line, mut number, mut groups) = (Vec::new(), 0, BTreeMap::new());
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        if read.map_err(reading("the input"))? == 0 {
            return Ok(());
        }
        number += 1;
        let parsed = parse(&line);
        let parsed = parsed.map_err(|why| Failure::Usage(format!("line {number}: {why}")))?;
        let Some(Line { group, entry }) = parsed else { continue };
        let done: &mut Loaded = loaded.entry(group.clone()).or_default();
        let there = match db {
            Some(db) if !groups.contains_key(&group) => {
                // Before --yes a group that is missing is not made.
                let known = load.yes || db.groups().contains(&group);
                let found = if known { Some(db.group(&group).await.of(path)?) } else { None };
                groups.entry(group).or_insert(found).clone()
            }
            _ => groups.get(&group).cloned().flatten(),
        };
        let Some((key, value)) = entry else { continue };
        done.entries += 1;
        bar.tell("loading entries", number, number);
        let Some(there) = there else { continue };
        done.replaced += u64::from(there.contains_key(&key).of(path)?);
        if load.yes {
            there.put_with(&key, value, Durability::Buffered).await.of(path)?;
        }
    }
}

/// A line of a dump.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    group: String,
    entry: Option<(Vec<u8>, Vec<u8>)>,
}

/// The only way from a line to what it says; `None` if it is empty. Takes lines of `scan --json`
/// as well, with a group added.
fn parse(line: &[u8]) -> Result<Option<Line>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let object: Value =
        serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    let Some(group) = object["group"].as_str() else {
        return Err("there is no field `group` with the name of one".into());
    };
    let entry = match (field(&object, "key")?, field(&object, "value")?) {
        (Some(key), Some(value)) => Some((key, value)),
        (None, None) => None,
        (Some(_), None) => return Err("there is a key and no value".into()),
        (None, Some(_)) => return Err("there is a value and no key".into()),
    };
    Ok(Some(Line { group: group.to_owned(), entry }))
}

/// The bytes of a field, in whichever coding it is there.
fn field(object: &Value, name: &str) -> Result<Option<Vec<u8>>, String> {
    let codings = [("", Coding::Text), ("_hex", Coding::Hex), ("_base64", Coding::Base64)];
    let there = codings
        .into_iter()
        .filter_map(|(ending, coding)| Some((coding, object.get(format!("{name}{ending}"))?)));
    let there: Vec<(Coding, &Value)> = there.collect();
    match &there[..] {
        [] => Ok(None),
        [(coding, Value::String(text))] => coding.decode(text.as_bytes()).map(Some),
        [_] => Err(format!("the field {name} is no string")),
        _ => Err(format!("the field {name} is there more than once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_group_or_an_entry_or_refused_for_the_right_reason() {
        let entry = |key: &[u8], value: &[u8]| {
            let entry = Some((key.to_vec(), value.to_vec()));
            Ok(Some(Line { group: "g".into(), entry }))
        };
        assert_eq!(parse(b" \r\n"), Ok(None));
        assert_eq!(parse(br#"{"group":"g"}"#), Ok(Some(Line { group: "g".into(), entry: None })));
        let base64 = br#"{"group":"g","key_base64":"/w==","value_base64":""}"#;
        assert_eq!(parse(base64), entry(b"\xff", b""));
        let text = br#"{"group":"g","key":"k","value_hex":"00ff","version":7}"#;
        assert_eq!(parse(text), entry(b"k", b"\x00\xff"));
        let refused = |line: &str, why: &str| {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        };
        refused("{", "no JSON");
        refused("[1]", "no field `group`");
        refused(r#"{"group":7}"#, "no field `group`");
        refused(r#"{"group":"g","key":"k"}"#, "no value");
        refused(r#"{"group":"g","value":"k"}"#, "no key");
        refused(r#"{"group":"g","key":7,"value":"v"}"#, "no string");
        refused(r#"{"group":"g","key":"k","key_hex":"00","value":"v"}"#, "more than once");
        refused(r#"{"group":"g","key_base64":"a","value":"v"}"#, "base64");
        assert!(parse(b"\xff").unwrap_err().contains("no JSON"));
    }
}
