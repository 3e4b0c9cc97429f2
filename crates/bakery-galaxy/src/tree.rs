//! The files of a role or collection, in memory: what archives, repositories and folders are read into, and what is
//! written into place. Nothing in it leads outside of it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use bakery_host::fs;
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// The most bytes that a tree may have, unpacked.
pub const MOST_BYTES: u64 = 512 << 20;
/// The most files that a tree may have.
const MOST_FILES: usize = 200_000;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file's bytes, and whether it can be run.
    File {
        /// Its content.
        bytes: Vec<u8>,
        /// Whether its owner may run it.
        executable: bool,
        /// When it was changed, in seconds since 1970.
        modified: u64,
    },
    /// A symbolic link's target.
    Link(String),
    /// A folder, kept for the sake of empty ones.
    Folder,
}

/// Files by their path, which has no leading `/`, no `.` and no `..`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// The SHA-256 of bytes in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The path's names, or why it is none of a tree.
fn clean(path: &Path) -> Result<String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::new(format!(
                    "the archive has an entry that leads outside of it: {}",
                    path.display()
                )));
            }
        }
    }
    Ok(names.join("/"))
}

/// Where a link in a tree leads, or nothing when that is outside.
fn target_of(link: &str, target: &str) -> Option<PathBuf> {
    let mut at: Vec<&std::ffi::OsStr> = Path::new(link).parent()?.iter().collect();
    for component in Path::new(target).components() {
        match component {
            Component::Normal(name) => at.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                at.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(at.iter().collect())
}

/// An archive's bytes as a tar stream: plain, or compressed by gzip; by bzip2 or xz where their programs are there.
fn opened(bytes: &[u8]) -> Result<Box<dyn Read + '_>> {
    let through = |program: &str| -> Result<Box<dyn Read + '_>> {
        let output = bakery_host::Cmd::new(program)
            .arg("-dc")
            .input(bytes)
            .timeout(std::time::Duration::from_mins(5))
            .run()?;
        Ok(Box::new(std::io::Cursor::new(output.stdout)))
    };
    Ok(match bytes {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        [b'B', b'Z', b'h', ..] => through("bzip2")?,
        [0xfd, b'7', b'z', b'X', ..] => through("xz")?,
        _ => Box::new(bytes),
    })
}

impl Tree {
    /// Reads a tar archive, compressed or not. Its commit, if `git archive` made it, comes too.
    ///
    /// # Errors
    /// What is no archive, what leads outside of it, devices, and more than [`MOST_BYTES`].
    pub fn from_archive(bytes: &[u8]) -> Result<(Self, Option<String>)> {
        let bad = |e: std::io::Error| Error::new(format!("the file is no valid tar archive: {e}"));
        // Names and padding count, too: a few bytes may unpack to any number of them.
        let mut archive = tar::Archive::new(opened(bytes)?.take(2 * MOST_BYTES));
        let (mut tree, mut commit, mut total) = (Self::default(), None, 0u64);
        for entry in archive.entries().map_err(bad)? {
            let mut entry = entry.map_err(bad)?;
            let kind = entry.header().entry_type();
            if kind.is_pax_global_extensions() {
                let mut text = String::new();
                (&mut entry).take(4096).read_to_string(&mut text).map_err(bad)?;
                let comment = text.split_once("comment=").map(|(_, rest)| rest.trim().to_owned());
                commit = commit.or(comment);
                continue;
            }
            let path = entry.path().map_err(bad)?.into_owned();
            let name = clean(&path)?;
            let modified = entry.header().mtime().unwrap_or(0);
            let link = || -> Result<String> {
                let target = entry.link_name().map_err(bad)?.unwrap_or_default();
                Ok(target.to_string_lossy().into_owned())
            };
            let made = if kind.is_file() || kind == tar::EntryType::Continuous {
                total = total.saturating_add(entry.size());
                if total > MOST_BYTES {
                    return Err(Error::new(format!(
                        "the archive unpacks to more than {} MiB",
                        MOST_BYTES >> 20
                    )));
                }
                let executable = entry.header().mode().unwrap_or(0o644) & 0o100 != 0;
                // The header's size is a claim: memory follows what is really there.
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(bad)?;
                Entry::File { bytes, executable, modified }
            } else if kind.is_dir() {
                Entry::Folder
            } else if kind.is_symlink() {
                Entry::Link(link()?)
            } else if kind.is_hard_link() {
                let of = clean(Path::new(&link()?))?;
                tree.entries.get(&of).cloned().ok_or_else(|| {
                    Error::new(format!("the archive has a link to what is not in it: {}", path.display()))
                })?
            } else {
                return Err(Error::new(format!(
                    "the archive has an entry that is no file: {}",
                    path.display()
                )));
            };
            if tree.entries.len() >= MOST_FILES {
                return Err(Error::new(format!("the archive has more than {MOST_FILES} files")));
            }
            if !name.is_empty() {
                tree.entries.insert(name, made);
            }
        }
        if tree.entries.is_empty() {
            return Err(Error::new("the file is no tar archive, or it is empty"));
        }
        Ok((tree, commit))
    }

