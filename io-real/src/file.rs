//! One file: positioned reads and writes, syncs, length and room.
//!
//! 1. Reads, writes and syncs are [transfers](Transfer), through a ring where there is one and by
//!    threads otherwise. Everything else is done by threads: it is rare, and takes its time.
//! 2. Errors are the kernel's own, unchanged; only a full quota becomes a full disk, and what the
//!    file system cannot do becomes `Unsupported`.
//! 3. An operation in flight holds the file, and through it the lock on the folder.

use std::fmt;
use std::fs::File as SystemFile;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use logstor_core::io::{File, FileOffset, IoBuf};
use logstor_core::types::{BLOCK, to_usize};

use crate::error::{no_room, unsupported};
use crate::folder::Folder;
use crate::pool::Pool;
use crate::ring::Rings;
use crate::transfer::{Answer, Holds, Transfer};

/// A file of the store.
#[derive(Debug)]
pub(crate) struct RealFile {
    held: Arc<Held>,
    drivers: Drivers,
}

/// Who carries operations out.
#[derive(Clone, Debug)]
pub(crate) struct Drivers {
    pub(crate) pool: Arc<Pool>,
    /// None where threads do everything.
    pub(crate) rings: Option<Arc<Rings>>,
}

/// What an operation holds on to.
struct Held {
    file: SystemFile,
    // One where the page cache is used.
    alignment: u32,
    // The last field: the lock goes after the file.
    #[expect(dead_code, reason = "held, not used")]
    folder: Arc<Folder>,
}

impl RealFile {
    pub(crate) fn new(file: SystemFile, folder: Arc<Folder>, drivers: Drivers) -> Self {
        let alignment = folder.direct().unwrap_or(1);
        assert!(alignment.is_power_of_two());
        Self { held: Arc::new(Held { file, alignment, folder }), drivers }
    }

    async fn run<T, F>(&self, operation: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Held) -> io::Result<T> + Send + 'static,
    {
        let held = Arc::clone(&self.held);
        self.drivers.pool.run(move || operation(&held)).await
    }

    async fn transfer(&self, transfer: Transfer) -> Answer {
        let transfer = match &self.drivers.rings {
            Some(rings) => match rings.begin(Arc::clone(&self.held) as Arc<dyn Holds>, transfer) {
                Ok(answered) => {
                    return answered.await.expect("a ring answers all that it was given");
                }
                Err(transfer) => transfer,
            },
            None => transfer,
        };
        self.run(move |held| transfer.perform(&held.file)).await
    }
}

#[async_trait]
impl File for RealFile {
    async fn read(&self, at: FileOffset, into: IoBuf) -> io::Result<IoBuf> {
        let alignment = self.held.alignment;
        aligned(alignment, at, &into)?;
        let read = self.transfer(Transfer::read(at.get(), into, alignment)).await?;
        Ok(read.expect("a read gives its memory back"))
    }

    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()> {
        let alignment = self.held.alignment;
        aligned(alignment, at, &bytes)?;
        self.transfer(Transfer::write(at.get(), bytes, alignment)).await.map(drop)
    }

    async fn sync(&self) -> io::Result<()> {
        self.transfer(Transfer::sync()).await.map(drop)
    }

    async fn len(&self) -> io::Result<u64> {
        self.run(|held| Ok(held.file.metadata()?.len())).await
    }

    /// Cuts a longer file. After an error the file may have any length up to `len`.
    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.run(move |held| {
            reserve(&held.file, 0, len).map_err(no_room)?;
            held.file.set_len(len).map_err(no_room)
        })
        .await
    }

    async fn punch(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.run(move |held| {
            if within(&held.file, at, len)? { give_back(&held.file, at.get(), len) } else { Ok(()) }
        })
        .await
    }

    async fn shrink(&self, len: u64) -> io::Result<()> {
        self.run(move |held| {
            let longer = len < held.file.metadata()?.len();
            if longer { held.file.set_len(len).map_err(no_room) } else { Ok(()) }
        })
        .await
    }

    /// Where the file system offers no reservations this does nothing.
    async fn allocate(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.run(move |held| {
            if within(&held.file, at, len)? {
                reserve(&held.file, at.get(), len).map_err(no_room)?;
            }
            Ok(())
        })
        .await
    }
}

impl Holds for Held {
    fn file(&self) -> &SystemFile {
        &self.file
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} aligned to {}", self.file, self.alignment)
    }
}

/// Reserves room for the `len` bytes at `at`, where the file system can. Beyond the end of the
/// file they are added to it.
#[cfg(target_os = "linux")]
fn reserve(file: &SystemFile, at: u64, len: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;

    if len == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), at, len) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        outcome => outcome,
    }
}

/// Nothing: this system offers no way that keeps what is in the file.
#[cfg(not(target_os = "linux"))]
fn reserve(_: &SystemFile, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// Gives the room of the `len` bytes at `at` back; the file keeps its length.
#[cfg(target_os = "linux")]
fn give_back(file: &SystemFile, at: u64, len: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;

    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, flags, at, len).map_err(no_room)
}

