#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! ```text
//!   sim        boots, runs, crashes        executor  tasks, readiness, the choice among them
//!   env        handles of one boot         world     time, agenda, streams, trace
//!   op         operations in flight        device    what they do, and what fails
//!   faults     what may go wrong           held      what hangs or is late
//!   disk       files, names, crashes       raw       the medium, past every handle
//! ```
//!
//! Laws are numbered at the head of each module.

#![forbid(unsafe_code)]

mod counters;
mod device;
mod disk;
mod env;
mod executor;
mod faults;
mod held;
mod op;
mod options;
mod raw;
mod rng;
mod shared;
mod sim;
mod stops;
mod trace;
mod world;

pub use counters::{Counters, FaultCounts};
pub use disk::{CrashReport, DiskImage, NameBias, SectorBias};
pub use executor::Outcome;
pub use faults::{FailedSync, Faults, Spell, Stretch};
pub use options::{Latencies, Latency, SimOptions};
pub use raw::{FileImage, InFlight, RawDisk};
pub use rng::SimRng;
pub use sim::{CrashKind, Handle, Sim};
pub use stops::{Side, StopAt};
pub use trace::{Event, EventKind, Recording};
