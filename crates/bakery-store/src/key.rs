//! Keys of layers and images: digests over everything that went into them.

use std::path::Path;

use bakery_host::{Result, fs};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt as _;

/// A digest over named parts, in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// A key for a kind of thing.
    pub fn new(kind: &str) -> Self {
        Self(String::new()).with("kind", kind)
    }

    /// The key with another part.
    pub fn with(self, name: &str, part: impl AsRef<[u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for piece in [self.0.as_bytes(), name.as_bytes(), part.as_ref()] {
            // Lengths keep parts from running into each other.
            hasher.update(&(piece.len() as u64).to_le_bytes());
            hasher.update(piece);
        }
        Self::of(&hasher)
    }

    /// What a digest came to.
    pub(crate) fn of(hasher: &blake3::Hasher) -> Self {
        Self(hasher.finalize().to_hex()[..40].to_owned())
    }

    /// The key with the content of a file, however large.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn with_file(self, name: &str, path: &Path) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(fs::open(path)?).map_err(|e| bakery_host::Error::new("read", path, e))?;
        Ok(self.with(name, hasher.finalize().as_bytes()))
    }

    /// The key with the names, modes and contents of all files below a folder, but for what `skip` says.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn with_tree(self, name: &str, folder: &Path, skip: &dyn Fn(&Path) -> bool) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let mut pending = vec![folder.to_path_buf()];
        while let Some(current) = pending.pop() {
            for path in fs::read_dir(&current)? {
                let relative = path.strip_prefix(folder).unwrap_or(&path);
                if skip(relative) {
                    continue;
                }
                let meta = fs::symlink_metadata(&path)?;
                let shown = relative.to_string_lossy().into_owned();
                hasher.update(&(shown.len() as u64).to_le_bytes());
                hasher.update(shown.as_bytes());
                hasher.update(&meta.permissions().mode().to_le_bytes());
                if meta.is_symlink() {
                    hasher.update(fs::read_link(&path)?.to_string_lossy().as_bytes());
                } else if meta.is_dir() {
                    pending.push(path);
                } else if meta.is_file() {
                    hasher.update(Self::new("file").with_file("content", &path)?.as_str().as_bytes());
                }
            }
        }
        Ok(self.with(name, hasher.finalize().as_bytes()))
    }

    /// Whether a text is one of a key.
    pub fn is_one(text: &str) -> bool {
        text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }

    /// The key as text: forty hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_is_another_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = |_: &Path| false;
        let key = || Key::new("t").with_tree("tree", folder.path(), &all).expect("reads");
        fs::write_atomic(folder.path().join("a"), "1").expect("written");
        let first = key();
        assert_eq!(first, key());
        fs::write_atomic(folder.path().join("a"), "2").expect("written");
        let second = key();
        assert_ne!(first, second);
        fs::chmod(folder.path().join("a"), 0o755).expect("changed");
        assert_ne!(second, key());
        assert_ne!(Key::new("t").with("a", "bc"), Key::new("t").with("ab", "c"));
    }
}
