//! Partitions besides those that every disk has: swap, and file systems of their own for parts of the tree. They lie
//! before the root, which grows.

use std::path::Path;

use bakery_host::rooted::Rooted;
use bakery_host::{Cmd, fs};
use bakery_lang::Map;
use bakery_packer::Component;

use super::{Disk, MIB, ROOT_START, identifier, io};
use crate::plan::bytes;
use crate::{Error, Result};

/// The number of the first of them; those before are the root's, the boot code's and EFI's.
const FIRST: u32 = 4;
/// The page that says what a swap partition is.
const PAGE: usize = 4096;

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extra {
    /// Bytes, whole MiB.
    pub(crate) size: u64,
    /// Where its file system is mounted; swap if it is nowhere.
    pub(crate) mount: Option<String>,
    /// Options of the mount.
    options: String,
}

/// A partition with its place on the disk, in bytes.
pub(super) struct Placed<'a> {
    pub(super) extra: &'a Extra,
    pub(super) number: u32,
    pub(super) start: u64,
}

impl Extra {
    /// What the builder's `swap` and `partitions` ask for.
    pub(crate) fn all(builder: &Component) -> Result<Vec<Self>> {
        let whole = |size: u64| size.div_ceil(MIB) * MIB;
        let mut all = Vec::new();
        if let Some(size) = builder.text("swap") {
            all.push(Self { size: whole(bytes(&size)?), mount: None, options: "sw".into() });
        }
        let value = builder.config.get("partitions");
        let items = value.map(|value| value.as_items().unwrap_or_else(|| vec![value.clone()]));
        let maps: Vec<Map> =
            items.unwrap_or_default().iter().filter_map(|item| item.as_map().cloned()).collect();
        for map in maps {
            let text =
                |key: &str| map.get(key).map(|value| value.to_string()).filter(|text| !text.is_empty());
            if let Some(other) = map
                .keys()
                .iter()
                .map(ToString::to_string)
                .find(|key| !["mount", "size", "options"].contains(&key.as_str()))
            {
                return Err(Error::new(format!(
                    "`partitions` has the unknown option `{other}` (known: mount, size, options)"
                )));
            }
            let needs = |key: &str| Error::new(format!("an entry of `partitions` needs `{key}`"));
            let mount = text("mount").ok_or_else(|| needs("mount"))?;
            let is_plain = mount.starts_with('/') && mount.len() > 1 && !mount.ends_with('/');
            if !is_plain
                || mount.contains(char::is_whitespace)
                || mount.split('/').any(|part| part == "..")
                || mount == "/boot"
            {
                return Err(Error::new(format!(
                    "`{mount}` is no place for a partition (expected something like /var/log)"
                )));
            }
            let size = whole(bytes(&text("size").ok_or_else(|| needs("size"))?)?);
            all.push(Self {
                size,
                mount: Some(mount),
                options: text("options").unwrap_or_else(|| "defaults".into()),
            });
        }
        Ok(all)
    }

    /// What it is, for keys.
    pub(crate) fn shown(&self) -> String {
        format!("{} {} {}", self.size, self.mount.as_deref().unwrap_or("swap"), self.options)
    }
}

impl<'a> Disk<'a> {
    /// The partitions with their places.
    pub(super) fn placed(&self) -> impl Iterator<Item = Placed<'a>> + use<'a> {
        let mut start = ROOT_START;
        self.extras.iter().zip(FIRST..).map(move |(extra, number)| {
            let placed = Placed { extra, number, start };
            start += extra.size;
            placed
        })
    }

    /// Where the root begins, in bytes.
    pub(super) fn root_start(&self) -> u64 {
        ROOT_START + self.extras.iter().map(|extra| extra.size).sum::<u64>()
    }

    fn uuid_of(&self, placed: &Placed<'_>) -> uuid::Uuid {
        identifier(self.lineage, &format!("file system {}", placed.number))
    }

    /// The lines of `fstab` that mount them.
    pub(crate) fn fstab(&self) -> String {
        let line = |placed: Placed<'_>| {
            let uuid = self.uuid_of(&placed);
            let options = format!("{},{}", placed.extra.options, crate::seal::OWN_PARTITION);
            match &placed.extra.mount {
                Some(mount) => format!("UUID={uuid} {mount} ext4 {options} 0 2\n"),
                None => format!("UUID={uuid} none swap {options} 0 0\n"),
            }
        };
        self.placed().map(line).collect()
    }
}

/// Writes them into a disk; `tree` is the image's.
pub(super) fn write(path: &Path, tree: &Path, disk: &Disk<'_>) -> Result<()> {
    let inside = Rooted::new(tree)?;
    for placed in disk.placed() {
        let uuid = disk.uuid_of(&placed).to_string();
        match &placed.extra.mount {
            Some(mount) => {
                // The folder itself, whatever links lead to it; an empty one if there is none.
                let folder = inside.folder(mount);
                let empty = tempfile::tempdir().map_err(|e| Error::new(e.to_string()))?;
                let from = folder.as_ref().map_or_else(|| empty.path().to_path_buf(), fs::path_of);
                let seed = identifier(disk.lineage, &format!("hash {}", placed.number));
                let options = format!(
                    "hash_seed={seed},offset={},lazy_itable_init=1,lazy_journal_init=1,nodiscard",
                    placed.start
                );
                let mut cmd = Cmd::new("mke2fs");
                if let Some(date) = disk.date {
                    cmd = cmd.env("E2FSPROGS_FAKE_TIME", date.to_string());
                }
                cmd.args(["-q", "-t", "ext4", "-m", "1", "-O", "^metadata_csum_seed,^orphan_file"])
                    .args(["-U", &uuid, "-E", &options, "-d"])
                    .arg(from)
                    .arg(path)
                    .arg(format!("{}k", placed.extra.size / 1024))
                    .run()
                    .map_err(|e| {
                        Error::new(format!("the partition for {mount} could not be written: {e}"))
                            .hint("does what is there fit? `size` sets how large it is")
                    })?;
            }
            None => swap(path, &placed, &uuid)?,
        }
    }
    Ok(())
}

/// What makes a partition swap is in its first page.
fn swap(path: &Path, placed: &Placed<'_>, uuid: &str) -> Result<()> {
    use std::io::{Seek as _, SeekFrom, Write as _};
    let folder = tempfile::tempdir().map_err(|e| Error::new(e.to_string()))?;
    let part = folder.path().join("swap");
    fs::create(&part)?.set_len(placed.extra.size).map_err(io(&part))?;
    fs::chmod(&part, 0o600)?;
    Cmd::new("mkswap").args(["--pagesize", &PAGE.to_string(), "--uuid", uuid]).arg(&part).run()?;
    let page = fs::read_start(&part, PAGE as u64)?;
    let mut disk = fs::open_rw(path)?;
    disk.seek(SeekFrom::Start(placed.start)).and_then(|_| disk.write_all(&page)).map_err(io(path))
}
