//! `service`: services through systemd, and by scripts where there is none (`init`); and what `systemd` shares with it.
//!
//! While an image is baked, a service is enabled by the very links that `systemctl enable` would make, and starting
//! is left to its boot. On a running machine the links are made the same way first: systemctl would start a Perl
//! program for packages that also have a System V script, which costs seconds.

use std::path::Path;

use bakery_host::fs;
use bakery_macros::ModuleArgs;

use crate::init;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Phase, Run};

/// Starts, stops and enables services.
#[derive(ModuleArgs)]
#[args(one_of = "state,enabled")]
struct Args {
    /// The service.
    #[arg(required)]
    name: String,
    /// What shall be.
    #[arg(choices = "reloaded,restarted,started,stopped", formerly = "running=started")]
    state: Option<String>,
    /// Whether it starts at boot.
    enabled: Option<bool>,
    /// The runlevel that it starts in, for OpenRC.
    #[arg(default = "default")]
    runlevel: String,
    /// Seconds between stop and start, where scripts start services.
    sleep: Option<i64>,
    /// What a line of the list of processes holds while it runs, for scripts that do not say.
    pattern: Option<String>,
    /// Words for the script.
    #[arg(alias = "args", default = "")]
    arguments: String,
    /// The service manager: what the machine has, or `systemd` or `sysvinit`.
    #[arg(name = "use", default = "auto")]
    manager: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let live = host.phase == Phase::Live;
    // A machine that runs has the manager that was booted, an image the one that will be.
    let has_systemd = if live {
        Path::new("/run/systemd/system").exists()
    } else {
        UNIT_FOLDERS.iter().any(|folder| Path::new(folder).is_dir())
    };
    if !has_systemd && init::script(&args.name).is_some() {
        let wanted = init::Wanted {
            name: &args.name,
            state: args.state.as_deref(),
            enabled: args.enabled,
            runlevel: &args.runlevel,
            pattern: args.pattern.as_deref(),
            arguments: &args.arguments,
            sleep: args.sleep.and_then(|seconds| seconds.try_into().ok()).unwrap_or(0),
        };
        return init::apply(host, &wanted, live);
    }
    let wanted = Wanted { state: args.state, enabled: args.enabled, ..Wanted::default() };
    apply(host, &args.name, &wanted)
}

/// What a unit shall be.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) state: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) masked: Option<bool>,
    pub(super) no_block: bool,
    pub(super) user: bool,
    pub(super) force: bool,
}

const UNIT_FOLDERS: &[&str] = &[
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// The unit's name with its suffix.
pub(super) fn unit_name(name: &str) -> String {
    let suffixes = [
        ".service",
        ".socket",
        ".timer",
        ".target",
        ".path",
        ".mount",
        ".slice",
        ".automount",
        ".swap",
        ".scope",
        ".device",
    ];
    if suffixes.iter().any(|s| name.ends_with(s)) { name.to_owned() } else { format!("{name}.service") }
}

/// Where a unit file is; an instance's is its template's.
pub(super) fn unit_file(unit: &str) -> Option<std::path::PathBuf> {
    let template = unit.split_once('@').map(|(head, tail)| {
        let suffix = tail.rsplit_once('.').map_or("service", |(_, s)| s);
        format!("{head}@.{suffix}")
    });
    [Some(unit.to_owned()), template].into_iter().flatten().find_map(|name| {
        UNIT_FOLDERS.iter().map(|f| Path::new(f).join(&name)).find(|p| p.symlink_metadata().is_ok())
    })
}

/// The links that enabling a unit makes, as `(link, target)`, from its `[Install]` section. Of a name that is another's alias
/// those of the other, as systemctl does it.
pub(super) fn install_links(unit: &str) -> Result<Vec<(String, String)>, Failure> {
    let find = |unit: &str| {
        let missing = || Failure::new(format!("Could not find the requested service {unit}: host"));
        unit_file(unit).ok_or_else(missing)
    };
    let mut file = find(unit)?;
    let led = fs::read_link(&file).ok().and_then(|to| to.file_name()?.to_str().map(str::to_owned));
    let aliased = led.filter(|name| !unit.contains('@') && name != unit && unit_file(name).is_some());
    // One step and no more: links may lead in a circle.
    let unit = aliased.as_deref().unwrap_or(unit);
    if aliased.is_some() {
        file = find(unit)?;
    }
    let text = fs::read_to_string(&file)?;
    let mut in_install = false;
    let mut links = Vec::new();
    let target = fs::canonicalize(&file).unwrap_or(file).display().to_string();
    // The instance of a template, for `%i` in the section.
    let instance =
        unit.split_once('@').and_then(|(_, rest)| rest.rsplit_once('.')).map(|(i, _)| i.to_owned());
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            in_install = line == "[Install]";
        }
        let (true, Some((key, value))) = (in_install, line.split_once('=')) else { continue };
        for word in value.split_whitespace() {
            let word = word.replace("%i", instance.as_deref().unwrap_or_default());
            match key.trim() {
                "WantedBy" => {
                    links.push((format!("/etc/systemd/system/{word}.wants/{unit}"), target.clone()));
                }
                "RequiredBy" => {
                    links.push((format!("/etc/systemd/system/{word}.requires/{unit}"), target.clone()));
                }
                "Alias" => links.push((format!("/etc/systemd/system/{word}"), target.clone())),
                "Also" if word != unit => links.extend(install_links(&unit_name(&word)).unwrap_or_default()),
                _ => {}
            }
        }
    }
    Ok(links)
}

