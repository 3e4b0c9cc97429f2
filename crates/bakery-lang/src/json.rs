//! JSON to values and back, and the two texts that Ansible's filters write.

use serde_json::Value as Json;

use crate::{Map, Value, whole};

/// Reads JSON text.
///
/// # Errors
/// The parser's message, with line and column.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<Json>(text).map(|json| from_json(&json))
}

/// The text with a question mark for every half of a surrogate pair, which is no letter, and the first of them with its
/// position among the letters of its string; `None` where there is none.
pub fn without_lone_surrogates(text: &str) -> Option<(String, String, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..).and_then(|rest| rest.strip_prefix("\\u")).and_then(|rest| rest.get(..4));
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    let (mut out, mut first) = (String::new(), None);
    let (mut at, mut start) = (0, 0);
    while let Some(c) = text[at..].chars().next() {
        let taken = match (c, unit(at)) {
            ('\\', Some(0xd800..=0xdbff)) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            ('\\', Some(0xd800..=0xdfff)) => {
                first.get_or_insert((text[at..at + 6].to_owned(), text[start..at].chars().count()));
                out.push('?');
                at += 6;
                continue;
            }
            ('\\', _) => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
            ('"', _) => {
                start = at + 1;
                1
            }
            _ => c.len_utf8(),
        };
        out.push_str(&text[at..at + taken]);
        at += taken;
    }
    first.map(|(escape, position)| (out, escape, position))
}

/// A value from a JSON tree; its text is never evaluated as a template.
pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => {
            let text = n.to_string();
            whole::parse(&text, 10).unwrap_or_else(|| Value::Float(text.parse().unwrap_or(f64::NAN)))
        }
        Json::String(s) => Value::from(s),
        Json::Array(items) => Value::list(items.iter().map(from_json).collect()),
        Json::Object(map) => map.iter().map(|(k, v)| (k, from_json(v))).collect::<Map>().into(),
    }
}

/// A JSON tree from a value; keys become text, what is not there becomes null.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::None | Value::Undefined(_) | Value::Omit => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(_) | Value::Big(_) => value.to_string().parse().map_or(Json::Null, Json::Number),
        Value::Float(f) => serde_json::Number::from_f64(*f).map_or(Json::Null, Json::Number),
        Value::Str(text) => Json::String(text.as_str().to_owned()),
        Value::Time(time) => Json::String(time.iso()),
        Value::List(list) => Json::Array(list.items().iter().map(to_json).collect()),
        Value::Tuple(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Map(map) => Json::Object(map.pairs().iter().map(|(k, v)| (key(k), to_json(v))).collect()),
    }
}

fn key(value: &Value) -> String {
    match value {
        Value::None => "null".into(),
        Value::Bool(b) => b.to_string(),
        other => other.to_string(),
    }
}

/// Python's `json.dumps(value, indent=…, sort_keys=…)`, non-ASCII escaped; `indent` 0 means one line.
pub fn dumps(value: &Value, indent: usize, sort_keys: bool) -> String {
    let mut out = String::new();
    write(value, Layout { indent, sort: sort_keys, ascii: true }, 0, &mut out);
    out
}

/// As [`dumps`], with sorted keys and every letter as it is (`ensure_ascii=False`): for people.
pub fn dumps_readable(value: &Value, indent: usize) -> String {
    let mut out = String::new();
    write(value, Layout { indent, sort: true, ascii: false }, 0, &mut out);
    out
}

#[derive(Clone, Copy)]
struct Layout {
    /// Spaces a level; 0 for one line.
    indent: usize,
    sort: bool,
    /// Whether other letters than those of ASCII are escaped.
    ascii: bool,
}

fn write(value: &Value, layout: Layout, depth: usize, out: &mut String) {
    let indent = layout.indent;
    let newline = |out: &mut String, depth: usize| {
        if indent > 0 {
            out.push('\n');
            out.push_str(&" ".repeat(indent * depth));
        }
    };
    let separator = if indent > 0 { "," } else { ", " };
    match value {
        Value::None | Value::Undefined(_) | Value::Omit => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(_) | Value::Big(_) => out.push_str(&value.to_string()),
        Value::Float(f) if f.is_nan() => out.push_str("NaN"),
        Value::Float(f) if f.is_infinite() => out.push_str(if *f > 0.0 { "Infinity" } else { "-Infinity" }),
        Value::Float(f) => out.push_str(&crate::repr::float(*f)),
        Value::Str(text) => quote(text.as_str(), layout.ascii, out),
        Value::Time(time) => quote(&time.iso(), layout.ascii, out),
        Value::List(_) | Value::Tuple(_) => {
            let items = value.as_items().unwrap_or_default();
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(separator);
                }
                newline(out, depth + 1);
                write(item, layout, depth + 1, out);
            }
            if !items.is_empty() {
                newline(out, depth);
            }
            out.push(']');
        }
        Value::Map(map) => {
            let mut pairs: Vec<(String, Value)> =
                map.pairs().into_iter().map(|(k, v)| (key(&k), v)).collect();
            if layout.sort {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            out.push('{');
            for (i, (k, v)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.push_str(separator);
                }
                newline(out, depth + 1);
                quote(k, layout.ascii, out);
                out.push_str(": ");
                write(v, layout, depth + 1, out);
            }
            if !pairs.is_empty() {
                newline(out, depth);
            }
            out.push('}');
        }
    }
}

fn quote(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (' '..'\u{7f}').contains(&c) || !ascii && c >= ' ' => out.push(c),
            c => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}
