//! `filesystem`: a file system on a device (community.general `filesystem.py`). A device that holds one already, or anything
//! else with a signature, is never formatted without `force`: Ansible's module looks for file systems only, this one for
//! tables of partitions too.

use bakery_host::{Output, block, fs};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes a file system on a device that is empty.
#[derive(ModuleArgs)]
#[args(exclusive = "resizefs,uuid")]
struct Args {
    /// The device.
    #[arg(required, alias = "device")]
    dev: String,
    /// The kind.
    #[arg(
        alias = "type",
        choices = "bcachefs,btrfs,ext2,ext3,ext4,ext4dev,f2fs,gfs2,lvm,ocfs2,reiserfs,swap,ufs,vfat,xfs"
    )]
    fstype: Option<String>,
    /// Whether one shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Options for mkfs.
    opts: Option<String>,
    /// Whether what is there is overwritten.
    force: bool,
    /// Whether a file system that is smaller than its device grows.
    resizefs: bool,
    /// The UUID to give.
    uuid: Option<String>,
    /// The label to give to what is made, where `opts` gives none; for gfs2 only.
    label: Option<String>,
}

/// What programs do with a kind of file system.
struct Kind {
    /// What blkid(8) calls it.
    types: &'static [&'static str],
    /// What messages call it.
    name: &'static str,
    mkfs: &'static str,
    force: &'static [&'static str],
    /// The options of `mkfs` that give a UUID, and what else they want.
    uuid: (&'static [&'static str], &'static [&'static str]),
    /// The options of `mkfs` that give a label.
    label: &'static [&'static str],
    /// The command that makes it fill its device.
    grow: &'static [&'static str],
    /// Whether that is told where it is mounted.
    grows_mounted: bool,
    /// How many bytes of the device may stay unused.
    slack: u64,
    /// The command that gives it another UUID, and whether the UUID follows.
    change_uuid: (&'static [&'static str], bool),
}

const NONE: Kind = Kind {
    types: &[],
    name: "",
    mkfs: "",
    force: &[],
    uuid: (&[], &[]),
    label: &[],
    grow: &[],
    grows_mounted: false,
    slack: 0,
    change_uuid: (&[], false),
};

const EXT: Kind = Kind {
    force: &["-F"],
    uuid: (&["-U"], &[]),
    grow: &["resize2fs"],
    change_uuid: (&["tune2fs", "-U"], true),
    ..NONE
};

const KINDS: &[Kind] = &[
    Kind { types: &["ext2"], name: "Ext2", mkfs: "mkfs.ext2", ..EXT },
    Kind { types: &["ext3"], name: "Ext3", mkfs: "mkfs.ext3", ..EXT },
    Kind { types: &["ext4", "ext4dev"], name: "Ext4", mkfs: "mkfs.ext4", ..EXT },
    Kind {
        types: &["xfs"],
        name: "XFS",
        mkfs: "mkfs.xfs",
        force: &["-f"],
        grow: &["xfs_growfs"],
        grows_mounted: true,
        // Less than 64 blocks do not become a group of their own.
        slack: 64 * 4096 - 1,
        change_uuid: (&["xfs_admin", "-U"], true),
        ..NONE
    },
    Kind {
        types: &["btrfs"],
        name: "Btrfs",
        mkfs: "mkfs.btrfs",
        force: &["-f"],
        grow: &["btrfs", "filesystem", "resize", "max"],
        grows_mounted: true,
        ..NONE
    },
    Kind {
        types: &["bcachefs"],
        name: "Bcachefs",
        mkfs: "mkfs.bcachefs",
        force: &["--force"],
        uuid: (&["-U", "--uuid"], &[]),
        grow: &["bcachefs", "device", "resize"],
        ..NONE
    },
    Kind {
        types: &["f2fs"],
        name: "F2fs",
        mkfs: "mkfs.f2fs",
        force: &["-f"],
        grow: &["resize.f2fs"],
        ..NONE
    },
    Kind { types: &["vfat"], name: "VFAT", mkfs: "mkfs.vfat", grow: &["fatresize", "-s", "max"], ..NONE },
    Kind { types: &["reiserfs"], name: "Reiserfs", mkfs: "mkfs.reiserfs", force: &["-q"], ..NONE },
    Kind { types: &["ocfs2"], name: "Ocfs2", mkfs: "mkfs.ocfs2", force: &["-Fx"], ..NONE },
    Kind {
        types: &["gfs2"],
        name: "GFS2",
        mkfs: "mkfs.gfs2",
        force: &["-O"],
        uuid: (&["-U"], &[]),
        label: &["-t"],
        ..NONE
    },
    Kind {
        types: &["LVM2_member"],
        name: "LVM",
        mkfs: "pvcreate",
        force: &["-f"],
        uuid: (&["-u", "--uuid"], &["--norestorefile"]),
        grow: &["pvresize"],
        change_uuid: (&["pvchange", "-u"], false),
        ..NONE
    },
    Kind { types: &["swap"], name: "Swap", mkfs: "mkswap", force: &["-f"], ..NONE },
    Kind { types: &["ufs"], name: "UFS", mkfs: "newfs", grow: &["growfs", "-y"], ..NONE },
];

