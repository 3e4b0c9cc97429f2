//! From the disk of one tree to that of another, in place: what did not change keeps its blocks.
//!
//! Both trees are stacks of layers that share their lower ones, so only paths in the others can be different. Changes
//! are made by `debugfs`, the file system's own tool, without a mount.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use bakery_host::{Cmd, fs};
use bakery_store::{Key, Store};

use crate::tree::Tree;
use crate::{Error, Result};

/// More than so many paths or bytes are written faster, and laid out better, from the first block on.
const MOST_PATHS: usize = 4000;
const MOST_BYTES: u64 = 256 << 20;

/// What is to be done to a disk.
pub(super) struct Changes {
    script: String,
    /// The tree that new files are read from.
    _new: Tree,
}

/// What leads from one tree to another; `None` if that is too much, or something that `debugfs` cannot do.
pub(super) fn changes(store: &Store, old: &[Key], new: &[Key]) -> Result<Option<Changes>> {
    let shared = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    if shared == 0 || old.iter().any(|key| store.layer(key).is_none()) {
        return Ok(None);
    }
    let (before, after) = (Tree::mount(store, old)?, Tree::mount(store, new)?);
    let mut paths = BTreeSet::new();
    for key in old[shared..].iter().chain(&new[shared..]) {
        let Some(delta) = store.layer(key) else { return Ok(None) };
        for path in fs::walk(&delta)? {
            let relative = path.strip_prefix(&delta).unwrap_or(&path).to_path_buf();
            let opaque = fs::is_opaque(&path)?;
            for tree in [&before, &after] {
                let there = tree.root.join(&relative);
                let is_dir = fs::symlink_metadata(&there).is_ok_and(|m| m.is_dir());
                let other = if std::ptr::eq(tree, &raw const before) { &after } else { &before };
                let alone = fs::symlink_metadata(other.root.join(&relative)).map_or(true, |m| !m.is_dir());
                // What is below a folder that comes or goes as a whole need not be in these layers.
                if is_dir && (alone || opaque) {
                    let below = fs::walk(&there)?;
                    paths.extend(
                        below.iter().filter_map(|p| Some(p.strip_prefix(&tree.root).ok()?.to_path_buf())),
                    );
                }
            }
            paths.insert(relative);
        }
        if paths.len() > MOST_PATHS {
            return Ok(None);
        }
    }
    // GRUB's images in front of the file system are made of these.
    if paths.iter().any(|p| p.starts_with("usr/lib/grub")) {
        return Ok(None);
    }
    let mut script = Script::default();
    for path in paths.iter().rev() {
        if script.remove(&before, &after, path)?.is_none() {
            return Ok(None);
        }
    }
    for path in &paths {
        if script.put(&before, &after, path)?.is_none() || script.bytes > MOST_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(Changes { script: script.text, _new: after }))
}

/// Requests to `debugfs`.
#[derive(Default)]
struct Script {
    text: String,
    bytes: u64,
}

/// What a path is, in the letters that decide whether it can be kept.
fn kind(meta: &Metadata) -> char {
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => 'd',
        () if kind.is_file() => 'f',
        () if kind.is_symlink() => 'l',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () if kind.is_fifo() => 'p',
        () => 's',
    }
}

/// A path as an argument; `None` if it cannot be one.
fn quoted(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    (!text.contains(['"', '\n'])).then(|| format!("\"/{text}\""))
}

