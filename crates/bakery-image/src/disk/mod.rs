//! A tree to a bootable disk: GPT, BIOS boot code, EFI system partition, root file system.
//!
//! A disk is kept for every lineage of images, and brought from one tree to the next in place where that is less work:
//! blocks that did not change stay where they are, for whoever ships only what did. `ext4` needs no loop device and no
//! mount; `boot` are the boot loader's parts, `edit` goes from tree to tree, `blocks` knows what is in which block, `export` makes the formats that users want,
//! `read` gets the tree out of somebody else's disk.

pub(crate) mod blocks;
mod boot;
mod edit;
pub(crate) mod export;
mod extra;
pub(crate) mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bakery_host::{Cmd, fs, lock::Lock};
use bakery_store::{Key, Store};
use gpt::disk::LogicalBlockSize;
use gpt::partition_types;

pub(crate) use self::extra::Extra;
use crate::rootfs::Rootfs;
use crate::{Error, Result};

/// Changes when disks of the same tree are made otherwise.
const VERSION: &str = "1";
const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// BIOS boot code from 1 MiB, the EFI system partition from 4 MiB, what the builder asks for and the root from 68 MiB: the
/// root is the last, so that it grows.
const BIOS: (u64, u64) = (MIB, 3 * MIB);
const ESP: (u64, u64) = (4 * MIB, 64 * MIB);
const ROOT_START: u64 = 68 * MIB;

/// The root's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4, written without a mount.
    Ext4,
    /// XFS, written through a loop device.
    Xfs,
}

impl FileSystem {
    /// Its name, as in `fstab`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The file system of a name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Ext4, Self::Xfs].into_iter().find(|f| f.name() == name)
    }
}

/// What a disk is made with.
pub(crate) struct Disk<'a> {
    pub(crate) size: u64,
    pub(crate) filesystem: FileSystem,
    /// Partitions besides those that every disk has.
    pub(crate) extras: &'a [Extra],
    /// What the images have in common that follow one another: the seed of all identifiers.
    pub(crate) lineage: &'a Key,
    /// The date of a disk that must come out the same anywhere.
    pub(crate) date: Option<i64>,
}

/// The disk of a lineage, locked for whoever reads it.
pub(crate) struct Kept {
    pub(crate) raw: PathBuf,
    /// Whether it was brought here from another tree.
    pub(crate) edited: bool,
    _lock: Lock,
}

impl Disk<'_> {
    /// Whether it can be brought from tree to tree in place. What has a partition of its own is written with the disk.
    fn can_be_edited(&self) -> bool {
        self.filesystem == FileSystem::Ext4 && self.extras.iter().all(|extra| extra.mount.is_none())
    }

    /// The UUID of the root file system.
    pub(crate) fn root_uuid(&self) -> String {
        identifier(self.lineage, "root").to_string()
    }
}

fn identifier(lineage: &Key, name: &str) -> uuid::Uuid {
    uuid::Uuid::new_v5(
        &uuid::Uuid::NAMESPACE_OID,
        format!("{VERSION} {} {name}", lineage.as_str()).as_bytes(),
    )
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::new(format!("cannot write `{}`: {e}", path.display()))
}

/// The disk of a tree. With `anew` it is written from the first block on, so that it depends on the tree alone.
pub(crate) fn make(store: &Store, layers: &[Key], agent: &Path, disk: &Disk<'_>, anew: bool) -> Result<Kept> {
    let name = identifier(disk.lineage, "disk").simple().to_string();
    let lock = Lock::wait(store.lock(&name))?;
    let folder = store.disks().join(&name);
    fs::create_dir_all(&folder)?;
    let (raw, note) = (folder.join("disk.raw"), folder.join("layers.json"));
    let kept = |edited| Ok(Kept { raw: raw.clone(), edited, _lock: lock });
    let old: Option<Vec<Key>> = fs::read(&note).ok().and_then(|text| serde_json::from_slice(&text).ok());
    // While it is changed, nothing says what it is: a change that is cut off leaves no disk.
    if fs::symlink_metadata(&note).is_ok() {
        fs::remove_file(&note)?;
    }
    let changes = match &old {
        Some(old) if !anew && disk.can_be_edited() && raw.is_file() => edit::changes(store, old, layers)?,
        _ => None,
    };
    let edited = changes.is_some();
    match changes {
        Some(changes) => changes.apply(&raw, disk.root_start())?,
        None => {
            let work = store.work()?;
            let new = work.path().join("disk.raw");
            fs::create(&new)?.set_len(disk.size).map_err(io(&new))?;
            partitions(&new, disk)?;
            let rootfs = Rootfs::mount(store, layers)?;
            match disk.filesystem {
                FileSystem::Ext4 => {
                    ext4(&new, rootfs.path(), disk)?;
                    if let Some(date) = disk.date {
                        edit::date(&new, disk.root_start(), rootfs.path(), date)?;
                    }
                }
                FileSystem::Xfs => xfs(&new, rootfs.path(), disk)?,
            }
            extra::write(&new, rootfs.path(), disk)?;
            boot::write(&new, &rootfs, agent, disk)?;
            fs::rename(&new, &raw)?;
        }
    }
    fs::write_atomic(&note, serde_json::to_vec(layers).unwrap_or_default())?;
    kept(edited)
}

