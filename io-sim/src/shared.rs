//! What the simulation and its handles have in common, behind two locks.
//!
//! Both locks are only ever held for a moment, by one thread, and never while code under test
//! runs. A lock that a panic poisoned is used all the same: the panic is the test's to report, and
//! the destructors that run after it must not add a second one.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use crate::trace::{EventKind, digest};
use crate::world::World;

#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    // Tasks that the executor has not taken in yet.
    spawned: Mutex<Vec<Spawned>>,
}

pub(crate) struct Spawned {
    pub(crate) name: &'static str,
    pub(crate) task: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Spawned {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Spawned({})", self.name)
    }
}

impl Shared {
    pub(crate) const fn new(world: World) -> Self {
        Self { world: Mutex::new(world), spawned: Mutex::new(Vec::new()) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawned(&self) -> MutexGuard<'_, Vec<Spawned>> {
        self.spawned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task for boot `boot`; of a dead boot it is dropped unpolled.
    pub(crate) fn spawn(&self, boot: u64, name: &'static str, task: BoxFuture<'static, ()>) {
        let mut world = self.world();
        if !world.is_live(boot) {
            drop(world);
            drop(task);
            return;
        }
        world.counters.tasks += 1;
        let words = [world.counters.tasks, digest(name.as_bytes())];
        world.note(EventKind::Spawn, &words, || format!("spawn {name}"));
        drop(world);
        self.spawned().push(Spawned { name, task });
    }

    pub(crate) fn take_spawned(&self) -> Vec<Spawned> {
        mem::take(&mut *self.spawned())
    }
}
