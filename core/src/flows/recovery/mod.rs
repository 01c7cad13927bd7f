//! From a folder to the state as of the last durable write.
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | superblock, mark, files | nothing |
//! | 2 | after a clean close: the dump, removed durably; then 7 | nothing: the long way is left |
//! | 3 | read the head, seal and summaries of every segment | nothing: only reads |
//! | 4 | decide what counts, what is void, what is lost | nothing: a function |
//! | 5 | write again what is not durable, void the rest, sync, seal | the next decides the same |
//! | 6 | per key the highest sequence wins: index, live bytes, pieces of large values | nothing |
//! | 7 | publish the mark, above every number ever seen | nothing |
//!
//! Step 5 comes before anybody sees the state, so what a recovery showed stays (promise P7). It
//! syncs every file: after the death of a process alone the system's cache may hold writes that
//! are not durable, and what is in them is about to be shown.
//!
//! Step 7 writes two marks, first the one that was found into its own slot: that one too may
//! have been readable without being durable, and the slot written next is the other one.

mod decide;
mod dump;
mod folder;
mod load;
mod pieces;
mod progress;
mod report;
mod settle;
mod undo;
mod winners;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{StreamExt, TryStreamExt};

pub use report::{DamagedBuffer, DamagedValue, RecoveryReport};

use crate::format::mark::Mark;
use crate::io::{Environment, FolderEntry};
use crate::memory::{GENERATIONS_AHEAD, Growth, Parts, Rules, State, files_max, next_slots};
use crate::open_error::OpenError;
use crate::options::{OpenPhase, Options, RecoveryMode};
use crate::segment_io::{DUMP_NAME, HeadBlock, Look, Scanned, scan_segment};
use crate::store::Store;
use crate::types::{BufferNumber, Generation, SegmentId, Sequence, to_u64};

use folder::Folder;
use load::Loaded;
use progress::Teller;

/// Segments looked at together.
const SCANS_IN_FLIGHT: usize = 64;

/// Where no counter comes to: a million a second take a hundred thousand years to it. What lies on
/// a disk may say otherwise under a good CRC; from there on counting would come to an end.
const COUNTERS_END: u64 = 1 << 62;

/// The floors of every counter, raised by whatever is seen.
#[derive(Clone, Copy, Debug)]
struct Floors {
    sequence: Sequence,
    log: BufferNumber,
    rewrite: BufferNumber,
    generation: Generation,
}

impl Floors {
    /// Refuses to go on from where no store comes to.
    fn check(&self, mark: &Mark) -> Result<(), OpenError> {
        let counters = [
            ("sequence", self.sequence.get()),
            ("number of log buffers", self.log.get()),
            ("number of rewrite buffers", self.rewrite.get()),
            ("generation", self.generation.get()),
            ("ordinal of the mark", mark.ordinal),
        ];
        let beyond = counters.into_iter().find(|(_, found)| *found >= COUNTERS_END);
        beyond.map_or(Ok(()), |(what, found)| Err(OpenError::Counter { what, found }))
    }
}

/// Opens the store in the folder.
pub(crate) async fn open(
    environment: &Environment,
    options: &Options,
    names: &[FolderEntry],
) -> Result<(Arc<Store>, RecoveryReport), OpenError> {
    let started = environment.clock.now();
    let folder = folder::open(environment, options, names).await?;
    let damaged_files = folder.damaged_files.clone();
    let mut report = RecoveryReport { damaged_files, ..RecoveryReport::default() };

    let mut told = (&mut report, &mut Teller::new(options.on_progress.clone()));
    let loaded = match from_dump(&folder, options.recovery, names, &mut told).await? {
        Some(loaded) => loaded,
        None => from_segments(&folder, options.recovery, told).await?,
    };
    report.keys = loaded.keys;
    report.groups = to_u64(loaded.groups.names().count());

    let published = publish(&folder, &loaded).await?;
    let most = files_max(options.capacity, folder.superblock.geometry);
    let most = most.map_err(OpenError::Option)?;
    let growth = Growth::new(folder.files, most, folder.mark.hollow);
    let Loaded { groups, segments, .. } = loaded;
    let rules = Rules::new(options, folder.superblock.geometry);
    let state = State::new(rules, Parts { groups, segments, published, growth });
    let now = environment.clock.now();
    report.took = now.checked_sub(started).unwrap_or(Duration::ZERO);
    let Folder { device, hasher, .. } = folder;
    let store = Store::new(state, device, environment.clone(), hasher, options);
    Ok((store, report))
}

