//! Services of machines without systemd: scripts in `/etc/init.d`, and what enables them: OpenRC, update-rc.d, insserv or
//! chkconfig (`LinuxService` in `ansible/modules/service.py`, and `module_utils/service.py`).

use std::path::Path;
use std::time::Duration;

use bakery_host::{Output, fs};

use crate::{Failure, Host, Outcome, Run};

/// What a service shall be.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) state: Option<&'a str>,
    pub(crate) enabled: Option<bool>,
    /// OpenRC's runlevel.
    pub(crate) runlevel: &'a str,
    /// What a line of the list of processes holds while it runs.
    pub(crate) pattern: Option<&'a str>,
    /// Words behind what the script is asked for.
    pub(crate) arguments: &'a str,
    /// Seconds between stop and start.
    pub(crate) sleep: u64,
}

fn has(program: &str) -> bool {
    bakery_host::command::find_program(program).is_some()
}

/// The script of a service, if there is one.
pub(crate) fn script(name: &str) -> Option<std::path::PathBuf> {
    // An absolute name replaces the folder.
    Some(Path::new("/etc/init.d").join(name)).filter(|script| script.exists())
}

/// Whether a link with this letter starts or stops a service in a runlevel, or in any.
pub(crate) fn is_linked(letter: char, name: &str, runlevel: Option<&str>) -> bool {
    let base = if Path::new("/etc/rc0.d").is_dir() { "/etc" } else { "/etc/init.d" };
    let folders = fs::read_dir(base).unwrap_or_default().into_iter().filter(|folder| {
        let file = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let level = file.strip_prefix("rc").and_then(|rest| rest.strip_suffix(".d"));
        level.is_some_and(|level| runlevel.map_or(level.chars().count() == 1, |wanted| wanted == level))
    });
    let is_link = |link: &std::path::PathBuf| {
        let file = link.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // `S20name`
        file.starts_with(letter) && file.get(3..) == Some(name)
    };
    folders.into_iter().any(|folder| fs::read_dir(folder).unwrap_or_default().iter().any(is_link))
}

/// Whether a line of the list of processes holds a text.
///
/// # Errors
/// When ps(1) cannot be run.
pub(crate) fn is_running(host: &Host, pattern: &str) -> Result<bool, Failure> {
    let listed = host.run(&["ps", "auxww"])?.text();
    Ok(listed.lines().any(|line| line.contains(pattern) && !line.contains("pattern=")))
}

/// Asks a service's script for something, in a session of its own: what it starts stays when we are gone.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn ask(host: &Host, words: &[&str], arguments: &str) -> Result<Output, Failure> {
    let (program, rest) = words.split_first().ok_or("no command given")?;
    let arguments = crate::modules::command::split_line(arguments)?;
    let cmd = host.cmd(program).env("LC_ALL", "C.UTF-8").args(rest).args(arguments);
    Ok(cmd.detached().timeout(Duration::from_hours(1)).output()?)
}

fn said(output: &Output) -> String {
    let (out, err) = (output.text(), output.error_text());
    if err.is_empty() { out } else { err }
}

/// Has a service start at boot, or not; whether that was a change.
fn enable(host: &Host, wanted: &Wanted<'_>, enabled: bool) -> Result<bool, Failure> {
    let name = wanted.name;
    let failed = |verb: &str, output: &Output| {
        let (rc, said) = (output.code, said(output));
        Failure::new(format!("Error when trying to {verb} {name}: rc={rc} {said}"))
    };
    let change = |verb: &str, argv: &[&str]| {
        if host.check {
            return Ok(true);
        }
        let output = host.try_run(argv)?;
        if output.success() { Ok(true) } else { Err(failed(verb, &output)) }
    };
    if has("rc-service") {
        let shown = host.try_run(&["rc-update", "show"])?.text();
        let line =
            shown.lines().filter_map(|line| line.split_once('|')).find(|(known, _)| known.trim() == name);
        let is =
            line.is_some_and(|(_, levels)| levels.split_whitespace().any(|level| level == wanted.runlevel));
        let verb = if enabled { "add" } else { "delete" };
        return if is == enabled {
            Ok(false)
        } else {
            change(verb, &["rc-update", verb, name, wanted.runlevel])
        };
    }
    if has("update-rc.d") {
        if is_linked('S', name, None) == enabled {
            return Ok(false);
        }
        let verb = if enabled { "enable" } else { "disable" };
        if enabled && !is_linked('K', name, None) {
            change(verb, &["update-rc.d", name, "defaults"])?;
        }
        return change(verb, &["update-rc.d", name, verb]);
    }
    if has("insserv") {
        let (verb, says, remove): (_, _, &[&str]) =
            if enabled { ("enable", "enable service", &[]) } else { ("disable", "remove service", &["-r"]) };
        let tried: Vec<&str> = ["insserv", "-n"].iter().chain(remove).chain(&["-v", name]).copied().collect();
        if !host.try_run(&tried)?.error_text().contains(says) {
            return Ok(false);
        }
        let done: Vec<&str> = ["insserv"].iter().chain(remove).chain(&[name]).copied().collect();
        return change(verb, &done);
    }
    if has("chkconfig") {
        let verb = if enabled { "on" } else { "off" };
        let mut listed = host.try_run(&["chkconfig", "--list", name])?;
        if listed.error_text().contains(&format!("chkconfig --add {name}")) && !host.check {
            host.try_run(&["chkconfig", "--add", name])?;
            listed = host.try_run(&["chkconfig", "--list", name])?;
        }
        let listed = listed.text();
        if !listed.contains(name) {
            return Err(format!("service {name} does not support chkconfig").into());
        }
        let is = listed.contains(&format!("3:{verb}")) && listed.contains(&format!("5:{verb}"));
        return if is { Ok(false) } else { change(verb, &["chkconfig", name, verb]) };
    }
    Err(format!("Could not find the requested service {name}: host").into())
}

