//! Jinja2's own filters (`jinja2/filters.py`).

use bakery_lang::random::Random;
use bakery_lang::whole::BigInt;
use bakery_lang::{Map, Value, json, whole};

use crate::eval::{Evaluator, attribute, item};
use crate::methods::capitalize;
use crate::{Arguments, Error, Result, ops, render, text};

/// The filters of this crate.
pub const NAMES: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// Runs a filter; `None` for one that is not known here.
pub(crate) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    value: &Value,
    args: &Arguments,
) -> Option<Result<Value>> {
    if !NAMES.contains(&name) {
        return None;
    }
    if matches!(name, "default" | "d") {
        let use_default = value.is_undefined() || (args.flag(1, "boolean", false) && !value.is_true());
        let default = args.get(0, "default_value").unwrap_or_else(|| Value::from(""));
        return Some(Ok(if use_default { default } else { value.clone() }));
    }
    if value.is_undefined() && name == "items" {
        return Some(Ok(Value::list(vec![])));
    }
    if value.is_undefined() {
        return Some(Err(Error::of_undefined(value)));
    }
    Some(run(evaluator, name, value, args).and_then(bounded))
}

/// Text that grows with every filter must not take the memory.
pub(crate) fn bounded(value: Value) -> Result<Value> {
    match value.as_str() {
        Some(text) if text.len() > ops::MOST_TEXT => Err(Error::new("the text is too long")),
        _ => Ok(value),
    }
}

