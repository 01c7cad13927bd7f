//! What a sweep did, counted by name.
//!
//! A sweep that never tore a write or never filled the store proves nothing; these numbers show it.
//!
//! Absent on purpose: a field for each. A count is named where it is counted, and a table of names
//! is what the summary prints.

use std::collections::BTreeMap;

/// Counts by name; a name is `area/what`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// One more of `what`.
    pub fn one(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// So many more of `what`.
    pub fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    /// How many of `what`.
    #[must_use]
    pub fn get(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Takes in another one.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in other.iter() {
            self.add(what, count);
        }
    }

    /// All counts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(&what, &count)| (what, count))
    }
}
