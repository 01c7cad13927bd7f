//! Where a power cut tore what recovery is about to read.
//!
//! ```text
//!   segment:  | whole | whole | header, ..., lost sector, ... |
//!                             ^ the walk of recovery ends here
//! ```
//!
//! Definition. A sector of a buffer is *lost* if it holds what was durable before the crash. A
//! buffer is *torn* if some of its sectors are lost and others are not.
//!
//! Only a buffer that recovery comes to counts: everything before it in its segment is whole.
//!
//! Absent on purpose: judging. A tear is no fault of the engine; what it makes of one is judged by
//! the cut of the history that explains the store afterwards.

use std::collections::BTreeMap;

use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::types::BLOCK;
use logstor_io_sim::FileImage;

use crate::plan::{SEGMENT, geometry};
use crate::tally::Tally;

/// All files, by name.
pub(super) type Files = BTreeMap<String, FileImage>;

/// Counts the tears between the durable files before and after a power cut.
pub(super) fn count_tears(before: &Files, after: &Files, sector: u32, tally: &mut Tally) {
    let segments = |name: &str| name.starts_with("segments-") && !name.contains(".new");
    for (name, new) in after.iter().filter(|(name, _)| segments(name)) {
        let Some(old) = before.get(name).filter(|old| *old != new) else { continue };
        for place in 0..new.file_len() / SEGMENT {
            let bytes = |file: &FileImage| {
                let mut bytes = vec![0; usize_of(SEGMENT)];
                file.read(place * SEGMENT, &mut bytes);
                bytes
            };
            let (old, new) = (bytes(old), bytes(new));
            if old != new {
                Torn { old: &old, new: &new, sector: usize_of(sector.into()) }.count(tally);
            }
        }
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("segments of a simulation are small")
}

/// A segment that the crash changed.
struct Torn<'a> {
    old: &'a [u8],
    new: &'a [u8],
    sector: usize,
}

impl Torn<'_> {
    fn count(&self, tally: &mut Tally) {
        let end = usize_of(geometry().data_len().get().into());
        let head = BufferHeader::parse(self.new).ok();
        let mut at = 0;
        while at < end {
            let header = BufferHeader::parse(&self.new[at..]).ok().filter(|header| {
                header.kind.has_records()
                    && head.as_ref().is_some_and(|head| head.generation == header.generation)
            });
            let Some(header) = header else {
                if self.lost_its_header(at, end) {
                    tally.one("tears/first sector");
                }
                return;
            };
            let bytes = &self.new[at..];
            let data = header.records_at().get() + header.records_len.get();
            let whole = header.check_summary(bytes).is_ok() && header.check_records(bytes).is_ok();
            if !whole {
                return self.count_in(at, usize_of(data.into()), header.kind, tally);
            }
            at += usize_of(header.total_len().get().into());
        }
    }

    /// Whether the sector holds what was there before.
    fn is_lost(&self, at: usize) -> bool {
        self.old[at..at + self.sector] == self.new[at..at + self.sector]
    }

    /// Whether a buffer that begins at `at` arrived without its header. What follows the lost
    /// sector belongs to it up to where another buffer begins.
    fn lost_its_header(&self, at: usize, end: usize) -> bool {
        let block = usize_of(BLOCK.into());
        let begins = |at: &usize| at.is_multiple_of(block);
        let another = |at: usize| BufferHeader::parse(&self.new[at..]).is_ok();
        let sectors = (at + self.sector..end).step_by(self.sector);
        let mut own = sectors.take_while(|at| !(begins(at) && another(*at)));
        self.is_lost(at) && own.any(|at| !self.is_lost(at))
    }

    /// Behind the records there is padding, of which nothing can be said.
    fn count_in(&self, at: usize, len: usize, kind: BufferKind, tally: &mut Tally) {
        let sectors = (at..at + len).step_by(self.sector);
        let fates: Vec<bool> = sectors.map(|at| self.is_lost(at)).collect();
        let [first, middle @ .., last] = &fates[..] else { return };
        if fates.iter().all(|lost| *lost) {
            return; // torn by an earlier crash, or by a write that failed
        }
        for (lost, what) in [
            (*first, "tears/first sector"),
            (middle.contains(&true), "tears/middle sector"),
            (*last, "tears/last sector"),
        ] {
            if lost {
                tally.one(what);
            }
        }
        if kind == BufferKind::Rewrite && fates.contains(&true) {
            tally.one("tears/of copies");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 512;

    /// A segment that was empty, and into which a write came of which these sectors got lost.
    fn torn(written: &[u8], lost: &[usize]) -> Tally {
        let old = vec![0; usize_of(SEGMENT)];
        let mut new = old.clone();
        new[..written.len()].copy_from_slice(written);
        for sector in lost {
            new[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
        }
        let mut tally = Tally::default();
        Torn { old: &old, new: &new, sector: SECTOR }.count(&mut tally);
        tally
    }

    /// The first buffers of a store, as the engine wrote them.
    fn written() -> Vec<u8> {
        use logstor_core::{Db, Options};
        use logstor_io_sim::{Outcome, Sim, SimOptions};

        let sim = Sim::new(&SimOptions::new(1));
        let environment = sim.boot();
        let options = Options {
            segment_len: Some(u32::try_from(SEGMENT).unwrap()),
            segments_per_file: Some(4),
            ..Options::default()
        };
        let put = async move {
            let db = Db::open(environment, options).await.unwrap();
            let group = db.group("a").await.unwrap();
            group.put("key", vec![7; 3000]).await.unwrap();
        };
        assert!(matches!(sim.run(put), Outcome::Done(())));
        let segment = sim.raw().read("segments-000000.log", 0..SEGMENT).unwrap();
        let whole = (0..segment.len()).step_by(4096).take_while(|&at| {
            BufferHeader::parse(&segment[at..]).is_ok_and(|header| header.kind.has_records())
        });
        let end = whole.count() * 4096;
        segment[..end].to_vec()
    }

    #[test]
    fn a_tear_is_found_where_it_is() {
        let written = written();
        assert!(written.len() >= 8192, "a buffer for the group and one for the key");
        let second = 4096 / SECTOR;
        let header = BufferHeader::parse(&written[4096..]).unwrap();
        let data = header.records_at().get() + header.records_len.get();
        let last = second + usize_of(u64::from(data)).div_ceil(SECTOR) - 1;
        let has = |lost: &[usize], what: &str| torn(&written, lost).get(what) == 1;
        let none = |lost: &[usize]| torn(&written, lost).iter().next().is_none();
        assert!(none(&[]));
        assert!(has(&[second], "tears/first sector"));
        assert!(has(&[second + 3], "tears/middle sector"));
        assert!(!has(&[second + 3], "tears/last sector"));
        assert!(has(&[last], "tears/last sector"));
        assert!(!has(&[last], "tears/middle sector"));
        let all: Vec<usize> = (second..written.len() / SECTOR).collect();
        assert!(none(&all), "a write that did not happen is no tear");
    }
}
