//! The folder of a store: one handle, relative to which everything is opened, named and removed.
//!
//! All functions here block; [`crate::storage`] runs them on the pool.
//!
//! 1. The folder's path is used once. After that only the handle counts.
//! 2. A name is a plain one (see [`Storage`](logstor_core::io::Storage)), is never followed
//!    through a link, and opens regular files only. `LOCK` is the backend's own: neither listed nor
//!    opened for anybody.
//! 3. Whoever holds a file of the folder, or runs an operation on one, holds the lock.
//!
//! Absent on purpose: tidying up. Unknown names are listed and left alone.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use logstor_core::io::{FolderEntry, OpenMode};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::direct;
use crate::error::{OpenFolderError, named, no_room};
use crate::lock::{FolderLock, LOCK, NotLocked};

/// A locked folder.
#[derive(Debug)]
pub(crate) struct Folder {
    handle: OwnedFd,
    // Invariant: a power of two, at most a block; none where the page cache is used.
    direct: Option<u32>,
    read_only: bool,
    // The last field: nothing of this opening is left when the next one may begin. None where a
    // folder that is read has never been locked.
    lock: Option<FolderLock>,
}

impl Folder {
    /// Creates the folder if need be, locks it and finds out how to read and write in it.
    pub(crate) fn enter(path: &Path, may_be_direct: bool) -> Result<Self, OpenFolderError> {
        let failed = |doing| move |error: io::Error| OpenFolderError::new(path, doing, error);

        // 1. The folder, and its name in the one above, durable before anything is in it.
        let created = create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| OpenFolderError::new(path, "opening", errno))?;
        let synced = sync_above(&handle);
        if created {
            synced.map_err(failed("syncing the folder above"))?;
        }

        // 2. From here on nobody else uses it.
        let flags = OFlags::RDWR | OFlags::CREATE;
        let file = open_regular(&handle, LOCK, flags).map_err(failed("opening LOCK in"))?;
        let lock = FolderLock::take(file).map_err(|error| not_locked(path, error))?;

        // 3. The page cache, or past it.
        let direct = if may_be_direct {
            direct::probe(&handle, lock.file()).map_err(failed("trying direct I/O in"))?
        } else {
            None
        };
        Ok(Self { handle, direct, read_only: false, lock: Some(lock) })
    }

    /// Shares the lock on a folder that is there, and changes nothing in it.
    ///
    /// Whoever writes makes `LOCK` first. Where it is missing, nobody writes now; who begins to
    /// later is not kept from it.
    pub(crate) fn enter_read_only(path: &Path) -> Result<Self, OpenFolderError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => {
                OpenFolderError::Missing { path: path.to_owned(), source: errno.into() }
            }
            errno => OpenFolderError::new(path, "opening", errno),
        })?;
        let lock = match open_regular(&handle, LOCK, OFlags::RDONLY) {
            Ok(file) => Some(FolderLock::share(file).map_err(|error| not_locked(path, error))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(OpenFolderError::new(path, "opening LOCK in", error)),
        };
        // Trying direct I/O takes a write.
        Ok(Self { handle, direct: None, read_only: true, lock })
    }

    /// Lets others lock the folder, although handles are left.
    pub(crate) fn release(&self) {
        if let Some(lock) = &self.lock {
            lock.release();
        }
    }

    /// Refuses to change what is only to be read.
    pub(crate) fn check_writable(&self) -> io::Result<()> {
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// The alignment of direct I/O, or none where the page cache is used.
    pub(crate) fn direct(&self) -> Option<u32> {
        self.direct
    }

    /// Opens or creates a file for reading and, unless the folder is only read, writing.
    pub(crate) fn open(&self, name: &str, mode: OpenMode) -> io::Result<File> {
        plain(name)?;
        if mode == OpenMode::CreateNew {
            self.check_writable().map_err(|error| named("creating", name, error))?;
        }
        let mut flags = match mode {
            OpenMode::Existing if self.read_only => OFlags::RDONLY,
            OpenMode::Existing => OFlags::RDWR,
            OpenMode::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        if self.direct.is_some() {
            flags |= direct::flag();
        }
        open_regular(&self.handle, name, flags)
            .map_err(|error| named("opening", name, no_room(error)))
    }

    /// All names but `LOCK` and those of folders, sorted, with the lengths of what they name.
    pub(crate) fn list(&self) -> io::Result<Vec<FolderEntry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            // A name that is no text was not given by a store.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if [".", "..", LOCK].contains(&name) {
                continue;
            }
            let found = match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => found,
                // Removed since it was listed.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(named("looking at", name, errno)),
            };
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                continue;
            }
            let len = u64::try_from(found.st_size).unwrap_or(0);
            entries.push(FolderEntry { name: name.to_owned(), len });
        }
        entries.sort();
        Ok(entries)
    }

    /// Gives the file `from` the name `to`.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        plain(from)?;
        plain(to)?;
        self.check_writable().map_err(|error| named("renaming", from, error))?;
        rustix::fs::renameat(&self.handle, from, &self.handle, to)
            .map_err(|errno| named("renaming", from, no_room(errno.into())))
    }

    /// Removes a name.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        plain(name)?;
        self.check_writable().map_err(|error| named("removing", name, error))?;
        rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())
            .map_err(|errno| named("removing", name, errno))
    }

    /// Makes all names durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.handle)?)
    }
}

fn not_locked(path: &Path, error: NotLocked) -> OpenFolderError {
    match error {
        NotLocked::Held(pid) => OpenFolderError::Locked { path: path.to_owned(), pid },
        NotLocked::Io(error) => OpenFolderError::new(path, "locking", error),
    }
}

/// Creates the folder, though not the one above it; says whether it had to.
fn create(path: &Path) -> Result<bool, OpenFolderError> {
    let Err(source) = DirBuilder::new().mode(0o700).create(path) else { return Ok(true) };
    match source.kind() {
        // Or something else of that name: opening it will tell.
        io::ErrorKind::AlreadyExists => Ok(false),
        io::ErrorKind::NotFound => {
            Err(OpenFolderError::ParentMissing { path: path.to_owned(), source })
        }
        _ => Err(OpenFolderError::new(path, "creating", source)),
    }
}

fn sync_above(folder: impl AsFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = rustix::fs::openat(folder, "..", flags, Mode::empty())?;
    Ok(rustix::fs::fsync(above)?)
}

/// Opens a regular file by a name that is not followed through a link; a new one is 0600.
fn open_regular(folder: impl AsFd, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR);
    let refuse = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let file = match opened {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return refuse("it is a link, and links are not followed"),
        Err(errno) => return Err(errno.into()),
    };
    if file.metadata()?.is_file() { Ok(file) } else { refuse("it is not a regular file") }
}

/// Lets pass what a store may call its files.
fn plain(name: &str) -> io::Result<()> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    let reserved = ["", ".", "..", LOCK].contains(&name);
    if reserved || !name.bytes().all(letters) {
        let refused = io::Error::new(io::ErrorKind::InvalidInput, "not a name for a file here");
        return Err(named("using", name, refused));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for good in ["superblock", "segments-000001.log", "index.dump", "a..b", "-"] {
            plain(good).unwrap();
        }
        for bad in ["", ".", "..", "../x", "a/b", "LOCK", "ä", "a b", "a\0b", "x\n"] {
            assert_eq!(plain(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
    }
}
