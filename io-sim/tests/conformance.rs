//! The conformance suite of the core, on the simulated disk.

use logstor_core::conformance::checks;
use logstor_io_sim::{Latencies, Sim, SimOptions};

#[test]
fn the_simulated_disk_keeps_the_contract() {
    for seed in 0..40 {
        for check in checks() {
            let sim = Sim::new(&SimOptions::new(seed));
            let env = sim.boot();
            let verdict = sim.run(check.run(env)).expect_done();
            verdict.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        }
    }
}

#[test]
fn it_keeps_the_contract_when_nothing_takes_any_time() {
    for check in checks() {
        let options = SimOptions::new(1).latencies(Latencies::constant(std::time::Duration::ZERO));
        let sim = Sim::new(&options);
        let env = sim.boot();
        let verdict = sim.run(check.run(env)).expect_done();
        verdict.unwrap_or_else(|failure| panic!("{failure}"));
    }
}
