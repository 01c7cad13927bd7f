//! The files of a store, checked: superblock, mark, segments, leftovers.
//!
//! Nothing is written here but the removal of temporary names. The folder is synced: after the
//! death of a process alone, a name may be there that a power cut would still take away.

use std::io;
use std::sync::Arc;

use crate::format::geometry::Geometry;
use crate::format::hash::KeyHasher;
use crate::format::mark::{Mark, NotAMark};
use crate::format::superblock::{NotASuperblock, Superblock};
use crate::io::{Environment, File, FileOffset, FolderEntry, IoBuf, OpenMode, Spawn, Storage};
use crate::open_error::OpenError;
use crate::options::{Options, RecoveryMode};
use crate::segment_io::{Device, MARK_NAME, MissingFile, SUPERBLOCK_NAME, file_name};
use crate::types::{ByteLen, to_u32, to_u64};

/// A store whose files are open.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) superblock: Superblock,
    pub(super) hasher: KeyHasher,
    pub(super) mark: Mark,
    /// Neither slot of the mark could be read: what it says is made up, see [`Mark::unknown`].
    pub(super) mark_lost: bool,
    pub(super) device: Device,
    pub(super) files: u32,
    pub(super) spawn: Arc<dyn Spawn>,
    /// Files of segments that are missing, or not as long as they were made.
    pub(super) damaged_files: Vec<String>,
}

pub(super) async fn open(
    environment: &Environment,
    options: &Options,
    names: &[FolderEntry],
) -> Result<Folder, OpenError> {
    let storage = &*environment.storage;
    let mut superblock = read_superblock(storage).await?;
    if superblock.is_err() {
        superblock = read_superblock(storage).await?; // a read may give other bytes, once
    }
    let superblock = superblock.map_err(OpenError::Superblock)?;
    check_geometry(superblock.geometry, options)?;
    let short = superblock.store.short();

    let mark = match read_mark(storage, short).await {
        Err(error) if options.recovery == RecoveryMode::Salvage && error.is_damage() => None,
        other => Some(other?),
    };
    remove_leftovers(storage, names).await?;

    let exists = names.iter().any(|entry| entry.name == MARK_NAME);
    let how = if exists { OpenMode::Existing } else { OpenMode::CreateNew };
    let file = storage.open(MARK_NAME, how).await;
    let file = file.map_err(OpenError::io("opening", MARK_NAME))?;
    let mark_lost = mark.is_none();
    if mark_lost {
        let whole = file.preallocate(to_u64(Mark::FILE_LEN)).await;
        whole.map_err(OpenError::io("making", MARK_NAME))?;
    }
    let mark = mark.unwrap_or_else(Mark::unknown);
    let device = Device::new(environment, superblock.geometry, short, file);
    let mut damaged_files = Vec::new();
    // Without a mark the names must tell it: behind a gap lies what others were made after.
    let there = names.iter().filter_map(|entry| file_index(&entry.name)).max();
    let expected =
        if mark_lost { there.map_or(0, |last| last.saturating_add(1)) } else { mark.files };
    let asked = (expected, options.recovery);
    let files = open_segments(&device, names, asked, &mut damaged_files).await?;
    // What was listed may be readable without being durable, and is about to be relied on.
    storage.sync_folder().await.map_err(OpenError::io("syncing the folder", ""))?;
    let hasher = KeyHasher::new(superblock.secret);
    let spawn = Arc::clone(&environment.spawn);
    Ok(Folder { superblock, hasher, mark, mark_lost, device, files, spawn, damaged_files })
}

async fn read_superblock(
    storage: &dyn Storage,
) -> Result<Result<Superblock, NotASuperblock>, OpenError> {
    let bytes = read_small(storage, SUPERBLOCK_NAME, Superblock::LEN).await?;
    Ok(Superblock::parse(&bytes))
}