    /// Reads a folder. What is no file, folder or link is left out.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn from_folder(root: &Path) -> Result<Self> {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let mut tree = Self::default();
        let mut total = 0;
        for path in fs::walk(root)? {
            let name = clean(path.strip_prefix(root).unwrap_or(&path))?;
            let meta = fs::symlink_metadata(&path)?;
            let entry = if meta.is_symlink() {
                Entry::Link(fs::read_link(&path)?.to_string_lossy().into_owned())
            } else if meta.is_dir() {
                Entry::Folder
            } else if meta.is_file() {
                total += meta.len();
                if total > MOST_BYTES {
                    return Err(Error::new(format!(
                        "{} has more than {} MiB",
                        root.display(),
                        MOST_BYTES >> 20
                    )));
                }
                let executable = meta.permissions().mode() & 0o100 != 0;
                Entry::File {
                    bytes: fs::read(&path)?,
                    executable,
                    modified: u64::try_from(meta.mtime()).unwrap_or(0),
                }
            } else {
                continue;
            };
            if !name.is_empty() {
                tree.entries.insert(name, entry);
            }
        }
        Ok(tree)
    }

    /// What is at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// A file's bytes.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        match self.entries.get(path) {
            Some(Entry::File { bytes, .. }) => Some(bytes),
            _ => None,
        }
    }

    /// A file as text, as its name with the first of several endings.
    pub fn text(&self, paths: &[&str]) -> Option<(String, String)> {
        paths.iter().find_map(|path| {
            let bytes = self.bytes(path)?;
            Some(((*path).to_owned(), String::from_utf8_lossy(bytes).into_owned()))
        })
    }

    /// Paths and what is there, sorted.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries.iter()
    }

    /// Puts something at a path.
    pub fn insert(&mut self, path: impl Into<String>, entry: Entry) {
        self.entries.insert(path.into(), entry);
    }

    /// Only what is kept.
    #[must_use]
    pub fn filtered(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.entries.retain(|path, _| keep(path));
        self
    }

    /// What lies below a folder, by the path from there; its empty name is the whole tree.
    #[must_use]
    pub fn below(self, folder: &str) -> Self {
        if folder.is_empty() {
            return self;
        }
        let prefix = format!("{folder}/");
        let entries = self
            .entries
            .into_iter()
            .filter_map(|(path, entry)| Some((path.strip_prefix(&prefix)?.to_owned(), entry)))
            .collect();
        Self { entries }
    }

    /// The names at the top.
    pub fn top(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.entries.keys().map(|p| p.split('/').next().unwrap_or_default()).collect();
        names.dedup();
        names
    }

    /// Fails if a link leads outside.
    ///
    /// # Errors
    /// The link and where it leads.
    pub fn check_links(&self) -> Result<()> {
        for (path, entry) in &self.entries {
            if let Entry::Link(target) = entry
                && target_of(path, target).is_none()
            {
                return Err(Error::new(format!(
                    "it has a link that leads outside of it: {path} -> {target}"
                )));
            }
            // A file below a link would be written to wherever the link leads.
            let mut above = Path::new(path).parent();
            while let Some(folder) = above.filter(|p| !p.as_os_str().is_empty()) {
                if matches!(
                    self.entries.get(&*folder.to_string_lossy()),
                    Some(Entry::Link(_) | Entry::File { .. })
                ) {
                    return Err(Error::new(format!(
                        "{path} is below {}, which is no folder",
                        folder.display()
                    )));
                }
                above = folder.parent();
            }
        }
        Ok(())
    }

    /// Files and links by path, each as `MODE SHA256` or `link TARGET`.
    pub fn listing(&self) -> BTreeMap<String, String> {
        let line = |entry: &Entry| match entry {
            Entry::File { bytes, executable, .. } => {
                Some(format!("{} {}", if *executable { "755" } else { "644" }, sha256(bytes)))
            }
            Entry::Link(target) => Some(format!("link {target}")),
            Entry::Folder => None,
        };
        self.entries.iter().filter_map(|(path, entry)| Some((path.clone(), line(entry)?))).collect()
    }

    /// The digest of what the tree says: `sha256:` and hexadecimal digits. Times and empty folders do not count.
    pub fn digest(&self) -> String {
        digest_of(&self.listing())
    }

    /// Writes it as the folder that is not there yet. Files have mode 644 or 755, whatever the umask;
    /// folders are as the umask lets them, as for ansible-galaxy.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, root: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        fs::create_dir_all(root)?;
        let (mut last, mut masked) = (PathBuf::new(), [None, None]);
        for (name, entry) in &self.entries {
            let path = root.join(name);
            let folder = if *entry == Entry::Folder { Some(path.as_path()) } else { path.parent() };
            if let Some(folder) = folder.filter(|f| **f != last) {
                fs::create_dir_all(folder)?;
                last = folder.to_path_buf();
            }
            match entry {
                Entry::Folder => {}
                Entry::Link(target) => fs::symlink(target, &path)?,
                Entry::File { bytes, executable, modified } => {
                    let mode = if *executable { 0o755 } else { 0o644 };
                    let mut file = fs::create_new_with(&path, mode)?;
                    std::io::Write::write_all(&mut file, bytes)
                        .map_err(|e| Error::new(format!("cannot write {}: {e}", path.display())))?;
                    // What the umask takes from one file it takes from all of that mode.
                    let masked = *masked[usize::from(*executable)].get_or_insert_with(|| {
                        file.metadata().is_ok_and(|m| m.permissions().mode() & 0o777 != mode)
                    });
                    if masked {
                        fs::chmod(&path, mode)?;
                    }
                    if *modified > 0 {
                        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(*modified);
                        // A time that the file system cannot keep is no loss.
                        let _ = file.set_modified(time);
                    }
                }
            }
        }
        Ok(())
    }

    /// The tree as a tar archive: the cache's form, the same bytes for the same tree.
    pub fn to_archive(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            let done = match entry {
                Entry::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(0o755);
                    builder.append_data(&mut header, path, std::io::empty())
                }
                Entry::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    builder.append_link(&mut header, path, target)
                }
                Entry::File { bytes, executable, modified } => {
                    header.set_size(bytes.len() as u64);
                    header.set_mode(if *executable { 0o755 } else { 0o644 });
                    header.set_mtime(*modified);
                    builder.append_data(&mut header, path, bytes.as_slice())
                }
            };
            // Writing into memory cannot fail.
            done.expect("appended");
        }
        builder.into_inner().expect("finished")
    }
}

