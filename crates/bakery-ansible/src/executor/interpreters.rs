//! The interpreters of modules that are scripts: what variables and settings say of them, and what is found on the target
//! when they ask for that (`ansible/executor/{interpreter_discovery,module_common}.py`).

use bakery_jinja::Scope as _;
use bakery_lang::{Diagnostic, Map, Value};

use super::calls::Calls;
use crate::connection::{Call, Unreachable};
use crate::settings::Settings;
use crate::{Error, Templar};

/// Where Python is looked for, unless `ansible_interpreter_python_fallback` says otherwise (`INTERPRETER_PYTHON_FALLBACK`).
const CANDIDATES: &[&str] = &[
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python3.9",
    "python3.8",
    "/usr/bin/python3",
    "python3",
];

/// What is taken when nothing was found.
const FALLBACK: &str = "/usr/bin/python3";

/// What is said of the interpreter for Python.
#[derive(Debug)]
pub(super) enum Python {
    /// Nothing: whatever answers to `python3`, and no word of it.
    Any,
    /// This one.
    Given(String),
    /// It is to be looked for, in the way that is named (`auto`, `auto_silent`, …), under these names.
    Wanted(String, Vec<String>),
    /// What is said cannot be evaluated: an error where Python is needed.
    Wrong(Diagnostic),
}

/// An interpreter that was looked for, with what is to be said of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: String,
    warnings: Vec<String>,
    deprecated: Option<String>,
}

impl Found {
    /// Puts it into a task's result, and among the facts unless they are another host's.
    pub(super) fn tell(&self, result: &Map, is_fact: bool) {
        let add = |key: &str, more: Vec<Value>| {
            let known = result.get(key).and_then(|v| v.as_items()).unwrap_or_default();
            if !more.is_empty() {
                result.set(key, more.into_iter().chain(known).collect::<Vec<_>>());
            }
        };
        add("warnings", self.warnings.iter().map(Value::from).collect());
        let deprecated = self
            .deprecated
            .iter()
            .map(|text| Map::from_iter([("msg", Value::from(text)), ("version", "2.21".into())]).into());
        add("deprecations", deprecated.collect());
        if is_fact {
            let facts = match result.get("ansible_facts") {
                Some(Value::Map(facts)) => facts,
                _ => Map::new(),
            };
            facts.set("discovered_interpreter_python", self.path.as_str());
            result.set("ansible_facts", facts);
        }
    }
}

/// Whether a word asks for a search.
fn is_auto(text: &str) -> bool {
    matches!(text, "" | "auto" | "auto_silent" | "auto_legacy" | "auto_legacy_silent")
}

/// What variables, and then settings, say of Python. What was found before is a fact, and given.
pub(super) fn python(templar: &Templar, settings: &Settings) -> Python {
    let said = match templar.variable("ansible_python_interpreter").map(|value| templar.value(&value)) {
        Some(Err(error)) => return Python::Wrong(error),
        Some(Ok(Value::Omit | Value::None)) => Some("auto".to_owned()),
        Some(Ok(value)) => Some(value.to_string()),
        None => settings.text("ANSIBLE_PYTHON_INTERPRETER", "defaults", "interpreter_python"),
    };
    let Some(said) = said else { return Python::Any };
    if !is_auto(said.trim()) {
        return Python::Given(said);
    }
    let facts =
        templar.variable("ansible_facts").and_then(|facts| facts.get("discovered_interpreter_python"));
    match facts {
        Some(found) => Python::Given(found.to_string()),
        None => Python::Wanted(said.trim().to_owned(), candidates(templar)),
    }
}

/// The interpreter that a variable gives for scripts of another one: `ansible_perl_interpreter`.
///
/// # Errors
/// A variable that cannot be evaluated.
pub(super) fn other(templar: &Templar, shebang: &str) -> Result<Option<String>, Diagnostic> {
    let program = shebang.split_whitespace().next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    let Some(value) = templar.variable(&format!("ansible_{name}_interpreter")) else { return Ok(None) };
    match templar.value(&value)? {
        Value::Omit | Value::None => Ok(None),
        value => Ok(Some(value.to_string()).filter(|text| !text.trim().is_empty())),
    }
}

/// Where Python is looked for.
fn candidates(templar: &Templar) -> Vec<String> {
    let own = templar.variable("ansible_interpreter_python_fallback").and_then(|v| templar.value(&v).ok());
    let own = own.and_then(|value| bakery_modules::args::string_list(&value).ok());
    own.unwrap_or_else(|| CANDIDATES.iter().map(|name| (*name).to_owned()).collect())
}

