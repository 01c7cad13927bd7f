//! Why a verb was not done, and the exit code that says so.
//!
//! Messages name the place and the way out, as those of the library do; where the way out is an
//! option of the library, they name the one of the tool.

use std::fmt;
use std::io;
use std::path::PathBuf;

use logstor::{Error, ErrorKind, OpenFolderError};

/// What a verb that was done came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    Fine,
    /// Something is damaged, or what was asked for is not there.
    Findings,
}

impl Verdict {
    /// Findings, if there are any.
    pub(crate) fn of(findings: bool) -> Self {
        if findings { Self::Findings } else { Self::Fine }
    }
}

/// Why a verb was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store at this path said so.
    Store { path: PathBuf, error: Error },
    /// It cannot be asked like that.
    Usage(String),
    /// What was asked for is not there.
    Absent(String),
    /// The files are there and cannot be made sense of.
    Unreadable(String),
    /// The system refused.
    Io { doing: String, source: io::Error },
    /// Nobody reads the output any more.
    ClosedPipe,
}

impl Failure {
    /// What writing to stdout came to.
    pub(crate) fn of_output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedPipe;
        }
        Self::Io { doing: "writing the output".into(), source }
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Absent(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreadable(_) | Self::Io { .. } => 4,
            Self::Store { error, .. } if is_locked(error) => 3,
            Self::Store { error, .. } => match error {
                Error::NotAStore { .. } | Error::NoStore | Error::Superblock { .. } => 4,
                _ => match error.kind() {
                    ErrorKind::NotFound => 1,
                    ErrorKind::Invalid => 2,
                    _ => 4,
                },
            },
        }
    }
}

fn is_locked(error: &Error) -> bool {
    let Error::Folder { source } = error else { return false };
    let refused = source.downcast_ref::<OpenFolderError>();
    matches!(refused, Some(OpenFolderError::Locked { .. }))
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { path, error } => {
                let text =
                    error.to_string().replace("open the store in RecoveryMode::Salvage", WAY);
                let text = text.replace("open the \nstore in RecoveryMode::Salvage", WAY);
                // A backend's error names the folder itself.
                if !matches!(error, Error::Folder { .. }) {
                    write!(out, "{}: ", path.display())?;
                }
                write!(out, "{text}")
            }
            Self::Usage(text) | Self::Absent(text) | Self::Unreadable(text) => {
                write!(out, "{text}")
            }
            Self::Io { doing, source } => write!(out, "{doing}: {source}"),
            Self::ClosedPipe => write!(out, "nobody reads the output"),
        }
    }
}

/// How the tool is asked for what the library calls salvaging.
const WAY: &str = "see what is left with --salvage (`logstor recover` tells more)";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: Error) -> Failure {
        Failure::Store { path: "/data/store".into(), error }
    }

    #[test]
    fn an_error_of_the_store_names_its_path_and_the_option_of_the_tool() {
        let (name, expected, found) = ("segments-000000.log".into(), 8, 4);
        let failure = of(Error::WrongLength { name, expected, found });
        let text = failure.to_string();
        assert!(text.starts_with("/data/store: the file segments-000000.log is 4 bytes"), "{text}");
        assert!(text.contains("--salvage") && !text.contains("RecoveryMode"), "{text}");
        assert_eq!(failure.code(), 4);
    }

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let held = OpenFolderError::Locked { path: "/data/store".into(), pid: Some(7) };
        assert_eq!(of(Error::Folder { source: std::sync::Arc::new(held) }).code(), 3);
        assert_eq!(of(Error::NoSuchGroup { name: "g".into() }).code(), 1);
        assert_eq!(of(Error::KeyEmpty).code(), 2);
        assert_eq!(of(Error::NoStore).code(), 4);
        assert_eq!(of(Error::Full { capacity: None, source: None }).code(), 4);
        let closed = Failure::of_output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(closed.code(), 0);
        assert_eq!(Failure::of_output(io::ErrorKind::StorageFull.into()).code(), 4);
    }
}
