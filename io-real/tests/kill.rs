//! `kill -9` again and again on one store: what was acknowledged stays, what was found stays.
//!
//! The rounds are those of the example `torture`, with a child that is this test binary. What they
//! check is said in `examples/torture/rounds`, whose own tests run here too.
//!
//! `LOGSTOR_KILLS=200 cargo test -p logstor --test kill` kills 200 times instead of 10;
//! `LOGSTOR_KILL_SEED` varies when.

#[path = "../examples/torture/rounds/mod.rs"]
mod rounds;

use std::env;
use std::process::Command;
use std::sync::Arc;

use rounds::Run;

fn given(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Not a test of its own: what the child processes of the next one run.
#[test]
#[ignore = "runs only as the child of another test"]
fn child_lives_until_it_is_killed() {
    if let Some(lived) = rounds::run() {
        lived.unwrap();
    }
}

#[test]
fn whatever_was_acknowledged_survives_every_kill() {
    let above = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let launch = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "child_lives_until_it_is_killed", "--ignored", "--nocapture"]);
        command
    };
    let (kills, seed) = (given("LOGSTOR_KILLS", 10), given("LOGSTOR_KILL_SEED", 1));
    let mut run = Run::new(Arc::new(launch), &above.path().join("store"), seed);
    while run.tally().kills < kills {
        run.round().unwrap();
    }
    run.last_look().unwrap();
    println!("{}", run.tally());
    assert!(run.tally().checked.sure > 0, "something was there to be checked");
}
