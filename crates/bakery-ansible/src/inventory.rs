//! Inventories: host lists, INI and YAML files, folders; patterns of hosts.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::{Map, Source, Value, yaml};

use crate::playbook::{Loader, split_args};
use crate::vars::{HostVars, adjacent};
use crate::{Error, Result};

/// Hosts and groups.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Hosts in order, with their own variables.
    pub hosts: Vec<(String, Map)>,
    /// Groups in order.
    pub groups: Vec<Group>,
    /// The folders of the sources, for `group_vars` and `host_vars`.
    pub folders: Vec<PathBuf>,
}

/// A group.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its own hosts.
    pub hosts: Vec<String>,
    /// Groups in it.
    pub children: Vec<String>,
    /// Its variables.
    pub vars: Map,
}

impl Inventory {
    /// Reads sources: `a,b,` lists, files, folders. Without any, `localhost` is the only host.
    ///
    /// # Errors
    /// A source that cannot be read.
    pub fn load(sources: &[String], loader: &Loader) -> Result<Self> {
        let mut inventory = Self::default();
        for source in sources {
            if source.contains(',') {
                for name in source.split(',').map(str::trim).filter(|n| !n.is_empty()) {
                    for host in ranges(name) {
                        inventory.add_host(&host, "ungrouped");
                    }
                }
            } else {
                inventory.source(Path::new(source), loader)?;
            }
        }
        Ok(inventory)
    }

    fn source(&mut self, path: &Path, loader: &Loader) -> Result<()> {
        if path.is_dir() {
            for inner in fs::read_dir(path)? {
                let name = inner.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                if !matches!(name.as_str(), "group_vars" | "host_vars")
                    && !name.starts_with('.')
                    && !name.ends_with('~')
                {
                    self.source(&inner, loader)?;
                }
            }
            self.folders.push(path.to_path_buf());
            return Ok(());
        }
        if !path.exists() {
            return Err(Error::message(format!(
                "Unable to parse {} as an inventory source: it is not there",
                path.display()
            )));
        }
        if let Some(folder) = path.parent() {
            self.folders.push(folder.to_path_buf());
        }
        let text = fs::read_to_string(path)?;
        let is_yaml = path.extension().is_some_and(|e| e == "yml" || e == "yaml" || e == "json");
        if is_yaml || text.trim_start().starts_with("---") {
            let node = yaml::parse(&Source::new(path.display().to_string(), text)).map_err(Error::parse)?;
            for (name, group) in node.to_value().as_map().map(Map::pairs).unwrap_or_default() {
                self.yaml_group(&name.to_string(), &group);
            }
        } else {
            self.ini(&path.display().to_string(), &text)?;
        }
        Ok(())
    }

    fn group_mut(&mut self, name: &str) -> &mut Group {
        if let Some(at) = self.groups.iter().position(|g| g.name == name) {
            return &mut self.groups[at];
        }
        self.groups.push(Group { name: name.to_owned(), ..Group::default() });
        let last = self.groups.len() - 1;
        &mut self.groups[last]
    }

    /// Adds a host to a group, and to the inventory if it is new.
    pub fn add_host(&mut self, name: &str, group: &str) -> Map {
        let vars = match self.hosts.iter().find(|(n, _)| n == name) {
            Some((_, vars)) => vars.clone(),
            None => {
                let vars = Map::new();
                self.hosts.push((name.to_owned(), vars.clone()));
                vars
            }
        };
        let group = self.group_mut(group);
        if !group.hosts.iter().any(|h| h == name) {
            group.hosts.push(name.to_owned());
        }
        vars
    }

    fn yaml_group(&mut self, name: &str, value: &Value) {
        let own = self.group_mut(name);
        if let Some(Value::Map(vars)) = value.get("vars") {
            own.vars.extend(&vars);
        }
        for (pattern, vars) in
            value.get("hosts").and_then(|h| h.as_map().cloned()).unwrap_or_default().pairs()
        {
            for host in ranges(&pattern.to_string()) {
                let known = self.add_host(&host, name);
                if let Value::Map(vars) = &vars {
                    known.extend(vars);
                }
            }
        }
        for (child, inner) in
            value.get("children").and_then(|c| c.as_map().cloned()).unwrap_or_default().pairs()
        {
            let child = child.to_string();
            self.group_mut(name).children.push(child.clone());
            self.yaml_group(&child, &inner);
        }
    }

