//! One process at a time: the file `LOCK`.
//!
//! The lock is the kernel's and dies with its holder; the process id in the file is for people.
//! The lock belongs to one opening of the file, so a second opening by the same process is
//! refused as well. On a network file system whose server has no such locks, opening may fail or,
//! worse, be granted twice: a store belongs on a local disk.
//!
//! Who only reads shares it with others who do, and cannot say in the file who they are.
//!
//! Absent on purpose: removing the file. Whoever removes a lock file that another one has just
//! opened gives two processes a lock each.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};

/// The name of the file that is locked.
pub(crate) const LOCK: &str = "LOCK";

/// The lock on a folder, held as long as this lives.
#[derive(Debug)]
pub(crate) struct FolderLock {
    file: File,
}

/// Why the lock was not taken.
#[derive(Debug)]
pub(crate) enum NotLocked {
    /// Somebody holds it: this process, if it has written its id by now.
    Held(Option<u32>),
    /// The system refused.
    Io(io::Error),
}

impl FolderLock {
    /// Locks `file`, opened for reading and writing, and writes this process's id into it.
    pub(crate) fn take(mut file: File) -> Result<Self, NotLocked> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NotLocked::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(NotLocked::Io(error)),
        }
        let lock = Self { file };
        // A full disk may refuse this, and must not keep a store from opening.
        if let Err(error) = lock.write_pid() {
            tracing::debug!(%error, "the process id could not be written into {LOCK}");
        }
        Ok(lock)
    }

    /// Locks `file`, opened for reading, against those who write.
    pub(crate) fn share(mut file: File) -> Result<Self, NotLocked> {
        match file.try_lock_shared() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(NotLocked::Held(read_pid(&mut file))),
            Err(TryLockError::Error(error)) => Err(NotLocked::Io(error)),
        }
    }

    /// The locked file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the lock up early. If the system refuses, it goes with the handle.
    pub(crate) fn release(&self) {
        let _ = self.file.unlock();
    }

    fn write_pid(&self) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing would do, were it not for a child process that is just being started and still
        // has a copy of the handle.
        self.release();
    }
}

/// Who holds the lock. What the file says is who wrote last: others may be reading.
fn holder(file: &mut File) -> Option<u32> {
    match file.try_lock_shared() {
        Ok(()) => {
            let _ = file.unlock();
            None
        }
        Err(_) => read_pid(file),
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_read_share_the_lock_and_keep_those_out_who_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let writer = FolderLock::take(options.open(&path).unwrap()).unwrap();
        let refused = FolderLock::share(File::open(&path).unwrap()).unwrap_err();
        assert!(matches!(refused, NotLocked::Held(Some(pid)) if pid == std::process::id()));
        drop(writer);

        let first = FolderLock::share(File::open(&path).unwrap()).unwrap();
        let second = FolderLock::share(File::open(&path).unwrap()).unwrap();
        // The file still says who wrote last, and it is not they who hold the lock.
        let refused = FolderLock::take(options.open(&path).unwrap()).unwrap_err();
        assert!(matches!(refused, NotLocked::Held(None)));
        drop((first, second));
        FolderLock::take(options.open(&path).unwrap()).unwrap();
    }

    #[test]
    fn a_second_opening_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK);
        let open = || {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).open(&path).unwrap()
        };
        std::fs::write(&path, "the rest of something longer than a process id").unwrap();
        let first = FolderLock::take(open()).unwrap();
        let refused = FolderLock::take(open()).unwrap_err();
        assert!(matches!(refused, NotLocked::Held(Some(pid)) if pid == std::process::id()));
        first.file().set_len(0).unwrap();
        let refused = FolderLock::take(open()).unwrap_err();
        assert!(matches!(refused, NotLocked::Held(None)));

        let copy = first.file().try_clone().unwrap();
        drop(first);
        FolderLock::take(open()).expect("unlocked although a copy of the handle lives");
        drop(copy);
    }
}
