//! Memory that a device accepts: aligned to a block, without `unsafe`.
//!
//! A plain allocation is made one block larger than asked for, and the first aligned byte in it is
//! where the buffer begins. The address of a heap allocation does not change while it lives, so
//! the alignment found once holds.
//!
//! Absent on purpose: growing. A buffer has the length that it was made with, or a shorter one; one
//! that is used again has any up to its room, and what lies in it is old.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::types::{BLOCK, ByteLen, to_usize};

/// A block-aligned piece of memory of fixed capacity.
pub struct IoBuf {
    // Invariant: `start + len <= memory.len()`, and `memory[start]` lies on a block boundary.
    memory: Box<[u8]>,
    start: usize,
    len: usize,
}

impl IoBuf {
    /// `len` zero bytes.
    #[must_use]
    pub fn zeroed(len: ByteLen) -> Self {
        let block = to_usize(BLOCK);
        let memory = vec![0; len.as_usize() + block].into_boxed_slice();
        let misaligned = memory.as_ptr().addr() % block;
        let start = (block - misaligned) % block;
        debug_assert!(start + len.as_usize() <= memory.len());
        Self { memory, start, len: len.as_usize() }
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buf = Self::zeroed(ByteLen::of(bytes));
        buf.copy_from_slice(bytes);
        buf
    }

    /// Cuts the buffer down to its first `len` bytes; longer than it is changes nothing.
    pub fn truncate(&mut self, len: ByteLen) {
        self.len = self.len.min(len.as_usize());
    }

    /// The same memory with another length, for other content: what lies in it is old. `None` if it
    /// has not so much room.
    #[must_use]
    pub(crate) fn refitted(self, len: ByteLen) -> Option<Self> {
        let room = self.memory.len() - self.start;
        (len.as_usize() <= room).then_some(Self { len: len.as_usize(), ..self })
    }

    /// Bytes of memory that it keeps.
    #[must_use]
    pub(crate) fn memory_len(&self) -> usize {
        self.memory.len()
    }

    /// Its length.
    #[must_use]
    pub fn byte_len(&self) -> ByteLen {
        ByteLen::of(self)
    }
}

impl Deref for IoBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for IoBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for IoBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for IoBuf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "IoBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_on_a_block_and_is_zero() {
        for len in [0, 1, 512, 4095, 4096, 4097, 1 << 20] {
            let buf = IoBuf::zeroed(ByteLen::new(len));
            assert_eq!(buf.as_ptr().addr() % to_usize(BLOCK), 0);
            assert_eq!(buf.len(), to_usize(len));
            assert!(buf.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn memory_is_used_again_up_to_its_room() {
        let buf = IoBuf::copy_of(b"abcdef");
        let shorter = buf.refitted(ByteLen::new(2)).unwrap();
        assert_eq!(&*shorter, b"ab");
        let again = shorter.refitted(ByteLen::new(6)).unwrap();
        assert_eq!(&*again, b"abcdef");
        let room = again.memory_len() - again.start;
        assert!(again.refitted(ByteLen::of(&vec![0; room + 1])).is_none());
    }

    #[test]
    fn truncating_keeps_the_first_bytes() {
        let mut buf = IoBuf::copy_of(b"abcdef");
        buf.truncate(ByteLen::new(3));
        assert_eq!(&*buf, b"abc");
        buf.truncate(ByteLen::new(10));
        assert_eq!(&*buf, b"abc");
    }
}
