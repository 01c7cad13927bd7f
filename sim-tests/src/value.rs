//! Values that say which write made them.
//!
//! Every value of at least [`TAGGED`] bytes begins with a tag: the number of its write and its own
//! length, and goes on with bytes that follow from the tag. So a value that comes back names the
//! write it is from, and one that was cut, mixed or damaged is found out. Shorter values carry
//! nothing but their length.
//!
//! Absent on purpose: randomness. A value is a function of its number and its length.

use std::fmt;

use bytes::Bytes;

/// The shortest value that names its write, in bytes.
pub const TAGGED: usize = 12;

/// What a value says of itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Too short for a tag; this long.
    Short(usize),
    /// Of the write with this number.
    Of(u64),
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(len) => write!(out, "{len} bytes"),
            Self::Of(number) => write!(out, "value {number}"),
        }
    }
}

/// The value of the write `number`, `len` bytes long.
///
/// # Panics
///
/// If the length is 4 GiB or more.
#[must_use]
pub fn make(number: u64, len: usize) -> Bytes {
    if len < TAGGED {
        return Bytes::from(vec![SHORT; len]);
    }
    let mut bytes = Vec::with_capacity(len + 8);
    bytes.extend_from_slice(&number.to_le_bytes());
    let tag = u32::try_from(len).expect("values of a simulation are short");
    bytes.extend_from_slice(&tag.to_le_bytes());
    fill(&mut bytes, number, len);
    Bytes::from(bytes)
}

/// What the value of the write `number` with this length says of itself.
#[must_use]
pub const fn named(number: u64, len: usize) -> Value {
    if len < TAGGED { Value::Short(len) } else { Value::Of(number) }
}

/// Reads a value back.
///
/// # Errors
///
/// The bytes are not what any write made.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    let Some((tag, _)) = bytes.split_first_chunk::<TAGGED>() else {
        let intact = bytes.iter().all(|&byte| byte == SHORT);
        return if intact { Ok(Value::Short(bytes.len())) } else { Err(foreign(bytes)) };
    };
    let number = tag.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
    if make(number, bytes.len()) == bytes { Ok(Value::Of(number)) } else { Err(foreign(bytes)) }
}

/// Reads the first bytes of a value that is `len` bytes long; `None` if they are too few to tell.
///
/// # Errors
///
/// No value of this length begins so.
pub fn parse_start(start: &[u8], len: usize) -> Result<Option<Value>, String> {
    if start.len() > len {
        return Err(format!("{} bytes of a value of {len}", start.len()));
    }
    if start.len() == len {
        return parse(start).map(Some);
    }
    let Some(number) = start.first_chunk().filter(|_| len >= TAGGED) else { return Ok(None) };
    let number = u64::from_le_bytes(*number);
    let intact = make(number, len).starts_with(start);
    if intact { Ok(Some(Value::Of(number))) } else { Err(foreign(start)) }
}

const SHORT: u8 = 0xa5;

fn fill(bytes: &mut Vec<u8>, number: u64, len: usize) {
    let mut word = number ^ 0x9e37_79b9_7f4a_7c15;
    while bytes.len() < len {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(len);
}

fn foreign(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(16)];
    format!("{} torn or foreign bytes, the first {shown:02x?}", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_write() {
        for len in [TAGGED, TAGGED + 1, 100, 5000] {
            assert_eq!(parse(&make(77, len)), Ok(Value::Of(77)));
        }
        for len in 0..TAGGED {
            assert_eq!(parse(&make(77, len)), Ok(Value::Short(len)));
        }
    }

    #[test]
    fn a_start_names_its_write_and_its_length() {
        let whole = make(77, 1000);
        assert_eq!(parse_start(&whole[..500], 1000), Ok(Some(Value::Of(77))));
        assert_eq!(parse_start(&whole, 1000), Ok(Some(Value::Of(77))));
        assert_eq!(parse_start(&whole[..7], 1000), Ok(None));
        assert_eq!(parse_start(&make(77, 5), 5), Ok(Some(Value::Short(5))));
        assert!(parse_start(&whole[..500], 999).is_err());
        assert!(parse_start(&whole, 999).is_err());
        assert!(parse_start(&whole[1..500], 1000).is_err());
    }

    #[test]
    fn a_cut_mixed_or_damaged_value_is_found_out() {
        let whole = make(5, 1000);
        assert!(parse(&whole[..999]).is_err());
        let mut flipped = whole.to_vec();
        flipped[900] ^= 1;
        assert!(parse(&flipped).is_err());
        let mixed = [&whole[..500], &make(6, 1000)[500..]].concat();
        assert!(parse(&mixed).is_err());
        assert!(parse(&[0; 3]).is_err());
    }
}