fn run(evaluator: &mut Evaluator<'_>, name: &str, value: &Value, args: &Arguments) -> Result<Value> {
    let as_text = || value.to_string();
    let items = || ops::iterate(value);
    Ok(match name {
        "abs" => match value {
            Value::Float(f) => f.abs().into(),
            other => {
                let number = other.as_whole().ok_or_else(|| Error::new("abs needs a number"))?;
                BigInt::from(number.magnitude().clone()).into()
            }
        },
        "attr" => attribute(value, &args.text(0, "name", ""))?,
        "batch" => {
            let size = ops::times(args.int(0, "linecount", 1).max(1), 1)?;
            let mut rows: Vec<Vec<Value>> = items()?.chunks(size).map(<[Value]>::to_vec).collect();
            if let (Some(fill), Some(last)) = (args.get(1, "fill_with"), rows.last_mut()) {
                last.resize(size, fill);
            }
            Value::list(rows.into_iter().map(Value::list).collect())
        }
        "capitalize" => capitalize(&as_text()).into(),
        "center" => text::center(&as_text(), args.int(0, "width", 80).clamp(0, 100_000) as usize, ' ').into(),
        "count" | "length" => match value {
            Value::Map(map) => map.len().into(),
            _ => items()
                .map_err(|_| Error::new(format!("object of type '{}' has no len()", value.type_name())))?
                .len()
                .into(),
        },
        "dictsort" => dictsort(value, args)?,
        "urlize" => crate::links::urlize(&as_text(), args)?.into(),
        "e" | "escape" | "forceescape" => escape(&as_text()).into(),
        "filesizeformat" => text::file_size(value, args.flag(0, "binary", false))?.into(),
        "first" => items()?
            .into_iter()
            .next()
            .unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")),
        "last" => items()?.pop().unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")),
        "float" => to_float(value).unwrap_or_else(|| args.get(0, "default").unwrap_or(Value::Float(0.0))),
        "int" => {
            let base = args.int(1, "base", 10);
            to_int(value, base as u32).unwrap_or_else(|| args.get(0, "default").unwrap_or(Value::Int(0)))
        }
        "format" => {
            let args = if args.named.is_empty() {
                Value::tuple(args.positional.clone())
            } else {
                args.named.iter().map(|(k, v)| (k, v.clone())).collect::<Map>().into()
            };
            crate::format::percent(&as_text(), &args)?.into()
        }
        "groupby" => groupby(value, args)?,
        "indent" => indent(&text::only(value, name)?, args).into(),
        "items" => Value::list(
            value
                .as_map()
                .ok_or_else(|| Error::new("Can only get item pairs from a mapping."))?
                .pairs()
                .into_iter()
                .map(|(k, v)| Value::tuple(vec![k, v]))
                .collect(),
        ),
        "join" => {
            let by = args.named("attribute").or_else(|| args.positional.get(1).cloned());
            let parts: Vec<String> = items()?
                .iter()
                .map(|item| match &by {
                    Some(path) => there(deep_attribute(item, path)?).map(|v| v.to_string()),
                    None => Ok(item.to_string()),
                })
                .collect::<Result<_>>()?;
            ops::join(&parts, &args.text(0, "d", ""))?
        }
        "list" => Value::list(items()?),
        "lower" => as_text().to_lowercase().into(),
        "upper" => as_text().to_uppercase().into(),
        "title" => text::title(&as_text()).into(),
        "map" => map(evaluator, value, args)?,
        "max" | "min" => {
            let attribute = args.named("attribute");
            let mut best: Option<(Value, Value)> = None;
            for item in items()? {
                let key = match &attribute {
                    Some(path) => deep_attribute(&item, path)?,
                    None => item.clone(),
                };
                let wins = match &best {
                    Some((_, held)) => {
                        let is_plain = args.flag(0, "case_sensitive", false);
                        let (a, b) =
                            if is_plain { (key.clone(), held.clone()) } else { (fold(&key), fold(held)) };
                        let order = ops::order(&a, &b, "<")?;
                        order
                            == Some(if name == "max" {
                                std::cmp::Ordering::Greater
                            } else {
                                std::cmp::Ordering::Less
                            })
                    }
                    None => true,
                };
                if wins {
                    best = Some((item, key));
                }
            }
            best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(item, _)| item)
        }
        "pprint" => crate::pretty::pretty(value).into(),
        "random" => Random::of_system()
            .choice(&items()?)
            .cloned()
            .unwrap_or_else(|| Value::undefined("No random item, sequence was empty.")),
        "select" | "reject" | "selectattr" | "rejectattr" => select(evaluator, name, value, args)?,
        "replace" => {
            let most = args.get(2, "count").and_then(|v| v.as_int()).and_then(|n| usize::try_from(n).ok());
            ops::replace(&as_text(), &args.text(0, "old", ""), &args.text(1, "new", ""), most)?
        }
        "reverse" => match value {
            Value::Str(s) => s.as_str().chars().rev().collect::<String>().into(),
            _ => Value::list(items()?.into_iter().rev().collect()),
        },
        "round" => {
            let number = value.as_float().ok_or_else(|| Error::new("round needs a number"))?;
            let precision = args.int(0, "precision", 0).clamp(-300, 300) as i32;
            let factor = 10f64.powi(precision);
            let method = args.text(1, "method", "common");
            // A whole number stays one.
            if method == "common"
                && let Some(number) = value.as_whole()
            {
                return Ok(whole::rounded(number, precision.min(0).unsigned_abs()).into());
            }
            Value::Float(match method.as_str() {
                "ceil" => (number * factor).ceil() / factor,
                "floor" => (number * factor).floor() / factor,
                // As written in decimals, and not as multiplied in halves.
                _ if precision >= 0 => {
                    // No double has more digits.
                    let digits = precision.min(1100) as usize;
                    format!("{number:.digits$}").parse().unwrap_or(number)
                }
                _ => (number * factor).round_ties_even() / factor,
            })
        }
        "safe" | "string" => match value.first_undefined().filter(|_| evaluator.scope.is_strict_inside()) {
            Some(missing) => return Err(Error::of_undefined(&missing)),
            None => as_text().into(),
        },
        "slice" => {
            let (count, items) = (ops::times(args.int(0, "slices", 1).max(1), 1)?, items()?);
            let (per, extra) = (items.len() / count, items.len() % count);
            let mut rows = Vec::new();
            let mut at = 0;
            for row in 0..count {
                let end = at + per + usize::from(row < extra);
                let mut part = items[at..end].to_vec();
                if let Some(fill) = args.get(1, "fill_with").filter(|v| !v.is_none() && row >= extra) {
                    part.push(fill);
                }
                rows.push(Value::list(part));
                at = end;
            }
            Value::list(rows)
        }
        "sort" => {
            let reverse = args.flag(0, "reverse", false);
            let case_sensitive = args.flag(1, "case_sensitive", false);
            match args.get(2, "attribute") {
                None => Value::list(sort_values(items()?, reverse, case_sensitive)?),
                Some(paths) => {
                    let paths: Vec<Value> = paths.to_string().split(',').map(Value::from).collect();
                    let items = items()?;
                    // Of one item nothing is compared.
                    if items.len() < 2 {
                        return Ok(Value::list(items));
                    }
                    sort_by(items, reverse, case_sensitive, |item| {
                        paths
                            .iter()
                            .map(|path| deep_attribute(item, path).and_then(there))
                            .collect::<Result<Vec<_>>>()
                            .map(Value::tuple)
                    })?
                }
            }
        }
        "striptags" => {
            let text = as_text();
            let (mut out, mut rest) = (String::new(), text.as_str());
            // Comments go first, for there may be tags in them.
            while let Some(start) = rest.find('<') {
                let (open, close) =
                    if rest[start..].starts_with("<!--") { ("<!--", "-->") } else { ("<", ">") };
                let Some(end) = rest[start + open.len()..].find(close) else { break };
                out.push_str(&rest[..start]);
                rest = &rest[start + open.len() + end + close.len()..];
            }
            out.push_str(rest);
            out.split_whitespace().collect::<Vec<_>>().join(" ").into()
        }
        "sum" => {
            let mut total = args.get(1, "start").unwrap_or(Value::Int(0));
            for item in items()? {
                let item = match args.get(0, "attribute") {
                    Some(path) if !path.is_none() => deep_attribute(&item, &path)?,
                    _ => item,
                };
                total = ops::binary(ops::Binary::Add, &total, &item)?;
            }
            total
        }
        "tojson" => {
            // For HTML: what would end a script does not stand in it.
            let json = json::dumps(value, args.int(0, "indent", 0).clamp(0, 16) as usize, true);
            let safe = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\'', "\\u0027")];
            safe.iter().fold(json, |json, (from, to)| json.replace(*from, to)).into()
        }
        "trim" => {
            let set = args.get(0, "chars").filter(|v| !v.is_none()).map(|v| v.to_string());
            as_text()
                .trim_matches(|c: char| set.as_ref().map_or(c.is_whitespace(), |set| set.contains(c)))
                .into()
        }
        "truncate" => text::truncate(value, args)?,
        "unique" => {
            let case_sensitive = args.flag(0, "case_sensitive", false);
            // Jinja2 keeps a set of what it has seen, so that what has no hash is an error where it may not fall back on
            // Ansible's own filter (`ansible/plugins/filter/mathstuff.py`).
            let explicit = args.get(0, "case_sensitive") == Some(Value::Bool(false));
            let mut seen: Vec<Value> = Vec::new();
            let mut out = Vec::new();
            for item in items()? {
                let key = match args.get(1, "attribute") {
                    Some(path) if !path.is_none() => there(deep_attribute(&item, &path)?)?,
                    _ => item.clone(),
                };
                let unhashable = matches!(key, Value::Map(_) | Value::List(_));
                if unhashable && (explicit || args.get(1, "attribute").is_some_and(|a| !a.is_none())) {
                    return Err(Error::new(
                        "Jinja2's unique filter failed and we cannot fall back to Ansible's version as it does not support the parameters supplied.",
                    ));
                }
                let key = if case_sensitive { key } else { fold(&key) };
                if !seen.contains(&key) {
                    seen.push(key);
                    out.push(item);
                }
            }
            Value::list(out)
        }
        "urlencode" => match value {
            Value::Map(map) => map
                .pairs()
                .iter()
                .map(|(k, v)| {
                    [k, v].map(|part| percent_encode(&part.to_string(), "").replace("%20", "+")).join("=")
                })
                .collect::<Vec<_>>()
                .join("&")
                .into(),
            Value::List(_) | Value::Tuple(_) => {
                let mut parts = Vec::new();
                for pair in items()? {
                    let pair = crate::ops::iterate(&pair)?;
                    if pair.len() != 2 {
                        return Err(Error::new("urlencode needs a mapping, or pairs"));
                    }
                    let part = |at: usize| {
                        percent_encode(&pair.get(at).map(ToString::to_string).unwrap_or_default(), "")
                            .replace("%20", "+")
                    };
                    parts.push(format!("{}={}", part(0), part(1)));
                }
                parts.join("&").into()
            }
            _ => percent_encode(&as_text(), "/").into(),
        },
        "wordcount" => text::word_count(&as_text()).into(),
        "wordwrap" => text::word_wrap(&text::only(value, name)?, args).into(),
        "xmlattr" => value
            .as_map()
            .map(Map::pairs)
            .ok_or_else(|| Error::new("xmlattr needs a mapping"))?
            .iter()
            .filter(|(_, v)| !v.is_none() && !v.is_undefined())
            .map(|(k, v)| {
                let key = k.to_string();
                if key.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '>' | '=')) {
                    return Err(Error::new(format!("Invalid character in attribute name: {k:?}")));
                }
                Ok(format!(" {}=\"{}\"", escape(&key), escape(&v.to_string())))
            })
            .collect::<Result<String>>()?
            .into(),
        other => return Err(Error::new(format!("No filter named '{other}'."))),
    })
}

