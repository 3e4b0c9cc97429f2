//! YAML as PyYAML with LibYAML writes it (`yaml.dump`): the same emitter, fed with the events that PyYAML's
//! representer makes.

use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};

use crate::Value;
use crate::time::is_timestamp;
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
    /// The column after which long scalars go on in the next line.
    pub width: usize,
    /// Whether text of several lines is a block under `|`, at the price of what a block cannot hold: blanks at ends of
    /// lines, tabs and control characters (`ansible/plugins/callback/__init__.py`, `_AnsibleCallbackDumper`).
    pub literal: bool,
    /// How every scalar is written: `'`, `"`, `|` or `>`; each as it fits best without it.
    pub scalars: Option<char>,
    /// Whether what was in a vault is written as the vault, not as what was in it.
    pub vaults: bool,
    /// Whether the document is written in full, with the tag of every value.
    pub canonical: bool,
    /// Whether it begins with `---`.
    pub explicit_start: bool,
    /// Whether it ends with `...`.
    pub explicit_end: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            indent: 2,
            sort_keys: true,
            flow_leaves: false,
            width: 80,
            literal: false,
            scalars: None,
            vaults: false,
            canonical: false,
            explicit_start: false,
            explicit_end: false,
        }
    }
}

/// The text of a document, ending in a newline.
pub fn emit(value: &Value, style: Style) -> String {
    let mut bytes = Vec::new();
    let mut emitter = Emitter::new();
    emitter.set_output_string(&mut bytes);
    emitter.set_indent(i32::try_from(style.indent).unwrap_or(2));
    emitter.set_width(i32::try_from(style.width).unwrap_or(80));
    emitter.set_unicode(true);
    emitter.set_canonical(style.canonical);
    let mut events =
        vec![Event::stream_start(Encoding::Utf8), Event::document_start(None, &[], !style.explicit_start)];
    node(value, style, &mut events);
    events.extend([Event::document_end(!style.explicit_end), Event::stream_end()]);
    for event in events {
        // Events of a tree are always in order, and memory takes what is written.
        if emitter.emit(event).is_err() {
            break;
        }
    }
    drop(emitter);
    String::from_utf8(bytes).unwrap_or_default()
}

fn node(value: &Value, style: Style, events: &mut Vec<Event>) {
    let form = match style.scalars {
        Some('\'') => ScalarStyle::SingleQuoted,
        Some('"') => ScalarStyle::DoubleQuoted,
        Some('|') => ScalarStyle::Literal,
        Some('>') => ScalarStyle::Folded,
        _ => ScalarStyle::Any,
    };
    if let Some(vault) = value.vault().filter(|_| style.vaults) {
        events.push(Event::scalar(None, Some("!vault"), vault, false, false, ScalarStyle::Literal));
        return;
    }
    match value {
        Value::Map(map) => {
            let flow = if style.flow_leaves && is_leaf(value, style) {
                MappingStyle::Flow
            } else {
                MappingStyle::Block
            };
            events.push(Event::mapping_start(None, Some("tag:yaml.org,2002:map"), true, flow));
            let mut pairs = map.pairs();
            if style.sort_keys {
                pairs.sort_by_key(|(key, _)| key.to_string());
            }
            for (key, item) in pairs {
                node(&key, style, events);
                node(&item, style, events);
            }
            events.push(Event::mapping_end());
        }
        Value::List(_) | Value::Tuple(_) => {
            let flow = if style.flow_leaves && is_leaf(value, style) {
                SequenceStyle::Flow
            } else {
                SequenceStyle::Block
            };
            events.push(Event::sequence_start(None, Some("tag:yaml.org,2002:seq"), true, flow));
            for item in value.as_items().unwrap_or_default() {
                node(&item, style, events);
            }
            events.push(Event::sequence_end());
        }
        Value::Str(text) => {
            let text = text.as_str();
            if style.literal && text.contains(['\n', '\u{85}', '\u{2028}', '\u{2029}']) {
                events.push(scalar("str", &blocked(text), false, ScalarStyle::Literal));
            } else {
                // Plain only where it reads back as text.
                // `<<` and `=` have types of their own, too.
                let is_text =
                    resolve_plain(text).is_none() && !is_timestamp(text) && !matches!(text, "<<" | "=");
                events.push(scalar("str", text, is_text, form));
            }
        }
        other => {
            let kind = match other {
                Value::Bool(_) => "bool",
                Value::Int(_) | Value::Big(_) => "int",
                Value::Float(_) => "float",
                Value::Time(_) => "timestamp",
                _ => "null",
            };
            events.push(scalar(kind, &word(other), true, form));
        }
    }
}

