//! Every committed input keeps every law, and the corpus is worth its place.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use logstor_fuzz::{
    Verdict, decode_buffer, decode_small, index, plan_text, recover, script, seeds,
};

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let paths = fs::read_dir(&folder).expect("every target has a corpus");
    let paths = paths.map(|entry| entry.expect("a folder can be read to its end").path());
    let input = |path: PathBuf| (path.clone(), fs::read(path).expect("the corpus holds files"));
    let mut inputs: Vec<_> = paths.map(input).collect();
    inputs.sort();
    inputs
}

/// Replays a target. An input that breaks a law panics; the one named last is the culprit. At
/// least so many inputs must be decoded, and refused.
fn replay(target: &str, run: fn(&[u8]) -> Verdict, least: [usize; 2]) {
    let (mut decoded, mut refused) = (0, 0);
    for (path, input) in corpus(target) {
        println!("{}", path.display());
        match run(&input) {
            Verdict::Decoded => decoded += 1,
            Verdict::Refused => refused += 1,
        }
    }
    assert!(decoded >= least[0], "{decoded} inputs are decoded: the corpus is of another format");
    assert!(refused >= least[1], "{refused} inputs are refused: the corpus has no damage");
}

#[test]
fn decode_buffer_keeps_every_law_on_the_corpus() {
    replay("decode_buffer", decode_buffer, [10, 10]);
}

#[test]
fn decode_small_keeps_every_law_on_the_corpus() {
    replay("decode_small", decode_small, [10, 10]);
}

#[test]
fn index_keeps_every_law_on_the_corpus() {
    replay("index", index, [4, 1]);
}

#[test]
fn plan_text_keeps_every_law_on_the_corpus() {
    replay("plan_text", plan_text, [3, 3]);
}

#[test]
fn recover_keeps_every_law_on_the_corpus() {
    replay("recover", recover, [10, 1]);
}

#[test]
fn script_keeps_every_law_on_the_corpus() {
    replay("script", script, [4, 1]);
}

#[test]
fn every_seed_of_the_format_as_it_is_lies_in_the_corpus() {
    for target in seeds::TARGETS {
        let inputs: BTreeSet<Vec<u8>> =
            corpus(target).into_iter().map(|(_, input)| input).collect();
        for seed in seeds::of(target) {
            let is_there = inputs.contains(&seed.bytes);
            assert!(is_there, "{target}/{}: run `cargo run --example make_corpus`", seed.name);
        }
    }
}

#[test]
fn what_was_encoded_is_decoded_and_what_was_cut_is_not() {
    let check = |target, run: fn(&[u8]) -> Verdict| {
        let seeds = seeds::of(target);
        let named = |end| seeds.iter().filter(move |seed| seed.name.ends_with(end));
        assert!(named("-whole").count() >= 5);
        assert!(named("-whole").all(|seed| run(&seed.bytes) == Verdict::Decoded));
        assert!(named("-cut").count() >= 5);
        assert!(named("-cut").all(|seed| run(&seed.bytes) == Verdict::Refused));
    };
    check("decode_buffer", decode_buffer);
    check("decode_small", decode_small);
}