    fn ini(&mut self, name: &str, text: &str) -> Result<()> {
        let mut section = "ungrouped".to_owned();
        let mut kind = "hosts".to_owned();
        for (at, line) in text.lines().enumerate() {
            let line = line.split(" #").next().unwrap_or(line).trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                let (group, what) = header.split_once(':').unwrap_or((header, "hosts"));
                if !matches!(what, "hosts" | "children" | "vars") {
                    return Err(Error::message(format!(
                        "{name}:{}: Section [{header}] has unknown type: {what}",
                        at + 1
                    )));
                }
                section = group.to_owned();
                kind = what.to_owned();
                self.group_mut(&section);
                continue;
            }
            let value = |text: &str| literal(text);
            match kind.as_str() {
                "vars" => {
                    let (key, text) = line.split_once('=').ok_or_else(|| {
                        Error::message(format!("{name}:{}: Expected key=value, got: {line}", at + 1))
                    })?;
                    self.group_mut(&section).vars.set(key.trim(), value(text.trim()));
                }
                "children" => {
                    self.group_mut(line);
                    self.group_mut(&section).children.push(line.to_owned());
                }
                _ => {
                    let words = split_args(line);
                    for host in ranges(words.first().map_or("", String::as_str)) {
                        let vars = self.add_host(&host, &section);
                        for word in &words[1..] {
                            if let Some((key, text)) = word.split_once('=') {
                                vars.set(key, value(text.trim_matches(['"', '\''])));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The groups of a host: those that it is in and those around them, `all` not named.
    pub fn groups_of(&self, host: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .groups
            .iter()
            .filter(|g| g.name != "ungrouped" && g.hosts.iter().any(|h| h == host))
            .map(|g| g.name.clone())
            .collect();
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
        names.retain(|n| n != "all");
        names.sort();
        names
    }

    /// The hosts of a group, children included.
    pub fn hosts_of(&self, group: &str) -> Vec<String> {
        if group == "all" {
            return self.hosts.iter().map(|(n, _)| n.clone()).collect();
        }
        let mut out = Vec::new();
        if let Some(found) = self.groups.iter().find(|g| g.name == group) {
            out.extend(found.hosts.iter().cloned());
            for child in &found.children {
                for host in self.hosts_of(child) {
                    if !out.contains(&host) {
                        out.push(host);
                    }
                }
            }
        }
        out
    }

    /// The hosts that a pattern names: names, groups, `all`, wildcards; `:` and `,` join, `!` leaves out, `&` keeps.
    pub fn matching(&self, pattern: &str) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let parts: Vec<&str> = pattern.split([',', ':']).map(str::trim).filter(|p| !p.is_empty()).collect();
        for part in &parts {
            let (mode, name) = match part.chars().next() {
                Some(c @ ('!' | '&')) => (c, &part[1..]),
                _ => ('+', *part),
            };
            let found = self.one(name);
            match mode {
                '!' => out.retain(|h| !found.contains(h)),
                '&' => out.retain(|h| found.contains(h)),
                _ => out.extend(found.into_iter().filter(|h| !out.contains(h)).collect::<Vec<_>>()),
            }
        }
        out
    }

    fn one(&self, name: &str) -> Vec<String> {
        if name == "all" || name == "*" {
            return self.hosts_of("all");
        }
        if self.groups.iter().any(|g| g.name == name) {
            return self.hosts_of(name);
        }
        if self.hosts.iter().any(|(n, _)| n == name) {
            return vec![name.to_owned()];
        }
        // Without any inventory, localhost is there when it is asked for by name.
        if matches!(name, "localhost" | "127.0.0.1" | "::1") {
            return vec![name.to_owned()];
        }
        if name.contains('*') {
            let parts: Vec<&str> = name.split('*').collect();
            let fits = |host: &str| {
                let mut rest = host;
                for (at, part) in parts.iter().enumerate() {
                    match rest.find(part) {
                        Some(found) if at > 0 || found == 0 => rest = &rest[found + part.len()..],
                        _ => return false,
                    }
                }
                parts.last().is_some_and(|l| l.is_empty()) || rest.is_empty()
            };
            return self.hosts.iter().map(|(n, _)| n.clone()).filter(|h| fits(h)).collect();
        }
        vec![]
    }

    /// What a host knows before a play begins.
    ///
    /// # Errors
    /// A file of variables that cannot be understood.
    pub fn host_vars(&self, host: &str, loader: &Loader) -> Result<HostVars> {
        let vars = HostVars::default();
        let mut names = vec!["all".to_owned()];
        names.extend(self.groups_of(host));
        let mut folders = self.folders.clone();
        folders.push(loader.playbook_dir.clone());
        for name in &names {
            if let Some(group) = self.groups.iter().find(|g| g.name == *name) {
                vars.groups.extend(&group.vars);
            }
        }
        for name in &names {
            for folder in &folders {
                vars.groups.extend(&adjacent(folder, "group_vars", name, loader)?);
            }
        }
        if let Some((_, own)) = self.hosts.iter().find(|(n, _)| n == host) {
            vars.host.extend(own);
        }
        for folder in &folders {
            vars.host.extend(&adjacent(folder, "host_vars", host, loader)?);
        }
        Ok(vars)
    }
}

/// `web[01:03]` and `db[a:c]`.
fn ranges(pattern: &str) -> Vec<String> {
    let Some((head, rest)) = pattern.split_once('[') else { return vec![pattern.to_owned()] };
    let Some((range, tail)) = rest.split_once(']') else { return vec![pattern.to_owned()] };
    let mut parts = range.split(':');
    let (Some(from), Some(to)) = (parts.next(), parts.next()) else { return vec![pattern.to_owned()] };
    let middle: Vec<String> = match (from.parse::<u32>(), to.parse::<u32>()) {
        (Ok(a), Ok(b)) => (a..=b).map(|n| format!("{n:0width$}", width = from.len())).collect(),
        _ => match (from.chars().next(), to.chars().next()) {
            (Some(a), Some(b)) => (a..=b).map(String::from).collect(),
            _ => vec![],
        },
    };
    middle.iter().flat_map(|m| ranges(&format!("{head}{m}{tail}"))).collect()
}

/// Values in INI inventories are Python literals where they can be.
fn literal(text: &str) -> Value {
    match text {
        "True" | "true" => Value::Bool(true),
        "False" | "false" => Value::Bool(false),
        "None" => Value::None,
        _ => {
            if let Ok(number) = text.parse::<i64>()
                && (text == "0" || !text.starts_with('0'))
            {
                return number.into();
            }
            if text.starts_with(['[', '{'])
                && let Ok(value) = bakery_lang::yaml::parse_data("inventory", text)
            {
                return value;
            }
            let origin = Source::new("inventory", text).at_offset(0);
            Value::Str(bakery_lang::Text::written(text, origin))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ini_and_patterns() {
        let loader = Loader::new(Path::new("site.yml"), Map::new());
        let mut inventory = Inventory::load(&["localhost,".into()], &loader).expect("a list");
        assert_eq!(inventory.matching("all"), ["localhost"]);
        inventory
            .ini("t", "[web]\nw[1:3] a=1\n[db]\nd1\n[all:vars]\nx=y\n[site:children]\nweb\ndb\n")
            .expect("valid");
        assert_eq!(inventory.matching("web:!w2"), ["w1", "w3"]);
        assert_eq!(inventory.matching("site"), ["w1", "w2", "w3", "d1"]);
        assert_eq!(inventory.groups_of("w1"), ["site", "web"]);
        assert_eq!(inventory.matching("w*"), ["w1", "w2", "w3"]);
    }
}
