//! Roles: where they are found and what is in them.

use std::path::PathBuf;
use std::sync::Arc;

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

/// A role in a play: the role, its parameters, and the role that brought it.
#[derive(Debug, Clone)]
pub struct RoleUse {
    /// The role.
    pub role: Arc<Role>,
    /// Parameters given where it is used.
    pub params: Map,
    /// The role whose dependency or include it is.
    pub parent: Option<Arc<RoleUse>>,
}

impl RoleUse {
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
