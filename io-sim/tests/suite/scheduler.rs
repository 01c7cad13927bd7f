//! Tasks, time, stops, dropped futures and dead handles.

use std::collections::BTreeSet;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::common::{create, durable, fill, open, reboot_and_read, sectors, sim, steady};
use futures::FutureExt;
use logstor_core::io::Environment;
use logstor_io_sim::{CrashKind, NameBias, Outcome, SectorBias, Sim, SimOptions, StopAt};

#[test]
fn time_is_virtual_and_a_timer_is_never_early() {
    let sim = sim(1);
    let env = sim.boot();
    let day = Duration::from_secs(86_400);
    let wall = env.clock.wall();
    sim.run(env.clock.sleep(day)).expect_done();
    assert!(env.clock.now() >= day && env.clock.now() < day + Duration::from_millis(1));
    assert_eq!(env.clock.wall(), wall + env.clock.now());
    sim.crash(CrashKind::ProcessKill);
    assert_eq!(sim.boot().clock.now(), Duration::ZERO, "each boot counts from its own start");
    assert!(sim.time() >= day);
}

#[test]
fn the_order_of_ready_tasks_comes_from_the_seed() {
    let order = |seed| {
        let sim = sim(seed);
        let env = sim.boot();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        for n in 0..3 {
            let order = Arc::clone(&order);
            env.spawn.spawn("worker", async move { order.lock().unwrap().push(n) }.boxed());
        }
        sim.run(env.clock.sleep(Duration::from_millis(1))).expect_done();
        assert_eq!(sim.tasks_alive(), 0);
        order.lock().unwrap().clone()
    };
    assert_eq!(order(5), order(5));
    assert_eq!((0..100).map(order).collect::<BTreeSet<_>>().len(), 6);
}

#[test]
fn a_deadlock_is_found_and_names_who_waits() {
    let sim = sim(1);
    let env = sim.boot();
    env.spawn.spawn("writer", pending().boxed());
    env.spawn.spawn("ends", async {}.boxed());
    let outcome = sim.run(pending::<()>());
    assert_eq!(outcome, Outcome::Stuck { waiting: vec!["main", "writer"] });
}

#[test]
fn a_task_that_ended_is_never_polled_again_whoever_wakes_it() {
    let sim = sim(1);
    let env = sim.boot();
    let (send, receive) = futures::channel::oneshot::channel();
    let task = poll_fn(move |context| {
        context.waker().wake_by_ref();
        Poll::Ready(context.waker().clone())
    });
    let task = async move { send.send(task.await).unwrap() };
    env.spawn.spawn("short", task.boxed());
    sim.run(async {
        let waker = receive.await.unwrap();
        // Its place is taken by another task, which the old waker must not reach either.
        env.spawn.spawn("other", pending().boxed());
        env.clock.sleep(Duration::from_millis(1)).await;
        let before = sim.counters().steps;
        waker.wake();
        env.clock.sleep(Duration::from_millis(1)).await;
        assert_eq!(sim.counters().steps - before, 2, "the timer's event, and this poll");
    })
    .expect_done();
    assert_eq!(sim.tasks_alive(), 1);
}

#[test]
fn an_endless_run_is_ended() {
    let sim = Sim::new(&SimOptions::new(1).max_steps(1000));
    let env = sim.boot();
    let outcome = sim.run(async {
        loop {
            env.clock.sleep(Duration::from_secs(1)).await;
        }
    });
    let outcome: Outcome<()> = outcome;
    assert_eq!(outcome, Outcome::RanTooLong { steps: 1000, waiting: vec!["main"] });
}

