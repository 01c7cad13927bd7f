//! The handles that code under test holds: storage, files, clock and tasks of one boot.
//!
//! 1. A handle belongs to one boot. After a crash it is dead: its operations never complete, its
//!    tasks are dropped, and nothing reaches the disk.
//! 2. An operation is issued when its future is first polled, and from then on belongs to the
//!    device.
//! 3. An offset or a length that is not a multiple of the alignment is a bug of the caller and
//!    panics (contract, 7); so does a name that is not plain.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use logstor_core::io::{
    Clock, File, FileOffset, FolderEntry, IoBuf, OpenMode, Spawn, Storage, StorageInfo,
};
use logstor_core::types::{BLOCK, to_usize};

use crate::disk::FileId;
use crate::op::{Answer, Op, Progress, Taint};
use crate::shared::Shared;
use crate::world::Ticket;

/// One boot of a simulation, as all its handles know it.
#[derive(Clone)]
pub(crate) struct BootHandle {
    shared: Arc<Shared>,
    boot: u64,
    sector: u32,
}

impl fmt::Debug for BootHandle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BootHandle({})", self.boot)
    }
}

impl BootHandle {
    pub(crate) const fn new(shared: Arc<Shared>, boot: u64, sector: u32) -> Self {
        Self { shared, boot, sector }
    }

    fn call(&self, op: Op) -> Call<'_> {
        Call { handle: self, state: CallState::New(Request::Op(op)) }
    }
}

/// An operation, from the first poll of its future on.
struct Call<'a> {
    handle: &'a BootHandle,
    state: CallState,
}

enum CallState {
    New(Request),
    Issued(Ticket),
    Over,
}

enum Request {
    Op(Op),
    Sleep(Duration),
}

impl Future for Call<'_> {
    type Output = io::Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut world = this.handle.shared.world();
        if !world.is_live(this.handle.boot) {
            return Poll::Pending;
        }
        match std::mem::replace(&mut this.state, CallState::Over) {
            CallState::New(request) => {
                let waker = context.waker().clone();
                let ticket = match request {
                    Request::Op(op) => world.issue(op, waker),
                    Request::Sleep(time) => world.issue_timer(time, waker),
                };
                this.state = CallState::Issued(ticket);
                Poll::Pending
            }
            CallState::Issued(ticket) => {
                let answer = world.fetch(ticket, context.waker());
                if answer.is_pending() {
                    this.state = CallState::Issued(ticket);
                }
                answer
            }
            CallState::Over => Poll::Pending,
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let CallState::Issued(ticket) = self.state else { return };
        let mut world = self.handle.shared.world();
        if world.is_live(self.handle.boot) {
            world.abandon(ticket);
        }
    }
}

#[async_trait]
impl Storage for BootHandle {
    async fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        check_name(name);
        let owned = name.to_owned();
        let op = match mode {
            OpenMode::Existing => Op::Open { name: owned },
            OpenMode::CreateNew => Op::Create { name: owned },
        };
        let Answer::File(id) = self.call(op).await? else { unreachable!("open gives a file") };
        Ok(Arc::new(FileHandle { boot: self.clone(), id, name: name.to_owned() }))
    }

    async fn list(&self) -> io::Result<Vec<FolderEntry>> {
        let Answer::Entries(entries) = self.call(Op::List).await? else {
            unreachable!("list gives entries")
        };
        Ok(entries)
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from);
        check_name(to);
        let op = Op::Rename { from: from.to_owned(), to: to.to_owned() };
        self.call(op).await.map(|_| ())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name);
        self.call(Op::Remove { name: name.to_owned() }).await.map(|_| ())
    }

    async fn sync_folder(&self) -> io::Result<()> {
        self.call(Op::SyncFolder { upto: 0 }).await.map(|_| ())
    }

    fn release(&self) {
        // A boot is one process, and locks no folder.
    }

    fn together(&self, begin: &mut dyn FnMut()) {
        begin();
    }

    fn info(&self) -> StorageInfo {
        StorageInfo { backend: "simulated".to_owned(), alignment: self.sector, direct: true }
    }
}

#[async_trait]
impl Clock for BootHandle {
    fn now(&self) -> Duration {
        self.shared.world().uptime()
    }

    fn wall(&self) -> Duration {
        self.shared.world().wall()
    }

    async fn sleep(&self, time: Duration) {
        let state = CallState::New(Request::Sleep(time));
        // A timer cannot fail.
        drop(Call { handle: self, state }.await);
    }
}

impl Spawn for BootHandle {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.shared.spawn(self.boot, name, task);
    }
}

/// An open file of one boot.
struct FileHandle {
    boot: BootHandle,
    id: FileId,
    name: String,
}

impl fmt::Debug for FileHandle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FileHandle({}, {:?})", self.name, self.boot)
    }
}

impl FileHandle {
    fn check_aligned(&self, what: &str, at: FileOffset, len: usize) {
        let (name, sector) = (&self.name, self.boot.sector);
        let at = at.get();
        assert!(
            at.is_multiple_of(u64::from(sector)) && len.is_multiple_of(to_usize(sector)),
            "{what} of {name} at {at}, {len} bytes: not multiples of {sector} (contract, 7)",
        );
    }

    fn check_blocks(&self, what: &str, at: FileOffset, len: u64) {
        let (name, at, block) = (&self.name, at.get(), u64::from(BLOCK));
        assert!(
            at.is_multiple_of(block) && len.is_multiple_of(block),
            "{what} of {name} at {at}, {len} bytes: not whole blocks (contract, 7)",
        );
    }
}

#[async_trait]
impl File for FileHandle {
    async fn read(&self, at: FileOffset, into: IoBuf) -> io::Result<IoBuf> {
        self.check_aligned("read", at, into.len());
        let progress = Progress::NONE;
        let op = Op::Read { file: self.id, at: at.get(), into, early: None, progress };
        let Answer::Buf(buf) = self.boot.call(op).await? else {
            unreachable!("read gives the buffer back")
        };
        Ok(buf)
    }

    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()> {
        self.check_aligned("write", at, bytes.len());
        let (file, at, progress) = (self.id, at.get(), Progress::NONE);
        let op = Op::Write { file, at, bytes, taint: Taint::Clean, progress };
        self.boot.call(op).await.map(|_| ())
    }

    async fn sync(&self) -> io::Result<()> {
        self.boot.call(Op::Sync { file: self.id, upto: 0 }).await.map(|_| ())
    }

    async fn len(&self) -> io::Result<u64> {
        let Answer::Len(len) = self.boot.call(Op::Len { file: self.id }).await? else {
            unreachable!("len gives a length")
        };
        Ok(len)
    }

    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.boot.call(Op::Preallocate { file: self.id, len }).await.map(|_| ())
    }

    async fn punch(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.check_blocks("punch", at, len);
        let op = Op::Punch { file: self.id, at: at.get(), len, taint: Taint::Clean };
        self.boot.call(op).await.map(|_| ())
    }

    async fn shrink(&self, len: u64) -> io::Result<()> {
        self.boot.call(Op::Shrink { file: self.id, len }).await.map(|_| ())
    }

    async fn allocate(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.check_blocks("allocate", at, len);
        self.boot.call(Op::Allocate { file: self.id, at: at.get(), len }).await.map(|_| ())
    }
}

fn check_name(name: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    assert!(
        !name.is_empty() && name.bytes().all(plain),
        "the name {name:?} has more than ASCII letters, digits, '.' and '-'",
    );
}
