//! The room of a file: which of its blocks were punched and hold none.
//!
//! 1. Room is given and taken by blocks of 4 KiB, whatever the sector. What is no hole holds room.
//! 2. Only punching makes holes: a write behind the end takes room for the gap, too.
//! 3. A block becomes a hole only if all of it is punched; a write to any part of it takes room
//!    for all of it.
//! 4. A hole reads as zeros. That is for the file to see to; here are no bytes.
//!
//! Absent on purpose: a length. A file knows how long it is, and cuts its holes off with it.

use std::collections::BTreeSet;
use std::ops::Range;

use logstor_core::types::{BLOCK, to_u64, to_usize};

/// Bytes in a block.
const UNIT: u64 = to_u64(to_usize(BLOCK));

/// The blocks of a file that hold no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holes {
    // By number; the first of a file is 0.
    blocks: BTreeSet<u64>,
}

impl Holes {
    /// The bytes of room that the holes do not hold.
    pub(crate) fn bytes(&self) -> u64 {
        to_u64(self.blocks.len()) * UNIT
    }

    /// The bytes of room that writing all of `range` takes.
    pub(crate) fn touched(&self, range: &Range<u64>) -> u64 {
        to_u64(self.blocks.range(touched(range)).count()) * UNIT
    }

    /// Where the part of `range` ends that can be written with `room` bytes more: at its end, or
    /// at the hole for which nothing is left.
    pub(crate) fn reach(&self, range: &Range<u64>, room: u64) -> u64 {
        let mut left = room / UNIT;
        for &block in self.blocks.range(touched(range)) {
            match left.checked_sub(1) {
                Some(less) => left = less,
                None => return (block * UNIT).max(range.start),
            }
        }
        range.end
    }

    /// `range` gives its room back, as far as it is whole blocks.
    pub(crate) fn give(&mut self, range: &Range<u64>) {
        self.blocks.extend(range.start.div_ceil(UNIT)..range.end / UNIT);
    }

    /// `range` takes room.
    pub(crate) fn take(&mut self, range: &Range<u64>) {
        let Range { start, end } = touched(range);
        let mut behind = self.blocks.split_off(&start);
        self.blocks.append(&mut behind.split_off(&end));
    }

    /// Everything takes room.
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
    }

    /// The file ends at `len`. A block that it ends in holds room.
    pub(crate) fn cut_off(&mut self, len: u64) {
        drop(self.blocks.split_off(&(len / UNIT)));
    }
}

/// The numbers of the blocks that have a byte of `range`.
fn touched(range: &Range<u64>) -> Range<u64> {
    let end = range.end.div_ceil(UNIT);
    (range.start / UNIT).min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn punched(ranges: &[Range<u64>]) -> Holes {
        let mut holes = Holes::default();
        for range in ranges {
            holes.give(range);
        }
        holes
    }

    fn blocks(holes: &Holes) -> Vec<u64> {
        holes.blocks.iter().copied().collect()
    }

    #[test]
    fn only_whole_blocks_give_room_and_any_part_takes_it() {
        let mut holes = punched(&[100..UNIT * 3, UNIT * 5..UNIT * 9 + 4095]);
        assert_eq!(blocks(&holes), [1, 2, 5, 6, 7, 8]);
        assert_eq!(holes.bytes(), 6 * UNIT);
        assert_eq!(holes.touched(&(UNIT * 2 + 512..UNIT * 6 + 512)), 3 * UNIT);
        holes.take(&(UNIT * 2 + 512..UNIT * 6 + 512));
        assert_eq!(blocks(&holes), [1, 7, 8]);
        holes.take(&(UNIT * 7..UNIT * 7));
        assert_eq!(blocks(&holes), [1, 7, 8], "nothing takes nothing");
        holes.cut_off(UNIT * 8 + 512);
        assert_eq!(blocks(&holes), [1, 7]);
        holes.clear();
        assert_eq!(holes, Holes::default());
    }

    #[test]
    fn a_write_reaches_as_far_as_there_is_room() {
        let holes = punched(&[UNIT * 2..UNIT * 4, UNIT * 5..UNIT * 6]);
        let range = UNIT..UNIT * 8;
        assert_eq!(holes.reach(&range, 0), UNIT * 2);
        assert_eq!(holes.reach(&range, UNIT), UNIT * 3);
        assert_eq!(holes.reach(&range, 3 * UNIT - 1), UNIT * 5);
        assert_eq!(holes.reach(&range, 3 * UNIT), UNIT * 8);
        let inside = UNIT * 2 + 512..UNIT * 3;
        assert_eq!(holes.reach(&inside, 0), inside.start);
    }
}
