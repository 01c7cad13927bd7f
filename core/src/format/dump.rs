//! The dump: the index and all that belongs to it, written at a clean close, read at the next
//! open in place of the summaries of the whole store.
//!
//! ```text
//! ┌─ frame 0 ─┬─ frame 1 ─┬─────┬─ frame n ─┐
//! │ head      │ groups …  │ …   │ end       │    every frame DUMP_FRAME_LEN bytes long
//! └───────────┴───────────┴─────┴───────────┘
//! ```
//!
//! The dump is a convenience: what it says can always be found out the long way. So it is believed
//! only when everything in it checks, and a reader that meets anything else gives it up.
//!
//! 1. Every frame says which store and which dump it belongs to and how many frames are before it:
//!    frames of an older dump, or in another order, are found out.
//! 2. The first frame holds the head, and no other does. A frame holds items of one kind.
//! 3. The last frame holds the number of items of each kind. Without it there is no dump.
//!
//! Absent on purpose: any order among items (a run of one kind costs fewer frames), and any check
//! of what items say of each other: that takes the catalogue.

mod frame;
mod item;

use thiserror::Error;

use crate::io::IoBuf;

pub use frame::DUMP_FRAME_LEN;
pub use item::{DumpEntry, DumpGroup, DumpHead, DumpItem, DumpKind, DumpPiece, DumpSegment};

use frame::{Frame, PAYLOAD_LEN};
use item::{Content, Totals};

/// Why a frame, and with it the dump, is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadDump {
    /// Not the length of a frame.
    #[error("a frame of {found} bytes instead of {DUMP_FRAME_LEN}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// Something else lies here.
    #[error("magic {found:#010x} is not that of a dump")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// The frame was damaged or the write was torn.
    #[error("crc {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// As it lies there.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// The dump of another store.
    #[error("dump of store {found:#018x}")]
    Foreign {
        /// The short id of that store.
        found: u64,
    },
    /// A frame of another dump among those of this one.
    #[error("frame of dump {found:#018x} in dump {expected:#018x}")]
    OtherDump {
        /// The dump that the frame belongs to.
        found: u64,
        /// The dump that the first frame belonged to.
        expected: u64,
    },
    /// A frame is missing, or is there twice.
    #[error("frame {found} where frame {expected} belongs")]
    Ordinal {
        /// The frame.
        found: u64,
        /// The one that was to come.
        expected: u64,
    },
    /// A kind of item that this format does not have.
    #[error("unknown kind of item {found}")]
    Kind {
        /// The number of the kind.
        found: u8,
    },
    /// The first frame holds no head, or a later one does.
    #[error("the head belongs into frame 0 and nowhere else: frame {ordinal}")]
    Head {
        /// The frame in question.
        ordinal: u64,
    },
    /// Something lies where this format has only zeros.
    #[error("unused bytes are not zero")]
    Reserved,
    /// The items are not as many, or not as long, as the frame says.
    #[error("{count} items in {len} bytes: not so")]
    Items {
        /// Items, as the frame says.
        count: u32,
        /// Their bytes, as the frame says.
        len: u32,
    },
    /// An item says something impossible.
    #[error("item {index} of the frame says something impossible")]
    Item {
        /// Which item.
        index: u32,
    },
    /// The end does not agree with what was read.
    #[error("{found} items were read where the end says {stated}")]
    Totals {
        /// Items read, all kinds together.
        found: u64,
        /// As the end says.
        stated: u64,
    },
    /// A frame behind the last one.
    #[error("a frame behind the end")]
    AfterEnd,
}

/// Turns items into frames.
#[derive(Debug)]
pub struct DumpWriter {
    store: u64,
    dump_id: u64,
    // How many frames were given out.
    ordinal: u64,
    // Invariant: `count` items of kind `content`, encoded, at most `PAYLOAD_LEN` bytes.
    content: Content,
    payload: Vec<u8>,
    count: u32,
    totals: Totals,
}

impl DumpWriter {
    /// A dump of the store with this short id. No two dumps of a store should have one `dump_id`.
    #[must_use]
    pub fn new(store_short: u64, dump_id: u64) -> Self {
        Self {
            store: store_short,
            dump_id,
            ordinal: 0,
            content: Content::Head,
            payload: Vec::with_capacity(PAYLOAD_LEN),
            count: 0,
            totals: Totals::default(),
        }
    }

