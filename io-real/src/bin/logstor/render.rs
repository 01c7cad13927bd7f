//! Objects as text for people: fields below each other, or tables.
//!
//! The text is drawn from the same object that `--json` prints, so neither knows more than the
//! other. A name with `_` in it is shown with spaces, and a number whose name ends in `bytes` or
//! `len` in units that one can read.
//!
//! Absent on purpose: colours. The map of segments has its own.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::text;

/// The fields of an object below each other; objects within it as blocks of their own.
pub(crate) fn fields(object: &Value) -> String {
    let mut text = String::new();
    if let Value::Object(object) = object {
        add_fields(&mut text, object, 0);
    }
    text
}

fn add_fields(text: &mut String, object: &Map<String, Value>, indent: usize) {
    let width = object.keys().map(|name| name.chars().count()).max().unwrap_or_default();
    for (name, value) in object {
        let shown = name.replace('_', " ");
        let at = " ".repeat(indent);
        match value {
            Value::Object(inner) => {
                add(text, format_args!("{at}{shown}\n"));
                add_fields(text, inner, indent + 2);
            }
            Value::Array(rows) if rows.iter().any(Value::is_object) => {
                add(text, format_args!("{at}{shown}\n"));
                for line in table(rows).lines() {
                    add(text, format_args!("{at}  {line}\n"));
                }
            }
            value => {
                let value = cell(name, value);
                let line = format!("{at}{shown:<width$}  {value}");
                add(text, format_args!("{}\n", line.trim_end()));
            }
        }
    }
}

/// Objects as rows; the first one says which columns there are.
pub(crate) fn table(rows: &[Value]) -> String {
    let Some(Value::Object(first)) = rows.first() else { return String::new() };
    let names: Vec<&String> = first.keys().collect();
    let heads: Vec<String> = names.iter().map(|name| name.replace('_', " ")).collect();
    let cells = |row: &Value| -> Vec<String> {
        names.iter().map(|name| cell(name, &row[name.as_str()])).collect()
    };
    let body: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let length = |cell: &String| cell.chars().count();
    let widths: Vec<usize> = (0..names.len())
        .map(|at| body.iter().map(|row| length(&row[at])).chain([length(&heads[at])]).max())
        .map(Option::unwrap_or_default)
        .collect();
    let right: Vec<bool> = names.iter().map(|name| is_number(rows, name)).collect();
    let mut text = String::new();
    for row in [&heads].into_iter().chain(&body) {
        let mut line = String::new();
        for ((cell, &width), &right) in row.iter().zip(&widths).zip(&right) {
            if right {
                add(&mut line, format_args!("{cell:>width$}  "));
            } else {
                add(&mut line, format_args!("{cell:<width$}  "));
            }
        }
        add(&mut text, format_args!("{}\n", line.trim_end()));
    }
    text
}

/// Whether a column has numbers and nothing else, but for gaps.
fn is_number(rows: &[Value], name: &str) -> bool {
    rows.iter().all(|row| row[name].is_number() || row[name].is_null())
}

/// A value on its own.
fn cell(name: &str, value: &Value) -> String {
    let is_size = name.ends_with("bytes") || name.ends_with("len");
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => match number.as_u64() {
            Some(bytes) if is_size => text::size(bytes),
            _ => number.to_string(),
        },
        // What was shown by a verb already has no such letter any more.
        Value::String(written) if written.contains(char::is_control) => {
            text::show(written.as_bytes())
        }
        Value::String(written) => written.clone(),
        Value::Array(values) if values.is_empty() => "none".into(),
        Value::Array(values) => {
            let shown: Vec<String> = values.iter().map(|value| cell(name, value)).collect();
            shown.join(", ")
        }
        Value::Object(_) => value.to_string(),
    }
}

fn add(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_lie_below_each_other_and_objects_within_are_blocks() {
        let object = json!({
            "path": "a\nb",
            "live_bytes": 2048,
            "keys": 2048,
            "capacity_bytes": null,
            "closed": true,
            "names": ["a", "b"],
            "space": { "seals": 1, "padding_bytes": 1 },
            "rows": [{ "at": 1 }],
        });
        let expected = [
            "path            a\\nb",
            "live bytes      2 KiB",
            "keys            2048",
            "capacity bytes  -",
            "closed          yes",
            "names           a, b",
            "space",
            "  seals          1",
            "  padding bytes  1 B",
            "rows",
            "  at",
            "   1",
        ];
        assert_eq!(fields(&object).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_table_has_numbers_on_the_right_and_words_on_the_left() {
        let rows = [
            json!({ "group": "a", "keys": 7, "live_bytes": 1024 }),
            json!({ "group": "longer", "keys": 12345, "live_bytes": null }),
        ];
        let expected = "group    keys  live bytes\na           7       1 KiB\n\
             longer  12345           -\n";
        assert_eq!(table(&rows), expected);
        assert_eq!(table(&[]), "");
    }
}
