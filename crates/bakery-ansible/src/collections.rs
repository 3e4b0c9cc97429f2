//! Collections: names that have one in them, and what `meta/runtime.yml` says of modules' names and groups.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bakery_host::fs;
use bakery_lang::{Map, Value, yaml};

use crate::names::MAX_REDIRECTS;
use crate::playbook::Loader;

/// The namespace, the collection and the rest of a name, `community.general.dpkg_divert`.
pub(crate) fn parts(name: &str) -> Option<(&str, &str, &str)> {
    let mut parts = name.splitn(3, '.');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// Today's name of what left ansible-core: a filter, lookup, test, or one of its `module_utils`.
pub(crate) fn moved(kind: &str, name: &str) -> Option<&'static str> {
    let rows = include_str!("moved.txt").lines().filter(|line| line.starts_with(kind));
    rows.map(|row| row.split(' ')).find_map(|mut row| (row.nth(1) == Some(name)).then(|| row.next())?)
}

/// The groups of `module_defaults` that have no collection in their names, and whose groups they are
/// (`ansible/config/ansible_builtin_runtime.yml`); two are for who tests collections.
const CORE_GROUPS: &[(&str, &[&str])] = &[
    ("acme", &["community.crypto.acme"]),
    ("aws", &["amazon.aws.aws", "community.aws.aws"]),
    ("azure", &["azure.azcollection.azure"]),
    ("cpm", &["wti.remote.cpm"]),
    ("docker", &["community.general.docker", "community.docker.docker"]),
    ("gcp", &["google.cloud.gcp"]),
    ("k8s", &["community.kubernetes.k8s", "community.okd.k8s", "kubernetes.core.k8s"]),
    ("os", &["openstack.cloud.os"]),
    ("ovirt", &["ovirt.ovirt.ovirt"]),
    ("vmware", &["community.vmware.vmware"]),
    (
        "testgroup",
        &["testns.testcoll.testgroup", "testns.testcoll.anothergroup", "testns.boguscoll.testgroup"],
    ),
    ("testlegacy", &[]),
];

/// The modules that such groups have themselves.
const CORE_MEMBERS: &[(&str, &[&str])] = &[
    (
        "testgroup",
        &["ansible.builtin.ping", "ansible.builtin.legacy_ping", "ansible.builtin.formerly_core_ping"],
    ),
    ("testlegacy", &["ansible.legacy.legacy_ping"]),
];

/// What collections say in `meta/runtime.yml`, each read once: tasks ask again and again, and some are long.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<HashMap<PathBuf, Value>>);

/// What a collection says of one of its modules.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// The name that it has today, if it was moved.
    pub(crate) redirect: Option<String>,
    /// The action that carries it out.
    pub(crate) action: Option<String>,
}

impl Runtimes {
    /// A key of a collection's file.
    fn get(&self, collection: &Path, key: &str) -> Option<Value> {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = read.entry(collection.to_path_buf()).or_insert_with(|| {
            let text = fs::read_to_string(collection.join("meta/runtime.yml")).unwrap_or_default();
            yaml::parse_data("meta/runtime.yml", &text).unwrap_or_default()
        });
        runtime.get(key)
    }

    /// What is said of a module of a collection (`plugin_routing`).
    pub(crate) fn module(&self, collection: &Path, name: &str) -> Route {
        let entry = self.get(collection, "plugin_routing").and_then(|r| r.get("modules")?.get(name));
        let said = |key: &str| entry.as_ref().and_then(|entry| entry.get(key)).map(|to| to.to_string());
        Route { redirect: said("redirect"), action: said("action_plugin") }
    }

    /// The module utilities of a collection that have another name today.
    pub(crate) fn moved_utilities(&self, collection: &Path) -> Vec<(String, String)> {
        let routes = self.get(collection, "plugin_routing").and_then(|r| r.get("module_utils"));
        let pairs = routes.and_then(|r| r.as_map().map(Map::pairs)).unwrap_or_default();
        let moved =
            pairs.into_iter().filter_map(|(name, route)| Some((name.to_string(), route.get("redirect")?)));
        moved.map(|(name, to)| (name, to.to_string())).collect()
    }

    /// The name that a plugin of a collection has today, if it was moved.
    pub(crate) fn redirect(&self, collection: &Path, kind: &str, name: &str) -> Option<String> {
        let entry = self.get(collection, "plugin_routing")?.get(kind)?.get(name)?;
        entry.get("redirect").map(|to| to.to_string())
    }
}

impl Loader {
    /// The playbook of a collection that a name with it means, `namespace.collection.playbook`, with or without its ending
    /// (`_get_collection_playbook_path`).
    pub fn playbook_of_collection(&self, name: &str) -> Option<PathBuf> {
        let (namespace, collection, rest) = parts(name).filter(|_| !name.contains('/'))?;
        let ending = [".yml", ".yaml"].into_iter().find(|ending| rest.ends_with(ending));
        let path = rest.strip_suffix(ending.unwrap_or_default())?.replace('.', "/");
        let endings = ending.map_or(vec![".yml", ".yaml"], |ending| vec![ending]);
        self.collection(namespace, collection).iter().find_map(|folder| {
            let files = endings.iter().map(|ending| folder.join("playbooks").join(format!("{path}{ending}")));
            files.into_iter().find(|file| file.is_file())
        })
    }

