//! Records, and which of them comes next: the same for every engine.
//!
//! A key is a scrambled number, so keys come in no order and are spread evenly, as ids and hashes
//! are. A value starts with its number, so any read can be checked without knowing which write it
//! sees, and goes on with a version: an engine that leaves out writes of what is there already does
//! not find any. It cannot be compressed.

use std::sync::LazyLock;

use crate::Outcome;

/// Bytes of a key.
pub const KEY: u64 = 8;
/// Skew of the skewed workloads, as in YCSB.
const THETA: f64 = 0.99;
/// The longest value that can be made.
const LONGEST: usize = 1 << 20;

/// A whole number as a fraction; above 2^53 the last digits go.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn float(number: u64) -> f64 {
    number as f64
}

/// A number that looks random, another one for every number (the finalizer of `SplitMix64`).
pub fn scramble(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// The key of a record.
pub fn key(number: u64) -> [u8; 8] {
    scramble(number.wrapping_add(0x9e37_79b9_7f4a_7c15)).to_be_bytes()
}

/// A value of a record. Cheap to make, because the time that it takes is measured too.
pub fn value(number: u64, version: u64, len: usize) -> Vec<u8> {
    static REST: LazyLock<Vec<u8>> =
        LazyLock::new(|| (1..).map(scramble).flat_map(u64::to_be_bytes).take(LONGEST).collect());
    let mut value = REST[..len].to_vec();
    value[..8].copy_from_slice(&number.to_be_bytes());
    value[8..16].copy_from_slice(&version.to_be_bytes());
    value
}

/// Whether this is the value of the record.
pub fn check(number: u64, len: usize, found: Option<&[u8]>) -> Outcome<()> {
    let found = found.ok_or_else(|| format!("record {number} is not there"))?;
    if found.len() != len || found[..8] != number.to_be_bytes() {
        return Err(format!("record {number} has the value of another").into());
    }
    Ok(())
}

/// A stream of choices, the same in every run and for every engine.
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(scramble(seed.wrapping_mul(0xd6e8_feb8_6659_fd93).wrapping_add(1)))
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A fraction, at least 0 and below 1.
    pub fn fraction(&mut self) -> f64 {
        float(self.next() >> 11) / float(1 << 53)
    }
}

/// Which record is asked for.
#[derive(Clone, Copy)]
pub enum Choice {
    /// Each with the same chance.
    Uniform { records: u64 },
    /// Few of them most of the time: Zipf's law, ranks scattered over the keys.
    Zipf { records: u64, zeta: f64, eta: f64 },
}

impl Choice {
    /// Even chances.
    pub fn uniform(records: u64) -> Self {
        Self::Uniform { records }
    }

    /// Zipf's law, by the method of Gray et al. (SIGMOD 1994) that YCSB uses.
    pub fn zipf(records: u64) -> Self {
        let harmonic = |end: u64| (1..=end).map(|rank| float(rank).powf(-THETA)).sum::<f64>();
        let zeta = harmonic(records);
        let eta = (1.0 - (2.0 / float(records)).powf(1.0 - THETA)) / (1.0 - harmonic(2) / zeta);
        Self::Zipf { records, zeta, eta }
    }

    /// The next record.
    pub fn next(self, random: &mut Random) -> u64 {
        match self {
            Self::Uniform { records } => random.below(records),
            Self::Zipf { records, zeta, eta } => {
                let fraction = random.fraction();
                let scaled = fraction * zeta;
                let rank = if scaled < 1.0 {
                    0
                } else if scaled < 1.0 + 0.5_f64.powf(THETA) {
                    1
                } else {
                    rank_of((eta * fraction - eta + 1.0).powf(1.0 / (1.0 - THETA)), records)
                };
                scramble(rank.wrapping_add(1)) % records
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1, times count")]
fn rank_of(share: f64, records: u64) -> u64 {
    ((float(records) * share) as u64).min(records - 1)
}
