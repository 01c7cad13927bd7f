//! Which record of each key counts: the newest.
//!
//! ```text
//!  summaries ──deal──> parts, by hash ──sort, a task each──> the best of each key, in order
//! ```
//!
//! 1. Of what the index takes for one key the highest sequence wins, wherever the records lie.
//! 2. Of two copies with one sequence the undamaged one wins, then the higher generation.
//! 3. Winners come in order of hash, so that each index can be built in order.
//! 4. A record takes 40 bytes from when it is dealt until the winners of its part are in the index,
//!    whether it wins or not; nothing grows by doubling.
//!
//! A table of the best record of each key takes three times that while it grows, and the index
//! after it is filled in no order. Sorting is work for as many cores as there are, since parts have
//! nothing to do with each other; the order in which they end decides nothing.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;

use futures::future::FutureExt;
use futures::stream::{BoxStream, StreamExt};

use super::decide::{Which, is_rotten};
use crate::catalog::Packing;
use crate::format::record::RecordKind;
use crate::io::Spawn;
use crate::open_error::OpenError;
use crate::segment_io::{FoundBuffer, Scanned};
use crate::types::{Generation, GroupId, KeyHash, Location, Sequence, to_u64, to_usize};

/// Records of a part, about: as many as a core has at hand while it sorts them. Small ones where
/// everything is checked, so that small stores have several.
const PART: usize = if cfg!(feature = "verify") { 1 << 5 } else { 1 << 16 };
/// Parts at most: enough for a hundred million records.
const PARTS_BITS: u32 = 11;
/// Parts sorted ahead of the one whose winners are taken.
const AHEAD: usize = 8;

/// A record that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    // The hash, as far as the index knows it: its first half, and what it knows of the second.
    token: u64,
    rest: u32,
    pub(super) group: GroupId,
    pub(super) sequence: Sequence,
    pub(super) at: Location,
    pub(super) kind: RecordKind,
    intact: bool,
}

const _: () = assert!(size_of::<Candidate>() == 40);

impl Candidate {
    pub(super) fn hash(&self) -> KeyHash {
        KeyHash::new(u128::from(self.token) << 64 | u128::from(self.rest) << 32)
    }

    fn key(&self) -> (u64, u32, GroupId) {
        (self.token, self.rest, self.group)
    }

    /// Keys in order, and of each the best record first.
    fn order(&self, other: &Self, generations: &[Generation]) -> Ordering {
        let life = |one: &Self| generations.get(to_usize(one.at.segment().get())).copied();
        let best = |one: &Self| (one.sequence, one.intact);
        let keys = self.key().cmp(&other.key()).then_with(|| best(other).cmp(&best(self)));
        keys.then_with(|| life(other).cmp(&life(self))).then_with(|| self.at.cmp(&other.at))
    }
}

/// Everything that counts, dealt by hash.
#[derive(Debug)]
pub(super) struct Candidates {
    packing: Packing,
    // Invariant: as many parts as so many bits have values, each with the hashes that begin so.
    bits: u32,
    parts: Vec<Vec<Candidate>>,
    /// The records of the catalogue, which are needed first.
    system: Vec<Candidate>,
    highest_group: GroupId,
}