/// Whether a service runs, and whether it crashed, as its script says.
fn status(host: &Host, wanted: &Wanted<'_>, control: &[&str]) -> Result<(Option<bool>, bool), Failure> {
    if let Some(pattern) = wanted.pattern {
        return Ok((Some(is_running(host, pattern)?), false));
    }
    let output = ask(host, &[control, &["status"]].concat(), wanted.arguments)?;
    let text = output.text();
    if control[0] == "rc-service" {
        return Ok((Some(text.contains("started")), output.error_text().contains("crashed")));
    }
    if [1, 2, 3, 4, 69].contains(&output.code) {
        return Ok((Some(false), false));
    }
    let clean = text.to_lowercase().replace(&wanted.name.to_lowercase(), "");
    // Those that say much say words of any kind.
    let is_short = text.matches('\n').count() <= 1;
    let dead = [
        "could not access pid file",
        "is dead and pid file exists",
        "dead but subsys locked",
        "dead but pid file exists",
    ];
    let running = match is_short {
        true if clean.contains("stop") => Some(false),
        true if clean.contains("run") => Some(!clean.contains("not ")),
        true if clean.contains("start") && !clean.contains("not ") => Some(true),
        true if dead.iter().any(|words| clean.contains(words)) => Some(false),
        _ if output.success() || (wanted.name == "iptables" && text.contains("ACCEPT")) => Some(true),
        _ => None,
    };
    Ok((running, false))
}

/// Brings a service to the wanted state; `live` where it can be started now.
///
/// # Errors
/// What its script says.
pub(crate) fn apply(host: &mut Host, wanted: &Wanted<'_>, live: bool) -> Run {
    let name = wanted.name;
    let mut outcome = Outcome::unchanged().with("name", name);
    if let Some(enabled) = wanted.enabled {
        outcome.changed = enable(host, wanted, enabled)?;
        outcome = outcome.with("enabled", enabled);
    }
    let Some(state) = wanted.state else { return Ok(outcome) };
    outcome = outcome.with("state", if state == "stopped" { "stopped" } else { "started" });
    if !live {
        if state != "stopped" {
            host.leave_to_boot(format!("{name}: {state}"));
        }
        return Ok(outcome);
    }
    let path = script(name).map(|script| script.display().to_string());
    let control: Vec<&str> = match &path {
        _ if has("rc-service") => vec!["rc-service", name],
        _ if has("service") => vec!["service", name],
        Some(path) => vec![path],
        None => return Err("cannot find 'service' binary or init script for service,  possible typo in service name?, aborting".into()),
    };
    let (running, crashed) = status(host, wanted, &control)?;
    let running = running.ok_or("failed determining service state, possible typo of service name?")?;
    let verb = match state {
        "started" if running => return Ok(outcome),
        "stopped" if !running => return Ok(outcome),
        "stopped" => "stop",
        "restarted" => "restart",
        "reloaded" if running => "reload",
        _ => "start",
    };
    outcome.changed = true;
    if host.check {
        return Ok(outcome);
    }
    let tell = |verb: &str| ask(host, &[control.as_slice(), &[verb]].concat(), wanted.arguments);
    let is_openrc = control[0] == "rc-service";
    if is_openrc && crashed && verb == "start" {
        tell("zap")?;
    }
    // Not every script knows how to restart.
    let (code, said) = if verb == "restart" && !is_openrc {
        let stopped = tell("stop")?;
        std::thread::sleep(Duration::from_secs(wanted.sleep));
        let started = tell("start")?;
        let is_up = started.success();
        (if is_up { 0 } else { stopped.code + started.code }, said(&started))
    } else {
        let output = tell(verb)?;
        (output.code, said(&output))
    };
    if code != 0 {
        return Err(format!("Unable to {verb} service {name}: {}", said.trim_end()).into());
    }
    Ok(outcome)
}
