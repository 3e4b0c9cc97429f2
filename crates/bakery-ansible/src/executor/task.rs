//! One task on one host: loop, condition, arguments, tries, registration.

use std::time::Duration;

use bakery_jinja::Scope as _;
use bakery_lang::{Diagnostic, Map, Text, Value};

use super::calls::{Calls, internal};
use super::context::Context;
use super::interpreters::{self, Python};
use super::run::Runner;
use crate::actions::{self, Trouble, failure};
use crate::callback::{Status, TaskInfo};
use crate::connection::Endpoint;
use crate::playbook::{Loop, Task};
use crate::{Templar, foreign, lookups};

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

/// A file or role to include.
#[derive(Debug, Clone)]
pub(super) struct Include {
    pub(super) role: bool,
    pub(super) file: String,
    pub(super) args: Map,
    pub(super) params: Map,
    pub(super) label: Option<String>,
}

/// The keys of a result that are not handed on.
const INTERNAL: &[&str] = &["_ansible_verbose_always", "ansible_included_vars", "group_by"];

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

    fn failed(&self, diagnostic: &Diagnostic, task: &Task, context: &Context, host: &str) -> End {
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

    fn truth(&self, value: Option<&Value>, context: &Context, host: &str, local: &Map) -> bool {
        let Some(value) = value else { return false };
        let templar = self.templar(host, context, local.copied(), None);
        templar.value(value).is_ok_and(|v| bakery_modules::args::boolean(&v).unwrap_or_else(|_| v.is_true()))
    }

    fn loop_items(
        &self,
        each: &Loop,
        task: &Task,
        host: &str,
        context: &Context,
    ) -> Result<Vec<Value>, Diagnostic> {
        let mut templar = self.templar(host, context, Map::new(), Some(task));
        let Some(lookup) = &each.lookup else {
            // An item that is not there is an error only where it is used.
            let value = templar.evaluate(&each.items).map_err(|e| Diagnostic {
                message: e.message,
                origin: each.items.origin().cloned().or(e.origin),
                hint: None,
            })?;
            let value = value.forced();
            return value.as_items().ok_or_else(|| {
                Diagnostic::at(&task.origin, format!("Invalid data passed to 'loop', it requires a list, got this instead: {value}. Hint: If you passed a list/dict of just one element, try adding wantlist=True to your lookup invocation or use q/query instead of lookup."))
            });
        };
        // Old roles name a variable without braces: `with_items: packages`.
        let bare = |value: &Value| match value {
            Value::Str(text)
                if !text.is_template() && lookup != "sequence" && crate::vars::is_name(text.as_str()) =>
            {
                templar.layers.get(text.as_str()).map_or_else(|| Ok(value.clone()), |v| templar.value(&v))
            }
            other => templar.value(other),
        };
        let terms = match &each.items {
            items if lookup == "first_found" => {
                let action = task.action.as_str();
                let folders = [("template", "templates"), ("var", "vars")];
                let folder = folders.iter().find(|(word, _)| action.contains(word)).map_or("files", |f| f.1);
                templar.first_found = Some(folder);
                vec![lookups::defined(&templar, items).map_err(|e| Diagnostic {
                    message: e.message,
                    origin: items.origin().cloned().or(e.origin),
                    hint: None,
                })?]
            }
            Value::List(items) => {
                vec![Value::list(items.items().iter().map(|i| templar.value(i)).collect::<Result<_, _>>()?)]
            }
            other => vec![bare(other)?],
        };
        lookups::run(&templar, lookup, &terms, &Map::new()).map_err(|e| Diagnostic {
            message: e.message,
            origin: Some(task.origin.clone()),
            hint: None,
        })
    }

    fn run_loop(&self, task: &Task, each: &Loop, info: &TaskInfo, host: &str, context: &Context) -> End {
        let items = match self.loop_items(each, task, host, context) {
            Ok(items) => items,
            Err(error) => {
                // A condition that is false without any item skips the task before its loop is an error.
                let templar = self.templar(host, context, Map::new(), Some(task));
                let skip = matches!(templar.all(&context.when), Ok(Some(_)));
                if skip {
                    return self.run_item(task, host, context, Map::new(), None, info);
                }
                return self.failed(&error, task, context, host);
            }
        };
        let result = Map::new();
        if items.is_empty() {
            result.set("changed", false);
            result.set("skipped", true);
            result.set("skipped_reason", "No items in the list");
            result.set("results", vec![]);
            return End {
                status: Status::Skipped,
                result,
                ignored: false,
                delegated: None,
                includes: vec![],
                notify: vec![],
                silent: false,
            };
        }
        let control = |name: &str| each.control.get(name);
        let templated = |value: Value| {
            let templar = self.templar(host, context, Map::new(), Some(task));
            templar.value(&value).unwrap_or(value)
        };
        let variable = control("loop_var").map_or_else(|| "item".to_owned(), |v| templated(v).to_string());
        let pause =
            control("pause").map(templated).and_then(|p| p.as_float().or_else(|| p.to_string().parse().ok()));
        let pause = pause.unwrap_or(0.0);
        let mut results = Vec::new();
        let (mut includes, mut notify) = (Vec::new(), vec![]);
        let (mut changed, mut failed, mut unreachable, mut skipped, mut silent) =
            (false, false, false, true, false);
        let mut delegated = None;
        let mut ignored = None;
        for (index, item) in items.iter().enumerate() {
            if index > 0 && pause > 0.0 {
                std::thread::sleep(Duration::from_secs_f64(pause));
            }
            let local = Map::new();
            local.set(&variable, item.clone());
            local.set("ansible_loop_var", variable.as_str());
            if let Some(name) = control("index_var") {
                local.set(&name.to_string(), index);
                local.set("ansible_index_var", name);
            }
            if control("extended").is_some_and(|e| e.is_true()) {
                let extended = Map::new();
                if control("extended_allitems").is_none_or(|e| e.is_true()) {
                    extended.set("allitems", items.clone());
                }
                extended.set("index", index + 1);
                extended.set("index0", index);
                extended.set("revindex", items.len() - index);
                extended.set("revindex0", items.len() - index - 1);
                extended.set("first", index == 0);
                extended.set("last", index + 1 == items.len());
                extended.set("length", items.len());
                if let Some(next) = items.get(index + 1) {
                    extended.set("nextitem", next.clone());
                }
                if index > 0 {
                    extended.set("previtem", items[index - 1].clone());
                }
                local.set("ansible_loop", extended);
            }
            let mut end = self.run_item(task, host, context, local.copied(), Some(&item.to_string()), info);
            let one = end.result;
            let label = match control("label") {
                Some(label) => {
                    if let Some(name) = &task.register {
                        local.set(name, one.copied());
                    }
                    let templar = self.templar(host, context, local, Some(task));
                    match templar.text(&label) {
                        Ok(label) => label,
                        Err(error) => {
                            let failed = self.failed(&error, task, context, host);
                            end.status = failed.status;
                            end.ignored = failed.ignored;
                            one.set("failed", true);
                            one.set("msg", error.message.as_str());
                            item.to_string()
                        }
                    }
                }
                None => item.to_string(),
            };
            for include in &mut end.includes {
                include.label = Some(label.clone());
            }
            // Whether an item may be seen can depend on the item; who cannot tell hides it.
            if let Some(secret) = context.no_log.as_ref().filter(|secret| secret.has_template()) {
                let local = Map::from_iter([(variable.as_str(), item.clone())]);
                let secret = self.templar(host, context, local, Some(task)).value(secret);
                if secret.map_or(true, |s| bakery_modules::args::boolean(&s).unwrap_or(true)) {
                    one.set("_ansible_no_log", true);
                }
            }
            one.set(&variable, item.clone());
            one.set("ansible_loop_var", variable.as_str());
            if let Some(name) = control("index_var") {
                one.set(&name.to_string(), index);
                one.set("ansible_index_var", name);
            }
            if !one.contains("failed") {
                one.set("failed", end.status == Status::Failed);
            }
            explained(&one);
            changed |= one.get("changed").is_some_and(|c| c.is_true());
            failed |= end.status == Status::Failed;
            unreachable |= end.status == Status::Unreachable;
            skipped &= end.status == Status::Skipped;
            silent |= end.silent;
            if matches!(end.status, Status::Failed | Status::Unreachable) {
                // The whole is ignored when each of its failures is.
                ignored = Some(ignored.unwrap_or(true) && end.ignored);
            }
            delegated = delegated.or(end.delegated);
            if end.includes.is_empty() && !end.silent {
                self.callback().item(info, host, &label, end.status, &one);
            }
            includes.extend(end.includes);
            notify.extend(end.notify);
            results.push(Value::Map(one.clone()));
            if let Some(stop) = control("break_when") {
                let local = Map::new();
                local.set(&variable, item.clone());
                if let Some(name) = &task.register {
                    local.set(name, one);
                }
                let templar = self.templar(host, context, local, Some(task));
                let conditions = stop.as_items().unwrap_or_else(|| vec![stop.clone()]);
                if matches!(templar.all(&conditions), Ok(None)) {
                    break;
                }
            }
        }
        result.set("results", results);
        result.set("changed", changed);
        result.set("skipped", skipped);
        result.set(
            "msg",
            if failed {
                "One or more items failed"
            } else if skipped {
                "All items skipped"
            } else {
                "All items completed"
            },
        );
        if !skipped {
            result.remove("skipped");
        }
        if failed {
            result.set("failed", true);
        }
        let status = if unreachable {
            Status::Unreachable
        } else if failed {
            Status::Failed
        } else if skipped {
            Status::Skipped
        } else if changed {
            Status::Changed
        } else {
            Status::Ok
        };
        let ignored = ignored.unwrap_or(false);
        End { status, result, ignored, delegated, includes, notify, silent }
    }

    fn run_item(
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
                return End {
                    status: Status::Skipped,
                    result,
                    ignored: false,
                    delegated: None,
                    includes: vec![],
                    notify: vec![],
                    silent: false,
                };
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
        let delay = number(self, task.delay.as_ref(), 5.0).max(0.0);
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
                Ok(Some(_)) if attempt > tries => {
                    end.result.set("attempts", tries);
                    end.result.set("failed", true);
                    // A `failed_when` that does not hold has the last word.
                    if end.result.get("failed_when_result").is_none_or(|r| r.is_true()) {
                        end.status = Status::Failed;
                    }
                    return end;
                }
                Ok(Some(_)) => {
                    self.callback().retry(info, host, tries - attempt + 1, &end.result);
                    std::thread::sleep(Duration::from_secs_f64(delay));
                    attempt += 1;
                }
                Err(error) => return self.failed(&error, task, context, host),
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a task's run is made of these")]
    fn once(
        &self,
        task: &Task,
        called: Called<'_>,
        host: &str,
        context: &Context,
        local: &Map,
        delegated: Option<&str>,
        attempt: Option<u64>,
    ) -> End {
        let Called { named, action, args } = called;
        let end = |status: Status, result: Map| End {
            status,
            result,
            ignored: false,
            delegated: None,
            includes: vec![],
            notify: vec![],
            silent: false,
        };
        let templar = self.templar(host, context, local.copied(), Some(task));
        let flag = |value: Option<&Value>, default: bool| -> Result<bool, Diagnostic> {
            let Some(value) = value else { return Ok(default) };
            let value = templar.value(value)?;
            if matches!(value, Value::Omit) {
                return Ok(default);
            }
            bakery_modules::args::boolean(&value).map_err(|_| {
                Diagnostic::new(format!("The value {value:?} could not be converted to 'bool'."))
            })
        };
        let flags = flag(context.check_mode.as_ref(), self.options.check)
            .and_then(|check| Ok((check, flag(context.diff.as_ref(), self.options.diff)?)));
        let (check, diff) = match flags {
            Ok(flags) => flags,
            Err(error) => return self.failed(&error, task, context, host),
        };
        let gathers = matches!(action, "setup" | "gather_facts");
        let mut environment = Vec::new();
        for entry in &context.environment {
            let entry = match entry {
                // While facts are gathered, what depends on them is left out.
                Value::Map(map) if gathers => {
                    let known = map.pairs().into_iter().filter(|(_, v)| templar.value(v).is_ok());
                    &Value::Map(known.collect())
                }
                other => other,
            };
            match templar.value(entry) {
                Ok(Value::Omit) => {}
                Ok(Value::Map(map)) => {
                    environment.extend(map.pairs().into_iter().map(|(k, v)| (k.to_string(), v.to_string())));
                }
                Ok(Value::List(list)) => {
                    for item in list.items() {
                        environment.extend(
                            item.as_map()
                                .map(Map::pairs)
                                .unwrap_or_default()
                                .into_iter()
                                .map(|(k, v)| (k.to_string(), v.to_string())),
                        );
                    }
                }
                Ok(_) => {}
                // What depends on facts cannot be known while they are gathered.
                Err(_) if gathers => {}
                Err(error) => {
                    return self.failed(&error, task, context, host);
                }
            }
        }
        let timeout = context.timeout.as_ref().and_then(|v| templar.value(v).ok());
        let timeout = timeout.and_then(|v| v.as_int().or_else(|| v.to_string().parse().ok()));
        let timeout = timeout.unwrap_or_else(|| i128::from(self.options.task_timeout));
        if !(0..=100_000_000).contains(&timeout) {
            let text = format!("Timeout {timeout} is invalid, it must be between 0 and 100000000.");
            return end(Status::Failed, failure(&text));
        }
        let number = |value: Option<&Value>, default: u64| {
            let value = value.and_then(|v| templar.value(v).ok());
            value
                .and_then(|v| v.as_int().or_else(|| v.to_string().parse().ok()))
                .map_or(default, |n| n.max(0) as u64)
        };
        let (seconds, poll) = (number(task.r#async.as_ref(), 0), number(task.poll.as_ref(), 15));
        if seconds > 0 && actions::NAMES.contains(&action) {
            let text = format!("This action ({}) does not support async.", task.action);
            return end(Status::Failed, failure(&text));
        }
        // That of the host where the module runs.
        let there = delegated.map(|name| self.templar(name, &Context::default(), Map::new(), None));
        let there = there.as_ref().unwrap_or(&templar);
        let loader = self.loader();
        let python = interpreters::python(there, &loader.settings);
        if matches!(python, Python::Wanted(_)) && !actions::NAMES.contains(&action) {
            self.callback().verbose(3, &format!("<{host}> Attempting python interpreter discovery."));
        }
        let others = |shebang: &str| interpreters::other(there, shebang);
        let async_dir = templar.variable("ansible_async_dir").and_then(|v| templar.text(&v).ok());
        let collections: Vec<String> = context.collections.iter().map(ToString::to_string).collect();
        let polled = |job: &Value| {
            if let Some(job) = job.as_map() {
                self.callback().async_polled(host, job);
            }
        };
        let defaults = |name: &str, templar: &Templar| self.module_defaults(name, templar, context);
        let mut calls = Calls {
            defaults: &defaults,
            polled: &polled,
            connections: self.connections,
            task: if self.connections.is_remembered() {
                self.shown_name(task, context, host)
            } else {
                String::new()
            },
            scope: foreign::Scope { loader: &loader, role: context.role.as_ref(), collections: &collections },
            internal: internal(
                action,
                check,
                diff,
                context.no_log.as_ref().is_some_and(Value::is_true),
                self.options.verbosity,
            ),
            host,
            candidates: interpreters::candidates(there),
            python,
            found: None,
            others: &others,
            verbosity: self.options.verbosity,
            async_dir: async_dir
                .or_else(|| loader.settings.text("ANSIBLE_ASYNC_DIR", "defaults", "async_dir")),
            limit: (timeout > 0).then(|| Duration::from_secs(timeout as u64)),
            background: (seconds > 0).then_some((seconds, poll)),
            endpoint: self.endpoint(host, delegated, context, &templar),
            delegated: delegated.map(str::to_owned),
            escalation: self.escalation(delegated, context, &templar),
            check,
            diff,
            environment,
        };
        let by_ssh = matches!(calls.endpoint, Ok(Endpoint::Ssh(_)));
        if let Some(wanted) = calls.escalation.as_ref().filter(|wanted| by_ssh || wanted.is_particular())
            && let Ok(words) = wanted.command(&["bakery-agent", "serve"])
        {
            self.callback().verbose(3, &format!("<{host}> EXEC {}", words.join(" ")));
        }
        let outcome = if action == "pause" {
            self.pause(&self.shown_name(task, context, host), args)
                .map_err(|why| Trouble::Failed(failure(&why), None))
        } else {
            actions::run(named, args, &templar, &mut calls)
        };
        let found = calls.found.take();
        self.show_warnings(templar.take_warnings());
        drop(templar);
        let result = match outcome {
            Ok(result) => result,
            Err(Trouble::Failed(result, diagnostic)) => {
                if let Some(diagnostic) = diagnostic {
                    let mut shown = diagnostic;
                    shown.origin.get_or_insert_with(|| task.origin.clone());
                    self.callback().error(Some(host), &shown);
                }
                result
            }
            Err(Trouble::Unreachable(why)) => {
                let result = Map::new();
                result.set("changed", false);
                result.set("unreachable", true);
                let way = if by_ssh { " via ssh" } else { "" };
                result.set("msg", format!("Failed to connect to the host{way}: {why}"));
                return end(Status::Unreachable, result);
            }
        };
        if seconds > 0 && poll > 0 {
            let job = result.get("ansible_job_id");
            let job = job.or_else(|| result.get("async_result").and_then(|r| r.get("ansible_job_id")));
            if let Some(job) = job {
                let failed = result.get("failed").is_some_and(|f| f.is_true());
                self.callback().async_ended(host, &job.to_string(), failed);
            }
        }
        if let Some(found) = found {
            let is_fact =
                delegated.is_none() || self.truth(context.delegate_facts.as_ref(), context, host, local);
            found.tell(&result, is_fact);
        }
        let facts_of =
            delegated.filter(|_| self.truth(context.delegate_facts.as_ref(), context, host, local));
        self.keep(action, args, facts_of.unwrap_or(host), &result);
        // What the next plays ask for is no result.
        if let Some(Value::Map(facts)) = result.get("ansible_facts") {
            facts.remove("_ansible_facts_gathered");
        }
        for key in INTERNAL {
            if *key != "_ansible_verbose_always" {
                result.remove(key);
            }
        }
        for (text, lines) in [("stdout", "stdout_lines"), ("stderr", "stderr_lines")] {
            if let Some(Value::Str(s)) = result.get(text)
                && !result.contains(lines)
            {
                result.set(lines, Value::strings(s.as_str().lines()));
            }
        }
        for warning in result.get("warnings").and_then(|w| w.as_items()).unwrap_or_default() {
            self.callback().warning(&warning.to_string());
        }
        if let Some(attempt) = attempt {
            result.set("attempts", attempt);
        }
        if let Err((key, error)) = self.judge(task, &result, host, context, local) {
            // What the module returned stays; the condition's error is why the task failed.
            let mut shown = error.clone();
            shown.origin.get_or_insert_with(|| task.origin.clone());
            self.callback().error(Some(host), &shown);
            result.set("failed", true);
            result.set(key, error.message.as_str());
            result.set("msg", format!("Task failed: {}", error.message));
            return end(Status::Failed, result);
        }
        let is = |name: &str| result.get(name).is_some_and(|v| v.is_true());
        let status = if is("failed") {
            Status::Failed
        } else if is("skipped") {
            Status::Skipped
        } else if is("changed") {
            Status::Changed
        } else {
            Status::Ok
        };
        end(status, result)
    }
}

/// What a task calls.
#[derive(Clone, Copy)]
struct Called<'a> {
    /// The module or action as the task names it.
    named: &'a str,
    /// Its name here.
    action: &'a str,
    args: &'a Map,
}

/// A failed result has an `exception`, even where there is no traceback (`ansible/executor/task_result.py`).
fn explained(result: &Map) {
    if result.get("failed").is_some_and(|f| f.is_true()) && !result.contains("exception") {
        result.set("exception", "(traceback unavailable)");
    }
}

/// The name of an action with its collection.
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
