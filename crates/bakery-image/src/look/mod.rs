//! Images looked at: what is in them (`packages`, `sbom`), what must not be (`lint`), what is different (`diff`), where
//! they come from (`provenance`).

mod diff;
mod lint;
mod packages;
mod provenance;
mod sbom;

use bakery_host::namespace;

pub use diff::{Difference, diff};
pub use lint::{Finding, Severity, lint};
pub use packages::{Package, packages};
pub use provenance::provenance;
pub use sbom::{SbomFormat, sbom};

pub use crate::tree::Tree;
use crate::{Error, Result};

/// Moves this process into a mount namespace of its own, for [`Tree::of`]. Call it before starting threads.
///
/// # Errors
/// When the kernel refuses: it needs root.
pub fn prepare() -> Result<()> {
    if bakery_host::users::effective_uid() != 0 {
        return Err(
            Error::new("looking into an image needs root: it mounts its layers").hint("run it with sudo")
        );
    }
    Ok(namespace::private_mounts()?)
}
