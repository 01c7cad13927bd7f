//! Time and tasks from tokio, unpredictable bytes from the operating system.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::future::BoxFuture;
use logstor_core::io::{Clock, Environment, Spawn, Storage};
use tokio::runtime::{Handle, TryCurrentError};
use tokio::time::Instant;
use tracing::Instrument;

/// A tokio runtime, as the engine wants it; its timer must be enabled.
///
/// The engine's own futures may be polled anywhere: sleeping and spawning go to this runtime.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
    start: Instant,
}

impl TokioRuntime {
    /// Runs tasks on the runtime of `handle`.
    pub fn new(handle: Handle) -> Self {
        Self { handle, start: Instant::now() }
    }

    /// Runs tasks on the runtime that this is called from; an error outside of one.
    pub fn current() -> Result<Self, TryCurrentError> {
        Handle::try_current().map(Self::new)
    }

    /// All that an engine needs: `storage`, this runtime, and fresh entropy.
    pub fn environment(&self, storage: Arc<dyn Storage>) -> io::Result<Environment> {
        Ok(Environment {
            storage,
            clock: Arc::new(self.clone()),
            spawn: Arc::new(self.clone()),
            entropy: entropy()?,
        })
    }
}

#[async_trait]
impl Clock for TokioRuntime {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> Duration {
        // A machine that believes in a time before 1970 gets 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    async fn sleep(&self, time: Duration) {
        let sleep = {
            let _on_this_runtime = self.handle.enter();
            tokio::time::sleep(time)
        };
        sleep.await;
    }
}

impl Spawn for TokioRuntime {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let span = tracing::debug_span!("logstor", task = name);
        self.handle.spawn(task.instrument(span));
    }
}

#[cfg(target_os = "linux")]
fn entropy() -> io::Result<[u8; 32]> {
    use rustix::io::Errno;
    use rustix::rand::{GetRandomFlags, getrandom};

    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}

#[cfg(not(target_os = "linux"))]
fn entropy() -> io::Result<[u8; 32]> {
    use std::io::Read;

    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_differs_every_time() {
        let (first, second) = (entropy().unwrap(), entropy().unwrap());
        assert_ne!(first, second);
        assert_ne!(first[24..], [0; 8]);
    }

    #[test]
    fn sleeping_and_spawning_work_from_outside_the_runtime() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        assert!(TokioRuntime::current().is_err());
        let clock = TokioRuntime::new(runtime.handle().clone());
        let (answer, answered) = std::sync::mpsc::channel();
        let theirs = clock.clone();
        let task = async move {
            theirs.sleep(Duration::from_millis(5)).await;
            answer.send(theirs.now()).unwrap();
        };
        clock.spawn("test", Box::pin(task));
        assert!(answered.recv().unwrap() >= Duration::from_millis(5));

        let mut sleep = clock.sleep(Duration::from_millis(1));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let before = std::time::Instant::now();
        while sleep.as_mut().poll(&mut context).is_pending() {
            std::thread::yield_now();
        }
        assert!(before.elapsed() >= Duration::from_millis(1));
    }

    #[test]
    fn the_wall_clock_is_in_this_century() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let year = Duration::from_secs(365 * 24 * 3600);
        let wall = TokioRuntime::new(runtime.handle().clone()).wall();
        assert!(wall > year * 50 && wall < year * 130);
    }
}
