//! Rounds of load, death and check on one store.
//!
//! ```text
//! parent                                   child
//!   start ───────────────────────────────>   open the store, read every key
//!         <───── hello, opened, found …, ready
//!   compare with the model; "go" ────────>   load by many workers
//!         <───── begin …, done …, not …, saw …
//!   SIGKILL at any moment of this, or "close", or "settle" ──> close; the same at a moment of that
//! ```
//!
//! The parent alone knows what must be there, and only from what children said: what they are about
//! to write, *before* they call the store, and what became of it, *after* the call returned. All of
//! it goes through one pipe, in one order, which a kill cannot cut.
//!
//! 1. What one worker left behind is the state after one of its writes, whole batches only.
//! 2. No write is missing that was acknowledged as `Synced`, or before another one began that was;
//!    the same for `Written`, as long as only the process died; nor one that a reader saw of a
//!    `Synced` write.
//! 3. If a write is there, so is every write of any worker that was acknowledged, in whatever way,
//!    before it began: what survives is a prefix of the order of acceptance.
//! 4. What an opening showed stays, whatever becomes of that opening.
//! 5. After a clean close everything is there, and the next opening comes from the dump.
//! 6. Every value is that of its key, version and length, byte for byte; there are no other keys;
//!    the numbers of `stats()` add up; in an idle store nothing is pinned, and the files have the
//!    length that it says.
//!
//! Used by the example `torture` and by the test `kill`. Absent on purpose: power cuts, of which
//! `pauses` knows something and the simulation everything.

mod child;
mod dice;
#[cfg_attr(test, expect(dead_code, reason = "tests mount nothing"))]
mod disk;
mod listener;
mod load;
mod model;
mod parent;
#[cfg_attr(test, expect(dead_code, reason = "tests mount nothing"))]
mod pauses;
mod value;
mod wire;

use std::error::Error;

pub(crate) use child::run;
#[cfg(not(test))]
pub(crate) use disk::{Kind, Mounted};
pub(crate) use parent::Run;
#[cfg(not(test))]
pub(crate) use pauses::Pauses;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Workers of a child; each has keys of its own in every group.
const WORKERS: u8 = 12;
/// Groups that all workers share.
const SHARED: u8 = 3;
/// Behind them, the group that each worker has for itself, to drop, truncate and make again.
const SCRATCH: u8 = SHARED;
/// Keys that a worker has in each group: few, so that most writes replace or delete something.
const KEYS: u8 = 24;
/// The first of them, in the first group, may have a large value.
const LARGE_KEYS: u8 = 2;
