//! `sysctl`: kernel settings in /etc/sysctl.conf, and in the running kernel.

use std::collections::BTreeSet;

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::args::boolean;
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

/// The name and the value of a line that sets something.
fn setting(line: &str) -> Option<(&str, &str)> {
    let set = line.split_once('=').filter(|_| !line.starts_with(['#', ';']));
    set.map(|(name, value)| (name.trim(), value.trim()))
}

/// Lines as the module leaves them: each setting once, as it was first set, without blanks around it.
fn lines_with(text: &str, name: &str, value: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        let Some((key, old)) = setting(line) else {
            lines.push(line.to_owned());
            continue;
        };
        let new = if key == name { value } else { Some(old) };
        if seen.insert(key)
            && let Some(new) = new
        {
            lines.push(format!("{key}={new}"));
        }
    }
    if let Some(value) = value.filter(|_| !seen.contains(name)) {
        lines.push(format!("{name}={value}"));
    }
    lines
}

/// Truth values are numbers to the kernel.
fn as_kernel_writes(value: &str) -> &str {
    match boolean(&Value::from(value.to_lowercase())) {
        Ok(true) => "1",
        Ok(false) => "0",
        Err(_) => value.trim(),
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.sysctl_file);
    let name = args.name.trim();
    let text =
        host.read_optional(&path)?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let value = match (args.state.as_str(), args.value.as_deref()) {
        ("present", None) => return Err("value is required with state=present".into()),
        ("present", Some("")) => return Err("value cannot be blank".into()),
        (_, value) => value.map(as_kernel_writes).filter(|_| args.state == "present"),
    };
    if name.is_empty() {
        return Err("name cannot be blank".into());
    }
    // What is said twice holds as it is said last.
    let held = text.lines().filter_map(|line| setting(line.trim())).rfind(|(key, _)| *key == name);
    let mut changed = held.map(|(_, value)| value) != value;
    if changed {
        let new = lines_with(&text, name, value).join("\n") + "\n";
        host.replace(&path, new.as_bytes(), &Replace::default())?;
    }
    if host.phase != Phase::Live {
        if changed {
            host.leave_to_boot(format!("{name} is set at boot"));
        }
        return Ok(Outcome::changed(changed));
    }
    let now = bakery_host::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let other = value.filter(|value| now.as_deref().map(words) != Some(words(value)));
    let tolerant: &[&str] = if args.ignoreerrors { &["-e"] } else { &[] };
    let tell_kernel = |words: &[&str], what: String| -> Result<(), Failure> {
        let output = host.try_run(&[&["sysctl"], tolerant, words].concat())?;
        if output.success() && !says_that_it_failed(&output.error_text()) {
            return Ok(());
        }
        Err(Failure::new(format!("{what}: {}", output.error_text())))
    };
    // What the file says already is loaded again where the kernel does not know it.
    changed |= other.is_some() && (args.reload || args.sysctl_set);
    if host.check {
        return Ok(Outcome::changed(changed));
    }
    if let Some(value) = other.filter(|_| args.sysctl_set) {
        tell_kernel(&["-w", &format!("{name}={value}")], format!("setting {name} failed"))?;
    }
    if changed && args.reload {
        tell_kernel(&["-p", &path.display().to_string()], "Failed to reload sysctl".into())?;
    }
    Ok(Outcome::changed(changed))
}

/// Whether sysctl(8) said that the kernel refused a value; its exit code may be 0 nevertheless.
fn says_that_it_failed(text: &str) -> bool {
    let refused = |line: &str| {
        line.starts_with("sysctl: setting key ")
            && (line.ends_with(": Invalid argument") || line.ends_with(": Read-only file system"))
    };
    text.lines().any(refused)
}

module!("sysctl", "ansible.posix", Args, run);
