//! The disk: files by number, names in one folder, sectors, and what a crash leaves of them.
//!
//! ```text
//!   Folder: name -> file     durable / current / operations in between
//!   FileBody: bytes, room    durable / current / writes in between
//!   Pages: 4 KiB, sparse, shared         Holes: blocks without room
//! ```
//!
//! One counter numbers everything that completes; a sync covers what has a number at or below the
//! one it began with.
//!
//! What is free is a matter of the moment: room that was punched, cut off or removed is free at
//! once, durable or not. A crash that undoes this takes the room again, although another file may
//! have got it meanwhile; then more is held than there is, and nothing is given until enough has
//! come back.
//!
//! A file that a write missed or hit by mistake has a *twin*: the file as it was meant. Whatever
//! happens to the one happens to the other, and a crash decides the same about both.
//!
//! Absent on purpose: time, faults, operations in flight. This is what the medium and its cache
//! hold at one moment.

mod bad;
mod crash;
mod file;
mod folder;
mod holes;
mod pages;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use logstor_core::io::FolderEntry;
use logstor_core::types::{to_u64, to_usize};

pub(crate) use self::crash::Decider;
use self::crash::NameFates;
pub use self::crash::{CrashReport, NameBias, SectorBias};
pub(crate) use self::file::{Arrival, FileBody, Landing};
pub(crate) use self::folder::FileId;
use self::folder::{Folder, NameOp};
pub(crate) use self::holes::Holes;
pub(crate) use self::pages::Pages;
use crate::rng::SimRng;

/// Where a write went by mistake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stray {
    pub(crate) file: FileId,
    pub(crate) at: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    sector: u32,
    files: BTreeMap<FileId, FileBody>,
    folder: Folder,
    // Of files that are not what they should be: what they should be.
    twins: BTreeMap<FileId, FileBody>,
    next_file: FileId,
    // The number of the latest completion.
    seq: u64,
}

impl Disk {
    pub(crate) fn new(sector: u32) -> Self {
        let (files, folder) = (BTreeMap::new(), Folder::default());
        Self { sector, files, folder, twins: BTreeMap::new(), next_file: 1, seq: 0 }
    }

    /// A disk on which these files lie at rest.
    pub(crate) fn at_rest(sector: u32, image: &DiskImage) -> Self {
        let mut disk = Self::new(sector);
        for (name, file) in &image.files {
            let (content, holes) = (file.content.clone(), file.holes.clone());
            disk.put_at_rest(name, FileBody::with_holes(content, file.len, holes));
        }
        disk
    }

    pub(crate) const fn sector(&self) -> u32 {
        self.sector
    }

