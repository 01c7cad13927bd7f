//! Who owns what, with a kernel that does what the test says, when it says so. Miri can run these:
//! the memory is written through the very pointers that the kernel would have.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Waker;
use std::time::Duration;

use logstor_core::io::IoBuf;
use logstor_core::types::ByteLen;
use tokio::sync::oneshot::Receiver;

use super::super::driver::Driver;
use super::*;
use crate::pool::Pool;
use crate::transfer::Answer;

const EINTR: i32 = -4;
const EIO: i32 = -5;
const EAGAIN: i32 = -11;
const ENOSPC: i32 = -28;
const ECANCELED: i32 = -125;

/// A kernel of which every step is a call of the test.
#[derive(Default)]
struct Script {
    queue: Mutex<Vec<(u64, Call, bool)>>,
    /// What was handed over, in order.
    begun: Mutex<Vec<(u64, Call, bool)>>,
    ended: Mutex<VecDeque<(u64, i32)>>,
    /// Submissions that fail before one succeeds.
    refusals: AtomicUsize,
}

// SAFETY: what the pointers point to belongs to this kernel, on whatever thread it is.
unsafe impl Send for Script {}
// SAFETY: as above; every use of them is under a lock.
unsafe impl Sync for Script {}

impl Script {
    /// Ends the call at `place`, having filled or looked at so many bytes, or with an error.
    fn end(&self, place: usize, result: i32) {
        let (key, call, _) = self.begun.lock().unwrap().remove(place);
        let count = usize::try_from(result).unwrap_or(0);
        match call {
            Call::Read { into, at, .. } => {
                for index in 0..count {
                    // SAFETY: the slot owns the memory until `ended` has the key.
                    unsafe { into.add(index).write(content(at, index)) };
                }
            }
            Call::Write { from, at, .. } => {
                for index in 0..count {
                    // SAFETY: as above.
                    assert_eq!(unsafe { from.add(index).read() }, content(at, index));
                }
            }
            Call::Sync { .. } => {}
        }
        self.ended.lock().unwrap().push_back((key, result));
    }

    fn begun(&self) -> usize {
        self.begun.lock().unwrap().len()
    }

    /// Position, length and patience of the calls under way.
    fn calls(&self) -> Vec<(u64, u32, bool)> {
        let begun = self.begun.lock().unwrap();
        let call = |&(_, call, patiently): &(u64, Call, bool)| match call {
            Call::Read { at, len, .. } | Call::Write { at, len, .. } => (at, len, patiently),
            Call::Sync { .. } => (0, 0, patiently),
        };
        begun.iter().map(call).collect()
    }
}

/// What lies where in the one file.
fn content(at: u64, index: usize) -> u8 {
    u8::try_from((at + u64::try_from(index).unwrap()) % 251).unwrap()
}

impl Kernel for Script {
    unsafe fn push(&self, key: u64, call: Call, patiently: bool) {
        self.queue.lock().unwrap().push((key, call, patiently));
    }

    unsafe fn pop(&self) -> Option<(u64, i32)> {
        self.ended.lock().unwrap().pop_front()
    }

    fn submit(&self) -> io::Result<()> {
        let refuse = |left: usize| left.checked_sub(1);
        if self.refusals.fetch_update(SeqCst, SeqCst, refuse).is_ok() {
            return Err(io::Error::from_raw_os_error(-EAGAIN));
        }
        self.begun.lock().unwrap().append(&mut self.queue.lock().unwrap());
        Ok(())
    }

    /// Does all there is to do.
    fn wait(&self) -> io::Result<()> {
        self.submit()?;
        for (_, len, _) in self.calls() {
            self.end(0, i32::try_from(len).unwrap());
        }
        Ok(())
    }
}

struct Opened(File);

impl Holds for Opened {
    fn file(&self) -> &File {
        &self.0
    }
}

struct Test {
    driver: Arc<Driver<Script>>,
    file: Arc<Opened>,
}

