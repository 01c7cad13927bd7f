//! A folder that is only read: what is written to it stays in memory.
//!
//! ```text
//!   engine ── open, read, write, rename ──► overlay ── open, list, read ──► the folder
//!                                            └─ memory: names, and the sectors that were written
//! ```
//!
//! Recovery decides, settles and publishes by writing. Over this it does all of that and the folder
//! stays as it is, byte for byte, so a store can be looked at as it would open: on a file system
//! that is mounted read-only, from a backup, or after a crash that somebody wants to understand
//! first.
//!
//! 1. Nothing is ever written to, renamed in, or removed from the folder below.
//! 2. Whoever reads finds what was written last, here or below.
//! 3. Memory: 512 bytes and an entry for each sector written, the entry alone for zeros.
//!
//! Absent on purpose: durability. A sync says that all is well; what was written is gone with this.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::io::{File, FileOffset, FolderEntry, IoBuf, OpenMode, Storage, StorageInfo};
use crate::types::{ByteLen, to_u64};

/// What is written is whole ones of these; it is the unit of every write of the engine.
const SECTOR: usize = 512;
const SECTOR_LEN: u64 = 512;

/// A storage over another one, which it only reads.
#[derive(Debug)]
pub(crate) struct Overlay {
    below: Arc<dyn Storage>,
    // What a name means here, where that is not what it means below; `None` if it was removed.
    names: Mutex<BTreeMap<String, Option<Arc<OverlayFile>>>>,
}

/// A file below, or none, and what was written over it.
#[derive(Debug)]
struct OverlayFile {
    below: Option<Arc<dyn File>>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    // Bytes in the file.
    len: u64,
    // Bytes at the start that are what lies below, where no sector was written.
    below_len: u64,
    // By number; `None` is zeros.
    sectors: BTreeMap<u64, Option<Box<[u8]>>>,
}

