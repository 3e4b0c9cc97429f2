//! `hostname`: the machine's name.

use bakery_macros::ModuleArgs;

use crate::host::Replace;
use crate::registry::module;
use crate::{Host, Outcome, Phase, Run};

/// Sets the machine's name.
#[derive(ModuleArgs)]
struct Args {
    /// The name.
    #[arg(required)]
    name: String,
    /// How to set it; the file and the kernel are always both set.
    #[arg(name = "use")]
    strategy: Option<String>,
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = std::path::Path::new("/etc/hostname");
    let (mut changed, _) = host.replace(path, format!("{}\n", args.name).as_bytes(), &Replace::default())?;
    if host.phase == Phase::Live {
        let now = bakery_host::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        if now.trim() != args.name {
            changed = true;
            if !host.check {
                host.run(&["hostname", &args.name])?;
            }
        }
    }
    let short = args.name.split('.').next().unwrap_or_default().to_owned();
    let facts = bakery_lang::Value::map([
        ("ansible_hostname", bakery_lang::Value::from(short)),
        ("ansible_nodename", args.name.as_str().into()),
        ("ansible_fqdn", args.name.as_str().into()),
    ]);
    Ok(Outcome::changed(changed).with("name", args.name).with("ansible_facts", facts))
}

module!("hostname", "ansible.builtin", Args, run);
