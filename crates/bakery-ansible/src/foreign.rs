//! Modules that bakery does not have itself: found in `library/` folders, in collections and in an installed
//! ansible-core, and run as they are where the target has an interpreter (`ansible/plugins/loader.py`,
//! `ansible/executor/module_common.py`).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bakery_host::{Cmd, fs};
use bakery_lang::{Map, Value, json};
use base64::Engine as _;

use crate::bundle;
use crate::collections;
use crate::collections::parts;
use crate::names::MAX_REDIRECTS;
use crate::playbook::{Loader, RoleUse};
use crate::{Error, Result};

/// Where a task looks for modules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) loader: &'a Loader,
    pub(crate) role: Option<&'a std::sync::Arc<RoleUse>>,
    /// The `collections` keyword.
    pub(crate) collections: &'a [String],
}

/// A module that is a program of its own.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    path: PathBuf,
    /// Its name as a Python module, in a collection.
    package: Option<String>,
}

impl Foreign {
    /// The program, as text; empty if it cannot be read.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }
}

impl Scope<'_> {
    /// A module in the playbook's, a role's or a configured `library`: these come before bakery's own.
    pub(crate) fn local(&self, name: &str) -> Option<Foreign> {
        let name = name.strip_prefix("ansible.legacy.").unwrap_or(name);
        if name.contains('.') {
            return None;
        }
        // The role that was read first comes first, whichever the task is in, as in Ansible.
        let roles = self.role.map(RoleUse::chain).unwrap_or_default();
        let folders = std::iter::once(self.loader.playbook_dir.join("library"))
            .chain(self.loader.plugins.libraries())
            .chain(roles.iter().map(|used| used.role.path.join("library")))
            .chain(self.loader.libraries.iter().cloned());
        folders
            .into_iter()
            .find_map(|folder| in_folder(&folder, name))
            .map(|path| Foreign { path, package: None })
    }

    /// A module anywhere.
    pub(crate) fn find(&self, name: &str) -> Option<Foreign> {
        if let Some(found) = self.local(name) {
            return Some(found);
        }
        if parts(name).is_some() {
            return self.of_collection(name, MAX_REDIRECTS);
        }
        let mut named = self.searched().map(|collection| format!("{collection}.{name}"));
        let found = named.find_map(|full| self.of_collection(&full, MAX_REDIRECTS));
        found.or_else(|| self.of_collection(&format!("ansible.builtin.{name}"), MAX_REDIRECTS))
    }

    fn of_collection(&self, name: &str, redirects: usize) -> Option<Foreign> {
        let (namespace, collection, rest) = parts(name)?;
        if namespace == "ansible" && matches!(collection, "builtin" | "legacy") {
            // What left ansible-core is searched where it went.
            let elsewhere = bakery_modules::moved_to(rest).filter(|_| redirects > 0);
            let there =
                elsewhere.and_then(|(c, name)| self.of_collection(&format!("{c}.{name}"), redirects - 1));
            return there.or_else(|| of_core(rest));
        }
        for folder in self.loader.collection(namespace, collection) {
            if let Some(path) = self.in_collection(&folder, rest) {
                let package = format!("ansible_collections.{namespace}.{collection}.plugins.modules.{rest}");
                return Some(Foreign { path, package: Some(package) });
            }
            let route = self.loader.runtimes.module(&folder, rest);
            if let Some(other) = route.redirect.filter(|_| redirects > 0) {
                return self.of_collection(&other, redirects - 1);
            }
        }
        None
    }

    /// The file of a module in a collection's folder.
    pub(crate) fn in_collection(&self, folder: &Path, name: &str) -> Option<PathBuf> {
        let (inner, last) = name.rsplit_once('.').unwrap_or(("", name));
        in_folder(&folder.join("plugins/modules").join(inner.replace('.', "/")), last)
    }

    /// The call of [`bakery_modules`]' `foreign` that runs a module with parameters. `interpreter` says which program runs
    /// it: Python, or the one that a script's first line names.
    ///
    /// # Errors
    /// A program that cannot be read, a Python module without ansible-core's module utilities.
    pub(crate) fn call(
        &self,
        name: &str,
        found: &Foreign,
        args: &Map,
        internal: &Map,
        interpreter: &dyn Fn(Option<&str>) -> Result<Option<String>>,
    ) -> Result<Map> {
        let program = fs::read(&found.path)?;
        let text = String::from_utf8_lossy(&program);
        let style = style(&text);
        let params = args.copied();
        if style != "binary" || !params.is_empty() {
            params.extend(internal);
        }
        let call = Map::new();
        call.set("name", name.rsplit('.').next().unwrap_or(name));
        call.set("program", base64::engine::general_purpose::STANDARD.encode(&program));
        call.set("style", style);
        call.set("lossy", !self.loader.settings.refuses_surrogates());
        call.set("params", json::dumps(&Value::Map(params), 0, false));
        if style == "python" {
            let core = core().ok_or_else(|| {
                Error::message(format!(
                    "the module `{name}` is written in Python and needs ansible-core's module utilities, which are not installed here; install ansible-core, or use a module that bakery has (`bakery doc --list`)"
                ))
            })?;
            let mut paths: Vec<PathBuf> = core.parent().map(Path::to_path_buf).into_iter().collect();
            paths.extend(
                self.loader
                    .collections_roots()
                    .into_iter()
                    .filter(|p| p.join("ansible_collections").is_dir()),
            );
            call.set("paths", Value::strings(paths.iter().map(|p| p.display().to_string())));
            let mut utils = vec![self.loader.playbook_dir.join("module_utils")];
            utils.extend(
                self.role
                    .map(RoleUse::chain)
                    .unwrap_or_default()
                    .iter()
                    .map(|u| u.role.path.join("module_utils")),
            );
            utils.extend(self.loader.settings.paths("ANSIBLE_MODULE_UTILS", "defaults", "module_utils"));
            utils.retain(|folder| folder.is_dir());
            call.set("utils", Value::strings(utils.iter().map(|p| p.display().to_string())));
            call.set("moved", self.moved(&text, found));
            call.set("package", found.package.clone());
            call.set("interpreter", interpreter(None)?);
        } else if let Some(line) = text.strip_prefix("#!").and_then(|t| t.lines().next()) {
            let own = line.trim();
            let program = own.split_whitespace().next().and_then(|p| p.rsplit('/').next());
            let is_python = program == Some("python");
            let given = interpreter(if is_python { None } else { Some(own) })?;
            // As modules that need ansible-core: `python` alone is the name of none today.
            let usual = if is_python { "/usr/bin/python3" } else { own };
            call.set("interpreter", given.unwrap_or_else(|| usual.to_owned()));
        }
        Ok(call)
    }
}

