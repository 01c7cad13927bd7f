//! The target `recover`: a small store, damaged, is opened, again and again.
//!
//! ```text
//! store: 1 │ how: 1 │ wait: 1 │ cut: 2 │ edits ..
//!
//!   disk ──edits──> open, read all ──crash──> open, read all ──put, close──> open, read all
//!     └──fork──> open, cut short ──crash──> open, read all
//! ```
//!
//! 1. No disk makes an opening panic, hang, or take more than so much memory.
//! 2. The second opening has the verdict of the first, and shows the same; so has one that comes
//!    after an opening that was cut short.
//! 3. A key shows a value that was once written to it, or none, or an error: nothing foreign. Not
//!    so where CRCs were put right.
//! 4. What opened without a word of loss takes a put, and keeps it and everything else over a
//!    close.
//! 5. What is refused as damaged may be salvaged, by the same laws; a normal opening is refused
//!    after that as before, or shows what salvaging showed: the mark was lost, or only the mark
//!    told of the loss, and there is another one now.
//!
//! Absent on purpose: which of the values written once it must be. That is judged where all is
//! known of the writes and of the damage, in `logstor-sim-tests`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use logstor_core::format::crc;
use logstor_core::{Db, ErrorKind, Options, RecoveryMode};
use logstor_io_sim::{
    CrashKind, Latencies, NameBias, Outcome, SectorBias, Sim, SimOptions, StopAt,
};
use logstor_sim_tests::value::{self, Value};

use crate::Verdict;
use crate::edits::{Done, Edit, Edited};
use crate::memory::used;
use crate::stores::{KEYS, Prepared, STORES, key, options, with_store};

const MOST_EDITS: usize = 12;
/// Steps of the simulation in which everything here is long done.
const MOST_STEPS: u64 = 300_000;
/// The most memory that all of it takes at one moment, the simulated disk included.
const MOST_BYTES: i64 = 64 << 20;
/// The longest piece of memory: a segment, a frame of a dump, a table of something.
const LONGEST: i64 = 4 << 20;

#[derive(Arbitrary, Clone, Copy, Debug)]
struct How {
    store: u8,
    forging: bool,
    kill: bool,
    sectors: u8,
    /// Time in which background work is done between reading and the crash.
    wait: u8,
    /// The effect at which an opening is cut short; 0 for none.
    cut: u16,
}

/// What an opening showed: the kind of refusal with its words, or the state.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Refused(ErrorKind, String),
    Shown(State),
}

/// What every key of every group shows, by group.
type State = BTreeMap<String, BTreeMap<u8, Result<Option<Shown>, ErrorKind>>>;

/// A value: the write that made it, or how long it is and its CRC.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Of(u64),
    Foreign(usize, u32),
}

impl Shown {
    fn of(bytes: &[u8]) -> Self {
        match value::parse(bytes) {
            Ok(Value::Of(number)) => Self::Of(number),
            _ => Self::Foreign(bytes.len(), crc::of(&[bytes])),
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(number) => write!(out, "{number:#x}"),
            Self::Foreign(len, crc) => write!(out, "{len} bytes {crc:#x}"),
        }
    }
}

/// An opened store, and what it shows.
struct Opened {
    seen: Seen,
    db: Option<Db>,
    /// Nothing was reported missing.
    is_sound: bool,
    /// It believed the dump, and looked at no segment.
    is_from_dump: bool,
}

/// The bytes are a store and what happens to its disk.
///
/// # Panics
///
/// If a law is broken: that is what it is for.
#[must_use]
pub fn recover(data: &[u8]) -> Verdict {
    let mut source = Unstructured::new(data);
    let Ok(how) = How::arbitrary(&mut source) else { return Verdict::Refused };
    with_store(usize::from(how.store) % STORES, |prepared| {
        let (verdict, used) = used(|| run(how, &mut source, prepared));
        assert!(used.peak <= MOST_BYTES, "{used:?}");
        assert!(used.largest <= LONGEST, "{used:?}");
        verdict
    })
}

fn run(how: How, source: &mut Unstructured<'_>, prepared: &Prepared) -> Verdict {
    let sim = SimOptions::new(7)
        .sector_size(512)
        .latencies(Latencies::constant(Duration::from_micros(50)))
        .max_steps(MOST_STEPS);
    let sim = Sim::with_image(&sim, &prepared.image);
    let disk = sim.raw();
    let mut edited = Edited { disk, prepared, forging: how.forging, done: Done::default() };
    for _ in 0..MOST_EDITS {
        let Ok(edit) = Edit::arbitrary(source) else { break };
        edited.apply(edit);
        if source.is_empty() {
            break;
        }
    }
    Case { how, prepared, done: edited.done }.check(&sim)
}

struct Case<'a> {
    how: How,
    prepared: &'a Prepared,
    done: Done,
}

