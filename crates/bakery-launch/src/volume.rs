//! Data volumes: files that outlive instances.

use std::path::PathBuf;

use bakery_host::fs;
use bakery_store::Store;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, new_id};

/// A data volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Volume {
    /// `vol-` and seventeen hexadecimal digits.
    pub id: String,
    /// The size in bytes.
    pub size: u64,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The instance that it is attached to.
    pub attached_to: Option<String>,
}

fn folder(store: &Store, id: &str) -> PathBuf {
    store.root().join("volumes").join(id)
}

impl Volume {
    /// Makes an empty one.
    pub(crate) fn create(store: &Store, gib: u64) -> Result<Self> {
        let volume = Self {
            id: new_id("vol"),
            size: gib.max(1) << 30,
            created: bakery_store::now(),
            attached_to: None,
        };
        let work = store.work()?;
        let file = fs::create(work.path().join("disk.raw"))?;
        file.set_len(volume.size)
            .map_err(|e| Error::new(format!("there is no room for a volume of {gib} GiB: {e}")))?;
        fs::write_atomic(
            work.path().join("volume.json"),
            serde_json::to_string_pretty(&volume).unwrap_or_default(),
        )?;
        fs::rename(work.keep(), folder(store, &volume.id))?;
        Ok(volume)
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(store: &Store, id: &str) -> Result<Self> {
        let text = fs::read_to_string(folder(store, id).join("volume.json"))
            .map_err(|_| Error::new(format!("there is no volume {id}")))?;
        serde_json::from_str(&text)
            .map_err(|e| Error::new(format!("the volume {id} cannot be understood: {e}")))
    }

    /// Every volume.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(store: &Store) -> Result<Vec<Self>> {
        let paths = fs::read_dir(store.root().join("volumes"))?;
        Ok(paths.iter().filter_map(|p| Self::read(store, &p.file_name()?.to_string_lossy()).ok()).collect())
    }

    pub(crate) fn save(&self, store: &Store) -> Result<()> {
        Ok(fs::write_atomic(
            folder(store, &self.id).join("volume.json"),
            serde_json::to_string_pretty(self).unwrap_or_default(),
        )?)
    }

    /// Its disk.
    pub fn disk(&self, store: &Store) -> PathBuf {
        folder(store, &self.id).join("disk.raw")
    }

    /// Makes it larger; it never becomes smaller.
    pub(crate) fn grow(&mut self, store: &Store, gib: u64) -> Result<()> {
        let size = gib << 30;
        if size > self.size {
            let file = fs::open_rw(self.disk(store))?;
            file.set_len(size).map_err(|e| Error::new(format!("the volume {} cannot grow: {e}", self.id)))?;
            self.size = size;
            self.save(store)?;
        }
        Ok(())
    }

    /// The serial number that its disk shows: the id without its dash, which just fits.
    pub(crate) fn serial(&self) -> String {
        self.id.replace('-', "")
    }

    /// Removes it and its data.
    ///
    /// # Errors
    /// When it is attached.
    pub fn remove(&self, store: &Store) -> Result<()> {
        if let Some(instance) = &self.attached_to {
            return Err(Error::new(format!("the volume {} is attached to {instance}", self.id)));
        }
        Ok(fs::remove_all(folder(store, &self.id))?)
    }
}
