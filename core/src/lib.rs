//! The deterministic heart of logstor: a log-structured key-value storage engine.

#![deny(clippy::as_conversions)]

pub mod io;
mod io_buf;
pub mod types;
