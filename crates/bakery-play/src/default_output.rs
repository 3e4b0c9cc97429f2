//! The output that people know (`ansible/plugins/callback/default.py`).

use std::collections::HashMap;
use std::io::Write;

use bakery_ansible::callback::{DEBUG, PlayInfo, TaskInfo};
use bakery_ansible::{Callback, HostStats, Settings, Status};
use bakery_host::terminal::{Typed, Until};
use bakery_lang::{Diagnostic, Map, json};

use crate::Colour;
use crate::shown::{Format, is_secret, visible};

/// The width that banners are filled up to.
const WIDTH: usize = 79;

/// Banners and lines.
pub struct DefaultOutput<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    colour: Colour,
    verbosity: u8,
    check: bool,
    wants: Wants,
    format: Format,
    /// Why a task failed, by the host that it will be told of.
    reasons: HashMap<String, String>,
    /// The task whose banner was the last one.
    last_task: u64,
}

/// What settings say is to be shown.
#[derive(Debug)]
struct Wants {
    skipped: bool,
    ok: bool,
    failed_on_stderr: bool,
    custom_stats: bool,
    check_markers: bool,
    path_on_failure: bool,
    debug: bool,
}

impl std::fmt::Debug for DefaultOutput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DefaultOutput")
    }
}

/// A title, after an empty line and filled up with stars.
pub(crate) fn banner(title: &str) -> String {
    let width = WIDTH.saturating_sub(title.chars().count()).max(3);
    format!("\n{title} {}", "*".repeat(width))
}

impl<'a> DefaultOutput<'a> {
    /// Writes results to `out` and errors to `err`.
    pub fn new(
        out: &'a mut (dyn Write + Send),
        err: &'a mut (dyn Write + Send),
        colour: Colour,
        verbosity: u8,
        check: bool,
    ) -> Self {
        let settings = Settings::load();
        let flag = |key: &str, default: bool| {
            settings.flag(&format!("ANSIBLE_{}", key.to_uppercase()), "defaults", key, default)
        };
        let wants = Wants {
            skipped: flag("display_skipped_hosts", true),
            ok: flag("display_ok_hosts", true),
            failed_on_stderr: flag("display_failed_stderr", false),
            custom_stats: flag("show_custom_stats", false),
            check_markers: flag("check_mode_markers", false),
            path_on_failure: flag("show_task_path_on_failure", false),
            debug: flag("debug", false),
        };
        let format = Format::new(&settings, verbosity);
        Self { out, err, colour, verbosity, check, wants, format, reasons: HashMap::new(), last_task: 0 }
    }

    /// Writes results as YAML, as the callback `yaml` did.
    #[must_use]
    pub(crate) fn in_yaml(mut self) -> Self {
        self.format = self.format.in_yaml();
        self
    }

