//! What the names of tasks and of `module_defaults` mean: the module or action that is found, with its collection
//! (`ansible/plugins/loader.py` `find_plugin_with_context`, `ansible/playbook/task.py` `_post_validate_args`,
//! `ansible/playbook/base.py` `_resolve_action`, `ansible/executor/task_executor.py` `_get_action_handler`).

use std::path::PathBuf;

use bakery_host::fs;

use crate::actions::NAMES;
use crate::collections::parts;
use crate::foreign::{Scope, of_core};
use crate::plugins::Kind;

/// How deep redirections of collections may go.
pub(crate) const MAX_REDIRECTS: usize = 10;

/// A module that was found.
struct Found {
    /// Its name with its collection, `ansible.legacy` if it comes with the playbook.
    name: String,
    /// The action that its collection says carries it out.
    action: Option<String>,
}

/// Whether a name with a collection is one of ansible-core's own.
fn is_core(namespace: &str, collection: &str) -> bool {
    namespace == "ansible" && matches!(collection, "builtin" | "legacy")
}

impl Scope<'_> {
    /// The name with its collection that `module_defaults` of a task are looked up under.
    pub(crate) fn full_name(&self, name: &str) -> String {
        let action = self.candidates(name).find_map(|full| self.action_named(&full, MAX_REDIRECTS));
        let module = || self.module_of_task(name).map(|module| module.name);
        action.or_else(module).unwrap_or_else(|| name.to_owned())
    }

    /// What a collection that is searched has under a name without one: it goes before what the playbook and ansible-core
    /// have, unless these are searched first.
    pub(crate) fn in_collections(&self, name: &str) -> Option<String> {
        if name.contains('.') || name.starts_with("include") || name.starts_with("import_") || name == "meta"
        {
            return None;
        }
        let collections = self.searched().take_while(|c| !matches!(*c, "ansible.builtin" | "ansible.legacy"));
        collections.map(|collection| format!("{collection}.{name}")).find_map(|full| {
            // An action in Python is told what the task calls; a module that was moved is called by its name of today.
            let is_action = self.action_named(&full, MAX_REDIRECTS).is_some();
            let module = || self.module_named(&full, MAX_REDIRECTS).map(|module| module.name);
            if is_action { Some(full.clone()) } else { module() }
        })
    }

    /// The names that an entry of `module_defaults` is for. Of one without a collection, what comes with the playbook is
    /// meant, and what ansible-core has.
    pub(crate) fn names_of_entry(&self, entry: &str) -> Vec<String> {
        let entry = if parts(entry).is_some() { entry.to_owned() } else { format!("ansible.legacy.{entry}") };
        let mut names: Vec<String> = self.name_of_entry(&entry).into_iter().collect();
        if let Some(short) = entry.strip_prefix("ansible.legacy.") {
            names.extend(self.name_of_entry(&format!("ansible.builtin.{short}")));
        }
        names
    }

    /// The action or module that a name with its collection is for.
    pub(crate) fn name_of_entry(&self, full: &str) -> Option<String> {
        let module = self.module_named(full, MAX_REDIRECTS);
        if let Some(Found { name, action: Some(_) }) = module {
            return Some(name);
        }
        self.action_named(full, MAX_REDIRECTS).or(module.map(|module| module.name))
    }

    /// The action in Python that carries out a task of this name, if there is one.
    pub(crate) fn python_action(&self, name: &str) -> Option<String> {
        let is_python = |full: String| self.action_named(&full, MAX_REDIRECTS).filter(|f| self.is_python(f));
        if let Some(action) = self.module_of_task(name).and_then(|module| module.action) {
            return self.candidates(&action).find_map(is_python);
        }
        self.candidates(name).find_map(is_python)
    }

    /// An action in Python of the playbook or of a role that goes before what bakery has under this name.
    pub(crate) fn local_action(&self, name: &str) -> Option<String> {
        let short = name.strip_prefix("ansible.legacy.").unwrap_or(name);
        let is_there = !short.contains('.') && self.loader.plugins.action_file(self.loader, short).is_some();
        is_there.then(|| format!("ansible.legacy.{short}"))
    }

    /// Whether the action in Python that carries out a task of this name does so once for all hosts (`BYPASS_HOST_LOOP`).
    pub(crate) fn acts_on_all(&self, name: &str) -> bool {
        self.says_of_action(name, "BYPASS_HOST_LOOP = True")
    }

    /// Whether an action in Python takes text that is not `key=value` words.
    pub(crate) fn takes_raw(&self, name: &str) -> bool {
        self.says_of_action(name, "supports_raw_params = True")
    }

    /// Whether the class of an action in Python has a line.
    fn says_of_action(&self, name: &str, wanted: &str) -> bool {
        let Some(full) = self.python_action(name) else { return false };
        let Some((namespace, collection, rest)) = parts(&full) else { return false };
        let file = if is_core(namespace, collection) {
            self.loader.plugins.action_file(self.loader, rest)
        } else {
            let folders = self.loader.collection(namespace, collection);
            folders.iter().map(|folder| plugin_file(folder, Kind::Action, rest)).find(|file| file.is_file())
        };
        file.and_then(|file| fs::read_to_string(&file).ok())
            .is_some_and(|text| text.lines().any(|line| line.trim() == wanted))
    }

    fn is_python(&self, full: &str) -> bool {
        parts(full).is_some_and(|(namespace, collection, rest)| {
            let is_own = namespace == "ansible" && collection == "legacy";
            if is_own {
                self.loader.plugins.action_file(self.loader, rest).is_some()
            } else {
                !is_core(namespace, collection)
            }
        })
    }

    fn module_of_task(&self, name: &str) -> Option<Found> {
        self.candidates(name).find_map(|full| self.module_named(&full, MAX_REDIRECTS))
    }

    /// What a name may mean: one without a collection is searched in those of the role and its own, in those that the play
    /// names, in what comes with the playbook and ansible-core, and in the one that it went to when it left that.
    fn candidates<'n>(&'n self, name: &'n str) -> Box<dyn Iterator<Item = String> + 'n> {
        if parts(name).is_some() {
            return Box::new(std::iter::once(name.to_owned()));
        }
        let named = self.searched().map(move |collection| format!("{collection}.{name}"));
        Box::new(named.chain(std::iter::once(format!("ansible.legacy.{name}"))))
    }

    /// The collections in which names without one are searched.
    pub(crate) fn searched(&self) -> impl Iterator<Item = &str> {
        self.collections.iter().map(String::as_str)
    }

    fn module_named(&self, full: &str, redirects: usize) -> Option<Found> {
        let (namespace, collection, rest) = parts(full)?;
        let found = |name: String| Some(Found { name, action: None });
        if is_core(namespace, collection) {
            if collection == "legacy" && self.local(rest).is_some() {
                return found(full.to_owned());
            }
            let short = bakery_modules::canonical_name(rest);
            let native = bakery_modules::find(rest).map(|module| module.collection);
            if NAMES.contains(&short) || native == Some("ansible.builtin") {
                return found(format!("ansible.builtin.{short}"));
            }
            if let Some((elsewhere, name)) = bakery_modules::moved_to(rest).filter(|_| redirects > 0) {
                return self.module_named(&format!("{elsewhere}.{name}"), redirects - 1);
            }
            return of_core(rest).and_then(|_| found(format!("ansible.builtin.{rest}")));
        }
        for folder in self.loader.collection(namespace, collection) {
            let route = self.loader.runtimes.module(&folder, rest);
            if let Some(other) = route.redirect.filter(|_| redirects > 0) {
                return self.module_named(&other, redirects - 1);
            }
            if self.in_collection(&folder, rest).is_some() {
                return Some(Found { name: full.to_owned(), action: route.action });
            }
        }
        if bakery_modules::has(&format!("{namespace}.{collection}"), rest) {
            found(full.to_owned())
        } else {
            None
        }
    }

    fn action_named(&self, full: &str, redirects: usize) -> Option<String> {
        let (namespace, collection, rest) = parts(full)?;
        if is_core(namespace, collection) {
            if collection == "legacy" && self.loader.plugins.action_file(self.loader, rest).is_some() {
                return Some(full.to_owned());
            }
            let short = bakery_modules::canonical_name(rest);
            return NAMES.contains(&short).then(|| format!("ansible.builtin.{short}"));
        }
        for folder in self.loader.collection(namespace, collection) {
            if let Some(other) =
                self.loader.runtimes.redirect(&folder, "action", rest).filter(|_| redirects > 0)
            {
                return self.action_named(&other, redirects - 1);
            }
            if plugin_file(&folder, Kind::Action, rest).is_file() {
                return Some(full.to_owned());
            }
        }
        None
    }
}

/// Where a collection has a plugin.
fn plugin_file(collection: &std::path::Path, kind: Kind, name: &str) -> PathBuf {
    collection.join("plugins").join(kind.word()).join(format!("{}.py", name.replace('.', "/")))
}
