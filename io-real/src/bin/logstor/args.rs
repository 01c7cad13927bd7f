//! What can be asked, and its help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::open::{Place, Target};
use crate::text::{Coding, parse_size};

/// Look at logstor stores, and change them
///
/// Stores are opened to be read, unless the verb writes. Exit codes: 0 done, 1 something is damaged
/// or not there, 2 wrong usage, 3 another process has the store, 4 the store cannot be read or not
/// be written.
#[derive(Parser, Debug)]
#[command(name = "logstor", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// What a store is, how much is in it, and how it was left
    Info(Place),
    /// The groups of a store
    Groups(Place),
    /// Print the value of a key, byte for byte; exit code 1 if there is none
    Get(Get),
    /// Set a key to a value (writes)
    Put(Put),
    /// Delete keys (writes); only says what would go, unless --yes
    Del(Del),
    /// Print the entries of a group, in order of a hash of the keys
    ///
    /// As text, an entry is a line: key, tab, value. What is no UTF-8 and what moves the cursor is
    /// written \xNN, \n, \t, \r, a backslash \\, and of a large value only \{its length}.
    Scan(Scan),
    /// The segments of a store, one by one or as a map
    Segments(Segments),
    /// All numbers of a store
    ///
    /// As they are when it is opened to be read. There is no --watch: nobody may write to a store
    /// while it is open to be read, so nothing would change. A program that has the store open
    /// shows its own `Db::stats`.
    Stat(Place),
    /// Decode the files of a store as they are, damaged or not; nothing is opened
    #[command(subcommand)]
    Inspect(Inspect),
    /// Say what an opening would do, and what is damaged or lost (writes with --yes)
    ///
    /// Every opening recovers the store as far as it must. This says how, and changes nothing; with
    /// --yes it does it.
    Recover(Recover),
    /// Read a store and say what is damaged; exit code 1 if anything is
    Verify(Verify),
    /// Print all entries as lines of JSON, for `load`
    ///
    /// Keys and values are in base64. A line that names a group and nothing else makes it.
    Dump(Dump),
    /// Put what a dump says (writes); only says what it would do, unless --yes
    Load(Load),
    /// Rewrite segments of which much is dead, so that they become room (writes)
    Compact(Compact),
    /// Make the files smaller, by moving what is live in the last ones (writes)
    ///
    /// A store does not remember a capacity: every opening names its own. This gives back what the
    /// files take beyond it now.
    Resize(Resize),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// How bytes are written, on the command line and in the output.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Bytes {
    /// Keys and values are written in hexadecimal
    #[arg(long, conflicts_with = "base64")]
    hex: bool,
    /// Keys and values are written in base64
    #[arg(long)]
    base64: bool,
}

impl Bytes {
    pub(crate) fn coding(self) -> Coding {
        match (self.hex, self.base64) {
            (true, _) => Coding::Hex,
            (false, true) => Coding::Base64,
            (false, false) => Coding::Text,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The group of the key
    pub(crate) group: String,
    /// The key
    pub(crate) key: OsString,
    #[command(flatten)]
    pub(crate) bytes: Bytes,
}

#[derive(Args, Debug)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The group of the key
    pub(crate) group: String,
    /// The key
    pub(crate) key: OsString,
    /// The value; stdin, byte for byte, if neither this nor --file is there
    pub(crate) value: Option<OsString>,
    /// Take the value from this file, byte for byte
    #[arg(long, conflicts_with = "value")]
    pub(crate) file: Option<PathBuf>,
    /// Make the store and the group where there is none
    #[arg(long)]
    pub(crate) create: bool,
    #[command(flatten)]
    pub(crate) bytes: Bytes,
}

#[derive(Args, Debug)]
pub(crate) struct Del {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The group of the keys
    pub(crate) group: String,
    /// The keys
    #[arg(required = true)]
    pub(crate) keys: Vec<OsString>,
    /// Delete them
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) bytes: Bytes,
}

#[derive(Args, Debug)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The group
    pub(crate) group: String,
    /// At most so many entries
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// The keys alone
    #[arg(long)]
    pub(crate) keys: bool,
    #[command(flatten)]
    pub(crate) bytes: Bytes,
}

#[derive(Args, Debug)]
pub(crate) struct Segments {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Draw a map of who wrote the segments and how much of them is needed
    #[arg(long)]
    pub(crate) map: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Inspect {
    /// Which store it is and how it is cut
    Superblock {
        /// The folder of the store
        #[arg(value_name = "STORE")]
        path: PathBuf,
    },
    /// Both slots of the mark: what is published, and what was ever given out
    Mark {
        /// The folder of the store
        #[arg(value_name = "STORE")]
        path: PathBuf,
    },
    /// A segment: what begins in which of its blocks, and its seal
    Segment {
        #[command(flatten)]
        cut: Cut,
        /// The number of the segment
        segment: u32,
    },
    /// A buffer: its header, its summary, and whether its records are what that says
    Buffer {
        #[command(flatten)]
        cut: Cut,
        /// The number of the segment
        segment: u32,
        /// Where the buffer begins, in bytes from the start of the segment
        offset: u32,
        #[command(flatten)]
        bytes: Bytes,
    },
    /// A record: its key and its value
    Record {
        #[command(flatten)]
        cut: Cut,
        /// The number of the segment
        segment: u32,
        /// Where the record begins, in bytes from the start of the segment
        offset: u32,
        /// Show all of the value, not only how it begins
        #[arg(long)]
        value: bool,
        #[command(flatten)]
        bytes: Bytes,
    },
}

/// A store and how it is cut.
#[derive(Args, Debug)]
pub(crate) struct Cut {
    /// The folder of the store
    #[arg(value_name = "STORE")]
    pub(crate) path: PathBuf,
    /// Bytes of a segment, where the superblock does not tell
    #[arg(long, requires = "segments_per_file")]
    pub(crate) segment_len: Option<u32>,
    /// Segments of a file, where the superblock does not tell
    #[arg(long, requires = "segment_len")]
    pub(crate) segments_per_file: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Only what seals and buffers say of their records, not keys and values
    #[arg(long)]
    pub(crate) summaries: bool,
    /// Read at most so much a second, like 50M
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub(crate) rate: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Only this group; may be said more than once
    #[arg(long)]
    pub(crate) group: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The dump; stdin, if this is not there
    pub(crate) file: Option<PathBuf>,
    /// Make the store where there is none
    #[arg(long)]
    pub(crate) create: bool,
    /// Write it
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Compact {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Only segments with something of this group
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Only segments of which at least so many per cent would be given back
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) reclaimable: u32,
}

#[derive(Args, Debug)]
pub(crate) struct Resize {
    #[command(flatten)]
    pub(crate) target: Target,
    /// What the files may take, like 512M
    #[arg(value_parser = parse_size)]
    pub(crate) capacity: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Recover {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Say what would be done, which is also what happens without
    #[arg(long, conflicts_with = "yes")]
    explain: bool,
    /// Open what is left of a store that lost a part of its log
    #[arg(long)]
    pub(crate) salvage: bool,
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_contradict_neither_each_other_nor_the_rules_of_their_parser() {
        Cli::command().debug_assert();
    }
}