impl Case<'_> {
    fn check(&self, sim: &Sim) -> Verdict {
        let fork = sim.fork();
        let mut first = self.open(sim, RecoveryMode::Normal);
        self.check_values(&first.seen);
        self.crash(sim, first.db.take());
        let second = self.open(sim, RecoveryMode::Normal);
        self.compare(&first, &second, "the second opening");
        self.cut_short(&fork, &first);
        match &second.seen {
            Seen::Refused(ErrorKind::Corruption, _) if !self.done.is_root_forged => {
                self.salvage(sim, &second.seen);
                Verdict::Refused
            }
            Seen::Refused(..) => Verdict::Refused,
            Seen::Shown(_) => {
                if first.is_sound && second.is_sound {
                    self.put_and_reopen(sim, second);
                }
                Verdict::Decoded
            }
        }
    }

    /// On a fork: an opening that does not come to its end, and another one.
    fn cut_short(&self, fork: &Sim, first: &Opened) {
        if self.how.cut == 0 {
            return;
        }
        fork.reseed(self.how.cut.into());
        fork.stop_at(StopAt::Effects(u64::from(self.how.cut)));
        let outcome = fork.run(Db::open(fork.boot(), options()));
        let db = outcome.done().and_then(Result::ok);
        self.crash(fork, db);
        fork.clear_stops();
        let after = self.open(fork, RecoveryMode::Normal);
        self.compare(first, &after, "the opening after one that was cut short");
        self.crash(fork, after.db);
    }

    fn salvage(&self, sim: &Sim, refused: &Seen) {
        let mut first = self.open(sim, RecoveryMode::Salvage);
        self.check_values(&first.seen);
        self.crash(sim, first.db.take());
        let mut second = self.open(sim, RecoveryMode::Salvage);
        self.compare(&first, &second, "the second salvage");
        self.crash(sim, second.db.take());
        let normal = self.open(sim, RecoveryMode::Normal);
        if let Seen::Shown(state) = &normal.seen {
            let Seen::Shown(salvaged) = &second.seen else {
                panic!("{refused:?}, not salvaged, and then opened as if nothing were lost")
            };
            assert_eq!(state, salvaged, "salvaged after {refused:?}, and then opened");
        }
        self.crash(sim, normal.db);
    }

    fn put_and_reopen(&self, sim: &Sim, opened: Opened) {
        let Seen::Shown(before) = opened.seen else { return };
        let db = opened.db.expect("a store that shows something is open");
        let taken = finish(sim.run(async move {
            let group = db.group("new").await?;
            let put = group.put("new", value::make(u64::MAX, 100)).await;
            let closed = db.close().await;
            put.and(closed)
        }));
        match taken {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Full => return,
            Err(error) => panic!("a sound store does not take a put: {error:?}"),
        }
        let after = self.open(sim, RecoveryMode::Normal);
        let Seen::Shown(mut state) = after.seen else {
            panic!("a put, a close, and it does not open: {:?}", after.seen)
        };
        assert!(state.remove("new").is_some(), "a group that was there is gone");
        assert_eq!(state, before, "after a put and a close");
        let db = after.db.expect("a store that shows something is open");
        let found = finish(sim.run(async move { db.group("new").await?.get("new").await }));
        assert_eq!(found.ok().flatten(), Some(value::make(u64::MAX, 100)));
    }

    fn open(&self, sim: &Sim, recovery: RecoveryMode) -> Opened {
        let environment = sim.boot();
        let clock = environment.clock.clone();
        let wait = Duration::from_millis(u64::from(self.how.wait) * 8);
        finish(sim.run(async move {
            let db = match Db::open(environment, Options { recovery, ..options() }).await {
                Ok(db) => db,
                Err(error) => {
                    let words = format!("{error} {error:?}");
                    let seen = Seen::Refused(error.kind(), words);
                    return Opened { seen, db: None, is_sound: false, is_from_dump: false };
                }
            };
            let report = db.recovery_report();
            let is_sound = report.losses.is_empty()
                && report.damaged.is_empty()
                && report.damaged_values.is_empty();
            let state = read_all(&db).await;
            if !wait.is_zero() {
                clock.sleep(wait).await;
                assert_eq!(read_all(&db).await, state, "at work in the background, and then");
            }
            let _ = format!("{:?} {:?}", db.stats(), report);
            let is_from_dump = report.from_dump;
            Opened { seen: Seen::Shown(state), db: Some(db), is_sound, is_from_dump }
        }))
    }

    fn crash(&self, sim: &Sim, db: Option<Db>) {
        let sectors = SectorBias::EVERY[usize::from(self.how.sectors) % SectorBias::EVERY.len()];
        let names = Some(NameBias::All);
        let _ = sim.crash(if self.how.kill {
            CrashKind::ProcessKill
        } else {
            CrashKind::PowerCut { sectors: Some(sectors), names }
        });
        drop(db);
    }

    fn compare(&self, first: &Opened, second: &Opened, which: &str) {
        if !first.is_from_dump {
            assert_eq!(first.seen, second.seen, "{which}");
        } else if !self.done.is_forged {
            compare_with_dump(&first.seen, &second.seen, which);
        }
        // A segment that lies lies only to those who read it.
    }

    fn check_values(&self, seen: &Seen) {
        let Seen::Shown(state) = seen else { return };
        if self.done.is_forged {
            return;
        }
        for (group, keys) in state {
            for (key, shown) in keys {
                let Ok(Some(shown)) = shown else { continue };
                // A group whose name was lost is shown under another one.
                let of = |(name, of): &(String, u8)| {
                    of == key && (name == group || group.starts_with("lost+"))
                };
                let mut written = self.prepared.written.iter().filter(|entry| of(entry.0));
                let mut is_known = |number| written.any(|(_, all)| all.contains(&number));
                match *shown {
                    Shown::Of(number) if is_known(number) => {}
                    other => panic!("key {key} of {group:?} shows {other:?}"),
                }
            }
        }
    }
}

