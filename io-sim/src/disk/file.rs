//! One file: what is durable, what is current, and the history in between.
//!
//! ```text
//!   durable content ── entry ── entry ── entry ──> current content
//!                      (the log: completed, not yet synced, oldest first)
//! ```
//!
//! 1. `current` is `durable` with every entry of the log applied in order.
//! 2. A sync moves the entries that it covers from the log into `durable`.
//! 3. A failed sync either empties the log (the data is dropped), or *taints* it: a tainted entry
//!    stays readable and is never moved into `durable` by a sync; only a crash decides about it.
//! 4. What a sync made durable hides every older tainted entry, sector by sector.
//! 5. At a power cut each sector of each entry lands or not; the last one that landed is what the
//!    sector holds. So a sector keeps the durable version or any newer one.
//!
//! Lengths are history too: an entry may change the length, and that lands or not by itself.
//!
//! Absent on purpose: writes in flight. They belong to the device and arrive here when they land.

use std::io;
use std::mem;

use logstor_core::types::{to_u64, to_usize};

use super::crash::Decider;
use super::pages::{Chunk, Pages};

#[derive(Clone, Debug, Default)]
pub(crate) struct FileBody {
    current: Pages,
    len: u64,
    durable: Pages,
    durable_len: u64,
    // Invariant: in the order of `seq`.
    log: Vec<Entry>,
}

/// A write or a change of length that completed and is not durable.
#[derive(Clone, Debug)]
struct Entry {
    seq: u64,
    at: u64,
    chunks: Vec<Chunk>,
    // Invariant: as many as the write has sectors. `None`: all of them.
    live: Option<Vec<bool>>,
    sector: u32,
    sectors: usize,
    len_after: Option<u64>,
    tainted: bool,
}

/// A write that has reached the device, wholly or in part.
#[derive(Clone, Debug)]
pub(crate) struct Landing<'a> {
    pub(crate) at: u64,
    pub(crate) bytes: &'a [u8],
    /// Which of its sectors arrived; `None`: all.
    pub(crate) live: Option<Vec<bool>>,
    /// It will not become durable by a sync.
    pub(crate) tainted: bool,
}

impl FileBody {
    /// A file with this content, all of it durable.
    pub(crate) fn at_rest(content: Pages, len: u64) -> Self {
        Self { current: content.clone(), len, durable: content, durable_len: len, log: Vec::new() }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The content as a reader sees it.
    pub(crate) const fn content(&self) -> &Pages {
        &self.current
    }

    /// Whether everything in it is durable.
    pub(crate) fn is_clean(&self) -> bool {
        self.log.is_empty()
    }

    /// Reads the current content.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let end = at.checked_add(to_u64(into.len()));
        if end.is_none_or(|end| end > self.len) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.current.read(at, into);
        Ok(())
    }

    /// A write arrives.
    pub(crate) fn land(&mut self, seq: u64, sector: u32, landing: Landing<'_>) {
        let Landing { at, bytes, live, tainted } = landing;
        let mut entry = Entry::new(seq, sector, at, Chunk::cut(at, bytes), bytes.len());
        entry.live = live;
        entry.tainted = tainted;
        let end = entry.live_end();
        if end > self.len {
            entry.len_after = Some(end);
            self.len = end;
        }
        entry.apply(&mut self.current);
        self.log.push(entry);
    }

    /// The file becomes `len` bytes long; a new part reads as zeros.
    pub(crate) fn resize(&mut self, seq: u64, sector: u32, len: u64) {
        let mut entry = Entry::new(seq, sector, len, Vec::new(), 0);
        if len < self.len {
            let start = len - len % u64::from(sector);
            let end = self.current.end().max(self.durable.end()).max(start);
            let span = usize::try_from(end - start).expect("content fits memory");
            let mut tail = vec![0; span];
            let kept = usize::try_from(len - start).expect("less than a sector").min(span);
            self.current.read(start, &mut tail[..kept]);
            entry = Entry::new(seq, sector, start, Chunk::cut(start, &tail), span);
            entry.apply(&mut self.current);
        }
        entry.len_after = Some(len);
        self.len = len;
        self.log.push(entry);
    }

    /// What completed up to `upto` becomes durable, unless tainted.
    pub(crate) fn sync(&mut self, upto: u64) {
        for entry in mem::take(&mut self.log) {
            if entry.tainted || entry.seq > upto {
                self.log.push(entry);
                continue;
            }
            entry.apply(&mut self.durable);
            let grown = self.durable_len.max(entry.live_end());
            self.durable_len = entry.len_after.unwrap_or(grown);
            if self.durable_len < grown {
                self.durable.cut_off(self.durable_len);
            }
            for older in &mut self.log {
                older.hide_behind(&entry);
            }
        }
    }

