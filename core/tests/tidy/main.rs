//! What no compiler checks: the floors of the engine, and the house rules on names and sizes.
//!
//! ```text
//! 8 door      lib db group batch error stats value_stream verify conformance fuzzing
//! 7 flows     flows/*: each names itself and nothing beside it
//! 6 store     store open_error
//! 5 device    segment_io
//! 4 memory    memory
//! 3 facts     catalog segments groups log value_cache
//! 2 bytes     format
//! 1 contracts io io_buf options
//! 0 words     types
//! ```
//!
//! 1. A module of the engine names only lower floors; whoever may do otherwise is in
//!    [`EXCEPTIONS`], with the reason, and an exception that nobody uses is an error too.
//! 2. Every file says in its first line what it is.
//! 3. Lines have at most 100 columns, files at most 500 lines without their tests.
//! 4. Names come from the glossary: a name that fits everything says nothing.
//! 5. No text speaks of the machine that it was written on.
//!
//! Each rule is a function from a source to complaints, and has a test in which it complains.
//!
//! Absent on purpose: lengths of functions, `unwrap`, casts and documentation of items. Clippy
//! and rustc know those.

mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use text::{Source, mentions, words};

/// On which floor each top module of the engine lives. Flows are one floor, not one module.
const FLOORS: [(&str, u8); 29] = [
    ("db", 8),
    ("group", 8),
    ("batch", 8),
    ("error", 8),
    ("stats", 8),
    ("value_stream", 8),
    ("verify", 8),
    ("conformance", 8),
    ("fuzzing", 8),
    ("flows", 7),
    ("rewrite", 6),
    ("store", 6),
    ("open_error", 6),
    ("segment_io", 5),
    ("memory", 4),
    ("log", 3),
    ("rewrites", 3),
    ("groups", 3),
    ("catalog", 3),
    ("segments", 3),
    ("value_cache", 3),
    ("format", 2),
    ("compact", 1),
    ("options", 1),
    ("io", 1),
    ("io_buf", 1),
    ("overlay", 2),
    ("types", 0),
    ("lib", 8),
];

/// Who may name a module that is not below it, and why.
const EXCEPTIONS: [(&str, &str, &str); 21] = [
    ("db", "batch", "the door is one: a database takes batches"),
    ("db", "error", "the door is one: it speaks in public errors"),
    ("db", "group", "the door is one: a database gives out groups"),
    ("db", "stats", "the door is one: a database tells its numbers"),
    ("group", "db", "the door is one: a group is a part of a database"),
    ("group", "error", "the door is one: it speaks in public errors"),
    ("group", "stats", "the door is one: a group tells its numbers"),
    ("group", "value_stream", "the door is one: a group gives out streams"),
    ("value_stream", "db", "the door is one: a stream keeps its database open"),
    ("value_stream", "error", "the door is one: it speaks in public errors"),
    ("value_stream", "group", "the door is one: a stream tells the version of its value"),
    ("verify", "db", "the door is one: a check is one of a database"),
    ("verify", "error", "the door is one: it speaks in public errors"),
    ("batch", "db", "the door is one: a batch belongs to one database"),
    ("batch", "error", "the door is one: it speaks in public errors"),
    ("batch", "group", "the door is one: a batch names groups"),
    ("io", "io_buf", "a part of the contract in a file of its own, named through `io`"),
    ("groups", "catalog", "a group owns its index and its pending writes"),
    ("rewrite", "store", "moving records needs the wiring that all flows share"),
    ("rewrites", "log", "copies are written by the same kind of job as the log"),
    ("log", "groups", "a buffer in flight carries the changes of groups that its records make"),
];

const MAX_COLUMNS: usize = 100;
const MAX_LINES: usize = 500;

/// Parts of names that fit everything.
const EMPTY_NAMES: [&str; 8] =
    ["manager", "handler", "util", "utils", "helper", "helpers", "misc", "mgr"];
const UNFINISHED: [&str; 3] = ["todo!", "dbg!", "unimplemented!"];
const EXCUSES: [&str; 2] = ["for now", "hack"];

/// Folders that belong to one machine. In pieces, because this file is checked too.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "target")];

