//! What happens to a disk before it is opened: the edits that a fuzzer breeds.
//!
//! *Honest* damage is what a device does: it flips, zeroes, loses, repeats and misdirects. Whoever
//! *forges* also puts CRCs right, so that what lies behind them is reached.
//!
//! 1. Honest damage has no bytes of the fuzzer's choice: by comparing CRCs it would find some that
//!    fit, and that is forging.
//! 2. Every edit is within the files, or makes them at most twice as long.

use arbitrary::Arbitrary;
use logstor_io_sim::RawDisk;

use crate::places::{Place, Structure};
use crate::stores::Prepared;

/// One edit; places and files are taken modulo their number, positions modulo the length.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Edit {
    Flip {
        place: u8,
        at: u16,
        bit: u8,
    },
    /// Only when forging.
    Set {
        place: u8,
        at: u16,
        to: [u8; 8],
        len: u8,
    },
    Zero {
        place: u8,
        at: u16,
        len: u16,
    },
    Noise {
        place: u8,
        at: u16,
        len: u8,
        seed: u8,
    },
    Copy {
        from: u8,
        from_at: u16,
        place: u8,
        at: u16,
        len: u16,
    },
    /// One structure over another.
    Whole {
        from: u8,
        place: u8,
    },
    /// A bit anywhere in a file.
    Anywhere {
        file: u8,
        at: u32,
        bit: u8,
    },
    /// Blocks of a file over others.
    Blocks {
        file: u8,
        from: u16,
        to: u16,
        count: u8,
    },
    Erase {
        file: u8,
        from: u16,
        count: u8,
    },
    Length {
        file: u8,
        of_256: u8,
        longer: bool,
    },
    Remove {
        file: u8,
    },
    /// One file in place of another, or beside them under the next name.
    Name {
        from: u8,
        to: u8,
    },
}

/// Which promise was left behind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Something was signed that is not what it was.
    pub(crate) is_forged: bool,
    /// The superblock or a mark among it.
    pub(crate) is_root_forged: bool,
}

/// A disk, with what was done to it.
pub(crate) struct Edited<'a> {
    pub(crate) disk: RawDisk,
    pub(crate) prepared: &'a Prepared,
    pub(crate) forging: bool,
    pub(crate) done: Done,
}

impl Edited<'_> {
    pub(crate) fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Flip { place, at, bit } => {
                self.alter(place, at, 1, |bytes| bytes[0] ^= 1 << (bit % 8));
            }
            Edit::Set { place, at, to, len } if self.forging => {
                self.alter(place, at, u64::from(1 + len % 8), |bytes| {
                    bytes.copy_from_slice(&to[..bytes.len()]);
                });
            }
            Edit::Set { .. } => {}
            Edit::Zero { place, at, len } => {
                self.alter(place, at, len.into(), |bytes| bytes.fill(0));
            }
            Edit::Noise { place, at, len, seed } => self.alter(place, at, len.into(), |bytes| {
                let mut word = u32::from(seed) + 1;
                for byte in bytes {
                    word = word.wrapping_mul(0x9e37_79b1).rotate_left(7);
                    *byte ^= word.to_le_bytes()[0];
                }
            }),
            Edit::Copy { from, from_at, place, at, len } => {
                let bytes = self.read(from, from_at, len.into());
                let len = bytes.len();
                self.alter(place, at, u64::try_from(len).unwrap_or(0), |target| {
                    let len = target.len();
                    target.copy_from_slice(&bytes[..len]);
                });
            }
            Edit::Whole { from, place } => {
                let bytes = self.read(from, 0, u64::MAX);
                self.alter(place, 0, u64::MAX, |target| {
                    let len = target.len().min(bytes.len());
                    target[..len].copy_from_slice(&bytes[..len]);
                });
            }
            other => self.apply_to_file(other),
        }
    }

    fn apply_to_file(&self, edit: Edit) {
        match edit {
            Edit::Anywhere { file, at, bit } => {
                let (name, len) = self.file(file);
                let at = u64::from(at) % len.max(1);
                let _ = self.disk.corrupt(&name, at..at + 1, |bytes| bytes[0] ^= 1 << (bit % 8));
            }
            Edit::Blocks { file, from, to, count } => {
                let (name, len) = self.file(file);
                let (from, to) = (block(from, len), block(to, len));
                let count = (u64::from(count) * 4096).min(len - from.max(to));
                let bytes = self.disk.read(&name, from..from + count).unwrap_or_default();
                let _ = self.disk.corrupt(&name, to..to + count, |target| {
                    let len = bytes.len().min(target.len());
                    target[..len].copy_from_slice(&bytes[..len]);
                });
            }
            Edit::Erase { file, from, count } => {
                let (name, len) = self.file(file);
                let from = block(from, len);
                let count = (u64::from(count) * 4096).min(len - from);
                let _ = self.disk.corrupt(&name, from..from + count, |target| target.fill(0));
            }
            Edit::Length { file, of_256, longer } => {
                let (name, len) = self.file(file);
                let part = len * u64::from(of_256) / 256;
                let _ = self.disk.truncate(&name, if longer { len + part } else { part });
            }
            Edit::Remove { file } => {
                let _ = self.disk.remove(&self.file(file).0);
            }
            Edit::Name { from, to } => {
                let (name, len) = self.file(from);
                let bytes = self.disk.read(&name, 0..len).unwrap_or_default();
                let names = ["index.dump", "mark", "superblock.new", "segments-000009.log", "x"];
                let to = usize::from(to);
                let to = self
                    .prepared
                    .files
                    .get(to)
                    .map_or_else(|| names[to % names.len()].to_owned(), String::clone);
                self.disk.put(&to, &bytes);
            }
            _ => unreachable!("every other edit is one of a place"),
        }
    }

    /// A file as it is now; one that was removed is empty.
    fn file(&self, which: u8) -> (String, u64) {
        let files = &self.prepared.files;
        let name = &files[usize::from(which) % files.len()];
        let len = self.disk.list().into_iter().find(|entry| entry.name == *name);
        (name.clone(), len.map_or(0, |entry| entry.len))
    }

    fn place(&self, which: u8) -> &Place {
        &self.prepared.places[usize::from(which) % self.prepared.places.len()]
    }

    fn read(&self, which: u8, at: u16, len: u64) -> Vec<u8> {
        let place = self.place(which);
        let at = u64::from(at) % place.len();
        let start = place.range.start + at;
        let end = start + len.min(place.len() - at);
        self.disk.read(&place.file, start..end).unwrap_or_default()
    }

    /// Changes bytes of a place, and signs it when forging.
    fn alter(&mut self, which: u8, at: u16, len: u64, change: impl FnOnce(&mut [u8])) {
        let place = self.place(which).clone();
        let at = u64::from(at) % place.len();
        let start = place.range.start + at;
        let end = start + len.min(place.len() - at);
        if start == end || self.disk.read(&place.file, start..end).is_err() {
            return;
        }
        let _ = self.disk.corrupt(&place.file, start..end, change);
        if self.forging {
            place.sign(&self.disk);
            self.done.is_forged = true;
            let is_root = matches!(place.structure, Structure::Superblock | Structure::Mark);
            self.done.is_root_forged |= is_root;
        }
    }
}

/// The start of a block of a file of this length.
fn block(number: u16, len: u64) -> u64 {
    u64::from(number) % (len / 4096).max(1) * 4096 % len.max(1)
}