/// Step 2. Salvaging wants to see for itself what is lost.
async fn from_dump(
    folder: &Folder,
    mode: RecoveryMode,
    names: &[FolderEntry],
    (report, teller): &mut (&mut RecoveryReport, &mut Teller),
) -> Result<Option<Loaded>, OpenError> {
    if !names.iter().any(|entry| entry.name == DUMP_NAME) {
        return Ok(None);
    }
    let loaded = match mode {
        RecoveryMode::Normal => dump::load(folder, teller).await?,
        RecoveryMode::Salvage => None,
    };
    report.from_dump = loaded.is_some();
    report.dump_ignored = loaded.is_none();
    let storage = folder.device.storage();
    storage.remove(DUMP_NAME).await.map_err(OpenError::io("removing", DUMP_NAME))?;
    storage.sync_folder().await.map_err(OpenError::io("syncing the folder", ""))?;
    Ok(loaded)
}

/// Steps 3 to 6.
async fn from_segments(
    folder: &Folder,
    mode: RecoveryMode,
    (report, teller): (&mut RecoveryReport, &mut Teller),
) -> Result<Loaded, OpenError> {
    let before = folder.device.counts();
    let mut scans = scan_all(folder, mode, teller).await?;
    let after = folder.device.counts();
    let count = |of: fn(&&Scanned) -> bool| to_u64(scans.iter().filter(of).count());
    report.segments_read = to_u64(scans.len());
    report.segments_sealed = count(|scan| scan.seal.is_some());
    report.segments_walked = count(|scan| scan.image.is_some());
    report.bytes_read = after.read_bytes - before.read_bytes;

    let mut mark = folder.mark.clone();
    if folder.mark_lost {
        mark.log_watermark = decide::above_all(&scans);
        report.mark_lost = true;
    }
    let mut verdict = decide::decide(&scans, &mark, BufferNumber::ZERO);
    if !verdict.losses.is_empty() {
        if mode == RecoveryMode::Normal {
            return Err(OpenError::Lost(verdict.losses));
        }
        verdict = decide::decide(&scans, &mark, decide::above_all(&scans));
    }
    load::floors_of(folder, &scans, &verdict).check(&folder.mark)?;
    let undone = undo::undone(&scans, &verdict, folder.superblock.geometry.data_len());
    settle::settle(&folder.device, &scans, &verdict, &undone).await?;
    let decided = (&mut scans[..], &verdict, &undone);
    let loaded = load::load(folder, mode, decided, (report, teller)).await?;
    report.losses = verdict.losses;
    Ok(loaded)
}

async fn scan_all(
    folder: &Folder,
    mode: RecoveryMode,
    teller: &mut Teller,
) -> Result<Vec<Scanned>, OpenError> {
    let segments = folder.files * folder.device.geometry().segments_per_file();
    let mut scans = Vec::with_capacity(crate::types::to_usize(segments));
    let mut running = futures::stream::iter((0..segments).map(SegmentId::new))
        .map(|segment| scan_one(folder, segment, mode))
        .buffered(SCANS_IN_FLIGHT)
        .boxed();
    teller.begin(OpenPhase::Segments, segments.into());
    let mut read = folder.device.counts().read_bytes;
    while let Some(scan) = running.try_next().await? {
        let before = std::mem::replace(&mut read, folder.device.counts().read_bytes);
        let records = scan.buffers.iter().map(|found| u64::from(found.header.record_count));
        teller.add(1, read - before, records.sum());
        scans.push(scan);
    }
    Ok(scans)
}

/// One segment. What cannot be read at all stops a normal opening; salvaging goes on without it.
async fn scan_one(
    folder: &Folder,
    segment: SegmentId,
    mode: RecoveryMode,
) -> Result<Scanned, OpenError> {
    let may_be_written = mode == RecoveryMode::Salvage || folder.mark.names(segment);
    let look = if may_be_written { Look::Whole } else { Look::Ends };
    match scan_segment(&folder.device, segment, look).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(Scanned::with_head(segment, HeadBlock::Unreadable))
        }
        Err(_) if mode == RecoveryMode::Salvage => {
            Ok(Scanned::with_head(segment, HeadBlock::Unreadable))
        }
        other => other.map_err(OpenError::io("reading segment", segment.to_string())),
    }
}

/// Step 7.
async fn publish(folder: &Folder, loaded: &Loaded) -> Result<Mark, OpenError> {
    let (found, floors) = (&folder.mark, loaded.floors);
    let mark = Mark {
        ordinal: found.ordinal + 1,
        log_watermark: floors.log,
        rewrite_watermark: floors.rewrite,
        next_sequence: floors.sequence,
        next_log: floors.log,
        next_rewrite: floors.rewrite,
        next_generation: floors.generation.advance(GENERATIONS_AHEAD),
        files: folder.files,
        hollow: found.hollow,
        open: loaded.lost_heads.clone(), // of all else that counts the seals are durable
        next: next_slots(&loaded.segments, Mark::next_max(loaded.lost_heads.len())),
    };
    let failed = || OpenError::io("publishing", "mark");
    if !folder.mark_lost {
        folder.device.write_mark_once(found).await.map_err(failed())?;
    }
    folder.device.write_mark(&mark).await.map_err(failed())?;
    Ok(mark)
}
