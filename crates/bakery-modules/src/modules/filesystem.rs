//! `filesystem`: a file system on a device. A device that holds one already, or anything else with a signature, is
//! never formatted without `force`.

use bakery_host::{block, fs};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes a file system on a device that is empty.
#[derive(ModuleArgs)]
struct Args {
    /// The device.
    #[arg(required, alias = "device")]
    dev: String,
    /// The kind: `ext4`, `xfs`, `btrfs`, `swap` …
    #[arg(alias = "type")]
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
}

fn run(args: Args, host: &mut Host) -> Run {
    let device = host.path(&args.dev);
    if !device.exists() {
        return Err(Failure::new(format!("Device {} not found.", args.dev)));
    }
    let real = fs::canonicalize(&device)?;
    let path = real.display().to_string();
    let found = block::signature(&real)?;
    if args.state == "absent" {
        if found.is_none() {
            return Ok(Outcome::unchanged());
        }
        if !host.check {
            host.run(&["wipefs", "--all", &path])?;
        }
        return Ok(Outcome::changed(true));
    }
    let Some(fstype) = args.fstype.as_deref() else {
        return Err("fstype is required with state=present".into());
    };
    let family = |name: &str| matches!(name, "ext2" | "ext3" | "ext4" | "ext4dev");
    let same = found == Some(fstype) || (found == Some("ext4") && family(fstype));
    if same && !args.force {
        if !args.resizefs {
            return Ok(Outcome::unchanged());
        }
        let grow: Vec<&str> = match fstype {
            f if family(f) => vec!["resize2fs", &path],
            "xfs" => vec!["xfs_growfs", "-d", &path],
            other => {
                return Err(Failure::new(format!("module does not support resizing {other} filesystem yet")));
            }
        };
        if host.check {
            return Ok(Outcome::changed(true));
        }
        let said = host.run(&grow)?;
        let text = said.text() + &said.error_text();
        return Ok(Outcome::changed(
            !text.contains("Nothing to do") && !text.contains("data size unchanged"),
        )
        .msg(text));
    }
    if let (Some(found), false) = (found, args.force) {
        return Err(Failure::new(format!(
            "'{}' is already used as {found}, use force=true to overwrite",
            args.dev
        )));
    }
    let force: &[&str] = match fstype {
        f if family(f) => &["-F", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
        "xfs" | "btrfs" | "f2fs" | "reiserfs" => &["-f"],
        _ => &[],
    };
    let program = if fstype == "swap" { "mkswap".to_owned() } else { format!("mkfs.{fstype}") };
    let mut argv: Vec<String> = vec![program.clone()];
    argv.extend(force.iter().map(|s| (*s).to_owned()));
    if let Some(uuid) = &args.uuid {
        let option = match fstype {
            "xfs" => vec!["-m".to_owned(), format!("uuid={uuid}")],
            _ => vec!["-U".to_owned(), uuid.clone()],
        };
        argv.extend(option);
    }
    argv.extend(args.opts.iter().flat_map(|opts| opts.split_whitespace().map(str::to_owned)));
    argv.push(path);
    if !host.check {
        if bakery_host::command::find_program(&program).is_none() {
            return Err(Failure::new(format!(
                "Failed to find required executable \"{program}\": install the package with the tools of {fstype} while baking"
            )));
        }
        host.run(&argv)?;
    }
    Ok(Outcome::changed(true))
}

module!("filesystem", "community.general", Args, run);
