//! Where inventories come from (`ansible/plugins/inventory/{host_list,ini,yaml}.py`).

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bakery_host::fs;
use bakery_lang::{Diagnostic, Map, Source, Text, Value, yaml};

use super::{Inventory, constructed, toml};
use crate::literal::literal;
use crate::playbook::{Loader, split_words, unquote};
use crate::{Error, Result};

/// How many hosts one pattern may stand for.
const MOST_NAMES: usize = 1_000_000;

/// How long all of their names may be together, in bytes.
const MOST_LETTERS: usize = 64 << 20;

/// What a folder has beside inventories, and files that are none (`INVENTORY_IGNORE_EXTS`).
const IGNORED: &[&str] =
    &[".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".ini", ".cfg", ".retry"];

impl Inventory {
    /// Reads sources: `a,b,` lists, files, folders, scripts. Without any, `localhost` is the only host. The warnings say
    /// what could not be read, unless settings make that an error.
    ///
    /// # Errors
    /// A source that cannot be read, when settings ask for it.
    pub fn load(sources: &[String], loader: &Loader) -> Result<(Self, Vec<String>)> {
        let mut inventory =
            Self { sources: sources.to_vec(), merge: loader.settings.merges_hashes(), ..Self::default() };
        let mut warnings = Vec::new();
        let mut parsed = 0;
        for source in sources {
            let read = if source.contains(',') && !Path::new(source).exists() {
                inventory.host_list(source, &mut warnings).map(|()| true)
            } else {
                inventory.source(Path::new(source), loader, &mut warnings)
            };
            parsed += usize::from(was_parsed(read, source, loader, &mut warnings)?);
        }
        if parsed == 0 && !sources.is_empty() {
            let fails = loader.settings.flag(
                "ANSIBLE_INVENTORY_UNPARSED_FAILED",
                "inventory",
                "unparsed_is_failed",
                false,
            );
            if fails {
                return Err(Error::message(
                    "No inventory was parsed, please check your configuration and options.",
                ));
            }
            warnings.push("No inventory was parsed, only implicit localhost is available".into());
        }
        warnings.extend(inventory.with_safe_names(loader));
        for name in inventory.hosts.keys() {
            if inventory.group(name).is_some() {
                warnings.push(format!("Found both group and host with same name: {name}"));
            }
        }
        Ok((inventory, warnings))
    }

    /// Names of groups that are no names of variables: a warning about them, or other names, as is configured
    /// (`ansible/inventory/group.py`, `to_safe_group_name`).
    fn with_safe_names(&mut self, loader: &Loader) -> Option<String> {
        let rule = loader.settings.text(
            "ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS",
            "defaults",
            "force_valid_group_names",
        );
        let safe = |name: &str| -> String {
            let fits =
                |(at, c): (usize, char)| c.is_alphanumeric() && (at > 0 || !c.is_numeric()) || c == '_';
            name.chars().enumerate().map(|(at, c)| if fits((at, c)) { c } else { '_' }).collect()
        };
        if self.groups.iter().all(|group| safe(&group.name) == group.name) {
            return None;
        }
        let rule = rule.unwrap_or_else(|| "never".into());
        let warning = match rule.as_str() {
            "ignore" => return None,
            "never" => {
                return Some(
                    "Invalid characters were found in group names but not replaced, use -vvvv to see details"
                        .into(),
                );
            }
            "silently" => None,
            _ => Some(
                "Invalid characters were found in group names and automatically replaced, use -vvvv to see details"
                    .to_owned(),
            ),
        };
        // Names that become the same are one group.
        for group in std::mem::take(&mut self.groups) {
            let into = self.group_mut(&safe(&group.name));
            into.hosts.extend(group.hosts);
            into.children.extend(group.children.iter().map(|child| safe(child)));
            into.vars.extend(&group.vars);
        }
        warning
    }

    /// Puts variables over those that are there.
    fn put(&self, into: &Map, from: &Map) {
        if self.merge { crate::vars::merge(into, from) } else { into.extend(from) }
    }

    fn host_list(&mut self, list: &str, warnings: &mut Vec<String>) -> Result<()> {
        for pattern in split_hosts(list) {
            let hosts = match ranges(&pattern) {
                Err(error) if error.diagnostic.message.starts_with(BAD_RANGE) => {
                    let why = error.diagnostic.message;
                    warnings.push(format!("Unable to parse address from hostname, leaving unchanged: {why}"));
                    vec![pattern]
                }
                hosts => hosts.map_err(|error| {
                    let why = error.diagnostic.message;
                    Error::message(format!(
                        "Failed to parse inventory with 'advanced_host_list' plugin: {why}"
                    ))
                })?,
            };
            for host in hosts {
                let (name, port) = with_port(&host);
                let vars = self.add_host(&name, "ungrouped");
                if let Some(port) = port {
                    vars.set("ansible_port", port);
                }
            }
        }
        Ok(())
    }

    /// Reads a file or a folder; whether there was anything to read in it.
    fn source(&mut self, path: &Path, loader: &Loader, warnings: &mut Vec<String>) -> Result<bool> {
        if path.is_dir() {
            let known = |name: &str| {
                !matches!(name, "group_vars" | "host_vars" | "vars_plugins")
                    && !name.starts_with('.')
                    && !IGNORED.iter().any(|end| name.ends_with(end))
            };
            let mut paths = fs::read_dir(path)?;
            paths.sort();
            let mut parsed = false;
            for inner in paths {
                if known(&inner.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()) {
                    let read = self.source(&inner, loader, warnings);
                    parsed |= was_parsed(read, &inner.display().to_string(), loader, warnings)?;
                }
            }
            self.add_folder(path);
            return Ok(parsed);
        }
        if !path.exists() {
            return Err(Error::message(format!(
                "Unable to parse {} as an inventory source: it is not there",
                path.display()
            )));
        }
        if let Some(folder) = path.parent() {
            self.add_folder(folder);
        }
        let known: Vec<String> = self.hosts.keys().cloned().collect();
        let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let result = self.file(path, &file, loader);
        for host in self.hosts.keys().filter(|h| !known.contains(h)) {
            self.origins.insert(host.clone(), file.clone());
        }
        result.map(|()| true)
    }

    fn add_folder(&mut self, folder: &Path) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
        if !self.folders.contains(&folder) {
            self.folders.push(folder);
        }
    }

    fn file(&mut self, path: &Path, file: &Path, loader: &Loader) -> Result<()> {
        let is_executable =
            std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
        let bytes = fs::read(path)?;
        if is_executable && bytes.starts_with(b"#!") {
            return self.script(file, loader);
        }
        let source = loader.source(path, path, bytes)?;
        let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        if extension == "toml" {
            return self.yaml(&toml::groups(&source)?, path);
        }
        let mut parsed = if matches!(extension.as_str(), "yml" | "yaml" | "json") {
            Some(yaml::parse_json_or_yaml(&source).map_err(Error::parse)?)
        } else if extension.is_empty() {
            // A file without an extension is YAML if it can be read as a mapping of groups.
            yaml::parse_json_or_yaml(&source)
                .ok()
                .filter(|n| n.as_map().is_some_and(|m| m.iter().any(|(_, v)| !v.is_none())))
        } else {
            None
        };
        if let Some(node) = &mut parsed {
            node.read_times();
            loader.unlock(node);
        }
        match parsed {
            Some(node) => match node.to_value() {
                Value::Map(map) if map.contains("plugin") => constructed::apply(self, &map, path, loader),
                Value::Map(map) => self.yaml(&map, path),
                _ => Err(Error::parse(Diagnostic::at(
                    &node.origin,
                    format!(
                        "YAML inventory has invalid structure, it should be a dictionary, got: {}",
                        node.kind_name()
                    ),
                ))),
            },
            None => self.ini(&source),
        }
    }

    fn yaml(&mut self, groups: &Map, path: &Path) -> Result<()> {
        for (name, group) in groups.pairs() {
            self.yaml_group(&name.to_string(), &group, path)?;
        }
        Ok(())
    }

    fn yaml_group(&mut self, name: &str, value: &Value, path: &Path) -> Result<()> {
        let invalid = |what: &str, value: &Value| {
            Err(Error::message(format!(
                "{}: Invalid \"{what}\" entry for \"{name}\" group, requires a dictionary, found \"{}\" instead.",
                path.display(),
                value.type_name()
            )))
        };
        if name != "all" && name != "ungrouped" {
            self.group_mut(name);
        }
        let parts = match value {
            Value::Map(map) => map.clone(),
            Value::None => return Ok(()),
            other => {
                return Err(Error::message(format!(
                    "{}: YAML inventory has invalid structure, group \"{name}\" should be a dictionary, got: {}",
                    path.display(),
                    other.type_name()
                )));
            }
        };
        let part = |key: &str| match parts.get(key) {
            Some(Value::Map(map)) => Ok(map),
            None | Some(Value::None) => Ok(Map::new()),
            Some(Value::Str(one)) if key != "vars" => {
                Ok(Map::from_iter([(one.as_str().to_owned(), Value::None)]))
            }
            Some(other) => invalid(key, &other).map(|()| Map::new()),
        };
        let own = self.group_vars(name);
        self.put(&own, &part("vars")?);
        for (pattern, vars) in part("hosts")?.pairs() {
            let Some(pattern) = pattern.as_str() else {
                return Err(Error::message(format!(
                    "{}: Host pattern {pattern} must be a string. Enclose integers/floats in quotation marks.",
                    path.display()
                )));
            };
            for host in ranges(pattern)? {
                let (host, port) = with_port(&host);
                let known = self.add_host(&host, name);
                if let Some(port) = port {
                    known.set("ansible_port", port);
                }
                if let Value::Map(vars) = &vars {
                    self.put(&known, vars);
                }
            }
        }
        for (child, inner) in part("children")?.pairs() {
            let child = child.to_string();
            self.add_child(name, &child);
            self.yaml_group(&child, &inner, path)?;
        }
        Ok(())
    }

    pub(super) fn ini(&mut self, source: &Arc<Source>) -> Result<()> {
        let text = source.text.as_str();
        let mut section = "ungrouped".to_owned();
        let mut kind = "hosts".to_owned();
        let mut pending: Vec<(String, usize)> = Vec::new();
        let wrong = |line: usize, message: String| {
            let offset = text.lines().take(line).map(|l| l.len() + 1).sum();
            Error::parse(Diagnostic::at(&source.at_offset(offset), message))
        };
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let line = line.split(" #").next().unwrap_or(line).trim();
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                let (group, what) = header.split_once(':').unwrap_or((header, "hosts"));
                if !matches!(what, "hosts" | "children" | "vars") {
                    return Err(wrong(at, format!("Section [{header}] has unknown type: {what}")));
                }
                group.clone_into(&mut section);
                what.clone_into(&mut kind);
                if what == "vars" && !matches!(group, "all" | "ungrouped") && self.group(group).is_none() {
                    pending.push((group.to_owned(), at));
                } else if !matches!(group, "all" | "ungrouped") {
                    self.group_mut(group);
                    pending.retain(|(name, _)| name != group);
                }
                continue;
            }
            match kind.as_str() {
                "vars" => {
                    let (key, value) = line
                        .split_once('=')
                        .ok_or_else(|| wrong(at, format!("Expected key=value, got: {line}")))?;
                    let vars = self.group_vars(&section);
                    vars.set(key.trim(), literal(value.trim()));
                }
                "children" => {
                    let name = split_words(line).into_iter().next().unwrap_or_default();
                    pending.retain(|(known, _)| *known != name);
                    if self.group(&name).is_none() {
                        pending.push((name.clone(), at));
                    }
                    self.add_child(&section, &name);
                }
                _ => {
                    let words = split_words(line);
                    let pattern = words.first().cloned().unwrap_or_default();
                    if pattern.contains('=') || pattern.ends_with(':') && !pattern.contains('[') {
                        return Err(wrong(at, format!("Invalid host pattern '{pattern}' supplied")));
                    }
                    for host in ranges(&pattern)? {
                        let (host, port) = with_port(&host);
                        let vars = self.add_host(&host, &section);
                        if let Some(port) = port {
                            vars.set("ansible_port", port);
                        }
                        for word in words[1..].iter().take_while(|w| !w.starts_with('#')) {
                            let (key, value) = word.split_once('=').ok_or_else(|| {
                                wrong(at, format!("Expected key=value host variable assignment, got: {word}"))
                            })?;
                            vars.set(key, literal(unquote(value)));
                        }
                    }
                }
            }
        }
        // Children may be declared after they are named; variables of a group that never comes are a mistake.
        for (name, at) in pending {
            if self.group(&name).is_none() {
                return Err(wrong(
                    at,
                    format!("Section [{name}:vars] not valid for undefined group: {name}"),
                ));
            }
        }
        Ok(())
    }
}

