//! One slot of a file: its state, what it holds, and who still needs it.
//!
//! The state is one enum with one list of legal steps; the picture is in the parent module.

use crate::format::buffer::HEADER_LEN;
use crate::format::summary::SummaryEntry;
use crate::types::{
    BLOCK, BufferNumber, ByteLen, Generation, GroupId, SegmentId, SegmentOffset, Sequence,
};

/// Where a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// Durably erased; may be handed out.
    Free,
    /// Erased as well, but its room may have been given back to the device, or its file is to go:
    /// it is filled with zeros before it is free again.
    Hollow,
    /// Takes appends.
    Active,
    /// Takes no more appends.
    Sealed,
    /// Dead, and about to be erased.
    Retired,
    /// Not to be touched in this opening: part of it is lost, or erasing it failed.
    Quarantined,
}

impl SegmentState {
    /// The number of a state that a closed store may have, for the dump.
    pub(crate) fn code(self) -> Option<u8> {
        match self {
            Self::Free => Some(0),
            Self::Sealed => Some(1),
            Self::Retired => Some(2),
            Self::Hollow => Some(3),
            Self::Active | Self::Quarantined => None,
        }
    }

    /// The state with this number.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        let states = [Self::Free, Self::Sealed, Self::Retired, Self::Hollow];
        states.into_iter().find(|state| state.code() == Some(code))
    }

    fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Free, Self::Active | Self::Hollow) // used; or there is more room than is needed
            | (Self::Active, Self::Sealed)       // full, failed, or closing
            | (Self::Sealed, Self::Retired)      // its last live record died or moved
            | (Self::Retired, Self::Free | Self::Hollow) // durably erased
            | (Self::Hollow, Self::Free)         // filled again
            | (Self::Retired | Self::Sealed, Self::Quarantined) => true,
            _ => false,
        }
    }
}

/// Who wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// The log: records of whatever group came along.
    Log,
    /// A rewrite, for the records of one group.
    Group(GroupId),
    /// A rewrite, for what was too little for a segment of its own.
    Shared,
    /// A large value of a key of this group: one piece of it, and no records.
    Large(GroupId),
}

impl SegmentKind {
    /// Whether it holds part of a large value: never a victim, and nothing a tombstone waits for.
    pub(crate) fn is_large(self) -> bool {
        matches!(self, Self::Large(_))
    }
}

/// What a buffer that counts adds to its segment, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Content {
    /// Header and summary.
    front: u32,
    records: u32,
    /// From the end of its records to the next block.
    padding: u32,
}

impl Content {
    /// What a buffer of `len` bytes with these records, which begin at `front`, adds.
    pub(crate) fn of(len: ByteLen, front: ByteLen, entries: &[SummaryEntry]) -> Self {
        let records = entries.iter().map(|entry| entry.len.get()).sum();
        Self::of_len(len, front, ByteLen::new(records))
    }

    /// The same, with so many bytes of records.
    pub(crate) fn of_len(len: ByteLen, front: ByteLen, records: ByteLen) -> Self {
        let (front, records) = (front.get(), records.get());
        Self { front, records, padding: len.get().saturating_sub(front + records) }
    }

    /// What a piece of a large value adds, in an image of `len` bytes.
    pub(crate) fn of_piece(len: ByteLen, piece: ByteLen) -> Self {
        let (front, records) = (HEADER_LEN, piece.get());
        Self { front, records, padding: len.get().saturating_sub(front + records) }
    }
}

/// What of a segment is live in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) group: GroupId,
    pub(crate) bytes: u64,
    pub(crate) records: u32,
}

