//! The suite that every storage backend passes: the contract of [`crate::io`] as named checks.
//!
//! A check gets a fresh [`Environment`] and uses nothing else: no runtime, no threads, no clock of
//! its own. So the same suite runs on a real disk under tokio and on a simulated one under the
//! simulator's executor.
//!
//! ```text
//! fresh() ──> Environment ──> check 1 ──> Ok, or a Failure that names the check and the reason
//! fresh() ──> Environment ──> check 2 ──> ...
//! ```
//!
//! 1. A check that passes proves something: each has a broken backend in the tests below on which
//!    it fails.
//! 2. Every operation stays within the contract, so a backend may panic at misuse (contract, 7).
//! 3. Offsets and lengths are whole blocks, which is a multiple of every permitted alignment.
//!
//! Absent on purpose: crashes. That an acknowledged write survives one, and what may happen to the
//! others (contract, 1 to 5), cannot be seen from inside a process that goes on living. The
//! simulated backend is tested for it by power cuts in its own package; for a real disk it is what
//! its kernel and its device promise. Here a sync only has to succeed.

use futures::future::BoxFuture;

use crate::io::Environment;
use expect::{Broken, Verdict};

mod checks;
mod expect;
mod room;
#[cfg(test)]
mod tests;

/// Why a check failed: which one, on which law of the contract, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("conformance check `{check}` failed{}: {reason}", law(*.contract))]
pub struct Failure {
    /// The name of the check.
    pub check: &'static str,
    /// The number in the contract of storage that it belongs to, if it has one.
    pub contract: Option<u8>,
    /// What was expected and what was seen.
    pub reason: String,
}

fn law(contract: Option<u8>) -> String {
    contract.map(|number| format!(" (contract, {number})")).unwrap_or_default()
}

/// One named demand on a backend.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    name: &'static str,
    contract: Option<u8>,
    body: fn(Environment) -> BoxFuture<'static, Verdict>,
}

impl Check {
    /// Its name: a sentence.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The number in the contract of storage that it belongs to, if it has one.
    #[must_use]
    pub const fn contract(&self) -> Option<u8> {
        self.contract
    }

    /// Runs it in `environment`, whose folder is empty and used by nobody else.
    pub async fn run(&self, environment: Environment) -> Result<(), Failure> {
        let outcome = (self.body)(environment).await;
        outcome.map_err(|Broken(reason)| Failure {
            check: self.name,
            contract: self.contract,
            reason,
        })
    }
}

/// Runs every check, each in an environment of its own from `fresh`, and says how many passed.
///
/// Stops at the first failure.
pub async fn run(
    fresh: &(dyn Fn() -> BoxFuture<'static, Environment> + Sync),
) -> Result<usize, Failure> {
    let checks = checks();
    for check in &checks {
        let environment = fresh().await;
        check.run(environment).await?;
    }
    Ok(checks.len())
}

/// Every check, in the order in which [`run`] runs them.
#[must_use]
#[rustfmt::skip]
pub fn checks() -> Vec<Check> {
    macro_rules! check {
        ($name:literal, $contract:expr, $body:ident) => {
            Check { name: $name, contract: $contract, body: |given| Box::pin(checks::$body(given)) }
        };
        ($name:literal, $contract:expr, room::$body:ident) => {
            Check { name: $name, contract: $contract, body: |given| Box::pin(room::$body(given)) }
        };
    }
    vec![
        check!("the alignment is a power of two of at most a block", Some(7), alignment),
        check!("a new folder is empty", None, empty_folder),
        check!("opening respects the mode", None, open_modes),
        check!("one name is one file, however often it is opened", None, opened_twice),
        check!("names are listed sorted, with lengths", None, listing),
        check!("a rename moves the file and replaces the old one", Some(5), renaming),
        check!("a removed name is gone and can be made anew", Some(5), removing),
        check!("what was written is read back, at every size", Some(8), sizes),
        check!("the later of two writes wins, and its neighbours stay", None, overwriting),
        check!("the writer keeps its bytes", Some(4), shared_bytes),
        check!("writing past the end makes the file longer", None, growing),
        check!("reading past the end is an unexpected end", Some(8), reading_past_the_end),
        check!("preallocated room reads as zeros and keeps old data", None, preallocating),
        check!("preallocating less cuts the file", None, cutting),
        check!("a punched range is zero until written, no other is", Some(9), room::punching),
        check!("reserving room changes neither content nor length", Some(11), room::allocating),
        check!("a range outside the file is not punched nor reserved", None, room::outside),
        check!("shrinking cuts the file and never makes it longer", Some(10), room::shrinking),
        check!("operations in flight together all complete", Some(6), many_in_flight),
        check!("what is begun together is begun once and ends", Some(6), begun_together),
        check!("a file can be synced at any time", Some(1), syncing),
        check!("dropped futures leave the file usable", None, dropped_futures),
        check!("the clock never goes back and sleeping takes its time", None, clock),
        check!("a spawned task runs while the caller waits", None, spawning),
        check!("a spawned task uses storage and clock", None, spawned_io),
    ]
}
