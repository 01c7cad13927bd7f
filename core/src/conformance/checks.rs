//! What is demanded of a backend, one function a check; their names are in the list above.
//!
//! Each gets an empty folder of its own and says in [`Broken`] what it expected and what it saw.
//!
//! Absent on purpose: misuse. A misaligned offset or a name with a separator is a bug of the
//! caller (contract, 7), and a backend may panic at it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::oneshot;

use super::expect::{
    Broken, Verdict, block, create, done, ensure, expect, get, len, list, open, pattern, poll_once,
    put, refused, same, same_bytes,
};
use crate::io::{Environment, File, FileOffset, FolderEntry, IoBuf, OpenMode};
use crate::types::{BLOCK, ByteLen, to_u64};

// ---------------------------------------------------------------------------- folder

#[expect(clippy::unused_async, reason = "all checks have one shape")]
pub(super) async fn alignment(given: Environment) -> Verdict {
    let info = given.storage.info();
    ensure(!info.backend.is_empty(), || "the backend has no name".into())?;
    ensure(info.alignment.is_power_of_two() && info.alignment <= BLOCK, || {
        format!("the alignment is {}", info.alignment)
    })
}

pub(super) async fn empty_folder(given: Environment) -> Verdict {
    same("the listing of a fresh folder", &Vec::new(), &list(&given).await?)
}

pub(super) async fn open_modes(given: Environment) -> Verdict {
    let missing = given.storage.open("a.log", OpenMode::Existing).await;
    refused("opening a missing file", missing, io::ErrorKind::NotFound)?;
    same("the listing after a refused opening", &Vec::new(), &list(&given).await?)?;

    create(&given, "a.log").await?;
    let again = given.storage.open("a.log", OpenMode::CreateNew).await;
    refused("creating a file that exists", again, io::ErrorKind::AlreadyExists)?;
    open(&given, "a.log").await.map(drop)
}

pub(super) async fn opened_twice(given: Environment) -> Verdict {
    let first = create(&given, "twice").await?;
    let second = open(&given, "twice").await?;
    put(&first, 0, &pattern(1, BLOCK)).await?;
    expect(&second, 0, &pattern(1, BLOCK)).await?;
    drop(first);
    put(&second, 0, &pattern(2, BLOCK)).await?;
    let third = open(&given, "twice").await?;
    expect(&third, 0, &pattern(2, BLOCK)).await
}

pub(super) async fn listing(given: Environment) -> Verdict {
    // Neither in order of name nor of length, and with names that differ in kinds of characters.
    let made = [("m.log", 3), ("b-2", 0), ("a", 1), ("Z9", 2), ("b-10", 5)];
    for (name, blocks) in made {
        let file = create(&given, name).await?;
        if blocks > 0 {
            put(&file, 0, &pattern(7, blocks * BLOCK)).await?;
        }
    }
    let entry = |(name, blocks): &(&str, u32)| FolderEntry {
        name: (*name).to_owned(),
        len: u64::from(blocks * BLOCK),
    };
    let mut expected: Vec<FolderEntry> = made.iter().map(entry).collect();
    expected.sort();
    same("the listing", &expected, &list(&given).await?)
}

pub(super) async fn renaming(given: Environment) -> Verdict {
    let new = create(&given, "new").await?;
    put(&new, 0, &pattern(1, 2 * BLOCK)).await?;
    done("syncing", new.sync().await)?;
    done("renaming", given.storage.rename("new", "free").await)?;
    let old = create(&given, "old").await?;
    put(&old, 0, &pattern(2, BLOCK)).await?;
    done("renaming over a file", given.storage.rename("free", "old").await)?;
    done("syncing the folder", given.storage.sync_folder().await)?;

    let expected = vec![FolderEntry { name: "old".into(), len: u64::from(2 * BLOCK) }];
    same("the listing after two renames", &expected, &list(&given).await?)?;
    expect(&open(&given, "old").await?, 0, &pattern(1, 2 * BLOCK)).await?;
    expect(&new, 0, &pattern(1, 2 * BLOCK)).await?;
    for gone in ["new", "free"] {
        let opened = given.storage.open(gone, OpenMode::Existing).await;
        refused("opening a name that was renamed away", opened, io::ErrorKind::NotFound)?;
    }
    let missing = given.storage.rename("new", "old").await;
    refused("renaming a missing file", missing, io::ErrorKind::NotFound)?;
    expect(&open(&given, "old").await?, 0, &pattern(1, 2 * BLOCK)).await
}

