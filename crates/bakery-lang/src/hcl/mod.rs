//! HCL2: parsing by `hcl-edit`, evaluation against a scope, and the functions that templates call.

mod eval;
mod functions;
mod types;

pub use eval::{Expanded, Scope, blocks, body, evaluate, render_template, with_names};
pub use functions::{go_duration, go_layout};
pub use hcl_edit;
pub use types::{Attribute, Type};

use std::sync::Arc;

use crate::{Diagnostic, Origin, Source};

/// Parses a file.
///
/// # Errors
/// The syntax error with its place.
pub fn parse(source: &Arc<Source>) -> Result<hcl_edit::structure::Body, Diagnostic> {
    source.text.parse::<hcl_edit::structure::Body>().map_err(|error| {
        let location = error.location();
        let origin = Origin {
            source: Arc::clone(source),
            line: location.line() as u32,
            column: location.column() as u32,
        };
        Diagnostic::at(&origin, error.message().to_owned())
    })
}
