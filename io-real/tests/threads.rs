//! The suite with every read, write and sync on threads.

mod suite;

const BACKEND: logstor::Backend = logstor::Backend::Threads;
