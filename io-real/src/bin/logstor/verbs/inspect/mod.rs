//! `inspect`: what lies in the files of a store, decoded as far as it can be.
//!
//! The files are read as they are; nothing is opened, locked or recovered. Of a store that somebody
//! writes to meanwhile a part may be read that is just being written.
//!
//! Each part of this is a function from bytes to an object. Where a parser of the engine refuses
//! the bytes, the object says why (`problem`) and shows what the fields would be.
//!
//! Absent on purpose: any verdict on the store. What damage means is decided by recovery.

mod buffer;
mod fixed;
mod record;
mod segment;
mod slots;

use std::path::Path;

use serde_json::Value;

use crate::args::Inspect;
use crate::failure::{Failure, Verdict};
use crate::open::SUPERBLOCK;
use crate::out::Out;
use slots::Slots;

/// A part of a store, decoded.
struct Decoded {
    object: Value,
    /// Something in it is not what it should be.
    wrong: bool,
}

pub(crate) fn inspect(asked: &Inspect, out: &mut Out) -> Result<Verdict, Failure> {
    let decoded = match asked {
        Inspect::Superblock { path } => {
            fixed::superblock(&slots::read(&path.join(SUPERBLOCK), fixed::MOST)?)
        }
        Inspect::Mark { path } => {
            let store = slots::read(&path.join(SUPERBLOCK), fixed::MOST).ok();
            let store = store.and_then(|bytes| fixed::store_of(&bytes));
            fixed::mark(&slots::read(&path.join("mark"), fixed::MOST)?, store)
        }
        Inspect::Segment { cut, segment } => {
            let slots = Slots::find(cut)?;
            segment::segment(&slots.image(*segment)?, &slots.place(*segment))
        }
        Inspect::Buffer { cut, segment, offset, bytes } => {
            let slots = Slots::find(cut)?;
            let image = slots.image(*segment)?;
            buffer::buffer(&image, &slots.place(*segment), *offset, bytes.coding())
        }
        Inspect::Record { cut, segment, offset, value, bytes } => {
            let slots = Slots::find(cut)?;
            let image = slots.image(*segment)?;
            let shown = record::Shown { coding: bytes.coding(), whole: *value };
            record::record(&image, &slots.place(*segment), *offset, shown)
        }
    };
    out.object(&decoded.object)?;
    Ok(Verdict::of(decoded.wrong))
}

/// Which of the small files of a store that can be opened is not whole, and why.
pub(super) fn damaged_files(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let superblock = slots::read(&path.join(SUPERBLOCK), fixed::MOST)?;
    let mark = slots::read(&path.join("mark"), fixed::MOST)?;
    let mark = fixed::mark(&mark, fixed::store_of(&superblock)).object;
    let slots = mark["slots"].as_array().into_iter().flatten();
    let problems = slots.filter_map(|slot| {
        let problem = slot["problem"].as_str()?;
        Some(("mark".to_owned(), format!("slot {}: {problem}", slot["slot"])))
    });
    Ok(problems.collect())
}

/// A number of the format: `LEN` bytes at `at`, little-endian; `None` where they are not there.
fn number<const LEN: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut wide = [0; 8];
    wide[..LEN].copy_from_slice(bytes.get(at..at + LEN)?);
    Some(u64::from_le_bytes(wide))
}

/// `u32::try_from` of a number that was read from four bytes.
fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    number::<4>(bytes, at).and_then(|number| u32::try_from(number).ok())
}

/// An error with what caused it, on one line.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
