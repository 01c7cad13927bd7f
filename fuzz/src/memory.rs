//! What code under test allocates: the system's allocator, with a count for each thread.
//!
//! 1. A count concerns the thread that asks for it, so tests that run side by side do not disturb
//!    each other.
//! 2. Counting allocates nothing.
//!
//! Absent on purpose: a limit that the allocator enforces. It would end the process without a
//! word; here a law is broken, and says by how much.

#![expect(unsafe_code, reason = "an allocator is unsafe by its nature; this one hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<Count> = const { Cell::new(Count { live: 0, peak: 0, largest: 0 }) };
}

#[derive(Clone, Copy, Debug)]
struct Count {
    live: i64,
    peak: i64,
    largest: i64,
}

/// What was allocated while something ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// The most bytes at one moment, beyond those before.
    pub(crate) peak: i64,
    /// The largest piece.
    pub(crate) largest: i64,
}

/// Runs `code` and says what it allocated on this thread.
pub(crate) fn used<T>(code: impl FnOnce() -> T) -> (T, Used) {
    let before = COUNT.get().live;
    COUNT.set(Count { live: before, peak: before, largest: 0 });
    let output = code();
    let count = COUNT.get();
    (output, Used { peak: count.peak - before, largest: count.largest })
}

fn count(change: i64, asked: usize) {
    // A thread that is about to end counts no more.
    let _ = COUNT.try_with(|cell| {
        let mut count = cell.get();
        count.live += change;
        count.peak = count.peak.max(count.live);
        count.largest = count.largest.max(signed(asked));
        cell.set(count);
    });
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is handed on as it is, and what the system's allocator gives is handed back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()), layout.size());
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()), layout.size());
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()), 0);
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count(signed(len) - signed(layout.size()), len);
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.realloc(at, layout, len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_counted_and_what_was_freed_is_not() {
        let (_, used) = used(|| {
            drop(vec![1_u8; 3 << 20]);
            vec![1_u8; 2 << 20]
        });
        assert_eq!((used.peak, used.largest), (3 << 20, 3 << 20));
    }
}
