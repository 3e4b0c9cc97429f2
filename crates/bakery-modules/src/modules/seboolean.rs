//! `seboolean`: switches of the SELinux policy (ansible.posix `seboolean.py`).

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Switches a boolean of the SELinux policy, now and, if asked, for later boots.
#[derive(ModuleArgs)]
struct Args {
    /// The boolean.
    #[arg(required)]
    name: String,
    /// What it shall be.
    #[arg(required)]
    state: bool,
    /// Whether it stays over a reboot.
    persistent: bool,
    /// Whether it is set where SELinux is off, too; as in a container or an image.
    ignore_selinux_state: bool,
}

/// What the policy's store holds for the next boot, as `semanage boolean` lists it: `NAME (now , then) text`.
fn stored(host: &Host, semanage: &str, name: &str) -> Result<bool, Failure> {
    let listing = host.run(&[semanage, "boolean", "--list", "--noheading"])?.text();
    let line = listing.lines().find(|line| line.split_whitespace().next() == Some(name));
    let inside = line.and_then(|line| line.split_once('(')?.1.split_once(')'));
    match inside.and_then(|(pair, _)| pair.split_once(',')) {
        Some((_, then)) => Ok(then.trim() == "on"),
        None => Err(Failure::new(format!("SELinux boolean {name} is not defined in persistent policy"))),
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let enabled = super::selinux::is_enabled();
    if !enabled && !args.ignore_selinux_state {
        return Err("SELinux is disabled on this host.".into());
    }
    let word = if args.state { "on" } else { "off" };
    let mut changed = false;
    if args.persistent {
        let semanage = host.program("semanage")?;
        changed = stored(host, &semanage, &args.name)? != args.state;
        if changed && !host.check {
            let mut argv = vec![semanage.as_str(), "boolean", "--modify", "--on", &args.name];
            if !args.state {
                argv[3] = "--off";
            }
            if !enabled {
                argv.push("--noreload");
            }
            host.run(&argv)?;
        }
    } else if enabled {
        let now = host.run(&[host.program("getsebool")?.as_str(), &args.name])?.text();
        changed = !now.trim_end().ends_with(&format!("--> {word}"));
        if changed && !host.check {
            host.run(&[host.program("setsebool")?.as_str(), &args.name, word])?;
        }
    }
    Ok(Outcome::changed(changed)
        .with("name", args.name)
        .with("persistent", args.persistent)
        .with("state", args.state))
}

module!("seboolean", "ansible.posix", Args, run);