/// A device, by the path that was given and by the one that links lead to.
struct Device<'a> {
    host: &'a Host,
    given: String,
    real: std::path::PathBuf,
}

impl Device<'_> {
    /// Where it is mounted first.
    fn mountpoint(&self) -> Option<String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        mounts.lines().find_map(|line| {
            let (source, rest) = line.split_once(' ')?;
            let is_this = fs::canonicalize(source).is_ok_and(|source| source == self.real);
            is_this.then(|| rest.split(' ').next().unwrap_or_default().replace("\\040", " "))
        })
    }

    fn mounted(&self, kind: &Kind) -> Result<String, Failure> {
        let why = || format!("{} needs to be mounted for {} operations", self.given, kind.name);
        Ok(self.mountpoint().ok_or_else(why)?)
    }

    /// The size of the file system, in bytes, as its own program tells it.
    fn filesystem_size(&self, kind: &Kind) -> Result<u64, Failure> {
        let device = self.given.as_str();
        let program = |name| self.host.program(name);
        let (text, size) = match kind.types[0] {
            "ext2" | "ext3" | "ext4" => {
                let text = self.host.run(&[program("tune2fs")?.as_str(), "-l", device])?.text();
                let size = after(&text, "Block count:").zip(after(&text, "Block size:"));
                (text, size.map(|(count, size)| count * size))
            }
            "xfs" => {
                let place = self.mountpoint().unwrap_or_else(|| device.to_owned());
                let text = self.host.run(&[program("xfs_info")?.as_str(), &place])?.text();
                let data = text.find("\ndata ").map(|at| &text[at..]).unwrap_or_default();
                let size = after(data, "bsize=").zip(after(data, "blocks="));
                let size = size.map(|(size, count)| size * count);
                (text, size)
            }
            "btrfs" => {
                let place = self.mounted(kind)?;
                let argv = [program("btrfs")?, "filesystem".into(), "usage".into(), "-b".into(), place];
                let text = self.host.run(&argv)?.text();
                let size = after(&text, "Device size:");
                (text, size)
            }
            "bcachefs" => {
                let text = self.host.run(&[program("bcachefs")?.as_str(), "show-super", device])?.text();
                let size = text.find("Size:").and_then(|at| with_unit(&text[at + "Size:".len()..]));
                (text, size)
            }
            "f2fs" => {
                let text = self.host.run(&[program("dump.f2fs")?.as_str(), device])?.text();
                let size = after(&text, "Info: sector size =").zip(after(&text, "Info: total FS sectors ="));
                let size = size.map(|(size, count)| size * count);
                (text, size)
            }
            "vfat" => {
                let text = self.host.run(&[program("fatresize")?.as_str(), "--info", device])?.text();
                let size = after(&text, "Cur size:").or_else(|| after(&text, "Size:"));
                (text, size)
            }
            "LVM2_member" => {
                let argv = ["pvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "pv_size", device];
                let text = self.host.run(&argv)?.text();
                let size = after(&text, "");
                (text, size)
            }
            _ => {
                let name = kind.name;
                return Err(format!("module does not support resizing {name} filesystem yet").into());
            }
        };
        size.ok_or_else(|| {
            let msg = format!("unable to process the size that is told of {device}");
            Failure::new(msg).with("stdout", text)
        })
    }

    /// Makes the file system fill its device; what the program said, if there is anything to do.
    fn grow(&self, kind: &Kind) -> Run {
        let (name, device) = (kind.name, self.given.as_str());
        let whole = block::size(&self.real)?;
        if self.filesystem_size(kind)? + kind.slack >= whole {
            let msg = format!("{name} filesystem is using the whole device {device}");
            return Ok(Outcome::unchanged().msg(msg));
        }
        if self.host.check {
            return Ok(Outcome::changed(true).msg(format!("resizing filesystem {name} on device {device}")));
        }
        let target = if kind.grows_mounted { self.mounted(kind)? } else { device.to_owned() };
        self.host.program(kind.grow[0])?;
        let argv: Vec<&str> = kind.grow.iter().copied().chain([target.as_str()]).collect();
        Ok(Outcome::changed(true).msg(self.host.run(&argv)?.text()))
    }

    fn change_uuid(&self, kind: &Kind, uuid: &str) -> Run {
        if self.host.check {
            let msg = format!("Changing {} filesystem UUID on device {}", kind.name, self.given);
            // The module says so, and not that anything would be changed.
            return Ok(Outcome::unchanged().with("change", true).msg(msg));
        }
        let (command, has_uuid) = kind.change_uuid;
        let Some(program) = command.first() else {
            return Err(format!("module does not support changing the UUID of {} yet", kind.name).into());
        };
        self.host.program(program)?;
        let mut argv = command.to_vec();
        argv.extend(has_uuid.then_some(uuid));
        argv.push(&self.given);
        Ok(Outcome::changed(true).msg(self.host.run(&argv)?.text()))
    }

    fn create(&self, kind: &Kind, args: &Args) -> Result<(), Failure> {
        let mut opts: Vec<&str> = args.opts.iter().flat_map(|opts| opts.split_whitespace()).collect();
        let gives = |opts: &[&str], options: &[&str]| opts.iter().any(|opt| options.contains(opt));
        if let (Some(uuid), ([option, ..], more)) = (&args.uuid, kind.uuid)
            && !gives(&opts, kind.uuid.0)
        {
            opts.extend([option, uuid.as_str()]);
            opts.extend(more);
        }
        if let (Some(label), [option, ..]) = (&args.label, kind.label)
            && !gives(&opts, kind.label)
        {
            opts.extend([option, label.as_str()]);
        }
        if bakery_host::command::find_program(kind.mkfs).is_none() {
            return Err(Failure::new(format!(
                "Failed to find required executable \"{}\": install the package with the tools of {} while baking",
                kind.mkfs,
                args.fstype.as_deref().unwrap_or_default()
            )));
        }
        let argv: Vec<&str> = [kind.mkfs]
            .into_iter()
            .chain(kind.force.iter().copied())
            .chain(opts)
            .chain([self.given.as_str()])
            .collect();
        self.host.run(&argv)?;
        if let (Some(uuid), [], [_, ..]) = (&args.uuid, kind.uuid.0, kind.change_uuid.0) {
            self.change_uuid(kind, uuid)?;
        }
        Ok(())
    }

    /// What is on it: what blkid(8) finds, or else what has a signature; with what blkid said.
    fn content(&self) -> Result<(Option<String>, Option<Output>), Failure> {
        let mut said = None;
        if let Ok(blkid) = self.host.program("blkid") {
            let argv = [blkid.as_str(), "-c", "/dev/null", "-o", "value", "-s", "TYPE", &self.given];
            let output = self.host.try_run(&argv)?;
            let text = output.text().trim().to_owned();
            said = Some(output);
            // That of BusyBox prints the whole line whatever is asked.
            let kind = match text.split_once(" TYPE=") {
                Some((_, rest)) => rest.trim_start_matches('"').split(['"', ' ']).next().unwrap_or_default(),
                None => text.as_str(),
            };
            if !kind.is_empty() && !kind.contains(' ') {
                return Ok((Some(kind.to_owned()), said));
            }
        }
        Ok((block::signature(&self.real)?.map(str::to_owned), said))
    }
}

