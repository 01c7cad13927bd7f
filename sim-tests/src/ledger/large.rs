//! How long values are, and so how many segments the large ones take.
//!
//! The history names a value by its number, and does not say how long it is. For most that does not
//! matter; a large one takes whole segments, and these must be given back.
//!
//! Absent on purpose: where the pieces lie. That is seen on the durable image.

use logstor_core::format::pieces::pieces_of;

use super::Facts;
use crate::model::{Change, KeyNumber, State};
use crate::plan::geometry;
use crate::value::Value;

impl Facts {
    pub(super) fn note_len(&mut self, change: &Change, value: Option<&[u8]>) {
        if let Change::Put { value: Value::Of(number), .. } = change {
            self.lens.insert(*number, value.map_or(0, <[u8]>::len));
        }
    }

    /// Bytes of a value that was written.
    pub(super) fn len_of(&self, value: &Value) -> Option<u64> {
        let len = match value {
            Value::Short(len) => Some(*len),
            Value::Of(number) => self.lens.get(number).copied(),
        };
        len.and_then(|len| u64::try_from(len).ok())
    }

    /// The large values that the store should hold: their pieces, and their bytes.
    #[must_use]
    pub fn large(&self) -> (u64, u64) {
        let is_large = |len: &&usize| **len > geometry().max_value_len();
        if !self.lens.values().any(|len| is_large(&len)) {
            return (0, 0);
        }
        let state = State::after(&self.history);
        let values = state.groups.values().flat_map(|group| group.keys.values());
        let lens = values.filter_map(|value| match value {
            Value::Of(number) => self.lens.get(number).filter(is_large),
            Value::Short(_) => None,
        });
        lens.fold((0, 0), |(pieces, bytes), &len| {
            let len = u64::try_from(len).unwrap_or(u64::MAX);
            (pieces + pieces_of(len, geometry()), bytes + len)
        })
    }

    /// Whether a record of the key was accepted that is newer than those a read could have seen.
    #[must_use]
    pub fn is_overwritten(&self, slot: (u32, KeyNumber), accepted: usize) -> bool {
        let newest = self.by_key.get(&slot).and_then(|known| known.last());
        self.is_dropped(slot.0) || newest.is_some_and(|&at| at >= accepted)
    }
}
