//! RocksDB: what its wiki says under "Setup Options and Basic Tuning", blocks of 4 KiB for point
//! lookups, no compression.

use std::path::Path;
use std::sync::Arc;

use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, Options, WriteOptions};

use super::{Setup, Store};
use crate::Outcome;
use crate::data::{check, key};

/// Its own default where there is memory for it.
const MEMTABLE: usize = 64 << 20;
const MEMTABLE_MIN: usize = 8 << 20;

#[derive(Clone)]
pub struct Rocks {
    db: Arc<DB>,
    setup: Setup,
}

impl Store for Rocks {
    async fn open(folder: &Path, setup: Setup) -> Outcome<Self> {
        let memory = usize::try_from(setup.memory)?;
        let mut blocks = BlockBasedOptions::default();
        // "about 1/3 of your total memory budget"
        blocks.set_block_cache(&Cache::new_lru_cache(memory / 3));
        blocks.set_block_size(4 << 10);
        blocks.set_bloom_filter(10.0, false);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);

        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_background_jobs(6);
        options.set_bytes_per_sync(1 << 20);
        options.set_write_buffer_size((memory / 8).clamp(MEMTABLE_MIN, MEMTABLE));
        options.set_block_based_table_factory(&blocks);
        Ok(Self { db: Arc::new(DB::open(&options, folder.join("store"))?), setup })
    }

    async fn get(&self, number: u64) -> Outcome<()> {
        let found = self.db.get_pinned(key(number))?;
        check(number, self.setup.value_len, found.as_deref())
    }

    async fn put(&self, number: u64, value: Vec<u8>) -> Outcome<()> {
        let mut options = WriteOptions::default();
        options.set_sync(self.setup.synced);
        Ok(self.db.put_opt(key(number), value, &options)?)
    }

    async fn flush(&self) -> Outcome<()> {
        Ok(self.db.flush_wal(true)?)
    }

    async fn close(self) -> Outcome<()> {
        self.flush().await
    }
}
