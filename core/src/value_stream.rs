//! A value that is read piece by piece.
//!
//! Absent on purpose: seeking. A stream begins at the beginning.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};

use crate::db::Handle;
use crate::error::{Error, Result};
use crate::flows::get::{Hit, Large, Value};
use crate::group::Version;
use crate::types::{GroupId, to_u64};

/// Pieces that are read ahead of the one asked for, with it.
const READ_AHEAD: usize = 2;

/// The value of a key, as it was when [`Group::get_stream`](crate::Group::get_stream) found it,
/// read from the device as it is polled.
///
/// While it lives, the room that the value takes cannot be used again, whatever becomes of the key;
/// and the store is not closed by the end of its other handles.
pub struct ValueStream {
    len: u64,
    version: Version,
    pieces: BoxStream<'static, Result<Bytes>>,
    failed: bool,
}

impl fmt::Debug for ValueStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ValueStream").field("len", &self.len).finish_non_exhaustive()
    }
}

impl ValueStream {
    pub(crate) fn new(handle: Arc<Handle>, group: GroupId, hit: Hit) -> Self {
        let (len, pieces) = match hit.value {
            Value::Whole(value) => {
                let some = Some(value.clone()).filter(|value| !value.is_empty());
                (to_u64(value.len()), futures::stream::iter(some.map(Ok)).boxed())
            }
            Value::Large(large) => (large.len(), read(handle, group, large)),
        };
        Self { len, version: Version::of(hit.sequence), pieces, failed: false }
    }

    /// The write that made the value.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Bytes of the value.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn read(handle: Arc<Handle>, group: GroupId, large: Large) -> BoxStream<'static, Result<Bytes>> {
    let count = large.pieces();
    let shared = Arc::new((large, handle)); // in this order they go
    let one = move |index| {
        let shared = Arc::clone(&shared);
        async move {
            let piece = shared.0.piece(index).await;
            piece.map_err(|error| Error::of_get(error, group.get()))
        }
    };
    futures::stream::iter(0..count).map(one).buffered(READ_AHEAD).boxed()
}

impl Stream for ValueStream {
    type Item = Result<Bytes>;

    /// Nothing follows an error.
    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let polled = self.pieces.poll_next_unpin(context);
        self.failed = matches!(polled, Poll::Ready(Some(Err(_))));
        polled
    }
}
