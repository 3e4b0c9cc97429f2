//! `modprobe`: modules of the kernel (community.general `modprobe.py`).

use std::path::Path;

use bakery_host::fs;
use bakery_macros::ModuleArgs;

use crate::host::{Phase, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Loads or unloads a module of the kernel, now and at each boot.
#[derive(ModuleArgs)]
struct Args {
    /// The module.
    #[arg(required)]
    name: String,
    /// Whether it shall be loaded.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Its parameters.
    #[arg(default = "")]
    params: String,
    /// Whether it is loaded at each boot, too.
    #[arg(default = "disabled", choices = "disabled,absent,present")]
    persistent: String,
}

/// A file's lines without those that a test finds; whether there were any.
fn without(host: &mut Host, path: &Path, drop: impl Fn(&str) -> bool) -> Result<bool, Failure> {
    let Some(bytes) = host.read_optional(path)? else { return Ok(false) };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if !text.lines().any(&drop) {
        return Ok(false);
    }
    let kept: String =
        text.lines().map(|l| if drop(l) { format!("#{l}\n") } else { format!("{l}\n") }).collect();
    Ok(host.replace(path, kept.as_bytes(), &Replace::default())?.0)
}

fn persist(args: &Args, host: &mut Host) -> Result<bool, Failure> {
    let (load, options) = (Path::new("/etc/modules-load.d"), Path::new("/etc/modprobe.d"));
    let is_name = |line: &str| line.trim() == args.name;
    let is_option = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some("options") && words.next() == Some(&args.name)
    };
    let wanted: Vec<&str> = args.params.split_whitespace().collect();
    let files = |folder: &Path| fs::read_dir(folder).unwrap_or_default();
    let mut changed = false;
    if args.persistent == "present" {
        let named =
            files(load).iter().any(|p| fs::read_to_string(p).unwrap_or_default().lines().any(is_name));
        if !named {
            let path = load.join(format!("{}.conf", args.name));
            let text = format!("{}\n", args.name);
            changed |= host.replace(&path, text.as_bytes(), &Replace::default())?.0;
        }
        let mut kept: Vec<String> = Vec::new();
        for path in files(options) {
            for line in fs::read_to_string(path).unwrap_or_default().lines().filter(|l| is_option(l)) {
                kept.extend(line.split_whitespace().skip(2).map(str::to_owned));
            }
        }
        kept.sort();
        let mut sorted = wanted.clone();
        sorted.sort_unstable();
        if kept != sorted {
            for path in files(options) {
                changed |= without(host, &path, is_option)?;
            }
            let path = options.join(format!("{}.conf", args.name));
            let text: String = wanted.iter().map(|p| format!("options {} {p}\n", args.name)).collect();
            changed |= host.replace(&path, text.as_bytes(), &Replace::default())?.0;
        }
        return Ok(changed);
    }
    for (folder, drop) in [(load, &is_name as &dyn Fn(&str) -> bool), (options, &is_option)] {
        for path in files(folder) {
            changed |= without(host, &path, drop)?;
        }
    }
    Ok(changed)
}

/// Whether the kernel has it, loaded or built in.
fn loaded(host: &Host, name: &str) -> Result<bool, Failure> {
    let kernel_name = name.replace('-', "_");
    let text = host.read_optional(Path::new("/proc/modules"))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    if text.lines().any(|l| l.split_whitespace().next() == Some(kernel_name.as_str())) {
        return Ok(true);
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let built_in = fs::read_to_string(format!("/lib/modules/{}/modules.builtin", release.trim()));
    let file = format!("/{kernel_name}.ko");
    Ok(built_in.unwrap_or_default().lines().any(|l| l.replace('-', "_").ends_with(&file)))
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.persistent != "disabled" && (args.state == "present") != (args.persistent == "present") {
        host.warn(format!("{} is {} now, and {} at boot", args.name, args.state, args.persistent));
    }
    if host.phase == Phase::Live {
        host.program("modprobe")?;
    }
    let mut changed = false;
    if host.phase == Phase::Bake {
        // The image's kernel does not run yet: what is to be loaded is loaded when it does.
        host.leave_to_boot(format!("the kernel module {} is {} at boot", args.name, args.state));
    } else if (args.state == "present") != loaded(host, &args.name)? {
        changed = true;
        // In check mode, what is loaded is only looked for.
        if !host.check || args.state == "present" {
            let mut command = vec!["modprobe"];
            if host.check {
                command.push("-n");
            }
            if args.state == "absent" {
                command.push("-r");
            }
            command.push(&args.name);
            if args.state == "present" {
                command.extend(args.params.split_whitespace());
            }
            let output = host.try_run(&command)?;
            if !output.success() {
                return Err(Failure::new(output.error_text()).with_output(&output));
            }
        }
    }
    if args.persistent != "disabled" {
        changed |= persist(&args, host)?;
    } else if host.phase == Phase::Bake && args.state == "present" {
        let named = Args { persistent: "present".into(), ..args };
        changed |= persist(&named, host)?;
        return Ok(result(changed, &named));
    }
    Ok(result(changed, &args))
}

fn result(changed: bool, args: &Args) -> Outcome {
    Outcome::changed(changed)
        .with("name", args.name.as_str())
        .with("params", args.params.as_str())
        .with("state", args.state.as_str())
}

module!("modprobe", "community.general", Args, run);
