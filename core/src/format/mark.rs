//! The mark: what is published, and what was ever given out.
//!
//! ```text
//! ┌─ block 0 ────────────┬─ block 1 ────────────┐
//! │ mark, even ones first│ mark, odd ones first│
//! └──────────────────────┴──────────────────────┘
//! ```
//!
//! 1. A mark is written twice: ordinal `n` goes to slot `n % 2`, and once it is durable there, to
//!    the other one. A crash on the way leaves one that is valid, and what relies on a mark that
//!    was published finds it in both slots, should one of them rot.
//! 2. The valid mark with the highest ordinal counts.
//! 3. The floors are upper bounds: nothing at or above them was ever issued.
//! 4. A slot that the mark does not name holds nothing that a crash could have torn: no buffer goes
//!    there while this mark counts.
//!
//! Absent on purpose: any relation between the fields. Which values may follow which is known to
//! those who publish.

use thiserror::Error;

use crate::format::crc;
use crate::format::{field, is_zero, put};
use crate::io::{FileOffset, IoBuf};
use crate::types::{
    BLOCK, BufferNumber, Generation, SegmentId, SegmentOffset, Sequence, to_u32, to_usize,
};

const MAGIC: u32 = u32::from_le_bytes(*b"LSmk");
const FIXED: usize = 88;
const ENTRY_LEN: usize = 16;
const SLOT_LEN: usize = 4;
const SLOTS: usize = 2;

// A mark may tear: the one before it is whole in the other slot then.
const _: () = assert!(FIXED + Mark::OPEN_MAX * ENTRY_LEN <= Mark::LEN);

/// Why this block is no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAMark {
    /// Not one block.
    #[error("{found} bytes long instead of {BLOCK}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// Never written.
    #[error("never written")]
    Zero,
    /// Something else lies here.
    #[error("magic {found:#010x} is not that of a mark")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// The bytes were damaged or the write was torn.
    #[error("crc {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// As it lies there.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// The mark of another store.
    #[error("mark of store {found:#018x}")]
    Foreign {
        /// The short id of that store.
        found: u64,
    },
    /// Something lies where this format has only zeros.
    #[error("unused bytes are not zero")]
    Reserved,
}

/// The published watermarks, the floors of every counter, and how many files there are.
///
/// | at | len  | field             | meaning                                                  |
/// |---:|-----:|-------------------|----------------------------------------------------------|
/// |  0 |    4 | magic             | `"LSmk"`                                                 |
/// |  4 |    4 | crc               | CRC-32C of bytes 8..4096                                 |
/// |  8 |    8 | store             | short id of the store                                    |
/// | 16 |    8 | ordinal           | number of this mark                                      |
/// | 24 |    8 | log_watermark     | lower log buffers are durable or void                    |
/// | 32 |    8 | rewrite_watermark | lower rewrite buffers are durable or void                |
/// | 40 |    8 | next_sequence     | no sequence at or above was ever issued                  |
/// | 48 |    8 | next_log          | no log buffer number at or above was ever issued         |
/// | 56 |    8 | next_rewrite      | no rewrite buffer number at or above was ever issued     |
/// | 64 |    8 | next_generation   | no generation at or above was ever issued                |
/// | 72 |    4 | files             | files of segments that must exist                        |
/// | 76 |    4 | hollow            | 1 if free slots may have no room on the device, or 0     |
/// | 80 |    4 | open              | how many segments follow, at most 250                    |
/// | 84 |    4 | next              | how many slots follow those; 0 if any may be used next   |
/// | 88 |   16 | [`OpenSegment`]   | as often as `open` says                                  |
/// |  … |    4 | slot              | as often as `next` says; zeros behind them               |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of this mark; the highest counts.
    pub ordinal: u64,
    /// Every log buffer with a lower number is durable or void.
    pub log_watermark: BufferNumber,
    /// Every rewrite buffer with a lower number is durable or void.
    pub rewrite_watermark: BufferNumber,
    /// No sequence at or above this was ever issued.
    pub next_sequence: Sequence,
    /// No log buffer number at or above this was ever issued.
    pub next_log: BufferNumber,
    /// No rewrite buffer number at or above this was ever issued.
    pub next_rewrite: BufferNumber,
    /// No generation at or above this was ever issued.
    pub next_generation: Generation,
    /// Files of segments that must exist.
    pub files: u32,
    /// Free slots may have given their room back to the device.
    pub hollow: bool,
    /// Segments whose seals may not be durable, and how far they were written.
    pub open: Vec<OpenSegment>,
    /// Besides those that are open, the only slots into which buffers were written since, or are on
    /// their way. None of them if that is not known: then it may be any slot.
    pub next: Vec<SegmentId>,
}

