//! A tree of somebody else's, looked at from outside: its links are resolved inside of it, never on this host.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::fs::{At as _, Result};

/// A tree.
#[derive(Debug)]
pub struct Rooted {
    root: OwnedFd,
    path: PathBuf,
}

impl Rooted {
    /// The tree below a folder.
    pub fn new(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open", path)?;
        Ok(Self { root, path: path.to_path_buf() })
    }

    fn open(&self, path: &str) -> rustix::io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).map(File::from)
    }

    /// The bytes of a file; nothing if it is not there, or no file.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let mut file = self.open(path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The text of a file; nothing if it is not there.
    pub fn text(&self, path: &str) -> Option<String> {
        self.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether a path leads to something.
    pub fn exists(&self, path: &str) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).is_ok()
    }

    /// A folder, opened for its path alone ([`crate::fs::path_of`]); nothing if it is none.
    pub fn folder(&self, path: &str) -> Option<File> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = path.trim_start_matches('/');
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
            .map(File::from)
            .ok()
    }

    /// The names in a folder, sorted; none if it is none.
    pub fn names(&self, path: &str) -> Vec<String> {
        let Ok(folder) = self.open(path) else { return vec![] };
        let Ok(entries) = rustix::fs::Dir::read_from(&folder) else { return vec![] };
        let mut names: Vec<String> = entries
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| n != "." && n != "..")
            .collect();
        names.sort();
        names
    }

    /// Every path below a folder, with what it is itself; links are not followed. Paths begin with `/`.
    pub fn walk(&self, path: &str) -> Result<Vec<(String, std::fs::Metadata)>> {
        let folder = self.path.join(path.trim_start_matches('/'));
        // A folder that is a link would lead outside.
        if !crate::fs::symlink_metadata(&folder).is_ok_and(|m| m.is_dir()) {
            return Ok(vec![]);
        }
        let mut found = Vec::new();
        for inside in crate::fs::walk(&folder)? {
            let meta = crate::fs::symlink_metadata(&inside)?;
            let shown = inside.strip_prefix(&self.path).unwrap_or(&inside);
            found.push((format!("/{}", shown.display()), meta));
        }
        Ok(found)
    }
}