    fn line(&mut self, text: &str) {
        // A reader that went away is noticed by the signal, not here.
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    /// A line about a failure.
    fn failure(&mut self, text: &str) {
        let text = self.colour.red(text);
        if self.wants.failed_on_stderr {
            // Nothing else can be done when stderr is gone.
            let _ = writeln!(self.err, "{text}");
        } else {
            self.line(&text);
        }
    }

    fn banner(&mut self, text: &str) {
        self.line(&banner(text));
    }

    /// Names the task.
    fn task_banner(&mut self, task: &TaskInfo) {
        self.last_task = task.id;
        let word = if task.handler { "RUNNING HANDLER" } else { "TASK" };
        let marker = if task.check && self.wants.check_markers { " [CHECK MODE]" } else { "" };
        self.banner(&format!("{word} [{}]{marker}", task.name.trim()));
        if self.verbosity > 1 {
            self.task_path(task);
        }
    }

    fn task_path(&mut self, task: &TaskInfo) {
        if !task.origin.source.name.starts_with('<') {
            let text = format!("task path: {}:{}", task.origin.source.name, task.origin.line);
            let text = self.colour.cyan(&text);
            self.line(&text);
        }
    }

    /// Why a task failed, where that was not said already: with what its result says, and where it is written.
    fn explain_failure(&mut self, task: &TaskInfo, result: &Map) {
        let short = task.action.rsplit('.').next().unwrap_or_default();
        let what = if bakery_modules::find(short).is_some() { "Module" } else { "Action" };
        let why = result.get("msg").map(|m| m.to_string()).filter(|m| !m.is_empty());
        let why = why.unwrap_or_else(|| "unknown error".into());
        let text = if why.starts_with("Task failed: ") {
            why
        } else {
            format!(
                "Task failed: {what} failed: {}",
                why.strip_prefix(&format!("{what} failed: ")).unwrap_or(&why)
            )
        };
        self.failure(&format!("[ERROR]: {}", Diagnostic::at(&task.origin, text)));
    }

    /// The differences that a result of a change tells of.
    fn diffs(&mut self, task: &TaskInfo, result: &Map) {
        if task.diff && result.get("changed").is_some_and(|c| c.is_true()) {
            let diffs = self.format.diffs(result, self.colour);
            if !diffs.is_empty() {
                self.line(diffs.strip_suffix('\n').unwrap_or(&diffs));
            }
        }
    }

    /// One line for a result of a task, or of an item of its loop.
    fn report(&mut self, task: &TaskInfo, host: &str, item: Option<&str>, status: Status, result: &Map) {
        let wanted = match status {
            Status::Ok => self.wants.ok,
            Status::Skipped => self.wants.skipped,
            _ => true,
        };
        let reason = self.reasons.remove(host.split(" -> ").next().unwrap_or(host));
        if !wanted {
            return;
        }
        if self.last_task != task.id {
            self.task_banner(task);
        }
        let secret = is_secret(task, result);
        match reason {
            Some(reason) => self.failure(&reason),
            // Of a file or role that could not be included, the result says why.
            None if status == Status::Failed && !secret && !result.contains("reason") => {
                self.explain_failure(task, result);
            }
            None => {}
        }
        let action = task.action.rsplit('.').next().unwrap_or(&task.action);
        let shown = visible(task, result);
        if status == Status::Skipped && task.looped {
            // Of a loop, the items were shown one by one.
            shown.remove("results");
        }
        if item.is_none() {
            self.diffs(task, &shown);
        }
        let always = shown.get("_ansible_verbose_always").is_some_and(|v| v.is_true());
        let loud = (self.verbosity > 0 || always)
            && !shown.get("_ansible_verbose_override").is_some_and(|v| v.is_true());
        let text = |loud: bool| {
            if loud { format!(" => {}", self.format.text(&shown, action)) } else { String::new() }
        };
        let item = item.map(|i| if secret { "(censored due to no_log)" } else { i });
        let of_item = item.map(|i| format!(" => (item={i})")).unwrap_or_default();
        let line = match (status, item) {
            (Status::Failed, None) => format!("fatal: [{host}]: FAILED!{}", text(true)),
            (Status::Failed, Some(item)) => format!("failed: [{host}] (item={item}){}", text(true)),
            (Status::Unreachable, _) => format!("fatal: [{host}]: UNREACHABLE!{}", text(true)),
            (Status::Skipped, None) => format!("skipping: [{host}]{}", text(loud)),
            (Status::Skipped, Some(_)) => format!("skipping: [{host}]{of_item} {}", text(loud)),
            (Status::Changed, _) => format!("changed: [{host}]{of_item}{}", text(loud)),
            (Status::Ok, _) => format!("ok: [{host}]{of_item}{}", text(loud && action != "include_vars")),
        };
        if matches!(status, Status::Failed | Status::Unreachable) {
            if self.wants.path_on_failure && self.verbosity < 2 && item.is_none() {
                self.task_path(task);
            }
            self.failure(&line);
        } else {
            let painted = self.colour.status(status, &line);
            self.line(&painted);
        }
    }
}

impl Callback for DefaultOutput<'_> {
    fn playbook_start(&mut self, path: &str) {
        if self.verbosity > 1 {
            let name = path.rsplit('/').next().unwrap_or(path);
            self.banner(&format!("PLAYBOOK: {name}"));
        }
        if self.check && self.wants.check_markers {
            self.banner("DRY RUN");
        }
    }

    fn play_start(&mut self, play: &PlayInfo) {
        let marker = if play.check && self.wants.check_markers { " [CHECK MODE]" } else { "" };
        let name = play.name.trim();
        self.banner(&if name.is_empty() {
            format!("PLAY{marker}")
        } else {
            format!("PLAY [{name}]{marker}")
        });
    }

    fn no_hosts(&mut self) {
        let text = self.colour.cyan("skipping: no hosts matched");
        self.line(&text);
    }

    fn task_start(&mut self, task: &TaskInfo) {
        // Hosts that do not wait for each other begin the same task many times, and what is hidden may be all that
        // there is: then the task is named when something is said of it.
        if task.lockstep && self.wants.ok && self.wants.skipped {
            self.task_banner(task);
        }
    }

