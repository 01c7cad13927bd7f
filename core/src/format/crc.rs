//! CRC-32C (Castagnoli), as every structure on disk uses it.
//!
//! The CRC of several pieces is the CRC of their bytes in a row, so that a key and a value need
//! not lie side by side to be checked together.
//!
//! Absent on purpose: any other polynomial, and any secret. A CRC finds accidents, not forgers.

/// The CRC-32C of `pieces`, one after the other.
#[must_use]
pub fn of(pieces: &[&[u8]]) -> u32 {
    pieces.iter().fold(0, |crc, piece| append(crc, piece))
}

/// The CRC-32C of the bytes that gave `crc`, followed by `bytes`.
#[must_use]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_the_castagnoli_polynomial() {
        // The check value of CRC-32/ISCSI, and the first test vectors of RFC 3720, B.4.
        assert_eq!(of(&[b"123456789"]), 0xe306_9283);
        assert_eq!(of(&[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(of(&[&[0xff; 32]]), 0x62a8_ab43);
        assert_eq!(of(&[]), 0);
    }

    proptest! {
        #[test]
        fn pieces_count_as_their_bytes_in_a_row(
            a: Vec<u8>,
            b: Vec<u8>,
        ) {
            let row = [a.as_slice(), b.as_slice()].concat();
            prop_assert_eq!(of(&[&a, &b]), of(&[&row]));
            prop_assert_eq!(append(of(&[&a]), &b), of(&[&row]));
        }
    }
}
