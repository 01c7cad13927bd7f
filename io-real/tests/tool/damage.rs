//! Stores that are not well, and folders that are none.

use std::fs;

use super::{Files, Sample, tool};

#[test]
fn a_folder_that_is_no_store_is_said_to_be_none_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    tool(&["info", &path]).ends(4).complains("the folder holds no store");
    fs::write(folder.path().join("holiday.jpg"), b"not ours").unwrap();
    tool(&["info", &path]).ends(4).complains("the folder holds no store");
    let put = tool(&["put", &path, "g", "k", "v", "--create"]).ends(4);
    put.complains("it holds \"holiday.jpg\"");
    let file = folder.path().join("holiday.jpg");
    tool(&["info", file.to_str().unwrap()]).ends(4).complains("is not a folder");
    tool(&["info", "/nowhere/at/all"]).ends(4).complains("/nowhere/at/all");
    assert_eq!(fs::read(file).unwrap(), b"not ours");
}

#[test]
fn a_store_that_lost_a_file_is_opened_only_to_salvage_what_is_left() {
    let sample = Sample::closed();
    let path = sample.text();
    let file = sample.path().join("segments-000000.log");
    fs::write(&file, &fs::read(&file).unwrap()[..100_000]).unwrap();
    let refused = tool(&["info", &path]).ends(4);
    assert_eq!(refused.out, "");
    refused.complains("the file segments-000000.log is 100000 bytes long instead of 524288");
    refused.complains("--salvage");
    assert!(!refused.err.contains("RecoveryMode"), "{}", refused.err);
    tool(&["info", &path, "--salvage"]).ends(1).says("damaged              yes\n");
}

/// The first segment of the log, and the record of this key in it: where it lies, and in which
/// buffer.
fn find(path: &str, key: &str) -> (String, String, String) {
    let segments = tool(&["segments", path, "--json"]).ends(0).json();
    for row in segments.iter().filter(|row| row["writer"] == "log") {
        let segment = row["segment"].to_string();
        let inspected = &tool(&["inspect", "segment", path, &segment, "--json"]).json()[0];
        for block in inspected["blocks"].as_array().unwrap() {
            if block["kind"] != "log" {
                continue;
            }
            let at = block["offset"].to_string();
            let buffer = &tool(&["inspect", "buffer", path, &segment, &at, "--json"]).json()[0];
            let entries = buffer["entries"].as_array().unwrap();
            // The last one in the log is the one that counts.
            if let Some(entry) = entries.iter().rfind(|entry| entry["key"] == key) {
                return (segment, at, entry["offset"].to_string());
            }
        }
    }
    panic!("no record of {key}")
}