/// The digest of a listing.
pub fn digest_of(listing: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (path, line) in listing {
        hash.update(path.as_bytes());
        hash.update([0]);
        hash.update(line.as_bytes());
        hash.update([0]);
    }
    format!("sha256:{}", hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder);
        builder.into_inner().expect("finished")
    }

    fn file(builder: &mut tar::Builder<Vec<u8>>, path: &[u8], bytes: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, bytes).expect("appended");
    }

    #[test]
    fn nothing_leads_outside() {
        for path in ["../evil", "/etc/evil", "a/../../evil"] {
            let bytes = archive(|b| file(b, path.as_bytes(), b"x"));
            assert!(Tree::from_archive(&bytes).is_err(), "{path}");
        }
        for target in ["/etc", "..", "../../x"] {
            let mut tree = Tree::default();
            tree.insert("a", Entry::Link(target.into()));
            assert!(tree.check_links().is_err(), "{target}");
        }
        let mut tree = Tree::default();
        tree.insert("a/b", Entry::Link("../c".into()));
        assert!(tree.check_links().is_ok());
        tree.insert("a/b/d", Entry::Folder);
        assert!(tree.check_links().is_err(), "nothing is below a link");
        assert!(Tree::from_archive(b"not an archive at all").is_err());
        assert!(Tree::from_archive(&[]).is_err());
    }

    #[test]
    fn a_tree_is_the_same_after_the_cache_and_after_a_folder() {
        let mut tree = Tree::default();
        let entry = |bytes: &[u8], executable| Entry::File { bytes: bytes.to_vec(), executable, modified: 7 };
        tree.insert("a/run", entry(b"#!/bin/sh", true));
        tree.insert("a/data", entry(b"", false));
        tree.insert("a/link", Entry::Link("data".into()));
        let (again, _) = Tree::from_archive(&tree.to_archive()).expect("reads");
        assert_eq!(again, tree);
        let folder = tempfile::tempdir().expect("a folder");
        tree.write(&folder.path().join("t")).expect("writes");
        let read = Tree::from_folder(&folder.path().join("t")).expect("reads");
        assert_eq!(read.digest(), tree.digest());
        tree.insert("a/data", entry(b"", true));
        assert_ne!(read.digest(), tree.digest());
    }
}
