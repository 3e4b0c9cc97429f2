//! Files into plays: playbooks, task files, roles with their dependencies, static imports.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakery_host::fs;
use bakery_lang::yaml::{self, Node};
use bakery_lang::{Diagnostic, Map, Source, Text, Value, suggest};

use super::roles::{no_roles, once_if_told, without_validation};
use super::task::{self, Place, is_block, keywords, task};
use super::{Block, Entry, Play, Playbook, RoleUse, Task};
use crate::collections::Runtimes;
use crate::plugins::Plugins;
use crate::vars::Layers;
use crate::{Error, Result, Settings, Templar, vault};

/// Keywords of plays.
/// What is said of a value in a vault that no password opens (`UndecryptableVaultError`).
const UNREADABLE: &str = "Attempt to use undecryptable variable.";

const PLAY: &[&str] = &[
    "any_errors_fatal",
    "become",
    "become_method",
    "become_user",
    "check_mode",
    "collections",
    "connection",
    "environment",
    "fact_path",
    "force_handlers",
    "gather_facts",
    "gather_subset",
    "gather_timeout",
    "handlers",
    "hosts",
    "ignore_errors",
    "max_fail_percentage",
    "module_defaults",
    "name",
    "no_log",
    "order",
    "port",
    "post_tasks",
    "pre_tasks",
    "remote_user",
    "roles",
    "run_once",
    "serial",
    "strategy",
    "tags",
    "tasks",
    "throttle",
    "timeout",
    "user",
    "vars",
    "vars_files",
    "vars_prompt",
    "import_playbook",
    "include",
];

/// Keys of a role entry that are keywords and not parameters.
pub(super) const ROLE_KEYS: &[&str] =
    &["role", "name", "src", "scm", "version", "delegate_to", "delegate_facts", "public"];

/// How deep imports and dependencies may nest.
pub(super) const MAX_DEPTH: usize = 60;

/// How deep playbooks may import others.
const MAX_IMPORTS: usize = 50;

/// Reads playbooks.
#[derive(Debug, Clone)]
pub struct Loader {
    /// Where roles are searched after the playbook's own folder.
    pub roles_paths: Vec<PathBuf>,
    /// Where `ansible_collections` is searched after the playbook's own folder.
    pub collections_paths: Vec<PathBuf>,
    /// Where modules are searched after the playbook's and the roles' own folders.
    pub libraries: Vec<PathBuf>,
    /// The folder of the playbook.
    pub playbook_dir: PathBuf,
    /// Variables of the command line, for names in static imports.
    pub extra_vars: Map,
    /// `vars` of the imports that lead to the playbook.
    import_vars: Map,
    /// What the environment and `ansible.cfg` say.
    pub settings: Arc<Settings>,
    warnings: Arc<std::sync::Mutex<Vec<String>>>,
    /// How many playbooks import the one that is read.
    imports: usize,
    /// How much plugins in Python say.
    pub verbosity: u8,
    /// What runs plugins in Python.
    pub(crate) plugins: Arc<Plugins>,
    /// What collections say of their modules.
    pub(crate) runtimes: Arc<Runtimes>,
    /// Where facts outlast the run.
    pub fact_cache: Option<crate::FactCache>,
    /// The passwords of vaults.
    pub secrets: Arc<Vec<vault::Secret>>,
}

/// What one play gathers while it is read.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) handlers: Vec<Entry>,
    pub(crate) public_roles: Vec<Arc<RoleUse>>,
    pub(super) vars: Map,
    /// The play's `collections`.
    pub(super) collections: Vec<String>,
    pub(super) depth: usize,
    /// Whether a list of handlers is read.
    pub(super) in_handlers: bool,
    /// Whether a file is read that a task included while the play runs.
    pub(super) is_included: bool,
    /// How many blocks of handlers are around what is read; only one may be.
    pub(super) handler_blocks: usize,
}

/// Options of `import_role` that may be templates.
const IMPORT_ROLE: &[&str] = &[
    "allow_duplicates",
    "defaults_from",
    "handlers_from",
    "public",
    "rolespec_validate",
    "tasks_from",
    "vars_from",
];

