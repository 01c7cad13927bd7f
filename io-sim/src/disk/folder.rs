//! The names of files, and which of them a crash may undo.
//!
//! 1. An operation takes effect at once for readers, and is durable after the next sync of the
//!    folder that began after it completed (contract, 5).
//! 2. A power cut keeps none, all, a prefix, or any subset of the operations since then.
//! 3. An operation is atomic: a rename never leaves both names of a file, nor neither.
//!
//! Absent on purpose: folders in folders.

use std::collections::BTreeMap;
use std::mem;

use super::crash::NameFates;

/// Number of a file on the disk, whatever its name.
pub(crate) type FileId = u64;

#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    current: BTreeMap<String, FileId>,
    durable: BTreeMap<String, FileId>,
    // Invariant: in the order of their sequence; `current` is `durable` with all of them applied.
    log: Vec<(u64, NameOp)>,
}

#[derive(Clone, Debug)]
pub(crate) enum NameOp {
    Create { name: String, file: FileId },
    Rename { to: String, file: FileId },
    Remove { name: String, file: FileId },
}

impl NameOp {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Create { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { to, file } => {
                names.retain(|_, other| other != file);
                names.insert(to.clone(), *file);
            }
            Self::Remove { name, file } => {
                if names.get(name) == Some(file) {
                    names.remove(name);
                }
            }
        }
    }
}

impl Folder {
    /// A folder in which these names are durable.
    pub(crate) fn at_rest(names: BTreeMap<String, FileId>) -> Self {
        Self { current: names.clone(), durable: names, log: Vec::new() }
    }

    pub(crate) const fn names(&self) -> &BTreeMap<String, FileId> {
        &self.current
    }

    pub(crate) fn apply(&mut self, seq: u64, op: NameOp) {
        op.apply(&mut self.current);
        self.log.push((seq, op));
    }

    /// What completed up to `upto` becomes durable.
    pub(crate) fn sync(&mut self, upto: u64) {
        let covered = self.log.partition_point(|(seq, _)| *seq <= upto);
        for (_, op) in self.log.drain(..covered) {
            op.apply(&mut self.durable);
        }
    }

    /// The cache is lost: `fates` decides about each operation that is not durable.
    pub(crate) fn cut_power(&mut self, mut fates: NameFates<'_>) {
        for (_, op) in mem::take(&mut self.log) {
            if fates.keeps() {
                op.apply(&mut self.durable);
            }
        }
        self.current = self.durable.clone();
    }

    /// How many operations are not durable.
    pub(crate) fn undecided(&self) -> usize {
        self.log.len()
    }

    /// Whether the file has a name, now or after some crash.
    pub(crate) fn mentions(&self, file: FileId) -> bool {
        let in_log = self.log.iter().any(|(_, op)| match op {
            NameOp::Create { file: id, .. }
            | NameOp::Rename { file: id, .. }
            | NameOp::Remove { file: id, .. } => *id == file,
        });
        in_log || self.current.values().chain(self.durable.values()).any(|id| *id == file)
    }
}
