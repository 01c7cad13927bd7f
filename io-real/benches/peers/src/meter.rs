//! What a stretch of time cost this process.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::data::float;

/// Digits of a latency that are kept.
const DIGITS: u8 = 2;
/// A longer one counts as this.
const LONGEST: Duration = Duration::from_secs(60);

/// What one run of a step gave. Where a figure means nothing there is none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    pub per_second: Option<f64>,
    /// Milliseconds of an opening.
    pub ms: Option<f64>,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    /// Processor time of all threads of the process, an operation.
    pub cpu_us_per_op: Option<f64>,
    /// Bytes written by the process for each byte of keys and values put.
    pub write_amplification: Option<f64>,
    /// Bytes on the disk for each byte of live keys and values, in the end.
    pub space_amplification: Option<f64>,
    /// Bytes read from the device for each operation.
    pub device_read_bytes_per_op: Option<f64>,
    /// The most that the process had resident; mapped files are in it.
    pub peak_rss_bytes: Option<f64>,
    /// The most that its memory group held, with the page cache of its files.
    pub peak_group_bytes: Option<f64>,
}

impl Figures {
    /// The figure that engines are compared by.
    pub fn main(&self) -> Option<f64> {
        self.per_second.or(self.ms)
    }
}

/// Latencies of one caller, or of all.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> Outcome<Self> {
        Ok(Self(Histogram::new_with_max(nanos(LONGEST), DIGITS)?))
    }

    /// Notes an operation begun at `start`; says when it ended.
    pub fn note(&mut self, start: Instant) -> Instant {
        let end = Instant::now();
        self.0.saturating_record(nanos(end - start));
        end
    }

    /// The latencies of several callers.
    pub fn together(all: &[Self]) -> Outcome<Self> {
        let mut sum = Self::new()?;
        for one in all {
            sum.0.add(&one.0)?;
        }
        Ok(sum)
    }

    /// How many operations.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    fn micros(&self, quantile: f64) -> Option<f64> {
        (self.count() > 0).then(|| float(self.0.value_at_quantile(quantile)) / 1e3)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The beginning of a measurement.
pub struct Begun {
    at: Instant,
    cpu: Duration,
    io: DeviceBytes,
}

impl Begun {
    pub fn now() -> Outcome<Self> {
        Ok(Self { at: Instant::now(), cpu: cpu_time(), io: DeviceBytes::now()? })
    }

    /// The end of it, after `operations`, which put `user_bytes` of keys and values.
    pub fn end(&self, operations: u64, user_bytes: u64) -> Outcome<Figures> {
        let (took, cpu) = (self.at.elapsed(), cpu_time().saturating_sub(self.cpu));
        let io = DeviceBytes::now()?;
        let each = |sum: f64| sum / float(operations.max(1));
        let written = float(io.written - self.io.written);
        Ok(Figures {
            per_second: Some(float(operations) / took.as_secs_f64()),
            cpu_us_per_op: Some(each(cpu.as_secs_f64() * 1e6)),
            write_amplification: (user_bytes > 0).then(|| written / float(user_bytes.max(1))),
            device_read_bytes_per_op: Some(each(float(io.read - self.io.read))),
            ..Figures::default()
        })
    }

    /// The same, with latencies.
    pub fn end_with(&self, latencies: &Latencies, user_bytes: u64) -> Outcome<Figures> {
        let figures = self.end(latencies.count(), user_bytes)?;
        let [p50_us, p99_us, p999_us] = [0.5, 0.99, 0.999].map(|share| latencies.micros(share));
        Ok(Figures { p50_us, p99_us, p999_us, ..figures })
    }

    /// What an opening took.
    pub fn opened(&self) -> Figures {
        let cpu = cpu_time().saturating_sub(self.cpu);
        Figures {
            ms: Some(self.at.elapsed().as_secs_f64() * 1e3),
            cpu_us_per_op: Some(cpu.as_secs_f64() * 1e6),
            ..Figures::default()
        }
    }
}

/// What this process had the device read and write, as the kernel counts it: a page of a file
/// counts as written when it becomes dirty.
struct DeviceBytes {
    read: u64,
    written: u64,
}

impl DeviceBytes {
    fn now() -> Outcome<Self> {
        let text = fs::read_to_string("/proc/self/io")?;
        let field = |name: &str| field(&text, name).ok_or(format!("/proc/self/io has no {name}"));
        Ok(Self { read: field("read_bytes:")?, written: field("write_bytes:")? })
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor time of this process, all threads together.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The most memory that this process had resident.
pub fn peak_rss() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = field(&status, "VmHWM:").ok_or("/proc/self/status has no VmHWM")?;
    Ok(float(kib) * 1024.0)
}

/// Bytes that the files below a folder take on the disk: blocks, not lengths.
pub fn disk_bytes(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file may be removed by its engine meanwhile.
        let Ok(meta) = entry.metadata() else { continue };
        sum += if meta.is_dir() { disk_bytes(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(sum)
}