/// A segment that has buffers below the published watermarks, and no seal yet that would list them.
/// What lies there up to `end`, or a later life of the slot, is found at the next opening, or is
/// lost.
///
/// | at | len | field      | meaning                              |
/// |---:|----:|------------|--------------------------------------|
/// |  0 |   4 | segment    | the segment                          |
/// |  4 |   4 | end        | where its last complete buffer ends  |
/// |  8 |   8 | generation | of its life                          |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSegment {
    /// The segment.
    pub segment: SegmentId,
    /// Where its last complete buffer ends.
    pub end: SegmentOffset,
    /// Of its life.
    pub generation: Generation,
}

impl OpenSegment {
    fn encode(self) -> [u8; ENTRY_LEN] {
        let mut raw = [0; ENTRY_LEN];
        put::<0, 4, _>(&mut raw, self.segment.get().to_le_bytes());
        put::<4, 4, _>(&mut raw, self.end.get().to_le_bytes());
        put::<8, 8, _>(&mut raw, self.generation.get().to_le_bytes());
        raw
    }

    fn parse(raw: &[u8; ENTRY_LEN]) -> Self {
        Self {
            segment: SegmentId::new(u32::from_le_bytes(field::<0, 4, _>(raw))),
            end: SegmentOffset::new(u32::from_le_bytes(field::<4, 4, _>(raw))),
            generation: Generation::new(u64::from_le_bytes(field::<8, 8, _>(raw))),
        }
    }
}

impl Mark {
    /// Bytes of one mark on disk: one block.
    pub const LEN: usize = to_usize(BLOCK);
    /// Segments that it can list.
    pub const OPEN_MAX: usize = 250;
    /// Bytes of the file: both slots.
    pub const FILE_LEN: usize = Self::LEN * SLOTS;

