//! The one place with `unsafe`: what the kernel works on, and who owns it meanwhile.
//!
//! ```text
//!          push                        pop
//! Order ────────> a slot: the kernel ────────> the same Order, and what came of it
//!           └───> in line, while all slots are taken
//! ```
//!
//! 1. From the moment that a call is in the submission queue until its completion was taken out of
//!    the completion queue, its memory and its file are in a slot, and nobody touches them. What
//!    callers drop meanwhile is no matter.
//! 2. Memory in a slot is wrapped so that the compiler assumes nothing about it, either: not even
//!    that a box that moves is the only way to what is in it.
//! 3. There are as many slots as the submission queue has entries, and at most as many as the
//!    completion queue has. So neither of them is ever full, and none overflows.
//! 4. Entries are put in and taken out under one lock. The system call that hands them over needs
//!    none: the kernel takes what is there.
//! 5. A queue that goes waits until the kernel is done with every slot. Whoever does not want to
//!    wait there empties it before.
//!
//! Absent on purpose: registered buffers and files, which save little for reads that wait for a
//! device, and polling for submissions, which takes a processor.
#![expect(unsafe_code, reason = "the kernel reads and writes memory behind the compiler's back")]

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};

use io_uring::{IoUring, Probe, opcode, squeue, types};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::transfer::{Holds, Part, Transfer};

/// A transfer on its way, and who waits for it.
pub(super) struct Order<T> {
    pub(super) file: Arc<dyn Holds>,
    pub(super) transfer: Transfer,
    /// Whether to have a thread of the kernel do it that may wait for anything.
    pub(super) patiently: bool,
    pub(super) waiter: T,
}

/// One call, as the kernel is asked for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Read { fd: RawFd, into: *mut u8, len: u32, at: u64 },
    Write { fd: RawFd, from: *const u8, len: u32, at: u64 },
    Sync { fd: RawFd },
}

/// The two queues that are shared with the kernel.
pub(super) trait Kernel: Send + Sync {
    /// Puts a call into the submission queue.
    ///
    /// # Safety
    ///
    /// The memory and the descriptor stay valid, and the memory untouched (that of a write:
    /// unchanged), until [`pop`](Self::pop) gives this key back. The queue is not full. No `push`
    /// and no `pop` runs at the same time.
    unsafe fn push(&self, key: u64, call: Call, patiently: bool);

    /// Takes a completion: the key of a call that has ended, and its result.
    ///
    /// # Safety
    ///
    /// No `push` and no `pop` runs at the same time.
    unsafe fn pop(&self) -> Option<(u64, i32)>;

    /// Hands over what is in the submission queue.
    fn submit(&self) -> io::Result<()>;

    /// The same, and waits until there is a completion.
    fn wait(&self) -> io::Result<()>;
}

/// Orders that the kernel has, and those that wait for their turn.
pub(super) struct Queue<K: Kernel, T> {
    kernel: K,
    desk: Mutex<Desk<T>>,
}

struct Desk<T> {
    slots: Box<[Slot<T>]>,
    // Invariant: the places in `slots` that are free.
    free: Vec<usize>,
    // Invariant: empty while there is a free slot.
    line: VecDeque<Order<T>>,
    closed: bool,
}

enum Slot<T> {
    Free,
    /// Never uninitialized: the type only says that the memory behind it is in use elsewhere.
    Lent(MaybeUninit<Order<T>>),
}

impl<K: Kernel, T> Queue<K, T> {
    /// An empty one; `depth` is at most what either queue of `kernel` has room for.
    pub(super) fn new(kernel: K, depth: usize) -> Self {
        let slots = (0..depth).map(|_| Slot::Free).collect();
        let (free, line) = ((0..depth).rev().collect(), VecDeque::new());
        Self { kernel, desk: Mutex::new(Desk { slots, free, line, closed: false }) }
    }

    pub(super) fn kernel(&self) -> &K {
        &self.kernel
    }

    /// Takes an order in; whoever calls this sees to it that it is submitted. A closed queue gives
    /// it back.
    pub(super) fn push(&self, order: Order<T>) -> Result<(), Order<T>> {
        let mut desk = self.desk();
        if desk.closed {
            return Err(order);
        }
        self.place(&mut desk, order);
        Ok(())
    }

    /// Takes one in again that was taken out, for what is left of it.
    pub(super) fn push_again(&self, order: Order<T>) {
        self.place(&mut self.desk(), order);
    }

    /// Takes out what has ended. Says whether others moved up, which are then to be submitted.
    pub(super) fn take(&self, ended: &mut Vec<(Order<T>, i32)>) -> bool {
        let mut desk = self.desk();
        let before = desk.line.len();
        // SAFETY: pushing and popping happens under the lock of the desk only.
        while let Some((key, result)) = unsafe { self.kernel.pop() } {
            let place = usize::try_from(key).expect("it was made from one");
            let slot = mem::replace(&mut desk.slots[place], Slot::Free);
            let Slot::Lent(order) = slot else { panic!("call {key} ended twice") };
            // SAFETY: it was initialized, and the kernel, which has reported the call, is done
            // with its memory.
            ended.push((unsafe { order.assume_init() }, result));
            desk.free.push(place);
        }
        while !desk.free.is_empty()
            && let Some(order) = desk.line.pop_front()
        {
            self.place(&mut desk, order);
        }
        desk.line.len() < before
    }

