//! Where segments lie in the files, also where the superblock does not say so any more.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use logstor::format::geometry::Geometry;
use logstor::format::hash::KeyHasher;
use logstor::format::superblock::Superblock;
use logstor::types::{SegmentId, to_usize};

use super::fixed;
use crate::args::Cut;
use crate::failure::Failure;
use crate::open::SUPERBLOCK;

/// A segment of a store, for those who decode it.
pub(super) struct Place {
    pub(super) segment: SegmentId,
    pub(super) geometry: Geometry,
    /// The short id of the store; `None` where the superblock does not tell.
    pub(super) store: Option<u64>,
    /// Needs the whole superblock.
    pub(super) hasher: Option<KeyHasher>,
}

/// The files of segments of a store.
pub(super) struct Slots {
    path: PathBuf,
    geometry: Geometry,
    store: Option<u64>,
    hasher: Option<KeyHasher>,
}

impl Slots {
    /// By the superblock; where that is damaged, by what can still be read of it, or by what the
    /// caller says.
    pub(super) fn find(cut: &Cut) -> Result<Self, Failure> {
        let bytes = read(&cut.path.join(SUPERBLOCK), fixed::MOST).unwrap_or_default();
        let superblock = Superblock::parse(&bytes).ok();
        let said = cut.segment_len.zip(cut.segments_per_file);
        let geometry = match said {
            Some((len, count)) => {
                Some(Geometry::new(len, count).map_err(|error| Failure::Usage(error.to_string()))?)
            }
            None => superblock.as_ref().map(|whole| whole.geometry).or(fixed::geometry_of(&bytes)),
        };
        let geometry = geometry.ok_or_else(|| {
            Failure::Unreadable(format!(
                "{}: the superblock does not say how long segments are: say it with --segment-len \
                 and --segments-per-file (256K and 256, if nothing else was chosen)",
                cut.path.display()
            ))
        })?;
        let hasher = superblock.map(|whole| KeyHasher::new(whole.secret));
        Ok(Self { path: cut.path.clone(), geometry, store: fixed::store_of(&bytes), hasher })
    }

    pub(super) fn place(&self, segment: u32) -> Place {
        Place {
            segment: SegmentId::new(segment),
            geometry: self.geometry,
            store: self.store,
            hasher: self.hasher.clone(),
        }
    }

    /// The bytes of a segment: fewer than its length where the file ends early.
    pub(super) fn image(&self, segment: u32) -> Result<Vec<u8>, Failure> {
        let (file, start) = self.geometry.place(SegmentId::new(segment));
        let path = self.path.join(format!("segments-{file:06}.log"));
        let len = to_usize(self.geometry.segment_len().get());
        read_at(&path, start.get(), len).map_err(|source| failed(&path, source))
    }
}

/// A file from its start, at most so many bytes.
pub(super) fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    read_at(path, 0, most).map_err(|source| failed(path, source))
}

fn read_at(path: &Path, start: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(most.try_into().unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn failed(path: &Path, source: io::Error) -> Failure {
    Failure::Io { doing: format!("reading {}", path.display()), source }
}
