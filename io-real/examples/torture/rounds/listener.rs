//! A child process, as its parent hears it, line by line, and never longer than it wants to.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::Outcome;
use super::child::{SETTING, Setting};
use super::wire::Said;

/// A child that runs, or has ended. It dies with this.
pub(super) struct Listener {
    child: Child,
    output: ChildStdout,
    input: ChildStdin,
    /// What was read; from `at` on not yet a line.
    read: Vec<u8>,
    at: usize,
    /// Before its first word anything may stand there.
    begun: bool,
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    Said(Said),
    /// Nothing until the time was up.
    Nothing,
    /// Nothing any more: the child has ended.
    End,
}

impl Listener {
    /// Starts a child with this setting.
    pub(super) fn start(mut command: Command, setting: &Setting) -> Outcome<Self> {
        command.env(SETTING, setting.write()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or("the child has no output")?;
        let input = child.stdin.take().ok_or("the child has no input")?;
        Ok(Self { child, output, input, read: Vec::new(), at: 0, begun: false })
    }

    /// The next line, if it comes until then.
    pub(super) fn next(&mut self, until: Instant) -> Outcome<Heard> {
        loop {
            if let Some(said) = self.line()? {
                return Ok(Heard::Said(said));
            }
            if !self.wait_for_more(until)? {
                return Ok(Heard::Nothing);
            }
            self.read.drain(..std::mem::take(&mut self.at));
            let mut more = [0; 1 << 13];
            match self.output.read(&mut more) {
                Ok(0) => return Ok(Heard::End),
                Ok(count) => self.read.extend_from_slice(&more[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A whole line of what was read; what stands around the child's own words is left out.
    fn line(&mut self) -> Outcome<Option<Said>> {
        while let Some(len) = self.read[self.at..].iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(&self.read[self.at..self.at + len]).into_owned();
            self.at += len + 1;
            match Said::parse(&line) {
                Some(said) => {
                    self.begun = said != Said::Closed;
                    return Ok(Some(said));
                }
                None if self.begun => return Err(format!("the child said {line:?}").into()),
                None => {}
            }
        }
        Ok(None)
    }

    /// Whether there is more to read, or the end, before the time is up.
    fn wait_for_more(&self, until: Instant) -> Outcome<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left)?;
            let mut output = [PollFd::new(&self.output, PollFlags::IN)];
            match poll(&mut output, Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Tells it what is wanted. A child that has ended does not hear it.
    pub(super) fn tell(&mut self, wish: &str) {
        let _ = self.input.write_all(format!("{wish}\n").as_bytes());
    }

    /// Sends a signal. As long as nobody has waited for the child, its number is its own.
    pub(super) fn signal(&self, signal: Signal) -> Outcome<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until all threads of a child that was sent SIGSTOP stand still; false if it has ended.
    pub(super) fn has_stopped(&self) -> Outcome<bool> {
        let any = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid()), any) {
                Ok(Some(status)) => return Ok(status.stopped()),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> Outcome<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A moment that does not come.
pub(super) fn never() -> Instant {
    Instant::now() + Duration::from_secs(1 << 20)
}
