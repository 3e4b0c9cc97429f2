//! Variables in their order of precedence (`ansible/vars/manager.py`).

use std::path::Path;
use std::sync::Arc;

use bakery_host::fs;
use bakery_lang::{Map, Value};

use crate::playbook::{Loader, RoleUse, parse_key_values};
use crate::{Error, Result};

/// Mappings from the most to the least important; a name is looked up in each in turn.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    maps: Vec<Map>,
    /// Whether mappings of the same name are merged (`hash_behaviour`).
    pub merge: bool,
}

impl Layers {
    /// Puts a mapping below those that are there.
    pub fn push(&mut self, map: &Map) {
        if !map.is_empty() {
            self.maps.push(map.clone());
        }
    }

    /// These layers above others.
    pub fn over(mut self, below: &Self) -> Self {
        self.maps.extend(below.maps.iter().cloned());
        self.merge |= below.merge;
        self
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<Value> {
        let mut found = self.maps.iter().filter_map(|map| map.get(name));
        let first = found.next()?;
        if !self.merge || !matches!(first, Value::Map(_)) {
            return Some(first);
        }
        let lower: Vec<Map> = found.map_while(|value| value.as_map().cloned()).collect();
        let out = Map::new();
        lower.iter().rev().chain(first.as_map()).for_each(|map| merge(&out, map));
        Some(out.into())
    }

    /// Every name, once.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.maps.iter().flat_map(Map::keys).map(|k| k.to_string()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Puts variables over others, mappings merged at any depth.
pub(crate) fn merge(into: &Map, from: &Map) {
    for (key, value) in from.pairs() {
        let value = match (into.get_value(&key), &value) {
            (Some(Value::Map(old)), Value::Map(new)) => {
                let both = old.copied();
                merge(&both, new);
                both.into()
            }
            _ => value,
        };
        into.insert(key, value);
    }
}

/// What a host knows.
#[derive(Debug, Clone, Default)]
pub struct HostVars {
    /// From groups, the inventory and `group_vars`.
    pub groups: Map,
    /// From the inventory and `host_vars`.
    pub host: Map,
    /// Facts under their `ansible_` names.
    pub facts: Map,
    /// From `set_fact` and `register`.
    pub set: Map,
    /// From `include_vars`.
    pub included: Map,
    /// From the play's `vars_files`.
    pub files: Map,
}

/// The variables around a task, inner ones first.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// Loop variables and the like, above everything but the command line.
    pub local: Map,
    /// Parameters of includes.
    pub include_params: Vec<Map>,
    /// `vars` of the task and its blocks, inner first.
    pub blocks: Vec<Map>,
    /// The role of the task.
    pub role: Option<Arc<RoleUse>>,
}

/// The layers for a task on a host, from the top: command line, include and role parameters, registered and set,
/// included, task and blocks, role variables, `vars_files`, play, facts, host, groups, role defaults.
pub fn layers(extra: &Map, around: &Around, host: &HostVars, play: (&Map, &[Arc<RoleUse>])) -> Layers {
    let (play_vars, public_roles) = play;
    let mut out = Layers::default();
    out.push(extra);
    out.push(&around.local);
    around.include_params.iter().rev().for_each(|map| out.push(map));
    let chain = around.role.as_ref().map(RoleUse::chain).unwrap_or_default();
    chain.iter().for_each(|used| out.push(&used.params));
    out.push(&host.set);
    out.push(&host.included);
    around.blocks.iter().for_each(|map| out.push(map));
    for (at, used) in chain.iter().enumerate() {
        if at == 0 {
            out.push(&used.vars);
        }
        out.push(&used.role.vars);
        if let Some(below) = used.from_dependencies.get().filter(|_| at == 0) {
            out.push(&below.vars);
        }
        if at > 0 {
            out.push(&used.vars);
        }
    }
    for used in public_roles.iter().rev() {
        out.push(&used.role.vars);
        if let Some(below) = used.from_dependencies.get() {
            out.push(&below.vars);
        }
    }
    out.push(&host.files);
    out.push(play_vars);
    out.push(&host.facts);
    out.push(&host.host);
    out.push(&host.groups);
    chain.iter().for_each(|used| out.push(&used.role.defaults));
    if let Some(below) = around.role.as_ref().and_then(|used| used.from_dependencies.get()) {
        out.push(&below.defaults);
    }
    for used in public_roles.iter().rev() {
        out.push(&used.role.defaults);
        if let Some(below) = used.from_dependencies.get() {
            out.push(&below.defaults);
        }
    }
    out
}

/// Whether a text can be a variable's name.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !PYTHON_WORDS.contains(&text)
}

/// Words that Python keeps for itself, and Jinja's constants: no variable is called so.
const PYTHON_WORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "false", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "none", "nonlocal", "not", "or", "pass", "raise", "return", "true", "try", "while", "with",
    "yield",
];

/// `-e` of the command line: `@file`, JSON or YAML text, or `key=value` words.
///
/// # Errors
/// A file that cannot be read or understood.
pub fn extra_vars(given: &[String], loader: &Loader) -> Result<Map> {
    let all = Map::new();
    for text in given {
        let map = if let Some(path) = text.strip_prefix('@') {
            loader.vars_file(Path::new(path))?
        } else if text.trim_start().starts_with(['{', '[']) {
            let source = bakery_lang::Source::new("--extra-vars", text.as_str());
            let mut node = bakery_lang::yaml::parse_json_or_yaml(&source).map_err(Error::parse)?;
            loader.unlock(&mut node);
            let value = node.to_value();
            value.as_map().cloned().ok_or_else(|| {
                Error::message(format!(
                    "Invalid extra vars data supplied. '{text}' could not be made into a dictionary"
                ))
            })?
        } else {
            let origin = bakery_lang::Source::new("--extra-vars", text.as_str()).at_offset(0);
            parse_key_values(text, Some(&origin), None)
        };
        if map.contains("_raw_params") {
            return Err(Error::message(format!(
                "Invalid extra vars data supplied. '{text}' could not be made into a dictionary"
            )));
        }
        all.extend(&map);
    }
    Ok(all)
}

/// `group_vars` or `host_vars` of a name beside an inventory or playbook: a file or a folder of files.
///
/// # Errors
/// A file that cannot be understood.
pub fn adjacent(folder: &Path, kind: &str, name: &str, loader: &Loader) -> Result<Map> {
    let all = Map::new();
    let base = folder.join(kind).join(name);
    for extension in ["", ".yml", ".yaml", ".json"] {
        let path = std::path::PathBuf::from(format!("{}{extension}", base.display()));
        if path.is_file() {
            all.extend(&loader.vars_file(&path)?);
        } else if path.is_dir() {
            for inner in fs::walk(&path)?.iter().filter(|p| p.is_file()) {
                all.extend(&loader.vars_file(inner)?);
            }
        }
    }
    Ok(all)
}
