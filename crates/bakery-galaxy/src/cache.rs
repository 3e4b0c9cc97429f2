//! What was fetched, shared by all projects of a user.
//!
//! ```text
//! HOME/galaxy/trees/DIGEST.tar         the files of a role or collection, by the digest of what they say
//! HOME/galaxy/made/KEY                 the digest of what a commit or an archive holds, and what a server said of it
//! HOME/galaxy/git/KEY/                 objects of a repository elsewhere
//! HOME/galaxy/locks/KEY                held by whoever writes to a repository or a project
//! ```
//!
//! Invariant: what is in `trees` is whole, and is checked against its name whenever it is read; what does not match is
//! dropped and fetched again.

use std::path::{Path, PathBuf};

use bakery_host::{fs, lock::Lock};

use crate::Result;
use crate::tree::{Tree, sha256};

/// The cache.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in a folder, which is made when something is kept.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn tree_file(&self, digest: &str) -> PathBuf {
        let name: String = digest.chars().filter(char::is_ascii_alphanumeric).collect();
        self.root.join("trees").join(format!("{name}.tar"))
    }

    /// A tree by its digest, if it is there and whole.
    pub fn tree(&self, digest: &str) -> Option<Tree> {
        let path = self.tree_file(digest);
        let bytes = fs::read(&path).ok()?;
        match Tree::from_archive(&bytes) {
            Ok((tree, _)) if tree.digest() == digest => Some(tree),
            _ => {
                // It will be fetched again; one that cannot be removed is replaced then.
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps a tree and gives its digest.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn keep(&self, tree: &Tree) -> Result<String> {
        let digest = tree.digest();
        let path = self.tree_file(&digest);
        if !path.is_file() {
            fs::create_dir_all(self.root.join("trees"))?;
            fs::write_atomic(&path, tree.to_archive())?;
        }
        Ok(digest)
    }

    /// What was remembered of a fixed point, such as the digest of what a commit holds.
    pub fn made_of(&self, source: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join("made").join(sha256(source.as_bytes()))).ok()?;
        Some(text.trim().to_owned()).filter(|t| !t.is_empty())
    }

    /// Remembers it.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn remember(&self, source: &str, text: &str) -> Result<()> {
        fs::create_dir_all(self.root.join("made"))?;
        Ok(fs::write_atomic(self.root.join("made").join(sha256(source.as_bytes())), text)?)
    }

    /// Where a repository's objects are kept, and the right to write there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn repository(&self, url: &str) -> Result<(PathBuf, Lock)> {
        let key = sha256(url.as_bytes());
        let lock = self.lock(&key)?;
        let path = self.root.join("git").join(&key);
        fs::create_dir_all(&path)?;
        Ok((path, lock))
    }

    /// The right to change a project's roles and collections, waited for.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn project(&self, folder: &Path) -> Result<Lock> {
        // The same folder however it is named, and another one in another project.
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        self.lock(&sha256(folder.as_os_str().as_encoded_bytes()))
    }

    fn lock(&self, key: &str) -> Result<Lock> {
        Ok(Lock::wait(self.root.join("locks").join(key))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Entry;

    #[test]
    fn what_was_changed_on_the_disk_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(folder.path());
        let mut tree = Tree::default();
        tree.insert("f", Entry::File { bytes: vec![b'x'; 2000], executable: false, modified: 1 });
        let digest = cache.keep(&tree).expect("kept");
        assert_eq!(cache.tree(&digest).as_ref(), Some(&tree));
        let path = cache.tree_file(&digest);
        let mut bytes = fs::read(&path).expect("reads");
        bytes[600] ^= 1;
        fs::write_atomic(&path, &bytes).expect("written");
        assert_eq!(cache.tree(&digest), None);
        assert!(!path.exists());
        fs::write_atomic(&path, &bytes[..700]).expect("written");
        assert_eq!(cache.tree(&digest), None);
    }
}
