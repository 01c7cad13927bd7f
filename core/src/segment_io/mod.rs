//! The files of a store as the engine uses them: segments by number, and the mark.
//!
//! The first floor that waits. It knows where a segment lies and how often the syncs of a file
//! have failed, and nothing of groups or policy.
//!
//! 1. A write says how many syncs of its file had failed when it began; a sync says how many have
//!    failed when it ended. Only if both agree is the write durable: a failed sync may have taken
//!    the data of *any* unsynced write of the file with it, whoever asked for it, and the next
//!    sync would not tell (storage contract, 3).
//!
//! 2. What is done in the background reads and writes in parts: a caller's operation waits for one
//!    of them at most (see [`crate::memory::Allowance`]).
//!
//! Absent on purpose: retries. A failed write or sync is the business of who asked for it.

mod counters;
mod missing;
mod pieces;
mod read_back;
mod scan;
mod segment_file;
mod source;
mod spare;
mod syncs;
mod unsynced;

use std::io;
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic;

use counters::Counters;
pub(crate) use counters::Purpose;
pub use counters::{DeviceCounts, WrittenBytes};
pub(crate) use missing::MissingFile;
pub(crate) use pieces::PieceError;
pub(crate) use read_back::ReadBack;
pub(crate) use scan::{Body, FoundBuffer, HeadBlock, Look, Scanned, scan_segment};
use segment_file::SegmentFile;
pub(crate) use source::{Found, FoundRecord, Source};
use spare::Spare;
pub(crate) use unsynced::Unsynced;

use crate::format::buffer::{BufferHeader, erased_block, erased_note, void_block};
use crate::format::geometry::Geometry;
use crate::format::mark::Mark;
use crate::io::{Environment, File, FileOffset, IoBuf, Storage};
use crate::types::{BLOCK, ByteLen, Generation, Location, SegmentId, SegmentOffset, to_usize};

