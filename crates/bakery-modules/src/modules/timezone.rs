//! `timezone`: the machine's time zone.

use bakery_host::fs;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Phase, Run};

/// Sets the machine's time zone.
#[derive(ModuleArgs)]
struct Args {
    /// The zone, such as `Europe/Lisbon`.
    name: Option<String>,
    /// Whether the hardware clock runs in UTC or local time.
    #[arg(choices = "UTC,local", alias = "rtc")]
    hwclock: Option<String>,
}

/// The zone that `/etc/localtime` leads to; systemd's own link is a relative one.
fn zone() -> Option<String> {
    let target = fs::read_link("/etc/localtime").ok()?.display().to_string();
    target.split_once("zoneinfo/").map(|(_, name)| name.to_owned())
}

/// What `/etc/adjtime` says of the hardware clock, on its third line (hwclock(8)).
fn clock() -> &'static str {
    let text = fs::read_to_string("/etc/adjtime").unwrap_or_default();
    if text.lines().nth(2).is_some_and(|line| line.trim() == "LOCAL") { "local" } else { "UTC" }
}

fn set_zone(name: &str, path: &str) -> Result<(), Failure> {
    fs::remove_all("/etc/localtime")?;
    fs::symlink(path, "/etc/localtime")?;
    Ok(fs::write_atomic("/etc/timezone", format!("{name}\n"))?)
}

fn set_clock(wanted: &str) -> Result<(), Failure> {
    let text = fs::read_to_string("/etc/adjtime").unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().take(2).collect();
    // Nothing is known of the clock's drift if the file was not there.
    lines.extend(["0.0 0 0.0", "0"].into_iter().skip(lines.len()));
    let word = if wanted == "local" { "LOCAL" } else { "UTC" };
    Ok(fs::write_atomic("/etc/adjtime", format!("{}\n{word}\n", lines.join("\n")))?)
}

fn run(args: Args, host: &mut Host) -> Run {
    let by_systemd = host.phase == Phase::Live
        && std::path::Path::new("/run/systemd/system").exists()
        && host.program("timedatectl").is_ok();
    let mut messages = Vec::new();
    let mut changed = false;
    let mut executed = |host: &Host, words: [&str; 2]| -> Result<(), Failure> {
        let program = host.program("timedatectl")?;
        host.run(&[&program, words[0], words[1]])?;
        messages.push(format!("executed `{program} {}`", words.join(" ")));
        Ok(())
    };
    if let Some(name) = &args.name {
        let path = format!("/usr/share/zoneinfo/{name}");
        if !std::path::Path::new(&path).exists() {
            return Err(Failure::new(format!(
                "given timezone \"{name}\" is not available: {path} is not there (package tzdata)"
            )));
        }
        if zone().as_deref() != Some(name) {
            changed = true;
            match (host.check, by_systemd) {
                (true, _) => {}
                (false, true) => executed(host, ["set-timezone", name])?,
                (false, false) => set_zone(name, &path)?,
            }
        }
    }
    if let Some(wanted) = args.hwclock.as_deref().filter(|wanted| *wanted != clock()) {
        changed = true;
        match (host.check, by_systemd) {
            (true, _) => {}
            (false, true) => executed(host, ["set-local-rtc", if wanted == "local" { "yes" } else { "no" }])?,
            (false, false) => set_clock(wanted)?,
        }
    }
    if !changed {
        return Ok(Outcome::unchanged());
    }
    let said = if by_systemd {
        messages.join("\n")
    } else {
        "Added 1 line and deleted 1 line(s) on /etc/timezone".into()
    };
    Ok(Outcome::changed(true).msg(said))
}

module!("timezone", "community.general", Args, run);
