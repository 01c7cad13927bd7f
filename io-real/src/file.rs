//! One file: positioned reads and writes that go on until all is done, syncs, length and room.
//!
//! 1. Reads and writes may be short; they go on from the last whole unit of the alignment
//!    (contract, 8), so whatever a call transferred, the next one is aligned like the first: a part
//!    of a unit is transferred again. Where that is no progress, the file or the device has ended.
//! 2. Errors are the kernel's own, unchanged; only a full quota becomes a full disk, and what the
//!    file system cannot do becomes `Unsupported`.
//! 3. An operation in flight holds the file, and through it the lock on the folder.
//!
//! Absent on purpose: trying again after an error. What that would mean is the engine's to know
//! (contract, 3 and 4).

use std::fmt;
use std::fs::File as SystemFile;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use logstor_core::io::{File, FileOffset, IoBuf};
use logstor_core::types::{BLOCK, to_u64, to_usize};

use crate::error::{no_room, unsupported};
use crate::folder::Folder;
use crate::pool::Pool;

/// A file of the store.
#[derive(Debug)]
pub(crate) struct RealFile {
    held: Arc<Held>,
    pool: Arc<Pool>,
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
    pub(crate) fn new(file: SystemFile, folder: Arc<Folder>, pool: Arc<Pool>) -> Self {
        let alignment = folder.direct().unwrap_or(1);
        assert!(alignment.is_power_of_two());
        Self { held: Arc::new(Held { file, alignment, folder }), pool }
    }

    async fn run<T, F>(&self, operation: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Held) -> io::Result<T> + Send + 'static,
    {
        let held = Arc::clone(&self.held);
        self.pool.run(move || operation(&held)).await
    }
}

#[async_trait]
impl File for RealFile {
    async fn read(&self, at: FileOffset, mut into: IoBuf) -> io::Result<IoBuf> {
        self.run(move |held| {
            aligned(held.alignment, at, &into)?;
            let from_file = |part: &mut [u8], at| held.file.read_at(part, at);
            read_fully(&mut into, at.get(), held.alignment, from_file)?;
            Ok(into)
        })
        .await
    }

    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()> {
        self.run(move |held| {
            aligned(held.alignment, at, &bytes)?;
            let to_file = |part: &[u8], at| held.file.write_at(part, at);
            write_fully(&bytes, at.get(), held.alignment, to_file).map_err(no_room)
        })
        .await
    }

