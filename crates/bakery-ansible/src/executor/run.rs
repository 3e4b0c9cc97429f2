//! The way through a playbook: plays, batches of hosts, facts, roles, tasks, handlers.

use std::collections::HashSet;
use std::sync::Arc;

use bakery_events::exit;
use bakery_jinja::Environment;
use bakery_lang::{Map, Source, Value};
use indexmap::IndexMap;

use super::context::Context;
use super::scene::Scene;
use crate::callback::{Callback, HostStats};
use crate::connection::Connections;
use crate::inventory::Inventory;
use crate::playbook::{Entry, Loader, Play, Playbook, Task};
use crate::vars::HostVars;
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
    /// How many hosts at a time.
    pub forks: usize,
    /// How much is said.
    pub verbosity: u8,
    /// Whether conditions must be true or false.
    pub strict_conditions: bool,
    /// Seconds that a task may take; 0 for as long as it likes.
    pub task_timeout: u64,
    /// Whether mappings of the same name are merged.
    pub merge_hashes: bool,
    /// What `ansible_playbook_python` says: this machine's interpreter, if it has one.
    pub python: String,
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
    /// Whether the host left the role it is in by `meta: end_role`.
    pub(super) role_ended: bool,
}

/// A run under way.
pub(super) struct Runner<'a> {
    pub(super) scene: Arc<Scene>,
    pub(super) loader: Arc<Loader>,
    pub(super) options: Arc<Options>,
    pub(super) connections: &'a mut Connections,
    pub(super) callback: &'a mut dyn Callback,
    pub(super) handlers: Vec<(Arc<Task>, Context)>,
    pub(super) custom_stats: Map,
    /// Roles that ran on a host, and need not again.
    pub(super) completed: HashSet<(String, String)>,
    pub(super) ids: u64,
    pub(super) warned: HashSet<String>,
    pub(super) started: bool,
    /// Whether `any_errors_fatal` or `max_fail_percentage` ended the run.
    pub(super) stopped: bool,
    /// Whether `meta: end_play` ended the play for all its batches.
    pub(super) play_ended: bool,
    /// Hosts that `add_host` and `group_by` added, with their group, their variables, and
    /// whether it was the first.
    pub(super) added: Vec<(String, String, Map, bool)>,
    /// How often `meta: clear_host_errors` ran.
    pub(super) errors_cleared: usize,
    /// The play's `max_fail_percentage`.
    pub(super) max_fail: Option<f64>,
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
    let (loader, options) = (Arc::new(loader.clone()), Arc::new(options.clone()));
    let scene = Scene {
        environment: Arc::new(Environment::new()),
        loader: Arc::clone(&loader),
        options: Arc::clone(&options),
        inventory,
        hosts: IndexMap::new(),
        play: None,
        batch: vec![],
        play_hosts: vec![],
        public_roles: vec![],
    };
    let mut runner = Runner {
        scene: Arc::new(scene),
        started: options.start_at_task.is_none(),
        loader,
        options,
        connections,
        callback,
        handlers: vec![],
        custom_stats: Map::new(),
        completed: HashSet::new(),
        ids: 0,
        warned: HashSet::new(),
        stopped: false,
        play_ended: false,
        added: vec![],
        errors_cleared: 0,
        max_fail: None,
    };
    for play in &playbook.plays {
        runner.play(play)?;
        let hosts = &runner.scene.hosts;
        if runner.stopped || !hosts.is_empty() && hosts.values().all(|h| h.failed || h.unreachable) {
            break;
        }
        if bakery_host::signal::caught().is_some() {
            break;
        }
    }
    let hosts = &runner.scene.hosts;
    let mut stats: Vec<(String, HostStats)> = hosts
        .iter()
        .filter(|(_, h)| h.stats != HostStats::default())
        .map(|(n, h)| (n.clone(), h.stats))
        .collect();
    stats.sort_by(|a, b| a.0.cmp(&b.0));
    let mut code = 0;
    if hosts.values().any(|h| h.failed) {
        code |= exit::HOST_FAILED;
    }
    if hosts.values().any(|h| h.unreachable) {
        code |= exit::HOST_UNREACHABLE;
    }
    if bakery_host::signal::caught().is_some() {
        code = exit::INTERRUPTED;
    }
    runner.callback.stats(&stats, &runner.custom_stats);
    Ok(RunOutcome { code, stats })
}

