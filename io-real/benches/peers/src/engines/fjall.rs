//! fjall: a quarter of the memory for blocks, memtables of a size that fits, no compression.

use std::path::Path;

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Setup, Store};
use crate::Outcome;
use crate::data::{check, key};

/// "Recommended size 8 - 64 MiB, depending on how much memory is available."
const MEMTABLE: [u64; 2] = [8 << 20, 64 << 20];

#[derive(Clone)]
pub struct Fjall {
    db: Database,
    records: Keyspace,
    setup: Setup,
}

impl Store for Fjall {
    async fn open(folder: &Path, setup: Setup) -> Outcome<Self> {
        // "It is recommended to configure the block cache capacity to be ~20-25% of the available
        // memory"; the rest is for memtables and the page cache.
        let db = Database::builder(folder)
            .cache_size(setup.memory / 4)
            .journal_compression(CompressionType::None)
            .open()?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size((setup.memory / 8).clamp(MEMTABLE[0], MEMTABLE[1]))
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
                // "Enable this only if you know that point reads generally are expected to find."
                .expect_point_read_hits(true)
        };
        Ok(Self { records: db.keyspace("records", options)?, db, setup })
    }

    async fn get(&self, number: u64) -> Outcome<()> {
        let found = self.records.get(key(number))?;
        check(number, self.setup.value_len, found.as_deref())
    }

    async fn put(&self, number: u64, value: Vec<u8>) -> Outcome<()> {
        self.records.insert(key(number), value)?;
        if self.setup.synced {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    async fn flush(&self) -> Outcome<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    async fn close(self) -> Outcome<()> {
        self.flush().await
    }
}
