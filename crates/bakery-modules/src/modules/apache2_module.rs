//! `apache2_module`: modules of the web server, where Debian's programs switch them (community.general
//! `apache2_module.py`).

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Switches a module of Apache's web server on or off.
#[derive(ModuleArgs)]
struct Args {
    /// The module, as `a2enmod` knows it.
    #[arg(required)]
    name: String,
    /// The module, as `apache2ctl -M` lists it; made of the name if not given.
    identifier: Option<String>,
    /// Whether a module that others need is switched off all the same.
    force: bool,
    /// Whether it shall be on.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Whether a configuration with errors is no obstacle.
    ignore_configcheck: bool,
    /// Whether it is said that no module for processes is loaded.
    #[arg(default = "true")]
    warn_mpm_absent: bool,
}

fn control(host: &Host) -> Result<String, Failure> {
    host.program("apache2ctl").or_else(|_| host.program("apachectl")).map_err(|_| {
        "Neither of apache2ctl nor apachectl found. At least one apache control binary is necessary.".into()
    })
}

/// The name that a module is listed under: mostly its own and `_module`.
fn identifier(name: &str) -> String {
    for (part, identifier) in [("shib", "mod_shib"), ("evasive", "evasive20_module")] {
        if name.contains(part) {
            return identifier.into();
        }
    }
    let numbered = |c: char| c.is_ascii_digit() || c == '.';
    match name.strip_prefix("php") {
        Some(version) if name.contains("php8") && version.starts_with(numbered) => "php_module".into(),
        Some(version) => match version.as_bytes() {
            [digit, b'.', ..] if digit.is_ascii_digit() => format!("php{}_module", char::from(*digit)),
            _ => format!("{name}_module"),
        },
        None => format!("{name}_module"),
    }
}

/// Whether Apache lists the module; `None` if its configuration has errors, which are no obstacle.
fn is_on(args: &Args, host: &mut Host, identifier: &str) -> Result<Option<bool>, Failure> {
    let control = control(host)?;
    let output = host.try_run(&[control.as_str(), "-M"])?;
    if output.success() {
        return Ok(Some(output.text().contains(&format!(" {identifier}"))));
    }
    let said = output.error_text();
    let message = format!("Error executing {control}: {said}");
    if !args.ignore_configcheck {
        return Err(Failure::new(message));
    }
    if !(said.contains("AH00534") && args.name.contains("mpm_")) {
        host.warn(message);
    } else if args.warn_mpm_absent {
        host.warn("No MPM module loaded! apache2 reload AND other module actions will fail if no MPM module is loaded immediately.");
    }
    Ok(None)
}

fn run(args: Args, host: &mut Host) -> Run {
    let on = args.state == "present";
    if args.name == "cgi" && on {
        let version = host.try_run(&[control(host)?.as_str(), "-V"])?.text();
        let threaded =
            version.split("threaded:").skip(1).any(|rest| rest.trim_start_matches(' ').starts_with("yes"));
        if threaded {
            return Err("Your MPM seems to be threaded, therefore enabling cgi module is not allowed.".into());
        }
    }
    let identifier = args.identifier.clone().unwrap_or_else(|| identifier(&args.name));
    let done = format!("Module {} {}", args.name, if on { "enabled" } else { "disabled" });
    if is_on(&args, host, &identifier)?.unwrap_or(false) == on {
        return Ok(Outcome::unchanged().with("result", done));
    }
    if host.check {
        return Ok(Outcome::changed(true).with("result", done));
    }
    let program = if on { "a2enmod" } else { "a2dismod" };
    let path = host.program(program).map_err(|_| {
        Failure::new(format!(
            "{program} not found. Perhaps this system does not use {program} to manage apache"
        ))
    })?;
    let mut argv = vec![path.as_str()];
    if !on && args.force {
        argv.push("-f");
    }
    argv.push(&args.name);
    let output = host.try_run(&argv)?;
    if !output.success() {
        let (text, error) = (output.text(), output.error_text());
        let msg = format!("Failed to run {program} for module {}:\n{text}\n{error}", args.name);
        return Err(Failure::new(msg).with_output(&output));
    }
    let is_now = is_on(&args, host, &identifier)?;
    if is_now.unwrap_or(false) == on {
        return Ok(Outcome::changed(true).with("result", done));
    }
    if is_now.is_none() {
        // Apache says nothing of its modules; the program that switches them does.
        let already = if on { "already enabled" } else { "already disabled" };
        return Ok(Outcome::changed(!output.text().contains(already)).with("result", done));
    }
    Err(Failure::new(format!(
        "Failed to set module {} to {}:\n{}\nMaybe the module identifier ({identifier}) was guessed incorrectly.Consider setting the \"identifier\" option.",
        args.name,
        if on { "enabled" } else { "disabled" },
        output.text()
    ))
    .with_output(&output))
}

module!("apache2_module", "community.general", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_apache_lists_them() {
        for (name, listed) in [
            ("rewrite", "rewrite_module"),
            ("php7.4", "php7_module"),
            ("php8.2", "php_module"),
            ("shib2", "mod_shib"),
            ("evasive", "evasive20_module"),
        ] {
            assert_eq!(identifier(name), listed);
        }
    }
}