pub(super) async fn removing(given: Environment) -> Verdict {
    let missing = given.storage.remove("a").await;
    refused("removing a missing file", missing, io::ErrorKind::NotFound)?;

    let file = create(&given, "a").await?;
    create(&given, "b").await?;
    put(&file, 0, &pattern(1, BLOCK)).await?;
    done("removing", given.storage.remove("a").await)?;
    done("syncing the folder", given.storage.sync_folder().await)?;
    let expected = vec![FolderEntry { name: "b".into(), len: 0 }];
    same("the listing after a removal", &expected, &list(&given).await?)?;
    let opened = given.storage.open("a", OpenMode::Existing).await;
    refused("opening a removed file", opened, io::ErrorKind::NotFound)?;
    let again = given.storage.remove("a").await;
    refused("removing a removed file", again, io::ErrorKind::NotFound)?;

    let anew = create(&given, "a").await?;
    same("the length of a file made anew", &0, &len(&anew).await?)
}

// ---------------------------------------------------------------------------- bytes

pub(super) async fn sizes(given: Environment) -> Verdict {
    let file = create(&given, "sizes").await?;
    let mut at = 0;
    let blocks = [1, 2, 3, 7, 16, 31, 64, 255, 256, 257];
    for (seed, count) in (10..).zip(blocks) {
        put(&file, at, &pattern(seed, count * BLOCK)).await?;
        expect(&file, at, &pattern(seed, count * BLOCK)).await?;
        at += u64::from(count * BLOCK);
    }
    same("the length after appending", &at, &len(&file).await?)?;
    // Once more when all is there, the last first.
    for (seed, count) in (10..).zip(blocks).collect::<Vec<_>>().into_iter().rev() {
        at -= u64::from(count * BLOCK);
        expect(&file, at, &pattern(seed, count * BLOCK)).await?;
    }
    Ok(())
}

pub(super) async fn overwriting(given: Environment) -> Verdict {
    let file = create(&given, "over").await?;
    put(&file, 0, &pattern(1, 8 * BLOCK)).await?;
    put(&file, u64::from(2 * BLOCK), &pattern(2, 4 * BLOCK)).await?;
    put(&file, u64::from(3 * BLOCK), &pattern(3, BLOCK)).await?;

    let mut expected = IoBuf::copy_of(&pattern(1, 8 * BLOCK));
    expected[block(2)..block(6)].copy_from_slice(&pattern(2, 4 * BLOCK));
    expected[block(3)..block(4)].copy_from_slice(&pattern(3, BLOCK));
    expect(&file, 0, &expected).await?;
    for round in 4..40 {
        put(&file, 0, &pattern(round, BLOCK)).await?;
        expect(&file, 0, &pattern(round, BLOCK)).await?;
    }
    same("the length after overwriting", &u64::from(8 * BLOCK), &len(&file).await?)
}

pub(super) async fn shared_bytes(given: Environment) -> Verdict {
    let file = create(&given, "shared").await?;
    let bytes = Arc::new(pattern(1, 4 * BLOCK));
    let places = (0..4)
        .map(|place| file.write(FileOffset::new(place * u64::from(4 * BLOCK)), Arc::clone(&bytes)));
    for written in join_all(places).await {
        done("writing the same bytes in several places", written)?;
    }
    same_bytes("the bytes of the writer", &pattern(1, 4 * BLOCK), &bytes)?;
    for place in 0..4 {
        expect(&file, place * u64::from(4 * BLOCK), &pattern(1, 4 * BLOCK)).await?;
    }
    Ok(())
}

