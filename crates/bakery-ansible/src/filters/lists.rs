//! What filters do to lists and dictionaries: flattening, choosing, merging.

use bakery_jinja::{Arguments, Error, Result};
use bakery_lang::{Map, Value};

pub(super) fn items(value: &Value) -> Result<Vec<Value>> {
    bakery_jinja::ops::iterate(value)
}

pub(super) fn dedup(list: Vec<Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for item in list {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}

pub(super) fn flatten(value: &Value, levels: i128, skip_nulls: bool, out: &mut Vec<Value>) {
    for item in value.as_items().unwrap_or_else(|| vec![value.clone()]) {
        match &item {
            Value::None if skip_nulls => {}
            Value::Str(text) if skip_nulls && matches!(text.as_str(), "None" | "null") => {}
            Value::List(_) | Value::Tuple(_) if levels >= 1 => flatten(&item, levels - 1, skip_nulls, out),
            _ => out.push(item),
        }
    }
}

pub(super) fn choose(
    list: &[Value],
    size: usize,
    ordered: bool,
    held: &mut Vec<usize>,
    out: &mut Vec<Value>,
) {
    if held.len() == size {
        out.push(Value::tuple(held.iter().map(|at| list[*at].clone()).collect()));
        return;
    }
    let from = if ordered { 0 } else { held.last().map_or(0, |l| l + 1) };
    for at in from..list.len() {
        if !held.contains(&at) && out.len() < 1_000_000 {
            held.push(at);
            choose(list, size, ordered, held, out);
            held.pop();
        }
    }
}

pub(super) fn combine(value: &Value, args: &Arguments) -> Result<Value> {
    let recursive = args.named("recursive").is_some_and(|v| v.is_true());
    let list_merge = args.named("list_merge").map_or_else(|| "replace".to_owned(), |v| v.to_string());
    if args.named.iter().any(|(name, _)| !matches!(name.as_str(), "recursive" | "list_merge")) {
        return Err(Error::new("'recursive' and 'list_merge' are the only valid keyword arguments"));
    }
    let given = Value::list(std::iter::once(value).chain(&args.positional).cloned().collect());
    let mut maps = Vec::new();
    flatten(&given, 1, true, &mut maps);
    let out = Map::new();
    for map in maps {
        let map = map.as_map().ok_or_else(|| {
            let kind = map.type_name();
            Error::new(format!("failed to combine variables, expected dicts but got a '{kind}'"))
        })?;
        merge_into(&out, map, recursive, &list_merge);
    }
    Ok(out.into())
}

pub(crate) fn merge_into(out: &Map, map: &Map, recursive: bool, list_merge: &str) {
    for (key, value) in map.pairs() {
        let merged = match (out.get_value(&key), &value) {
            (Some(Value::Map(old)), Value::Map(new)) if recursive => {
                let inner = old.copied();
                merge_into(&inner, new, recursive, list_merge);
                inner.into()
            }
            (Some(Value::List(old)), Value::List(new)) if list_merge != "replace" => {
                let (old, new) = (old.items(), new.items());
                let without = |a: &[Value], b: &[Value]| {
                    a.iter().filter(|v| !b.contains(v)).cloned().collect::<Vec<_>>()
                };
                Value::list(match list_merge {
                    "keep" => old,
                    "append" => [old, new].concat(),
                    "prepend" => [new, old].concat(),
                    "append_rp" => [without(&old, &new), new].concat(),
                    _ => [new.clone(), without(&old, &new)].concat(),
                })
            }
            _ => value,
        };
        out.insert(key, merged);
    }
}

pub(super) fn subelements(value: &Value, args: &Arguments) -> Result<Value> {
    let path = args.need(0, "subelements")?;
    if value.as_map().is_none() && value.as_items().is_none() {
        return Err(Error::new("obj must be a list of dicts or a nested dict"));
    }
    let keys: Vec<String> = match &path {
        Value::Str(s) => s.as_str().split('.').map(str::to_owned).collect(),
        Value::List(keys) => keys.items().iter().map(ToString::to_string).collect(),
        _ => return Err(Error::new("subelements must be a list or a string")),
    };
    let skip = args.flag(1, "skip_missing", false);
    let elements = match value {
        Value::Map(map) => map.pairs().into_iter().map(|(_, v)| v).collect(),
        other => items(other)?,
    };
    let mut out = Vec::new();
    for element in elements {
        let mut found = element.clone();
        for key in &keys {
            let map = found.as_map().ok_or_else(|| {
                Error::new(format!("the key {key} should point to a dictionary, got '{found}'"))
            })?;
            found = match map.get(key) {
                Some(value) => value,
                None if skip => {
                    found = Value::list(vec![]);
                    break;
                }
                None => {
                    return Err(Error::new(format!("could not find '{key}' key in iterated item {found:?}")));
                }
            };
        }
        let last = keys.last().map(String::as_str).unwrap_or_default();
        let Value::List(list) = &found else {
            return Err(Error::new(format!("the key '{last}' should point to a list, got {found:?}")));
        };
        out.extend(list.items().into_iter().map(|v| Value::tuple(vec![element.clone(), v])));
    }
    Ok(out.into())
}
