//! Handlers: which ones a notification means, and running those (`ansible/plugins/strategy/__init__.py`,
//! `search_handlers_by_notification`; `ansible/executor/play_iterator.py`).

use std::sync::Arc;

use bakery_lang::{Diagnostic, Map, Value};

use super::context::Context;
use super::run::Runner;
use crate::Result;
use crate::playbook::{Entry, Task};

impl Runner<'_> {
    /// Adds handlers with the context they were defined in.
    pub(super) fn collect_handlers(&self, entries: &[Entry], context: &Context) {
        for entry in entries {
            match entry {
                Entry::Task(task) => {
                    let role = task.role.clone();
                    let context = context.enter_role(role.as_ref()).into_owned();
                    let context = Context { handler: true, ..context };
                    self.handlers_mut().push((Arc::clone(task), context));
                }
                Entry::Block(block) => {
                    let inner = context.enter(&block.keywords);
                    self.collect_handlers(&block.block, &inner);
                }
            }
        }
    }

    /// A handler's name; `None` when it has none or depends on a host.
    fn handler_name(&self, host: &str, at: usize) -> Option<String> {
        let (handler, context) = self.handlers()[at].clone();
        let name = handler.name.as_ref()?;
        let inner = context.enter(&handler.keywords);
        let templar = self.templar(host, &inner, Map::new(), None);
        match templar.text(name) {
            Ok(name) => Some(name),
            Err(error) => {
                if handler.listen.is_empty() {
                    self.show_warnings(vec![format!(
                        "Handler '{name}' is unusable because it has no listen topics and the name could not be templated (host-specific variables are not supported in handler names). The error: {}",
                        error.message
                    )]);
                }
                None
            }
        }
    }

    /// The handlers that a name or topic means: of those with the same name the one loaded last, and all that listen.
    fn handlers_of(&self, host: &str, notification: &str) -> Vec<usize> {
        let mut found = Vec::new();
        // A later file or role wins, but within one list the first.
        let mut order: Vec<usize> = (0..self.handlers().len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.handler_group(*at)));
        for at in order {
            let Some(name) = self.handler_name(host, at) else { continue };
            let with_role = self.handlers()[at].1.role.as_ref().map(|used| {
                let short = used.role.name.rsplit('.').next().unwrap_or_default();
                [format!("{} : {name}", used.role.name), format!("{short} : {name}")]
            });
            if name == notification || with_role.is_some_and(|names| names.iter().any(|n| n == notification))
            {
                found.push(at);
                break;
            }
        }
        let mut seen: Vec<String> = Vec::new();
        for at in (0..self.handlers().len()).rev() {
            let listens = self.handlers()[at].0.listen.iter().any(|topic| {
                let with_role = self.handlers()[at].1.role.as_ref().is_some_and(|used| {
                    let short = used.role.name.rsplit('.').next().unwrap_or_default();
                    [used.role.name.as_str(), short]
                        .iter()
                        .any(|role| notification == format!("{role} : {topic}"))
                });
                topic.to_string() == notification
                    || with_role
                    || topic.as_items().is_some_and(|i| i.iter().any(|t| t.to_string() == notification))
            });
            if !listens {
                continue;
            }
            match self.handler_name(host, at) {
                Some(name) if seen.contains(&name) => {}
                name => {
                    seen.extend(name);
                    found.push(at);
                }
            }
        }
        found
    }

    /// The position of the list that a handler is in: files and roles are loaded in order.
    fn handler_group(&self, at: usize) -> usize {
        let mut group = 0;
        for pair in self.handlers()[..=at].windows(2) {
            let same_role = match (&pair[0].1.role, &pair[1].1.role) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            if pair[0].0.file != pair[1].0.file || !same_role {
                group += 1;
            }
        }
        group
    }

    /// Marks the handlers that names or topics mean.
    pub(super) fn notify(
        &self,
        host: &str,
        names: &[String],
        task: &Task,
        by_handler: bool,
    ) -> std::result::Result<(), Diagnostic> {
        for name in names {
            let found = self.handlers_of(host, name);
            if found.is_empty() {
                let known: Vec<String> = self
                    .handlers()
                    .iter()
                    .filter_map(|(h, _)| h.name.as_ref().map(ToString::to_string))
                    .collect();
                let hint = bakery_lang::suggest(name, known.iter().map(String::as_str));
                let error = Diagnostic::at(
                    &task.origin,
                    format!("The requested handler '{name}' was not found in either the main handlers list nor in the listening handlers list"),
                )
                .maybe_hint(hint);
                let fatal = self.loader().settings.flag(
                    "ANSIBLE_ERROR_ON_MISSING_HANDLER",
                    "defaults",
                    "error_on_missing_handler",
                    true,
                );
                if fatal {
                    return Err(error);
                }
                self.show_warnings(vec![error.message]);
                continue;
            }
            self.mark(host, |s| {
                if by_handler {
                    s.notified.extend(found);
                } else if !s.notifications.contains(name) {
                    s.notifications.push(name.clone());
                }
            });
        }
        Ok(())
    }

    /// Runs what was notified, in order of definition.
    pub(super) fn flush_handlers(&self, hosts: &[String]) -> Result<()> {
        let of_play = self.scene().play.as_ref().and_then(|p| p.force_handlers.as_ref()).map(Value::is_true);
        let force = of_play.unwrap_or(self.options.force_handlers);
        for host in hosts {
            if self.is(host, |s| !s.notifications.is_empty()) {
                let text = format!("META: triggered running handlers for {host}");
                self.callback().verbose(crate::callback::DEBUG, &text);
            }
            for name in self.mark(host, |s| s.notifications.clone()) {
                let found = self.handlers_of(host, &name);
                self.mark(host, |s| s.notified.extend(found));
            }
            self.mark(host, |s| s.notifications.clear());
        }
        let mut at = 0;
        // A host that fails in a handler runs no more of them.
        let mut out: Vec<String> = Vec::new();
        while at < self.handlers().len() {
            let ready: Vec<String> = hosts
                .iter()
                .filter(|h| {
                    self.is(h, |s| {
                        s.notified.contains(&at) && !s.unreachable && !s.ended && (!s.failed || force)
                    }) && !out.contains(h)
                })
                .cloned()
                .collect();
            if !ready.is_empty() {
                let (task, context) = self.handlers()[at].clone();
                let mut down = Vec::new();
                for host in &ready {
                    let was_down = self.mark(host, |s| {
                        s.notified.remove(&at);
                        std::mem::replace(&mut s.failed, false)
                    });
                    if was_down {
                        down.push(host.clone());
                    }
                }
                self.entries(&[Entry::Task(task)], &ready, &context)?;
                for host in &ready {
                    if self.is(host, |s| s.failed) {
                        out.push(host.clone());
                    }
                }
                for host in down {
                    self.mark(&host, |s| s.failed = true);
                }
            }
            at += 1;
        }
        Ok(())
    }
}
