//! Facts with Ansible's names and shapes (`ansible/module_utils/facts`), one collector per subset. While baking they
//! describe the image, not the machine that bakes it.
//!
//! To add a fact: write it where its collector is, or add a [`Collector`] to [`COLLECTORS`].

mod devices;
mod distribution;
pub(crate) mod hardware;
mod local;
mod network;
mod platform;
mod python;
mod security;
mod services;
mod virtualization;

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bakery_host::{command::find_program, fs};
use bakery_lang::{Map, Value};

use crate::{Host, Phase};

/// What gathers the facts of a subset.
struct Collector {
    /// The subset.
    name: &'static str,
    /// Facts that may be asked for by themselves, which brings the whole subset.
    facts: &'static [&'static str],
    /// Subsets whose facts come along.
    needs: &'static [&'static str],
    /// What is put before the names.
    prefix: &'static str,
    /// Whether it waits for other programs: such collectors run side by side.
    waits: bool,
    collect: fn(&Scene<'_>) -> Map,
}

impl Collector {
    const fn new(name: &'static str, collect: fn(&Scene<'_>) -> Map) -> Self {
        Self { name, facts: &[], needs: &[], prefix: "ansible_", waits: false, collect }
    }

    const fn facts(mut self, facts: &'static [&'static str]) -> Self {
        self.facts = facts;
        self
    }

    const fn needs(mut self, needs: &'static [&'static str]) -> Self {
        self.needs = needs;
        self
    }

    const fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }

    const fn waits(mut self) -> Self {
        self.waits = true;
        self
    }
}

/// Every collector, in the order of ansible-core's `default_collectors.py`.
const COLLECTORS: &[Collector] = &[
    Collector::new("platform", platform::platform)
        .facts(&[
            "system",
            "kernel",
            "kernel_version",
            "machine",
            "python_version",
            "architecture",
            "machine_id",
        ])
        .waits(),
    Collector::new("distribution", |scene| scene.distribution().copied()).facts(&[
        "distribution_version",
        "distribution_release",
        "distribution_major_version",
        "os_family",
    ]),
    Collector::new("lsb", distribution::lsb).waits(),
    Collector::new("selinux", security::selinux),
    Collector::new("apparmor", security::apparmor),
    Collector::new("chroot", security::chroot).facts(&["is_chroot"]),
    Collector::new("fips", security::fips),
    Collector::new("python", python::python).waits(),
    Collector::new("caps", security::capabilities)
        .facts(&["system_capabilities", "system_capabilities_enforced"])
        .waits(),
    Collector::new("pkg_mgr", distribution::package_manager).needs(&["distribution"]),
    Collector::new("service_mgr", services::service_manager).needs(&["platform", "distribution"]),
    Collector::new("cmdline", platform::kernel_command_line),
    Collector::new("date_time", platform::date_time),
    Collector::new("env", platform::environment),
    Collector::new("loadavg", platform::load),
    Collector::new("ssh_pub_keys", security::ssh_keys).facts(&[
        "ssh_host_pub_keys",
        "ssh_host_key_dsa_public",
        "ssh_host_key_rsa_public",
        "ssh_host_key_ecdsa_public",
        "ssh_host_key_ed25519_public",
    ]),
    Collector::new("user", platform::user).facts(&[
        "user_id",
        "user_uid",
        "user_gid",
        "user_gecos",
        "user_dir",
        "user_shell",
        "real_user_id",
        "effective_user_id",
        "effective_group_ids",
    ]),
    Collector::new("systemd", services::systemd).waits(),
    Collector::new("virtual", virtualization::virtualization).facts(&[
        "virtualization_type",
        "virtualization_role",
        "virtualization_tech_guest",
        "virtualization_tech_host",
    ]),
    Collector::new("hardware", hardware::hardware)
        .facts(&["processor", "processor_cores", "processor_count", "mounts", "devices"])
        .needs(&["platform"])
        .waits(),
    Collector::new("dns", network::dns),
    Collector::new("fibre_channel_wwn", network::fibre_channel),
    Collector::new("network", network::network)
        .facts(&["interfaces", "default_ipv4", "default_ipv6", "all_ipv4_addresses", "all_ipv6_addresses"])
        .needs(&["distribution", "platform"])
        .waits(),
    Collector::new("iscsi", network::iscsi),
    Collector::new("nvme", network::nvme),
    Collector::new("local", local::local).waits(),
    Collector::new("facter", local::facter).facts(&["facter"]).prefix("facter_").waits(),
    Collector::new("ohai", local::ohai).prefix("ohai_").waits(),
];

