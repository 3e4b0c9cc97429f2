//! `setup`: facts about the system.

use std::time::Duration;

use bakery_macros::ModuleArgs;

use super::find::wildcard;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run, facts};

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
    let patience = Duration::from_secs(u64::try_from(args.gather_timeout).unwrap_or(0).max(1));
    let facts = facts::gather(host, &args.gather_subset, &args.fact_path, patience).map_err(Failure::new)?;
    let filter = args.filter.filter(|f| !f.is_empty() && !f.iter().any(|pattern| pattern == "*"));
    if let Some(filter) = filter {
        let fits = |name: &str, pattern: &str| {
            let has_prefix = ["ansible_", "facter", "ohai"].iter().any(|prefix| pattern.starts_with(prefix));
            pattern.is_empty()
                || wildcard(pattern, name)
                || !has_prefix && wildcard(&format!("ansible_{pattern}"), name)
        };
        facts.update(|map| map.retain(|key, _| filter.iter().any(|p| fits(&key.to_string(), p))));
    }
    Ok(Outcome::unchanged().with("ansible_facts", facts))
}

module!("setup", "ansible.builtin", Args, run);
