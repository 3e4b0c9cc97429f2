//! `parted`: partitions of a disk (community.general `parted.py`), by parted(8); where that is not installed, of a GPT and
//! natively, as far as a new volume wants it. A disk that already holds anything else than an empty partition table is never
//! given another one, though Ansible's module would.

use std::path::{Path, PathBuf};

use bakery_host::{block, fs};
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::disk::parted::{Parted, Size, bytes, shown_unit};
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
    #[arg(default = "optimal", choices = "cylinder,minimal,none,optimal,undefined")]
    align: String,
    /// The unit of the sizes returned.
    #[arg(default = "KiB", choices = "B,KB,MB,GB,TB,KiB,MiB,GiB,TiB,s,%,cyl,chs,compact")]
    unit: String,
    /// Whether results name units as this module's options do, not in small letters.
    unit_preserve_case: bool,
    /// The file system that is meant to be in it.
    fs_type: Option<String>,
    /// Whether a partition that is there gets `part_end` as its end.
    resize: bool,
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.state != "info" && args.number.is_none() {
        return Err(format!("state is {} but all of the following are missing: number", args.state).into());
    }
    if args.number.is_some_and(|number| number < 1) {
        return Err("The partition number must be greater then 0.".into());
    }
    for (name, place) in [("part_start", &args.part_start), ("part_end", &args.part_end)] {
        if !Size::read(place)?.has_known_unit() {
            let why = "doesn't respect required format.The size unit is case sensitive.";
            return Err(format!("The argument '{name}' {why}").into());
        }
    }
    let device = host.path(&args.device);
    match host.program("parted") {
        Ok(program) => by_program(&args, host, &device, program),
        Err(_) => natively(&args, host, &device),
    }
}

fn outcome(changed: bool, disk: Value, partitions: Value, script: &[String]) -> Outcome {
    Outcome::changed(changed)
        .with("disk", disk)
        .with("partitions", partitions)
        .with("script", Value::strings(script))
}

fn holds_data(args: &Args, found: &str) -> Failure {
    Failure::new(format!(
        "{} already holds data ({found}) and is left alone; empty it with wipefs first if that is meant",
        args.device
    ))
}

fn by_program(args: &Args, host: &mut Host, device: &Path, program: String) -> Run {
    let parted = Parted {
        host,
        program,
        device: device.display().to_string(),
        unit: args.unit.clone(),
        preserve_case: args.unit_preserve_case,
    };
    let real = fs::canonicalize(device).unwrap_or_else(|_| device.to_path_buf());
    let mut done = Vec::new();
    let number = args.number.unwrap_or_default();
    match args.state.as_str() {
        "present" => {
            let before = parted.disk()?;
            let script = layout(args, &before, &real)?;
            let mut now = before;
            if !script.is_empty() {
                carry_out(&parted, args, &script)?;
                done.extend(script);
                if !host.check {
                    now = parted.disk()?;
                    appear(host, device, &real, number)?;
                }
            }
            let there = now.partitions.iter().find(|partition| partition.number == number);
            // What would be made would have nothing yet.
            let is_imagined = host.check && !done.is_empty();
            if there.is_some() || host.check {
                let there = there.filter(|_| !is_imagined);
                let name = there.map(|partition| partition.name.as_str());
                let flags = there.map(|partition| partition.flags.as_slice()).unwrap_or_default();
                let script = marks(args, number, name, flags);
                if !script.is_empty() {
                    carry_out(&parted, args, &script)?;
                    done.extend(script);
                }
            }
        }
        "absent" => {
            let before = parted.disk()?;
            if host.check || before.partitions.iter().any(|partition| partition.number == number) {
                done.extend(["rm".to_owned(), number.to_string()]);
                carry_out(&parted, args, &done)?;
            }
        }
        _ => done.extend(["unit", args.unit.as_str(), "print"].map(str::to_owned)),
    }
    let after = parted.disk()?;
    let partitions = Value::list(after.partitions.into_iter().map(|partition| partition.shown).collect());
    Ok(outcome(args.state != "info" && !done.is_empty(), after.shown, partitions, &done))
}

fn carry_out(parted: &Parted<'_>, args: &Args, script: &[String]) -> Result<(), Failure> {
    if parted.host.check { Ok(()) } else { parted.run(script, &args.align) }
}