impl Scope<'_> {
    /// The module utilities that have another name today, of the collections that a module names and of its own
    /// (`ansible/executor/module_common.py`, `ModuleDepFinder` and its redirections).
    fn moved(&self, text: &str, found: &Foreign) -> Map {
        let mut named = bundle::collections_in(text);
        named.extend(found.package.as_deref().map(bundle::collections_in).unwrap_or_default());
        let moved = Map::new();
        for rest in text.split("ansible.module_utils.").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
            let name = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
            // The packages that it is in may have been moved, too.
            let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
            for inner in ends.map(|end| &name[..end]) {
                if let Some(today) = collections::moved("module_utils", inner) {
                    moved.set(&format!("ansible.module_utils.{inner}"), importable(today));
                }
            }
        }
        for collection in named {
            let Some((namespace, name)) = collection.split_once('.') else { continue };
            for folder in self.loader.collection(namespace, name) {
                for (old, new) in self.loader.runtimes.moved_utilities(&folder) {
                    let old = format!("ansible_collections.{collection}.plugins.module_utils.{old}");
                    moved.set(&old, importable(&new));
                }
            }
        }
        moved
    }
}

/// The name under which Python imports what a redirection names.
fn importable(name: &str) -> String {
    match parts(name) {
        Some((namespace, collection, rest)) if namespace != "ansible_collections" => {
            format!("ansible_collections.{namespace}.{collection}.plugins.module_utils.{rest}")
        }
        _ => name.to_owned(),
    }
}

