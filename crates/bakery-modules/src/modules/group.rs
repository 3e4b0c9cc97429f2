//! `group`: groups, through groupadd, groupmod and groupdel.

use bakery_host::users;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

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
    /// The lowest number that the system may choose.
    gid_min: Option<i64>,
    /// The highest number that the system may choose.
    gid_max: Option<i64>,
    /// Whether it is a system group.
    system: bool,
    /// Whether a local group is meant where others are known too.
    local: bool,
    /// Whether removal is forced.
    force: bool,
}

fn run(args: Args, host: &mut Host) -> Run {
    for (name, bound) in [("gid_min", args.gid_min), ("gid_max", args.gid_max)] {
        if args.local && bound.is_some() {
            return Err(Failure::new(format!("'{name}' can not be used with 'local'")));
        }
    }
    if args.non_unique && args.gid.is_none() {
        return Err("non_unique is True but all of the following are missing: gid".into());
    }
    let existing = users::groups("/").into_iter().find(|g| g.name == args.name);
    let bounds = [("GID_MIN", args.gid_min), ("GID_MAX", args.gid_max)];
    let bounds: Vec<String> =
        bounds.iter().filter_map(|(key, value)| Some(format!("{key}={}", (*value)?))).collect();
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
        if existing.is_none() {
            if args.system {
                argv.push("-r");
            }
            for bound in &bounds {
                argv.extend(["-K", bound]);
            }
        }
    } else if args.force {
        argv.push("-f");
    }
    argv.push(&args.name);
    if !host.check {
        host.run(&argv).map_err(|f| Failure::new(f.msg).with("name", args.name.as_str()))?;
    }
    let outcome = Outcome::changed(true).with("name", args.name.as_str()).with("state", args.state.as_str());
    Ok(match users::groups("/").into_iter().find(|g| g.name == args.name) {
        Some(group) => outcome.with("gid", group.gid).with("system", args.system),
        None => outcome,
    })
}

module!("group", "ansible.builtin", Args, run);
