//! The way through a playbook: plays, batches of hosts, facts, roles, tasks, handlers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bakery_events::exit;
use bakery_jinja::Environment;
use bakery_lang::{Map, Source, Value};
use indexmap::IndexMap;

use super::context::Context;
use crate::callback::{Callback, HostStats};
use crate::connection::Connections;
use crate::inventory::Inventory;
use crate::playbook::{Entry, Loader, Play, Playbook, Role, Task};
use crate::vars::{HostVars, Layers, layers};
use crate::{Result, Templar};

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Variables of the command line.
    pub extra_vars: Map,
    /// Only tasks with these tags.
    pub tags: Vec<String>,
    /// No task with these tags.
    pub skip_tags: Vec<String>,
    /// Whether nothing may be changed.
    pub check: bool,
    /// Whether diffs are shown.
    pub diff: bool,
    /// Only these hosts.
    pub limit: Option<String>,
    /// The connection of hosts that do not say.
    pub connection: Option<String>,
    /// Whether `become` is on for everything.
    pub r#become: bool,
    /// The user to become.
    pub become_user: Option<String>,
    /// Whether handlers run on hosts that failed.
    pub force_handlers: bool,
    /// The task to start at.
    pub start_at_task: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Default)]
pub struct RunOutcome {
    /// The exit code.
    pub code: i32,
    /// Counts by host.
    pub stats: Vec<(String, HostStats)>,
}

/// What is known of a host while a run goes on.
#[derive(Debug, Clone, Default)]
pub(super) struct HostState {
    pub(super) vars: HostVars,
    pub(super) failed: bool,
    pub(super) unreachable: bool,
    /// Whether the host left this play by `meta: end_host` or `end_play`.
    pub(super) ended: bool,
    pub(super) stats: HostStats,
    pub(super) notified: HashSet<usize>,
    pub(super) gathered: bool,
}

/// A run under way.
pub(super) struct Runner<'a> {
    pub(super) environment: Environment,
    pub(super) loader: &'a Loader,
    pub(super) inventory: Inventory,
    pub(super) options: &'a Options,
    pub(super) connections: &'a mut Connections,
    pub(super) callback: &'a mut dyn Callback,
    pub(super) hosts: IndexMap<String, HostState>,
    pub(super) play: Option<&'a Play>,
    pub(super) play_hosts: Vec<String>,
    pub(super) vars_files: Map,
    pub(super) public_roles: Vec<std::sync::Arc<Role>>,
    pub(super) handlers: Vec<(std::sync::Arc<Task>, Context)>,
    pub(super) ids: u64,
    pub(super) warned: HashSet<String>,
    pub(super) started: bool,
}

/// Runs a playbook.
///
/// # Errors
/// What stops a run before any host is touched; a host's failure is in the outcome.
pub fn run(
    playbook: &Playbook,
    inventory: Inventory,
    loader: &Loader,
    options: &Options,
    connections: &mut Connections,
    callback: &mut dyn Callback,
) -> Result<RunOutcome> {
    callback.playbook_start(&playbook.path.display().to_string());
    let mut runner = Runner {
        environment: Environment::new(),
        loader,
        inventory,
        options,
        connections,
        callback,
        hosts: IndexMap::new(),
        play: None,
        play_hosts: vec![],
        vars_files: Map::new(),
        public_roles: vec![],
        handlers: vec![],
        ids: 0,
        warned: HashSet::new(),
        started: options.start_at_task.is_none(),
    };
    for play in &playbook.plays {
        runner.play(play)?;
        if !runner.hosts.is_empty() && runner.hosts.values().all(|h| h.failed || h.unreachable) {
            break;
        }
        if bakery_host::signal::caught().is_some() {
            break;
        }
    }
    let mut stats: Vec<(String, HostStats)> = runner
        .hosts
        .iter()
        .filter(|(_, h)| h.stats != HostStats::default())
        .map(|(n, h)| (n.clone(), h.stats))
        .collect();
    stats.sort_by(|a, b| a.0.cmp(&b.0));
    runner.callback.stats(&stats);
    let mut code = 0;
    if runner.hosts.values().any(|h| h.failed) {
        code |= exit::HOST_FAILED;
    }
    if runner.hosts.values().any(|h| h.unreachable) {
        code |= exit::HOST_UNREACHABLE;
    }
    if bakery_host::signal::caught().is_some() {
        code = exit::INTERRUPTED;
    }
    Ok(RunOutcome { code, stats })
}

