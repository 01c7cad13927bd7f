//! What a caller may choose, with the defaults and their reasons.
//!
//! Two kinds live here: what a store is (segment length, segments a file), fixed when it is
//! created, and how one opening of it behaves. A choice that contradicts the folder is refused at
//! open; nothing is rewritten to fit.
//!
//! Absent on purpose: options that trade a promise for speed. The only one is [`Durability`], and
//! it is said per write.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How far a write has come when its future completes.
///
/// | level | survives the death of the process | survives a power cut | readable |
/// |---|---|---|---|
/// | `Buffered` | soon | soon | at once |
/// | `Written` | yes | soon | at once |
/// | `Synced` (the default) | yes | yes | once it is durable |
///
/// Whatever the level: after a crash the store equals a prefix of the order in which writes were
/// accepted, and that prefix holds every `Synced` write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Durability {
    /// Accepted into memory. Handed to the device when a buffer is full or after
    /// [`Options::flush_after`].
    Buffered,
    /// Handed to the device, together with every write accepted before it.
    Written,
    /// Made durable by the device, together with every write accepted before it.
    #[default]
    Synced,
}

/// What recovery does when it finds that it no longer knows what was in a part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RecoveryMode {
    /// Refuses to open: an older version of some key could pass for the newest.
    #[default]
    Normal,
    /// Opens with what can be read. Keys may be missing or show an older version; the recovery
    /// report lists what was lost, at this and every later opening.
    Salvage,
}

/// What an opening is doing. After a clean close it is the first alone, otherwise the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenPhase {
    /// Reading the dump of a clean close; counted in frames of 64 KiB.
    Dump,
    /// Reading what segments say of themselves; counted in segments.
    Segments,
    /// Bringing the newest record of each key into the index; counted in records.
    Index,
}

/// How far an opening has come, for [`Options::on_progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done.
    pub phase: OpenPhase,
    /// How much of that is done, in units of the phase.
    pub done: u64,
    /// How much of it there is to do.
    pub total: u64,
    /// Bytes of the dump or of segments that were read so far.
    pub bytes_read: u64,
    /// Keys, segments and groups that the dump listed so far, or records that were found.
    pub records: u64,
}

/// Told about the progress of an opening.
pub type ProgressFn = Arc<dyn Fn(Progress) + Send + Sync>;

/// How to create or open a store.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a segment: a power of two, 64 KiB to 4 MiB. Fixed when the store is created;
    /// `None` means 256 KiB then, and whatever the store has later.
    pub segment_len: Option<u32>,
    /// Segments of one file, 1 to 65,536. Fixed when the store is created; `None` means 256 then
    /// (fewer if the capacity is smaller than such a file), and whatever the store has later.
    pub segments_per_file: Option<u32>,
    /// Bytes that the segment files may take in all, rounded down to whole files: at least eight
    /// segments, at most 32 TiB. `None` is bounded by the device, and by these 32 TiB.
    pub capacity: Option<u64>,
    /// The durability of writes that do not name one.
    pub durability: Durability,
    /// Bytes at which a buffer is handed to the device although it could still grow. 128 KiB: a
    /// synced write of that size costs about a quarter more than one block.
    pub buffer_len: u32,
    /// Bytes of accepted writes that may wait for the device; more of them make writers wait.
    pub write_memory: u32,
    /// Device writes under way at the same time.
    pub writes_in_flight: u32,
    /// The longest time that a `Buffered` write stays in memory before it goes to the device.
    pub flush_after: Duration,
    /// Bytes written since the last sync that cause the next one.
    pub sync_bytes: u32,
    /// The longest time that bytes written stay unsynced.
    pub sync_after: Duration,
    /// What the segments in use may take at most, in percent of what is live in them, before
    /// compaction gives the rest back although there is room: 110 to 10,000. A store without a
    /// capacity is bounded by it as well. Where much dies at once, as by dropping a group, what is
    /// left may take more for as long as it takes to give it back.
    pub space_percent: u32,
    /// Bytes a second that compaction and separator may write; `None` is as fast as needed.
    pub compaction_rate: Option<u64>,
    /// Segments of several groups that the log may leave before the separator sorts them, in
    /// percent of all segments: 1 to 100. Generous by default, because compaction sorts what it
    /// moves all the same, and eager separation writes every record twice.
    pub mixed_percent: u32,
    /// Bytes of memory for records that compaction and separator are moving.
    pub rewrite_memory: u32,
    /// Bytes of memory that the index may take: 1 KiB or more; `None` bounds it by nothing. From
    /// there on writes of new keys are refused with `IndexFull`; other values for keys that are
    /// there, deletes and truncations go on, and so do new keys once keys are gone. Writes that are
    /// on their way when it gets there still enter, so it may take a little more. A store that has
    /// more keys opens all the same.
    pub index_memory: Option<u64>,
    /// Bytes of memory for values that were read lately, with what their entries take: 0, which is
    /// the default, for none, or 16 KiB or more. A `get` that finds its value there needs no
    /// device.
    ///
    /// None by default, because the memory is the caller's to give, and many have a cache of their
    /// own in front, of decoded things. Where reads go back to the same keys give it what there is:
    /// with `O_DIRECT` the system caches nothing. Values over a quarter of it are not kept, nor
    /// large ones (over [`Limits::value_len`](crate::Limits::value_len)).
    pub value_cache: u64,
    /// What to do about a damaged log.
    pub recovery: RecoveryMode,
    /// Called while the store opens: for every segment, and every 64 KiB of a dump. It should
    /// return soon, for the opening waits.
    pub on_progress: Option<ProgressFn>,
    /// Follows the log from inside: for simulators.
    #[cfg(feature = "verify")]
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_len: None,
            segments_per_file: None,
            capacity: None,
            durability: Durability::Synced,
            buffer_len: 128 << 10,
            write_memory: 32 << 20,
            writes_in_flight: 4,
            flush_after: Duration::from_millis(10),
            sync_bytes: 4 << 20,
            sync_after: Duration::from_millis(200),
            space_percent: 150,
            compaction_rate: None,
            mixed_percent: 50,
            rewrite_memory: 8 << 20,
            index_memory: None,
            value_cache: 0,
            recovery: RecoveryMode::Normal,
            on_progress: None,
            #[cfg(feature = "verify")]
            observer: None,
        }
    }
}

