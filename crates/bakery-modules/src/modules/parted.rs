//! `parted`: partitions of a GPT disk, written natively. A disk that already holds something other than a partition
//! table is never given one.

use std::path::{Path, PathBuf};

use bakery_host::{block, fs};
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::disk::{self, PartitionInfo};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes, removes and lists partitions.
#[derive(ModuleArgs)]
struct Args {
    /// The disk.
    #[arg(required)]
    device: String,
    /// The partition's number.
    number: Option<i64>,
    /// What shall be; `info` only looks.
    #[arg(default = "info", choices = "absent,info,present")]
    state: String,
    /// The kind of partition table for an empty disk.
    #[arg(default = "msdos", choices = "aix,amiga,bsd,dvh,gpt,loop,mac,msdos,pc98,sun")]
    label: String,
    /// Where it starts: `0%`, `1MiB`, `10GB`.
    #[arg(default = "0%")]
    part_start: String,
    /// Where it ends.
    #[arg(default = "100%")]
    part_end: String,
    /// Its kind in an msdos table.
    #[arg(default = "primary", choices = "extended,logical,primary")]
    part_type: String,
    /// Its name in a GPT.
    name: Option<String>,
    /// Flags such as `lvm`.
    flags: Option<Vec<String>>,
    /// How it is aligned.
    #[arg(default = "optimal")]
    align: String,
    /// The unit of the sizes returned.
    #[arg(default = "KiB")]
    unit: String,
    /// The file system that is meant to be in it.
    fs_type: Option<String>,
    /// Whether the last partition grows to `part_end`.
    resize: bool,
}

fn position(text: &str, size: u64) -> Result<u64, Failure> {
    let bad =
        || Failure::new(format!("cannot read the position `{text}` (expected a number with %, MiB, GB …)"));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..split].parse().map_err(|_| bad())?;
    let factor = match text[split..].trim() {
        "%" => return Ok((size as f64 * number / 100.0) as u64),
        "s" => 512.0,
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        "KB" => 1e3,
        "" | "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        _ => return Err(bad()),
    };
    Ok((number * factor) as u64)
}

fn shown(parts: &[PartitionInfo]) -> Value {
    let kib = |bytes: u64| Value::Float(bytes as f64 / 1024.0);
    Value::list(
        parts
            .iter()
            .map(|p| {
                Value::map([
                    ("num", Value::from(p.number)),
                    ("begin", kib(p.start)),
                    ("end", kib(p.start + p.length)),
                    ("size", kib(p.length)),
                    ("name", p.name.as_str().into()),
                    ("unit", "kib".into()),
                    ("fstype", "".into()),
                    ("flags", Value::list(vec![])),
                ])
            })
            .collect(),
    )
}

fn run(args: Args, host: &mut Host) -> Run {
    let device = host.path(&args.device);
    if !device.exists() {
        return Err(Failure::new(format!(
            "Error while getting device information with parted: the device {} is not there",
            args.device
        )));
    }
    let real = fs::canonicalize(&device)?;
    let size = block::size(&real)?;
    let signature = block::signature(&real)?;
    let has_gpt = signature == Some("gpt");
    let parts = if has_gpt { disk::partitions(&real)? } else { vec![] };
    let info = |table: &str| {
        Value::map([
            ("dev", Value::from(args.device.as_str())),
            ("size", (size as f64 / 1024.0).into()),
            ("unit", "kib".into()),
            ("table", table.into()),
            ("logical_block", 512.into()),
            ("physical_block", 512.into()),
        ])
    };
    if args.state == "info" {
        let table = if has_gpt { "gpt" } else { signature.unwrap_or("unknown") };
        return Ok(Outcome::unchanged()
            .with("disk", info(table))
            .with("partitions", shown(&parts))
            .with("script", ""));
    }
    let number = args.number.ok_or("number is required when state is present or absent")? as u32;
    let existing = parts.iter().find(|p| p.number == number);
    let mut changed = false;
    if args.state == "absent" {
        if existing.is_some() {
            changed = true;
            if !host.check {
                disk::remove_partition(&real, number)?;
            }
        }
    } else if existing.is_some() {
        if args.resize && !host.check {
            changed = disk::grow_partition(&real, number)?.is_some();
        }
        link_partition(host, &device, &real, number)?;
    } else {
        if args.label != "gpt" {
            return Err(Failure::new(format!(
                "bakery writes GPT partition tables only; set `label: gpt` (this task says {})",
                args.label
            )));
        }
        if !has_gpt && let Some(found) = signature {
            return Err(Failure::new(format!(
                "{} already holds data ({found}) and is left alone; empty it with wipefs first if that is meant",
                args.device
            )));
        }
        changed = true;
        if !host.check {
            if !has_gpt {
                disk::create_table(&real)?;
            }
            let (start, end) = (position(&args.part_start, size)?, position(&args.part_end, size)?);
            disk::add_partition(&real, number, start, end, args.name.as_deref().unwrap_or("primary"))?;
            // udev reads a table that changed once more, and the partition is gone for that moment.
            if std::path::Path::new("/run/udev/control").exists() && real.starts_with("/dev") {
                let _ = host.try_run(&["udevadm", "settle", "--timeout=30"]);
            }
            wait_for(&block::partition_path(&real, number))?;
            link_partition(host, &device, &real, number)?;
        }
    }
    let parts = disk::partitions(&real).unwrap_or_default();
    Ok(Outcome::changed(changed)
        .with("disk", info("gpt"))
        .with("partitions", shown(&parts))
        .with("script", ""))
}

/// A disk under an alias (`/dev/xvdb` for `/dev/vdb`) shows its partitions under that alias too.
fn link_partition(host: &Host, device: &Path, real: &Path, number: u32) -> Result<(), Failure> {
    if device == real || host.check || !device.starts_with("/dev") {
        return Ok(());
    }
    let alias: PathBuf = block::partition_path(device, number);
    if alias.symlink_metadata().is_err() {
        fs::symlink(block::partition_path(real, number), &alias)?;
    }
    Ok(())
}

fn wait_for(path: &Path) -> Result<(), Failure> {
    if !path.starts_with("/dev") || path.starts_with("/dev/shm") {
        return Ok(());
    }
    for _ in 0..500 {
        if path.exists() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(Failure::new(format!("the partition {} did not appear within 5 seconds", path.display())))
}

module!("parted", "community.general", Args, run);
