//! Just enough JSON to write: strings, and lists of what is already written.
//!
//! Law: what is written may stand inside of a page's script, too: no `<` is left as it is.
//!
//! Absent on purpose: reading it.

use std::fmt::Write as _;

/// A string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '<' => out.push_str("\\u003c"),
            letter if letter.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// A list of what is written.
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(",\n"))
}

/// Nanoseconds as microseconds.
pub(super) fn micros(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1000, nanos % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_and_end_no_script() {
        assert_eq!(quoted("a \"b\" \\ c\n\u{1}"), r#""a \"b\" \\ c\n\u0001""#);
        assert_eq!(quoted("</script>"), r#""\u003c/script>""#);
        assert_eq!(list(["1".into(), quoted("x")]), "[1,\n\"x\"]");
        assert_eq!(micros(1_234_567), "1234.567");
    }
}
