//! `dpkg_selections`: what dpkg is to do with a package (`ansible/modules/dpkg_selections.py`).

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets a package's selection state, such as `hold`.
#[derive(ModuleArgs)]
struct Args {
    /// The package.
    #[arg(required)]
    name: String,
    /// The state.
    #[arg(required, choices = "install,hold,deinstall,purge")]
    selection: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let output = host.run(&["dpkg", "--get-selections", &args.name])?;
    if output.error_text().contains("no packages found matching") {
        return Err(Failure::new(format!(
            "Failed to find package '{}' to perform selection '{}'.",
            args.name, args.selection
        )));
    }
    let text = output.text();
    let before = text.split_whitespace().nth(1).unwrap_or("not present").to_owned();
    let changed = before != args.selection;
    if changed && !host.check {
        let line = format!("{} {}", args.name, args.selection);
        host.cmd("dpkg").arg("--set-selections").input(line).run()?;
    }
    Ok(Outcome::changed(changed).with("before", before).with("after", args.selection))
}

module!("dpkg_selections", "ansible.builtin", Args, run);
