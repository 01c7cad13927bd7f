//! How a check speaks: operations that must succeed, comparisons that name what differs.
//!
//! Absent on purpose: panics. A broken backend is what the suite looks for, so it is reported.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::io::{Environment, File, FileOffset, FolderEntry, IoBuf, OpenMode};
use crate::types::{BLOCK, ByteLen, to_u64, to_usize};

/// What a check has to say; the name and the number are added by [`Check::run`].
pub(super) type Verdict = Result<(), Broken>;

/// What was expected and what was seen.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

pub(super) fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken(reason())) }
}

pub(super) fn same<T: PartialEq + Debug>(what: &str, expected: &T, seen: &T) -> Verdict {
    ensure(expected == seen, || format!("{what}: expected {expected:?}, saw {seen:?}"))
}

/// Like [`same`], for bytes that nobody wants to see printed.
pub(super) fn same_bytes(what: &str, expected: &[u8], seen: &[u8]) -> Verdict {
    same(&format!("the length of {what}"), &expected.len(), &seen.len())?;
    let differs = (0..seen.len()).find(|&at| seen[at] != expected[at]);
    ensure(differs.is_none(), || format!("{what} differ first at byte {differs:?}"))
}

pub(super) fn done<T>(what: &str, outcome: io::Result<T>) -> Result<T, Broken> {
    outcome.map_err(|error| Broken(format!("{what}: {error} ({:?})", error.kind())))
}

pub(super) fn refused<T>(what: &str, outcome: io::Result<T>, kind: io::ErrorKind) -> Verdict {
    match outcome {
        Ok(_) => Err(Broken(format!("{what} succeeded, expected {kind:?}"))),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => {
            Err(Broken(format!("{what}: expected {kind:?}, saw {:?}: {error}", error.kind())))
        }
    }
}

pub(super) async fn create(given: &Environment, name: &str) -> Result<Arc<dyn File>, Broken> {
    done("creating a file", given.storage.open(name, OpenMode::CreateNew).await)
}

pub(super) async fn open(given: &Environment, name: &str) -> Result<Arc<dyn File>, Broken> {
    done("opening a file", given.storage.open(name, OpenMode::Existing).await)
}

pub(super) async fn list(given: &Environment) -> Result<Vec<FolderEntry>, Broken> {
    done("listing", given.storage.list().await)
}

pub(super) async fn len(file: &Arc<dyn File>) -> Result<u64, Broken> {
    done("asking for the length", file.len().await)
}

pub(super) async fn put(file: &Arc<dyn File>, at: u64, bytes: &[u8]) -> Verdict {
    let bytes = Arc::new(IoBuf::copy_of(bytes));
    done("writing", file.write(FileOffset::new(at), bytes).await)
}

pub(super) async fn get(file: &Arc<dyn File>, at: u64, len: u32) -> Result<IoBuf, Broken> {
    // What was in the buffer before must not pass for what was read.
    let mut into = IoBuf::zeroed(ByteLen::new(len));
    into.fill(0xa5);
    done("reading", file.read(FileOffset::new(at), into).await)
}

pub(super) async fn expect(file: &Arc<dyn File>, at: u64, expected: &[u8]) -> Verdict {
    let seen = get(file, at, ByteLen::of(expected).get()).await?;
    same_bytes(&format!("the bytes read at {at}"), expected, &seen)
}

/// Polls once and drops what has not completed by then.
pub(super) async fn poll_once<F: Future>(operation: F) {
    let mut operation = pin!(operation);
    let once = poll_fn(|context| Poll::Ready(operation.as_mut().poll(context).is_ready()));
    once.await;
}

/// `len` bytes in which every eight differ from all others, of this seed and of every other.
pub(super) fn pattern(seed: u64, len: u32) -> IoBuf {
    let mut bytes = IoBuf::zeroed(ByteLen::new(len));
    for (word, place) in bytes.chunks_exact_mut(8).enumerate() {
        // Odd multipliers and a shift: spread over all bits, the same on every machine.
        let mixed = (seed << 32 | to_u64(word)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        place.copy_from_slice(&(mixed ^ (mixed >> 29)).to_le_bytes());
    }
    bytes
}

/// The position of a block in memory.
pub(super) fn block(number: u32) -> usize {
    to_usize(number * BLOCK)
}
