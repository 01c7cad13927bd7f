//! The suite with every read, write and sync through `io_uring`.

mod suite;

const BACKEND: logstor::Backend = logstor::Backend::Ring;
