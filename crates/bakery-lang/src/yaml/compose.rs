//! Events to a tree of located nodes: anchors, merge keys, tags.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use libyaml_safer::{Encoding, EventData, Parser, ScalarStyle};

use crate::time::{Time, is_timestamp};
use crate::yaml::resolve_plain;
use crate::{Diagnostic, Map, Origin, Source, Text, Value};

/// The tag of plain text that YAML 1.1 reads as a moment or a day.
const TIMESTAMP: &str = "tag:yaml.org,2002:timestamp";

/// How deep collections may nest, and how many nodes aliases may expand to, before the text is refused.
const MAX_DEPTH: usize = 200;
const MAX_NODES: usize = 2_000_000;

/// A value with its position.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it starts.
    pub origin: Origin,
    /// Its explicit tag, such as `!vault`.
    pub tag: Option<String>,
    /// Of a document's root: keys that a mapping in it has more than once, where they come again.
    pub duplicates: Vec<(String, Origin)>,
}

/// The three kinds of YAML node; scalars are already typed.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// A typed scalar.
    Scalar(Value),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order written; duplicates are resolved, the last one wins.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The pairs of a mapping.
    pub fn as_map(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            NodeKind::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The items of a sequence.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            NodeKind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a scalar that is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// The node of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v)
    }

    /// Whether it is null.
    pub fn is_none(&self) -> bool {
        matches!(self.kind, NodeKind::Scalar(Value::None))
    }

    /// A word for the kind, as errors say it.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            NodeKind::Map(_) => "a mapping",
            NodeKind::List(_) => "a list",
            NodeKind::Scalar(Value::None) => "nothing",
            NodeKind::Scalar(Value::Str(_)) => "text",
            NodeKind::Scalar(_) => "a scalar",
        }
    }

    /// Replaces the value of every scalar with one of these tags by what `change` makes of its text.
    pub fn replace_tagged(&mut self, tags: &[&str], change: &dyn Fn(&str, &Origin) -> Value) {
        match &mut self.kind {
            NodeKind::Scalar(value) => {
                if self.tag.as_deref().is_some_and(|tag| tags.contains(&tag)) {
                    *value = change(value.as_str().unwrap_or_default(), &self.origin);
                }
            }
            NodeKind::List(items) => items.iter_mut().for_each(|item| item.replace_tagged(tags, change)),
            NodeKind::Map(pairs) => {
                pairs.iter_mut().for_each(|(_, value)| value.replace_tagged(tags, change));
            }
        }
    }

    /// Plain text in it, at any depth, that YAML 1.1 reads as a moment or a day becomes one; not so keys. Whoever reads
    /// settings rather than variables wants the text.
    pub fn read_times(&mut self) {
        match &mut self.kind {
            NodeKind::Scalar(value) => {
                if self.tag.as_deref() == Some(TIMESTAMP)
                    && let Some(time) = value.as_str().and_then(Time::of_yaml)
                {
                    *value = time.into();
                }
            }
            NodeKind::List(items) => items.iter_mut().for_each(Self::read_times),
            NodeKind::Map(pairs) => pairs.iter_mut().for_each(|(_, value)| value.read_times()),
        }
    }

    /// Text in it, at any depth, becomes text that is never evaluated.
    fn make_plain(&mut self) {
        match &mut self.kind {
            NodeKind::Scalar(value) => *value = value.untrusted(),
            NodeKind::List(items) => items.iter_mut().for_each(Self::make_plain),
            NodeKind::Map(pairs) => pairs.iter_mut().for_each(|(_, value)| value.make_plain()),
        }
    }

    /// The plain value; text keeps its origin, and so may be evaluated as a template.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            NodeKind::Scalar(value) => value.clone(),
            NodeKind::List(items) => Value::list(items.iter().map(Node::to_value).collect()),
            NodeKind::Map(pairs) => {
                pairs.iter().map(|(k, v)| (k.to_value().untrusted(), v.to_value())).collect::<Map>().into()
            }
        }
    }
}

/// What is said of a text that is no YAML, as ansible-core says it (`ansible/_internal/_yaml/_errors.py`).
fn sentence<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let text = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    format!("YAML parsing failed: {}{}.", first.to_uppercase(), rest.trim_end_matches('.'))
}

/// Reads one document; an empty text is null.
///
/// # Errors
/// A syntax error, a second document, or nesting beyond the limits, with its place.
pub fn parse(source: &Arc<Source>) -> Result<Node, Diagnostic> {
    let mut documents = parse_all(source)?;
    match documents.len() {
        0 => Ok(Node {
            kind: NodeKind::Scalar(Value::None),
            origin: Origin { source: Arc::clone(source), line: 1, column: 1 },
            tag: None,
            duplicates: vec![],
        }),
        1 => Ok(documents.remove(0)),
        _ => Err(Diagnostic::at(&documents[1].origin, "expected a single document, but found another one")),
    }
}

