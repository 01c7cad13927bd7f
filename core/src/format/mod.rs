//! Bytes and values: everything that the store puts on a disk, and nothing else.
//!
//! ```text
//!  superblock   mark    segments-NNNNNN.log                               index.dump
//!  ┌────────┐ ┌─┬─┐ ┌─ segment ───────────────────────────┬ segment ┐ ┌─────┬─────┐
//!  │        │ │0│1│ │ buffer │ buffer │ .. │        │ seal │ ..      │ │frame│ ..  │
//!  └────────┘ └─┴─┘ └────────┴────────┴────┴────────┴──────┴─────────┘ └─────┴─────┘
//!                       │
//!                       └─ header │ summary │ record record .. │ zeros up to a block
//! ```
//!
//! 1. Little-endian everywhere; every structure has one byte table, on its struct.
//! 2. Parsing is total: any bytes give a value or a reason, never a panic, and never more memory
//!    than a small multiple of the bytes given.
//! 3. A value comes from bytes in exactly one function. What it refuses is never encoded: encoders
//!    assert what parsers check.
//! 4. Every byte that means something is under a CRC-32C, together with the bytes that say what
//!    it means.
//!
//! Absent on purpose: state, I/O, and any opinion on what damage means. "Not a buffer" is an
//! answer here; whether it is a tear or rot is decided by recovery.

pub mod buffer;
pub mod crc;
pub mod dump;
pub mod geometry;
pub mod hash;
pub mod mark;
pub mod pieces;
pub mod record;
#[cfg(test)]
mod samples;
pub mod seal;
pub mod summary;
pub mod superblock;

/// Bytes `AT..AT + LEN` of a structure of `N` bytes. A field that would not fit does not compile,
/// so this cannot fail.
fn field<const AT: usize, const LEN: usize, const N: usize>(raw: &[u8; N]) -> [u8; LEN] {
    const { assert!(AT + LEN <= N) };
    let mut bytes = [0; LEN];
    bytes.copy_from_slice(&raw[AT..AT + LEN]);
    bytes
}

/// Puts `bytes` at `AT` of a structure of `N` bytes. A field that would not fit does not compile,
/// so this cannot fail.
fn put<const AT: usize, const LEN: usize, const N: usize>(raw: &mut [u8; N], bytes: [u8; LEN]) {
    const { assert!(AT + LEN <= N) };
    raw[AT..AT + LEN].copy_from_slice(&bytes);
}

/// Whether nothing but zeros is there.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}
