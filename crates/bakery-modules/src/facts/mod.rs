//! Facts with Ansible's names and shapes. While baking they describe the image, not the machine that bakes it.

mod distribution;
mod hardware;
mod network;
mod system;

use bakery_lang::Map;

use crate::{Host, Phase};

/// Gathers the facts of some subsets, each under its `ansible_` name.
pub fn gather(host: &mut Host, subset: &[String], fact_path: &str) -> Map {
    let wanted = |name: &str| {
        if subset.iter().any(|s| s.strip_prefix('!') == Some(name)) {
            return false;
        }
        let excluded_all = subset.iter().any(|s| s == "!all");
        let named: Vec<&String> = subset.iter().filter(|s| !s.starts_with('!')).collect();
        let listed = named.iter().any(|s| *s == name || *s == "all");
        listed || (named.is_empty() && !excluded_all)
    };
    let facts = Map::new();
    distribution::add(&facts);
    system::add(host, &facts, fact_path);
    if wanted("hardware")
        || ["processor", "memory", "mounts", "devices"].iter().any(|s| subset.iter().any(|x| x == s))
    {
        hardware::add(host, &facts);
    }
    // The network of the machine that bakes says nothing about the image's.
    if wanted("network") && host.phase == Phase::Live
        || subset.iter().any(|s| s == "interfaces" || s == "default_ipv4")
    {
        network::add(&facts);
    }
    facts.set("gather_subset", bakery_lang::Value::strings(subset));
    facts.set("module_setup", true);
    facts
}
