//! `package`: the package manager that the system has.

use bakery_host::command::find_program;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Installs and removes packages with the system's own package manager.
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
    /// Whether the lists are fetched first.
    update_cache: Option<bool>,
}

fn run(args: Args, host: &mut Host) -> Run {
    let manager = match args.manager.as_str() {
        "auto" if find_program("apt-get").is_some() => "apt",
        "auto" if find_program("dnf").is_some() || find_program("yum").is_some() => "yum",
        "auto" => return Err("no package manager that bakery knows is on this system (apt, dnf, yum)".into()),
        other if crate::find(other).is_some() => other,
        other => {
            return Err(Failure::new(format!(
                "Could not find a matching action for the \"{other}\" package manager."
            )));
        }
    };
    let inner = Map::new();
    inner.set("name", Value::strings(&args.name));
    inner.set(
        "state",
        match args.state.as_str() {
            "installed" if manager == "apt" => "present",
            "removed" if manager == "apt" => "absent",
            other => other,
        },
    );
    if let Some(update) = args.update_cache {
        inner.set("update_cache", update);
    }
    let result = crate::registry::run(manager, &inner, host);
    let map = result.as_map().cloned().unwrap_or_default();
    map.remove("invocation");
    let changed = map.remove("changed").is_some_and(|v| v.is_true());
    if map.remove("failed").is_some_and(|v| v.is_true()) {
        let msg = map.remove("msg").unwrap_or_default().to_string();
        return Err(Failure { msg, fields: map });
    }
    Ok(Outcome { changed, fields: map })
}

module!("package", "ansible.builtin", Args, run);
