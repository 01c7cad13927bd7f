//! Why a folder could not be opened, and what of it is lost.
//!
//! Shared by the flows that look at a folder; the door turns it into the public error.

use std::io;
use std::sync::Arc;

use crate::format::buffer::{BufferHeader, BufferKind};
use crate::format::geometry::BadGeometry;
use crate::format::mark::NotAMark;
use crate::format::superblock::NotASuperblock;
use crate::options::BadOption;
use crate::types::{SegmentId, SegmentOffset, Sequence};

/// A part of the log of which nothing is known any more: which keys were written there, an older
/// version of any of them could pass for the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The segment, and where in it; `None` if nothing says where it was. Only that it was there is
    /// known then, from the numbers of what came before it and after it.
    pub place: Option<(SegmentId, SegmentOffset)>,
    /// The first sequence that was there, if that is known.
    pub first_sequence: Option<Sequence>,
    /// The first sequence that was not there any more, if that is known.
    pub end_sequence: Option<Sequence>,
}

impl Loss {
    /// The loss of a buffer whose header is all that is left.
    pub(crate) fn of_buffer(header: &BufferHeader) -> Self {
        let place = (header.segment, header.offset);
        Self::of_records(header.kind, place, header.first_sequence, header.record_count)
    }

    /// The loss of a buffer with so many records.
    pub(crate) fn of_records(
        kind: BufferKind,
        place: (SegmentId, SegmentOffset),
        first: Sequence,
        records: u32,
    ) -> Self {
        // Of copies only the lowest sequence is known.
        let end = (kind == BufferKind::Log).then(|| first.advance(records.into()));
        Self { place: Some(place), first_sequence: Some(first), end_sequence: end }
    }

    /// Whether it is known to have been in this segment.
    pub(crate) fn is_in(&self, segment: SegmentId) -> bool {
        self.place.is_some_and(|place| place.0 == segment)
    }
}

/// Why a folder could not be opened.
#[derive(Clone, Debug)]
pub(crate) enum OpenError {
    Geometry(BadGeometry),
    Option(BadOption),
    OtherGeometry { name: &'static str, asked: u32, found: u32 },
    Io { doing: &'static str, name: String, source: Arc<io::Error> },
    NotAStore { name: String },
    Superblock(NotASuperblock),
    Mark(NotAMark),
    MissingFile { name: String },
    WrongLength { name: String, expected: u64, found: u64 },
    Lost(Vec<Loss>),
    Counter { what: &'static str, found: u64 },
    Catalogue { what: String },
}

impl OpenError {
    /// Whether it is about bytes that are not there, or not what they should be.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Mark(_) | Self::MissingFile { .. } | Self::WrongLength { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        }
    }

    /// Turns an I/O error on `name` into one of these.
    pub(crate) fn io(
        doing: &'static str,
        name: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let name = name.into();
        move |source| Self::Io { doing, name, source: Arc::new(source) }
    }
}