/// A scalar of a type, whose tag is written where it does not show.
fn scalar(kind: &str, text: &str, plain: bool, style: ScalarStyle) -> Event {
    let tag = format!("tag:yaml.org,2002:{kind}");
    Event::scalar(None, Some(&tag), text, plain, kind == "str", style)
}

fn is_leaf(value: &Value, style: Style) -> bool {
    // A vault has a block of its own.
    let is_block = |v: &Value| style.vaults && v.vault().is_some();
    let scalar = |v: &Value| !matches!(v, Value::Map(_) | Value::List(_) | Value::Tuple(_)) && !is_block(v);
    match value {
        Value::Map(map) => map.pairs().iter().all(|(_, v)| scalar(v)),
        _ => value.as_items().is_some_and(|items| items.iter().all(scalar)),
    }
}

/// What a block can hold of a text.
fn blocked(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.trim_end().split('\n') {
        let mut out = String::new();
        for c in line.trim_end().chars() {
            match c {
                '\t' => out.push_str(&" ".repeat(8 - out.chars().count() % 8)),
                c if c.is_control() && c != '\u{85}' || c == '\u{feff}' => {}
                c => out.push(c),
            }
        }
        lines.push(out);
    }
    lines.join("\n")
}

/// PyYAML's words for what is no text.
fn word(value: &Value) -> String {
    match value {
        Value::None | Value::Undefined(_) | Value::Omit => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Float(f) if f.is_infinite() => if *f > 0.0 { ".inf" } else { "-.inf" }.into(),
        Value::Float(f) if f.is_nan() => ".nan".into(),
        Value::Float(_) => {
            // YAML 1.1 wants a point in a number with an exponent.
            let text = value.to_string().to_lowercase();
            if text.contains('.') { text } else { text.replacen('e', ".0e", 1) }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nice_yaml_as_pyyaml_writes_it() {
        let of = |text: &str| crate::json::parse(text).expect("json");
        let nice = |text: &str| emit(&of(text), Style { indent: 4, ..Style::default() });
        // Recorded from ansible-core 2.19's to_nice_yaml.
        assert_eq!(
            nice(r#"{"b": [1, {"x": "yes", "y": null}], "a": "k: v", "c": {}}"#),
            "a: 'k: v'\nb:\n- 1\n-   x: 'yes'\n    y: null\nc: {}\n"
        );
        assert_eq!(
            nice(r#"{"d": "2020-01-02", "e": "2020-01", "n": 1e17}"#),
            "d: '2020-01-02'\ne: 2020-01\nn: 1.0e+17\n"
        );
        let long = "word ".repeat(30);
        let text = nice(&format!(r#"{{"long": "{}"}}"#, long.trim()));
        assert!(text.lines().count() == 2 && text.lines().all(|line| line.len() <= 85), "{text}");
        assert_eq!(nice(r#"{"<<": "=", "x": "<"}"#), "'<<': '='\nx: <\n");
        let block =
            emit(&of(r#"{"msg": "a \n\tb"}"#), Style { indent: 4, literal: true, ..Style::default() });
        assert_eq!(block, "msg: |-\n    a\n            b\n");
    }
}
