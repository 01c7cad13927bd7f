//! Where data goes: stdout, as text or as JSON.
//!
//! 1. As JSON, one object is one line.
//! 2. What stdout says of a failure is heard: a full disk is an error, a closed pipe is none.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde_json::Value;

use crate::failure::Failure;
use crate::render;

/// Stdout, buffered.
pub(crate) struct Out {
    stdout: BufWriter<StdoutLock<'static>>,
    json: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self { stdout: BufWriter::new(io::stdout().lock()), json }
    }

    /// Whether JSON is asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.stdout.get_ref().is_terminal()
    }

    /// One object: a line of JSON, or its fields below each other.
    pub(crate) fn object(&mut self, object: &Value) -> Result<(), Failure> {
        if self.json {
            return self.line(object);
        }
        self.text(&render::fields(object))
    }

    /// Objects with the same fields: a line of JSON each, or a table.
    pub(crate) fn table(&mut self, rows: &[Value]) -> Result<(), Failure> {
        if self.json {
            return rows.iter().try_for_each(|row| self.line(row));
        }
        self.text(&render::table(rows))
    }

    /// One line.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.stdout, "{line}").map_err(Failure::of_output)
    }

    /// Lines that end with a line break already.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(Failure::of_output)
    }

    /// Hands over what is still in memory.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(Failure::of_output)
    }
}
