//! What runs on the target: one file per module, facts, and readers of system files.
//!
//! Invariant: no Jinja and no controller types: arguments in, outcome out. `Host` is the only door to the system, and
//! its primitives honour check mode and record diffs.

pub mod args;
mod crypto;
mod database;
mod debian;
pub mod digests;
pub mod disk;
pub mod facts;
pub mod host;
pub mod http;
mod init;
mod lvm;
mod modules;
mod outcome;
pub mod passwords;
mod rabbitmq;
mod registry;
mod rpm;
mod tls;
mod xml;

pub use host::{Host, Phase};
pub use modules::async_wrapper::{VERB as BACKGROUND_VERB, background};
pub use outcome::{Failure, Outcome, Run};
pub use registry::{Module, ModuleDoc, all, canonical_name, find, has, is_known_elsewhere, moved_to, run};
