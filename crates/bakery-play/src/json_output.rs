//! One JSON document at the end (`ansible.posix` `plugins/callback/json.py`): keys sorted, four spaces.

use std::io::Write;

use bakery_ansible::callback::{PlayInfo, TaskInfo};
use bakery_ansible::{Callback, HostStats, Status};
use bakery_lang::{Diagnostic, Map, Value, json};

use crate::shown::{is_secret, visible};

/// Collects a run and writes it when it ends.
pub struct JsonOutput<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    plays: Vec<Value>,
}

impl std::fmt::Debug for JsonOutput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JsonOutput")
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn duration() -> Value {
    Value::map([("start", Value::from(now()))])
}

impl<'a> JsonOutput<'a> {
    /// Writes the document to `out`, warnings and errors to `err`.
    pub fn new(out: &'a mut (dyn Write + Send), err: &'a mut (dyn Write + Send)) -> Self {
        Self { out, err, plays: vec![] }
    }

    /// What is known of a task of this play.
    fn entry(&self, task: &TaskInfo) -> Option<Map> {
        let id = Value::from(format!("{:08x}", task.id));
        let tasks = self.plays.last()?.get("tasks")?.as_items()?;
        let found =
            tasks.iter().rev().find(|t| t.get("task").and_then(|t| t.get("id")).as_ref() == Some(&id));
        found?.as_map().cloned()
    }

    fn add(&mut self, task: &TaskInfo) {
        let entry = Map::new();
        let info = Map::new();
        info.set("id", format!("{:08x}", task.id));
        info.set("name", task.name.as_str());
        info.set("path", format!("{}:{}", task.origin.source.name, task.origin.line));
        info.set("duration", duration());
        entry.set("task", info);
        entry.set("hosts", Map::new());
        if let Some(Value::List(tasks)) = self.plays.last().and_then(|p| p.get("tasks")) {
            tasks.update(|tasks| tasks.push(entry.into()));
        }
    }
}

impl Callback for JsonOutput<'_> {
    fn play_start(&mut self, play: &PlayInfo) {
        let shown = Map::new();
        shown.set("id", format!("{:08x}", play.id));
        shown.set("name", play.name.as_str());
        shown.set("path", format!("{}:{}", play.origin.source.name, play.origin.line));
        shown.set("duration", duration());
        self.plays.push(Value::map([("play", Value::Map(shown)), ("tasks", Value::list(vec![]))]));
    }

    fn task_start(&mut self, task: &TaskInfo) {
        if self.entry(task).is_none() {
            self.add(task);
        }
    }

    fn result(
        &mut self,
        task: &TaskInfo,
        host: &str,
        status: Status,
        result: &Map,
        _: bool,
        _: Option<&str>,
    ) {
        let Some(entry) = self.entry(task) else { return };
        let shown = visible(task, result);
        shown.remove("exception");
        shown.set("_ansible_no_log", is_secret(task, result));
        shown.set("action", task.action.as_str());
        match status {
            Status::Failed => shown.set("failed", true),
            Status::Skipped => shown.set("skipped", true),
            Status::Unreachable => shown.set("unreachable", true),
            _ => {}
        }
        if let Some(hosts) = entry.get("hosts").and_then(|h| h.as_map().cloned()) {
            hosts.set(host, shown);
        }
        let end = now();
        for owner in [entry.get("task"), self.plays.last().and_then(|p| p.get("play"))] {
            if let Some(duration) = owner.and_then(|o| o.get("duration")).and_then(|d| d.as_map().cloned()) {
                duration.set("end", end.as_str());
            }
        }
    }

    fn warning(&mut self, text: &str) {
        let _ = writeln!(self.err, "[WARNING]: {text}");
    }

    fn error(&mut self, _: Option<&str>, diagnostic: &Diagnostic) {
        let _ = writeln!(self.err, "[ERROR]: {diagnostic}");
    }

    fn stats(&mut self, hosts: &[(String, HostStats)], custom: &Map) {
        let stats: Map = hosts
            .iter()
            .map(|(host, s)| {
                let one = Value::map([
                    ("ok", Value::from(s.ok)),
                    ("changed", s.changed.into()),
                    ("failures", s.failed.into()),
                    ("unreachable", s.unreachable.into()),
                    ("skipped", s.skipped.into()),
                    ("rescued", s.rescued.into()),
                    ("ignored", s.ignored.into()),
                ]);
                (host, one)
            })
            .collect();
        let document = Value::map([
            ("custom_stats", Value::Map(Map::new())),
            (
                "global_custom_stats",
                Value::Map(custom.get("_run").and_then(|v| v.as_map().cloned()).unwrap_or_default()),
            ),
            ("plays", Value::list(std::mem::take(&mut self.plays))),
            ("stats", stats.into()),
        ]);
        let _ = writeln!(self.out, "{}", json::dumps(&document, 4, true));
    }
}
