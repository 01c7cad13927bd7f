//! From a path to an open store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use logstor_core::io::Environment;
use logstor_core::{Db, Durability, Error, Options, ProgressFn, RecoveryMode, Result};

use crate::{Backend, Direct, RealOptions, RealStorage, TokioRuntime};

/// Opens the store in the folder `path`, or creates one, with every option at its default.
///
/// Must be called on a tokio runtime with its timer enabled; the store's tasks run there. With its
/// I/O enabled as well (`enable_all`), reads and writes go through `io_uring` where the kernel
/// allows it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> logstor::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("store");
/// let db = logstor::open(path).await?;
/// let users = db.group("users").await?;
/// users.put("alice", "first").await?;
/// assert_eq!(users.get("alice").await?.as_deref(), Some(&b"first"[..]));
/// db.close().await?;
/// # Ok(())
/// # }
/// ```
pub async fn open(path: impl AsRef<Path>) -> Result<Db> {
    builder(path).open().await
}

/// Begins to open the store in the folder `path` with other options than the defaults.
pub fn builder(path: impl AsRef<Path>) -> Builder {
    Builder {
        path: path.as_ref().to_path_buf(),
        options: Options::default(),
        real: RealOptions::default(),
    }
}

/// Gives [`Db`] the constructor of this backend: with this trait in scope, `Db::builder(path)` is
/// [`builder`].
pub trait OpenFolder {
    /// Begins to open the store in the folder `path`.
    fn builder(path: impl AsRef<Path>) -> Builder;
}

impl OpenFolder for Db {
    fn builder(path: impl AsRef<Path>) -> Builder {
        builder(path)
    }
}

/// How to open a store on a real disk; made by [`builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `open`"]
pub struct Builder {
    path: PathBuf,
    options: Options,
    real: RealOptions,
}

impl Builder {
    /// Bytes that the segment files may take in all; see [`Options::capacity`].
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.options.capacity = Some(bytes);
        self
    }

    /// Bytes of a segment, when the store is created; see [`Options::segment_len`].
    pub fn segment_len(mut self, bytes: u32) -> Self {
        self.options.segment_len = Some(bytes);
        self
    }

    /// The durability of writes that do not name one.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// What to do about a damaged log; see [`RecoveryMode`].
    pub fn recovery(mut self, mode: RecoveryMode) -> Self {
        self.options.recovery = mode;
        self
    }

    /// Called while recovery reads segments.
    pub fn on_progress(mut self, tell: ProgressFn) -> Self {
        self.options.on_progress = Some(tell);
        self
    }

    /// Whether to pass the system's cache by.
    pub fn direct(mut self, direct: Direct) -> Self {
        self.real = self.real.direct(direct);
        self
    }

    /// Who reads, writes and syncs: `io_uring` or threads.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.real = self.real.backend(backend);
        self
    }

    /// The most threads that read and write at the same time.
    pub fn io_threads(mut self, threads: usize) -> Self {
        self.real = self.real.threads(threads);
        self
    }

    /// Replaces all options of the backend.
    pub fn real(mut self, real: RealOptions) -> Self {
        self.real = real;
        self
    }

    /// Replaces all of the engine's options.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Opens the store, or creates it in a folder that is empty or does not exist.
    ///
    /// Must be called on a tokio runtime with its timer enabled.
    pub async fn open(self) -> Result<Db> {
        let (environment, options) = self.enter().await?;
        Db::open(environment, options).await
    }

    /// Opens the store that is there to be read, and changes nothing on the disk; see
    /// [`Db::open_read_only`]. The folder may lie on a file system that is mounted read-only. Any
    /// number of processes may read a store, none of them while one writes.
    ///
    /// Must be called on a tokio runtime with its timer enabled.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> logstor::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("store");
    /// # let db = logstor::open(&path).await?;
    /// # db.group("users").await?.put("alice", "first").await?;
    /// # db.close().await?;
    /// use logstor::{Db, Error, OpenFolder};
    ///
    /// let db = Db::builder(path).open_read_only().await?;
    /// let users = db.group("users").await?;
    /// assert_eq!(users.get("alice").await?.as_deref(), Some(&b"first"[..]));
    /// assert!(matches!(users.put("alice", "second").await, Err(Error::ReadOnly)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open_read_only(mut self) -> Result<Db> {
        self.real = self.real.read_only();
        let (environment, options) = self.enter().await?;
        Db::open_read_only(environment, options).await
    }

    /// The folder as the engine wants it.
    async fn enter(self) -> Result<(Environment, Options)> {
        let Self { path, options, real } = self;
        let folder = |source: Arc<dyn std::error::Error + Send + Sync>| Error::Folder { source };
        let runtime = TokioRuntime::current().map_err(|error| folder(Arc::new(error)))?;
        let storage = RealStorage::open(path, real).await;
        let storage = storage.map_err(|error| folder(Arc::new(error)))?;
        let environment = runtime.environment(storage).map_err(|error| folder(Arc::new(error)))?;
        Ok((environment, options))
    }
}
