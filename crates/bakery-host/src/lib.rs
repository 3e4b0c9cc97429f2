//! Linux: rooted and atomic file access, child processes, namespaces, mounts and locks.
//!
//! Invariant: the only crate with `unsafe`, and the only one that calls `std::fs` and `Command` directly, so that
//! every error names its path or command line.

pub mod block;
pub mod cgroup;
pub mod command;
pub mod fs;
pub mod lock;
pub mod namespace;
pub mod rooted;
pub mod routes;
pub mod sandbox;
pub mod signal;
mod talk;
pub mod terminal;
pub mod users;

pub use command::{Cmd, Output};
pub use fs::{Error, Result};
