//! The medium by itself, past every handle: for damage, for fixtures, for a look.
//!
//! Whoever touches a file this way finds it *at rest*: what was unsynced counts as durable, its
//! history is forgotten, and then the change is made, durable at once. Meant for the time between
//! two boots; allowed at any time.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use logstor_core::io::FolderEntry;
use logstor_core::types::to_u64;

use crate::disk::{DiskImage, FileBody, FileId, NameBias, Pages, SectorBias};
use crate::rng::SimRng;
use crate::shared::Shared;
use crate::trace::{EventKind, digest};
use crate::world::World;

/// Access to the bytes on the disk of a simulation, past all handles. Takes no virtual time.
#[derive(Clone)]
pub struct RawDisk {
    shared: Arc<Shared>,
}

impl fmt::Debug for RawDisk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RawDisk")
    }
}

impl RawDisk {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// All names and lengths, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<FolderEntry> {
        self.shared.world().disk.list()
    }

    /// Bytes of room that all files hold together: their lengths, less what was punched.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.shared.world().disk.used()
    }

    /// The bytes of `range` as a reader would see them.
    ///
    /// # Errors
    ///
    /// There is no such file, or it ends before the range does.
    pub fn read(&self, name: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let world = self.shared.world();
        let file = world.disk.open(name)?;
        let mut bytes = vec![0; span(&range)?];
        world.disk.file(file).read(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Lets `damage` change the bytes of `range`.
    ///
    /// # Errors
    ///
    /// There is no such file, or it ends before the range does.
    pub fn corrupt<D>(&self, name: &str, range: Range<u64>, damage: D) -> io::Result<()>
    where
        D: FnOnce(&mut [u8]),
    {
        let mut bytes = self.read(name, range.clone())?;
        damage(&mut bytes);
        let mut world = self.shared.world();
        note(&mut world, "corrupt", name, range.start, digest(&bytes));
        world.disk.alter(name, |pages, _, holes| {
            pages.write(range.start, &bytes);
            holes.take(&range);
        })
    }

    /// Makes a file this long; a new part reads as zeros, and holds room.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        let mut world = self.shared.world();
        note(&mut world, "truncate", name, len, 0);
        world.disk.alter(name, |_, old, _| *old = len)
    }

    /// Puts a file on the disk, in place of one that has the name.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut pages = Pages::default();
        pages.write(0, bytes);
        let mut world = self.shared.world();
        note(&mut world, "put", name, to_u64(bytes.len()), digest(bytes));
        world.disk.put_at_rest(name, FileBody::at_rest(pages, to_u64(bytes.len())));
    }

    /// Takes a file off the disk.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.shared.world();
        note(&mut world, "remove", name, 0, 0);
        world.disk.remove_at_rest(name)
    }

    /// Every file as a reader would see it; cheap, the bytes are shared.
    #[must_use]
    pub fn image(&self) -> DiskImage {
        self.shared.world().disk.image()
    }

    /// Every file as a reader would see it if every write had done what was said of it; cheap. It
    /// differs from [`image`](Self::image) after silent faults of writes. A file that is changed
    /// past the handles is what is meant from then on.
    #[must_use]
    pub fn meant(&self) -> DiskImage {
        self.shared.world().disk.meant()
    }

    /// From now on the disk as it is counts as what was meant.
    pub fn forget_meant(&self) {
        self.shared.world().disk.forget_meant();
    }

    /// The writes in flight: those that a power cut at this moment would tear.
    #[must_use]
    pub fn in_flight(&self) -> Vec<InFlight> {
        let world = self.shared.world();
        let write = |(file, at, bytes): (FileId, u64, &[u8])| {
            let name = world.disk.name_of(file)?.to_owned();
            Some(InFlight { name, at, bytes: bytes.to_vec() })
        };
        world.writes_in_flight().filter_map(write).collect()
    }

    /// Every file as a power cut at this moment would leave it if it lost all that is unsynced.
    /// Changes nothing; cheap, the bytes are shared.
    #[must_use]
    pub fn durable(&self) -> BTreeMap<String, FileImage> {
        let mut disk = self.shared.world().disk.clone();
        // Under these biases nothing is drawn that matters.
        let rng = &mut SimRng::new(0, "durable");
        let _ = disk.cut_power(rng, SectorBias::None, NameBias::None);
        let image = |entry: FolderEntry| {
            let file = disk.open(&entry.name).ok()?;
            let pages = disk.file(file).content().clone();
            Some((entry.name, FileImage { pages, len: entry.len }))
        };
        disk.list().into_iter().filter_map(image).collect()
    }

    /// Every file as plain bytes: what a fixture is made of.
    #[must_use]
    pub fn export(&self) -> BTreeMap<String, Vec<u8>> {
        self.image().to_files()
    }
}

/// A write on its way to the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The name of its file.
    pub name: String,
    /// Where in the file it begins.
    pub at: u64,
    /// What it brings there; what has arrived already is left out.
    pub bytes: Vec<u8>,
}

/// What one file holds at one moment. Copies share their bytes, and compare fast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileImage {
    pages: Pages,
    len: u64,
}

impl FileImage {
    /// Bytes in the file.
    #[must_use]
    pub const fn file_len(&self) -> u64 {
        self.len
    }

    /// Fills `into` with the bytes from `at` on; behind the end of the file there are zeros.
    pub fn read(&self, at: u64, into: &mut [u8]) {
        self.pages.read(at, into);
    }
}

fn span(range: &Range<u64>) -> io::Result<usize> {
    let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
    len.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

fn note(world: &mut World, what: &str, name: &str, at: u64, content: u64) {
    let words = [digest(what.as_bytes()), digest(name.as_bytes()), at, content];
    world.note(EventKind::Raw, &words, || format!("raw: {what} {name} at {at}"));
}
