//! `kill -9` again and again on one store: what was acknowledged stays, what was found stays.
//!
//! ```text
//! parent: history ──> child: open, check, "resumed", write, "w n", write, "w n", …  ✗ SIGKILL
//!            ^                                                              │
//!            └──────────────── what it said before it died ─────────────────┘
//! ```
//!
//! Every writer of the child makes a fixed series of writes, one after the other, and says after
//! each (or after each flush, if it writes `Buffered`) how far it has come. So what it leaves
//! behind must equal the state after some write from the last one said to the last one that can
//! have been under way. The next child finds out which, and says so: from then on that may not
//! change any more, even if this child dies at once. Values name the round that wrote them, so a
//! write that was void and comes back to life is noticed too.
//!
//! A child is killed after so many writes, or in the middle of its opening, or is left to close the
//! store. Segments are short and files small: growth, reuse and erasing happen all the time.
//!
//! `LOGSTOR_KILLS=200 cargo test -p logstor --test kill` kills 200 times instead of 10;
//! `LOGSTOR_KILL_SEED` varies when.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use logstor::{Db, Durability, Group, Options, WriteBatch};

const WRITERS: usize = 9;
/// This one writes `Buffered`, and flushes now and then.
const BUFFERED: usize = 8;
const FLUSH_EVERY: u64 = 40;
/// Keys of each writer: few, so that most writes replace or delete something.
const KEYS: u64 = 48;

// ---------------------------------------------------------------------------- what is written

/// Numbers that look random, from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0) % below
    }
}

