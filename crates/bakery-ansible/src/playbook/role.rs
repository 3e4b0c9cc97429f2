//! Roles: where they are found and what is in them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bakery_lang::{Map, Value};

/// A role as it is on disk.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// `defaults/main.yml`.
    pub defaults: Map,
    /// `vars/main.yml`.
    pub vars: Map,
    /// Whether it may run more than once with the same parameters.
    pub allow_duplicates: bool,
    /// Roles that run before it.
    pub dependencies: Vec<Value>,
    /// What its entry points take, by name (`meta/argument_specs.yml`).
    pub argument_specs: Option<Map>,
    /// The collections in which its roles, modules and actions without one are searched: its own or else the playbook's,
    /// then those of its meta-data.
    pub collections: Vec<String>,
}

impl Role {
    /// The collection that it belongs to, as `namespace.name`.
    pub fn collection(&self) -> Option<&str> {
        let mut parts = self.name.match_indices('.');
        let _ = parts.next()?;
        let (second, _) = parts.next()?;
        parts.next().is_none().then(|| &self.name[..second])
    }
}

/// A role in a play: the role, what is given to it, and the role that brought it.
#[derive(Debug, Clone)]
pub struct RoleUse {
    /// The role.
    pub role: Arc<Role>,
    /// Parameters given where it is used.
    pub params: Map,
    /// The `vars` keyword where it is used.
    pub vars: Map,
    /// The role whose dependency or include it is.
    pub parent: Option<Arc<RoleUse>>,
    /// What it has of its dependencies.
    pub from_dependencies: OnceLock<Dependencies>,
}

/// What a role has of those that it depends on, theirs included.
#[derive(Debug, Clone, Default)]
pub struct Dependencies {
    /// Their variables, which it sees below its own.
    pub vars: Map,
    /// Their defaults, which it sees below its own.
    pub defaults: Map,
    /// Their names.
    pub names: Vec<String>,
}

impl RoleUse {
    /// A role, used.
    pub fn new(role: Arc<Role>, params: Map, vars: Map, parent: Option<Arc<Self>>) -> Self {
        Self { role, params, vars, parent, from_dependencies: OnceLock::new() }
    }

    /// What a role that depends on it has of it: its own above those of its dependencies.
    pub fn exports(&self) -> Dependencies {
        let below = self.from_dependencies.get().cloned().unwrap_or_default();
        let all =
            Dependencies { vars: below.vars.copied(), defaults: below.defaults.copied(), names: below.names };
        all.vars.extend(&self.role.vars);
        all.defaults.extend(&self.role.defaults);
        Dependencies { names: [all.names, vec![self.role.name.clone()]].concat(), ..all }
    }

    /// This role and those above it, this one first.
    pub fn chain(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut chain = vec![Arc::clone(self)];
        while let Some(parent) = chain.last().and_then(|last| last.parent.clone()) {
            chain.push(parent);
        }
        chain
    }
}

/// The file of a part of a role or of a named file in it: `main.yml`, `main.yaml`, `main`, or a folder of such.
pub(super) fn part(folder: &std::path::Path, name: &str) -> Option<PathBuf> {
    let exact = folder.join(name);
    ["yml", "yaml", "json"]
        .iter()
        .map(|extension| folder.join(format!("{name}.{extension}")))
        .chain([exact])
        .find(|path| path.is_file())
}