impl Candidates {
    /// Deals the records of these buffers, whose summaries are let go.
    pub(super) fn deal<'a>(
        scans: &mut [Scanned],
        kept: impl Iterator<Item = &'a Which> + Clone,
        packing: Packing,
    ) -> Self {
        let counts = kept.clone().map(|which| which.find(scans).header.record_count);
        let total: u64 = counts.map(u64::from).sum();
        let parts = total / to_u64(PART);
        let bits = (u64::BITS - parts.leading_zeros()).min(PARTS_BITS);
        let mut sizes = vec![0; 1 << bits];
        for which in kept.clone() {
            let groups = which.find(scans).records().map(|(entry, _)| (entry.group, entry.hash));
            for (_, hash) in groups.filter(|(group, _)| *group != GroupId::SYSTEM) {
                sizes[part_of(hash.token(), bits)] += 1;
            }
        }
        let parts = sizes.into_iter().map(Vec::with_capacity).collect();
        let (system, highest_group) = (Vec::new(), GroupId::SYSTEM);
        let mut dealt = Self { packing, bits, parts, system, highest_group };
        for which in kept {
            dealt.deal_one(which.find(scans));
            which.find_mut(scans).summary = None;
        }
        dealt
    }

    fn deal_one(&mut self, found: &FoundBuffer) {
        let intact = !is_rotten(found);
        for (entry, at) in found.records() {
            let hash = self.packing.known(entry.hash);
            let rest = u32::try_from(hash.get() >> 32 & u128::from(u32::MAX));
            let one = Candidate {
                token: hash.token(),
                rest: rest.expect("masked to 32 bits"),
                group: entry.group,
                sequence: entry.sequence,
                at,
                kind: entry.kind,
                intact,
            };
            self.highest_group = self.highest_group.max(one.group);
            if one.group == GroupId::SYSTEM {
                self.system.push(one);
            } else {
                self.parts[part_of(one.token, self.bits)].push(one);
            }
        }
    }

    /// The highest group that any record is of.
    pub(super) fn highest_group(&self) -> GroupId {
        self.highest_group
    }

    /// The winners of the catalogue.
    pub(super) fn system(&mut self, generations: &[Generation]) -> Vec<Candidate> {
        winners(std::mem::take(&mut self.system), generations)
    }

    /// Records of all groups but the catalogue's.
    pub(super) fn len(&self) -> u64 {
        self.parts.iter().map(|part| to_u64(part.len())).sum()
    }

    /// The winners of all other groups, part by part, each with how many records it had.
    /// `generations`: the life of every segment.
    pub(super) fn winners(
        self,
        spawn: Arc<dyn Spawn>,
        generations: Arc<[Generation]>,
    ) -> BoxStream<'static, Result<(Vec<Candidate>, u64), OpenError>> {
        let sort = move |part: Vec<Candidate>| {
            let dealt = to_u64(part.len());
            let (answer, sorted) = tokio::sync::oneshot::channel();
            let generations = Arc::clone(&generations);
            let task = async move {
                // Nobody waits for it any more if the opening was dropped.
                let _ = answer.send(winners(part, &generations));
            };
            spawn.spawn("logstor recovery", task.boxed());
            let ended = |_| OpenError::io("sorting", "the records of all segments")(gone());
            sorted.map(move |sorted| sorted.map(|winners| (winners, dealt)).map_err(ended))
        };
        futures::stream::iter(self.parts).map(sort).buffered(AHEAD).boxed()
    }
}

/// Why a task gives no answer.
fn gone() -> io::Error {
    io::Error::other("the runtime that the store was opened on has ended")
}

/// In which of `1 << bits` parts a hash is.
fn part_of(token: u64, bits: u32) -> usize {
    let first = token.checked_shr(u64::BITS - bits).unwrap_or(0);
    usize::try_from(first).expect("a few bits")
}

/// The best record of each key, in order of hash.
fn winners(mut part: Vec<Candidate>, generations: &[Generation]) -> Vec<Candidate> {
    part.sort_unstable_by(|one, other| one.order(other, generations));
    part.dedup_by_key(|one| one.key());
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ByteLen, SegmentId, SegmentOffset};

    fn candidate(token: u64, sequence: u64, segment: u32) -> Candidate {
        Candidate {
            token,
            rest: 0,
            group: GroupId::new(1),
            sequence: Sequence::new(sequence),
            at: Location::new(SegmentId::new(segment), SegmentOffset::ZERO, ByteLen::new(40)),
            kind: RecordKind::Put,
            intact: true,
        }
    }

    fn won(part: Vec<Candidate>) -> Vec<(u64, u64, u32)> {
        let generations = [7, 3, 5].map(Generation::new);
        let shown = |one: &Candidate| (one.token, one.sequence.get(), one.at.segment().get());
        winners(part, &generations).iter().map(shown).collect()
    }

    #[test]
    fn the_highest_sequence_wins_wherever_it_lies() {
        let part = vec![candidate(9, 4, 2), candidate(1, 2, 0), candidate(9, 8, 1)];
        assert_eq!(won(part), [(1, 2, 0), (9, 8, 1)]);
    }

    #[test]
    fn of_two_copies_the_undamaged_one_wins_then_the_younger_segment() {
        assert_eq!(won(vec![candidate(9, 4, 1), candidate(9, 4, 2)]), [(9, 4, 2)]);
        let damaged = Candidate { intact: false, ..candidate(9, 4, 0) };
        assert_eq!(won(vec![damaged, candidate(9, 4, 1)]), [(9, 4, 1)]);
        assert_eq!(won(vec![damaged, candidate(9, 3, 1)]), [(9, 4, 0)]);
    }

    #[test]
    fn the_same_hash_in_two_groups_is_two_keys() {
        let other = Candidate { group: GroupId::new(2), ..candidate(9, 1, 0) };
        assert_eq!(won(vec![other, candidate(9, 4, 1)]), [(9, 4, 1), (9, 1, 0)]);
    }

    #[test]
    fn parts_are_in_order_of_hash() {
        assert_eq!(part_of(u64::MAX, 0), 0);
        assert_eq!([0, 1 << 61, 1 << 62, u64::MAX].map(|token| part_of(token, 2)), [0, 0, 1, 3]);
    }
}
