//! The output that people know (`ansible/plugins/callback/default.py`).

use std::collections::HashMap;
use std::io::Write;

use bakery_ansible::callback::TaskInfo;
use bakery_ansible::{Callback, HostStats, Settings, Status};
use bakery_lang::{Diagnostic, Map, Origin, Value, json};
use similar::TextDiff;

/// Whether and how text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub bool);

impl Colour {
    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    /// For failures.
    pub fn red(self, text: &str) -> String {
        self.paint("0;31", text)
    }
    fn green(self, text: &str) -> String {
        self.paint("0;32", text)
    }
    fn yellow(self, text: &str) -> String {
        self.paint("0;33", text)
    }
    /// For what only the curious see.
    pub fn blue(self, text: &str) -> String {
        self.paint("0;34", text)
    }
    fn cyan(self, text: &str) -> String {
        self.paint("0;36", text)
    }
    /// For warnings.
    pub fn purple(self, text: &str) -> String {
        self.paint("1;35", text)
    }
    pub(crate) fn status(self, status: Status, text: &str) -> String {
        match status {
            Status::Ok => self.green(text),
            Status::Changed => self.yellow(text),
            Status::Skipped => self.cyan(text),
            Status::Failed | Status::Unreachable => self.red(text),
        }
    }
}

/// Banners and lines.
pub struct DefaultOutput<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    colour: Colour,
    verbosity: u8,
    diff: bool,
    settings: Settings,
    /// Why a task failed, by the host that it will be told of.
    reasons: HashMap<String, String>,
    /// The task whose banner was the last one.
    last_task: u64,
}

impl std::fmt::Debug for DefaultOutput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DefaultOutput")
    }
}

impl<'a> DefaultOutput<'a> {
    /// Writes results to `out` and errors to `err`.
    pub fn new(
        out: &'a mut (dyn Write + Send),
        err: &'a mut (dyn Write + Send),
        colour: Colour,
        verbosity: u8,
        diff: bool,
    ) -> Self {
        Self {
            out,
            err,
            colour,
            verbosity,
            diff,
            settings: Settings::load(),
            reasons: HashMap::new(),
            last_task: 0,
        }
    }

    fn line(&mut self, text: &str) {
        // A reader that went away is noticed by the signal, not here.
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    fn banner(&mut self, text: &str) {
        let width = 79usize.saturating_sub(text.chars().count()).max(3);
        self.line("");
        self.line(&format!("{text} {}", "*".repeat(width)));
    }

    /// Names the task, unless the last lines were of it.
    fn task_banner(&mut self, task: &TaskInfo) {
        self.last_task = task.id;
        let word = if task.handler { "RUNNING HANDLER" } else { "TASK" };
        self.banner(&format!("{word} [{}]", task.name));
        if self.verbosity > 1 && !task.origin.source.name.starts_with('<') {
            let path =
                self.colour.cyan(&format!("task path: {}:{}", task.origin.source.name, task.origin.line));
            self.line(&path);
        }
    }

    /// The result as it is shown: sorted, without what only programs read.
    fn shown(&self, result: &Map, action: &str) -> String {
        let shown = result.copied();
        let indent = if shown.remove("_ansible_verbose_always").is_some() { 4 } else { 0 };
        if self.verbosity < 3 {
            shown.remove("invocation");
        }
        shown.remove("diff");
        shown.remove("failed");
        if action == "debug" {
            // The message alone, or the one variable.
            let only_message = shown.contains("msg");
            let hidden = [
                "changed",
                "ansible_loop_var",
                "item",
                "attempts",
                "false_condition",
                "skip_reason",
                "skipped",
            ];
            shown.update(|map| {
                map.retain(|key, _| {
                    let key = key.as_str().unwrap_or_default();
                    if only_message { matches!(key, "msg" | "warnings") } else { !hidden.contains(&key) }
                });
            });
            return json::dumps(&shown.into(), 4, true);
        }
        if !shown.contains("changed") {
            shown.set("changed", false);
        }
        json::dumps(&shown.into(), indent, true)
    }

    fn diffs(&mut self, result: &Map) {
        let items = match result.get("results").and_then(|r| r.as_items()) {
            Some(_) => vec![],
            None => result.get("diff").map(|d| d.as_items().unwrap_or_else(|| vec![d])).unwrap_or_default(),
        };
        for diff in items {
            let text = |name: &str| diff.get(name).map(|v| v.to_string()).unwrap_or_default();
            let (before, after) = (text("before"), text("after"));
            let unified = TextDiff::from_lines(&before, &after)
                .unified_diff()
                .context_radius(3)
                .header(
                    &format!("before: {}", text("before_header")),
                    &format!("after: {}", text("after_header")),
                )
                .to_string();
            for line in unified.lines() {
                let painted = match line.chars().next() {
                    Some('+') => self.colour.green(line),
                    Some('-') => self.colour.red(line),
                    Some('@') => self.colour.cyan(line),
                    _ => line.to_owned(),
                };
                self.line(&painted);
            }
            self.line("");
        }
    }

    fn reason(&mut self, text: &str) {
        let to_stderr =
            self.settings.flag("ANSIBLE_DISPLAY_FAILED_STDERR", "defaults", "display_failed_stderr", false);
        if to_stderr {
            // Nothing else can be done when stderr is gone.
            let _ = writeln!(self.err, "{text}");
        } else {
            self.line(text);
        }
    }

    /// Why a task failed, and where it is written.
    fn explain_failure(&mut self, task: &TaskInfo, result: &Map) {
        let short = task.action.rsplit('.').next().unwrap_or_default();
        let what = if bakery_modules::find(short).is_some() { "Module" } else { "Action" };
        let why = result.get("msg").map(|m| m.to_string()).filter(|m| !m.is_empty());
        let text = format!("Task failed: {what} failed: {}", why.unwrap_or_else(|| "unknown error".into()));
        self.error(None, &Diagnostic::at(&task.origin, text));
    }

    fn report(
        &mut self,
        task: &TaskInfo,
        host: &str,
        label: Option<&str>,
        status: Status,
        result: &Map,
        ignored: bool,
    ) {
        if self.last_task != task.id {
            self.task_banner(task);
        }
        let hidden = Map::new();
        let result = if task.no_log {
            hidden.set("censored", "the output has been hidden due to the fact that 'no_log: true' was specified for this result");
            hidden.set("changed", result.get("changed").unwrap_or(Value::Bool(false)));
            &hidden
        } else {
            result
        };
        match self.reasons.remove(host.split(" -> ").next().unwrap_or(host)) {
            Some(reason) => self.reason(&reason),
            None if status == Status::Failed && !task.no_log => self.explain_failure(task, result),
            None => {}
        }
        if self.diff && !task.no_log {
            self.diffs(result);
        }
        let short = task.action.rsplit('.').next().unwrap_or(&task.action).to_owned();
        let always = result.get("_ansible_verbose_always").is_some();
        let loud = self.verbosity > 0 || always;
        let shown = self.shown(result, &short);
        let item = label.map(|l| if task.no_log { "None" } else { l });
        let line = match (status, item) {
            (Status::Failed, None) => format!("fatal: [{host}]: FAILED! => {shown}"),
            (Status::Failed, Some(item)) => format!("failed: [{host}] (item={item}) => {shown}"),
            (Status::Unreachable, _) => format!("fatal: [{host}]: UNREACHABLE! => {shown}"),
            (Status::Skipped, None) if self.verbosity > 0 => format!("skipping: [{host}] => {shown}"),
            (Status::Skipped, None) => format!("skipping: [{host}]"),
            (Status::Skipped, Some(item)) if self.verbosity > 0 => {
                format!("skipping: [{host}] => (item={item})  => {shown}")
            }
            (Status::Skipped, Some(item)) => format!("skipping: [{host}] => (item={item}) "),
            (_, item) => {
                let word = if status == Status::Changed { "changed" } else { "ok" };
                let item = item.map(|i| format!(" => (item={i})")).unwrap_or_default();
                if loud && short != "include_vars" {
                    format!("{word}: [{host}]{item} => {shown}")
                } else {
                    format!("{word}: [{host}]{item}")
                }
            }
        };
        let painted = self.colour.status(status, &line);
        self.line(&painted);
        if ignored {
            let text = self.colour.cyan("...ignoring");
            self.line(&text);
        }
    }
}

impl Callback for DefaultOutput<'_> {
    fn play_start(&mut self, _: u64, name: &str, _: &Origin) {
        self.banner(&format!("PLAY [{name}]"));
    }

