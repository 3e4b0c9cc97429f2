//! A disk image of any format to a tree: the root file system of a distribution's cloud image, say.
//!
//! ext file systems are read by `fuse2fs`, which needs no loop device; others, and ext where that is missing, through one.
//! Mounts are in this process's own namespace.

use std::path::{Path, PathBuf};

use bakery_host::command::find_program;
use bakery_host::{Cmd, block, fs, namespace};

use crate::{Error, Result};

/// A stretch of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    start: u64,
    length: u64,
}

/// Names of files that are disk images.
pub(crate) const ENDINGS: &[&str] = &[".qcow2", ".img", ".raw", ".vmdk", ".vhd", ".vhdx", ".vdi"];

/// Copies the root file system of a disk to a new folder, and what it has in a `/boot` of its own. `work` is a folder for
/// the meantime.
pub(crate) fn read(image: &Path, tree: &Path, work: &Path) -> Result<()> {
    let raw = work.join("disk.raw");
    Cmd::new("qemu-img")
        .args(["convert", "-O", "raw"])
        .arg(image)
        .arg(&raw)
        .run()
        .map_err(|e| Error::new(format!("the disk {} cannot be read: {e}", image.display())))?;
    let mut parts = parts(&raw)?;
    // The root is mostly the largest.
    parts.sort_by_key(|part| std::cmp::Reverse(part.length));
    let mut boot = Vec::new();
    let mut has_root = false;
    for (at, part) in parts.iter().enumerate() {
        let Some(kind) = kind(&raw, *part)? else { continue };
        let mounted = Mounted::at(&raw, *part, kind, &work.join(format!("part{at}")))?;
        let Some(root) = mounted.root() else {
            if mounted.holds_kernels() {
                boot.push(mounted);
            }
            continue;
        };
        if !has_root {
            copy(&root, tree)?;
            has_root = true;
        }
    }
    if !has_root {
        return Err(Error::new(format!(
            "the disk {} has no root file system that can be read",
            image.display()
        ))
        .hint("known: ext2, ext3, ext4, XFS and Btrfs, in partitions or alone"));
    }
    for mounted in boot {
        copy(&mounted.path, &tree.join("boot"))?;
    }
    fs::remove_all(tree.join("lost+found"))?;
    Ok(fs::remove_file(&raw)?)
}

/// The partitions of a disk; the disk itself if it has none.
fn parts(raw: &Path) -> Result<Vec<Part>> {
    let whole = fs::metadata(raw)?.len();
    let table = gpt::GptConfig::new().writable(false).open(raw);
    if let Ok(table) = table {
        let sector = table.logical_block_size().as_u64();
        let part = |p: &gpt::partition::Partition| Part {
            start: p.first_lba * sector,
            length: (p.last_lba + 1).saturating_sub(p.first_lba) * sector,
        };
        return Ok(table.partitions().values().map(part).collect());
    }
    let head = fs::read_start(raw, 512)?;
    let mut parts = Vec::new();
    // The four entries of a master boot record: kind at byte 4, start and length in sectors from byte 8.
    for entry in head.get(446..510).unwrap_or_default().chunks_exact(16) {
        let number = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let (start, length) = (u64::from(number(8)) * 512, u64::from(number(12)) * 512);
        if entry[4] != 0 && length > 0 && start + length <= whole && head.ends_with(&[0x55, 0xaa]) {
            parts.push(Part { start, length });
        }
    }
    // A file system alone, or one whose boot code looks like a table.
    let alone = Part { start: 0, length: whole };
    if parts.is_empty() || kind(raw, alone)?.is_some() {
        parts = vec![alone];
    }
    Ok(parts)
}

/// The file system of a part, if it is one that a root may be on.
fn kind(raw: &Path, part: Part) -> Result<Option<&'static str>> {
    let found = block::signature_at(raw, part.start)?;
    Ok(found.filter(|kind| ["ext4", "xfs", "btrfs"].contains(kind)))
}

/// A part that can be looked into.
struct Mounted {
    path: PathBuf,
}

impl Mounted {
    fn at(raw: &Path, part: Part, kind: &str, path: &Path) -> Result<Self> {
        fs::create_dir_all(path)?;
        let offset = format!("offset={}", part.start);
        let by_fuse = kind == "ext4" && find_program("fuse2fs").is_some() && Path::new("/dev/fuse").exists();
        let cmd = if by_fuse {
            Cmd::new("fuse2fs")
                .arg(raw)
                .arg(path)
                .args(["-o", &format!("ro,norecovery,allow_other,{offset}")])
        } else {
            let more = match kind {
                "xfs" => ",norecovery,nouuid",
                "ext4" => ",noload",
                _ => "",
            };
            let options = format!("loop,ro,{offset},sizelimit={}{more}", part.length);
            Cmd::new("mount").args(["-t", kind, "-o", &options]).arg(raw).arg(path)
        };
        cmd.run().map_err(|e| {
            Error::new(format!("the {kind} file system of the disk cannot be read: {e}"))
                .hint("ext4 is read by the program fuse2fs (package fuse2fs), others through a loop device")
        })?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// Where the root of a system is, if it is here: at the top, or in the subvolume that distributions give it.
    fn root(&self) -> Option<PathBuf> {
        let names = ["", "root", "@", "@/.snapshots/1/snapshot"];
        let is_root = |path: &PathBuf| {
            ["etc", "usr"].iter().all(|name| fs::symlink_metadata(path.join(name)).is_ok_and(|m| m.is_dir()))
        };
        names.iter().map(|name| self.path.join(name)).find(is_root)
    }

    fn holds_kernels(&self) -> bool {
        let names = fs::read_dir(&self.path).unwrap_or_default();
        names
            .iter()
            .any(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Before its folder is removed; the namespace's end takes it otherwise.
        let _ = namespace::detach(&self.path);
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    Cmd::new("cp").args(["-a", "--sparse=auto", "-T"]).arg(from).arg(to).run().map_err(|e| {
        Error::new(format!("the disk cannot be copied: {e}")).hint("is there room where the store is?")
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_old_tables_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let raw = folder.path().join("disk");
        fs::create(&raw).expect("made").set_len(8 << 20).expect("grown");
        let table = Cmd::new("sfdisk").arg(&raw).input("label: dos\n2048,4096,83\n8192,2048,82\n");
        table.run().expect("partitioned");
        let found = parts(&raw).expect("read");
        assert_eq!(
            found,
            [Part { start: 1 << 20, length: 2 << 20 }, Part { start: 4 << 20, length: 1 << 20 }]
        );
        Cmd::new("mkfs.ext4").args(["-q", "-F"]).arg(&raw).run().expect("made");
        assert_eq!(parts(&raw).expect("read"), [Part { start: 0, length: 8 << 20 }]);
    }
}
