//! A stretch of time, and what the engine did in it.

use std::time::{Duration, Instant};

use logstor::{Db, DeviceCounts};
use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;
use crate::latencies::Latencies;
use crate::numbers::float;
use crate::report::Sample;

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

/// The latencies of several callers together.
pub(crate) fn together(all: impl IntoIterator<Item = Latencies>) -> Outcome<Latencies> {
    let mut sum = Latencies::new()?;
    for one in all {
        sum.add(&one)?;
    }
    Ok(sum)
}

/// Processor time of this process, all threads together.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}
