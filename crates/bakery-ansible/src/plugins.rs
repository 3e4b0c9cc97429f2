//! Plugins of projects and collections that are written in Python: filters, tests, lookups and actions that bakery does
//! not have itself, run by an installed ansible-core in a helper that is started when the first one is needed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};

use bakery_host::Cmd;
use bakery_jinja::Error;
use bakery_lang::{Map, Value, json};

use crate::collections::{moved, parts};
use crate::foreign;
use crate::playbook::{Loader, RoleUse};

/// What a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Filter,
    Test,
    Lookup,
    Action,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Test => "test",
            Self::Lookup => "lookup",
            Self::Action => "action",
        }
    }
}

/// What is said when there is nothing to run them with.
const NO_CORE: &str = "plugins in Python need an installed ansible-core, and there is none";

const KINDS: [Kind; 4] = [Kind::Filter, Kind::Test, Kind::Lookup, Kind::Action];

/// The helper, shared by all who load and run the same playbook.
#[derive(Debug, Default)]
pub struct Plugins(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    helper: Option<Helper>,
    failed: bool,
    /// Folders that the helper knows, or shall know when it is started.
    folders: Vec<(&'static str, PathBuf)>,
    /// Folders of modules of roles.
    libraries: Vec<PathBuf>,
}

#[derive(Debug)]
struct Helper {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A call of a plugin.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    /// The value that a filter or test is used on.
    pub(crate) value: Value,
    pub(crate) args: Vec<Value>,
    pub(crate) named: Map,
    /// The task's variables, for lookups and actions.
    pub(crate) variables: Map,
    pub(crate) check: bool,
    pub(crate) diff: bool,
    /// What the task of an action calls, which its collection may have named for it.
    pub(crate) task: &'a str,
    /// The collections in which an action searches names without one.
    pub(crate) collections: Vec<String>,
}

impl<'a> Call<'a> {
    /// A call without any argument.
    pub(crate) fn new(kind: Kind, name: &'a str) -> Self {
        Self {
            kind,
            name,
            value: Value::None,
            args: vec![],
            named: Map::new(),
            variables: Map::new(),
            check: false,
            diff: false,
            task: name,
            collections: vec![],
        }
    }
}

impl Plugins {
    /// Makes the plugins and modules of a role known: what comes after it may use them, too.
    pub(crate) fn add_role(&self, used: &Arc<RoleUse>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let library = used.role.path.join("library");
        if library.is_dir() && !state.libraries.contains(&library) {
            state.libraries.push(library);
        }
        for kind in KINDS {
            let folder = used.role.path.join(format!("{}_plugins", kind.word()));
            if folder.is_dir() && !state.folders.iter().any(|(_, f)| *f == folder) {
                state.folders.push((kind.word(), folder));
                // The helper reads folders when it starts.
                state.helper = None;
            }
        }
    }

    /// The folders of modules of the roles that were read.
    pub(crate) fn libraries(&self) -> Vec<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).libraries.clone()
    }

    /// Whether there is a plugin of a name. The helper is asked only if there are folders of such plugins, or if the name
    /// is of a collection that is there.
    pub(crate) fn has(&self, loader: &Loader, kind: Kind, name: &str) -> bool {
        let today = moved(kind.word(), name).unwrap_or(name);
        let in_collection = parts(today).is_some_and(|(namespace, collection, _)| {
            let folders = loader.collection(namespace, collection);
            folders.iter().any(|c| c.join("plugins").join(kind.word()).is_dir())
        });
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own =
            folders(loader, kind).next().is_some() || state.folders.iter().any(|(k, _)| *k == kind.word());
        if !in_collection && !own {
            return false;
        }
        let request = serde_json::json!({"op": "find", "kind": kind.word(), "name": name});
        matches!(state.ask(loader, &request), Ok(serde_json::Value::Bool(true)))
    }

    /// Where the playbook, its configuration or a role has an action of a name without a collection.
    pub(crate) fn action_file(&self, loader: &Loader, name: &str) -> Option<PathBuf> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_roles = state.folders.iter().filter(|(kind, _)| *kind == Kind::Action.word());
        let folders = folders(loader, Kind::Action).chain(of_roles.map(|(_, folder)| folder.clone()));
        folders.map(|folder| folder.join(format!("{name}.py"))).find(|file| file.is_file())
    }

    /// Runs a plugin.
    ///
    /// # Errors
    /// What it says.
    pub(crate) fn run(&self, loader: &Loader, call: &Call<'_>) -> Result<Value, Error> {
        let request = serde_json::json!({
            "op": "call", "kind": call.kind.word(), "name": call.name,
            "value": json::to_json(&call.value),
            "args": call.args.iter().map(json::to_json).collect::<Vec<_>>(),
            "kwargs": json::to_json(&Value::Map(call.named.clone())),
            "variables": json::to_json(&Value::Map(call.variables.clone())),
            "check": call.check, "diff": call.diff, "task": call.task,
            "collections": call.collections,
        });
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.ask(loader, &request).map(|answer| json::from_json(&answer))
    }
}

