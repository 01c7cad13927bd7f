//! A stretch of time, and what the engine did in it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use logstor::{Db, DeviceCounts};
use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;
use crate::report::{Sample, float};

/// Digits of a latency that are kept.
const DIGITS: u8 = 2;

/// Latencies of one caller, or of all.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Outcome<Self> {
        let longest = Duration::from_secs(60).as_nanos();
        Ok(Self(Histogram::new_with_max(u64::try_from(longest)?, DIGITS)?))
    }

    /// Notes an operation begun at `start`; says when it ended.
    pub(crate) fn note(&mut self, start: Instant) -> Instant {
        let end = Instant::now();
        let nanos = u64::try_from((end - start).as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos);
        end
    }

    /// Those of several callers together.
    pub(crate) fn sum(all: impl IntoIterator<Item = Self>) -> Outcome<Self> {
        let mut sum = Self::new()?;
        for one in all {
            sum.0.add(one.0)?;
        }
        Ok(sum)
    }

    /// How many operations.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    fn micros(&self, quantile: f64) -> f64 {
        float(self.0.value_at_quantile(quantile)) / 1e3
    }
}

/// The beginning of a measurement.
pub(crate) struct Begun {
    at: Instant,
    cpu: Duration,
    device: DeviceCounts,
}

impl Begun {
    /// Begins to measure.
    pub(crate) fn now(db: &Db) -> Self {
        Self { at: Instant::now(), cpu: cpu_time(), device: db.stats().device }
    }

    /// The end of it, after `operations`, which wrote `user_bytes` of keys and values.
    pub(crate) fn end(self, db: &Db, operations: u64, user_bytes: u64) -> Sample {
        let (took, cpu) = (self.at.elapsed(), cpu_time().saturating_sub(self.cpu));
        let (before, after) = (self.device, db.stats().device);
        let each = |number: u64| float(number) / float(operations.max(1));
        let written = float(after.written_bytes - before.written_bytes);
        Sample {
            per_second: float(operations) / took.as_secs_f64(),
            reads: (user_bytes == 0).then(|| each(after.reads - before.reads)),
            amplification: (user_bytes > 0).then(|| written / float(user_bytes)),
            syncs: (user_bytes > 0).then(|| each(after.syncs - before.syncs)),
            cpu: Some(cpu.as_secs_f64() * 1e6 / float(operations.max(1))),
            ..Sample::default()
        }
    }

    /// The same, with latencies.
    pub(crate) fn end_with(self, db: &Db, latencies: &Latencies, user_bytes: u64) -> Sample {
        let (p50, p99) = (latencies.micros(0.5), latencies.micros(0.99));
        let sample = self.end(db, latencies.count(), user_bytes);
        Sample { p50: Some(p50), p99: Some(p99), ..sample }
    }
}

/// Processor time of this process, all threads together.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}
