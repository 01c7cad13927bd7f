//! The folder of a real store: who may open it, with which modes, and what is not followed.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use logstor::io::{FileOffset, IoBuf, OpenMode, Storage};
use logstor::{Backend, Direct, OpenFolderError, RealStorage};
use logstor_core::types::ByteLen;

async fn open(path: &Path) -> Result<Arc<RealStorage>, OpenFolderError> {
    RealStorage::open(path, super::real_options()).await
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn assert_locked_by(outcome: Result<Arc<RealStorage>, OpenFolderError>, holder: u32) {
    match outcome {
        Err(OpenFolderError::Locked { pid, .. }) => assert_eq!(pid, Some(holder)),
        other => panic!("expected a lock held by {holder}, saw {other:?}"),
    }
}

// ---------------------------------------------------------------------------- the lock

#[tokio::test]
async fn a_second_opening_in_one_process_is_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path()).await.unwrap();
    assert_locked_by(open(folder.path()).await, std::process::id());

    // A file keeps the folder locked as well.
    let file = storage.open("a", OpenMode::CreateNew).await.unwrap();
    drop(storage);
    assert_locked_by(open(folder.path()).await, std::process::id());
    assert_eq!(file.len().await.unwrap(), 0);
    drop(file);
    drop(open(folder.path()).await.unwrap());
    open(folder.path()).await.unwrap();
}

/// Not a test of its own: what the child process of the next one runs.
#[tokio::test]
#[ignore = "runs only as the child of another test"]
async fn child_holds_the_lock() {
    let folder = std::env::var_os("LOGSTOR_TEST_FOLDER").expect("set by the parent");
    let storage = open(Path::new(&folder)).await.unwrap();
    println!("\nlocked");
    io::stdout().flush().unwrap();
    // Until the parent closes the pipe, or kills this.
    io::stdin().lock().read_line(&mut String::new()).unwrap();
    drop(storage);
}

fn start_child(folder: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "suite::folder::child_holds_the_lock", "--ignored", "--nocapture"])
        .env("LOGSTOR_TEST_FOLDER", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let locked = output.lines().map_while(Result::ok).any(|line| line == "locked");
    assert!(locked, "the child ended without the lock");
    child
}

#[tokio::test]
async fn a_second_process_is_refused_and_a_killed_one_leaves_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start_child(folder.path());
    let refused = open(folder.path()).await;
    let text = refused.as_ref().unwrap_err().to_string();
    assert!(text.contains(&format!("process {}", child.id())), "{text}");
    assert_locked_by(refused, child.id());

    child.kill().unwrap();
    child.wait().unwrap();
    open(folder.path()).await.unwrap();
}

// ---------------------------------------------------------------------------- modes and links

#[tokio::test]
async fn what_is_created_is_the_owners_alone() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("store");
    let storage = open(&path).await.unwrap();
    storage.open("superblock", OpenMode::CreateNew).await.unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("LOCK")), 0o600);
    assert_eq!(mode(&path.join("superblock")), 0o600);
}

#[tokio::test]
async fn no_name_is_followed_through_a_link() {
    let above = tempfile::tempdir().unwrap();
    let outside = above.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    let path = above.path().join("store");
    fs::create_dir(&path).unwrap();
    symlink(&outside, path.join("superblock")).unwrap();
    symlink("missing", path.join("dangling")).unwrap();

    let storage = open(&path).await.unwrap();
    for name in ["superblock", "dangling"] {
        let refused = storage.open(name, OpenMode::Existing).await.unwrap_err();
        assert!(refused.to_string().contains("links are not followed"), "{refused}");
        let exists = storage.open(name, OpenMode::CreateNew).await.unwrap_err();
        assert_eq!(exists.kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(storage.list().await.unwrap().len(), 2, "links are shown, so that they are noticed");
    storage.remove("superblock").await.unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
    assert!(!path.join("missing").exists());
}

#[tokio::test]
async fn a_linked_lock_is_refused() {
    let above = tempfile::tempdir().unwrap();
    let outside = above.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, above.path().join("LOCK")).unwrap();
    let error = open(above.path()).await.unwrap_err();
    assert!(matches!(error, OpenFolderError::PermissionDenied { .. }), "{error:?}");
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
}

#[tokio::test]
async fn names_cannot_leave_the_folder_nor_touch_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path()).await.unwrap();
    storage.open("a", OpenMode::CreateNew).await.unwrap();
    for name in ["../a", "/etc/passwd", "LOCK", "..", ""] {
        let kinds = [
            storage.open(name, OpenMode::Existing).await.map(drop),
            storage.remove(name).await,
            storage.rename(name, "b").await,
            storage.rename("a", name).await,
        ]
        .map(|outcome| outcome.unwrap_err().kind());
        assert_eq!(kinds, [io::ErrorKind::InvalidInput; 4], "{name:?}");
    }
    assert_eq!(storage.list().await.unwrap().len(), 1, "LOCK is not listed");
}

#[tokio::test]
async fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path()).await.unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    storage.open("folder", OpenMode::Existing).await.unwrap_err();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success());
    if made {
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        let refused = storage.open("pipe", OpenMode::Existing).await.unwrap_err();
        assert!(refused.to_string().contains("opening `pipe`"), "{refused}");
    }
}