    /// A sync failed and the data stays readable.
    pub(crate) fn taint(&mut self) {
        for entry in &mut self.log {
            entry.tainted = true;
        }
    }

    /// A sync failed and the data is gone; the length stays, and is never durable by itself.
    pub(crate) fn drop_unsynced(&mut self) {
        self.current = self.durable.clone();
        self.log.retain_mut(|entry| {
            entry.forget_data();
            entry.tainted = true;
            entry.len_after.is_some()
        });
        // What lies behind the end is nobody's, and reads as zeros when the file grows again.
        self.current.cut_off(self.len);
    }

    /// The cache is lost.
    pub(crate) fn cut_power(&mut self, decider: &mut Decider<'_>) {
        for mut entry in mem::take(&mut self.log) {
            let fate = decider.sectors(entry.seq, entry.sectors);
            entry.mask(&fate);
            entry.apply(&mut self.durable);
            if let Some(len) = entry.len_after
                && decider.length()
            {
                self.durable_len = len;
            }
        }
        self.durable.cut_off(self.durable_len);
        self.current = self.durable.clone();
        self.len = self.durable_len;
    }

    /// The writes that a crash will decide about: sequence and number of sectors.
    pub(crate) fn undecided(&self) -> impl Iterator<Item = (u64, usize)> {
        self.log.iter().map(|entry| (entry.seq, entry.sectors))
    }

    /// Everything becomes durable and may then be changed at rest by `change`.
    pub(crate) fn alter(&mut self, change: impl FnOnce(&mut Pages, &mut u64)) {
        self.log.clear();
        change(&mut self.current, &mut self.len);
        self.current.cut_off(self.len);
        self.durable = self.current.clone();
        self.durable_len = self.len;
    }
}

impl Entry {
    fn new(seq: u64, sector: u32, at: u64, chunks: Vec<Chunk>, len: usize) -> Self {
        let sectors = len.div_ceil(to_usize(sector));
        Self { seq, at, chunks, live: None, sector, sectors, len_after: None, tainted: false }
    }

    fn is_live(&self, sector: usize) -> bool {
        self.live.as_ref().is_none_or(|live| live[sector])
    }

    /// Where its last sector that arrived ends; 0 without any.
    fn live_end(&self) -> u64 {
        let last = (0..self.sectors).rev().find(|&sector| self.is_live(sector));
        last.map_or(0, |last| self.at + (to_u64(last) + 1) * u64::from(self.sector))
    }

    fn apply(&self, to: &mut Pages) {
        let size = to_usize(self.sector);
        for chunk in &self.chunks {
            let Some(live) = &self.live else {
                to.put(chunk);
                continue;
            };
            let first = usize::try_from((chunk.at() - self.at) / u64::from(self.sector))
                .expect("a write fits memory");
            for (sector, from) in (first..).zip((0..chunk.len()).step_by(size)) {
                if live[sector] {
                    to.put_part(chunk, from, size.min(chunk.len() - from));
                }
            }
        }
    }

    fn mask(&mut self, keep: &[bool]) {
        let live = self.live.get_or_insert_with(|| vec![true; self.sectors]);
        for (live, keep) in live.iter_mut().zip(keep) {
            *live &= keep;
        }
    }

    fn forget_data(&mut self) {
        self.chunks.clear();
        self.live = None;
        self.sectors = 0;
    }