    fn item(&mut self, task: &TaskInfo, host: &str, label: &str, status: Status, result: &Map) {
        self.report(task, host, Some(label), status, result);
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
        let host = delegated.map_or_else(|| host.to_owned(), |other| format!("{host} -> {other}"));
        let looped = task.looped
            && result.contains("results")
            && !matches!(status, Status::Skipped | Status::Unreachable);
        let is_debug = task.action.rsplit('.').next() == Some("debug");
        if looped {
            // The items were shown one by one.
            for item in visible(task, result).get("results").and_then(|r| r.as_items()).unwrap_or_default() {
                self.diffs(task, item.as_map().unwrap_or(&Map::new()));
            }
        }
        if !looped {
            self.report(task, &host, None, status, result);
        } else if is_debug && status == Status::Failed && !task.no_log {
            // Of `debug` nothing but the message is left, so that the whole is shown after its items.
            let message = Map::from_iter([("msg", result.get("msg").unwrap_or_default())]);
            let text = self.format.text(&message, "debug");
            if self.wants.path_on_failure && self.verbosity < 2 {
                self.task_path(task);
            }
            self.failure(&format!("fatal: [{host}]: FAILED! => {text}"));
        }
        if ignored {
            let text = self.colour.cyan("...ignoring");
            self.line(&text);
        }
    }

    fn retry(&mut self, task: &TaskInfo, host: &str, left: u64, result: &Map) {
        let mut text = format!("FAILED - RETRYING: [{host}]: {} ({left} retries left).", task.name);
        if self.verbosity > 2 {
            text += &format!("Result was: {}", self.format.text(&visible(task, result), &task.action));
        }
        let text = self.colour.yellow(&text);
        self.line(&text);
    }

    fn async_polled(&mut self, host: &str, status: &Map) {
        let of = |name: &str| status.get(name).unwrap_or_default().to_string();
        let (job, started, finished) = (of("ansible_job_id"), of("started"), of("finished"));
        let text = format!("ASYNC POLL on {host}: jid={job} started={started} finished={finished}");
        self.line(&self.colour.cyan(&text));
    }

    fn async_ended(&mut self, host: &str, job: &str, failed: bool) {
        let word = if failed { "FAILED" } else { "OK" };
        let text = self.colour.cyan(&format!("ASYNC {word} on {host}: jid={job}"));
        self.line(&text);
    }

    fn included(&mut self, task: &TaskInfo, file: &str, hosts: &[String], label: Option<&str>) {
        if self.last_task != task.id {
            self.task_banner(task);
        }
        let item = label.map(|l| format!(" => (item={l})")).unwrap_or_default();
        let text = self.colour.cyan(&format!("included: {file} for {}{item}", hosts.join(", ")));
        self.line(&text);
    }

    fn verbose(&mut self, level: u8, text: &str) {
        if self.verbosity >= level || level == DEBUG && self.wants.debug {
            let text = self.colour.blue(text);
            self.line(&text);
        }
    }

    fn ask(&mut self, prompt: &str, echo: bool) -> Option<String> {
        let _ = self.out.flush();
        bakery_host::terminal::ask_person(prompt, echo)
    }

    fn command(&mut self, prompt: &str) -> Option<String> {
        let _ = self.out.flush();
        bakery_host::terminal::command(prompt)
    }

    fn wait_for(&mut self, prompt: &str, echo: bool, until: Until<'_>) -> Option<Typed> {
        let _ = self.out.flush();
        bakery_host::terminal::wait_for(prompt, echo, until)
    }

    fn warning(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", self.colour.purple(&format!("[WARNING]: {text}")));
    }

    fn error(&mut self, host: Option<&str>, diagnostic: &Diagnostic) {
        let text = format!("[ERROR]: {diagnostic}");
        match host {
            // With several hosts at work, other lines may come between.
            Some(host) => {
                self.reasons.insert(host.to_owned(), text);
            }
            None => {
                // Nothing else can be done when stderr is gone.
                let _ = writeln!(self.err, "{}", self.colour.red(&text));
            }
        }
    }

    fn stats(&mut self, hosts: &[(String, HostStats)], custom: &Map) {
        self.banner("PLAY RECAP");
        for (host, s) in hosts {
            let name = format!("{host:<26}");
            let name = if s.failed > 0 || s.unreachable > 0 {
                self.colour.red(&name)
            } else if s.changed > 0 {
                self.colour.yellow(&name)
            } else {
                self.colour.green(&name)
            };
            self.line(&format!(
                "{name} : ok={:<4} changed={:<4} unreachable={:<4} failed={:<4} skipped={:<4} rescued={:<4} ignored={:<4}",
                s.ok, s.changed, s.unreachable, s.failed, s.skipped, s.rescued, s.ignored
            ));
        }
        self.line("");
        if self.wants.custom_stats && !custom.is_empty() {
            self.banner("CUSTOM STATS: ");
            for (host, stats) in custom.pairs() {
                let name = if host.as_str() == Some("_run") { "RUN".to_owned() } else { host.to_string() };
                self.line(&format!("\t{name}: {}", json::dumps(&stats, 0, true)));
            }
            self.line("");
        }
        if self.check && self.wants.check_markers {
            self.banner("DRY RUN");
        }
    }
}