impl Loader {
    /// A loader for a playbook; roles are also searched in `ANSIBLE_ROLES_PATH` and the usual system folders.
    pub fn new(playbook: &Path, extra_vars: Map) -> Self {
        let folder = playbook.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let playbook_dir = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
        let settings = Settings::load();
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let or = |paths: Vec<PathBuf>, default: Vec<PathBuf>| if paths.is_empty() { default } else { paths };
        let roles_paths = or(
            settings.paths("ANSIBLE_ROLES_PATH", "defaults", "roles_path"),
            vec![home.join(".ansible/roles"), "/usr/share/ansible/roles".into(), "/etc/ansible/roles".into()],
        );
        let collections_paths = or(
            settings.paths("ANSIBLE_COLLECTIONS_PATH", "defaults", "collections_path"),
            vec![home.join(".ansible/collections"), "/usr/share/ansible/collections".into()],
        );
        let libraries = or(
            settings.paths("ANSIBLE_LIBRARY", "defaults", "library"),
            vec![home.join(".ansible/plugins/modules"), "/usr/share/ansible/plugins/modules".into()],
        );
        Self {
            roles_paths,
            collections_paths,
            libraries,
            playbook_dir,
            extra_vars,
            import_vars: Map::new(),
            settings: Arc::new(settings),
            warnings: Arc::default(),
            imports: 0,
            verbosity: 0,
            plugins: Arc::default(),
            runtimes: Arc::default(),
            fact_cache: None,
            secrets: Arc::default(),
        }
    }

    /// The text of a file, opened if it is a vault.
    pub(crate) fn decrypted(&self, path: &Path, bytes: Vec<u8>) -> Result<String> {
        let bytes = if vault::is_encrypted(&bytes) {
            self.open_vault(&bytes)
                .map_err(|e| Error::message(format!("{} ({})", e.diagnostic.message, path.display())))?
        } else {
            bytes
        };
        String::from_utf8(bytes).map_err(|_| Error::message(format!("{} is not UTF-8 text", path.display())))
    }

    /// A file to be parsed, under a name; what comes out of a vault is not shown in errors.
    pub(crate) fn source(&self, path: &Path, name: &Path, bytes: Vec<u8>) -> Result<Arc<Source>> {
        let is_secret = vault::is_encrypted(&bytes);
        let text = self.decrypted(path, bytes)?;
        let name = name.display().to_string();
        Ok(if is_secret { Source::secret(name, text) } else { Source::new(name, text) })
    }

    /// What is in a vault.
    pub(crate) fn open_vault(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let match_id = self.settings.flag("ANSIBLE_VAULT_ID_MATCH", "defaults", "vault_id_match", false);
        vault::decrypt(bytes, &self.secrets, match_id)
    }

    /// Where collections are: beside the playbook, and in the configured places.
    pub(crate) fn collections_roots(&self) -> Vec<PathBuf> {
        let mut roots = vec![self.playbook_dir.join("collections")];
        roots.extend(self.collections_paths.iter().cloned());
        roots
    }

    /// The folders that hold a collection, the first found first.
    pub(crate) fn collection(&self, namespace: &str, name: &str) -> Vec<PathBuf> {
        let inner = Path::new("ansible_collections").join(namespace).join(name);
        let found = |root: &PathBuf| {
            // A path may also be that of `ansible_collections` itself.
            [root.join(&inner), root.join(namespace).join(name)].into_iter().find(|p| p.is_dir())
        };
        self.collections_roots().iter().filter_map(found).collect()
    }

    /// Puts variables over others: they replace them, or mappings are merged when settings say so.
    pub(crate) fn merge(&self, into: &Map, from: &Map) {
        if !self.settings.merges_hashes() {
            into.extend(from);
            return;
        }
        crate::vars::merge(into, from);
    }

    /// Reads a YAML file, a vault or not.
    pub(crate) fn yaml(&self, path: &Path) -> Result<Node> {
        let name = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let source = self.source(path, &name, fs::read(path)?)?;
        let mut node = yaml::parse_json_or_yaml(&source).map_err(Error::parse)?;
        node.read_times();
        if !node.duplicates.is_empty() {
            self.duplicate_keys(&node)?;
        }
        self.unlock(&mut node);
        Ok(node)
    }

    /// Opens the vaults in a document; one that cannot be opened is an error only where it is used.
    pub(crate) fn unlock(&self, node: &mut Node) {
        node.replace_tagged(&["!vault", "!vault-encrypted"], &|text, origin| match self
            .open_vault(text.trim().as_bytes())
            .map(String::from_utf8)
        {
            Ok(Ok(plain)) => Value::Str(Text::unlocked(plain, origin.clone(), text)),
            Ok(Err(_)) => Value::locked(format!("{UNREADABLE} the vault holds no UTF-8 text"), text),
            Err(error) => Value::locked(format!("{UNREADABLE} {}", error.diagnostic.message), text),
        });
    }