impl Runner<'_> {
    /// The scene, to be changed.
    pub(super) fn scene_mut(&mut self) -> &mut Scene {
        Arc::make_mut(&mut self.scene)
    }

    /// A host's state, to be changed.
    pub(super) fn host_mut(&mut self, host: &str) -> Option<&mut HostState> {
        self.scene_mut().hosts.get_mut(host)
    }

    /// A host's state.
    pub(super) fn host(&self, host: &str) -> Option<&HostState> {
        self.scene.hosts.get(host)
    }

    /// What evaluates text for a task on a host.
    pub(super) fn templar(&self, host: &str, context: &Context, local: Map, task: Option<&Task>) -> Templar {
        self.scene.templar(host, context, local, task)
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn play(&mut self, play: &Play) -> Result<()> {
        let id = self.next_id();
        if play.playbook_dir != self.loader.playbook_dir {
            let mut loader = (*self.loader).clone();
            loader.playbook_dir.clone_from(&play.playbook_dir);
            loader.libraries.clone_from(&play.libraries);
            self.loader = Arc::new(loader);
            self.scene_mut().loader = Arc::clone(&self.loader);
        }
        let names = self.loader.template(&play.hosts, &play.keywords.vars)?;
        let pattern = match &names {
            Value::List(items) => items.items().iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        let (mut hosts, unmatched) = self.scene.inventory.matching(&pattern)?;
        for part in unmatched {
            self.pattern_mismatch(&part)?;
        }
        if let Some(limit) = &self.options.limit {
            self.scene.inventory.limit(&mut hosts, limit)?;
        }
        let matched = hosts.len();
        hosts.retain(|h| self.host(h).is_none_or(|s| !s.failed && !s.unreachable));
        let order = play.order.as_ref().map(|o| self.loader.template(o, &play.keywords.vars)).transpose()?;
        match order.map(|o| o.to_string()).as_deref() {
            Some("sorted") => hosts.sort(),
            Some("reverse_sorted") => {
                hosts.sort();
                hosts.reverse();
            }
            Some("reverse_inventory") => hosts.reverse(),
            Some("shuffle") => shuffle(&mut hosts),
            None | Some("inventory") => {}
            Some(other) => {
                return Err(crate::Error::message(format!(
                    "Invalid 'order' specified for inventory hosts: {other}"
                )));
            }
        }
        self.callback.play_start(id, &play.name, &play.origin);
        if hosts.is_empty() {
            if matched == 0 {
                self.callback.no_hosts();
            }
            return Ok(());
        }
        for host in &hosts {
            if self.host(host).is_none() {
                let vars = self.scene.inventory.host_vars(host, &self.loader)?;
                self.scene_mut().hosts.insert(host.clone(), HostState { vars, ..HostState::default() });
            }
            if let Some(state) = self.host_mut(host) {
                state.ended = false;
                state.notified.clear();
            }
        }
        let scene = self.scene_mut();
        scene.play = Some(Arc::new(play.clone()));
        scene.play_hosts.clone_from(&hosts);
        scene.public_roles.clone_from(&play.public_roles);
        self.handlers.clear();
        self.completed.clear();
        let context = Context {
            r#become: self.options.r#become.then_some(Value::Bool(true)).into_iter().collect(),
            ..Context::default()
        }
        .enter(&play.keywords);
        // The play's own `vars` are a layer of their own, below those of roles.
        let context = Context { vars: vec![], ..context };
        self.collect_handlers(&play.handlers, &Context { handler: true, ..context.clone() });
        let serial = play.serial.as_ref().map(|s| self.loader.value(s, &play.keywords.vars)).transpose()?;
        let sizes = batches(serial.as_ref(), hosts.len());
        let most = play
            .max_fail_percentage
            .as_ref()
            .map(|v| self.loader.value(v, &play.keywords.vars))
            .transpose()?;
        self.max_fail = most.and_then(|v| v.as_float().or_else(|| v.to_string().parse().ok()));
        self.play_ended = false;
        let mut rest = hosts.as_slice();
        for size in sizes {
            let (batch, others) = rest.split_at(size.min(rest.len()));
            rest = others;
            if batch.is_empty() {
                break;
            }
            self.scene_mut().batch = batch.to_vec();
            self.vars_files(play, batch, false)?;
            self.gather(play, batch, &context)?;
            self.vars_files(play, batch, true)?;
            for part in [&play.pre_tasks, &play.roles, &play.tasks, &play.post_tasks] {
                self.entries(part, batch, &context)?;
                if !std::ptr::eq(part, &raw const play.roles) {
                    self.flush_handlers(batch)?;
                }
            }
            let failed =
                batch.iter().filter(|h| self.host(h).is_some_and(|s| s.failed || s.unreachable)).count();
            if failed == batch.len() || self.stopped || self.play_ended {
                break;
            }
        }
        Ok(())
    }

    /// A part of a play's `hosts` that names nothing (`HOST_PATTERN_MISMATCH`).
    fn pattern_mismatch(&mut self, part: &str) -> Result<()> {
        let text = format!("Could not match supplied host pattern, ignoring: {part}");
        let setting =
            self.loader.settings.text("ANSIBLE_HOST_PATTERN_MISMATCH", "inventory", "host_pattern_mismatch");
        match setting.as_deref() {
            Some("error") => {
                let text = format!("Could not match supplied host pattern: {part}");
                return Err(crate::Error::message(text));
            }
            Some("ignore") => {}
            _ => {
                if self.warned.insert(text.clone()) {
                    self.callback.warning(&text);
                }
            }
        }
        Ok(())
    }

    /// Reads the play's `vars_files` for every host. Before facts are known, a name that depends on them is passed over.
    fn vars_files(&mut self, play: &Play, batch: &[String], gathered: bool) -> Result<()> {
        if play.vars_files.is_empty() {
            return Ok(());
        }
        for host in batch {
            if self.host(host).is_none_or(|s| s.failed || s.unreachable) {
                continue;
            }
            let all = Map::new();
            for entry in &play.vars_files {
                let choices = entry.as_items().unwrap_or_else(|| vec![entry.clone()]);
                let several = matches!(entry, Value::List(_));
                let mut found = None;
                for choice in &choices {
                    let templar = self.templar(host, &Context::default(), Map::new(), None).with(&all);
                    let name = match templar.text(choice) {
                        Ok(name) => name,
                        Err(_) if several || !gathered => continue,
                        Err(diagnostic) => return Err(crate::Error::other(diagnostic)),
                    };
                    let folder = &self.loader.playbook_dir;
                    let candidates = [folder.join("vars").join(&name), folder.join(&name)];
                    if let Some(path) = candidates.into_iter().find(|p| p.is_file()) {
                        found = Some(path);
                        break;
                    }
                    if !several {
                        return Err(crate::Error::message(format!("vars file {name} was not found")));
                    }
                }
                if let Some(path) = found {
                    all.extend(&self.loader.vars_file(&path)?);
                } else if several && gathered {
                    let names = choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    return Err(crate::Error::message(format!("vars file [{names}] was not found")));
                }
            }
            if let Some(state) = self.host_mut(host) {
                state.vars.files = all;
            }
        }
        Ok(())
    }

    fn gather(&mut self, play: &Play, batch: &[String], context: &Context) -> Result<()> {
        let wanted =
            play.gather_facts.as_ref().is_none_or(|v| v.is_true() && v.to_string().to_lowercase() != "false");
        let gathering =
            self.loader.settings.text("ANSIBLE_GATHERING", "defaults", "gathering").unwrap_or_default();
        let explicit = gathering == "explicit" && play.gather_facts.is_none();
        let known = gathering == "smart" && batch.iter().all(|h| self.host(h).is_some_and(|s| s.gathered));
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

/// An order without a pattern: by the clock.
fn shuffle(hosts: &mut [String]) {
    let nanos = |at: usize| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(at, |d| (d.subsec_nanos() as usize).wrapping_mul(2_654_435_761).wrapping_add(at))
    };
    for at in (1..hosts.len()).rev() {
        hosts.swap(at, nanos(at) % (at + 1));
    }
}
