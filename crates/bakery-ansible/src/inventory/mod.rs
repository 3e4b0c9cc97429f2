//! Inventories: hosts, groups and their variables (`ansible/inventory/`).
//!
//! `sources` reads host lists, INI and YAML files, scripts and folders; `constructed` makes groups out of variables;
//! `pattern` finds hosts.

mod constructed;
mod pattern;
mod script;
mod sources;
mod toml;
pub(crate) use sources::with_port;

use std::path::{Path, PathBuf};

use bakery_lang::Map;
use indexmap::{IndexMap, IndexSet};

use crate::Result;
use crate::playbook::Loader;
use crate::vars::{HostVars, adjacent};

/// The names that this machine has in every inventory.
pub(crate) const IMPLICIT: &[&str] = &["localhost", "127.0.0.1", "::1"];

/// Hosts and groups.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Hosts in order, with their own variables.
    pub hosts: IndexMap<String, Map>,
    /// Groups in order, without `all`, which is around them all.
    pub groups: Vec<Group>,
    /// The variables of `all`.
    pub all_vars: Map,
    /// The sources as they were given.
    pub sources: Vec<String>,
    /// The folders of the sources, for `group_vars` and `host_vars`.
    pub folders: Vec<PathBuf>,
    /// Whether mappings of the same name are merged.
    merge: bool,
    /// The file that a host was first seen in.
    origins: IndexMap<String, PathBuf>,
}

/// A group.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its own hosts.
    pub hosts: IndexSet<String>,
    /// Groups in it.
    pub children: IndexSet<String>,
    /// Its variables.
    pub vars: Map,
}

impl Inventory {
    /// Whether a host is in it.
    pub fn has(&self, host: &str) -> bool {
        self.hosts.contains_key(host)
    }

