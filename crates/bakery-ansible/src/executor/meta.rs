//! Meta actions (`ansible/plugins/strategy/__init__.py`, `_execute_meta`).

use std::sync::Arc;

use bakery_lang::{Diagnostic, Map};

use super::context::Context;
use super::run::Runner;
use crate::callback::{Status, TaskInfo};
use crate::playbook::Task;
use crate::{Error, Result};

const KNOWN: &[&str] = &[
    "clear_facts",
    "clear_host_errors",
    "end_batch",
    "end_host",
    "end_play",
    "end_role",
    "flush_handlers",
    "noop",
    "refresh_inventory",
    "reset_connection",
];

/// Whether a word is a meta action.
pub(super) fn check(task: &Task) -> Result<String> {
    let action = task.args.get("_raw_params").map(|v| v.to_string()).unwrap_or_default();
    if KNOWN.contains(&action.as_str()) {
        return Ok(action);
    }
    Err(Error::parse(
        Diagnostic::at(&task.origin, format!("invalid meta action requested: {action}"))
            .maybe_hint(bakery_lang::suggest(&action, KNOWN.iter().copied())),
    ))
}

impl Runner<'_> {
    pub(super) fn meta(
        &self,
        task: &Task,
        info: &TaskInfo,
        action: &str,
        hosts: &[String],
        context: &Context,
    ) -> Result<()> {
        if action == "end_role" && context.handler {
            let text = "Cannot execute 'end_role' from a handler";
            return Err(Error::other(Diagnostic::at(&task.origin, text)));
        }
        if action == "end_role" && context.role.is_none() {
            let text = "Cannot execute 'end_role' from outside of a role";
            return Err(Error::other(Diagnostic::at(&task.origin, text)));
        }
        let mut chosen: Vec<String> = Vec::new();
        let mut others: Vec<String> = Vec::new();
        // Actions for the whole batch look at their condition once, for the first host.
        let per_host =
            matches!(action, "noop" | "reset_connection" | "end_host" | "flush_handlers" | "end_role");
        let conditional = !matches!(action, "noop" | "refresh_inventory" | "reset_connection");
        if !conditional && !context.when.is_empty() {
            self.show_warnings(vec![format!("{action} task does not support when conditional")]);
        }
        for host in if per_host { hosts } else { &hosts[..1] } {
            let templar = self.templar(host, context, Map::new(), Some(task));
            match templar.all(&context.when) {
                _ if !conditional => chosen.push(host.clone()),
                Ok(None) => chosen.push(host.clone()),
                Ok(Some(_)) => others.push(host.clone()),
                Err(diagnostic) => return Err(Error::other(diagnostic)),
            }
        }
        for host in &others {
            let rest = match action {
                "flush_handlers" => format!(", not running handlers for {host}"),
                "clear_facts" => format!(", not clearing facts and fact cache for {host}"),
                "clear_host_errors" => format!(", not clearing host error state for {host}"),
                "end_batch" => ", continuing current batch".into(),
                "end_play" => ", continuing play".into(),
                "end_host" => format!(", continuing execution for {host}"),
                "end_role" => {
                    let role = context.role.as_ref().map(|r| r.role.name.clone()).unwrap_or_default();
                    format!("continuing role {role} for {host}")
                }
                _ => String::new(),
            };
            let reason = format!("{action} conditional evaluated to False{rest}");
            self.callback().verbose(2, &format!("META: {reason}"));
            let result = Map::new();
            let text = if action == "end_host" {
                format!("end_host conditional evaluated to false, continuing execution for {host}")
            } else {
                action.to_owned()
            };
            result.set("msg", text);
            result.set("skipped", true);
            result.set("skip_reason", reason);
            self.callback().result(info, host, Status::Skipped, &result, false, None);
        }
        for host in &chosen {
            let text = match action {
                "flush_handlers" => format!("triggered running handlers for {host}"),
                "refresh_inventory" => "inventory successfully refreshed".into(),
                "clear_facts" => "facts cleared".into(),
                "clear_host_errors" => "cleared host errors".into(),
                "end_batch" => "ending batch".into(),
                "end_play" => "ending play".into(),
                "end_host" => format!("ending play for {host}"),
                "end_role" => {
                    let role = context.role.as_ref().map(|r| r.role.name.clone()).unwrap_or_default();
                    format!("ending role {role} for {host}")
                }
                "reset_connection" => "reset connection".into(),
                other => other.to_owned(),
            };
            self.callback().verbose(2, &format!("META: {text}"));
        }
        if chosen.is_empty() {
            return Ok(());
        }
        let batch = self.scene().batch.clone();
        match action {
            "flush_handlers" => {
                if context.handler {
                    return Err(Error::other(Diagnostic::at(
                        &task.origin,
                        "flush_handlers cannot be used as a handler",
                    )));
                }
                return self.flush_handlers(&chosen);
            }
            "clear_facts" => {
                for host in &batch {
                    if let Some(state) = self.host(host) {
                        state.vars.facts.replace(&Map::new());
                        if let Some(cache) = &self.loader().fact_cache {
                            cache.forget(host);
                        }
                        state.progress().gathered = false;
                    }
                }
            }
            "clear_host_errors" => {
                {
                    let mut progress = self.progress();
                    progress.errors_cleared += 1;
                    progress.stopped = false;
                }
                for host in self.scene().play_hosts.clone() {
                    self.mark(&host, |s| {
                        s.failed = false;
                        s.unreachable = false;
                    });
                }
            }
            "end_host" => {
                for host in &chosen {
                    self.mark(host, |s| s.ended = true);
                }
            }
            "end_role" => {
                for host in &chosen {
                    self.mark(host, |s| s.role_ended = true);
                }
            }
            "end_play" | "end_batch" => {
                for host in &batch {
                    self.mark(host, |s| s.ended |= !s.unreachable);
                }
                self.progress().play_ended |= action == "end_play";
            }
            "refresh_inventory" => self.refresh_inventory()?,
            "reset_connection" => {
                for host in &chosen {
                    let templar = self.templar(host, context, Map::new(), Some(task));
                    if let Ok(endpoint) = self.endpoint(host, None, context, &templar) {
                        self.connections.reset(&endpoint);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads the inventory's sources again, and adds again what was added while running.
    fn refresh_inventory(&self) -> Result<()> {
        let sources = self.scene().inventory.sources.clone();
        let (inventory, warnings) = crate::inventory::Inventory::load(&sources, &self.loader())?;
        self.show_warnings(warnings);
        let mut inventory = inventory;
        for (host, group, vars, is_new) in self.progress().added.clone() {
            if !is_new && !inventory.has(&host) {
                continue;
            }
            inventory.add_host(&host, &group).extend(&vars);
        }
        self.change_scene(|scene| scene.inventory = Arc::new(inventory));
        let hosts: Vec<String> = self.scene().hosts.keys().cloned().collect();
        self.refresh_vars(&hosts)
    }

    /// Reads what the inventory says of hosts again, after it was changed for them.
    pub(super) fn refresh_vars(&self, hosts: &[String]) -> Result<()> {
        for host in hosts.iter().filter(|h| self.scene().hosts.contains_key(*h)).cloned().collect::<Vec<_>>()
        {
            let vars = self.scene().inventory.host_vars(&host, &self.loader())?;
            if let Some(state) = self.host(&host) {
                state.vars.groups.replace(&vars.groups);
                state.vars.host.replace(&vars.host);
            }
        }
        Ok(())
    }
}
