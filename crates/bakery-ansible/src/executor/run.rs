//! A run: what the command line asks for, how far the run and its hosts have come, and its plays one after the other.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bakery_events::exit;
use bakery_jinja::Environment;
use bakery_lang::{Diagnostic, Map};
use indexmap::IndexMap;

use super::context::Context;
use super::reach::ReachOptions;
use super::scene::Scene;
use super::strategy::Slots;
use crate::callback::{Callback, HostStats};
use crate::connection::Connections;
use crate::inventory::Inventory;
use crate::playbook::{Loader, Playbook, Task};
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
    /// What is said of connections.
    pub reach: ReachOptions,
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
    /// Whether facts are only in `ansible_facts`, but for `ansible_local`.
    pub hide_facts: bool,
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
#[derive(Debug, Default)]
pub(super) struct HostState {
    pub(super) vars: HostVars,
    progress: Mutex<HostProgress>,
}

/// How far a host has come.
#[derive(Debug, Clone, Default)]
pub(super) struct HostProgress {
    pub(super) failed: bool,
    pub(super) unreachable: bool,
    /// Whether the host left this play by `meta: end_host` or `end_play`.
    pub(super) ended: bool,
    pub(super) stats: HostStats,
    /// Names and topics that were notified; what they mean is asked when handlers are run, so that those loaded last win.
    pub(super) notifications: Vec<String>,
    /// Handlers that are to run, by their position.
    pub(super) notified: HashSet<usize>,
    pub(super) gathered: bool,
    /// Whether the host left the role it is in by `meta: end_role`.
    pub(super) role_ended: bool,
}

impl HostProgress {
    /// Whether nothing more can be done on the host.
    pub(super) fn is_down(&self) -> bool {
        self.failed || self.unreachable
    }
}

impl HostState {
    pub(super) fn new(vars: HostVars) -> Self {
        Self { vars, progress: Mutex::default() }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, HostProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a run has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Roles that ran on a host, and need not again.
    pub(super) completed: HashSet<(String, String)>,
    ids: u64,
    warned: HashSet<String>,
    /// Whether the play's hosts do each task together.
    pub(super) lockstep: bool,
    /// What `throttle` lets run at the same time, by task.
    throttles: HashMap<usize, (Arc<Task>, Arc<Slots>)>,
    /// Whether the task to start at was reached.
    pub(super) started: bool,
    /// Whether `any_errors_fatal` or `max_fail_percentage` ended the run.
    pub(super) stopped: bool,
    /// What ends the run after the task that it happened in.
    pub(super) broken: Option<Diagnostic>,
    /// Whether `meta: end_play` ended the play for all its batches.
    pub(super) play_ended: bool,
    /// Hosts that `add_host` and `group_by` added, with their group, their variables, and
    /// whether it was the first.
    pub(super) added: Vec<(String, String, Map, bool)>,
    /// How often `meta: clear_host_errors` ran.
    pub(super) errors_cleared: usize,
    /// Whether tasks that fail stop in the debugger.
    pub(super) debugging: bool,
    /// The play's `max_fail_percentage`.
    pub(super) max_fail: Option<f64>,
}

/// A run under way. Several hosts may be at work at the same time: what changes is behind locks, each of which is held
/// for the change alone.
pub(super) struct Runner<'a> {
    scene: RwLock<Arc<Scene>>,
    pub(super) options: Arc<Options>,
    pub(super) connections: &'a Connections,
    callback: Mutex<&'a mut dyn Callback>,
    handlers: RwLock<Vec<(Arc<Task>, Context)>>,
    pub(super) custom_stats: Map,
    progress: Mutex<Progress>,
    /// As many tasks at a time as there are forks.
    pub(super) slots: Slots,
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
    connections: &Connections,
    callback: &mut dyn Callback,
) -> Result<RunOutcome> {
    callback.playbook_start(&playbook.path.display().to_string());
    let options = Arc::new(options.clone());
    let scene = Scene {
        environment: Arc::new(Environment::new()),
        loader: Arc::new(loader.clone()),
        options: Arc::clone(&options),
        inventory: Arc::new(inventory),
        hosts: IndexMap::new(),
        play: None,
        batch: vec![],
        play_hosts: vec![],
        public_roles: vec![],
    };
    let runner = Runner {
        scene: RwLock::new(Arc::new(scene)),
        slots: Slots::new(options.forks.max(1)),
        connections,
        callback: Mutex::new(callback),
        handlers: RwLock::default(),
        custom_stats: Map::new(),
        progress: Mutex::new(Progress { started: options.start_at_task.is_none(), ..Progress::default() }),
        options,
    };
    for play in &playbook.plays {
        runner.play(play)?;
        let scene = runner.scene();
        let all_down = !scene.hosts.is_empty() && scene.hosts.values().all(|h| h.progress().is_down());
        if runner.progress().stopped || all_down || bakery_host::signal::caught().is_some() {
            break;
        }
    }
    let scene = runner.scene();
    let mut stats: Vec<(String, HostStats)> = scene
        .hosts
        .iter()
        .map(|(name, host)| (name.clone(), host.progress().stats))
        .filter(|(_, stats)| *stats != HostStats::default())
        .collect();
    stats.sort_by(|a, b| a.0.cmp(&b.0));
    let mut code = 0;
    if scene.hosts.values().any(|h| h.progress().failed) {
        code |= exit::HOST_FAILED;
    }
    if scene.hosts.values().any(|h| h.progress().unreachable) {
        code |= exit::HOST_UNREACHABLE;
    }
    if bakery_host::signal::caught().is_some() {
        code = exit::INTERRUPTED;
    }
    runner.callback().stats(&stats, &runner.custom_stats);
    Ok(RunOutcome { code, stats })
}

