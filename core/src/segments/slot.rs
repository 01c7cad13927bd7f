//! One slot of a file: its state, what it holds, and who still needs it.
//!
//! The state is one enum with one list of legal steps; the picture is in the parent module.

use crate::types::{BufferNumber, Generation, SegmentId};

/// Where a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// Durably erased; may be handed out.
    Free,
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
            Self::Active | Self::Quarantined => None,
        }
    }

    /// The state with this number.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        let states = [Self::Free, Self::Sealed, Self::Retired];
        states.into_iter().find(|state| state.code() == Some(code))
    }

    fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Free, Self::Active)           // put, or writing again what failed
            | (Self::Active, Self::Sealed)       // full, failed, or closing
            | (Self::Sealed, Self::Retired)      // its last live record died
            | (Self::Retired, Self::Free)        // durably erased
            | (Self::Retired | Self::Sealed, Self::Quarantined) => true,
            _ => false,
        }
    }
}

/// One slot.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) state: SegmentState,
    /// The generation on disk, or that may be there; zero after erasing.
    pub(crate) generation: Generation,
    // Invariant: the bytes of the index entries that lie here.
    pub(crate) live: u64,
    /// Bytes of all tombstones here.
    pub(crate) tombstones: u64,
    /// The highest generation that may hold an older version of a key deleted here.
    pub(crate) guard: Generation,
    /// Every log buffer here has a lower number.
    pub(crate) log_end: BufferNumber,
    /// Readers under way.
    pub(crate) pins: u32,
    /// Buffers not yet known to the index, and the seal not yet written.
    pub(crate) holds: u32,
}

impl Slot {
    /// A slot that was never used.
    pub(crate) fn fresh() -> Self {
        Self {
            state: SegmentState::Free,
            generation: Generation::ZERO,
            live: 0,
            tombstones: 0,
            guard: Generation::ZERO,
            log_end: BufferNumber::ZERO,
            pins: 0,
            holds: 0,
        }
    }

    pub(super) fn enter(&mut self, next: SegmentState, id: SegmentId) {
        let now = self.state;
        assert!(now.may_become(next), "{id:?}: {now:?} may not become {next:?}");
        self.state = next;
    }

    pub(super) fn open(&mut self, generation: Generation) {
        self.clear();
        self.generation = generation;
    }

    pub(super) fn clear(&mut self) {
        assert_eq!((self.live, self.pins, self.holds), (0, 0, 0));
        *self = Self { state: self.state, ..Self::fresh() };
    }

    #[cfg(feature = "verify")]
    pub(super) fn assert_invariants(&self, id: SegmentId) {
        if matches!(self.state, SegmentState::Free | SegmentState::Retired) {
            assert_eq!((self.live, self.pins, self.holds), (0, 0, 0), "{id:?} is in use");
        }
        assert!(self.tombstones == 0 || self.guard >= self.generation, "{id:?} lost its guard");
    }
}
