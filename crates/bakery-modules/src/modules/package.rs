//! `package`: the package manager that the system has.

use bakery_host::command::find_program;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::args::ModuleArgs as _;
use crate::registry::{Module, ModuleDoc};
use crate::{Host, canonical_name, find};

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

/// The manager's module does all, its own options included, and it is the one that complains about them.
fn call(given: &Map, host: &mut Host) -> Value {
    let args = given.copied();
    let wanted = args.remove("use").map_or_else(|| "auto".to_owned(), |u| u.to_string());
    let manager = match wanted.as_str() {
        "auto" if find_program("apt-get").is_some() => Ok("apt"),
        "auto" if find_program("dnf").is_some() || find_program("yum").is_some() => Ok("yum"),
        "auto" => Err("no package manager that bakery knows is on this system (apt, dnf, yum)".to_owned()),
        other if find(other).is_some() => Ok(canonical_name(other)),
        other => Err(format!("Could not find a matching action for the \"{other}\" package manager.")),
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
    || ModuleDoc { summary: Args::SUMMARY, args: Args::spec() },
);
