//! Callbacks beside the one that prints results: those that `callbacks_enabled` names.

mod junit;
mod timing;

use std::io::Write;

use bakery_ansible::callback::TaskInfo;
use bakery_ansible::{Callback, HostStats, Settings, Status};
use bakery_lang::{Diagnostic, Map, Origin};

use self::junit::JUnit;
use self::timing::{ProfileRoles, ProfileTasks, Timer};

/// The companions that settings name, and the names that are no native ones.
pub(crate) fn enabled<'a>(
    settings: &Settings,
    out: &dyn Fn() -> Box<dyn Write + Send + 'a>,
    verbosity: u8,
) -> (Vec<Box<dyn Callback + 'a>>, Vec<String>) {
    let (mut companions, mut unknown): (Vec<Box<dyn Callback + 'a>>, _) = (vec![], vec![]);
    // The older name is still in many files.
    let mut names = settings.list("ANSIBLE_CALLBACKS_ENABLED", "defaults", "callbacks_enabled");
    names.extend(settings.list("ANSIBLE_CALLBACK_WHITELIST", "defaults", "callback_whitelist"));
    for name in names {
        match name.rsplit('.').next().unwrap_or(&name) {
            "timer" => companions.push(Box::new(Timer::new(out()))),
            "profile_tasks" => companions.push(Box::new(ProfileTasks::new(settings, out(), verbosity))),
            "profile_roles" => companions.push(Box::new(ProfileRoles::new(settings, out()))),
            "junit" => companions.push(Box::new(JUnit::new(settings, out()))),
            _ => unknown.push(name),
        }
    }
    (companions, unknown)
}

/// One callback that is several: the first prints results and is asked, the others hear the same after it.
pub(crate) struct Chorus<'a> {
    pub(crate) first: &'a mut dyn Callback,
    pub(crate) others: Vec<Box<dyn Callback + 'a>>,
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
    fn play_start(&mut self, id: u64, name: &str, origin: &Origin) {
        self.all(|c| c.play_start(id, name, origin));
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
