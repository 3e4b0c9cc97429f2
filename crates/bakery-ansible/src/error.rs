//! What stops a run before or between tasks, with the exit code that Ansible gives it.

use bakery_lang::Diagnostic;

/// A result of loading or running a playbook.
pub type Result<T> = std::result::Result<T, Error>;

/// A diagnostic and an exit code.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{diagnostic}")]
pub struct Error {
    /// What is wrong, where, and what to do.
    pub diagnostic: Diagnostic,
    /// The exit code: 4 for text that cannot be understood, 1 for things that are missing.
    pub code: i32,
}

impl Error {
    /// Text that cannot be understood.
    pub fn parse(diagnostic: Diagnostic) -> Self {
        Self { diagnostic, code: bakery_events::exit::PARSE_ERROR }
    }

    /// Anything else.
    pub fn other(diagnostic: Diagnostic) -> Self {
        Self { diagnostic, code: bakery_events::exit::ERROR }
    }

    /// A message alone.
    pub fn message(text: impl Into<String>) -> Self {
        Self::other(Diagnostic::new(text))
    }
}

impl From<bakery_host::Error> for Error {
    fn from(error: bakery_host::Error) -> Self {
        Self::message(error.to_string())
    }
}
