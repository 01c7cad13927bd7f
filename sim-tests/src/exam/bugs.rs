//! The files of planted bugs, read.
//!
//! ```text
//! # remarks, anywhere
//! bug    the source is freed before the copies are synced
//! breaks P1
//! with   --full                         only where the plain sweep is not the one to catch it
//! in     core/src/rewrite.rs
//! - what stands there
//! + what is put in its place
//! ```
//!
//! 1. The name is a sentence, and no two bugs have the same.
//! 2. Texts may have several lines; what is put may be nothing. A bug may have several edits: a
//!    line with `-` behind one with `+`, or another `in`, begins the next.
//! 3. A text that is put may say `planted!()` where it asks whether its bug is awake. Where it does
//!    not, it is put as a whole in the place of the other: see [`plant`](super::plant).
//!
//! Absent on purpose: numbers. A bug's number is its place in the list, and means nothing outside
//! of one build.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::plan::Mode;

/// A planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bug {
    /// What is wrong, as a sentence.
    pub name: String,
    /// The promise that it breaks.
    pub breaks: String,
    /// The sweep that must catch it.
    pub mode: Mode,
    /// How it is planted.
    pub edits: Vec<Edit>,
}

/// One text in the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Which file, from the folder of the repository.
    pub file: String,
    /// What stands there, once.
    pub find: String,
    /// What is put in its place.
    pub put: String,
}

/// Why a file of bugs makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BugsUnreadable {
    /// The file.
    pub file: String,
    /// The line, counted from one; zero for the file as a whole.
    pub line: usize,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for BugsUnreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file, self.line, self.why)
    }
}

impl std::error::Error for BugsUnreadable {}

/// All bugs there are, in the order of their files and places.
pub fn all() -> Result<Vec<Bug>, BugsUnreadable> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants");
    let wrong = |file: &Path, why: &dyn fmt::Display| BugsUnreadable {
        file: file.display().to_string(),
        line: 0,
        why: why.to_string(),
    };
    let listed = fs::read_dir(&folder).map_err(|error| wrong(&folder, &error))?;
    let mut files: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "bugs"));
    files.sort();
    let mut bugs = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).map_err(|error| wrong(file, &error))?;
        bugs.extend(read(&file.display().to_string(), &text)?);
    }
    let mut names = BTreeSet::new();
    match bugs.iter().find(|bug: &&Bug| !names.insert(bug.name.clone())) {
        Some(twice) => Err(wrong(&folder, &format!("two bugs are named {:?}", twice.name))),
        None => Ok(bugs),
    }
}

/// The bugs in one file.
pub fn read(file: &str, text: &str) -> Result<Vec<Bug>, BugsUnreadable> {
    let mut reader = Reader::default();
    for (line, number) in text.lines().zip(1..) {
        let wrong = |why: String| BugsUnreadable { file: file.into(), line: number, why };
        reader.line(line).map_err(wrong)?;
    }
    for bug in &reader.bugs {
        let wrong = |why: &str| BugsUnreadable {
            file: file.into(),
            line: 0,
            why: format!("{:?} {why}", bug.name),
        };
        if bug.breaks.is_empty() {
            return Err(wrong("breaks no promise"));
        }
        if bug.edits.is_empty() || bug.edits.iter().any(|edit| edit.find.trim().is_empty()) {
            return Err(wrong("does not say what to find"));
        }
    }
    Ok(reader.bugs)
}

#[derive(Default)]
struct Reader {
    bugs: Vec<Bug>,
    /// The file that edits are in.
    file: String,
    /// What is put in the last edit has begun.
    putting: bool,
    /// The next line of what to find begins an edit.
    fresh: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "bug" {
            let (name, mode) = (rest.trim().to_owned(), Mode::default());
            self.bugs.push(Bug { name, breaks: String::new(), mode, edits: Vec::new() });
            self.fresh = true;
            self.file.clear();
            return Ok(());
        }
        let bug = self.bugs.last_mut().ok_or("a bug begins with its name")?;
        match word {
            "breaks" => rest.trim().clone_into(&mut bug.breaks),
            "with" => bug.mode = mode(rest.trim())?,
            "in" => {
                rest.trim().clone_into(&mut self.file);
                self.fresh = true;
            }
            "-" if self.file.is_empty() => return Err("it does not say in which file".into()),
            "-" => {
                if self.fresh || self.putting {
                    let file = self.file.clone();
                    bug.edits.push(Edit { file, find: String::new(), put: String::new() });
                }
                (self.fresh, self.putting) = (false, false);
                add(bug.edits.last_mut().map(|edit| &mut edit.find), rest);
            }
            "+" => {
                self.putting = true;
                add(bug.edits.last_mut().map(|edit| &mut edit.put), rest);
            }
            other => return Err(format!("{other:?} says nothing")),
        }
        Ok(())
    }
}

fn add(text: Option<&mut String>, line: &str) {
    if let Some(text) = text {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
}

fn mode(word: &str) -> Result<Mode, String> {
    match word {
        "--full" => Ok(Mode::Full),
        "--damage" => Ok(Mode::Damage),
        other => Err(format!("there is no sweep with {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
# about writes
bug    one
breaks P1
in     core/src/log.rs
- a();
-     b();

bug    two
breaks P2, P3
with   --full
in     core/src/log.rs
- x
+ y
- u
+ v
in     core/src/db.rs
- z
+ planted!() || z
";

    fn edit(file: &str, find: &str, put: &str) -> Edit {
        Edit { file: file.into(), find: find.into(), put: put.into() }
    }

    #[test]
    fn bugs_are_read_with_all_their_edits() {
        let bugs = read("some.bugs", TWO).unwrap();
        assert_eq!(bugs.len(), 2);
        assert_eq!((&*bugs[0].name, &*bugs[0].breaks), ("one", "P1"));
        assert_eq!(bugs[0].mode, Mode::Mixed);
        assert_eq!(bugs[0].edits, [edit("core/src/log.rs", "a();\n    b();", "")]);
        assert_eq!((&*bugs[1].breaks, bugs[1].mode), ("P2, P3", Mode::Full));
        let expected = [
            edit("core/src/log.rs", "x", "y"),
            edit("core/src/log.rs", "u", "v"),
            edit("core/src/db.rs", "z", "planted!() || z"),
        ];
        assert_eq!(bugs[1].edits, expected);
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        let line = |text: &str| read("some.bugs", text).map_err(|wrong| wrong.line);
        assert_eq!(line("in core/src/log.rs"), Err(1));
        assert_eq!(line("bug a\nbreaks P1\n- x"), Err(3));
        assert_eq!(line("bug a\nwith --nothing"), Err(2));
        assert_eq!(line("bug a\nbreaks P1\nwhatever"), Err(3));
        assert_eq!(line("bug a\nbreaks P1"), Err(0), "nothing to find");
        assert_eq!(line("bug a\nin b\n- x"), Err(0), "no promise");
    }
}
