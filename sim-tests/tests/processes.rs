//! Runs of different processes are the same (promise P8): no address, no random seed of a hash map
//! and no thread has a say in them.

use std::process::Command;

/// What a sweep in a process of its own says of all its runs.
fn hash(jobs: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logstor-sim-tests"));
    let output = command.args(["--seeds", "0..200", "--jobs", jobs]).output();
    let output = output.expect("the sweeper was built for this test");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    assert!(output.status.success(), "{text}");
    let told = |line: &&str| line.starts_with("hash of") || line.starts_with("seeds in");
    text.lines().filter(told).map(str::to_owned).collect()
}

#[test]
fn two_processes_with_other_threads_run_the_same() {
    let (one, two) = (hash("1"), hash("2"));
    assert_eq!(one.len(), 2, "{one:?}");
    assert_eq!(one, two);
}
