//! Lookups of many keys at once.
//!
//! ```text
//!   keys ──a few dozen at a time──> lookups ──begun together──> device
//!     ^                                                            │ in any order
//!     └───────── answers, in the order of the keys <───────────────┘
//! ```
//!
//! 1. Each key is looked up by itself, at some moment within the call, as any lookup is.
//! 2. At most [`IN_FLIGHT`] lookups are under way; the next begins when one has ended.
//! 3. What is begun in one poll is handed to the device together, where the backend can.
//! 4. One that fails fails alone. Dropping the future drops all of them.
//!
//! Absent on purpose: joining reads of neighbours. Records that lie together were written together,
//! which says little of who is read together.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};

use super::{GetError, get};
use crate::store::Store;
use crate::types::GroupId;

/// Enough to keep a device busy, and few enough that their sectors are some hundred KiB.
const IN_FLIGHT: usize = 64;

type Got = Result<Option<Bytes>, GetError>;

/// The value of each key, or `None`.
pub(crate) async fn get_many(store: &Arc<Store>, group: GroupId, keys: &[&[u8]]) -> Vec<Got> {
    let mut answers: Vec<Got> = vec![Ok(None); keys.len()];
    let mut lookups = FuturesUnordered::new();
    let mut next = 0;
    let mut advance = |context: &mut Context<'_>| loop {
        while lookups.len() < IN_FLIGHT && next < keys.len() {
            lookups.push(look_up(store, group, (next, keys[next])));
            next += 1;
        }
        match lookups.poll_next_unpin(context) {
            Poll::Ready(Some((at, got))) => answers[at] = got,
            Poll::Ready(None) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    };
    let all = poll_fn(|context| {
        let mut polled = Poll::Pending;
        store.device.storage().together(&mut || polled = advance(context));
        polled
    });
    all.await;
    answers
}

async fn look_up(store: &Arc<Store>, group: GroupId, (at, key): (usize, &[u8])) -> (usize, Got) {
    (at, get(store, group, key).await)
}