/// One slot.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) state: SegmentState,
    /// The generation on disk, or that may be there; zero after erasing.
    pub(crate) generation: Generation,
    pub(crate) kind: SegmentKind,
    // Invariant: the bytes of the index entries that lie here.
    pub(crate) live: u64,
    // Invariant: how many these are.
    pub(crate) live_records: u32,
    // Invariant: both, group by group; sorted, and none is empty.
    pub(crate) shares: Vec<Share>,
    /// Bytes of all tombstones here that no rewrite has taken over.
    pub(crate) tombstones: u64,
    /// The highest generation that may hold an older version of a key deleted here.
    pub(crate) guard: Generation,
    /// Whether its free part has room on the device is not known.
    pub(crate) unsure: bool,
    /// Nothing as old as the guard is left: the tombstones are dead weight.
    pub(crate) guard_passed: bool,
    /// Bytes of all records of buffers that count.
    pub(crate) records: u32,
    /// Bytes of the headers and summaries of those buffers.
    pub(crate) fronts: u32,
    /// Bytes from the end of those buffers' records to the next block.
    pub(crate) padding: u32,
    /// Bytes at the end that stayed unused because the next record did not fit.
    pub(crate) tail: u32,
    /// The next sequence when it was opened: the lower, the older.
    pub(crate) born: Sequence,
    /// Every log buffer here has a lower number, and, once it is retired, every one with a record
    /// that something here died of.
    pub(crate) log_end: BufferNumber,
    /// Every rewrite buffer here, and every one with a copy from here, has a lower number.
    pub(crate) rewrite_end: BufferNumber,
    /// Readers under way.
    pub(crate) pins: u32,
    /// Buffers not yet known to the index, and the seal not yet written.
    pub(crate) holds: u32,
}

/// The largest entry of a summary: what a live record costs beside itself.
const ENTRY_LEN: u64 = 32;
/// The smallest entry of a summary.
const ENTRY_LEN_MIN: u64 = 20;
/// The least that a tombstone takes.
const TOMBSTONE_LEN: u64 = 40;

/// Bytes that rewriting a segment must give back at least.
pub(crate) fn worth_rewriting(data_len: u64) -> u64 {
    (data_len / 16).max(3 * u64::from(BLOCK))
}

impl Slot {
    /// A slot that was never used.
    pub(crate) fn fresh() -> Self {
        Self {
            state: SegmentState::Free,
            generation: Generation::ZERO,
            kind: SegmentKind::Log,
            live: 0,
            live_records: 0,
            shares: Vec::new(),
            tombstones: 0,
            guard: Generation::ZERO,
            unsure: false,
            guard_passed: false,
            records: 0,
            fronts: 0,
            padding: 0,
            tail: 0,
            born: Sequence::ZERO,
            log_end: BufferNumber::ZERO,
            rewrite_end: BufferNumber::ZERO,
            pins: 0,
            holds: 0,
        }
    }

    pub(super) fn enter(&mut self, next: SegmentState, id: SegmentId) {
        let now = self.state;
        assert!(now.may_become(next), "{id:?}: {now:?} may not become {next:?}");
        self.state = next;
    }

    pub(super) fn open(&mut self, generation: Generation, kind: SegmentKind, born: Sequence) {
        self.clear();
        self.generation = generation;
        self.born = born;
        self.kind = kind;
    }

    pub(super) fn clear(&mut self) {
        assert_eq!((self.live, self.pins, self.holds), (0, 0, 0));
        *self = Self { state: self.state, ..Self::fresh() };
    }

    fn find(&self, group: GroupId) -> Result<usize, usize> {
        self.shares.binary_search_by_key(&group, |share| share.group)
    }

    /// Live bytes of a group.
    pub(crate) fn share(&self, group: GroupId) -> u64 {
        self.find(group).map_or(0, |at| self.shares[at].bytes)
    }

    /// A record of `group` became live; `true` if it is the group's first one here.
    pub(crate) fn add_live(&mut self, group: GroupId, len: ByteLen) -> bool {
        let bytes = u64::from(len.get());
        self.live += bytes;
        self.live_records += 1;
        match self.find(group) {
            Ok(at) => {
                self.shares[at].bytes += bytes;
                self.shares[at].records += 1;
                false
            }
            Err(at) => {
                self.shares.insert(at, Share { group, bytes, records: 1 });
                true
            }
        }
    }

    /// A record of `group` died or moved; `true` if it was the group's last one here.
    pub(super) fn sub_live(&mut self, group: GroupId, len: ByteLen) -> bool {
        let bytes = u64::from(len.get());
        let known = "a record dies once, and was counted live until then";
        self.live = self.live.checked_sub(bytes).expect(known);
        self.live_records = self.live_records.checked_sub(1).expect(known);
        let at = self.find(group).expect(known);
        let share = &mut self.shares[at];
        share.bytes = share.bytes.checked_sub(bytes).expect(known);
        share.records = share.records.checked_sub(1).expect(known);
        let last = share.records == 0;
        if last {
            self.shares.remove(at);
        }
        last
    }

    /// Everything of `group` died.
    pub(super) fn drop_group(&mut self, group: GroupId) {
        let at = self.find(group).expect("a group knows the segments that it lies in");
        let share = self.shares.remove(at);
        self.live -= share.bytes;
        self.live_records -= share.records;
    }

