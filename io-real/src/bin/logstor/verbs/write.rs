//! `put` and `del`: what changes keys.
//!
//! What they write is durable when they end, and the store is closed behind it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use futures::stream::{self, Stream};
use logstor::{Db, Group};
use serde_json::{Map, Value};

use crate::args::{Del, Put};
use crate::failure::{Failure, Verdict};
use crate::open::{OfStore, group};
use crate::out::Out;
use crate::text::Coding;

/// Bytes of a file that are read at a time.
const PART: usize = 256 << 10;

pub(crate) async fn put(put: &Put, out: &mut Out) -> Result<Verdict, Failure> {
    let (path, coding) = (&put.target.path, put.bytes.coding());
    let key = coding.decode(put.key.as_encoded_bytes()).map_err(Failure::Usage)?;
    // Before the store is opened: a value that is none changes nothing.
    let value = Source::open(put)?;
    let db = put.target.open(put.create).await?;
    let group = if put.create {
        db.group(&put.group).await.of(path)?
    } else {
        group(&db, path, &put.group).await?
    };
    let len = value.len();
    match value {
        Source::Whole(value) => group.put(&key, value).await.of(path)?,
        Source::File(file, len) => group.put_stream(&key, len, parts(file)).await.of(path)?,
    }
    db.close().await.of(path)?;
    if out.is_json() {
        let mut object = Map::new();
        coding.put(&mut object, "key", &key);
        object.insert("value_len".into(), len.into());
        out.line(Value::from(object))?;
    }
    Ok(Verdict::Fine)
}

/// Where a value comes from.
enum Source {
    Whole(Bytes),
    File(File, u64),
}

impl Source {
    fn open(put: &Put) -> Result<Self, Failure> {
        if let Some(value) = &put.value {
            let value = put.bytes.coding().decode(value.as_encoded_bytes());
            return Ok(Self::Whole(value.map_err(Failure::Usage)?.into()));
        }
        let Some(path) = &put.file else {
            let mut value = Vec::new();
            io::stdin().read_to_end(&mut value).map_err(reading("stdin"))?;
            return Ok(Self::Whole(value.into()));
        };
        let name = path.display().to_string();
        let mut file = File::open(path).map_err(reading(&name))?;
        let facts = file.metadata().map_err(reading(&name))?;
        if facts.is_file() {
            return Ok(Self::File(file, facts.len()));
        }
        let mut value = Vec::new(); // a pipe, or a device
        file.read_to_end(&mut value).map_err(reading(&name))?;
        Ok(Self::Whole(value.into()))
    }

    fn len(&self) -> u64 {
        match self {
            Self::Whole(value) => value.len().try_into().unwrap_or(u64::MAX),
            Self::File(_, len) => *len,
        }
    }
}

/// Says what could not be read.
pub(super) fn reading(what: &str) -> impl FnOnce(io::Error) -> Failure {
    let doing = format!("reading {what}");
    move |source| Failure::Io { doing, source }
}

/// A file from its start to its end.
fn parts(file: File) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut part = vec![0; PART];
        match file.read(&mut part) {
            Ok(0) => None,
            Ok(len) => {
                part.truncate(len);
                Some((Ok(part.into()), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}

pub(crate) async fn del(del: &Del, out: &mut Out) -> Result<Verdict, Failure> {
    let (path, coding) = (&del.target.path, del.bytes.coding());
    let decoded = del.keys.iter().map(|key| coding.decode(key.as_encoded_bytes()));
    let keys: Vec<Vec<u8>> = decoded.collect::<Result<_, _>>().map_err(Failure::Usage)?;
    let db = if del.yes { del.target.open(false).await } else { del.target.place().open().await };
    let db = db?;
    let group = group(&db, path, &del.group).await?;
    let mut missing = false;
    for key in &keys {
        let found = delete(&group, key, del.yes).await.of(path)?;
        missing |= !found;
        tell(out, coding, key, (del.yes, found))?;
    }
    close(&db, path, del.yes).await?;
    if !del.yes {
        eprintln!("logstor: nothing was deleted; --yes does it");
    }
    Ok(Verdict::of(missing))
}

/// Deletes a key, if it should; whether it was there.
async fn delete(group: &Group, key: &[u8], really: bool) -> logstor::Result<bool> {
    if key.is_empty() {
        return Err(logstor::Error::KeyEmpty);
    }
    let found = group.contains_key(key)?;
    if found && really {
        group.delete(key).await?;
    }
    Ok(found)
}

fn tell(
    out: &mut Out,
    coding: Coding,
    key: &[u8],
    (really, found): (bool, bool),
) -> Result<(), Failure> {
    let what = match (really, found) {
        (_, false) => "absent",
        (true, true) => "deleted",
        (false, true) => "would be deleted",
    };
    if out.is_json() {
        let mut object = Map::new();
        coding.put(&mut object, "key", key);
        object.insert("what".into(), what.into());
        return out.line(Value::from(object));
    }
    out.line(format_args!("{}\t{what}", coding.show(key)))
}

async fn close(db: &Db, path: &Path, written: bool) -> Result<(), Failure> {
    if written { db.close().await.of(path) } else { Ok(()) }
}