pub(super) async fn growing(given: Environment) -> Verdict {
    let file = create(&given, "growing").await?;
    same("the length of a new file", &0, &len(&file).await?)?;
    put(&file, 0, &pattern(1, BLOCK)).await?;
    same("the length after one block", &u64::from(BLOCK), &len(&file).await?)?;
    put(&file, u64::from(9 * BLOCK), &pattern(2, BLOCK)).await?;
    same("the length after a gap", &u64::from(10 * BLOCK), &len(&file).await?)?;
    expect(&file, 0, &pattern(1, BLOCK)).await?;
    put(&file, 0, &pattern(3, BLOCK)).await?;
    same("the length after an overwrite", &u64::from(10 * BLOCK), &len(&file).await?)?;
    expect(&file, u64::from(9 * BLOCK), &pattern(2, BLOCK)).await
}

pub(super) async fn reading_past_the_end(given: Environment) -> Verdict {
    let file = create(&given, "short").await?;
    let read_at = async |blocks: u32, count: u32| {
        let into = IoBuf::zeroed(ByteLen::new(count * BLOCK));
        let read = file.read(FileOffset::new(u64::from(blocks * BLOCK)), into).await;
        refused("reading past the end", read, io::ErrorKind::UnexpectedEof)
    };
    read_at(0, 1).await?;
    put(&file, 0, &pattern(1, 4 * BLOCK)).await?;
    read_at(4, 1).await?;
    read_at(3, 2).await?;
    read_at(0, 5).await?;
    read_at(1000, 1).await?;
    expect(&file, 0, &pattern(1, 4 * BLOCK)).await?;
    same("the length after refused reads", &u64::from(4 * BLOCK), &len(&file).await?)
}

pub(super) async fn preallocating(given: Environment) -> Verdict {
    let file = create(&given, "room").await?;
    put(&file, 0, &pattern(1, 3 * BLOCK)).await?;
    done("preallocating", file.preallocate(u64::from(300 * BLOCK)).await)?;
    same("the length after preallocating", &u64::from(300 * BLOCK), &len(&file).await?)?;
    expect(&file, 0, &pattern(1, 3 * BLOCK)).await?;
    let zeros = IoBuf::zeroed(ByteLen::new(297 * BLOCK));
    expect(&file, u64::from(3 * BLOCK), &zeros).await?;

    put(&file, u64::from(100 * BLOCK), &pattern(2, 2 * BLOCK)).await?;
    done("preallocating the same again", file.preallocate(u64::from(300 * BLOCK)).await)?;
    done("preallocating more", file.preallocate(u64::from(310 * BLOCK)).await)?;
    done("syncing", file.sync().await)?;
    same("the length after preallocating more", &u64::from(310 * BLOCK), &len(&file).await?)?;
    expect(&file, u64::from(100 * BLOCK), &pattern(2, 2 * BLOCK)).await?;
    let zeros = IoBuf::zeroed(ByteLen::new(208 * BLOCK));
    expect(&file, u64::from(102 * BLOCK), &zeros).await
}

pub(super) async fn cutting(given: Environment) -> Verdict {
    let file = create(&given, "cut").await?;
    put(&file, 0, &pattern(1, 8 * BLOCK)).await?;
    done("preallocating less", file.preallocate(u64::from(2 * BLOCK)).await)?;
    same("the length after cutting", &u64::from(2 * BLOCK), &len(&file).await?)?;
    expect(&file, 0, &pattern(1, 2 * BLOCK)).await?;
    done("preallocating again", file.preallocate(u64::from(4 * BLOCK)).await)?;
    expect(&file, u64::from(2 * BLOCK), &IoBuf::zeroed(ByteLen::new(2 * BLOCK))).await
}

