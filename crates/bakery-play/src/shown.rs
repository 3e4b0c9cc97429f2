//! A result as people and programs are shown it: without secrets, without what only the engine reads
//! (`ansible/executor/task_result.py`, `ansible/plugins/callback/__init__.py`).

use bakery_ansible::Settings;
use bakery_ansible::callback::TaskInfo;
use bakery_lang::{Map, Value, json, yaml};

use crate::Colour;
use crate::unified::unified;

/// What is said instead of a result that is secret.
const CENSORED: &str =
    "the output has been hidden due to the fact that 'no_log: true' was specified for this result";

/// What is shown of a secret result all the same.
const PRESERVED: &[&str] = &["attempts", "changed", "retries"];

/// What `debug` does not show of a variable.
const HIDDEN_IN_DEBUG: &[&str] = &[
    "ansible_index_var",
    "ansible_loop",
    "ansible_loop_var",
    "changed",
    "failed",
    "invocation",
    "skip_reason",
    "skipped",
];

/// Whether a result may not be seen: its task says so, or it says so itself.
pub(crate) fn is_secret(task: &TaskInfo, result: &Map) -> bool {
    task.no_log || result.get("_ansible_no_log").is_some_and(|v| v.is_true())
}

/// A copy of a result that may be seen; of a loop, each item that may not is censored by itself.
pub(crate) fn visible(task: &TaskInfo, result: &Map) -> Map {
    if is_secret(task, result) {
        let shown: Map = PRESERVED.iter().filter_map(|key| Some((*key, result.get(key)?))).collect();
        shown.set("censored", CENSORED);
        return shown;
    }
    let shown = result.copied();
    if let Some(items) = shown.get("results").and_then(|r| r.as_items()) {
        let items = items.into_iter().map(|item| match item {
            Value::Map(one) if is_secret(task, &one) => visible(task, &one).into(),
            other => other,
        });
        shown.set("results", items.collect::<Vec<_>>());
    }
    shown
}

/// How results are written: `result_format`, `pretty_results` and `-v`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    yaml: bool,
    pretty: Option<bool>,
    verbosity: u8,
}

impl Format {
    pub(crate) fn new(settings: &Settings, verbosity: u8) -> Self {
        let text = |variable: &str, key: &str| settings.text(variable, "defaults", key);
        let pretty = text("ANSIBLE_CALLBACK_FORMAT_PRETTY", "callback_format_pretty");
        Self {
            yaml: text("ANSIBLE_CALLBACK_RESULT_FORMAT", "callback_result_format").as_deref() == Some("yaml"),
            pretty: pretty.map(|p| matches!(p.to_lowercase().as_str(), "1" | "true" | "yes" | "on")),
            verbosity,
        }
    }

    /// The same, in YAML.
    pub(crate) fn in_yaml(self) -> Self {
        Self { yaml: true, ..self }
    }

    /// The text of a result.
    pub(crate) fn text(self, result: &Map, action: &str) -> String {
        let always = result.get("_ansible_verbose_always").is_some_and(|v| v.is_true());
        let shown = result.copied();
        shown.update(|map| {
            map.retain(|key, _| {
                let key = key.as_str().unwrap_or_default();
                let hidden = key.starts_with("_ansible_")
                    || matches!(key, "failed" | "skipped" | "exception" | "warnings" | "deprecations");
                !hidden && !(self.verbosity < 3 && matches!(key, "invocation" | "diff"))
            });
        });
        if action == "debug" {
            let only_message = shown.contains("msg");
            shown.update(|map| {
                map.retain(|key, _| {
                    let key = key.as_str().unwrap_or_default();
                    if only_message { key == "msg" } else { !HIDDEN_IN_DEBUG.contains(&key) }
                });
            });
        }
        let wide =
            always || self.pretty == Some(true) || self.verbosity > 2 || self.yaml && self.pretty.is_none();
        let indent = if wide && self.pretty != Some(false) { 4 } else { 0 };
        if !self.yaml {
            return json::dumps_readable(&shown.into(), indent);
        }
        let lossy = self.pretty != Some(false);
        for stream in ["stdout", "stderr"] {
            let lines = format!("{stream}_lines");
            if lossy && shown.contains(stream) && shown.contains(&lines) {
                shown.set(&lines, "<omitted>");
            }
        }
        let style =
            yaml::Style { indent: if indent > 0 { 4 } else { 2 }, literal: true, ..Default::default() };
        let text = yaml::emit(&shown.into(), style);
        let lines = text.lines().map(|l| if l.trim().is_empty() { l.to_owned() } else { format!("    {l}") });
        format!("\n{}", lines.collect::<Vec<_>>().join("\n"))
    }

    /// The differences that a result tells of, as they are printed.
    pub(crate) fn diffs(self, result: &Map, colour: Colour) -> String {
        let diffs = result.get("diff").map(|d| d.as_items().unwrap_or_else(|| vec![d])).unwrap_or_default();
        diffs.iter().map(|diff| self.one_diff(diff, colour)).collect()
    }

    fn one_diff(self, diff: &Value, colour: Colour) -> String {
        let mut out = String::new();
        for (key, what) in [("dst_binary", "destination"), ("src_binary", "source")] {
            if diff.get(key).is_some() {
                out += &format!("diff skipped: {what} file appears to be binary\n");
            }
        }
        for (key, what) in [("dst_larger", "destination"), ("src_larger", "source")] {
            if let Some(size) = diff.get(key) {
                out += &format!("diff skipped: {what} file size is greater than {size}\n");
            }
        }
        if let (Some(before), Some(after)) = (diff.get("before"), diff.get("after")) {
            let (before, after) = (self.side(&before), self.side(&after));
            let header = |side: &str| {
                diff.get(&format!("{side}_header"))
                    .map_or_else(|| side.to_owned(), |h| format!("{side}: {h}"))
            };
            let unified = unified(&before, &after, [&header("before"), &header("after")]);
            for line in unified.lines() {
                let painted = match line.chars().next() {
                    Some('+') => colour.green(line),
                    Some('-') => colour.red(line),
                    Some('@') => colour.cyan(line),
                    _ => line.to_owned(),
                };
                out += &format!("{painted}\n");
            }
            if !unified.is_empty() {
                out.push('\n');
            }
        }
        if let Some(prepared) = diff.get("prepared") {
            out += &prepared.to_string();
        }
        out
    }

    /// A side of a difference as text.
    fn side(self, value: &Value) -> String {
        match value {
            Value::None => String::new(),
            Value::Map(_) if self.yaml => {
                let style = yaml::Style { indent: 4, literal: true, ..Default::default() };
                yaml::emit(value, style).lines().map(|line| format!("    {line}\n")).collect()
            }
            Value::Map(_) => format!("{}\n", json::dumps(value, 4, true)),
            other => other.to_string(),
        }
    }
}
