//! Reads a document.

use roxmltree::{NodeType, ParsingOptions};

use super::{Attribute, Document, Element, Id, Kind, Name};

/// What is read otherwise than it is written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// Whether texts between elements that are nothing but blanks are left out.
    pub(crate) without_blanks: bool,
    /// Whether sections of CDATA become texts like others.
    pub(crate) without_cdata: bool,
}

/// Elements within elements, at most: as many as libxml2 takes.
const DEEPEST: usize = 256;

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// Says what is wrong with it, and where.
    pub(crate) fn read(text: &str, options: Options) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}');
        let parsing = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        let parsed = roxmltree::Document::parse_with_options(text, parsing).map_err(|e| e.to_string())?;
        let mut document = Self::empty();
        document.doctype = doctype(text).map(str::to_owned);
        let mut reader = Reader { text, document, options };
        for child in parsed.root().children() {
            reader.node(Self::TOP, child, 0)?;
        }
        Ok(reader.document)
    }
}

struct Reader<'t> {
    text: &'t str,
    document: Document,
    options: Options,
}

impl Reader<'_> {
    fn node(&mut self, parent: Id, node: roxmltree::Node<'_, '_>, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("Excessive depth in document: {DEEPEST}"));
        }
        let kind = match node.node_type() {
            NodeType::Element => Kind::Element(self.element(node)),
            NodeType::Comment => Kind::Comment(node.text().unwrap_or_default().to_owned()),
            NodeType::PI => {
                let Some(pi) = node.pi() else { return Ok(()) };
                Kind::Instruction {
                    target: pi.target.to_owned(),
                    data: pi.value.unwrap_or_default().to_owned(),
                }
            }
            NodeType::Text => {
                self.texts(parent, node);
                return Ok(());
            }
            NodeType::Root => return Ok(()),
        };
        let id = self.document.make(kind);
        self.document.append(parent, id);
        for child in node.children() {
            self.node(id, child, depth + 1)?;
        }
        Ok(())
    }

    fn element(&self, node: roxmltree::Node<'_, '_>) -> Element {
        let source = &self.text[node.range().start + 1..];
        let end = source.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(source.len());
        let prefix = |qualified: &str| qualified.split_once(':').map(|(prefix, _)| prefix.to_owned());
        let tag = node.tag_name();
        let name = Name {
            prefix: prefix(&source[..end]),
            local: tag.name().to_owned(),
            namespace: tag.namespace().map(str::to_owned),
        };
        let above = node.parent_element();
        let is_new = |namespace: &&roxmltree::Namespace<'_>| {
            let inherited = above.and_then(|above| above.lookup_namespace_uri(namespace.name()));
            namespace.name() != Some("xml") && inherited != Some(namespace.uri())
        };
        let declared = node
            .namespaces()
            .filter(is_new)
            .map(|namespace| (namespace.name().map(str::to_owned), namespace.uri().to_owned()))
            .collect();
        let attribute = |attribute: roxmltree::Attribute<'_, '_>| Attribute {
            name: Name {
                prefix: prefix(&self.text[attribute.range_qname()]),
                local: attribute.name().to_owned(),
                namespace: attribute.namespace().map(str::to_owned),
            },
            value: attribute.value().to_owned(),
        };
        Element { name, declared, attributes: node.attributes().map(attribute).collect() }
    }

    /// Texts and sections of CDATA that stand one behind the other come as one.
    fn texts(&mut self, parent: Id, node: roxmltree::Node<'_, '_>) {
        let text = node.text().unwrap_or_default();
        let source = &self.text[node.range()];
        if self.options.without_cdata || !source.contains("<![CDATA[") {
            if !self.is_left_out(parent, text, node) {
                self.text(parent, text, false);
            }
            return;
        }
        // What is between sections has entities that are resolved already: it is what is left of the whole.
        let mut rest = text;
        let mut source = source;
        while let Some((before, behind)) = source.split_once("<![CDATA[") {
            let (section, behind) = behind.split_once("]]>").unwrap_or((behind, ""));
            let section = section.replace("\r\n", "\n");
            let at = if before.is_empty() { 0 } else { rest.find(&section).unwrap_or(0) };
            self.text(parent, &rest[..at], false);
            self.text(parent, &section, true);
            rest = rest.get(at + section.len()..).unwrap_or_default();
            source = behind;
        }
        self.text(parent, rest, false);
    }

    fn text(&mut self, parent: Id, text: &str, is_cdata: bool) {
        if !text.is_empty() || is_cdata {
            let id = self.document.make(Kind::Text { text: text.to_owned(), is_cdata });
            self.document.append(parent, id);
        }
    }

    /// Whether libxml2 takes a text for the layout of a document (`parser.c`, `areBlanks`).
    fn is_left_out(&self, parent: Id, text: &str, node: roxmltree::Node<'_, '_>) -> bool {
        let is_blank = text.chars().all(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
        let children = self.document.children(parent);
        let is_alone = children.is_empty() && node.next_sibling().is_none();
        let is_mixed =
            [children.first(), children.last()].into_iter().flatten().any(|c| self.document.is_text(*c));
        self.options.without_blanks && is_blank && !is_alone && !is_mixed
    }
}

/// The declaration of a document's type, as it is written.
fn doctype(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let end = match rest {
            _ if rest.starts_with("<?") => rest.find("?>")? + 2,
            _ if rest.starts_with("<!--") => rest.find("-->")? + 3,
            _ if rest.starts_with("<!DOCTYPE") => {
                let subset = rest.find('[').filter(|at| rest.find('>').is_some_and(|end| *at < end));
                let from = match subset {
                    Some(at) => at + rest[at..].find(']')?,
                    None => 0,
                };
                return Some(&rest[..=from + rest[from..].find('>')?]);
            }
            _ => return None,
        };
        rest = &rest[end..];
    }
}
