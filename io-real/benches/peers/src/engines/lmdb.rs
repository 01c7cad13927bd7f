//! LMDB by heed: the page cache is its cache; no read-ahead, as its documentation says for stores
//! that are larger than memory. A transaction a put, loads in larger ones.

use std::ops::Range;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};

use super::{Setup, Store};
use crate::Outcome;
use crate::data::{check, key, value};

/// More than any store here grows to; address space, not memory.
const MAP: usize = 1 << 40;
/// More than there are callers.
const READERS: u32 = 512;

#[derive(Clone)]
pub struct Lmdb {
    /// Handles of tables borrow it, so it lives as long as the process.
    env: &'static Env,
    records: Database<'static, Bytes, Bytes>,
    setup: Setup,
}

impl Lmdb {
    fn write(&self, records: impl Iterator<Item = (u64, Vec<u8>)>) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        for (number, value) in records {
            self.records.put(&mut transaction, &key(number), &value)?;
        }
        Ok(transaction.commit()?)
    }
}

impl Store for Lmdb {
    async fn open(folder: &Path, setup: Setup) -> Outcome<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP).max_readers(READERS);
        let durable = if setup.synced { EnvFlags::empty() } else { EnvFlags::NO_SYNC };
        #[expect(unsafe_code, reason = "the only way to open one")]
        // SAFETY: no other process has the folder, nothing else changes its files, and what is
        // lost of them in a power cut is not used again.
        let env = unsafe { options.flags(EnvFlags::NO_READ_AHEAD | durable).open(folder)? };
        let env: &'static Env = Box::leak(Box::new(env));
        let records = env
            .create_databases_and_commit(env.write_txn()?, |open, transaction| {
                open.create_database::<Bytes, Bytes>(transaction, None)
                    .map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Self { env, records, setup })
    }

    async fn get(&self, number: u64) -> Outcome<()> {
        let transaction = self.env.read_txn()?;
        let found = self.records.get(&transaction, &key(number))?;
        check(number, self.setup.value_len, found)
    }

    async fn put(&self, number: u64, value: Vec<u8>) -> Outcome<()> {
        self.write(std::iter::once((number, value)))
    }

    async fn put_many(&self, numbers: Range<u64>, value_len: usize) -> Outcome<()> {
        self.write(numbers.map(|number| (number, value(number, 0, value_len))))
    }

    async fn flush(&self) -> Outcome<()> {
        Ok(self.env.force_sync()?)
    }

    async fn close(self) -> Outcome<()> {
        self.flush().await
    }
}
