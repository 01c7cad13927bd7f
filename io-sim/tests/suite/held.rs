//! What hangs, is late, or turns in circles.
//!
//! Absent on purpose: errors; see `faults`.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use crate::common::{durable, fill, open, sim, steady};
use futures::FutureExt;
use futures::future::{join, join3};
use logstor_io_sim::{Faults, Outcome, Sim, SimOptions};

const ALWAYS: u32 = 1_000_000;

/// How long it takes, in virtual time.
async fn time<F: Future>(sim: &Sim, future: F) -> Duration {
    let before = sim.time();
    future.await;
    sim.time().saturating_sub(before)
}

#[test]
fn an_operation_hangs_and_others_go_on() {
    let sim = steady(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 2).await;
        let hangs = async {
            sim.set_faults(Faults { stall: ALWAYS, ..Faults::none() });
            time(&sim, async { fill(&file, 0, 2, 1).await.unwrap() }).await
        };
        let other = async {
            env.clock.sleep(Duration::from_millis(1)).await;
            // Still holding up, but nothing that is new.
            sim.set_faults(Faults { stall: 1, ..Faults::none() });
            time(&sim, async { fill(&file, 1, 2, 1).await.unwrap() }).await
        };
        let (hung, went_on) = join(hangs, other).await;
        assert!((1..=30).contains(&hung.as_secs()), "{hung:?}");
        assert_eq!(went_on, Duration::from_millis(1));
    })
    .expect_done();
    assert_eq!((sim.counters().stalls, sim.fault_counts().total()), (1, 0));
}

#[test]
fn while_the_device_hangs_only_timers_come() {
    let sim = steady(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 2).await;
        sim.set_faults(Faults { device_stall: ALWAYS, ..Faults::none() });
        let first = time(&sim, async { fill(&file, 0, 2, 1).await.unwrap() });
        let rest = async {
            env.clock.sleep(Duration::from_millis(10)).await;
            assert_eq!(sim.time().as_secs(), 0, "a timer is no device");
            sim.set_faults(Faults { device_stall: 1, ..Faults::none() });
            time(&sim, async { drop(open(&env, "f").await.unwrap()) }).await
        };
        let (first, rest) = join(first, rest).await;
        assert!(first >= Duration::from_secs(1) && rest >= Duration::from_millis(900));
        let after = time(&sim, async { fill(&file, 0, 2, 1).await.unwrap() }).await;
        assert_eq!(after, Duration::from_millis(1));
    })
    .expect_done();
    assert_eq!(sim.counters().device_stalls, 1);
}

#[test]
fn what_hangs_goes_on_once_nothing_may_hang_any_more() {
    for faults in [
        Faults { stall: ALWAYS, ..Faults::none() },
        Faults { device_stall: ALWAYS, ..Faults::none() },
        Faults { late_timer: ALWAYS, ..Faults::none() },
    ] {
        let sim = steady(1);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 2).await;
            let start = sim.time();
            sim.set_faults(faults);
            let timer = env.clock.sleep(Duration::from_millis(3));
            // Both are under way when this is polled.
            let calm = async { sim.set_faults(Faults::none()) };
            join3(fill(&file, 0, 2, 1), timer, calm).await.0.unwrap();
            assert_eq!(sim.time().saturating_sub(start), Duration::from_millis(3), "{faults:?}");
        })
        .expect_done();
        let counters = sim.counters();
        assert!(counters.stalls + counters.device_stalls + counters.late_timers > 0);
    }
}

#[test]
fn a_timer_may_be_late_by_seconds_and_is_never_early() {
    let sim = sim(1);
    let env = sim.boot();
    sim.set_faults(Faults { late_timer: 500_000, ..Faults::none() });
    let mut late = 0;
    sim.run(async {
        for _ in 0..100 {
            let took = time(&sim, env.clock.sleep(Duration::from_secs(1))).await;
            assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(12));
            late += u64::from(took > Duration::from_millis(1100));
        }
    })
    .expect_done();
    assert!((30..70).contains(&late), "{late}");
    assert!(sim.counters().late_timers >= late);
}

#[test]
fn a_task_that_wakes_itself_for_ever_ends_the_run_by_name() {
    let sim = Sim::new(&SimOptions::new(1).max_polls(5000));
    let env = sim.boot();
    env.spawn.spawn("innocent", std::future::pending().boxed());
    let turns = poll_fn(|context| {
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    env.spawn.spawn("turns in circles", turns.boxed());
    let outcome = sim.run(std::future::pending::<()>());
    assert_eq!(outcome, Outcome::Spins { task: "turns in circles", polls: 5001 });
}

#[test]
fn a_task_that_lets_time_pass_may_run_as_often_as_it_likes() {
    let sim = Sim::new(&SimOptions::new(1).max_polls(100));
    let env = sim.boot();
    sim.run(async {
        for _ in 0..1000 {
            env.clock.sleep(Duration::from_micros(1)).await;
        }
    })
    .expect_done();
}
