//! `joiner` and `cycler`: objects of templates that keep a state (`jinja2/utils.py`). They are mappings with keys that
//! no template writes.

use bakery_lang::{Map, Value};

use crate::{Arguments, Error, Result};

const SEPARATOR: &str = "\0separator";
const IS_USED: &str = "\0used";
const ITEMS: &str = "\0items";
const AT: &str = "\0at";
const NAMESPACE: &str = "\0namespace";

/// Marks a mapping as a namespace, whose attributes can be set.
pub(crate) fn make_namespace(map: &Map) {
    map.set(NAMESPACE, true);
}

/// Whether a mapping is a namespace.
pub(crate) fn is_namespace(map: &Map) -> bool {
    map.contains(NAMESPACE)
}

/// `joiner(sep)`: called first it gives nothing, then the separator.
pub(crate) fn joiner(args: &Arguments) -> Value {
    Value::map([(SEPARATOR, args.text(0, "sep", ", ").into()), (IS_USED, Value::from(false))])
}

/// `cycler(a, b, …)`: `next()` gives one after the other, `current` the one to come, `reset()` begins again.
pub(crate) fn cycler(args: &Arguments) -> Result<Value> {
    let first = args.positional.first().ok_or_else(|| Error::new("at least one item has to be provided"))?;
    Ok(Value::map([
        (ITEMS, Value::list(args.positional.clone())),
        (AT, 0.into()),
        ("current", first.clone()),
    ]))
}

/// What a call of an object gives, if it is a joiner.
pub(crate) fn called(object: &Value) -> Option<Value> {
    let map = object.as_map()?;
    let separator = map.get(SEPARATOR)?;
    let is_used = map.get(IS_USED).is_some_and(|used| used.is_true());
    map.set(IS_USED, true);
    Some(if is_used { separator } else { "".into() })
}

/// What a method of an object gives, if it is a cycler's.
pub(crate) fn method(object: &Value, name: &str) -> Option<Value> {
    let map: &Map = object.as_map()?;
    let items = map.get(ITEMS)?.as_items()?;
    let at = map.get(AT)?.as_int().and_then(|at| usize::try_from(at).ok())?;
    let (given, next) = match name {
        "next" => (map.get("current")?, (at + 1) % items.len()),
        "reset" => (Value::None, 0),
        _ => return None,
    };
    map.set(AT, next);
    map.set("current", items.get(next)?.clone());
    Some(given)
}
