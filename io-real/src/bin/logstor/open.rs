//! From a path on the command line to an open store.

use std::path::{Path, PathBuf};

use clap::Args;
use logstor::{Builder, Db, Error, Group, RecoveryMode, Result as StoreResult};

use crate::failure::Failure;
use crate::progress::Bar;

/// The file by which a folder is known to be a store.
pub(crate) const SUPERBLOCK: &str = "superblock";

/// Whether there is a store in the folder, damaged or not.
pub(crate) fn is_store(path: &Path) -> bool {
    path.join(SUPERBLOCK).exists()
}

/// A store that is read.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// The folder of the store
    #[arg(value_name = "STORE")]
    pub(crate) path: PathBuf,
    /// Open what is left of a store that lost a part of its log
    ///
    /// Keys may be missing or show an older value; `logstor recover` says what was lost.
    #[arg(long)]
    pub(crate) salvage: bool,
}

/// A store that is written to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// The folder of the store
    #[arg(value_name = "STORE")]
    pub(crate) path: PathBuf,
}

impl Place {
    /// Opens it to be read; nothing on the disk changes.
    pub(crate) async fn open(&self) -> Result<Db, Failure> {
        let bar = Bar::new();
        let mut builder = logstor::builder(&self.path).on_progress(bar.of_opening());
        if self.salvage {
            builder = builder.recovery(RecoveryMode::Salvage);
        }
        let opened = builder.open_read_only().await;
        bar.end();
        opened.of(&self.path)
    }
}

impl Target {
    /// Opens it to be written. `create`: also where there is none.
    pub(crate) async fn open(&self, create: bool) -> Result<Db, Failure> {
        self.open_as(|builder| builder, create).await
    }

    /// The same, with other options.
    pub(crate) async fn open_as(
        &self,
        set: impl FnOnce(Builder) -> Builder,
        create: bool,
    ) -> Result<Db, Failure> {
        if !create && !is_store(&self.path) {
            let path = self.path.display();
            return Err(Failure::Unreadable(format!(
                "{path} holds no store: choose another path, or make one with `put --create` or \
                 `load --create`"
            )));
        }
        let bar = Bar::new();
        let opened = set(logstor::builder(&self.path).on_progress(bar.of_opening())).open().await;
        bar.end();
        opened.of(&self.path)
    }

    /// As one that is only read.
    pub(crate) fn place(&self) -> Place {
        Place { path: self.path.clone(), salvage: false }
    }
}

/// The group of this name, if it is there.
pub(crate) async fn group(db: &Db, path: &Path, name: &str) -> Result<Group, Failure> {
    if !db.groups().iter().any(|known| known == name) {
        return Err(Error::NoSuchGroup { name: name.to_owned() }).of(path);
    }
    db.group(name).await.of(path)
}

/// Says of which store an error is.
pub(crate) trait OfStore<T> {
    fn of(self, path: &Path) -> Result<T, Failure>;
}

impl<T> OfStore<T> for StoreResult<T> {
    fn of(self, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| Failure::Store { path: path.to_owned(), error })
    }
}
