//! `selinux`: its mode and policy (ansible.posix `selinux.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::Replace;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets the mode and the policy of SELinux, now as far as it can be, and for the next boot.
#[derive(ModuleArgs)]
struct Args {
    /// The mode.
    #[arg(required, choices = "enforcing,permissive,disabled")]
    state: String,
    /// The policy; it must be given unless SELinux shall be off.
    policy: Option<String>,
    /// The file with its configuration.
    #[arg(default = "/etc/selinux/config", alias = "conf,file")]
    configfile: String,
    /// Whether the kernel's command line is changed by `grubby`, too.
    update_kernel_param: bool,
}

/// Whether the running kernel has SELinux switched on, as libselinux finds out: its file system, with a policy loaded.
pub(super) fn is_enabled() -> bool {
    bakery_host::fs::read("/sys/fs/selinux/enforce").is_ok()
        && bakery_host::fs::read_to_string("/proc/self/attr/current")
            .is_ok_and(|context| context.trim_end_matches(['\0', '\n']) != "kernel")
}

/// The value of a setting in the configuration.
fn setting(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(&format!("{name}=")))?;
    line.split('=').nth(1).map(|value| value.trim().to_owned())
}

fn with_setting(text: &str, name: &str, value: &str) -> String {
    let start = format!("{name}=");
    let mut found = false;
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with(&start) {
            found = true;
            out.push_str(&format!("{start}{value}\n"));
        } else {
            out.push_str(&format!("{line}\n"));
        }
    }
    if !found {
        out.push_str(&format!("{start}{value}\n"));
    }
    out
}

/// Whether all kernels of the boot loader start with SELinux, none does, or they differ.
fn kernels(host: &Host, grubby: &str) -> Result<Option<bool>, Failure> {
    let text = host.run(&[grubby, "--info=ALL"]).map_err(|_| Failure::new("unable to run grubby"))?.text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("args=\"")?.strip_suffix('"'));
    let off: Vec<bool> = lines.map(|args| args.split(' ').any(|arg| arg == "selinux=0")).collect();
    let (all_on, all_off) = (off.iter().all(|off| !off), off.iter().all(|off| *off));
    Ok((all_on != all_off).then_some(all_on))
}

fn run(args: Args, host: &mut Host) -> Run {
    let file = host.path(&args.configfile);
    let Some(bytes) = host.read_optional(&file)? else {
        return Err(Failure::new(format!("Unable to find file {}", args.configfile)).with(
            "details",
            "Please install SELinux-policy package, if this package is not installed previously.",
        ));
    };
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    let enabled = is_enabled();
    let enforcing =
        bakery_host::fs::read("/sys/fs/selinux/enforce").is_ok_and(|bytes| bytes.starts_with(b"1"));
    let state_now = match (enabled, enforcing) {
        (true, true) => "enforcing",
        (true, false) => "permissive",
        (false, _) => "disabled",
    };
    let (policy_held, state_held) = (setting(&text, "SELINUXTYPE"), setting(&text, "SELINUX"));
    // The policy that runs is the one of the configuration: there is no other place that names it.
    let policy_now = setting(&host_config(host)?, "SELINUXTYPE");
    let grubby = if args.update_kernel_param {
        Some(host.program("grubby").map_err(|_| {
            Failure::new("'grubby' command not found on host").with(
                "details",
                "In order to update the kernel command line enabled/disabled setting, the grubby package needs to be present on the system.",
            )
        })?)
    } else {
        None
    };
    let kernel = grubby.as_deref().map(|grubby| kernels(host, grubby)).transpose()?;
    let policy = match (&args.policy, args.state.as_str()) {
        (Some(policy), _) => Some(policy.clone()),
        (None, "disabled") => policy_held.clone(),
        (None, _) => return Err("Policy is required if state is not 'disabled'".into()),
    };
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "None".into());
    let mut messages = Vec::new();
    let mut changed = false;
    let mut reboot = false;
    if policy != policy_now {
        if host.check {
            return Ok(Outcome::changed(true));
        }
        messages.push(format!(
            "Running SELinux policy changed from '{}' to '{}'",
            shown(&policy_now),
            shown(&policy)
        ));
        changed = true;
    }
    if policy != policy_held {
        if host.check {
            return Ok(Outcome::changed(true));
        }
        let name = shown(&policy);
        if !host.path(&format!("/etc/selinux/{name}/policy")).exists() {
            return Err(Failure::new(format!("Policy {name} does not exist in /etc/selinux/")));
        }
        text = with_setting(&text, "SELINUXTYPE", &name);
        messages.push(format!(
            "SELinux policy configuration in '{}' changed from '{}' to '{name}'",
            args.configfile,
            shown(&policy_held)
        ));
        changed = true;
    }
    if args.state != state_now {
        if !enabled {
            host.warn(format!("Reboot is required to set SELinux state to '{}'", args.state));
            reboot = true;
        } else if args.state == "disabled" {
            if state_now == "permissive" {
                host.warn("SELinux state change will take effect next reboot");
            } else {
                enforce(host, false)?;
                host.warn(format!("SELinux state temporarily changed from '{state_now}' to 'permissive'. State change will take effect next reboot."));
                changed = true;
            }
            reboot = true;
        } else {
            enforce(host, args.state == "enforcing")?;
            messages.push(format!("SELinux state changed from '{state_now}' to '{}'", args.state));
            changed = true;
        }
    }
    if state_held.as_deref() != Some(&args.state) {
        text = with_setting(&text, "SELINUX", &args.state);
        messages.push(format!(
            "Config SELinux state changed from '{}' to '{}'",
            shown(&state_held),
            args.state
        ));
        changed = true;
    }
    host.replace(&file, text.as_bytes(), &Replace::default())?;
    let wanted = args.state != "disabled";
    if let (Some(grubby), Some(kernel)) = (&grubby, kernel)
        && kernel != Some(wanted)
    {
        if !host.check {
            let option = if wanted { "--remove-args" } else { "--args" };
            host.run(&[grubby, "--update-kernel=ALL", option, "selinux=0"])?;
        }
        let word = |on: bool| if on { "enabled" } else { "disabled" };
        let from = kernel.map_or("<inconsistent>", word);
        messages.push(format!("Kernel SELinux state changed from '{from}' to '{}'", word(wanted)));
        changed = true;
    }
    Ok(Outcome::changed(changed)
        .msg(messages.join(", "))
        .with("configfile", args.configfile)
        .with("policy", policy.map_or(Value::None, Value::from))
        .with("state", args.state)
        .with("reboot_required", reboot))
}

/// The system's own configuration, which names the policy that runs.
fn host_config(host: &Host) -> Result<String, Failure> {
    let bytes = host.read_optional(std::path::Path::new("/etc/selinux/config"))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn enforce(host: &Host, on: bool) -> Result<(), Failure> {
    if !host.check {
        host.run(&[host.program("setenforce")?.as_str(), if on { "1" } else { "0" }])?;
    }
    Ok(())
}

module!("selinux", "ansible.posix", Args, run);
