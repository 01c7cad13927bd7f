//! Just enough of Rust's grammar to tell code, comments and strings apart, and to find names.
//!
//! Absent on purpose: everything a parser knows. Rules that need one belong into a lint.

/// A file, as the rules see it.
pub(crate) struct Source {
    /// Where it is, from the root of the repository, with `/` between folders.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// The code: comments and the insides of strings are blanks.
    pub(crate) code: String,
    /// The comments: all else is blanks.
    pub(crate) comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Code,
    LineComment,
    BlockComment,
    // With so many `#`; `None` if backslashes escape.
    String(Option<usize>),
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        Self { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    /// The top module that it belongs to: `flows` for `core/src/flows/recovery/load.rs`.
    pub(crate) fn module(&self) -> String {
        let inside = self.path.split_once("src/").map_or("", |(_, inside)| inside);
        let module = inside.split('/').next().unwrap_or_default();
        module.trim_end_matches(".rs").to_owned()
    }

    /// Whether it is the file of a top module itself, so that `super` is the crate.
    pub(crate) fn is_top(&self) -> bool {
        let inside = self.path.split_once("src/").map_or("", |(_, inside)| inside);
        !inside.contains('/') || inside.ends_with("/mod.rs") && inside.matches('/').count() == 1
    }

    /// The flow that it belongs to: `recovery` for `core/src/flows/recovery/load.rs`.
    pub(crate) fn flow(&self) -> Option<String> {
        let (_, inside) = self.path.split_once("src/flows/")?;
        let flow = inside.split('/').next()?.trim_end_matches(".rs");
        (flow != "mod").then(|| flow.to_owned())
    }

    /// How many lines it has before the tests at its end.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let code = self.text.rfind("\n#[cfg(test)]\nmod tests {").map(|at| &self.text[..=at]);
        code.unwrap_or(&self.text).lines().count()
    }
}

/// Code and comments, each as long as the text, the rest of it blanks.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let starts =
        |at: usize, what: &str| what.chars().eq(chars[at..].iter().copied().take(what.len()));
    let (mut code, mut comments) = (String::new(), String::new());
    let (mut state, mut at) = (At::Code, 0);
    while at < chars.len() {
        let mut len = 1;
        let mut next = state;
        let mut shown = state;
        match state {
            At::Code if starts(at, "//") => {
                (next, shown, len) = (At::LineComment, At::LineComment, 2);
            }
            At::Code if starts(at, "/*") => {
                (next, shown, len) = (At::BlockComment, At::BlockComment, 2);
            }
            At::Code if chars[at] == '"' => next = At::String(hashes_before(&chars[..at])),
            At::Code if chars[at] == '\'' => len = char_literal(&chars[at..]),
            At::LineComment if chars[at] == '\n' => next = At::Code,
            At::BlockComment if starts(at, "*/") => (next, len) = (At::Code, 2),
            At::String(None) if chars[at] == '\\' => len = 2,
            At::String(None) if chars[at] == '"' => next = At::Code,
            At::String(Some(hashes)) if starts(at, &format!("\"{}", "#".repeat(hashes))) => {
                (next, len) = (At::Code, 1 + hashes);
            }
            _ => {}
        }
        for &found in chars[at..].iter().take(len) {
            let blank = if found == '\n' { '\n' } else { ' ' };
            code.push(if shown == At::Code { found } else { blank });
            let is_comment = matches!(shown, At::LineComment | At::BlockComment);
            comments.push(if is_comment { found } else { blank });
        }
        (state, at) = (next, at + len);
    }
    (code, comments)
}

/// The number of `#` of the raw string whose quote follows `before`; `None` if it is not raw.
fn hashes_before(before: &[char]) -> Option<usize> {
    let hashes = before.iter().rev().take_while(|&&found| found == '#').count();
    let mut rest = before[..before.len() - hashes].iter().rev();
    let is_raw = rest.next() == Some(&'r');
    let is_word = rest.next().is_some_and(|&found| is_of_name(found) && found != 'b');
    (is_raw && !is_word).then_some(hashes)
}

/// The length of the character that begins here; 1 if it is the quote of a lifetime.
fn char_literal(chars: &[char]) -> usize {
    match chars {
        ['\'', '\\', _, rest @ ..] => {
            3 + rest.iter().position(|&found| found == '\'').map_or(0, |end| end + 1)
        }
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

fn is_of_name(found: char) -> bool {
    found.is_alphanumeric() || found == '_'
}

/// The names that follow `prefix` in the code: one, or those of a `{…}`.
pub(crate) fn mentions(code: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let is_part = code[..at]
            .chars()
            .next_back()
            .is_some_and(|before| is_of_name(before) || before == '$');
        if is_part {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            found.extend(first_names(list));
        } else {
            found.push(name_at(rest));
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn name_at(code: &str) -> String {
    code.chars().take_while(|&found| is_of_name(found)).collect()
}

/// The first name of each part of a `{…}` whose brace was read: of `a::b, c::{d, e}}`, a and c.
fn first_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut begin) = (0, 0);
    for (at, found) in list.char_indices() {
        match found {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(name_at(list[begin..at].trim_start()));
                begin = at + 1;
                if found == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// The words that names are made of, in lower case: of `SegmentId` and `segment_id`, both words.
pub(crate) fn words(code: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for found in code.chars() {
        let begins = !found.is_alphanumeric() || found.is_uppercase() && !before.is_uppercase();
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| found.is_alphanumeric()) {
            word.extend(found.to_lowercase());
        }
        before = found;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn code_comments_and_strings_are_told_apart() {
    let check = |text: &str, code: &str, comments: &str| {
        let (found, spoken) = split(text);
        assert_eq!((found.trim_end(), spoken.trim()), (code, comments), "{text}");
        assert_eq!(found.lines().count(), text.lines().count(), "{text}");
    };
    check("a // b", "a", "// b");
    check("a /* b */ c", "a         c", "/* b */");
    check("\"// a\" b // c", "\"      b", "// c");
    check("\"\\\"// a\" b", "\"        b", "");
    check("r#\"\"// a\"# b", "r#\"        b", "");
    check("'\"' // a", "'\"'", "// a");
    check("'\\'' // a", "'\\''", "// a");
    check("&'a str // a", "&'a str", "// a");
    check("// it's\nb", "       \nb", "// it's");
}

#[test]
fn names_are_taken_apart_into_words() {
    assert_eq!(
        words("SegmentId::segment_id(IOError)"),
        ["segment", "id", "segment", "id", "ioerror"]
    );
}
