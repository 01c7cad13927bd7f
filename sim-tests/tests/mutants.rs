//! The planted bugs fit the sources as they are: what stands in a file of bugs and not in the
//! engine any more would be found out only at the next exam.

use std::fs;
use std::path::Path;

use logstor_sim_tests::exam::{all, planted};

/// Fewer are no exam.
const BUGS_MIN: usize = 40;

#[test]
fn every_bug_can_be_planted_in_the_engine_as_it_is() {
    let bugs = all().unwrap_or_else(|error| panic!("{error}"));
    assert!(bugs.len() >= BUGS_MIN, "{} bugs", bugs.len());
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = |file: &str| {
        let text = fs::read_to_string(repository.join(file));
        text.map_err(|error| format!("{file}: {error}"))
    };
    let planted = planted(&bugs, source).unwrap_or_else(|error| panic!("{error}"));
    for file in planted.keys() {
        assert!(file.starts_with("core/src/"), "{file} is not of the engine");
    }
}
