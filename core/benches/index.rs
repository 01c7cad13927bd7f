//! What a key costs in memory, and what an insertion and a lookup take: the index of the engine
//! beside a hash table of the whole hash and the location.
//!
//! ```text
//! cargo bench -p logstor-core --features fuzzing --bench index -- 1M 10M 50M
//! ```
//!
//! `--only index` or `--only table` measures one of the two, `--leaf N` another length of leaves.
//! Keys come in random order. Each line is one run, in a process of its own so that the memory of
//! one is not that of the next: bytes a key as the structure counts them, as the kernel counts them
//! (resident, after the last insertion and at most), nanoseconds of an insertion, of a lookup that
//! finds and of one that does not, and the longest single insertion. From that the time is taken
//! away in which the process waited for a processor; what a hypervisor takes is in it.

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use logstor_core::format::geometry::Geometry;
use logstor_core::fuzzing::Index;
use logstor_core::types::{ByteLen, KeyHash, Location, SegmentId, SegmentOffset};

/// The clock of the machine: this is no part of the engine.
#[expect(clippy::disallowed_types, reason = "a bench measures time")]
type Instant = std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

/// What is measured.
trait Map {
    fn get(&self, hash: KeyHash) -> Option<Location>;
    fn insert(&mut self, hash: KeyHash, to: Location);
    fn memory(&self) -> usize;
}

impl Map for Index {
    fn get(&self, hash: KeyHash) -> Option<Location> {
        Self::get(self, hash)
    }

    fn insert(&mut self, hash: KeyHash, to: Location) {
        Self::insert(self, hash, to);
    }

    fn memory(&self) -> usize {
        Self::memory(self)
    }
}

/// The index as it was before.
#[derive(Default)]
struct Table(HashTable<(KeyHash, Location)>);

fn position(hash: KeyHash) -> u64 {
    u64::try_from(hash.get() & u128::from(u64::MAX)).expect("masked to 64 bits")
}

impl Map for Table {
    fn get(&self, hash: KeyHash) -> Option<Location> {
        self.0.find(position(hash), |entry| entry.0 == hash).map(|entry| entry.1)
    }

    fn insert(&mut self, hash: KeyHash, to: Location) {
        let same = |entry: &(KeyHash, Location)| entry.0 == hash;
        match self.0.entry(position(hash), same, |entry| position(entry.0)) {
            Entry::Occupied(mut entry) => entry.get_mut().1 = to,
            Entry::Vacant(entry) => drop(entry.insert((hash, to))),
        }
    }

    fn memory(&self) -> usize {
        self.0.allocation_size()
    }
}

/// The hash of the key with this number.
fn hash(number: u64) -> KeyHash {
    let mixed = |salt: u64| {
        let mut bits = number.wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u128::from(bits ^ (bits >> 31))
    };
    KeyHash::new((mixed(1) << 64) | mixed(1 << 60))
}

/// Where the key with this number lies: records of 128 bytes, one behind the other.
fn place(number: u64) -> Location {
    let narrow = |number: u64| u32::try_from(number).expect("fewer than 2^32");
    let (segment, slot) = (narrow(number / 2000), narrow(number % 2000));
    Location::new(SegmentId::new(segment), SegmentOffset::new(slot * 128), ByteLen::new(128))
}

/// Resident bytes of this process: now, and at most.
fn resident() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// How long this process could have run and was not let.
fn waited() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let field = text.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    Duration::from_nanos(field.unwrap_or(0))
}

/// The longest of many steps.
struct Longest {
    step: Duration,
    waited: Duration,
    at: u64,
}

impl Longest {
    /// Only a step that seems to be the longest is worth a look at what it waited for.
    fn note(&mut self, took: Duration, at: u64) {
        if took > self.step {
            let now = waited();
            let own = took.saturating_sub(now.saturating_sub(self.waited));
            if own > self.step {
                (self.step, self.at) = (own, at);
            }
            self.waited = now;
        }
    }
}

fn each(total: Duration, count: u64) -> u128 {
    total.as_nanos() / u128::from(count)
}

fn measure(name: &str, mut map: impl Map, count: u64) {
    let (base, _) = resident();
    let mut longest = Longest { step: Duration::ZERO, waited: waited(), at: 0 };
    let start = now();
    for number in 0..count {
        let before = now();
        map.insert(hash(number), place(number));
        longest.note(before.elapsed(), number);
    }
    let inserting = start.elapsed();
    let (after, most) = resident();

    let lookups = count.min(5_000_000);
    let start = now();
    for number in 0..lookups {
        let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count;
        assert_eq!(map.get(black_box(hash(number))), Some(place(number)));
    }
    let finding = start.elapsed();
    let start = now();
    for number in 0..lookups {
        assert_eq!(map.get(black_box(hash(count + number))), None);
    }
    let missing = start.elapsed();

    let hundredths = |bytes: u64| {
        let share = bytes * 100 / count;
        format!("{}.{:02}", share / 100, share % 100)
    };
    let counted = u64::try_from(map.memory()).expect("memory has 64 bits");
    println!(
        "{name:<6} {count:>10} keys  {:>6} counted  {:>6} resident  {:>6} at most  \
         {:>4} insert  {:>4} hit  {:>4} miss  {:>8} us longest, at key {}",
        hundredths(counted),
        hundredths(after.saturating_sub(base)),
        hundredths(most.saturating_sub(base)),
        each(inserting, count),
        each(finding, lookups),
        each(missing, lookups),
        longest.step.as_micros(),
        longest.at,
    );
}

fn keys(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix('M') {
        Some(digits) => (digits, 1_000_000),
        None => {
            (text.strip_suffix('k').unwrap_or(text), if text.ends_with('k') { 1000 } else { 1 })
        }
    };
    digits.parse::<u64>().ok().map(|number| number * unit)
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|one| one != "--bench").collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|one| one == name)?;
        arguments.get(at + 1).cloned()
    };
    let leaf = option("--leaf").map(|text| text.parse::<u16>().expect("--leaf takes a number"));
    let counts: Vec<u64> = arguments
        .iter()
        .filter(|one| Some(*one) != option("--leaf").as_ref())
        .filter_map(|one| keys(one))
        .collect();
    let geometry = Geometry::new(256 << 10, 256).expect("the default one");
    if let (Some(name), [count]) = (option("--run"), &counts[..]) {
        match (&*name, leaf) {
            ("table", _) => measure("table", Table::default(), *count),
            (_, Some(leaf)) => measure("index", Index::with_shape(geometry, leaf, 128), *count),
            (_, None) => measure("index", Index::new(geometry), *count),
        }
        return;
    }
    let only = option("--only");
    let counts = if counts.is_empty() { vec![1_000_000] } else { counts };
    for count in counts {
        for name in ["table", "index"] {
            if only.as_deref().is_some_and(|only| only != name) {
                continue;
            }
            let program = env::current_exe().expect("a running program has a name");
            let mut run = Command::new(program);
            run.args(["--run", name, &count.to_string()]);
            if let Some(leaf) = leaf {
                run.args(["--leaf", &leaf.to_string()]);
            }
            assert!(run.status().expect("a program can be started again").success());
        }
    }
}
