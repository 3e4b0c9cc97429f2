//! Roles into blocks: where they are found, what is in them, their dependencies, handlers and argument specifications.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakery_host::fs;
use bakery_lang::yaml::{self, Node};
use bakery_lang::{Diagnostic, Map, Source, Value};

use super::load::{Gathered, MAX_DEPTH, ROLE_KEYS};
use super::role::part;
use super::task::{Place, is_block, keywords, task};
use super::{Block, Dependencies, Entry, Keywords, Loader, Role, RoleUse, Task};
use crate::collections::parts;
use crate::{Error, Result};

impl Loader {
    pub(super) fn use_role(
        &self,
        name: &str,
        params: Map,
        parent: Option<&Arc<RoleUse>>,
        task: &Task,
        collections: &[String],
        from: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Arc<RoleUse>> {
        let (name, path) = self.find_role(name, parent, collections).map_err(|e| Error {
            diagnostic: Diagnostic { origin: Some(task.origin.clone()), ..e.diagnostic },
            code: e.code,
        })?;
        let role = Arc::new(self.role(
            &name,
            &path,
            from("defaults_from").as_deref(),
            from("vars_from").as_deref(),
        )?);
        Ok(Arc::new(RoleUse::new(role, params, Map::new(), parent.cloned())))
    }

    /// What `include_role` includes at run time, with the handlers that come with it.
    pub(crate) fn include_role(
        &self,
        task: &Task,
        args: &Map,
        collections: &[String],
    ) -> Result<(Arc<RoleUse>, Block, Gathered)> {
        let name = args.get("name").or_else(|| args.get("role")).or_else(|| args.get("_raw_params"));
        let name = name.ok_or_else(|| {
            Error::parse(Diagnostic::at(&task.origin, "'name' is a required field for include_role."))
        })?;
        let from = |key: &str| args.get(key).map(|v| v.to_string());
        let used =
            self.use_role(&name.to_string(), Map::new(), task.role.as_ref(), task, collections, &from)?;
        let mut gathered = Gathered { collections: collections.to_vec(), ..Gathered::default() };
        let mut block = self.role_block(&used, from("tasks_from").as_deref(), &mut gathered)?;
        once_if_told(&mut block, &used, args);
        without_validation(&mut block, args);
        self.role_handlers(&used, from("handlers_from").as_deref(), &mut gathered)?;
        Ok((used, block, gathered))
    }

    /// Where a role is, and its name with its collection if it is in one. Without a collection in its name it is searched
    /// in those that the role above it is of and names, or the play does, before any folder of roles
    /// (`RoleDefinition._load_role_path`, `RoleMetadata._load_dependencies`).
    pub(crate) fn find_role(
        &self,
        name: &str,
        parent: Option<&Arc<RoleUse>>,
        collections: &[String],
    ) -> Result<(String, PathBuf)> {
        let direct = Path::new(name);
        if direct.is_absolute() && direct.is_dir() {
            return Ok((name.to_owned(), direct.to_path_buf()));
        }
        if let Some(path) = self.role_of_collection(name) {
            return Ok((name.to_owned(), path));
        }
        let named: Vec<&str> = match parent {
            Some(parent) => parent.role.collections.iter().map(String::as_str).collect(),
            None => collections.iter().map(String::as_str).collect(),
        };
        let mut searched = named.iter().map(|collection| format!("{collection}.{name}"));
        let found = searched.find_map(|full| self.role_of_collection(&full).map(|path| (full, path)));
        if let Some(found) = found {
            return Ok(found);
        }
        let mut folders = vec![self.playbook_dir.join("roles")];
        if let Some(parent) = parent {
            folders.extend(parent.role.path.parent().map(Path::to_path_buf));
            folders.push(parent.role.path.join("roles"));
        }
        folders.extend(self.roles_paths.iter().cloned());
        folders.push(self.playbook_dir.clone());
        let path = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_dir()).ok_or_else(|| {
            let folders = folders.iter().map(|f| f.display().to_string());
            let searched: Vec<String> = named.iter().map(ToString::to_string).chain(folders).collect();
            Error::message(format!("the role '{name}' was not found in {}", searched.join(":"))).with_hint(
                "install what the project needs with `bakery galaxy install -r requirements.yml -p roles`",
            )
        })?;
        Ok((name.to_owned(), path))
    }

    /// The folder of a role with its collection in its name. Folders of roles may nest in collections:
    /// `ns.name.group.role` is in `roles/group/role`.
    fn role_of_collection(&self, name: &str) -> Option<PathBuf> {
        let (namespace, collection, role) = parts(name)?;
        let inner: PathBuf = role.split('.').collect();
        let roots = self.collection(namespace, collection);
        roots.into_iter().map(|c| c.join("roles").join(&inner)).find(|path| path.is_dir())
    }

