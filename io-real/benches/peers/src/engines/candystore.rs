//! candystore: room for the keys from the start, and compaction as fast as it is needed. It has no
//! cache on purpose; the page cache is there.

use std::path::Path;
use std::sync::Arc;

use candystore::{CandyStore, Config};

use super::{Setup, Store};
use crate::Outcome;
use crate::data::{check, key};

/// Its default, 4 MiB a second, would let the store grow for as long as it is overwritten.
const COMPACTION_RATE: usize = 512 << 20;

#[derive(Clone)]
pub struct Candy {
    store: Arc<CandyStore>,
    setup: Setup,
}

impl Store for Candy {
    async fn open(folder: &Path, setup: Setup) -> Outcome<Self> {
        let config = Config {
            initial_capacity: usize::try_from(setup.records)?,
            compaction_throughput_bytes_per_sec: COMPACTION_RATE,
            ..Config::default()
        };
        let store = CandyStore::open(folder.join("store"), config).map_err(failed)?;
        Ok(Self { store: Arc::new(store), setup })
    }

    async fn get(&self, number: u64) -> Outcome<()> {
        let found = self.store.get(key(number)).map_err(failed)?;
        check(number, self.setup.value_len, found.as_deref())
    }

    async fn put(&self, number: u64, value: Vec<u8>) -> Outcome<()> {
        self.store.set(key(number), value).map_err(failed)?;
        if self.setup.synced {
            self.store.checkpoint().map_err(failed)?;
        }
        Ok(())
    }

    async fn flush(&self) -> Outcome<()> {
        Ok(self.store.checkpoint().map_err(failed)?)
    }

    async fn close(self) -> Outcome<()> {
        self.flush().await
    }
}

/// Its errors cannot go from thread to thread.
fn failed(error: candystore::Error) -> String {
    format!("candystore: {error}")
}
