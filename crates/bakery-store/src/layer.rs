//! Layers: deltas of a file system, named by what is in them.
//!
//! A layer's name is a digest over the name of the layer below and over every path, mode, owner, time, link, attribute
//! and byte of the delta. So a layer never changes, two that are the same are one, and one that rotted is noticed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bakery_host::{Result, fs};
use serde::{Deserialize, Serialize};

use crate::{Key, Store};

/// What a layer is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layer {
    /// Its name.
    pub id: Key,
    /// The name of the layer below.
    pub parent: Option<Key>,
    /// What made it, in words.
    pub made_by: String,
    /// When, RFC 3339.
    pub created: String,
    /// The bytes of its files.
    pub bytes: u64,
    /// How many paths it has.
    pub paths: u64,
}

/// A digest over a delta, and how much it is.
struct Sum {
    hasher: blake3::Hasher,
    bytes: u64,
    paths: u64,
}

impl Sum {
    fn of(delta: &Path, parent: Option<&Key>) -> Result<Self> {
        let mut sum = Self { hasher: blake3::Hasher::new(), bytes: 0, paths: 0 };
        sum.part(parent.map_or("", Key::as_str).as_bytes());
        sum.entry(delta, Path::new("/"))?;
        Ok(sum)
    }

    /// Lengths keep parts from running into each other.
    fn part(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }

    fn entry(&mut self, path: &Path, shown: &Path) -> Result<()> {
        let meta = fs::symlink_metadata(path)?;
        self.paths += 1;
        self.part(std::os::unix::ffi::OsStrExt::as_bytes(shown.as_os_str()));
        for number in [
            u64::from(meta.mode()),
            u64::from(meta.uid()),
            u64::from(meta.gid()),
            meta.rdev(),
            meta.mtime() as u64,
            meta.mtime_nsec() as u64,
        ] {
            self.hasher.update(&number.to_le_bytes());
        }
        for (name, value) in fs::xattrs(path)? {
            // The overlay's own notes name inodes of this disk; only what hides a folder below is content.
            let name =
                fs::overlay_attribute(&name).map_or(Some(name), |note| (note == fs::OPAQUE).then_some(note));
            if let Some(name) = name {
                self.part(name.as_bytes());
                self.part(&value);
            }
        }
        if meta.is_symlink() {
            self.part(fs::read_link(path)?.as_os_str().as_encoded_bytes());
        } else if meta.is_dir() {
            for child in fs::read_dir(path)? {
                let name = child.file_name().unwrap_or_default().to_owned();
                self.entry(&child, &shown.join(name))?;
            }
        } else if meta.is_file() {
            self.bytes += meta.len();
            self.hasher.update(&meta.len().to_le_bytes());
            self.hasher
                .update_reader(fs::open(path)?)
                .map_err(|e| bakery_host::Error::new("read", path, e))?;
        }
        Ok(())
    }

    fn id(&self) -> Key {
        Key::of(&self.hasher)
    }
}

/// Whether a delta is what a layer says.
pub(crate) fn is_sound(delta: &Path, layer: &Layer) -> bool {
    Sum::of(delta, layer.parent.as_ref()).is_ok_and(|sum| sum.id() == layer.id)
}

impl Store {
    pub(crate) fn layer_folder(&self, id: &Key) -> PathBuf {
        self.root().join("layers").join(id.as_str())
    }

    /// The delta of a layer, if it is there.
    pub fn layer(&self, id: &Key) -> Option<PathBuf> {
        let path = self.layer_folder(id);
        path.join("layer.json").is_file().then(|| path.join("diff"))
    }

    /// What a layer is, if it is there.
    pub fn layer_info(&self, id: &Key) -> Option<Layer> {
        serde_json::from_slice(&fs::read(self.layer_folder(id).join("layer.json")).ok()?).ok()
    }

    /// Every layer, in no order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        let folders = fs::read_dir(self.root().join("layers"))?;
        Ok(folders
            .iter()
            .filter_map(|path| serde_json::from_slice(&fs::read(path.join("layer.json")).ok()?).ok())
            .collect())
    }

    /// Moves a delta into place as a layer over another and gives its name.
    ///
    /// # Errors
    /// When it cannot be read or moved.
    pub fn publish_layer(&self, delta: &Path, parent: Option<&Key>, made_by: &str) -> Result<Key> {
        let sum = Sum::of(delta, parent)?;
        let id = sum.id();
        let place = self.layer_folder(&id);
        if place.join("layer.json").is_file() {
            return Ok(id);
        }
        let layer = Layer {
            id: id.clone(),
            parent: parent.cloned(),
            made_by: made_by.to_owned(),
            created: crate::now(),
            bytes: sum.bytes,
            paths: sum.paths,
        };
        let staged = self.work()?;
        fs::rename(delta, staged.path().join("diff"))?;
        fs::write_atomic(
            staged.path().join("layer.json"),
            serde_json::to_string_pretty(&layer).unwrap_or_default(),
        )?;
        // A half-removed one of another age is in the way of the rename.
        fs::remove_all(&place)?;
        fs::rename(staged.keep(), &place)?;
        Ok(id)
    }

    /// Reads a layer whole; one that is not what its name says is dropped.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn verify_layer(&self, layer: &Layer) -> Result<bool> {
        let sound = is_sound(&self.layer_folder(&layer.id).join("diff"), layer);
        if !sound {
            self.drop_layer(&layer.id)?;
        }
        Ok(sound)
    }

    /// Removes a layer; what was built on it is made anew when it is wanted.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn drop_layer(&self, id: &Key) -> Result<()> {
        let place = self.layer_folder(id);
        // Out of sight first: half a layer must not be taken for one.
        let gone = self.work()?;
        fs::rename(&place, gone.path().join("dropped"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(store: &Store, text: &str) -> PathBuf {
        let work = store.work().expect("work").keep();
        fs::create_dir_all(work.join("upper/etc")).expect("made");
        fs::write_atomic(work.join("upper/etc/f"), text).expect("written");
        for path in [work.join("upper/etc/f"), work.join("upper/etc"), work.join("upper")] {
            let file = fs::open(&path).expect("opens");
            file.set_modified(std::time::UNIX_EPOCH).expect("set");
        }
        work.join("upper")
    }

    #[test]
    fn a_layer_is_what_its_name_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::at(folder.path().to_path_buf()).expect("opens");
        let one = store.publish_layer(&delta(&store, "x"), None, "test").expect("published");
        assert_eq!(one, store.publish_layer(&delta(&store, "x"), None, "test").expect("published"));
        assert_ne!(one, store.publish_layer(&delta(&store, "y"), None, "test").expect("published"));
        let over = store.publish_layer(&delta(&store, "x"), Some(&one), "test").expect("published");
        assert_ne!(one, over);
        let info = store.layer_info(&one).expect("is there");
        assert_eq!((info.bytes, info.paths), (1, 3));
        assert!(store.verify_layer(&info).expect("read"));
        let file = store.layer(&one).expect("is there").join("etc/f");
        fs::write_atomic(&file, "z").expect("written");
        assert!(!store.verify_layer(&info).expect("read"));
        assert!(store.layer(&one).is_none() && store.layer(&over).is_some());
    }
}
