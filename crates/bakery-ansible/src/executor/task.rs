//! One task on one host: condition, arguments, tries, registration.

use std::time::Duration;

use bakery_lang::{Diagnostic, Map, Text, Value};

use super::attempt::Called;
use super::context::Context;
use super::run::Runner;
use crate::Templar;
use crate::actions::failure;
use crate::callback::{Status, TaskInfo};
use crate::playbook::Task;

/// How a task ended on a host.
#[derive(Debug)]
pub(super) struct End {
    pub(super) status: Status,
    pub(super) result: Map,
    pub(super) ignored: bool,
    pub(super) delegated: Option<String>,
    pub(super) includes: Vec<Include>,
    /// The handlers that are notified if the task is changed.
    pub(super) notify: Vec<String>,
    /// Whether nothing is shown, as for a role that was included.
    pub(super) silent: bool,
}

impl End {
    /// An end that is neither forgiven nor has anything come of it.
    pub(super) fn new(status: Status, result: Map) -> Self {
        Self {
            status,
            result,
            ignored: false,
            delegated: None,
            includes: vec![],
            notify: vec![],
            silent: false,
        }
    }
}

/// A file or role to include.
#[derive(Debug, Clone)]
pub(super) struct Include {
    pub(super) role: bool,
    pub(super) file: String,
    pub(super) args: Map,
    pub(super) params: Map,
    pub(super) label: Option<String>,
}

/// The host that a task is delegated to.
///
/// # Errors
/// A name that cannot be evaluated, or that is empty once it is.
fn delegated(context: &Context, templar: &Templar) -> Result<Option<String>, Diagnostic> {
    let Some(wanted) = &context.delegate_to else { return Ok(None) };
    let found = templar.value(wanted)?;
    if found.is_none() || matches!(found, Value::Omit) || wanted.as_str() == Some("") {
        return Ok(None);
    }
    match found.to_string() {
        name if name.is_empty() => {
            let origin = wanted.origin().cloned();
            let message = format!("Empty hostname produced from delegate_to: \"{wanted}\"");
            Err(Diagnostic { message, origin, hint: None })
        }
        name => Ok(Some(name)),
    }
}

/// What a variable holds of a result: not what is meant for whoever shows it.
pub(super) fn registered(result: &Map) -> Map {
    let without = |map: &Map| -> Map {
        let is_kept =
            |(key, _): &(Value, Value)| !key.as_str().is_some_and(|key| key.starts_with("_ansible_"));
        map.pairs().into_iter().filter(is_kept).collect()
    };
    let kept = without(result);
    kept.remove("invocation");
    if let Some(Value::List(results)) = kept.get("results") {
        let inner = |one: &Value| one.as_map().map_or_else(|| one.clone(), |map| without(map).into());
        kept.set("results", results.items().iter().map(inner).collect::<Vec<_>>());
    }
    kept
}

impl PartialEq for Include {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Map, b: &Map| Value::Map(a.clone()) == Value::Map(b.clone());
        self.role == other.role
            && self.file == other.file
            && same(&self.args, &other.args)
            && same(&self.params, &other.params)
    }
}

