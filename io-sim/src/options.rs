//! What a simulation is made with, and what may be changed while it runs.
//!
//! Absent on purpose: a file of settings, environment variables. A seed and these values are the
//! whole input of a run.

use std::time::Duration;

use crate::faults::Faults;
use crate::rng::SimRng;
use crate::trace::Recording;

/// How to make a [`Sim`](crate::Sim): the seed, and what differs from the defaults.
#[derive(Clone, Debug)]
pub struct SimOptions {
    pub(crate) seed: u64,
    pub(crate) sector: u32,
    pub(crate) latencies: Latencies,
    pub(crate) faults: Faults,
    pub(crate) recording: Recording,
    pub(crate) max_steps: u64,
    pub(crate) max_polls: u64,
    pub(crate) punches: bool,
    pub(crate) wall: Duration,
}

impl SimOptions {
    /// A faultless disk of unlimited size, its sector size drawn from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let sector = *SimRng::new(seed, "sector").pick(&[512, 4096]);
        Self {
            seed,
            sector,
            latencies: Latencies::default(),
            faults: Faults::none(),
            recording: Recording::Off,
            max_steps: 2_000_000,
            max_polls: 100_000,
            punches: true,
            wall: Duration::from_secs(1_700_000_000),
        }
    }

    /// Sectors of this size instead of a drawn one: the unit that a crash keeps or loses, and the
    /// alignment that callers must observe.
    ///
    /// # Panics
    ///
    /// If it is neither 512 nor 4096.
    #[must_use]
    pub fn sector_size(mut self, bytes: u32) -> Self {
        assert!(bytes == 512 || bytes == 4096, "a sector has 512 or 4096 bytes, not {bytes}");
        self.sector = bytes;
        self
    }

    /// How long operations take.
    #[must_use]
    pub fn latencies(mut self, latencies: Latencies) -> Self {
        self.latencies = latencies;
        self
    }

    /// What fails from the start.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Which lines of the trace are kept as text.
    #[must_use]
    pub fn recording(mut self, recording: Recording) -> Self {
        self.recording = recording;
        self
    }

    /// After this many steps a run ends as [`RanTooLong`](crate::Outcome::RanTooLong).
    #[must_use]
    pub fn max_steps(mut self, steps: u64) -> Self {
        self.max_steps = steps;
        self
    }

    /// After this many polls in one moment of virtual time a run ends as
    /// [`Spins`](crate::Outcome::Spins).
    #[must_use]
    pub fn max_polls(mut self, polls: u64) -> Self {
        self.max_polls = polls;
        self
    }

    /// Whether the file system can punch; otherwise every punch within its file is `Unsupported`.
    #[must_use]
    pub fn punches(mut self, can: bool) -> Self {
        self.punches = can;
        self
    }

    /// What the wall clock says when the simulation begins.
    #[must_use]
    pub fn wall(mut self, since_1970: Duration) -> Self {
        self.wall = since_1970;
        self
    }
}

/// From when to when an operation may take; every duration in between is equally likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latency {
    /// Between two numbers of microseconds.
    #[must_use]
    pub const fn micros(min: u64, max: u64) -> Self {
        Self { min: Duration::from_micros(min), max: Duration::from_micros(max) }
    }
}

/// How long operations take, in virtual time.
///
/// Order of completion follows from it: two operations in flight together complete in either
/// order if their ranges allow (contract, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// A read.
    pub read: Latency,
    /// A write, a punch, a shrink or a reservation of room.
    pub write: Latency,
    /// A sync of a file or of the folder.
    pub sync: Latency,
    /// Everything that concerns names: open, list, rename, remove.
    pub names: Latency,
    /// In a million operations so many take fifty times as long.
    pub slow_per_million: u32,
    /// A timer is late by up to this.
    pub timer_slack: Duration,
}

impl Default for Latencies {
    /// A fast local disk: fractions of a millisecond, and now and then a hiccup.
    fn default() -> Self {
        Self {
            read: Latency::micros(20, 200),
            write: Latency::micros(20, 400),
            sync: Latency::micros(50, 2000),
            names: Latency::micros(20, 400),
            slow_per_million: 5000,
            timer_slack: Duration::from_micros(500),
        }
    }
}

impl Latencies {
    /// Everything takes exactly this long, timers are punctual; what is issued in one moment
    /// completes in one moment, in an order drawn from the seed.
    #[must_use]
    pub const fn constant(time: Duration) -> Self {
        let same = Latency { min: time, max: time };
        Self {
            read: same,
            write: same,
            sync: same,
            names: same,
            slow_per_million: 0,
            timer_slack: Duration::ZERO,
        }
    }
}