    fn no_hosts(&mut self) {
        let text = self.colour.cyan("skipping: no hosts matched");
        self.line(&text);
    }

    fn task_start(&mut self, task: &TaskInfo) {
        // Hosts that do not wait for each other begin the same task many times: it is named when something is said of it.
        if task.lockstep {
            self.task_banner(task);
        }
    }

    fn item(&mut self, task: &TaskInfo, host: &str, label: &str, status: Status, result: &Map) {
        self.report(task, host, Some(label), status, result, false);
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
        if result.get("results").is_some() && status != Status::Skipped && status != Status::Unreachable {
            // The items were shown one by one.
            if ignored {
                let text = self.colour.cyan("...ignoring");
                self.line(&text);
            }
            return;
        }
        if task.name.is_empty() && status == Status::Failed {
            let line = self.colour.red(&format!(
                "fatal: [{host}]: FAILED! => {}",
                json::dumps(&Value::Map(result.clone()), 0, true)
            ));
            self.line(&line);
            return;
        }
        self.report(task, &host, None, status, result, ignored);
    }

    fn retry(&mut self, task: &TaskInfo, host: &str, left: u64, _: &Map) {
        let text =
            self.colour.yellow(&format!("FAILED - RETRYING: [{host}]: {} ({left} retries left).", task.name));
        self.line(&text);
    }

    fn included(&mut self, file: &str, hosts: &[String], label: Option<&str>) {
        let item = label.map(|l| format!(" => (item={l})")).unwrap_or_default();
        let text = self.colour.cyan(&format!("included: {file} for {}{item}", hosts.join(", ")));
        self.line(&text);
    }

    fn verbose(&mut self, level: u8, text: &str) {
        if self.verbosity >= level {
            let text = self.colour.blue(text);
            self.line(&text);
        }
    }

    fn warning(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", self.colour.purple(&format!("[WARNING]: {text}")));
    }

    fn error(&mut self, host: Option<&str>, diagnostic: &Diagnostic) {
        let text = self.colour.red(&format!("[ERROR]: {diagnostic}"));
        match host {
            // With several hosts at work, other lines may come between.
            Some(host) => drop(self.reasons.insert(host.to_owned(), text)),
            None => self.reason(&text),
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
        let show = self.settings.flag("ANSIBLE_SHOW_CUSTOM_STATS", "defaults", "show_custom_stats", false);
        if show && !custom.is_empty() {
            self.banner("CUSTOM STATS: ");
            for (host, stats) in custom.pairs() {
                let name = if host.as_str() == Some("_run") { "RUN".to_owned() } else { host.to_string() };
                self.line(&format!("\t{name}: {}", json::dumps(&stats, 0, true)));
            }
            self.line("");
        }
    }
}