impl Overlay {
    pub(crate) fn new(below: Arc<dyn Storage>) -> Self {
        Self { below, names: Mutex::default() }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<OverlayFile>>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of this name; wrapped when it is first asked for, so that all handles agree.
    async fn find(&self, name: &str) -> io::Result<Arc<OverlayFile>> {
        match self.names().get(name) {
            Some(Some(file)) => return Ok(Arc::clone(file)),
            Some(None) => return Err(io::ErrorKind::NotFound.into()),
            None => {}
        }
        let below = self.below.open(name, OpenMode::Existing).await?;
        let len = below.len().await?;
        let written = Written { len, below_len: len, sectors: BTreeMap::new() };
        let file = Arc::new(OverlayFile { below: Some(below), written: Mutex::new(written) });
        let mut names = self.names();
        let known = names.entry(name.to_owned()).or_insert_with(|| Some(file));
        known.as_ref().map(Arc::clone).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[async_trait]
impl Storage for Overlay {
    async fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let found = self.find(name).await;
        match (mode, found) {
            (OpenMode::Existing, found) => Ok(found?),
            (OpenMode::CreateNew, Ok(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                let written = Written { len: 0, below_len: 0, sectors: BTreeMap::new() };
                let file = Arc::new(OverlayFile { below: None, written: Mutex::new(written) });
                self.names().insert(name.to_owned(), Some(Arc::clone(&file)));
                Ok(file)
            }
            (OpenMode::CreateNew, Err(error)) => Err(error),
        }
    }

    async fn list(&self) -> io::Result<Vec<FolderEntry>> {
        let below = self.below.list().await?;
        let mut lens: BTreeMap<String, u64> =
            below.into_iter().map(|entry| (entry.name, entry.len)).collect();
        for (name, file) in &*self.names() {
            match file {
                Some(file) => lens.insert(name.clone(), file.written().len),
                None => lens.remove(name),
            };
        }
        Ok(lens.into_iter().map(|(name, len)| FolderEntry { name, len }).collect())
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.find(from).await?;
        let mut names = self.names();
        names.insert(to.to_owned(), Some(file));
        names.insert(from.to_owned(), None);
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.find(name).await?;
        self.names().insert(name.to_owned(), None);
        Ok(())
    }

    async fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn release(&self) {
        self.below.release();
    }

    fn info(&self) -> StorageInfo {
        self.below.info()
    }

    fn together(&self, begin: &mut dyn FnMut()) {
        self.below.together(begin);
    }
}

impl OverlayFile {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sectors of a range that is whole ones.
    fn sectors_of(at: FileOffset, len: u64) -> io::Result<std::ops::Range<u64>> {
        let whole = at.get().is_multiple_of(SECTOR_LEN) && len.is_multiple_of(SECTOR_LEN);
        let end = at.get().checked_add(len).filter(|_| whole);
        let end = end.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(at.get() / SECTOR_LEN..end / SECTOR_LEN)
    }
}

impl Written {
    /// Nothing from `len` on is left, should the file grow again.
    fn cut(&mut self, len: u64) {
        self.len = self.len.min(len);
        self.below_len = self.below_len.min(len);
        self.sectors.split_off(&len.div_ceil(SECTOR_LEN));
        if let Some(Some(sector)) = self.sectors.get_mut(&(len / SECTOR_LEN)) {
            let kept = usize::try_from(len % SECTOR_LEN).unwrap_or(SECTOR);
            sector[kept..].fill(0);
        }
    }

    /// Puts what was written over bytes that were read at `at`.
    fn patch(&self, at: u64, into: &mut [u8]) {
        let end = at + to_u64(into.len());
        for (number, sector) in self.sectors.range(at / SECTOR_LEN..end.div_ceil(SECTOR_LEN)) {
            let start = number * SECTOR_LEN;
            let (from, to) = (start.max(at), (start + SECTOR_LEN).min(end));
            let within = |position: u64, of: u64| usize::try_from(position - of).unwrap_or(0);
            let part = &mut into[within(from, at)..within(to, at)];
            match sector {
                Some(sector) => {
                    part.copy_from_slice(&sector[within(from, start)..within(to, start)]);
                }
                None => part.fill(0),
            }
        }
    }
}

#[async_trait]
impl File for OverlayFile {
    async fn read(&self, at: FileOffset, mut into: IoBuf) -> io::Result<IoBuf> {
        let (len, below_len) = {
            let written = self.written();
            (written.len, written.below_len)
        };
        let end = at.get().saturating_add(to_u64(into.len()));
        if end > len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.below {
            Some(below) if end <= below_len => into = below.read(at, into).await?,
            Some(below) if at.get() < below_len => {
                // The file was made longer here, and the range goes over its old end.
                let there = u32::try_from(below_len - at.get());
                let there = there.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                let part = below.read(at, IoBuf::zeroed(ByteLen::new(there))).await?;
                into.fill(0);
                into[..part.len()].copy_from_slice(&part);
            }
            _ => into.fill(0),
        }
        self.written().patch(at.get(), &mut into);
        Ok(into)
    }

    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()> {
        let sectors = Self::sectors_of(at, to_u64(bytes.len()))?;
        let mut written = self.written();
        written.len = written.len.max(sectors.end * SECTOR_LEN);
        for (number, sector) in sectors.zip(bytes.chunks(SECTOR)) {
            let zeros = sector.iter().all(|&byte| byte == 0);
            written.sectors.insert(number, (!zeros).then(|| sector.into()));
        }
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    async fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        written.cut(len);
        written.len = len;
        Ok(())
    }

    async fn punch(&self, at: FileOffset, len: u64) -> io::Result<()> {
        let sectors = Self::sectors_of(at, len)?;
        let mut written = self.written();
        if sectors.end * SECTOR_LEN > written.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        written.sectors.extend(sectors.map(|number| (number, None)));
        Ok(())
    }

    async fn shrink(&self, len: u64) -> io::Result<()> {
        self.written().cut(len);
        Ok(())
    }

    async fn allocate(&self, at: FileOffset, len: u64) -> io::Result<()> {
        let sectors = Self::sectors_of(at, len)?;
        let within = sectors.end * SECTOR_LEN <= self.written().len;
        if within { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// A file below with these bytes in it.
    #[derive(Debug)]
    struct Below(Vec<u8>);

    #[async_trait]
    impl File for Below {
        async fn read(&self, at: FileOffset, mut into: IoBuf) -> io::Result<IoBuf> {
            let from = usize::try_from(at.get()).unwrap();
            let found = self.0.get(from..from + into.len());
            into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(into)
        }

        async fn write(&self, _: FileOffset, _: Arc<IoBuf>) -> io::Result<()> {
            panic!("written below");
        }

        async fn sync(&self) -> io::Result<()> {
            panic!("synced below");
        }

        async fn len(&self) -> io::Result<u64> {
            Ok(to_u64(self.0.len()))
        }

        async fn preallocate(&self, _: u64) -> io::Result<()> {
            panic!("made longer below");
        }

        async fn punch(&self, _: FileOffset, _: u64) -> io::Result<()> {
            panic!("punched below");
        }

        async fn shrink(&self, _: u64) -> io::Result<()> {
            panic!("cut below");
        }

        async fn allocate(&self, _: FileOffset, _: u64) -> io::Result<()> {
            panic!("reserved below");
        }
    }

    fn over(below: Vec<u8>) -> OverlayFile {
        let len = to_u64(below.len());
        let written = Written { len, below_len: len, sectors: BTreeMap::new() };
        OverlayFile { below: Some(Arc::new(Below(below))), written: Mutex::new(written) }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing here waits")
    }

    fn read(file: &OverlayFile, at: u64, len: u32) -> io::Result<Vec<u8>> {
        let read = now(file.read(FileOffset::new(at), IoBuf::zeroed(ByteLen::new(len))));
        read.map(|bytes| bytes.to_vec())
    }

    fn write(file: &OverlayFile, at: u64, byte: u8, len: usize) {
        let bytes = Arc::new(IoBuf::copy_of(&vec![byte; len]));
        now(file.write(FileOffset::new(at), bytes)).unwrap();
    }

    #[test]
    fn what_was_written_lies_over_what_is_below() {
        let file = over(vec![1; 2048]);
        write(&file, 512, 2, 512);
        let expected = [vec![1; 512], vec![2; 512], vec![1; 1024]].concat();
        assert_eq!(read(&file, 0, 2048).unwrap(), expected);
        assert_eq!(read(&file, 1000, 48).unwrap(), [vec![2; 24], vec![1; 24]].concat());
        now(file.punch(FileOffset::new(0), 1024)).unwrap();
        assert_eq!(read(&file, 0, 1536).unwrap(), [vec![0; 1024], vec![1; 512]].concat());
    }

    #[test]
    fn a_file_that_grew_reads_as_zeros_where_nobody_wrote() {
        let file = over(vec![1; 1024]);
        assert_eq!(read(&file, 512, 1024).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        write(&file, 2048, 3, 512);
        let grown = [vec![1; 512], vec![0; 1024], vec![3; 512]].concat();
        assert_eq!(read(&file, 512, 2048).unwrap(), grown);
        assert_eq!(now(file.len()).unwrap(), 2560);
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let file = over(vec![1; 2048]);
        write(&file, 512, 2, 512);
        now(file.shrink(700)).unwrap();
        now(file.preallocate(2048)).unwrap();
        let left = [vec![1; 512], vec![2; 188], vec![0; 1348]].concat();
        assert_eq!(read(&file, 0, 2048).unwrap(), left);
    }
}