/// A record as it was read, with what lies around it in its sectors.
#[derive(Debug)]
pub(crate) struct RawRecord {
    pub(crate) sectors: IoBuf,
    /// Where the record begins in `sectors`.
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// The open files of a store.
#[derive(Debug)]
pub(crate) struct Device {
    storage: Arc<dyn Storage>,
    geometry: Geometry,
    /// The short id of the store, as every header carries it.
    store: u64,
    mark: Arc<dyn File>,
    // Files come and go at the end.
    files: RwLock<Vec<Arc<SegmentFile>>>,
    alignment: u32,
    counters: Counters,
    spare: Spare,
}

/// The smallest unit that a device keeps or loses as a whole; a buffer's header lies within one.
const SECTOR: u32 = 512;

const _: () = assert!(BufferHeader::LEN <= to_usize(SECTOR));

/// The name of the mark in the folder.
pub(crate) const MARK_NAME: &str = "mark";

/// The name of the superblock in the folder.
pub(crate) const SUPERBLOCK_NAME: &str = "superblock";

/// The name of the dump in the folder.
pub(crate) const DUMP_NAME: &str = "index.dump";

/// The name of a file of segments.
pub(crate) fn file_name(index: u32) -> String {
    format!("segments-{index:06}.log")
}

impl Device {
    pub(crate) fn new(
        environment: &Environment,
        geometry: Geometry,
        store: u64,
        mark: Arc<dyn File>,
    ) -> Self {
        let storage = Arc::clone(&environment.storage);
        let alignment = storage.info().alignment;
        let (files, counters) = (RwLock::default(), Counters::default());
        let spare = Spare::default();
        Self { storage, geometry, store, mark, files, alignment, counters, spare }
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn store(&self) -> u64 {
        self.store
    }

    /// Counts a write that a flow makes to a file which is not part of the store yet.
    pub(crate) fn count_write(&self, purpose: Purpose, bytes: usize) {
        self.counters.wrote(purpose, bytes);
    }

    /// Offsets and lengths of reads and writes are multiples of this.
    pub(crate) fn alignment(&self) -> u32 {
        self.alignment
    }

    pub(crate) fn counts(&self) -> DeviceCounts {
        self.counters.get()
    }

    /// Adds the file after the last one.
    pub(crate) fn add_file(&self, file: Arc<dyn File>) {
        let file = Arc::new(SegmentFile::new(file));
        self.files.write().expect("nothing panics while it holds the list").push(file);
    }

    fn file(&self, index: u32) -> Arc<SegmentFile> {
        let files = self.files.read().expect("nothing panics while it holds the list");
        Arc::clone(&files[to_usize(index)])
    }

    fn file_if_there(&self, index: u32) -> Option<Arc<SegmentFile>> {
        let files = self.files.read().expect("nothing panics while it holds the list");
        files.get(to_usize(index)).map(Arc::clone)
    }

    pub(crate) fn files(&self) -> u32 {
        let files = self.files.read().expect("nothing panics while it holds the list");
        crate::types::to_u32(files.len())
    }

    /// Writes at `offset` of `segment`; says how many syncs of the file had failed when it began.
    pub(crate) async fn write(
        &self,
        purpose: Purpose,
        segment: SegmentId,
        offset: SegmentOffset,
        bytes: Arc<IoBuf>,
    ) -> io::Result<u64> {
        let (index, start) = self.geometry.place(segment);
        let file = self.file(index);
        let failures = file.failures();
        self.counters.wrote(purpose, bytes.len());
        file.file.write(at(start, offset), bytes).await?;
        Ok(failures)
    }

    /// The same in parts of at most `part` bytes, one after the other.
    pub(crate) async fn write_in_parts(
        &self,
        purpose: Purpose,
        segment: SegmentId,
        offset: SegmentOffset,
        (bytes, part): (Arc<IoBuf>, ByteLen),
    ) -> io::Result<u64> {
        let len = bytes.byte_len();
        if len <= part {
            return self.write(purpose, segment, offset, bytes).await;
        }
        let mut before = None;
        for (from, end) in parts(len, part) {
            let copy = Arc::new(IoBuf::copy_of(&bytes[to_usize(from)..to_usize(end)]));
            let at = SegmentOffset::new(offset.get() + from);
            let failures = self.write(purpose, segment, at, copy).await?;
            before.get_or_insert(failures);
        }
        Ok(before.expect("more than a part is at least one"))
    }

    /// Writes over the header of a buffer that it is void.
    ///
    /// One sector, so that it happens or not: a whole block could be torn, and then an old header
    /// in front of zeros would look like damage.
    pub(crate) async fn write_void(
        &self,
        segment: SegmentId,
        offset: SegmentOffset,
        generation: Generation,
    ) -> io::Result<u64> {
        let block = void_block(self.store, segment, offset, generation);
        self.write_sector(segment, offset, block).await
    }

    /// The same of the first buffer of a segment in which nothing counts, and over the place of the
    /// seal that this life has ended: if one of the two is lost, the other says so.
    pub(crate) async fn write_void_life(
        &self,
        segment: SegmentId,
        generation: Generation,
    ) -> io::Result<u64> {
        let seal = self.geometry.seal_offset();
        let note = erased_note(self.store, segment, generation, seal);
        let head = self.write_void(segment, SegmentOffset::ZERO, generation);
        let (head, note) = futures::join!(head, self.write_sector(segment, seal, note));
        Ok(head?.min(note?))
    }

    /// Writes over the first header of a segment that it is erased, and over its seal: if one of
    /// the two is lost, the other says so. One sector each, as above.
    pub(crate) async fn write_erased(
        &self,
        segment: SegmentId,
        generation: Generation,
    ) -> io::Result<u64> {
        let seal = self.geometry.seal_offset();
        let block = erased_block(self.store, segment, generation);
        let note = erased_note(self.store, segment, generation, seal);
        let head = self.write_sector(segment, SegmentOffset::ZERO, block);
        let (head, note) = futures::join!(head, self.write_sector(segment, seal, note));
        Ok(head?.min(note?))
    }

    async fn write_sector(
        &self,
        segment: SegmentId,
        offset: SegmentOffset,
        mut block: IoBuf,
    ) -> io::Result<u64> {
        block.truncate(ByteLen::new(self.alignment.max(SECTOR)));
        self.write(Purpose::Erase, segment, offset, Arc::new(block)).await
    }

    /// Gives the device the room of a free slot back, but for its first block and its seal, which
    /// say that it is erased.
    pub(crate) async fn punch(&self, segment: SegmentId) -> io::Result<()> {
        let (index, start) = self.geometry.place(segment);
        let len = u64::from(self.geometry.seal_offset().get() - BLOCK);
        self.file(index).file.punch(at(start, SegmentOffset::new(BLOCK)), len).await
    }

    /// Reserves the room of a free slot again and fills it with zeros, but for what says that it is
    /// erased.
    /// Says the file, and how many of its syncs had failed when this began.
    pub(crate) async fn fill(&self, segment: SegmentId, part: ByteLen) -> io::Result<(u32, u64)> {
        let (index, start) = self.geometry.place(segment);
        let len = self.geometry.seal_offset().get() - BLOCK;
        let (file, behind) = (self.file(index), SegmentOffset::new(BLOCK));
        file.file.allocate(start, self.geometry.segment_len().get().into()).await?;
        let zeros = Arc::new(IoBuf::zeroed(ByteLen::new(len)));
        let bytes = (zeros, part);
        let failures = self.write_in_parts(Purpose::Zeros, segment, behind, bytes).await?;
        Ok((index, failures))
    }

    /// Forgets the last file, whose slots hold nothing, if it still has that index.
    pub(crate) fn forget_file(&self, index: u32) {
        let mut files = self.files.write().expect("nothing panics while it holds the list");
        files.truncate(to_usize(index));
    }

    /// Syncs a file; says how many of its syncs have failed by the end of this one.
    pub(crate) async fn sync(&self, index: u32) -> io::Result<u64> {
        self.file(index).sync(|| self.counters.synced()).await
    }

    /// Reads a piece of a segment; offset and length are whole blocks.
    pub(crate) async fn read(
        &self,
        segment: SegmentId,
        offset: SegmentOffset,
        len: ByteLen,
    ) -> io::Result<IoBuf> {
        let (index, start) = self.geometry.place(segment);
        let file = self.file(index);
        self.counters.read(len.as_usize());
        file.file.read(at(start, offset), IoBuf::zeroed(len)).await
    }

    /// The same in parts of at most `part` bytes, one after the other.
    pub(crate) async fn read_in_parts(
        &self,
        segment: SegmentId,
        offset: SegmentOffset,
        lens: (ByteLen, ByteLen),
    ) -> io::Result<IoBuf> {
        let (index, start) = self.geometry.place(segment);
        self.read_parts_of(&self.file(index), at(start, offset), lens).await
    }

    /// The same where nothing keeps the segment: what is read may be anything, and where there is
    /// no such file any more, its end is.
    pub(crate) async fn read_in_parts_if_there(
        &self,
        segment: SegmentId,
        offset: SegmentOffset,
        lens: (ByteLen, ByteLen),
    ) -> io::Result<IoBuf> {
        let (index, start) = self.geometry.place(segment);
        let file = self.file_if_there(index).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.read_parts_of(&file, at(start, offset), lens).await
    }

    async fn read_parts_of(
        &self,
        file: &SegmentFile,
        start: FileOffset,
        (len, part): (ByteLen, ByteLen),
    ) -> io::Result<IoBuf> {
        let read = |from: u32, end: u32| {
            let into = IoBuf::zeroed(ByteLen::new(end - from));
            self.counters.read(into.len());
            file.file.read(FileOffset::new(start.get() + u64::from(from)), into)
        };
        if (1..=part.get()).contains(&len.get()) {
            return read(0, len.get()).await;
        }
        let mut all = IoBuf::zeroed(len);
        for (from, end) in parts(len, part) {
            all[to_usize(from)..to_usize(end)].copy_from_slice(&read(from, end).await?);
        }
        Ok(all)
    }

    /// Reads exactly the sectors that a record lies in: one device read. Its segment is pinned.
    pub(crate) async fn read_record(&self, location: Location) -> io::Result<RawRecord> {
        let there = self.read_record_if_there(location).await?;
        Ok(there.expect("the file of a pinned segment stays"))
    }

    /// The same where nothing keeps the segment: what is read may be anything, and `None` says that
    /// there is no such file any more.
    pub(crate) async fn read_record_if_there(
        &self,
        location: Location,
    ) -> io::Result<Option<RawRecord>> {
        let (index, start) = self.geometry.place(location.segment());
        let Some(file) = self.file_if_there(index) else { return Ok(None) };
        let (from, len) = (location.offset().get(), location.len().get());
        let first = from - from % self.alignment;
        let end = (from + len).next_multiple_of(self.alignment);
        let sectors = self.spare.take(ByteLen::new(end - first));
        self.counters.read(sectors.len());
        let sectors = file.file.read(at(start, SegmentOffset::new(first)), sectors).await?;
        Ok(Some(RawRecord { sectors, at: to_usize(from - first), len: to_usize(len) }))
    }

    /// The sectors of a record are not needed any more.
    pub(crate) fn give_memory_back(&self, sectors: IoBuf) {
        self.spare.give(sectors);
    }

    /// Writes the mark into its slot and makes it durable, then the same into the other slot: what
    /// relies on a mark finds it in two places. A crash in between leaves one that is valid.
    pub(crate) async fn write_mark(&self, mark: &Mark) -> io::Result<()> {
        self.write_mark_at(mark, mark.slot_offset()).await?;
        self.write_mark_at(mark, mark.other_slot_offset()).await
    }

    /// Writes the mark into its own slot alone, and makes it durable.
    pub(crate) async fn write_mark_once(&self, mark: &Mark) -> io::Result<()> {
        self.write_mark_at(mark, mark.slot_offset()).await
    }

    async fn write_mark_at(&self, mark: &Mark, at: FileOffset) -> io::Result<()> {
        let block = Arc::new(mark.encode(self.store));
        self.counters.wrote(Purpose::Mark, block.len());
        self.mark.write(at, block).await?;
        self.counters.synced();
        self.mark.sync().await
    }
}

/// Where the parts of `len` bytes begin and end.
fn parts(len: ByteLen, part: ByteLen) -> impl Iterator<Item = (u32, u32)> {
    let (len, part) = (len.get(), part.get());
    (0..len.div_ceil(part)).map(move |at| (at * part, len.min((at + 1).saturating_mul(part))))
}

fn at(start: FileOffset, offset: SegmentOffset) -> FileOffset {
    FileOffset::new(start.get() + u64::from(offset.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_end_with_the_whole() {
        let check = |len, part, expected: &[(u32, u32)]| {
            let found: Vec<_> = parts(ByteLen::new(len), ByteLen::new(part)).collect();
            assert_eq!(found, expected, "{len} in parts of {part}");
        };
        check(0, 8, &[]);
        check(8, 8, &[(0, 8)]);
        check(20, 8, &[(0, 8), (8, 16), (16, 20)]);
        check(u32::MAX, u32::MAX - 1, &[(0, u32::MAX - 1), (u32::MAX - 1, u32::MAX)]);
    }

    #[test]
    fn files_have_names_that_sort_by_number() {
        assert_eq!(file_name(7), "segments-000007.log");
        assert_eq!(file_name(1_234_567), "segments-1234567.log");
    }
}
