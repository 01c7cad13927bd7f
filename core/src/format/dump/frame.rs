//! One frame of a dump: a header, some items of one kind, zeros.
//!
//! Absent on purpose: the order of frames. A frame knows its place; the reader knows which place
//! is next.

use crate::format::crc;
use crate::format::dump::BadDump;
use crate::format::dump::item::{Content, DumpItem};
use crate::format::{field, is_zero, put};
use crate::io::IoBuf;
use crate::types::{BLOCK, ByteLen, to_u32, to_usize};

/// Bytes of every frame: a whole number of blocks.
pub const DUMP_FRAME_LEN: u32 = 64 << 10;

/// Bytes of a frame that items may use.
pub(super) const PAYLOAD_LEN: usize = FRAME_LEN - HEADER_LEN;

const FRAME_LEN: usize = to_usize(DUMP_FRAME_LEN);
const HEADER_LEN: usize = 48;
const MAGIC: u32 = u32::from_le_bytes(*b"LSdp");

const _: () = assert!(DUMP_FRAME_LEN.is_multiple_of(BLOCK));
const _: () = assert!(HEADER_LEN.is_multiple_of(8));

/// A frame, its items still in their bytes.
///
/// | at | len | field    | meaning                                                |
/// |---:|----:|----------|--------------------------------------------------------|
/// |  0 |   4 | magic    | `"LSdp"`                                               |
/// |  4 |   4 | crc      | CRC-32C of bytes 8..65536                              |
/// |  8 |   8 | store    | short id of the store                                  |
/// | 16 |   8 | dump_id  | which dump                                             |
/// | 24 |   8 | ordinal  | frames before this one                                 |
/// | 32 |   4 | count    | items                                                  |
/// | 36 |   4 | len      | bytes of the items                                     |
/// | 40 |   1 | content  | 1 head, 2 groups, 3 segments, 4 entries, 5 end         |
/// | 41 |   7 | reserved | zero                                                   |
/// | 48 | len | items    | one after the other                                    |
/// |  … |   … | padding  | zero                                                   |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) store: u64,
    pub(super) dump_id: u64,
    pub(super) ordinal: u64,
    pub(super) content: Content,
    pub(super) count: u32,
    // Invariant: at most `PAYLOAD_LEN` bytes.
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(super) fn encode(&self) -> IoBuf {
        let mut raw = [0; HEADER_LEN];
        put::<0, 4, _>(&mut raw, MAGIC.to_le_bytes());
        put::<8, 8, _>(&mut raw, self.store.to_le_bytes());
        put::<16, 8, _>(&mut raw, self.dump_id.to_le_bytes());
        put::<24, 8, _>(&mut raw, self.ordinal.to_le_bytes());
        put::<32, 4, _>(&mut raw, self.count.to_le_bytes());
        put::<36, 4, _>(&mut raw, self.payload_len().to_le_bytes());
        put::<40, 1, _>(&mut raw, [self.content.code()]);
        let mut frame = IoBuf::zeroed(ByteLen::new(DUMP_FRAME_LEN));
        frame[..HEADER_LEN].copy_from_slice(&raw);
        frame[HEADER_LEN..HEADER_LEN + self.payload.len()].copy_from_slice(self.payload);
        let crc = crc::of(&[&frame[8..]]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        frame
    }

    /// The only way from bytes to a frame.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, BadDump> {
        let whole: &[u8; FRAME_LEN] =
            bytes.try_into().map_err(|_| BadDump::Length { found: bytes.len() })?;
        let magic = u32::from_le_bytes(field::<0, 4, _>(whole));
        let stored = u32::from_le_bytes(field::<4, 4, _>(whole));
        let store = u64::from_le_bytes(field::<8, 8, _>(whole));
        let dump_id = u64::from_le_bytes(field::<16, 8, _>(whole));
        let ordinal = u64::from_le_bytes(field::<24, 8, _>(whole));
        let count = u32::from_le_bytes(field::<32, 4, _>(whole));
        let len = u32::from_le_bytes(field::<36, 4, _>(whole));
        let [content] = field::<40, 1, _>(whole);

        if magic != MAGIC {
            return Err(BadDump::Magic { found: magic });
        }
        let computed = crc::of(&[&whole[8..]]);
        if stored != computed {
            return Err(BadDump::Crc { stored, computed });
        }
        let content = Content::from_code(content).ok_or(BadDump::Kind { found: content })?;
        let (payload, padding) = whole[HEADER_LEN..]
            .split_at_checked(to_usize(len))
            .ok_or(BadDump::Items { count, len })?;
        if field::<41, 7, _>(whole) != [0; 7] || !is_zero(padding) {
            return Err(BadDump::Reserved);
        }
        Ok(Self { store, dump_id, ordinal, content, count, payload })
    }

    pub(super) fn payload_len(&self) -> u32 {
        to_u32(self.payload.len())
    }

    /// Hands out its items: as many as it says, and nothing behind them. What was handed out before
    /// an error counts for nothing.
    pub(super) fn each_item(&self, mut take: impl FnMut(DumpItem)) -> Result<(), BadDump> {
        let mut rest = self.payload;
        let mut count = 0;
        while count < self.count && !rest.is_empty() {
            let bad = BadDump::Item { index: count };
            let (item, behind) = DumpItem::parse(self.content, rest).ok_or(bad)?;
            take(item);
            count += 1;
            rest = behind;
        }
        if count != self.count || !rest.is_empty() || count == 0 {
            return Err(BadDump::Items { count: self.count, len: self.payload_len() });
        }
        if self.content == Content::Head && count > 1 {
            return Err(BadDump::Head { ordinal: self.ordinal });
        }
        Ok(())
    }
}
