//! What a read, a write or a sync does until all of it is done, whoever makes its calls.
//!
//! ```text
//!            ┌──────────── the rest ───────────┐
//!            v                                 │
//! Transfer ──part──> a call ──its outcome──> after ──all done, or failed──> the answer
//! ```
//!
//! 1. Reads and writes may be short; they go on from the last whole unit of the alignment
//!    (contract, 8), so whatever a call transferred, the next one is aligned like the first: a part
//!    of a unit is transferred again. Where that is no progress, the file or the device has ended.
//! 2. A call that was interrupted is made again, whatever it was.
//! 3. Errors are the kernel's own, unchanged; only a full quota becomes a full disk.
//! 4. A transfer owns its memory. Moving the transfer does not move the memory.
//!
//! Absent on purpose: trying again after an error. What that would mean is the engine's to know
//! (contract, 3 and 4).

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use logstor_core::io::IoBuf;
use logstor_core::types::{to_u64, to_usize};

use crate::error::no_room;

/// What comes of a transfer: the memory of a read, nothing of anything else.
pub(crate) type Answer = io::Result<Option<IoBuf>>;

/// Something that keeps a file open.
pub(crate) trait Holds: Send + Sync {
    /// The file; always the same.
    fn file(&self) -> &std::fs::File;
}

/// One operation on a file, and how far it has come.
#[derive(Debug)]
pub(crate) struct Transfer {
    work: Work,
    at: u64,
    // Invariant: at most the length of the memory, whole units of the alignment.
    done: usize,
    // One where the page cache is used.
    alignment: u32,
}

#[derive(Debug)]
enum Work {
    Read(IoBuf),
    Write(Arc<IoBuf>),
    Sync,
}

/// What the next call of a transfer is to do.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// Read into this, from there on.
    Read(&'a mut [u8], u64),
    /// Write this, from there on.
    Write(&'a [u8], u64),
    /// Make the data durable.
    Sync,
}

/// What follows a call.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another one.
    Again(Transfer),
    Ended(Answer),
}

impl Transfer {
    pub(crate) fn read(at: u64, into: IoBuf, alignment: u32) -> Self {
        Self { work: Work::Read(into), at, done: 0, alignment }
    }

    pub(crate) fn write(at: u64, bytes: Arc<IoBuf>, alignment: u32) -> Self {
        Self { work: Work::Write(bytes), at, done: 0, alignment }
    }

    pub(crate) fn sync() -> Self {
        Self { work: Work::Sync, at: 0, done: 0, alignment: 1 }
    }

    /// What is left to do.
    pub(crate) fn part(&mut self) -> Part<'_> {
        let at = self.at + to_u64(self.done);
        match &mut self.work {
            Work::Read(into) => Part::Read(&mut into[self.done..], at),
            Work::Write(bytes) => Part::Write(&bytes[self.done..], at),
            Work::Sync => Part::Sync,
        }
    }

    /// What follows a call for the last [`part`](Self::part).
    pub(crate) fn after(mut self, outcome: io::Result<usize>) -> Next {
        let (len, ended) = match &self.work {
            Work::Read(into) => (into.len(), io::ErrorKind::UnexpectedEof),
            Work::Write(bytes) => (bytes.len(), io::ErrorKind::WriteZero),
            Work::Sync => (0, io::ErrorKind::Other),
        };
        let whole = match outcome {
            Ok(count) => count - count % to_usize(self.alignment),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Next::Again(self),
            Err(error) => return self.failed(error),
        };
        if whole == 0 && self.done < len {
            return self.failed(ended.into());
        }
        self.done += whole;
        if self.done < len { Next::Again(self) } else { Next::Ended(Ok(self.into_memory())) }
    }

    fn failed(self, error: io::Error) -> Next {
        match self.work {
            Work::Read(_) => Next::Ended(Err(error)),
            Work::Write(_) | Work::Sync => Next::Ended(Err(no_room(error))),
        }
    }

    fn into_memory(self) -> Option<IoBuf> {
        match self.work {
            Work::Read(into) => Some(into),
            Work::Write(_) | Work::Sync => None,
        }
    }

    /// Does all of it by calls that block.
    pub(crate) fn perform(self, file: &std::fs::File) -> Answer {
        self.perform_with(|part| match part {
            Part::Read(into, at) => file.read_at(into, at),
            Part::Write(bytes, at) => file.write_at(bytes, at),
            Part::Sync => file.sync_data().map(|()| 0),
        })
    }

    fn perform_with(mut self, mut call: impl FnMut(Part<'_>) -> io::Result<usize>) -> Answer {
        loop {
            let outcome = call(self.part());
            match self.after(outcome) {
                Next::Again(rest) => self = rest,
                Next::Ended(answer) => return answer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn read_fully(
        into: &mut [u8],
        at: u64,
        alignment: u32,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> io::Result<()> {
        let transfer = Transfer::read(at, IoBuf::copy_of(into), alignment);
        let read = transfer.perform_with(|part| match part {
            Part::Read(part, at) => read(part, at),
            other => panic!("{other:?} in a read"),
        });
        into.copy_from_slice(&read?.expect("a read gives its memory back"));
        Ok(())
    }

    fn write_fully(
        bytes: &[u8],
        at: u64,
        alignment: u32,
        mut write: impl FnMut(&[u8], u64) -> io::Result<usize>,
    ) -> io::Result<()> {
        let transfer = Transfer::write(at, Arc::new(IoBuf::copy_of(bytes)), alignment);
        let written = transfer.perform_with(|part| match part {
            Part::Write(part, at) => write(part, at),
            other => panic!("{other:?} in a write"),
        });
        written.map(|memory| assert!(memory.is_none()))
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
            let error = outcome.unwrap_err();
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
    fn nothing_is_read_and_written_with_nothing() {
        read_fully(&mut [], 4096, 512, |_, _| Ok(0)).unwrap();
        write_fully(&[], 4096, 512, |_, _| Ok(0)).unwrap();
    }

    #[test]
    fn an_interrupted_sync_is_made_again_and_a_failed_one_is_not() {
        let sync = |mut outcomes: Vec<io::Result<usize>>| {
            let answer = Transfer::sync().perform_with(|_| outcomes.remove(0));
            assert!(outcomes.is_empty(), "{outcomes:?}");
            answer
        };
        assert!(sync(vec![interrupted(), interrupted(), Ok(0)]).unwrap().is_none());
        let failed = sync(vec![Err(io::Error::from_raw_os_error(5))]).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(5));
        let full = sync(vec![interrupted(), Err(io::Error::from_raw_os_error(122))]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }
}