/// Rule 1. What the file names that is not below it: `(its module, the named one)`.
fn names_upward(source: &Source) -> Vec<(String, String)> {
    let own = source.module();
    if own == "lib" {
        return Vec::new();
    }
    let floor_of = |module: &str| FLOORS.iter().find(|(name, _)| *name == module).map(|(_, at)| at);
    let named = mentions(&source.code, "crate::");
    let named =
        named.into_iter().chain(source.is_top().then(|| siblings(source)).into_iter().flatten());
    let upward = named.filter(|module| *module != own).filter(|module| {
        let (own, named) = (floor_of(&own), floor_of(module));
        // A name without a floor (a macro, an item of the door) is as high as the door.
        own.is_none() || named.is_none_or(|named| Some(named) >= own)
    });
    let upward: BTreeSet<String> = upward.collect();
    upward.into_iter().map(|module| (own.clone(), module)).collect()
}

/// In a file right under `src`, `super::` is another way to say `crate::`.
fn siblings(source: &Source) -> Vec<String> {
    let is_module = |name: &String| FLOORS.iter().any(|(module, _)| module == name);
    mentions(&source.code, "super::").into_iter().filter(is_module).collect()
}

/// Rule 1, among flows. `flows` are the names of all of them.
fn names_another_flow(source: &Source, flows: &BTreeSet<String>) -> Vec<String> {
    let Some(own) = source.flow() else { return Vec::new() };
    let named = ["crate::flows::", "super::"].map(|prefix| mentions(&source.code, prefix));
    let others = named.into_iter().flatten().filter(|name| *name != own && flows.contains(name));
    others.map(|other| format!("{}: flow `{own}` names flow `{other}`", source.path)).collect()
}

/// Rule 2. A crate may begin with its README.
fn lacks_a_beginning(source: &Source) -> Vec<String> {
    let begins = ["//! ", "#![doc = include_str!("].iter().any(|at| source.text.starts_with(at));
    if begins { Vec::new() } else { vec![format!("{}: begins without `//!`", source.path)] }
}

/// Rule 3.
fn is_too_large(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        let columns = line.chars().count();
        if columns > MAX_COLUMNS {
            complaints.push(format!("{}:{number}: {columns} columns", source.path));
        }
    }
    let lines = source.lines_without_tests();
    if lines > MAX_LINES {
        complaints.push(format!("{}: {lines} lines without tests", source.path));
    }
    complaints
}

/// Rule 4.
fn says_nothing(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for word in words(&source.code).iter().chain(&words(&source.path)) {
        if EMPTY_NAMES.contains(&word.as_str()) {
            complaints.push(format!("{}: `{word}` is no name", source.path));
        }
    }
    for (number, (code, comment)) in (1..).zip(source.code.lines().zip(source.comments.lines())) {
        let comment = comment.to_lowercase();
        let unfinished = UNFINISHED.iter().filter(|name| code.contains(*name));
        let excuses = EXCUSES.iter().filter(|excuse| {
            comment
                .split(|at: char| !at.is_alphanumeric() && at != ' ')
                .any(|part| format!(" {} ", part.trim()).contains(&format!(" {excuse} ")))
        });
        for found in unfinished.chain(excuses) {
            complaints.push(format!("{}:{number}: `{found}`", source.path));
        }
    }
    complaints
}

/// Rule 5.
fn speaks_of_a_machine(source: &Source) -> Vec<String> {
    let lines = (1..).zip(source.text.lines());
    let spoken = lines.filter(|(_, line)| MACHINE_PATHS.iter().any(|path| line.contains(path)));
    spoken.map(|(number, _)| format!("{}:{number}: a path of one machine", source.path)).collect()
}

/// The folder that the packages lie in.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("a package lies in a folder").to_path_buf()
}

