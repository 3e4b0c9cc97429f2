//! `systemd` / `systemd_service`: units of systemd.

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use super::service::{Wanted, apply};
use crate::registry::module;
use crate::{Host, Outcome, Phase, Run};

/// Starts, stops, enables and masks units of systemd.
#[derive(ModuleArgs)]
#[args(one_of = "state,enabled,masked,daemon_reload,daemon_reexec")]
struct Args {
    /// The unit.
    #[arg(alias = "service,unit")]
    name: Option<String>,
    /// What shall be.
    #[arg(choices = "reloaded,restarted,started,stopped")]
    state: Option<String>,
    /// Whether it starts at boot.
    enabled: Option<bool>,
    /// Whether it cannot be started at all.
    masked: Option<bool>,
    /// Whether systemd reads its unit files anew.
    #[arg(alias = "daemon-reload")]
    daemon_reload: Option<bool>,
    /// Whether systemd starts itself anew.
    #[arg(alias = "daemon-reexec")]
    daemon_reexec: Option<bool>,
    /// Whose systemd.
    #[arg(default = "system", choices = "global,system,user")]
    scope: String,
    /// Whether links are replaced.
    force: bool,
    /// Whether the start is not waited for.
    no_block: bool,
}

fn run(args: Args, host: &mut Host) -> Run {
    let running = host.phase == Phase::Live && std::path::Path::new("/run/systemd/system").exists();
    for (wanted, verb) in [(args.daemon_reload, "daemon-reload"), (args.daemon_reexec, "daemon-reexec")] {
        if wanted == Some(true) && running && !host.check {
            host.run(&["systemctl", verb])?;
        }
    }
    let Some(name) = args.name else {
        return Ok(Outcome::unchanged().with("name", Value::None).with("status", Map::new()));
    };
    let wanted = Wanted {
        state: args.state,
        enabled: args.enabled,
        masked: args.masked,
        no_block: args.no_block,
        user: args.scope == "user",
        force: args.force,
    };
    let outcome = apply(host, &name, &wanted)?;
    let status = Map::new();
    if running {
        let unit = super::service::unit_name(&name);
        for line in host.try_run(&["systemctl", "show", unit.as_str()])?.text().lines() {
            if let Some((key, value)) = line.split_once('=') {
                status.set(key, value);
            }
        }
    }
    Ok(outcome.with("status", status))
}

module!("systemd", "ansible.builtin", Args, run);
