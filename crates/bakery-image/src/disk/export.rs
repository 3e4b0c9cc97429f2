//! The formats that users want, out of a raw disk or a tree.

use std::path::Path;

use bakery_host::Cmd;

use crate::{Error, Result};

/// A format of disks: its name, what `qemu-img` calls it, and options for it.
const FORMATS: &[(&str, &str, &str)] = &[
    ("raw", "raw", ""),
    ("qcow2", "qcow2", ""),
    ("vhd", "vpc", "subformat=fixed,force_size=on"),
    ("vhdx", "vhdx", ""),
    ("vmdk", "vmdk", "subformat=streamOptimized"),
    ("vdi", "vdi", ""),
];

/// Formats of trees, which need no disk.
const TREES: &[&str] = &["tar", "oci"];

/// The names of all formats.
pub(crate) fn names() -> Vec<&'static str> {
    FORMATS.iter().map(|(name, _, _)| *name).chain(TREES.iter().copied()).collect()
}

/// Whether a format is one of disks.
pub(crate) fn is_disk(format: &str) -> bool {
    !TREES.contains(&format)
}

/// The name of an image's file in a format.
pub(crate) fn file_name(format: &str) -> String {
    match format {
        "tar" => "root.tar".into(),
        "oci" => "image.oci.tar".into(),
        disk => format!("disk.{disk}"),
    }
}

/// Writes a raw disk in a format to a new file.
pub(crate) fn write(raw: &Path, format: &str, to: &Path) -> Result<()> {
    let (_, called, options) = FORMATS
        .iter()
        .find(|(name, _, _)| *name == format)
        .ok_or_else(|| Error::new(format!("unknown format `{format}` (known: {})", names().join(", "))))?;
    let mut cmd = Cmd::new("qemu-img").args(["convert", "-f", "raw", "-O", called]);
    if !options.is_empty() {
        cmd = cmd.args(["-o", options]);
    }
    cmd.arg(raw)
        .arg(to)
        .run()
        .map_err(|e| Error::new(format!("the {format} file could not be made: {e}")))?;
    Ok(())
}
