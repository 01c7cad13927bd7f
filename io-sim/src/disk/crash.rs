//! What a crash decides: which unsynced sectors and names survive it.
//!
//! Pure chance would hardly ever show the two most telling states, nothing survived and everything
//! did, nor a write that lost exactly its header. So every crash first draws a *bias*, and then
//! decides sector by sector under it. Any state that any bias gives is allowed by the contract.

use std::collections::BTreeMap;

use logstor_core::types::to_u64;

use crate::rng::SimRng;

/// Which sectors of unsynced writes survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SectorBias {
    /// None: the disk is as the last syncs left it.
    None,
    /// All: as if everything had been synced, writes in flight included.
    All,
    /// Each sector of each write by a coin of its own.
    Half,
    /// Each write wholly or not at all, by a coin of its own.
    Whole,
    /// The first so many sectors, in the order in which the writes completed.
    Prefix,
    /// All sectors of every write but its first.
    AllButFirst,
    /// Only the first sector of every write.
    OnlyFirst,
    /// Only the last sector of every write.
    OnlyLast,
    /// All sectors of every write but one, anywhere in it.
    AllButOne,
    /// None, but every change of a length: a file that grew is longer and reads as zeros there.
    LengthOnly,
}

impl SectorBias {
    /// Every bias there is.
    pub const EVERY: [Self; 10] = [
        Self::None,
        Self::All,
        Self::Half,
        Self::Whole,
        Self::Prefix,
        Self::AllButFirst,
        Self::OnlyFirst,
        Self::OnlyLast,
        Self::LengthOnly,
        Self::AllButOne,
    ];

    /// Its number in the trace.
    pub(crate) const fn word(self) -> u64 {
        match self {
            Self::None => 0,
            Self::All => 1,
            Self::Half => 2,
            Self::Whole => 3,
            Self::Prefix => 4,
            Self::AllButFirst => 5,
            Self::OnlyFirst => 6,
            Self::OnlyLast => 7,
            Self::LengthOnly => 8,
            Self::AllButOne => 9,
        }
    }
}

/// Which operations on names survive a power cut, of those that no folder sync covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameBias {
    /// None.
    None,
    /// All.
    All,
    /// The first so many, as a journal would keep them.
    Prefix,
    /// Each by a coin of its own, as a file system without a journal might.
    Subset,
}

impl NameBias {
    /// Every bias there is.
    pub const EVERY: [Self; 4] = [Self::None, Self::All, Self::Prefix, Self::Subset];

    /// Its number in the trace.
    pub(crate) const fn word(self) -> u64 {
        match self {
            Self::None => 0,
            Self::All => 1,
            Self::Prefix => 2,
            Self::Subset => 3,
        }
    }
}

/// What one crash did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashReport {
    /// Power cut: the bias for sectors. `None` after the death of the process alone.
    pub sectors: Option<SectorBias>,
    /// Power cut: the bias for names. `None` after the death of the process alone.
    pub names: Option<NameBias>,
    /// Writes that were in flight.
    pub in_flight: u64,
    /// Unsynced sector writes that survived.
    pub sectors_kept: u64,
    /// Unsynced sector writes that were lost.
    pub sectors_lost: u64,
    /// Writes of which some sectors survived and others did not.
    pub torn_writes: u64,
    /// Operations on names that were lost.
    pub names_lost: u64,
}

impl CrashReport {
    pub(crate) const fn new() -> Self {
        Self {
            sectors: None,
            names: None,
            in_flight: 0,
            sectors_kept: 0,
            sectors_lost: 0,
            torn_writes: 0,
            names_lost: 0,
        }
    }

    pub(crate) fn count_sectors(&mut self, fate: &[bool]) {
        let kept = fate.iter().filter(|keep| **keep).count();
        self.sectors_kept += to_u64(kept);
        self.sectors_lost += to_u64(fate.len() - kept);
        self.torn_writes += u64::from(kept > 0 && kept < fate.len());
    }
}

/// Decides about the sectors of one power cut.
#[derive(Debug)]
pub(crate) struct Decider<'a> {
    rng: &'a mut SimRng,
    bias: SectorBias,
    // For `Prefix`: how many sectors of each write survive.
    prefix: BTreeMap<u64, usize>,
    counts: CrashReport,
    // What was decided about each change, by its number: of a file and of its twin the same.
    sectors: BTreeMap<u64, Vec<bool>>,
    lengths: BTreeMap<u64, bool>,
    // One word about everything decided, for the trace.
    digest: u64,
}

impl<'a> Decider<'a> {
    /// `undecided`: sequence and number of sectors of every unsynced write of the disk.
    pub(crate) fn new(
        rng: &'a mut SimRng,
        bias: SectorBias,
        undecided: BTreeMap<u64, usize>,
    ) -> Self {
        let mut prefix = undecided;
        if bias == SectorBias::Prefix {
            let total: usize = prefix.values().sum();
            let mut left = rng.index(total + 1);
            for sectors in prefix.values_mut() {
                *sectors = left.min(*sectors);
                left -= *sectors;
            }
        }
        let (sectors, lengths) = (BTreeMap::new(), BTreeMap::new());
        Self { rng, bias, prefix, counts: CrashReport::new(), sectors, lengths, digest: 0 }
    }

    /// Which of the sectors of this write survive.
    pub(crate) fn sectors(&mut self, seq: u64, count: usize) -> Vec<bool> {
        if let Some(fate) = self.sectors.get(&seq) {
            return fate.clone();
        }
        let fate = self.draw_sectors(seq, count);
        self.sectors.insert(seq, fate.clone());
        fate
    }