    /// Keys that a mapping has twice: a warning, an error, or nothing, as settings say (`DUPLICATE_YAML_DICT_KEY`).
    fn duplicate_keys(&self, node: &Node) -> Result<()> {
        let setting = self.settings.text("ANSIBLE_DUPLICATE_YAML_DICT_KEY", "defaults", "duplicate_dict_key");
        for (key, origin) in &node.duplicates {
            let text = format!("Found duplicate mapping key '{key}'. Using last defined value only.");
            let diagnostic = Diagnostic::at(origin, text);
            match setting.as_deref() {
                Some("ignore") => {}
                Some("error") => return Err(Error::parse(diagnostic)),
                _ => self.warn(&diagnostic.to_string()),
            }
        }
        Ok(())
    }

    /// Warns of a form that Ansible will not have for ever, unless settings keep such warnings away.
    pub(crate) fn deprecated(&self, text: &str) {
        if self.settings.flag("ANSIBLE_DEPRECATION_WARNINGS", "defaults", "deprecation_warnings", true) {
            self.warn(text);
        }
    }

    /// Takes a warning, once.
    pub fn warn(&self, text: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !warnings.iter().any(|w| w == text) {
            warnings.push(text.to_owned());
        }
    }

    /// The warnings of what was read so far, once.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Reads a file of variables.
    pub(crate) fn vars_file(&self, path: &Path) -> Result<Map> {
        let node = self.yaml(path)?;
        match node.to_value() {
            Value::Map(map) => Ok(map),
            Value::None => Ok(Map::new()),
            // A list of mappings is one after the other; an empty one is what some tools write for nothing.
            Value::List(items) if items.items().iter().all(|item| item.as_map().is_some()) => {
                let all = Map::new();
                items.items().iter().filter_map(Value::as_map).for_each(|map| self.merge(&all, map));
                Ok(all)
            }
            _ => Err(Error::parse(Diagnostic::at(&node.origin, "a file of variables must hold a mapping"))),
        }
    }

    /// A value of any kind with the variables that are known before any host is.
    ///
    /// # Errors
    /// A name that is not known yet.
    pub fn value(&self, value: &Value, vars: &Map) -> Result<Value> {
        match value.as_items() {
            Some(items) => {
                items.iter().map(|v| self.template(v, vars)).collect::<Result<Vec<_>>>().map(Value::list)
            }
            None => self.template(value, vars),
        }
    }

    /// Reads a playbook with everything that it imports.
    ///
    /// # Errors
    /// What is wrong, with its place; a missing file or role.
    pub fn playbook(&self, path: &Path) -> Result<Playbook> {
        if !path.exists() {
            return Err(Error::message(format!("the playbook: {} could not be found", path.display())));
        }
        self.plays(&self.yaml(path)?, path)
    }

    /// A playbook from its text.
    ///
    /// # Errors
    /// As [`Loader::playbook`].
    pub fn playbook_of(&self, text: &str, path: &Path) -> Result<Playbook> {
        let node = yaml::parse(&Source::new(path.display().to_string(), text)).map_err(Error::parse)?;
        self.plays(&node, path)
    }

