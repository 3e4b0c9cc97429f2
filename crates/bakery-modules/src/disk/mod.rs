//! Partition tables of disks: reading, adding a partition at the end, growing the last one.

pub(crate) mod parted;

use std::collections::BTreeMap;
use std::path::Path;

use bakery_host::{block, fs};
use gpt::disk::LogicalBlockSize;
use gpt::partition::Partition;

use crate::Failure;

/// A partition of a GPT disk; sizes in bytes.
#[derive(Debug, Clone)]
pub struct PartitionInfo {
    /// Its number, from 1.
    pub number: u32,
    /// Where it starts.
    pub start: u64,
    /// How long it is.
    pub length: u64,
    /// Its name in the table.
    pub name: String,
}

fn gpt_error(path: &Path) -> impl Fn(gpt::GptError) -> Failure {
    move |error| Failure::new(format!("cannot read the partition table of `{}`: {error}", path.display()))
}

/// The partitions of a disk with a GPT.
///
/// # Errors
/// When there is no GPT.
pub fn partitions(disk: &Path) -> Result<Vec<PartitionInfo>, Failure> {
    let table = gpt::GptConfig::new().writable(false).open(disk).map_err(gpt_error(disk))?;
    Ok(table.partitions().iter().map(|(number, p)| info(*number, p)).collect())
}

fn info(number: u32, partition: &Partition) -> PartitionInfo {
    PartitionInfo {
        number,
        start: partition.first_lba * 512,
        length: (partition.last_lba - partition.first_lba + 1) * 512,
        name: partition.name.clone(),
    }
}

/// Writes an empty GPT. The caller has made sure that nothing is lost.
///
/// # Errors
/// When the disk cannot be written.
pub fn create_table(disk: &Path) -> Result<(), Failure> {
    let size = block::size(disk)?;
    let mut device = fs::open_rw(disk)?;
    let sectors = u32::try_from(size / 512 - 1).unwrap_or(u32::MAX);
    gpt::mbr::ProtectiveMBR::with_lb_size(sectors)
        .overwrite_lba0(&mut device)
        .map_err(|e| Failure::new(format!("cannot write to `{}`: {e}", disk.display())))?;
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(device, None)
        .map_err(gpt_error(disk))?;
    table.update_partitions(BTreeMap::new()).map_err(gpt_error(disk))?;
    let device = table.write().map_err(gpt_error(disk))?;
    device.sync_all().map_err(|e| Failure::new(e.to_string()))?;
    Ok(())
}

/// Adds a partition from `start` to `end` (bytes, clipped to what is free, aligned to 1 MiB) and tells the kernel.
///
/// # Errors
/// When there is no room.
pub fn add_partition(
    disk: &Path,
    number: u32,
    start: u64,
    end: u64,
    name: &str,
) -> Result<PartitionInfo, Failure> {
    const ALIGN: u64 = 2048;
    let mut table = gpt::GptConfig::new().writable(true).open(disk).map_err(gpt_error(disk))?;
    let header = table.header();
    let first = (start / 512).max(header.first_usable).div_ceil(ALIGN) * ALIGN;
    let last = (end / 512).min(header.last_usable + 1);
    let last = if last < header.last_usable {
        last / ALIGN * ALIGN
    } else {
        (header.last_usable + 1) / ALIGN * ALIGN
    };
    if last <= first {
        return Err(Failure::new(format!("there is no room for partition {number} on `{}`", disk.display())));
    }
    table
        .add_partition_at(name, number, first, last - first, gpt::partition_types::LINUX_FS, 0)
        .map_err(gpt_error(disk))?;
    let added = table.partitions().get(&number).map(|p| info(number, p));
    table.write().map_err(gpt_error(disk))?;
    let added = added.ok_or_else(|| Failure::new("the partition was not added"))?;
    announce(disk, &added);
    Ok(added)
}

/// Removes a partition and tells the kernel.
///
/// # Errors
/// When the table cannot be written.
pub fn remove_partition(disk: &Path, number: u32) -> Result<(), Failure> {
    let mut table = gpt::GptConfig::new().writable(true).open(disk).map_err(gpt_error(disk))?;
    table.remove_partition(number);
    table.write().map_err(gpt_error(disk))?;
    // A file has no kernel partitions; a disk in use keeps its old ones until its next start.
    let _ = block::reread_partitions(disk);
    Ok(())
}

/// Grows a partition to the end of its disk, moving the backup table there first; its new length in bytes, or
/// nothing when it fills the disk already.
///
/// # Errors
/// When another partition follows it, or the table cannot be written.
pub fn grow_partition(disk: &Path, number: u32) -> Result<Option<u64>, Failure> {
    let size = block::size(disk)?;
    let mut table = gpt::GptConfig::new().writable(true).open(disk).map_err(gpt_error(disk))?;
    let mut parts = table.partitions().clone();
    let Some(current) = parts.get(&number).cloned() else {
        return Err(Failure::new(format!("`{}` has no partition {number}", disk.display())));
    };
    if parts.values().any(|other| other.first_lba > current.last_lba) {
        return Err(Failure::new(format!(
            "another partition follows partition {number} of `{}`",
            disk.display()
        )));
    }
    // The backup header and its table take the last 33 sectors.
    let last_usable = size / 512 - 34;
    let last = (last_usable + 1) / 2048 * 2048 - 1;
    if last <= current.last_lba {
        return Ok(None);
    }
    if let Some(partition) = parts.get_mut(&number) {
        partition.last_lba = last;
    }
    table.update_partitions(parts).map_err(gpt_error(disk))?;
    let device = table.write().map_err(gpt_error(disk))?;
    device.sync_all().map_err(|e| Failure::new(e.to_string()))?;
    drop(device);
    let length = (last - current.first_lba + 1) * 512;
    block::set_partition(disk, number as i32, current.first_lba * 512, length)?;
    Ok(Some(length))
}

fn announce(disk: &Path, partition: &PartitionInfo) {
    // A plain file has no partitions in the kernel; anything else learns of it now.
    if block::set_partition(disk, partition.number as i32, partition.start, partition.length).is_err() {
        let _ = block::reread_partitions(disk);
    }
}
