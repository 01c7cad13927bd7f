//! Keys, and values that say whose they are.
//!
//! A value begins with its worker, slot, version and length, and goes on with bytes that follow from
//! these. So a value that is torn, stale in part, or another key's does not pass.

use super::dice::scramble;
use super::wire::{Slot, Version};

/// Bytes of a value that name it.
const NAME_LEN: usize = 16;
/// No value is shorter: behind the name some bytes tell whether it is whole.
pub(super) const LEAST_LEN: usize = NAME_LEN + 8;

/// The key of a slot; the group is not part of it, so that keys of different groups are alike.
pub(super) fn key_of(worker: u8, slot: Slot) -> String {
    format!("{worker}/{}", slot.key)
}

/// The value of `len` bytes that this write gives this key.
pub(super) fn value_of(worker: u8, slot: Slot, version: Version, len: usize) -> Vec<u8> {
    let mut value = name(worker, slot, version, len).to_vec();
    let seed = value.iter().fold(0, |seed, &byte| scramble(seed ^ u64::from(byte)));
    let mut at = 0;
    while value.len() < len.max(LEAST_LEN) {
        at += 1;
        value.extend_from_slice(&scramble(seed ^ at).to_le_bytes());
    }
    value.truncate(len.max(LEAST_LEN));
    value
}

fn name(worker: u8, slot: Slot, version: Version, len: usize) -> [u8; NAME_LEN] {
    let mut name = [0; NAME_LEN];
    name[0] = 0x5a;
    name[1..4].copy_from_slice(&[worker, slot.group, slot.key]);
    name[4..8].copy_from_slice(&version.round.to_le_bytes());
    name[8..12].copy_from_slice(&version.number.to_le_bytes());
    let len = u32::try_from(len).expect("values of the load are short");
    name[12..].copy_from_slice(&len.to_le_bytes());
    name
}

/// The version of a value that was found under this key; an explanation if it is not its own.
pub(super) fn version_of(worker: u8, slot: Slot, value: &[u8]) -> Result<Version, String> {
    let field = |at: usize| Some(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?));
    let version = field(4).zip(field(8)).map(|(round, number)| Version { round, number });
    let expected = version.map(|version| value_of(worker, slot, version, value.len()));
    match (version, expected) {
        (Some(version), Some(expected)) if value == expected => Ok(version),
        (_, expected) => {
            let same =
                |expected: Vec<u8>| value.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            Err(format!(
                "{} bytes of worker {worker}, slot {slot} are not its own from byte {} on: {:02x?}",
                value.len(),
                expected.map_or(0, same),
                &value[..value.len().min(2 * NAME_LEN)],
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_all_its_own_does_not_pass() {
        let (slot, version) = (Slot { group: 1, key: 2 }, Version { round: 3, number: 4 });
        for len in [LEAST_LEN, 25, 32, 5000] {
            let value = value_of(7, slot, version, len);
            assert_eq!(value.len(), len);
            assert_eq!(version_of(7, slot, &value), Ok(version));
            version_of(8, slot, &value).unwrap_err();
            version_of(7, Slot { group: 0, key: 2 }, &value).unwrap_err();
            version_of(7, slot, &value[..len - 1]).unwrap_err();
            for at in [0, 5, len / 2, len - 1] {
                let mut torn = value.clone();
                torn[at] ^= 1;
                version_of(7, slot, &torn).unwrap_err();
            }
        }
        version_of(7, slot, &[]).unwrap_err();
    }
}
