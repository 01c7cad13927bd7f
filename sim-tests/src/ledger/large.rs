//! What is known of large values: how long they are, and so how many segments they take.
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
    pub(super) fn note_large(&mut self, change: &Change, value: Option<&[u8]>) {
        let len = value.map_or(0, <[u8]>::len);
        if let Change::Put { value: Value::Of(number), .. } = change
            && len > geometry().max_value_len()
        {
            self.large.insert(*number, len);
        }
    }

    /// The large values that the store should hold: their pieces, and their bytes.
    #[must_use]
    pub fn large(&self) -> (u64, u64) {
        if self.large.is_empty() {
            return (0, 0);
        }
        let state = State::after(&self.history);
        let values = state.groups.values().flat_map(|group| group.keys.values());
        let lens = values.filter_map(|value| match value {
            Value::Of(number) => self.large.get(number),
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
