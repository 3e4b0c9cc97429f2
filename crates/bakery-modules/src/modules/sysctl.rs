//! `sysctl`: kernel settings in /etc/sysctl.conf, and in the running kernel.

use bakery_macros::ModuleArgs;

use crate::host::Replace;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Phase, Run};

/// Keeps a kernel setting in a file and, on a running machine, in the kernel.
#[derive(ModuleArgs)]
struct Args {
    /// The setting, dotted.
    #[arg(required, alias = "key")]
    name: String,
    /// Its value.
    #[arg(alias = "val")]
    value: Option<String>,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Whether the file is loaded after a change.
    #[arg(default = "true")]
    reload: bool,
    /// The file.
    #[arg(default = "/etc/sysctl.conf")]
    sysctl_file: String,
    /// Whether the running kernel is checked and set too.
    sysctl_set: bool,
    /// Whether unknown settings are no error.
    ignoreerrors: bool,
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.sysctl_file);
    let text =
        host.read_optional(&path)?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let value = args.value.clone().map(|v| v.trim().to_owned());
    let mut lines: Vec<String> = Vec::new();
    let mut seen = false;
    for line in text.lines() {
        let is_it = line.split_once('=').is_some_and(|(k, _)| k.trim() == args.name)
            && !line.trim_start().starts_with(['#', ';']);
        if !is_it {
            lines.push(line.to_owned());
        } else if args.state == "present" && !seen {
            seen = true;
            lines.push(format!("{}={}", args.name, value.as_deref().unwrap_or_default()));
        }
    }
    if args.state == "present" {
        let Some(value) = &value else { return Err("value is required with state=present".into()) };
        if !seen {
            lines.push(format!("{}={value}", args.name));
        }
    }
    let new = lines.join("\n") + "\n";
    let (mut changed, _) = if text.is_empty() && args.state == "absent" {
        (false, None)
    } else {
        host.replace(&path, new.as_bytes(), &Replace::default())?
    };
    if host.phase == Phase::Live {
        let file = format!("/proc/sys/{}", args.name.replace('.', "/"));
        let now = bakery_host::fs::read_to_string(&file).ok();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let wanted = value.as_deref().filter(|_| args.state == "present");
        let is_other = wanted.is_some_and(|wanted| now.as_deref().map(words) != Some(words(wanted)));
        // What the file says already is loaded again where the kernel does not know it.
        changed |= args.reload && is_other;
        if let Some(value) = wanted.filter(|_| args.sysctl_set && is_other) {
            changed = true;
            if !host.check && now.is_some() {
                let output = host.try_run(&["sysctl", "-w", &format!("{}={value}", args.name)])?;
                if !output.success() && !args.ignoreerrors {
                    return Err(Failure::new(format!(
                        "setting {} failed: {}",
                        args.name,
                        output.error_text()
                    )));
                }
            }
        }
        if changed && args.reload && !host.check {
            let file = path.display().to_string();
            let output = host.try_run(&["sysctl", "-p", &file])?;
            if !output.success() && !args.ignoreerrors {
                return Err(Failure::new(format!("Failed to reload sysctl: {}", output.error_text())));
            }
        }
    } else if changed {
        host.leave_to_boot(format!("{} is set at boot", args.name));
    }
    Ok(Outcome::changed(changed))
}

module!("sysctl", "ansible.posix", Args, run);
