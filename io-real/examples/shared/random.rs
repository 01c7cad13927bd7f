//! Choices that are the same in every run: a stream of numbers from a seed (`SplitMix64`).

use crate::numbers::{float, scramble};

/// One stream of choices.
pub(crate) struct Random(u64);

impl Random {
    /// The stream of this seed; streams of different seeds have nothing to do with each other.
    pub(crate) fn new(seed: u64) -> Self {
        Self(scramble(seed.wrapping_mul(0xd6e8_feb8_6659_fd93).wrapping_add(1)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below `end`. For the counts here, the bias of the remainder is nothing.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A fraction, at least 0 and below 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        float(self.next() >> 11) / float(1 << 53)
    }
}
