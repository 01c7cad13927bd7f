//! redb: half of the memory for its own cache; a transaction a put, loads in larger ones.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition};

use super::{EverySecond, Setup, Store};
use crate::Outcome;
use crate::data::{check, key, value};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

#[derive(Clone)]
pub struct Redb {
    db: Arc<Database>,
    /// Commits that are not durable free nothing, so one a second is.
    due: Arc<EverySecond>,
    setup: Setup,
}

impl Redb {
    fn write(&self, records: impl Iterator<Item = (u64, Vec<u8>)>) -> Outcome<()> {
        let mut transaction = self.db.begin_write()?;
        if !self.setup.synced && !self.due.is_due() {
            transaction.set_durability(Durability::None)?;
        }
        let mut table = transaction.open_table(RECORDS)?;
        for (number, value) in records {
            table.insert(&key(number)[..], &value[..])?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }
}

impl Store for Redb {
    async fn open(folder: &Path, setup: Setup) -> Outcome<Self> {
        let cache = usize::try_from(setup.memory / 2)?;
        let db = Builder::new().set_cache_size(cache).create(folder.join("store.redb"))?;
        let store = Self { db: Arc::new(db), due: Arc::new(EverySecond::new()), setup };
        store.write(std::iter::empty())?; // readers need the table
        Ok(store)
    }

    async fn get(&self, number: u64) -> Outcome<()> {
        let transaction = self.db.begin_read()?;
        let table = transaction.open_table(RECORDS)?;
        let found = table.get(&key(number)[..])?;
        check(number, self.setup.value_len, found.as_ref().map(|found| found.value()))
    }

    async fn put(&self, number: u64, value: Vec<u8>) -> Outcome<()> {
        self.write(std::iter::once((number, value)))
    }

    async fn put_many(&self, numbers: Range<u64>, value_len: usize) -> Outcome<()> {
        self.write(numbers.map(|number| (number, value(number, 0, value_len))))
    }

    async fn flush(&self) -> Outcome<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction.commit()?)
    }

    async fn close(self) -> Outcome<()> {
        self.flush().await
    }
}
