//! The durable image of the whole store, parsed; what did not change is not parsed again.
//!
//! Absent on purpose: laws. What may be missing from an image is said in the parent module.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use logstor_core::format::buffer::BufferHeader;
use logstor_core::format::hash::KeyHasher;
use logstor_core::format::mark::Mark;
use logstor_core::format::pieces::PieceList;
use logstor_core::format::superblock::Superblock;
use logstor_core::types::SegmentId;
use logstor_io_sim::{FileImage, RawDisk};

use super::segment::{Catalogue, Segment, Slot, is_in_use};

/// The parsed image of the latest look.
#[derive(Default)]
pub struct Disk {
    store: Option<(Superblock, KeyHasher)>,
    // By index of the file, with the segments in it.
    files: BTreeMap<u32, (FileImage, Vec<Segment>)>,
    per_file: usize,
    published: u64,
    /// At the look before.
    published_before: u64,
}

impl fmt::Debug for Disk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Disk").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

const SUPERBLOCK: &str = "superblock";
const MARK: &str = "mark";

impl Disk {
    /// Takes in the durable files of this moment.
    pub(super) fn look(&mut self, files: &BTreeMap<String, FileImage>) -> Result<(), String> {
        let all = |name: &str| {
            let file = files.get(name).ok_or_else(|| format!("no {name} is durable"))?;
            let len = usize::try_from(file.file_len()).map_err(|error| error.to_string())?;
            let mut bytes = vec![0; len];
            file.read(0, &mut bytes);
            Ok::<_, String>(bytes)
        };
        if self.store.is_none() {
            let superblock = Superblock::parse(&all(SUPERBLOCK)?);
            let superblock = superblock.map_err(|error| error.to_string())?;
            let hasher = KeyHasher::new(superblock.secret);
            self.store = Some((superblock, hasher));
        }
        let Some((superblock, _)) = &self.store else { return Ok(()) };
        let (store, geometry) = (superblock.store.short(), superblock.geometry);
        let marks = all(MARK)?;
        let marks = marks.chunks(Mark::LEN).filter_map(|block| Mark::parse(block, store).ok());
        let mark = marks.max_by_key(|mark| mark.ordinal).ok_or("no mark is durable")?;
        self.published_before = std::mem::replace(&mut self.published, mark.log_watermark.get());
        self.per_file = usize::try_from(geometry.segments_per_file()).unwrap_or(usize::MAX);
        self.files.retain(|&index, _| files.contains_key(&name_of(index)));
        for (name, file) in files {
            let Some(index) = index_of(name) else { continue };
            let known = self.files.get(&index);
            if known.is_some_and(|(known, _)| known == file) {
                continue;
            }
            let segment = |slot: u32| {
                let Some(id) = geometry.segment(index, slot) else { return Segment::default() };
                let mut bytes = vec![0; geometry.segment_len().as_usize()];
                file.read(geometry.place(id).1.get(), &mut bytes);
                Segment::read(&bytes, store, id, geometry)
            };
            let segments = (0..geometry.segments_per_file()).map(segment).collect();
            self.files.insert(index, (file.clone(), segments));
        }
        Ok(())
    }

    /// Every segment, by number.
    pub(super) fn segments(&self) -> impl Iterator<Item = (usize, &Segment)> {
        self.files.iter().flat_map(|(&index, (_, segments))| {
            let first = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(self.per_file);
            (first..).zip(segments)
        })
    }

    /// The generation of a segment, if its head block shows one.
    pub(super) fn generation(&self, id: usize) -> Option<u64> {
        self.get(id)?.generation
    }

    fn get(&self, id: usize) -> Option<&Segment> {
        let index = u32::try_from(id / self.per_file.max(1)).ok()?;
        self.files.get(&index)?.1.get(id % self.per_file.max(1))
    }

    /// The keys with records of large values.
    pub(super) fn large_slots(&self) -> BTreeSet<Slot> {
        self.segments().flat_map(|(_, segment)| segment.lists.keys().map(|key| key.0)).collect()
    }

    /// The pieces that a record names.
    pub(super) fn list_of(&self, slot: Slot, sequence: u64) -> Option<&PieceList> {
        self.segments().find_map(|(_, segment)| segment.lists.get(&(slot, sequence)))
    }

