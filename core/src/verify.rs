//! A check of a whole store, segment by segment, as a stream.
//!
//! Absent on purpose: an end that says "all is well". Who reads the stream adds up what it gives.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, Stream, StreamExt};

use crate::db::{Db, Handle};
use crate::error::{Error, Result};
use crate::flows::verify::{VerifiedSegment, VerifyOptions, verify_segment};
use crate::types::{GroupId, SegmentId};

/// The segments of a store as they are checked, in order; see [`Db::verify`].
///
/// While it lives, the store is not closed by the end of its other handles.
pub struct Verify(BoxStream<'static, Result<VerifiedSegment>>);

impl fmt::Debug for Verify {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Verify").finish_non_exhaustive()
    }
}

impl Verify {
    fn new(handle: Arc<Handle>, options: VerifyOptions) -> Self {
        let shared = Arc::new((handle, options));
        let segments = stream::unfold(Some(0), move |next: Option<u32>| {
            let shared = Arc::clone(&shared);
            async move {
                let number = next?;
                let (handle, options) = &*shared;
                let segment = SegmentId::new(number);
                match verify_segment(&handle.store, segment, options).await {
                    Ok(verified) => Some((Ok(verified?), number.checked_add(1))),
                    Err(refused) => {
                        Some((Err(Error::of_lookup(refused, GroupId::SYSTEM.get())), None))
                    }
                }
            }
        });
        Self(segments.boxed())
    }
}

impl Stream for Verify {
    type Item = Result<VerifiedSegment>;

    /// Dropping the stream stops the check; a read under way ends by itself.
    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<VerifiedSegment>>> {
        self.0.poll_next_unpin(context)
    }
}

impl Db {
    /// Reads what the store has on its device, and says what of it is not as it was written.
    ///
    /// Gives an item for each segment, in order, those with nothing in them included; so it tells
    /// how far it is. In a store that is whole there are no findings, whatever is written to it
    /// meanwhile. What is written to a segment after its turn is not looked at, nor are free and
    /// dead ones. The segments of a store that is open are checked against what the engine knows
    /// of them, so a write that was lost is found as well.
    ///
    /// Nothing is changed, and nothing is kept from compaction, however long it takes. It makes way
    /// for synced writes as compaction does; `options` may bound it further. It has at most one
    /// segment in memory. A device that gives no bytes is a finding; the only error is
    /// [`Error::Closed`], and it ends the stream.
    ///
    /// ```
    /// # async fn example(db: logstor_core::Db) -> logstor_core::Result<()> {
    /// use futures::TryStreamExt;
    /// use logstor_core::VerifyOptions;
    ///
    /// let mut segments = db.verify(VerifyOptions::default().bytes_per_second(50 << 20));
    /// while let Some(checked) = segments.try_next().await? {
    ///     for finding in checked.findings {
    ///         println!("segment {}: {}", finding.segment, finding.flaw);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn verify(&self, options: VerifyOptions) -> Verify {
        Verify::new(Arc::clone(&self.handle), options)
    }
}