/// Whether a source was read; warnings say why it was not, unless settings make that an error.
fn was_parsed(read: Result<bool>, source: &str, loader: &Loader, warnings: &mut Vec<String>) -> Result<bool> {
    let why = match read {
        Ok(true) => return Ok(true),
        Ok(false) => None,
        Err(error) => Some(error),
    };
    if loader.settings.flag(
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED",
        "inventory",
        "any_unparsed_is_failed",
        false,
    ) {
        let failed = || Error::message(format!("Completely failed to parse inventory source {source}"));
        return Err(why.unwrap_or_else(failed));
    }
    warnings.extend(why.map(|error| error.diagnostic.to_string()));
    warnings.push(format!("Unable to parse {source} as an inventory source"));
    Ok(false)
}

/// A copy whose text may be a template.
pub(super) fn written(value: &Value, origin: &bakery_lang::Origin) -> Value {
    match value {
        Value::Str(text) => Value::Str(Text::written(text.as_str(), origin.clone())),
        Value::List(items) => Value::list(items.items().iter().map(|v| written(v, origin)).collect()),
        Value::Map(map) => {
            map.pairs().into_iter().map(|(k, v)| (k, written(&v, origin))).collect::<Map>().into()
        }
        other => other.clone(),
    }
}

/// Hosts between commas; a comma in brackets is none.
fn split_hosts(list: &str) -> Vec<String> {
    list.split(',').map(|h| h.trim().to_owned()).filter(|h| !h.is_empty()).collect()
}

