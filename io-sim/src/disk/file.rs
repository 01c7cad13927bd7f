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
//! Lengths are history too: an entry may change the length, and that lands or not by itself. So is
//! room, which is given and taken at once, and durably so as if it were bytes:
//!
//! 6. At a power cut a punched block gives its room back if all its sectors landed.
//! 7. What a tainted entry did to room is undone by a power cut, but what landed has its room.
//! 8. The holes of `current` and of `durable` lie within their lengths and read as zeros.
//!
//! Absent on purpose: writes in flight. They belong to the device and arrive here when they land.

use std::io;
use std::mem;
use std::ops::Range;

use logstor_core::types::{to_u64, to_usize};

use super::bad::BadSectors;
use super::crash::Decider;
use super::holes::Holes;
use super::pages::{Chunk, Pages};

#[derive(Clone, Debug, Default)]
pub(crate) struct FileBody {
    current: Pages,
    len: u64,
    holes: Holes,
    bad: BadSectors,
    durable: Pages,
    durable_len: u64,
    durable_holes: Holes,
    durable_bad: BadSectors,
    // Invariant: in the order of `seq`.
    log: Vec<Entry>,
}

/// A write, a punch, or a change of length or room that completed and is not durable.
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
    room: Room,
    tainted: bool,
}

/// What an entry does to the room of its sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// They take it: a write.
    Takes,
    /// They give it back: a punch.
    Gives,
    /// They take it and stay as they are: an allocation.
    Reserves,
    /// All of the file takes it, with the new length: a preallocation.
    ReservesAll,
    /// What is cut off has none any more: a shrink.
    Keeps,
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

/// A punch or a reservation that has reached the device, wholly or in part.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) range: Range<u64>,
    /// Which of its sectors arrived; `None`: all.
    pub(crate) live: Option<Vec<bool>>,
    /// It will not become durable by a sync.
    pub(crate) tainted: bool,
}

impl FileBody {
    /// A file with this content, all of it durable and holding its room.
    pub(crate) fn at_rest(content: Pages, len: u64) -> Self {
        Self::with_holes(content, len, Holes::default())
    }