    fn plays(&self, node: &Node, path: &Path) -> Result<Playbook> {
        let Some(items) = node.as_list() else {
            return Err(Error::parse(
                Diagnostic::at(
                    &node.origin,
                    format!("A playbook must be a list of plays, got {} instead", node.kind_name()),
                )
                .hint("a play starts with `- hosts: …`"),
            ));
        };
        if items.is_empty() {
            return Err(Error::parse(Diagnostic::at(
                &node.origin,
                "A playbook must contain at least one play",
            )));
        }
        let mut plays = Vec::new();
        for item in items {
            let import = [
                "import_playbook",
                "ansible.builtin.import_playbook",
                "ansible.legacy.import_playbook",
                "include",
            ]
            .iter()
            .find_map(|k| item.get(k));
            if let Some(import) = import {
                let (keywords, _) = keywords(item, &["user"])?;
                let name = self.template(&import.to_value(), &keywords.vars)?.to_string();
                let name = name.split_whitespace().next().unwrap_or_default().to_owned();
                let inner = match self.playbook_of_collection(&name) {
                    Some(inner) => inner,
                    None => path.parent().unwrap_or(Path::new(".")).join(&name),
                };
                let mut loader = self.clone();
                loader.imports += 1;
                if loader.imports > MAX_IMPORTS {
                    return Err(Error::parse(Diagnostic::at(
                        &item.origin,
                        "imports nest too deep (does a playbook import itself?)",
                    )));
                }
                loader.libraries.insert(0, self.playbook_dir.join("library"));
                if let Some(folder) = inner.parent().and_then(|folder| fs::canonicalize(folder).ok()) {
                    loader.playbook_dir = folder;
                }
                // What the import says is known where the plays name roles and files, but below what they say themselves.
                loader.import_vars = loader.import_vars.copied();
                loader.import_vars.extend(&keywords.vars);
                let imported = loader.playbook(&inner)?;
                for mut play in imported.plays {
                    play.keywords.vars.extend(&keywords.vars);
                    play.keywords.when.splice(0..0, keywords.when.clone());
                    play.keywords.tags.extend(keywords.tags.clone());
                    plays.push(play);
                }
                continue;
            }
            plays.push(self.play(item, path)?);
        }
        Ok(Playbook { path: path.to_path_buf(), plays })
    }

    fn play(&self, node: &Node, file: &Path) -> Result<Play> {
        if node.as_map().is_none() {
            return Err(Error::parse(Diagnostic::at(
                &node.origin,
                "playbook entries must be either valid plays or 'import_playbook' statements",
            )));
        }
        let (mut keywords, rest) = keywords(node, &["user"])?;
        if let Some(own) = self.own_collection()
            && !keywords.collections.iter().any(|named| named.as_str() == Some(&own))
        {
            keywords.collections.insert(0, own.into());
        }
        let mut play = Play {
            name: String::new(),
            hosts: Value::None,
            keywords,
            vars_files: vec![],
            vars_prompt: vec![],
            gather_facts: None,
            gather_subset: None,
            fact_path: None,
            serial: None,
            force_handlers: None,
            max_fail_percentage: None,
            order: None,
            strategy: None,
            pre_tasks: vec![],
            roles: vec![],
            tasks: vec![],
            post_tasks: vec![],
            handlers: vec![],
            public_roles: vec![],
            playbook_dir: self.playbook_dir.clone(),
            libraries: self.libraries.clone(),
            origin: node.origin.clone(),
        };
        let mut gathered = Gathered {
            vars: play.keywords.vars.clone(),
            collections: play.keywords.collections.iter().map(ToString::to_string).collect(),
            ..Gathered::default()
        };
        let list = |value: &Node| match value.as_list() {
            Some(items) => items.iter().map(Node::to_value).collect(),
            None if value.is_none() => vec![],
            None => vec![value.to_value()],
        };
        let place = |name: &str| {
            node.as_map().and_then(|pairs| pairs.iter().find(|(key, _)| key.as_str() == Some(name)))
        };
        if let (Some((key, _)), Some(_)) = (place("user"), place("remote_user")) {
            return Err(Error::parse(Diagnostic::at(
                &key.origin,
                "both 'user' and 'remote_user' are set for this play. The use of 'user' is deprecated, and should be removed",
            )));
        }
        for (key, value) in rest {
            let v = || Some(value.to_value()).filter(|v| !v.is_none());
            match key.as_str().unwrap_or_default() {
                "hosts" => play.hosts = value.to_value(),
                "gather_facts" => play.gather_facts = v(),
                "fact_path" => play.fact_path = v(),
                "gather_subset" => play.gather_subset = v(),
                "serial" => play.serial = v(),
                "force_handlers" => play.force_handlers = v(),
                "max_fail_percentage" => play.max_fail_percentage = v(),
                "order" => play.order = v(),
                "strategy" => play.strategy = v(),
                "vars_files" => play.vars_files = list(value),
                "vars_prompt" => play.vars_prompt = list(value),
                "gather_timeout" | "user" => {}
                "roles" | "tasks" | "pre_tasks" | "post_tasks" | "handlers" => {}
                name => {
                    let hint = suggest(name, PLAY.iter().copied());
                    return Err(Error::parse(
                        Diagnostic::at(&key.origin, format!("'{name}' is not a valid attribute for a Play"))
                            .maybe_hint(hint),
                    ));
                }
            }
        }
        if play.hosts.is_none() {
            return Err(Error::parse(Diagnostic::at(
                &node.origin,
                "the field 'hosts' is required but was not set",
            )));
        }
        if play.hosts.as_items().is_some_and(|hosts| hosts.is_empty()) {
            return Err(Error::parse(Diagnostic::at(
                &node.origin,
                "Hosts list cannot be empty. Please check your playbook",
            )));
        }
        play.name = match node.get("name").filter(|n| !n.is_none()) {
            Some(name) => self
                .template(&name.to_value(), &play.keywords.vars)
                .map_or_else(|_| name.to_value().to_string(), |v| v.to_string()),
            None => match &play.hosts {
                Value::List(items) => {
                    items.items().iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
                }
                other => other.to_string(),
            },
        };
        let entries = |name: &str, gathered: &mut Gathered| -> Result<Vec<Entry>> {
            let Some(tasks) = node.get(name) else { return Ok(vec![]) };
            if tasks.as_list().is_none() && !tasks.is_none() {
                let shown = tasks.to_value();
                return Err(Error::parse(Diagnostic::at(
                    &tasks.origin,
                    format!(
                        "A malformed block was encountered while loading {name}: {shown} should be a list or None"
                    ),
                )));
            }
            self.entries(tasks, file, None, gathered)
        };
        play.pre_tasks = entries("pre_tasks", &mut gathered)?;
        if let Some(roles) = node.get("roles") {
            if roles.as_list().is_none() && !roles.is_none() {
                return Err(Error::parse(Diagnostic::at(
                    &roles.origin,
                    "A malformed role declaration was encountered.",
                )));
            }
            for entry in roles.as_list().unwrap_or_default() {
                play.roles.push(self.role_entry(entry, None, &mut gathered)?.0);
            }
        }
        play.tasks = entries("tasks", &mut gathered)?;
        play.post_tasks = entries("post_tasks", &mut gathered)?;
        gathered.in_handlers = true;
        let own = entries("handlers", &mut gathered)?;
        no_roles(&own)?;
        play.handlers = std::mem::take(&mut gathered.handlers);
        play.handlers.extend(own);
        play.public_roles = gathered.public_roles;
        crate::executor::check_prompts(&play)?;
        Ok(play)
    }

