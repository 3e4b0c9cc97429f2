//! Documents in XML that keep what they are made of: comments, instructions, sections of CDATA, the declaration of their type,
//! prefixes and the order of attributes. They are read and written as libxml2 does, by which Ansible's module works.

mod read;
mod write;
pub(crate) mod xpath;

pub(crate) use read::Options;

/// A node of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(usize);

/// The name of an element or an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) prefix: Option<String>,
    pub(crate) local: String,
    pub(crate) namespace: Option<String>,
}

impl Name {
    /// One that is in no namespace.
    pub(crate) fn plain(local: &str) -> Self {
        Self { prefix: None, local: local.to_owned(), namespace: None }
    }

    /// `{namespace}local`, or what is local alone.
    pub(crate) fn in_clarks_notation(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{{{namespace}}}{}", self.local),
            None => self.local.clone(),
        }
    }

    /// Reads `{namespace}local`; the prefix is for the document to find.
    pub(crate) fn of_clarks_notation(text: &str) -> Self {
        match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((namespace, local)) => {
                Self { prefix: None, local: local.to_owned(), namespace: Some(namespace.to_owned()) }
            }
            None => Self::plain(text),
        }
    }

    /// As it stands in a document.
    pub(crate) fn qualified(&self) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}:{}", self.local),
            None => self.local.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) name: Name,
    pub(crate) value: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Element {
    pub(crate) name: Name,
    /// Namespaces that it declares, by their prefixes.
    pub(crate) declared: Vec<(Option<String>, String)>,
    pub(crate) attributes: Vec<Attribute>,
}

impl Element {
    pub(crate) fn new(name: Name) -> Self {
        Self { name, declared: vec![], attributes: vec![] }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// The document itself: its children are its root element, and what stands beside that.
    Document,
    Element(Element),
    Text {
        text: String,
        is_cdata: bool,
    },
    Comment(String),
    Instruction {
        target: String,
        data: String,
    },
}

#[derive(Debug, Clone)]
struct Node {
    parent: Option<Id>,
    children: Vec<Id>,
    kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) struct Document {
    nodes: Vec<Node>,
    /// `<!DOCTYPE …>`, as it is written.
    doctype: Option<String>,
}

impl Document {
    /// The node of the document itself.
    pub(crate) const TOP: Id = Id(0);

    fn empty() -> Self {
        let top = Node { parent: None, children: vec![], kind: Kind::Document };
        Self { nodes: vec![top], doctype: None }
    }

    pub(crate) fn kind(&self, id: Id) -> &Kind {
        &self.nodes[id.0].kind
    }

    pub(crate) fn element(&self, id: Id) -> Option<&Element> {
        match self.kind(id) {
            Kind::Element(element) => Some(element),
            _ => None,
        }
    }

    pub(crate) fn element_mut(&mut self, id: Id) -> Option<&mut Element> {
        match &mut self.nodes[id.0].kind {
            Kind::Element(element) => Some(element),
            _ => None,
        }
    }

    pub(crate) fn parent(&self, id: Id) -> Option<Id> {
        self.nodes[id.0].parent
    }

    pub(crate) fn children(&self, id: Id) -> &[Id] {
        &self.nodes[id.0].children
    }

    pub(crate) fn root(&self) -> Id {
        let mut children = self.children(Self::TOP).iter().copied();
        children.find(|child| self.element(*child).is_some()).unwrap_or(Self::TOP)
    }

    fn is_text(&self, id: Id) -> bool {
        matches!(self.kind(id), Kind::Text { .. })
    }

    /// The children that are no texts, as lxml counts them.
    pub(crate) fn members(&self, id: Id) -> Vec<Id> {
        self.children(id).iter().copied().filter(|child| !self.is_text(*child)).collect()
    }

    /// Makes a node that is nowhere yet.
    pub(crate) fn make(&mut self, kind: Kind) -> Id {
        self.nodes.push(Node { parent: None, children: vec![], kind });
        Id(self.nodes.len() - 1)
    }

