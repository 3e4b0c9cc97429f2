//! What templates of a run see: hosts, the play, and the variables that Ansible itself provides.
//!
//! A scene is shared with every evaluation that is under way and copied when a run changes it under one, so that
//! `hostvars` can be lazy: another host's variable is evaluated, in that host's context, when it is asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakery_jinja::Environment;
use bakery_lang::{Lazy, Map, Value};
use indexmap::IndexMap;

use super::context::Context;
use super::run::{HostState, Options};
use crate::Templar;
use crate::inventory::Inventory;
use crate::playbook::{Entry, Loader, Play, RoleUse, Task};
use crate::templar::Names;
use crate::vars::{HostVars, layers};

/// The state of a run that templates see.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) environment: Arc<Environment>,
    pub(super) loader: Arc<Loader>,
    pub(super) options: Arc<Options>,
    /// Shared with every copy of the scene until it is changed.
    pub(super) inventory: Arc<Inventory>,
    pub(super) hosts: IndexMap<String, Arc<HostState>>,
    pub(super) play: Option<Arc<Play>>,
    /// The hosts of the batch.
    pub(super) batch: Vec<String>,
    /// The hosts of the play, all batches.
    pub(super) play_hosts: Vec<String>,
    pub(super) public_roles: Vec<Arc<RoleUse>>,
}

/// The variables that Ansible itself provides for a task.
#[derive(Debug)]
struct Magic {
    scene: Arc<Scene>,
    host: String,
    role: Option<Arc<RoleUse>>,
    search: Vec<PathBuf>,
}

/// Every name that [`Magic`] has, whatever the task.
const MAGIC: &[&str] = &[
    "ansible_check_mode",
    "ansible_config_file",
    "ansible_diff_mode",
    "ansible_facts",
    "ansible_forks",
    "ansible_inventory_sources",
    "ansible_play_batch",
    "ansible_play_hosts",
    "ansible_play_hosts_all",
    "ansible_play_name",
    "ansible_play_role_names",
    "ansible_playbook_python",
    "ansible_role_names",
    "ansible_dependent_role_names",
    "ansible_run_tags",
    "ansible_search_path",
    "ansible_skip_tags",
    "ansible_verbosity",
    "ansible_version",
    "environment",
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "play_hosts",
    "playbook_dir",
    "role_names",
];

impl Scene {
    /// What evaluates text for a task on a host.
    pub(super) fn templar(
        self: &Arc<Self>,
        host: &str,
        context: &Context,
        local: Map,
        task: Option<&Task>,
    ) -> Templar {
        let no_vars = Map::new();
        let play_vars = self.play.as_ref().map_or(&no_vars, |p| &p.keywords.vars);
        let unknown;
        let vars = match self.hosts.get(host) {
            Some(state) => &state.vars,
            None => {
                // A host of another play: what the inventory says of it.
                unknown = self.inventory.host_vars(host, &self.loader).unwrap_or_default();
                &unknown
            }
        };
        let only_local;
        let vars = if self.options.hide_facts {
            let local = vars.facts.get("ansible_local").unwrap_or_else(|| Map::new().into());
            let facts = Map::from_iter([("ansible_local", local)]);
            only_local = HostVars { facts, ..vars.clone() };
            &only_local
        } else {
            vars
        };
        let mut extra = self.options.extra_vars.clone();
        if !context.debugged.is_empty() {
            extra = extra.copied();
            extra.extend(&context.debugged);
        }
        let mut stack = layers(&extra, &context.around(local), vars, (play_vars, &self.public_roles));
        stack.merge = self.options.merge_hashes;
        let search = self.search(context, task);
        let magic = Magic {
            scene: Arc::clone(self),
            host: host.to_owned(),
            role: context.role.clone(),
            search: search.clone(),
        };
        let mut templar = Templar::new(Arc::clone(&self.environment), stack, search);
        templar.magic = Some(Arc::new(magic));
        templar.strict = self.options.strict_conditions;
        templar.loader = Some(Arc::clone(&self.loader));
        templar
    }

