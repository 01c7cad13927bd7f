//! The files to store: a source tree, read into memory before any clock starts.
//!
//! Left out: `target`, `.git`, links, what cannot be read, and whatever is beyond a size that
//! keeps the tour under a minute.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;

/// At most so many bytes of files.
const MOST: u64 = 512 << 20;

/// One file.
#[derive(Clone)]
pub(crate) struct SourceFile {
    /// Its path below the tree; the key that it is stored under.
    pub(crate) path: Vec<u8>,
    pub(crate) content: Bytes,
}

impl SourceFile {
    /// Its path, for people.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// Files in memory.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<SourceFile>,
    /// Files that were left out although they belong to it.
    pub(crate) left_out: u64,
}

impl Tree {
    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.content.len() as u64).sum()
    }
}

/// Reads the tree below `root`.
pub(crate) fn read(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::default();
    let mut budget = MOST;
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if folder == root => {
                let text = format!("cannot read the folder {}: {error}", root.display());
                return Err(io::Error::new(error.kind(), text));
            }
            Err(_) => {
                tree.left_out += 1;
                continue;
            }
        };
        for entry in entries {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let skipped = [OsStr::new("target"), OsStr::new(".git")];
            if kind.is_dir() && !skipped.contains(&&*entry.file_name()) {
                folders.push(path);
            } else if kind.is_file() {
                match read_file(root, &path, &mut budget) {
                    Some(file) => tree.files.push(file),
                    None => tree.left_out += 1,
                }
            }
        }
    }
    tree.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tree)
}

fn read_file(root: &Path, path: &Path, budget: &mut u64) -> Option<SourceFile> {
    let left = budget.checked_sub(path.metadata().ok()?.len())?;
    let content = Bytes::from(fs::read(path).ok()?);
    let below = path.strip_prefix(root).ok()?;
    *budget = left;
    Some(SourceFile { path: below.as_os_str().as_encoded_bytes().to_vec(), content })
}