impl Options {
    /// The default length of a segment, in bytes.
    pub const SEGMENT_LEN: u32 = 256 << 10;
    /// The default number of segments of a file.
    pub const SEGMENTS_PER_FILE: u32 = 256;

    /// The least memory for an index that may be asked for.
    const INDEX_MEMORY_MIN: u64 = 1 << 10;

    /// The least memory for a cache that may be asked for.
    const VALUE_CACHE_MIN: u64 = 16 << 10;

    /// Whether every value lies in its range; the first that does not is named.
    pub fn check(&self) -> Result<(), BadOption> {
        range("buffer_len", self.buffer_len, 4 << 10, 4 << 20)?;
        range("write_memory", self.write_memory, 64 << 10, 1 << 30)?;
        range("writes_in_flight", self.writes_in_flight, 1, 64)?;
        range("sync_bytes", self.sync_bytes, 4 << 10, 1 << 30)?;
        range("space_percent", self.space_percent, 110, 10_000)?;
        range("mixed_percent", self.mixed_percent, 1, 100)?;
        range("rewrite_memory", self.rewrite_memory, 64 << 10, 1 << 30)?;
        match self.index_memory {
            Some(value) if value < Self::INDEX_MEMORY_MIN => {
                let (name, least, most) = ("index_memory", Self::INDEX_MEMORY_MIN, u64::MAX);
                return Err(BadOption { name, value, least, most });
            }
            _ => {}
        }
        let (value, least, most) = (self.value_cache, Self::VALUE_CACHE_MIN, 1 << 48);
        if value == 0 || (least..=most).contains(&value) {
            return Ok(());
        }
        Err(BadOption { name: "value_cache", value, least, most })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Options")
            .field("segment_len", &self.segment_len)
            .field("segments_per_file", &self.segments_per_file)
            .field("capacity", &self.capacity)
            .field("durability", &self.durability)
            .field("recovery", &self.recovery)
            .finish_non_exhaustive()
    }
}

/// An option outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option {name} is {value}; it must be {least} to {most}")]
pub struct BadOption {
    /// The option.
    pub name: &'static str,
    /// What was asked for.
    pub value: u64,
    /// The least that is allowed.
    pub least: u64,
    /// The most that is allowed.
    pub most: u64,
}

fn range(name: &'static str, value: u32, least: u32, most: u32) -> Result<(), BadOption> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(BadOption { name, value: value.into(), least: least.into(), most: most.into() })
}

/// Follows what the engine decides, in the order in which it decides it: the ground truth of a
/// simulation. Called inside the engine's steps; it must not call back.
#[cfg(feature = "verify")]
pub trait Observer: Send + Sync {
    /// A write was accepted: its place in the order is fixed from here on.
    fn accepted(&self, write: AcceptedWrite<'_>);

    /// These segments are about to be erased: nothing in them may be needed any more.
    fn erasing(&self, segments: &[crate::types::SegmentId]);
}

/// One accepted write, as an [`Observer`] sees it.
#[cfg(feature = "verify")]
#[derive(Clone, Copy, Debug)]
pub struct AcceptedWrite<'a> {
    /// Its place in the order of acceptance.
    pub sequence: crate::types::Sequence,
    /// The group of the key; [`GroupId::SYSTEM`](crate::types::GroupId::SYSTEM) for the catalogue.
    pub group: crate::types::GroupId,
    /// The key.
    pub key: &'a [u8],
    /// The value, or `None` for a delete; of a large one all of it, not the list in the record.
    pub value: Option<&'a [u8]>,
    /// The first sequence of the batch that it belongs to.
    pub batch: crate::types::Sequence,
}