    /// The folders that a task's files and templates are searched in.
    pub(super) fn search(&self, context: &Context, task: Option<&Task>) -> Vec<PathBuf> {
        let mut search: Vec<PathBuf> = Vec::new();
        for used in context.role.as_ref().map(RoleUse::chain).unwrap_or_default() {
            search.push(used.role.path.clone());
            search.push(used.role.path.join("tasks"));
        }
        if let Some(folder) = task.and_then(|t| t.file.parent()).filter(|p| *p != Path::new("")) {
            search.push(folder.to_path_buf());
        }
        search.push(self.loader.playbook_dir.clone());
        search
    }

    fn alive(&self) -> Vec<&String> {
        self.batch.iter().filter(|h| self.hosts.get(*h).is_none_or(|s| !s.progress().is_down())).collect()
    }

    fn groups(&self) -> Map {
        let groups = Map::new();
        groups.set("all", Value::strings(self.inventory.hosts_of("all")));
        groups.set("ungrouped", Value::strings(self.inventory.hosts_of("ungrouped")));
        for group in &self.inventory.groups {
            groups.set(&group.name, Value::strings(self.inventory.hosts_of(&group.name)));
        }
        groups
    }
}

impl Names for Magic {
    fn variable(&self, name: &str) -> Option<Value> {
        let scene = &self.scene;
        Some(match name {
            "inventory_hostname" => self.host.as_str().into(),
            "inventory_hostname_short" => self.host.split('.').next().unwrap_or(&self.host).into(),
            "group_names" => Value::strings(scene.inventory.groups_of(&self.host)),
            "groups" => scene.groups().into(),
            "hostvars" => Map::lazy(AllHosts(Arc::clone(scene))).into(),
            "ansible_play_hosts" | "play_hosts" => Value::strings(scene.alive()),
            "ansible_play_batch" => Value::strings(scene.alive()),
            "ansible_play_hosts_all" => Value::strings(&scene.play_hosts),
            "ansible_play_name" => scene.play.as_ref().map_or("", |p| p.name.as_str()).into(),
            "playbook_dir" => scene.loader.playbook_dir.display().to_string().into(),
            "inventory_dir" | "inventory_file" => {
                let source = scene.inventory.source_of(&self.host);
                let source = match (source, name) {
                    (Some(path), "inventory_dir") => path.parent().map(Path::to_path_buf),
                    (source, _) => source,
                };
                source.map(|path| path.display().to_string()).into()
            }
            "ansible_inventory_sources" => Value::strings(&scene.inventory.sources),
            "ansible_check_mode" => scene.options.check.into(),
            "ansible_diff_mode" => scene.options.diff.into(),
            "ansible_run_tags" if scene.options.tags.is_empty() => Value::strings(["all"]),
            "ansible_run_tags" => Value::strings(&scene.options.tags),
            "ansible_skip_tags" => Value::strings(&scene.options.skip_tags),
            "ansible_forks" => (scene.options.forks as u64).into(),
            "ansible_verbosity" => u32::from(scene.options.verbosity).into(),
            "ansible_version" => version().into(),
            "ansible_config_file" => {
                scene.loader.settings.file.as_ref().map(|f| f.display().to_string()).into()
            }
            "ansible_playbook_python" => scene.options.python.as_str().into(),
            "ansible_facts" => {
                let facts = Map::new();
                if let Some(state) = scene.hosts.get(&self.host) {
                    for (key, value) in state.vars.facts.pairs() {
                        let key = key.to_string();
                        facts.set(key.strip_prefix("ansible_").unwrap_or(&key), value);
                    }
                }
                facts.into()
            }
            "role_name" | "ansible_role_name" => self.role.as_ref()?.role.name.as_str().into(),
            "role_path" => self.role.as_ref()?.role.path.display().to_string().into(),
            "role_uuid" => format!("{:p}", Arc::as_ptr(self.role.as_ref()?)).into(),
            "ansible_parent_role_names" => {
                let chain = self.role.as_ref().filter(|used| used.parent.is_some())?.chain();
                Value::strings(chain.iter().skip(1).map(|u| u.role.name.clone()))
            }
            "ansible_parent_role_paths" => {
                let chain = self.role.as_ref().filter(|used| used.parent.is_some())?.chain();
                Value::strings(chain.iter().skip(1).map(|u| u.role.path.display().to_string()))
            }
            "ansible_collection_name" => self.role.as_ref()?.role.collection().map(str::to_owned).into(),
            "ansible_role_names" => {
                let mut names: Vec<String> = Vec::new();
                for known in ["ansible_play_role_names", "ansible_dependent_role_names"] {
                    let more = self.variable(known).and_then(|v| v.as_items()).unwrap_or_default();
                    names.extend(
                        more.iter()
                            .map(ToString::to_string)
                            .filter(|n| !names.contains(n))
                            .collect::<Vec<_>>(),
                    );
                }
                Value::strings(names)
            }
            "role_names" | "ansible_play_role_names" => {
                let play = scene.play.as_ref()?;
                Value::strings(play.roles.iter().filter_map(role_of).map(|used| used.role.name.clone()))
            }
            "ansible_dependent_role_names" => {
                let play = scene.play.as_ref()?;
                let mut names: Vec<String> = Vec::new();
                for used in play.roles.iter().filter_map(role_of) {
                    let below = used.from_dependencies.get().map(|d| d.names.clone()).unwrap_or_default();
                    names.extend(below.into_iter().filter(|n| !names.contains(n)).collect::<Vec<_>>());
                }
                Value::strings(names)
            }
            "ansible_search_path" => Value::strings(self.search.iter().map(|p| p.display().to_string())),
            "environment" => {
                scene.play.as_ref().map(|play| play.keywords.environment.clone()).unwrap_or_default().into()
            }
            _ => return None,
        })
    }

