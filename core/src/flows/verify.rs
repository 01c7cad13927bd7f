//! Reads what the store has on its device, and says what of it is not what was written.
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | ask what lies in the next segment: which life, how far it is complete | nothing: nothing |
//! | 2 | read it, pinning nothing, and check it against itself | is written here |
//! | 3 | where something was found, ask whether the segment is still in that life | |
//! | 4 | it is: the findings are true. It is not: nobody needs it, and there are none | |
//!
//! 1. What is complete in a life of a segment is written once, and overwritten only when that life
//!    is over. A life that is over does not come back. So what is found between two steps that both
//!    saw the segment in one life was so all the time: there are no findings in a store that is
//!    whole, whatever is written to it meanwhile.
//! 2. Nothing is pinned and nothing is kept: a check that is left alone for a day, or dropped, is
//!    in nobody's way.
//! 3. Segments are looked at once, in order of their numbers. What is written to one behind that,
//!    also by compaction, is not looked at.
//! 4. It makes way for synced writes as compaction does, and reads no faster than it was told.
//!
//! Absent on purpose: repair, and a second look. A disk that gives other bytes now and then is
//! found out here, and should be. What lies in slots that are free or dead is nobody's loss.

mod check;
mod report;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::check::{Checked, Depth, Found, Life};
pub use self::report::{Finding, Flaw, VerifiedSegment, VerifyOptions};
use crate::format::pieces::image_len;
use crate::format::seal::Seal;
use crate::io::IoBuf;
use crate::memory::{LookupRefused, ToVerify, Written};
use crate::store::Store;
use crate::types::{BLOCK, ByteLen, SegmentId, SegmentOffset, to_u64, to_usize};

/// Checks one segment; `None` if the store has no such segment.
pub(crate) async fn verify_segment(
    store: &Store,
    segment: SegmentId,
    options: &VerifyOptions,
) -> Result<Option<VerifiedSegment>, LookupRefused> {
    // 1.
    let (written, segments) = match store.step(|state| state.to_verify(segment))? {
        ToVerify::NoSuchSegment => return Ok(None),
        ToVerify::Nothing { segments } => {
            return Ok(Some(VerifiedSegment::empty(segment, segments)));
        }
        ToVerify::Quarantined { segments, live } => {
            let mut verified = VerifiedSegment::empty(segment, segments);
            verified.findings.push(Finding::quarantined(segment, live));
            return Ok(Some(verified));
        }
        ToVerify::Life { segments, written } => (written, segments),
    };
    // 2.
    let mut reader = Reader { store, options, segment, bytes: 0 };
    let read = reader.check(&written).await;
    let checked = read.unwrap_or_else(|error| Checked {
        found: vec![Found::at(SegmentOffset::ZERO, Flaw::Unreadable(Arc::new(error)))],
        records: 0,
    });
    let mut verified = VerifiedSegment::empty(segment, segments);
    (verified.bytes_read, verified.records) = (reader.bytes, checked.records);
    if checked.found.is_empty() {
        return Ok(Some(verified));
    }
    // 3., 4.
    verified.findings = store.step(|state| {
        let dead_piece = written.piece_len.is_some() && !state.has_live(segment);
        if !state.is_still(segment, written.generation)? || dead_piece {
            return Ok(Vec::new());
        }
        let all = checked.found.into_iter().map(|found| {
            let live = match found.record {
                Some((group, hash, at)) => Some(state.is_live(group, hash, at)),
                // Whose records they were is not known; of a segment that nobody needs it is.
                None if written.piece_len.is_some() => Some(true),
                None => (!state.has_live(segment)).then_some(false),
            };
            found.into_finding(segment, live)
        });
        Ok(all.collect())
    })?;
    Ok(Some(verified))
}

/// Reads one segment, in parts and no faster than it may.
struct Reader<'a> {
    store: &'a Store,
    options: &'a VerifyOptions,
    segment: SegmentId,
    bytes: u64,
}

impl Reader<'_> {
    async fn read(&mut self, at: SegmentOffset, len: ByteLen) -> io::Result<IoBuf> {
        let part = self.store.allowance().part;
        let read = self.store.device.read_in_parts_if_there(self.segment, at, (len, part)).await?;
        let bytes = to_u64(read.len());
        self.bytes += bytes;
        if let Some(rate) = self.options.bytes_per_second {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            self.store.environment.clock.sleep(Duration::from_nanos(nanos)).await;
        }
        Ok(read)
    }

    fn life(&self, written: &Written) -> Life<'_> {
        Life {
            store: self.store.device.store(),
            hasher: &self.store.hasher,
            segment: self.segment,
            generation: written.generation,
        }
    }

    fn depth(&self) -> Depth {
        if self.options.summaries_only { Depth::Summaries } else { Depth::Records }
    }

    async fn check(&mut self, written: &Written) -> io::Result<Checked> {
        if let Some(len) = written.piece_len {
            return self.check_piece(written, len).await;
        }
        let mut checked = Checked::default();
        let mut seal = None;
        if written.sealed {
            let geometry = self.store.device.geometry();
            let bytes = self.read(geometry.seal_offset(), geometry.seal_len()).await?;
            let parsed = Seal::parse(&bytes, self.store.device.store(), self.segment, geometry);
            match parsed {
                Ok(found) if found.generation == written.generation => seal = Some(found),
                Ok(_) => {
                    checked.found.push(Found::at(geometry.seal_offset(), Flaw::SealOfAnotherLife));
                }
                Err(why) => checked.found.push(Found::at(geometry.seal_offset(), Flaw::Seal(why))),
            }
        }
        match (seal, self.depth()) {
            (Some(seal), Depth::Summaries) => {
                self.check_fronts(written, &seal, &mut checked).await?;
            }
            (Some(seal), Depth::Records) => {
                let end = self.store.device.geometry().data_len();
                let image = self.read(SegmentOffset::ZERO, end).await?;
                let life = self.life(written);
                for entry in &seal.entries {
                    let bytes = image.get(to_usize(entry.offset.get())..).unwrap_or_default();
                    life.check_listed(entry, bytes, Depth::Records, &mut checked);
                }
            }
            (None, depth) => {
                let end = ByteLen::new(written.end.get());
                let image = self.read(SegmentOffset::ZERO, end).await?;
                self.life(written).walk(&image, depth, &mut checked);
            }
        }
        Ok(checked)
    }

    /// Headers and summaries alone, as the seal lists them.
    async fn check_fronts(
        &mut self,
        written: &Written,
        seal: &Seal,
        checked: &mut Checked,
    ) -> io::Result<()> {
        for entry in &seal.entries {
            let len = seal.front_len(entry, self.store.device.geometry());
            let bytes = self.read(entry.offset, len).await?;
            self.life(written).check_listed(entry, &bytes, Depth::Summaries, checked);
        }
        Ok(())
    }

    async fn check_piece(&mut self, written: &Written, len: ByteLen) -> io::Result<Checked> {
        let image = match self.depth() {
            Depth::Summaries => ByteLen::new(BLOCK),
            Depth::Records => image_len(len),
        };
        let bytes = self.read(SegmentOffset::ZERO, image).await?;
        Ok(self.life(written).check_piece(&bytes, len, self.depth()))
    }
}
