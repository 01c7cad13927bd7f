//! Copies on their way: where they go, and what becomes of their originals.
//!
//! ```text
//!   victims ──> router ──> draft of group 3 ──> buffers ──> output segment of group 3
//!                     ├──> draft of group 7 ──> buffers ──> output segment of group 7
//!                     └──> shared draft     ──> buffers ──> shared output segment
//!                                                  │
//!                          all written, all synced └──> moves: from original to copy
//! ```
//!
//! A *run* rewrites a batch of victims. Each destination has one output segment that goes on from
//! run to run until it is full.
//!
//! 1. A copy gets its place while the index still points at the original: a dead record is never
//!    copied, and whoever deletes it later knows a generation at or above that of the copy.
//! 2. Buffers complete in order of number, which in every segment is the order of position.
//! 3. A run completes as a whole, once everything in it is durable, or not at all. What was written
//!    of a run that failed never counts: its segments are sealed with what was complete before it.
//! 4. What would not fill a block at the end of a run is not copied, if that keeps few victims: the
//!    next run begins with them, and wastes no padding on every group in every run.
//! 5. The rewrite watermark stays below the first buffer that is neither complete nor covered by a
//!    durable seal that leaves it out.
//!
//! Absent on purpose: I/O, and the choice of victims. And a second run at the same time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::format::buffer::{BufferKind, encoded_len};
use crate::format::summary::SummaryEntry;
use crate::log::{Body, Place, Watermarks, WriteJob};
use crate::types::{
    BLOCK, BufferNumber, ByteLen, Generation, GroupId, Location, SegmentId, round_up_to_block,
};

/// Where the records of a group go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination {
    /// To a segment of the group's own.
    Group(GroupId),
    /// To a segment with other groups.
    Shared,
}

impl Destination {
    fn group(self) -> GroupId {
        match self {
            Self::Group(group) => group,
            Self::Shared => GroupId::MIXED,
        }
    }
}

/// What becomes of the original of a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    pub(crate) from: Location,
    /// What a tombstone waits for.
    pub(crate) guard: Generation,
}

/// A buffer of copies being filled.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    records: Vec<u8>,
    entries: Vec<SummaryEntry>,
    moves: Vec<Move>,
}

/// The segment that the copies for one destination go to.
#[derive(Debug)]
pub(crate) struct Output {
    /// Where its next buffer begins.
    pub(crate) tail: Place,
    pub(crate) draft: Draft,
    /// The last run that used it.
    pub(crate) used: u64,
}

/// A buffer of copies that was handed to the device.
#[derive(Debug)]
pub(crate) struct RewriteBuffer {
    pub(crate) number: BufferNumber,
    pub(crate) place: Place,
    pub(crate) len: ByteLen,
    pub(crate) group: GroupId,
    pub(crate) entries: Arc<Vec<SummaryEntry>>,
    pub(crate) moves: Vec<Move>,
}

/// Everything about copies on their way.
#[derive(Debug)]
pub(crate) struct Rewrites {
    pub(crate) next_number: BufferNumber,
    pub(crate) outputs: BTreeMap<Destination, Output>,
    // Invariant: the buffers of the run under way, in order of number.
    pub(crate) ring: VecDeque<RewriteBuffer>,
    // Of each segment with buffers of a run that failed the first such, until its seal is durable.
    pub(crate) abandoned: BTreeMap<SegmentId, BufferNumber>,
    /// Runs so far.
    pub(crate) run: u64,
}

/// Bytes that a buffer of copies with so many entries and bytes of records takes on the device.
fn buffer_len(entries: usize, records: u32, mixed: bool) -> Option<ByteLen> {
    let len = encoded_len(BufferKind::Rewrite, entries, records, mixed)?;
    round_up_to_block(len).map(ByteLen::new)
}

impl Draft {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory(&self) -> usize {
        self.records.len()
    }

    /// Bytes on the device with one record of `more` bytes added; `None` past all bounds.
    pub(crate) fn len_with(&self, more: ByteLen, destination: Destination) -> Option<ByteLen> {
        let records = ByteLen::of(&self.records).checked_add(more)?;
        let mixed = destination == Destination::Shared;
        buffer_len(self.entries.len() + 1, records.get(), mixed)
    }

