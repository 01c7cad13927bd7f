//! Your own application on the simulated disk: crashed at every point, and checked by itself.
//!
//! ```text
//!   run it once, count its effects on the disk ──> for each of them:
//!       boot, run, power cut there, boot again, open, check, go on, check
//! ```
//!
//! The application is a till of a few accounts. It knows nothing of a simulation: it is given an
//! `Environment`, as the real backend gives one. Its own promises are:
//!
//! 1. No money is made and none is lost, whatever happens.
//! 2. A transfer that was acknowledged is in the journal after any crash, and the journal has no
//!    gap.
//! 3. The balances are what the journal makes of the opening balances.
//!
//! `cargo run --release -p logstor-sim-tests --example own_application` shows that they hold where
//! a transfer is one batch, and where they break if it is several puts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use logstor_core::io::Environment;
use logstor_core::{Db, Error, Group, Options, WriteBatch};
use logstor_io_sim::{CrashKind, Outcome, Sim, SimOptions, StopAt};

const ACCOUNTS: u64 = 4;
const BEGIN_WITH: u64 = 100;
const TRANSFERS: u64 = 12;

// --- the application

/// How a transfer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// As one batch: all of it or nothing.
    AtOnce,
    /// Put after put: what a crash parts stays parted.
    BitByBit,
}

struct Till {
    db: Db,
    balances: Group,
    journal: Group,
}

impl Till {
    async fn open(environment: Environment) -> Result<Self, Error> {
        let options = Options {
            segment_len: Some(64 << 10),
            segments_per_file: Some(4),
            ..Options::default()
        };
        let db = Db::open(environment, options).await?;
        let balances = db.group("balances").await?;
        let journal = db.group("journal").await?;
        Ok(Self { db, balances, journal })
    }

    async fn number(group: &Group, key: impl AsRef<[u8]>) -> Result<Option<u64>, Error> {
        let value = group.get(key).await?;
        Ok(value.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?))))
    }

    async fn balance(&self, account: u64) -> Result<u64, Error> {
        let balance = Self::number(&self.balances, account.to_le_bytes()).await?;
        Ok(balance.unwrap_or(BEGIN_WITH))
    }

    /// How many transfers the journal holds.
    async fn transfers(&self) -> Result<u64, Error> {
        Ok(Self::number(&self.journal, "count").await?.unwrap_or(0))
    }

    /// The next transfer: from where, to where, and how much, follows from its number.
    async fn transfer(&self, written: Written) -> Result<u64, Error> {
        let number = self.transfers().await?;
        let (from, to, amount) = terms(number);
        let (less, more) = (self.balance(from).await? - amount, self.balance(to).await? + amount);
        let (from, to) = (from.to_le_bytes(), to.to_le_bytes());
        let (less, more) = (less.to_le_bytes().to_vec(), more.to_le_bytes().to_vec());
        let entry = number.to_le_bytes();
        let (amount, count) = (amount.to_le_bytes().to_vec(), (number + 1).to_le_bytes().to_vec());
        match written {
            Written::AtOnce => {
                let mut batch = WriteBatch::new();
                batch.put(&self.balances, from, less).put(&self.balances, to, more);
                batch.put(&self.journal, entry, amount).put(&self.journal, "count", count);
                self.db.write(batch).await?;
            }
            Written::BitByBit => {
                self.balances.put(from, less).await?;
                self.balances.put(to, more).await?;
                self.journal.put(entry, amount).await?;
                self.journal.put("count", count).await?;
            }
        }
        Ok(number)
    }

    /// The promises of the application.
    async fn check(&self, acknowledged: u64) -> Result<(), String> {
        let told = |error: Error| error.to_string();
        let transfers = self.transfers().await.map_err(told)?;
        if transfers < acknowledged {
            return Err(format!(
                "{acknowledged} transfers were acknowledged, {transfers} are there"
            ));
        }
        let mut due = vec![BEGIN_WITH; usize::try_from(ACCOUNTS).expect("there are few accounts")];
        for number in 0..transfers {
            let (from, to, amount) = terms(number);
            let noted = Self::number(&self.journal, number.to_le_bytes()).await.map_err(told)?;
            if noted != Some(amount) {
                return Err(format!("transfer {number} is noted as {noted:?}, it was {amount}"));
            }
            due[usize::try_from(from).expect("there are few accounts")] -= amount;
            due[usize::try_from(to).expect("there are few accounts")] += amount;
        }
        for (account, due) in (0..ACCOUNTS).zip(due) {
            let found = self.balance(account).await.map_err(told)?;
            if found != due {
                return Err(format!("account {account} has {found}, its transfers say {due}"));
            }
        }
        Ok(())
    }
}

fn terms(number: u64) -> (u64, u64, u64) {
    (number % ACCOUNTS, (number * 3 + 1) % ACCOUNTS, number % 7 + 1)
}

// --- the simulation

/// Opens the till and makes transfers until there are so many; counts those that are acknowledged.
async fn work(environment: Environment, written: Written, done: Arc<AtomicU64>) {
    let till = Till::open(environment).await.expect("nothing fails but the power");
    while till.transfers().await.expect("nothing fails but the power") < TRANSFERS {
        let number = till.transfer(written).await.expect("nothing fails but the power");
        done.store(number + 1, Ordering::Relaxed);
    }
    till.db.close().await.expect("nothing fails but the power");
}

/// How many effects on the disk a run has that nothing disturbs.
fn effects(written: Written) -> u64 {
    let sim = Sim::new(&SimOptions::new(0));
    let main = work(sim.boot(), written, Arc::default());
    assert!(matches!(sim.run(main), Outcome::Done(())), "a run without a crash ends");
    sim.counters().effects
}

/// Cuts the power after so many effects, and checks what is left, twice: as it was found, and when
/// the work was taken up again.
fn cut_at(effects: u64, seed: u64, written: Written) -> Result<(), String> {
    let sim = Sim::new(&SimOptions::new(seed));
    let done = Arc::new(AtomicU64::new(0));
    sim.stop_at(StopAt::Effects(effects));
    let _ = sim.run(work(sim.boot(), written, Arc::clone(&done)));
    sim.crash(CrashKind::POWER_CUT);
    sim.clear_stops();
    check(&sim, done.load(Ordering::Relaxed))?;
    let _ = sim.run(work(sim.boot(), written, Arc::clone(&done)));
    check(&sim, TRANSFERS)
}

/// Opens what is there and checks it.
fn check(sim: &Sim, acknowledged: u64) -> Result<(), String> {
    let environment = sim.boot();
    let check = async move {
        let till = Till::open(environment).await.map_err(|error| error.to_string())?;
        till.check(acknowledged).await?;
        till.db.close().await.map_err(|error| error.to_string())
    };
    match sim.run(check) {
        Outcome::Done(result) => result,
        other => Err(format!("the check does not end: {other:?}")),
    }
}

/// Every point, under several draws of what survives: the first point at which a promise breaks.
pub(crate) fn sweep(written: Written) -> (u64, Option<String>) {
    let points = effects(written);
    for point in 1..=points {
        for seed in 0..4 {
            if let Err(what) = cut_at(point, seed, written) {
                return (points, Some(format!("after {point} effects, seed {seed}: {what}")));
            }
        }
    }
    (points, None)
}

pub(crate) fn main() {
    for written in [Written::AtOnce, Written::BitByBit] {
        let (points, broken) = sweep(written);
        let broken = broken.as_deref().unwrap_or("every promise was kept");
        println!("transfers written {written:?}, {points} points: {broken}");
    }
}
