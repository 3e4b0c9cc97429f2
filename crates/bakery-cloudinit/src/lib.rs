//! What cloud-init does at boot, for images that bakery baked: datasources, user-data, once per instance.
//!
//! `datasource` finds who the instance is and its user-data, `config` reads cloud-config, `apply` carries it out,
//! `boot` is the order of it all, `volumes` gives data volumes the device names that people wrote, `grow` makes the
//! root file system fill its disk, `report` says how it went.
//!
//! Invariants: nothing here needs the network unless the datasource does; everything is bounded in time; state is
//! written whole or not at all.

mod apply;
mod boot;
mod config;
mod datasource;
mod grow;
mod report;
mod volumes;

pub use boot::{BootArgs, boot};
pub use config::{CloudConfig, UserData};
pub use report::status;

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl From<bakery_host::Error> for Error {
    fn from(error: bakery_host::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<bakery_lang::Diagnostic> for Error {
    fn from(diagnostic: bakery_lang::Diagnostic) -> Self {
        Self(diagnostic.to_string())
    }
}