    fn draw_sectors(&mut self, seq: u64, count: usize) -> Vec<bool> {
        let whole = self.bias == SectorBias::Whole && self.rng.coin();
        let one = if self.bias == SectorBias::AllButOne { self.rng.index(count.max(1)) } else { 0 };
        let prefix = self.prefix.get(&seq).copied().unwrap_or(0);
        let fate: Vec<bool> = (0..count)
            .map(|sector| match self.bias {
                SectorBias::None | SectorBias::LengthOnly => false,
                SectorBias::All => true,
                SectorBias::Half => self.rng.coin(),
                SectorBias::Whole => whole,
                SectorBias::Prefix => sector < prefix,
                SectorBias::AllButFirst => sector > 0,
                SectorBias::OnlyFirst => sector == 0,
                SectorBias::OnlyLast => sector + 1 == count,
                SectorBias::AllButOne => sector != one,
            })
            .collect();
        self.counts.count_sectors(&fate);
        for &keep in &fate {
            self.digest = self.digest.rotate_left(1) ^ u64::from(keep);
        }
        fate
    }

    /// Whether a change of length survives.
    pub(crate) fn length(&mut self, seq: u64) -> bool {
        if let Some(&keep) = self.lengths.get(&seq) {
            return keep;
        }
        let keep = match self.bias {
            SectorBias::None => false,
            SectorBias::All | SectorBias::LengthOnly => true,
            _ => self.rng.coin(),
        };
        self.digest = self.digest.rotate_left(1) ^ u64::from(keep);
        self.lengths.insert(seq, keep);
        keep
    }

    /// What it decided so far: the counts, and one word that stands for all of it.
    pub(crate) fn verdict(&self) -> (CrashReport, u64) {
        (self.counts, self.digest)
    }
}

/// Decides about the operations on names of one power cut.
#[derive(Debug)]
pub(crate) struct NameFates<'a> {
    rng: &'a mut SimRng,
    bias: NameBias,
    left: usize,
    lost: &'a mut u64,
}

impl<'a> NameFates<'a> {
    /// For `count` operations; those that get lost are counted in `lost`.
    pub(crate) fn new(
        rng: &'a mut SimRng,
        bias: NameBias,
        count: usize,
        lost: &'a mut u64,
    ) -> Self {
        let left = rng.index(count + 1);
        Self { rng, bias, left, lost }
    }

    /// Whether the next operation survives.
    pub(crate) fn keeps(&mut self) -> bool {
        let keep = match self.bias {
            NameBias::None => false,
            NameBias::All => true,
            NameBias::Prefix => self.left > 0,
            NameBias::Subset => self.rng.coin(),
        };
        self.left = self.left.saturating_sub(1);
        *self.lost += u64::from(!keep);
        keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bias_decides_as_its_name_says() {
        let decide = |bias, count| {
            let mut rng = SimRng::new(1, "bias");
            Decider::new(&mut rng, bias, BTreeMap::from([(1, count)])).sectors(1, count)
        };
        assert_eq!(decide(SectorBias::None, 3), [false, false, false]);
        assert_eq!(decide(SectorBias::All, 3), [true, true, true]);
        assert_eq!(decide(SectorBias::AllButFirst, 3), [false, true, true]);
        assert_eq!(decide(SectorBias::OnlyFirst, 3), [true, false, false]);
        assert_eq!(decide(SectorBias::OnlyLast, 3), [false, false, true]);
        let lost = |fate: Vec<bool>| fate.iter().filter(|keep| !**keep).count();
        assert_eq!(lost(decide(SectorBias::AllButOne, 5)), 1);
        let half = decide(SectorBias::Half, 64);
        assert!(half.contains(&true) && half.contains(&false));
        let whole = decide(SectorBias::Whole, 64);
        assert!(whole.iter().all(|&keep| keep == whole[0]));
        assert!(decide(SectorBias::Prefix, 64).is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn a_prefix_runs_over_the_writes_in_their_order() {
        let undecided = BTreeMap::from([(1, 2), (5, 3), (9, 2)]);
        let mut cut_inside = false;
        for seed in 0..50 {
            let mut rng = SimRng::new(seed, "prefix");
            let mut decider = Decider::new(&mut rng, SectorBias::Prefix, undecided.clone());
            let fates: Vec<bool> =
                undecided.iter().flat_map(|(&seq, &n)| decider.sectors(seq, n)).collect();
            assert!(fates.is_sorted_by(|a, b| a >= b));
            cut_inside |= fates[0] && !fates[6];
        }
        assert!(cut_inside);
    }

    #[test]
    fn names_survive_as_their_bias_says() {
        let fates = |bias, seed| {
            let (mut rng, mut lost) = (SimRng::new(seed, "names"), 0);
            let mut fates = NameFates::new(&mut rng, bias, 6, &mut lost);
            (0..6).map(|_| fates.keeps()).collect::<Vec<_>>()
        };
        assert_eq!(fates(NameBias::None, 1), [false; 6]);
        assert_eq!(fates(NameBias::All, 1), [true; 6]);
        assert!((0..50).all(|seed| fates(NameBias::Prefix, seed).is_sorted_by(|a, b| a >= b)));
        assert!((0..50).any(|seed| !fates(NameBias::Subset, seed).is_sorted_by(|a, b| a >= b)));
    }
}
