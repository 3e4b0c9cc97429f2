//! One try of a task: its call, and what is made of the answer.

use std::time::Duration;

use bakery_jinja::Scope as _;
use bakery_lang::{Diagnostic, Map, Value};

use super::calls::{Calls, internal};
use super::context::Context;
use super::interpreters::{self, Python};
use super::run::Runner;
use super::task::End;
use crate::actions::{self, Trouble, failure};
use crate::callback::Status;
use crate::connection::Endpoint;
use crate::playbook::Task;
use crate::{Templar, foreign};

/// The keys of a result that are not handed on.
const INTERNAL: &[&str] = &["_ansible_verbose_always", "ansible_included_vars", "group_by"];

/// What a task calls.
#[derive(Clone, Copy)]
pub(super) struct Called<'a> {
    /// The module or action as the task names it.
    pub(super) named: &'a str,
    /// Its name here.
    pub(super) action: &'a str,
    pub(super) args: &'a Map,
}

impl Runner<'_> {
    #[allow(clippy::too_many_arguments, reason = "a task's run is made of these")]
    pub(super) fn once(
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
        let end = End::new;
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
        if matches!(python, Python::Wanted(..)) && !actions::NAMES.contains(&action) {
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
