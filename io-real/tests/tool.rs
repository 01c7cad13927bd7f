//! The command line tool, run as a process: what each verb prints, and with which code it ends.
//!
//! `cargo test -p logstor --features cli`: without the feature there is no tool.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[path = "tool/damage.rs"]
mod damage;
#[path = "tool/verbs.rs"]
mod verbs;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use logstor::{Durability, Options};
use tempfile::TempDir;

/// What a run of the tool came to.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// It ended with this code.
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// It printed exactly this, and nothing beside it.
    #[track_caller]
    fn prints(&self, out: &str) {
        assert_eq!((&self.out[..], &self.err[..]), (out, ""));
    }

    /// What one of its streams has in it.
    #[track_caller]
    fn says(&self, text: &str) {
        assert!(self.out.contains(text), "no {text:?} in\n{}", self.out);
    }

    #[track_caller]
    fn complains(&self, text: &str) {
        assert!(self.err.contains(text), "no {text:?} in\n{}", self.err);
    }

    /// The lines of JSON that it printed.
    fn json(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn tool<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    tool_with(arguments, b"")
}

/// Runs the tool with this on its stdin.
fn tool_with<S: AsRef<OsStr>>(arguments: &[S], stdin: &[u8]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logstor"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A tool that does not read it may be gone by now.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let ended = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: ended.status.code().unwrap(), out: text(ended.stdout), err: text(ended.stderr) }
}

/// Runs the future to its end.
fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

/// A store of at most 32 segments of 64 KiB, with 300 keys of some 500 bytes in `users`, some of
/// them overwritten, a large value, and a key that is no text; closed, or copied while it was open.
struct Sample {
    folder: TempDir,
}

impl Sample {
    fn closed() -> Self {
        Self::make(true)
    }

    fn crashed() -> Self {
        Self::make(false)
    }

    fn make(closed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("live");
        let sample = folder.path().join("store");
        run(async {
            let options = Options {
                segment_len: Some(64 << 10),
                segments_per_file: Some(8),
                capacity: Some(32 * (64 << 10)),
                ..Options::default()
            };
            let db = logstor::builder(&live).options(options).open().await.unwrap();
            // Each phase of the test writes the same bytes in the same order.
            let _still = db.pause_compaction();
            let users = db.group("users").await.unwrap();
            for round in 0..2 {
                for number in (0..300).step_by(1 + round) {
                    let value = format!("{number} {}", "x".repeat(500));
                    users
                        .put_with(format!("key {number}"), value, Durability::Buffered)
                        .await
                        .unwrap();
                }
            }
            users.put([0xff, b'\n', b'k'], vec![0xfe, 0]).await.unwrap();
            users.put("large", vec![7; 100_000]).await.unwrap();
            db.group("empty").await.unwrap();
            db.flush().await.unwrap();
            if closed {
                db.close().await.unwrap();
            }
            fs::create_dir(&sample).unwrap();
            for entry in fs::read_dir(&live).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), sample.join(entry.file_name())).unwrap();
            }
        });
        Self { folder }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("store")
    }

    fn text(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }
}

/// Every file of a folder and what is in it, but for the lock, which says who wrote last.
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn of(path: &Path) -> Self {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        let entries = entries.filter(|entry| entry.file_name() != "LOCK");
        let read = |entry: fs::DirEntry| {
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        };
        Self(entries.map(read).collect())
    }

    /// The folder is still as it was.
    #[track_caller]
    fn are_those_of(&self, path: &Path) {
        let now = Self::of(path);
        let names = |files: &Self| files.0.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(&now));
        for (name, bytes) in &self.0 {
            assert!(now.0[name] == *bytes, "{name} has changed");
        }
    }
}
