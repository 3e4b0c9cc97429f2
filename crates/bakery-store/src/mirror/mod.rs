//! What a team shares: copies of layers and records in a folder or a bucket, each written whole, each checked when it
//! comes back.

mod s3;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bakery_host::{Cmd, Error, Result, fs};

pub use s3::S3;

use crate::{Key, Layer, Store};

/// How many files travel at a time.
const AT_ONCE: usize = 8;

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Layers.
    pub layers: u64,
    /// Records of answers and states.
    pub records: u64,
}

/// Where copies are: files by folder (`layers`, `records`) and name.
pub trait Mirror: Sync {
    /// The names of the files in a folder; none of a folder that is not there.
    ///
    /// # Errors
    /// When the mirror cannot be asked.
    fn names(&self, folder: &str) -> Result<BTreeSet<String>>;

    /// Puts a copy of a file there: whole, or not at all.
    ///
    /// # Errors
    /// When that cannot be done.
    fn put(&self, folder: &str, name: &str, file: &Path) -> Result<()>;

    /// Gets a file to a new place.
    ///
    /// # Errors
    /// When that cannot be done.
    fn get(&self, folder: &str, name: &str, to: &Path) -> Result<()>;
}

/// The mirror that an address names: `s3://BUCKET/PREFIX`, or a folder.
///
/// # Errors
/// What is missing to reach it.
pub fn at(address: &str) -> Result<Box<dyn Mirror>> {
    Ok(match address.strip_prefix("s3://") {
        Some(rest) => Box::new(S3::new(rest)?),
        None => Box::new(Folder::new(address)),
    })
}

/// A folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder of a path; it is made when something is put there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Mirror for Folder {
    fn names(&self, folder: &str) -> Result<BTreeSet<String>> {
        let folder = self.0.join(folder);
        if !folder.is_dir() {
            return Ok(BTreeSet::new());
        }
        let names = fs::read_dir(folder)?.into_iter();
        let names = names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(names.filter(|name| !name.starts_with('.')).collect())
    }

    fn put(&self, folder: &str, name: &str, file: &Path) -> Result<()> {
        let folder = self.0.join(folder);
        fs::create_dir_all(&folder)?;
        let place = folder.join(name);
        let failed = |e| Error::new("write", &place, e);
        let part = tempfile::Builder::new().prefix(".part-").tempfile_in(&folder).map_err(failed)?;
        fs::copy(file, part.path())?;
        part.persist(&place).map_err(|e| failed(e.error))?;
        Ok(())
    }

    fn get(&self, folder: &str, name: &str, to: &Path) -> Result<()> {
        fs::copy(self.0.join(folder).join(name), to)
    }
}

/// Does something with each of many, several at a time; the first error ends it.
fn each<T: Sync>(all: &[T], act: &(dyn Fn(&T) -> Result<()> + Sync)) -> Result<u64> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let locked = || failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE.min(all.len()) {
            threads.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if locked().is_some() {
                        return;
                    }
                    if let Err(error) = act(one) {
                        locked().get_or_insert(error);
                    }
                }
            });
        }
    });
    let failed = locked().take();
    failed.map_or(Ok(all.len() as u64), Err)
}

impl Store {
    /// Copies what a mirror does not have yet: layers as archives under their names, records as they are.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub fn push(&self, mirror: &dyn Mirror) -> Result<Copied> {
        let _in_use = self.in_use()?;
        let there = mirror.names("layers")?;
        let mut copied = Copied::default();
        for layer in self.layers()? {
            let name = format!("{}.tar.gz", layer.id.as_str());
            if there.contains(&name) {
                continue;
            }
            let work = self.work()?;
            let archive = work.path().join("archive");
            // The format of POSIX keeps nanoseconds and attributes.
            Cmd::new("tar")
                .args(["--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sort=name"])
                .args(["--use-compress-program=gzip -1", "-cf"])
                .arg(&archive)
                .arg("-C")
                .arg(self.layer_folder(&layer.id))
                .args(["layer.json", "diff"])
                .run()?;
            mirror.put("layers", &name, &archive)?;
            copied.layers += 1;
        }
        let there = mirror.names("records")?;
        let own = Folder::new(self.root());
        let new: Vec<String> =
            own.names("records")?.into_iter().filter(|name| !there.contains(name)).collect();
        let put = |name: &String| mirror.put("records", name, &self.root().join("records").join(name));
        copied.records = each(&new, &put)?;
        Ok(copied)
    }

    /// Copies what the store does not have yet from a mirror that [`Store::push`] wrote. A layer that is not what its
    /// name says is refused.
    ///
    /// # Errors
    /// Which layer is damaged; what cannot be read or written.
    pub fn pull(&self, mirror: &dyn Mirror) -> Result<Copied> {
        let _in_use = self.in_use()?;
        let mut copied = Copied::default();
        let (layers, known) = (mirror.names("layers")?, mirror.names("records")?);
        if layers.is_empty() && known.is_empty() {
            let why = std::io::Error::other("nothing is there that `bakery cache push` has put there");
            return Err(Error::new("pull from", "the mirror", why));
        }
        for name in layers {
            let Some(id) = name.strip_suffix(".tar.gz").filter(|id| Key::is_one(id)) else { continue };
            if self.root().join("layers").join(id).join("layer.json").is_file() {
                continue;
            }
            let work = self.work()?;
            let archive = work.path().join("archive");
            mirror.get("layers", &name, &archive)?;
            let unpacked = work.path().join("layer");
            fs::create_dir_all(&unpacked)?;
            let damaged = |why: &str| Error::new("take the layer", id, std::io::Error::other(why.to_owned()));
            Cmd::new("tar")
                .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpzf"])
                .arg(&archive)
                .arg("-C")
                .arg(&unpacked)
                .run()?;
            let layer: Layer = serde_json::from_slice(&fs::read(unpacked.join("layer.json"))?)
                .map_err(|e| damaged(&e.to_string()))?;
            let delta = unpacked.join("diff");
            if layer.id.as_str() != id || !crate::layer::is_sound(&delta, &layer) {
                return Err(damaged("it is not what its name says"));
            }
            self.publish_layer(&delta, layer.parent.as_ref(), &layer.made_by)?;
            copied.layers += 1;
        }
        let records = self.root().join("records");
        let is_new = |name: &String| Key::is_one(name) && !records.join(name).exists();
        let new: Vec<String> = known.into_iter().filter(is_new).collect();
        let work = self.work()?;
        let get = |name: &String| {
            let part = work.path().join(name);
            mirror.get("records", name, &part)?;
            fs::write_lightly(records.join(name), fs::read(&part)?, 0o600)
        };
        copied.records = each(&new, &get)?;
        Ok(copied)
    }
}