/// What makes the table, the partition, or another end of it.
fn layout(args: &Args, disk: &disk::parted::Disk, real: &Path) -> Result<Vec<String>, Failure> {
    let mut script: Vec<&str> = Vec::new();
    let number = args.number.unwrap_or_default().to_string();
    let there = disk.partitions.iter().find(|partition| partition.number.to_string() == number);
    let wants_table = disk.table != args.label;
    if wants_table {
        if !disk.partitions.is_empty() {
            let count = disk.partitions.len();
            return Err(holds_data(args, &format!("a table of kind {} with {count} partitions", disk.table)));
        }
        if let Some(found) = block::signature(real)?.filter(|found| !matches!(*found, "gpt" | "dos")) {
            return Err(holds_data(args, found));
        }
        script.extend(["mklabel", &args.label]);
    }
    if wants_table || there.is_none() {
        script.extend(["mkpart", &args.part_type]);
        script.extend(args.fs_type.as_deref());
        script.extend([args.part_start.as_str(), &args.part_end]);
    }
    if !script.is_empty() {
        script.splice(0..0, ["unit", args.unit.as_str()]);
    }
    if let (true, Some(there)) = (args.resize, there) {
        let end = match &there.end {
            Size::Number(end, _) => bytes(*end, &args.unit),
            Size::Cylinders(_) => return Err("a partition cannot be resized in chs".into()),
        };
        let wanted = match Size::read(&args.part_end)? {
            Size::Number(share, unit) if unit == "%" => {
                let Size::Number(whole, _) = disk.size else {
                    return Err("the disk's size is told in chs".into());
                };
                bytes((whole.trunc() * share / 100.0).trunc(), &args.unit)
            }
            Size::Number(end, unit) => bytes(end, &unit),
            Size::Cylinders(_) => return Err("a partition cannot be resized in chs".into()),
        };
        if end != wanted {
            script.extend(["resizepart", &number, &args.part_end]);
        }
    }
    Ok(script.into_iter().map(str::to_owned).collect())
}

/// What gives a partition its name and flags.
fn marks(args: &Args, number: i64, name: Option<&str>, flags: &[String]) -> Vec<String> {
    let number = number.to_string();
    let mut script: Vec<String> = Vec::new();
    let mut say = |words: [&str; 4]| {
        script.extend(words.into_iter().filter(|word| !word.is_empty()).map(str::to_owned));
    };
    if let Some(wanted) = args.name.as_deref().filter(|wanted| name != Some(wanted)) {
        // The quotes are parted's, for names with blanks in them.
        say(["name", &number, &format!("\"{wanted}\""), ""]);
    }
    let mut wanted = args.flags.clone().unwrap_or_default();
    if !wanted.is_empty() {
        // Who sets `esp` sets `boot`, and who clears that clears the other.
        if wanted.iter().any(|flag| flag == "esp") && wanted.iter().all(|flag| flag != "boot") {
            wanted.push("boot".into());
        }
        for flag in wanted.iter().filter(|flag| !flags.contains(flag)) {
            say(["set", &number, flag, "on"]);
        }
        // Some builds list the number of an msdos partition's kind among its flags; it is none.
        let is_kind = |flag: &str| {
            flag.strip_prefix("type=").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_hexdigit()))
        };
        for flag in flags.iter().filter(|flag| !wanted.contains(flag) && !is_kind(flag)) {
            say(["set", &number, flag, "off"]);
        }
    }
    if !script.is_empty() {
        script.splice(0..0, ["unit".to_owned(), args.unit.clone()]);
    }
    script
}