/// Reads text whose values are data, never templates.
///
/// # Errors
/// As [`parse`].
pub fn parse_data(name: &str, text: &str) -> Result<Value, Diagnostic> {
    parse(&Source::new(name, text)).map(|node| node.to_value().untrusted())
}

/// Reads every document of a text.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(source: &Arc<Source>) -> Result<Vec<Node>, Diagnostic> {
    // The parser panics on a block scalar that ends without a newline at the end of the text; the newline
    // mends the common case and the guard turns any other panic into an error.
    let mut text = source.text.trim_start_matches('\u{feff}').to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let hook = || {
        Composer { source, text: &text, anchors: HashMap::new(), nodes: 0, duplicates: vec![] }.documents()
    };
    quietly(hook).unwrap_or_else(|_| {
        let origin = Origin { source: Arc::clone(source), line: 1, column: 1 };
        Err(Diagnostic::at(&origin, "the text is not valid YAML"))
    })
}

thread_local! {
    /// Whether a panic of this thread is caught, and so no news.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs what may panic; the panic says nothing on its own.
fn quietly<R>(run: impl FnOnce() -> R) -> std::thread::Result<R> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !CAUGHT.get() {
                tell(panic);
            }
        }));
    });
    CAUGHT.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    CAUGHT.set(false);
    result
}

struct Composer<'a> {
    source: &'a Arc<Source>,
    text: &'a str,
    anchors: HashMap<String, Node>,
    nodes: usize,
    duplicates: Vec<(String, Origin)>,
}

impl Composer<'_> {
    fn origin(&self, line: u64, column: u64) -> Origin {
        Origin { source: Arc::clone(self.source), line: line as u32 + 1, column: column as u32 + 1 }
    }

    fn documents(&mut self) -> Result<Vec<Node>, Diagnostic> {
        let text = self.text;
        let mut bytes = text.as_bytes();
        let mut parser = Parser::new();
        // Without this, a text that begins with a letter whose first byte is that of a byte order mark is refused.
        parser.set_encoding(Encoding::Utf8);
        parser.set_input_string(&mut bytes);
        let mut documents = Vec::new();
        loop {
            let event = self.next(&mut parser)?;
            match event.data {
                EventData::StreamEnd => return Ok(documents),
                EventData::DocumentStart { .. } => {
                    self.anchors.clear();
                    let event = self.next(&mut parser)?;
                    let mut document = self.node(&mut parser, event, 0)?;
                    document.duplicates = std::mem::take(&mut self.duplicates);
                    documents.push(document);
                }
                _ => {}
            }
        }
    }

    fn next(&self, parser: &mut Parser<&mut &[u8]>) -> Result<libyaml_safer::Event, Diagnostic> {
        parser.parse().map_err(|error| {
            let mark = error.problem_mark().or(error.context_mark());
            let message = sentence(error.context().into_iter().chain([error.problem()]));
            match mark {
                Some(mark) => Diagnostic::at(&self.origin(mark.line, mark.column), message)
                    .maybe_hint(yaml_hint(&self.source.text, mark.line as usize)),
                None => Diagnostic::new(format!("{}: {message}", self.source.name)),
            }
        })
    }

    fn node(
        &mut self,
        parser: &mut Parser<&mut &[u8]>,
        event: libyaml_safer::Event,
        depth: usize,
    ) -> Result<Node, Diagnostic> {
        let origin = self.origin(event.start_mark.line, event.start_mark.column);
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Diagnostic::at(&origin, "the document nests too deep or is too large"));
        }
        let (node, anchor) = match event.data {
            EventData::Alias { anchor } => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Diagnostic::at(&origin, format!("found undefined alias `{anchor}`")));
                };
                self.nodes += count(&node);
                if self.nodes > MAX_NODES {
                    return Err(Diagnostic::at(&origin, "aliases expand to too many values"));
                }
                return Ok(node);
            }
            EventData::Scalar { anchor, tag, value, plain_implicit, style, .. } => {
                let typed = match tag.as_deref() {
                    Some("tag:yaml.org,2002:str" | "!" | "!unsafe" | "!vault" | "!vault-encrypted") => None,
                    Some("tag:yaml.org,2002:null") => Some(Value::None),
                    Some("tag:yaml.org,2002:float") => {
                        resolve_plain(&value).map(|number| number.as_float().map_or(number, Value::Float))
                    }
                    Some("tag:yaml.org,2002:int" | "tag:yaml.org,2002:bool") => resolve_plain(&value),
                    _ if style == ScalarStyle::Plain && plain_implicit => resolve_plain(&value),
                    _ => None,
                };
                let is_plain = style == ScalarStyle::Plain && plain_implicit && tag.is_none();
                let tag = match tag {
                    None if is_plain && is_timestamp(&value) => Some(TIMESTAMP.into()),
                    // In quotes it merges nothing.
                    None if !is_plain && value == "<<" => Some("tag:yaml.org,2002:str".into()),
                    tag => tag,
                };
                let value = typed.unwrap_or_else(|| {
                    if tag.as_deref() == Some("!unsafe") {
                        Value::from(value.as_str())
                    } else {
                        Value::Str(Text::written(value, origin.clone()))
                    }
                });
                (Node { kind: NodeKind::Scalar(value), origin, tag, duplicates: vec![] }, anchor)
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                let mut items = Vec::new();
                loop {
                    let event = self.next(parser)?;
                    if matches!(event.data, EventData::SequenceEnd) {
                        break;
                    }
                    items.push(self.node(parser, event, depth + 1)?);
                }
                (Node { kind: NodeKind::List(items), origin, tag, duplicates: vec![] }, anchor)
            }
            EventData::MappingStart { anchor, tag, .. } => {
                let mut pairs: Vec<(Node, Node)> = Vec::new();
                let mut merges = Vec::new();
                loop {
                    let event = self.next(parser)?;
                    if matches!(event.data, EventData::MappingEnd) {
                        break;
                    }
                    let key = self.node(parser, event, depth + 1)?;
                    if !matches!(key.kind, NodeKind::Scalar(_)) {
                        let hint = yaml_hint(&self.source.text, key.origin.line as usize - 1);
                        return Err(Diagnostic::at(&key.origin, "found unhashable key").maybe_hint(hint));
                    }
                    let event = self.next(parser)?;
                    let value = self.node(parser, event, depth + 1)?;
                    if key.as_str() == Some("<<") && key.tag.is_none() {
                        merges.push(value);
                    } else {
                        if let Some(name) = key.as_str()
                            && pairs.iter().any(|(known, _)| known.as_str() == Some(name))
                        {
                            self.duplicates.push((name.to_owned(), key.origin.clone()));
                        }
                        put(&mut pairs, key, value);
                    }
                }
                (Node { kind: NodeKind::Map(merge(pairs, merges)?), origin, tag, duplicates: vec![] }, anchor)
            }
            _ => return Err(Diagnostic::at(&origin, "expected a value")),
        };
        let mut node = node;
        if node.tag.as_deref() == Some("!unsafe") {
            node.make_plain();
        }
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.kind {
        NodeKind::Scalar(_) => 0,
        NodeKind::List(items) => items.iter().map(count).sum(),
        NodeKind::Map(pairs) => pairs.iter().map(|(k, v)| count(k) + count(v)).sum(),
    }
}