    /// A file with this content, all of it durable. The holes read as zeros.
    pub(crate) fn with_holes(content: Pages, len: u64, holes: Holes) -> Self {
        Self {
            current: content.clone(),
            len,
            holes: holes.clone(),
            bad: BadSectors::default(),
            durable: content,
            durable_len: len,
            durable_holes: holes,
            durable_bad: BadSectors::default(),
            log: Vec::new(),
        }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The content as a reader sees it.
    pub(crate) const fn content(&self) -> &Pages {
        &self.current
    }

    /// The blocks that hold no room.
    pub(crate) const fn holes(&self) -> &Holes {
        &self.holes
    }

    /// The sectors that cannot be read.
    pub(crate) const fn bad(&self) -> &BadSectors {
        &self.bad
    }

    /// A sector goes bad, unless what it holds is still in the cache; whether it did.
    pub(crate) fn spoil(&mut self, number: u64, sector: u32) -> bool {
        let at = number * u64::from(sector);
        let cached = |entry: &Entry| entry.covers(at);
        if self.log.iter().any(cached) {
            return false;
        }
        self.durable_bad.add(number);
        self.bad.add(number)
    }

    /// Bytes that it holds on the device.
    pub(crate) fn held(&self) -> u64 {
        self.len - self.holes.bytes()
    }

    /// Bytes of room that it takes to write all of `range`.
    pub(crate) fn needs(&self, range: &Range<u64>) -> u64 {
        range.end.saturating_sub(self.len).saturating_add(self.holes.touched(range))
    }

    /// Whether everything in it is durable.
    pub(crate) fn is_clean(&self) -> bool {
        self.log.is_empty()
    }

    /// Changes of its content that a sync would make durable.
    pub(crate) fn unsynced(&self) -> usize {
        self.log.iter().filter(|entry| !entry.tainted && !entry.chunks.is_empty()).count()
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

    /// Reads what the last sync left, as far as the file reached then; what lies behind is not
    /// touched.
    pub(crate) fn read_synced(&self, at: u64, into: &mut [u8]) {
        let there = self.durable_len.saturating_sub(at);
        let len = usize::try_from(there).unwrap_or(usize::MAX).min(into.len());
        self.durable.read(at, &mut into[..len]);
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
        entry.apply_room(&mut self.holes);
        entry.heal(&mut self.bad);
        self.log.push(entry);
    }

    /// A punch arrives, with these of its sectors. What lies behind the end is passed over.
    pub(crate) fn punch(&mut self, seq: u64, sector: u32, arrival: Arrival) {
        let Arrival { range, live, tainted } = arrival;
        let len = usize::try_from(range.end - range.start).expect("a punch fits memory");
        let mut entry = Entry::new(seq, sector, range.start, Chunk::zeros(range.start, len), len);
        entry.live = live;
        entry.room = Room::Gives;
        entry.tainted = tainted;
        entry.apply(&mut self.current);
        entry.apply_room(&mut self.holes);
        entry.heal(&mut self.bad);
        self.holes.cut_off(self.len);
        self.log.push(entry);
    }

    /// The sectors of `range` take room, all or these; their content stays.
    pub(crate) fn reserve(&mut self, seq: u64, sector: u32, arrival: Arrival) {
        let Arrival { range, live, tainted } = arrival;
        let len = usize::try_from(range.end - range.start).expect("a reservation fits memory");
        let mut entry = Entry::new(seq, sector, range.start, Vec::new(), len);
        entry.live = live;
        entry.room = Room::Reserves;
        entry.tainted = tainted;
        entry.apply_room(&mut self.holes);
        self.log.push(entry);
    }

    /// The file becomes `len` bytes long; a new part reads as zeros. All of it takes room.
    pub(crate) fn preallocate(&mut self, seq: u64, sector: u32, len: u64) {
        self.resize(seq, sector, len, Room::ReservesAll);
    }

    /// The file becomes `len` bytes long, unless it is shorter.
    pub(crate) fn shrink(&mut self, seq: u64, sector: u32, len: u64) {
        if len < self.len {
            self.resize(seq, sector, len, Room::Keeps);
        }
    }

    fn resize(&mut self, seq: u64, sector: u32, len: u64, room: Room) {
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
            self.bad.cut_off(len, sector);
        }
        entry.len_after = Some(len);
        entry.room = room;
        entry.apply_room(&mut self.holes);
        self.len = len;
        self.holes.cut_off(len);
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
            entry.apply_room(&mut self.durable_holes);
            entry.heal(&mut self.durable_bad);
            let grown = self.durable_len.max(entry.live_end());
            self.durable_len = entry.len_after.unwrap_or(grown);
            if self.durable_len < grown {
                self.durable.cut_off(self.durable_len);
                self.durable_bad.cut_off(self.durable_len, entry.sector);
            }
            self.durable_holes.cut_off(self.durable_len);
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
        for entry in &mut self.log {
            entry.tainted = true;
        }
        self.evict(|| true);
    }

    /// Of the tainted data that is readable, what `goes` is so no longer; the length stays, and is
    /// never durable by itself.
    pub(crate) fn evict(&mut self, mut goes: impl FnMut() -> bool) {
        self.current = self.durable.clone();
        self.holes = self.durable_holes.clone();
        self.bad = self.durable_bad.clone();
        for mut entry in mem::take(&mut self.log) {
            if entry.tainted && goes() {
                entry.forget_data();
            } else {
                entry.apply(&mut self.current);
                entry.apply_room(&mut self.holes);
                entry.heal(&mut self.bad);
            }
            if entry.sectors > 0 || entry.len_after.is_some() || !entry.tainted {
                self.log.push(entry);
            }
        }
        // What lies behind the end is nobody's, and reads as zeros when the file grows again.
        self.current.cut_off(self.len);
        self.holes.cut_off(self.len);
    }

    /// The cache is lost.
    pub(crate) fn cut_power(&mut self, decider: &mut Decider<'_>) {
        for mut entry in mem::take(&mut self.log) {
            let fate = decider.sectors(entry.seq, entry.sectors);
            entry.mask(&fate);
            entry.apply(&mut self.durable);
            entry.heal(&mut self.durable_bad);
            let mut lands = true;
            if let Some(len) = entry.len_after {
                lands = decider.length(entry.seq);
                self.durable_len = if lands { len } else { self.durable_len };
            }
            let counts = match entry.room {
                Room::Takes => true,
                Room::Gives | Room::Reserves | Room::Keeps => !entry.tainted,
                Room::ReservesAll => !entry.tainted && lands,
            };
            if counts {
                entry.apply_room(&mut self.durable_holes);
            }
        }
        self.durable.cut_off(self.durable_len);
        self.durable_holes.cut_off(self.durable_len);
        self.current = self.durable.clone();
        self.len = self.durable_len;
        self.holes = self.durable_holes.clone();
        self.bad = self.durable_bad.clone();
    }

    /// The writes that a crash will decide about: sequence and number of sectors.
    pub(crate) fn undecided(&self) -> impl Iterator<Item = (u64, usize)> {
        self.log.iter().map(|entry| (entry.seq, entry.sectors))
    }

    /// Everything becomes durable and may then be changed at rest by `change`, which takes the
    /// room that it needs.
    pub(crate) fn alter(&mut self, change: impl FnOnce(&mut Pages, &mut u64, &mut Holes)) {
        self.log.clear();
        change(&mut self.current, &mut self.len, &mut self.holes);
        self.current.cut_off(self.len);
        self.holes.cut_off(self.len);
        self.durable = self.current.clone();
        self.durable_len = self.len;
        self.durable_holes = self.holes.clone();
    }
}

impl Entry {
    fn new(seq: u64, sector: u32, at: u64, chunks: Vec<Chunk>, len: usize) -> Self {
        let sectors = len.div_ceil(to_usize(sector));
        let (live, len_after, room) = (None, None, Room::Takes);
        Self { seq, at, chunks, live, sector, sectors, len_after, room, tainted: false }
    }

