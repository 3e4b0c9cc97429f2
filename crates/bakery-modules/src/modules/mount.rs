//! `mount`: /etc/fstab and what is mounted (ansible.posix `mount.py`).

use std::path::Path;

use bakery_host::fs;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::Replace;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Phase, Run};

/// Keeps a line of /etc/fstab and mounts or unmounts it.
#[derive(ModuleArgs)]
struct Args {
    /// Where it is mounted.
    #[arg(required, alias = "name")]
    path: String,
    /// What is mounted: a device, `LABEL=…`, `UUID=…`, a share.
    src: Option<String>,
    /// The kind of file system.
    fstype: Option<String>,
    /// Options.
    #[arg(default = "defaults")]
    opts: String,
    /// Whether dump(8) saves it.
    #[arg(default = "0")]
    dump: String,
    /// In which pass it is checked.
    #[arg(default = "0")]
    passno: String,
    /// What shall be.
    #[arg(required, choices = "absent,absent_from_fstab,ephemeral,mounted,present,remounted,unmounted")]
    state: String,
    /// Another file than /etc/fstab.
    fstab: Option<String>,
    /// Whether it is mounted at boot.
    #[arg(default = "true")]
    boot: bool,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// Options for the state `remounted`.
    opts_no_log: bool,
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
}

fn is_mounted(path: &Path) -> bool {
    mounted_source(path).is_some()
}

/// What is mounted at a path; the last, when there are several.
fn mounted_source(path: &Path) -> Option<String> {
    let wanted = escape(&path.display().to_string());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(&wanted))?;
    line.split(' ').next().map(str::to_owned)
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.path);
    let fstab = host.path(args.fstab.as_deref().unwrap_or("/etc/fstab"));
    let text =
        host.read_optional(&fstab)?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let target = escape(args.path.trim_end_matches('/'));
    let target = if target.is_empty() { "/".to_owned() } else { target };
    let mut lines: Vec<String> = Vec::new();
    let mut found = false;
    let keep = matches!(args.state.as_str(), "mounted" | "present");
    let mut opts = args.opts.clone();
    if !args.boot && !opts.split(',').any(|o| o == "noauto") {
        opts.push_str(",noauto");
    }
    if keep && (args.src.is_none() || args.fstype.is_none()) {
        return Err(Failure::new(format!(
            "state is {} but all of the following are missing: src, fstype",
            args.state
        )));
    }
    let entry = format!(
        "{} {target} {} {} {} {}",
        escape(args.src.as_deref().unwrap_or_default()),
        args.fstype.as_deref().unwrap_or_default(),
        escape(&opts),
        args.dump,
        args.passno
    );
    let mut listed = false;
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let same = !line.trim_start().starts_with('#') && fields.get(1) == Some(&target.as_str());
        listed |= same;
        if !same {
            lines.push(line.to_owned());
        } else if keep && !found {
            found = true;
            let equal = fields == entry.split_whitespace().collect::<Vec<_>>();
            lines.push(if equal { line.to_owned() } else { entry.clone() });
        } else if matches!(args.state.as_str(), "unmounted" | "remounted" | "ephemeral") {
            lines.push(line.to_owned());
        }
    }
    if keep && !found {
        lines.push(entry);
    }
    let mut new = lines.join("\n");
    if !new.is_empty() {
        new.push('\n');
    }
    let edits = matches!(args.state.as_str(), "mounted" | "present" | "absent" | "absent_from_fstab");
    let mut changed = false;
    let mut backup = None;
    if edits && (new != text) {
        let (did, kept) =
            host.replace(&fstab, new.as_bytes(), &Replace { backup: args.backup, ..Replace::default() })?;
        changed |= did;
        backup = kept;
    }
    let shown = path.display().to_string();
    match args.state.as_str() {
        "mounted" | "ephemeral" if host.phase == Phase::Bake => {
            if !path.exists() {
                changed = true;
                if !host.check {
                    fs::create_dir_all(&path)?;
                }
            }
            host.leave_to_boot(format!("{shown} is mounted at boot"));
        }
        "mounted" | "ephemeral" => {
            if !path.exists() {
                changed = true;
                if !host.check {
                    fs::create_dir_all(&path)?;
                }
            }
            let mounted = is_mounted(&path);
            if mounted && args.state == "ephemeral" {
                let source = mounted_source(&path);
                if source.as_deref() != args.src.as_deref() {
                    return Err(Failure::new(format!(
                        "Ephemeral mount point {shown} is already mounted with a different source than the specified one: {}",
                        source.unwrap_or_default()
                    )));
                }
                changed = true;
            }
            if !mounted {
                changed = true;
                if !host.check {
                    let output = if args.state == "mounted" && args.fstab.is_none() {
                        host.try_run(&["mount", shown.as_str()])?
                    } else {
                        let (src, kind) =
                            (args.src.clone().unwrap_or_default(), args.fstype.clone().unwrap_or_default());
                        host.try_run(&["mount", "-t", &kind, "-o", &opts, &src, &shown])?
                    };
                    if !output.success() {
                        return Err(Failure::new(format!("Error mounting {shown}: {}", output.error_text())));
                    }
                }
            } else if changed && !host.check {
                host.run(&["mount", "-o", "remount", &shown])?;
            }
        }
        // What the file does not list is nobody's to remove.
        "absent" if !listed => {}
        "unmounted" | "absent" if host.phase == Phase::Live => {
            if is_mounted(&path) {
                changed = true;
                if !host.check {
                    host.run(&["umount", &shown])?;
                }
            }
            if args.state == "absent"
                && path.exists()
                && !host.check
                && fs::read_dir(&path).is_ok_and(|e| e.is_empty())
            {
                fs::remove_all(&path)?;
                changed = true;
            }
        }
        "remounted" if host.phase == Phase::Live => {
            changed = true;
            if !host.check {
                host.run(&["mount", "-o", "remount", &shown])?;
            }
        }
        _ => {}
    }
    let mut outcome = Outcome::changed(changed)
        .with("name", args.path)
        .with("fstab", fstab.display().to_string())
        .with("opts", opts)
        .with("dump", args.dump)
        .with("passno", args.passno)
        .with("boot", if args.boot { "yes" } else { "no" });
    for (name, value) in [("src", args.src), ("fstype", args.fstype)] {
        outcome = outcome.with(name, value.map_or(Value::None, Value::from));
    }
    Ok(outcome.with("backup_file", backup.map(|b| b.display().to_string()).unwrap_or_default()))
}

module!("mount", "ansible.posix", Args, run);