/// Enables or disables a unit by its links; whether that was a change.
pub(super) fn set_enabled(host: &Host, unit: &str, enabled: bool) -> Result<bool, Failure> {
    let links = install_links(unit)?;
    let has_sysv = unit.strip_suffix(".service").is_some_and(|n| Path::new("/etc/init.d").join(n).exists());
    if links.is_empty() && !has_sysv && enabled {
        return Ok(false);
    }
    let mut changed = false;
    for (link, target) in &links {
        let there = Path::new(link).symlink_metadata().is_ok();
        if there == enabled {
            continue;
        }
        changed = true;
        if host.check {
            continue;
        }
        if enabled {
            if let Some(folder) = Path::new(link).parent() {
                fs::create_dir_all(folder)?;
            }
            fs::symlink(target, link)?;
        } else {
            fs::remove_all(link)?;
        }
    }
    Ok(changed)
}

/// Brings a unit to the wanted state.
pub(super) fn apply(host: &mut Host, name: &str, wanted: &Wanted) -> Run {
    let unit = unit_name(name);
    let mut changed = false;
    let mut outcome_state = None;
    if let Some(masked) = wanted.masked {
        let link = std::path::PathBuf::from(format!("/etc/systemd/system/{unit}"));
        let is = fs::read_link(&link).is_ok_and(|t| t.as_os_str() == "/dev/null");
        if is != masked {
            changed = true;
            if !host.check {
                // A unit that somebody wrote there is nobody's to replace; systemd does not, either.
                if masked && link.symlink_metadata().is_ok_and(|meta| !meta.is_symlink()) {
                    return Err(Failure::new(format!(
                        "Failed to mask the service ({name}): Failed to mask unit: File '{}' already exists.",
                        link.display()
                    )));
                }
                fs::remove_all(&link)?;
                if masked {
                    fs::symlink("/dev/null", &link)?;
                }
            }
        }
    }
    let running = host.phase == Phase::Live && Path::new("/run/systemd/system").exists();
    let known = unit_file(&unit).is_some();
    if !known && wanted.masked.is_none() {
        let stopping = wanted.state.as_deref() == Some("stopped") && wanted.enabled != Some(true);
        if !(stopping && host.phase == Phase::Bake) {
            return Err(Failure::new(format!("Could not find the requested service {name}: host")));
        }
    }
    if let Some(enabled) = wanted.enabled
        && known
    {
        // No reload: the links say what the next boot starts, and starting a unit now reads its file anyway.
        changed |= set_enabled(host, &unit, enabled)?;
    }
    if let Some(state) = wanted.state.as_deref() {
        if !running {
            if host.phase == Phase::Live {
                return Err(Failure::new(
                    "System has not been booted with systemd as init system, so services cannot be started here",
                ));
            }
            match state {
                "stopped" => {}
                _ => host.leave_to_boot(format!("{unit}: {state}")),
            }
        } else {
            let mut scope = vec!["systemctl"];
            if wanted.user {
                scope.push("--user");
            }
            let query: Vec<&str> = scope.iter().copied().chain(["is-active", unit.as_str()]).collect();
            let text = host.try_run(&query)?.text();
            let active = matches!(text.trim(), "active" | "activating" | "reloading");
            let verb = match state {
                "started" if !active => Some("start"),
                "stopped" if active || text.trim() == "deactivating" => Some("stop"),
                "restarted" => Some("restart"),
                "reloaded" if active => Some("reload"),
                "reloaded" => Some("start"),
                _ => None,
            };
            if let Some(verb) = verb {
                changed = true;
                if !host.check {
                    let mut argv: Vec<&str> = scope.clone();
                    argv.push(verb);
                    if wanted.no_block {
                        argv.push("--no-block");
                    }
                    if wanted.force {
                        argv.push("--force");
                    }
                    argv.push(&unit);
                    let output = host.try_run(&argv)?;
                    if !output.success() {
                        return Err(Failure::new(format!(
                            "Unable to {verb} service {name}: {}",
                            output.error_text()
                        )));
                    }
                }
            }
        }
        outcome_state = Some(match state {
            "stopped" => "stopped",
            _ => "started",
        });
    }
    let mut outcome = Outcome::changed(changed).with("name", name);
    if let Some(state) = outcome_state {
        outcome = outcome.with("state", state);
    }
    if let Some(enabled) = wanted.enabled {
        outcome = outcome.with("enabled", enabled);
    }
    Ok(outcome)
}

module!("service", "ansible.builtin", Args, run);