/// The number that follows some words.
fn after(text: &str, words: &str) -> Option<u64> {
    let rest = text[text.find(words)? + words.len()..].trim_start();
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// Bytes, of text such as ` 1.50 GiB` or, since bcachefs-tools 1.38, ` 1.50G`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a size"
)]
fn with_unit(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let unit = text[end..].split_whitespace().next()?;
    let base: u64 = if unit.len() == 2 && unit.ends_with('B') { 1000 } else { 1024 };
    let power = if unit == "B" { 0 } else { "kMGTPE".find(unit.replacen('K', "k", 1).chars().next()?)? + 1 };
    let factor = base.pow(u32::try_from(power).ok()?);
    Some((text[..end].parse::<f64>().ok()? * factor as f64) as u64)
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.dev);
    let present = args.state == "present";
    let kind = match args.fstype.as_deref() {
        None if present => {
            return Err("state is present but all of the following are missing: fstype".into());
        }
        None => &NONE,
        Some(given) => {
            let wanted = if given == "lvm" { "LVM2_member" } else { given };
            KINDS.iter().find(|kind| kind.types.contains(&wanted)).unwrap_or(&NONE)
        }
    };
    if !path.exists() {
        let msg = format!("Device {} not found.", path.display());
        return if present { Err(msg.into()) } else { Ok(Outcome::unchanged().msg(msg)) };
    }
    let device = Device { host, given: path.display().to_string(), real: fs::canonicalize(&path)? };
    let (found, said) = device.content()?;
    let outcome = if present {
        made(&args, &device, kind, found.as_deref(), said.as_ref())
    } else {
        emptied(&device, found.is_some())
    };
    if let Some(said) = said.filter(|said| !matches!(said.code, 0 | 2)) {
        let (rc, error) = (said.code, said.error_text());
        host.warn(format!("blkid failed probing {} (rc={rc}): {}", path.display(), error.trim()));
    }
    outcome
}