// ---------------------------------------------------------------------------- in flight

pub(super) async fn many_in_flight(given: Environment) -> Verdict {
    const COUNT: u64 = 200;
    let file = create(&given, "many").await?;
    let place = |number: u64| number * u64::from(2 * BLOCK);
    let writes: FuturesUnordered<_> =
        (0..COUNT).map(|number| write_one(&file, place(number), number)).collect();
    let written: Vec<Verdict> = writes.collect().await;
    same("the number of completed writes", &COUNT, &to_u64(written.len()))?;
    written.into_iter().collect::<Verdict>()?;
    same("the length after all writes", &place(COUNT), &len(&file).await?)?;

    // Reads of the even places beside writes to the odd ones, syncs and questions in between.
    let mut mixed: FuturesUnordered<BoxFuture<'_, Verdict>> = FuturesUnordered::new();
    for number in 0..COUNT {
        if number % 2 == 0 {
            mixed.push(Box::pin(read_one(&file, place(number), number)));
        } else {
            mixed.push(Box::pin(write_one(&file, place(number), number + COUNT)));
        }
        if number % 16 == 0 {
            mixed.push(Box::pin(async { done("syncing among others", file.sync().await) }));
            mixed.push(Box::pin(async { len(&file).await.map(drop) }));
        }
    }
    while let Some(outcome) = mixed.next().await {
        outcome?;
    }
    for number in 0..COUNT {
        let seed = if number % 2 == 0 { number } else { number + COUNT };
        read_one(&file, place(number), seed).await?;
    }
    Ok(())
}

pub(super) async fn begun_together(given: Environment) -> Verdict {
    const COUNT: u64 = 100;
    let file = create(&given, "together").await?;
    let place = |number: u64| number * u64::from(2 * BLOCK);
    for number in 0..COUNT {
        write_one(&file, place(number), number).await?;
    }
    let reads = (0..COUNT).map(|number| read_one(&file, place(number), number));
    let mut reads = pin!(join_all(reads));
    let (mut begun, mut polls) = (0, 0);
    let verdicts = poll_fn(|context| {
        let mut polled = Poll::Pending;
        polls += 1;
        given.storage.together(&mut || {
            begun += 1;
            // Within another one it changes nothing.
            given.storage.together(&mut || polled = reads.as_mut().poll(context));
        });
        polled
    });
    verdicts.await.into_iter().collect::<Verdict>()?;
    same("how often it was begun", &polls, &begun)
}

async fn write_one(file: &Arc<dyn File>, at: u64, seed: u64) -> Verdict {
    put(file, at, &pattern(seed, 2 * BLOCK)).await
}

async fn read_one(file: &Arc<dyn File>, at: u64, seed: u64) -> Verdict {
    expect(file, at, &pattern(seed, 2 * BLOCK)).await
}

pub(super) async fn syncing(given: Environment) -> Verdict {
    let file = create(&given, "synced").await?;
    done("syncing an empty file", file.sync().await)?;
    done("syncing the folder", given.storage.sync_folder().await)?;
    put(&file, 0, &pattern(1, BLOCK)).await?;
    done("syncing", file.sync().await)?;
    done("syncing again", file.sync().await)?;
    let (first, second) = futures::join!(file.sync(), file.sync());
    done("syncing twice at once", first.and(second))?;
    done("syncing the folder again", given.storage.sync_folder().await)?;
    expect(&file, 0, &pattern(1, BLOCK)).await
}

