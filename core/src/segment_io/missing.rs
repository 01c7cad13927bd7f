//! A file of segments that is not there: what salvaging has in its place.
//!
//! Reads find its end, so that every segment of it is a loss. Nothing is ever written: its slots
//! are quarantined.
//!
//! Absent on purpose: making a new one. That the file is missing must be seen at the next opening.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;

use crate::io::{File, FileOffset, IoBuf};

/// See the module.
#[derive(Debug)]
pub(crate) struct MissingFile;

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotFound.into())
}

#[async_trait]
impl File for MissingFile {
    async fn read(&self, _: FileOffset, _: IoBuf) -> io::Result<IoBuf> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    async fn write(&self, _: FileOffset, _: Arc<IoBuf>) -> io::Result<()> {
        refused()
    }

    async fn sync(&self) -> io::Result<()> {
        Ok(()) // of all that was written
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(0)
    }

    async fn preallocate(&self, _: u64) -> io::Result<()> {
        refused()
    }

    async fn punch(&self, _: FileOffset, _: u64) -> io::Result<()> {
        refused()
    }

    async fn shrink(&self, _: u64) -> io::Result<()> {
        refused()
    }

    async fn allocate(&self, _: FileOffset, _: u64) -> io::Result<()> {
        refused()
    }
}
