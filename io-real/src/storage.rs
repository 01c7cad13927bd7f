//! The production backend: a folder, who carries operations out, and the files opened in it.
//!
//! | | reads, writes and syncs of files | everything else |
//! |---|---|---|
//! | [`Backend::Ring`] | io_uring | threads |
//! | [`Backend::Threads`] | threads | threads |

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use logstor_core::io::{File, FolderEntry, OpenMode, Storage, StorageInfo};

use crate::error::OpenFolderError;
use crate::file::{Drivers, RealFile};
use crate::folder::Folder;
use crate::pool::Pool;
use crate::ring::Rings;

/// Whether reads and writes pass the operating system's page cache by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direct {
    /// Where the file system allows it.
    #[default]
    Auto,
    /// Never: everything goes through the page cache.
    Never,
}

/// Who reads, writes and syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The ring where there is one; otherwise the threads.
    #[default]
    Auto,
    /// `io_uring`: the caller hands its operation to the kernel and is woken when it has ended.
    /// Where that is not to be had, the folder does not open.
    ///
    /// Needs a tokio runtime with I/O enabled; on one without, threads do the work.
    Ring,
    /// Threads that block.
    Threads,
}

/// How a [`RealStorage`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealOptions {
    threads: NonZeroUsize,
    direct: Direct,
    backend: Backend,
    read_only: bool,
}

impl RealOptions {
    /// Threads unless told otherwise; they are started as operations find none idle.
    ///
    /// Measured with random 4 KiB reads past the page cache: beside 32 threads, 64 read a fifth
    /// more with 128 reads in flight and as much with 32 or fewer; 128 threads gained nothing.
    pub const DEFAULT_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

    /// At most so many threads do I/O, and, where threads do all of it, so many operations are
    /// with the device at once; zero is taken as one.
    #[must_use]
    pub fn threads(self, most: usize) -> Self {
        Self { threads: NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN), ..self }
    }

    /// Whether to pass the page cache by.
    #[must_use]
    pub fn direct(self, direct: Direct) -> Self {
        Self { direct, ..self }
    }

    /// Who reads, writes and syncs.
    #[must_use]
    pub fn backend(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }

    /// Opens a folder that is there to be read, through the page cache: nothing in it is created,
    /// written, renamed or removed, and it may lie on a file system that is mounted read-only.
    ///
    /// Any number of processes may read a folder; none of them while one writes.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }
}

impl Default for RealOptions {
    fn default() -> Self {
        Self {
            threads: Self::DEFAULT_THREADS,
            direct: Direct::Auto,
            backend: Backend::Auto,
            read_only: false,
        }
    }
}

/// A folder of the real file system, as the engine wants it.
///
/// The folder stays locked until this, every file opened from it and every operation in flight
/// are gone.
#[derive(Debug)]
pub struct RealStorage {
    path: PathBuf,
    folder: Arc<Folder>,
    drivers: Drivers,
}

impl RealStorage {
    /// Opens the folder at `path`, or creates it in one that exists, and locks it.
    ///
    /// Needs no runtime: opening is done on the storage's own threads. Reads, writes and syncs go
    /// to `io_uring`, if that was chosen, when their futures are polled on a tokio runtime.
    pub async fn open(
        path: impl AsRef<Path>,
        options: RealOptions,
    ) -> Result<Arc<Self>, OpenFolderError> {
        let path = path.as_ref().to_owned();
        let pool =
            Pool::start(options.threads).map_err(|source| OpenFolderError::Threads { source })?;
        let pool = Arc::new(pool);
        let rings = match options.backend {
            Backend::Threads => None,
            Backend::Ring | Backend::Auto => match Rings::start(&pool) {
                Ok(rings) => Some(Arc::new(rings)),
                Err(source) if options.backend == Backend::Ring => {
                    return Err(OpenFolderError::Ring { source });
                }
                Err(error) => {
                    tracing::debug!(%error, "no io_uring: threads do all I/O");
                    None
                }
            },
        };
        let may_be_direct = options.direct == Direct::Auto;
        let entering = path.clone();
        let entered = pool.run(move || {
            Ok(if options.read_only {
                Folder::enter_read_only(&entering)
            } else {
                Folder::enter(&entering, may_be_direct)
            })
        });
        let entered = entered.await;
        let folder = entered.map_err(|error| OpenFolderError::new(&path, "opening", error))??;
        let storage = Self { path, folder: Arc::new(folder), drivers: Drivers { pool, rings } };
        tracing::debug!(path = %storage.path.display(), info = ?storage.info(), "folder opened");
        Ok(Arc::new(storage))
    }

    /// The path that the folder was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn run<T, F>(&self, operation: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    {
        let folder = Arc::clone(&self.folder);
        self.drivers.pool.run(move || operation(&folder)).await
    }
}

#[async_trait]
impl Storage for RealStorage {
    async fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let name = name.to_owned();
        let file = self.run(move |folder| folder.open(&name, mode)).await?;
        Ok(Arc::new(RealFile::new(file, Arc::clone(&self.folder), self.drivers.clone())))
    }

    async fn list(&self) -> io::Result<Vec<FolderEntry>> {
        self.run(Folder::list).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.run(move |folder| folder.rename(&from, &to)).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.run(move |folder| folder.remove(&name)).await
    }

    async fn sync_folder(&self) -> io::Result<()> {
        self.run(Folder::sync).await
    }

    fn release(&self) {
        self.folder.release();
    }

    /// A ring is told once of all that is begun; threads need not be.
    fn together(&self, begin: &mut dyn FnMut()) {
        match &self.drivers.rings {
            Some(rings) => rings.together(begin),
            None => begin(),
        }
    }

    fn info(&self) -> StorageInfo {
        StorageInfo {
            backend: if self.drivers.rings.is_some() { "io_uring" } else { "thread pool" }
                .to_owned(),
            alignment: self.folder.direct().unwrap_or(1),
            direct: self.folder.direct().is_some(),
        }
    }
}
