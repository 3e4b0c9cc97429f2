//! Blocks and tasks with their hosts in lockstep: rescue, always, includes, handlers, meta actions.

use std::sync::Arc;

use bakery_lang::{Diagnostic, Map, Value};

use super::context::{Context, selected};
use super::run::Runner;
use super::task::{End, Include};
use crate::callback::{Status, TaskInfo};
use crate::playbook::{Block, Entry, Task};
use crate::{Error, Result};

impl Runner<'_> {
    fn active(&self, hosts: &[String]) -> Vec<String> {
        let alive = |h: &&String| self.host(h).is_some_and(|s| !s.failed && !s.unreachable && !s.ended);
        hosts.iter().filter(alive).cloned().collect()
    }

    pub(super) fn entries(&mut self, entries: &[Entry], hosts: &[String], context: &Context) -> Result<()> {
        for entry in entries {
            if bakery_host::signal::caught().is_some() {
                return Ok(());
            }
            let active = self.active(hosts);
            if active.is_empty() {
                return Ok(());
            }
            match entry {
                Entry::Task(task) => self.task(task, &active, context)?,
                Entry::Block(block) => self.block(block, &active, context)?,
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &Block, hosts: &[String], context: &Context) -> Result<()> {
        let mut inner = context.enter(&block.keywords);
        if let Some(role) = &block.role {
            inner.role = Some(Arc::clone(role));
        }
        let tried = Context { rescued: inner.rescued || !block.rescue.is_empty(), ..inner.clone() };
        self.entries(&block.block, hosts, &tried)?;
        let failed = |runner: &Self| -> Vec<String> {
            hosts.iter().filter(|h| runner.host(h).is_some_and(|s| s.failed)).cloned().collect()
        };
        if !block.rescue.is_empty() {
            let down = failed(self);
            for host in &down {
                if let Some(state) = self.host_mut(host) {
                    state.failed = false;
                }
            }
            if !down.is_empty() {
                self.entries(&block.rescue, &down, &inner)?;
            }
        }
        if !block.always.is_empty() {
            let down = failed(self);
            for host in &down {
                if let Some(state) = self.host_mut(host) {
                    state.failed = false;
                }
            }
            self.entries(&block.always, hosts, &inner)?;
            for host in &down {
                if let Some(state) = self.host_mut(host) {
                    state.failed = true;
                }
            }
        }
        Ok(())
    }

    /// The task's tags with those around it, evaluated.
    fn tags(&self, context: &Context, host: &str) -> Vec<String> {
        let templar = self.templar(host, context, Map::new(), None);
        let mut out: Vec<String> = Vec::new();
        for tag in &context.tags {
            let value = templar.value(tag).unwrap_or_else(|_| tag.clone());
            for item in value.as_items().unwrap_or_else(|| vec![value.clone()]) {
                out.extend(
                    item.to_string().split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
                );
            }
        }
        out
    }

    /// The name to show: `role : name`, templates in it evaluated where they can be.
    pub(super) fn shown_name(&self, task: &Task, context: &Context, host: &str) -> String {
        let name = match &task.name {
            Some(name) => {
                let templar = self.templar(host, context, Map::new(), Some(task));
                templar.text(name).unwrap_or_else(|_| name.to_string())
            }
            None => task.action.clone(),
        };
        match &context.role {
            Some(used) => format!("{} : {name}", used.role.name),
            None => name,
        }
    }

    fn task(&mut self, task: &Arc<Task>, hosts: &[String], outer: &Context) -> Result<()> {
        let Some(first) = hosts.first() else { return Ok(()) };
        let mut context = outer.enter(&task.keywords);
        if let Some(role) = &task.role {
            context.role = Some(Arc::clone(role));
        }
        let action = bakery_modules::canonical_name(&task.action).to_owned();
        let tags = self.tags(&context, first);
        if !context.handler && !selected(&tags, &self.options.tags, &self.options.skip_tags) {
            return Ok(());
        }
        let name = self.shown_name(task, &context, first);
        if let Some(wanted) = self.options.start_at_task.as_deref().filter(|_| !self.started) {
            if name == wanted || name.ends_with(&format!(" : {wanted}")) {
                self.started = true;
            } else {
                return Ok(());
            }
        }
        if action == "meta" {
            return self.meta(task, hosts, &context);
        }
        let templar = self.templar(first, &context, Map::new(), Some(task));
        let truth = |value: &Option<Value>| {
            value.as_ref().is_some_and(|v| {
                templar.value(v).is_ok_and(|v| bakery_modules::args::boolean(&v).unwrap_or(false))
            })
        };
        let (run_once, no_log, fatal) =
            (truth(&context.run_once), truth(&context.no_log), truth(&context.any_errors_fatal));
        let info = TaskInfo {
            id: self.next_id(),
            name,
            action: task.action.clone(),
            origin: task.origin.clone(),
            handler: context.handler,
            no_log,
        };
        self.callback.task_start(&info);
        let mut includes: Vec<(Include, Vec<String>)> = Vec::new();
        let chosen = if run_once { &hosts[..1] } else { hosts };
        let mut any_failed = false;
        for host in chosen {
            let end = self.run_task(task, &info, host, &context);
            any_failed |= matches!(end.status, Status::Failed | Status::Unreachable) && !end.ignored;
            if run_once && let Some(register) = &task.register {
                for other in hosts {
                    if let Some(state) = self.host(other) {
                        state.vars.set.set(register, end.result.clone());
                    }
                }
            }
            let targets = if run_once { hosts.to_vec() } else { vec![host.clone()] };
            self.finish(&info, &context, host, &end);
            for include in end.includes {
                match includes.iter_mut().find(|(known, _)| *known == include) {
                    Some((_, known)) => known.extend(targets.clone()),
                    None => includes.push((include, targets.clone())),
                }
            }
        }
        for (include, hosts) in includes.iter().filter(|(i, _)| !i.role) {
            if let Some(path) = self.loader.include_path(task, &include.file) {
                self.callback.included(&path.display().to_string(), hosts, include.label.as_deref());
            }
            for host in hosts {
                if let Some(state) = self.host_mut(host) {
                    state.stats.ok += 1;
                }
            }
        }
        for (include, hosts) in includes {
            self.include(task, &include, &hosts, &context)?;
        }
        if any_failed && fatal {
            for host in hosts {
                if let Some(state) = self.host_mut(host) {
                    state.failed = true;
                }
            }
        }
        Ok(())
    }

    /// Tells the result and counts it.
    fn finish(&mut self, info: &TaskInfo, context: &Context, host: &str, end: &End) {
        let is_include = !end.includes.is_empty() || end.silent;
        if !is_include || end.status == Status::Failed {
            self.callback.result(info, host, end.status, &end.result, end.ignored, end.delegated.as_deref());
        }
        let Some(state) = self.host_mut(host) else { return };
        match end.status {
            // Files are counted as they are included.
            Status::Ok if end.includes.iter().any(|i| !i.role) => {}
            Status::Ok => state.stats.ok += 1,
            Status::Changed => {
                state.stats.ok += 1;
                state.stats.changed += 1;
            }
            Status::Skipped => state.stats.skipped += 1,
            Status::Failed if end.ignored => {
                state.stats.ok += 1;
                state.stats.ignored += 1;
                if end.result.get("changed").is_some_and(|c| c.is_true()) {
                    state.stats.changed += 1;
                }
            }
            Status::Failed => {
                // For `rescue`: what failed, and how.
                let failed = Map::new();
                failed.set("name", info.name.rsplit(" : ").next().unwrap_or(&info.name));
                failed.set("action", info.action.as_str());
                state.vars.set.set("ansible_failed_task", failed);
                state.vars.set.set("ansible_failed_result", end.result.copied());
                state.failed = true;
                if context.rescued {
                    state.stats.rescued += 1;
                } else {
                    state.stats.failed += 1;
                }
            }
            Status::Unreachable => {
                if end.ignored {
                    state.stats.ignored += 1;
                } else {
                    state.unreachable = true;
                }
                state.stats.unreachable += 1;
            }
        }
    }

    fn include(
        &mut self,
        task: &Arc<Task>,
        include: &Include,
        hosts: &[String],
        context: &Context,
    ) -> Result<()> {
        let failed = |runner: &mut Self, error: Error| -> Result<()> {
            let info = TaskInfo {
                id: 0,
                name: String::new(),
                action: task.action.clone(),
                origin: task.origin.clone(),
                handler: false,
                no_log: false,
            };
            runner.callback.error(&error.diagnostic);
            for host in hosts {
                let result = crate::actions::failure(&error.diagnostic.message);
                result.set("reason", error.diagnostic.to_string());
                runner.callback.result(&info, host, Status::Failed, &result, false, None);
                if let Some(state) = runner.host_mut(host) {
                    state.failed = true;
                    state.stats.failed += 1;
                }
            }
            Ok(())
        };
        // Conditions and tags of an include are its own; variables go down.
        let mut inner = context.clone();
        inner.when.clone_from(&vec![]);
        inner.tags.clear();
        inner.delegate_to = None;
        inner.run_once = None;
        inner.include_params.push(include.params.clone());
        if let Some(Value::Map(apply)) = include.args.get("apply") {
            let keywords = apply_keywords(&apply);
            inner = inner.enter(&keywords);
        }
        if include.role {
            let (used, block, gathered) = match self.loader.include_role(task, &include.args) {
                Ok(found) => found,
                Err(error) => return failed(self, error),
            };
            self.collect_handlers(&gathered.handlers, &Context { handler: true, ..inner.clone() });
            if include.args.get("public").is_some_and(|p| p.is_true()) {
                self.scene_mut().public_roles.push(Arc::clone(&used.role));
            }
            self.scene_mut().public_roles.extend(gathered.public_roles.into_iter().filter(|r| r.name != used.role.name));
            self.block(&block, hosts, &inner)
        } else {
            let entries = match self.loader.include_tasks(task, &include.file) {
                Ok(found) => found,
                Err(error) => return failed(self, error),
            };
            self.entries(&entries, hosts, &inner)
        }
    }

    /// Marks the handlers that a name or topic means.
    pub(super) fn notify(
        &mut self,
        host: &str,
        names: &[String],
        task: &Task,
    ) -> std::result::Result<(), Diagnostic> {
        for name in names {
            let mut found = Vec::new();
            // Of handlers with the same name the one defined last runs.
            for at in (0..self.handlers.len()).rev() {
                let (handler, context) = &self.handlers[at];
                let plain = handler.name.as_ref().map(|n| {
                    let templar = self.templar(host, context, Map::new(), None);
                    templar.text(n).unwrap_or_else(|_| n.to_string())
                });
                let with_role =
                    context.role.as_ref().zip(plain.as_ref()).map(|(r, n)| format!("{} : {n}", r.role.name));
                if plain.as_ref() == Some(name) || with_role.as_ref() == Some(name) {
                    found.push(at);
                    break;
                }
            }
            for (at, (handler, _)) in self.handlers.iter().enumerate() {
                if handler.listen.iter().any(|l| {
                    l.to_string() == *name
                        || l.as_items().is_some_and(|i| i.iter().any(|l| l.to_string() == *name))
                }) {
                    found.push(at);
                }
            }
            if found.is_empty() {
                let known: Vec<String> = self
                    .handlers
                    .iter()
                    .filter_map(|(h, _)| h.name.as_ref().map(std::string::ToString::to_string))
                    .collect();
                let hint = bakery_lang::suggest(name, known.iter().map(String::as_str));
                return Err(Diagnostic::at(
                    &task.origin,
                    format!("The requested handler '{name}' was not found in either the main handlers list nor in the listening handlers list"),
                )
                .maybe_hint(hint));
            }
            if let Some(state) = self.host_mut(host) {
                state.notified.extend(found);
            }
        }
        Ok(())
    }

    /// Runs what was notified, in order of definition.
    pub(super) fn flush_handlers(&mut self, hosts: &[String]) -> Result<()> {
        let force = self.options.force_handlers
            || std::env::var("ANSIBLE_FORCE_HANDLERS")
                .is_ok_and(|v| matches!(v.to_lowercase().as_str(), "1" | "true" | "yes"))
            || self.scene.play.as_ref().and_then(|p| p.force_handlers.as_ref()).is_some_and(Value::is_true);
        let mut at = 0;
        while at < self.handlers.len() {
            let (task, context) = self.handlers[at].clone();
            let ready: Vec<String> = hosts
                .iter()
                .filter(|h| {
                    self.host(h)
                        .is_some_and(|s| s.notified.contains(&at) && !s.unreachable && (!s.failed || force))
                })
                .cloned()
                .collect();
            if !ready.is_empty() {
                let mut down = Vec::new();
                for host in &ready {
                    if let Some(state) = self.host_mut(host) {
                        state.notified.remove(&at);
                        if std::mem::replace(&mut state.failed, false) {
                            down.push(host.clone());
                        }
                    }
                }
                self.task(&task, &ready, &context)?;
                for host in down {
                    if let Some(state) = self.host_mut(&host) {
                        state.failed = true;
                    }
                }
                // A handler may notify one that was passed already.
                if self.handlers[..at].iter().enumerate().any(|(i, _)| {
                    hosts.iter().any(|h| self.host(h).is_some_and(|s| s.notified.contains(&i)))
                }) {
                    at = 0;
                    continue;
                }
            }
            at += 1;
        }
        Ok(())
    }

    fn meta(&mut self, task: &Task, hosts: &[String], context: &Context) -> Result<()> {
        let action = task.args.get("_raw_params").map(|v| v.to_string()).unwrap_or_default();
        let mut chosen = Vec::new();
        for host in hosts {
            let templar = self.templar(host, context, Map::new(), Some(task));
            match templar.all(&context.when) {
                Ok(None) => chosen.push(host.clone()),
                Ok(Some(_)) => {}
                Err(diagnostic) => return Err(Error::other(diagnostic)),
            }
        }
        match action.as_str() {
            "flush_handlers" => return self.flush_handlers(hosts),
            "noop" | "refresh_inventory" | "reset_connection" => {}
            "clear_facts" => {
                for host in &chosen {
                    if let Some(state) = self.host_mut(host) {
                        state.vars.facts = Map::new();
                    }
                }
            }
            "clear_host_errors" => {
                for state in self.scene_mut().hosts.values_mut() {
                    state.failed = false;
                    state.unreachable = false;
                }
            }
            "end_host" => {
                for host in &chosen {
                    if let Some(state) = self.host_mut(host) {
                        state.ended = true;
                    }
                }
            }
            "end_play" | "end_batch" if !chosen.is_empty() => {
                for host in self.scene.batch.clone() {
                    if let Some(state) = self.host_mut(&host) {
                        state.ended = true;
                    }
                }
            }
            "end_play" | "end_batch" => {}
            other => {
                let known = [
                    "flush_handlers",
                    "noop",
                    "clear_facts",
                    "clear_host_errors",
                    "end_host",
                    "end_play",
                    "end_batch",
                    "refresh_inventory",
                    "reset_connection",
                ];
                return Err(Error::parse(
                    Diagnostic::at(&task.origin, format!("invalid meta action requested: {other}"))
                        .maybe_hint(bakery_lang::suggest(other, known)),
                ));
            }
        }
        Ok(())
    }
}

fn apply_keywords(apply: &Map) -> crate::playbook::Keywords {
    let list =
        |name: &str| apply.get(name).map(|v| v.as_items().unwrap_or_else(|| vec![v])).unwrap_or_default();
    crate::playbook::Keywords {
        when: list("when"),
        tags: list("tags"),
        vars: apply.get("vars").and_then(|v| v.as_map().cloned()).unwrap_or_default(),
        environment: list("environment"),
        r#become: apply.get("become"),
        become_user: apply.get("become_user"),
        ignore_errors: apply.get("ignore_errors"),
        delegate_to: apply.get("delegate_to"),
        no_log: apply.get("no_log"),
        check_mode: apply.get("check_mode"),
        ..Default::default()
    }
}
