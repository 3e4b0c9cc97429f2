//! Blocks and tasks with their hosts in lockstep: rescue, always, includes.

use std::sync::Arc;

use bakery_events::exit;
use bakery_host::signal;
use bakery_lang::{Map, Value};

use super::context::{Context, selected};
use super::run::{HostProgress, Runner};
use super::strategy::side_by_side;
use super::task::{End, Include};
use crate::Result;
use crate::callback::{Status, TaskInfo};
use crate::playbook::{Block, Entry, RoleUse, Task};

impl Runner<'_> {
    fn active(&self, hosts: &[String]) -> Vec<String> {
        let alive = |h: &&String| self.is(h, |s| !s.is_down() && !s.ended && !s.role_ended);
        hosts.iter().filter(alive).cloned().collect()
    }

    pub(super) fn entries(&self, entries: &[Entry], hosts: &[String], context: &Context) -> Result<()> {
        for entry in entries {
            if signal::caught().is_some() {
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

    fn block(&self, block: &Block, hosts: &[String], context: &Context) -> Result<()> {
        let inner = context.enter_role(block.role.as_ref()).enter(&block.keywords);
        self.warn_of_reserved(&block.keywords.vars);
        if let Some(used) = &block.role {
            for vars in [&used.role.defaults, &used.role.vars, &used.vars, &used.params] {
                self.warn_of_reserved(vars);
            }
        }
        let ran = block.once.clone();
        let rest: Vec<String>;
        let hosts = match &ran {
            Some(key) => {
                rest = hosts
                    .iter()
                    .filter(|h| !self.progress().completed.contains(&((*h).clone(), key.clone())))
                    .cloned()
                    .collect();
                rest.as_slice()
            }
            None => hosts,
        };
        if hosts.is_empty() {
            return Ok(());
        }
        let tried = Context { rescued: inner.rescued || !block.rescue.is_empty(), ..inner.clone() };
        self.entries(&block.block, hosts, &tried)?;
        let failed = |runner: &Self| -> Vec<String> {
            hosts.iter().filter(|h| runner.is(h, |s| s.failed)).cloned().collect()
        };
        if !block.rescue.is_empty() {
            let down = failed(self);
            for host in &down {
                self.mark(host, |s| s.failed = false);
            }
            if !down.is_empty() {
                self.entries(&block.rescue, &down, &inner)?;
            }
        }
        if !block.always.is_empty() {
            let down = failed(self);
            for host in &down {
                self.mark(host, |s| s.failed = false);
            }
            let cleared = self.progress().errors_cleared;
            self.entries(&block.always, hosts, &inner)?;
            // What `meta: clear_host_errors` forgave stays forgiven.
            let down = if cleared == self.progress().errors_cleared { down } else { vec![] };
            for host in &down {
                self.mark(host, |s| s.failed = true);
            }
        }
        if block.role.is_some() {
            for host in hosts {
                self.mark(host, |s| s.role_ended = false);
            }
        }
        if let Some(key) = ran {
            for host in self.active(hosts) {
                // A role all of whose tasks were skipped has not run.
                let mut progress = self.progress();
                if progress.completed.contains(&(host.clone(), had_run(inner.role.as_ref()))) {
                    progress.completed.insert((host, key.clone()));
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
        let uses_role =
            matches!(bakery_modules::canonical_name(&task.action), "include_role" | "import_role");
        let name = match &task.name {
            Some(name) => {
                let templar = self.templar(host, context, Map::new(), Some(task));
                templar.text(name).unwrap_or_else(|_| name.to_string())
            }
            None if uses_role => {
                let role = task.args.get("name").or_else(|| task.args.get("role"));
                format!("{} : {}", task.action, role.map(|r| r.to_string()).unwrap_or_default())
            }
            None => task.action.clone(),
        };
        // What uses a role is named without the role that it stands in (`IncludeRole.get_name` of ansible-core).
        match &context.role {
            Some(used) if !uses_role => format!("{} : {name}", used.role.name),
            _ => name,
        }
    }

    fn task(&self, task: &Arc<Task>, hosts: &[String], outer: &Context) -> Result<()> {
        let Some(first) = hosts.first() else { return Ok(()) };
        let context = outer.enter_role(task.role.as_ref()).enter(&task.keywords);
        self.warn_of_reserved(&task.keywords.vars);
        let tags = self.tags(&context, first);
        if !context.handler && !selected(&tags, &self.options.tags, &self.options.skip_tags) {
            return Ok(());
        }
        let name = self.shown_name(task, &context, first);
        if let Some(wanted) = self.options.start_at_task.as_deref().filter(|_| !self.progress().started) {
            let plain = task.name.as_ref().map(ToString::to_string).unwrap_or_default();
            let fits = glob::Pattern::new(wanted).is_ok_and(|p| p.matches(&name) || p.matches(&plain));
            if fits || name == wanted || name.ends_with(&format!(" : {wanted}")) {
                self.progress().started = true;
            } else {
                return Ok(());
            }
        }
        let lockstep = self.progress().lockstep;
        let mut info = TaskInfo {
            id: if lockstep { self.next_id() } else { Arc::as_ptr(task) as u64 },
            lockstep,
            name,
            action: task.action.clone(),
            args: task.args.clone(),
            role: context.role.as_ref().map(|used| used.role.name.clone()),
            origin: task.origin.clone(),
            handler: context.handler,
            no_log: false,
            diff: self.options.diff,
            check: context.check_mode.as_ref().map_or(self.options.check, Value::is_true),
            looped: task.r#loop.is_some(),
            path: task.file.clone(),
        };
        if bakery_modules::canonical_name(&task.action) == "meta" {
            let action = super::meta::check(task)?;
            self.callback().task_start(&info);
            return self.meta(task, &info, &action, hosts, &context);
        }
        let templar = self.templar(first, &context, Map::new(), Some(task));
        let truth = |value: &Option<Value>| {
            value.as_ref().is_some_and(|v| {
                templar.value(v).is_ok_and(|v| bakery_modules::args::boolean(&v).unwrap_or(false))
            })
        };
        // These act on the inventory and so once for all hosts, as `run_once` does.
        let bypass = matches!(bakery_modules::canonical_name(&task.action), "add_host" | "pause")
            || hosts.len() > 1 && self.acts_on_all(&task.action, &context);
        let run_once = truth(&context.run_once) || bypass;
        let fatal = (truth(&context.any_errors_fatal) || run_once) && !truth(&context.ignore_errors);
        let mut throttle = None;
        if let Some(wanted) = &context.throttle {
            let failed = |why: String| {
                let text = format!("Failed to convert the throttle value to an integer: {why}");
                crate::Error::other(bakery_lang::Diagnostic::at(&task.origin, text))
            };
            let value = templar.value(wanted).map_err(|e| failed(e.message))?;
            let number = value.as_int().or_else(|| value.to_string().trim().parse().ok());
            let number =
                number.ok_or_else(|| failed(format!("invalid literal for int() with base 10: {value:?}")))?;
            // None or fewer is no limit.
            throttle = usize::try_from(number).ok().filter(|n| *n > 0).map(|n| self.throttle(task, n));
        }
        info.no_log = truth(&context.no_log);
        info.diff |= truth(&context.diff);
        drop(templar);
        self.callback().task_start(&info);
        let mut includes: Vec<(Include, Vec<String>)> = Vec::new();
        let chosen = if run_once { &hosts[..1] } else { hosts };
        let before = self.before_debugger(&context, chosen);
        let ends = side_by_side(chosen, self.options.forks, |host| {
            let _limit = throttle.as_ref().map(|t| t.take());
            let _slot = self.slots.take();
            // Whoever stops a run does not want it on more hosts.
            if signal::caught().is_some() {
                return None;
            }
            let end = self.run_task(task, &info, host, &context);
            self.finish(&info, &context, host, &end);
            Some(end)
        });
        let mut known = Vec::new();
        for (at, (host, end)) in chosen.iter().zip(ends).enumerate() {
            let Some(end) = end else { continue };
            let end = match &before {
                Some(before) => self.debug(task, &info, (outer, &context), host, end, &before[at]),
                None => end,
            };
            known.push((host, end));
        }
        for (host, end) in known {
            if run_once && matches!(end.status, Status::Ok | Status::Changed) && context.role.is_some() {
                let mark = had_run(context.role.as_ref());
                self.progress().completed.extend(hosts.iter().map(|host| (host.clone(), mark.clone())));
            }
            if run_once {
                self.share(task, host, &end.result);
            }
            let targets = vec![host.clone()];
            for include in end.includes {
                match includes.iter_mut().find(|(known, _)| *known == include) {
                    Some((_, known)) => known.extend(targets.clone()),
                    None => includes.push((include, targets.clone())),
                }
            }
        }
        if let Some(broken) = self.progress().broken.take() {
            return Err(crate::Error::message(broken.message));
        }
        self.spread_failure(fatal, hosts);
        // All are read before the first of them runs.
        let mut loaded = Vec::new();
        for (include, targets) in includes {
            let around = (outer, &context);
            let read = self.include(task, &info, &include, &targets, around, fatal.then_some(hosts))?;
            loaded.extend(read.map(|(entries, inner)| (entries, inner, targets)));
        }
        for (entries, inner, targets) in loaded {
            self.entries(&entries, &targets, &inner)?;
        }
        Ok(())
    }

    /// What a task that runs once registers and finds out is known of all hosts of the batch.
    fn share(&self, task: &Task, host: &str, result: &Map) {
        let others: Vec<String> = self.scene().batch.iter().filter(|h| *h != host).cloned().collect();
        let parts = task.r#loop.as_ref().and_then(|_| result.get("results")?.as_items());
        let parts = parts.unwrap_or_else(|| vec![Value::Map(result.clone())]);
        for other in others.iter().filter(|h| self.is(h, |s| !s.unreachable)) {
            if let (Some(register), Some(state)) = (&task.register, self.host(other)) {
                state.vars.set.set(register, super::task::registered(result));
            }
            for part in &parts {
                if let Some(Value::Map(facts)) = part.get("ansible_facts") {
                    self.keep_facts(bakery_modules::canonical_name(&task.action), &task.args, other, &facts);
                }
            }
        }
    }

    /// `any_errors_fatal` and `max_fail_percentage`: when one host is down, all are.
    fn spread_failure(&self, fatal: bool, hosts: &[String]) {
        let down = |h: &&String| self.is(h, HostProgress::is_down);
        let failed_now = hosts.iter().filter(down).count();
        let batch = &self.scene().batch;
        let failed_ever = batch.iter().filter(down).count();
        let too_many = self
            .progress()
            .max_fail
            .is_some_and(|most| failed_ever as f64 / batch.len() as f64 * 100.0 > most);
        if (fatal || too_many) && failed_now > 0 {
            self.progress().stopped = true;
            for host in hosts {
                self.mark(host, |s| s.failed |= !s.unreachable);
            }
        }
    }

    /// Tells the result and counts it.
    pub(super) fn finish(&self, info: &TaskInfo, context: &Context, host: &str, end: &End) {
        let is_include = !end.includes.is_empty() || end.silent;
        if !is_include || end.status == Status::Failed {
            self.callback().result(
                info,
                host,
                end.status,
                &end.result,
                end.ignored,
                end.delegated.as_deref(),
            );
        }
        if matches!(end.status, Status::Ok | Status::Changed) && context.role.is_some() {
            self.progress().completed.insert((host.to_owned(), had_run(context.role.as_ref())));
        }
        let Some(host) = self.host(host) else { return };
        let mut state = host.progress();
        match end.status {
            // Files and roles are counted as they are included.
            Status::Ok if !end.includes.is_empty() => {}
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
                failed.set("path", format!("{}:{}", info.origin.source.name, info.origin.line));
                host.vars.set.set("ansible_failed_task", failed);
                host.vars.set.set("ansible_failed_result", end.result.copied());
                state.failed = true;
                if context.rescued {
                    state.stats.rescued += 1;
                } else {
                    state.stats.failed += 1;
                }
            }
            Status::Unreachable => {
                if end.ignored {
                    state.stats.ok += 1;
                    state.stats.ignored += 1;
                } else {
                    state.unreachable = true;
                    state.stats.unreachable += 1;
                }
            }
        }
    }

    /// What a task includes, with what is said around it; `None` where that failed, and its hosts with it.
    fn include(
        &self,
        task: &Arc<Task>,
        info: &TaskInfo,
        include: &Include,
        hosts: &[String],
        (outer, context): (&Context, &Context),
        all_if_fatal: Option<&[String]>,
    ) -> Result<Option<(Vec<Entry>, Context)>> {
        // Conditions and tags of an include are its own; variables go down, above what is set and registered.
        let mut inner = context.clone();
        inner.when.clone_from(&outer.when);
        inner.tags.clone_from(&outer.tags);
        inner.delegate_to.clone_from(&outer.delegate_to);
        inner.run_once.clone_from(&outer.run_once);
        inner.ignore_errors.clone_from(&outer.ignore_errors);
        inner.notify.clone_from(&outer.notify);
        if !task.keywords.vars.is_empty() {
            inner.include_params.push(task.keywords.vars.clone());
        }
        inner.include_params.push(include.params.clone());
        if let Some(Value::Map(apply)) = include.args.get("apply") {
            inner = inner.enter(&apply_keywords(&apply));
        }
        let collections: Vec<String> = inner.collections.iter().map(ToString::to_string).collect();
        let loaded = if include.role {
            self.loader().include_role(task, &include.args, &collections).map(|(used, block, gathered)| {
                self.collect_handlers(&gathered.handlers, &Context { handler: true, ..inner.clone() });
                let public = include.args.get("public");
                let settings = &self.loader().settings;
                // What the setting says holds for includes only where somebody set it.
                let (variable, section, key) = ("ANSIBLE_PRIVATE_ROLE_VARS", "defaults", "private_role_vars");
                let default = settings.text(variable, section, key).is_some()
                    && !settings.flag(variable, section, key, false);
                let public = public.map_or(default, |p| bakery_modules::args::boolean(&p).unwrap_or(false));
                let roles = gathered.public_roles.into_iter().filter(|r| public && !Arc::ptr_eq(r, &used));
                let roles: Vec<_> = roles.chain(public.then(|| Arc::clone(&used))).collect();
                self.change_scene(|scene| scene.public_roles.extend(roles));
                vec![Entry::Block(Arc::new(block))]
            })
        } else {
            self.loader().include_tasks(task, &include.file, &collections)
        };
        let nested = |entry: &Entry| match entry {
            Entry::Block(block) => block.block.iter().any(|inner| matches!(inner, Entry::Block(_))),
            Entry::Task(_) => false,
        };
        let loaded = match loaded {
            Ok(entries) if context.handler && !include.role && entries.iter().any(nested) => {
                let why = "Using a block as a handler is not supported.";
                Err(crate::Error::parse(bakery_lang::Diagnostic::at(&task.origin, why)))
            }
            loaded => loaded,
        };
        match loaded {
            Ok(entries) => {
                let shown = if include.role {
                    include.args.get("name").or_else(|| include.args.get("role")).map(|name| name.to_string())
                } else {
                    self.loader().include_path(task, &include.file).map(|path| path.display().to_string())
                };
                if let Some(shown) = shown {
                    self.callback().included(info, &shown, hosts, include.label.as_deref());
                }
                for host in hosts {
                    self.mark(host, |s| s.stats.ok += 1);
                }
                Ok(Some((entries, inner)))
            }
            // What cannot be understood ends the play; a file that is not there is a failure of its hosts.
            Err(error) if error.code == exit::PARSE_ERROR => Err(error),
            Err(error) => {
                if include.role {
                    let origin = include.args.get("name").and_then(|name| name.origin().cloned());
                    let origin = origin.unwrap_or_else(|| task.origin.clone());
                    let shown = bakery_lang::Diagnostic::at(&origin, error.diagnostic.message.as_str());
                    self.callback().error(None, &shown);
                } else {
                    self.callback().error(None, &error.diagnostic);
                }
                for host in hosts {
                    let result = Map::new();
                    result.set("changed", false);
                    result.set("failed", true);
                    result.set("reason", error.diagnostic.message.as_str());
                    if !include.role {
                        result.set("include", include.file.as_str());
                    }
                    let end = End::new(Status::Failed, result);
                    self.finish(info, context, host, &end);
                }
                if let Some(all) = all_if_fatal {
                    self.spread_failure(true, all);
                }
                Ok(None)
            }
        }
    }
}

/// The mark of a host for which a task of this use of a role has run.
fn had_run(role: Option<&Arc<RoleUse>>) -> String {
    format!("{:p}", role.map_or(std::ptr::null(), Arc::as_ptr))
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
        become_method: apply.get("become_method"),
        become_flags: apply.get("become_flags"),
        become_exe: apply.get("become_exe"),
        ignore_errors: apply.get("ignore_errors"),
        delegate_to: apply.get("delegate_to"),
        delegate_facts: apply.get("delegate_facts"),
        run_once: apply.get("run_once"),
        any_errors_fatal: apply.get("any_errors_fatal"),
        ignore_unreachable: apply.get("ignore_unreachable"),
        connection: apply.get("connection"),
        diff: apply.get("diff"),
        module_defaults: list("module_defaults"),
        notify: list("notify"),
        collections: list("collections"),
        no_log: apply.get("no_log"),
        check_mode: apply.get("check_mode"),
        ..Default::default()
    }
}
