//! Many tasks on several threads, on the same keys of the same groups, each with a fixed number of
//! calls, many of which it lets go of after some polls.
//!
//! Every call is noted with a tick of one counter before and after it. So what a key may show follows
//! from the notes, whatever the threads made of it: a read, or the end, shows a write that no other
//! one followed which began after it had ended. At the end
//!
//! 1. every key shows such a write, now and after closing and opening again;
//! 2. nothing is pinned or retired, and every byte of the files is in one account;
//! 3. all write memory was given back: a batch that needs all of it goes through;
//! 4. no task of the store is left once it is closed.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, join_all, select};
use logstor::{CompactRequest, Db, Durability, Error, Group, Options, Stats, WriteBatch};

const TASKS: u64 = 12;
const CALLS: u64 = 250;
const GROUPS: u64 = 3;
const KEYS: u64 = 16;
/// This group comes and goes; what it holds is not followed.
const SCRATCH: &str = "scratch";

/// Numbers that look random, from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// A key: its group, and its number there.
type Key = (u64, u64);

/// A write, or a read, of one key.
#[derive(Clone, Copy, Debug)]
struct Event {
    key: Key,
    began: u64,
    ended: u64,
    /// The number of the write whose value it is; none is no value.
    value: Option<u64>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Made,
    /// Its future was dropped: made or not, but accepted by then if at all.
    Dropped,
}

fn key_of(key: Key) -> [u8; 1] {
    [u8::try_from(key.1).unwrap()]
}

/// A value says which write made it, all over.
fn value_of(number: u64, len: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(usize::try_from(len.div_ceil(8).max(1)).unwrap())
}

fn number_of(value: &[u8]) -> u64 {
    let (words, rest) = value.as_chunks::<8>();
    assert!(rest.is_empty() && words.iter().all(|word| word == &words[0]), "a torn value");
    u64::from_le_bytes(words[0])
}

struct Task {
    db: Db,
    groups: Vec<Group>,
    clock: Arc<AtomicU64>,
    dice: Dice,
    number: u64,
    calls: u64,
    events: Vec<Event>,
}

