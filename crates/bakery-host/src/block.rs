//! Block devices: size, partition table changes, and signatures of what is on them.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use crate::fs::{At as _, Error, Result};

const BLKRRPART: libc::c_ulong = 0x125f;
const BLKPG: libc::c_ulong = 0x1269;
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;

#[repr(C)]
struct BlkpgIoctlArg {
    op: libc::c_int,
    flags: libc::c_int,
    datalen: libc::c_int,
    data: *mut BlkpgPartition,
}

#[repr(C)]
struct BlkpgPartition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    pno: libc::c_int,
    devname: [u8; 64],
    volname: [u8; 64],
}

/// The size of a block device or file in bytes.
pub fn size(path: &Path) -> Result<u64> {
    let file = crate::fs::open(path)?;
    let meta = file.metadata().at("look at", path)?;
    if meta.is_file() {
        return Ok(meta.len());
    }
    let mut bytes = 0u64;
    // SAFETY: the ioctl writes one u64.
    if unsafe { libc::ioctl(file.as_raw_fd(), BLKGETSIZE64, &raw mut bytes) } != 0 {
        return Err(Error::new("find the size of", path, std::io::Error::last_os_error()));
    }
    Ok(bytes)
}

/// Tells the kernel to read the partition table anew.
pub fn reread_partitions(path: &Path) -> Result<()> {
    let file = crate::fs::open(path)?;
    // SAFETY: no argument.
    if unsafe { libc::ioctl(file.as_raw_fd(), BLKRRPART) } != 0 {
        return Err(Error::new("read the partitions of", path, std::io::Error::last_os_error()));
    }
    Ok(())
}

/// Tells the kernel of a partition (start and length in bytes), or of its new length when it is there already and in
/// use.
pub fn set_partition(path: &Path, number: i32, start: u64, length: u64) -> Result<()> {
    let file = crate::fs::open(path)?;
    let mut last = std::io::Error::other("no answer");
    // 1 adds a partition, 3 resizes one that is there.
    for op in [3, 1] {
        let mut partition = BlkpgPartition {
            start: start as i64,
            length: length as i64,
            pno: number,
            devname: [0; 64],
            volname: [0; 64],
        };
        let mut arg = BlkpgIoctlArg {
            op,
            flags: 0,
            datalen: size_of::<BlkpgPartition>() as i32,
            data: &raw mut partition,
        };
        // SAFETY: the kernel reads both structures, which live until the call returns.
        if unsafe { libc::ioctl(file.as_raw_fd(), BLKPG, &raw mut arg) } == 0 {
            return Ok(());
        }
        last = std::io::Error::last_os_error();
    }
    Err(Error::new("tell the kernel of a partition of", path, last))
}

/// The path of a partition of a disk: `/dev/vdb` has `/dev/vdb1`, `/dev/nvme1n1` has `/dev/nvme1n1p1`.
pub fn partition_path(disk: &Path, number: u32) -> PathBuf {
    let name = disk.display().to_string();
    let separator = if name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    PathBuf::from(format!("{name}{separator}{number}"))
}

/// The kind of data on a device by its signature: a file system, a partition table, LVM, RAID, LUKS or swap.
pub fn signature(path: &Path) -> Result<Option<&'static str>> {
    signature_at(path, 0)
}

/// The same of what begins at some byte of a device or file.
pub fn signature_at(path: &Path, start: u64) -> Result<Option<&'static str>> {
    let mut file = crate::fs::open(path)?;
    let at = |file: &mut File, offset: u64, wanted: &[u8]| -> bool {
        let mut bytes = vec![0; wanted.len()];
        file.seek(SeekFrom::Start(start + offset)).is_ok()
            && file.read_exact(&mut bytes).is_ok()
            && bytes == wanted
    };
    let table: &[(u64, &[u8], &str)] = &[
        (0, b"XFSB", "xfs"),
        (0x438, &[0x53, 0xef], "ext4"),
        (0x10040, b"_BHRfS_M", "btrfs"),
        (0x218, b"LVM2 001", "LVM2_member"),
        (0x18, b"LVM2 001", "LVM2_member"),
        (0, b"LUKS\xba\xbe", "crypto_LUKS"),
        (4086, b"SWAPSPACE2", "swap"),
        (512, b"EFI PART", "gpt"),
        (0x52, b"FAT32   ", "vfat"),
        (0x36, b"FAT1", "vfat"),
        (32769, b"CD001", "iso9660"),
        (0x1000, &[0xfc, 0x4e, 0x2b, 0xa9], "linux_raid_member"),
        (510, &[0x55, 0xaa], "dos"),
    ];
    Ok(table.iter().find(|(offset, magic, _)| at(&mut file, *offset, magic)).map(|(_, _, name)| *name))
}

/// The label of an ext2/3/4, XFS, ISO 9660 or FAT file system.
pub fn label(path: &Path) -> Option<String> {
    let mut file = crate::fs::open(path).ok()?;
    let (offset, length) = match signature(path).ok()?? {
        "ext4" => (0x478, 16),
        "xfs" => (0x6c, 12),
        "iso9660" => (32808, 32),
        "vfat" => {
            let mut fat32 = [0; 5];
            file.seek(SeekFrom::Start(0x52)).ok()?;
            file.read_exact(&mut fat32).ok()?;
            (if &fat32 == b"FAT32" { 0x47 } else { 0x2b }, 11)
        }
        _ => return None,
    };
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(offset)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_end_matches(['\0', ' ']).to_owned()).filter(|t| !t.is_empty())
}

/// Mounts a file system.
pub fn mount(source: &Path, target: &Path, fstype: &str, options: &str, read_only: bool) -> Result<()> {
    let flags =
        if read_only { rustix::mount::MountFlags::RDONLY } else { rustix::mount::MountFlags::empty() };
    let options = std::ffi::CString::new(options).unwrap_or_default();
    rustix::mount::mount(source, target, fstype, flags, Some(options.as_c_str())).at("mount", target)
}