/// Changes one byte of a segment.
fn flip(sample: &Sample, segment: &str, offset: usize) {
    let segment: usize = segment.parse().unwrap();
    let file = sample.path().join(format!("segments-{:06}.log", segment / 8));
    let mut bytes = fs::read(&file).unwrap();
    bytes[segment % 8 * (64 << 10) + offset] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn superblock_and_mark_are_decoded_and_shown_damaged_as_they_are() {
    let sample = Sample::closed();
    let path = sample.text();
    tool(&["inspect", "superblock", &path]).ends(0).says("segment len        64 KiB\n");
    tool(&["inspect", "mark", &path]).ends(0).says("slots that may be next");
    let mut bytes = fs::read(sample.path().join("superblock")).unwrap();
    bytes[50] ^= 1;
    fs::write(sample.path().join("superblock"), &bytes).unwrap();
    let damaged = tool(&["inspect", "superblock", &path, "--json"]).ends(1);
    assert!(damaged.json()[0]["problem"].as_str().unwrap().starts_with("crc "));
    assert_eq!(damaged.json()[0]["segment_len"], 65536);
    tool(&["inspect", "mark", &path]).ends(0);
    let mut bytes = fs::read(sample.path().join("mark")).unwrap();
    bytes[4096 + 30] ^= 1;
    fs::write(sample.path().join("mark"), &bytes).unwrap();
    let half = &tool(&["inspect", "mark", &path, "--json"]).ends(1).json()[0];
    assert_eq!(
        (&half["slots"][0]["counts"], &half["slots"][1]["counts"]),
        (&true.into(), &false.into())
    );
    tool(&["inspect", "mark", "/nowhere"]).ends(4).complains("/nowhere/mark");
}

#[test]
fn segments_buffers_and_records_are_decoded_without_an_opening() {
    let sample = Sample::crashed();
    let path = sample.text();
    let before = Files::of(&sample.path());
    let (segment, buffer, record) = find(&path, "key 7");
    let whole = tool(&["inspect", "record", &path, &segment, &record]).ends(0);
    whole.says("key             key 7\n");
    whole.says("value begins    7 xxxxx");
    let all = ["inspect", "record", &path, &segment, &record, "--value", "--json"];
    let value = tool(&all).ends(0).json()[0]["value"].as_str().unwrap().len();
    assert_eq!(value, 502);
    let entries = tool(&["inspect", "buffer", &path, &segment, &buffer]).ends(0);
    entries.says("  key 7   whole\n");
    tool(&["inspect", "segment", &path, &segment]).ends(0).says("whole\n");
    before.are_those_of(&sample.path());
    tool(&["inspect", "segment", &path, "4000"]).ends(4).complains("segments-000500.log");
    tool(&["inspect", "record", &path, &segment, "60000"]).ends(1).says("problem");

    let offset: usize = record.parse().unwrap();
    flip(&sample, &segment, offset + 100);
    let damaged = tool(&["inspect", "record", &path, &segment, &record]).ends(1);
    damaged.says("body crc");
    let damaged = tool(&["inspect", "buffer", &path, &segment, &buffer]).ends(1);
    damaged.says("records crc");
    tool(&["inspect", "segment", &path, &segment]).says("records crc");
    let buffer_at: usize = buffer.parse().unwrap();
    flip(&sample, &segment, buffer_at + 60);
    let damaged = tool(&["inspect", "buffer", &path, &segment, &buffer]).ends(1);
    damaged.says("header crc");
    damaged.says(&format!("  {buffer}\n"));
}

#[test]
fn a_superblock_that_is_gone_can_be_made_up_for() {
    let sample = Sample::closed();
    let path = sample.text();
    fs::remove_file(sample.path().join("superblock")).unwrap();
    tool(&["info", &path]).ends(4).complains("holds no store");
    tool(&["inspect", "segment", &path, "0"]).ends(4).complains("--segment-len");
    let cut = ["--segment-len", "65536", "--segments-per-file", "8"];
    let asked = [&["inspect", "segment", &path, "0"][..], &cut].concat();
    tool(&asked).ends(0).says("sealed");
    tool(&["inspect", "segment", &path, "0", "--segment-len", "65536"]).ends(2);
}

#[test]
fn recovery_is_explained_without_being_done() {
    let sample = Sample::crashed();
    let path = sample.text();
    let before = Files::of(&sample.path());
    let said = tool(&["recover", "--explain", &path]).ends(0);
    said.says("The store was not closed in order");
    said.says("302 keys in 2 groups are there.");
    said.complains("nothing was changed");
    before.are_those_of(&sample.path());
    tool(&["recover", "--yes", &path]).ends(0).says("302 keys in 2 groups");
    tool(&["recover", &path]).ends(0).says("The store was closed in order");
    tool(&["recover", "--yes", "--explain", &path]).ends(2);
}

#[test]
fn what_is_lost_is_listed_and_opened_for_good_only_when_that_is_asked_for() {
    let sample = Sample::closed();
    let path = sample.text();
    let file = sample.path().join("segments-000000.log");
    fs::write(&file, &fs::read(&file).unwrap()[..100_000]).unwrap();
    let before = Files::of(&sample.path());
    let said = tool(&["recover", &path]).ends(1);
    said.says("An opening is refused: the file segments-000000.log is 100000 bytes long");
    said.says("Damaged or lost:\nSegment ");
    said.says("The file segments-000000.log: it is missing, or not as long as it was made.\n");
    let object = &tool(&["recover", &path, "--json"]).ends(1).json()[0];
    assert_eq!(object["salvaging"], true);
    assert!(object["refused"].is_string());
    before.are_those_of(&sample.path());
    tool(&["recover", "--yes", &path]).ends(4);
    before.are_those_of(&sample.path());
    tool(&["recover", "--salvage", "--yes", &path]).ends(1).says("Damaged or lost:");
}

#[test]
fn a_record_that_is_damaged_is_said_to_be_and_the_others_are_read() {
    let sample = Sample::closed();
    let path = sample.text();
    let (segment, _, record) = find(&path, "key 299");
    flip(&sample, &segment, record.parse::<usize>().unwrap() + 100);
    let refused = tool(&["get", &path, "users", "key 299"]).ends(4);
    refused.complains(&format!("the record at segment {segment} offset {record}"));
    refused.complains("is corrupt");
    assert_eq!(refused.out, "");
    let scanned = tool(&["scan", &path, "users", "--keys"]).ends(1);
    assert_eq!(scanned.out.lines().count(), 301);
    scanned.complains("group users: the record at");
}

#[test]
fn a_check_finds_what_is_damaged_and_nothing_where_all_is_well() {
    let sample = Sample::closed();
    let path = sample.text();
    for asked in [&["verify", &path][..], &["verify", &path, "--summaries", "--rate", "1G"]] {
        let well = tool(asked).ends(0);
        assert!(well.out.ends_with("read: nothing is damaged\n"), "{}", well.out);
        assert_eq!(well.out.lines().count(), 1);
    }
    let (segment, _, record) = find(&path, "key 299");
    flip(&sample, &segment, record.parse::<usize>().unwrap() + 100);
    let before = Files::of(&sample.path());
    let found = tool(&["verify", &path]).ends(1);
    let line = format!("segment {segment} offset {record} (users): damaged record: body crc");
    found.says(&line);
    found.says("; a key needs it\n");
    found.says(": 1 finding, needed by a key\n");
    tool(&["verify", &path, "--summaries"]).ends(0);
    let rows = tool(&["verify", &path, "--json"]).ends(1).json();
    assert_eq!((&rows[0]["what"], &rows[0]["live"]), (&"finding".into(), &true.into()));
    assert_eq!(rows[0]["group"], "users");
    assert_eq!((&rows[1]["what"], &rows[1]["findings"]), (&"sum".into(), &1.into()));
    before.are_those_of(&sample.path());

    let mut bytes = fs::read(sample.path().join("mark")).unwrap();
    bytes[30] ^= 1;
    fs::write(sample.path().join("mark"), &bytes).unwrap();
    tool(&["verify", &path]).ends(1).says("the file mark: slot 0: crc ");
    tool(&["verify", &path, "--rate", "fast"]).ends(2).complains("no number of bytes");
}
