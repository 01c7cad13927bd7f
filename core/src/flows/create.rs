//! An empty folder becomes a store.
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | write the mark under another name, sync, rename, sync the folder | nothing: no store yet |
//! | 2 | write the superblock under a temporary name, sync | nothing: no store yet |
//! | 3 | rename it, sync the folder: now there is one | nothing, whichever way it went |
//!
//! The superblock is what makes a folder a store. Leftovers of a creation that did not get so far
//! are replaced; any other file in the folder is somebody else's, and the folder is refused.

use std::io;
use std::sync::Arc;

use crate::format::geometry::Geometry;
use crate::format::mark::Mark;
use crate::format::superblock::{StoreId, Superblock};
use crate::io::{Environment, FileOffset, FolderEntry, IoBuf, OpenMode, Storage};
use crate::open_error::OpenError;
use crate::options::Options;
use crate::segment_io::{MARK_NAME, SUPERBLOCK_NAME};
use crate::types::ByteLen;

/// Names that a creation which did not finish leaves behind, or that the system puts there.
const HARMLESS: [&str; 5] = ["LOCK", "mark", "mark.new", "superblock.new", "lost+found"];

/// Creates a store in a folder without a superblock.
pub(crate) async fn create(
    environment: &Environment,
    options: &Options,
    names: &[FolderEntry],
) -> Result<(), OpenError> {
    if let Some(other) = names.iter().find(|entry| !HARMLESS.contains(&&*entry.name)) {
        return Err(OpenError::NotAStore { name: other.name.clone() });
    }
    let geometry = choose_geometry(options)?;
    let (id, secret) = environment.entropy.split_at(16);
    let superblock = Superblock {
        store: StoreId::new(id.try_into().expect("half of 32 bytes is 16")),
        geometry,
        secret: secret.try_into().expect("half of 32 bytes is 16"),
    };

    // 1. Two marks, so that the older slot never reads as damage.
    let storage = &*environment.storage;
    let mut marks = IoBuf::zeroed(ByteLen::new(crate::types::to_u32(Mark::FILE_LEN)));
    for ordinal in 0..2 {
        let mark = Mark { ordinal, hollow: false, ..Mark::unknown() };
        let at = usize::try_from(mark.slot_offset().get()).expect("the mark is two blocks long");
        marks[at..at + Mark::LEN].copy_from_slice(&mark.encode(superblock.store.short()));
    }
    put(storage, MARK_NAME, marks).await?;
    // A superblock whose name is durable needs a mark whose name is.
    storage.sync_folder().await.map_err(OpenError::io("syncing the folder", ""))?;

    // 2 and 3. The superblock.
    put(storage, SUPERBLOCK_NAME, superblock.encode()).await?;
    storage.sync_folder().await.map_err(OpenError::io("syncing the folder", ""))
}

/// Files of the default length, or smaller ones where the capacity does not hold four of them.
fn choose_geometry(options: &Options) -> Result<Geometry, OpenError> {
    let segment_len = options.segment_len.unwrap_or(Options::SEGMENT_LEN);
    let fitting = options.capacity.map_or(u64::MAX, |capacity| capacity / u64::from(segment_len));
    let default = u32::try_from(fitting / 4).unwrap_or(u32::MAX);
    let default = default.clamp(1, Options::SEGMENTS_PER_FILE);
    let segments_per_file = options.segments_per_file.unwrap_or(default);
    Geometry::new(segment_len, segments_per_file).map_err(OpenError::Geometry)
}

async fn put(storage: &dyn Storage, name: &str, bytes: IoBuf) -> Result<(), OpenError> {
    let temporary = format!("{name}.new");
    let fail = || OpenError::io("creating", name);
    match storage.remove(&temporary).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail()(error)),
        _ => {}
    }
    let file = storage.open(&temporary, OpenMode::CreateNew).await.map_err(fail())?;
    file.write(FileOffset::ZERO, Arc::new(bytes)).await.map_err(fail())?;
    file.sync().await.map_err(fail())?;
    drop(file);
    storage.rename(&temporary, name).await.map_err(fail())
}
