//! Stores that are well: what the verbs print and change.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::{Files, Sample, run, tool, tool_with};

#[test]
fn info_says_what_a_store_is_and_how_it_was_left() {
    for (sample, cleanly) in [(Sample::closed(), "yes"), (Sample::crashed(), "no")] {
        let path = sample.text();
        let text = tool(&["info", &path]).ends(0);
        text.says(&format!("path               {path}\n"));
        text.says("keys               302\n");
        text.says("segment len        64 KiB\n");
        text.says(&format!("  closed cleanly       {cleanly}\n"));
        let object = &tool(&["info", &path, "--json"]).ends(0).json()[0];
        assert_eq!(object["keys"], 302);
        assert_eq!(object["opening"]["closed_cleanly"], cleanly == "yes");
        assert_eq!(object["segment_len"], 65536);
    }
}

#[test]
fn groups_are_listed_with_what_they_take() {
    let sample = Sample::closed();
    let text = tool(&["groups", &sample.text()]).ends(0);
    let lines: Vec<&str> = text.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", text.out);
    assert!(lines[0].starts_with("group  id  keys  live bytes  segments"), "{}", text.out);
    assert!(lines[1].starts_with("empty   2     0         0 B"), "{}", text.out);
    assert!(lines[2].starts_with("users   1   302"), "{}", text.out);
    let rows = tool(&["groups", &sample.text(), "--json"]).ends(0).json();
    assert_eq!(rows[1]["large_values"], 1);
    assert_eq!(rows[0]["group"], "empty");
}

#[test]
fn a_value_is_given_byte_for_byte_or_as_it_is_asked_for() {
    let sample = Sample::closed();
    let path = sample.text();
    let value = format!("7 {}", "x".repeat(500));
    tool(&["get", &path, "users", "key 7"]).ends(0).prints(&value);
    let large = tool(&["get", &path, "users", "large"]).ends(0);
    assert_eq!(large.out.as_bytes(), vec![7; 100_000]);
    tool(&["get", &path, "users", "--hex", "ff0a6b"]).ends(0).prints("fe00\n");
    tool(&["get", &path, "users", "--base64", "/wpr"]).ends(0).prints("/gA=\n");
    let object = &tool(&["get", &path, "users", "key 7", "--json"]).ends(0).json()[0];
    assert_eq!(object["value"], value.as_str());
    assert_eq!(object["key"], "key 7");
    let object = &tool(&["get", &path, "users", "--hex", "ff0a6b", "--json"]).ends(0).json()[0];
    assert_eq!((&object["key_hex"], &object["value_hex"]), (&"ff0a6b".into(), &"fe00".into()));
}

