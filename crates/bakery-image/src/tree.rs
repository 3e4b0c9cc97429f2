//! A stack of layers to look at.

use std::path::PathBuf;

use bakery_host::namespace::{Overlay, detach};
use bakery_host::rooted::Rooted;
use bakery_store::{Image, Key, Store, Work};

use crate::{Error, Result};

/// A stack of layers, mounted read-only.
#[derive(Debug)]
pub struct Tree {
    /// Its files, links resolved inside.
    pub(crate) files: Rooted,
    pub(crate) root: PathBuf,
    _work: Work,
}

/// The layers of an image, the lowest first.
pub(crate) fn layers(store: &Store, image: &Image) -> Result<Vec<Key>> {
    match image.layers.iter().find(|key| store.layer(key).is_none()) {
        Some(gone) => {
            let message =
                format!("{} has a layer that is gone from the store: {}", image.name, gone.as_str());
            Err(Error::new(message).hint("bake it again; what is remembered makes that quick"))
        }
        None => Ok(image.layers.clone()),
    }
}

impl Tree {
    /// Mounts the layers of an image.
    ///
    /// # Errors
    /// A layer that is gone; a mount that the kernel refuses.
    pub fn of(store: &Store, image: &Image) -> Result<Self> {
        Self::mount(store, &layers(store, image)?)
    }

    /// Mounts layers, the lowest first.
    pub(crate) fn mount(store: &Store, layers: &[Key]) -> Result<Self> {
        let work = store.work()?;
        let root = work.path().join("tree");
        let gone = || Error::new("a layer is gone from the store");
        let lower = layers.iter().rev().map(|key| store.layer(key).ok_or_else(gone));
        let lower = lower.collect::<Result<Vec<_>>>()?;
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
