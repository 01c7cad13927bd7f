//! The tests of the simulation: its contract, its scheduler, its determinism.
//!
//! The conformance suite of the core is a test crate of its own, `conformance.rs`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;
mod contract;
mod determinism;
mod faults;
mod held;
mod room;
mod scheduler;
mod silent;
mod stops;