    async fn sync(&self) -> io::Result<()> {
        self.run(|held| held.file.sync_data().map_err(no_room)).await
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

fn read_fully(
    into: &mut [u8],
    at: u64,
    alignment: u32,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let progress = whole(alignment, read(&mut into[done..], at + to_u64(done)));
        match progress? {
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(count) => done += count,
            None => {}
        }
    }
    Ok(())
}

fn write_fully(
    bytes: &[u8],
    at: u64,
    alignment: u32,
    mut write: impl FnMut(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let progress = whole(alignment, write(&bytes[done..], at + to_u64(done)));
        match progress? {
            Some(0) => return Err(io::ErrorKind::WriteZero.into()),
            Some(count) => done += count,
            None => {}
        }
    }
    Ok(())
}

/// The part of a count from which the next attempt may go on; none after an interruption.
fn whole(alignment: u32, outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count - count % to_usize(alignment))),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logstor_core::types::ByteLen;

    /// A device that transfers at most what the script says, once each, and then all.
    struct Script {
        steps: Vec<io::Result<usize>>,
        calls: Vec<(u64, usize)>,
    }

    impl Script {
        fn new(steps: Vec<io::Result<usize>>) -> Self {
            Self { steps, calls: Vec::new() }
        }

        fn step(&mut self, at: u64, len: usize) -> io::Result<usize> {
            self.calls.push((at, len));
            if self.steps.is_empty() { Ok(len) } else { self.steps.remove(0).map(|n| n.min(len)) }
        }
    }

    fn interrupted() -> io::Result<usize> {
        Err(io::ErrorKind::Interrupted.into())
    }

    #[test]
    fn short_and_interrupted_reads_go_on() {
        let data: Vec<u8> = (0..=255).cycle().take(2048).collect();
        let mut script =
            Script::new(vec![Ok(512), interrupted(), Ok(1000), interrupted(), Ok(512)]);
        let mut into = vec![0; 2048];
        let read = |part: &mut [u8], at: u64| {
            let count = script.step(at, part.len())?;
            let from = usize::try_from(at).unwrap() - 4096;
            part[..count].copy_from_slice(&data[from..from + count]);
            Ok(count)
        };
        read_fully(&mut into, 4096, 512, read).unwrap();
        assert_eq!(into, data);
        let starts: Vec<u64> = script.calls.iter().map(|call| call.0).collect();
        assert_eq!(starts, [4096, 4608, 4608, 5120, 5120, 5632]);
    }

    #[test]
    fn a_read_that_ends_within_a_unit_has_met_the_end() {
        let mut script = Script::new(vec![Ok(1124), Ok(100)]);
        let outcome = read_fully(&mut [0; 4096], 0, 512, |part, at| script.step(at, part.len()));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(script.calls, [(0, 4096), (1024, 3072)]);
    }

    const UNIT: u32 = 512;
    const LEN: usize = 4 * 512;
    const AT: u64 = 4096;

    /// What a call may transfer: around every boundary of a unit, and too much.
    fn counts() -> Vec<usize> {
        let around = |boundary: usize| [boundary.saturating_sub(1), boundary, boundary + 1];
        let mut counts: Vec<usize> = (0..5).flat_map(|unit| around(unit * 512)).collect();
        counts.dedup();
        counts
    }

    /// Where a transfer that meets these counts, and then none that is short, should get: all its
    /// calls, and whether it fails for want of progress.
    fn expected(script: &[usize], alignment: u32) -> (Vec<(u64, usize)>, bool) {
        let (mut done, mut calls) = (0, Vec::new());
        for &count in script.iter().chain([LEN; 1].iter()) {
            if done == LEN {
                break;
            }
            calls.push((AT + to_u64(done), LEN - done));
            let count = count.min(LEN - done);
            let whole = count - count % to_usize(alignment);
            if whole == 0 {
                return (calls, true);
            }
            done += whole;
        }
        (calls, false)
    }

    /// Every series of three counts, past the page cache and through it.
    #[test]
    fn whatever_the_counts_are_the_rest_is_transferred_from_a_whole_unit_on() {
        let data: Vec<u8> = (0..=250).cycle().take(LEN).collect();
        for alignment in [UNIT, 1] {
            for number in 0..counts().len().pow(3) {
                let pick =
                    |place: u32| counts()[number / counts().len().pow(place) % counts().len()];
                let counts = [pick(0), pick(1), pick(2)];
                let (calls, fails) = expected(&counts, alignment);
                let steps = || Script::new(counts.iter().map(|&count| Ok(count)).collect());

                let (mut reading, mut into) = (steps(), vec![0; LEN]);
                let outcome = read_fully(&mut into, AT, alignment, |part, at| {
                    let count = reading.step(at, part.len())?;
                    let from = usize::try_from(at - AT).unwrap();
                    part[..count].copy_from_slice(&data[from..from + count]);
                    Ok(count)
                });
                assert_eq!(reading.calls, calls, "{counts:?}");
                match outcome {
                    Ok(()) => assert!(!fails && into == data, "{counts:?}"),
                    Err(error) => assert!(fails && error.kind() == io::ErrorKind::UnexpectedEof),
                }

                let (mut writing, mut disk) = (steps(), vec![0; LEN]);
                let outcome = write_fully(&data, AT, alignment, |part, at| {
                    let count = writing.step(at, part.len())?;
                    let to = usize::try_from(at - AT).unwrap();
                    disk[to..to + count].copy_from_slice(&part[..count]);
                    Ok(count)
                });
                assert_eq!(writing.calls, calls, "{counts:?}");
                match outcome {
                    Ok(()) => assert!(!fails && disk == data, "{counts:?}"),
                    Err(error) => assert!(fails && error.kind() == io::ErrorKind::WriteZero),
                }
            }
        }
    }

    #[test]
    fn a_disk_that_fills_up_in_the_middle_of_a_write_says_so_and_is_left_alone() {
        for before in 0..4 {
            let mut steps: Vec<_> = (0..before).map(|_| Ok(512)).collect();
            steps.push(Err(io::Error::from_raw_os_error(28)));
            let mut script = Script::new(steps);
            let outcome = write_fully(&[7; LEN], 0, UNIT, |part, at| script.step(at, part.len()));
            let error = outcome.map_err(no_room).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert_eq!(script.calls.len(), before + 1);
        }
    }

    #[test]
    fn interruptions_without_number_cost_nothing_but_calls() {
        for between in [Ok(512), Ok(700)] {
            let mut steps: Vec<_> = (0..50).map(|_| interrupted()).collect();
            steps.push(between);
            steps.extend((0..50).map(|_| interrupted()));
            let mut script = Script::new(steps);
            write_fully(&[7; LEN], 0, UNIT, |part, at| script.step(at, part.len())).unwrap();
            assert_eq!(script.calls.len(), 102);
            assert_eq!(script.calls.last(), Some(&(512, LEN - 512)));
        }
    }

    #[test]
    fn a_failed_read_gives_the_error_of_the_system() {
        let mut script = Script::new(vec![Ok(512), Err(io::Error::from_raw_os_error(5))]);
        let outcome = read_fully(&mut [0; 1024], 0, 512, |part, at| script.step(at, part.len()));
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(5));
    }

    #[test]
    fn short_and_interrupted_writes_go_on() {
        let bytes: Vec<u8> = (0..=255).cycle().take(2048).collect();
        let mut disk = vec![0; 2048];
        let mut script = Script::new(vec![interrupted(), Ok(700), Ok(512), interrupted()]);
        let write = |part: &[u8], at: u64| {
            let count = script.step(at, part.len())?;
            let to = usize::try_from(at).unwrap();
            disk[to..to + count].copy_from_slice(&part[..count]);
            Ok(count)
        };
        write_fully(&bytes, 0, 512, write).unwrap();
        assert_eq!(disk, bytes);
    }

    #[test]
    fn a_write_without_progress_is_an_error() {
        let mut script = Script::new(vec![Ok(512), Ok(0)]);
        let outcome = write_fully(&[0; 1024], 0, 512, |part, at| script.step(at, part.len()));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }

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
