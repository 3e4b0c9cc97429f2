//! The registry of baked images.

use std::path::PathBuf;

use bakery_host::{Error, Result, fs};
use serde::{Deserialize, Serialize};

use crate::{Key, Store, Work};

/// An image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// `ami-` and seventeen hexadecimal digits, so that files that name AMIs can name it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The key of everything that went into it.
    pub key: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What it was made of, in words.
    pub base: String,
    /// The layers, the lowest first.
    pub layers: Vec<Key>,
    /// The size of the disk in bytes.
    pub disk_size: u64,
    /// File names by format.
    pub files: Vec<(String, String)>,
    /// The UUID of the root file system.
    pub root_uuid: String,
    /// What was substituted in the template.
    pub notes: Vec<String>,
    /// What containers of it are started with, if it is an image of them: the `config` of the OCI image specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<serde_json::Value>,
}

/// The images of a store.
#[derive(Debug)]
pub struct Images<'a> {
    store: &'a Store,
}

impl<'a> Images<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The folder of an image.
    pub fn folder(&self, id: &str) -> PathBuf {
        self.store.root().join("images").join(id)
    }

    /// Every image, the oldest first.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub fn list(&self) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for path in fs::read_dir(self.store.root().join("images"))? {
            let file = path.join("image.json");
            let Ok(text) = fs::read_to_string(&file) else { continue };
            // Two may be of the same second.
            let written = fs::metadata(&file).ok().and_then(|m| m.modified().ok());
            images.extend(serde_json::from_str::<Image>(&text).ok().map(|image| (written, image)));
        }
        images.sort_by(|(a_written, a), (b_written, b)| {
            (&a.created, a_written, &a.id).cmp(&(&b.created, b_written, &b.id))
        });
        Ok(images.into_iter().map(|(_, image)| image).collect())
    }

    /// The image of an id, of the start of an id, or the newest of a name.
    ///
    /// # Errors
    /// When there is none; the message names what is there.
    pub fn find(&self, wanted: &str) -> Result<Image> {
        let images = self.list()?;
        let found = images
            .iter()
            .rev()
            .find(|i| i.id == wanted || i.name == wanted || (wanted.len() > 7 && i.id.starts_with(wanted)));
        found.cloned().ok_or_else(|| {
            let known: Vec<String> = images.iter().map(|i| format!("{} ({})", i.name, i.id)).collect();
            let known = if known.is_empty() {
                "there are none; make one with `bakery bake`".to_owned()
            } else {
                format!("known: {}", known.join(", "))
            };
            Error::new("find the image", wanted, std::io::Error::other(known))
        })
    }

    /// The image of a key.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub fn by_key(&self, key: &str) -> Result<Option<Image>> {
        Ok(self
            .list()?
            .into_iter()
            .rev()
            .find(|i| i.key == key && i.files.iter().all(|(_, f)| self.folder(&i.id).join(f).is_file())))
    }

    /// Moves a finished folder into the registry.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn publish(&self, work: Work, image: &Image) -> Result<()> {
        fs::write_atomic(
            work.path().join("image.json"),
            serde_json::to_string_pretty(image).unwrap_or_default(),
        )?;
        let place = self.folder(&image.id);
        fs::remove_all(&place)?;
        fs::rename(work.keep(), place)
    }

    /// The path of an image's file in a format.
    ///
    /// # Errors
    /// When the image has no such format.
    pub fn file(&self, image: &Image, format: &str) -> Result<PathBuf> {
        image
            .files
            .iter()
            .find(|(f, _)| f == format)
            .map(|(_, name)| self.folder(&image.id).join(name))
            .ok_or_else(|| {
                Error::new(
                    "find the format",
                    format,
                    std::io::Error::other(format!("{} has none", image.name)),
                )
            })
    }
}