    fn fallback(&self, name: &str) -> Option<Value> {
        Some(match name {
            // What a play's context says where no variable does.
            "ansible_host" | "ansible_ssh_host" => self.host.as_str().into(),
            "ansible_connection" => {
                self.scene.options.connection.clone().unwrap_or_else(|| "ssh".into()).into()
            }
            "ansible_become_user" => {
                self.scene.options.become_user.clone().unwrap_or_else(|| "root".into()).into()
            }
            "ansible_become_method" => "sudo".into(),
            "ansible_shell_executable" => "/bin/sh".into(),
            _ => return None,
        })
    }

    fn hosts(&self, pattern: &str) -> Vec<String> {
        match self.scene.inventory.matching(pattern) {
            Ok((hosts, _)) => hosts,
            Err(_) => vec![],
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = MAGIC.iter().map(|n| (*n).to_owned()).collect();
        if let Some(used) = &self.role {
            names.extend(["role_name", "role_path", "ansible_role_name"].map(str::to_owned));
            if used.parent.is_some() {
                names.push("ansible_parent_role_names".into());
            }
        }
        names
    }
}

/// The role that an entry of a play's `roles` is.
fn role_of(entry: &Entry) -> Option<&Arc<RoleUse>> {
    match entry {
        Entry::Block(block) => block.role.as_ref(),
        Entry::Task(_) => None,
    }
}

/// `hostvars`: every host of the inventory.
struct AllHosts(Arc<Scene>);

impl Lazy for AllHosts {
    fn get(&self, key: &str) -> Option<Value> {
        self.contains(key).then(|| {
            let templar = self.0.templar(key, &Context::default(), Map::new(), None);
            Map::lazy(OneHost(templar)).into()
        })
    }

    fn keys(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.inventory.hosts.iter().map(|(n, _)| n.clone()).collect();
        names.extend(self.0.hosts.keys().filter(|k| !self.0.inventory.has(k)).cloned());
        names
    }

    fn contains(&self, key: &str) -> bool {
        // This machine is there without being in any inventory, though it is not listed then.
        self.0.inventory.has(key)
            || self.0.hosts.contains_key(key)
            || crate::inventory::IMPLICIT.contains(&key)
    }
}

/// One host's variables, each evaluated when it is asked for.
struct OneHost(Templar);

impl Lazy for OneHost {
    fn get(&self, key: &str) -> Option<Value> {
        if key == "hostvars" {
            return None;
        }
        let value = bakery_jinja::Scope::variable(&self.0, key)?;
        Some(self.0.evaluate(&value).unwrap_or_else(|error| Value::undefined(error.message)))
    }

    fn keys(&self) -> Vec<String> {
        let mut names = bakery_jinja::Scope::names(&self.0);
        names.retain(|n| n != "hostvars" && n != "vars");
        names
    }
}

/// What `ansible_version` says: the release whose behaviour is matched.
fn version() -> Map {
    let map = Map::new();
    map.set("full", "2.19.14");
    map.set("string", "2.19.14");
    map.set("major", 2);
    map.set("minor", 19);
    map.set("revision", 14);
    map
}
