//! Inventories in TOML (`ansible/plugins/inventory/toml.py`): tables of groups, as YAML inventories have them, whose
//! children are lists of names.

use bakery_lang::{Map, Source, Time, Value};

use super::sources::written;
use crate::{Error, Result};

/// The groups of an inventory.
///
/// # Errors
/// Text that is no TOML, or in which nothing is.
pub(super) fn groups(source: &std::sync::Arc<Source>) -> Result<Map> {
    let table: toml::Table = source.text.parse().map_err(|e: toml::de::Error| {
        let at = source.at_offset(e.span().map_or(0, |span| span.start));
        Error::parse(bakery_lang::Diagnostic::at(&at, format!("the TOML is not valid: {}", e.message())))
    })?;
    if table.is_empty() {
        return Err(Error::message("Parsed empty TOML file"));
    }
    let origin = source.at_offset(0);
    let groups = Map::new();
    for (name, group) in &table {
        let group = written(&value(group), &origin);
        if let Some(group) = group.as_map()
            && let Some(Value::List(children)) = group.get("children")
        {
            group.set("children", children.items().into_iter().map(|c| (c, Value::None)).collect::<Map>());
        }
        groups.set(name, group);
    }
    Ok(groups)
}

fn value(found: &toml::Value) -> Value {
    match found {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Datetime(time) => {
            let text = time.to_string();
            let clock = || Time::parse(&text, "%H:%M:%S").ok();
            let clock = || match clock()? {
                Time::Moment(moment, _) => Some(Time::Clock(moment.time())),
                _ => None,
            };
            Time::of_yaml(&text).or_else(clock).map_or_else(|| text.into(), Value::from)
        }
        toml::Value::Array(items) => Value::list(items.iter().map(value).collect()),
        toml::Value::Table(table) => table.iter().map(|(k, v)| (k, value(v))).collect::<Map>().into(),
    }
}