impl Test {
    fn new(depth: usize) -> Self {
        let pool = Arc::new(Pool::start(std::num::NonZeroUsize::MIN).unwrap());
        let file = Arc::new(Opened(File::open("/dev/null").unwrap()));
        Self { driver: Driver::new(Script::default(), depth, pool), file }
    }

    fn start(&self, transfer: Transfer) -> Receiver<Answer> {
        let file = Arc::clone(&self.file);
        self.driver.start(file, transfer).expect("it is not closed")
    }

    fn read(&self, at: u64, len: u32) -> Receiver<Answer> {
        self.start(Transfer::read(at, IoBuf::zeroed(ByteLen::new(len)), 512))
    }

    fn end(&self, place: usize, result: i32) {
        self.driver.kernel().end(place, result);
        self.driver.reap(&mut Vec::new());
    }

    fn calls(&self) -> Vec<(u64, u32, bool)> {
        self.driver.kernel().calls()
    }

    /// Nothing is under way, and nothing holds the file any more.
    fn assert_quiet(&self) {
        assert!(self.driver.is_idle());
        assert_eq!(self.driver.kernel().begun(), 0);
        assert_eq!(Arc::strong_count(&self.file), 1);
    }
}

fn answer(mut answered: Receiver<Answer>) -> Answer {
    answered.try_recv().expect("it has been answered")
}

fn assert_content(answer: Answer, at: u64) {
    let memory = answer.unwrap().unwrap();
    assert!((0..memory.len()).all(|index| memory[index] == content(at, index)));
}

#[test]
fn answers_come_back_in_whatever_order_calls_end() {
    let test = Test::new(4);
    let answers: Vec<_> = (0..4).map(|number| test.read(number * 4096, 1024)).collect();
    for place in [2, 0, 1, 0] {
        test.end(place, 1024);
    }
    for (number, answered) in (0..4).zip(answers) {
        assert_content(answer(answered), number * 4096);
    }
    test.assert_quiet();
}

#[test]
fn what_was_dropped_is_the_kernels_until_it_is_done_and_nobodys_after() {
    let test = Test::new(4);
    let bytes: Vec<u8> = (0..1024).map(|index| content(512, index)).collect();
    let bytes = Arc::new(IoBuf::copy_of(&bytes));
    let seen = Arc::downgrade(&bytes);
    drop(test.start(Transfer::write(512, bytes, 512)));
    drop(test.read(4096, 2048));
    drop(test.start(Transfer::sync()));
    assert_eq!(Arc::strong_count(&test.file), 4);
    test.end(0, 512);
    assert!(seen.upgrade().is_some(), "half of it is still to be written");
    test.end(2, 512);
    assert!(seen.upgrade().is_none());
    test.end(0, 2048);
    test.end(0, 0);
    test.assert_quiet();
}

#[test]
fn file_and_memory_are_let_go_of_before_the_answer() {
    struct Look(Arc<Opened>);
    impl std::task::Wake for Look {
        fn wake(self: Arc<Self>) {
            // The test, this waker, and nobody else.
            assert_eq!(Arc::strong_count(&self.0), 2);
        }
    }
    let test = Test::new(1);
    let mut answered = test.read(0, 512);
    let waker = Waker::from(Arc::new(Look(Arc::clone(&test.file))));
    let mut context = std::task::Context::from_waker(&waker);
    assert!(std::pin::Pin::new(&mut answered).poll(&mut context).is_pending());
    test.end(0, 512);
    assert_content(answer(answered), 0);
}

#[test]
fn short_interrupted_and_cancelled_calls_go_on_where_they_were() {
    let test = Test::new(2);
    let answered = test.read(4096, 2048);
    test.end(0, EINTR);
    assert_eq!(test.calls(), [(4096, 2048, false)]);
    test.end(0, 700);
    assert_eq!(test.calls(), [(4608, 1536, false)], "from the last whole sector on");
    test.end(0, ECANCELED);
    assert_eq!(test.calls(), [(4608, 1536, false)]);
    test.end(0, EAGAIN);
    assert_eq!(test.calls(), [(4608, 1536, true)], "by somebody who may wait");
    test.end(0, 512);
    assert_eq!(test.calls(), [(5120, 1024, true)]);
    test.end(0, 1024);
    assert_content(answer(answered), 4096);
    let synced = test.start(Transfer::sync());
    test.end(0, ECANCELED);
    test.end(0, EINTR);
    test.end(0, 0);
    assert!(answer(synced).unwrap().is_none());
    test.assert_quiet();
}

