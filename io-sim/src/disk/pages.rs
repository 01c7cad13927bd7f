//! The bytes of a file: sparse, shared until written, cheap to copy.
//!
//! Content is held in pages of 4 KiB. A page that is all zeros is not there at all. Pages are
//! shared between the durable and the current content of a file, between the history of unsynced
//! writes, and between forks of a disk: a copy of a disk copies pointers.
//!
//! Absent on purpose: a length. A file knows how long it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use logstor_core::types::to_u64;

/// Bytes in a page.
const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;
static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Sparse content, zero where nothing else is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    // Invariant: every page has `PAGE` bytes.
    pages: BTreeMap<u64, Arc<[u8]>>,
}

/// A piece of a write within one page.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    at: u64,
    len: usize,
    // `None` stands for zeros.
    bytes: Option<Arc<[u8]>>,
}

impl Chunk {
    /// `bytes`, to be written at `at`, cut at the pages.
    pub(crate) fn cut(at: u64, bytes: &[u8]) -> Vec<Self> {
        let mut chunks = Vec::with_capacity(bytes.len() / PAGE_BYTES + 1);
        each_page(at, bytes.len(), |at, from, len| {
            let piece = &bytes[from..from + len];
            let zero = *piece == ZEROS[..len];
            chunks.push(Self { at, len, bytes: (!zero).then(|| Arc::from(piece)) });
        });
        chunks
    }

    /// `len` zeros, to be written at `at`, cut at the pages.
    pub(crate) fn zeros(at: u64, len: usize) -> Vec<Self> {
        let mut chunks = Vec::with_capacity(len / PAGE_BYTES + 1);
        each_page(at, len, |at, _, len| chunks.push(Self { at, len, bytes: None }));
        chunks
    }

    /// Where in the file it begins.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// How many bytes it has.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    fn slice(&self, from: usize, len: usize) -> &[u8] {
        match &self.bytes {
            Some(bytes) => &bytes[from..from + len],
            None => &ZEROS[..len],
        }
    }
}

impl Pages {
    /// Fills `into` with the bytes from `at` on.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) {
        each_page(at, into.len(), |at, from, len| {
            let piece = &mut into[from..from + len];
            match self.pages.get(&(at / PAGE)) {
                Some(page) => {
                    let inner = within_page(at);
                    piece.copy_from_slice(&page[inner..inner + len]);
                }
                None => piece.fill(0),
            }
        });
    }

    /// Writes `bytes` at `at`.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        for chunk in Chunk::cut(at, bytes) {
            self.put(&chunk);
        }
    }

    /// Writes a chunk; a whole page is shared, not copied.
    pub(crate) fn put(&mut self, chunk: &Chunk) {
        if chunk.len < PAGE_BYTES {
            self.put_part(chunk, 0, chunk.len);
            return;
        }
        let page = chunk.at / PAGE;
        match &chunk.bytes {
            Some(bytes) => self.pages.insert(page, Arc::clone(bytes)),
            None => self.pages.remove(&page),
        };
    }

    /// Writes `len` bytes of a chunk, from its byte `from` on.
    pub(crate) fn put_part(&mut self, chunk: &Chunk, from: usize, len: usize) {
        let at = chunk.at + to_u64(from);
        let page = at / PAGE;
        if chunk.bytes.is_none() && !self.pages.contains_key(&page) {
            return;
        }
        let inner = within_page(at);
        let page = self.pages.entry(page).or_insert_with(|| Arc::from(&ZEROS[..]));
        Arc::make_mut(page)[inner..inner + len].copy_from_slice(chunk.slice(from, len));
    }

    /// Makes everything from `len` on zero.
    pub(crate) fn cut_off(&mut self, len: u64) {
        drop(self.pages.split_off(&len.div_ceil(PAGE)));
        if let Some(page) = self.pages.get_mut(&(len / PAGE)) {
            Arc::make_mut(page)[within_page(len)..].fill(0);
        }
    }

    /// Where the last byte that may differ from zero ends.
    pub(crate) fn end(&self) -> u64 {
        self.pages.last_key_value().map_or(0, |(page, _)| (page + 1) * PAGE)
    }
}

/// Calls `visit(position, offset in the range, length)` for the part of the range in each page.
fn each_page(at: u64, len: usize, mut visit: impl FnMut(u64, usize, usize)) {
    let mut from = 0;
    while from < len {
        let position = at + to_u64(from);
        let room = PAGE_BYTES - within_page(position);
        let step = room.min(len - from);
        visit(position, from, step);
        from += step;
    }
}

fn within_page(at: u64) -> usize {
    usize::try_from(at % PAGE).expect("a page is shorter than memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pages: &Pages, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; len];
        pages.read(0, &mut bytes);
        bytes
    }

    #[test]
    fn what_was_written_is_read_across_pages() {
        let mut pages = Pages::default();
        let mut model = vec![0; 20_000];
        for (at, len, byte) in [(512, 512, 1), (3584, 9000, 2), (4096, 4096, 0), (8191, 2, 3)] {
            let bytes = vec![byte; len];
            pages.write(to_u64(at), &bytes);
            model[at..at + len].copy_from_slice(&bytes);
        }
        assert_eq!(all(&pages, 20_000), model);
        pages.cut_off(5000);
        pages.cut_off(4200);
        model[4200..].fill(0);
        assert_eq!(all(&pages, 20_000), model);
    }

    #[test]
    fn zeros_take_no_room_and_copies_share_their_pages() {
        let mut pages = Pages::default();
        pages.write(0, &vec![0; 100_000]);
        assert_eq!(pages.end(), 0);
        pages.write(4096, &[7; 4096]);
        let copy = pages.clone();
        assert!(Arc::ptr_eq(&pages.pages[&1], &copy.pages[&1]));
        pages.write(4096, &[8; 512]);
        assert_eq!(all(&copy, 8192)[4096], 7);
        assert_eq!(all(&pages, 8192)[4096], 8);
    }
}
