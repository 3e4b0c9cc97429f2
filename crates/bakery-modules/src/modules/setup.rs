//! `setup`: facts about the system.

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Host, Outcome, Run, facts};

/// Gathers facts about the system.
#[derive(ModuleArgs)]
struct Args {
    /// Which facts: names, `!name` to leave out, `all`, `min`.
    #[arg(default = "all")]
    gather_subset: Vec<String>,
    /// Patterns of the facts to return.
    filter: Option<Vec<String>>,
    /// Seconds before a slow source is given up.
    #[arg(default = "10")]
    gather_timeout: i64,
    /// The folder of local facts.
    #[arg(default = "/etc/ansible/facts.d")]
    fact_path: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let facts = facts::gather(host, &args.gather_subset, &args.fact_path);
    if let Some(filter) = args.filter.filter(|f| !f.is_empty() && !f.iter().any(|p| p == "*")) {
        facts.update(|map| {
            map.retain(|key, _| {
                let key = key.to_string();
                let short = key.strip_prefix("ansible_").unwrap_or(&key);
                filter.iter().any(|p| super::find::wildcard(p, &key) || super::find::wildcard(p, short))
            });
        });
    }
    Ok(Outcome::unchanged().with("ansible_facts", facts))
}

module!("setup", "ansible.builtin", Args, run);
