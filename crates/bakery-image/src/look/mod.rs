//! Images looked at: what is in them (`packages`, `sbom`), what must not be (`lint`), what is different (`diff`), where
//! they come from (`provenance`).

mod diff;
mod lint;
mod packages;
mod provenance;
mod sbom;

use bakery_host::namespace::{self, Overlay, detach};
use bakery_host::rooted::Rooted;
use bakery_store::{Image, Key, Store, Work};

pub use diff::{Difference, diff};
pub use lint::{Finding, Severity, lint};
pub use packages::{Package, packages};
pub use provenance::provenance;
pub use sbom::{SbomFormat, sbom};

use crate::{Error, Result};

/// The tree of an image, mounted to be looked at.
#[derive(Debug)]
pub struct Tree {
    pub(crate) files: Rooted,
    pub(crate) root: std::path::PathBuf,
    _work: Work,
}

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

/// The layers of an image, the lowest first.
pub(crate) fn layers(store: &Store, image: &Image) -> Result<Vec<Key>> {
    match image.layers.iter().find(|key| store.layer(key).is_none()) {
        Some(gone) => Err(Error::new(format!(
            "{} has a layer that is gone from the store: {}",
            image.name,
            gone.as_str()
        ))
        .hint("bake it again; what is remembered makes that quick")),
        None => Ok(image.layers.clone()),
    }
}

impl Tree {
    /// Mounts the layers of an image, read-only.
    ///
    /// # Errors
    /// A layer that is gone; a mount that the kernel refuses.
    pub fn of(store: &Store, image: &Image) -> Result<Self> {
        let work = store.work()?;
        let root = work.path().join("tree");
        let lower = layers(store, image)?.iter().rev().filter_map(|key| store.layer(key)).collect();
        Overlay { lower, upper: None, work: work.path().join("scratch") }.mount(&root)?;
        Ok(Self { files: Rooted::new(&root)?, root, _work: work })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Before its folder is removed; the namespace's end takes it otherwise.
        let _ = detach(&self.root);
    }
}
