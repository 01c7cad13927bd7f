//! A folder for as long as a program runs.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The folder of everything that is written; removed when this goes.
pub(crate) struct Place(PathBuf);

impl Place {
    /// Makes a folder below `above`, named after the program and its process.
    pub(crate) fn make(above: &Path, program: &str) -> io::Result<Self> {
        let path = above.join(format!("{program}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}
