//! `timezone`: the machine's time zone.

use bakery_host::fs;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets the machine's time zone.
#[derive(ModuleArgs)]
struct Args {
    /// The zone, such as `Europe/Lisbon`.
    name: Option<String>,
    /// Whether the hardware clock runs in UTC or local time.
    #[arg(choices = "UTC,local", alias = "rtc")]
    hwclock: Option<String>,
}

fn run(args: Args, host: &mut Host) -> Run {
    let Some(name) = args.name else { return Ok(Outcome::unchanged()) };
    let zone = format!("/usr/share/zoneinfo/{name}");
    if !std::path::Path::new(&zone).exists() {
        return Err(Failure::new(format!(
            "given timezone \"{name}\" is not available: {zone} is not there (package tzdata)"
        )));
    }
    let now = fs::read_link("/etc/localtime").unwrap_or_default();
    if now == std::path::Path::new(&zone) {
        return Ok(Outcome::unchanged());
    }
    if !host.check {
        fs::remove_all("/etc/localtime")?;
        fs::symlink(&zone, "/etc/localtime")?;
        fs::write_atomic("/etc/timezone", format!("{name}\n"))?;
    }
    Ok(Outcome::changed(true).msg("Added 1 line and deleted 1 line(s) on /etc/timezone"))
}

module!("timezone", "community.general", Args, run);