    /// What is published when nothing is known of it: nothing was given out, and room may be
    /// missing anywhere.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            ordinal: 0,
            log_watermark: BufferNumber::ZERO,
            rewrite_watermark: BufferNumber::ZERO,
            next_sequence: Sequence::new(1),
            next_log: BufferNumber::ZERO,
            next_rewrite: BufferNumber::ZERO,
            next_generation: Generation::new(1),
            files: 0,
            hollow: true,
            open: Vec::new(),
            next: Vec::new(),
        }
    }

    /// How many slots a mark can name that lists so many open segments.
    #[must_use]
    pub const fn next_max(open: usize) -> usize {
        (Self::LEN - FIXED).saturating_sub(open.saturating_mul(ENTRY_LEN)) / SLOT_LEN
    }

    /// Whether there may be buffers in a slot that are not durable for certain, or were not when
    /// this mark was made.
    #[must_use]
    pub fn names(&self, slot: SegmentId) -> bool {
        let open = || self.open.iter().any(|open| open.segment == slot);
        self.next.is_empty() || self.next.contains(&slot) || open()
    }

    /// Where in the file this mark is written.
    #[must_use]
    pub fn slot_offset(&self) -> FileOffset {
        FileOffset::new(self.ordinal % 2 * u64::from(BLOCK))
    }

    /// Where it is written after that.
    #[must_use]
    pub fn other_slot_offset(&self) -> FileOffset {
        FileOffset::new((1 - self.ordinal % 2) * u64::from(BLOCK))
    }

    /// The block to write at [`Mark::slot_offset`].
    ///
    /// # Panics
    ///
    /// If more segments or slots are listed than have room.
    #[must_use]
    pub fn encode(&self, store_short: u64) -> IoBuf {
        assert!(self.open.len() <= Self::OPEN_MAX);
        assert!(self.next.len() <= Self::next_max(self.open.len()));
        let mut raw = [0; Self::LEN];
        put::<0, 4, _>(&mut raw, MAGIC.to_le_bytes());
        put::<8, 8, _>(&mut raw, store_short.to_le_bytes());
        put::<16, 8, _>(&mut raw, self.ordinal.to_le_bytes());
        put::<24, 8, _>(&mut raw, self.log_watermark.get().to_le_bytes());
        put::<32, 8, _>(&mut raw, self.rewrite_watermark.get().to_le_bytes());
        put::<40, 8, _>(&mut raw, self.next_sequence.get().to_le_bytes());
        put::<48, 8, _>(&mut raw, self.next_log.get().to_le_bytes());
        put::<56, 8, _>(&mut raw, self.next_rewrite.get().to_le_bytes());
        put::<64, 8, _>(&mut raw, self.next_generation.get().to_le_bytes());
        put::<72, 4, _>(&mut raw, self.files.to_le_bytes());
        put::<76, 4, _>(&mut raw, u32::from(self.hollow).to_le_bytes());
        put::<80, 4, _>(&mut raw, to_u32(self.open.len()).to_le_bytes());
        put::<84, 4, _>(&mut raw, to_u32(self.next.len()).to_le_bytes());
        let (entries, slots) = raw[FIXED..].split_at_mut(self.open.len() * ENTRY_LEN);
        for (entry, place) in self.open.iter().zip(entries.chunks_exact_mut(ENTRY_LEN)) {
            place.copy_from_slice(&entry.encode());
        }
        for (slot, place) in self.next.iter().zip(slots.chunks_exact_mut(SLOT_LEN)) {
            place.copy_from_slice(&slot.get().to_le_bytes());
        }
        let crc = crc::of(&[&raw[8..]]);
        put::<4, 4, _>(&mut raw, crc.to_le_bytes());
        IoBuf::copy_of(&raw)
    }

    /// The only way from bytes to a mark. `block` is one of the two blocks of the file.
    pub fn parse(block: &[u8], store_short: u64) -> Result<Self, NotAMark> {
        let raw: &[u8; Self::LEN] =
            block.try_into().map_err(|_| NotAMark::Length { found: block.len() })?;
        let magic = u32::from_le_bytes(field::<0, 4, _>(raw));
        let stored = u32::from_le_bytes(field::<4, 4, _>(raw));
        let store = u64::from_le_bytes(field::<8, 8, _>(raw));
        let counter = |bytes| BufferNumber::new(u64::from_le_bytes(bytes));
        let listed = to_usize(u32::from_le_bytes(field::<80, 4, _>(raw)));
        let named = to_usize(u32::from_le_bytes(field::<84, 4, _>(raw)));
        let (entries, slots) = raw[FIXED..].split_at(ENTRY_LEN * listed.min(Self::OPEN_MAX));
        let (entries, slots) = (entries.as_chunks().0, slots.as_chunks().0);
        let slot = |raw: &[u8; SLOT_LEN]| SegmentId::new(u32::from_le_bytes(*raw));
        let mark = Self {
            ordinal: u64::from_le_bytes(field::<16, 8, _>(raw)),
            log_watermark: counter(field::<24, 8, _>(raw)),
            rewrite_watermark: counter(field::<32, 8, _>(raw)),
            next_sequence: Sequence::new(u64::from_le_bytes(field::<40, 8, _>(raw))),
            next_log: counter(field::<48, 8, _>(raw)),
            next_rewrite: counter(field::<56, 8, _>(raw)),
            next_generation: Generation::new(u64::from_le_bytes(field::<64, 8, _>(raw))),
            files: u32::from_le_bytes(field::<72, 4, _>(raw)),
            hollow: field::<76, 4, _>(raw) != [0; 4],
            open: entries.iter().map(OpenSegment::parse).collect(),
            next: slots.iter().take(named).map(slot).collect(),
        };
        let hollow = u32::from_le_bytes(field::<76, 4, _>(raw));

        if magic == 0 && is_zero(raw) {
            return Err(NotAMark::Zero);
        }
        if magic != MAGIC {
            return Err(NotAMark::Magic { found: magic });
        }
        let computed = crc::of(&[&raw[8..]]);
        if stored != computed {
            return Err(NotAMark::Crc { stored, computed });
        }
        if store != store_short {
            return Err(NotAMark::Foreign { found: store });
        }
        let used = FIXED + ENTRY_LEN * mark.open.len() + SLOT_LEN * mark.next.len();
        let too_many = listed > mark.open.len() || named > mark.next.len();
        if hollow > 1 || too_many || !is_zero(&raw[used..]) {
            return Err(NotAMark::Reserved);
        }
        Ok(mark)
    }

    /// The mark that counts among those in `file`: the valid one with the highest ordinal.
    ///
    /// An error only if no slot holds a mark; then it speaks of the first slot that was ever
    /// written.
    pub fn newest(file: &[u8], store_short: u64) -> Result<Self, NotAMark> {
        let slots = || file.chunks(Self::LEN).take(SLOTS);
        let parsed = || slots().map(|block| Self::parse(block, store_short));
        if let Some(mark) = parsed().filter_map(Result::ok).max_by_key(|mark| mark.ordinal) {
            return Ok(mark);
        }
        let reason = parsed().filter_map(Result::err).find(|reason| *reason != NotAMark::Zero);
        Err(reason.unwrap_or(match slots().count() {
            0 => NotAMark::Length { found: 0 },
            _ => NotAMark::Zero,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples;
    use proptest::prelude::*;

    const STORE: u64 = 0x0102_0304_0506_0708;

    fn mark() -> impl Strategy<Value = Mark> {
        (any::<[u64; 7]>(), any::<u32>(), any::<bool>()).prop_map(
            |([ordinal, log, rewrite, sequence, next, next_rewrite, generation], files, hollow)| {
                let open = open_segments(files);
                let room = to_u32(Mark::next_max(open.len()));
                let slots = 0..files.reverse_bits() % (room + 1);
                Mark {
                    hollow,
                    open,
                    next: slots.map(|at| SegmentId::new(files ^ at)).collect(),
                    ordinal,
                    log_watermark: BufferNumber::new(log),
                    rewrite_watermark: BufferNumber::new(rewrite),
                    next_sequence: Sequence::new(sequence),
                    next_log: BufferNumber::new(next),
                    next_rewrite: BufferNumber::new(next_rewrite),
                    next_generation: Generation::new(generation),
                    files,
                }
            },
        )
    }

    /// As many as a mark can list at most, of any life.
    fn open_segments(draw: u32) -> Vec<OpenSegment> {
        let one = |at: u32| OpenSegment {
            segment: SegmentId::new(draw ^ at),
            end: SegmentOffset::new(at * BLOCK),
            generation: Generation::new(u64::from(draw) << 8 | u64::from(at)),
        };
        (0..draw % (to_u32(Mark::OPEN_MAX) + 1)).map(one).collect()
    }

    fn sample(ordinal: u64) -> Mark {
        Mark {
            ordinal,
            log_watermark: BufferNumber::new(10),
            rewrite_watermark: BufferNumber::new(20),
            next_sequence: Sequence::new(30),
            next_log: BufferNumber::new(40),
            next_rewrite: BufferNumber::new(50),
            next_generation: Generation::new(60),
            files: 70,
            hollow: false,
            open: Vec::new(),
            next: Vec::new(),
        }
    }

    fn check(what: &str, damage: impl FnOnce(&mut [u8]), expected: &NotAMark) {
        let mut raw = sample(4).encode(STORE).to_vec();
        damage(&mut raw);
        assert_eq!(Mark::parse(&raw, STORE).as_ref().err(), Some(expected), "{what}");
    }

    #[test]
    fn a_damaged_mark_is_refused_for_the_right_reason() {
        check("never written", |raw| raw.fill(0), &NotAMark::Zero);
        check("magic", |raw| raw[..4].fill(0), &NotAMark::Magic { found: 0 });
        let unused = |raw: &mut [u8]| {
            raw[100] = 1;
            let crc = crc::of(&[&raw[8..]]);
            raw[4..8].copy_from_slice(&crc.to_le_bytes());
        };
        check("unused byte", unused, &NotAMark::Reserved);
        let intact = sample(4).encode(STORE);
        let stored = u32::from_le_bytes([intact[4], intact[5], intact[6], intact[7]]);
        let computed = stored ^ 1;
        let flip = |raw: &mut [u8]| raw[4] ^= 1;
        check("crc", flip, &NotAMark::Crc { stored: computed, computed: stored });
        assert_eq!(Mark::parse(&intact, 7), Err(NotAMark::Foreign { found: STORE }));
        assert_eq!(Mark::parse(&intact[1..], STORE), Err(NotAMark::Length { found: 4095 }));
    }

    #[test]
    fn the_newest_valid_mark_counts_and_one_damaged_slot_costs_nothing() {
        let (old, new) = (sample(4), sample(5));
        let mut file = [&*old.encode(STORE), &*new.encode(STORE)].concat();
        assert_eq!(Mark::newest(&file, STORE), Ok(new));
        file[Mark::LEN + 20] ^= 1;
        assert_eq!(Mark::newest(&file, STORE), Ok(old.clone()));
        assert_eq!(Mark::newest(&file[..Mark::LEN], STORE), Ok(old));
        file[20] ^= 1;
        assert!(matches!(Mark::newest(&file, STORE), Err(NotAMark::Crc { .. })));
        file[..Mark::LEN].fill(0);
        assert!(matches!(Mark::newest(&file, STORE), Err(NotAMark::Crc { .. })));
        file.fill(0);
        assert_eq!(Mark::newest(&file, STORE), Err(NotAMark::Zero));
        assert_eq!(Mark::newest(&[], STORE), Err(NotAMark::Length { found: 0 }));
    }

    #[test]
    fn a_mark_that_names_no_slot_names_all() {
        let slot = SegmentId::new;
        assert!(sample(1).names(slot(7)));
        let end = SegmentOffset::ZERO;
        let open = OpenSegment { segment: slot(3), end, generation: Generation::ZERO };
        let mark = Mark { open: vec![open], next: vec![slot(5)], ..sample(1) };
        assert_eq!([3, 4, 5, 6].map(|at| mark.names(slot(at))), [true, false, true, false]);
    }

    proptest! {
        #[test]
        fn a_mark_is_read_back_as_written(mark in mark(), store: u64) {
            let raw = mark.encode(store);
            prop_assert_eq!(Mark::parse(&raw, store), Ok(mark.clone()));
            prop_assert_eq!(mark.slot_offset().get(), if mark.ordinal % 2 == 0 { 0 } else { 4096 });
        }

        #[test]
        fn a_mark_with_one_bit_flipped_is_refused(mark in mark(), bit in 0..Mark::LEN * 8) {
            let mut raw = mark.encode(STORE);
            raw[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Mark::parse(&raw, STORE).is_err());
        }

        #[test]
        fn any_bytes_give_an_answer(raw in samples::noise(9000)) {
            prop_assert!(Mark::newest(&raw, STORE).is_err());
        }
    }
}
