//! What one seed is: geometry, options, faults, clients, keys, crashes.
//!
//! ```text
//!   seed ──draw──> Plan ──text──> file ──read──> Plan ──run──> Report
//! ```
//!
//! Drawn once, from streams of the seed, by *swarm*: each seed switches whole features off, so that
//! what is rare in a mixture of everything happens often in some seeds.
//!
//! 1. A plan is a function of its seed, and a run is a function of its plan.
//! 2. A third of all seeds injects no error: there every error is a bug.
//! 3. What large values add is drawn apart: a seed without them is the same as if there were none.
//! 4. Every epoch and every operation has a stream of its own, so what is left out of a plan
//!    changes nothing about how the rest of it is drawn.
//!
//! 5. Some seeds are of a `scenario`, in which what a rare accident takes comes together.
//!
//! A plan for a *full* store differs: a small capacity, keys enough to fill it, and no faults.
//!
//! Absent on purpose: the operations themselves. A plan says which ones are done, by number; the
//! seed says what they are, since much of it depends on what the store answered before.

mod damage;
mod epoch;
mod faults;
mod form;
mod scenario;
mod text;
mod word;

use std::time::Duration;

use logstor_core::format::geometry::Geometry;
use logstor_core::{Durability, Options};
use logstor_io_sim::{Faults, Latencies, Latency, SimRng, StopAt};

pub use self::damage::{Aim, Damage, How, Reach, Wound};
pub use self::epoch::{Again, Cut, End, Epoch, Fork, Numbers, Opening, Part};
pub use self::scenario::Scenario;
pub use self::text::Unreadable;

/// Bytes of a segment: the smallest, so that reuse and fullness happen within tens of operations.
pub const SEGMENT: u64 = 64 << 10;

/// What follows from that, but for how many lie in a file.
///
/// # Panics
///
/// Never: a store may have such segments.
#[must_use]
pub fn geometry() -> Geometry {
    let len = u32::try_from(SEGMENT).expect("segments of a simulation are small");
    Geometry::new(len, 1).expect("a store may have such segments")
}

const GROUPS: [&str; 4] = ["a", "b", "c", "a group with a longer name"];

/// What seeds are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A mixture of everything.
    #[default]
    Mixed,
    /// A small store that is filled until it is full, and relieved, again and again.
    Full,
    /// A disk that damages what it holds and says nothing.
    Damage,
}

/// Everything that is fixed for a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of everything that clients draw.
    pub seed: u64,
    /// The seed of what the simulated world draws: schedule, latencies, faults, what survives.
    pub world: u64,
    /// What it is for.
    pub mode: Mode,
    /// How every epoch opens the store; the observer is added by the harness.
    pub options: Options,
    /// What goes wrong while the store is used.
    pub faults: Faults,
    /// Bytes of a sector.
    pub sector: u32,
    /// How long device operations take.
    pub latencies: Latencies,
    /// All keys.
    pub keys: Vec<Vec<u8>>,
    /// Names of groups.
    pub groups: Vec<&'static str>,
    /// How values, durabilities and operations are mixed.
    pub mix: Mix,
    /// Values over the limit of a record, and streams; `None` where there are none.
    pub large: Option<Large>,
    /// Reads of other kinds than one key at a time; `None` where there are none.
    pub reads: Option<Reads>,
    /// What the disk does to what it holds; `None` if it keeps its promises.
    pub damage: Option<Damage>,
    /// No value of a record is longer, whatever was drawn.
    pub value_max: Option<u64>,
    /// While clients are at work, a copy of the disk is crashed and recovered after each so many
    /// effects.
    pub shadows: Option<u64>,
    /// Of a hundred power cuts so many leave noise where something was being written.
    pub noise: Option<u64>,
    /// The story that was made of the seed; a plan that was read has none.
    pub scenario: Option<&'static Scenario>,
    /// Uses of the store, one after the other.
    pub epochs: Vec<Epoch>,
    /// The opening after all of them.
    pub last: Opening,
}

/// Weights of what clients do.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Operations, by [`Kind`](crate::ops::Kind).
    pub kinds: Vec<u64>,
    /// Values: tiny, about a KiB, up to the limit.
    pub sizes: [u64; 3],
    /// `Buffered`, `Written`, `Synced`, and the store's own.
    pub durability: [u64; 4],
    /// Of a hundred operations so many are dropped half-way.
    pub dropped: u64,
    /// Of a hundred operations so many come after a pause.
    pub pauses: u64,
    /// Of a hundred keys drawn so many are the first one.
    pub hot: u64,
}

