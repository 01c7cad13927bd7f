//! Why a folder cannot be opened, and what to do about it.
//!
//! Everything after opening speaks [`std::io::Error`], as the contract of storage asks. Operations
//! on names say which name; operations on bytes carry the kernel's error as it is.

use std::io;
use std::path::{Path, PathBuf};

/// Why the folder of a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenFolderError {
    /// Another process, or this one, has it open.
    #[error(
        "{} is in use by {}: close that store first, or choose another folder",
        path.display(), holder(*pid)
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, if it has said so in `LOCK`.
        pid: Option<u32>,
    },
    /// The folder does not exist and neither does the one that it would be made in.
    #[error("{} cannot be created: create the folder above it first", path.display())]
    ParentMissing {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such folder, and one that is only to be read is not created.
    #[error("there is no folder {}: choose another path", path.display())]
    Missing {
        /// What was to be the folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something of that name, but it is no folder.
    #[error("{} is not a folder: choose another path", path.display())]
    NotADirectory {
        /// What was to be the folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system is mounted read-only, and the store was not opened to be read only.
    #[error(
        "{} is on a read-only file system: mount it writable, or open the store read-only",
        path.display()
    )]
    ReadOnly {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user of this process may not read, write and search the folder.
    #[error(
        "no permission while {doing} {}: give the folder to the user of this process",
        path.display()
    )]
    PermissionDenied {
        /// The folder.
        path: PathBuf,
        /// The step that was refused.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system refuses to start even one thread.
    #[error("no thread for I/O could be started: raise the limit on threads")]
    Threads {
        /// What the system said.
        source: io::Error,
    },
    /// `io_uring` was asked for and is not to be had.
    #[error("there is no io_uring here: allow it, or choose another backend")]
    Ring {
        /// What the system said.
        source: io::Error,
    },
    /// Anything else that the system refused.
    #[error("{doing} {} failed", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The step that failed.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenFolderError {
    /// Sorts what the system said while `doing` something with the folder at `path`.
    pub(crate) fn new(path: &Path, doing: &'static str, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path, doing, source },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, source },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path, source },
            _ => Self::Io { path, doing, source },
        }
    }

    /// The folder that could not be opened; none if it never came to that.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Locked { path, .. }
            | Self::ParentMissing { path, .. }
            | Self::Missing { path, .. }
            | Self::NotADirectory { path, .. }
            | Self::ReadOnly { path, .. }
            | Self::PermissionDenied { path, .. }
            | Self::Io { path, .. } => Some(path),
            Self::Threads { .. } | Self::Ring { .. } => None,
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) if pid == std::process::id() => format!("this process ({pid})"),
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

/// An operation on a name that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} `{name}`: {source}")]
struct Named {
    doing: &'static str,
    name: String,
    source: io::Error,
}

/// The same error, of the same kind, that says which name it was about.
pub(crate) fn named(doing: &'static str, name: &str, source: impl Into<io::Error>) -> io::Error {
    let source = source.into();
    io::Error::new(source.kind(), Named { doing, name: name.to_owned(), source })
}

/// A full quota is a full disk to a store: it refuses writes and goes on serving.
pub(crate) fn no_room(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => io::Error::new(io::ErrorKind::StorageFull, error),
        _ => error,
    }
}

/// What the file system cannot do at all, whichever name the system has for that.
pub(crate) fn unsupported(error: impl Into<io::Error>) -> io::Error {
    let error: io::Error = error.into();
    io::Error::new(io::ErrorKind::Unsupported, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn open_error(errno: Errno) -> OpenFolderError {
        OpenFolderError::new(Path::new("/data/store"), "opening", errno)
    }

    #[test]
    fn errors_of_the_system_are_sorted_and_say_the_way_out() {
        let check = |errno, says: &str| {
            let error = open_error(errno);
            assert!(error.to_string().contains("/data/store"), "{error}");
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.path(), Some(Path::new("/data/store")));
            let source = std::error::Error::source(&error).expect("the cause is kept");
            assert_eq!(source.to_string(), io::Error::from(errno).to_string());
        };
        check(Errno::ACCESS, "give the folder to the user");
        check(Errno::PERM, "give the folder to the user");
        check(Errno::ROFS, "mount it writable");
        check(Errno::NOTDIR, "choose another path");
        check(Errno::IO, "opening /data/store failed");
    }

    #[test]
    fn a_lock_error_names_the_holder() {
        let says = |pid| OpenFolderError::Locked { path: "/data/store".into(), pid }.to_string();
        assert!(says(Some(u32::MAX)).contains("process 4294967295"));
        assert!(says(Some(std::process::id())).contains("this process"));
        assert!(says(None).contains("another process"));
    }

    #[test]
    fn a_name_is_added_and_the_kind_kept() {
        let error = named("removing", "superblock", Errno::NOENT);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("removing `superblock`: "), "{error}");
    }

    #[test]
    fn a_full_quota_is_a_full_disk() {
        assert_eq!(no_room(Errno::DQUOT.into()).kind(), io::ErrorKind::StorageFull);
        assert_eq!(no_room(Errno::NOSPC.into()).kind(), io::ErrorKind::StorageFull);
        assert_eq!(no_room(Errno::IO.into()).raw_os_error(), Some(Errno::IO.raw_os_error()));
    }

    #[test]
    fn what_a_file_system_cannot_do_is_unsupported_by_any_name() {
        for errno in [Errno::OPNOTSUPP, Errno::NOSYS] {
            let error = unsupported(errno);
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert_eq!(error.to_string(), io::Error::from(errno).to_string());
        }
    }
}
