//! Making a verdict durable, before anybody sees what follows from it.
//!
//! Three kinds of writes, then a sync of every file, then seals, and a sync of their files:
//!
//! 1. Buffers that count and may not be durable are written again, in place: the same bytes. What
//!    was read of them may have come from a cache whose sync had failed (storage contract, 3), and
//!    only a write followed by a sync is durable for certain. A crash in between leaves them as
//!    they were or torn, and they were acknowledged to nobody.
//! 2. Over the header of everything void goes one that says so, and over a header that says so
//!    already once more: it too may have been readable without being durable. A crash in between
//!    leaves some of them valid; they are void by their numbers, at the next recovery again. Where
//!    nothing in a segment counts there will be no seal to vouch for that (4), so the place of the
//!    seal says it as well: damage to either block does not bring back what they hide.
//! 3. Seals that list less than their segment has room for are written again, in place: the same
//!    bytes. Such a seal may be all that says that a buffer behind it does not count, because its
//!    write failed, and it may have been readable without being durable. Lost later, when what was
//!    written again elsewhere is gone, the failed write would look like rot.
//! 4. What is left of a segment that was open is sealed: it takes no more buffers, and the seal
//!    says what it holds. Without it a header that is lost later would leave no trace, and one that
//!    says void, if it is lost, would let come back what it hid. Not where something is lost
//!    already, so that the next opening sees it as well; and not where all of it is undone.
//!
//! The order of the writes before the first sync does not matter: each leaves a state with the same
//! verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, ready};
use futures::stream::StreamExt;

use super::decide::{Verdict, Which};
use crate::format::buffer::BufferHeader;
use crate::format::seal::{Seal, SealEntry};
use crate::io::IoBuf;
use crate::open_error::OpenError;
use crate::segment_io::{Device, Purpose, Scanned};
use crate::types::{SegmentId, SegmentOffset};

/// Writes under way together.
const IN_FLIGHT: usize = 16;

pub(super) async fn settle(
    device: &Device,
    scans: &[Scanned],
    verdict: &Verdict,
    undone: &BTreeSet<usize>,
) -> Result<(), OpenError> {
    let failed = |doing| OpenError::io(doing, "segments");
    let again = verdict.unsure.iter().map(|&which| write_again(device, scans, which));
    all(again).await.map_err(failed("writing again the end of the log in"))?;

    let void = verdict.void.iter().map(|&which| {
        let header = &which.find(scans).header;
        (header.segment, header.offset, header.generation)
    });
    let kept = verdict.kept.iter().map(|which| scans[which.scan].segment);
    let sealed = scans.iter().filter(|scan| scan.seal.is_some()).map(|scan| scan.segment);
    let used = &kept.chain(sealed).collect::<BTreeSet<SegmentId>>();
    let void = void.chain(scans.iter().flat_map(Scanned::voids));
    let voids = void.map(|(segment, offset, life)| async move {
        let written = if offset == SegmentOffset::ZERO && !used.contains(&segment) {
            device.write_void_life(segment, life).await
        } else {
            device.write_void(segment, offset, life).await
        };
        written.map(|_| ())
    });
    all(voids).await.map_err(failed("voiding the end of the log in"))?;

    let short = scans.iter().filter(|scan| leaves_room(device, scan));
    let short = short.filter_map(|scan| scan.seal.as_ref());
    let written = short.map(|seal| write_seal(device, Purpose::Recovery, seal));
    all(written).await.map_err(failed("writing seals again in"))?;

    for file in 0..device.files() {
        device.sync(file).await.map_err(failed("syncing"))?;
    }

    let seals = seals(device, scans, verdict, undone);
    let files: BTreeSet<u32> =
        seals.iter().map(|seal| device.geometry().place(seal.segment).0).collect();
    let written = seals.iter().map(|seal| write_seal(device, Purpose::Seal, seal));
    all(written).await.map_err(failed("sealing"))?;
    for file in files {
        device.sync(file).await.map_err(failed("syncing the seals of"))?;
    }
    Ok(())
}

/// Whether behind the buffers that the seal lists there is room for another one. Where the last of
/// them cannot be read there may be.
fn leaves_room(device: &Device, scan: &Scanned) -> bool {
    let listed = scan.seal.as_ref().and_then(|seal| seal.entries.last());
    let last = scan.buffers.last().map(|found| &found.header);
    let last = last.filter(|last| listed.is_some_and(|entry| entry.offset == last.offset));
    let end = last.and_then(|last| last.offset.checked_add(last.total_len()));
    end.is_none_or(|end| end < device.geometry().seal_offset())
}

/// Seals for segments that were open. Headers that were forged may be in no order that a seal can
/// list: such a segment stays without one.
fn seals(
    device: &Device,
    scans: &[Scanned],
    verdict: &Verdict,
    undone: &BTreeSet<usize>,
) -> Vec<Seal> {
    let mut kept = BTreeMap::<usize, Vec<&BufferHeader>>::new();
    for which in &verdict.kept {
        kept.entry(which.scan).or_default().push(&which.find(scans).header);
    }
    let is_whole = |scan: &Scanned| {
        scan.seal.is_none() && !verdict.losses.iter().any(|loss| loss.is_in(scan.segment))
    };
    let open = kept.into_iter().filter(|(at, _)| !undone.contains(at) && is_whole(&scans[*at]));
    let seal = |(_, headers): (usize, Vec<&BufferHeader>)| {
        let first = headers[0];
        let entry = |header: &&BufferHeader| SealEntry {
            offset: header.offset,
            records: header.record_count,
            number: header.number,
            first_sequence: header.first_sequence,
        };
        Seal {
            segment: first.segment,
            generation: first.generation,
            kind: first.kind,
            log_watermark: verdict.log_end,
            rewrite_watermark: verdict.rewrite_watermark,
            entries: headers.iter().map(entry).collect(),
        }
    };
    open.map(seal).filter(|seal| seal.is_lawful(device.geometry())).collect()
}

async fn write_seal(device: &Device, purpose: Purpose, seal: &Seal) -> io::Result<()> {
    let bytes = Arc::new(seal.encode(device.store(), device.geometry()));
    let at = device.geometry().seal_offset();
    device.write(purpose, seal.segment, at, bytes).await.map(|_| ())
}

/// Waits for every write, also after one has failed: what is left behind in flight could land
/// much later, in a segment that the next opening has given another life.
fn all<'a, F: Future<Output = io::Result<()>> + Send + 'a>(
    writes: impl Iterator<Item = F> + Send + 'a,
) -> BoxFuture<'a, io::Result<()>> {
    let running = futures::stream::iter(writes).buffer_unordered(IN_FLIGHT);
    running.fold(Ok(()), |result, ended| ready(result.and(ended))).boxed()
}

async fn write_again(device: &Device, scans: &[Scanned], which: Which) -> io::Result<()> {
    let header = &which.find(scans).header;
    let Some(image) = &scans[which.scan].image else { return Ok(()) };
    let at = crate::types::to_usize(header.offset.get());
    let bytes = IoBuf::copy_of(&image[at..at + header.total_len().as_usize()]);
    let written = device.write(Purpose::Recovery, header.segment, header.offset, Arc::new(bytes));
    written.await.map(|_| ())
}
