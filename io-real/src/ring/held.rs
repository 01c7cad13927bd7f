//! One submission for all that a thread begins together.
//!
//! A system call hands over whatever is in the submission queue; so many transfers need only one,
//! if it comes last. Which rings have something for it, each thread notes for itself.
//!
//! 1. Whatever is held back is submitted when the outermost [`together`] ends, also by a panic.
//! 2. What others submit meanwhile may take it along: it is held back to save calls, not to wait.
//!
//! Absent on purpose: holding anything back beyond one poll.

use std::cell::RefCell;
use std::sync::Arc;

/// Something with transfers to submit.
pub(super) trait Submit {
    /// Submits them.
    fn submit(self: Arc<Self>);
}

thread_local! {
    // None outside of `together`. No one is in it twice.
    static HELD: RefCell<Option<Vec<Arc<dyn Submit>>>> = const { RefCell::new(None) };
}

/// Calls `begin`; what it begins on this thread is submitted when it has returned.
pub(super) fn together(begin: &mut dyn FnMut()) {
    let outermost = HELD.try_with(|held| {
        let mut held = held.borrow_mut();
        let outermost = held.is_none();
        held.get_or_insert_default();
        outermost
    });
    // A thread that is ending notes nothing, and so submits each by itself.
    // Made only where it is the outermost: one that is dropped submits.
    let _end = outermost.unwrap_or(false).then(|| End);
    begin();
}

/// Whether `whose` is submitted later, with what else is begun now.
pub(super) fn is_noted<S: Submit + 'static>(whose: &Arc<S>) -> bool {
    let note = |held: &RefCell<Option<Vec<Arc<dyn Submit>>>>| {
        let mut held = held.borrow_mut();
        let Some(held) = held.as_mut() else { return false };
        let same =
            |known: &Arc<dyn Submit>| std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(whose));
        if !held.iter().any(same) {
            held.push(Arc::clone(whose) as Arc<dyn Submit>);
        }
        true
    };
    HELD.try_with(note).unwrap_or(false)
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        let held = HELD.try_with(RefCell::take).ok().flatten();
        held.into_iter().flatten().for_each(Submit::submit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Counted(AtomicU32);

    impl Submit for Counted {
        fn submit(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Counted {
        fn count(&self) -> u32 {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn all_that_is_begun_together_is_submitted_once_at_the_end() {
        let (one, other) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        assert!(!is_noted(&one), "nothing is held back here");
        together(&mut || {
            assert!(is_noted(&one));
            together(&mut || assert!(is_noted(&one)));
            assert!(is_noted(&other));
            assert_eq!((one.count(), other.count()), (0, 0));
        });
        assert_eq!((one.count(), other.count()), (1, 1));
        assert!(!is_noted(&one));
        assert_eq!(Arc::strong_count(&one), 1);
    }

    #[test]
    fn a_panic_holds_nothing_back() {
        let one = Arc::new(Counted::default());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            together(&mut || {
                assert!(is_noted(&one));
                panic!("in the midst of it");
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(one.count(), 1);
    }
}
