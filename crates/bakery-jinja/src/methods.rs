//! Methods of Python's `str`, `list`, `dict` and numbers.

use bakery_lang::{List, Map, Value};

use crate::format::{format, pad};
use crate::{Arguments, Error, Result, ops};

/// Whether a method changes its object, so that it must be called on the very object and not on a copy.
pub(crate) fn mutates(name: &str) -> bool {
    matches!(
        name,
        "append"
            | "extend"
            | "insert"
            | "pop"
            | "remove"
            | "sort"
            | "reverse"
            | "update"
            | "setdefault"
            | "clear"
            | "popitem"
    )
}

/// `object.name(args)`.
pub(crate) fn call(object: &Value, name: &str, args: &Arguments) -> Result<Value> {
    let found = match object {
        Value::Str(text) => str_method(text.as_str(), name, args),
        Value::List(list) => list_method(list, name, args),
        Value::Tuple(items) => sequence_method(items, name, args),
        Value::Map(map) => map_method(map, name, args),
        Value::Time(time) => {
            time.call(name, &args.positional, &args.named).map(|made| made.map_err(Error::new))
        }
        Value::Int(i) => match name {
            "bit_length" => Some(Ok((128 - i.unsigned_abs().leading_zeros()).into())),
            _ => None,
        },
        Value::Big(number) if name == "bit_length" => Some(Ok(number.bits().into())),
        Value::Bool(b) if name == "bit_length" => Some(Ok(i128::from(*b).into())),
        Value::Float(f) => match name {
            "is_integer" => Some(Ok((f.fract() == 0.0).into())),
            _ => None,
        },
        _ => None,
    };
    found.unwrap_or_else(|| {
        Err(Error::undefined(format!("object of type '{}' has no attribute '{name}'", object.type_name())))
    })
}

fn str_method(s: &str, name: &str, args: &Arguments) -> Option<Result<Value>> {
    let text = |at: usize| args.positional.get(at).map(ToString::to_string);
    let affixes = |at: usize| match args.positional.get(at) {
        Some(Value::Tuple(items)) => items.iter().map(ToString::to_string).collect(),
        Some(other) => vec![other.to_string()],
        None => vec![],
    };
    let set = |at: usize| {
        let set = args.positional.get(at).filter(|v| !v.is_none()).map(ToString::to_string);
        move |c: char| set.as_ref().map_or(c.is_whitespace(), |set| set.contains(c))
    };
    let index = |found: Option<usize>| found.map(|at| s[..at].chars().count() as i128);
    let fill = || text(1).and_then(|f| f.chars().next()).unwrap_or(' ');
    let width = || args.int(0, "width", 0).clamp(0, 1_000_000) as usize;
    let all = |test: fn(char) -> bool| Value::Bool(!s.is_empty() && s.chars().all(test));
    Some(Ok(match name {
        "upper" => s.to_uppercase().into(),
        "lower" => s.to_lowercase().into(),
        "casefold" => s.to_lowercase().replace('ß', "ss").into(),
        "capitalize" => capitalize(s).into(),
        "title" => title(s).into(),
        "swapcase" => s
            .chars()
            .flat_map(|c| {
                if c.is_uppercase() {
                    c.to_lowercase().collect::<Vec<_>>()
                } else {
                    c.to_uppercase().collect()
                }
            })
            .collect::<String>()
            .into(),
        "strip" => s.trim_matches(set(0)).into(),
        "lstrip" => s.trim_start_matches(set(0)).into(),
        "rstrip" => s.trim_end_matches(set(0)).into(),
        "startswith" => affixes(0).iter().any(|p| s.starts_with(p.as_str())).into(),
        "endswith" => affixes(0).iter().any(|p| s.ends_with(p.as_str())).into(),
        "removeprefix" => s.strip_prefix(&text(0)?).unwrap_or(s).into(),
        "removesuffix" => s.strip_suffix(&text(0)?).unwrap_or(s).into(),
        "split" | "rsplit" => {
            let separator = args.get(0, "sep").filter(|v| !v.is_none()).map(|v| v.to_string());
            let limit = args.int(1, "maxsplit", -1);
            Value::strings(split(s, separator.as_deref(), limit, name == "rsplit"))
        }
        "splitlines" => {
            let keep = args.flag(0, "keepends", false);
            if keep { Value::strings(s.split_inclusive('\n')) } else { Value::strings(s.lines()) }
        }
        "partition" => {
            let separator = text(0)?;
            let (a, b, c) = s.split_once(&separator).map_or((s, "", ""), |(a, c)| (a, separator.as_str(), c));
            Value::tuple(vec![a.into(), b.into(), c.into()])
        }
        "rpartition" => {
            let separator = text(0)?;
            let (a, b, c) =
                s.rsplit_once(&separator).map_or(("", "", s), |(a, c)| (a, separator.as_str(), c));
            Value::tuple(vec![a.into(), b.into(), c.into()])
        }
        "join" => {
            let mut parts = Vec::new();
            match ops::iterate(args.positional.first()?) {
                Ok(items) => {
                    for item in items {
                        let Some(part) = item.as_str() else {
                            let kind = item.type_name();
                            return Some(Err(Error::new(format!(
                                "sequence item: expected str instance, {kind} found"
                            ))));
                        };
                        parts.push(part.to_owned());
                    }
                }
                Err(error) => return Some(Err(error)),
            }
            return Some(ops::join(&parts, s));
        }
        "replace" => {
            let (from, to) = (text(0)?, text(1)?);
            let most = args.positional.get(2).and_then(Value::as_int);
            return Some(ops::replace(s, &from, &to, most.and_then(|count| usize::try_from(count).ok())));
        }
        "find" => index(s.find(&text(0)?)).unwrap_or(-1).into(),
        "rfind" => index(s.rfind(&text(0)?)).unwrap_or(-1).into(),
        "index" | "rindex" => {
            let needle = text(0)?;
            match index(if name == "index" { s.find(&needle) } else { s.rfind(&needle) }) {
                Some(at) => at.into(),
                None => return Some(Err(Error::new("substring not found"))),
            }
        }
        "count" => s.matches(&text(0)?).count().into(),
        "format" => return Some(format(s, args).map(Value::from)),
        "zfill" => {
            let (sign, digits) = s.split_at(usize::from(s.starts_with(['-', '+'])));
            format!("{sign}{}", pad(digits, width().saturating_sub(sign.len()), '>', '0')).into()
        }
        "ljust" => pad(s, width(), '<', fill()).into(),
        "rjust" => pad(s, width(), '>', fill()).into(),
        "center" => crate::text::center(s, width(), fill()).into(),
        "expandtabs" => crate::text::expand_tabs(s, args.int(0, "tabsize", 8).clamp(0, 64) as usize).into(),
        "isdigit" | "isdecimal" | "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(char::is_whitespace),
        "isupper" => (s.chars().any(char::is_uppercase) && !s.chars().any(char::is_lowercase)).into(),
        "islower" => (s.chars().any(char::is_lowercase) && !s.chars().any(char::is_uppercase)).into(),
        "encode" | "decode" => s.into(),
        _ => return None,
    }))
}