#[test]
fn tasks_go_on_in_the_next_run_of_their_boot_and_end_with_it() {
    let sim = sim(1);
    let env = sim.boot();
    let ticks = Arc::new(AtomicU64::new(0));
    let (clock, counted) = (Arc::clone(&env.clock), Arc::clone(&ticks));
    let ticking = async move {
        loop {
            clock.sleep(Duration::from_millis(10)).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    env.spawn.spawn("ticker", ticking.boxed());
    sim.run(env.clock.sleep(Duration::from_millis(105))).expect_done();
    let first = ticks.load(Ordering::Relaxed);
    assert!((9..=10).contains(&first), "{first}");
    sim.run(env.clock.sleep(Duration::from_millis(105))).expect_done();
    let second = ticks.load(Ordering::Relaxed);
    assert!(second > first);
    sim.crash(CrashKind::ProcessKill);
    assert_eq!(Arc::strong_count(&ticks), 1, "the task was dropped");
    sim.run(sim.boot().clock.sleep(Duration::from_secs(1))).expect_done();
    assert_eq!(ticks.load(Ordering::Relaxed), second);
}

/// Writes and syncs three sectors, one after the other.
async fn three_steps(env: &Environment) {
    let file = durable(env, "f", 0, 3).await;
    for n in 0..3 {
        fill(&file, n, 1, 1).await.unwrap();
        file.sync().await.unwrap();
    }
}

#[test]
fn counting_through_all_effects_stops_at_every_one_of_them() {
    let total = {
        let sim = sim(9);
        let env = sim.boot();
        sim.run(three_steps(&env)).expect_done();
        sim.counters().effects
    };
    // Create, write, sync, folder sync, and three times write and sync: issue and completion.
    assert_eq!(total, 20);
    let mut left = BTreeSet::new();
    for effects in 1..=total {
        let sim = sim(9);
        let env = sim.boot();
        sim.stop_at(StopAt::Effects(effects));
        let outcome = sim.run(three_steps(&env));
        assert!(outcome.is_stopped(), "effect {effects}");
        assert_eq!(sim.counters().effects, effects);
        let none = (Some(SectorBias::None), Some(NameBias::None));
        sim.crash(CrashKind::PowerCut { sectors: none.0, names: none.1 });
        left.insert(reboot_and_read(&sim, "f"));
    }
    let states =
        [None, Some(vec![0, 0, 0]), Some(vec![1, 0, 0]), Some(vec![1, 1, 0]), Some(vec![1, 1, 1])];
    assert_eq!(left, BTreeSet::from(states));
}

#[test]
fn a_run_stops_at_a_time_at_a_step_and_on_demand() {
    let sim = steady(1);
    let env = sim.boot();
    sim.stop_at(StopAt::After(Duration::from_millis(500)));
    assert!(sim.run(env.clock.sleep(Duration::from_secs(1))).is_stopped());
    assert_eq!(sim.time(), Duration::from_millis(500));
    sim.crash(CrashKind::POWER_CUT);

    let (env, before) = (sim.boot(), sim.counters().steps);
    sim.stop_at(StopAt::Steps(5));
    assert!(sim.run(three_steps(&env)).is_stopped());
    assert_eq!(sim.counters().steps - before, 5);
    sim.crash(CrashKind::POWER_CUT);

    let env = sim.boot();
    let (stopper, writes) = (sim.handle(), sim.counters().writes);
    let outcome = sim.run(async {
        let file = create(&env, "g").await.unwrap();
        stopper.stop();
        fill(&file, 0, 1, 1).await.unwrap();
    });
    assert!(outcome.is_stopped());
    assert!(sim.run(async {}).is_stopped(), "the boot stands still for good");
    assert_eq!(sim.counters().writes, writes, "what comes after the stop is swallowed");
}

#[test]
fn the_operation_of_a_dropped_future_happens_whole_or_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let sim = sim(seed);
        let env = sim.boot();
        let left = sim.run(async {
            let file = durable(&env, "f", 1, 4).await;
            {
                let mut write = pin!(fill(&file, 0, 2, 4));
                poll_fn(|context| {
                    assert!(write.as_mut().poll(context).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
            env.clock.sleep(Duration::from_secs(1)).await;
            sectors(&file).await.unwrap()
        });
        seen.insert(left.expect_done());
        assert_eq!(sim.counters().abandoned, 1);
    }
    assert_eq!(seen, BTreeSet::from([vec![1; 4], vec![2; 4]]));
}

#[test]
fn a_dropped_timer_keeps_no_run_alive() {
    let sim = sim(1);
    let env = sim.boot();
    let outcome = sim.run(async {
        assert!(env.clock.sleep(Duration::from_secs(1)).now_or_never().is_none());
        pending::<()>().await;
    });
    assert_eq!(outcome, Outcome::Stuck { waiting: vec!["main"] });
    assert!(sim.time() < Duration::from_secs(1));
}

/// Does what it can to touch the disk while its boot is being torn down.
struct LastWords(Environment, crate::common::Handle);

impl Drop for LastWords {
    fn drop(&mut self) {
        assert!(fill(&self.1, 0, 9, 1).now_or_never().is_none());
        assert!(self.1.sync().now_or_never().is_none());
        assert!(self.0.storage.remove("f").now_or_never().is_none());
        let (env, file) = (self.0.clone(), Arc::clone(&self.1));
        let undead = async move {
            fill(&file, 0, 8, 1).await.unwrap();
            drop(env);
        };
        self.0.spawn.spawn("undead", undead.boxed());
    }
}

#[test]
fn destructors_run_at_a_crash_and_have_no_effect() {
    let sim = sim(1);
    let env = sim.boot();
    let file = sim.run(durable(&env, "f", 1, 1)).expect_done();
    let last = LastWords(env.clone(), Arc::clone(&file));
    let task = async move {
        let _last = last;
        pending::<()>().await;
    };
    env.spawn.spawn("talker", task.boxed());
    sim.stop_at(StopAt::Effects(1));
    let last = LastWords(env.clone(), Arc::clone(&file));
    let outcome = sim.run(async {
        let _last = last;
        fill(&file, 0, 2, 1).await
    });
    assert!(outcome.is_stopped());
    let writes = sim.counters().writes;
    let none = CrashKind::PowerCut { sectors: Some(SectorBias::None), names: None };
    sim.crash(none);
    assert_eq!(sim.counters().writes, writes);
    assert_eq!(reboot_and_read(&sim, "f"), Some(vec![1]));

    // The old handle is dead in the new boot, too.
    let new = sim.boot();
    let outcome = sim.run(async {
        open(&new, "f").await.unwrap();
        fill(&file, 0, 3, 1).await
    });
    assert!(matches!(outcome, Outcome::Stuck { .. }));
    sim.crash(CrashKind::ProcessKill);
    assert_eq!(reboot_and_read(&sim, "f"), Some(vec![1]));
}

#[test]
#[should_panic(expected = "a run is not inside a run")]
fn a_run_inside_a_run_is_refused() {
    let sim = sim(1);
    let _ = sim.run(async { sim.run(async {}).expect_done() });
}
