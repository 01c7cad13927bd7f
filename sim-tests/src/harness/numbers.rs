//! Numbers of log buffers, as the disk shows them after each crash: none is given out twice.
//!
//! A buffer that is written again elsewhere keeps its number, and what is in it. So a number whose
//! first sequence differs from what it once was stands for another buffer: one that was void, in
//! most cases, whose header the disk may show again.
//!
//! A crash shows what the next recovery will see. What an earlier one showed and the last one did
//! not may have gone with the power before a recovery had come to its end: nobody knows of it. Nor
//! does anybody of what a failed sync left readable, if it goes before somebody looks.
//!
//! Absent on purpose: what lies in a slot whose head block is of another life, or void: it counts
//! for nothing (seed 30320: a recovery that was cut short had made the head void). Buffers that no
//! crash found. And only one seed in four is looked at: to look takes longer than the crash.

use std::collections::BTreeMap;

use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::types::BLOCK;

use super::Run;
use crate::plan::{Mode, SEGMENT};

/// Of so many seeds one is looked at.
const ONE_OF: u64 = 4;

/// The first sequence of every log buffer that the last crash showed, by its number.
pub(super) type Numbers = BTreeMap<u64, u64>;

impl Run {
    /// Looks at what a crash left.
    pub(super) fn note_numbers(&mut self) {
        let failed = self.sim.fault_counts().all_syncs() > 0;
        let damaged = self.plan.mode == Mode::Damage;
        if !self.plan.seed.is_multiple_of(ONE_OF) || failed || damaged {
            return;
        }
        let before = std::mem::take(&mut self.numbers);
        let raw = self.sim.raw();
        let segments = raw.list().into_iter().filter(|entry| entry.name.starts_with("segments-"));
        for entry in segments.filter(|entry| !entry.name.contains(".new")) {
            let header = |at: u64| {
                let head = raw.read(&entry.name, at..at + HEAD).ok()?;
                BufferHeader::parse(&head).ok()
            };
            let slots = (0..entry.len).step_by(to_usize(SEGMENT));
            let heads = slots.filter_map(|slot| Some((slot, header(slot)?)));
            let heads = heads.filter(|(_, head)| head.kind != BufferKind::Void);
            let lives = heads.map(|(slot, head)| (slot, head.generation));
            let blocks = lives.flat_map(|(slot, life)| {
                let blocks = (slot..slot + SEGMENT).step_by(to_usize(BLOCK.into()));
                blocks.filter_map(header).filter(move |header| header.generation == life)
            });
            for header in blocks.filter(|header| header.kind == BufferKind::Log) {
                let (number, first) = (header.number.get(), header.first_sequence.get());
                let known = *self.numbers.entry(number).or_insert(first);
                let known = before.get(&number).copied().unwrap_or(known);
                if known != first {
                    self.ledger.fail(format!(
                        "number {number} was given to two buffers: of sequences from {known} on, \
                         and from {first} on"
                    ));
                    return;
                }
            }
        }
    }
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("lengths of a simulation are small")
}

/// Bytes that hold a header.
const HEAD: u64 = 512;
