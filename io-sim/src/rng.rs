//! Seeded randomness: one stream for each concern, all of one seed.
//!
//! Two concerns that shared a stream would disturb each other: one more draw for a latency, and
//! every later fault falls elsewhere. So each has a stream of its own, found by its name, and a
//! harness gets as many more as it likes: [`SimRng::new`] with the same seed and another name.
//!
//! Absent on purpose: the operating system's randomness, floating point, and distributions.

use logstor_core::types::to_u64;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One stream of draws, given by a seed and the name of what it decides.
#[derive(Clone, Debug)]
pub struct SimRng {
    inner: ChaCha8Rng,
}

impl SimRng {
    /// The stream of `seed` that decides about `concern`.
    #[must_use]
    pub fn new(seed: u64, concern: &str) -> Self {
        let mut inner = ChaCha8Rng::seed_from_u64(seed);
        inner.set_stream(stream_of(concern));
        Self { inner }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.inner.next_u64()
    }

    /// A number below `bound`.
    ///
    /// # Panics
    ///
    /// If `bound` is 0: there is no such number.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        let product = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the upper half of a product of two u64 is a u64")
    }

    /// A number from `low` to `high`, both included.
    ///
    /// # Panics
    ///
    /// If `low` is above `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "no number lies between {low} and {high}");
        match (high - low).checked_add(1) {
            Some(count) => low + self.below(count),
            None => self.bits(),
        }
    }

    /// An index into something of this length.
    ///
    /// # Panics
    ///
    /// If `len` is 0: there is no such index.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(to_u64(len))).expect("what is below a usize is a usize")
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.bits() >> 63 == 1
    }

    /// True `times` in `of` draws.
    ///
    /// # Panics
    ///
    /// If `of` is 0.
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// True that many times in a million draws; a rate of 0 draws nothing.
    pub fn per_million(&mut self, rate: u32) -> bool {
        rate > 0 && self.chance(u64::from(rate), 1_000_000)
    }

    /// One of `from`.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// Brings `items` into another order; every order is equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// Fills `into` with random bytes.
    pub fn fill(&mut self, into: &mut [u8]) {
        self.inner.fill_bytes(into);
    }
}

/// FNV-1a: the same number for a name on every platform, for ever.
fn stream_of(concern: &str) -> u64 {
    concern.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The streams that the simulation itself draws from.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    /// Which ready task runs, and which of two events of one moment comes first.
    pub(crate) schedule: SimRng,
    /// How long things take, and how late a timer is.
    pub(crate) latency: SimRng,
    /// What fails, and what a failure leaves behind.
    pub(crate) faults: SimRng,
    /// What a read sees of writes in flight, and what becomes of an abandoned operation.
    pub(crate) device: SimRng,
    /// What survives a crash.
    pub(crate) crash: SimRng,
    /// The entropy and the wall clock of each boot.
    pub(crate) boot: SimRng,
}

impl Streams {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            schedule: SimRng::new(seed, "schedule"),
            latency: SimRng::new(seed, "latency"),
            faults: SimRng::new(seed, "faults"),
            device: SimRng::new(seed, "device"),
            crash: SimRng::new(seed, "crash"),
            boot: SimRng::new(seed, "boot"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_on_every_platform_and_differs_by_seed_and_name() {
        let draw = |seed, name| SimRng::new(seed, name).bits();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_eq!(stream_of("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn draws_stay_within_their_bounds_and_reach_them() {
        let mut rng = SimRng::new(7, "bounds");
        let drawn: Vec<u64> = (0..1000).map(|_| rng.between(3, 5)).collect();
        assert!((3..=5).all(|n| drawn.contains(&n)));
        assert!(drawn.iter().all(|n| (3..=5).contains(n)));
        assert!((0..100).all(|_| rng.below(1) == 0));
        assert!((0..100).all(|_| !rng.per_million(0)));
        assert!((0..100).all(|_| rng.per_million(1_000_000)));
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..50).collect();
        SimRng::new(3, "shuffle").shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
