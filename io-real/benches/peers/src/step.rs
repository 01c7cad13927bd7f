//! What is measured, step by step.

use serde::{Deserialize, Serialize};

/// One measurement of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// A new store is filled by four callers, keys in no order; ends with everything durable.
    Load,
    /// Puts that are durable when they return, into a small store.
    Synced { writers: u64 },
    /// Gets of records that are there, with even chances.
    Uniform { readers: u64 },
    /// The same by Zipf's law.
    Zipf { readers: u64 },
    /// Gets and puts by Zipf's law, so many percent of them puts.
    Mix { puts: u64 },
    /// Puts over all records with even chances, once every record was overwritten once.
    Overwrite,
    /// A store of short records is filled, and written to until the process is killed. Measures
    /// nothing.
    FillAndDie,
    /// Opening that store until the first record was read.
    OpenKilled,
    /// The same after it was closed.
    OpenClosed,
}

/// Callers of the mixes, as in YCSB's own examples.
pub const MIX_CALLERS: u64 = 8;

/// Steps that can be asked for together.
pub const WORKLOADS: [(&str, &[Step]); 7] = [
    ("load", &[Step::Load]),
    (
        "synced",
        &[Step::Synced { writers: 1 }, Step::Synced { writers: 8 }, Step::Synced { writers: 64 }],
    ),
    (
        "uniform",
        &[
            Step::Uniform { readers: 8 },
            Step::Uniform { readers: 32 },
            Step::Uniform { readers: 128 },
        ],
    ),
    ("zipf", &[Step::Zipf { readers: 8 }, Step::Zipf { readers: 32 }, Step::Zipf { readers: 128 }]),
    ("ycsb", &[Step::Mix { puts: 5 }, Step::Mix { puts: 50 }]),
    ("overwrite", &[Step::Overwrite]),
    ("reopen", &[Step::OpenKilled, Step::OpenClosed]),
];

impl Step {
    /// What it is called in tables.
    pub fn name(self) -> String {
        let of =
            |count: u64, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        match self {
            Self::Load => "load, not synced".into(),
            Self::Synced { writers } => format!("synced puts, {}", of(writers, "writer")),
            Self::Uniform { readers } => format!("uniform reads, {}", of(readers, "reader")),
            Self::Zipf { readers } => format!("zipf 0.99 reads, {}", of(readers, "reader")),
            Self::Mix { puts: 50 } => "YCSB-A, 8 callers".into(),
            Self::Mix { puts: 5 } => "YCSB-B, 8 callers".into(),
            Self::Mix { puts } => format!("{puts} % puts, 8 callers"),
            Self::Overwrite => "uniform overwrites, 4 writers".into(),
            Self::FillAndDie => "filling".into(),
            Self::OpenKilled => "reopening after kill -9".into(),
            Self::OpenClosed => "reopening after a close".into(),
        }
    }

    /// What its main figure counts.
    pub fn unit(self) -> &'static str {
        if self.is_opening() { "ms" } else { "ops/s" }
    }

    /// Whether less is better: it is an opening.
    pub fn is_opening(self) -> bool {
        matches!(self, Self::OpenKilled | Self::OpenClosed)
    }

    /// Whether puts in it must be durable when they return.
    pub fn is_synced(self) -> bool {
        matches!(self, Self::Synced { .. })
    }

    /// Whether it runs under the limit of memory.
    pub fn is_limited(self) -> bool {
        matches!(self, Self::Load | Self::Uniform { .. } | Self::Zipf { .. } | Self::Mix { .. })
    }

    /// Whether it goes on with the store that [`Step::Load`] made.
    pub fn needs_data(self) -> bool {
        self == Self::Overwrite || (self.is_limited() && self != Self::Load)
    }

    /// The folder of its store.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Synced { .. } => "synced",
            Self::FillAndDie | Self::OpenKilled | Self::OpenClosed => "reopen",
            _ => "data",
        }
    }
}
