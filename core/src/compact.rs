//! What a caller may ask of compaction, and what came of it.
//!
//! Absent on purpose: policy. When compaction runs by itself, and what it picks then, is decided in
//! [`crate::memory`].

/// What [`Db::compact`](crate::Db::compact) should rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactRequest {
    /// Only segments with records of the group of this name; `None` is all segments.
    pub group: Option<String>,
    /// Only segments of which at least this share could be given back, in percent of the segment.
    pub reclaimable_percent: u32,
}

impl Default for CompactRequest {
    /// All segments of which at least a sixteenth could be given back.
    fn default() -> Self {
        Self { group: None, reclaimable_percent: 6 }
    }
}

impl CompactRequest {
    /// Only segments with records of this group.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// Only segments of which at least this share could be given back, 0 to 100.
    #[must_use]
    pub fn reclaimable_percent(mut self, percent: u32) -> Self {
        self.reclaimable_percent = percent;
        self
    }
}

/// What a request to rewrite segments came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Segments that were rewritten.
    pub segments: u64,
    /// Live records that moved.
    pub records_moved: u64,
    /// Bytes of these records.
    pub bytes_moved: u64,
    /// Of the records, those that went to a segment with other groups, because their group had too
    /// few of them for one of its own, or there was no room for that.
    pub records_shared: u64,
    /// Records that were overwritten or deleted while they were being copied: nothing points at
    /// these copies.
    pub records_superseded: u64,
    /// Tombstones that were no longer needed.
    pub tombstones_dropped: u64,
    /// Of the segments, those in which nothing is left.
    pub segments_emptied: u64,
}

impl CompactReport {
    pub(crate) fn add(&mut self, other: &Self) {
        self.segments += other.segments;
        self.records_moved += other.records_moved;
        self.bytes_moved += other.bytes_moved;
        self.records_shared += other.records_shared;
        self.records_superseded += other.records_superseded;
        self.tombstones_dropped += other.tombstones_dropped;
        self.segments_emptied += other.segments_emptied;
    }
}