/// Refuses: what this system offers instead is not used.
#[cfg(not(target_os = "linux"))]
fn give_back(_: &SystemFile, _: u64, _: u64) -> io::Result<()> {
    Err(unsupported(io::Error::other("no room can be given back on this system")))
}

/// Goes on after an interruption, which leaves a part that is done again.
#[cfg(target_os = "linux")]
fn fallocate(
    file: &SystemFile,
    flags: rustix::fs::FallocateFlags,
    at: u64,
    len: u64,
) -> io::Result<()> {
    use rustix::io::Errno;

    loop {
        match rustix::fs::fallocate(file, flags, at, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno @ (Errno::OPNOTSUPP | Errno::NOSYS)) => return Err(unsupported(errno)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether there is anything in a range of whole blocks; an error if the file ends before it does.
fn within(file: &SystemFile, at: FileOffset, len: u64) -> io::Result<bool> {
    let (at, block) = (at.get(), u64::from(BLOCK));
    if !at.is_multiple_of(block) || !len.is_multiple_of(block) {
        let why = format!("contract, 7: {len} bytes at {at} are no whole blocks of {block}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if len == 0 {
        return Ok(false);
    }
    let file_len = file.metadata()?.len();
    if at.checked_add(len).is_some_and(|end| end <= file_len) {
        return Ok(true);
    }
    let why = format!("{len} bytes at {at} are not within the file of {file_len} bytes");
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// Refuses what the device would not take; without this, it would be an error with no name.
fn aligned(alignment: u32, at: FileOffset, memory: &[u8]) -> io::Result<()> {
    let unit = to_usize(alignment);
    let position = at.get().is_multiple_of(u64::from(alignment));
    let shape = memory.len().is_multiple_of(unit) && memory.as_ptr().addr().is_multiple_of(unit);
    if position && shape {
        return Ok(());
    }
    let (at, len) = (at.get(), memory.len());
    let why = format!("contract, 7: {len} bytes at {at} are not aligned to {alignment}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use logstor_core::types::ByteLen;
    use std::os::unix::fs::FileExt;

    #[test]
    fn misaligned_operations_are_refused_by_number() {
        let buf = IoBuf::zeroed(ByteLen::new(8192));
        let check = |at, memory: &[u8], good| {
            let outcome = aligned(512, FileOffset::new(at), memory);
            assert_eq!(outcome.is_ok(), good, "{} bytes at {at}", memory.len());
            if let Err(error) = outcome {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert!(error.to_string().starts_with("contract, 7: "));
            }
        };
        check(0, &buf, true);
        check(512, &buf[512..1024], true);
        check(100, &buf, false);
        check(0, &buf[..100], false);
        check(0, &buf[8..520], false);
        aligned(1, FileOffset::new(3), &buf[5..9]).expect("the page cache takes anything");
    }

    #[test]
    fn a_range_is_of_whole_blocks_and_within_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * 4096 + 100).unwrap();
        let check = |at, len, expected: Result<bool, &str>| {
            let outcome = within(&file, FileOffset::new(at), len);
            let outcome = outcome.map_err(|error| {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                error.to_string()
            });
            match expected {
                Ok(expected) => assert_eq!(outcome, Ok(expected), "{len} bytes at {at}"),
                Err(says) => assert!(outcome.unwrap_err().contains(says), "{len} bytes at {at}"),
            }
        };
        check(0, 3 * 4096, Ok(true));
        check(2 * 4096, 4096, Ok(true));
        check(8 * 4096, 0, Ok(false));
        check(0, 4 * 4096, Err("not within the file"));
        check(3 * 4096, 4096, Err("not within the file"));
        check(4096, u64::MAX - 4095, Err("not within the file"));
        check(512, 4096, Err("contract, 7"));
        check(4096, 512, Err("contract, 7"));
    }

    /// Bytes that the file holds on its device.
    #[cfg(target_os = "linux")]
    fn room(file: &SystemFile) -> u64 {
        use std::os::unix::fs::MetadataExt;
        file.sync_all().unwrap();
        file.metadata().unwrap().blocks() * 512
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn room_is_given_back_and_reserved_again() {
        const LEN: u64 = 1 << 20;
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![7; to_usize(1 << 20)], 0).unwrap();
        assert!(room(&file) >= LEN);
        match give_back(&file, 0, LEN / 2) {
            Ok(()) => {}
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        }
        assert!(room(&file) <= LEN * 3 / 4, "the device has most of a half back");
        assert_eq!(file.metadata().unwrap().len(), LEN);
        reserve(&file, 0, LEN / 2).unwrap();
        assert!(room(&file) >= LEN);
        assert_eq!(file.metadata().unwrap().len(), LEN);
    }
}