fn dictsort(value: &Value, args: &Arguments) -> Result<Value> {
    let pairs = value.as_map().ok_or_else(|| Error::new("dictsort needs a mapping"))?.pairs();
    let by_value = args.text(1, "by", "key") == "value";
    let case_sensitive = args.flag(0, "case_sensitive", false);
    let pairs: Vec<Value> = pairs.into_iter().map(|(k, v)| Value::tuple(vec![k, v])).collect();
    sort_by(pairs, args.flag(2, "reverse", false), case_sensitive, |pair| {
        item(pair, &Value::Int(i128::from(by_value)))
    })
}

/// Mappings with sorted keys, at any depth.
/// `a.b.0.c` on nested values.
pub(crate) fn deep_attribute(value: &Value, path: &Value) -> Result<Value> {
    if path.as_int().is_some() {
        return item(value, path);
    }
    let mut value = value.clone();
    for part in path.to_string().split('.') {
        value = match part.parse::<i128>() {
            Ok(index) => item(&value, &Value::Int(index))?,
            Err(_) => attribute(&value, part)?,
        };
    }
    Ok(value)
}

/// A value that is there.
fn there(value: Value) -> Result<Value> {
    if value.is_undefined() { Err(Error::of_undefined(&value)) } else { Ok(value) }
}