/// What is done with values that take segments of their own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Large {
    /// Of a hundred single puts so many are of one.
    pub puts: u64,
    /// Segments that one takes, at most.
    pub pieces: u64,
    /// Of a hundred single puts so many come as a stream, whatever their length.
    pub streamed: u64,
    /// Of a hundred streams so many break off.
    pub broken: u64,
    /// Of a hundred puts of these so many are given up, beside those of [`Mix::dropped`].
    pub given_up: u64,
    /// Writes take long, and some far longer than others: what was given up lands late.
    pub slow_writes: bool,
    /// Of a hundred reads so many are of a stream, perhaps one that is read on later.
    pub read_on: u64,
}

/// How keys are read, but for one at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reads {
    /// Of a hundred reads so many are answered from memory.
    pub in_memory: u64,
    /// Of the others so many are of several keys at once.
    pub many: u64,
    /// Bytes for values that were read lately.
    pub cache: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64, mode: Mode) -> Self {
        let plain = match mode {
            Mode::Mixed => Self::draw_mixed(seed),
            Mode::Full => Self::draw_full(seed),
            Mode::Damage => return Self::draw_damaged(seed),
        };
        plain.with_scenario()
    }

    /// As a mixture of everything without any fault that is reported, and in fewer epochs.
    fn draw_damaged(seed: u64) -> Self {
        let mut plan = Self::draw_mixed(seed);
        plan.mode = Mode::Damage;
        plan.faults = Faults::none();
        plan.epochs.truncate(3);
        for epoch in &mut plan.epochs {
            epoch.fork = None;
        }
        plan.last = Opening::default();
        plan.noise = None;
        let damage = Damage::draw(seed);
        if damage.lies() {
            plan.shadows = None; // what they recover nobody judges by what was meant
        }
        plan.damage = Some(damage);
        plan
    }

    fn draw_full(seed: u64) -> Self {
        let rng = &mut SimRng::new(seed, "full plan");
        let options = draw_options(rng);
        let per_file = u64::from(options.segments_per_file.unwrap_or(1));
        let capacity = rng.between(8, 20).next_multiple_of(per_file) * SEGMENT;
        let groups = draw_groups(rng);
        // Enough for a value of 3 KiB each to fill the store, and half as many again.
        let slots = capacity * 3 / 2 / (3 << 10);
        let count = slots / u64::try_from(groups.len()).expect("there are few groups");
        let keys = (0..count).map(|number| draw_key(rng, number)).collect();
        let mut mix = Mix::draw(seed, rng);
        mix.sizes = [rng.below(2), 4, 1 + rng.below(8)];
        let (epochs, clients) = (rng.between(1, 3), rng.between(1, 3));
        let kills = *rng.pick(&[0, 20, 100]);
        let epochs = (0..epochs).map(|number| Epoch::draw_full(seed, number, clients, kills));
        Self {
            seed,
            world: seed,
            mode: Mode::Full,
            options: Options { capacity: Some(capacity), ..options },
            faults: faults::draw_full(seed),
            sector: draw_sector(seed),
            latencies: draw_latencies(rng),
            keys,
            groups,
            mix,
            large: Large::draw(seed, 10),
            reads: Reads::draw(seed),
            damage: None,
            value_max: None,
            shadows: None,
            noise: draw_noise(seed),
            scenario: None,
            epochs: epochs.collect(),
            last: Opening::draw_last(seed, kills),
        }
    }

    fn draw_mixed(seed: u64) -> Self {
        let rng = &mut SimRng::new(seed, "plan");
        let options = draw_options(rng);
        let faults = faults::draw(seed, &options);
        let capacity = if faults.capacity.is_some() { None } else { options.capacity };
        let large = Large::draw(seed, 4);
        let most = *rng.pick(&[5, 12, 40]);
        let count = rng.between(2, most);
        let keys = (0..count).map(|number| draw_key(rng, number)).collect();
        let groups = draw_groups(rng);
        let mix = Mix::draw(seed, rng);
        let (epochs, clients) = (rng.between(2, 6), rng.between(1, 4));
        let kills = *rng.pick(&[0, 20, 20, 100]);
        let epochs = (0..epochs)
            .map(|number| Epoch::draw_mixed(seed, number, clients, kills, large.is_some()));
        Self {
            seed,
            world: seed,
            mode: Mode::Mixed,
            options: Options { capacity, index_memory: draw_index_memory(seed), ..options },
            faults,
            sector: draw_sector(seed),
            latencies: Large::slow(large.as_ref(), draw_latencies(rng)),
            keys,
            groups,
            mix,
            large,
            reads: Reads::draw(seed),
            damage: None,
            value_max: None,
            shadows: draw_shadows(seed),
            noise: draw_noise(seed),
            scenario: None,
            epochs: epochs.collect(),
            last: Opening::draw_last(seed, kills),
        }
    }

    /// Operations that clients are to do, of all epochs.
    #[must_use]
    pub fn ops(&self) -> u64 {
        let parts = self.epochs.iter().flat_map(|epoch| &epoch.clients);
        parts.map(|part| part.ops.len()).fold(0, u64::saturating_add)
    }

    /// Whether nothing but crashes happens: no call may err.
    #[must_use]
    pub fn is_faultless(&self) -> bool {
        !self.faults.may_err()
    }
}

