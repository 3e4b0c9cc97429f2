//! Advisory file locks, so that two bakeries never work on the same state.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::fs::{At as _, Error, Result};

/// A lock held until it is dropped, or until the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The lock's file, made if it is not there.
fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        crate::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).at("open", path)
}

impl Lock {
    /// Takes the lock, or says who holds it.
    pub fn take(path: impl AsRef<Path>, purpose: &str) -> Result<Self> {
        let path = path.as_ref();
        let mut file = open(path)?;
        if file.try_lock().is_err() {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let message = format!("another bakery is at work on it ({})", holder.trim());
            return Err(Error::new("lock", path, std::io::Error::other(message)));
        }
        let note = format!("process {}: {purpose}\n", std::process::id());
        // The note is a courtesy; the lock is held without it.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes()));
        Ok(Self { _file: file })
    }

    /// Takes the lock together with others who share it, waiting for whoever holds it alone.
    pub fn share(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = open(path)?;
        file.lock_shared().at("lock", path)?;
        Ok(Self { _file: file })
    }

    /// Takes the lock, waiting for whoever holds it.
    pub fn wait(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = open(path)?;
        file.lock().at("lock", path)?;
        Ok(Self { _file: file })
    }
}