/// The items of what `map` and `select` go through: nothing has none.
fn items_or_none(value: &Value) -> Result<Vec<Value>> {
    if !value.is_undefined() && !value.is_true() { Ok(vec![]) } else { ops::iterate(value) }
}

fn fold(value: &Value) -> Value {
    match value {
        Value::Str(s) => s.as_str().to_lowercase().into(),
        Value::Tuple(items) => Value::tuple(items.iter().map(fold).collect()),
        other => other.clone(),
    }
}

/// Python's stable sort.
pub(crate) fn sort_values(items: Vec<Value>, reverse: bool, case_sensitive: bool) -> Result<Vec<Value>> {
    sort_by(items, reverse, case_sensitive, |item| Ok(item.clone())).map(|v| v.as_items().unwrap_or_default())
}

fn sort_by(
    items: Vec<Value>,
    reverse: bool,
    case: bool,
    key: impl Fn(&Value) -> Result<Value>,
) -> Result<Value> {
    let keyed: Vec<(Value, Value)> = items
        .into_iter()
        .map(|item| key(&item).map(|key| (if case { key } else { fold(&key) }, item)))
        .collect::<Result<_>>()?;
    let sorted = merge_sort(keyed, &|(left, _), (right, _)| {
        let (lesser, greater) = if reverse { (left, right) } else { (right, left) };
        Ok(ops::order(lesser, greater, "<")? == Some(std::cmp::Ordering::Less))
    })?;
    Ok(Value::list(sorted.into_iter().map(|(_, item)| item).collect()))
}

/// A stable sort whose comparison may fail or, with NaN, be no order at all: the standard library's panics there.
/// `swapped` says whether what stands on the right belongs before what stands on the left.
fn merge_sort<T>(mut items: Vec<T>, swapped: &impl Fn(&T, &T) -> Result<bool>) -> Result<Vec<T>> {
    if items.len() < 2 {
        return Ok(items);
    }
    let right = merge_sort(items.split_off(items.len() / 2), swapped)?;
    let left = merge_sort(items, swapped)?;
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        merged.extend(if swapped(a, b)? { right.next() } else { left.next() });
    }
    merged.extend(left.chain(right));
    Ok(merged)
}