    /// A value with the variables that are known before any host is: for names of static imports.
    pub(crate) fn template(&self, value: &Value, vars: &Map) -> Result<Value> {
        let Value::Str(text) = value else { return Ok(value.clone()) };
        if !text.as_str().contains("{{") {
            return Ok(value.clone());
        }
        let own = Map::from_iter([("playbook_dir", Value::from(self.playbook_dir.display().to_string()))]);
        let mut layers = Layers::default();
        [&self.extra_vars, &self.import_vars, &own, vars].into_iter().for_each(|map| layers.push(map));
        let environment = Arc::new(bakery_jinja::Environment::new());
        let mut templar = Templar::new(environment, layers, vec![self.playbook_dir.clone()]);
        templar.loader = Some(Arc::new(self.clone()));
        let origin = text.origin().cloned();
        templar.value(value).map_err(|error| {
            let message = format!(
                "{} (only variables of the play and of the command line are known here)",
                error.message
            );
            Error::parse(
                origin.map_or_else(
                    || Diagnostic::new(message.clone()),
                    |o| Diagnostic::at(&o, message.clone()),
                ),
            )
        })
    }

    /// The tasks and blocks of a list.
    pub(crate) fn entries(
        &self,
        node: &Node,
        file: &Path,
        role: Option<&Arc<RoleUse>>,
        gathered: &mut Gathered,
    ) -> Result<Vec<Entry>> {
        if node.is_none() {
            return Ok(vec![]);
        }
        let Some(items) = node.as_list() else {
            return Err(Error::parse(Diagnostic::at(
                &node.origin,
                format!("expected a list of tasks, found {}", node.kind_name()),
            )));
        };
        gathered.depth += 1;
        if gathered.depth > MAX_DEPTH {
            return Err(Error::parse(Diagnostic::at(
                &node.origin,
                "imports nest too deep (does a file import itself?)",
            )));
        }
        let mut out = Vec::new();
        for item in items {
            if item.is_none() {
                continue;
            }
            if is_block(item) && gathered.handler_blocks > 0 {
                return Err(Error::parse(Diagnostic::at(
                    &item.origin,
                    "Using a block as a handler is not supported.",
                )));
            }
            if is_block(item) {
                out.push(Entry::Block(Arc::new(self.block(item, file, role, gathered)?)));
                continue;
            }
            let library = |name: &str| {
                let own = item.get("collections").map(task::list).unwrap_or_default();
                let own: Vec<String> = own.iter().map(ToString::to_string).collect();
                let collections = if own.is_empty() { gathered.collections.clone() } else { own };
                let scope = crate::foreign::Scope { loader: self, role, collections: &collections };
                scope.find(name).is_some() || scope.python_action(name).is_some()
            };
            let task = task(item, &Place { file, role, library: &library })?;
            out.push(self.expand(task, file, role, gathered)?);
        }
        gathered.depth -= 1;
        Ok(out)
    }

