//! How long callers waited.

use std::time::{Duration, Instant};

use hdrhistogram::{AdditionError, CreationError, Histogram};

use crate::numbers::float;

/// Digits of a latency that are kept.
const DIGITS: u8 = 2;
/// A longer one counts as this.
const LONGEST: Duration = Duration::from_secs(60);

/// Latencies of one caller, or of all.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Result<Self, CreationError> {
        Ok(Self(Histogram::new_with_max(nanos(LONGEST), DIGITS)?))
    }

    /// Notes an operation begun at `start`; says when it ended.
    pub(crate) fn note(&mut self, start: Instant) -> Instant {
        let end = Instant::now();
        self.0.saturating_record(nanos(end - start));
        end
    }

    /// Takes those of another caller in.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), AdditionError> {
        self.0.add(&other.0)
    }

    /// How many operations.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency, in microseconds, that this share of the operations did not exceed.
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        float(self.0.value_at_quantile(quantile)) / 1e3
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
