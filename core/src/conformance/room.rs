//! What is demanded of a backend where room and length shrink: punching, reserving, cutting.
//!
//! ```text
//!   written ──punch──> a hole: zeros, without room ──write, allocate, preallocate──> with room
//! ```
//!
//! A backend may say that it cannot punch; then it must show that nothing changed, and every check
//! goes on without holes.
//!
//! Absent on purpose: how much room there is. A check does not know its device and may not fill it.

use std::io;
use std::sync::Arc;

use super::expect::{
    Broken, Verdict, block, create, done, expect, get, len, list, open, pattern, put, refused, same,
};
use crate::io::{Environment, File, FileOffset, FolderEntry, IoBuf};
use crate::types::{BLOCK, ByteLen};

pub(super) async fn punching(given: Environment) -> Verdict {
    let file = create(&given, "holes").await?;
    let mut expected = pattern(1, 32 * BLOCK);
    put(&file, 0, &expected).await?;
    done("punching nothing", file.punch(FileOffset::ZERO, 0).await)?;
    // Synced and not, in the middle, at the ends, and what is a hole already.
    for (first, count) in [(4, 8), (0, 1), (31, 1), (3, 2), (6, 3)] {
        if punched(&file, first, count).await? {
            expected[block(first)..block(first + count)].fill(0);
        }
        same("the length after punching", &u64::from(32 * BLOCK), &len(&file).await?)?;
        expect(&file, 0, &expected).await?;
        done("syncing after a punch", file.sync().await)?;
    }
    expect(&open(&given, "holes").await?, 0, &expected).await?;

    put(&file, u64::from(5 * BLOCK), &pattern(2, 2 * BLOCK)).await?;
    expected[block(5)..block(7)].copy_from_slice(&pattern(2, 2 * BLOCK));
    expect(&file, 0, &expected).await?;

    // Beside each other, and beside writes.
    let bytes = pattern(3, 4 * BLOCK);
    let (first, second, written) = futures::join!(
        punched(&file, 8, 4),
        punched(&file, 20, 4),
        put(&file, u64::from(14 * BLOCK), &bytes),
    );
    written?;
    for (start, zero) in [(8, first?), (20, second?)] {
        if zero {
            expected[block(start)..block(start + 4)].fill(0);
        }
    }
    expected[block(14)..block(18)].copy_from_slice(&bytes);
    expect(&file, 0, &expected).await
}

pub(super) async fn allocating(given: Environment) -> Verdict {
    let file = create(&given, "reserved").await?;
    let mut expected = pattern(1, 32 * BLOCK);
    put(&file, 0, &expected).await?;
    if punched(&file, 8, 16).await? {
        expected[block(8)..block(24)].fill(0);
    }
    done("reserving nothing", file.allocate(FileOffset::ZERO, 0).await)?;
    // What has its room, what has not, and both; with a sync in between and without.
    for (first, count) in [(0, 4), (10, 4), (6, 10), (6, 10), (20, 12)] {
        let at = FileOffset::new(u64::from(first * BLOCK));
        done("reserving room", file.allocate(at, u64::from(count * BLOCK)).await)?;
        expect(&file, 0, &expected).await?;
        same("the length after reserving", &u64::from(32 * BLOCK), &len(&file).await?)?;
    }
    done("syncing after reserving", file.sync().await)?;
    put(&file, u64::from(9 * BLOCK), &pattern(2, 8 * BLOCK)).await?;
    expected[block(9)..block(17)].copy_from_slice(&pattern(2, 8 * BLOCK));
    expect(&file, 0, &expected).await?;

    if punched(&file, 0, 4).await? {
        expected[block(0)..block(4)].fill(0);
    }
    done("preallocating the same", file.preallocate(u64::from(32 * BLOCK)).await)?;
    expect(&file, 0, &expected).await
}

pub(super) async fn outside(given: Environment) -> Verdict {
    let file = create(&given, "within").await?;
    put(&file, 0, &pattern(1, 8 * BLOCK)).await?;
    let blocks = |count: u32| u64::from(count * BLOCK);
    // A whole number of blocks whose end no file can have.
    let endless = u64::MAX - u64::from(BLOCK - 1);
    for (at, count) in
        [(8, blocks(1)), (7, blocks(2)), (0, blocks(9)), (9, blocks(1)), (1, endless)]
    {
        let at = FileOffset::new(blocks(at));
        let punched = file.punch(at, count).await;
        refused("punching outside the file", punched, io::ErrorKind::InvalidInput)?;
        let reserved = file.allocate(at, count).await;
        refused("reserving room outside the file", reserved, io::ErrorKind::InvalidInput)?;
    }
    same("the length after refusals", &blocks(8), &len(&file).await?)?;
    expect(&file, 0, &pattern(1, 8 * BLOCK)).await
}

pub(super) async fn shrinking(given: Environment) -> Verdict {
    let file = create(&given, "shrunk").await?;
    let blocks = |count: u32| u64::from(count * BLOCK);
    put(&file, 0, &pattern(1, 16 * BLOCK)).await?;
    for (to, left) in [(20, 16), (16, 16), (10, 10), (12, 10), (4, 4)] {
        done("shrinking", file.shrink(blocks(to)).await)?;
        same("the length after shrinking", &blocks(left), &len(&file).await?)?;
        expect(&file, 0, &pattern(1, left * BLOCK)).await?;
        let read = file.read(FileOffset::new(blocks(left)), IoBuf::zeroed(ByteLen::new(BLOCK)));
        refused("reading what was cut off", read.await, io::ErrorKind::UnexpectedEof)?;
    }
    done("syncing after shrinking", file.sync().await)?;
    let entry = FolderEntry { name: "shrunk".into(), len: blocks(4) };
    same("the listing after shrinking", &vec![entry], &list(&given).await?)?;

    // What was cut off does not come back when the file grows again.
    done("preallocating", file.preallocate(blocks(8)).await)?;
    expect(&file, blocks(4), &IoBuf::zeroed(ByteLen::new(4 * BLOCK))).await?;
    done("shrinking to nothing", file.shrink(0).await)?;
    same("the length after shrinking to nothing", &0, &len(&file).await?)?;
    put(&file, blocks(2), &pattern(2, BLOCK)).await?;
    expect(&file, 0, &IoBuf::zeroed(ByteLen::new(2 * BLOCK))).await?;
    expect(&file, blocks(2), &pattern(2, BLOCK)).await
}

/// Punches whole blocks; says no, and shows that nothing changed, where the backend cannot.
async fn punched(file: &Arc<dyn File>, first: u32, count: u32) -> Result<bool, Broken> {
    let (at, len) = (u64::from(first * BLOCK), u64::from(count * BLOCK));
    let before = get(file, at, count * BLOCK).await?;
    let outcome = file.punch(FileOffset::new(at), len).await;
    if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
        expect(file, at, &before).await?;
        return Ok(false);
    }
    done("punching", outcome)?;
    expect(file, at, &IoBuf::zeroed(ByteLen::new(count * BLOCK))).await?;
    Ok(true)
}