#[test]
fn what_is_not_there_ends_with_1_and_what_cannot_be_asked_with_2() {
    let sample = Sample::closed();
    let path = sample.text();
    let absent = tool(&["get", &path, "users", "key 1000"]).ends(1);
    assert_eq!(absent.out, "");
    absent.complains("there is no key key 1000 in group users");
    tool(&["get", &path, "nobody", "k"]).ends(1).complains("there is no group named \"nobody\"");
    tool(&["scan", &path, "nobody"]).ends(1).complains("nobody");
    tool(&["put", &path, "nobody", "k", "v"]).ends(1).complains("nobody");
    tool(&["get", &path, "users", ""]).ends(2).complains("the key is empty");
    tool(&["get", &path, "users", "--hex", "xyz"]).ends(2).complains("hexadecimal");
    tool(&["get", &path, "users", "--hex", "--base64", "00"]).ends(2);
    tool(&["get", &path]).ends(2).complains("Usage:");
    tool(&["frobnicate", &path]).ends(2);
    tool(&["--help"]).ends(0).says("Usage: logstor");
    tool(&["--version"]).ends(0).says(env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_scan_gives_each_entry_once_on_a_line_of_its_own() {
    let sample = Sample::crashed();
    let path = sample.text();
    let all = tool(&["scan", &path, "users"]).ends(0);
    let lines: BTreeSet<&str> = all.out.lines().collect();
    assert_eq!((lines.len(), all.out.lines().count()), (302, 302));
    assert!(lines.contains("\\xff\\nk\t\\xfe\\x00"));
    assert!(lines.contains("large\t\\{100000 bytes}"));
    let keys = tool(&["scan", &path, "users", "--keys"]).ends(0);
    let first: Vec<&str> = keys.out.lines().take(5).collect();
    assert!(keys.out.lines().any(|line| line == "key 299"));
    let limited = tool(&["scan", &path, "users", "--keys", "--limit", "5"]).ends(0);
    assert_eq!(limited.out.lines().collect::<Vec<_>>(), first);
    tool(&["scan", &path, "users", "--limit", "0"]).ends(0).prints("");
    tool(&["scan", &path, "empty"]).ends(0).prints("");
    tool(&["scan", &path, "users", "--base64"]).ends(0).says("/wpr\t/gA=\n");
    let rows = tool(&["scan", &path, "users", "--json"]).ends(0).json();
    assert_eq!(rows.len(), 302);
    assert!(rows.iter().any(|row| row["key_base64"] == "/wpr" && row["value_base64"] == "/gA="));
    assert!(rows.iter().any(|row| row["key"] == "large" && row["large_value_len"] == 100_000));
}

#[test]
fn what_only_reads_changes_no_file() {
    let sample = Sample::crashed();
    let path = sample.text();
    let before = Files::of(&sample.path());
    for verb in ["info", "groups", "segments", "stat"] {
        tool(&[verb, &path]).ends(0);
    }
    tool(&["scan", &path, "users"]).ends(0);
    tool(&["get", &path, "users", "key 3"]).ends(0);
    tool(&["del", &path, "users", "key 3"]).ends(0);
    before.are_those_of(&sample.path());
}

#[test]
fn what_is_put_is_there_whether_it_comes_as_an_argument_from_a_file_or_through_a_pipe() {
    let sample = Sample::crashed();
    let path = sample.text();
    tool(&["put", &path, "users", "new", "value"]).ends(0).prints("");
    tool(&["get", &path, "users", "new"]).ends(0).prints("value");
    tool(&["put", &path, "users", "--hex", "6162", "00ff"]).ends(0).prints("");
    tool(&["get", &path, "users", "--hex", "6162"]).ends(0).prints("00ff\n");
    tool_with(&["put", &path, "users", "piped"], b"through a pipe").ends(0).prints("");
    tool(&["get", &path, "users", "piped"]).ends(0).prints("through a pipe");
    let file = sample.folder.path().join("file");
    fs::write(&file, vec![b'f'; 200_000]).unwrap();
    let file = file.to_str().unwrap();
    let put = tool(&["put", &path, "users", "from a file", "--file", file, "--json"]).ends(0);
    assert_eq!(put.json()[0]["value_len"], 200_000);
    let got = tool(&["get", &path, "users", "from a file"]).ends(0);
    assert_eq!(got.out.len(), 200_000);
    tool(&["put", &path, "users", "k", "--file", "/nowhere"]).ends(4).complains("/nowhere");
    let object = &tool(&["info", &path, "--json"]).ends(0).json()[0];
    assert_eq!(object["opening"]["closed_cleanly"], true, "what writes closes the store");
}

#[test]
fn a_store_and_a_group_are_made_only_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let path = path.to_str().unwrap();
    tool(&["put", path, "g", "k", "v"]).ends(4).complains("holds no store");
    assert!(!fs::exists(path).unwrap());
    tool(&["put", path, "g", "k", "v", "--create"]).ends(0).prints("");
    tool(&["get", path, "g", "k"]).ends(0).prints("v");
    tool(&["put", path, "another", "k", "v"]).ends(1);
    tool(&["put", path, "another", "k", "v", "--create"]).ends(0);
}

#[test]
fn keys_are_deleted_only_with_yes() {
    let sample = Sample::closed();
    let path = sample.text();
    let would = tool(&["del", &path, "users", "key 1", "key 2"]).ends(0);
    assert_eq!(would.out, "key 1\twould be deleted\nkey 2\twould be deleted\n");
    would.complains("--yes");
    tool(&["get", &path, "users", "key 1"]).ends(0);
    let did = tool(&["del", &path, "users", "key 1", "nothing", "--yes"]).ends(1);
    did.prints("key 1\tdeleted\nnothing\tabsent\n");
    tool(&["get", &path, "users", "key 1"]).ends(1);
    tool(&["get", &path, "users", "key 2"]).ends(0);
    let json = tool(&["del", &path, "users", "key 2", "--yes", "--json"]).ends(0).json();
    assert_eq!((&json[0]["key"], &json[0]["what"]), (&"key 2".into(), &"deleted".into()));
    tool(&["del", &path, "users"]).ends(2);
    tool(&["del", &path, "users", ""]).ends(2);
}

#[test]
fn segments_are_listed_and_drawn() {
    let sample = Sample::crashed();
    let path = sample.text();
    let rows = tool(&["segments", &path, "--json"]).ends(0).json();
    let stats = &tool(&["stat", &path, "--json"]).ends(0).json()[0];
    let sum = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("live_bytes"), stats["live_bytes"].as_u64().unwrap());
    assert_eq!(sum("dead_bytes"), stats["space"]["dead_bytes"].as_u64().unwrap());
    assert!(rows.iter().any(|row| row["writer"] == "large" && row["group"] == "users"));
    let table = tool(&["segments", &path]).ends(0);
    assert_eq!(table.out.lines().count(), rows.len() + 1);

    let map = tool(&["segments", &path, "--map"]).ends(0);
    assert!(!map.out.contains('\x1b'), "no colours where nobody looks");
    map.says("use: ");
    map.says("written by: ");
    let cells = &tool(&["segments", &path, "--map", "--json"]).ends(0).json()[0]["cells"];
    let cells: Vec<&str> =
        cells.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap()).collect();
    assert_eq!(cells.len(), rows.len());
    map.says(&format!("0  {}\n", cells.join(" ")));
    for (cell, row) in cells.iter().zip(&rows) {
        let letter = match (row["used"].as_str().unwrap(), row["writer"].as_str()) {
            ("free", _) => '.',
            ("given back", _) => '_',
            ("sealed", Some("log")) => 'L',
            ("sealed", Some("large")) => 'V',
            other => panic!("{other:?}"),
        };
        assert!(cell.starts_with(letter), "{cell} {row}");
    }
}