fn put(pairs: &mut Vec<(Node, Node)>, key: Node, value: Node) {
    let same = |k: &Node| match (&k.kind, &key.kind) {
        (NodeKind::Scalar(a), NodeKind::Scalar(b)) => a == b,
        _ => false,
    };
    match pairs.iter().position(|(k, _)| same(k)) {
        Some(at) => pairs[at].1 = value,
        None => pairs.push((key, value)),
    }
}

/// Merge keys: what the mapping says itself wins, and of several merged mappings the first.
fn merge(own: Vec<(Node, Node)>, merges: Vec<Node>) -> Result<Vec<(Node, Node)>, Diagnostic> {
    if merges.is_empty() {
        return Ok(own);
    }
    let mut pairs = Vec::new();
    let mut sources = Vec::new();
    for node in merges {
        match node.kind {
            NodeKind::List(items) => sources.extend(items),
            _ => sources.push(node),
        }
    }
    for node in sources.into_iter().rev() {
        let NodeKind::Map(merged) = node.kind else {
            return Err(Diagnostic::at(&node.origin, "expected a mapping to merge with `<<`"));
        };
        for (key, value) in merged {
            put(&mut pairs, key, value);
        }
    }
    for (key, value) in own {
        put(&mut pairs, key, value);
    }
    Ok(pairs)
}

/// The two slips that people make most often in playbooks.
fn yaml_hint(text: &str, line: usize) -> Option<String> {
    let line = text.lines().nth(line).or_else(|| text.lines().last())?;
    if line.contains(": {{") || line.contains(":{{") {
        return Some("a value that starts with `{{` needs quotes around the whole of it".into());
    }
    if line.starts_with('\t') || line.trim_start_matches(' ').starts_with('\t') {
        return Some("YAML is indented by spaces, never by tabs".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_merges_and_positions() {
        let source = Source::new("t.yml", "a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3\n");
        let node = parse(&source).expect("valid");
        let b = node.get("b").expect("b");
        assert_eq!(b.to_value(), crate::json::parse(r#"{"k": 1, "l": 3}"#).expect("json"));
        assert_eq!(b.get("l").expect("l").origin.to_string(), "t.yml:4:6");
    }

    #[test]
    fn errors_have_a_place_and_never_panic() {
        for text in ["a: {{ x }}/y", "a: |", "a: |\n  x", "\t- a", "a: b: c", "*x", "[", "- &a [*a]"] {
            let _ = parse(&Source::new("t.yml", text));
        }
        let error = parse(&Source::new("t.yml", "k: {{ x }}/y\n")).expect_err("invalid");
        assert!(error.hint.expect("hint").contains("quotes"));
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 9].join(",");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let error = parse(&Source::new("bomb.yml", text)).expect_err("too large");
        assert!(error.message.contains("too many"));
    }
}