    pub(super) fn role(
        &self,
        name: &str,
        path: &Path,
        defaults_from: Option<&str>,
        vars_from: Option<&str>,
    ) -> Result<Role> {
        let read = |folder: &str, file: Option<&str>| -> Result<Map> {
            let folder = path.join(folder);
            let name = file.unwrap_or("main");
            match part(&folder, name.trim_end_matches(".yml").trim_end_matches(".yaml")) {
                Some(found) => self.vars_file(&found),
                None if folder.join(name).is_dir() => {
                    let map = Map::new();
                    for inner in fs::read_dir(folder.join(name))?.iter().filter(|p| p.is_file()) {
                        map.extend(&self.vars_file(inner)?);
                    }
                    Ok(map)
                }
                None if file.is_some() => Err(Error::message(format!(
                    "Could not find specified file in role: {}/{name}",
                    folder.display()
                ))),
                None => Ok(Map::new()),
            }
        };
        let meta = match part(&path.join("meta"), "main") {
            Some(found) => self.yaml(&found)?.to_value(),
            None => Value::None,
        };
        let specs = match part(&path.join("meta"), "argument_specs") {
            Some(found) => self.yaml(&found)?.to_value().get("argument_specs"),
            None => meta.get("argument_specs"),
        };
        let named = meta.get("collections").and_then(|c| c.as_items()).unwrap_or_default();
        // A name of three parts begins with the collection.
        let own = match parts(name) {
            Some((namespace, collection, _)) => Some(format!("{namespace}.{collection}")),
            None => self.own_collection(),
        };
        let mut collections: Vec<String> = own.into_iter().collect();
        for named in named.iter().map(ToString::to_string) {
            if !collections.contains(&named) {
                collections.push(named);
            }
        }
        Ok(Role {
            name: name.to_owned(),
            path: path.to_path_buf(),
            defaults: read("defaults", defaults_from)?,
            vars: read("vars", vars_from)?,
            allow_duplicates: meta.get("allow_duplicates").is_some_and(|v| v.is_true()),
            dependencies: meta.get("dependencies").and_then(|d| d.as_items()).unwrap_or_default(),
            argument_specs: specs.and_then(|specs| specs.as_map().cloned()),
            collections,
        })
    }

    pub(super) fn role_block(
        &self,
        used: &Arc<RoleUse>,
        tasks_from: Option<&str>,
        gathered: &mut Gathered,
    ) -> Result<Block> {
        let around = std::mem::replace(&mut gathered.collections, used.role.collections.clone());
        let mut block = Block {
            name: None,
            keywords: Keywords::default(),
            block: vec![],
            rescue: vec![],
            always: vec![],
            once: None,
            role: Some(Arc::clone(used)),
        };
        let mut all = Dependencies::default();
        for dependency in &used.role.dependencies {
            let (entry, dependency) = self.dependency(dependency, used, gathered)?;
            let more = dependency.exports();
            all.vars.extend(&more.vars);
            all.defaults.extend(&more.defaults);
            all.names.extend(more.names);
            block.block.push(entry);
        }
        // It is set once: this is where a use of a role is read.
        let _ = used.from_dependencies.set(all);
        self.plugins.add_role(used);
        let folder = used.role.path.join("tasks");
        let name = tasks_from.unwrap_or("main");
        if let Some(validation) = validation(used, name.trim_end_matches(".yml").trim_end_matches(".yaml")) {
            block.block.push(Entry::Task(Arc::new(validation)));
        }
        match part(&folder, name.trim_end_matches(".yml").trim_end_matches(".yaml")) {
            Some(found) => {
                inside(&found, &folder, &used.role.name)?;
                let node = self.yaml(&found)?;
                block.block.extend(self.entries(&node, &found, Some(used), gathered)?);
            }
            None if tasks_from.is_some() => {
                return Err(Error::message(format!("Could not find specified file in role: tasks/{name}")));
            }
            None => {}
        }
        gathered.collections = around;
        Ok(block)
    }