fn groupby(value: &Value, args: &Arguments) -> Result<Value> {
    let path = args.need(0, "attribute")?;
    let default = args.get(1, "default").filter(|v| !v.is_none());
    let is_sensitive = args.flag(2, "case_sensitive", false);
    let key_of = |item: &Value| {
        let found = deep_attribute(item, &path)?;
        Ok(default.clone().filter(|_| found.is_undefined()).unwrap_or(found))
    };
    let same = |a: &Value, b: &Value| if is_sensitive { a == b } else { fold(a) == fold(b) };
    let sorted = sort_by(ops::iterate(value)?, false, is_sensitive, key_of)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in sorted.as_items().unwrap_or_default() {
        let key = key_of(&item)?;
        match groups.last_mut() {
            Some((held, members)) if same(held, &key) => members.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    Ok(Value::list(groups.into_iter().map(|(k, v)| Value::tuple(vec![k, Value::list(v)])).collect()))
}

fn map(evaluator: &mut Evaluator<'_>, value: &Value, args: &Arguments) -> Result<Value> {
    let items = items_or_none(value)?;
    if let Some(path) = args.named("attribute") {
        let default = args.named("default");
        let mapped = items.iter().map(|item| {
            let found = deep_attribute(item, &path)?;
            Ok(match &default {
                Some(default) if found.is_undefined() => default.clone(),
                _ => found,
            })
        });
        return mapped.collect::<Result<Vec<_>>>().map(Value::list);
    }
    let name = args.need(0, "filter")?.to_string();
    let rest = &args.positional[1..];
    let mapped: Result<Vec<Value>> =
        items.iter().map(|item| render::per_item(evaluator, &name, item, rest, &args.named)).collect();
    mapped.map(Value::list)
}

fn select(evaluator: &mut Evaluator<'_>, name: &str, value: &Value, args: &Arguments) -> Result<Value> {
    let by_attribute = name.ends_with("attr");
    let wanted = name.starts_with("select");
    let offset = usize::from(by_attribute);
    let path = if by_attribute { Some(args.need(0, "attribute")?) } else { None };
    let test = args.positional.get(offset).map(ToString::to_string);
    let rest = Arguments::of(args.positional.iter().skip(offset + 1).cloned().collect());
    let mut out = Vec::new();
    for item in items_or_none(value)? {
        let subject = match &path {
            Some(path) => deep_attribute(&item, path)?,
            None => item.clone(),
        };
        let holds = match &test {
            Some(test) => evaluator.test(test, &subject, &rest)?,
            None => there(subject)?.is_true(),
        };
        if holds == wanted {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}

fn to_float(value: &Value) -> Option<Value> {
    match value {
        Value::Str(s) => s.as_str().trim().replace('_', "").parse().ok().map(Value::Float),
        other => other.as_float().map(Value::Float),
    }
}

fn to_int(value: &Value, base: u32) -> Option<Value> {
    match value {
        Value::Str(s) => {
            let s = s.as_str().trim().replace('_', "");
            let (prefix, radix) = match (base, s.get(..2)) {
                (16, Some("0x" | "0X")) => (2, 16),
                (8, Some("0o" | "0O")) => (2, 8),
                (2, Some("0b" | "0B")) => (2, 2),
                _ => (0, base.clamp(2, 36)),
            };
            whole::parse(&s[prefix..], radix).or_else(|| whole::truncated(s.parse().ok()?))
        }
        Value::Float(f) => whole::truncated(*f),
        other => other.as_whole().map(Value::from),
    }
}

fn indent(text: &str, args: &Arguments) -> String {
    let pad = match args.get(0, "width") {
        Some(Value::Str(s)) => s.as_str().to_owned(),
        other => " ".repeat(other.and_then(|v| v.as_int()).unwrap_or(4).clamp(0, 1000) as usize),
    };
    let (first, blank) = (args.flag(1, "first", false), args.flag(2, "blank", false));
    let lines: Vec<String> = text
        .split('\n')
        .enumerate()
        .map(|(at, line)| {
            let indented = if at == 0 { first } else { blank || !line.is_empty() };
            if indented { format!("{pad}{line}") } else { line.to_owned() }
        })
        .collect();
    lines.join("\n")
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// Percent-encoding as `urllib.parse.quote` does it.
fn percent_encode(text: &str, safe: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"_.-~".contains(&b) || safe.as_bytes().contains(&b);
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
