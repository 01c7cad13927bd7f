//! The device's own speed, as fio measures it.
//!
//! Its terse output (version 3) is one line of fields between semicolons: five of the job, then 41
//! of the reads and as many of the writes. Used of each: bandwidth in KiB/s, operations a second,
//! and percentiles of the completion latency as `99.000000%=118`, in microseconds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::Sample;

/// The fio of this system, working in one folder.
pub(crate) struct Fio {
    folder: PathBuf,
}

const READS_AT: usize = 5;
const WRITES_AT: usize = 46;
const FIELDS: usize = 41;

impl Fio {
    /// `None`, after a word to the user, if there is none.
    pub(crate) fn find(folder: &Path) -> Option<Self> {
        let found = Command::new("fio").arg("--version").stdout(Stdio::null()).status();
        if found.is_ok_and(|status| status.success()) {
            return Some(Self { folder: folder.to_path_buf() });
        }
        eprintln!("There is no fio here to measure the device with (Debian package: fio).");
        None
    }

    /// Synced 4 KiB writes by `writers` jobs, each in a file of its own that was written before.
    pub(crate) fn synced_writes(&self, writers: u64, seconds: u64) -> Option<Sample> {
        let numjobs = format!("--numjobs={writers}");
        let runtime = format!("--runtime={seconds}");
        let job = ["--rw=write", "--bs=4k", "--sync=dsync", "--size=16m", "--overwrite=1"];
        let files = ["--filename_format=fio-synced.$jobnum", "--time_based"];
        self.run(&[&job[..], &files, &[&numjobs, &runtime]].concat(), WRITES_AT)
    }

    /// 128 KiB writes, 4 in flight, through a file of `bytes` that was written before; MB/s.
    pub(crate) fn large_writes(&self, bytes: u64) -> Option<Sample> {
        let size = format!("--size={bytes}");
        let job = ["--rw=write", "--bs=128k", "--ioengine=libaio", "--iodepth=4", "--overwrite=1"];
        let file = ["--filename=fio-load", "--end_fsync=1", &size];
        let sample = self.run(&[&job[..], &file].concat(), WRITES_AT)?;
        let per_second = sample.per_second * f64::from(128 << 10) / 1e6;
        Some(Sample { per_second, p50: None, p99: None, ..sample })
    }

    /// Random 4 KiB reads by `readers` jobs from one file of `bytes`.
    pub(crate) fn random_reads(&self, readers: u64, bytes: u64, seconds: u64) -> Option<Sample> {
        let [numjobs, size] = [format!("--numjobs={readers}"), format!("--size={bytes}")];
        let runtime = format!("--runtime={seconds}");
        let job = ["--rw=randread", "--bs=4k", "--filename=fio-read", "--time_based"];
        let random = ["--norandommap", "--randrepeat=0", &numjobs, &size, &runtime];
        self.run(&[&job[..], &random].concat(), READS_AT)
    }

    fn run(&self, job: &[&str], at: usize) -> Option<Sample> {
        let mut command = Command::new("fio");
        command.args(["--name=bench", "--ioengine=psync", "--direct=1", "--thread"]);
        command.args(["--group_reporting", "--output-format=terse", "--terse-version=3"]);
        command.arg("--directory").arg(&self.folder).args(job);
        let output = command.stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let sample = text.lines().find_map(|line| parse(line, at));
        if sample.is_none() {
            eprintln!("fio failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        sample
    }
}

fn parse(line: &str, at: usize) -> Option<Sample> {
    let fields: Vec<&str> = line.split(';').collect();
    if fields.first() != Some(&"3") {
        return None;
    }
    let fields = fields.get(at..at + FIELDS)?;
    let percentile = |which: &str| {
        let micros = |field: &&str| field.strip_prefix(which)?.parse().ok();
        fields.iter().find_map(micros)
    };
    Some(Sample {
        per_second: fields.get(2)?.parse().ok().filter(|&per_second: &f64| per_second > 0.0)?,
        p50: percentile("50.000000%="),
        p99: percentile("99.000000%="),
        ..Sample::default()
    })
}
