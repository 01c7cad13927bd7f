//! Memory of reads, to be used again.
//!
//! A record that is copied out of its sectors leaves them behind; the next read takes them, and
//! need neither ask for memory nor have it zeroed.
//!
//! 1. At most [`MOST`] pieces are kept, of one length: that of reads of up to [`LEN`] bytes.
//! 2. What is taken has old content. A read fills all of it or fails; and a record is checked.
//!
//! Absent on purpose: memory of longer reads, which costs less than what is done with it.

use std::sync::Mutex;

use crate::io::IoBuf;
use crate::types::ByteLen;

/// Sectors of nearly all records that are copied.
const LEN: u32 = 20 << 10;
/// As many as are read at once by a busy store; with its alignment 24 KiB each.
const MOST: usize = 64;

/// Memory that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<IoBuf>>);

impl Spare {
    /// Memory for a read.
    pub(super) fn take(&self, len: ByteLen) -> IoBuf {
        if len.get() > LEN {
            return IoBuf::zeroed(len);
        }
        let spare = self.0.lock().expect("nothing panics while it holds the list").pop();
        let spare = spare.unwrap_or_else(|| IoBuf::zeroed(ByteLen::new(LEN)));
        spare.refitted(len).expect("there is room for every read that takes one")
    }

    /// Nobody uses it any more.
    pub(super) fn give(&self, memory: IoBuf) {
        let Some(memory) = memory.refitted(ByteLen::new(LEN)) else { return };
        let mut spare = self.0.lock().expect("nothing panics while it holds the list");
        if spare.len() < MOST {
            spare.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_whatever_its_length() {
        let spare = Spare::default();
        let mut first = spare.take(ByteLen::new(512));
        first.fill(9);
        let place = first.as_ptr();
        spare.give(first);
        let again = spare.take(ByteLen::new(LEN));
        assert_eq!((again.as_ptr(), again.len()), (place, 20 << 10));
        assert_ne!(spare.take(ByteLen::new(512)).as_ptr(), place, "it is taken");
        assert_eq!(spare.take(ByteLen::new(LEN + 1)).len(), (20 << 10) + 1);
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let spare = Spare::default();
        (0..MOST + 9).for_each(|_| spare.give(IoBuf::zeroed(ByteLen::new(LEN))));
        spare.give(IoBuf::zeroed(ByteLen::new(512)));
        assert_eq!(spare.0.lock().unwrap().len(), MOST);
    }
}