pub(crate) fn capitalize(s: &str) -> String {
    let mut chars = s.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().collect::<String>() + &chars.as_str().to_lowercase()
    })
}

pub(crate) fn title(s: &str) -> String {
    let mut start = true;
    s.chars()
        .flat_map(|c| {
            let mut out: Vec<char> =
                if start { c.to_uppercase().collect() } else { c.to_lowercase().collect() };
            // `ß` begins a word as `Ss`; what has no case ends one.
            let rest = out.split_off(1.min(out.len()));
            out.extend(rest.into_iter().flat_map(char::to_lowercase));
            start = !c.is_uppercase() && !c.is_lowercase();
            out
        })
        .collect()
}

pub(crate) fn split(s: &str, separator: Option<&str>, limit: i128, from_right: bool) -> Vec<String> {
    let limit = if limit < 0 { usize::MAX } else { limit as usize };
    match separator {
        Some(separator) if from_right => {
            let mut parts: Vec<String> =
                s.rsplitn(limit.saturating_add(1), separator).map(str::to_owned).collect();
            parts.reverse();
            parts
        }
        Some(separator) => s.splitn(limit.saturating_add(1), separator).map(str::to_owned).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = s.trim();
            while !rest.is_empty() {
                let cut =
                    if from_right { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
                match cut {
                    Some(at) if parts.len() < limit => {
                        if from_right {
                            let next = rest[at..].chars().next().map_or(1, char::len_utf8);
                            parts.push(rest[at + next..].to_owned());
                            rest = rest[..at].trim_end();
                        } else {
                            parts.push(rest[..at].to_owned());
                            rest = rest[at..].trim_start();
                        }
                    }
                    _ => {
                        parts.push(rest.to_owned());
                        break;
                    }
                }
            }
            if from_right {
                parts.reverse();
            }
            parts
        }
    }
}

