//! Reading a piece of a large value: one device read, and every check there is.
//!
//! Absent on purpose: which pieces may be read. The state pins their segments first.

use std::io;

use bytes::Bytes;

use super::Device;
use crate::format::pieces::{NotThePiece, PieceList, piece_range};
use crate::types::{GroupId, SegmentOffset, to_usize};

/// Why a piece could not be read.
#[derive(Debug)]
pub(crate) enum PieceError {
    Io(io::Error),
    Wrong(NotThePiece),
}

impl Device {
    /// Reads the piece at this place of a value, and checks that it is the one. Its segment must
    /// be one of the store.
    pub(crate) async fn read_piece(
        &self,
        list: &PieceList,
        index: u32,
        group: GroupId,
    ) -> Result<Bytes, PieceError> {
        let geometry = self.geometry();
        let segment = list.entries()[to_usize(index)].segment;
        let read = self.read(segment, SegmentOffset::ZERO, list.read_len(index, geometry));
        let bytes = read.await.map_err(PieceError::Io)?;
        let checked = list.check(index, (self.store(), group), &bytes, geometry);
        checked.map_err(PieceError::Wrong)?;
        let range = piece_range(list.len_of(index, geometry));
        Ok(Bytes::from_owner(bytes).slice(range))
    }
}
