//! `sysvinit`: services by their scripts in `/etc/init.d` (`ansible/modules/sysvinit.py`).

use std::time::Duration;

use bakery_host::Output;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::host::Phase;
use crate::init;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Starts, stops and enables services that have a script in `/etc/init.d`.
#[derive(ModuleArgs)]
#[args(one_of = "state,enabled")]
struct Args {
    /// The service.
    #[arg(required, alias = "service")]
    name: String,
    /// What shall be.
    #[arg(choices = "started,stopped,restarted,reloaded")]
    state: Option<String>,
    /// Whether it starts at boot.
    enabled: Option<bool>,
    /// Seconds between stop and start.
    #[arg(default = "1")]
    sleep: i64,
    /// What a line of the list of processes holds while it runs, for scripts that do not say.
    pattern: Option<String>,
    /// The runlevels that it starts in, or not; without them, those of the script.
    runlevels: Option<Vec<String>>,
    /// Words for the script.
    #[arg(alias = "args")]
    arguments: Option<String>,
    /// Accepted: scripts always run in a session of their own.
    daemonize: bool,
}

/// Whether a service runs; nothing where no one can tell.
fn status(host: &mut Host, name: &str, script: &str) -> Result<Option<bool>, Failure> {
    let service = bakery_host::command::find_program("service");
    let words: Vec<&str> =
        if service.is_some() { vec!["service", name, "status"] } else { vec![script, "status"] };
    let output = init::ask(host, &words, "")?;
    let text = output.text();
    if name == "iptables" && text.contains("ACCEPT") {
        return Ok(Some(true));
    }
    // What it says is more reliable than how it ends.
    if text.matches('\n').count() <= 1 {
        let clean = text.to_lowercase().replace(&name.to_lowercase(), "");
        let has = |words: &[&str]| words.iter().any(|word| clean.contains(word));
        if has(&["stop", "is dead ", "dead but ", "could not access pid file", "inactive"]) {
            return Ok(Some(false));
        }
        if has(&["run", "start", "active"]) && !clean.contains("not ") {
            return Ok(Some(true));
        }
    }
    if [1, 2, 3, 4, 69].contains(&output.code) {
        return Ok(Some(false));
    }
    if output.success() {
        return Ok(Some(true));
    }
    if init::is_running(host, name)? {
        host.warn("Used ps output to match service name and determine it is up, this is very unreliable");
        return Ok(Some(true));
    }
    Ok(None)
}

/// What is told of something that was done, or not.
fn told(changed: bool, output: Option<&Output>) -> Map {
    let map = Map::new();
    map.set("changed", changed);
    map.set("rc", output.map(|output| Value::from(i64::from(output.code))));
    map.set("stdout", output.map(Output::text));
    map.set("stderr", output.map(Output::error_text));
    map
}

/// Enables a service or not; whether that is a change, and what the program said.
fn enable(
    host: &Host,
    name: &str,
    enabled: bool,
    levels: &[String],
) -> Result<(bool, Option<Output>), Failure> {
    let is_right = if levels.is_empty() {
        init::is_linked('S', name, None) == enabled
    } else {
        levels.iter().all(|level| init::is_linked('S', name, Some(level)) == enabled)
    };
    if is_right || host.check {
        return Ok((!is_right, None));
    }
    let has = |program: &str| bakery_host::command::find_program(program).is_some();
    let mut argv: Vec<String> = Vec::new();
    if has("update-rc.d") {
        // Enabled in its own runlevels, it has to have links first.
        let verb = match (enabled, levels.is_empty()) {
            (true, true) => "defaults",
            (true, false) => "enable",
            (false, _) => "disable",
        };
        argv.extend(["update-rc.d", name, verb].map(str::to_owned));
        argv.extend(levels.iter().cloned());
    } else if has("chkconfig") {
        argv.push("chkconfig".into());
        if !levels.is_empty() {
            argv.extend(["--level".to_owned(), levels.concat()]);
        }
        argv.extend([name, if enabled { "on" } else { "off" }].map(str::to_owned));
    } else {
        return Err("neither update-rc.d nor chkconfig is there to enable services".into());
    }
    let output = host.try_run(&argv)?;
    if output.error_text().contains("illegal runlevel specified") {
        return Err(Failure::new(format!(
            "Illegal runlevel specified for enable operation on service {name}"
        )));
    }
    Ok((true, Some(output)))
}

fn run(args: Args, host: &mut Host) -> Run {
    let name = args.name.as_str();
    let script =
        init::script(name).ok_or_else(|| format!("Could not find the requested service {name}: "))?;
    let script = script.display().to_string();
    let statuses = Map::new();
    let mut outcome = Outcome::unchanged().with("name", name);
    let levels = args.runlevels.unwrap_or_default();
    let (changed, output) = match args.enabled {
        Some(enabled) => enable(host, name, enabled, &levels)?,
        None => (false, None),
    };
    outcome.changed = changed;
    let told_of = told(changed, output.as_ref());
    if !levels.is_empty() {
        told_of.set("runlevels", Value::strings(&levels));
    }
    statuses.set("enabled", told_of);
    if let Some(state) = args.state.as_deref() {
        let (changed, output) = if host.phase == Phase::Live {
            let running = match &args.pattern {
                Some(pattern) => Some(init::is_running(host, pattern)?),
                None => status(host, name, &script)?,
            };
            if running.is_none() {
                host.warn("Unable to determine if service is up, assuming it is down");
            }
            let verbs: &[&str] = match (state, running.unwrap_or(false)) {
                // No script needs to know how to restart.
                ("restarted", _) => &["stop", "start"],
                ("started", false) => &["start"],
                ("stopped", true) => &["stop"],
                ("reloaded", true) => &["reload"],
                _ => &[],
            };
            let mut last = None;
            for verb in verbs.iter().filter(|_| !host.check) {
                let output =
                    init::ask(host, &[&script, verb], args.arguments.as_deref().unwrap_or_default())?;
                if !output.success() {
                    let action = state.trim_end_matches("ed").trim_end_matches('p');
                    let failed = Failure::new(format!("Failed to {action} service: {name}"));
                    return Err(failed.with_output(&output));
                }
                if state == "restarted" {
                    std::thread::sleep(Duration::from_secs(args.sleep.try_into().unwrap_or(0)));
                }
                last = Some(output);
            }
            (!verbs.is_empty(), last)
        } else {
            if state != "stopped" {
                host.leave_to_boot(format!("{name}: {state}"));
            }
            (false, None)
        };
        outcome.changed |= changed;
        statuses.set(state, told(changed, output.as_ref()));
    } else {
        // Where no state is asked for, Ansible's module tells of that one.
        statuses.set("null", told(false, None));
    }
    Ok(outcome.with("status", statuses))
}

module!("sysvinit", "ansible.builtin", Args, run);
