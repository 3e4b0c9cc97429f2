//! Text that is JSON before it is YAML, as files of variables and inventories may be (`ansible/parsing/utils/yaml.py`), with
//! the marks that `ansible-inventory` puts into it (`ansible/_internal/_json/_profiles/_legacy.py`).

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Node, NodeKind, parse};
use crate::json::from_json;
use crate::{Diagnostic, Origin, Source, Text, Value};

/// Of a mapping: its value is text that is no template.
const UNSAFE: &str = "__ansible_unsafe";

/// Of a mapping: its value is a vault.
const VAULT: &str = "__ansible_vault";

/// Reads one document that is JSON, or else YAML.
///
/// # Errors
/// As [`parse`].
pub fn parse_json_or_yaml(source: &Arc<Source>) -> Result<Node, Diagnostic> {
    let is_maybe_json = source.text.trim_start().starts_with(['{', '[']);
    let Some(json) = is_maybe_json.then(|| serde_json::from_str::<Json>(&source.text).ok()).flatten() else {
        return parse(source);
    };
    let origin = Origin { source: Arc::clone(source), line: 1, column: 1 };
    // The YAML knows where every value is; what it takes for another one is as JSON has it.
    let mut node = match parse(source) {
        Ok(mut node) => {
            settle(&mut node, &json);
            node
        }
        Err(_) => of_json(&json, &origin),
    };
    node.duplicates.clear();
    read_marks(&mut node);
    Ok(node)
}

fn scalar(value: Value, origin: &Origin, tag: Option<&str>) -> Node {
    Node {
        kind: NodeKind::Scalar(value),
        origin: origin.clone(),
        tag: tag.map(str::to_owned),
        duplicates: vec![],
    }
}

fn of_json(json: &Json, origin: &Origin) -> Node {
    let kind = match json {
        Json::Array(items) => NodeKind::List(items.iter().map(|item| of_json(item, origin)).collect()),
        Json::Object(pairs) => NodeKind::Map(
            pairs
                .iter()
                .map(|(key, value)| (scalar(key.into(), origin, None), of_json(value, origin)))
                .collect(),
        ),
        Json::String(text) => NodeKind::Scalar(Value::Str(Text::written(text.as_str(), origin.clone()))),
        other => NodeKind::Scalar(from_json(other)),
    };
    Node { kind, origin: origin.clone(), tag: None, duplicates: vec![] }
}

fn settle(node: &mut Node, json: &Json) {
    match (&mut node.kind, json) {
        (NodeKind::List(nodes), Json::Array(items)) if nodes.len() == items.len() => {
            nodes.iter_mut().zip(items).for_each(|(node, item)| settle(node, item));
        }
        (NodeKind::Map(pairs), Json::Object(map)) if pairs.len() == map.len() => {
            for (key, value) in pairs {
                if let Some(item) = key.as_str().and_then(|key| map.get(key)) {
                    settle(value, item);
                }
            }
        }
        (NodeKind::Scalar(Value::Str(text)), Json::String(other)) if text.as_str() == other => {}
        _ => {
            *node = of_json(json, &node.origin);
        }
    }
}

/// Puts what is marked in the place of the mappings that mark it.
fn read_marks(node: &mut Node) {
    match &mut node.kind {
        NodeKind::Scalar(_) => {}
        NodeKind::List(items) => items.iter_mut().for_each(read_marks),
        NodeKind::Map(_) => {
            let marked = |key: &str| node.get(key).and_then(Node::as_str).map(str::to_owned);
            let read = match (marked(UNSAFE), marked(VAULT)) {
                (Some(text), _) => scalar(text.into(), &node.origin, Some("!unsafe")),
                (_, Some(text)) => {
                    scalar(Value::Str(Text::written(text, node.origin.clone())), &node.origin, Some("!vault"))
                }
                _ => {
                    if let NodeKind::Map(pairs) = &mut node.kind {
                        pairs.iter_mut().for_each(|(_, value)| read_marks(value));
                    }
                    return;
                }
            };
            *node = read;
        }
    }
}

/// The value with everything marked that a reader is to know of it: what is in a vault, which stays closed if it is
/// `sealed`, and if `texts` are marked, too, that text which no person wrote is no template.
pub fn marked(value: &Value, sealed: bool, texts: bool) -> Value {
    let is_open = !sealed && matches!(value, Value::Str(_));
    if let Some(vault) = value.vault().filter(|_| !is_open) {
        return crate::Map::from_iter([(VAULT, Value::from(vault))]).into();
    }
    match value {
        Value::Str(text) if texts && (text.origin().is_none() || text.vault().is_some()) => {
            crate::Map::from_iter([(UNSAFE, Value::from(text.as_str()))]).into()
        }
        Value::List(_) | Value::Tuple(_) => Value::list(
            value.as_items().unwrap_or_default().iter().map(|item| marked(item, sealed, texts)).collect(),
        ),
        Value::Map(map) => map
            .pairs()
            .into_iter()
            .map(|(k, v)| (k, marked(&v, sealed, texts)))
            .collect::<crate::Map>()
            .into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Node {
        parse_json_or_yaml(&Source::new("a.json", text)).unwrap()
    }

    #[test]
    fn json_is_not_read_as_yaml() {
        // Python's json reads these so; PyYAML makes text of the first and refuses the second.
        assert_eq!(read("{\"a\": 1e3}").to_value().get("a"), Some(Value::Float(1000.0)));
        assert_eq!(read("{\"a\": \"\\ud83d\\ude00\"}").to_value().get("a"), Some("😀".into()));
        assert_eq!(read("{a: 1}").to_value().get("a"), Some(Value::Int(1)));
    }

    #[test]
    fn positions_stay() {
        let node = read("{\"a\": 1,\n \"b\": \"{{ x }}\"}");
        assert_eq!(node.get("b").unwrap().origin.line, 2);
    }

    #[test]
    fn marks_are_read_and_written() {
        let node =
            read(r#"{"a": {"__ansible_unsafe": "{{ 1 }}"}, "b": [{"__ansible_vault": "$ANSIBLE_VAULT"}]}"#);
        let a = node.get("a").unwrap();
        assert!(matches!(&a.kind, NodeKind::Scalar(Value::Str(text)) if text.origin().is_none()));
        assert_eq!(node.get("b").unwrap().as_list().unwrap()[0].tag.as_deref(), Some("!vault"));
        let shown = marked(&a.to_value(), true, true);
        assert_eq!(shown.get("__ansible_unsafe"), Some("{{ 1 }}".into()));
    }
}
