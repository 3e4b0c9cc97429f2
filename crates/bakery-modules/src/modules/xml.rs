//! `xml`: parts of a document in XML, by XPath (`community.general`, `plugins/modules/xml.py`).

use bakery_host::fs;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use fancy_regex::Regex;

use crate::host::Replace;
use crate::registry::module;
use crate::xml::xpath::{Item, Object, XPath};
use crate::xml::{Document, Element, Id, Kind, Name, Options};
use crate::{Failure, Host, Outcome, Run};

/// Sets, adds, removes or returns parts of a document in XML.
#[derive(ModuleArgs)]
#[args(one_of = "path,xmlstring", exclusive = "path,xmlstring", exclusive = "insertbefore,insertafter")]
#[args(exclusive = "add_children,content,count,print_match,set_children,value")]
struct Args {
    /// The file.
    #[arg(alias = "dest", alias = "file")]
    path: Option<String>,
    /// The document itself; the result has the new one.
    xmlstring: Option<String>,
    /// What is meant, as an XPath.
    xpath: Option<String>,
    /// Namespaces by the prefixes that the XPath has for them.
    namespaces: Option<Map>,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present", alias = "ensure")]
    state: String,
    /// The text of the elements, or the value of their attribute.
    value: Option<Value>,
    /// Whether an element that is not there is made to have the value.
    #[arg(default = "true")]
    create_if_missing: bool,
    /// Accepted; there are no limits to be lifted.
    huge_tree: bool,
    /// The attribute that the value is for.
    attribute: Option<Value>,
    /// Elements that come behind those that are there.
    add_children: Option<Vec<Value>>,
    /// Elements that take the place of those that are there.
    set_children: Option<Vec<Value>>,
    /// Whether the elements are counted.
    count: bool,
    /// Whether it is told where the elements are.
    print_match: bool,
    /// Whether the document is laid out with a line for each element.
    pretty_print: bool,
    /// What is returned of the elements.
    #[arg(choices = "attribute,text")]
    content: Option<String>,
    /// How children are written.
    #[arg(default = "yaml", choices = "xml,yaml")]
    input_type: String,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// Whether sections of CDATA become texts like others.
    strip_cdata_tags: bool,
    /// Whether children come before the first of the elements, beside it.
    insertbefore: bool,
    /// Whether children come behind the last of the elements, beside it.
    insertafter: bool,
}

/// A document and what is asked of it.
struct Work<'a> {
    args: &'a Args,
    document: Document,
    namespaces: Vec<(String, String)>,
}

/// What a change leaves to say.
#[derive(Default)]
struct Said {
    msg: Option<Value>,
    count: i64,
    matches: Vec<Value>,
}

fn run(args: Args, host: &mut Host) -> Run {
    check(&args)?;
    let source = read(&args, host)?;
    if let Some(xpath) = &args.xpath {
        XPath::read(xpath).map_err(|why| format!("Syntax error in xpath expression: {xpath} ({why})"))?;
    }
    let options = Options { without_blanks: args.pretty_print, without_cdata: args.strip_cdata_tags };
    let document = Document::read(&source, options).map_err(|why| {
        format!("Error while parsing document: {} ({why})", args.path.as_deref().unwrap_or("xml_string"))
    })?;
    let namespaces = args.namespaces.as_ref().map(Map::pairs).unwrap_or_default();
    let namespaces =
        namespaces.into_iter().map(|(prefix, uri)| (prefix.to_string(), uri.to_string())).collect();
    let before = document.clone();
    let mut work = Work { args: &args, document, namespaces };
    let Some(xpath) = &args.xpath else { return laid_out(&args, &source, &work.document, host) };
    let said = work.act(xpath)?;
    finish(&args, &before, &work, said, host)
}

/// Options that want others.
fn check(args: &Args) -> Result<(), Failure> {
    let wants = [
        ("add_children", args.add_children.is_some()),
        ("content", args.content.is_some()),
        ("set_children", args.set_children.is_some()),
        ("value", args.value.is_some()),
    ];
    for (name, is_given) in wants {
        if is_given && args.xpath.is_none() {
            return Err(Failure::new(format!("missing parameter(s) required by '{name}': xpath")));
        }
    }
    if args.attribute.is_some() && args.value.is_none() {
        return Err("missing parameter(s) required by 'attribute': value".into());
    }
    let wants = [
        ("count", args.count),
        ("print_match", args.print_match),
        ("insertbefore", args.insertbefore),
        ("insertafter", args.insertafter),
    ];
    for (name, is_given) in wants {
        if is_given && args.xpath.is_none() {
            return Err(Failure::new(format!("{name} is True but all of the following are missing: xpath")));
        }
    }
    Ok(())
}

