//! Packer's templates: JSON and HCL2 into builds of one shape.
//!
//! `json` and `hcl` read the two syntaxes, `gotemplate` the `{{ … }}` of JSON, `known` says which builders and
//! provisioners there are and which keys they have.

mod gotemplate;
mod hcl;
mod json;
mod known;
mod template;

pub use known::{BUILDERS, PROVISIONERS, validate};
pub use template::{Component, Template, Variables, load};

/// What is wrong with a template.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub Box<bakery_lang::Diagnostic>);

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl From<bakery_lang::Diagnostic> for Error {
    fn from(diagnostic: bakery_lang::Diagnostic) -> Self {
        Self(Box::new(diagnostic))
    }
}

impl From<bakery_host::Error> for Error {
    fn from(error: bakery_host::Error) -> Self {
        bakery_lang::Diagnostic::new(error.to_string()).into()
    }
}
