//! logstor: defaults, and the memory that is left for its cache of values.

use std::path::Path;

use logstor::{Db, Durability, Group, Options};

use super::{Setup, Store};
use crate::Outcome;
use crate::data::{check, key};

/// Bytes of memory a key in the index, generously.
const INDEX: u64 = 20;
/// Write memory, memory of rewrites, and the process itself.
const REST: u64 = 48 << 20;
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
        // "With O_DIRECT the system caches nothing": so give it what there is.
        let value_cache = setup.memory.saturating_sub(INDEX * setup.records + REST).max(CACHE_MIN);
        let options = Options { value_cache, ..Options::default() };
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
