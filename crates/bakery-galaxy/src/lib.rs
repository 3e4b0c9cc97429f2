//! Roles and collections: requirements → resolution → lock → cache → `roles/` and `collections/`.
//!
//! | | |
//! |---|---|
//! | [`requirements`] | what is wanted, and from where |
//! | [`fetch`] | what is at a source: [`scm`], [`api`], [`http`], archives, folders; kept in the [`cache`] |
//! | [`project`], [`resolve`] | which version of everything; the solver is a pure function over an index |
//! | [`lock`] | what was resolved, beside the requirements |
//! | [`install`] | into place, whole or not at all |
//! | [`installed`], [`skeleton`] | lists, checks, removal, and new ones |
//! | [`command`], [`config`] | what can be typed, and the settings that ansible-galaxy has, too |
//!
//! Invariants: a failed or killed install leaves what was there; nothing of an archive is written outside of its place;
//! a locked version that now means something else is refused.

pub mod api;
pub mod cache;
pub mod collection;
pub mod command;
pub mod config;
pub mod fetch;
pub mod http;
pub mod install;
pub mod installed;
pub mod lock;
pub mod project;
pub mod requirements;
pub mod resolve;
pub mod scm;
pub mod signature;
pub mod skeleton;
pub mod tree;
pub mod version;

/// What goes wrong, in words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What it is about, before why.
    #[must_use]
    pub fn about(self, what: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

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