impl Runner<'_> {
    pub(super) fn run_task(&self, task: &Task, info: &TaskInfo, host: &str, context: &Context) -> End {
        if let Err(error) = self.check_debugger(context, host) {
            return self.failed(&error, task, context, host);
        }
        let end = match &task.r#loop {
            None => self.run_item(task, host, context, Map::new(), None, info),
            Some(each) => self.run_loop(task, each, info, host, context),
        };
        explained(&end.result);
        // Of a loop, every item that ran notifies what it names, once one of them is changed and none failed.
        if end.status == Status::Changed
            && let Err(error) = self.notify(host, &end.notify, task, context.handler)
        {
            self.progress().broken = Some(error);
        }
        if let (Some(name), Some(state)) = (&task.register, self.host(host)) {
            let kept = registered(&end.result);
            if !kept.contains("failed") {
                kept.set("failed", end.status == Status::Failed);
            }
            state.vars.set.set(name, kept);
        }
        end
    }

    pub(super) fn failed(&self, diagnostic: &Diagnostic, task: &Task, context: &Context, host: &str) -> End {
        let mut shown = diagnostic.clone();
        shown.message = format!("Task failed: {}", diagnostic.message);
        if shown.origin.is_none() {
            shown.origin = Some(task.origin.clone());
        }
        self.callback().error(Some(host), &shown);
        let ignored = self.truth(context.ignore_errors.as_ref(), context, host, &Map::new());
        End {
            status: Status::Failed,
            result: failure(&shown.message),
            ignored,
            delegated: None,
            includes: vec![],
            notify: vec![],
            silent: false,
        }
    }

    pub(super) fn truth(&self, value: Option<&Value>, context: &Context, host: &str, local: &Map) -> bool {
        let Some(value) = value else { return false };
        let templar = self.templar(host, context, local.copied(), None);
        templar.value(value).is_ok_and(|v| bakery_modules::args::boolean(&v).unwrap_or_else(|_| v.is_true()))
    }

    pub(super) fn run_item(
        &self,
        task: &Task,
        host: &str,
        context: &Context,
        local: Map,
        label: Option<&str>,
        info: &TaskInfo,
    ) -> End {
        let mut templar = self.templar(host, context, local.copied(), Some(task));
        // ansible-core asks where to before it asks whether; for old roles a condition comes before everything else.
        if templar.strict
            && let Err(error) = delegated(context, &templar)
        {
            return self.failed(&error, task, context, host);
        }
        let held = templar.all(&context.when);
        self.show_warnings(templar.take_warnings());
        match held {
            Ok(None) => {}
            Ok(Some(condition)) => {
                let result = Map::new();
                result.set("changed", false);
                result.set("skipped", true);
                result.set("skip_reason", "Conditional result was False");
                result.set("false_condition", condition.untrusted());
                return End::new(Status::Skipped, result);
            }
            Err(error) => return self.failed(&error, task, context, host),
        }
        let named = if task.action.contains("{{") {
            match templar.text(&Value::Str(Text::written(task.action.as_str(), task.origin.clone()))) {
                Ok(action) => action,
                Err(error) => return self.failed(&error, task, context, host),
            }
        } else {
            task.action.clone()
        };
        let named = self.in_collections(&named, context).unwrap_or(named);
        // A module's own name decides where it is searched; short names are for what is known here.
        let action = match bakery_modules::canonical_name(&named) {
            short if crate::actions::NAMES.contains(&short) || bakery_modules::find(short).is_some() => {
                short.to_owned()
            }
            _ => named.clone(),
        };
        let delegated = match delegated(context, &templar) {
            Ok(delegated) => delegated,
            Err(error) => return self.failed(&error, task, context, host),
        };
        if let Some(delegated) = &delegated {
            let there = self.templar(delegated, &Context::default(), Map::new(), None);
            let one = Map::new();
            for name in ["ansible_host", "ansible_connection", "ansible_port", "ansible_user"] {
                let value = bakery_jinja::Scope::variable(&there, name).and_then(|v| there.value(&v).ok());
                if let Some(value) = value {
                    one.set(name, value);
                }
            }
            if !one.contains("ansible_host") {
                one.set("ansible_host", delegated.as_str());
            }
            // The task stays that of its own host, whose address is the other's unless it has one.
            one.set("inventory_hostname", host);
            if templar.layers.get("ansible_host").is_none() {
                local.set("ansible_host", one.get("ansible_host"));
            }
            local.set("ansible_delegated_vars", Map::from_iter([(delegated.as_str(), Value::Map(one))]));
            templar = self.templar(host, context, local.copied(), Some(task));
        }
        let args = match self.arguments(task, &named, &action, &templar, context) {
            Ok(args) => args,
            Err(error) => {
                return self.failed(&error, task, context, host);
            }
        };
        self.show_warnings(templar.take_warnings());
        // A scene that an evaluation still sees is copied when it is changed.
        drop(templar);
        if matches!(action.as_str(), "include_tasks" | "include" | "include_role") {
            return include(&action, &args, local, label);
        }
        let called = Called { named: &named, action: &action, args: &args };
        let mut end = self.attempts(task, called, host, context, &local, delegated.as_deref(), info);
        end.ignored = end.status == Status::Failed
            && self.truth(context.ignore_errors.as_ref(), context, host, &local)
            || end.status == Status::Unreachable
                && self.truth(context.ignore_unreachable.as_ref(), context, host, &local);
        end.delegated = delegated.filter(|d| d != host);
        let templar = self.templar(host, context, local, Some(task));
        for notify in &context.notify {
            if let Ok(value) = templar.value(notify) {
                let names = value.as_items().unwrap_or_else(|| vec![value.clone()]);
                end.notify.extend(names.iter().map(ToString::to_string));
            }
        }
        end
    }

    #[allow(clippy::too_many_arguments, reason = "a task's run is made of these")]
    fn attempts(
        &self,
        task: &Task,
        called: Called<'_>,
        host: &str,
        context: &Context,
        local: &Map,
        delegated: Option<&str>,
        info: &TaskInfo,
    ) -> End {
        let number = |runner: &Self, value: Option<&Value>, default: f64| {
            value
                .and_then(|v| runner.templar(host, context, local.copied(), None).value(v).ok())
                .and_then(|v| v.as_float().or_else(|| v.to_string().parse().ok()))
                .unwrap_or(default)
        };
        let tries = if task.until.is_empty() && task.retries.is_none() {
            0
        } else {
            number(self, task.retries.as_ref(), 3.0).max(0.0) as u64
        };
        let delay = number(self, task.delay.as_ref(), 5.0);
        let delay = Duration::try_from_secs_f64(delay).unwrap_or_default();
        let mut attempt = 1;
        loop {
            let attempted = (tries > 0).then_some(attempt);
            let mut end = self.once(task, called, host, context, local, delegated, attempted);
            if tries == 0 || end.status == Status::Unreachable {
                return end;
            }
            end.result.set("attempts", attempt);
            let seen = local.copied();
            if let Some(name) = &task.register {
                seen.set(name, end.result.copied());
            }
            let done = if task.until.is_empty() {
                Ok((end.status == Status::Failed).then_some(Value::Bool(false)))
            } else {
                let templar = self.templar(host, context, seen, Some(task));
                templar.all(&task.until)
            };
            match done {
                Ok(None) => return end,
                Ok(Some(_)) => {
                    if attempt <= tries {
                        self.callback().retry(info, host, tries - attempt + 1, &end.result);
                        if bakery_host::signal::sleep(delay) {
                            attempt += 1;
                            continue;
                        }
                    }
                    end.result.set("attempts", attempt.min(tries));
                    end.result.set("failed", true);
                    // A `failed_when` that does not hold has the last word.
                    if end.result.get("failed_when_result").is_none_or(|r| r.is_true()) {
                        end.status = Status::Failed;
                    }
                    return end;
                }
                Err(error) => return self.failed(&error, task, context, host),
            }
        }
    }
}

