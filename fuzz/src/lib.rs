//! What the fuzz targets do, as plain functions from bytes to a verdict: libFuzzer calls them
//! with inputs that it breeds, `tests/replay.rs` with those that are committed.
//!
//! ```text
//! decode_buffer   mode │ bytes of a buffer            0 as they are, 1 with CRCs put right
//!                 mode │ a plan and its damage        2, 3: encoded, checked, damaged, decoded
//! decode_small    what │ how │ bytes                  how, bit 0: CRCs put right
//! index           steps                               index and pending writes, beside maps
//! plan_text       how │ a text, or edits of one       the text form of a plan of a simulation
//! recover         store │ how │ edits                 a damaged store, opened again and again
//! script          seed │ choices                      a simulated life of a store, checked
//! ```
//!
//! Each has its laws at the head of its module. Of the decoders they are:
//!
//! 1. No bytes make a decoder panic.
//! 2. What is decoded can be encoded, and that decodes to the same meaning. Where a structure has
//!    no bytes without meaning, it encodes to the very same bytes.
//! 3. What is encoded decodes; one flipped bit in it does not.
//!
//! A random input never has a good CRC, so a target that left CRCs alone would test them and
//! nothing behind them. Therefore half of all inputs get theirs put right before they are decoded.
//!
//! Absent on purpose: a real disk, and time. Every input has one course, on every machine.

#![deny(unsafe_code)]

mod buffer;
mod dump;
mod edits;
mod index;
mod memory;
mod nothing;
mod piece;
mod places;
mod plan;
mod recover;
mod repair;
mod script;
pub mod seeds;
mod small;
mod stores;
mod text;

pub use buffer::decode_buffer;
pub use index::index;
pub use recover::recover;
pub use script::{plan_of, script};
pub use small::decode_small;
pub use text::plan_text;

use logstor_core::types::BLOCK;

/// What came of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was decoded, in whole.
    Decoded,
    /// It was refused, for some reason.
    Refused,
}

const BLOCK_LEN: usize = BLOCK as usize;

/// A result as a verdict. The reason is put into words, which must not panic either.
fn verdict<T, E: std::error::Error>(result: &Result<T, E>) -> Verdict {
    match result {
        Ok(_) => Verdict::Decoded,
        Err(reason) => {
            let words = format!("{reason} {reason:?} {:?}", reason.source());
            assert!(!words.is_empty());
            Verdict::Refused
        }
    }
}

/// The first `len` bytes, zeros where there are none.
fn padded(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut padded = bytes[..bytes.len().min(len)].to_vec();
    padded.resize(len, 0);
    padded
}

/// Eight bytes of a structure as a number; zero if they are not there.
fn word(bytes: &[u8], at: usize) -> u64 {
    let raw = bytes.get(at..).and_then(|rest| rest.first_chunk());
    raw.map_or(0, |raw| u64::from_le_bytes(*raw))
}