/// The mark that counts. Read twice: a read that gave an older one would let the log end early.
async fn read_mark(storage: &dyn Storage, short: u64) -> Result<Mark, OpenError> {
    let mut newest: Result<Mark, NotAMark> = Err(NotAMark::Zero);
    for _ in 0..2 {
        let bytes = read_small(storage, MARK_NAME, Mark::FILE_LEN).await?;
        newest = match (newest, Mark::newest(&bytes, short)) {
            (Ok(one), Ok(other)) => Ok(if one.ordinal < other.ordinal { other } else { one }),
            (Ok(one), Err(_)) => Ok(one),
            (Err(_), other) => other,
        };
    }
    newest.map_err(OpenError::Mark)
}

fn check_geometry(geometry: Geometry, options: &Options) -> Result<(), OpenError> {
    let check = |name, asked: Option<u32>, found: u32| match asked {
        Some(asked) if asked != found => Err(OpenError::OtherGeometry { name, asked, found }),
        _ => Ok(()),
    };
    check("segment_len", options.segment_len, geometry.segment_len().get())?;
    check("segments_per_file", options.segments_per_file, geometry.segments_per_file())
}

/// All of a file that should be `len` bytes long; a shorter one gives what is there.
async fn read_small(storage: &dyn Storage, name: &str, len: usize) -> Result<IoBuf, OpenError> {
    let file = match storage.open(name, OpenMode::Existing).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::MissingFile { name: name.into() });
        }
        other => other.map_err(OpenError::io("opening", name))?,
    };
    let found = file.len().await.map_err(OpenError::io("measuring", name))?;
    if found != to_u64(len) {
        return Err(OpenError::WrongLength { name: name.into(), expected: to_u64(len), found });
    }
    let buf = IoBuf::zeroed(ByteLen::new(to_u32(len)));
    file.read(FileOffset::ZERO, buf).await.map_err(OpenError::io("reading", name))
}

/// A name that a file has while it is made, or replaced, or given back.
fn is_leftover(name: &str) -> bool {
    [".new", ".old"].iter().any(|suffix| name.ends_with(suffix))
}

/// What a file that was being made, or replaced, or given back, left behind.
async fn remove_leftovers(storage: &dyn Storage, names: &[FolderEntry]) -> Result<(), OpenError> {
    for entry in names.iter().filter(|entry| is_leftover(&entry.name)) {
        let removed = storage.remove(&entry.name).await;
        removed.map_err(OpenError::io("removing", entry.name.clone()))?;
    }
    Ok(())
}

/// The index of a file of segments with this name.
fn file_index(name: &str) -> Option<u32> {
    let index = name.strip_prefix("segments-")?.strip_suffix(".log")?.parse().ok()?;
    (file_name(index) == name).then_some(index)
}

/// Opens every file of segments; the mark says how many there must be at least.
async fn open_segments(
    device: &Device,
    names: &[FolderEntry],
    (expected, mode): (u32, RecoveryMode),
    damaged: &mut Vec<String>,
) -> Result<u32, OpenError> {
    // A file that the mark does not know was made and not used yet. Behind a gap there may be one
    // whose name was never made durable: it holds nothing, and is replaced when its turn comes.
    let exists = |index: u32| names.iter().any(|entry| entry.name == file_name(index));
    let mut files = expected;
    while exists(files) {
        files += 1;
    }
    if files > device.geometry().max_files() {
        return Err(OpenError::Counter { what: "number of files", found: files.into() });
    }
    for index in 0..files {
        let name = file_name(index);
        let Some(entry) = names.iter().find(|entry| entry.name == name) else {
            if mode == RecoveryMode::Normal {
                return Err(OpenError::MissingFile { name });
            }
            device.add_file(Arc::new(MissingFile)); // nothing in it can be read
            damaged.push(name);
            continue;
        };
        let len = device.geometry().file_len();
        if entry.len != len && mode == RecoveryMode::Normal {
            return Err(OpenError::WrongLength { name, expected: len, found: entry.len });
        }
        if entry.len != len {
            damaged.push(name.clone());
        }
        let file: io::Result<Arc<dyn File>> =
            device.storage().open(&name, OpenMode::Existing).await;
        device.add_file(file.map_err(OpenError::io("opening", name))?);
    }
    Ok(files)
}