    /// The number of the latest completion: what a sync that begins now covers.
    pub(crate) const fn latest(&self) -> u64 {
        self.seq
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(crate) fn file(&self, file: FileId) -> &FileBody {
        self.files.get(&file).expect("a file stays as long as the boot that has it open")
    }

    fn file_mut(&mut self, file: FileId) -> &mut FileBody {
        self.files.get_mut(&file).expect("a file stays as long as the boot that has it open")
    }

    /// Bytes that all files that have a name hold.
    pub(crate) fn used(&self) -> u64 {
        self.folder.names().values().map(|&file| self.file(file).held()).sum()
    }

    /// Writes and punches that completed and are not durable.
    pub(crate) fn unsynced(&self) -> usize {
        self.files.values().map(FileBody::unsynced).sum()
    }

    /// Does something to a file, and to its twin.
    fn change(&mut self, file: FileId, change: impl Fn(&mut FileBody)) {
        change(self.file_mut(file));
        if let Some(twin) = self.twins.get_mut(&file) {
            change(twin);
        }
    }

    pub(crate) fn land(&mut self, file: FileId, landing: &Landing<'_>) {
        let (seq, sector) = (self.next_seq(), self.sector);
        self.change(file, |body| body.land(seq, sector, landing.clone()));
    }

    /// A write arrives, but not those of its bytes that are in `hit`; these arrive at `stray`, or
    /// nowhere.
    pub(crate) fn land_wrong(
        &mut self,
        file: FileId,
        (at, bytes): (u64, &[u8]),
        hit: Range<usize>,
        stray: Option<Stray>,
    ) {
        let (seq, sector) = (self.next_seq(), self.sector);
        self.twin(file).land(seq, sector, Landing { at, bytes, live: None, tainted: false });
        let offsets = (0..bytes.len()).step_by(to_usize(sector));
        let live = Some(offsets.map(|from| !hit.contains(&from)).collect());
        let body = self.file_mut(file);
        body.land(seq, sector, Landing { at, bytes, live, tainted: false });
        let end = at + to_u64(bytes.len());
        if self.file(file).len() < end {
            let seq = self.next_seq();
            self.file_mut(file).preallocate(seq, sector, end);
        }
        if let Some(Stray { file, at }) = stray {
            let seq = self.next_seq();
            self.twin(file);
            let landing = Landing { at, bytes: &bytes[hit], live: None, tainted: false };
            self.file_mut(file).land(seq, sector, landing);
        }
    }

    /// The file as it was meant, which from now on is not the one that is there.
    fn twin(&mut self, file: FileId) -> &mut FileBody {
        let body =
            self.files.get(&file).expect("a file stays as long as the boot that has it open");
        self.twins.entry(file).or_insert_with(|| body.clone())
    }

    /// From now on what is there is what was meant.
    pub(crate) fn forget_meant(&mut self) {
        self.twins.clear();
    }

    /// Every file that has a name, in order of the names.
    pub(crate) fn files_with_names(&self) -> Vec<FileId> {
        self.folder.names().values().copied().collect()
    }

    /// The name of a file, if it has one.
    pub(crate) fn name_of(&self, file: FileId) -> Option<&str> {
        let found = self.folder.names().iter().find(|(_, named)| **named == file);
        found.map(|(name, _)| name.as_str())
    }

    pub(crate) fn punch(&mut self, file: FileId, arrival: &Arrival) {
        let (seq, sector) = (self.next_seq(), self.sector);
        self.change(file, |body| body.punch(seq, sector, arrival.clone()));
    }

    pub(crate) fn reserve(&mut self, file: FileId, arrival: &Arrival) {
        let (seq, sector) = (self.next_seq(), self.sector);
        self.change(file, |body| body.reserve(seq, sector, arrival.clone()));
    }

    pub(crate) fn preallocate(&mut self, file: FileId, len: u64) {
        let (seq, sector) = (self.next_seq(), self.sector);
        self.change(file, |body| body.preallocate(seq, sector, len));
    }

    pub(crate) fn shrink(&mut self, file: FileId, len: u64) {
        let (seq, sector) = (self.next_seq(), self.sector);
        self.change(file, |body| body.shrink(seq, sector, len));
    }

    /// A sector goes bad, unless what it holds is still in the cache; whether it did.
    pub(crate) fn spoil(&mut self, file: FileId, sector: u64) -> bool {
        let size = self.sector;
        if let Some(twin) = self.twins.get_mut(&file) {
            twin.spoil(sector, size);
        }
        self.file_mut(file).spoil(sector, size)
    }

    /// Whether a read of `range` meets a bad sector.
    pub(crate) fn is_bad(&self, file: FileId, range: &Range<u64>) -> bool {
        self.file(file).bad().meet(range, self.sector)
    }

    pub(crate) fn sync(&mut self, file: FileId, upto: u64) {
        self.change(file, |body| body.sync(upto));
    }

    /// A sync failed: the unsynced data of the file is dropped, or stays and is never durable.
    pub(crate) fn fail_sync(&mut self, file: FileId, drops: bool) {
        self.change(file, |body| if drops { body.drop_unsynced() } else { body.taint() });
    }

    /// What failed syncs left readable goes from the cache: all of it, or what `goes` says.
    pub(crate) fn evict(&mut self, file: FileId, mut goes: impl FnMut() -> bool) {
        // The file may be gone: it had no name any more.
        for body in self.files.get_mut(&file).into_iter().chain(self.twins.get_mut(&file)) {
            body.evict(&mut goes);
        }
    }

    pub(crate) fn open(&self, name: &str) -> io::Result<FileId> {
        let file = self.folder.names().get(name);
        file.copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    pub(crate) fn create(&mut self, name: &str) -> io::Result<FileId> {
        if self.folder.names().contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, FileBody::default());
        let seq = self.next_seq();
        self.folder.apply(seq, NameOp::Create { name: name.to_owned(), file });
        Ok(file)
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.open(from)?;
        let seq = self.next_seq();
        self.folder.apply(seq, NameOp::Rename { to: to.to_owned(), file });
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        let file = self.open(name)?;
        let seq = self.next_seq();
        self.folder.apply(seq, NameOp::Remove { name: name.to_owned(), file });
        Ok(())
    }

    pub(crate) fn sync_folder(&mut self, upto: u64) {
        self.folder.sync(upto);
    }

    pub(crate) fn list(&self) -> Vec<FolderEntry> {
        let entry = |(name, file): (&String, &FileId)| FolderEntry {
            name: name.clone(),
            len: self.file(*file).len(),
        };
        self.folder.names().iter().map(entry).collect()
    }

    /// The power goes: chance decides what survives, under these biases.
    pub(crate) fn cut_power(
        &mut self,
        rng: &mut SimRng,
        sectors: SectorBias,
        names: NameBias,
    ) -> (CrashReport, u64) {
        let mut names_lost = 0;
        let undecided = self.folder.undecided();
        self.folder.cut_power(NameFates::new(rng, names, undecided, &mut names_lost));
        self.sweep();
        let undecided = self.files.values().flat_map(FileBody::undecided).collect();
        let mut decider = Decider::new(rng, sectors, undecided);
        // A twin comes behind its file, and what was decided about that holds for it.
        let bodies = self.files.values_mut().chain(self.twins.values_mut());
        for body in bodies.filter(|body| !body.is_clean()) {
            body.cut_power(&mut decider);
        }
        let (mut report, digest) = decider.verdict();
        report.sectors = Some(sectors);
        report.names = Some(names);
        report.names_lost = names_lost;
        (report, digest)
    }

    /// Forgets files that no boot can reach any more. Only between boots: handles may be open.
    pub(crate) fn sweep(&mut self) {
        let folder = &self.folder;
        self.files.retain(|file, _| folder.mentions(*file));
        self.twins.retain(|file, _| folder.mentions(*file));
    }

    /// The files as a reader sees them.
    pub(crate) fn image(&self) -> DiskImage {
        self.image_of(|file| self.file(file))
    }

    /// The files as a reader would see them if every write had done what was said of it.
    pub(crate) fn meant(&self) -> DiskImage {
        self.image_of(|file| self.twins.get(&file).unwrap_or_else(|| self.file(file)))
    }

    fn image_of<'a>(&'a self, body: impl Fn(FileId) -> &'a FileBody) -> DiskImage {
        let content = |file: &FileId| {
            let body = body(*file);
            let (content, holes) = (body.content().clone(), body.holes().clone());
            FileAtRest { content, len: body.len(), holes }
        };
        let names = self.folder.names().iter();
        DiskImage { files: names.map(|(name, file)| (name.clone(), content(file))).collect() }
    }