/// Waits for what the kernel knows of to have a file, and gives it one under the disk's alias, too.
fn appear(host: &Host, device: &Path, real: &Path, number: i64) -> Result<(), Failure> {
    let Ok(number) = u32::try_from(number) else { return Ok(()) };
    let partition = block::partition_path(real, number);
    let name = partition.file_name().unwrap_or_default();
    if Path::new("/sys/class/block").join(name).exists() && Path::new("/run/udev/control").exists() {
        settle(host, real);
        wait_for(&partition)?;
    }
    link_partition(host, device, real, number)
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

/// A number of bytes in the unit that was asked for; in KiB if that is none with a fixed size.
fn in_unit(args: &Args, size: u64) -> Value {
    let unit = match args.unit.as_str() {
        "%" | "cyl" | "chs" | "compact" => 1024,
        "s" => 512,
        unit => bytes(1.0, unit),
    };
    Value::Float(size as f64 / unit as f64)
}

fn shown(args: &Args, parts: &[PartitionInfo]) -> Value {
    Value::list(
        parts
            .iter()
            .map(|p| {
                Value::map([
                    ("num", Value::from(p.number)),
                    ("begin", in_unit(args, p.start)),
                    ("end", in_unit(args, p.start + p.length)),
                    ("size", in_unit(args, p.length)),
                    ("name", p.name.as_str().into()),
                    ("unit", shown_unit(&args.unit, args.unit_preserve_case).into()),
                    ("fstype", "".into()),
                    ("flags", Value::list(vec![])),
                ])
            })
            .collect(),
    )
}

fn natively(args: &Args, host: &mut Host, device: &Path) -> Run {
    if !device.exists() {
        return Err(Failure::new(format!(
            "Error while getting device information with parted: the device {} is not there",
            args.device
        )));
    }
    let real = fs::canonicalize(device)?;
    let size = block::size(&real)?;
    let signature = block::signature(&real)?;
    let has_gpt = signature == Some("gpt");
    let parts = if has_gpt { disk::partitions(&real)? } else { vec![] };
    let info = |table: &str| {
        Value::map([
            ("dev", Value::from(device.display().to_string())),
            ("size", in_unit(args, size)),
            ("unit", shown_unit(&args.unit, args.unit_preserve_case).into()),
            ("table", table.into()),
            ("model", "".into()),
            ("logical_block", 512.into()),
            ("physical_block", 512.into()),
        ])
    };
    if args.state == "info" {
        let table = if has_gpt { "gpt" } else { signature.unwrap_or("unknown") };
        let script = ["unit", args.unit.as_str(), "print"].map(str::to_owned);
        return Ok(outcome(false, info(table), shown(args, &parts), &script));
    }
    let number = u32::try_from(args.number.unwrap_or_default()).map_err(|e| Failure::new(e.to_string()))?;
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
        link_partition(host, device, &real, number)?;
    } else {
        if args.label != "gpt" {
            return Err(Failure::new(format!(
                "without the program parted, bakery writes GPT partition tables only: install it while baking, or set `label: gpt` (this task says {})",
                args.label
            )));
        }
        if args.flags.as_ref().is_some_and(|flags| !flags.is_empty()) {
            return Err("flags of partitions want the program parted: install it while baking".into());
        }
        if !has_gpt && let Some(found) = signature {
            return Err(holds_data(args, found));
        }
        changed = true;
        if !host.check {
            if !has_gpt {
                disk::create_table(&real)?;
            }
            let (start, end) = (position(&args.part_start, size)?, position(&args.part_end, size)?);
            disk::add_partition(&real, number, start, end, args.name.as_deref().unwrap_or("primary"))?;
            settle(host, &real);
            wait_for(&block::partition_path(&real, number))?;
            link_partition(host, device, &real, number)?;
        }
    }
    let parts = disk::partitions(&real).unwrap_or_default();
    Ok(outcome(changed, info("gpt"), shown(args, &parts), &[]))
}

/// udev reads a table that changed once more, and the partition is gone for that moment.
fn settle(host: &Host, real: &Path) {
    if Path::new("/run/udev/control").exists() && real.starts_with("/dev") {
        let _ = host.try_run(&["udevadm", "settle", "--timeout=30"]);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is on a disk is not given up for a table that is asked for.
    #[test]
    fn a_disk_with_data_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path().join("disk");
        let ext4 = {
            let mut bytes = vec![0u8; 1 << 20];
            bytes[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
            bytes
        };
        fs::write_new(&disk, &ext4).expect("written");
        let args = bakery_lang::Map::from_iter([
            ("device", Value::from(disk.display().to_string())),
            ("number", 1.into()),
            ("state", "present".into()),
            ("label", "gpt".into()),
        ]);
        let result = crate::run("parted", &args, &mut Host::default());
        assert!(result.get("failed").is_some_and(|failed| failed.is_true()), "{result:?}");
        assert_eq!(fs::read(&disk).expect("read"), ext4);
    }
}
