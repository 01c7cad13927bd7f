//! The keyed hash of a key: SipHash-2-4 with 128 bits of output.
//!
//! The index and the summaries know a key only by this hash; the key itself is in the record and
//! compared on every read. The secret is drawn when a store is created and kept in its superblock,
//! so that nobody outside can choose keys that collide or crowd one shard.
//!
//! The 16 bytes that SipHash gives are read as one little-endian number. Its upper half, the
//! token, orders the keys of a group.
//!
//! This function is part of the disk format: another one, or another order of bytes, makes every
//! summary and every dump meaningless. The test vectors below are those of the specification.

use std::fmt;

use siphasher::sip128::SipHasher24;

use crate::types::KeyHash;

/// Hashes keys with the secret of one store.
#[derive(Clone)]
pub struct KeyHasher {
    keyed: SipHasher24,
}

impl KeyHasher {
    /// The hasher of the store with this secret.
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        Self { keyed: SipHasher24::new_with_key(&secret) }
    }

    /// The hash of `key`.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let hash = self.keyed.hash(key);
        KeyHash::new((u128::from(hash.h2) << 64) | u128::from(hash.h1))
    }
}

impl fmt::Debug for KeyHasher {
    /// Without the secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::array;

    /// Key 00 01 .. 0f; the input is the first `len` bytes of 00 01 02 ..
    fn check(len: u8, expected: [u8; 16]) {
        let secret = array::from_fn(|at| u8::try_from(at).unwrap());
        let key: Vec<u8> = (0..len).collect();
        let hash = KeyHasher::new(secret).hash(&key);
        assert_eq!(hash.get().to_le_bytes(), expected, "{len} bytes");
    }

    #[test]
    fn the_hash_is_the_one_of_the_specification_and_never_changes() {
        check(0, 0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293_u128.to_be_bytes());
        check(1, 0xda87_c1d8_6b99_af44_3476_5911_9b22_fc45_u128.to_be_bytes());
        check(15, 0x5493_e999_33b0_a811_7e08_ec0f_97cf_c3d9_u128.to_be_bytes());
        check(16, 0x6ee2_a4ca_67b0_54bb_fd33_15bf_8523_0577_u128.to_be_bytes());
    }

    #[test]
    fn the_token_is_the_upper_half() {
        let hash = KeyHasher::new([7; 16]).hash(b"alice");
        assert_eq!(u128::from(hash.token()), hash.get() >> 64);
    }

    #[test]
    fn the_secret_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", KeyHasher::new([7; 16])), "KeyHasher { .. }");
    }
}
