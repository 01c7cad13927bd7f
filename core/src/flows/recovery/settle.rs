//! Making a verdict durable, before anybody sees what follows from it.
//!
//! Three kinds of writes, then one sync of every file:
//!
//! 1. Buffers that count and may not be durable are written again, in place: the same bytes. What
//!    was read of them may have come from a cache whose sync had failed (storage contract, 3), and
//!    only a write followed by a sync is durable for certain. A crash in between leaves them as
//!    they were or torn, and they were acknowledged to nobody.
//! 2. Over the header of everything void goes one that says so, and over a header that says so
//!    already once more: it too may have been readable without being durable. A crash in between
//!    leaves some of them valid; they are void by their numbers, at the next recovery again.
//! 3. Seals that list less than their segment has room for are written again, in place: the same
//!    bytes. Such a seal may be all that says that a buffer behind it does not count, because its
//!    write failed, and it may have been readable without being durable. Lost later, when what was
//!    written again elsewhere is gone, the failed write would look like rot.
//!
//! The order of these writes does not matter: each leaves a state with the same verdict.

use std::io;
use std::sync::Arc;

use futures::future::FutureExt;
use futures::stream::StreamExt;

use super::decide::{Verdict, Which};
use crate::format::seal::Seal;
use crate::io::IoBuf;
use crate::open_error::OpenError;
use crate::segment_io::{Device, Purpose, Scanned};

/// Writes under way together.
const IN_FLIGHT: usize = 16;

pub(super) async fn settle(
    device: &Device,
    scans: &[Scanned],
    verdict: &Verdict,
) -> Result<(), OpenError> {
    let failed = |doing| OpenError::io(doing, "segments");
    let again = verdict.unsure.iter().map(|&which| write_again(device, scans, which));
    all(again).await.map_err(failed("writing again the end of the log in"))?;

    let void = verdict.void.iter().map(|&which| {
        let header = &which.find(scans).header;
        (header.segment, header.offset, header.generation)
    });
    let voids = void.chain(scans.iter().flat_map(Scanned::voids)).map(|(segment, offset, life)| {
        let written = device.write_void(segment, offset, life);
        written.map(|written| written.map(|_| ()))
    });
    all(voids).await.map_err(failed("voiding the end of the log in"))?;

    let seals = scans.iter().filter(|scan| leaves_room(device, scan)).filter_map(|scan| {
        let seal = scan.seal.as_ref()?;
        Some(write_seal(device, seal))
    });
    all(seals).await.map_err(failed("writing seals again in"))?;

    for file in 0..device.files() {
        device.sync(file).await.map_err(failed("syncing"))?;
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

async fn write_seal(device: &Device, seal: &Seal) -> io::Result<()> {
    let bytes = Arc::new(seal.encode(device.store(), device.geometry()));
    let at = device.geometry().seal_offset();
    device.write(Purpose::Recovery, seal.segment, at, bytes).await.map(|_| ())
}

/// Waits for every write, also after one has failed: what is left behind in flight could land
/// much later, in a segment that the next opening has given another life.
async fn all<F: Future<Output = io::Result<()>>>(
    writes: impl Iterator<Item = F>,
) -> io::Result<()> {
    let mut running = futures::stream::iter(writes).buffer_unordered(IN_FLIGHT);
    let mut result = Ok(());
    while let Some(ended) = running.next().await {
        result = result.and(ended);
    }
    result
}

async fn write_again(device: &Device, scans: &[Scanned], which: Which) -> io::Result<()> {
    let header = &which.find(scans).header;
    let Some(image) = &scans[which.scan].image else { return Ok(()) };
    let at = crate::types::to_usize(header.offset.get());
    let bytes = IoBuf::copy_of(&image[at..at + header.total_len().as_usize()]);
    let written = device.write(Purpose::Recovery, header.segment, header.offset, Arc::new(bytes));
    written.await.map(|_| ())
}
