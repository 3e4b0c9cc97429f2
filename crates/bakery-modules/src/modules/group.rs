//! `group`: groups, through groupadd, groupmod and groupdel.

use bakery_host::users;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Makes, changes and removes groups.
#[derive(ModuleArgs)]
struct Args {
    /// The group.
    #[arg(required)]
    name: String,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Its number.
    gid: Option<i64>,
    /// Whether the number may be taken already.
    non_unique: bool,
    /// Whether it is a system group.
    system: bool,
    /// Whether a local group is meant where others are known too.
    local: bool,
    /// Whether removal is forced.
    force: bool,
}

fn run(args: Args, host: &mut Host) -> Run {
    let existing = users::groups("/").into_iter().find(|g| g.name == args.name);
    let gid = args.gid.map(|g| g.to_string());
    let mut argv: Vec<&str> = match (&existing, args.state.as_str()) {
        (None, "absent") => return Ok(Outcome::unchanged().with("name", args.name).with("state", "absent")),
        (Some(_), "absent") => vec!["groupdel"],
        (None, _) => vec!["groupadd"],
        (Some(group), _) if args.gid.is_none_or(|gid| gid == i64::from(group.gid)) => {
            return Ok(Outcome::unchanged()
                .with("name", args.name)
                .with("state", "present")
                .with("gid", group.gid)
                .with("system", args.system));
        }
        (Some(_), _) => vec!["groupmod"],
    };
    if args.state == "present" {
        if let Some(gid) = &gid {
            argv.extend(["-g", gid]);
            if args.non_unique {
                argv.push("-o");
            }
        }
        if args.system && existing.is_none() {
            argv.push("-r");
        }
    } else if args.force {
        argv.push("-f");
    }
    argv.push(&args.name);
    if !host.check {
        host.run(&argv)?;
    }
    let outcome = Outcome::changed(true).with("name", args.name.as_str()).with("state", args.state.as_str());
    Ok(match users::groups("/").into_iter().find(|g| g.name == args.name) {
        Some(group) => outcome.with("gid", group.gid).with("system", args.system),
        None => outcome,
    })
}

module!("group", "ansible.builtin", Args, run);
