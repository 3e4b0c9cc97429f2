//! HCL's JSON form (`*.pkr.json`) as HCL: objects become blocks where Packer's schema has blocks, texts are templates.

use std::fmt::Write as _;
use std::path::Path;

use bakery_lang::{Diagnostic, Source, Value, json};

use crate::Result;

/// Blocks at the root, and how many labels they have.
const ROOT: &[(&str, usize)] = &[
    ("build", 0),
    ("data", 2),
    ("local", 1),
    ("locals", 0),
    ("packer", 0),
    ("source", 2),
    ("variable", 1),
    ("variables", 0),
];

/// Blocks within blocks: what they are in, their names, how many labels they have.
const INNER: &[(&str, &str, usize)] = &[
    ("build", "error-cleanup-provisioner", 1),
    ("build", "post-processor", 1),
    ("build", "post-processors", 0),
    ("build", "provisioner", 1),
    ("build", "source", 1),
    ("packer", "required_plugins", 0),
    ("post-processors", "post-processor", 1),
    ("variable", "validation", 0),
];

/// The text of a file in HCL's own form.
pub(super) fn as_hcl(path: &Path, text: &str) -> Result<String> {
    let name = path.display().to_string();
    let source = Source::new(name.clone(), text.to_owned());
    let root = json::parse(text).map_err(|error| {
        let said = error.to_string();
        let message =
            format!("{name} is not valid JSON: {}", said.split(" at line ").next().unwrap_or(&said));
        let origin = bakery_lang::Origin {
            source: std::sync::Arc::clone(&source),
            line: error.line().max(1) as u32,
            column: error.column().max(1) as u32,
        };
        Diagnostic::at(&origin, message)
    })?;
    let Some(map) = root.as_map() else {
        return Err(Diagnostic::at(&source.at_offset(0), "a template must be a JSON object").into());
    };
    let mut out = String::new();
    for (key, value) in map.pairs() {
        let key = key.to_string();
        match ROOT.iter().find(|(name, _)| *name == key) {
            Some((_, labels)) => block(&mut out, &key, &mut vec![], *labels, &value),
            None if key == "//" => {}
            // Whoever reads it says that it is not known.
            None => block(&mut out, &key, &mut vec![], 0, &value),
        }
    }
    Ok(out)
}

/// A block, or several: each label is a level of objects, and every level may be a list.
fn block(out: &mut String, name: &str, labels: &mut Vec<String>, missing: usize, value: &Value) {
    for one in value.as_items().unwrap_or_else(|| vec![value.clone()]) {
        let pairs = one.as_map().map(bakery_lang::Map::pairs).unwrap_or_default();
        if missing > 0 {
            for (label, inner) in pairs {
                labels.push(label.to_string());
                block(out, name, labels, missing - 1, &inner);
                labels.pop();
            }
            continue;
        }
        out.push_str(name);
        for label in labels.iter() {
            let _ = write!(out, " {}", quoted(label));
        }
        out.push_str(" {\n");
        for (key, inner) in pairs {
            let key = key.to_string();
            if let Some((_, _, labels)) =
                INNER.iter().find(|(outer, inner, _)| *outer == name && *inner == key)
            {
                block(out, &key, &mut vec![], *labels, &inner);
            } else if key != "//" {
                let text = match (name, key.as_str(), &inner) {
                    // Expressions that HCL's own form writes without quotes.
                    ("variable", "type", Value::Str(kind)) => kind.as_str().to_owned(),
                    _ => expression(&inner),
                };
                let _ = writeln!(out, "{key} = {text}");
            }
        }
        out.push_str("}\n");
    }
}

fn expression(value: &Value) -> String {
    match value {
        Value::Str(text) => quoted(text.as_str()),
        Value::Map(map) => {
            let pairs = map.pairs();
            let pairs = pairs.iter().map(|(k, v)| format!("{} = {}", quoted(&k.to_string()), expression(v)));
            format!("{{\n{}\n}}", pairs.collect::<Vec<_>>().join("\n"))
        }
        other => match other.as_items() {
            Some(items) => {
                format!("[{}]", items.iter().map(expression).collect::<Vec<_>>().join(", "))
            }
            None => json::dumps(other, 0, false),
        },
    }
}

/// A text in quotes; what is in its templates is left as it is.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut depth = 0usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' | '%' if chars.peek() == Some(&'{') && depth == 0 => {
                depth = 1;
                out.push(c);
                out.push('{');
                chars.next();
            }
            '{' if depth > 0 => {
                depth += 1;
                out.push(c);
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(c);
            }
            _ if depth > 0 => out.push(c),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