    /// Loads a role with what it imports and depends on, to see whether it loads.
    pub(crate) fn try_role(&self, path: &Path) -> Result<()> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let role = Arc::new(self.role(&name, path, None, None)?);
        let used = Arc::new(RoleUse::new(role, Map::new(), Map::new(), None));
        let mut gathered = Gathered::default();
        self.role_block(&used, None, &mut gathered)?;
        self.role_handlers(&used, None, &mut gathered)
    }

    /// The tasks of a file as they are written, those in blocks too: nothing is imported.
    pub(crate) fn written_tasks(&self, path: &Path) -> Result<Vec<Task>> {
        fn walk(node: &Node, place: &Place<'_>, out: &mut Vec<Task>) -> Result<()> {
            for item in node.as_list().unwrap_or_default() {
                if is_block(item) {
                    for part in ["block", "rescue", "always"] {
                        if let Some(inner) = item.get(part) {
                            walk(inner, place, out)?;
                        }
                    }
                } else if !item.is_none() {
                    out.push(task(item, place)?);
                }
            }
            Ok(())
        }
        let mut out = Vec::new();
        // What is found nowhere is for whoever looks at the tasks.
        walk(&self.yaml(path)?, &Place { file: path, role: None, library: &|_| true }, &mut out)?;
        Ok(out)
    }

    pub(super) fn role_handlers(
        &self,
        used: &Arc<RoleUse>,
        from: Option<&str>,
        gathered: &mut Gathered,
    ) -> Result<()> {
        if let Some(found) = part(
            &used.role.path.join("handlers"),
            from.unwrap_or("main").trim_end_matches(".yml").trim_end_matches(".yaml"),
        ) {
            inside(&found, &used.role.path.join("handlers"), &used.role.name)?;
            let node = self.yaml(&found)?;
            let before = std::mem::replace(&mut gathered.in_handlers, true);
            let around = std::mem::replace(&mut gathered.collections, used.role.collections.clone());
            let handlers = self.entries(&node, &found, Some(used), gathered)?;
            gathered.collections = around;
            gathered.in_handlers = before;
            no_roles(&handlers)?;
            gathered.handlers.extend(handlers);
        }
        Ok(())
    }

    pub(super) fn dependency(
        &self,
        value: &Value,
        parent: &Arc<RoleUse>,
        gathered: &mut Gathered,
    ) -> Result<(Entry, Arc<RoleUse>)> {
        let text = yaml::emit(&value.untrusted(), yaml::Style { sort_keys: false, ..Default::default() });
        let node = yaml::parse(&Source::new(format!("{}/meta/main.yml", parent.role.path.display()), text))
            .map_err(Error::parse)?;
        self.role_entry(&node, Some(parent), gathered)
    }

    /// One entry of `roles:` or of a role's dependencies, as a block.
    pub(super) fn role_entry(
        &self,
        node: &Node,
        parent: Option<&Arc<RoleUse>>,
        gathered: &mut Gathered,
    ) -> Result<(Entry, Arc<RoleUse>)> {
        gathered.depth += 1;
        if gathered.depth > MAX_DEPTH {
            return Err(Error::parse(Diagnostic::at(
                &node.origin,
                "role dependencies nest too deep (do roles depend on each other?)",
            )));
        }
        let (mut keywords, rest) =
            if node.as_map().is_some() { keywords(node, &[])? } else { (Keywords::default(), vec![]) };
        let name = match node.as_str() {
            Some(text) if text.contains(',') => {
                return Err(Error::parse(Diagnostic::at(
                    &node.origin,
                    format!("Invalid old style role requirement: {text}"),
                )));
            }
            Some(text) => text.trim().to_owned(),
            None => {
                let name = node.get("role").or_else(|| node.get("name")).map(Node::to_value);
                let name = name.ok_or_else(|| {
                    Error::parse(Diagnostic::at(&node.origin, "role definitions must contain a role name"))
                })?;
                self.template(&name, &gathered.vars)?.to_string()
            }
        };
        let params = Map::new();
        for (key, value) in rest {
            if !ROLE_KEYS.contains(&key.as_str().unwrap_or_default()) {
                params.insert(key.to_value().untrusted(), value.to_value());
            }
        }
        let (name, path) = self.find_role(&name, parent, &gathered.collections).map_err(|e| Error {
            diagnostic: Diagnostic { origin: Some(node.origin.clone()), ..e.diagnostic },
            code: e.code,
        })?;
        let role = Arc::new(self.role(&name, &path, None, None)?);
        let vars = std::mem::take(&mut keywords.vars);
        let used = Arc::new(RoleUse::new(Arc::clone(&role), params.clone(), vars.clone(), parent.cloned()));
        let private = self.settings.flag("ANSIBLE_PRIVATE_ROLE_VARS", "defaults", "private_role_vars", false);
        let public = node.get("public").map_or(!private, |v| v.to_value().is_true());
        // What dependencies export is seen through the role that has them.
        if public && parent.is_none() {
            gathered.public_roles.push(Arc::clone(&used));
        }
        let mut block = self.role_block(&used, None, gathered)?;
        // A role runs once on a host for the same parameters, variables, conditions and tags.
        if !role.allow_duplicates {
            block.once = Some(once_key(&path, &params, &vars, &keywords));
        }
        let before = gathered.handlers.len();
        self.role_handlers(&used, None, gathered)?;
        // Handlers inherit what is said where the role is used.
        let own = gathered.handlers.split_off(before);
        if !own.is_empty() {
            gathered.handlers.push(Entry::Block(Arc::new(Block {
                name: None,
                keywords: keywords.clone(),
                block: own,
                rescue: vec![],
                always: vec![],
                once: None,
                role: None,
            })));
        }
        block.keywords = keywords;
        gathered.depth -= 1;
        Ok((Entry::Block(Arc::new(block)), used))
    }
}

