//! What the tests have in common: files by single bytes.
//!
//! Absent on purpose: checks. Each test says itself what must be.

use std::io;
use std::sync::Arc;

use logstor_core::io::{Environment, File, FileOffset, IoBuf, OpenMode};
use logstor_core::types::{ByteLen, to_u32};
use logstor_io_sim::{Latencies, Sim, SimOptions};

pub(crate) type Handle = Arc<dyn File>;

/// A simulation with sectors of 512 bytes.
pub(crate) fn sim(seed: u64) -> Sim {
    Sim::new(&SimOptions::new(seed).sector_size(512))
}

/// The same, in which everything issued together completes together.
pub(crate) fn steady(seed: u64) -> Sim {
    let millisecond = std::time::Duration::from_millis(1);
    let options = SimOptions::new(seed).sector_size(512);
    Sim::new(&options.latencies(Latencies::constant(millisecond)))
}

pub(crate) async fn create(env: &Environment, name: &str) -> io::Result<Handle> {
    env.storage.open(name, OpenMode::CreateNew).await
}

pub(crate) async fn open(env: &Environment, name: &str) -> io::Result<Handle> {
    env.storage.open(name, OpenMode::Existing).await
}

/// A file whose name is durable and which has `sectors` durable sectors of `byte`.
pub(crate) async fn durable(env: &Environment, name: &str, byte: u8, sectors: usize) -> Handle {
    let file = create(env, name).await.unwrap();
    fill(&file, 0, byte, sectors).await.unwrap();
    file.sync().await.unwrap();
    env.storage.sync_folder().await.unwrap();
    file
}

/// Writes `sectors` sectors of `byte` from sector `first` on.
pub(crate) async fn fill(file: &Handle, first: u64, byte: u8, sectors: usize) -> io::Result<()> {
    let bytes = Arc::new(IoBuf::copy_of(&vec![byte; sectors * 512]));
    file.write(FileOffset::new(first * 512), bytes).await
}

/// One byte for each sector; a sector of different bytes is torn in itself and fails the test.
pub(crate) async fn sectors(file: &Handle) -> io::Result<Vec<u8>> {
    let len = to_u32(usize::try_from(file.len().await?).unwrap());
    let bytes = file.read(FileOffset::ZERO, IoBuf::zeroed(ByteLen::new(len))).await?;
    Ok(bytes.chunks(512).map(whole).collect())
}

fn whole(sector: &[u8]) -> u8 {
    assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never torn in itself");
    sector[0]
}

/// The sectors of a file after the next boot, or `None` if it is not there.
pub(crate) fn reboot_and_read(sim: &Sim, name: &str) -> Option<Vec<u8>> {
    let env = sim.boot();
    sim.run(async {
        match open(&env, name).await {
            Ok(file) => Some(sectors(&file).await.unwrap()),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
                None
            }
        }
    })
    .expect_done()
}