    /// Adds an item. If a frame is complete now, here it is, to be written behind those before.
    ///
    /// # Panics
    ///
    /// If the first item is not the head or another one is, or an item is impossible.
    pub fn push(&mut self, item: &DumpItem) -> Option<IoBuf> {
        let content = Content::of(item);
        let is_first = self.ordinal == 0 && self.count == 0;
        assert_eq!(content == Content::Head, is_first, "the head comes first, and once");
        let full = self.payload.len() + item.encoded_len() > PAYLOAD_LEN;
        let frame = (full || content != self.content).then(|| self.take_frame());
        self.content = content;
        item.encode(&mut self.payload);
        self.count += 1;
        self.totals.count(content, 1);
        assert!(self.payload.len() <= PAYLOAD_LEN);
        frame
    }

    /// The frames that are still to be written: the items left over, and the end.
    ///
    /// # Panics
    ///
    /// If there was no head.
    #[must_use]
    pub fn finish(mut self) -> Vec<IoBuf> {
        assert!(self.count > 0, "the head was pushed");
        let last = self.take_frame();
        self.content = Content::End;
        self.payload.extend_from_slice(&self.totals.encode());
        self.count = 1;
        vec![last, self.take_frame()]
    }

    fn take_frame(&mut self) -> IoBuf {
        let frame = Frame {
            store: self.store,
            dump_id: self.dump_id,
            ordinal: self.ordinal,
            content: self.content,
            count: self.count,
            payload: &self.payload,
        };
        let encoded = frame.encode();
        self.ordinal += 1;
        self.count = 0;
        self.payload.clear();
        encoded
    }
}

/// Turns frames back into items, and believes nothing.
#[derive(Debug)]
pub struct DumpReader {
    store: u64,
    // The dump that the first frame belonged to.
    dump_id: Option<u64>,
    // How many frames were read.
    ordinal: u64,
    totals: Totals,
    finished: bool,
}

impl DumpReader {
    /// Reads a dump of the store with this short id.
    #[must_use]
    pub fn new(store_short: u64) -> Self {
        Self {
            store: store_short,
            dump_id: None,
            ordinal: 0,
            totals: Totals::default(),
            finished: false,
        }
    }

    /// The items of the next frame; of the last one none. After an error the dump as a whole is
    /// not to be believed; the reader has not moved.
    pub fn read(&mut self, frame: &[u8]) -> Result<Vec<DumpItem>, BadDump> {
        let mut items = Vec::new();
        self.read_each(frame, |item| items.push(item))?;
        Ok(items)
    }

    /// The same, item by item, without a list of them. What was handed out before an error is not
    /// to be believed either.
    pub fn read_each(&mut self, frame: &[u8], take: impl FnMut(DumpItem)) -> Result<(), BadDump> {
        if self.finished {
            return Err(BadDump::AfterEnd);
        }
        let frame = Frame::parse(frame)?;
        let (ordinal, dump_id) = (frame.ordinal, frame.dump_id);
        if frame.store != self.store {
            return Err(BadDump::Foreign { found: frame.store });
        }
        if let Some(expected) = self.dump_id.filter(|&expected| expected != dump_id) {
            return Err(BadDump::OtherDump { found: dump_id, expected });
        }
        if ordinal != self.ordinal {
            return Err(BadDump::Ordinal { found: ordinal, expected: self.ordinal });
        }
        if (frame.content == Content::Head) != (ordinal == 0) {
            return Err(BadDump::Head { ordinal });
        }
        if frame.content == Content::End {
            self.check_end(&frame)?;
        } else {
            frame.each_item(take)?;
            self.totals.count(frame.content, frame.count);
        }
        self.finished = frame.content == Content::End;
        self.dump_id = Some(dump_id);
        self.ordinal += 1;
        Ok(())
    }

    /// Whether the end was read, and everything before it was as it says. Only then may anything
    /// that was read be believed.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished
    }

    fn check_end(&self, frame: &Frame<'_>) -> Result<(), BadDump> {
        let bad = BadDump::Items { count: frame.count, len: frame.payload_len() };
        let stated = Totals::parse(frame.payload).ok_or_else(|| bad.clone())?;
        if frame.count != 1 {
            return Err(bad);
        }
        if stated != self.totals {
            let (found, stated) = (self.totals.sum(), stated.sum());
            return Err(BadDump::Totals { found, stated });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
