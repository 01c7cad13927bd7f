//! The form of a plan: which fields it has, under which names, in which order.
//!
//! Law: one list of fields serves writing and reading, so neither can forget one.
//!
//! Absent on purpose: defaults. A file that lacks a field is refused; a run is a function of what
//! the file says.

use logstor_core::Options;
use logstor_io_sim::{Faults, Latencies};

use super::epoch::Epoch;
use super::word::Word;
use super::{Damage, Large, Mix, Plan, Reads};

/// One who goes through the fields of a section.
pub(super) trait Visitor {
    /// The field `name`, whose value is `value`.
    fn field<T: Word>(&mut self, name: &'static str, value: &mut T);
}

pub(super) fn head(plan: &mut Plan, form: &mut impl Visitor) {
    form.field("seed", &mut plan.seed);
    form.field("world", &mut plan.world);
    form.field("mode", &mut plan.mode);
    form.field("groups", &mut plan.groups);
    form.field("lengths of keys", &mut plan.keys);
    form.field("longest value", &mut plan.value_max);
    form.field("shadow every", &mut plan.shadows);
    form.field("noise percent", &mut plan.noise);
    form.field("last opening", &mut plan.last);
}

pub(super) fn store(options: &mut Options, form: &mut impl Visitor) {
    form.field("segment length", &mut options.segment_len);
    form.field("segments in a file", &mut options.segments_per_file);
    form.field("capacity", &mut options.capacity);
    form.field("durability", &mut options.durability);
    form.field("buffer length", &mut options.buffer_len);
    form.field("write memory", &mut options.write_memory);
    form.field("writes in flight", &mut options.writes_in_flight);
    form.field("flush after", &mut options.flush_after);
    form.field("sync bytes", &mut options.sync_bytes);
    form.field("sync after", &mut options.sync_after);
    form.field("space percent", &mut options.space_percent);
    form.field("compaction rate", &mut options.compaction_rate);
    form.field("mixed percent", &mut options.mixed_percent);
    form.field("rewrite memory", &mut options.rewrite_memory);
    form.field("index memory", &mut options.index_memory);
}

pub(super) fn disk(
    sector: &mut u32,
    faults: &mut Faults,
    latencies: &mut Latencies,
    form: &mut impl Visitor,
) {
    form.field("sector", sector);
    form.field("failing reads per million", &mut faults.read_error);
    form.field("reads of sectors gone bad per million", &mut faults.latent_error);
    form.field("failing writes per million", &mut faults.write_error);
    form.field("failing writes at", &mut faults.write_error_at);
    form.field("failing syncs per million", &mut faults.sync_error);
    form.field("failing names per million", &mut faults.name_error);
    form.field("failed sync", &mut faults.failed_sync);
    form.field("failing opens per million", &mut faults.open_error);
    form.field("failing lists per million", &mut faults.list_error);
    form.field("told full per million", &mut faults.no_room);
    form.field("told full in spells", &mut faults.no_room_spell);
    form.field("disk capacity", &mut faults.capacity);
    form.field("hanging operations per million", &mut faults.stall);
    form.field("hanging device per million", &mut faults.device_stall);
    form.field("in parts per million", &mut faults.in_parts);
    form.field("late timers per million", &mut faults.late_timer);
    form.field("wall jumps per million", &mut faults.wall_jump);
    form.field("reads take", &mut latencies.read);
    form.field("writes take", &mut latencies.write);
    form.field("syncs take", &mut latencies.sync);
    form.field("names take", &mut latencies.names);
    form.field("slow per million", &mut latencies.slow_per_million);
    form.field("timer slack", &mut latencies.timer_slack);
}

pub(super) fn mix(mix: &mut Mix, form: &mut impl Visitor) {
    form.field("kinds", &mut mix.kinds);
    form.field("sizes", &mut mix.sizes);
    form.field("durabilities", &mut mix.durability);
    form.field("dropped percent", &mut mix.dropped);
    form.field("pauses percent", &mut mix.pauses);
    form.field("hot percent", &mut mix.hot);
}

pub(super) fn large(large: &mut Large, form: &mut impl Visitor) {
    form.field("puts percent", &mut large.puts);
    form.field("pieces", &mut large.pieces);
    form.field("streamed percent", &mut large.streamed);
    form.field("broken percent", &mut large.broken);
    form.field("given up percent", &mut large.given_up);
    form.field("slow writes", &mut large.slow_writes);
    form.field("read on percent", &mut large.read_on);
}

pub(super) fn reads(reads: &mut Reads, form: &mut impl Visitor) {
    form.field("in memory percent", &mut reads.in_memory);
    form.field("many percent", &mut reads.many);
    form.field("value cache", &mut reads.cache);
}

pub(super) fn damage(damage: &mut Damage, form: &mut impl Visitor) {
    form.field("wounds", &mut damage.wounds);
    form.field("rounds", &mut damage.rounds);
    form.field("operations", &mut damage.ops);
    form.field("misread per million", &mut damage.misread);
    form.field("lost writes per million", &mut damage.lost);
    form.field("writes astray per million", &mut damage.astray);
    form.field("writes that go wrong at most", &mut damage.silent_max);
    form.field("writes are lost early", &mut damage.lost_early);
}

pub(super) fn epoch(epoch: &mut Epoch, form: &mut impl Visitor) {
    form.field("number", &mut epoch.number);
    form.field("opening", &mut epoch.opening);
    form.field("again", &mut epoch.again);
    form.field("clients", &mut epoch.clients);
    form.field("cycles", &mut epoch.cycles);
    form.field("stop", &mut epoch.stop);
    form.field("end", &mut epoch.end);
    form.field("close early", &mut epoch.close_early);
    form.field("calm end", &mut epoch.calm_end);
    form.field("settle", &mut epoch.settle);
    form.field("crash", &mut epoch.crash);
    form.field("fork", &mut epoch.fork);
}
