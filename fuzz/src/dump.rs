//! Dumps, for the target `decode_small`.
//!
//! A frame is 64 KiB long and mostly zeros, so the data hold only how each begins:
//!
//! ```text
//! ┌─ len: 2 ─┬─ beginning: len ─┬─ len ─┬─ beginning ─┬──
//! ```

use logstor_core::format::dump::{BadDump, DUMP_FRAME_LEN, DumpItem, DumpReader, DumpWriter};

use crate::{Verdict, padded, repair, verdict, word};

const FRAME_LEN: usize = DUMP_FRAME_LEN as usize;
const MOST_FRAMES: usize = 6;

/// Reads frames until one is refused or they end. Decoded is what has an end.
pub(crate) fn check(mut data: &[u8], is_repaired: bool, is_short: bool) -> Verdict {
    let store = word(data, 2 + 8);
    let mut reader = DumpReader::new(store);
    let mut items = Vec::new();
    for _ in 0..MOST_FRAMES {
        let Some((frame, rest)) = split_frame(data, is_repaired, is_short) else { break };
        data = rest;
        let was_finished = reader.finished();
        let read = reader.read(&frame);
        if let Err(reason) = &read {
            assert_eq!(reader.read(&frame).as_ref(), Err(reason), "the reader has not moved");
            assert!(!was_finished || *reason == BadDump::AfterEnd);
            assert_eq!(reader.finished(), was_finished);
            return verdict(&read);
        }
        assert!(!was_finished);
        items.extend(read.unwrap_or_default());
    }
    if !items.is_empty() {
        write_again(store, &items);
    }
    if reader.finished() { Verdict::Decoded } else { Verdict::Refused }
}

fn split_frame(data: &[u8], is_repaired: bool, is_short: bool) -> Option<(Vec<u8>, &[u8])> {
    let (len, rest) = data.split_first_chunk()?;
    let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    let (beginning, rest) = rest.split_at(len);
    let mut frame = if is_short { beginning.to_vec() } else { padded(beginning, FRAME_LEN) };
    if is_repaired {
        repair::sign(&mut frame, 4, &[&(8..FRAME_LEN)]);
    }
    Some((frame, rest))
}

/// What was read can be written, and read again.
fn write_again(store: u64, items: &[DumpItem]) {
    let mut writer = DumpWriter::new(store, 7);
    let mut frames: Vec<_> = items.iter().filter_map(|item| writer.push(item)).collect();
    frames.extend(writer.finish());
    let mut reader = DumpReader::new(store);
    let mut again = Vec::new();
    for frame in &frames {
        again.extend(reader.read(frame).expect("what was written can be read"));
    }
    assert!(reader.finished());
    assert_eq!(again, items);
}