    fn block(
        &self,
        node: &Node,
        file: &Path,
        role: Option<&Arc<RoleUse>>,
        gathered: &mut Gathered,
    ) -> Result<Block> {
        let keywords = task::block_keywords(node)?;
        gathered.handler_blocks += usize::from(gathered.in_handlers);
        let around = gathered.collections.clone();
        if !keywords.collections.is_empty() {
            gathered.collections = keywords.collections.iter().map(ToString::to_string).collect();
        }
        let part = |name: &str, gathered: &mut Gathered| -> Result<Vec<Entry>> {
            node.get(name).map_or(Ok(vec![]), |tasks| self.entries(tasks, file, role, gathered))
        };
        let block = Block {
            name: node.get("name").map(Node::to_value),
            keywords,
            block: part("block", gathered)?,
            rescue: part("rescue", gathered)?,
            always: part("always", gathered)?,
            once: None,
            role: None,
        };
        gathered.handler_blocks -= usize::from(gathered.in_handlers);
        gathered.collections = around;
        Ok(block)
    }

    /// Static imports become blocks; everything else stays a task.
    fn expand(
        &self,
        task: Task,
        file: &Path,
        role: Option<&Arc<RoleUse>>,
        gathered: &mut Gathered,
    ) -> Result<Entry> {
        let action = bakery_modules::canonical_name(&task.action).to_owned();
        let at = |message: String| Error::parse(Diagnostic::at(&task.origin, message));
        let name_of = |keys: &[&str]| keys.iter().find_map(|key| task.args.get(key)).filter(|v| !v.is_none());
        match action.as_str() {
            "include_tasks"
                if name_of(&["file", "_raw_params"])
                    .is_none_or(|name| name.to_string().trim().is_empty()) =>
            {
                Err(at(format!("No file specified for {}", task.action)))
            }
            "import_tasks" | "include" => {
                let name = name_of(&["file", "_raw_params"])
                    .ok_or_else(|| at("No file specified for import_tasks".into()))?;
                if action == "import_tasks" && task.args.contains("apply") {
                    return Err(at(format!("Invalid options for {}: apply", task.action)));
                }
                // The old `include` is static when its name is plain, it does not loop, and nothing around it was included
                // by a task (`load_list_of_tasks` in `ansible/playbook/helpers.py` of ansible-core 2.14).
                let is_dynamic = task.include_is_static.map_or_else(
                    || task.r#loop.is_some() || name.has_template() || gathered.is_included,
                    |is_static| !is_static,
                );
                if action == "include" && is_dynamic {
                    return Ok(Entry::Task(Arc::new(task)));
                }
                let vars = gathered.vars.copied();
                vars.extend(&task.keywords.vars);
                if let Some(used) = role {
                    vars.set("role_path", used.role.path.display().to_string());
                    vars.set("role_name", used.role.name.as_str());
                    vars.set("ansible_role_name", used.role.name.as_str());
                }
                let name = self.template(&name, &vars)?.to_string();
                let (name, params) = split_include(&name);
                let path = find_tasks(&name, file, role, &self.playbook_dir)
                    .ok_or_else(|| Error::other(Diagnostic::at(&task.origin, format!("Could not find or access '{name}'")).hint("it is searched beside this file, in the role's tasks and in the playbook's folder")))?;
                let mut keywords = task.keywords.clone();
                keywords.vars = keywords.vars.copied();
                keywords.vars.extend(&params);
                for (key, value) in task.args.pairs() {
                    if !matches!(key.as_str(), Some("file" | "_raw_params" | "apply")) {
                        keywords.vars.insert(key, value);
                    }
                }
                let node = self.yaml(&path)?;
                let block = self.entries(&node, &path, role, gathered)?;
                Ok(Entry::Block(Arc::new(Block {
                    name: None,
                    keywords,
                    block,
                    rescue: vec![],
                    always: vec![],
                    once: None,
                    role: None,
                })))
            }
            "import_role" => {
                if gathered.in_handlers {
                    return Err(at(format!("Using '{}' as a handler is not supported.", task.action)));
                }
                let name = name_of(&["name", "role", "_raw_params"])
                    .ok_or_else(|| at("'name' is a required field for import_role.".into()))?;
                let vars = gathered.vars.copied();
                vars.extend(&task.keywords.vars);
                let name = self.template(&name, &vars)?.to_string();
                for key in IMPORT_ROLE {
                    if let Some(value) = task.args.get(key) {
                        task.args.set(key, self.template(&value, &vars)?);
                    }
                }
                let from = |key: &str| task.args.get(key).map(|v| v.to_string());
                let used = self.use_role(&name, Map::new(), role, &task, &gathered.collections, &from)?;
                let public = task.args.get("public").and_then(|v| bakery_modules::args::boolean(&v).ok());
                let public = public.unwrap_or_else(|| {
                    !self.settings.flag("ANSIBLE_PRIVATE_ROLE_VARS", "defaults", "private_role_vars", false)
                });
                if public {
                    gathered.public_roles.push(Arc::clone(&used));
                }
                let mut block = self.role_block(&used, from("tasks_from").as_deref(), gathered)?;
                block.keywords = task.keywords.clone();
                once_if_told(&mut block, &used, &task.args);
                without_validation(&mut block, &task.args);
                // What the import says holds for the role's handlers, too.
                let before = gathered.handlers.len();
                self.role_handlers(&used, from("handlers_from").as_deref(), gathered)?;
                let handlers = gathered.handlers.split_off(before);
                if !handlers.is_empty() {
                    gathered.handlers.push(Entry::Block(Arc::new(Block {
                        name: None,
                        keywords: task.keywords.clone(),
                        block: handlers,
                        rescue: vec![],
                        always: vec![],
                        once: None,
                        role: None,
                    })));
                }
                Ok(Entry::Block(Arc::new(block)))
            }
            _ => Ok(Entry::Task(Arc::new(task))),
        }
    }