fn read(args: &Args, host: &Host) -> Result<String, Failure> {
    if let Some(text) = args.xmlstring.as_ref().filter(|text| !text.is_empty()) {
        return Ok(text.clone());
    }
    let path = args.path.as_deref().unwrap_or_default();
    let file = host.path(path);
    if !file.is_file() {
        return Err(Failure::new(format!("The target XML source '{path}' does not exist.")));
    }
    String::from_utf8(fs::read(&file)?).or_else(|error| {
        let bytes = error.into_bytes();
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).to_lowercase();
        // Its letters have the numbers that they have in Unicode.
        if head.contains("iso-8859-1") {
            Ok(bytes.iter().map(|byte| char::from(*byte)).collect())
        } else {
            Err(Failure::new(format!(
                "Error while parsing document: {path} (it is neither UTF-8 nor ISO-8859-1)"
            )))
        }
    })
}

/// `pretty_print` alone.
fn laid_out(args: &Args, source: &str, document: &Document, host: &mut Host) -> Run {
    let text = document.written(args.pretty_print);
    let Some(path) = &args.path else { return Ok(Outcome::changed(true).with("xmlstring", text)) };
    let mut outcome = Outcome::changed(text != source);
    if outcome.changed {
        outcome = replaced(args, path, &text, outcome, host)?;
    }
    Ok(outcome)
}

fn replaced(args: &Args, path: &str, text: &str, outcome: Outcome, host: &mut Host) -> Run {
    let how = Replace { backup: args.backup, ..Replace::default() };
    let (_, backup) = host.replace(&host.path(path), text.as_bytes(), &how)?;
    Ok(match backup {
        Some(backup) => outcome.with("backup_file", backup.display().to_string()),
        None => outcome,
    })
}

/// A document without its layout, by which it is seen whether it was changed.
fn bare(document: &Document) -> Result<String, Failure> {
    let options = Options { without_blanks: true, without_cdata: true };
    Ok(Document::read(&document.written(false), options)?.written(false))
}

fn finish(args: &Args, before: &Document, work: &Work<'_>, said: Said, host: &mut Host) -> Run {
    let changed = bare(before)? != bare(&work.document)?;
    let text = work.document.written(args.pretty_print);
    let namespaces: Map =
        work.namespaces.iter().map(|(prefix, uri)| (prefix.as_str(), Value::from(uri.as_str()))).collect();
    let actions = Value::map([
        ("xpath", args.xpath.as_deref().into()),
        ("namespaces", Value::from(namespaces)),
        ("state", args.state.as_str().into()),
    ]);
    let mut outcome = Outcome::changed(changed).with("actions", actions);
    if args.count || said.count > 0 {
        outcome = outcome.with("count", said.count);
    }
    if args.print_match || !said.matches.is_empty() {
        outcome = outcome.with("matches", said.matches);
    }
    if let Some(msg) = said.msg {
        outcome = outcome.with("msg", msg);
    }
    if let (Some(path), true) = (&args.path, changed) {
        outcome = replaced(args, path, &text, outcome, host)?;
    }
    if args.xmlstring.is_some() {
        outcome = outcome.with("xmlstring", text);
    }
    Ok(outcome)
}

