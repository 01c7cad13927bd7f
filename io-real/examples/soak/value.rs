//! Keys, and the one value that each version of a key has.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::numbers::scramble;

/// A key is known by its worker and its slot.
pub(crate) fn key_of(worker: u64, slot: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&worker.to_be_bytes());
    key[8..].copy_from_slice(&slot.to_be_bytes());
    key
}

/// Most values are small, some are long: what bytes they take in all comes from the long ones.
pub(crate) const MEAN_LEN: u64 = (8 * 264 + 5 * 2304 + 2 * 10_240 + 32_768) / 16;
const LONGEST: usize = 48 << 10;

/// The value of this version of a key: says what it is, and no two are alike.
pub(crate) fn value_of(key: &[u8; 16], version: u32) -> Bytes {
    static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
        let noise = (1..).map(scramble).flat_map(u64::to_be_bytes);
        noise.take(2 * LONGEST).collect()
    });
    let push = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
    let [worker, slot] = [&key[..8], &key[8..]].map(|half| half.iter().fold(0, push));
    let dice = scramble(worker << 48 ^ slot << 24 ^ u64::from(version));
    let len = len_of(dice);
    let from = usize::try_from(dice >> 40).unwrap_or(0) % LONGEST;
    let mut value = NOISE[from..from + len].to_vec();
    value[..8].copy_from_slice(&dice.to_be_bytes());
    value[8..12].copy_from_slice(&version.to_be_bytes());
    value.into()
}

fn len_of(dice: u64) -> usize {
    let (least, end) = match dice % 16 {
        0..8 => (16, 512),
        8..13 => (512, 4096),
        13..15 => (4096, 16 << 10),
        _ => (16 << 10, LONGEST),
    };
    least + usize::try_from(dice >> 8 & 0xffff_ffff).unwrap_or(0) % (end - least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_mean_that_is_said() {
        let lens: Vec<_> = (0..100_000).map(|number| len_of(scramble(number))).collect();
        let mean = lens.iter().sum::<usize>() / lens.len();
        let said = usize::try_from(MEAN_LEN).unwrap();
        assert!(mean.abs_diff(said) < said / 50, "{mean}, not {said}");
    }

    #[test]
    fn every_version_has_a_value_of_its_own() {
        let value = |slot, version| value_of(&key_of(3, slot), version);
        assert_eq!(value(1, 1), value(1, 1));
        assert_ne!(value(1, 1), value(1, 2));
        assert_ne!(value(1, 1)[..8], value(2, 1)[..8]);
    }
}