    /// The group of a name, other than `all`.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|g| g.name == name)
    }

    /// The file that a host comes from.
    pub fn source_of(&self, host: &str) -> Option<PathBuf> {
        self.origins.get(host).cloned()
    }

    fn group_mut(&mut self, name: &str) -> &mut Group {
        let at = self.groups.iter().position(|g| g.name == name).unwrap_or_else(|| {
            self.groups.push(Group { name: name.to_owned(), ..Group::default() });
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }

    /// The variables of a group that are its own.
    fn group_vars(&mut self, name: &str) -> Map {
        if name == "all" { self.all_vars.clone() } else { self.group_mut(name).vars.clone() }
    }

    /// Adds a group without hosts, unless it is there.
    pub fn add_group(&mut self, name: &str) {
        self.group_mut(name);
    }

    /// Puts a group into another.
    pub(crate) fn add_child(&mut self, group: &str, child: &str) {
        self.group_mut(child);
        if group != "all" && group != child {
            self.group_mut(group).children.insert(child.to_owned());
        }
    }

    /// Adds a host to a group, and to the inventory if it is new; its own variables.
    pub fn add_host(&mut self, name: &str, group: &str) -> Map {
        let vars = self.hosts.entry(name.to_owned()).or_default().clone();
        if group != "all" && group != "ungrouped" {
            self.group_mut(group).hosts.insert(name.to_owned());
        }
        vars
    }

    /// The groups of a host, those around them too, sorted; `all` and `ungrouped` are not named.
    pub fn groups_of(&self, host: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.groups.iter().filter(|g| g.hosts.contains(host)).map(|g| g.name.clone()).collect();
        let mut at = 0;
        while at < names.len() {
            let inner = names[at].clone();
            for parent in self.groups.iter().filter(|g| g.children.contains(&inner)) {
                if !names.contains(&parent.name) {
                    names.push(parent.name.clone());
                }
            }
            at += 1;
        }
        names.sort();
        names
    }

    fn parents<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Group> + 'a {
        self.groups.iter().filter(move |g| g.children.contains(name))
    }

    /// How far a group is from `all`; groups that are further in have the last word.
    fn depth(&self, name: &str, limit: usize) -> usize {
        if limit == 0 {
            return 0;
        }
        self.parents(name).map(|g| self.depth(&g.name, limit - 1)).max().unwrap_or(0) + 1
    }

    /// The groups right below one, in order.
    pub fn children(&self, name: &str) -> Vec<&str> {
        if name != "all" {
            return self
                .group(name)
                .map(|g| g.children.iter().map(String::as_str).collect())
                .unwrap_or_default();
        }
        self.groups.iter().map(|g| g.name.as_str()).filter(|n| self.parents(n).next().is_none()).collect()
    }

    /// The hosts of a group, level by level: its own, then those of the groups in it.
    pub fn hosts_of(&self, group: &str) -> Vec<String> {
        let mut out: IndexSet<String> = IndexSet::new();
        if matches!(group, "all" | "ungrouped") {
            let grouped = |host: &String| self.groups.iter().any(|g| g.hosts.contains(host));
            out.extend(self.hosts.keys().filter(|h| !grouped(h)).cloned());
            if group == "ungrouped" {
                return out.into_iter().collect();
            }
        }
        let mut level: Vec<&str> = vec![group];
        let mut seen: IndexSet<&str> = IndexSet::new();
        while !level.is_empty() {
            let mut next = Vec::new();
            for name in level {
                if seen.insert(name) {
                    out.extend(self.group(name).into_iter().flat_map(|g| g.hosts.iter().cloned()));
                    next.extend(self.children(name));
                }
            }
            level = next;
        }
        out.into_iter().collect()
    }

    /// The groups of a host in the order in which their variables are taken: outer ones first, then by
    /// `ansible_group_priority`, then by name.
    pub fn groups_by_weight(&self, host: &str) -> Vec<&Group> {
        let names = self.groups_of(host);
        let mut groups: Vec<&Group> = self.groups.iter().filter(|g| names.contains(&g.name)).collect();
        let priority = |g: &Group| {
            let value = g.vars.get("ansible_group_priority");
            value.and_then(|v| v.as_int().or_else(|| v.to_string().parse().ok())).unwrap_or(1)
        };
        groups.sort_by_key(|g| (self.depth(&g.name, 60), priority(g), g.name.clone()));
        groups
    }

    /// What a host knows before a play begins.
    ///
    /// # Errors
    /// A file of variables that cannot be understood.
    pub fn host_vars(&self, host: &str, loader: &Loader) -> Result<HostVars> {
        let merge = |into: &Map, from: &Map| loader.merge(into, from);
        let vars = HostVars::default();
        if let Some(cache) = &loader.fact_cache {
            vars.facts.extend(&cache.read(host));
        }
        let groups = self.groups_by_weight(host);
        let mut folders: Vec<&Path> = self.folders.iter().map(PathBuf::as_path).collect();
        if !folders.contains(&loader.playbook_dir.as_path()) {
            folders.push(&loader.playbook_dir);
        }
        // The order is that of VARIABLE_PRECEDENCE: what inventories say, then files for `all`, then files for groups;
        // the playbook's folder comes after those of inventories.
        merge(&vars.groups, &self.all_vars);
        for group in &groups {
            merge(&vars.groups, &group.vars);
        }
        for folder in &folders {
            merge(&vars.groups, &adjacent(folder, "group_vars", "all", loader)?);
        }
        for folder in &folders {
            for group in &groups {
                merge(&vars.groups, &adjacent(folder, "group_vars", &group.name, loader)?);
            }
        }
        if let Some(own) = self.hosts.get(host) {
            merge(&vars.host, own);
        }
        for folder in &folders {
            merge(&vars.host, &adjacent(folder, "host_vars", host, loader)?);
        }
        if !self.has(host) && IMPLICIT.contains(&host) {
            // The implicit `localhost` is this machine; a task may be delegated to others that no inventory knows.
            vars.host.set("ansible_connection", "local");
            vars.host.set("ansible_python_interpreter", crate::foreign::controller_python());
        }
        Ok(vars)
    }

    /// A group's own variables, with those of the folders of the sources.
    ///
    /// # Errors
    /// A file of variables that cannot be understood.
    pub fn group_vars_of(&self, group: &str, loader: &Loader) -> Result<Map> {
        let out = Map::new();
        if group == "all" {
            loader.merge(&out, &self.all_vars);
        } else if let Some(found) = self.group(group) {
            loader.merge(&out, &found.vars);
        }
        let mut folders: Vec<&Path> = self.folders.iter().map(PathBuf::as_path).collect();
        if !folders.contains(&loader.playbook_dir.as_path()) {
            folders.push(&loader.playbook_dir);
        }
        for folder in folders {
            loader.merge(&out, &adjacent(folder, "group_vars", group, loader)?);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ini_and_patterns() {
        let loader = Loader::new(Path::new("site.yml"), Map::new());
        let mut inventory = Inventory::load(&["localhost,".into()], &loader).expect("a list").0;
        let matching = |i: &Inventory, p: &str| i.matching(p).expect("a pattern").0;
        assert_eq!(matching(&inventory, "all"), ["localhost"]);
        inventory
            .ini(&bakery_lang::Source::new(
                "t",
                "[web]\nw[1:3] a=1\n[db]\nd1\n[all:vars]\nx=y\n[site:children]\nweb\ndb\n",
            ))
            .expect("valid");
        assert_eq!(matching(&inventory, "web:!w2"), ["w1", "w3"]);
        assert_eq!(matching(&inventory, "site"), ["w1", "w2", "w3", "d1"]);
        assert_eq!(inventory.groups_of("w1"), ["site", "web"]);
        assert_eq!(matching(&inventory, "w*"), ["w1", "w2", "w3"]);
        assert_eq!(matching(&inventory, "web[1:]"), ["w2", "w3"]);
        assert_eq!(matching(&inventory, "~[wd]1"), ["w1", "d1"]);
    }
}
