//! A file system in a file: made, mounted through a loop device, copied as of one moment, unmounted.
//!
//! 1. What was mounted is unmounted when its [`Mounted`] goes, however that happens; the loop device
//!    goes with the mount.
//! 2. A copy is the image as of one moment: it is read twice, and counts only if both are equal.
//!    Each block was the same before and after the moment between the two readings. Whoever writes
//!    meanwhile, as the journal of the file system in the image does by itself, makes it be tried
//!    again.
//!
//! Why not just one reading: it could hold the journal as it was and what a later commit put to its
//! place, which no crash leaves behind. Why not `fsfreeze`: it syncs everything first, and there
//! would be nothing to lose.
//!
//! Absent on purpose: what happens when this process is killed itself. The mounts are below the
//! folder that it was given, for `umount`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use logstor::types::to_u64;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::Outcome;

/// Bytes of an image; most of it is a hole.
const IMAGE_LEN: u64 = 384 << 20;
/// Readings of an image until two in a row are equal.
const ATTEMPTS: u32 = 100;

/// A kind of file system that can be made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    /// Those that can be made; an explanation if there is none.
    pub(crate) fn all() -> Result<Vec<Self>, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting an image needs root".to_owned());
        }
        if !Path::new("/dev/loop-control").exists() {
            return Err("there are no loop devices: /dev/loop-control is missing".to_owned());
        }
        let here = |kind: &Self| has(kind.maker());
        let kinds: Vec<Self> = [Self::Ext4, Self::Xfs].into_iter().filter(here).collect();
        if kinds.is_empty() {
            return Err("neither mkfs.ext4 nor mkfs.xfs is installed".to_owned());
        }
        Ok(kinds)
    }

    fn maker(self) -> &'static str {
        match self {
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
        }
    }

    /// Makes an image.
    pub(crate) fn make(self, image: &Path) -> Outcome<()> {
        File::create_new(image)?.set_len(IMAGE_LEN)?;
        run(Command::new(self.maker()).arg("-q").arg(image))
    }

    fn mount_options(self) -> &'static str {
        match self {
            Self::Ext4 => "loop",
            // A copy has the same name as what it is a copy of.
            Self::Xfs => "loop,nouuid",
        }
    }
}

/// Whether a program is found where root finds its programs.
fn has(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok()
}

fn run(command: &mut Command) -> Outcome<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}, {}", output.status, said.trim()).into())
}

/// A mounted image.
#[derive(Debug)]
pub(crate) struct Mounted {
    at: Option<PathBuf>,
}

impl Mounted {
    /// Mounts `image` in the folder `at`, which is made if need be.
    pub(crate) fn mount(kind: Kind, image: &Path, at: &Path) -> Outcome<Self> {
        fs::create_dir_all(at)?;
        run(Command::new("mount").args(["-o", kind.mount_options()]).arg(image).arg(at))?;
        Ok(Self { at: Some(at.to_path_buf()) })
    }

    /// Unmounts it, and says if that fails.
    pub(crate) fn unmount(mut self) -> Outcome<()> {
        let at = self.at.take().ok_or("it was unmounted before")?;
        run(Command::new("umount").arg(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let Some(at) = self.at.take() else { return };
        // Lazily: whoever still uses it has just been killed.
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&at)) {
            eprintln!("torture: {} stays mounted: {error}", at.display());
        }
    }
}

/// Copies `image` as of one moment; says how often it was read until two readings were equal.
pub(super) fn copy(image: &Path, copy: &Path) -> Outcome<u32> {
    let from = File::open(image)?;
    for attempt in 1..=ATTEMPTS {
        let _ = fs::remove_file(copy);
        let to = File::options().read(true).write(true).create_new(true).open(copy)?;
        to.set_len(IMAGE_LEN)?;
        each_part(&from, |part, at| {
            to.write_all_at(part, at)?;
            Ok(true)
        })?;
        let mut there = Vec::new();
        let same = each_part(&from, |part, at| {
            there.resize(part.len(), 0);
            to.read_exact_at(&mut there, at)?;
            Ok(part == there)
        })?;
        if same {
            return Ok(attempt);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(format!("{ATTEMPTS} times somebody wrote to {} while it was read", image.display()).into())
}

/// Calls `see` with all parts of a file that are no holes, until it says no.
fn each_part(file: &File, mut see: impl FnMut(&[u8], u64) -> io::Result<bool>) -> io::Result<bool> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let begin = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(Errno::NXIO) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(begin))?;
        at = begin;
        while at < end {
            let len = usize::try_from((end - at).min(to_u64(buffer.len()))).unwrap_or(buffer.len());
            file.read_exact_at(&mut buffer[..len], at)?;
            if !see(&buffer[..len], at)? {
                return Ok(false);
            }
            at += to_u64(len);
        }
    }
}