/// The dump is believed without a look at the segments, so what is damaged there is found by
/// whoever reads it: a key by its reader, a summary by the next opening.
fn compare_with_dump(first: &Seen, second: &Seen, which: &str) {
    let (Seen::Shown(first), Seen::Shown(second)) = (first, second) else {
        assert!(matches!(second, Seen::Refused(ErrorKind::Corruption, _)), "{second:?}");
        return;
    };
    assert!(first.keys().eq(second.keys()), "{which}: {first:?} {second:?}");
    for (group, keys) in first {
        for (key, shown) in keys {
            let again = &second[group][key];
            let is_same = shown == again || shown.is_err() || again.is_err();
            assert!(is_same, "{which}: key {key} of {group:?}: {shown:?}, {again:?}");
        }
    }
}

/// What a run gave.
fn finish<T>(outcome: Outcome<T>) -> T {
    match outcome {
        Outcome::Done(output) => output,
        Outcome::Stopped => panic!("stopped, and nobody asked for it"),
        Outcome::Stuck { waiting } => panic!("stuck; these wait: {waiting:?}"),
        Outcome::Spins { task, polls } => panic!("{task} turns in circles: {polls} polls"),
        Outcome::RanTooLong { waiting, .. } => panic!("no end in sight: {waiting:?}"),
    }
}

async fn read_all(db: &Db) -> State {
    let mut state = State::new();
    for name in db.groups() {
        let mut keys = BTreeMap::new();
        match db.group(&name).await {
            Err(error) => {
                keys.insert(0, Err(error.kind()));
            }
            Ok(group) => {
                for number in 0..KEYS {
                    let shown = group.get(key(number)).await;
                    let shown = shown.map(|shown| shown.map(|bytes| Shown::of(&bytes)));
                    keys.insert(number, shown.map_err(|error| error.kind()));
                }
            }
        }
        state.insert(name, keys);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::GROUPS;
    use crate::word;
    use logstor_core::Error;
    use logstor_core::format::mark::Mark;
    use logstor_core::types::{Generation, Sequence};

    /// Without edits every store opens, and shows the newest values.
    #[test]
    fn undamaged_stores_open_and_show_something() {
        for store in 0..STORES {
            let data = [u8::try_from(store).expect("there are few"), 0, 0, 0, 0, 0, 0];
            assert_eq!(recover(&data), Verdict::Decoded, "store {store}");
            with_store(store, |prepared| {
                let sim = Sim::with_image(&SimOptions::new(1), &prepared.image);
                let db = finish(sim.run(Db::open(sim.boot(), options()))).expect("it opens");
                let state = finish(sim.run(read_all(&db)));
                let shown = state.values().flat_map(BTreeMap::values);
                let values = shown.filter(|shown| matches!(shown, Ok(Some(_)))).count();
                assert_eq!(values > 0, store + 1 < STORES, "store {store}: {state:?}");
                assert!(state.len() <= GROUPS.len());
            });
        }
    }

    /// A good CRC does not make a number true: from its end on a counter could not be counted on.
    #[test]
    fn counters_at_their_end_are_refused_each_time() {
        let changes = [
            |mark: &mut Mark| mark.next_generation = Generation::MAX,
            |mark: &mut Mark| mark.next_sequence = Sequence::MAX,
            |mark: &mut Mark| mark.ordinal = u64::MAX,
            |mark: &mut Mark| mark.files = u32::MAX,
        ];
        for (store, change) in (0..STORES).flat_map(|store| changes.map(|change| (store, change))) {
            with_store(store, |prepared| {
                let sim = Sim::with_image(&SimOptions::new(1), &prepared.image);
                let bytes = sim.raw().read("mark", 0..8192).expect("a store has a mark");
                let short = word(&bytes, 8);
                let mut mark = Mark::newest(&bytes, short).expect("nothing is damaged");
                change(&mut mark);
                let block = mark.encode(short);
                sim.raw().put("mark", &[&block[..], &block[..]].concat());
                for recovery in [RecoveryMode::Normal, RecoveryMode::Salvage] {
                    let opening = Db::open(sim.boot(), Options { recovery, ..options() });
                    let error = finish(sim.run(opening)).expect_err("it is refused");
                    assert!(matches!(error, Error::Counter { .. }), "store {store}: {error:?}");
                    assert_eq!(error.kind(), ErrorKind::Corruption);
                }
            });
        }
    }
}
