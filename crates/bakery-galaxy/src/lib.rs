//! Roles of `requirements.yml` into the project: from git, tarballs and folders, by the user's own git.
//!
//! Invariant: a role is made beside its place and renamed into it, so an install that is killed leaves the old role or
//! the new one.

mod install;
mod requirements;

pub use install::{Installed, install, list, remove};
pub use requirements::{Requirement, read};

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
