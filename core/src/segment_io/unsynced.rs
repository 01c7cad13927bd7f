//! Writes that were made and are not durable yet, file by file.
//!
//! Absent on purpose: which writes they were. If one of them may be lost, whoever made them has to
//! take it that all are.

use std::collections::BTreeMap;
use std::io;

use super::Device;

/// Files that were written to, each with the fewest failed syncs that a write found when it began.
#[derive(Debug, Default)]
pub(crate) struct Unsynced(BTreeMap<u32, u64>);

impl Unsynced {
    /// A write to `file` has completed; when it began, so many syncs of the file had failed.
    pub(crate) fn add(&mut self, file: u32, failures: u64) {
        let least = self.0.entry(file).or_insert(failures);
        *least = failures.min(*least);
    }

    /// Makes all of them durable. A file of which a sync failed since a write to it began may have
    /// lost that write, so that is an error too.
    pub(crate) async fn sync(self, device: &Device) -> io::Result<()> {
        for (file, before) in self.0 {
            if device.sync(file).await? != before {
                return Err(io::Error::other("a sync of the file failed meanwhile"));
            }
        }
        Ok(())
    }
}