    /// The first records of it that fill whole blocks, as many as there are; all of them if hardly
    /// anything of the last block is padding.
    fn filling(&self, destination: Destination) -> usize {
        let mixed = destination == Destination::Shared;
        let len = |entries, records| encoded_len(BufferKind::Rewrite, entries, records, mixed);
        let (mut count, mut records) = (self.entries.len(), ByteLen::of(&self.records).get());
        let Some(all) = len(count, records) else { return count };
        if all % BLOCK == 0 || all % BLOCK > BLOCK / 8 * 7 {
            return count;
        }
        while count > 0 && len(count, records).is_some_and(|len| len > all / BLOCK * BLOCK) {
            count -= 1;
            records -= self.entries[count].len.get();
        }
        count
    }

    /// Where the records behind the first `count` were copied from.
    fn sources_behind(&self, count: usize) -> impl Iterator<Item = SegmentId> {
        self.moves[count..].iter().map(|moved| moved.from.segment())
    }

    fn truncate(&mut self, count: usize) {
        let cut: usize = self.entries[count..].iter().map(|entry| entry.len.as_usize()).sum();
        self.records.truncate(self.records.len() - cut);
        self.entries.truncate(count);
        self.moves.truncate(count);
    }

    /// Takes a copy in.
    pub(crate) fn push(&mut self, entry: SummaryEntry, record: &[u8], moved: Move) {
        assert_eq!(entry.len, ByteLen::of(record));
        self.records.extend_from_slice(record);
        self.entries.push(entry);
        self.moves.push(moved);
    }
}

impl Rewrites {
    pub(crate) fn new(next_number: BufferNumber) -> Self {
        Self {
            next_number,
            outputs: BTreeMap::new(),
            ring: VecDeque::new(),
            abandoned: BTreeMap::new(),
            run: 0,
        }
    }

    /// Every rewrite buffer with a lower number is durable or void.
    pub(crate) fn watermark(&self) -> BufferNumber {
        let first = self.ring.front().map_or(self.next_number, |buffer| buffer.number);
        self.abandoned.values().copied().fold(first, BufferNumber::min)
    }

    /// Bytes of memory in all drafts.
    pub(crate) fn drafted(&self) -> usize {
        self.outputs.values().map(|output| output.draft.memory()).sum()
    }

    /// The destination with the largest draft.
    pub(crate) fn largest_draft(&self) -> Option<Destination> {
        let drafts = self.outputs.iter().filter(|(_, output)| !output.draft.is_empty());
        drafts.max_by_key(|(_, output)| output.draft.memory()).map(|(&destination, _)| destination)
    }

    /// Takes those records out of the drafts that do not fill a block, as far as they come from few
    /// segments: `most` of those that `may_stay`. The segments that they come from, which are still
    /// needed.
    pub(crate) fn leave_remainders(
        &mut self,
        most: usize,
        may_stay: impl Fn(SegmentId) -> bool,
    ) -> BTreeSet<SegmentId> {
        let mut remainders: Vec<(Destination, usize, BTreeSet<SegmentId>)> = Vec::new();
        for (&destination, output) in &self.outputs {
            let count = output.draft.filling(destination);
            let sources: BTreeSet<SegmentId> = output.draft.sources_behind(count).collect();
            if !sources.is_empty() && sources.iter().all(|&source| may_stay(source)) {
                remainders.push((destination, count, sources));
            }
        }
        let mut uses = BTreeMap::<SegmentId, usize>::new();
        for source in remainders.iter().flat_map(|(_, _, sources)| sources) {
            *uses.entry(*source).or_default() += 1;
        }
        let mut by_use: Vec<(usize, SegmentId)> = uses.into_iter().map(|(id, n)| (n, id)).collect();
        by_use.sort_unstable_by(|a, b| b.cmp(a));
        let left: BTreeSet<SegmentId> = by_use.into_iter().take(most).map(|used| used.1).collect();
        remainders.retain(|(_, _, sources)| sources.is_subset(&left));
        for (destination, count, _) in &remainders {
            let output = self.outputs.get_mut(destination).expect("it was just looked at");
            output.draft.truncate(*count);
        }
        remainders.into_iter().flat_map(|(_, _, sources)| sources).collect()
    }

    /// Turns a draft into the last buffer of the ring, and a job to write it. The output goes on
    /// behind it.
    pub(crate) fn issue(
        &mut self,
        destination: Destination,
        watermarks: Watermarks,
    ) -> Option<WriteJob> {
        let output = self.outputs.get_mut(&destination)?;
        if output.draft.is_empty() {
            return None;
        }
        let Draft { records, entries, moves } = std::mem::take(&mut output.draft);
        let number = self.next_number;
        self.next_number = number.next();
        let mixed = destination == Destination::Shared;
        let len = buffer_len(entries.len(), ByteLen::of(&records).get(), mixed)
            .expect("a draft never outgrows its segment");
        let place = output.tail;
        let next = place.offset.checked_add(len).expect("a buffer ends in its segment");
        output.tail = Place { offset: next, ..place };
        let (entries, group) = (Arc::new(entries), destination.group());
        let job = WriteJob {
            kind: BufferKind::Rewrite,
            number,
            place,
            group,
            entries: Arc::clone(&entries),
            body: Body::Records(records),
            watermarks,
        };
        self.ring.push_back(RewriteBuffer { number, place, len, group, entries, moves });
        Some(job)
    }