/// The subsets that are gathered unless `!min` says otherwise (`modules/setup.py`).
const MINIMAL: &[&str] = &[
    "apparmor",
    "caps",
    "cmdline",
    "date_time",
    "distribution",
    "dns",
    "env",
    "fips",
    "local",
    "lsb",
    "pkg_mgr",
    "platform",
    "python",
    "selinux",
    "service_mgr",
    "ssh_pub_keys",
    "user",
];

/// What collectors look at.
struct Scene<'a> {
    host: &'a Host,
    fact_path: &'a str,
    patience: Duration,
    distribution: OnceLock<Map>,
    python: OnceLock<Option<(String, Value)>>,
    warnings: Mutex<Vec<String>>,
}

impl Scene<'_> {
    fn is_baking(&self) -> bool {
        self.host.phase == Phase::Bake
    }

    fn distribution(&self) -> &Map {
        self.distribution.get_or_init(distribution::distribution)
    }

    fn python(&self) -> Option<&(String, Value)> {
        self.python.get_or_init(|| python::asked(self)).as_ref()
    }

    fn warn(&self, text: impl Into<String>) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.into());
    }

    /// What a program prints, unless it is not there or fails.
    fn output(&self, program: &str, args: &[&str]) -> Option<String> {
        let found = find_program(program)?;
        let cmd = self.host.cmd(&found.display().to_string()).args(args).env("LC_ALL", "C");
        cmd.timeout(self.patience).output().ok().filter(bakery_host::Output::success).map(|o| o.text())
    }
}

/// The facts of a distribution, without `ansible_` before their names, out of its release files: `read` gives the text
/// of a path such as `/etc/os-release`.
pub fn distribution_of(read: &dyn Fn(&str) -> Option<String>) -> Map {
    distribution::described(read)
}

/// Gathers the facts of some subsets, each under its name with `ansible_` before it; what went wrong is a warning.
///
/// # Errors
/// Names a subset that there is not, and those that there are.
pub fn gather(
    host: &mut Host,
    subset: &[String],
    fact_path: &str,
    patience: Duration,
) -> Result<Map, String> {
    let wanted = select(subset)?;
    let scene = Scene {
        host,
        fact_path,
        patience,
        distribution: OnceLock::new(),
        python: OnceLock::new(),
        warnings: Mutex::default(),
    };
    let chosen: Vec<&Collector> = COLLECTORS.iter().filter(|c| wanted.contains(c.name)).collect();
    let facts = Map::new();
    std::thread::scope(|threads| {
        // What waits is begun first, what works goes on meanwhile; the order of the facts stays the same.
        let scene = &scene;
        let begun: Vec<_> = chosen
            .iter()
            .map(|collector| collector.waits.then(|| threads.spawn(|| (collector.collect)(scene))))
            .collect();
        let at_once: Vec<Option<Map>> =
            chosen.iter().map(|c| (!c.waits).then(|| (c.collect)(scene))).collect();
        for ((collector, begun), found) in chosen.iter().zip(begun).zip(at_once) {
            let found = match begun {
                Some(thread) => thread.join().unwrap_or_default(),
                None => found.unwrap_or_default(),
            };
            for (name, value) in found.pairs() {
                facts.set(&format!("{}{}", collector.prefix, name.to_string().replace('-', "_")), value);
            }
        }
    });
    facts.set("gather_subset", Value::strings(subset));
    facts.set("module_setup", true);
    let warnings = scene.warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
    warnings.into_iter().for_each(|warning| host.warn(warning));
    Ok(facts)
}

