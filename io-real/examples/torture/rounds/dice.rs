//! Choices from a seed (`SplitMix64`).

/// One stream of choices.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The stream of these numbers.
    pub(super) fn of(seed: u64, round: u32, who: u64) -> Self {
        Self(scramble(scramble(scramble(seed) ^ u64::from(round)) ^ who))
    }

    /// A number below `end`.
    pub(super) fn roll(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0) % end
    }

    /// A small number below `end`.
    pub(super) fn pick(&mut self, end: u8) -> u8 {
        u8::try_from(self.roll(end.into())).expect("it is below a byte")
    }

    /// True `times` in a hundred.
    pub(super) fn percent(&mut self, times: u64) -> bool {
        self.roll(100) < times
    }
}

pub(super) fn scramble(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
