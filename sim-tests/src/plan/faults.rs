//! What goes wrong in a seed: which kinds of faults, and how often each.
//!
//! 1. A third of all seeds is of class A: nothing errs there, so that every error is a bug.
//! 2. In the others each kind is switched on or off by itself, and few, half or most of them are.
//! 3. What only takes long, is late or comes in parts is drawn for every seed, whatever its class.
//! 4. It comes from a stream of its own: a new kind changes nothing else of a plan.
//!
//! Absent on purpose: damage that no call reports.

use std::time::Duration;

use logstor_core::Options;
use logstor_io_sim::{FailedSync, Faults, SimRng, Spell};

use super::SEGMENT;

/// The faults of a seed.
pub(super) fn draw(seed: u64, options: &Options) -> Faults {
    let rng = &mut SimRng::new(seed, "faults of a plan");
    let slow = draw_slow(rng);
    if rng.chance(1, 3) {
        return slow;
    }
    // Of four kinds so many are on.
    let density = rng.between(1, 3);
    let read_error = rate(rng, density, 50_000);
    let latent_error = rate(rng, density, 10_000);
    let write_error = rate(rng, density, 30_000);
    let sync_error = rate(rng, density, 60_000);
    let name_error = rate(rng, density, 50_000);
    let open_error = rate(rng, density, 50_000);
    let list_error = rate(rng, density, 300_000);
    let no_room = rate(rng, density, 20_000);
    let failed_sync =
        *rng.pick(&[FailedSync::Keeps, FailedSync::Drops, FailedSync::Evicts, FailedSync::Either]);
    let no_room_spell = rng.chance(1, 6).then(|| draw_spell(rng));
    let capacity = rng.chance(1, 4).then(|| draw_capacity(rng, options));
    Faults {
        read_error,
        latent_error,
        write_error,
        sync_error,
        name_error,
        open_error,
        list_error,
        no_room,
        failed_sync,
        no_room_spell,
        capacity,
        ..slow
    }
}

/// The faults of a seed for a full store: transfers in parts, and nothing else.
pub(super) fn draw_full(seed: u64) -> Faults {
    let rng = &mut SimRng::new(seed, "faults of a plan");
    Faults { in_parts: draw_slow(rng).in_parts, ..Faults::none() }
}

/// What never errs.
fn draw_slow(rng: &mut SimRng) -> Faults {
    Faults {
        stall: if rng.chance(1, 6) { rate(rng, 4, 3000) } else { 0 },
        device_stall: if rng.chance(1, 6) { rate(rng, 4, 1000) } else { 0 },
        in_parts: if rng.chance(1, 3) { *rng.pick(&[20_000, 300_000]) } else { 0 },
        // Nothing of the engine asks; should it begin to, it has to stand this.
        wall_jump: 250_000,
        late_timer: if rng.chance(1, 6) { rate(rng, 4, 100_000) } else { 0 },
        ..Faults::none()
    }
}

/// A rate of up to `most`, `density` times in four, and else 0.
fn rate(rng: &mut SimRng, density: u64, most: u64) -> u32 {
    let rate = if rng.chance(density, 4) { 1 + rng.below(most) } else { 0 };
    u32::try_from(rate).expect("rates are below a million")
}

/// Some of what an epoch takes, up to many of them.
fn draw_spell(rng: &mut SimRng) -> Spell {
    let every = rng.between(20_000, *rng.clone().pick(&[100_000, 1_000_000, 10_000_000]));
    let lasts = every / rng.between(2, 20);
    Spell { every: Duration::from_micros(every), lasts: Duration::from_micros(lasts) }
}

/// Room for the files, for superblock, mark and dump, and for part of one more.
fn draw_capacity(rng: &mut SimRng, options: &Options) -> u64 {
    let per_file = u64::from(options.segments_per_file.unwrap_or(2));
    let files = rng.between(2, 6);
    files * per_file * SEGMENT + (64 << 10) + rng.below(per_file * SEGMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_seeds_has_no_fault_and_every_kind_is_drawn_alone() {
        let draw = |seed| draw(seed, &Options::default());
        let all: Vec<Faults> = (0..3000).map(draw).collect();
        let quiet = all.iter().filter(|faults| !faults.may_err()).count();
        assert!((800..1200).contains(&quiet), "{quiet}");
        let kinds: [fn(&Faults) -> bool; 11] = [
            |f| f.read_error > 0,
            |f| f.latent_error > 0,
            |f| f.write_error > 0,
            |f| f.sync_error > 0,
            |f| f.name_error > 0,
            |f| f.open_error > 0,
            |f| f.list_error > 0,
            |f| f.no_room > 0,
            |f| f.no_room_spell.is_some(),
            |f| f.capacity.is_some(),
            |f| !f.may_err() && f.stall > 0,
        ];
        for (number, kind) in kinds.iter().enumerate() {
            let on = |faults: &&Faults| kind(faults);
            let alone = |faults: &&Faults| kinds.iter().filter(|kind| kind(faults)).count() == 1;
            assert!(all.iter().filter(on).count() > 100, "kind {number}");
            assert!(all.iter().filter(on).any(|faults| alone(&faults)), "kind {number} alone");
        }
    }
}
