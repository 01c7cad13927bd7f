//! Seeds in order, one thread, until the first that fails; and what is said of it meanwhile.
//!
//! Every seed is named before it is run, so that somebody who reads along knows which one it was
//! that never ended.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::str::FromStr;
use std::time::{Duration, Instant};

use logstor_io_sim::Recording;

use crate::harness::run_seed;
use crate::plan::Mode;

/// What is said on the way. Times are those that the processor spent until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// This seed is run now.
    Begun {
        /// Which.
        seed: u64,
        /// Time spent on those before.
        spent: Duration,
    },
    /// The bug that is awake made a difference for the first time.
    Reached,
    /// The seed failed, and the rest is left alone.
    Failed {
        /// Time spent.
        spent: Duration,
        /// How it failed, in one line.
        what: String,
    },
    /// No seed failed.
    Passed {
        /// Time spent.
        spent: Duration,
        /// One number for all that happened in all of them.
        hash: u64,
    },
}

/// Runs the seeds until one fails.
pub fn sit(seeds: Range<u64>, mode: Mode, mut say: impl FnMut(Line)) {
    let stopwatch = Stopwatch::start();
    let mut hash = 0_u64;
    for seed in seeds {
        say(Line::Begun { seed, spent: stopwatch.spent() });
        let report = run_seed(seed, mode, Recording::Off);
        if let Some(failure) = report.failure {
            let what = failure.lines().next().unwrap_or_default().to_owned();
            return say(Line::Failed { spent: stopwatch.spent(), what });
        }
        hash = hash.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ report.trace_hash;
    }
    say(Line::Passed { spent: stopwatch.spent(), hash });
}

/// Time that this thread spent on a processor; where the system does not tell, time that went by.
struct Stopwatch {
    began: Instant,
    cpu: Option<Duration>,
}

impl Stopwatch {
    fn start() -> Self {
        Self { began: Instant::now(), cpu: cpu_time() }
    }

    fn spent(&self) -> Duration {
        let cpu = self.cpu.zip(cpu_time()).map(|(before, now)| now.saturating_sub(before));
        cpu.unwrap_or_else(|| self.began.elapsed())
    }
}

fn cpu_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun { seed, spent } => write!(out, "begun {seed} {}", spent.as_micros()),
            Self::Reached => write!(out, "reached"),
            Self::Failed { spent, what } => write!(out, "failed {} {what}", spent.as_micros()),
            Self::Passed { spent, hash } => write!(out, "passed {} {hash}", spent.as_micros()),
        }
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let micros = |text: &str| text.parse().map(Duration::from_micros).map_err(|_| ());
        let mut words = line.splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default();
        match (next(), next(), next()) {
            ("begun", seed, spent) => {
                Ok(Self::Begun { seed: seed.parse().map_err(|_| ())?, spent: micros(spent)? })
            }
            ("reached", "", "") => Ok(Self::Reached),
            ("failed", spent, what) => {
                Ok(Self::Failed { spent: micros(spent)?, what: what.into() })
            }
            ("passed", spent, hash) => {
                Ok(Self::Passed { spent: micros(spent)?, hash: hash.parse().map_err(|_| ())? })
            }
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_said() {
        let spent = Duration::from_micros(1234);
        let lines = [
            Line::Begun { seed: 7, spent },
            Line::Reached,
            Line::Failed { spent, what: "a key  was lost".into() },
            Line::Passed { spent, hash: u64::MAX },
        ];
        for line in lines {
            assert_eq!(line.to_string().parse(), Ok(line));
        }
        assert_eq!("something else".parse::<Line>(), Err(()));
    }

    #[test]
    fn seeds_that_pass_are_all_run_in_order() {
        let mut said = Vec::new();
        sit(3..5, Mode::Mixed, |line| said.push(line));
        let [first, second, last] = &said[..] else { panic!("{said:?}") };
        assert!(matches!(first, Line::Begun { seed: 3, .. }));
        assert!(matches!(second, Line::Begun { seed: 4, .. }));
        assert!(matches!(last, Line::Passed { .. }));
    }
}
