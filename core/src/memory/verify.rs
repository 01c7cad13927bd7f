//! What a check of the segments may rely on, step by step.
//!
//! Absent on purpose: pins. A check asks twice instead, before it reads and after it.

use super::{LookupRefused, State};
use crate::segments::SegmentState;
use crate::types::{
    ByteLen, Generation, GroupId, KeyHash, Location, SegmentId, SegmentOffset, to_u32,
};

/// What there is to check in a segment. `segments`: how many the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToVerify {
    NoSuchSegment,
    /// Nothing that anybody will read again.
    Nothing {
        segments: u32,
    },
    /// `live`: keys point into it all the same.
    Quarantined {
        segments: u32,
        live: bool,
    },
    Life {
        segments: u32,
        written: Written,
    },
}

/// What is complete in a life of a segment, and will not be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) generation: Generation,
    /// Buffers lie one after the other up to here.
    pub(crate) end: SegmentOffset,
    /// Its seal was written as well.
    pub(crate) sealed: bool,
    /// It holds a piece of a large value, so long, and no buffers.
    pub(crate) piece_len: Option<ByteLen>,
}

impl State {
    /// What there is to check in a segment.
    pub(crate) fn to_verify(&self, segment: SegmentId) -> Result<ToVerify, LookupRefused> {
        self.check_readable()?;
        let segments = to_u32(self.segments.len());
        if segment.get() >= segments {
            return Ok(ToVerify::NoSuchSegment);
        }
        let slot = self.segments.get(segment);
        let complete = slot.state == SegmentState::Sealed && slot.holds == 0;
        Ok(match slot.state {
            SegmentState::Quarantined => ToVerify::Quarantined { segments, live: slot.live > 0 },
            // A piece belongs to nobody before its record is complete, and may not be whole then.
            SegmentState::Active | SegmentState::Sealed
                if !slot.kind.is_large() || (complete && slot.live > 0) =>
            {
                let written = Written {
                    generation: slot.generation,
                    end: SegmentOffset::new(slot.records + slot.fronts + slot.padding),
                    sealed: complete,
                    piece_len: slot.kind.is_large().then(|| ByteLen::new(slot.records)),
                };
                ToVerify::Life { segments, written }
            }
            _ => ToVerify::Nothing { segments },
        })
    }

    /// Whether a segment is in this life, and nobody has begun to end it.
    pub(crate) fn is_still(
        &self,
        segment: SegmentId,
        generation: Generation,
    ) -> Result<bool, LookupRefused> {
        self.check_readable()?;
        let there = segment.get() < to_u32(self.segments.len());
        Ok(there && {
            let slot = self.segments.get(segment);
            let used = matches!(slot.state, SegmentState::Active | SegmentState::Sealed);
            used && slot.generation == generation
        })
    }

    /// Whether keys point into a segment.
    pub(crate) fn has_live(&self, segment: SegmentId) -> bool {
        self.segments.get(segment).live > 0
    }

    /// Whether a key of this hash is read there.
    pub(crate) fn is_live(&self, group: GroupId, hash: KeyHash, at: Location) -> bool {
        self.groups.get(group).is_some_and(|group| group.index.get(hash) == Some(at))
    }
}