    /// The name that a plugin has today; a name without a collection stays.
    pub(crate) fn redirected(&self, kind: &str, name: String) -> String {
        let mut today = name;
        for _ in 0..MAX_REDIRECTS {
            let Some((namespace, collection, rest)) = parts(&today) else { break };
            let folders = self.collection(namespace, collection);
            let Some(other) = folders.iter().find_map(|f| self.runtimes.redirect(f, kind, rest)) else {
                break;
            };
            today = other;
        }
        today
    }

    /// The collection that the playbook is in, whose modules and roles it may name without it
    /// (`_get_collection_name_from_path`).
    pub(crate) fn own_collection(&self) -> Option<String> {
        let mut parts = self.playbook_dir.iter().filter_map(|part| part.to_str());
        parts.find(|part| *part == "ansible_collections")?;
        let (namespace, name) = (parts.next()?, parts.next()?);
        (!self.collection(namespace, name).is_empty()).then(|| format!("{namespace}.{name}"))
    }

    /// The modules of a group of `module_defaults`, with their collections; `None` for a group that is nowhere
    /// (`Base._resolve_group`). What is wrong with groups is told to `warn`.
    pub(crate) fn action_group(&self, name: &str, warn: &dyn Fn(String)) -> Option<Vec<String>> {
        let validates = self.settings.flag(
            "ANSIBLE_VALIDATE_ACTION_GROUP_METADATA",
            "defaults",
            "validate_action_group_metadata",
            true,
        );
        let mut members = Vec::new();
        let mut found = false;
        let mut seen: Vec<String> = Vec::new();
        let mut waiting = vec![name.to_owned()];
        while let Some(group) = waiting.pop() {
            if seen.contains(&group) {
                continue;
            }
            let short = group.strip_prefix("ansible.builtin.").unwrap_or(&group);
            if let Some((_, others)) = CORE_GROUPS.iter().find(|(own, _)| *own == short) {
                found = true;
                waiting.extend(others.iter().map(ToString::to_string));
                let own = CORE_MEMBERS.iter().filter(|(own, _)| *own == short).flat_map(|(_, m)| *m);
                members.extend(own.map(ToString::to_string));
            } else if let Some(entries) = self.group_entries(&group) {
                found = true;
                let mut has_metadata = false;
                for entry in entries {
                    if entry.as_str().is_some() {
                        members.push(in_collection_of(&group, &entry));
                        continue;
                    }
                    if let Some(wrong) = wrong_metadata(&entry, has_metadata).filter(|_| validates) {
                        warn(format!(
                            "Invalid metadata was found for action_group {group} while loading module_defaults. {wrong}"
                        ));
                    }
                    let metadata = entry.get("metadata").filter(|m| m.as_map().is_some());
                    has_metadata |= metadata.is_some();
                    let others = match metadata.and_then(|m| m.get("extend_group")) {
                        Some(one @ Value::Str(_)) => vec![one],
                        Some(Value::List(several)) => several.items(),
                        _ => vec![],
                    };
                    waiting.extend(others.iter().map(|other| in_collection_of(&group, other)));
                }
            }
            seen.push(group);
        }
        found.then_some(members)
    }

    /// What a collection says is in a group; it may name the group with itself or without.
    fn group_entries(&self, group: &str) -> Option<Vec<Value>> {
        let (namespace, collection, short) = parts(group)?;
        let folders = self.collection(namespace, collection);
        let groups = folders.iter().find_map(|folder| self.runtimes.get(folder, "action_groups"))?;
        groups.get(group).or_else(|| groups.get(short))?.as_items()
    }
}

/// What is wrong with an entry of a group that is no name (`_validate_action_group_metadata`).
fn wrong_metadata(entry: &Value, has_metadata: bool) -> Option<String> {
    let keys = |map: &Map| {
        let mut keys: Vec<String> = map.pairs().iter().map(|(key, _)| key.to_string()).collect();
        keys.sort();
        keys
    };
    let found = entry.as_map().map(keys).unwrap_or_default();
    let metadata = match (entry.get("metadata"), found.len()) {
        (Some(metadata), 1) => metadata,
        _ => return Some(format!("The only expected key is metadata, but got keys: {}", found.join(", "))),
    };
    let mut wrong = Vec::new();
    if has_metadata {
        wrong.push("The group contains multiple metadata entries.".to_owned());
    }
    match metadata.as_map() {
        None => wrong.push(format!("The metadata is not a dictionary. Got {metadata}")),
        Some(map) => {
            let unexpected: Vec<String> = keys(map).into_iter().filter(|key| key != "extend_group").collect();
            if !unexpected.is_empty() {
                wrong.push(format!("The metadata contains unexpected keys: {}", unexpected.join(", ")));
            }
            if let Some(other) =
                map.get("extend_group").filter(|o| !matches!(o, Value::List(_) | Value::Str(_)))
            {
                wrong.push(format!(
                    "The metadata contains unexpected key types: extend_group is {other} (expected type list)"
                ));
            }
        }
    }
    (!wrong.is_empty()).then(|| wrong.join(" "))
}

/// A name, in the collection of a group unless it has one.
fn in_collection_of(group: &str, name: &Value) -> String {
    let name = name.to_string();
    match (parts(&name), parts(group)) {
        (None, Some((namespace, collection, _))) => format!("{namespace}.{collection}.{name}"),
        _ => name,
    }
}
