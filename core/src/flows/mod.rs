//! The arrows of the picture: one file each, and none names another.
//!
//! | flow | from | to |
//! |---|---|---|
//! | [`put`] | a caller's write | an accepted record, and the wait for its durability |
//! | [`writer`] | accepted records | durable buffers, known to the index |
//! | [`large`] | a long value | durable pieces of it, and their list |
//! | [`get`] | a key | its value |
//! | [`grow`] | too few free slots | a zeroed file under a durable name |
//! | [`reclaim`] | dead segments | erased, free slots |
//! | [`rewriter`] | segments worth rewriting | their records elsewhere, dead segments |
//! | [`create`] | an empty folder | a store |
//! | [`recovery`] | a folder | the state as of the last durable write |
//! | [`verify`] | the segments | what of them is not as it was written |
//! | [`close`] | an open store | everything durable, and a dump for the next opening |

pub(crate) mod close;
pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod grow;
pub(crate) mod large;
pub(crate) mod put;
pub(crate) mod reclaim;
pub(crate) mod recovery;
pub(crate) mod rewriter;
pub(crate) mod verify;
pub(crate) mod writer;