impl<'a> Runner<'a> {
    /// What templates see now.
    pub(super) fn scene(&self) -> Arc<Scene> {
        Arc::clone(&self.scene.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the scene; what was evaluated from it before keeps its own.
    pub(super) fn change_scene<R>(&self, change: impl FnOnce(&mut Scene) -> R) -> R {
        change(Arc::make_mut(&mut *self.scene.write().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Changes the inventory.
    pub(super) fn change_inventory<R>(&self, change: impl FnOnce(&mut Inventory) -> R) -> R {
        self.change_scene(|scene| change(Arc::make_mut(&mut scene.inventory)))
    }

    /// What reads files for the play.
    pub(super) fn loader(&self) -> Arc<Loader> {
        Arc::clone(&self.scene().loader)
    }

    /// Who is told.
    pub(super) fn callback(&self) -> MutexGuard<'_, &'a mut (dyn Callback + 'a)> {
        self.callback.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the run has come.
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host's state.
    pub(super) fn host(&self, host: &str) -> Option<Arc<HostState>> {
        self.scene().hosts.get(host).cloned()
    }

    /// A host's state, which begins now if it has none: a play has come to it, or something was found out about it.
    ///
    /// # Errors
    /// Files of variables that cannot be read.
    pub(super) fn known_host(&self, host: &str) -> Result<Arc<HostState>> {
        if let Some(state) = self.host(host) {
            return Ok(state);
        }
        let vars = self.scene().inventory.host_vars(host, &self.loader())?;
        self.warn_of_reserved(&vars.groups);
        self.warn_of_reserved(&vars.host);
        let state = Arc::new(HostState::new(vars));
        state.progress().gathered = state.vars.facts.contains("_ansible_facts_gathered");
        self.change_scene(|scene| scene.hosts.insert(host.to_owned(), Arc::clone(&state)));
        Ok(state)
    }

    /// Whether a host is known and has come so far.
    pub(super) fn is(&self, host: &str, check: impl FnOnce(&HostProgress) -> bool) -> bool {
        self.host(host).is_some_and(|state| check(&state.progress()))
    }

    /// Changes how far a host has come.
    pub(super) fn mark<R: Default>(&self, host: &str, change: impl FnOnce(&mut HostProgress) -> R) -> R {
        self.host(host).map(|state| change(&mut state.progress())).unwrap_or_default()
    }

    /// What evaluates text for a task on a host.
    pub(super) fn templar(&self, host: &str, context: &Context, local: Map, task: Option<&Task>) -> Templar {
        self.scene().templar(host, context, local, task)
    }

    /// The play's handlers, each with the context that it was defined in, as they were loaded.
    pub(super) fn handlers(&self) -> RwLockReadGuard<'_, Vec<(Arc<Task>, Context)>> {
        self.handlers.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn handlers_mut(&self) -> RwLockWriteGuard<'_, Vec<(Arc<Task>, Context)>> {
        self.handlers.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_id(&self) -> u64 {
        let mut progress = self.progress();
        progress.ids += 1;
        progress.ids
    }

    /// The leave to run a task that has a `throttle` of so many hosts at a time.
    pub(super) fn throttle(&self, task: &Arc<Task>, hosts: usize) -> Arc<Slots> {
        let key = Arc::as_ptr(task) as usize;
        let mut progress = self.progress();
        // The task is held, so that no other one comes to have its address.
        let made = || (Arc::clone(task), Arc::new(Slots::new(hosts)));
        Arc::clone(&progress.throttles.entry(key).or_insert_with(made).1)
    }

    /// Says what may be wrong, each thing once.
    pub(super) fn show_warnings(&self, warnings: Vec<String>) {
        for warning in warnings {
            let is_new = self.progress().warned.insert(warning.clone());
            if is_new {
                self.callback().warning(&warning);
            }
        }
    }
}
