//! What everybody who runs machines in QEMU needs: `accelerator` chooses how they are run, `control` speaks to them,
//! `typing` types into them.

mod accelerator;
mod control;
mod typing;

use std::net::TcpListener;
use std::ops::RangeInclusive;

pub use accelerator::{Accelerator, choose};
pub use control::Control;
pub use typing::{Stroke, strokes};

/// What goes wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
}

impl From<bakery_host::Error> for Error {
    fn from(error: bakery_host::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// A free port of this host; the wanted one if it is free.
///
/// # Errors
/// When there is none.
pub fn free_port(wanted: u16) -> Result<u16> {
    let first = if wanted >= 1024 { bound("127.0.0.1", wanted) } else { None };
    let any = || TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).map(|a| a.port());
    first.map_or_else(|| any().map_err(|e| Error::new(format!("no port is free: {e}"))), Ok)
}

/// The first free port of a range at an address of this host.
///
/// # Errors
/// When there is none.
pub fn free_port_in(address: &str, ports: RangeInclusive<u16>) -> Result<u16> {
    let (first, last) = (*ports.start(), *ports.end());
    ports
        .into_iter()
        .find(|port| bound(address, *port).is_some())
        .ok_or_else(|| Error::new(format!("no port from {first} to {last} is free at {address}")))
}

fn bound(address: &str, port: u16) -> Option<u16> {
    TcpListener::bind((address, port)).ok().map(|_| port)
}
