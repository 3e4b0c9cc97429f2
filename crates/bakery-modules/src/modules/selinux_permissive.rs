//! `selinux_permissive`: domains that SELinux only watches (`community.general`, `selinux_permissive.py`), by `semanage`.

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Makes a domain of the SELinux policy permissive, or enforced again.
#[derive(ModuleArgs)]
struct Args {
    /// The domain, such as `httpd_t`.
    #[arg(required, alias = "name")]
    domain: String,
    /// Whether it is permissive.
    #[arg(required)]
    permissive: bool,
    /// Whether the policy is not loaded anew.
    no_reload: bool,
    /// The policy store; the machine's own if empty.
    #[arg(default = "")]
    store: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let (semanage, semodule) = (host.program("semanage")?, host.program("semodule")?);
    let mut list = vec![semodule.as_str(), "--list-modules"];
    if !args.store.is_empty() {
        list.extend(["-s", &args.store]);
    }
    let listed = host.run(&list)?.text();
    // A permissive domain is a module of that name in the policy.
    let module = format!("permissive_{}", args.domain);
    let is_permissive = listed.lines().any(|line| line.split_whitespace().next() == Some(&module));
    let changed = is_permissive != args.permissive;
    if changed && !host.check {
        let mut argv = vec![semanage.as_str(), "permissive", if args.permissive { "-a" } else { "-d" }];
        argv.push(&args.domain);
        if args.no_reload {
            argv.push("-N");
        }
        if !args.store.is_empty() {
            argv.extend(["-S", &args.store]);
        }
        host.run(&argv)?;
    }
    Ok(Outcome::changed(changed)
        .with("store", args.store.as_str())
        .with("permissive", args.permissive)
        .with("domain", args.domain.as_str()))
}

module!("selinux_permissive", "community.general", Args, run);