/// The collectors that words of `gather_subset` mean (`facts/collector.py`, `get_collector_names`).
fn select(subset: &[String]) -> Result<BTreeSet<&'static str>, String> {
    let valid: BTreeSet<&'static str> =
        COLLECTORS.iter().flat_map(|c| c.facts.iter().copied().chain([c.name])).collect();
    let minimal: BTreeSet<&str> = MINIMAL.iter().copied().collect();
    let (mut added, mut excluded, mut explicit) = (minimal.clone(), BTreeSet::new(), BTreeSet::new());
    for word in subset {
        match word.as_str() {
            "min" => added.extend(&minimal),
            "all" => added.extend(&valid),
            "!min" => excluded.extend(&minimal),
            "!all" => excluded.extend(valid.difference(&minimal)),
            word => {
                let name = word.strip_prefix('!').unwrap_or(word);
                let known = valid.get(name).copied();
                match (known, word.starts_with('!')) {
                    (Some(name), true) => {
                        let of_it = COLLECTORS.iter().find(|c| c.name == name);
                        excluded.extend(of_it.map(|c| c.facts).unwrap_or_default());
                        excluded.insert(name);
                    }
                    (Some(name), false) => {
                        explicit.insert(name);
                        added.insert(name);
                    }
                    // To leave out what is not known is no mistake.
                    (None, true) => {}
                    (None, false) => {
                        let valid: Vec<&str> = valid.into_iter().collect();
                        return Err(format!(
                            "Bad subset '{name}' given to Ansible. gather_subset options allowed: all, {}",
                            valid.join(", ")
                        ));
                    }
                }
            }
        }
    }
    if added.is_empty() {
        added.clone_from(&valid);
    }
    added.retain(|name| !excluded.contains(name) || explicit.contains(name));
    let mut chosen: BTreeSet<&'static str> = COLLECTORS
        .iter()
        .filter(|c| added.contains(c.name) || c.facts.iter().any(|fact| added.contains(fact)))
        .map(|c| c.name)
        .collect();
    for collector in COLLECTORS {
        if chosen.contains(collector.name) {
            chosen.extend(collector.needs);
        }
    }
    Ok(chosen)
}

/// A file's text without white space around it, unless it is empty or cannot be read.
fn content(path: impl AsRef<std::path::Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The names in a folder, sorted.
fn names_in(folder: impl AsRef<std::path::Path>) -> Vec<String> {
    let mut names = listed(folder);
    names.sort();
    names
}

/// The names in a folder, in the order that they are listed in.
fn listed(folder: impl AsRef<std::path::Path>) -> Vec<String> {
    let paths = fs::read_dir_unsorted(folder).unwrap_or_default();
    paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
}

fn exists(path: &str) -> bool {
    std::path::Path::new(path).exists()
}

#[cfg(test)]
mod tests {
    use super::select;

    fn chosen(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        select(&words).expect("known subsets").into_iter().collect()
    }

    #[test]
    fn subsets_are_chosen_as_ansible_chooses_them() {
        assert!(chosen(&["all"]).len() > 25);
        assert!(!chosen(&["!all"]).contains(&"network"));
        assert!(chosen(&["!all"]).contains(&"distribution"));
        assert_eq!(chosen(&["!all", "!min", "interfaces"]), ["distribution", "network", "platform"]);
        assert!(!chosen(&["all", "!hardware"]).contains(&"hardware"));
        assert!(chosen(&["!nonsense"]).contains(&"env"));
        let error = select(&["nonsense".to_owned()]).expect_err("not known");
        assert!(error.starts_with("Bad subset 'nonsense' given to Ansible."), "{error}");
    }
}
