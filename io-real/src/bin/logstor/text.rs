//! Bytes as text and back: keys, values, and numbers of bytes.
//!
//! Parsers here take what people and other programs write; each of them is a function from text to
//! a value or a reason.
//!
//! 1. Shown as text, bytes take one line, and no two keys look alike: what is no UTF-8 or would
//!    move the cursor is written `\xNN`, `\n`, `\t` or `\r`, and a backslash `\\`.
//! 2. A field of JSON says by its name how its bytes are written: `key`, `key_hex`, `key_base64`.

use std::fmt::Write;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::{Map, Value};

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Coding {
    #[default]
    Text,
    Hex,
    Base64,
}

impl Coding {
    /// The bytes that are written so, or why there are none.
    pub(crate) fn decode(self, written: &[u8]) -> Result<Vec<u8>, String> {
        let shown = || show(written);
        match self {
            Self::Text => Ok(written.to_vec()),
            Self::Hex => HEXLOWER_PERMISSIVE
                .decode(written)
                .map_err(|error| format!("{} is no hexadecimal number: {error}", shown())),
            Self::Base64 => BASE64
                .decode(written)
                .map_err(|error| format!("{} is not in base64: {error}", shown())),
        }
    }

    /// The bytes on one line.
    pub(crate) fn show(self, bytes: &[u8]) -> String {
        match self {
            Self::Text => show(bytes),
            Self::Hex => HEXLOWER.encode(bytes),
            Self::Base64 => BASE64.encode(bytes),
        }
    }

    /// Adds the bytes to an object. As text they are a string if they are one, and base64 if not.
    pub(crate) fn put(self, object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
        let (name, text) = match (self, std::str::from_utf8(bytes)) {
            (Self::Text, Ok(text)) => (name.to_owned(), text.to_owned()),
            (Self::Hex, _) => (format!("{name}_hex"), HEXLOWER.encode(bytes)),
            (Self::Text | Self::Base64, _) => (format!("{name}_base64"), BASE64.encode(bytes)),
        };
        object.insert(name, text.into());
    }
}

/// Bytes as text on one line, by law 1.
pub(crate) fn show(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => shown.push_str("\\\\"),
                '\n' => shown.push_str("\\n"),
                '\t' => shown.push_str("\\t"),
                '\r' => shown.push_str("\\r"),
                letter if letter.is_control() => {
                    show_raw(&mut shown, letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                letter => shown.push(letter),
            }
        }
        show_raw(&mut shown, chunk.invalid());
    }
    shown
}

fn show_raw(shown: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(shown, "\\x{byte:02x}").expect("a string takes any text");
    }
}

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// A number of bytes for people: exact below 1 KiB, otherwise with one digit behind the point.
pub(crate) fn size(bytes: u64) -> String {
    let unit = UNITS.iter().rev().find(|unit| bytes >= 1 << unit.1);
    let Some((name, shift)) = unit else { return format!("{bytes} B") };
    let (whole, rest) = (bytes >> shift, bytes & ((1 << shift) - 1));
    match (rest * 10) >> shift {
        0 => format!("{whole} {name}"),
        tenth => format!("{whole}.{tenth} {name}"),
    }
}

/// Bytes, perhaps with K, M, G or T behind the number: units of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let short = text.strip_suffix("iB").or_else(|| text.strip_suffix('B')).unwrap_or(text);
    let cut = |(name, shift): (&str, u32)| Some((short.strip_suffix(&name[..1])?, shift));
    let (digits, shift) = UNITS.into_iter().find_map(cut).unwrap_or((short, 0));
    let number = digits.trim_end().parse::<u64>();
    let number = number.map_err(|_| format!("{text:?} is no number of bytes, like 64M or 2G"))?;
    let most = u64::MAX >> shift;
    if number > most { Err(format!("{text:?} is more than there is")) } else { Ok(number << shift) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_on_one_line_without_loss() {
        let check = |bytes: &[u8], shown: &str| assert_eq!(show(bytes), shown);
        check(b"alice", "alice");
        check("\u{e4}\u{20ac}".as_bytes(), "\u{e4}\u{20ac}");
        check(b"a\nb\tc\rd\\", "a\\nb\\tc\\rd\\\\");
        check(b"\x1b[2J\x7f\0", "\\x1b[2J\\x7f\\x00");
        check(b"a\xff\xe2\x82b", "a\\xff\\xe2\\x82b");
        check("\u{9b}".as_bytes(), "\\xc2\\x9b");
        check(b"", "");
    }

    #[test]
    fn what_is_written_in_a_coding_is_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        for coding in [Coding::Hex, Coding::Base64] {
            assert_eq!(coding.decode(coding.show(&bytes).as_bytes()).as_ref(), Ok(&bytes));
        }
        assert_eq!(Coding::Text.decode(&bytes).as_ref(), Ok(&bytes));
        assert_eq!(Coding::Hex.decode(b"00FF"), Ok(vec![0, 255]));
        for wrong in [&b"0"[..], b"0g", b"\xff"] {
            assert!(Coding::Hex.decode(wrong).unwrap_err().contains("hexadecimal"));
        }
        assert!(Coding::Base64.decode(b"a").unwrap_err().contains("base64"));
    }

    #[test]
    fn a_field_says_how_its_bytes_are_written() {
        let check = |coding: Coding, bytes: &[u8], json: &str| {
            let mut object = Map::new();
            coding.put(&mut object, "key", bytes);
            assert_eq!(Value::from(object).to_string(), json);
        };
        check(Coding::Text, b"a\n", r#"{"key":"a\n"}"#);
        check(Coding::Text, b"\xff", r#"{"key_base64":"/w=="}"#);
        check(Coding::Base64, b"a", r#"{"key_base64":"YQ=="}"#);
        check(Coding::Hex, b"\xff", r#"{"key_hex":"ff"}"#);
    }

    #[test]
    fn sizes_are_written_and_read_in_units_of_1024() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1 << 20), "1 MiB");
        assert_eq!(size((3 << 30) + (1 << 29)), "3.5 GiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
        assert_eq!(parse_size("4096"), Ok(4096));
        for written in ["2M", "2 M", "2MiB", "2 MiB", "2MB", "2097152"] {
            assert_eq!(parse_size(written), Ok(2 << 20), "{written}");
        }
        for wrong in ["", "M", "-1", "1.5G", "1X", "\u{20ac}"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert!(parse_size("99999999999T").is_err());
    }
}