/// What tells a use of a role from others of the same role that are to run, too.
fn once_key(path: &Path, params: &Map, vars: &Map, keywords: &Keywords) -> String {
    format!("{} {params:?} {vars:?} {:?} {:?}", path.display(), keywords.when, keywords.tags)
}

/// `allow_duplicates` of includes and imports: a role that ran does not run again.
pub(super) fn once_if_told(block: &mut Block, used: &RoleUse, args: &Map) {
    let again = args.get("allow_duplicates").and_then(|v| bakery_modules::args::boolean(&v).ok());
    if again == Some(false) {
        let (none, keywords) = (Map::new(), Keywords::default());
        block.once = Some(once_key(&used.role.path, &none, &none, &keywords));
    }
}

/// A role brings its own files only (`ansible/playbook/role/__init__.py`, `_load_role_yaml`).
fn inside(found: &Path, folder: &Path, role: &str) -> Result<()> {
    let plain = |path: &Path| {
        let mut out = PathBuf::new();
        for part in path.components() {
            match part {
                std::path::Component::ParentDir => drop(out.pop()),
                std::path::Component::CurDir => {}
                other => out.push(other),
            }
        }
        out
    };
    if plain(found).starts_with(plain(folder)) {
        return Ok(());
    }
    Err(Error::message(format!(
        "Failed loading '{}' for role ({role}) as it is not inside the expected role path: '{}'",
        found.display(),
        folder.display()
    )))
}

/// Roles cannot be handlers.
pub(super) fn no_roles(handlers: &[Entry]) -> Result<()> {
    for entry in handlers {
        let Entry::Task(task) = entry else { continue };
        if bakery_modules::canonical_name(&task.action) == "include_role" {
            let text = format!("Using '{}' as a handler is not supported.", task.action);
            return Err(Error::parse(Diagnostic::at(&task.origin, text)));
        }
    }
    Ok(())
}

/// Takes the validation of arguments out of a role that is brought with `rolespec_validate: false`.
pub(super) fn without_validation(block: &mut Block, args: &Map) {
    let off =
        args.get("rolespec_validate").is_some_and(|v| !bakery_modules::args::boolean(&v).unwrap_or(true));
    if off {
        block.block.retain(|entry| {
            !matches!(entry, Entry::Task(task) if task.action == "ansible.builtin.validate_argument_spec")
        });
    }
}

/// The task that comes before all others of a role with an argument specification for this entry point
/// (`ansible/playbook/role/__init__.py`, `_create_validation_task`).
fn validation(used: &Arc<RoleUse>, entry_point: &str) -> Option<Task> {
    let spec = used.role.argument_specs.as_ref()?.get(entry_point).filter(|s| !s.is_none())?;
    let mut name = format!("Validating arguments against arg spec '{entry_point}'");
    if let Some(short) = spec.get("short_description") {
        name.push_str(&format!(" - {short}"));
    }
    let args = Map::new();
    args.set("argument_spec", spec.get("options").unwrap_or_else(|| Map::new().into()));
    args.set("provided_arguments", used.params.clone());
    let context = Value::map([
        ("type", Value::from("role")),
        ("name", used.role.name.rsplit('.').next().unwrap_or_default().into()),
        ("argument_spec_name", entry_point.into()),
        ("path", used.role.path.display().to_string().into()),
    ]);
    args.set("validate_args_context", context);
    let file = used.role.path.join("meta/argument_specs.yml");
    let source = Source::new(file.display().to_string(), "");
    Some(Task {
        name: Some(name.into()),
        action: "ansible.builtin.validate_argument_spec".into(),
        args,
        keywords: Keywords { tags: vec!["always".into()], ..Keywords::default() },
        role: Some(Arc::clone(used)),
        file,
        ..Task::new(source.at_offset(0))
    })
}

impl Error {
    fn with_hint(mut self, hint: &str) -> Self {
        self.diagnostic = self.diagnostic.hint(hint);
        self
    }
}
