//! Writes a document as libxml2 does (`xmlsave.c`).

use super::{Document, Id, Kind};

impl Document {
    /// The whole document with its declaration, in UTF-8; `pretty` lays elements out that hold no texts.
    pub(crate) fn written(&self, pretty: bool) -> String {
        let mut out = "<?xml version='1.0' encoding='UTF-8'?>\n".to_owned();
        if let Some(doctype) = &self.doctype {
            out.push_str(doctype);
            out.push('\n');
        }
        let children = self.children(Self::TOP);
        let root = self.root();
        let at = children.iter().position(|child| *child == root).unwrap_or(0);
        for (number, child) in children.iter().enumerate() {
            // What stands beside the root has no line of its own unless it is laid out.
            if pretty && number > at {
                out.push('\n');
            }
            self.write(*child, &mut out, pretty.then_some(0));
            if pretty && number < at {
                out.push('\n');
            }
        }
        if pretty {
            out.push('\n');
        }
        out
    }

    /// A node as it stands in a document.
    pub(crate) fn shown(&self, id: Id) -> String {
        let mut out = String::new();
        self.write(id, &mut out, None);
        out
    }

    fn write(&self, id: Id, out: &mut String, depth: Option<usize>) {
        match self.kind(id) {
            Kind::Document => {}
            Kind::Text { text, is_cdata: true } => {
                out.push_str("<![CDATA[");
                out.push_str(text);
                out.push_str("]]>");
            }
            Kind::Text { text, .. } => escape(text, out, false),
            Kind::Comment(text) => {
                out.push_str("<!--");
                out.push_str(text);
                out.push_str("-->");
            }
            Kind::Instruction { target, data } => {
                out.push_str("<?");
                out.push_str(target);
                if !data.is_empty() {
                    out.push(' ');
                    out.push_str(data);
                }
                out.push_str("?>");
            }
            Kind::Element(element) => {
                let name = element.name.qualified();
                out.push('<');
                out.push_str(&name);
                for (prefix, namespace) in &element.declared {
                    out.push_str(" xmlns");
                    if let Some(prefix) = prefix {
                        out.push(':');
                        out.push_str(prefix);
                    }
                    attribute_value(namespace, out);
                }
                for attribute in &element.attributes {
                    out.push(' ');
                    out.push_str(&attribute.name.qualified());
                    attribute_value(&attribute.value, out);
                }
                let children = self.children(id);
                if children.is_empty() {
                    out.push_str("/>");
                    return;
                }
                out.push('>');
                // A text anywhere in it: then blanks would be texts as well.
                let depth = depth.filter(|_| !children.iter().any(|child| self.is_text(*child)));
                for child in children {
                    indent(depth.map(|depth| depth + 1), out);
                    self.write(*child, out, depth.map(|depth| depth + 1));
                }
                indent(depth, out);
                out.push_str("</");
                out.push_str(&name);
                out.push('>');
            }
        }
    }
}

fn indent(depth: Option<usize>, out: &mut String) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

fn attribute_value(value: &str, out: &mut String) {
    out.push_str("=\"");
    escape(value, out, true);
    out.push('"');
}

fn escape(text: &str, out: &mut String, is_attribute: bool) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            '"' if is_attribute => out.push_str("&quot;"),
            '\n' if is_attribute => out.push_str("&#10;"),
            '\t' if is_attribute => out.push_str("&#9;"),
            other => out.push(other),
        }
    }
}
