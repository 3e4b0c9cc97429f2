//! How the hosts of a play go side by side: the strategies, and how many tasks run at the same time
//! (`ansible/plugins/strategy/{linear,free,host_pinned}.py`).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use bakery_lang::Diagnostic;

use super::run::Runner;
use crate::playbook::{Loader, Play};
use crate::{Error, Result};

/// Templates nest as deep on a host's thread as on the first one.
const STACK: usize = 8 << 20;

/// In which order hosts come to their tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Every host ends a task before any begins the next.
    Linear,
    /// As `Linear`, and whoever runs the play looks into tasks that fail.
    Debug,
    /// Every host goes on as soon as it can.
    Free,
    /// As many hosts as there are forks are under way, each to the end of the play.
    HostPinned,
}

impl Strategy {
    /// The strategy that a play names, else the one of the settings.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(super) fn of(play: &Play, loader: &Loader) -> Result<Self> {
        let own = play.strategy.as_ref().map(|s| loader.template(s, &play.keywords.vars)).transpose()?;
        let name = own
            .map(|s| s.to_string())
            .or_else(|| loader.settings.text("ANSIBLE_STRATEGY", "defaults", "strategy"))
            .unwrap_or_else(|| "linear".into());
        match name.strip_prefix("ansible.builtin.").unwrap_or(&name) {
            "linear" => Ok(Self::Linear),
            "debug" => Ok(Self::Debug),
            "free" => Ok(Self::Free),
            "host_pinned" => Ok(Self::HostPinned),
            other => Err(Error::parse(
                Diagnostic::at(&play.origin, format!("Invalid play strategy specified: {other}"))
                    .maybe_hint(bakery_lang::suggest(other, ["linear", "free", "host_pinned", "debug"])),
            )),
        }
    }

    /// Whether hosts wait for each other.
    pub(super) fn is_lockstep(self) -> bool {
        matches!(self, Self::Linear | Self::Debug)
    }
}

/// So many tasks at a time.
#[derive(Debug)]
pub(super) struct Slots {
    free: Mutex<usize>,
    returned: Condvar,
}

/// Leave to run a task; given back when it is dropped.
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), returned: Condvar::new() }
    }

    /// Waits for leave.
    pub(super) fn take(&self) -> Slot<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}

/// Runs something for every item, at most `width` at a time, and returns what came of each in the order of the items.
pub(super) fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    width: usize,
    run: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    if items.len() < 2 || width < 2 {
        return items.iter().map(run).collect();
    }
    let rest = Mutex::new((0..items.len()).collect::<VecDeque<_>>());
    let results = Mutex::new(items.iter().map(|_| None).collect::<Vec<Option<R>>>());
    let work = || {
        loop {
            let next = rest.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(at) = next else { return };
            let result = run(&items[at]);
            results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..width.min(items.len()) {
            // Without another thread those that there are do its work.
            let _ = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        }
        work();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

impl Runner<'_> {
    /// Runs the parts of a play with the hosts of a batch: together, or each on its own.
    pub(super) fn by_strategy(
        &self,
        strategy: Strategy,
        batch: &[String],
        parts: impl Fn(&[String]) -> Result<()> + Sync,
    ) -> Result<()> {
        let settings = &self.loader().settings;
        let debugging =
            settings.flag("ANSIBLE_ENABLE_TASK_DEBUGGER", "defaults", "enable_task_debugger", false);
        {
            let mut progress = self.progress();
            progress.lockstep = strategy.is_lockstep();
            progress.debugging = debugging || strategy == Strategy::Debug;
        }
        let width = match strategy {
            Strategy::Linear | Strategy::Debug => return parts(batch),
            Strategy::Free => batch.len(),
            Strategy::HostPinned => self.options.forks,
        };
        side_by_side(batch, width, |host| parts(std::slice::from_ref(host))).into_iter().collect()
    }
}