impl Task {
    async fn work(mut self) -> Vec<Event> {
        for call in 0..CALLS {
            self.calls = call;
            match self.dice.roll(100) {
                0..30 => self.put().await,
                30..42 => self.delete().await,
                42..55 => self.batch().await,
                55..58 => self.put_large().await,
                58..60 => self.truncate().await,
                60..82 => self.get().await,
                82..88 => self.stream().await,
                88..92 => self.scratch().await,
                92..96 => {
                    let compact = self.db.compact(CompactRequest::default());
                    drop(give_up_after(self.dice.roll(60), compact).await);
                }
                96..98 => {
                    let separate = self.groups[0].separate();
                    drop(give_up_after(self.dice.roll(60), separate).await);
                }
                _ => drop(give_up_after(self.dice.roll(20), self.db.flush()).await),
            }
        }
        self.events
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, SeqCst)
    }

    fn any_key(&mut self) -> Key {
        (self.dice.roll(GROUPS), self.dice.roll(KEYS))
    }

    fn group(&self, key: Key) -> Group {
        self.groups[usize::try_from(key.0).unwrap()].clone()
    }

    /// The number of the write that comes next.
    fn next(&self) -> u64 {
        self.number << 32 | self.calls
    }

    fn durability(&mut self) -> Durability {
        [Durability::Buffered, Durability::Written, Durability::Synced]
            [usize::try_from(self.dice.roll(3)).unwrap()]
    }

    /// Makes a call that writes these keys, or lets go of it, and notes that.
    async fn write(
        &mut self,
        keys: Vec<(Key, Option<u64>)>,
        call: impl Future<Output = logstor::Result<()>>,
    ) {
        let patience = if self.dice.roll(3) == 0 { self.dice.roll(50) } else { u64::MAX };
        let began = self.tick();
        let outcome = give_up_after(patience, call).await;
        let ended = self.tick();
        let kind = match outcome {
            Some(Ok(())) => Kind::Made,
            Some(Err(error)) => panic!("{error}"),
            None => Kind::Dropped,
        };
        let event = |(key, value)| Event { key, began, ended, value, kind };
        self.events.extend(keys.into_iter().map(event));
    }

    async fn put(&mut self) {
        let (key, durability, len) = (self.any_key(), self.durability(), self.dice.roll(6000));
        let (group, value) = (self.group(key), value_of(self.next(), len));
        let call = group.put_with(key_of(key), value, durability);
        self.write(vec![(key, Some(self.next()))], call).await;
    }

    async fn put_large(&mut self) {
        let (key, len) = (self.any_key(), 20_000 + self.dice.roll(150_000));
        let (group, value) = (self.group(key), value_of(self.next(), len));
        let call = group.put(key_of(key), value);
        self.write(vec![(key, Some(self.next()))], call).await;
    }

    async fn delete(&mut self) {
        let (key, durability) = (self.any_key(), self.durability());
        let group = self.group(key);
        self.write(vec![(key, None)], group.delete_with(key_of(key), durability)).await;
    }

    async fn batch(&mut self) {
        let (one, durability) = (self.any_key(), self.durability());
        let two = ((one.0 + 1) % GROUPS, self.dice.roll(KEYS));
        let (mut batch, value) = (WriteBatch::new(), value_of(self.next(), 500));
        batch.put(&self.group(one), key_of(one), value);
        batch.delete(&self.group(two), key_of(two));
        let db = self.db.clone();
        let keys = vec![(one, Some(self.next())), (two, None)];
        self.write(keys, db.write_with(batch, durability)).await;
    }

    async fn truncate(&mut self) {
        let group = self.dice.roll(GROUPS);
        let db = self.db.clone();
        let keys = (0..KEYS).map(|key| ((group, key), None)).collect();
        self.write(keys, db.truncate_group(group.to_string())).await;
    }

    async fn get(&mut self) {
        let key = self.any_key();
        let (group, patience) = (self.group(key), self.dice.roll(40));
        let began = self.tick();
        let call = group.get(key_of(key));
        let patience = if self.dice.roll(4) == 0 { patience } else { u64::MAX };
        let Some(found) = give_up_after(patience, call).await else { return };
        let value = found.unwrap().map(|value| number_of(&value));
        let ended = self.tick();
        self.events.push(Event { key, began, ended, value, kind: Kind::Read });
    }

    /// Reads some or all of a value piece by piece, while others overwrite it.
    async fn stream(&mut self) {
        let key = self.any_key();
        let began = self.tick();
        let found = self.group(key).get_stream(key_of(key)).await.unwrap();
        let ended = self.tick();
        let Some(mut stream) = found else { return };
        let (mut value, whole) = (Vec::new(), self.dice.roll(2) == 0);
        while let Some(piece) = stream.next().await {
            value.extend_from_slice(&piece.unwrap());
            if !whole {
                return;
            }
        }
        let value = Some(number_of(&value));
        self.events.push(Event { key, began, ended, value, kind: Kind::Read });
    }

    /// Somebody else may drop the group at any moment of this.
    async fn scratch(&mut self) {
        let goes = |outcome: logstor::Result<()>| match outcome {
            Ok(()) | Err(Error::GroupDropped { .. } | Error::NoSuchGroup { .. }) => {}
            Err(error) => panic!("{error}"),
        };
        if self.dice.roll(3) == 0 {
            let dropped = give_up_after(self.dice.roll(100), self.db.drop_group(SCRATCH)).await;
            return dropped.map_or((), goes);
        }
        match self.db.group(SCRATCH).await {
            Ok(group) => goes(group.put(self.next().to_le_bytes(), "value").await),
            Err(error) => goes(Err(error)),
        }
    }
}

/// Polls `call` until it ends, but at most so often, with the runtime running in between.
async fn give_up_after<T>(polls: u64, call: impl Future<Output = T>) -> Option<T> {
    let patience = async {
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
    };
    if polls == u64::MAX {
        return Some(call.await);
    }
    match select(pin!(call), pin!(patience)).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(_) => None,
    }
}

/// Whether a key may have shown `value` to a reader who began and ended then.
fn may_show(writes: &[Event], (began, ended): (u64, u64), value: Option<u64>) -> bool {
    let nothing = Event { key: (0, 0), began: 0, ended: 0, value: None, kind: Kind::Made };
    let mut sources = writes.iter().chain([&nothing]).filter(|write| write.value == value);
    sources.any(|source| {
        let follows = |write: &&Event| write.kind == Kind::Made && write.began > source.ended;
        let hidden = writes.iter().filter(follows).any(|write| write.ended < began);
        source.began <= ended && !hidden
    })
}

#[test]
fn a_read_may_show_what_nothing_followed() {
    let write = |began, ended, value| Event { key: (0, 0), began, ended, value, kind: Kind::Made };
    let writes = [write(1, 4, Some(1)), write(3, 6, Some(2)), write(8, 9, None)];
    let shows = |at, value| may_show(&writes, at, value);
    assert!(shows((0, 0), None) && !shows((0, 0), Some(1)));
    assert!(shows((2, 2), Some(1)) && shows((7, 7), Some(1)) && shows((7, 7), Some(2)));
    assert!(!shows((7, 7), None) && !shows((10, 10), Some(2)) && shows((10, 10), None));
    assert!(shows((7, 10), None) && shows((8, 10), Some(2)));
}

