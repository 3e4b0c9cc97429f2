//! What an executor tells while it runs.

use bakery_host::terminal::{Typed, Until};
use bakery_lang::{Diagnostic, Map, Origin};

/// The level of [`Callback::verbose`] that only `ANSIBLE_DEBUG` shows.
pub const DEBUG: u8 = u8::MAX;

/// How a task ended on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing had to be done.
    Ok,
    /// Something was changed.
    Changed,
    /// A condition was false.
    Skipped,
    /// It failed.
    Failed,
    /// The host could not be reached.
    Unreachable,
}

/// A play as it is shown.
#[derive(Debug, Clone)]
pub struct PlayInfo {
    /// A number, unique in the run.
    pub id: u64,
    /// Its name, or its hosts.
    pub name: String,
    /// Where it is written.
    pub origin: Origin,
    /// Whether it changes nothing.
    pub check: bool,
}

/// A task as it is shown.
#[derive(Debug, Clone)]
pub struct TaskInfo {
    /// A number, unique in the run. Where hosts do not wait for each other, each of them begins the task of this number.
    pub id: u64,
    /// Whether the play's hosts do each task together.
    pub lockstep: bool,
    /// `role : name`.
    pub name: String,
    /// The action or module.
    pub action: String,
    /// Its arguments as they are written.
    pub args: Map,
    /// The role that it is in.
    pub role: Option<String>,
    /// Where it is written.
    pub origin: Origin,
    /// Whether it is a handler.
    pub handler: bool,
    /// Whether results are hidden.
    pub no_log: bool,
    /// Whether nothing is changed.
    pub check: bool,
    /// Whether differences are shown.
    pub diff: bool,
    /// Whether it has a loop: the result's `results` are its items' then, else they are what the module calls so.
    pub looped: bool,
    /// The file that it is in.
    pub path: std::path::PathBuf,
}

/// Counts of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the recap")]
pub struct HostStats {
    pub ok: u64,
    pub changed: u64,
    pub unreachable: u64,
    pub failed: u64,
    pub skipped: u64,
    pub rescued: u64,
    pub ignored: u64,
}

/// Receives what happens, in order, from whichever thread it happens in.
#[expect(unused_variables, reason = "every event may be ignored")]
pub trait Callback: Send {
    /// A playbook begins.
    fn playbook_start(&mut self, path: &str) {}
    /// A play begins.
    fn play_start(&mut self, play: &PlayInfo) {}
    /// A play matched no host.
    fn no_hosts(&mut self) {}
    /// A task begins.
    fn task_start(&mut self, task: &TaskInfo) {}
    /// One item of a loop ended on a host.
    fn item(&mut self, task: &TaskInfo, host: &str, label: &str, status: Status, result: &Map) {}
    /// A task ended on a host.
    fn result(
        &mut self,
        task: &TaskInfo,
        host: &str,
        status: Status,
        result: &Map,
        ignored: bool,
        delegated: Option<&str>,
    ) {
    }
    /// A task is tried again.
    fn retry(&mut self, task: &TaskInfo, host: &str, left: u64, result: &Map) {}
    /// A job in the background, which is waited for, goes on: what its status says.
    fn async_polled(&mut self, host: &str, status: &Map) {}
    /// A job in the background, which was waited for, ended.
    fn async_ended(&mut self, host: &str, job: &str, failed: bool) {}
    /// A file was included.
    fn included(&mut self, task: &TaskInfo, file: &str, hosts: &[String], label: Option<&str>) {}
    /// What is only shown to those who want to know that much (the number of `-v`).
    fn verbose(&mut self, level: u8, text: &str) {}
    /// Asks whoever is there, showing what is typed or not; `None` when nobody can answer.
    fn ask(&mut self, prompt: &str, echo: bool) -> Option<String> {
        None
    }
    /// A line that tells the debugger what to do; `None` when there is no more.
    fn command(&mut self, prompt: &str) -> Option<String> {
        bakery_host::terminal::command(prompt)
    }
    /// Waits for whoever is there, showing what is typed or not; `None` when nobody can answer.
    fn wait_for(&mut self, prompt: &str, echo: bool, until: Until<'_>) -> Option<Typed> {
        None
    }
    /// Something that may be wrong.
    fn warning(&mut self, text: &str) {}
    /// Why a task failed on a host, or something else did, with its place; what happens to the host is told next.
    fn error(&mut self, host: Option<&str>, diagnostic: &Diagnostic) {}
    /// The end, with what `set_stats` collected.
    fn stats(&mut self, hosts: &[(String, HostStats)], custom: &Map) {}
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Callback for Quiet {}

/// One callback that is several. Every event of [`Callback`] has its line here.
#[allow(missing_debug_implementations, reason = "callbacks need none")]
pub struct Chorus<'a> {
    /// Prints results, and is asked.
    pub first: &'a mut dyn Callback,
    /// Hear the same after it.
    pub others: Vec<Box<dyn Callback + 'a>>,
}

impl Chorus<'_> {
    fn all(&mut self, mut tell: impl FnMut(&mut dyn Callback)) {
        tell(self.first);
        self.others.iter_mut().for_each(|other| tell(&mut **other));
    }
}

impl Callback for Chorus<'_> {
    fn playbook_start(&mut self, path: &str) {
        self.all(|c| c.playbook_start(path));
    }
    fn play_start(&mut self, play: &PlayInfo) {
        self.all(|c| c.play_start(play));
    }
    fn no_hosts(&mut self) {
        self.all(|c| c.no_hosts());
    }
    fn task_start(&mut self, task: &TaskInfo) {
        self.all(|c| c.task_start(task));
    }
    fn item(&mut self, task: &TaskInfo, host: &str, label: &str, status: Status, result: &Map) {
        self.all(|c| c.item(task, host, label, status, result));
    }
    fn result(
        &mut self,
        task: &TaskInfo,
        host: &str,
        status: Status,
        result: &Map,
        ignored: bool,
        delegated: Option<&str>,
    ) {
        self.all(|c| c.result(task, host, status, result, ignored, delegated));
    }
    fn retry(&mut self, task: &TaskInfo, host: &str, left: u64, result: &Map) {
        self.all(|c| c.retry(task, host, left, result));
    }
    fn async_polled(&mut self, host: &str, status: &Map) {
        self.all(|c| c.async_polled(host, status));
    }
    fn async_ended(&mut self, host: &str, job: &str, failed: bool) {
        self.all(|c| c.async_ended(host, job, failed));
    }
    fn included(&mut self, task: &TaskInfo, file: &str, hosts: &[String], label: Option<&str>) {
        self.all(|c| c.included(task, file, hosts, label));
    }
    fn verbose(&mut self, level: u8, text: &str) {
        self.all(|c| c.verbose(level, text));
    }
    fn ask(&mut self, prompt: &str, echo: bool) -> Option<String> {
        self.first.ask(prompt, echo)
    }
    fn command(&mut self, prompt: &str) -> Option<String> {
        self.first.command(prompt)
    }
    fn wait_for(&mut self, prompt: &str, echo: bool, until: Until<'_>) -> Option<Typed> {
        self.first.wait_for(prompt, echo, until)
    }
    fn warning(&mut self, text: &str) {
        self.all(|c| c.warning(text));
    }
    fn error(&mut self, host: Option<&str>, diagnostic: &Diagnostic) {
        self.all(|c| c.error(host, diagnostic));
    }
    fn stats(&mut self, hosts: &[(String, HostStats)], custom: &Map) {
        self.all(|c| c.stats(hosts, custom));
    }
}