/// `host:22` and `[2001:db8::1]:22`.
pub(crate) fn with_port(host: &str) -> (String, Option<i64>) {
    if let Some((name, port)) = host.rsplit_once(':')
        && let Ok(port) = port.parse()
        && (!name.contains(':') || name.starts_with('['))
    {
        return (name.trim_matches(['[', ']']).to_owned(), Some(port));
    }
    (host.to_owned(), None)
}

/// `web[01:03]`, `db[a:c]` and `n[0:9:3]` (`expand_hostname_range` in `ansible/plugins/inventory/__init__.py`).
///
/// # Errors
/// Ranges that are none, and when there would be more than [`MOST_NAMES`].
pub(super) fn ranges(pattern: &str) -> Result<Vec<String>> {
    let mut names = vec![pattern.to_owned()];
    loop {
        let mut next = Vec::new();
        let (mut expanded, mut length) = (false, 0);
        for name in &names {
            match range(name)? {
                Some(more) => {
                    expanded = true;
                    length += more.iter().map(String::len).sum::<usize>();
                    next.extend(more);
                }
                None => next.push(name.clone()),
            }
            if next.len() > MOST_NAMES || length > MOST_LETTERS {
                return Err(Error::message(format!("{pattern} stands for more than {MOST_NAMES} hosts")));
            }
        }
        names = next;
        if !expanded {
            return Ok(names);
        }
    }
}

