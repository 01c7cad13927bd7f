//! Where on a disk the structures of the format lie, and which CRCs each has.

use std::ops::Range;

use logstor_core::format::buffer::BufferHeader;
use logstor_core::format::dump::DUMP_FRAME_LEN;
use logstor_io_sim::RawDisk;

use crate::{BLOCK_LEN, repair};

const BLOCK: u64 = logstor_core::types::BLOCK as u64;

/// What lies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Structure {
    Superblock,
    Mark,
    Frame,
    /// A buffer, seal, piece, or void block.
    Buffer,
}

/// A part of a file that is one structure.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) range: Range<u64>,
    pub(crate) structure: Structure,
}

/// Every structure on the disk, by file and position.
pub(crate) fn places(disk: &RawDisk) -> Vec<Place> {
    let mut places = Vec::new();
    for entry in disk.list() {
        let (step, structure) = match entry.name.as_str() {
            "superblock" => (entry.len.max(1), Structure::Superblock),
            "mark" => (BLOCK, Structure::Mark),
            "index.dump" => (u64::from(DUMP_FRAME_LEN), Structure::Frame),
            _ => (BLOCK, Structure::Buffer),
        };
        let step_len = usize::try_from(step).expect("files of small stores are short");
        for at in (0..entry.len).step_by(step_len) {
            let mut range = at..(at + step).min(entry.len);
            if structure == Structure::Buffer {
                let block = disk.read(&entry.name, range.clone()).unwrap_or_default();
                let Ok(header) = BufferHeader::parse(&block) else { continue };
                range.end = (at + u64::from(header.total_len().get())).min(entry.len);
            }
            places.push(Place { file: entry.name.clone(), range, structure });
        }
    }
    places
}

impl Place {
    pub(crate) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Puts the CRCs of what lies there right.
    pub(crate) fn sign(&self, disk: &RawDisk) {
        // A file that was cut may end before.
        let _ = disk.corrupt(&self.file, self.range.clone(), |bytes| match self.structure {
            Structure::Superblock => {
                let len = bytes.len();
                repair::sign(bytes, 12, &[&(0..12), &(16..len.max(16))]);
            }
            Structure::Mark => repair::sign(bytes, 4, &[&(8..BLOCK_LEN)]),
            Structure::Frame => {
                let len = bytes.len();
                repair::sign(bytes, 4, &[&(8..len.max(8))]);
            }
            Structure::Buffer => repair::buffer(bytes),
        });
    }
}
