//! Inventories that make variables and groups out of those that are there (`ansible/plugins/inventory/constructed.py`).

use std::path::Path;
use std::sync::Arc;

use bakery_jinja::Environment;
use bakery_lang::{Map, Value};

use super::Inventory;
use super::sources::ranges;
use crate::playbook::Loader;
use crate::vars::Layers;
use crate::{Error, Result, Templar};

/// Runs the plugin that a configuration names.
pub(super) fn apply(inventory: &mut Inventory, config: &Map, path: &Path, loader: &Loader) -> Result<()> {
    let plugin = config.get("plugin").map(|p| p.to_string()).unwrap_or_default();
    match bakery_modules::canonical_name(&plugin) {
        "constructed" => {}
        "advanced_host_list" | "host_list" => {
            for host in config.get("hosts").and_then(|h| h.as_items()).unwrap_or_default() {
                ranges(&host.to_string())?.iter().for_each(|h| {
                    inventory.add_host(h, "ungrouped");
                });
            }
            return Ok(());
        }
        other => {
            return Err(Error::message(format!(
                "{}: the inventory plugin `{other}` is not one that bakery has; use an executable script instead",
                path.display()
            )));
        }
    }
    let strict = config.get("strict").is_some_and(|s| s.is_true());
    let leading = config.get("leading_separator").is_none_or(|s| s.is_true());
    let environment = Arc::new(Environment::new());
    for host in inventory.hosts.keys().cloned().collect::<Vec<_>>() {
        let failed = |what: &str, message: &str| {
            Error::message(format!(
                "failed to parse {}: Could not {what} for host {host}: {message}",
                path.display()
            ))
        };
        let templar = |inventory: &Inventory| -> Result<Templar> {
            let vars = inventory.host_vars(&host, loader)?;
            let magic = Map::new();
            magic.set("inventory_hostname", host.as_str());
            magic.set("group_names", Value::strings(inventory.groups_of(&host)));
            let mut layers = Layers::default();
            for layer in [&magic, &loader.extra_vars, &vars.host, &vars.groups] {
                layers.push(layer);
            }
            Ok(Templar::new(Arc::clone(&environment), layers, vec![]))
        };
        let now = templar(inventory)?;
        for (name, expression) in
            config.get("compose").and_then(|c| c.as_map().cloned()).unwrap_or_default().pairs()
        {
            match now.environment.expression(&expression.to_string(), &now).map(|v| v.forced()) {
                Ok(value) if !value.is_undefined() => {
                    inventory.hosts.entry(host.clone()).or_default().insert(name, value);
                }
                Ok(value) if strict => return Err(failed(&format!("set {name}"), &format!("{value:?}"))),
                Err(error) if strict => return Err(failed(&format!("set {name}"), &error.message)),
                _ => {}
            }
        }
        let now = templar(inventory)?;
        for (group, condition) in
            config.get("groups").and_then(|c| c.as_map().cloned()).unwrap_or_default().pairs()
        {
            match now.condition(&condition) {
                Ok(true) => {
                    inventory.add_host(&host, &sanitized(&group.to_string()));
                }
                Err(error) if strict => return Err(failed(&format!("add to group {group}"), &error.message)),
                _ => {}
            }
        }
        for keyed in config.get("keyed_groups").and_then(|k| k.as_items()).unwrap_or_default() {
            keyed_group(inventory, &host, &keyed, &templar(inventory)?, strict, leading)
                .map_err(|message| failed("generate group from keyed_groups", &message))?;
        }
    }
    Ok(())
}

fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// One entry of `keyed_groups`: groups named by the value of `key`.
fn keyed_group(
    inventory: &mut Inventory,
    host: &str,
    keyed: &Value,
    templar: &Templar,
    strict: bool,
    leading: bool,
) -> std::result::Result<(), String> {
    let expression = keyed.get("key").map(|k| k.to_string()).ok_or("No key supplied, invalid entry")?;
    let text = |name: &str| keyed.get(name).map(|v| v.to_string());
    let prefix = match keyed.get("prefix") {
        Some(prefix) => templar.text(&prefix).map_err(|d| d.message)?,
        None => String::new(),
    };
    let separator = text("separator").unwrap_or_else(|| "_".into());
    let default = text("default_value");
    let trailing = keyed.get("trailing_separator").is_none_or(|v| v.is_true());
    if default.is_some() && keyed.get("trailing_separator").is_some() {
        return Err(
            "parameters are mutually exclusive for keyed groups: default_value|trailing_separator".into()
        );
    }
    let value = match templar.environment.expression(&expression, templar) {
        Ok(value) if !value.is_undefined() => value,
        Ok(value) if strict => return Err(format!("{value:?}")),
        Err(error) if strict => return Err(error.message),
        _ => return Ok(()),
    };
    let empty = |value: &Value| value.is_none() || value.as_str() == Some("");
    let mut names: Vec<String> = Vec::new();
    match &value {
        Value::Map(map) => {
            for (key, value) in map.pairs() {
                names.push(match &default {
                    Some(default) if empty(&value) => format!("{key}{separator}{default}"),
                    None if empty(&value) && !trailing => key.to_string(),
                    _ => format!("{key}{separator}{value}"),
                });
            }
        }
        Value::List(items) => {
            for item in items.items() {
                names.push(match &default {
                    Some(default) if empty(&item) => default.clone(),
                    _ => item.to_string(),
                });
            }
        }
        other => match &default {
            Some(default) if empty(other) => names.push(default.clone()),
            _ if !other.is_true() => {}
            _ => names.push(other.to_string()),
        },
    }
    for name in names {
        let full = if name.is_empty() && !trailing {
            prefix.clone()
        } else if prefix.is_empty() && !leading {
            name
        } else {
            format!("{prefix}{separator}{name}")
        };
        let group = sanitized(&full);
        inventory.add_host(host, &group);
        if let Some(parent) = keyed.get("parent_group") {
            let parent = templar.text(&parent).map_err(|d| d.message)?;
            inventory.add_child(&sanitized(&parent), &group);
        }
    }
    Ok(())
}
