//! logstor: buffers that fit the memory, and what is left of it for the cache of values.

use std::path::Path;

use logstor::{Db, Durability, Group, Options};

use super::{Setup, Store};
use crate::Outcome;
use crate::data::{check, key};

/// Bytes of memory a key in the index, generously.
const INDEX: u64 = 20;
/// The process itself, and reads on their way.
const REST: u64 = 16 << 20;
/// The least that is worth giving to the cache.
const CACHE_MIN: u64 = 8 << 20;

#[derive(Clone)]
pub struct Logstor {
    db: Db,
    group: Group,
    value_len: usize,
    durability: Durability,
}

impl Store for Logstor {
    const TASKS: bool = true;

    async fn open(folder: &Path, setup: Setup) -> Outcome<Self> {
        let mut options = Options::default();
        options.write_memory = options.write_memory.min(u32::try_from(setup.memory / 8)?);
        options.rewrite_memory = options.rewrite_memory.min(u32::try_from(setup.memory / 32)?);
        // "With O_DIRECT the system caches nothing": so give it what there is.
        let buffers = u64::from(options.write_memory) + u64::from(options.rewrite_memory);
        let taken = INDEX * setup.records + buffers + REST;
        options.value_cache = setup.memory.saturating_sub(taken).max(CACHE_MIN);
        let db = logstor::builder(folder.join("store")).options(options).open().await?;
        let group = db.group("records").await?;
        let durability = if setup.synced { Durability::Synced } else { Durability::Buffered };
        Ok(Self { db, group, value_len: setup.value_len, durability })
    }

    async fn get(&self, number: u64) -> Outcome<()> {
        let found = self.group.get(key(number)).await?;
        check(number, self.value_len, found.as_deref())
    }

    async fn put(&self, number: u64, value: Vec<u8>) -> Outcome<()> {
        Ok(self.group.put_with(key(number), value, self.durability).await?)
    }

    async fn flush(&self) -> Outcome<()> {
        Ok(self.db.flush().await?)
    }

    async fn close(self) -> Outcome<()> {
        Ok(self.db.close().await?)
    }
}
