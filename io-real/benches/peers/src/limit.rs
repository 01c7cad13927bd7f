//! A group of processes whose memory is limited, with the page cache of the files that they touch.
//!
//! Control groups of version 2 (`memory.max`) and of version 1 (`memory.limit_in_bytes`). A group
//! is made below the own one, or beside it where the own may have none, or in a folder that the
//! user names. Where nothing of this may be written there is no limit, and the report says so.

use std::path::{Path, PathBuf};
use std::{fs, io, process};

/// A group for one child, removed when this goes.
pub struct Limit {
    folder: PathBuf,
    peak: &'static str,
}

/// Names of a version's files: the limit, and the most that was used.
const VERSIONS: [[&str; 2]; 2] =
    [["memory.max", "memory.peak"], ["memory.limit_in_bytes", "memory.max_usage_in_bytes"]];

impl Limit {
    /// Makes a group of so many bytes in the first folder where that is possible.
    pub fn make(parents: &[PathBuf], bytes: u64) -> Option<Self> {
        parents.iter().find_map(|parent| Self::make_in(parent, bytes))
    }

    fn make_in(parent: &Path, bytes: u64) -> Option<Self> {
        let folder = parent.join(format!("logstor-peers-{}", process::id()));
        fs::create_dir(&folder).ok()?;
        for [limit, peak] in VERSIONS {
            let file = folder.join(limit);
            if file.exists() && fs::write(file, bytes.to_string()).is_ok() {
                // Where there is swap the limit should not become one of resident memory alone.
                let _ = fs::write(folder.join("memory.swap.max"), "0");
                return Some(Self { folder, peak });
            }
        }
        let _ = fs::remove_dir(&folder);
        None
    }

    /// Takes a process in.
    pub fn take(&self, process: u32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), process.to_string())
    }

    /// The most bytes that the group had.
    pub fn peak(&self) -> Option<u64> {
        fs::read_to_string(self.folder.join(self.peak)).ok()?.trim().parse().ok()
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // Its last process may not be gone entirely yet.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        eprintln!("{} stays behind", self.folder.display());
    }
}

/// Folders in which a group may be made: below the own group, and beside it.
pub fn parents() -> Vec<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    groups.lines().filter_map(|line| own(line, &mounts)).flatten().collect()
}

fn own(line: &str, mounts: &str) -> Option<Vec<PathBuf>> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let (kind, option) = match controllers {
        "" => ("cgroup2", ""),
        _ if controllers.split(',').any(|one| one == "memory") => ("cgroup", "memory"),
        _ => return None,
    };
    let mount = mounts.lines().find_map(|mount| {
        let (head, tail) = mount.split_once(" - ")?;
        let words: Vec<&str> = tail.split(' ').collect();
        let fits = words.first() == Some(&kind)
            && words.last().is_some_and(|options| options.split(',').any(|one| one == option))
                | option.is_empty();
        fits.then(|| head.split(' ').nth(4)).flatten()
    })?;
    let below = Path::new(mount).join(path.trim_start_matches('/'));
    let beside = below.parent().filter(|parent| parent.starts_with(mount)).map(Path::to_owned);
    Some([below].into_iter().chain(beside).collect())
}