#[tokio::test]
async fn a_moved_folder_goes_on_working() {
    let above = tempfile::tempdir().unwrap();
    let (before, after) = (above.path().join("before"), above.path().join("after"));
    let storage = open(&before).await.unwrap();
    storage.open("a", OpenMode::CreateNew).await.unwrap();
    fs::rename(&before, &after).unwrap();
    storage.rename("a", "b").await.unwrap();
    storage.sync_folder().await.unwrap();
    assert!(after.join("b").exists());
    assert!(!before.exists());
    assert_locked_by(open(&after).await, std::process::id());
}

// ---------------------------------------------------------------------------- refusals

#[tokio::test]
async fn a_path_that_cannot_be_a_folder_is_refused_with_the_reason() {
    let above = tempfile::tempdir().unwrap();
    let missing = open(&above.path().join("no/store")).await.unwrap_err();
    assert!(matches!(missing, OpenFolderError::ParentMissing { .. }), "{missing:?}");

    let file = above.path().join("file");
    fs::write(&file, "").unwrap();
    let not_a_folder = open(&file).await.unwrap_err();
    assert!(matches!(not_a_folder, OpenFolderError::NotADirectory { .. }), "{not_a_folder:?}");
    let below_a_file = open(&file.join("store")).await.unwrap_err();
    assert!(matches!(below_a_file, OpenFolderError::NotADirectory { .. }), "{below_a_file:?}");
}

#[tokio::test]
async fn a_folder_without_permission_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    // Nothing is forbidden to a superuser, except to the kernel's own file systems.
    let superuser = fs::write(folder.path().join("probe"), "").is_ok();
    let path = if superuser { Path::new("/sys/kernel") } else { folder.path() };
    let refused = open(path).await.unwrap_err();
    let expected = matches!(
        refused,
        OpenFolderError::PermissionDenied { .. } | OpenFolderError::ReadOnly { .. }
    );
    assert!(expected, "{refused:?}");
    assert!(refused.to_string().contains(path.to_str().unwrap()), "{refused}");
}

// ---------------------------------------------------------------------------- direct or not

#[tokio::test]
async fn the_choice_of_direct_io_is_visible_and_a_file_opens_either_way() {
    let folder = tempfile::tempdir().unwrap();
    let buf = || IoBuf::zeroed(ByteLen::new(4096));
    let mut written = buf();
    written.fill(7);
    let written = Arc::new(written);
    let options = [Direct::Auto, Direct::Never, Direct::Auto];
    for (round, direct) in (0_u64..).zip(options) {
        let options = super::real_options().direct(direct);
        let storage = RealStorage::open(folder.path(), options).await.unwrap();
        let info = storage.info();
        let backend = match super::backend() {
            Backend::Ring => "io_uring",
            _ => "thread pool",
        };
        assert_eq!(info.backend, backend);
        assert!(!(info.direct && direct == Direct::Never));
        assert_eq!(info.alignment > 1, info.direct);

        let existing = if round == 0 { OpenMode::CreateNew } else { OpenMode::Existing };
        let file = storage.open("a", existing).await.unwrap();
        file.write(FileOffset::new(round * 4096), Arc::clone(&written)).await.unwrap();
        file.sync().await.unwrap();
        for block in 0..=round {
            let read = file.read(FileOffset::new(block * 4096), buf()).await.unwrap();
            assert_eq!(*read, **written);
        }
        if info.direct {
            let refused = file.read(FileOffset::new(1), buf()).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
    }
}

#[tokio::test]
async fn a_file_that_ends_within_a_block_ends_unexpectedly() {
    let folder = tempfile::tempdir().unwrap();
    for (len, direct) in [4097, 4608, 4609, 5000, 8191]
        .into_iter()
        .flat_map(|len| [(len, Direct::Auto), (len, Direct::Never)])
    {
        // Past the page cache the kernel gives the bytes up to the end, which need not be whole
        // sectors; the rest is asked for, and missed, from a whole one on.
        fs::write(folder.path().join("odd"), vec![1; len]).unwrap();
        let options = super::real_options().direct(direct);
        let storage = RealStorage::open(folder.path(), options).await.unwrap();
        let file = storage.open("odd", OpenMode::Existing).await.unwrap();
        let into = IoBuf::zeroed(ByteLen::new(8192));
        let refused = file.read(FileOffset::ZERO, into).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::UnexpectedEof);
        file.read(FileOffset::ZERO, IoBuf::zeroed(ByteLen::new(4096))).await.unwrap();
    }
}

#[tokio::test]
async fn impossible_room_is_a_full_disk_or_a_limit_and_not_a_success() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path()).await.unwrap();
    let file = storage.open("huge", OpenMode::CreateNew).await.unwrap();
    // More than any file may have: refused before any block is taken.
    let refused = file.preallocate(u64::MAX).await.unwrap_err();
    assert!(refused.raw_os_error().is_some(), "{refused:?}");
    assert_eq!(file.len().await.unwrap(), 0);
}
