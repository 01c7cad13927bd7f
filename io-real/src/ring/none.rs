//! No rings: only Linux has them.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::pool::Pool;
use crate::transfer::{Answer, Holds, Transfer};

/// There are none.
#[derive(Debug)]
pub(crate) struct Rings(Infallible);

impl Rings {
    /// Refuses.
    pub(crate) fn start(_: &Arc<Pool>) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has io_uring"))
    }

    /// Is never called.
    pub(crate) fn together(&self, _: &mut dyn FnMut()) {
        match self.0 {}
    }

    /// Is never called.
    pub(crate) fn begin(
        &self,
        _: Arc<dyn Holds>,
        _: Transfer,
    ) -> Result<oneshot::Receiver<Answer>, Transfer> {
        match self.0 {}
    }
}
