//! Bad sectors of a file: those that no read gets past until they are written again.
//!
//! Absent on purpose: when a sector goes bad, and whether a read is told; that is the device's.

use std::collections::BTreeSet;
use std::ops::Range;

/// The bad sectors of a file, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct BadSectors(BTreeSet<u64>);

impl BadSectors {
    /// Sector `number` goes bad.
    pub(crate) fn add(&mut self, number: u64) -> bool {
        self.0.insert(number)
    }

    /// Whether any byte of `range` lies in one.
    pub(crate) fn meet(&self, range: &Range<u64>, sector: u32) -> bool {
        let size = u64::from(sector);
        let first = range.start / size;
        self.0.range(first..range.end.div_ceil(size).max(first)).next().is_some()
    }

    /// `range`, whole sectors, was written.
    pub(crate) fn written(&mut self, range: &Range<u64>, sector: u32) {
        if self.0.is_empty() {
            return;
        }
        let size = u64::from(sector);
        let mut behind = self.0.split_off(&(range.start / size));
        self.0.append(&mut behind.split_off(&range.end.div_ceil(size)));
    }

    /// The file ends at `len`.
    pub(crate) fn cut_off(&mut self, len: u64, sector: u32) {
        drop(self.0.split_off(&len.div_ceil(u64::from(sector))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_sector_is_met_by_any_part_of_it_until_it_is_written() {
        let mut bad = BadSectors::default();
        assert!(bad.add(3) && bad.add(4) && bad.add(9) && !bad.add(9));
        assert!(bad.meet(&(3 * 512 + 100..3 * 512 + 101), 512));
        assert!(!bad.meet(&(0..3 * 512), 512) && !bad.meet(&(5 * 512..9 * 512), 512));
        assert!(!bad.meet(&(9 * 512..9 * 512), 512), "nothing meets nothing");
        bad.written(&(4 * 512..5 * 512), 512);
        assert!(bad.meet(&(3 * 512..4 * 512), 512) && !bad.meet(&(4 * 512..9 * 512), 512));
        bad.cut_off(9 * 512, 512);
        assert!(!bad.meet(&(4 * 512..90 * 512), 512));
    }
}