    /// Law 2.
    #[cfg(feature = "verify")]
    pub(crate) fn assert_invariants(&self) {
        assert!(self.ring.iter().is_sorted_by(|a, b| a.number < b.number));
        assert!(self.ring.iter().all(|buffer| buffer.entries.len() == buffer.moves.len()));
        assert!(self.ring.back().is_none_or(|last| last.number < self.next_number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{NewRecord, RecordKind, append, body_crc, record_len};
    use crate::types::{KeyHash, SegmentOffset, Sequence};

    const VALUE: &[u8] = &[7; 1000];

    /// Outputs of groups, each with a draft of records of about a KiB from these segments.
    fn drafts(of: &[&[u32]]) -> Rewrites {
        let mut rewrites = Rewrites::new(BufferNumber::ZERO);
        for (group, sources) in (1..).map(GroupId::new).zip(of) {
            let segment = SegmentId::new(100 + group.get());
            let place =
                Place { segment, generation: Generation::new(9), offset: SegmentOffset::ZERO };
            let mut draft = Draft::default();
            for &source in *sources {
                add(&mut draft, group, SegmentId::new(source));
            }
            let output = Output { tail: place, draft, used: 0 };
            rewrites.outputs.insert(Destination::Group(group), output);
        }
        rewrites
    }

    fn add(draft: &mut Draft, group: GroupId, source: SegmentId) {
        let sequence = Sequence::new(1);
        let (kind, key, value, mut raw) = (RecordKind::Put, b"key", VALUE, Vec::new());
        let body_crc = body_crc(key, value);
        append(&mut raw, &NewRecord { sequence, group, kind, key, value, body_crc });
        let len = record_len(key.len(), value.len()).unwrap();
        let entry = SummaryEntry { hash: KeyHash::new(7), kind, len, group, sequence };
        let from = Location::new(source, SegmentOffset::ZERO, len);
        draft.push(entry, &raw, Move { from, guard: Generation::ZERO });
    }

    fn left(rewrites: &mut Rewrites, most: usize) -> Vec<u32> {
        let left = rewrites.leave_remainders(most, |_| true);
        left.into_iter().map(SegmentId::get).collect()
    }

    fn counts(rewrites: &Rewrites) -> Vec<usize> {
        rewrites.outputs.values().map(|output| output.draft.entries.len()).collect()
    }

    #[test]
    fn what_does_not_fill_a_block_is_left_where_it_is() {
        let mut rewrites = drafts(&[&[1, 1, 1, 2, 2], &[1, 1, 1, 1, 1, 2, 2]]);
        assert_eq!(left(&mut rewrites, 1), [2]);
        assert_eq!(counts(&rewrites), [3, 7], "seven records nearly fill two blocks");
        let draft = &rewrites.outputs[&Destination::Group(GroupId::new(1))].draft;
        assert_eq!(draft.len_with(ByteLen::new(0), Destination::Shared).unwrap().get(), BLOCK);
        assert_eq!(draft.moves.len(), 3);
        assert_eq!(draft.records.len(), 3 * draft.entries[0].len.as_usize());
    }

    #[test]
    fn few_victims_are_kept_and_those_that_most_groups_need() {
        let mut rewrites = drafts(&[&[1], &[2], &[2]]);
        assert_eq!(left(&mut rewrites, 1), [2]);
        assert_eq!(counts(&rewrites), [1, 0, 0]);
        assert_eq!(left(&mut rewrites, 0), [0; 0]);
        assert_eq!(counts(&rewrites), [1, 0, 0]);
    }

    #[test]
    fn nothing_is_left_in_a_victim_that_must_go() {
        let mut rewrites = drafts(&[&[1, 2], &[2]]);
        let left = rewrites.leave_remainders(2, |victim| victim != SegmentId::new(1));
        assert_eq!(left, BTreeSet::from([SegmentId::new(2)]));
        assert_eq!(counts(&rewrites), [2, 0]);
    }
}