impl<'a> Runner<'a> {
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn play(&mut self, play: &'a Play) -> Result<()> {
        let id = self.next_id();
        self.callback.play_start(id, &play.name, &play.origin);
        let names = self.loader.template(&play.hosts, &play.keywords.vars)?;
        let pattern = match &names {
            Value::List(items) => items.items().iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        let mut hosts = self.inventory.matching(&pattern);
        if let Some(limit) = &self.options.limit {
            let allowed = self.inventory.matching(limit);
            hosts.retain(|h| allowed.contains(h));
        }
        hosts.retain(|h| self.hosts.get(h).is_none_or(|s| !s.failed && !s.unreachable));
        match play.order.as_ref().map(std::string::ToString::to_string).as_deref() {
            Some("sorted") => hosts.sort(),
            Some("reverse_sorted") => {
                hosts.sort();
                hosts.reverse();
            }
            Some("reverse_inventory") => hosts.reverse(),
            _ => {}
        }
        if hosts.is_empty() {
            self.callback.no_hosts();
            return Ok(());
        }
        for host in &hosts {
            if !self.hosts.contains_key(host) {
                let vars = self.inventory.host_vars(host, self.loader)?;
                self.hosts.insert(host.clone(), HostState { vars, ..HostState::default() });
            }
            if let Some(state) = self.hosts.get_mut(host) {
                state.ended = false;
                state.notified.clear();
            }
        }
        self.play = Some(play);
        self.public_roles.clone_from(&play.public_roles);
        self.vars_files = Map::new();
        let context =
            Context { r#become: self.options.r#become.then_some(Value::Bool(true)), ..Context::default() }
                .enter(&play.keywords);
        // The play's own `vars` are a layer of their own, below those of roles.
        let context = Context { vars: vec![], ..context };
        self.collect_handlers(&play.handlers, &Context { handler: true, ..context.clone() });
        let sizes = batches(play.serial.as_ref(), hosts.len());
        let mut rest = hosts.as_slice();
        for size in sizes {
            let (batch, others) = rest.split_at(size.min(rest.len()));
            rest = others;
            if batch.is_empty() {
                break;
            }
            self.play_hosts = batch.to_vec();
            self.vars_files(play, batch)?;
            self.gather(play, batch, &context)?;
            self.entries(&play.pre_tasks, batch, &context)?;
            self.flush_handlers(batch)?;
            self.entries(&play.roles, batch, &context)?;
            self.entries(&play.tasks, batch, &context)?;
            self.flush_handlers(batch)?;
            self.entries(&play.post_tasks, batch, &context)?;
            self.flush_handlers(batch)?;
            let failed = batch
                .iter()
                .filter(|h| self.hosts.get(*h).is_some_and(|s| s.failed || s.unreachable))
                .count();
            if failed == batch.len() {
                break;
            }
        }
        Ok(())
    }

    /// Adds handlers with the context they were defined in.
    pub(super) fn collect_handlers(&mut self, entries: &[Entry], context: &Context) {
        for entry in entries {
            match entry {
                Entry::Task(task) => {
                    let role = task.role.clone();
                    let context = Context {
                        role: role.or_else(|| context.role.clone()),
                        handler: true,
                        ..context.clone()
                    };
                    self.handlers.push((std::sync::Arc::clone(task), context));
                }
                Entry::Block(block) => {
                    let inner = context.enter(&block.keywords);
                    self.collect_handlers(&block.block, &inner);
                }
            }
        }
    }

    fn vars_files(&mut self, play: &Play, batch: &[String]) -> Result<()> {
        let Some(first) = batch.first().cloned() else { return Ok(()) };
        for entry in &play.vars_files {
            let choices = entry.as_items().unwrap_or_else(|| vec![entry.clone()]);
            let several = matches!(entry, Value::List(_));
            let mut found = None;
            for choice in &choices {
                let templar = self.templar(&first, &Context::default(), Map::new(), None);
                let name = match templar.text(choice) {
                    Ok(name) => name,
                    Err(_) if several => continue,
                    Err(diagnostic) => return Err(crate::Error::other(diagnostic)),
                };
                let path = self.loader.playbook_dir.join(&name);
                let candidates = [path, self.loader.playbook_dir.join("vars").join(&name)];
                if let Some(path) = candidates.into_iter().find(|p| p.is_file()) {
                    found = Some(path);
                    break;
                }
                if !several {
                    return Err(crate::Error::message(format!("vars file {name} was not found")));
                }
            }
            if let Some(path) = found {
                let map = self.loader.vars_file(&path)?;
                self.vars_files.extend(&map);
            }
        }
        Ok(())
    }

    fn gather(&mut self, play: &Play, batch: &[String], context: &Context) -> Result<()> {
        let wanted =
            play.gather_facts.as_ref().is_none_or(|v| v.is_true() && v.to_string().to_lowercase() != "false");
        let explicit =
            std::env::var("ANSIBLE_GATHERING").is_ok_and(|g| g == "explicit") && play.gather_facts.is_none();
        let smart = std::env::var("ANSIBLE_GATHERING").is_ok_and(|g| g == "smart");
        let known = smart && batch.iter().all(|h| self.hosts.get(h).is_some_and(|s| s.gathered));
        if !wanted
            || explicit
            || known
            || !super::context::selected(&["always".into()], &self.options.tags, &self.options.skip_tags)
        {
            return Ok(());
        }
        let source = Source::new("<gather_facts>", "");
        let args = Map::new();
        if let Some(subset) = &play.gather_subset {
            args.set("gather_subset", subset.clone());
        }
        let task = Task {
            name: Some("Gathering Facts".into()),
            action: "setup".into(),
            args,
            keywords: crate::playbook::Keywords { tags: vec!["always".into()], ..Default::default() },
            ..Task::new(source.at_offset(0))
        };
        let started = std::mem::replace(&mut self.started, true);
        let result = self.entries(
            &[Entry::Task(std::sync::Arc::new(task))],
            batch,
            &Context { when: vec![], ..context.clone() },
        );
        self.started = started;
        result
    }

    /// The folders that a task's files and templates are searched in.
    fn search(&self, context: &Context, task: Option<&Task>) -> Vec<PathBuf> {
        let mut search: Vec<PathBuf> = Vec::new();
        for used in context.role.as_ref().map(crate::playbook::RoleUse::chain).unwrap_or_default() {
            search.push(used.role.path.clone());
            search.push(used.role.path.join("tasks"));
        }
        if let Some(folder) = task.and_then(|t| t.file.parent()).filter(|p| *p != Path::new("")) {
            search.push(folder.to_path_buf());
        }
        search.push(self.loader.playbook_dir.clone());
        search
    }

    pub(super) fn templar(
        &self,
        host: &str,
        context: &Context,
        local: Map,
        task: Option<&Task>,
    ) -> Templar<'_> {
        let empty = HostVars::default();
        let vars = self.hosts.get(host).map_or(&empty, |s| &s.vars);
        let no_vars = Map::new();
        let play_vars = self.play.map_or(&no_vars, |p| &p.keywords.vars);
        let magic = self.magic(host, context, task);
        let around = context.around(local);
        let stack: Layers = layers(
            &magic,
            &self.options.extra_vars,
            &around,
            vars,
            (play_vars, &self.vars_files, &self.public_roles),
        );
        let mut templar = Templar::new(&self.environment, stack, self.search(context, task));
        templar.hostvars = Some(self.hostvars());
        templar
    }

    fn hostvars(&self) -> Value {
        let names = self.inventory.hosts.iter().map(|(n, _)| n).chain(self.hosts.keys());
        let all = Map::new();
        for name in names {
            if all.contains(name) {
                continue;
            }
            let map = Map::new();
            if let Some(state) = self.hosts.get(name) {
                for layer in [
                    &state.vars.groups,
                    &state.vars.host,
                    &state.vars.facts,
                    &state.vars.included,
                    &state.vars.set,
                ] {
                    map.extend(layer);
                }
            } else if let Some((_, own)) = self.inventory.hosts.iter().find(|(n, _)| n == name) {
                map.extend(own);
            }
            map.set("inventory_hostname", name.as_str());
            map.set("group_names", Value::strings(self.inventory.groups_of(name)));
            all.set(name, map);
        }
        all.into()
    }

    fn magic(&self, host: &str, context: &Context, task: Option<&Task>) -> Map {
        let map = Map::new();
        map.set("inventory_hostname", host);
        map.set("inventory_hostname_short", host.split('.').next().unwrap_or(host));
        map.set("group_names", Value::strings(self.inventory.groups_of(host)));
        let groups = Map::new();
        groups.set("all", Value::strings(self.inventory.hosts_of("all")));
        for group in &self.inventory.groups {
            groups.set(&group.name, Value::strings(self.inventory.hosts_of(&group.name)));
        }
        if !groups.contains("ungrouped") {
            groups.set("ungrouped", vec![]);
        }
        map.set("groups", groups);
        let alive: Vec<&String> = self
            .play_hosts
            .iter()
            .filter(|h| self.hosts.get(*h).is_none_or(|s| !s.failed && !s.unreachable))
            .collect();
        map.set("ansible_play_hosts", Value::strings(&alive));
        map.set("play_hosts", Value::strings(&alive));
        map.set("ansible_play_batch", Value::strings(&alive));
        map.set("ansible_play_hosts_all", Value::strings(&self.play_hosts));
        map.set("ansible_play_name", self.play.map_or("", |p| p.name.as_str()));
        map.set("playbook_dir", self.loader.playbook_dir.display().to_string());
        if let Some(folder) = self.inventory.folders.first() {
            map.set("inventory_dir", folder.display().to_string());
        }
        map.set("ansible_check_mode", self.options.check);
        map.set("ansible_diff_mode", self.options.diff);
        map.set(
            "ansible_run_tags",
            if self.options.tags.is_empty() {
                Value::strings(["all"])
            } else {
                Value::strings(&self.options.tags)
            },
        );
        map.set("ansible_skip_tags", Value::strings(&self.options.skip_tags));
        map.set("ansible_forks", 5);
        map.set("ansible_verbosity", 0);
        map.set("ansible_version", version());
        map.set("ansible_config_file", Value::None);
        if let Some(state) = self.hosts.get(host) {
            let facts = Map::new();
            for (key, value) in state.vars.facts.pairs() {
                let key = key.to_string();
                facts.set(key.strip_prefix("ansible_").unwrap_or(&key), value);
            }
            map.set("ansible_facts", facts);
        }
        if let Some(used) = &context.role {
            map.set("role_name", used.role.name.as_str());
            map.set("ansible_role_name", used.role.name.as_str());
            map.set("role_path", used.role.path.display().to_string());
            map.set(
                "ansible_parent_role_names",
                Value::strings(used.chain().iter().skip(1).map(|u| u.role.name.clone())),
            );
        }
        map.set("role_names", Value::strings(self.public_roles.iter().map(|r| r.name.clone())));
        map.set(
            "ansible_search_path",
            Value::strings(self.search(context, task).iter().map(|p| p.display().to_string())),
        );
        map
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

/// The sizes of `serial`'s batches; the last one repeats.
fn batches(serial: Option<&Value>, total: usize) -> Vec<usize> {
    let Some(serial) = serial else { return vec![total] };
    let sizes: Vec<usize> = serial
        .as_items()
        .unwrap_or_else(|| vec![serial.clone()])
        .iter()
        .map(|size| {
            let text = size.to_string();
            match text.strip_suffix('%') {
                Some(percent) => (percent.parse::<f64>().unwrap_or(100.0) / 100.0 * total as f64) as usize,
                None => text.parse().unwrap_or(total),
            }
            .max(1)
        })
        .collect();
    let mut out = Vec::new();
    let mut left = total;
    let mut at = 0;
    while left > 0 {
        let size = sizes.get(at).or(sizes.last()).copied().unwrap_or(left).min(left);
        out.push(size);
        left -= size;
        at += 1;
    }
    out
}
