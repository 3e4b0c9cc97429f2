//! What a result does: facts and variables that are kept, changes of the inventory, statistics, and the conditions that
//! judge it.

use std::sync::Arc;

use bakery_lang::{Diagnostic, Map, Value};

use super::context::Context;
use super::run::Runner;
use crate::playbook::Task;

impl Runner<'_> {
    /// Facts, included variables, and changes of the inventory.
    pub(super) fn keep(&self, action: &str, args: &Map, host: &str, result: &Map) {
        if let Some(Value::Map(facts)) = result.get("ansible_facts") {
            self.keep_facts(action, args, host, &facts);
        }
        if let Some(Value::Map(vars)) = result.get("ansible_included_vars") {
            if let Some(state) = self.host(host) {
                self.warn_of_reserved(&vars);
                state.vars.included.extend(&vars);
            }
            result.set("ansible_facts", vars);
        }
        if action == "set_stats"
            && let Some(Value::Map(stats)) = result.get("ansible_stats")
        {
            self.collect_stats(host, &stats);
        }
        if let Some(Value::Map(new)) = result.get("add_host") {
            self.add_host(&new, result);
        }
        if let Some(Value::Map(new)) = result.get("group_by") {
            let key = new
                .get("key")
                .or_else(|| new.get("_raw_params"))
                .map(|k| k.to_string().replace(' ', "-"))
                .unwrap_or_default();
            let parents = new.get("parents").and_then(|p| bakery_modules::args::string_list(&p).ok());
            let parents = parents.unwrap_or_default();
            let known = self.scene().inventory.groups_of(host).contains(&key);
            let touched = self.change_inventory(|inventory| {
                inventory.add_host(host, &key);
                for parent in &parents {
                    inventory.add_child(&parent.replace(' ', "-"), &key);
                }
                // A group that comes to be in another one changes what all its hosts know.
                match (known, parents.is_empty()) {
                    (true, true) => vec![],
                    (false, true) => vec![host.to_owned()],
                    (_, false) => inventory.hosts_of(&key),
                }
            });
            self.progress().added.push((host.to_owned(), key.clone(), Map::new(), false));
            result.set("changed", !known);
            result.set("add_group", key.as_str());
            if let Err(error) = self.refresh_vars(&touched) {
                self.callback().error(None, &error.diagnostic);
            }
        }
    }

    /// Facts that a result has, in the place of the action that found them.
    pub(super) fn keep_facts(&self, action: &str, args: &Map, host: &str, facts: &Map) {
        let Ok(state) = self.known_host(host) else { return };
        self.warn_of_reserved(facts);
        if action == "set_fact" {
            state.vars.set.extend(facts);
            let is_cached = |given: Value| bakery_modules::args::boolean(&given).unwrap_or(false);
            if !args.get("cacheable").is_some_and(is_cached) {
                return;
            }
            state.vars.facts.extend(facts);
        } else {
            state.vars.facts.extend(facts);
            state.progress().gathered |= facts.contains("_ansible_facts_gathered");
        }
        if let Some(cache) = &self.loader().fact_cache
            && let Err(trouble) = cache.write(host, &state.vars.facts)
        {
            self.callback().warning(&trouble);
        }
    }

    /// `add_host` (`ansible/plugins/action/add_host.py`).
    fn add_host(&self, given: &Map, result: &Map) {
        let new = Map::new();
        if let Some(Value::Map(raw)) = given.get("_raw_params") {
            new.extend(&raw);
        }
        new.extend(given);
        new.remove("_raw_params");
        let named = |names: &[&str]| names.iter().find_map(|n| new.get(n)).filter(|v| !v.is_none());
        let Some(name) = named(&["name", "hostname", "host"]).map(|n| n.to_string()) else {
            result.set("failed", true);
            result.set("msg", "name, host or hostname needs to be provided");
            return;
        };
        let (name, port) = crate::inventory::with_port(&name);
        let groups = match named(&["groupname", "groups", "group"]) {
            None => vec![],
            Some(groups @ (Value::Str(_) | Value::List(_))) => {
                bakery_modules::args::string_list(&groups).unwrap_or_default()
            }
            Some(_) => {
                result.set("failed", true);
                result.set("msg", "Groups must be specified as a list.");
                return;
            }
        };
        let vars = Map::new();
        for (key, value) in new.pairs() {
            if !matches!(key.as_str(), Some("name" | "hostname" | "groupname" | "groups")) {
                vars.insert(key, value);
            }
        }
        if let Some(port) = port {
            vars.set("ansible_ssh_port", port);
        }
        let inventory = Arc::clone(&self.scene().inventory);
        let mut changed = !inventory.has(&name);
        let known = inventory.groups_of(&name);
        changed |= groups.iter().any(|g| !known.contains(g));
        let before = inventory.hosts.get(&name).map(Map::copied).unwrap_or_default();
        drop(inventory);
        let own = self.change_inventory(|inventory| inventory.add_host(&name, "ungrouped"));
        own.extend(&vars);
        changed |= Value::Map(before) != Value::Map(own);
        for group in groups.iter().map(String::as_str).chain(groups.is_empty().then_some("ungrouped")) {
            self.change_inventory(|inventory| inventory.add_host(&name, group.trim()));
            self.progress().added.push((name.clone(), group.trim().to_owned(), vars.copied(), true));
        }
        if let Err(error) = self.refresh_vars(std::slice::from_ref(&name)) {
            self.callback().error(None, &error.diagnostic);
        }
        let shown = Map::from_iter([
            ("host_name", Value::from(name)),
            ("groups", Value::strings(&groups)),
            ("host_vars", Value::Map(vars)),
        ]);
        result.set("add_host", shown);
        result.set("changed", changed);
    }

    /// `set_stats`: for the run or for a host; values of the same kind are added up when they are aggregated
    /// (`ansible/executor/stats.py`).
    fn collect_stats(&self, host: &str, stats: &Map) {
        let is = |name: &str| stats.get(name).is_some_and(|v| v.is_true());
        let key = if is("per_host") { host } else { "_run" };
        let own = match self.custom_stats.get(key) {
            Some(Value::Map(own)) => own,
            _ => {
                let own = Map::new();
                self.custom_stats.set(key, own.clone());
                own
            }
        };
        for (name, value) in stats.get("data").and_then(|d| d.as_map().map(Map::pairs)).unwrap_or_default() {
            let sum = match (own.get_value(&name), &value) {
                (Some(Value::Map(old)), Value::Map(new)) if is("aggregate") => {
                    let both = old.copied();
                    crate::vars::merge(&both, new);
                    Some(Value::Map(both))
                }
                (Some(old), _) if is("aggregate") && old.type_name() == value.type_name() => {
                    bakery_jinja::ops::binary(bakery_jinja::ops::Binary::Add, &old, &value).ok()
                }
                _ => None,
            };
            own.insert(name, sum.unwrap_or(value));
        }
    }

    /// `changed_when` and `failed_when`.
    pub(super) fn judge(
        &self,
        task: &Task,
        result: &Map,
        host: &str,
        context: &Context,
        local: &Map,
    ) -> Result<(), (&'static str, Diagnostic)> {
        if !result.contains("failed") && result.get("rc").is_some_and(|rc| rc != Value::Int(0)) {
            result.set("failed", true);
        }
        if result.get("skipped").is_some_and(|s| s.is_true())
            || (task.changed_when.is_empty() && task.failed_when.is_empty())
        {
            return Ok(());
        }
        if !result.contains("failed") {
            result.set("failed", false);
        }
        let seen = local.copied();
        if let Some(name) = &task.register {
            seen.set(name, result.copied());
        }
        for (key, value) in result.pairs() {
            // The result's own keys are seen where nothing else has the name, as `rc` in old roles.
            if matches!(key.as_str(), Some("rc" | "stdout" | "stderr" | "stdout_lines" | "stderr_lines"))
                && seen.get_value(&key).is_none()
            {
                seen.insert(key, value);
            }
        }
        let templar = self.templar(host, context, seen, Some(task));
        let changed = if task.changed_when.is_empty() {
            None
        } else {
            Some(templar.all(&task.changed_when).map_err(|e| ("changed_when_result", e))?.is_none())
        };
        let failed = if task.failed_when.is_empty() {
            None
        } else {
            Some(templar.all(&task.failed_when).map_err(|e| ("failed_when_result", e))?.is_none())
        };
        if let Some(changed) = changed {
            result.set("changed", changed);
        }
        if let Some(failed) = failed {
            if !failed && result.get("failed").is_some_and(|f| f.is_true()) {
                // What had failed and is no failure is still told.
                let why = result.remove("exception").unwrap_or_else(|| "(traceback unavailable)".into());
                result.set("failed_when_suppressed_exception", why);
            }
            result.set("failed", failed);
            result.set("failed_when_result", failed);
        }
        Ok(())
    }
}
