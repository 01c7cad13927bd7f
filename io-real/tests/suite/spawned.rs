//! Every operation may be a task of its own, on any thread of a runtime.
//!
//! Story: opening a store could be awaited where the runtime was started, but not spawned. Streams
//! with closures in them were held across awaits, and of those the compiler cannot tell that they
//! may go from thread to thread. No test had tried.

use futures::stream::{self, StreamExt};
use logstor::{CompactRequest, Db, Expect, Group, WriteBatch};

/// Runs a future as a task, which only one that may change threads can be.
async fn spawned<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(future).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_may_be_opened_used_and_closed_by_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let db = spawned(super::builder(folder.path().join("store")).open()).await.unwrap();
    spawned(use_all(db.clone())).await.unwrap();
    spawned(async move { db.close().await }).await.unwrap();

    let shown = super::builder(folder.path().join("store")).open_read_only();
    let db = spawned(shown).await.unwrap();
    let group = db.group("a").await.unwrap();
    let value = spawned(async move { group.get("streamed").await }).await.unwrap();
    assert_eq!(value.as_deref(), Some(&b"abc"[..]));
}

async fn use_all(db: Db) -> logstor::Result<()> {
    let group: Group = db.group("a").await?;
    group.put("key", "value").await?;
    let parts = stream::iter(["ab", "c"]).map(|part| Ok::<_, std::io::Error>(part.into()));
    group.put_stream("streamed", 3, parts).await?;
    assert!(group.get_stream("streamed").await?.is_some());
    assert_eq!(group.multi_get(["key", "other"]).await.len(), 2);
    assert_eq!(group.scan().count().await, 2);
    let absent = Expect::Absent;
    assert!(!group.compare_and_put("key", absent, "other").await?.is_made());
    let mut batch = WriteBatch::new();
    batch.require(&group, "key", Expect::Value("value".into())).delete(&group, "key");
    assert!(db.write_if(batch).await?.is_made());
    group.separate().await?;
    db.compact(CompactRequest::default()).await?;
    db.group("b").await?.delete("nothing").await?;
    db.truncate_group("b").await?;
    db.drop_group("b").await?;
    db.flush().await
}
