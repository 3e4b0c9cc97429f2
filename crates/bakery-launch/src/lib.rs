//! Terraform's files to machines on this host: plan, apply, replace, destroy.
//!
//! `config` reads `*.tf` into desired resources, `state` keeps what is, `plan` compares the two (a pure function),
//! `apply` makes them equal in the order that loses nothing: stop, detach, attach, start. `qemu` runs machines, `imds`
//! answers them as EC2's meta-data service does, `volume` keeps data volumes,
//! which outlive their instances.

mod apply;
mod config;
pub mod imds;
mod instance;
mod plan;
mod qemu;
mod state;
mod volume;

pub use apply::{ApplyOptions, apply, destroy, local_plan, replace};
pub use config::{Config, load};
pub use instance::{BootState, Instance, ssh_command, ssh_variables};
pub use plan::{Action, Change, Plan, plan};
pub use state::State;
pub use volume::Volume;

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

    /// The same with what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<bakery_host::Error> for Error {
    fn from(error: bakery_host::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<bakery_qemu::Error> for Error {
    fn from(error: bakery_qemu::Error) -> Self {
        Self { message: error.message, hint: error.hint }
    }
}

impl From<bakery_lang::Diagnostic> for Error {
    fn from(diagnostic: bakery_lang::Diagnostic) -> Self {
        Self::new(diagnostic.to_string())
    }
}

/// A new identifier: a prefix and seventeen hexadecimal digits, as EC2 writes them.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..17])
}