/// Every file under these folders of the repository whose name ends so; folders that are not
/// there are passed over, because a published package comes without its neighbours, and so is what
/// was built of a workspace that lies within a package.
fn sources(folders: &[&str], ending: &str) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder can be read to its end").path();
            let name = path
                .strip_prefix(&root)
                .expect("the path was joined to the root")
                .to_string_lossy()
                .replace('\\', "/");
            if path.is_dir() {
                if !path.ends_with("target") {
                    open.push(path);
                }
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path).expect("a source is UTF-8");
                found.push(Source::new(&name, &text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// What the crates are made of, without their tests and tools.
fn crates() -> Vec<Source> {
    let folders =
        ["core/src", "io-real/src", "io-sim/src", "sim-tests/src", "fuzz/src", "fuzz/fuzz_targets"];
    let found = sources(&folders, ".rs");
    assert!(found.iter().filter(|source| source.path.starts_with("core/src/")).count() > 20);
    found
}

#[track_caller]
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn a_module_of_the_engine_names_only_lower_floors() {
    let engine = sources(&["core/src"], ".rs");
    let mut unused: BTreeSet<(&str, &str)> =
        EXCEPTIONS.iter().map(|(from, to, _)| (*from, *to)).collect();
    let mut complaints = Vec::new();
    for source in &engine {
        for (from, to) in names_upward(source) {
            let is_exception = EXCEPTIONS.iter().any(|known| known.0 == from && known.1 == to);
            unused.retain(|known| *known != (from.as_str(), to.as_str()));
            if !is_exception {
                complaints.push(format!("{}: `{from}` names `{to}`", source.path));
            }
        }
    }
    complaints.extend(unused.iter().map(|known| format!("nobody needs the exception {known:?}")));
    assert_none(&complaints);
}

#[test]
fn every_module_of_the_engine_has_a_floor_and_every_floor_is_inhabited() {
    let modules: BTreeSet<String> =
        sources(&["core/src"], ".rs").iter().map(Source::module).collect();
    let table: BTreeSet<String> = FLOORS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(modules, table);
}

#[test]
fn no_flow_names_another() {
    let engine = sources(&["core/src/flows"], ".rs");
    let flows: BTreeSet<String> = engine.iter().filter_map(Source::flow).collect();
    assert!(flows.len() > 4, "{flows:?}");
    assert_none(&engine.iter().flat_map(|at| names_another_flow(at, &flows)).collect::<Vec<_>>());
}

#[test]
fn every_file_begins_with_what_it_is() {
    assert_none(&crates().iter().flat_map(lacks_a_beginning).collect::<Vec<_>>());
}

#[test]
fn files_and_lines_are_short() {
    assert_none(&crates().iter().flat_map(is_too_large).collect::<Vec<_>>());
}

#[test]
fn every_name_says_something_and_nothing_is_unfinished() {
    assert_none(&crates().iter().flat_map(says_nothing).collect::<Vec<_>>());
}

#[test]
fn nothing_speaks_of_the_machine_it_was_written_on() {
    let mut all = Vec::new();
    for package in ["core", "io-real", "io-sim", "sim-tests", "fuzz"] {
        for folder in ["src", "tests", "examples", "benches", "fuzz_targets"] {
            all.extend(sources(&[&format!("{package}/{folder}")], ".rs"));
        }
    }
    for text in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"] {
        for package in ["", "core/", "io-real/", "io-sim/", "sim-tests/", "fuzz/"] {
            let name = format!("{package}{text}");
            let text = fs::read_to_string(root().join(&name));
            all.extend(text.ok().map(|text| Source::new(&name, &text)));
        }
    }
    assert!(all.iter().any(|source| source.path == "core/tests/tidy/main.rs"));
    assert_none(&all.iter().flat_map(speaks_of_a_machine).collect::<Vec<_>>());
}

/// Each rule, shown to complain about what breaks it and to be silent about what does not.
mod rules {
    use super::*;

    fn upward(path: &str, text: &str) -> Vec<String> {
        names_upward(&Source::new(path, text)).into_iter().map(|(_, named)| named).collect()
    }

    #[test]
    fn a_name_from_above_is_found_however_it_is_written() {
        let log = "core/src/log.rs";
        assert_eq!(upward(log, "use crate::memory::State;"), ["memory"]);
        assert_eq!(upward(log, "fn at() -> crate::db::Db {}"), ["db"]);
        assert_eq!(
            upward(log, "use crate::{\n    io::File,\n    store::{Store, a},\n};"),
            ["store"]
        );
        assert_eq!(upward(log, "use super::flows::put;"), ["flows"]);
        assert_eq!(upward("core/src/segments/slot.rs", "use crate::catalog::Index;"), ["catalog"]);
        assert_eq!(upward("core/src/format/mark.rs", "use crate::Error;"), ["Error"]);
        assert_eq!(upward("core/src/types.rs", "use crate::io::File;"), ["io"]);
        assert_eq!(upward("core/src/newcomer.rs", "use crate::types::BLOCK;"), ["types"]);
    }

    #[test]
    fn a_name_from_below_is_fine_and_so_is_a_mention_in_a_comment() {
        let none: [&str; 0] = [];
        let log = "core/src/log.rs";
        assert_eq!(upward(log, "use crate::types::BLOCK; // not crate::db\n//! crate::db"), none);
        assert_eq!(upward(log, "use crate::log::Ring; const A: &str = \"crate::db\";"), none);
        assert_eq!(upward(log, "use crate::{format::{mark, seal}, types::BLOCK};"), none);
        assert_eq!(upward("core/src/lib.rs", "use crate::db::Db;"), none);
    }

    #[test]
    fn a_flow_that_names_another_is_found() {
        let flows = ["get", "put", "recovery"].map(str::to_owned).into();
        let count = |path, text| names_another_flow(&Source::new(path, text), &flows).len();
        assert_eq!(count("core/src/flows/put.rs", "use crate::flows::get::Get;"), 1);
        assert_eq!(count("core/src/flows/put.rs", "use crate::flows::{get, recovery};"), 2);
        assert_eq!(count("core/src/flows/put.rs", "use super::get;"), 1);
        assert_eq!(count("core/src/flows/recovery/load.rs", "use super::super::get;"), 1);
        assert_eq!(count("core/src/flows/recovery/load.rs", "use crate::flows::recovery::a;"), 0);
        assert_eq!(count("core/src/flows/recovery/load.rs", "use super::decide;"), 0);
        assert_eq!(count("core/src/flows/mod.rs", "pub(crate) use self::get::Get;"), 0);
        assert_eq!(count("core/src/db.rs", "use crate::flows::{get, put};"), 0);
    }

    #[test]
    fn a_file_without_a_beginning_is_found() {
        let count = |text| lacks_a_beginning(&Source::new("core/src/a.rs", text)).len();
        assert_eq!(count("use std::fmt;\n//! Late.\n"), 1);
        assert_eq!(count("// Not a doc.\n"), 1);
        assert_eq!(count(""), 1);
        assert_eq!(count("//! What it is.\n"), 0);
    }

    #[test]
    fn long_lines_and_long_files_are_found() {
        let count = |text: &str| is_too_large(&Source::new("core/src/a.rs", text)).len();
        assert_eq!(count(&"x".repeat(101)), 1);
        assert_eq!(count(&"→".repeat(100)), 0);
        assert_eq!(count(&"x\n".repeat(501)), 1);
        let tested =
            |lines| "x\n".repeat(lines) + "#[cfg(test)]\nmod tests {\n" + &"y\n".repeat(99);
        assert_eq!(count(&tested(500)), 0);
        assert_eq!(count(&tested(501)), 1);
    }

    #[test]
    fn empty_names_and_excuses_are_found() {
        let count = |path, text| says_nothing(&Source::new(path, text)).len();
        let at = "core/src/a.rs";
        assert_eq!(count(at, "struct SegmentManager;"), 1);
        assert_eq!(count(at, "fn write_handler() {}"), 1);
        assert_eq!(count(at, "mod misc;"), 1);
        assert_eq!(count("core/src/utils.rs", "//! A.\n"), 1);
        assert_eq!(count(at, "fn a() { todo!() }"), 1);
        assert_eq!(count(at, "let b = dbg!(a);"), 1);
        assert_eq!(count(at, "// Good enough for now."), 1);
        assert_eq!(count(at, "/* A hack, really. */"), 1);
        assert_eq!(count(at, "// Managers and shacks: utility for nowhere.\n\"for now\";"), 0);
        assert_eq!(count(at, "let utilization = shacked; // handler"), 0);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let count = |text: &str| speaks_of_a_machine(&Source::new("README.md", text)).len();
        for path in MACHINE_PATHS {
            assert_eq!(count(&format!("see {path}x")), 1, "{path}");
        }
        assert_eq!(count("see core/src and /tmp"), 0);
    }
}
