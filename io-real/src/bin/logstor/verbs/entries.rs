//! `get` and `scan`: values of keys, and the entries of a group.

use futures::StreamExt;
use logstor::{Entry, EntryValue, Error, ErrorKind, Group};
use serde_json::{Map, Value};

use crate::args::{Get, Scan};
use crate::failure::{Failure, Verdict};
use crate::open::{OfStore, group};
use crate::out::Out;
use crate::text::Coding;

pub(crate) async fn get(get: &Get, out: &mut Out) -> Result<Verdict, Failure> {
    let (path, coding) = (&get.place.path, get.bytes.coding());
    let key = coding.decode(get.key.as_encoded_bytes()).map_err(Failure::Usage)?;
    let db = get.place.open().await?;
    let group = group(&db, path, &get.group).await?;
    let stream = group.get_stream(&key).await.of(path)?;
    let Some(mut stream) = stream else {
        let key = coding.show(&key);
        return Err(Failure::Absent(format!("there is no key {key} in group {}", get.group)));
    };
    let (version, mut value) = (stream.version(), Vec::new());
    let raw = coding == Coding::Text && !out.is_json();
    while let Some(part) = stream.next().await {
        let part = part.of(path)?;
        if raw {
            // Not kept: it may be of gigabytes.
            out.bytes(&part)?;
        } else {
            value.extend_from_slice(&part);
        }
    }
    if out.is_json() {
        let mut object = Map::new();
        coding.put(&mut object, "key", &key);
        coding.put(&mut object, "value", &value);
        object.insert("version".into(), version.get().into());
        out.line(Value::from(object))?;
    } else if !raw {
        out.line(coding.show(&value))?;
    } else if out.is_terminal() {
        out.line("")?;
    }
    Ok(Verdict::Fine)
}

pub(crate) async fn scan(scan: &Scan, out: &mut Out) -> Result<Verdict, Failure> {
    let path = &scan.place.path;
    let db = scan.place.open().await?;
    let group = group(&db, path, &scan.group).await?;
    let mut damaged: u64 = 0;
    let limit = usize::try_from(scan.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let mut entries = group.scan().take(limit);
    while let Some(entry) = entries.next().await {
        match entry {
            Ok(entry) => print(&entry, scan, out)?,
            Err(error) if error.kind() == ErrorKind::Corruption => {
                damaged += 1;
                note(&group, &error);
            }
            Err(error) => return Err(error).of(path),
        }
    }
    Ok(Verdict::of(damaged > 0))
}

/// Says of an entry that it is damaged; the others are given all the same.
pub(super) fn note(group: &Group, error: &Error) {
    eprintln!("logstor: group {}: {error}", group.name());
}

fn print(entry: &Entry, scan: &Scan, out: &mut Out) -> Result<(), Failure> {
    let coding = scan.bytes.coding();
    if out.is_json() {
        let mut object = Map::new();
        coding.put(&mut object, "key", &entry.key);
        match &entry.value {
            _ if scan.keys => {}
            EntryValue::Whole(value) => coding.put(&mut object, "value", value),
            EntryValue::Large(len) => drop(object.insert("large_value_len".into(), (*len).into())),
        }
        object.insert("version".into(), entry.version.get().into());
        return out.line(Value::from(object));
    }
    let key = coding.show(&entry.key);
    match &entry.value {
        _ if scan.keys => out.line(key),
        EntryValue::Whole(value) => out.line(format_args!("{key}\t{}", coding.show(value))),
        EntryValue::Large(len) => out.line(format_args!("{key}\t\\{{{len} bytes}}")),
    }
}
