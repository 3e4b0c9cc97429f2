//! `package`: the package manager that the system has.

use std::time::Duration;

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::args::ModuleArgs as _;
use crate::registry::{Module, ModuleDoc};
use crate::{Host, facts, find};

/// Installs and removes packages with the system's own package manager; what else is given is that manager's.
#[derive(ModuleArgs)]
struct Args {
    /// Packages.
    #[arg(required)]
    name: Vec<String>,
    /// What shall be.
    #[arg(default = "present")]
    state: String,
    /// The package manager; the system's own if not given.
    #[arg(default = "auto", name = "use")]
    manager: String,
}

/// The module of a manager.
fn named(manager: &str) -> Result<&'static str, String> {
    let refused = || format!("Could not find a matching action for the \"{manager}\" package manager.");
    find(manager).map(|module| module.name).ok_or_else(refused)
}

/// The module of the manager that the system has, as its facts say.
fn own(host: &mut Host) -> Result<&'static str, String> {
    let subset = ["!all", "!min", "pkg_mgr"].map(str::to_owned);
    let facts = facts::gather(host, &subset, "", Duration::from_secs(10))?;
    let manager = facts.get("ansible_pkg_mgr").map(|manager| manager.to_string());
    let manager = manager.filter(|manager| manager != "unknown").ok_or(
        "Could not detect which package manager to use. Try gathering facts or setting the \"use\" option.",
    )?;
    named(&manager)
}

/// The manager's module does all, its own options included, and it is the one that complains about them.
fn call(given: &Map, host: &mut Host) -> Value {
    let args = given.copied();
    let wanted = args.remove("use").map_or_else(|| "auto".to_owned(), |u| u.to_string());
    let manager = match wanted.as_str() {
        "auto" => own(host),
        other => named(other),
    };
    let manager = match manager {
        Ok(manager) => manager,
        Err(msg) => {
            return Value::map([
                ("failed", Value::from(true)),
                ("changed", false.into()),
                ("msg", msg.into()),
            ]);
        }
    };
    let state = args.get("state").map(|s| s.to_string());
    match state.as_deref() {
        None => args.set("state", "present"),
        Some("installed") if manager == "apt" => args.set("state", "present"),
        Some("removed") if manager == "apt" => args.set("state", "absent"),
        Some(_) => {}
    }
    let result = crate::registry::run(manager, &args, host);
    if let Some(map) = result.as_map() {
        map.remove("invocation");
    }
    result
}

/// The module as the registry knows it.
pub(crate) const MODULE: Module = Module::new(
    "package",
    "ansible.builtin",
    |_, args, host| call(args, host),
    || ModuleDoc { summary: Args::SUMMARY, args: crate::args::flattened(Args::PARTS) },
);
