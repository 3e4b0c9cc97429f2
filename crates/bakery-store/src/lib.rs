//! Where bakery keeps things: bases and layers by key, baked images, run records. Plain files, no server.
//!
//! ```text
//! HOME/layers/KEY/{diff/,layer.json}     a file-system delta and what made it
//! HOME/records, HOME/runs                what keys came to, what builds asked (`record`)
//! HOME/disks/LINEAGE/{disk.raw,layers.json}  a disk that follows its images from tree to tree
//! HOME/downloads/KEY                     what was fetched by URL, under its checksum
//! HOME/images/ID/{disk.FORMAT,image.json}
//! HOME/instances/ID/                     machines (bakery-launch)
//! HOME/volumes/ID/                       data volumes (bakery-launch)
//! HOME/work, PID-N below it               what is being made; removed when its maker is gone
//! ```
//!
//! Invariant: what is in `layers` and `images` is whole: it is made in `work` and renamed into place.

mod image;
mod key;
mod layer;
pub mod mirror;
pub mod record;
mod tidy;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bakery_host::{Result, fs, signal};

pub use image::{Image, Images};
pub use key::Key;
pub use layer::Layer;
pub use tidy::Pruned;

/// The folder of everything.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A folder for work in progress; removed when dropped.
#[derive(Debug)]
pub struct Work {
    path: PathBuf,
    keep: bool,
}

impl Work {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it for people to look at.
    pub fn keep(mut self) -> PathBuf {
        self.keep = true;
        self.path.clone()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_all(&self.path);
        }
    }
}

/// The time as records keep it: RFC 3339, to the second, UTC.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time in seconds since 1970 as records keep it.
pub fn time(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The seconds since 1970 of a time as records keep it.
pub fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

static WORKS: AtomicU32 = AtomicU32::new(0);

impl Store {
    /// The store at `BAKERY_HOME`, else the usual place of the user; remains of processes that died are removed.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open() -> Result<Self> {
        let root = match std::env::var_os("BAKERY_HOME").filter(|h| !h.is_empty()) {
            Some(home) => PathBuf::from(home),
            None if bakery_host::users::effective_uid() == 0 => PathBuf::from("/var/lib/bakery"),
            None => match std::env::var_os("XDG_DATA_HOME").filter(|h| !h.is_empty()) {
                Some(data) => PathBuf::from(data).join("bakery"),
                None => {
                    PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/share/bakery")
                }
            },
        };
        Self::at(root)
    }

    /// The store at a folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn at(root: PathBuf) -> Result<Self> {
        for name in ["layers", "records", "runs", "locks", "images", "instances", "volumes", "work"] {
            fs::create_dir_all(root.join(name))?;
        }
        let store = Self { root: fs::canonicalize(root)? };
        store.sweep()?;
        Ok(store)
    }

    /// The folder of everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what processes that died have left in `work`.
    fn sweep(&self) -> Result<()> {
        for path in fs::read_dir(self.root.join("work"))? {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let owner = name.split('-').next().and_then(|pid| pid.parse::<i32>().ok());
            let kept = name.starts_with("failed");
            if owner.is_some_and(|pid| !signal::is_alive(pid)) && !kept {
                let removed = fs::remove_all(&path);
                // Without root, what a bake has left may be another user's: the next bake removes it.
                if bakery_host::users::effective_uid() == 0 {
                    removed?;
                }
            }
        }
        Ok(())
    }

    /// A new folder for work in progress.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn work(&self) -> Result<Work> {
        let number = WORKS.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("work").join(format!("{}-{number}", std::process::id()));
        fs::remove_all(&path)?;
        fs::create_private_dir(&path)?;
        // Root file systems below it must be reachable for their own users.
        fs::chmod(&path, 0o755)?;
        Ok(Work { path, keep: false })
    }

    /// The folder of a failed bake, of which the last one is kept.
    pub fn failed(&self) -> PathBuf {
        self.root.join("work").join("failed")
    }

    /// The lock of a name, such as that of a step that one of several bakes makes.
    pub fn lock(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }

    /// Where the disks are that images of a lineage are made from.
    pub fn disks(&self) -> PathBuf {
        self.root.join("disks")
    }

    /// Where files are that were fetched by URL.
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// The images.
    pub fn images(&self) -> Images<'_> {
        Images::new(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_work_is_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::at(folder.path().to_path_buf()).expect("opens");
        fs::create_dir_all(store.root().join("work/999999999-0")).expect("made");
        drop(Store::at(folder.path().to_path_buf()).expect("opens again"));
        assert!(!store.root().join("work/999999999-0").exists());
    }
}