fn draw_options(rng: &mut SimRng) -> Options {
    let per_file = rng.between(2, 4);
    let segments = rng.between(8, 20).next_multiple_of(per_file);
    let buffer = 4096 << rng.between(0, 4);
    let small = |value: u64| u32::try_from(value).expect("options of a plan are small");
    Options {
        segment_len: Some(small(SEGMENT)),
        segments_per_file: Some(small(per_file)),
        capacity: (!rng.chance(1, 5)).then_some(segments * SEGMENT),
        durability: *rng.pick(&[
            Durability::Synced,
            Durability::Synced,
            Durability::Written,
            Durability::Buffered,
        ]),
        buffer_len: small(buffer),
        write_memory: small((64 << 10) << rng.between(0, 3)),
        writes_in_flight: small(rng.between(1, 4)),
        flush_after: Duration::from_micros(rng.between(200, 20_000)),
        sync_bytes: small(4096 << rng.between(0, 6)),
        sync_after: Duration::from_millis(rng.between(1, 200)),
        space_percent: small(*rng.pick(&[110, 130, 150, 150, 250, 400])),
        compaction_rate: rng.chance(1, 8).then(|| rng.between(64 << 10, 8 << 20)),
        mixed_percent: small(*rng.pick(&[1, 10, 30, 50, 100])),
        rewrite_memory: small((64 << 10) << rng.between(0, 4)),
        ..Options::default()
    }
}

/// In half of the seeds. From a stream of its own: in all others nothing is different.
fn draw_scans(seed: u64) -> u64 {
    let rng = &mut SimRng::new(seed, "scans");
    if rng.coin() { 1 + rng.below(12) } else { 0 }
}

/// In one of three seeds, and then often. From a stream of its own, as above.
fn draw_compares(seed: u64) -> u64 {
    let rng = &mut SimRng::new(seed, "compares");
    if rng.chance(1, 3) { 5 + rng.below(40) } else { 0 }
}

/// So little that some of the keys do not find room in the index.
fn draw_index_memory(seed: u64) -> Option<u64> {
    let rng = &mut SimRng::new(seed, "index memory");
    rng.chance(1, 8).then(|| 1024 + 64 * rng.below(12))
}

fn draw_latencies(rng: &mut SimRng) -> Latencies {
    match rng.below(5) {
        0 => Latencies::constant(Duration::from_micros(100)),
        1 => Latencies { write: Latency::micros(20, 20_000), ..Latencies::default() },
        2 => Latencies { sync: Latency::micros(1000, 50_000), ..Latencies::default() },
        // Readers still at it when what they read is long dead.
        3 => Latencies { read: Latency::micros(20, 30_000), ..Latencies::default() },
        _ => Latencies::default(),
    }
}

fn draw_groups(rng: &mut SimRng) -> Vec<&'static str> {
    GROUPS[..=rng.index(GROUPS.len())].to_vec()
}

/// In one of eight seeds. From a stream of its own: in all others nothing is different.
fn draw_shadows(seed: u64) -> Option<u64> {
    let rng = &mut SimRng::new(seed, "shadows");
    rng.chance(1, 8).then(|| *rng.pick(&[7, 30, 100]))
}