    /// Takes no new orders from here on; says how many are left.
    pub(super) fn close(&self) -> usize {
        let mut desk = self.desk();
        desk.closed = true;
        desk.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.desk().closed
    }

    /// Orders that have not been taken out.
    pub(super) fn len(&self) -> usize {
        self.desk().len()
    }

    fn place(&self, desk: &mut Desk<T>, order: Order<T>) {
        let Some(place) = desk.free.pop() else { return desk.line.push_back(order) };
        desk.slots[place] = Slot::Lent(MaybeUninit::new(order));
        let Slot::Lent(order) = &mut desk.slots[place] else { unreachable!("it was just lent") };
        // SAFETY: it was just initialized, and the kernel does not know of it.
        let order = unsafe { order.assume_init_mut() };
        let fd = order.file.file().as_raw_fd();
        // A call transfers no more than 2^31 bytes anyway; what is left follows in another.
        let most = |len| u32::try_from(len).unwrap_or(1 << 31);
        let call = match order.transfer.part() {
            Part::Read(into, at) => {
                Call::Read { fd, into: into.as_mut_ptr(), len: most(into.len()), at }
            }
            Part::Write(from, at) => {
                Call::Write { fd, from: from.as_ptr(), len: most(from.len()), at }
            }
            Part::Sync => Call::Sync { fd },
        };
        let key = u64::try_from(place).expect("there are few slots");
        // SAFETY: file and memory are the slot's until `take` finds this key in a completion:
        // nothing else empties slots, `drop` waits for them, and a desk that is leaked leaks them.
        // Neither moves with the slot (`Transfer`, law 4; `Holds`). A slot was free, so the queue
        // has room. Pushing and popping happens under the lock of the desk only.
        unsafe { self.kernel.push(key, call, order.patiently) };
    }

    fn desk(&self) -> MutexGuard<'_, Desk<T>> {
        self.desk.lock().expect("no step at the desk panics")
    }
}

impl<T> Desk<T> {
    fn len(&self) -> usize {
        self.slots.len() - self.free.len() + self.line.len()
    }
}

impl<K: Kernel, T> Drop for Queue<K, T> {
    fn drop(&mut self) {
        let mut ended = Vec::new();
        while self.len() > 0 {
            // An error is for want of something, and passes.
            let _ = self.kernel.wait();
            self.take(&mut ended);
            ended.clear();
        }
    }
}

/// The `io_uring` of this system.
pub(super) struct Uring(Arc<IoUring>);

/// Its descriptor: readable when there are completions.
pub(super) struct Descriptor(Arc<IoUring>);

impl Uring {
    /// One with room for `depth` calls; an error where the kernel refuses, or knows no such calls.
    pub(super) fn new(depth: u32) -> io::Result<Self> {
        let ring = IoUring::builder().dontfork().build(depth)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [opcode::Read::CODE, opcode::Write::CODE, opcode::Fsync::CODE];
        if !needed.iter().all(|&code| probe.is_supported(code)) {
            let why = "the io_uring of this kernel cannot read, write and sync";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        Ok(Self(Arc::new(ring)))
    }

    /// Has the runtime that this is called from watch for completions.
    ///
    /// # Panics
    ///
    /// If the runtime was made without I/O.
    pub(super) fn watch(&self) -> io::Result<AsyncFd<Descriptor>> {
        let descriptor = Descriptor(Arc::clone(&self.0));
        // SAFETY: it is that of a ring, always the same, which stays open as long as anybody has
        // this; nobody closes it from outside.
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(watched?)
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Kernel for Uring {
    unsafe fn push(&self, key: u64, call: Call, patiently: bool) {
        let entry = match call {
            Call::Read { fd, into, len, at } => {
                opcode::Read::new(types::Fd(fd), into, len).offset(at).build()
            }
            Call::Write { fd, from, len, at } => {
                opcode::Write::new(types::Fd(fd), from, len).offset(at).build()
            }
            Call::Sync { fd } => {
                opcode::Fsync::new(types::Fd(fd)).flags(types::FsyncFlags::DATASYNC).build()
            }
        };
        let flags = if patiently { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        let entry = entry.user_data(key).flags(flags);
        // SAFETY: the caller is the only one in here.
        let mut queue = unsafe { self.0.submission_shared() };
        // SAFETY: the caller promises that memory and descriptor stay valid.
        unsafe { queue.push(&entry) }.expect("there are no more slots than entries");
    }

    unsafe fn pop(&self) -> Option<(u64, i32)> {
        // SAFETY: the caller is the only one in here.
        let entry = unsafe { self.0.completion_shared() }.next()?;
        Some((entry.user_data(), entry.result()))
    }

    fn submit(&self) -> io::Result<()> {
        self.0.submit().map(drop)
    }

    fn wait(&self) -> io::Result<()> {
        self.0.submit_and_wait(1).map(drop)
    }
}
