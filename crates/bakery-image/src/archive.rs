//! Layers as tar archives: merged over one another, with what they hide in the way of OCI images.
//!
//! An overlay's delta hides a path by a device of number 0 in its place, and all that was in a folder by an attribute;
//! an OCI layer by an empty file `.wh.NAME`, and by one `.wh..wh..opq` in the folder (OCI image specification, "Layer
//! Filesystem Changeset").

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bakery_host::fs;
use tar::{Builder, EntryType, Header};

use crate::{Error, Result};

/// What hides a folder's old content from an OCI layer's reader.
pub(crate) const OPAQUE: &str = ".wh..wh..opq";
/// What begins the name of a file that hides another.
pub(crate) const HIDES: &str = ".wh.";

/// A path of merged deltas.
#[derive(Debug)]
struct Entry {
    source: PathBuf,
    hides: bool,
    opaque: bool,
}

/// Several deltas as one.
#[derive(Debug, Default)]
pub(crate) struct Merged(BTreeMap<PathBuf, Entry>);

impl Merged {
    /// Merges deltas, the lowest first.
    pub(crate) fn of(deltas: &[PathBuf]) -> Result<Self> {
        let mut merged = Self::default();
        for delta in deltas {
            for source in fs::walk(delta)? {
                let path = source.strip_prefix(delta).unwrap_or(&source).to_path_buf();
                let meta = fs::symlink_metadata(&source)?;
                let hides = meta.file_type().is_char_device() && meta.rdev() == 0;
                let opaque = meta.is_dir() && fs::is_opaque(&source)?;
                if !meta.is_dir() || opaque {
                    merged.clear_below(&path);
                }
                let hidden = merged.0.get(&path).is_some_and(|old| old.hides || old.opaque);
                // A folder in place of something that was hidden does not show what was in it before.
                let opaque = opaque || meta.is_dir() && hidden;
                merged.0.insert(path, Entry { source, hides, opaque });
            }
        }
        Ok(merged)
    }

    fn clear_below(&mut self, path: &Path) {
        let below = self.0.range(path.to_path_buf()..).map(|(p, _)| p.clone());
        let below: Vec<_> = below.take_while(|p| p.starts_with(path)).filter(|p| p != path).collect();
        for path in below {
            self.0.remove(&path);
        }
    }

    /// Writes it as a tar archive: in order of paths, so that the same content makes the same bytes. As a `layer` it says
    /// what it hides; else it is a tree by itself.
    pub(crate) fn write(&self, to: impl Write, layer: bool) -> Result<()> {
        let mut archive = Builder::new(to);
        let mut seen: HashMap<(u64, u64), PathBuf> = HashMap::new();
        for (path, entry) in &self.0 {
            let failed = |e: std::io::Error| Error::new(format!("cannot archive `{}`: {e}", path.display()));
            let meta = fs::symlink_metadata(&entry.source)?;
            if entry.hides {
                if layer {
                    let mut name = std::ffi::OsString::from(HIDES);
                    name.push(path.file_name().unwrap_or_default());
                    mark(&mut archive, &path.with_file_name(name)).map_err(failed)?;
                }
                continue;
            }
            let mut header = Header::new_gnu();
            header.set_mode(meta.mode() & 0o7777);
            header.set_uid(u64::from(meta.uid()));
            header.set_gid(u64::from(meta.gid()));
            header.set_mtime(meta.mtime().max(0) as u64);
            header.set_size(0);
            let attributes: Vec<(String, Vec<u8>)> = fs::xattrs(&entry.source)?
                .into_iter()
                .filter(|(name, _)| fs::overlay_attribute(name).is_none())
                .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value))
                .collect();
            if !attributes.is_empty() {
                let pairs = attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
                archive.append_pax_extensions(pairs).map_err(failed)?;
            }
            let kind = meta.file_type();
            if kind.is_symlink() {
                header.set_entry_type(EntryType::Symlink);
                let target = fs::read_link(&entry.source)?;
                archive.append_link(&mut header, path, &target).map_err(failed)?;
            } else if kind.is_dir() {
                header.set_entry_type(EntryType::Directory);
                archive.append_data(&mut header, path, std::io::empty()).map_err(failed)?;
                if layer && entry.opaque {
                    mark(&mut archive, &path.join(OPAQUE)).map_err(failed)?;
                }
            } else if kind.is_file() {
                let known = (meta.nlink() > 1).then(|| seen.get(&(meta.dev(), meta.ino()))).flatten();
                if let Some(first) = known {
                    header.set_entry_type(EntryType::Link);
                    archive.append_link(&mut header, path, first).map_err(failed)?;
                } else {
                    seen.insert((meta.dev(), meta.ino()), path.clone());
                    header.set_entry_type(EntryType::Regular);
                    header.set_size(meta.len());
                    archive.append_data(&mut header, path, fs::open(&entry.source)?).map_err(failed)?;
                }
            } else if kind.is_socket() {
                // A socket is somebody's who listens; nobody does.
            } else {
                header.set_entry_type(match () {
                    () if kind.is_char_device() => EntryType::Char,
                    () if kind.is_block_device() => EntryType::Block,
                    () => EntryType::Fifo,
                });
                header.set_device_major(major(meta.rdev())).map_err(failed)?;
                header.set_device_minor(minor(meta.rdev())).map_err(failed)?;
                archive.append_data(&mut header, path, std::io::empty()).map_err(failed)?;
            }
        }
        archive
            .into_inner()
            .and_then(|mut to| to.flush())
            .map_err(|e| Error::new(format!("cannot write the archive: {e}")))
    }
}

fn mark(archive: &mut Builder<impl Write>, path: &Path) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(0);
    archive.append_data(&mut header, path, std::io::empty())
}

fn major(device: u64) -> u32 {
    (((device >> 32) & 0xffff_f000) | ((device >> 8) & 0xfff)) as u32
}

fn minor(device: u64) -> u32 {
    (((device >> 12) & 0xffff_ff00) | (device & 0xff)) as u32
}

/// Turns what an OCI layer hides, unpacked in a folder, into what an overlay's delta hides.
pub(crate) fn hide(folder: &Path) -> Result<()> {
    for path in fs::walk(folder)? {
        let Some(name) = path.file_name().filter(|n| n.as_bytes().starts_with(HIDES.as_bytes())) else {
            continue;
        };
        fs::remove_all(&path)?;
        if name == OPAQUE {
            fs::set_opaque(path.parent().unwrap_or(folder))?;
        } else {
            let hidden = std::ffi::OsStr::from_bytes(&name.as_bytes()[HIDES.len()..]);
            fs::make_whiteout(path.with_file_name(hidden))?;
        }
    }
    Ok(())
}
