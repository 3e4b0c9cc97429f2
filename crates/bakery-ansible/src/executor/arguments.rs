//! The arguments of a task's module, with the defaults that `module_defaults` gives.

use bakery_lang::{Diagnostic, Map, Text, Value};

use super::context::Context;
use super::run::Runner;
use crate::playbook::Task;
use crate::{Templar, foreign};

impl Runner<'_> {
    /// The arguments of what a task names, which is called `action` here, evaluated; those of `debug: var=` and `assert: that=` are expressions and stay.
    pub(super) fn arguments(
        &self,
        task: &Task,
        named: &str,
        action: &str,
        templar: &Templar,
        context: &Context,
    ) -> Result<Map, Diagnostic> {
        let mut raw = task.args.copied();
        if action == "set_fact" {
            // Names of facts may be templates, too.
            raw = raw
                .pairs()
                .into_iter()
                .map(|(k, v)| (Value::Str(Text::written(k.to_string(), task.origin.clone())), v))
                .collect();
        }
        let mut kept = Vec::new();
        for name in match action {
            "debug" => &["var"][..],
            "assert" => &["that"][..],
            _ => &[][..],
        } {
            if let Some(value) = raw.remove(name) {
                kept.push((*name, value));
            }
        }
        // From the least to the most important, all of them below what is written as a mapping or as words.
        let mut below = vec![raw.remove("_variable_params")];
        if raw.contains("_raw_params") && !self.takes_raw(named, action, context) {
            let text = raw.remove("_raw_params");
            let is_template = |text: &str| text.starts_with("{{") && text.ends_with("}}");
            if !text.as_ref().is_some_and(|text| is_template(text.to_string().trim())) {
                let text = format!("Action '{}' does not support raw params.", full_name(action));
                return Err(Diagnostic::at(&task.origin, text));
            }
            below.push(text);
        }
        let args = Map::new();
        for (key, value) in raw.pairs() {
            // A key may be a template, too.
            let one = Map::from_iter([(key.clone(), value)]);
            match templar.value(&Value::Map(one)) {
                Ok(evaluated) => args.extend(evaluated.as_map().unwrap_or(&Map::new())),
                Err(mut error) => {
                    error.message = format!(
                        "Finalization of task args for '{}' failed: Error while resolving value for '{key}': {}",
                        full_name(action),
                        error.message
                    );
                    return Err(error);
                }
            }
        }
        for layer in below.into_iter().rev().flatten() {
            for (key, value) in given_by_template(&layer, action, templar)?.pairs() {
                // What is left out hides what it would replace.
                if args.get_value(&key).is_none() && raw.get_value(&key).is_none() {
                    args.insert(key, value);
                }
            }
        }
        for (name, value) in kept {
            args.set(name, value);
        }
        for (key, value) in self.module_defaults(named, templar, context)?.pairs() {
            if args.get_value(&key).is_none() {
                args.insert(key, value);
            }
        }
        Ok(args)
    }

    /// What the collections that are searched in a context have under a name without one.
    pub(super) fn in_collections(&self, name: &str, context: &Context) -> Option<String> {
        if context.collections.is_empty() {
            return None;
        }
        self.in_scope(context, |scope| scope.in_collections(name))
    }

    /// Asks about names where a context looks for them.
    fn in_scope<T>(&self, context: &Context, ask: impl FnOnce(&foreign::Scope<'_>) -> T) -> T {
        let collections: Vec<String> = context.collections.iter().map(ToString::to_string).collect();
        let loader = self.loader();
        ask(&foreign::Scope { loader: &loader, role: context.role.as_ref(), collections: &collections })
    }

    /// Whether what a task names takes text that is not `key=value` words.
    fn takes_raw(&self, named: &str, action: &str, context: &Context) -> bool {
        crate::playbook::is_free_form(action) || self.in_scope(context, |scope| scope.takes_raw(named))
    }

    /// Whether an action in Python does its work once, for all hosts.
    pub(super) fn acts_on_all(&self, name: &str, context: &Context) -> bool {
        let short = bakery_modules::canonical_name(name);
        if crate::actions::NAMES.contains(&short) || bakery_modules::find(short).is_some() {
            return false;
        }
        self.in_scope(context, |scope| scope.acts_on_all(name))
    }

    /// What is given where a module's arguments are not: first what groups that it is in have, over that what its name has;
    /// of the same name, what is written further in (`_get_action_arg_defaults`).
    pub(super) fn module_defaults(
        &self,
        name: &str,
        templar: &Templar,
        context: &Context,
    ) -> Result<Map, Diagnostic> {
        if context.module_defaults.is_empty() {
            return Ok(Map::new());
        }
        self.in_scope(context, |scope| defaults_in(scope, name, templar, context))
    }
}

/// The defaults that a context has for a name which a scope resolves.
fn defaults_in(
    scope: &foreign::Scope<'_>,
    name: &str,
    templar: &Templar,
    context: &Context,
) -> Result<Map, Diagnostic> {
    let out = Map::new();
    let full = scope.full_name(name);
    let groups = Map::new();
    let mut own = None;
    for defaults in &context.module_defaults {
        let Value::Map(defaults) = templar.value(defaults)? else { continue };
        for (entry, given) in defaults.pairs() {
            let entry = entry.to_string();
            if let Some(group) = entry.strip_prefix("group/") {
                groups.set(group, given);
            } else if scope.names_of_entry(&entry).contains(&full) {
                own = Some(given);
            }
        }
    }
    for (group, given) in groups.pairs() {
        let group = group.to_string();
        let members =
            scope.loader.action_group(&group, &|warning| templar.warn(warning)).ok_or_else(|| {
                let text = format!(
                    "Error loading module_defaults: could not resolve the module_defaults group {group}"
                );
                Diagnostic { message: text, origin: given.origin().cloned(), hint: None }
            })?;
        let is_member = |member: &String| scope.name_of_entry(member).is_some_and(|name| name == full);
        if let (Value::Map(given), true) = (&given, members.contains(&full) || members.iter().any(is_member))
        {
            out.extend(given);
        }
    }
    if let Some(Value::Map(given)) = own {
        out.extend(&given);
    }
    Ok(out)
}

/// The arguments that a template makes (`ansible/_internal/_task.py`).
fn given_by_template(layer: &Value, action: &str, templar: &Templar) -> Result<Map, Diagnostic> {
    match templar.value(layer)? {
        Value::Map(map) => Ok(map),
        // Old playbooks keep `key=value` words in a variable.
        Value::Str(text) if text.as_str().contains('=') => {
            Ok(crate::playbook::parse_key_values(text.as_str(), None, None))
        }
        Value::Omit | Value::None => Ok(Map::new()),
        other => {
            let message = format!(
                "Finalization of task args for '{}' failed: Task args must resolve to a 'dict' not '{}'.",
                full_name(action),
                other.type_name()
            );
            Err(Diagnostic { message, origin: layer.origin().cloned(), hint: None })
        }
    }
}

/// A module's name with its collection, as errors have it.
pub(super) fn full_name(action: &str) -> String {
    if action.contains('.') { action.to_owned() } else { format!("ansible.builtin.{action}") }
}
