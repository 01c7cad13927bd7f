//! Planting: the sources with all bugs in them, each behind its number.
//!
//! ```text
//!   a text of statements:    if planted(7) { put } else { find }
//!   any other expression:   (if planted(7) { put } else { find })
//!   with `planted!()` in it:  put as it stands, with `planted(7)` in that place
//! ```
//!
//! 1. What is to be found stands in its file exactly once.
//! 2. Places of different bugs do not overlap; where several bugs find the same text, each decides
//!    in its turn.
//!
//! Absent on purpose: knowledge of the language. A text that ends like a statement is taken for
//! statements.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use super::bugs::Bug;

/// The sources of some files with all bugs in them, by path.
pub type Planted = BTreeMap<String, String>;

/// Why a bug could not be planted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPlanted {
    /// Its name.
    pub bug: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for NotPlanted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} cannot be planted: {}", self.bug, self.why)
    }
}

impl std::error::Error for NotPlanted {}

/// What is put into a file, and where.
struct Place {
    start: usize,
    end: usize,
    put: String,
    bug: String,
    /// Whether another bug may find the same text.
    whole: bool,
}

/// Plants all bugs; `source` gives the text of a file.
pub fn planted(
    bugs: &[Bug],
    mut source: impl FnMut(&str) -> Result<String, String>,
) -> Result<Planted, NotPlanted> {
    let mut files = BTreeMap::<&str, (String, Vec<Place>)>::new();
    for (number, bug) in (1_u32..).zip(bugs) {
        let wrong = |why: String| NotPlanted { bug: bug.name.clone(), why };
        for edit in &bug.edits {
            let (text, places) = match files.entry(&edit.file) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(new) => new.insert((source(&edit.file).map_err(wrong)?, Vec::new())),
            };
            let start = only(text, &edit.find).map_err(|why| wrong(format!("{why}: {edit:?}")))?;
            add(places, start, (&edit.find, &edit.put), (number, &bug.name)).map_err(wrong)?;
        }
    }
    Ok(files.into_iter().map(|(file, (text, places))| (file.into(), put(text, places))).collect())
}

/// Where `find` stands in the text.
fn only(text: &str, find: &str) -> Result<usize, &'static str> {
    let start = text.find(find).ok_or("there is no such text")?;
    let rest = start + find.chars().next().map_or(1, char::len_utf8);
    if text[rest..].contains(find) { Err("the text is there more than once") } else { Ok(start) }
}

fn add(
    places: &mut Vec<Place>,
    start: usize,
    (find, put): (&str, &str),
    (number, bug): (u32, &str),
) -> Result<(), String> {
    let end = start + find.len();
    let switch = format!("crate::planted::planted({number})");
    let whole = !put.contains("planted!()");
    if let Some(same) = places.iter_mut().find(|place| (place.start, place.end) == (start, end)) {
        if !whole || !same.whole {
            return Err(format!("{:?} is planted there", same.bug));
        }
        same.put = guarded(&switch, put, &same.put, find);
        return Ok(());
    }
    if let Some(other) = places.iter().find(|place| place.start < end && start < place.end) {
        return Err(format!("{:?} is planted there", other.bug));
    }
    let put =
        if whole { guarded(&switch, put, find, find) } else { put.replace("planted!()", &switch) };
    places.push(Place { start, end, put, bug: bug.into(), whole });
    Ok(())
}

/// `put` if the bug is awake, else what there was, which stands in the place of `find`.
fn guarded(switch: &str, put: &str, otherwise: &str, find: &str) -> String {
    let text = format!("if {switch} {{ {put} }} else {{ {otherwise} }}");
    if find.trim_end().ends_with([';', '}']) { text } else { format!("({text})") }
}

fn put(mut text: String, mut places: Vec<Place>) -> String {
    places.sort_by_key(|place| std::cmp::Reverse(place.start));
    for place in places {
        text.replace_range(place.start..place.end, &place.put);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exam::bugs::Edit;
    use crate::plan::Mode;

    const SOURCE: &str = "fn f() { first(); if wanted(1) { second(); } }";

    fn bug(name: &str, find: &str, put: &str) -> Bug {
        let edits = vec![Edit { file: "f.rs".into(), find: find.into(), put: put.into() }];
        Bug { name: name.into(), breaks: "P1".into(), mode: Mode::Mixed, edits }
    }

    fn check(bugs: &[Bug], expected: Result<&str, &str>) {
        let found = planted(bugs, |_| Ok(SOURCE.into()));
        let found = found.map(|files| files["f.rs"].clone()).map_err(|wrong| wrong.bug);
        assert_eq!(found.as_deref().map_err(|bug| &**bug), expected);
    }

    #[test]
    fn each_bug_is_behind_its_number() {
        check(
            &[bug("a", "first();", ""), bug("b", "wanted(1)", "true")],
            Ok("fn f() { if crate::planted::planted(1) {  } else { first(); } \
                if (if crate::planted::planted(2) { true } else { wanted(1) }) { second(); } }"),
        );
    }

    #[test]
    fn a_text_may_say_itself_where_the_switch_is() {
        check(
            &[bug("a", "if wanted(1)", "if !planted!() && wanted(1)")],
            Ok("fn f() { first(); if !crate::planted::planted(1) && wanted(1) { second(); } }"),
        );
    }

    #[test]
    fn two_bugs_may_find_the_same_text() {
        check(
            &[bug("a", "first();", "x();"), bug("b", "first();", "y();")],
            Ok("fn f() { if crate::planted::planted(2) { y(); } else { \
                if crate::planted::planted(1) { x(); } else { first(); } } \
                if wanted(1) { second(); } }"),
        );
    }

    #[test]
    fn what_is_not_there_once_cannot_be_planted() {
        check(&[bug("a", "third();", "")], Err("a"));
        check(&[bug("a", "();", "")], Err("a"));
        check(&[bug("a", "first();", ""), bug("b", "first(); if", "")], Err("b"));
    }
}
