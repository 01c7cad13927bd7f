//! Which keys are written, and how often.
//!
//! A pattern says how often each *rank* is drawn: 0 is the hottest. A permutation then makes keys
//! of the ranks, so that hot ones are spread over all groups and all of the first fill.

use std::fmt;

use logstor::types::to_u64;

use crate::numbers::float;
use crate::random::Random;

/// How the puts are spread over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// All keys alike.
    Uniform,
    /// The key of rank r in proportion to 1 / r^0.99.
    Zipf,
    /// One tenth of the keys gets nine tenths of the puts.
    Hot,
}

impl Pattern {
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        match name {
            "uniform" => Ok(Self::Uniform),
            "zipf" => Ok(Self::Zipf),
            "hot" => Ok(Self::Hot),
            _ => Err(format!("there is no pattern {name:?}")),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf 0.99",
            Self::Hot => "10 % take 90 %",
        })
    }
}

/// The keys of a store, drawn by a pattern.
pub(crate) struct Keys {
    count: u64,
    pattern: Pattern,
    /// For `Zipf`: the weight of each rank and all hotter ones.
    weights: Vec<f64>,
}

const ZIPF: f64 = 0.99;

impl Keys {
    pub(crate) fn new(count: u64, pattern: Pattern) -> Self {
        let mut sum = 0.0;
        let ranks = if pattern == Pattern::Zipf { count } else { 0 };
        let weights = (1..=ranks).map(|rank| {
            sum += float(rank).powf(-ZIPF);
            sum
        });
        Self { count, pattern, weights: weights.collect() }
    }

    /// The next key to write.
    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        let rank = match self.pattern {
            Pattern::Uniform => random.below(self.count),
            Pattern::Zipf => {
                let all = self.weights.last().copied().unwrap_or(0.0);
                let weight = random.fraction() * all;
                let rank = self.weights.partition_point(|&up_to| up_to <= weight);
                to_u64(rank)
            }
            Pattern::Hot => {
                let hot = self.count.div_ceil(10);
                if random.below(10) < 9 {
                    random.below(hot)
                } else {
                    hot + random.below(self.count - hot)
                }
            }
        };
        scatter(rank.min(self.count - 1), self.count)
    }
}

/// A permutation of the numbers below `count`: mixes as many bits as they need, until the result
/// is one of them again.
fn scatter(rank: u64, count: u64) -> u64 {
    let mask = count.next_power_of_two() - 1;
    let half = mask.count_ones().div_ceil(2).max(1);
    let mut number = rank;
    loop {
        // Each line can be undone: odd factors, and a shift that keeps the upper half.
        number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
        number ^= number >> half;
        number = number.wrapping_mul(0xbf58_476d_1ce4_e5b9) & mask;
        number ^= number >> half;
        if number < count {
            return number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_has_a_key_of_its_own() {
        for count in [1, 2, 3, 10, 1000, 4096, 5000] {
            let mut keys: Vec<u64> = (0..count).map(|rank| scatter(rank, count)).collect();
            keys.sort_unstable();
            assert_eq!(keys, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_tenth_of_the_keys_gets_nine_tenths_of_the_puts() {
        assert!((0.89..0.91).contains(&share_of_hottest(Pattern::Hot, 100)));
        assert!((0.09..0.12).contains(&share_of_hottest(Pattern::Uniform, 100)));
    }

    #[test]
    fn the_hottest_key_of_zipf_gets_its_share() {
        let weight: f64 = (1..=1000).map(|rank| float(rank).powf(-ZIPF)).sum();
        let share = share_of_hottest(Pattern::Zipf, 1);
        assert!((share * weight - 1.0).abs() < 0.05, "{share} of 1/{weight}");
    }

    /// The share of the puts that goes to the `hottest` of a thousand keys.
    fn share_of_hottest(pattern: Pattern, hottest: usize) -> f64 {
        let (keys, mut random) = (Keys::new(1000, pattern), Random::new(1));
        let mut puts = [0_u64; 1000];
        for _ in 0..200_000 {
            puts[usize::try_from(keys.draw(&mut random)).unwrap()] += 1;
        }
        puts.sort_unstable_by(|one, other| other.cmp(one));
        float(puts[..hottest].iter().sum()) / 200_000.0
    }
}
