//! May reads and writes pass the page cache by, and with which alignment?
//!
//! 1. `statx` says what the file system allows. Silence is not a no: older kernels and some file
//!    systems say nothing and can do it with whole blocks.
//! 2. What was said is tried: one aligned write and one read in a file that has no name by then.
//! 3. No is an answer and not an error: it means the page cache. A disk too full to try is one on
//!    which the word of `statx` is taken.
//!
//! Absent on purpose: file systems in memory, which accept the flag and have no device.

use std::io;
use std::os::fd::AsFd;

#[cfg(target_os = "linux")]
pub(crate) use linux::{flag, probe};

/// The alignment that direct I/O in the folder needs, or none where the page cache is used.
#[cfg(not(target_os = "linux"))]
pub(crate) fn probe(_: impl AsFd, _: impl AsFd) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Nothing to add when a file is opened: [`probe`] never says yes.
#[cfg(not(target_os = "linux"))]
pub(crate) fn flag() -> rustix::fs::OFlags {
    rustix::fs::OFlags::empty()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use logstor_core::io::IoBuf;
    use logstor_core::types::{BLOCK, ByteLen};
    use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
    use rustix::io::Errno;

    use super::{AsFd, io};

    const PROBE: &str = "direct-probe.tmp";

    /// File systems that live in memory: tmpfs, ramfs.
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

    /// What a file is opened with so that its reads and writes pass the page cache by.
    pub(crate) fn flag() -> OFlags {
        OFlags::DIRECT
    }

    /// The alignment that direct I/O in `folder` needs, or none where the page cache is to be used.
    ///
    /// `file` is some file in the folder. Nobody else may use the folder meanwhile.
    pub(crate) fn probe(folder: impl AsFd, file: impl AsFd) -> io::Result<Option<u32>> {
        let Some(alignment) = allowed(file)? else { return Ok(None) };
        match attempt(folder, alignment) {
            Ok(()) => Ok(Some(alignment)),
            Err(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Ok(Some(alignment)),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// What `statx` says of `file`: an alignment to try, or none.
    fn allowed(file: impl AsFd) -> io::Result<Option<u32>> {
        let kind = rustix::fs::fstatfs(&file)?.f_type;
        if IN_MEMORY.iter().any(|&memory| i128::from(kind) & 0xffff_ffff == i128::from(memory)) {
            return Ok(None);
        }
        let said = match rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
            Ok(said) => said,
            Err(Errno::NOSYS) => return Ok(Some(BLOCK)),
            Err(errno) => return Err(errno.into()),
        };
        if said.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
            return Ok(Some(BLOCK));
        }
        Ok(usable(said.stx_dio_offset_align, said.stx_dio_mem_align))
    }

    /// The one alignment that satisfies both, if there is one that a block satisfies.
    fn usable(offset: u32, memory: u32) -> Option<u32> {
        let fits = |alignment: u32| alignment.is_power_of_two() && alignment <= BLOCK;
        (fits(offset) && fits(memory)).then_some(offset.max(memory))
    }

    /// Writes and reads with this alignment; `InvalidInput` or `Unsupported` where it may not be.
    fn attempt(folder: impl AsFd, alignment: u32) -> io::Result<()> {
        // A crash may have left one.
        remove(&folder)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | flag();
        let opened = rustix::fs::openat(&folder, PROBE, flags, Mode::RUSR | Mode::WUSR);
        // A file may have been made although it could not be opened in this way.
        remove(&folder)?;
        let file = File::from(opened?);
        let mut written = IoBuf::zeroed(ByteLen::new(alignment));
        written.fill(0x5a);
        let at = u64::from(alignment);
        let wrote = file.write_at(&written, at)?;
        let mut back = IoBuf::zeroed(ByteLen::new(alignment));
        let read = file.read_at(&mut back, at)?;
        let whole = wrote == written.len() && read == back.len() && *back == *written;
        if whole { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn remove(folder: impl AsFd) -> io::Result<()> {
        match rustix::fs::unlinkat(folder, PROBE, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_alignment_must_be_one_that_a_block_satisfies() {
            assert_eq!(usable(512, 4), Some(512));
            assert_eq!(usable(512, 4096), Some(4096));
            assert_eq!(usable(4096, 512), Some(4096));
            assert_eq!(usable(0, 0), None, "zero is how a file system says no");
            assert_eq!(usable(8192, 4), None);
            assert_eq!(usable(512, 16384), None);
        }

        #[test]
        fn trying_leaves_nothing_behind_and_clears_what_a_crash_left() {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(PROBE), "left by a crash").unwrap();
            std::fs::write(folder.path().join("file"), "").unwrap();
            let handle = File::open(folder.path()).unwrap();
            let file = File::open(folder.path().join("file")).unwrap();
            // Whatever the answer is here, it is the same twice.
            let first = probe(&handle, &file).unwrap();
            assert_eq!(probe(&handle, &file).unwrap(), first);
            let left = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(left, 1);
        }

        #[test]
        fn a_file_system_in_memory_uses_the_page_cache() {
            let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
            std::fs::write(folder.path().join("file"), "").unwrap();
            let file = File::open(folder.path().join("file")).unwrap();
            let in_memory = rustix::fs::fstatfs(&file).unwrap().f_type;
            if i128::from(in_memory) == i128::from(IN_MEMORY[0]) {
                let handle = File::open(folder.path()).unwrap();
                assert_eq!(probe(handle, file).unwrap(), None);
            }
        }
    }
}