    /// Whether live records of more than one group lie here.
    pub(crate) fn is_mixed(&self) -> bool {
        self.shares.len() > 1
    }

    /// Whether the separator has something to do here.
    pub(crate) fn awaits_separation(&self) -> bool {
        self.state == SegmentState::Sealed && self.kind == SegmentKind::Log && self.is_mixed()
    }

    /// A buffer that counts lies here.
    pub(crate) fn add_buffer(&mut self, content: Content) {
        self.fronts += content.front;
        self.records += content.records;
        self.padding += content.padding;
    }

    /// Bytes that a rewrite of what is needed here takes, without padding.
    pub(crate) fn needed(&self) -> u64 {
        let tombstones = self.waiting_tombstones();
        // How many tombstones there are is not counted. Of long keys there are few, and there are
        // never more records than the summaries here have room for.
        let most = u64::from(self.fronts) / ENTRY_LEN_MIN;
        let records = (u64::from(self.live_records) + tombstones / TOMBSTONE_LEN).min(most);
        self.live + tombstones + records * ENTRY_LEN
    }

    /// Bytes in front of `end` that nobody needs, although it is still open. `passed`: what its
    /// tombstones wait for is gone.
    pub(crate) fn spent_before(&self, end: SegmentOffset, passed: bool) -> u64 {
        let let_go = if passed { self.waiting_tombstones() } else { 0 };
        (u64::from(end.get()) + let_go).saturating_sub(self.needed())
    }

    /// Bytes of tombstones that are still needed.
    pub(crate) fn waiting_tombstones(&self) -> u64 {
        if self.guard_passed { 0 } else { self.tombstones }
    }

    /// Bytes that a rewrite would give back, of `data_len`. What stayed unused at the end because
    /// a record did not fit is not among them: it might stay unused again.
    pub(crate) fn reclaimable(&self, data_len: u64) -> u64 {
        let tail = u64::from(self.tail).min(data_len * 3 / 8); // no record is longer
        data_len.saturating_sub(self.needed()).saturating_sub(tail)
    }

    /// Whether rewriting it gains room for certain: a rewrite pads its buffers, and must give back
    /// more than that, or compaction could go on for ever.
    pub(crate) fn is_worth_rewriting(&self, data_len: u64) -> bool {
        self.reclaimable(data_len) >= worth_rewriting(data_len)
    }

    /// Whether records in it can be moved elsewhere.
    pub(crate) fn is_rewritable(&self) -> bool {
        self.state == SegmentState::Sealed && !self.kind.is_large()
    }

    /// Live bytes of a piece of a large value.
    pub(super) fn live_piece(&self) -> u64 {
        if self.kind.is_large() { self.live } else { 0 }
    }

    /// Whether it is on disk as something that a tombstone may wait for: records may lie in it.
    pub(super) fn may_hold_records(&self) -> bool {
        self.generation > Generation::ZERO && !self.kind.is_large()
    }

    #[cfg(feature = "verify")]
    pub(super) fn assert_invariants(&self, id: SegmentId) {
        let empty = [SegmentState::Free, SegmentState::Hollow, SegmentState::Retired];
        if empty.contains(&self.state) {
            assert_eq!((self.live, self.pins, self.holds), (0, 0, 0), "{id:?} is in use");
        }
        let log = self.kind == SegmentKind::Log && self.tombstones > 0;
        assert!(!log || self.guard >= self.generation, "{id:?} lost its guard");
        assert!(self.tombstones == 0 || self.guard > Generation::ZERO, "{id:?} lost its guard");
        assert!(self.shares.is_sorted_by(|a, b| a.group < b.group), "{id:?}");
        assert!(self.shares.iter().all(|share| share.records > 0), "{id:?}");
        assert_eq!(self.shares.iter().map(|share| share.bytes).sum::<u64>(), self.live, "{id:?}");
        let large = self.kind.is_large();
        assert!(!large || (self.tombstones == 0 && self.shares.len() <= 1), "{id:?}");
        let whole = self.live == 0 || self.live == u64::from(self.records);
        assert!(!large || whole, "{id:?}: a piece lives and dies as a whole");
        let records: u32 = self.shares.iter().map(|share| share.records).sum();
        assert_eq!(records, self.live_records, "{id:?}");
    }
}