#[test]
fn stat_gives_all_numbers() {
    let sample = Sample::closed();
    let text = tool(&["stat", &sample.text()]).ends(0);
    text.says("keys               302\n");
    text.says("\nspace\n  live bytes");
    let object = &tool(&["stat", &sample.text(), "--json"]).ends(0).json()[0];
    let space = object["space"].as_object().unwrap().values();
    let sum: u64 = space.map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(sum, object["file_bytes"].as_u64().unwrap());
}

#[test]
fn completions_are_those_of_the_shell() {
    tool(&["completions", "bash"]).ends(0).says("_logstor()");
    tool(&["completions", "zsh"]).ends(0).says("#compdef logstor");
    tool(&["completions", "nosuchshell"]).ends(2);
}

#[test]
fn a_store_that_somebody_has_is_locked_and_the_process_named() {
    let sample = Sample::closed();
    let path = sample.text();
    run(async {
        let db = logstor::open(&path).await.unwrap();
        let who = format!("is in use by process {}", std::process::id());
        for verb in ["info", "groups", "segments", "stat"] {
            tool(&[verb, &path]).ends(3).complains(&who);
        }
        tool(&["put", &path, "users", "k", "v"]).ends(3).complains(&who);
        db.close().await.unwrap();
        let db = logstor::builder(&path).open_read_only().await.unwrap();
        tool(&["get", &path, "users", "key 2"]).ends(0);
        tool(&["put", &path, "users", "k", "v"]).ends(3).complains("by another process");
        drop(db);
    });
}

#[test]
fn a_pipe_that_is_closed_is_no_error() {
    let sample = Sample::closed();
    let mut child = Command::new(env!("CARGO_BIN_EXE_logstor"))
        .args(["get", &sample.text(), "users", "large"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let mut child = Command::new(env!("CARGO_BIN_EXE_logstor"))
        .args(["scan", &sample.text(), "users"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // More is written than a pipe takes, so some of it is written to a pipe that is closed.
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
    assert!(line.contains('\t'));
}

#[test]
fn a_dump_is_loaded_into_another_store_entry_by_entry() {
    let sample = Sample::crashed();
    let path = sample.text();
    let dump = tool(&["dump", &path]).ends(0);
    let lines: Vec<&str> = dump.out.lines().collect();
    assert_eq!(lines.len(), 304, "two groups, and their entries");
    assert_eq!(lines[0], r#"{"group":"empty"}"#);
    let entry = r#"{"group":"users","key_base64":"/wpr","value_base64":"/gA="}"#;
    assert!(lines.contains(&entry));
    assert_eq!(tool(&["dump", &path, "--group", "empty"]).ends(0).out.lines().count(), 1);
    tool(&["dump", &path, "--group", "nobody"]).ends(1);

    let copy = sample.folder.path().join("copy");
    let copy = copy.to_str().unwrap();
    let would = tool_with(&["load", copy, "--create"], dump.out.as_bytes()).ends(0);
    would.complains("nothing was written");
    assert!(!fs::exists(copy).unwrap());
    let asked = ["load", copy, "--create", "--yes"];
    tool_with(&asked, dump.out.as_bytes()).ends(0).says("users      302");
    let sorted = |path: &str| {
        let dump = tool(&["dump", path]).ends(0).out;
        dump.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(sorted(copy), sorted(&path));
    // Once more: each entry takes the place of itself.
    let again = tool_with(&["load", copy, "--json"], dump.out.as_bytes()).ends(0).json();
    assert_eq!(again[1]["in_place_of_other_values"], 302);
    tool_with(&["load", copy, "--yes"], b"{\"group\":\"g\"}\nnonsense\n")
        .ends(2)
        .complains("line 2");
}

#[test]
fn what_is_dead_is_made_room_and_files_are_given_back() {
    let sample = Sample::crashed();
    let path = sample.text();
    let dead = |path: &str| {
        let stat = &tool(&["stat", path, "--json"]).ends(0).json()[0];
        stat["space"]["dead_bytes"].as_u64().unwrap()
    };
    let before = dead(&path);
    tool(&["compact", &path]).ends(0).says("segments rewritten");
    assert!(dead(&path) < before, "{before} bytes were dead before");
    tool(&["compact", &path, "--group", "nobody"]).ends(1).complains("nobody");
    tool(&["compact", &path, "--reclaimable", "101"]).ends(2);
    assert_eq!(tool(&["scan", &path, "users", "--keys"]).ends(0).out.lines().count(), 302);

    // A capacity that the files have already is one that they fit into.
    let resized = &tool(&["resize", &path, "16M", "--json"]).ends(0).json()[0];
    assert_eq!((&resized["fits"], &resized["capacity_bytes"]), (&true.into(), &(16 << 20).into()));
    tool(&["resize", &path, "1"]).ends(2).complains("capacity");
    tool(&["resize", &path, "some"]).ends(2);
}