fn sequence_method(items: &[Value], name: &str, args: &Arguments) -> Option<Result<Value>> {
    let needle = args.positional.first();
    Some(match name {
        "index" => {
            items.iter().position(|v| Some(v) == needle).map(Value::from).ok_or_else(|| {
                Error::new(format!("{:?} is not in list", needle.cloned().unwrap_or_default()))
            })
        }
        "count" => Ok(items.iter().filter(|v| Some(*v) == needle).count().into()),
        _ => return None,
    })
}

fn list_method(list: &List, name: &str, args: &Arguments) -> Option<Result<Value>> {
    let first = || args.positional.first().cloned().unwrap_or_default();
    let none = Ok(Value::None);
    Some(match name {
        "append" => {
            list.update(|items| items.push(first()));
            none
        }
        "extend" => ops::iterate(&first()).map(|more| {
            list.update(|items| items.extend(more));
            Value::None
        }),
        "insert" => {
            let at = args.int(0, "index", 0);
            let value = args.positional.get(1).cloned().unwrap_or_default();
            list.update(|items| {
                let length = items.len() as i128;
                let at = if at < 0 { (at + length).max(0) } else { at.min(length) };
                items.insert(at as usize, value);
            });
            none
        }
        "pop" => {
            let at = args.int(0, "index", -1);
            list.update(|items| {
                let length = items.len() as i128;
                let at = if at < 0 { at + length } else { at };
                if (0..length).contains(&at) {
                    Ok(items.remove(at as usize))
                } else {
                    Err(Error::new("pop index out of range"))
                }
            })
        }
        "remove" => {
            let value = first();
            list.update(|items| match items.iter().position(|v| *v == value) {
                Some(at) => {
                    items.remove(at);
                    Ok(Value::None)
                }
                None => Err(Error::new("list.remove(x): x not in list")),
            })
        }
        "reverse" => {
            list.update(|items| items.reverse());
            none
        }
        "sort" => {
            let reverse = args.named("reverse").is_some_and(|v| v.is_true());
            crate::filters::sort_values(list.items(), reverse, true).map(|sorted| {
                list.update(|items| *items = sorted);
                Value::None
            })
        }
        "clear" => {
            list.update(Vec::clear);
            none
        }
        "copy" => Ok(Value::list(list.items())),
        _ => return sequence_method(&list.items(), name, args),
    })
}

fn map_method(map: &Map, name: &str, args: &Arguments) -> Option<Result<Value>> {
    let key = || args.positional.first().cloned().unwrap_or_default();
    let default = || args.positional.get(1).cloned();
    Some(Ok(match name {
        "items" | "iteritems" => {
            Value::list(map.pairs().into_iter().map(|(k, v)| Value::tuple(vec![k, v])).collect())
        }
        "keys" | "iterkeys" => Value::list(map.keys()),
        "values" | "itervalues" => Value::list(map.pairs().into_iter().map(|(_, v)| v).collect()),
        "get" => {
            map.get_value(&key()).or_else(|| default().or_else(|| args.named("default"))).unwrap_or_default()
        }
        "has_key" => map.contains_value(&key()).into(),
        "update" => {
            if let Some(first) = args.positional.first() {
                match ops::to_map(first) {
                    Ok(other) => map.extend(other.as_map()?),
                    Err(error) => return Some(Err(error)),
                }
            }
            args.named.iter().for_each(|(k, v)| map.set(k, v.clone()));
            Value::None
        }
        "setdefault" => map.get_value(&key()).unwrap_or_else(|| {
            let value = default().unwrap_or_default();
            map.insert(key(), value.clone());
            value
        }),
        "pop" => match map.update(|pairs| pairs.shift_remove(&key())).or_else(default) {
            Some(value) => value,
            None => return Some(Err(Error::new(format!("KeyError: {:?}", key())))),
        },
        "popitem" => match map.update(indexmap::IndexMap::pop) {
            Some((k, v)) => Value::tuple(vec![k, v]),
            None => return Some(Err(Error::new("popitem(): dictionary is empty"))),
        },
        "clear" => {
            map.update(indexmap::IndexMap::clear);
            Value::None
        }
        "copy" => map.copied().into(),
        // The `loop` object of a `for` statement.
        "cycle" if map.contains("index0") => {
            let at = map.get("index0").and_then(|v| v.as_int()).unwrap_or(0) as usize;
            args.positional.get(at % args.positional.len().max(1)).cloned().unwrap_or_default()
        }
        "changed" if map.contains("index0") => {
            let now = args.positional.clone();
            match map.get("__changed") {
                Some(Value::List(last)) => last.update(|last| {
                    let changed = *last != now || map.get("index0") == Some(Value::Int(0));
                    *last = now;
                    Value::Bool(changed)
                }),
                _ => Value::Bool(true),
            }
        }
        _ => return None,
    }))
}
