//! Packer's templates: JSON and HCL2 into builds of one shape.
//!
//! `json` and `hcl` read the two syntaxes, `gotemplate` the `{{ … }}` of JSON, `catalog` says which builders and
//! provisioners there are and which `options` they have, `known` checks their names, `rules` what they come to.

mod catalog;
pub mod console;
mod fix;
pub mod format;
mod gotemplate;
mod hcl;
mod inspect;
mod json;
mod known;
mod options;
mod rules;
mod template;
mod upgrade;

pub use catalog::{BUILDERS, POST_PROCESSORS, PROVISIONERS};
pub use fix::fixed;
pub use gotemplate::fill_in;
pub use hcl::{Fetch, Request, Response};
pub use inspect::inspect;
pub use known::{Known, validate, validate_builders};
pub use template::{Build, Component, Listed, Syntax, Template, Variable, Variables, load};
pub use upgrade::upgrade;

/// The version of Packer whose templates are understood, as `packer.version` and `{{packer_version}}` say it.
pub const VERSION: &str = "1.11.0";

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