    /// Changes a file at rest: what it is then is what is meant.
    pub(crate) fn alter(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Pages, &mut u64, &mut Holes),
    ) -> io::Result<()> {
        let file = self.open(name)?;
        self.twins.remove(&file);
        self.file_mut(file).alter(change);
        Ok(())
    }

    /// Puts a file with a durable name on the disk, in place of one that had the name.
    pub(crate) fn put_at_rest(&mut self, name: &str, body: FileBody) {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, body);
        self.set_names_at_rest(|names| {
            names.insert(name.to_owned(), file);
        });
    }

    /// Takes a name off the disk, durably.
    pub(crate) fn remove_at_rest(&mut self, name: &str) -> io::Result<()> {
        self.open(name)?;
        self.set_names_at_rest(|names| {
            names.remove(name);
        });
        Ok(())
    }

    fn set_names_at_rest(&mut self, change: impl FnOnce(&mut BTreeMap<String, FileId>)) {
        let mut names = self.folder.names().clone();
        change(&mut names);
        self.folder = Folder::at_rest(names);
    }
}

/// The files of a disk at one moment: names, bytes and room, without any history.
///
/// Copying one copies pointers, not bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskImage {
    files: BTreeMap<String, FileAtRest>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FileAtRest {
    content: Pages,
    len: u64,
    holes: Holes,
}

impl DiskImage {
    /// An image of these files, all of which hold their room.
    #[must_use]
    pub fn from_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let content = |bytes: &Vec<u8>| {
            let mut content = Pages::default();
            content.write(0, bytes);
            FileAtRest { content, len: to_u64(bytes.len()), holes: Holes::default() }
        };
        Self { files: files.iter().map(|(name, bytes)| (name.clone(), content(bytes))).collect() }
    }

    /// Some bytes of a file; `None` if there is no such file, or it ends before them.
    #[must_use]
    pub fn bytes_of(&self, name: &str, range: &Range<u64>) -> Option<Vec<u8>> {
        let file = self.files.get(name).filter(|file| range.end <= file.len)?;
        let len = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        let mut bytes = vec![0; len];
        file.content.read(range.start, &mut bytes);
        Some(bytes)
    }

    /// The files, as plain bytes.
    ///
    /// # Panics
    ///
    /// If a file is larger than the memory of this machine.
    #[must_use]
    pub fn to_files(&self) -> BTreeMap<String, Vec<u8>> {
        let bytes = |file: &FileAtRest| {
            let mut bytes = vec![0; usize::try_from(file.len).expect("a file that fits memory")];
            file.content.read(0, &mut bytes);
            bytes
        };
        self.files.iter().map(|(name, file)| (name.clone(), bytes(file))).collect()
    }
}