/// The folders of a playbook's plugins.
fn folders(loader: &Loader, kind: Kind) -> impl Iterator<Item = PathBuf> {
    let word = kind.word();
    let configured = loader.settings.paths(
        &format!("ANSIBLE_{}_PLUGINS", word.to_uppercase()),
        "defaults",
        &format!("{word}_plugins"),
    );
    std::iter::once(loader.playbook_dir.join(format!("{word}_plugins")))
        .chain(configured)
        .filter(|folder| folder.is_dir())
}

impl State {
    fn ask(&mut self, loader: &Loader, request: &serde_json::Value) -> Result<serde_json::Value, Error> {
        if self.failed {
            return Err(Error::new(NO_CORE));
        }
        if self.helper.is_none() {
            match self.start(loader) {
                Ok(helper) => self.helper = Some(helper),
                Err(error) => {
                    self.failed = true;
                    return Err(Error::new(error));
                }
            }
        }
        let Some(helper) = &mut self.helper else { return Err(Error::new(NO_CORE)) };
        let mut line = String::new();
        let talked = writeln!(helper.input, "{request}")
            .and_then(|()| helper.input.flush())
            .and_then(|()| helper.output.read_line(&mut line));
        if !matches!(talked, Ok(count) if count > 0) {
            self.helper = None;
            return Err(Error::new("the helper that runs plugins in Python ended"));
        }
        let answer: serde_json::Value = serde_json::from_str(&line).map_err(|e| Error::new(e.to_string()))?;
        let said = |key: &str| answer.get(key).and_then(serde_json::Value::as_str);
        match (said("broken"), said("error")) {
            (Some(broken), _) => Err(Error::told(broken)),
            (None, Some(error)) => Err(Error::new(error)),
            (None, None) => Ok(answer.get("value").cloned().unwrap_or_default()),
        }
    }

    fn start(&self, loader: &Loader) -> Result<Helper, String> {
        let (python, core) = foreign::core_with_python().ok_or(NO_CORE)?;
        let mut by_kind = serde_json::Map::new();
        for kind in KINDS {
            let own = self.folders.iter().filter(|(k, _)| *k == kind.word()).map(|(_, f)| f.clone());
            let all: Vec<String> =
                folders(loader, kind).chain(own).map(|f| f.display().to_string()).collect();
            by_kind.insert(kind.word().into(), all.into());
        }
        let roots: Vec<String> = loader.collections_roots().iter().map(|p| p.display().to_string()).collect();
        // Actions call modules.
        let libraries = std::iter::once(loader.playbook_dir.join("library")).chain(self.libraries.clone());
        let libraries = libraries.chain(loader.libraries.clone()).filter(|folder| folder.is_dir());
        let libraries: Vec<String> = libraries.map(|folder| folder.display().to_string()).collect();
        let setup = serde_json::json!({
            "folders": by_kind, "libraries": libraries, "collections": roots, "basedir": loader.playbook_dir.display().to_string(),
            "verbosity": loader.verbosity,
        });
        let folder = core.parent().map(|p| p.display().to_string()).unwrap_or_default();
        let mut child = Cmd::new(python)
            .args(["-c", include_str!("plugins.py")])
            .env("PYTHONPATH", folder)
            .spawn_piped()
            .map_err(|e| e.to_string())?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the helper has no channel".into());
        };
        writeln!(input, "{setup}").and_then(|()| input.flush()).map_err(|e| e.to_string())?;
        Ok(Helper { child, input, output: BufReader::new(output) })
    }
}
