//! PyYAML's block style (`yaml.dump(default_flow_style=False)`), as the `to_yaml` filters write it.

use crate::Value;
use crate::yaml::resolve_plain;

/// How to lay a document out.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Spaces a level; PyYAML's default is 2, `to_nice_yaml`'s is 4.
    pub indent: usize,
    /// Whether keys are sorted.
    pub sort_keys: bool,
    /// Whether leaf collections are written as `[a, b]`, which is what `to_yaml` does.
    pub flow_leaves: bool,
}

/// The text of a document, ending in a newline.
pub fn emit(value: &Value, style: Style) -> String {
    let mut out = String::new();
    match value {
        Value::Map(_) | Value::List(_) | Value::Tuple(_) => block(value, style, 0, true, &mut out),
        scalar => {
            out.push_str(&plain(scalar, 0));
            if scalar.as_str().is_none() {
                out.push_str("\n...");
            }
        }
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn is_leaf(value: &Value) -> bool {
    let scalar = |v: &Value| !matches!(v, Value::Map(_) | Value::List(_) | Value::Tuple(_));
    match value {
        Value::Map(map) => map.pairs().iter().all(|(_, v)| scalar(v)),
        _ => value.as_items().is_some_and(|items| items.iter().all(scalar)),
    }
}

fn block(value: &Value, style: Style, depth: usize, at_line_start: bool, out: &mut String) {
    if style.flow_leaves && is_leaf(value) {
        flow(value, style, out);
        out.push('\n');
        return;
    }
    let pad = " ".repeat(style.indent * depth);
    let mut first = true;
    let mut start = |out: &mut String| {
        if !first || at_line_start {
            out.push_str(&pad);
        }
        first = false;
    };
    match value {
        Value::Map(map) if map.is_empty() => out.push_str("{}\n"),
        Value::Map(map) => {
            for (key, item) in sorted(map.pairs(), style) {
                start(out);
                out.push_str(&plain(&key, 0));
                out.push(':');
                nested(&item, style, depth, out);
            }
        }
        _ => {
            let items = value.as_items().unwrap_or_default();
            if items.is_empty() {
                out.push_str("[]\n");
            }
            for item in items {
                start(out);
                out.push('-');
                match &item {
                    Value::Map(map) if !map.is_empty() && !(style.flow_leaves && is_leaf(&item)) => {
                        out.push_str(&" ".repeat(style.indent.max(2) - 1));
                        block(&item, style, depth + 1, false, out);
                    }
                    Value::List(list) if !list.is_empty() && !(style.flow_leaves && is_leaf(&item)) => {
                        out.push_str(&" ".repeat(style.indent.max(2) - 1));
                        block(&item, style, depth + 1, false, out);
                    }
                    _ => nested(&item, style, depth, out),
                }
            }
        }
    }
}

fn nested(item: &Value, style: Style, depth: usize, out: &mut String) {
    match item {
        Value::Map(map) if !map.is_empty() && !(style.flow_leaves && is_leaf(item)) => {
            out.push('\n');
            block(item, style, depth + 1, true, out);
        }
        Value::List(_) | Value::Tuple(_) if item.is_true() && !(style.flow_leaves && is_leaf(item)) => {
            // PyYAML does not indent a sequence inside a mapping.
            out.push('\n');
            block(item, style, depth, true, out);
        }
        Value::Map(_) | Value::List(_) | Value::Tuple(_) => {
            out.push(' ');
            flow(item, style, out);
            out.push('\n');
        }
        scalar => {
            out.push(' ');
            out.push_str(&plain(scalar, style.indent * (depth + 1)));
            out.push('\n');
        }
    }
}

fn sorted(mut pairs: Vec<(Value, Value)>, style: Style) -> Vec<(Value, Value)> {
    if style.sort_keys {
        pairs.sort_by_key(|(k, _)| k.to_string());
    }
    pairs
}

fn flow(value: &Value, style: Style, out: &mut String) {
    match value {
        Value::Map(map) => {
            let pairs: Vec<String> = sorted(map.pairs(), style)
                .iter()
                .map(|(k, v)| {
                    let mut inner = format!("{}: ", plain(k, 0));
                    flow(v, style, &mut inner);
                    inner
                })
                .collect();
            out.push_str(&format!("{{{}}}", pairs.join(", ")));
        }
        Value::List(_) | Value::Tuple(_) => {
            let items: Vec<String> = value
                .as_items()
                .unwrap_or_default()
                .iter()
                .map(|v| {
                    let mut inner = String::new();
                    flow(v, style, &mut inner);
                    inner
                })
                .collect();
            out.push_str(&format!("[{}]", items.join(", ")));
        }
        scalar => out.push_str(&plain(scalar, 0)),
    }
}

fn plain(value: &Value, indent: usize) -> String {
    match value {
        Value::None | Value::Undefined(_) | Value::Omit => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Float(f) if f.is_infinite() => if *f > 0.0 { ".inf" } else { "-.inf" }.into(),
        Value::Float(f) if f.is_nan() => ".nan".into(),
        Value::Str(text) => scalar(text.as_str(), indent),
        other => other.to_string(),
    }
}

/// PyYAML's choice of style for text: plain where it reads back the same, then single, then double quotes.
fn scalar(text: &str, indent: usize) -> String {
    if text.is_empty() {
        return "''".into();
    }
    let special = text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{feff}');
    if special {
        return double(text);
    }
    if text.contains('\n') {
        let pad = format!("\n\n{}", " ".repeat(indent));
        return format!("'{}'", text.replace('\'', "''").replace('\n', &pad));
    }
    let first = text.chars().next().unwrap_or(' ');
    let indicator = matches!(
        first,
        ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
    ) || (matches!(first, '-' | '?' | ':')
        && text.chars().nth(1).is_none_or(char::is_whitespace))
        || text == "="
        || text == "<<"
        || text.starts_with("---")
        || text.starts_with("...");
    let inside = text.contains(": ") || text.contains(" #") || text.ends_with(':');
    let edges = text.starts_with(' ') || text.ends_with(' ');
    if indicator || inside || edges || resolve_plain(text).is_some() || is_date(text) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && bytes[5].is_ascii_digit()
}

fn double(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            '\u{1b}' => out.push_str("\\e"),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nice_yaml_as_pyyaml_writes_it() {
        let value =
            crate::json::parse(r#"{"b": [1, {"x": "yes", "y": null}], "a": "k: v", "c": {}}"#).expect("json");
        let nice = emit(&value, Style { indent: 4, sort_keys: true, flow_leaves: false });
        // Recorded from ansible-core 2.19's to_nice_yaml.
        assert_eq!(nice, "a: 'k: v'\nb:\n- 1\n-   x: 'yes'\n    y: null\nc: {}\n");
    }
}
