//! `service_facts`: the services that there are.

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Host, Outcome, Phase, Run};

/// Returns the services as the fact `services`.
#[derive(ModuleArgs)]
struct Args {
    /// Accepted and without meaning.
    manager: Option<String>,
}

fn run(args: Args, host: &mut Host) -> Run {
    let _ = args.manager;
    let services = Map::new();
    let running = host.phase == Phase::Live && std::path::Path::new("/run/systemd/system").exists();
    let active = if running {
        host.try_run(&[
            "systemctl",
            "list-units",
            "--no-pager",
            "--no-legend",
            "--plain",
            "--type",
            "service",
            "--all",
        ])?
        .text()
    } else {
        String::new()
    };
    for folder in ["/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system"] {
        for path in bakery_host::fs::read_dir(folder).unwrap_or_default() {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if !name.ends_with(".service") || services.contains(&name) {
                continue;
            }
            let links = super::service::install_links(&name).unwrap_or_default();
            let status = if links.is_empty() {
                "static"
            } else if links.iter().any(|(link, _)| std::path::Path::new(link).symlink_metadata().is_ok()) {
                "enabled"
            } else {
                "disabled"
            };
            let state = active
                .lines()
                .find(|line| line.split_whitespace().next() == Some(&name))
                .and_then(|line| line.split_whitespace().nth(3))
                .map_or(if running { "inactive" } else { "unknown" }, |sub| {
                    if sub == "running" { "running" } else { "stopped" }
                });
            services.set(
                &name,
                Value::map([
                    ("name", Value::from(name.as_str())),
                    ("state", state.into()),
                    ("status", status.into()),
                    ("source", "systemd".into()),
                ]),
            );
        }
    }
    Ok(Outcome::unchanged().with("ansible_facts", Value::map([("services", services.into())])))
}

module!("service_facts", "ansible.builtin", Args, run);