impl Work<'_> {
    fn act(&mut self, xpath: &str) -> Result<Said, Failure> {
        let args = self.args;
        if args.print_match {
            let paths: Vec<String> =
                self.elements(xpath)?.into_iter().map(|id| self.document.path(id)).collect();
            let shown = serde_json::to_string(&paths).unwrap_or_default().replace("\",\"", "\", \"");
            let matches = paths.into_iter().map(Value::from).collect();
            let msg = format!("selector '{xpath}' match: {shown}");
            return Ok(Said { msg: Some(msg.into()), matches, ..Said::default() });
        }
        if args.count {
            let Object::Number(number) = self.ask(self.document.root(), &format!("count(/{xpath})"))? else {
                return Ok(Said::default());
            };
            let count = number as i64;
            return Ok(Said { msg: Some(format!("found {count} nodes").into()), count, ..Said::default() });
        }
        if let Some(content) = &args.content {
            return self.content(xpath, content == "attribute");
        }
        if args.state == "absent" {
            self.delete(xpath)
                .map_err(|why| format!("Couldn't delete xpath target: {xpath} ({})", why.msg))?;
        } else if let Some(children) = &args.set_children {
            self.set_children(xpath, children)?;
        } else if let Some(children) = args.add_children.as_ref().filter(|children| !children.is_empty()) {
            self.add_children(xpath, children)?;
        } else if let Some(value) = &args.value {
            self.set(xpath, value)?;
        } else if !self.is_node(self.document.root(), xpath)? {
            self.make_target(self.document.root(), xpath)?;
        }
        Ok(Said::default())
    }

    fn ask(&self, at: Id, xpath: &str) -> Result<Object, Failure> {
        let read = XPath::read(xpath)?;
        Ok(read.ask(&self.document, at, &self.namespaces)?)
    }

    /// The nodes that an XPath leads to, if those are no attributes.
    fn elements(&self, xpath: &str) -> Result<Vec<Id>, Failure> {
        self.elements_at(self.document.root(), xpath)
    }

    fn elements_at(&self, at: Id, xpath: &str) -> Result<Vec<Id>, Failure> {
        let Object::Nodes(nodes) = self.ask(at, xpath)? else {
            return Err(Failure::new(format!("Xpath {xpath} does not reference a node!")));
        };
        let element = |item: &Item| match item {
            Item::Node(id) if !matches!(self.document.kind(*id), Kind::Text { .. }) => Ok(*id),
            _ => Err(Failure::new(format!("Xpath {xpath} references an attribute or a text, no element"))),
        };
        nodes.iter().map(element).collect()
    }

    /// Whether an XPath leads to anything, and that is an element.
    fn is_node(&self, at: Id, xpath: &str) -> Result<bool, Failure> {
        let found = self.ask(at, xpath)?;
        if !found.is_something() {
            return Ok(false);
        }
        match found {
            Object::Nodes(nodes) => Ok(match nodes.first() {
                Some(Item::Node(id)) => !matches!(self.document.kind(*id), Kind::Text { .. }),
                _ => false,
            }),
            _ => Err(Failure::new(format!("Xpath {xpath} does not reference a node!"))),
        }
    }

    fn content(&self, xpath: &str, of_attributes: bool) -> Result<Said, Failure> {
        if !self.is_node(self.document.root(), xpath)? {
            return Err(Failure::new(format!("Xpath {xpath} does not reference a node!")));
        }
        let entry = |id: Id| -> Value {
            let Some(element) = self.document.element(id) else { return Value::None };
            let content = if of_attributes {
                let attributes = element.attributes.iter();
                let pairs = attributes.map(|a| (a.name.in_clarks_notation(), Value::from(a.value.as_str())));
                Value::from(pairs.collect::<Map>())
            } else {
                self.document.text(id).map_or(Value::None, Value::from)
            };
            Value::from(Map::from_iter([(element.name.in_clarks_notation(), content)]))
        };
        let matches: Vec<Value> = self.elements(xpath)?.into_iter().map(entry).collect();
        let count = matches.len() as i64;
        Ok(Said { msg: Some(count.into()), count, matches })
    }

    fn delete(&mut self, xpath: &str) -> Result<(), Failure> {
        let Object::Nodes(nodes) = self.ask(self.document.root(), xpath)? else {
            return Err("it leads to no nodes".into());
        };
        let mut attributes: Vec<(Id, Name)> = Vec::new();
        for item in nodes {
            match item {
                Item::Attribute(id, number) => {
                    let attribute =
                        self.document.element(id).and_then(|element| element.attributes.get(number));
                    attributes.extend(attribute.map(|attribute| (id, attribute.name.clone())));
                }
                Item::Node(id) if id == self.document.root() || self.document.parent(id).is_none() => {
                    return Err("the root cannot be removed".into());
                }
                Item::Node(id) if matches!(self.document.kind(id), Kind::Text { .. }) => {
                    return Err("it leads to a text".into());
                }
                Item::Node(id) => self.document.remove(id),
            }
        }
        for (id, name) in attributes {
            if let Some(element) = self.document.element_mut(id) {
                element.attributes.retain(|attribute| attribute.name != name);
            }
        }
        Ok(())
    }

    fn set_children(&mut self, xpath: &str, children: &[Value]) -> Result<(), Failure> {
        let children = self.nodes(children, &self.args.input_type)?;
        let wanted: Vec<String> = children.iter().map(|child| self.document.shown(*child)).collect();
        for id in self.elements(xpath)? {
            let members = self.document.members(id);
            let now: Vec<String> = members.iter().map(|member| self.document.shown(*member)).collect();
            if now == wanted {
                continue;
            }
            members.into_iter().for_each(|member| self.document.remove(member));
            self.extend(id, &children);
        }
        Ok(())
    }

    fn add_children(&mut self, xpath: &str, children: &[Value]) -> Result<(), Failure> {
        if !self.is_node(self.document.root(), xpath)? {
            return Ok(());
        }
        let children = self.nodes(children, &self.args.input_type)?;
        let elements = self.elements(xpath)?;
        if !self.args.insertbefore && !self.args.insertafter {
            elements.into_iter().for_each(|id| self.extend(id, &children));
            return Ok(());
        }
        let target = if self.args.insertbefore { elements.first() } else { elements.last() };
        let (Some(target), Some(first)) = (target, elements.first()) else { return Ok(()) };
        let (Some(parent), Some(of)) = (self.document.parent(*first), self.document.parent(*target)) else {
            return Ok(());
        };
        let number = self.document.members(of).iter().position(|member| member == target).unwrap_or(0);
        let numbers = number + usize::from(self.args.insertafter)..;
        for (number, child) in numbers.zip(children) {
            // Before the element that stands there now, behind all if there is none.
            let place = self.document.members(parent).get(number).copied();
            let place =
                place.and_then(|next| self.document.children(parent).iter().position(|id| *id == next));
            let place = place.unwrap_or(self.document.children(parent).len());
            self.document.insert(parent, place, child);
            self.document.adopt(child);
        }
        Ok(())
    }

    fn extend(&mut self, parent: Id, children: &[Id]) {
        for child in children {
            self.document.append(parent, *child);
            self.document.adopt(*child);
        }
    }

    fn set(&mut self, xpath: &str, value: &Value) -> Result<(), Failure> {
        let root = self.document.root();
        if !self.is_node(root, xpath)? {
            if !self.args.create_if_missing {
                return Ok(());
            }
            self.make_target(root, xpath)?;
        }
        if !self.is_node(root, xpath)? {
            let shown = self.document.shown(root);
            return Err(Failure::new(format!("Xpath {xpath} does not reference a node! tree is {shown}")));
        }
        let Some(value) = value.as_str() else {
            return Err(Failure::new(format!(
                "A non-string value {value} was parsed for {xpath}: what looks like a boolean or a number may be written otherwise than you mean. Quote it."
            )));
        };
        for id in self.elements(xpath)? {
            match &self.args.attribute {
                Some(attribute) if attribute.is_true() => {
                    let name = self.name(&attribute.to_string())?;
                    self.document.set_attribute(id, name, value);
                }
                _ if self.document.text(id).as_deref() != Some(value) => self.document.set_text(id, value),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads a name with the prefix of a namespace.
    fn name(&self, text: &str) -> Result<Name, Failure> {
        let Some((prefix, local)) = text.split_once(':') else { return Ok(Name::of_clarks_notation(text)) };
        if text.starts_with('{') {
            return Ok(Name::of_clarks_notation(text));
        }
        let namespace = self.namespaces.iter().find(|(known, _)| known == prefix);
        let (_, namespace) =
            namespace.ok_or_else(|| format!("the prefix '{prefix}' is not in `namespaces`"))?;
        Ok(Name { prefix: None, local: local.to_owned(), namespace: Some(namespace.clone()) })
    }

    /// Makes what an XPath asks for and is not there (`check_or_make_target`).
    fn make_target(&mut self, at: Id, xpath: &str) -> Result<(), Failure> {
        let Some((inner, wishes)) = split(xpath.trim()) else {
            let shown = self.document.shown(at);
            return Err(Failure::new(format!(
                "Can't process Xpath {xpath} in order to spawn nodes! tree is {shown}"
            )));
        };
        if !self.is_node(at, &inner)? {
            self.make_target(at, &inner)?;
        }
        if !self.is_node(at, &inner)? {
            return Ok(());
        }
        let elements = self.elements_at(at, &inner)?;
        match wishes {
            Wish::Element(name, text) => {
                let name = self.name(&name)?;
                let made = self.document.make(Kind::Element(Element::new(name)));
                if let Some(text) = text.filter(|text| !text.is_empty()) {
                    self.document.set_text(made, &text);
                }
                elements.into_iter().for_each(|id| self.extend(id, &[made]));
            }
            Wish::Detailed(name, details) => {
                let name = self.name(&name)?;
                let made = self.document.make(Kind::Element(Element::new(name)));
                for id in elements {
                    self.extend(id, &[made]);
                    for detail in &details {
                        self.make_target(made, &format!("./{detail}"))?;
                    }
                }
            }
            Wish::Text(text) => {
                for id in elements {
                    if self.document.text(id).as_deref() != Some(text.as_str()) {
                        self.document.set_text(id, &text);
                    }
                }
            }
            Wish::Attribute(name, value) => {
                let name = self.name(&name)?;
                for id in elements {
                    self.document.set_attribute(id, name.clone(), value.as_deref().unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    /// Makes nodes of what a task says of children (`children_to_nodes`).
    fn nodes(&mut self, children: &[Value], input_type: &str) -> Result<Vec<Id>, Failure> {
        children.iter().map(|child| self.node(child, input_type)).collect()
    }

    fn node(&mut self, child: &Value, input_type: &str) -> Result<Id, Failure> {
        if input_type == "xml" {
            let read = Document::read(&child.to_string(), Options::default())
                .map_err(|why| format!("Error while parsing child element: {why}"))?;
            return Ok(self.document.import(&read, read.root()));
        }
        let Some(map) = child.as_map() else {
            if let Some(name) = child.as_str() {
                return Ok(self.document.make(Kind::Element(Element::new(Name::of_clarks_notation(name)))));
            }
            return Err(Failure::new(format!(
                "Invalid child type: {}. Children must be either strings or hashes.",
                child.type_name()
            )));
        };
        let [(name, content)] = &map.pairs()[..] else {
            return Err("Can only create children from hashes with one key".into());
        };
        let name = Name::of_clarks_notation(&name.to_string());
        let made = self.document.make(Kind::Element(Element::new(name)));
        self.document.adopt(made);
        let Some(details) = content.as_map() else {
            if !content.is_none() {
                self.document.set_text(made, &content.to_string());
            }
            return Ok(made);
        };
        for (key, value) in details.pairs() {
            match key.to_string().as_str() {
                "_" => {
                    let children = value.as_items().ok_or_else(|| {
                        format!("Invalid children type: {}, must be list.", value.type_name())
                    })?;
                    let children = self.nodes(&children, "yaml")?;
                    self.extend(made, &children);
                }
                "+value" if value.is_none() => {}
                "+value" => self.document.set_text(made, &value.to_string()),
                attribute => {
                    let name = Name::of_clarks_notation(attribute);
                    self.document.set_attribute(made, name, &value.to_string());
                }
            }
        }
        Ok(made)
    }
}

/// What the end of an XPath asks for.
enum Wish {
    /// An element, with a text if one is said.
    Element(String, Option<String>),
    /// An element, with what stands in its brackets.
    Detailed(String, Vec<String>),
    /// A text.
    Text(String),
    /// An attribute, with a value if one is said.
    Attribute(String, Option<String>),
}

/// Splits `/foo/bar/baz` into `/foo/bar` and what is to be made there (`split_xpath_last`).
fn split(xpath: &str) -> Option<(String, Wish)> {
    const NAME: &str = r"[a-zA-Z-][a-zA-Z0-9_\-\.]*|[a-zA-Z-][a-zA-Z0-9_\-\.]*:[a-zA-Z-][a-zA-Z0-9_\-\.]*";
    const TEXT: &str = r#"'(.*)'|"(.*)""#;
    let found = |pattern: String| -> Option<Vec<Option<String>>> {
        let captures = Regex::new(&pattern).ok()?.captures(xpath).ok()??;
        Some(captures.iter().map(|group| group.map(|group| group.as_str().to_owned())).collect())
    };
    let group = |groups: &[Option<String>], at: usize| groups.get(at).cloned().flatten();
    // The quotes of a text are either.
    let text = |groups: &[Option<String>], at: usize| group(groups, at).or_else(|| group(groups, at + 1));
    if let Some(groups) = found(format!("^(.*)/({NAME})$")) {
        return Some((group(&groups, 1)?, Wish::Element(group(&groups, 2)?, None)));
    }
    if let Some(groups) = found(format!(r"^(.*)/({NAME})/text\(\)=(?:{TEXT})$")) {
        return Some((group(&groups, 1)?, Wish::Element(group(&groups, 2)?, text(&groups, 3))));
    }
    if let Some(groups) = found(format!("^(.*)/@({NAME})$")) {
        return Some((group(&groups, 1)?, Wish::Attribute(group(&groups, 2)?, None)));
    }
    if let Some(groups) = found(format!("^(.*)/@({NAME})=(?:{TEXT})$")) {
        return Some((group(&groups, 1)?, Wish::Attribute(group(&groups, 2)?, text(&groups, 3))));
    }
    if let Some(groups) = found(format!(r"^(.*)/({NAME})\[(.*)\]$")) {
        let details = group(&groups, 3)?.split(" and ").map(|detail| detail.trim().to_owned()).collect();
        return Some((group(&groups, 1)?, Wish::Detailed(group(&groups, 2)?, details)));
    }
    let groups = found(format!(r"^(.*)/text\(\)=(?:{TEXT})$"))?;
    Some((group(&groups, 1)?, Wish::Text(text(&groups, 2).unwrap_or_default())))
}

module!("xml", "community.general", Args, run);