/// A failed result has an `exception`, even where there is no traceback (`ansible/executor/task_result.py`).
pub(super) fn explained(result: &Map) {
    if result.get("failed").is_some_and(|f| f.is_true()) && !result.contains("exception") {
        result.set("exception", "(traceback unavailable)");
    }
}

/// What an include comes to: the file or role that is next.
fn include(action: &str, args: &Map, local: Map, label: Option<&str>) -> End {
    let params = local;
    let role = action == "include_role";
    let file =
        args.get("file").or_else(|| args.get("_raw_params")).map(|f| f.to_string()).unwrap_or_default();
    let mut words = crate::playbook::split_args(&file).into_iter();
    let name = words.next().unwrap_or_default();
    if !role {
        for word in words {
            if let Some((key, value)) = word.split_once('=') {
                params.set(key, value.trim_matches(['"', '\'']));
            }
        }
        for (key, value) in args.pairs() {
            if !matches!(key.as_str(), Some("file" | "_raw_params" | "apply")) {
                params.insert(key, value);
            }
        }
    }
    let include = Include { role, file: name, args: args.copied(), params, label: label.map(str::to_owned) };
    let result = Map::new();
    result.set("changed", false);
    End {
        status: Status::Ok,
        result,
        ignored: false,
        delegated: None,
        includes: vec![include],
        notify: vec![],
        silent: role,
    }
}