fn options() -> Options {
    Options {
        segment_len: Some(64 << 10),
        segments_per_file: Some(16),
        write_memory: 64 << 10,
        ..Options::default()
    }
}

/// What every key holds.
async fn contents(db: &Db) -> BTreeMap<Key, Option<u64>> {
    let mut contents = BTreeMap::new();
    for group in 0..GROUPS {
        let handle = db.group(group.to_string()).await.unwrap();
        for number in 0..KEYS {
            let key = (group, number);
            let value = handle.get(key_of(key)).await.unwrap();
            contents.insert(key, value.map(|value| number_of(&value)));
        }
    }
    contents
}

async fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

fn adds_up(stats: &Stats) -> bool {
    let written = stats.device.written;
    let of = [written.log, written.copies, written.seals, written.erased, written.mark];
    let more = [written.zeros, written.recovery, written.dump, written.pieces];
    let bytes: u64 = of.iter().chain(&more).sum();
    stats.space.sum() == stats.file_bytes && bytes == stats.device.written_bytes
}

/// The numbers of the groups are those of the store.
async fn groups_add_up(db: &Db) {
    let (mut keys, mut live) = (0, 0);
    for name in db.groups() {
        let stats = db.group(name).await.unwrap().stats().unwrap();
        keys += stats.keys;
        live += stats.live_bytes;
    }
    let stats = db.stats();
    assert_eq!(stats.keys, keys);
    assert!(live <= stats.space.live, "the catalogue lives too: {live}, {stats:?}");
}

/// A batch for which a reader's copies and the records take more than all write memory.
async fn take_all_write_memory(db: &Db) {
    let (group, mut batch) = (db.group("0").await.unwrap(), WriteBatch::new());
    for key in 100..103 {
        batch.put(&group, [key], vec![0; 14_000]);
    }
    let written = db.write_with(batch, Durability::Written);
    let waited = tokio::time::timeout(Duration::from_secs(60), written).await;
    waited.expect("somebody still holds write memory").unwrap();
}

async fn stress(folder: &std::path::Path) {
    let db = super::builder(folder).options(options()).open().await.unwrap();
    let names = (0..GROUPS).map(|group| group.to_string());
    let groups: Vec<Group> =
        join_all(names.map(|name| db.group(name))).await.into_iter().map(Result::unwrap).collect();
    let clock = Arc::new(AtomicU64::new(1));
    let tasks = (0..TASKS).map(|number| {
        let (db, groups, clock) = (db.clone(), groups.clone(), Arc::clone(&clock));
        let (dice, events) = (Dice(number + 1), Vec::new());
        tokio::spawn(Task { db, groups, clock, dice, number, calls: 0, events }.work())
    });
    let mut events: BTreeMap<Key, Vec<Event>> = BTreeMap::new();
    for task in join_all(tasks).await {
        for event in task.unwrap() {
            events.entry(event.key).or_default().push(event);
        }
    }
    db.flush().await.unwrap();
    let found = contents(&db).await;
    let end = clock.load(SeqCst);
    for (key, &value) in &found {
        let of_key = events.get(key).map_or(&[][..], Vec::as_slice);
        let (reads, writes): (Vec<Event>, Vec<Event>) =
            of_key.iter().partition(|event| event.kind == Kind::Read);
        assert!(may_show(&writes, (end, end), value), "{key:?} is {value:?}: {writes:?}");
        for read in reads {
            assert!(
                may_show(&writes, (read.began, read.ended), read.value),
                "{read:?}: {writes:?}"
            );
        }
    }

    wait_until("the store is at rest", || {
        let stats = db.stats();
        assert!(adds_up(&stats), "{stats:?}");
        let pinned = stats.space.pinned + u64::from(stats.segments.retired);
        pinned == 0 && !stats.compaction.running && stats.compaction.pauses == 0
    })
    .await;
    groups_add_up(&db).await;
    take_all_write_memory(&db).await;
    db.close().await.unwrap();
    drop((db, groups));

    let db = super::builder(folder).options(options()).open().await.unwrap();
    assert!(db.recovery_report().from_dump);
    assert_eq!(contents(&db).await, found);
    db.close().await.unwrap();
}

#[test]
fn many_tasks_on_the_same_keys_leave_a_store_that_is_right_and_at_rest() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    runtime.block_on(async {
        stress(&folder.path().join("store")).await;
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        wait_until("no task is left", || alive() == 0).await;
    });
}
