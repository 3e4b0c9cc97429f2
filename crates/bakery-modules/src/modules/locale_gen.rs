//! `locale_gen`: locales that programs can use (community.general `locale_gen.py`).

use std::path::Path;

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::Replace;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes or removes locales.
#[derive(ModuleArgs)]
struct Args {
    /// The locales, such as `de_CH.UTF-8`.
    #[arg(required)]
    name: Vec<String>,
    /// Whether they shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
}

/// A locale's name as `locale -a` writes it: the charset in small letters without dashes.
fn plain(name: &str) -> String {
    let (base, rest) = name.split_once('.').unwrap_or((name, ""));
    let (charset, modifier) = rest.split_once('@').unwrap_or((rest, ""));
    let charset: String = charset.to_lowercase().chars().filter(|c| *c != '-').collect();
    let dot = if charset.is_empty() { "" } else { "." };
    let at = if modifier.is_empty() { "" } else { "@" };
    format!("{base}{dot}{charset}{at}{modifier}")
}

fn there(host: &Host, name: &str) -> Result<bool, Failure> {
    let all = host.run(&["locale", "-a"])?.text();
    Ok(all.lines().any(|l| plain(l) == plain(name)))
}

/// Whether a line, commented or not, names a locale and its charset.
fn names(line: &str, name: &str) -> bool {
    let line = line.trim_start().trim_start_matches('#').trim();
    let mut words = line.split_whitespace();
    words.next() == Some(name) && words.next().is_some() && words.next().is_none()
}

fn run(args: Args, host: &mut Host) -> Run {
    let present = args.state == "present";
    let path = Path::new("/etc/locale.gen");
    if !path.exists() {
        return Err("/etc/locale.gen is missing. Is the package \"locales\" installed?".into());
    }
    let mut supported = String::new();
    for path in ["/usr/share/i18n/SUPPORTED", "/usr/local/share/i18n/SUPPORTED"] {
        let text = host.read_optional(Path::new(path))?.unwrap_or_default();
        supported.push_str(&String::from_utf8_lossy(&text));
    }
    let mut missing = Vec::new();
    for name in &args.name {
        // Some are there without being listed, such as C.UTF-8.
        if !supported.lines().any(|line| names(line, name)) && !there(host, name)? {
            missing.push(name.as_str());
        }
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        let why = "The following locales you have entered are not available on your system";
        return Err(format!("{why}: {missing}").into());
    }
    let mut changes = Vec::new();
    for name in &args.name {
        if there(host, name)? != present {
            changes.push(name.clone());
        }
    }
    let outcome = Outcome::changed(!changes.is_empty())
        .with("name", Value::strings(&args.name))
        .with("mechanism", "glibc")
        .with("ubuntu_mode", false);
    if changes.is_empty() {
        return Ok(outcome);
    }
    let text = host.read_optional(path)?;
    let text = text.unwrap_or_default();
    let mut lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    for name in &changes {
        let mut any = false;
        for line in &mut lines {
            if !names(line, name) {
                continue;
            }
            any = true;
            let bare = line.trim_start().trim_start_matches('#').trim().to_owned();
            *line = if present { bare } else { format!("# {bare}") };
        }
        if present && !any {
            // Where the file lists none, as on Gentoo.
            lines.extend(supported.lines().find(|line| names(line, name)).map(|line| line.trim().to_owned()));
        }
    }
    let new: String = lines.iter().map(|l| format!("{l}\n")).collect();
    host.replace(path, new.as_bytes(), &Replace::default())?;
    if !host.check {
        let output = host.try_run(&["locale-gen"])?;
        if !output.success() {
            return Err(Failure::new("Failed to execute locale-gen.").with("stderr", output.error_text()));
        }
        for name in &changes {
            if there(host, name)? != present {
                return Err(Failure::new(format!(
                    "the locale {name} is not {} after locale-gen",
                    args.state
                )));
            }
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_compared_as_programs_write_them() {
        assert_eq!(super::plain("de_CH.UTF-8"), "de_CH.utf8");
        assert_eq!(super::plain("de_DE@euro"), "de_DE@euro");
    }
}

module!("locale_gen", "community.general", Args, run);