pub(super) async fn dropped_futures(given: Environment) -> Verdict {
    let file = create(&given, "dropped").await?;
    let scratch = u64::from(64 * BLOCK);
    put(&file, 0, &pattern(1, 64 * BLOCK)).await?;
    put(&file, scratch, &pattern(2, BLOCK)).await?;
    for round in 0..100 {
        let at = FileOffset::new(u64::from(round % 60 * BLOCK));
        poll_once(file.read(at, IoBuf::zeroed(ByteLen::new(4 * BLOCK)))).await;
        poll_once(file.write(FileOffset::new(scratch), Arc::new(pattern(3, BLOCK)))).await;
        if round % 10 == 0 {
            poll_once(file.sync()).await;
            poll_once(file.len()).await;
            poll_once(given.storage.list()).await;
            poll_once(given.storage.sync_folder()).await;
        }
    }
    expect(&file, 0, &pattern(1, 64 * BLOCK)).await?;
    put(&file, 0, &pattern(4, 2 * BLOCK)).await?;
    done("syncing after dropped operations", file.sync().await)?;
    expect(&file, 0, &pattern(4, 2 * BLOCK)).await?;
    expect(
        &open(&given, "dropped").await?,
        u64::from(2 * BLOCK),
        &pattern(1, 64 * BLOCK)[block(2)..],
    )
    .await?;

    // A dropped write may be there or not; nothing else may be.
    let seen = get(&file, scratch, BLOCK).await?;
    let (old, new) = (pattern(2, BLOCK), pattern(3, BLOCK));
    let foreign = (0..seen.len()).find(|&i| seen[i] != old[i] && seen[i] != new[i]);
    ensure(foreign.is_none(), || format!("foreign byte at {foreign:?} after dropped writes"))?;
    same("the length after dropped writes", &u64::from(65 * BLOCK), &len(&file).await?)
}

// ---------------------------------------------------------------------------- time and tasks

pub(super) async fn clock(given: Environment) -> Verdict {
    let mut last = given.clock.now();
    for millis in [0, 1, 5, 2] {
        let before = given.clock.now();
        ensure(before >= last, || format!("the clock went from {last:?} back to {before:?}"))?;
        let time = Duration::from_millis(millis);
        given.clock.sleep(time).await;
        last = given.clock.now();
        ensure(last >= before + time, || {
            format!("sleeping {time:?} took from {before:?} to {last:?}")
        })?;
    }
    let before = given.clock.now();
    join_all((0..20).map(|millis| given.clock.sleep(Duration::from_millis(millis)))).await;
    let after = given.clock.now();
    ensure(after >= before + Duration::from_millis(19), || {
        format!("sleeping up to 19 ms took from {before:?} to {after:?}")
    })
}

pub(super) async fn spawning(given: Environment) -> Verdict {
    let mut tasks = Vec::new();
    for number in 0_u64..16 {
        let (go, may_go) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let task = async move {
            if may_go.await.is_ok() {
                // The caller may have given up already; that is its own report.
                let _ = answer.send(number);
            }
        };
        given.spawn.spawn("conformance", Box::pin(task));
        tasks.push((number, go, answered));
    }
    // The last one goes first: tasks that waited for each other in order would never end.
    for (number, go, answered) in tasks.into_iter().rev() {
        ensure(go.send(()).is_ok(), || "a spawned task was dropped before it could go".into())?;
        same("the answer of a spawned task", &Ok(number), &answered.await)?;
    }
    Ok(())
}

pub(super) async fn spawned_io(given: Environment) -> Verdict {
    let file = create(&given, "spawned").await?;
    let (answer, answered) = oneshot::channel();
    let (theirs, clock) = (Arc::clone(&file), Arc::clone(&given.clock));
    given.spawn.spawn(
        "conformance",
        Box::pin(async move {
            clock.sleep(Duration::from_millis(1)).await;
            let outcome = put(&theirs, 0, &pattern(1, 4 * BLOCK)).await;
            clock.sleep(Duration::from_millis(1)).await;
            // The caller may have given up already; that is its own report.
            let _ = answer.send(outcome);
        }),
    );
    let outcome = answered.await;
    outcome.map_err(|_| Broken("the task was dropped before its end".into()))??;
    expect(&file, 0, &pattern(1, 4 * BLOCK)).await
}
