//! The loop of a task: its items, and what each of them comes to.

use std::time::Duration;

use bakery_host::signal;
use bakery_jinja::Scope as _;
use bakery_lang::{Diagnostic, Map, Value};

use super::context::Context;
use super::run::Runner;
use super::task::{End, explained};
use crate::callback::{Status, TaskInfo};
use crate::lookups;
use crate::playbook::{Loop, Task};
use crate::templar::Templar;

/// Items of a loop, which may be text that looks like a list.
fn structure(templar: &Templar, value: Value) -> Value {
    match &value {
        Value::Str(text) => templar.structure(text).unwrap_or(value),
        _ => value,
    }
}

impl Runner<'_> {
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
            let value = structure(&templar, value.forced());
            self.show_warnings(templar.take_warnings());
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
                let items = items.items();
                let items = items.iter().map(|item| Ok(structure(&templar, templar.value(item)?)));
                vec![Value::list(items.collect::<Result<_, Diagnostic>>()?)]
            }
            other => vec![structure(&templar, bare(other)?)],
        };
        lookups::run(&templar, lookup, &terms, &Map::new()).map_err(|e| Diagnostic {
            message: e.message,
            origin: Some(task.origin.clone()),
            hint: None,
        })
    }

    pub(super) fn run_loop(
        &self,
        task: &Task,
        each: &Loop,
        info: &TaskInfo,
        host: &str,
        context: &Context,
    ) -> End {
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
            return End::new(Status::Skipped, result);
        }
        let control = |name: &str| each.control.get(name);
        let templated = |value: Value| {
            let templar = self.templar(host, context, Map::new(), Some(task));
            templar.value(&value).unwrap_or(value)
        };
        let variable = control("loop_var").map_or_else(|| "item".to_owned(), |v| templated(v).to_string());
        let pause =
            control("pause").map(templated).and_then(|p| p.as_float().or_else(|| p.to_string().parse().ok()));
        let pause = Duration::try_from_secs_f64(pause.unwrap_or(0.0)).unwrap_or_default();
        let mut results = Vec::new();
        let (mut includes, mut notify) = (Vec::new(), vec![]);
        let (mut changed, mut failed, mut unreachable, mut skipped, mut silent) =
            (false, false, false, true, false);
        let mut delegated = None;
        let mut ignored = None;
        for (index, item) in items.iter().enumerate() {
            if index > 0 && !signal::sleep(pause) {
                break;
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
}