    /// `newer` became durable: whatever this one wrote there is history.
    fn hide_behind(&mut self, newer: &Self) {
        let sector = u64::from(self.sector);
        let keep: Vec<bool> = (0..self.sectors)
            .map(|own| {
                let at = self.at + to_u64(own) * sector;
                let hidden = at
                    .checked_sub(newer.at)
                    .and_then(|distance| usize::try_from(distance / sector).ok())
                    .is_some_and(|theirs| theirs < newer.sectors && newer.is_live(theirs));
                !hidden
            })
            .collect();
        self.mask(&keep);
        self.len_after = match newer.len_after {
            Some(_) => None,
            None => self.len_after.map(|len| len.max(newer.live_end())),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::crash::SectorBias;
    use super::*;
    use crate::rng::SimRng;

    const SECTOR: u32 = 512;

    fn write(file: &mut FileBody, seq: u64, at: u64, byte: u8) {
        let landing = Landing { at, bytes: &[byte; 1024], live: None, tainted: false };
        file.land(seq, SECTOR, landing);
    }

    fn bytes(file: &FileBody) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.len()).unwrap()];
        file.read(0, &mut bytes).unwrap();
        bytes.chunks(to_usize(SECTOR)).map(|sector| sector[0]).collect()
    }

    fn after_cut(file: &FileBody, bias: SectorBias) -> Vec<u8> {
        let mut rng = SimRng::new(1, "test");
        let mut file = file.clone();
        let mut decider = Decider::new(&mut rng, bias, file.undecided().collect());
        file.cut_power(&mut decider);
        assert!(file.is_clean());
        bytes(&file)
    }

    #[test]
    fn a_sync_covers_what_completed_before_it_began() {
        let mut file = FileBody::default();
        write(&mut file, 1, 0, 1);
        write(&mut file, 2, 0, 2);
        file.sync(1);
        assert_eq!(bytes(&file), [2, 2]);
        assert_eq!(after_cut(&file, SectorBias::None), [1, 1]);
        assert_eq!(after_cut(&file, SectorBias::All), [2, 2]);
        assert_eq!(after_cut(&file, SectorBias::OnlyFirst), [2, 1]);
        assert_eq!(after_cut(&file, SectorBias::AllButFirst), [1, 2]);
    }

    #[test]
    fn a_tainted_write_never_becomes_durable_by_a_sync() {
        let mut file = FileBody::default();
        write(&mut file, 1, 0, 1);
        file.sync(1);
        write(&mut file, 2, 0, 2);
        file.taint();
        file.sync(2);
        assert_eq!(bytes(&file), [2, 2]);
        assert_eq!(after_cut(&file, SectorBias::None), [1, 1]);
        // A fresh write to the second sector hides the tainted one there, and only there.
        write(&mut file, 3, 512, 3);
        file.sync(3);
        assert_eq!(after_cut(&file, SectorBias::None), [1, 3, 3]);
        assert_eq!(after_cut(&file, SectorBias::All), [2, 3, 3]);
    }

    #[test]
    fn dropped_data_is_gone_at_once() {
        let mut file = FileBody::default();
        write(&mut file, 1, 0, 1);
        file.sync(1);
        write(&mut file, 2, 512, 2);
        file.drop_unsynced();
        assert_eq!(bytes(&file), [1, 1, 0]);
        file.sync(2);
        assert_eq!(after_cut(&file, SectorBias::None), [1, 1]);
        write(&mut file, 3, 0, 3);
        file.sync(3);
        assert_eq!(after_cut(&file, SectorBias::None), [3, 3]);
    }

    #[test]
    fn a_length_is_durable_with_the_sync_and_not_before() {
        let mut file = FileBody::default();
        file.resize(1, SECTOR, 2048);
        assert_eq!(bytes(&file), [0; 4]);
        assert_eq!(after_cut(&file, SectorBias::None), []);
        assert_eq!(after_cut(&file, SectorBias::All), [0; 4]);
        file.sync(1);
        assert_eq!(after_cut(&file, SectorBias::None), [0; 4]);
    }

    #[test]
    fn a_file_that_shrank_and_grew_reads_as_zeros() {
        let mut file = FileBody::default();
        write(&mut file, 1, 0, 1);
        file.resize(2, SECTOR, 700);
        file.resize(3, SECTOR, 1024);
        let mut content = [9; 1024];
        file.read(0, &mut content).unwrap();
        assert!(content[..700].iter().all(|&byte| byte == 1));
        assert!(content[700..].iter().all(|&byte| byte == 0));
        assert!(file.read(512, &mut content).is_err());
    }

    #[test]
    fn a_tainted_length_cannot_cut_what_was_synced_later() {
        let mut file = FileBody::default();
        write(&mut file, 1, 0, 1);
        file.sync(1);
        file.resize(2, SECTOR, 512);
        file.taint();
        write(&mut file, 3, 512, 3);
        file.sync(3);
        for bias in SectorBias::EVERY {
            assert_eq!(after_cut(&file, bias)[1..], [3, 3], "{bias:?}");
        }
    }

    #[test]
    fn what_a_crash_left_behind_the_end_is_zero_when_the_file_grows_again() {
        for bias in SectorBias::EVERY {
            for seed in 0..20 {
                let mut file = FileBody::default();
                write(&mut file, 1, 0, 1);
                let mut rng = SimRng::new(seed, "test");
                let undecided = file.undecided().collect();
                file.cut_power(&mut Decider::new(&mut rng, bias, undecided));
                let len = bytes(&file).len();
                file.resize(2, SECTOR, 2048);
                assert!(bytes(&file)[len..].iter().all(|&byte| byte == 0), "{bias:?}");
            }
        }
    }
}