fn partitions(path: &Path, disk: &Disk<'_>) -> Result<()> {
    let bad = |e: gpt::GptError| Error::new(format!("cannot partition `{}`: {e}", path.display()));
    let mut device = fs::open_rw(path)?;
    let sectors = u32::try_from(disk.size / SECTOR - 1).unwrap_or(u32::MAX);
    gpt::mbr::ProtectiveMBR::with_lb_size(sectors)
        .overwrite_lba0(&mut device)
        .map_err(|e| Error::new(e.to_string()))?;
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(device, Some(identifier(disk.lineage, "disk")))
        .map_err(bad)?;
    table.update_partitions(BTreeMap::new()).map_err(bad)?;
    let mut parts = vec![
        ("bios", 2, BIOS.0, BIOS.1, partition_types::BIOS),
        ("esp", 3, ESP.0, ESP.1, partition_types::EFI),
        ("root", 1, disk.root_start(), root_length(disk)?, partition_types::LINUX_ROOT_X64),
    ];
    for placed in disk.placed() {
        let (name, kind) = match placed.extra.mount {
            Some(_) => ("data", partition_types::LINUX_FS),
            None => ("swap", partition_types::LINUX_SWAP),
        };
        parts.push((name, placed.number, placed.start, placed.extra.size, kind));
    }
    for (name, number, start, length, kind) in parts {
        table.add_partition_at(name, number, start / SECTOR, length / SECTOR, kind, 0).map_err(bad)?;
    }
    let mut parts = table.take_partitions();
    for (number, part) in &mut parts {
        part.part_guid = identifier(disk.lineage, &format!("partition {number}"));
    }
    table.update_partitions(parts).map_err(bad)?;
    let device = table.write().map_err(bad)?;
    device.sync_all().map_err(io(path))
}

/// How long the root is, in bytes.
fn root_length(disk: &Disk<'_>) -> Result<u64> {
    let end = (disk.size / SECTOR).saturating_sub(34) / 2048 * 2048 * SECTOR;
    end.checked_sub(disk.root_start()).filter(|length| *length > 0).ok_or_else(|| {
        Error::new("the disk is too small for its partitions")
            .hint("`size` of the disk builder sets the disk's size")
    })
}

fn ext4(path: &Path, tree: &Path, disk: &Disk<'_>) -> Result<()> {
    let options = format!(
        "hash_seed={},offset={},lazy_itable_init=1,lazy_journal_init=1,nodiscard",
        identifier(disk.lineage, "hash"),
        disk.root_start()
    );
    let mut cmd = Cmd::new("mke2fs");
    if let Some(date) = disk.date {
        cmd = cmd.env("E2FSPROGS_FAKE_TIME", date.to_string());
    }
    cmd.args(["-q", "-t", "ext4", "-m", "1", "-L", "root", "-O", "^metadata_csum_seed,^orphan_file"])
        .args(["-U", &disk.root_uuid(), "-E", &options, "-d"])
        .arg(tree)
        .arg(path)
        .arg(format!("{}k", root_length(disk)? / 1024))
        .run()
        .map_err(|e| {
            Error::new(format!("the root file system could not be written: {e}"))
                .hint("does the image fit? `size` of the disk builder sets the disk's size")
        })?;
    Ok(())
}

/// XFS has no tool that writes a tree with its attributes into a file: it is mounted, in this process's own namespace.
fn xfs(path: &Path, tree: &Path, disk: &Disk<'_>) -> Result<()> {
    let failed = |e: bakery_host::Error| {
        Error::new(format!("the XFS root file system could not be written: {e}"))
            .hint("it needs xfsprogs and a loop device; `filesystem` ext4 needs neither")
    };
    let place = tempfile::tempdir().map_err(|e| Error::new(e.to_string()))?;
    let device = Cmd::new("losetup")
        .args(["--find", "--show", "--offset", &disk.root_start().to_string()])
        .args(["--sizelimit", &root_length(disk)?.to_string()])
        .arg(path)
        .run()
        .map_err(failed)?;
    let device = device.text().trim().to_owned();
    let uuid = format!("uuid={}", disk.root_uuid());
    let written = Cmd::new("mkfs.xfs")
        .args(["-q", "-f", "-L", "root", "-m", &uuid])
        .arg(&device)
        .run()
        .and_then(|_| Cmd::new("mount").arg(&device).arg(place.path()).run());
    // Ends when the mount does, whoever ends it.
    let detached = Cmd::new("losetup").args(["--detach", &device]).run();
    written.and(detached).map_err(failed)?;
    let copied = Cmd::new("cp").args(["-a", "--sparse=auto", "-T"]).arg(tree).arg(place.path()).run();
    let unmounted = Cmd::new("umount").arg(place.path()).run();
    copied.and(unmounted).map_err(failed)?;
    Ok(())
}