/// What errors of ranges begin with that leave a name of a host list as it is.
const BAD_RANGE: &str = "host range must ";

/// The names that the first range of a name stands for; `None` if there is no range in it.
fn range(name: &str) -> Result<Option<Vec<String>>> {
    let Some((head, rest)) = name.split_once('[') else { return Ok(None) };
    let Some((range, tail)) = rest.split_once(']').filter(|(range, _)| range.contains(':')) else {
        return Ok(None);
    };
    let wrong = |what: &str| Error::message(format!("{BAD_RANGE}{what}"));
    let parts: Vec<&str> = range.split(':').collect();
    if parts.len() > 3 {
        return Err(wrong("be begin:end or begin:end:step"));
    }
    let number = |text: &str| {
        text.trim().parse::<u32>().map_err(|_| {
            Error::message(format!(
                "{name}: a range is of two numbers or of two letters, and '{text}' is none"
            ))
        })
    };
    let step = parts.get(2).map_or(Ok(1), |step| number(step))?.max(1) as usize;
    let (from, to) = (if parts[0].is_empty() { "0" } else { parts[0] }, parts[1]);
    if to.is_empty() {
        return Err(wrong("specify end value"));
    }
    let is_padded = from.starts_with('0') && from.len() > 1;
    if is_padded && from.len() != to.len() {
        return Err(wrong("specify equal-length begin and end formats"));
    }
    // No host has a longer name.
    if from.len() > 255 {
        return Err(wrong("be of shorter numbers"));
    }
    let width = if is_padded { from.len() } else { 0 };
    let letter = |text: &str| {
        let mut chars = text.chars();
        chars.next().filter(|c| c.is_ascii_alphabetic() && chars.next().is_none())
    };
    let middle: Vec<String> = match (letter(from), letter(to)) {
        (Some(a), Some(b)) => {
            // Python's `ascii_letters`: the small ones come first.
            let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
            let at = |c: char| letters.iter().position(|l| *l == c).unwrap_or_default();
            if at(a) > at(b) {
                return Err(wrong("have begin <= end"));
            }
            letters[at(a)..=at(b)].iter().step_by(step).map(char::to_string).collect()
        }
        _ => (number(from)?..=number(to)?)
            .step_by(step)
            .take(MOST_NAMES + 1)
            .map(|n| format!("{n:0width$}"))
            .collect(),
    };
    Ok(Some(middle.iter().map(|m| format!("{head}{m}{tail}")).collect()))
}
