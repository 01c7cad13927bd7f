//! A look at a crashed store before it is opened for good: [`Db::open_read_only`].
//!
//! 1. It changes nothing on the disk: no name, no length, no byte.
//! 2. It refuses whatever would change the store.
//! 3. It shows what the opening after it shows.
//!
//! What a failed sync left readable may be evicted from the cache meanwhile (seeds 295 and 916): an
//! opening for good writes it again first, a look cannot. Then laws 1 and 3 ask for nothing.
//!
//! Absent on purpose: faults. What an opening does about them is checked where it writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use logstor_core::{Db, Error};
use logstor_io_sim::CrashKind;

use super::opening::{Seen, read_all};
use super::{Run, Step};
use crate::plan::Opening;

impl Run {
    /// Crashes, looks, opens and checks; what is wrong, if anything.
    pub(super) fn recovers_as_seen(&mut self, crash: CrashKind) -> Option<String> {
        let ended = self.crash(crash).and_then(|()| self.opens_as_seen());
        let failure = self.ledger.lock().failure.clone();
        ended.err().and(failure)
    }

    fn opens_as_seen(&mut self) -> Step {
        let seen = self.look()?;
        self.open(&Opening::default())?;
        if let Some(seen) = seen {
            self.shows(&seen)?;
        }
        self.check()
    }

    /// Law 3.
    fn shows(&self, seen: &Seen) -> Step {
        let db = self.db.clone().expect("the store is open");
        match self.run(read_all(db, Arc::clone(&self.plan)))? {
            Some(Ok(shown)) if shown == *seen => Ok(()),
            Some(Ok(shown)) => {
                self.fail(format!("opened to be read it shows {seen:?}, then {shown:?}"))
            }
            Some(Err(what)) => self.fail(what),
            None => self.fail("stopped, and nobody asked for it"),
        }
    }

    /// What the store shows to somebody who only reads it; `None` if there is none yet, or what it
    /// showed may be gone by now.
    fn look(&mut self) -> Step<Option<Seen>> {
        self.sim.set_faults(self.calm());
        let (before, evictions) = (self.sim.raw().export(), self.sim.counters().evictions);
        let (environment, options) = (self.environment(), self.options());
        let plan = Arc::clone(&self.plan);
        let looked = self.run(async move {
            let db = match Db::open_read_only(environment, options).await {
                Ok(db) => db,
                Err(Error::NoStore) => return Ok(None),
                Err(error) => return Err(format!("opening it to be read: {error:?}")),
            };
            match db.group("made by somebody who only reads").await {
                Err(Error::ReadOnly) => {}
                other => {
                    return Err(format!("a group was made in a store that is read: {other:?}"));
                }
            }
            let seen = read_all(db.clone(), plan).await?;
            db.close().await.map_err(|error| format!("closing it: {error:?}"))?;
            Ok(Some(seen))
        })?;
        let evicted = self.sim.counters().evictions > evictions;
        if let Some(what) = difference(&before, &self.sim.raw().export()).filter(|_| !evicted) {
            return self.fail(format!("a store that was opened to be read has changed: {what}"));
        }
        match looked {
            Some(Ok(seen)) => Ok(seen.filter(|_| !evicted)),
            Some(Err(what)) => self.fail(what),
            None => self.fail("stopped, and nobody asked for it"),
        }
    }
}

/// Where two disks differ first.
fn difference(
    before: &BTreeMap<String, Vec<u8>>,
    now: &BTreeMap<String, Vec<u8>>,
) -> Option<String> {
    if !before.keys().eq(now.keys()) {
        return Some(format!("{:?} were there, and {:?} are", before.keys(), now.keys()));
    }
    before.iter().zip(now.values()).find_map(|((name, before), now)| {
        let differs = before.iter().zip(now).position(|(before, now)| before != now);
        match differs {
            Some(at) => Some(format!("byte {at} of {name}")),
            None if before.len() != now.len() => Some(format!("the length of {name}")),
            None => None,
        }
    })
}
