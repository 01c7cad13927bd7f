//! What was written, to be read back before anything relies on it.
//!
//! 1. What is read back is what was handed to the device, or the check fails: a write that was
//!    lost, or that landed elsewhere, is found out although its sync returned.
//! 2. An error of a read is a failure as well: what cannot be read replaces nothing.
//!
//! Absent on purpose: the bytes themselves. A checksum of what was written is all that is kept.

use std::io;

use futures::stream::{StreamExt, TryStreamExt};

use crate::format::crc;
use crate::types::{ByteLen, SegmentId, SegmentOffset};

use super::Device;

/// Writes of which each is to be read back.
#[derive(Debug, Default)]
pub(crate) struct ReadBack(Vec<Expected>);

/// One write, and what reading it back must give.
#[derive(Clone, Copy, Debug)]
struct Expected {
    segment: SegmentId,
    offset: SegmentOffset,
    len: ByteLen,
    crc: u32,
}

impl ReadBack {
    /// These bytes are written at `offset` of `segment`.
    pub(crate) fn add(&mut self, segment: SegmentId, offset: SegmentOffset, bytes: &[u8]) {
        let (len, crc) = (ByteLen::of(bytes), crc::of(&[bytes]));
        self.0.push(Expected { segment, offset, len, crc });
    }

    /// Reads all of it back, so many at a time, each in parts of at most `part` bytes.
    pub(crate) async fn check(
        self,
        device: &Device,
        in_flight: usize,
        part: ByteLen,
    ) -> io::Result<()> {
        let mut reads = futures::stream::iter(self.0)
            .map(|expected| expected.check(device, part))
            .buffer_unordered(in_flight);
        while reads.try_next().await?.is_some() {}
        Ok(())
    }
}

impl Expected {
    async fn check(self, device: &Device, part: ByteLen) -> io::Result<()> {
        let Self { segment, offset, len, crc } = self;
        let found = device.read_in_parts(segment, offset, (len, part)).await?;
        if crc::of(&[&found]) == crc {
            return Ok(());
        }
        let at = offset.get();
        Err(io::Error::other(format!("what was written to {segment} at {at} is not there")))
    }
}
