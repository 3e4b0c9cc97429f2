//! Makes the root partition and its file system fill the disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use bakery_host::{Cmd, block, fs};
use bakery_modules::disk;

use crate::{Error, Result};

/// Grows the root file system; what was done, or nothing when it fills its disk already.
pub(crate) fn root() -> Result<Option<String>> {
    let device = fs::metadata("/")?.dev();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    let link = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
    let number = fs::read_to_string(link.join("partition")).unwrap_or_default();
    let Ok(number) = number.trim().parse::<u32>() else { return Ok(None) };
    let name =
        |path: &std::path::Path| path.file_name().map(|n| PathBuf::from("/dev").join(n)).unwrap_or_default();
    let (partition, whole) = (name(&link), name(link.parent().unwrap_or(&link)));
    let Some(length) = disk::grow_partition(&whole, number).map_err(|f| Error(f.msg))? else {
        return Ok(None);
    };
    let path = partition.display().to_string();
    match block::signature(&partition)? {
        Some("ext4") => Cmd::new("resize2fs").arg(&path).run()?,
        Some("xfs") => Cmd::new("xfs_growfs").arg("/").run()?,
        other => {
            return Err(Error(format!(
                "the root file system ({}) cannot be grown",
                other.unwrap_or("unknown")
            )));
        }
    };
    Ok(Some(format!("{path} is now {} MiB", length / 1_048_576)))
}