    fn is_live(&self, sector: usize) -> bool {
        self.live.as_ref().is_none_or(|live| live[sector])
    }

    /// Where its last sector that arrived ends; 0 without any, and of what keeps the length.
    fn live_end(&self) -> u64 {
        if matches!(self.room, Room::Gives | Room::Reserves) {
            return 0;
        }
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

    /// Whether it has something for the sector at `at`, other than room.
    fn covers(&self, at: u64) -> bool {
        let sector = at.checked_sub(self.at).map(|distance| distance / u64::from(self.sector));
        let sector = sector.and_then(|sector| usize::try_from(sector).ok());
        let within = sector.filter(|&sector| sector < self.sectors);
        self.room != Room::Reserves && within.is_some_and(|sector| self.is_live(sector))
    }

    /// What it wrote can be read again.
    fn heal(&self, bad: &mut BadSectors) {
        if self.room != Room::Reserves {
            self.runs().for_each(|run| bad.written(&run, self.sector));
        }
    }

    fn apply_room(&self, holes: &mut Holes) {
        match self.room {
            Room::Takes | Room::Reserves => self.runs().for_each(|run| holes.take(&run)),
            Room::Gives => self.runs().for_each(|run| holes.give(&run)),
            Room::ReservesAll => holes.clear(),
            Room::Keeps => {}
        }
    }

    /// Where the sectors lie that arrived, as ranges of the file with gaps in between.
    fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let sector = u64::from(self.sector);
        let mut next = 0;
        std::iter::from_fn(move || {
            let first = (next..self.sectors).find(|&one| self.is_live(one))?;
            next = (first..self.sectors).find(|&one| !self.is_live(one)).unwrap_or(self.sectors);
            Some(self.at + to_u64(first) * sector..self.at + to_u64(next) * sector)
        })
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
        self.room = Room::Keeps;
    }

    /// `newer` became durable: whatever this one wrote there is history.
    fn hide_behind(&mut self, newer: &Self) {
        if newer.room == Room::Reserves {
            return;
        }
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
mod tests;