    pub(crate) fn append(&mut self, parent: Id, child: Id) {
        self.insert(parent, self.children(parent).len(), child);
    }

    /// Puts a node where the child of this number stands; it is taken away from where it was.
    pub(crate) fn insert(&mut self, parent: Id, at: usize, child: Id) {
        let before = self.parent(child).and_then(|old| {
            let position = self.children(old).iter().position(|other| *other == child)?;
            self.nodes[old.0].children.remove(position);
            (old == parent && position < at).then_some(())
        });
        let at = if before.is_some() { at - 1 } else { at };
        self.nodes[child.0].parent = Some(parent);
        self.nodes[parent.0].children.insert(at, child);
    }

    /// Takes a node away, and the text behind it, as lxml does.
    pub(crate) fn remove(&mut self, id: Id) {
        let Some(parent) = self.parent(id) else { return };
        let children = self.children(parent);
        let Some(at) = children.iter().position(|child| *child == id) else { return };
        let texts = children[at + 1..].iter().take_while(|child| self.is_text(**child)).count();
        self.nodes[parent.0].children.drain(at..=at + texts);
        self.nodes[id.0].parent = None;
    }

    /// The text before the first child of an element; nothing if there is none.
    pub(crate) fn text(&self, id: Id) -> Option<String> {
        let leading: Vec<&str> = self
            .children(id)
            .iter()
            .map_while(|child| match self.kind(*child) {
                Kind::Text { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        match self.kind(id) {
            Kind::Comment(text) => Some(text.clone()),
            Kind::Instruction { data, .. } => Some(data.clone()),
            _ if leading.is_empty() => None,
            _ => Some(leading.concat()),
        }
    }

    pub(crate) fn set_text(&mut self, id: Id, value: &str) {
        match &mut self.nodes[id.0].kind {
            Kind::Comment(text) | Kind::Instruction { data: text, .. } => {
                value.clone_into(text);
                return;
            }
            _ => {}
        }
        let texts = self.children(id).iter().take_while(|child| self.is_text(**child)).count();
        self.nodes[id.0].children.drain(..texts);
        let text = self.make(Kind::Text { text: value.to_owned(), is_cdata: false });
        self.insert(id, 0, text);
    }

    /// Sets an attribute; a prefix is found for its namespace, or made.
    pub(crate) fn set_attribute(&mut self, id: Id, mut name: Name, value: &str) {
        let Some(element) = self.element_mut(id) else { return };
        let same = |attribute: &&mut Attribute| {
            attribute.name.local == name.local && attribute.name.namespace == name.namespace
        };
        if let Some(attribute) = element.attributes.iter_mut().find(same) {
            value.clone_into(&mut attribute.value);
            return;
        }
        if let Some(namespace) = &name.namespace {
            name.prefix = Some(self.prefix_of(id, namespace, false).flatten().unwrap_or_else(|| {
                let prefix = self.free_prefix(id);
                if let Some(element) = self.element_mut(id) {
                    element.declared.push((Some(prefix.clone()), namespace.clone()));
                }
                prefix
            }));
        }
        if let Some(element) = self.element_mut(id) {
            element.attributes.push(Attribute { name, value: value.to_owned() });
        }
    }

    /// Gives an element the prefix that its namespace has where it stands now; it declares one itself where there is none.
    pub(crate) fn adopt(&mut self, id: Id) {
        let Some(namespace) = self.element(id).and_then(|element| element.name.namespace.clone()) else {
            return;
        };
        let above = self.parent(id).and_then(|parent| self.prefix_of(parent, &namespace, true));
        let own = self.prefix_of(id, &namespace, true);
        let free = self.free_prefix(id);
        let Some(element) = self.element_mut(id) else { return };
        if let Some(prefix) = above {
            let is_used = |prefix: &Option<String>| {
                element.attributes.iter().any(|a| a.name.prefix.is_some() && a.name.prefix == *prefix)
            };
            let unused =
                |(prefix, declared): &(Option<String>, String)| *declared == namespace && !is_used(prefix);
            element.declared.retain(|declared| !unused(declared));
            element.name.prefix = prefix;
        } else if let Some(prefix) = own {
            element.name.prefix = prefix;
        } else {
            element.declared.push((Some(free.clone()), namespace));
            element.name.prefix = Some(free);
        }
    }

    /// The prefix of a namespace at a node; elements may have none where it is the one of what has no prefix.
    fn prefix_of(&self, id: Id, namespace: &str, or_none: bool) -> Option<Option<String>> {
        let mut at = Some(id);
        let mut hidden: Vec<&Option<String>> = Vec::new();
        while let Some(id) = at {
            for (prefix, declared) in self.element(id).map(|element| &element.declared).into_iter().flatten()
            {
                if declared == namespace && (or_none || prefix.is_some()) && !hidden.contains(&prefix) {
                    return Some(prefix.clone());
                }
                hidden.push(prefix);
            }
            at = self.parent(id);
        }
        None
    }

    /// A prefix that is not declared at a node, as lxml calls them.
    fn free_prefix(&self, id: Id) -> String {
        let mut used: Vec<&str> = Vec::new();
        let mut at = Some(id);
        while let Some(id) = at {
            let declared = self.element(id).map(|element| &element.declared).into_iter().flatten();
            used.extend(declared.filter_map(|(prefix, _)| prefix.as_deref()));
            at = self.parent(id);
        }
        let mut names = (0..).map(|number: u32| format!("ns{number}"));
        names.find(|name| !used.contains(&name.as_str())).unwrap_or_default()
    }

    /// Copies a node of another document, and what is in it.
    pub(crate) fn import(&mut self, other: &Self, id: Id) -> Id {
        let copy = self.make(other.kind(id).clone());
        for child in other.children(id) {
            let child = self.import(other, *child);
            self.append(copy, child);
        }
        copy
    }

    /// The texts of a node and of all that is in it, one behind the other.
    pub(crate) fn content(&self, id: Id) -> String {
        match self.kind(id) {
            Kind::Text { text, .. } | Kind::Comment(text) | Kind::Instruction { data: text, .. } => {
                text.clone()
            }
            Kind::Document | Kind::Element(_) => {
                let texts = self
                    .children(id)
                    .iter()
                    .filter(|child| matches!(self.kind(**child), Kind::Text { .. } | Kind::Element(_)));
                texts.map(|child| self.content(*child)).collect()
            }
        }
    }

    /// Where a node is, as `xmlGetNodePath` says it: `/list/item[2]`.
    pub(crate) fn path(&self, id: Id) -> String {
        let Some(parent) = self.parent(id) else { return String::new() };
        let (shown, is_generic) = match self.kind(id) {
            // What has a namespace without a prefix cannot be named.
            Kind::Element(element) if element.name.prefix.is_none() && element.name.namespace.is_some() => {
                ("*".to_owned(), true)
            }
            Kind::Element(element) => (element.name.qualified(), false),
            Kind::Text { .. } => ("text()".to_owned(), false),
            Kind::Comment(_) => ("comment()".to_owned(), false),
            Kind::Instruction { target, .. } => (format!("processing-instruction('{target}')"), false),
            Kind::Document => return String::new(),
        };
        let is_like = |other: &Id| match (self.kind(id), self.kind(*other)) {
            (Kind::Element(_), Kind::Element(_)) if is_generic => true,
            (Kind::Element(one), Kind::Element(two)) => one.name.qualified() == two.name.qualified(),
            (Kind::Text { .. }, Kind::Text { .. }) | (Kind::Comment(_), Kind::Comment(_)) => true,
            (Kind::Instruction { target: one, .. }, Kind::Instruction { target: two, .. }) => one == two,
            _ => false,
        };
        let alike: Vec<Id> = self.children(parent).iter().copied().filter(is_like).collect();
        let number = alike.iter().position(|other| *other == id).unwrap_or(0) + 1;
        let at = if alike.len() > 1 { format!("[{number}]") } else { String::new() };
        format!("{}/{shown}{at}", self.path(parent))
    }
}