    /// The segments of these pieces, and whether each is there, whole, as a piece of this group.
    pub(super) fn pieces<'a>(
        &'a self,
        list: &'a PieceList,
        group: u32,
    ) -> impl Iterator<Item = (usize, bool)> + 'a {
        (0..).zip(list.entries()).map(move |(index, entry)| {
            let id = usize::try_from(entry.segment.get()).unwrap_or(usize::MAX);
            let piece = self.get(id).and_then(|segment| segment.piece.as_ref());
            let names = |head: &BufferHeader| {
                let geometry = self.store.as_ref().map(|(superblock, _)| superblock.geometry);
                head.group.get() == group && geometry.is_some_and(|g| list.names(index, head, g))
            };
            (id, piece.is_some_and(names))
        })
    }

    /// Segments in use of which a reader finds another head block than the durable one.
    pub(super) fn unlike_what_is_read(&self, raw: &RawDisk) -> Vec<usize> {
        let Some((superblock, _)) = &self.store else { return Vec::new() };
        let unlike = |(id, segment): (usize, &Segment)| {
            let generation = segment.generation?;
            let number = SegmentId::new(u32::try_from(id).ok()?);
            let (file, at) = superblock.geometry.place(number);
            let head = raw.read(&name_of(file), at.get()..at.get() + HEAD).unwrap_or_default();
            let same = BufferHeader::parse(&head)
                .is_ok_and(|head| is_in_use(&head) && head.generation.get() == generation);
            (!same).then_some(id)
        };
        self.segments().filter_map(unlike).collect()
    }

    /// Whether a higher watermark was published since the last look.
    pub(super) const fn published_rose(&self) -> bool {
        self.published > self.published_before
    }

    /// The highest log watermark in the mark and in the segments that are there.
    pub(super) fn watermark(&self, there: impl Fn(usize) -> bool) -> u64 {
        let segments = self.segments().filter(|(id, _)| there(*id));
        segments.map(|(_, segment)| segment.watermark).fold(self.published, u64::max)
    }

    /// The first number from the watermark on that no whole buffer carries.
    pub(super) fn end_of_log(&self, there: impl Fn(usize) -> bool) -> u64 {
        let mut end = self.watermark(&there);
        let numbers = self.segments().filter(|(id, _)| there(*id)).flat_map(|(_, s)| &s.logs);
        let mut above: Vec<u64> = numbers.copied().filter(|&number| number >= end).collect();
        above.sort_unstable();
        above.dedup();
        for number in above {
            if number == end {
                end += 1;
            }
        }
        end
    }

    /// What a key of the system group stands for; `None` for keys of other groups.
    pub(super) fn catalogue(&self, (group, hash): Slot) -> Option<Catalogue> {
        if group != 0 {
            return None;
        }
        let known = self.segments().find_map(|(_, segment)| segment.catalogue.get(&hash).copied());
        Some(known.unwrap_or(Catalogue::Other))
    }

    /// The key of the record that says that a group exists.
    pub(super) fn group_slot(&self, group: u32) -> Slot {
        self.system_slot(b'g', group)
    }

    /// The key of the record that says up to where a group was truncated.
    pub(super) fn truncation_slot(&self, group: u32) -> Slot {
        self.system_slot(b't', group)
    }

    fn system_slot(&self, kind: u8, group: u32) -> Slot {
        let [a, b, c, d] = group.to_le_bytes();
        (0, self.hash_of(&[kind, a, b, c, d]).unwrap_or_default())
    }

    /// The hash of a key, once there is a store.
    pub(super) fn hash_of(&self, key: &[u8]) -> Option<u128> {
        self.store.as_ref().map(|(_, hasher)| hasher.hash(key).get())
    }
}

/// Bytes of a head block that are looked at.
const HEAD: u64 = 512;

fn name_of(index: u32) -> String {
    format!("segments-{index:06}.log")
}

fn index_of(name: &str) -> Option<u32> {
    let index = name.strip_prefix("segments-")?.strip_suffix(".log")?.parse().ok()?;
    (name_of(index) == name).then_some(index)
}
