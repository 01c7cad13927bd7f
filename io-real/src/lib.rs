//! logstor.