fn emptied(device: &Device<'_>, is_used: bool) -> Run {
    if is_used && !device.host.check {
        device.host.run(&["wipefs", "--all", &device.given])?;
    }
    Ok(Outcome::changed(is_used))
}

fn made(args: &Args, device: &Device<'_>, kind: &Kind, found: Option<&str>, said: Option<&Output>) -> Run {
    let fstype = args.fstype.as_deref().unwrap_or_default();
    let unsupported = |what: &str| format!("module does not support {what} filesystem ({fstype}) yet.");
    if args.uuid.is_some() && kind.change_uuid.0.is_empty() && kind.uuid.0.is_empty() {
        return Err(unsupported("UUID option for this").into());
    }
    match found {
        Some(found) if kind.types.contains(&found) => {
            if args.resizefs && kind.grow.is_empty() {
                return Err(format!("module does not support resizing {found} filesystem yet.").into());
            }
            if args.resizefs {
                return device.grow(kind);
            }
            if let Some(uuid) = &args.uuid {
                return device.change_uuid(kind, uuid);
            }
            if !args.force {
                return Ok(Outcome::unchanged());
            }
        }
        Some(found) if !args.force => {
            let given = &device.given;
            let why =
                Failure::new(format!("'{given}' is already used as {found}, use force=true to overwrite"));
            return Err(match said {
                Some(said) => why.with("rc", said.code).with("err", said.error_text()),
                None => why,
            });
        }
        _ => {}
    }
    if !device.host.check {
        device.create(kind, args)?;
    }
    Ok(Outcome::changed(true))
}

module!("filesystem", "community.general", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_bcachefs_tells_them() {
        for (text, bytes) in [
            (" 512 B\n", 512),
            (" 1.50 GiB", 1_610_612_736),
            ("  256M", 268_435_456),
            (" 10.0k", 10_240),
            (" 2 kB", 2000),
            (" 1 KiB", 1024),
        ] {
            assert_eq!(with_unit(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn every_kind_that_can_be_chosen_is_known() {
        let spec = crate::find("filesystem").expect("it is there").doc().args;
        let spec = spec.iter().find(|arg| arg.name == "fstype").expect("an option");
        for name in spec.choices.iter().filter(|name| **name != "lvm") {
            assert!(KINDS.iter().any(|kind| kind.types.contains(name)), "{name}");
        }
    }
}
