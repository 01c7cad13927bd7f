//! Seeded sweeps of the whole engine on a simulated disk, against a model of its promises.
//!
//! ```text
//!   seed ──> plan ──> harness: open, check, clients at work, crash, open, check ...
//!                        │              │                 │
//!                        │              └─ ledger: what was accepted, acknowledged, seen
//!                        └─────────────── model: one cut of the history explains all keys
//! ```
//!
//! | promise | what checks it |
//! |---|---|
//! | P1, P2 | [`model::explain`]: one cut, not before what the ledger says must survive |
//! | P3 | the cut parts no batch |
//! | P4 | [`ledger::Facts::seen`]; values name their write and check themselves |
//! | P5 | what a reader saw of a `Synced` write must survive from then on |
//! | P6 | with the faults off, the store flushes and closes; `Full` only if there is no room |
//! | P7 | openings crash and are repeated, also on forks of one disk; what was shown stays |
//! | P8 | [`sweep`] with `twice`: the same trace, bit for bit |
//! | P9 | clients drop futures at any poll; the history then holds the write whole or not at all |
//! | P10 | `stats()` adds up to the files; a full store returns to work ([`plan::Mode::Full`]) |
//! | large values | pieces are those that the keys need, at rest and on the durable image |
//! | any moment | [`points`]: small scripts crash at every landing, and in the recoveries |
//! | erasing | [`image`]: what is about to be destroyed lives elsewhere, on the durable image |
//!
//! `cargo run --release -p logstor-sim-tests -- --seeds 0..10000 --jobs 2` sweeps;
//! `-- replay 7 --trace` replays one, `-- shrink 7` finds the least plan that fails as it does.
//! `-- exam` plants bugs in a copy of the engine, each of which must be found; see `EXAM.md`.
//!
//! Silent damage has a mode of its own ([`plan::Mode::Damage`], `--damage`): the disk is damaged at
//! rest, after which a read gives the right value or says `Corruption`.
//!
//! Absent on purpose: damage while the store runs. In all other modes every error must have an
//! injected fault, and no fault loses data.

#![forbid(unsafe_code)]

pub mod canary;
pub mod client;
pub mod exam;
pub mod guard;
pub mod harness;
pub mod image;
pub mod ledger;
pub mod marks;
pub mod model;
pub mod ops;
pub mod plan;
pub mod points;
pub mod sample;
pub mod shrink;
pub mod story;
pub mod sweep;
pub mod tally;
pub mod value;
