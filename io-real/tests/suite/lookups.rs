//! What a lookup costs: one device read for a key that is there, none for one that is not.

use logstor::{Durability, Options};

#[tokio::test]
async fn a_present_key_costs_one_read_of_at_most_two_blocks_and_an_absent_key_none() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segments_per_file: Some(8), ..Options::default() };
    let db = super::builder(folder.path()).options(options).open().await.unwrap();
    let group = db.group("g").await.unwrap();
    for number in 0..500_u32 {
        let value = vec![u8::try_from(number % 251).unwrap(); 1024];
        group.put_with(number.to_le_bytes(), value, Durability::Buffered).await.unwrap();
    }
    db.flush().await.unwrap();
    for number in 0..500_u32 {
        let before = db.stats().device;
        let found = group.get(number.to_le_bytes()).await.unwrap();
        let after = db.stats().device;
        assert_eq!(found.unwrap()[..], [u8::try_from(number % 251).unwrap(); 1024]);
        assert_eq!(after.reads - before.reads, 1);
        assert!(after.read_bytes - before.read_bytes <= 2 * 4096);
    }
    let before = db.stats().device;
    for number in 500..1000_u32 {
        assert_eq!(group.get(number.to_le_bytes()).await.unwrap(), None);
    }
    assert_eq!(db.stats().device.reads, before.reads);
}

#[tokio::test]
async fn buffered_writes_are_read_from_memory_and_hidden_by_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segments_per_file: Some(8), ..Options::default() };
    let db = super::builder(folder.path()).options(options).open().await.unwrap();
    let group = db.group("g").await.unwrap();
    group.put("k", "synced").await.unwrap();
    group.put_with("k", "buffered", Durability::Buffered).await.unwrap();
    assert_eq!(group.get("k").await.unwrap().as_deref(), Some(&b"buffered"[..]));
    group.delete_with("k", Durability::Buffered).await.unwrap();
    assert_eq!(group.get("k").await.unwrap(), None);
    db.flush().await.unwrap();
    assert_eq!(group.get("k").await.unwrap(), None);
}