impl Calls<'_> {
    /// Looks for the interpreter on the target if that is asked for, and has not been done.
    ///
    /// # Errors
    /// A target that cannot be reached.
    pub(super) fn discover(&mut self) -> Result<(), Unreachable> {
        let Python::Wanted(mode, candidates) = &self.python else { return Ok(()) };
        let silent = mode.ends_with("_silent");
        let deprecated = mode.starts_with("auto_legacy").then(|| {
            format!("The '{mode}' option for 'INTERPRETER_PYTHON' now has the same effect as 'auto'.")
        });
        let names = candidates.iter().map(|name| format!("command -v '{name}'")).collect::<Vec<_>>();
        let script = format!("echo FOUND; {}; echo ENDFOUND", names.join("; "));
        let args = Map::from_iter([("_raw_params", Value::from(script))]);
        let call = Call { check: false, ..self.call_of("raw", &args, None) };
        let endpoint = self.endpoint.as_ref().map_err(|why| Unreachable(why.clone()))?;
        let said = self.connections.run(endpoint, &call)?;
        let said = said.get("stdout").unwrap_or_default().to_string();
        let host = self.host;
        let mut warnings = Vec::new();
        let path = match said.strip_prefix("FOUND").and_then(|rest| rest.split_once("ENDFOUND")) {
            None => {
                warnings.push(format!(
                    "Unhandled error in Python interpreter discovery for host '{host}': unexpected output from Python interpreter discovery"
                ));
                Some(FALLBACK)
            }
            Some((found, _)) => found.lines().map(str::trim).find(|line| line.starts_with('/')),
        };
        match path {
            None => {
                let tried = Value::strings(candidates);
                warnings.push(format!("No python interpreters found for host '{host}' (tried {tried})."));
            }
            Some(path) => warnings.push(format!(
                "Host '{host}' is using the discovered Python interpreter at '{path}', but future installation of another Python interpreter could cause a different interpreter to be discovered."
            )),
        }
        if silent {
            warnings.clear();
        }
        let path = path.unwrap_or(FALLBACK).to_owned();
        self.python = Python::Given(path.clone());
        self.found = Some(Found { path, warnings, deprecated });
        Ok(())
    }

    /// The interpreter for a module in Python.
    ///
    /// # Errors
    /// What is said of it cannot be evaluated.
    pub(super) fn interpreter(&self) -> Result<Option<String>, Error> {
        match &self.python {
            Python::Any | Python::Wanted(..) => Ok(None),
            Python::Given(path) => Ok(Some(path.clone())),
            Python::Wrong(error) => Err(Error::other(error.clone())),
        }
    }
}

/// Takes out of facts that a module reports what would change how its host is reached, or what runs there
/// (`ansible/vars/clean.py`, `clean_facts`); returns the names.
pub(super) fn clean(facts: &Map) -> Vec<String> {
    const REACH: &[&str] = &[
        "connection",
        "host",
        "user",
        "shell_executable",
        "port",
        "pipelining",
        "password",
        "timeout",
        "shell_type",
        "module_compression",
        "private_key_file",
        "network_os",
        "become",
        "rsync_path",
        "playbook_python",
        "facts",
        "docker_extra_args",
        "sftp_extra_args",
        "scp_extra_args",
    ];
    const CONNECTIONS: &[&str] =
        &["ssh_", "local_", "paramiko_ssh_", "psrp_", "winrm_", "become_", "connection_user"];
    let is_taken = |name: &str| {
        if matches!(name, "add_host" | "add_group") || name.starts_with("discovered_interpreter_") {
            return true;
        }
        let Some(short) = name.strip_prefix("ansible_") else { return false };
        let is_connection = CONNECTIONS.iter().any(|start| short.starts_with(start))
            && !name.ends_with("_bridge")
            && !name.ends_with("_gwbridge")
            && !name.starts_with("ansible_ssh_host_key_");
        is_connection
            || REACH.contains(&short)
            || short.ends_with("_interpreter")
            || short.starts_with("discovered_interpreter_")
    };
    let names: Vec<String> = facts.keys().iter().map(ToString::to_string).filter(|n| is_taken(n)).collect();
    for name in &names {
        facts.remove(name);
    }
    names
}