    /// The file that `include_tasks` means.
    pub(crate) fn include_path(&self, task: &Task, name: &str) -> Option<PathBuf> {
        let path = find_tasks(name, &task.file, task.role.as_ref(), &self.playbook_dir)?;
        Some(fs::canonicalize(&path).unwrap_or(path))
    }

    /// What `include_tasks` includes at run time.
    pub(crate) fn include_tasks(
        &self,
        task: &Task,
        name: &str,
        collections: &[String],
    ) -> Result<Vec<Entry>> {
        let path = self.include_path(task, name).ok_or_else(|| {
            Error::other(Diagnostic::at(&task.origin, format!("Could not find or access '{name}'")))
        })?;
        let node = self.yaml(&path)?;
        let mut gathered =
            Gathered { collections: collections.to_vec(), is_included: true, ..Gathered::default() };
        self.entries(&node, &path, task.role.as_ref(), &mut gathered)
    }
}

/// `file.yml key=value` of old includes.
fn split_include(text: &str) -> (String, Map) {
    let mut words = super::split_args(text).into_iter();
    let name = words.next().unwrap_or_default();
    let params = words
        .filter_map(|w| {
            w.split_once('=')
                .map(|(k, v)| (k.to_owned(), Value::Str(Text::plain(v.trim_matches(['"', '\''])))))
        })
        .collect();
    (name, params)
}

/// A task file: beside the including file, in the role's tasks, in parent roles, in the playbook's folder.
fn find_tasks(name: &str, file: &Path, role: Option<&Arc<RoleUse>>, playbook_dir: &Path) -> Option<PathBuf> {
    let direct = Path::new(name);
    if direct.is_absolute() {
        return direct.is_file().then(|| direct.to_path_buf());
    }
    let mut folders: Vec<PathBuf> = file.parent().map(Path::to_path_buf).into_iter().collect();
    for used in role.map(RoleUse::chain).unwrap_or_default() {
        folders.push(used.role.path.join("tasks"));
        folders.push(used.role.path.clone());
    }
    folders.push(playbook_dir.join("tasks"));
    folders.push(playbook_dir.to_path_buf());
    folders.iter().map(|f| f.join(direct)).find(|p| p.is_file())
}