/// What a program expects, by what its text holds.
fn style(text: &str) -> &'static str {
    let new = [
        "from ansible.module_utils",
        "import ansible.module_utils",
        "from ansible_collections",
        "import ansible_collections",
    ];
    let is_new = text.lines().any(|line| {
        let line = line.trim_start();
        new.iter().any(|start| line.starts_with(start))
            || line.starts_with("from ..") && line.contains("module_utils")
            || line.starts_with("#<<INCLUDE_ANSIBLE_MODULE_COMMON>>")
    });
    if text.contains('\0') {
        "binary"
    } else if is_new {
        "python"
    } else if text.contains("WANT_JSON") {
        "json"
    } else if text.starts_with("\u{7f}ELF") {
        "binary"
    } else {
        "words"
    }
}

fn in_folder(folder: &Path, name: &str) -> Option<PathBuf> {
    // Asked for every task: most places are not there at all.
    if !folder.is_dir() {
        return None;
    }
    [format!("{name}.py"), name.to_owned(), format!("_{name}.py")]
        .iter()
        .map(|file| folder.join(file))
        .chain(["sh", "pl", "rb"].iter().map(|end| folder.join(format!("{name}.{end}"))))
        .find(|path| path.is_file())
}

pub(crate) fn of_core(name: &str) -> Option<Foreign> {
    let path = in_folder(&core()?.join("modules"), name)?;
    Some(Foreign { path, package: None })
}

/// This machine's interpreter, for `ansible_playbook_python` and for modules of the implicit `localhost`: the first on
/// the path.
pub fn controller_python() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| [folder.join("python3"), folder.join("python")])
        .find(|program| program.is_file());
    found.map_or_else(|| "/usr/bin/python3".into(), |program| program.display().to_string())
}

/// The folder of an installed ansible-core, if there is one.
fn core() -> Option<&'static Path> {
    core_with_python().map(|(_, core)| core)
}

/// An interpreter for which ansible-core is installed, and its folder; they are searched once: the path's first, then
/// those that Ansible's programs are started with, for pipx and virtual environments put only those on the path.
pub(crate) fn core_with_python() -> Option<(&'static str, &'static Path)> {
    static CORE: OnceLock<Option<(String, PathBuf)>> = OnceLock::new();
    let found = CORE.get_or_init(|| {
        let ask = "import os, ansible; print(os.path.dirname(ansible.__file__))";
        let plain = ["python3", "python"].into_iter().map(str::to_owned);
        plain.chain(interpreters_of_programs()).find_map(|python| {
            let output = Cmd::new(&python).args(["-c", ask]).output().ok()?;
            output.success().then(|| (python, PathBuf::from(output.text().trim())))
        })
    });
    found.as_ref().map(|(python, core)| (python.as_str(), core.as_path()))
}

/// What the first lines of Ansible's programs name as their interpreter. Programs that bakery answers to are no scripts.
fn interpreters_of_programs() -> impl Iterator<Item = String> {
    const NAMES: [&str; 5] =
        ["ansible", "ansible-playbook", "ansible-galaxy", "ansible-doc", "ansible-config"];
    /// A path in a first line is at most this long on Linux (`BINPRM_BUF_SIZE`).
    const FIRST_LINE: u64 = 256;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.into_iter().flat_map(|folder| NAMES.map(|name| folder.join(name))).filter_map(|program| {
        let start = fs::read_start(&program, FIRST_LINE).ok()?;
        let line = std::str::from_utf8(start.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?).ok()?;
        let interpreter = line.trim();
        interpreter.contains("python").then(|| interpreter.to_owned())
    })
}