#[test]
fn errors_are_those_of_the_system() {
    let test = Test::new(2);
    let check = |transfer: Transfer, results: &[i32], kind, errno: i32| {
        let answered = test.start(transfer);
        for &result in results {
            test.end(0, result);
        }
        let error = answer(answered).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.raw_os_error().unwrap_or(0), -errno);
    };
    let memory = || IoBuf::zeroed(ByteLen::new(512));
    let read = || Transfer::read(0, memory(), 512);
    let write = || Transfer::write(0, Arc::new(memory()), 512);
    check(read(), &[0], io::ErrorKind::UnexpectedEof, 0);
    check(read(), &[EIO], io::Error::from_raw_os_error(5).kind(), EIO);
    check(write(), &[0], io::ErrorKind::WriteZero, 0);
    check(write(), &[ENOSPC], io::ErrorKind::StorageFull, ENOSPC);
    // Asked patiently as well, so it is no want of threads.
    check(read(), &[EAGAIN, EAGAIN], io::ErrorKind::WouldBlock, EAGAIN);
    check(Transfer::sync(), &[EIO], io::Error::from_raw_os_error(5).kind(), EIO);
    test.assert_quiet();
}

#[test]
fn no_more_are_with_the_kernel_than_there_are_slots_and_all_get_their_turn() {
    let test = Test::new(3);
    let answers: Vec<_> = (0..20).map(|number| test.read(number * 512, 512)).collect();
    for _ in 0..20 {
        assert!(test.driver.kernel().begun() <= 3);
        let last = test.driver.kernel().begun() - 1;
        test.end(last, 512);
    }
    for (number, answered) in (0..20).zip(answers) {
        assert_content(answer(answered), number * 512);
    }
    test.assert_quiet();
}

#[test]
fn a_refused_submission_goes_through_later() {
    let test = Test::new(2);
    test.driver.kernel().refusals.store(5, SeqCst);
    let answered = [test.read(0, 512), test.read(512, 512)];
    while test.driver.kernel().begun() < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    test.end(1, 512);
    test.end(0, 512);
    for (at, answered) in [0, 512].into_iter().zip(answered) {
        assert_content(answer(answered), at);
    }
    // The thread that insisted holds the driver a little longer, but not the file.
    test.assert_quiet();
}

#[test]
fn a_closed_ring_gives_transfers_back_and_answers_those_under_way() {
    let test = Test::new(2);
    let answers: Vec<_> = (0..5).map(|number| test.read(number * 512, 512)).collect();
    test.end(0, 100);
    assert_eq!(test.driver.close(), 4, "one of them ended early");
    let sync = Transfer::sync();
    assert!(test.driver.start(Arc::clone(&test.file) as Arc<dyn Holds>, sync).is_err());
    test.driver.finish();
    let mut answers = answers.into_iter();
    let early = answer(answers.next().unwrap()).unwrap_err();
    assert_eq!(early.kind(), io::ErrorKind::UnexpectedEof);
    for (number, answered) in (1..5).zip(answers) {
        assert_content(answer(answered), number * 512);
    }
    test.assert_quiet();
}

#[test]
fn a_queue_that_goes_waits_for_the_kernel() {
    let test = Test::new(2);
    let answers: Vec<_> = (0..5).map(|number| test.read(number * 512, 512)).collect();
    let Test { driver, file } = test;
    drop(driver);
    assert_eq!(Arc::strong_count(&file), 1);
    for mut answered in answers {
        assert!(answered.try_recv().is_err(), "nobody is there any more to answer");
    }
}