fn scramble(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// A write of a writer's series.
enum Op {
    Put(u64),
    Delete(u64),
    PutAndDelete(u64, u64),
    PutBoth(u64, u64),
}

impl Op {
    fn of(writer: usize, number: u64) -> Self {
        let dice = scramble(u64::try_from(writer).unwrap() << 48 | number);
        let (key, other) = (dice % KEYS, (dice + 1) % KEYS);
        match dice >> 32 & 15 {
            0 | 1 => Self::Delete(key),
            2 => Self::PutAndDelete(key, other),
            3 => Self::PutBoth(key, other),
            _ => Self::Put(key),
        }
    }

    /// `write`: its number, and the round that made it.
    fn apply(&self, write: (u64, u64), state: &mut State) {
        match *self {
            Self::Put(key) => drop(state.insert(key, write)),
            Self::Delete(key) => drop(state.remove(&key)),
            Self::PutBoth(one, other) => state.extend([(one, write), (other, write)]),
            Self::PutAndDelete(one, other) => {
                state.insert(one, write);
                state.remove(&other);
            }
        }
    }
}

/// What a writer's keys hold: the number and the round of the write that set each.
type State = BTreeMap<u64, (u64, u64)>;

fn key_of(writer: usize, key: u64) -> String {
    format!("{writer}/{key}")
}

/// Mostly short; one in 32 takes an eighth of a segment, or a quarter.
fn value_of(writer: usize, number: u64, round: u64) -> Vec<u8> {
    let dice = scramble(number ^ round << 40);
    let len = if dice.is_multiple_of(32) { 8 << 10 } else { 40 } + dice / 32 % 8000;
    let name = format!("writer {writer} write {number} round {round}; ");
    name.bytes().cycle().take(usize::try_from(len).unwrap()).collect()
}

// ---------------------------------------------------------------------------- what must be there

/// What is known of one writer.
#[derive(Clone, Debug, Default, PartialEq)]
struct Series {
    /// The last write that was acknowledged, or found there.
    last: u64,
    /// From which write on each round wrote; of two that say the same write the later one did.
    rounds: Vec<(u64, u64)>,
}

impl Series {
    fn round_of(&self, number: u64) -> u64 {
        let begun = self.rounds.iter().rev().find(|(first, _)| *first <= number);
        begun.expect("a round wrote it").1
    }

    /// Which write the state `found` is that of.
    fn place(&self, writer: usize, found: &State) -> u64 {
        let under_way = if writer == BUFFERED { FLUSH_EVERY } else { 1 };
        let mut state = State::new();
        for number in 0..=self.last + under_way {
            if number > 0 && self.rounds.is_empty() {
                break; // it never wrote
            }
            if number > 0 {
                Op::of(writer, number).apply((number, self.round_of(number)), &mut state);
            }
            if number >= self.last && state == *found {
                return number;
            }
        }
        panic!("writer {writer}: {found:?} does not follow from {self:?}");
    }
}

fn write_down(series: &[Series]) -> String {
    let mut text = String::new();
    for one in series {
        write!(text, "{}", one.last).unwrap();
        for (first, round) in &one.rounds {
            write!(text, " {first} {round}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn read_up(text: &str) -> Vec<Series> {
    let numbers = |line: &str| line.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<u64>>();
    let series = |line: Vec<u64>| Series {
        last: line[0],
        rounds: line[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect(),
    };
    text.lines().map(|line| series(numbers(line))).collect()
}

async fn read_back(group: &Group, writer: usize) -> State {
    let mut found = State::new();
    for key in 0..KEYS {
        let Some(value) = group.get(key_of(writer, key)).await.unwrap() else { continue };
        let text = String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned();
        let words: Vec<&str> = text.split([' ', ';']).collect();
        let [number, round] = [words[3], words[5]].map(|word| word.parse().unwrap());
        assert_eq!(value, value_of(writer, number, round), "writer {writer} key {key}");
        found.insert(key, (number, round));
    }
    found
}

/// Checks all that the store holds; says up to which write each writer has come.
async fn check(db: &Db, series: &[Series]) -> Vec<u64> {
    let group = db.group("killed").await.unwrap();
    let mut keys = 0;
    let mut places = Vec::new();
    for (writer, series) in series.iter().enumerate() {
        let found = read_back(&group, writer).await;
        keys += u64::try_from(found.len()).unwrap();
        places.push(series.place(writer, &found));
    }
    assert_eq!(db.stats().keys, keys, "nothing else is there");
    places
}

async fn open(folder: &Path) -> Db {
    let options =
        Options { segment_len: Some(64 << 10), segments_per_file: Some(16), ..Options::default() };
    logstor::builder(folder).options(options).open().await.unwrap()
}

// ---------------------------------------------------------------------------- the child

fn given<T: FromStr>(name: &str, otherwise: T) -> T {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// In one piece, so that a kill cannot cut it. Fails once nobody listens.
fn say(words: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(format!("{words}\n").as_bytes())?;
    output.flush()
}

/// Not a test of its own: what the child processes of the next one run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs only as the child of another test"]
async fn child_writes_until_it_is_killed() {
    let folder = env::var_os("LOGSTOR_TEST_FOLDER").expect("set by the parent");
    let series = read_up(&env::var("LOGSTOR_TEST_HISTORY").expect("set by the parent"));
    let (round, most) = (given("LOGSTOR_TEST_ROUND", 0), given("LOGSTOR_TEST_WRITES", u64::MAX));
    say("\nopening").unwrap();
    let db = open(Path::new(&folder)).await;
    let places = check(&db, &series).await;
    let text: Vec<String> = places.iter().map(ToString::to_string).collect();
    say(&format!("resumed {}", text.join(" "))).unwrap();

    let group = db.group("killed").await.unwrap();
    let writers = places.into_iter().enumerate().map(|(writer, last)| {
        let (db, group) = (db.clone(), group.clone());
        let numbers = last + 1..last.saturating_add(most);
        tokio::spawn(async move { write_series(&db, &group, (writer, round), numbers).await })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap().unwrap();
    }
    db.close().await.unwrap();
}

async fn write_series(
    db: &Db,
    group: &Group,
    (writer, round): (usize, u64),
    numbers: std::ops::Range<u64>,
) -> io::Result<()> {
    let durability = if writer == BUFFERED { Durability::Buffered } else { Durability::Synced };
    for number in numbers {
        let value = value_of(writer, number, round);
        let mut batch = WriteBatch::new();
        match Op::of(writer, number) {
            Op::Put(key) => drop(batch.put(group, key_of(writer, key), value)),
            Op::Delete(key) => drop(batch.delete(group, key_of(writer, key))),
            Op::PutBoth(one, other) => {
                batch.put(group, key_of(writer, one), value.clone());
                batch.put(group, key_of(writer, other), value);
            }
            Op::PutAndDelete(one, other) => {
                batch.put(group, key_of(writer, one), value);
                batch.delete(group, key_of(writer, other));
            }
        }
        db.write_with(batch, durability).await.unwrap();
        if durability == Durability::Buffered {
            if !number.is_multiple_of(FLUSH_EVERY) {
                continue;
            }
            db.flush().await.unwrap();
        }
        say(&format!("{writer} {number}"))?;
    }
    Ok(())
}

// ---------------------------------------------------------------------------- the parent

/// When a child is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// So long after it began to open the store.
    Opening(Duration),
    /// After it said so many writes.
    Writing(u64),
    /// Never: it closes the store after so many writes of each writer.
    Closing(u64),
}

impl Moment {
    /// `opening`: how long an opening took before.
    fn choose(dice: &mut Dice, opening: Duration) -> Self {
        match dice.roll(8) {
            0..=2 => Self::Opening(opening * u32::try_from(dice.roll(120)).unwrap() / 100),
            3 => Self::Closing(1 + dice.roll(40)),
            _ => Self::Writing(dice.roll(600)),
        }
    }
}

fn start_child(folder: &Path, series: &[Series], round: u64, moment: Moment) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "child_writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env("LOGSTOR_TEST_FOLDER", folder)
        .env("LOGSTOR_TEST_HISTORY", write_down(series))
        .env("LOGSTOR_TEST_ROUND", round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Moment::Closing(writes) = moment {
        command.env("LOGSTOR_TEST_WRITES", writes.to_string());
    }
    command.spawn().unwrap()
}

/// What came of one child.
#[derive(Default)]
struct Heard {
    resumed: bool,
    writes: u64,
    /// How long it took to open the store and to check it, if it came so far.
    opening: Option<Duration>,
}

/// Runs one child to its end, and notes what it said.
fn run_child(folder: &Path, series: &mut [Series], round: u64, moment: Moment) -> Heard {
    let mut child = start_child(folder, series, round, moment);
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut heard = Heard::default();
    let mut began = Instant::now();
    for line in output.lines() {
        let line = line.unwrap();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if word == "opening" {
            began = Instant::now();
            if let Moment::Opening(wait) = moment {
                thread::sleep(wait);
                child.kill().unwrap();
            }
        } else if word == "resumed" {
            heard.resumed = true;
            heard.opening = Some(began.elapsed());
            for (one, place) in series.iter_mut().zip(rest.split(' ')) {
                one.last = place.parse().unwrap();
                one.rounds.push((one.last + 1, round));
            }
        } else if let (true, Ok(writer)) = (heard.resumed, word.parse::<usize>()) {
            let number = rest.parse().unwrap();
            assert!(number > series[writer].last);
            series[writer].last = number;
            heard.writes += 1;
        }
        if heard.resumed && moment == Moment::Writing(heard.writes) {
            child.kill().unwrap();
        }
    }
    let ended = child.wait().unwrap();
    let closes = matches!(moment, Moment::Closing(_));
    assert_eq!(ended.code(), closes.then_some(0), "round {round}: {moment:?}, {ended}");
    heard
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_every_kill() {
    let above = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = above.path().join("store");
    let kills: u64 = given("LOGSTOR_KILLS", 10);
    let mut dice = Dice(given("LOGSTOR_KILL_SEED", 1));
    let mut series = vec![Series::default(); WRITERS];
    let mut usual = Duration::from_millis(20);
    let (mut killed, mut opening, mut writes, mut round) = (0, 0, 0, 0);
    while killed < kills {
        round += 1;
        let moment = Moment::choose(&mut dice, usual);
        let heard = run_child(&folder, &mut series, round, moment);
        writes += heard.writes;
        usual = heard.opening.unwrap_or(usual);
        opening += u64::from(!heard.resumed);
        killed += u64::from(!matches!(moment, Moment::Closing(_)));
    }
    let db = open(&folder).await;
    let places = check(&db, &series).await;
    for (series, place) in series.iter_mut().zip(places) {
        series.last = place;
    }
    let stats = db.stats();
    println!("{killed} kills, {opening} of them while opening; {writes} acknowledgements");
    println!("{:?}, {} bytes of files", stats.segments, stats.file_bytes);
    db.close().await.unwrap();
    drop(db);
    assert!(fs::metadata(folder.join("index.dump")).is_ok(), "the close left a dump");
    let db = open(&folder).await;
    let exact = check(&db, &series).await;
    assert_eq!(exact, series.iter().map(|series| series.last).collect::<Vec<_>>());
    db.close().await.unwrap();
}
