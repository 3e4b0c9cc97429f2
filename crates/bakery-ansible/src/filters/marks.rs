//! JSON with marks of what is unsafe and of vaults (the `profile` of `from_json` and `to_json`), and what is known of a value
//! beside its characters (`ansible/_internal/_json/_profiles`, the collection `ansible._protomatter`).

use bakery_jinja::{Arguments, Error, Result};
use bakery_lang::{Map, Source, Text, Value, json, yaml};

use crate::Templar;

/// Reads JSON. Text in it is a template only with a profile that has marks, and if the text that it is in was one's own.
pub(super) fn from_json(templar: &Templar, value: &Value, args: &Arguments) -> Result<Value> {
    let mut text = value.to_string();
    if let Some((without, escape, at)) = json::without_lone_surrogates(&text) {
        let refuses = templar.loader.as_ref().is_none_or(|loader| loader.settings.refuses_surrogates());
        if refuses {
            return Err(Error::new(format!(
                "Refusing to deserialize an invalid UTF8 string value: 'utf-8' codec can't encode character '{escape}' in position {at}: surrogates not allowed"
            )));
        }
        text = without;
    }
    let plain = json::parse(&text).map_err(|e| Error::new(e.to_string()))?;
    match args.get(0, "profile").filter(|p| !p.is_none()).map(|p| p.to_string()).as_deref() {
        None | Some("tagless" | "fallback_to_str") => Ok(plain),
        Some(profile @ ("legacy" | "inventory_legacy")) => {
            let source = Source::new("from_json", text);
            let mut node = yaml::parse_json_or_yaml(&source).map_err(|e| Error::new(e.message))?;
            if let Some(loader) = &templar.loader {
                loader.unlock(&mut node);
            }
            let read = node.to_value();
            let is_own = matches!(value, Value::Str(text) if text.origin().is_some());
            Ok(match read {
                read if !is_own => read.untrusted(),
                Value::Map(map) if profile == "inventory_legacy" => of_inventory(&map).into(),
                read => read,
            })
        }
        Some(other) => Err(Error::new(format!("Unknown profile name '{other}'."))),
    }
}

/// What an inventory says: only variables are templates.
fn of_inventory(all: &Map) -> Map {
    let kept = |map: &Map, name: &str| {
        let others = |(key, value): (Value, Value)| {
            let is_kept = key.as_str() == Some(name);
            (key, if is_kept { value } else { value.untrusted() })
        };
        map.pairs().into_iter().map(others).collect::<Map>()
    };
    let group = |(key, value): (Value, Value)| {
        let part = if key.as_str() == Some("_meta") { "hostvars" } else { "vars" };
        let value = match value {
            Value::Map(map) => kept(&map, part).into(),
            other => other.untrusted(),
        };
        (key, value)
    };
    all.pairs().into_iter().map(group).collect()
}

/// A value as JSON is to have it: with marks, if the profile asks for them.
pub(super) fn for_json(value: &Value, args: &Arguments) -> Result<Value> {
    match args.named("profile").filter(|p| !p.is_none()).map(|p| p.to_string()).as_deref() {
        None | Some("tagless" | "fallback_to_str") => Ok(value.clone()),
        Some("legacy" | "inventory_legacy") => Ok(yaml::marked(value, false, true)),
        Some(other) => Err(Error::new(format!("Unknown profile name '{other}'."))),
    }
}

/// The filters of the collection that ansible-core has for looking into itself, as far as there is such a thing here.
pub(super) fn call(name: &str, value: &Value) -> Option<Result<Value>> {
    if !matches!(name, "apply_trust" | "origin" | "tag_names") {
        return None;
    }
    let origin = value.origin();
    Some(Ok(match (name, value) {
        (_, Value::Undefined(_)) => value.clone(),
        ("apply_trust", Value::Str(text)) => {
            let origin = Source::new("apply_trust", text.as_str()).at_offset(0);
            Value::Str(Text::written(text.as_str(), origin))
        }
        ("origin", _) => {
            origin.map_or(Value::None, |at| format!("{}:{}:{}", at.source.name, at.line, at.column).into())
        }
        ("tag_names", _) => {
            let tags = [
                ("Origin", origin.is_some()),
                ("TrustedAsTemplate", is_tagged(value, "TrustedAsTemplate").unwrap_or(false)),
                ("VaultedValue", value.vault().is_some()),
            ];
            Value::strings(tags.iter().filter(|(_, is)| *is).map(|(name, _)| *name))
        }
        _ => value.clone(),
    }))
}

/// Whether something is known of a value.
///
/// # Errors
/// What there is no name for.
pub(crate) fn is_tagged(value: &Value, tag: &str) -> Result<bool> {
    match tag {
        "TrustedAsTemplate" => Ok(matches!(value, Value::Str(text) if text.origin().is_some())),
        "Origin" => Ok(value.origin().is_some()),
        "VaultedValue" => Ok(value.vault().is_some()),
        other => Err(Error::new(format!("Unknown tag name '{other}'."))),
    }
}