impl Script {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{line}");
    }

    /// Removes what is not there any more, or is something else now. `None` where that cannot be said.
    fn remove(&mut self, before: &Tree, after: &Tree, path: &Path) -> Result<Option<()>> {
        let Ok(old) = fs::symlink_metadata(before.root.join(path)) else { return Ok(Some(())) };
        let new = fs::symlink_metadata(after.root.join(path)).ok();
        if new
            .as_ref()
            .is_some_and(|new| kind(new) == kind(&old) && same_content(before, after, path, &old, new))
        {
            return Ok(Some(()));
        }
        let Some(name) = quoted(path) else { return Ok(None) };
        if old.is_dir() {
            if new.is_none_or(|new| !new.is_dir()) {
                self.line(format_args!("rmdir {name}"));
            }
        } else if old.nlink() > 1 {
            return Ok(None);
        } else {
            self.line(format_args!("rm {name}"));
        }
        Ok(Some(()))
    }

    /// Puts in place what is new, and sets what is different.
    fn put(&mut self, before: &Tree, after: &Tree, path: &Path) -> Result<Option<()>> {
        let source = after.root.join(path);
        let Ok(new) = fs::symlink_metadata(&source) else { return Ok(Some(())) };
        let old = fs::symlink_metadata(before.root.join(path)).ok();
        let kept = old.filter(|old| {
            kind(old) == kind(&new) && (new.is_dir() || same_content(before, after, path, old, &new))
        });
        let attributes = fs::xattrs(&source)?;
        let attributes: Vec<_> =
            attributes.into_iter().filter(|(n, _)| fs::overlay_attribute(n).is_none()).collect();
        if let Some(old) = &kept {
            let had = fs::xattrs(before.root.join(path))?;
            let had: Vec<_> = had.into_iter().filter(|(n, _)| fs::overlay_attribute(n).is_none()).collect();
            if had != attributes {
                return Ok(None);
            }
            if stamp(old) == stamp(&new) {
                return Ok(Some(()));
            }
        }
        let Some(name) = quoted(path) else { return Ok(None) };
        if kept.is_none() {
            if !new.is_dir() && new.nlink() > 1 || !attributes.is_empty() {
                return Ok(None);
            }
            match kind(&new) {
                'd' => self.line(format_args!("mkdir {name}")),
                'f' => {
                    self.bytes += new.len();
                    let Some(from) = quoted(source.strip_prefix("/").unwrap_or(&source)) else {
                        return Ok(None);
                    };
                    self.line(format_args!("write {from} {name}"));
                }
                'l' => {
                    let target = fs::read_link(&source)?;
                    let target = target.to_str().filter(|t| !t.contains(['"', '\n']));
                    let Some(target) = target else { return Ok(None) };
                    self.line(format_args!("symlink {name} \"{target}\""));
                }
                _ => return Ok(None),
            }
        }
        for (field, value) in [("mode", new.mode()), ("uid", new.uid()), ("gid", new.gid())] {
            if field == "mode" {
                self.line(format_args!("set_inode_field {name} mode 0{value:o}"));
            } else {
                self.line(format_args!("set_inode_field {name} {field} {value}"));
            }
        }
        self.times(&name, &new);
        Ok(Some(()))
    }

    /// Sets all of an inode's times to that of its last write: its change, birth and reading are no content, and depend on
    /// the machine.
    fn times(&mut self, name: &str, meta: &Metadata) {
        for field in ["atime", "ctime", "mtime", "crtime"] {
            // Seconds, and nanoseconds above two bits of more seconds.
            self.line(format_args!("set_inode_field {name} {field} @{}", meta.mtime()));
            self.line(format_args!("set_inode_field {name} {field}_extra {}", meta.mtime_nsec() << 2));
        }
    }
}

/// Gives every inode of a new file system the times of the tree that it was made from, whenever that was written.
pub(super) fn date(disk: &Path, offset: u64, tree: &Path, date: i64) -> Result<()> {
    let mut script = Script::default();
    for path in fs::walk(tree)? {
        let relative = path.strip_prefix(tree).unwrap_or(&path);
        let name = quoted(relative).ok_or_else(|| {
            Error::new(format!("`{}` has a name that keeps its date from being set", relative.display()))
        })?;
        script.times(&name, &fs::symlink_metadata(&path)?);
    }
    run(&script.text, disk, offset, Some(date))
}

fn stamp(meta: &Metadata) -> (u32, u32, u32, i64, i64) {
    (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec())
}

fn same_content(before: &Tree, after: &Tree, path: &Path, old: &Metadata, new: &Metadata) -> bool {
    let (one, other) = (before.root.join(path), after.root.join(path));
    match kind(new) {
        'd' => true,
        'f' => old.len() == new.len() && fs::same_bytes(&one, &other),
        'l' => fs::read_link(one).ok() == fs::read_link(other).ok(),
        'c' | 'b' => old.rdev() == new.rdev(),
        _ => true,
    }
}

impl Changes {
    /// Makes them in the file system that begins at an offset of a disk.
    pub(super) fn apply(self, disk: &Path, offset: u64) -> Result<()> {
        if self.script.is_empty() {
            return Ok(());
        }
        run(&self.script, disk, offset, None)
    }
}

/// Makes requests of `debugfs` in the file system that begins at an offset of a disk.
fn run(script: &str, disk: &Path, offset: u64, date: Option<i64>) -> Result<()> {
    let file = tempfile::NamedTempFile::new().map_err(|e| Error::new(e.to_string()))?;
    fs::write_atomic(file.path(), script)?;
    let mut cmd = Cmd::new("debugfs");
    if let Some(date) = date {
        cmd = cmd.env("E2FSPROGS_FAKE_TIME", date.to_string());
    }
    let output = cmd
        .arg("-w")
        .arg("-f")
        .arg(file.path())
        .arg(format!("{}?offset={offset}", disk.display()))
        .output()?;
    // It ends well whatever happens, and says what went wrong beside its version.
    let said: Vec<String> =
        output.error_text().lines().filter(|l| !l.starts_with("debugfs 1.")).map(str::to_owned).collect();
    if !output.success() || !said.is_empty() {
        let said = if said.is_empty() { output.text() } else { said.join("\n") };
        return Err(Error::new(format!("the disk could not be brought to the new tree: {}", said.trim()))
            .hint("is it full? `size` of the disk builder sets the disk's size; the next bake writes the disk anew"));
    }
    Ok(())
}