/// In one of four seeds. From a stream of its own, as above.
fn draw_noise(seed: u64) -> Option<u64> {
    let rng = &mut SimRng::new(seed, "noise of a plan");
    rng.chance(1, 4).then(|| *rng.pick(&[30, 100]))
}

/// Half of the devices have large sectors.
fn draw_sector(seed: u64) -> u32 {
    *SimRng::new(seed, "sector").pick(&[512, 4096])
}

fn draw_key(rng: &mut SimRng, number: u64) -> Vec<u8> {
    let shortest = key(number, 0);
    if rng.chance(1, 8) { key(number, shortest.len() + rng.index(900)) } else { shortest }
}

/// The key with this number, at least so long.
fn key(number: u64, len: usize) -> Vec<u8> {
    let mut key = format!("key {number}").into_bytes();
    key.resize(key.len().max(len), b'.');
    key
}

impl Mix {
    fn draw(seed: u64, rng: &mut SimRng) -> Self {
        let mut some = |most: u64| if rng.coin() { 1 + rng.below(most) } else { 0 };
        // In the order of `Kind`.
        let kinds = vec![
            20,
            some(20),
            some(15),
            10 + some(20),
            some(5),
            some(4),
            some(4),
            some(3),
            some(3),
            some(3),
            some(6),
            some(5),
            some(3),
            some(2),
            some(3),
            draw_scans(seed),
            draw_compares(seed),
        ];
        let sizes = [1 + some(10), some(10), some(20)];
        let durability = [some(10), some(10), some(10), 3];
        let (dropped, pauses) = (some(20), some(40));
        let hot = some(50);
        Self { kinds, sizes, durability, dropped, pauses, hot }
    }
}

impl Large {
    fn slow(large: Option<&Self>, latencies: Latencies) -> Latencies {
        if !large.is_some_and(|large| large.slow_writes) {
            return latencies;
        }
        Latencies { write: Latency::micros(20, 5000), slow_per_million: 50_000, ..latencies }
    }

    /// In one of so many seeds. From a stream of its own: in all others nothing is different.
    fn draw(seed: u64, of: u64) -> Option<Self> {
        let rng = &mut SimRng::new(seed, "large values");
        rng.chance(1, of).then(|| Self {
            puts: rng.between(2, 20),
            pieces: rng.between(1, 4),
            streamed: *rng.pick(&[0, 10, 50]),
            broken: *rng.pick(&[0, 10, 40]),
            given_up: *rng.pick(&[0, 0, 10, 50]),
            slow_writes: rng.chance(1, 4),
            read_on: *rng.pick(&[0, 20, 60]),
        })
    }
}

impl Reads {
    /// In half of the seeds. From a stream of its own: in all others nothing is different.
    fn draw(seed: u64) -> Option<Self> {
        let rng = &mut SimRng::new(seed, "reads");
        rng.coin().then(|| Self {
            in_memory: *rng.pick(&[0, 10, 40]),
            many: *rng.pick(&[0, 20, 60]),
            cache: *rng.pick(&[0, 0, 16 << 10, 64 << 10, 1 << 20]),
        })
    }
}

/// An index, drawn by weight.
///
/// # Panics
///
/// If all weights are 0.
pub fn weighted(rng: &mut SimRng, weights: &[u64]) -> usize {
    let mut at = rng.below(weights.iter().sum());
    for (index, &weight) in weights.iter().enumerate() {
        if at < weight {
            return index;
        }
        at -= weight;
    }
    unreachable!("a draw lies below the sum of the weights")
}

/// A moment to stop at, many of them early, and nearly half of them while writes are unsynced.
pub fn draw_stop(rng: &mut SimRng, effects: u32, millis: u32) -> StopAt {
    let up_to = |rng: &mut SimRng, bits: u32| {
        let most = 1_u64 << rng.between(0, bits.into());
        1 + rng.below(most)
    };
    match rng.below(8) {
        0 => StopAt::Steps(up_to(rng, effects + 3)),
        1 => StopAt::After(Duration::from_micros(up_to(rng, millis + 10))),
        2..5 => {
            let writes = *rng.pick(&[1, 1, 2, 3, 5]);
            StopAt::Unsynced { count: up_to(rng, effects), writes }
        }
        _ => StopAt::Effects(up_to(rng, effects)),
    }
}
