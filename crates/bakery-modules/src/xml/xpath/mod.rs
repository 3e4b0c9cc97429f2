//! XPath 1.0 over a document.

mod functions;
mod parse;

use std::collections::HashMap;

use super::{Document, Id, Kind, Name};
use parse::{Axis, Expr, Start, Step, Test};

/// A node that a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Item {
    Node(Id),
    /// An attribute of an element, by its number.
    Attribute(Id, usize),
}

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Object {
    Nodes(Vec<Item>),
    Number(f64),
    Text(String),
    Truth(bool),
}

impl Object {
    /// Whether Python takes what lxml makes of it for true.
    pub(crate) fn is_something(&self) -> bool {
        match self {
            Self::Nodes(nodes) => !nodes.is_empty(),
            Self::Number(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Truth(truth) => *truth,
        }
    }
}

/// An expression that is read.
#[derive(Debug)]
pub(crate) struct XPath(Expr);

/// Where an expression is asked.
#[derive(Clone, Copy)]
struct Place {
    item: Item,
    position: usize,
    size: usize,
}

/// What is the same all over an expression.
struct Scene<'a> {
    document: &'a Document,
    namespaces: &'a [(String, String)],
    /// The order of nodes in the document.
    order: HashMap<Id, usize>,
}

impl XPath {
    /// # Errors
    /// When it is not one.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        parse::parse(text).map(Self)
    }

    /// Asks the expression at a node, with prefixes for namespaces.
    ///
    /// # Errors
    /// Names a prefix or a function that there is not, or says what cannot be asked so.
    pub(crate) fn ask(
        &self,
        document: &Document,
        at: Id,
        namespaces: &[(String, String)],
    ) -> Result<Object, String> {
        let mut order = HashMap::new();
        let mut todo = vec![Document::TOP];
        // What was made but is in the document nowhere yet.
        let mut top = at;
        while let Some(parent) = document.parent(top) {
            top = parent;
        }
        if top != Document::TOP {
            todo.push(top);
        }
        while let Some(id) = todo.pop() {
            order.insert(id, order.len());
            todo.extend(document.children(id).iter().rev());
        }
        let scene = Scene { document, namespaces, order };
        scene.value(&self.0, Place { item: Item::Node(at), position: 1, size: 1 })
    }
}

impl Scene<'_> {
    fn value(&self, expr: &Expr, place: Place) -> Result<Object, String> {
        Ok(match expr {
            Expr::Text(text) => Object::Text(text.clone()),
            Expr::Number(number) => Object::Number(*number),
            Expr::Negated(inner) => Object::Number(-self.number(&self.value(inner, place)?)),
            Expr::Call(name, args) => {
                let args = args.iter().map(|arg| self.value(arg, place)).collect::<Result<Vec<_>, _>>()?;
                self.call(name, &args, place)?
            }
            Expr::Binary(operator, left, right) => self.binary(operator, left, right, place)?,
            Expr::Filtered(inner, predicates) => {
                let nodes = self.nodes(inner, place)?;
                Object::Nodes(self.filtered(nodes, predicates)?)
            }
            Expr::Path(start, steps) => {
                let mut nodes = match start {
                    Start::Here => vec![place.item],
                    Start::Top => vec![Item::Node(self.top(place.item))],
                    Start::Of(inner) => self.nodes(inner, place)?,
                };
                for step in steps {
                    nodes = self.step(&nodes, step)?;
                }
                Object::Nodes(nodes)
            }
        })
    }

    fn top(&self, item: Item) -> Id {
        let (Item::Node(mut id) | Item::Attribute(mut id, _)) = item;
        while let Some(parent) = self.document.parent(id) {
            id = parent;
        }
        id
    }

    fn nodes(&self, expr: &Expr, place: Place) -> Result<Vec<Item>, String> {
        match self.value(expr, place)? {
            Object::Nodes(nodes) => Ok(nodes),
            _ => Err("Invalid type".to_owned()),
        }
    }

    fn binary(&self, operator: &str, left: &Expr, right: &Expr, place: Place) -> Result<Object, String> {
        if operator == "or" || operator == "and" {
            let left = self.truth(&self.value(left, place)?);
            if left == (operator == "or") {
                return Ok(Object::Truth(left));
            }
            return Ok(Object::Truth(self.truth(&self.value(right, place)?)));
        }
        if operator == "|" {
            let mut nodes = self.nodes(left, place)?;
            nodes.extend(self.nodes(right, place)?);
            return Ok(Object::Nodes(self.sorted(nodes)));
        }
        let (left, right) = (self.value(left, place)?, self.value(right, place)?);
        let of_numbers =
            |of: fn(f64, f64) -> f64| Object::Number(of(self.number(&left), self.number(&right)));
        Ok(match operator {
            "+" => of_numbers(|a, b| a + b),
            "-" => of_numbers(|a, b| a - b),
            "**" => of_numbers(|a, b| a * b),
            "div" => of_numbers(|a, b| a / b),
            "mod" => of_numbers(|a, b| a % b),
            _ => Object::Truth(self.compare(operator, &left, &right)),
        })
    }

    fn compare(&self, operator: &str, left: &Object, right: &Object) -> bool {
        match (left, right) {
            // True if it is of one of the nodes.
            (Object::Nodes(nodes), other) if !matches!(other, Object::Truth(_)) => {
                nodes.iter().any(|node| self.compare(operator, &Object::Text(self.text_of(*node)), other))
            }
            (other, Object::Nodes(nodes)) if !matches!(other, Object::Truth(_)) => {
                nodes.iter().any(|node| self.compare(operator, other, &Object::Text(self.text_of(*node))))
            }
            _ if operator == "=" || operator == "!=" => {
                let is_equal = match (left, right) {
                    (Object::Truth(_), _) | (_, Object::Truth(_)) => self.truth(left) == self.truth(right),
                    (Object::Text(one), Object::Text(two)) => one == two,
                    _ => {
                        let (one, two) = (self.number(left), self.number(right));
                        one.partial_cmp(&two) == Some(std::cmp::Ordering::Equal)
                    }
                };
                is_equal == (operator == "=")
            }
            _ => {
                let (one, two) = (self.number(left), self.number(right));
                match operator {
                    "<" => one < two,
                    "<=" => one <= two,
                    ">" => one > two,
                    _ => one >= two,
                }
            }
        }
    }

    fn step(&self, from: &[Item], step: &Step) -> Result<Vec<Item>, String> {
        let mut found = Vec::new();
        for item in from {
            let mut nodes = Vec::new();
            for node in self.along(*item, step.axis) {
                if self.fits(node, step)? {
                    nodes.push(node);
                }
            }
            found.extend(self.filtered(nodes, &step.predicates)?);
        }
        Ok(self.sorted(found))
    }

    fn filtered(&self, mut nodes: Vec<Item>, predicates: &[Expr]) -> Result<Vec<Item>, String> {
        for predicate in predicates {
            let size = nodes.len();
            let mut left = Vec::new();
            for (number, item) in nodes.into_iter().enumerate() {
                let position = number + 1;
                let value = self.value(predicate, Place { item, position, size })?;
                let is_wanted = match value {
                    Object::Number(number) => (number - position as f64).abs() < f64::EPSILON,
                    other => self.truth(&other),
                };
                if is_wanted {
                    left.push(item);
                }
            }
            nodes = left;
        }
        Ok(nodes)
    }

    /// Each node once, as they stand in the document.
    fn sorted(&self, mut nodes: Vec<Item>) -> Vec<Item> {
        nodes.sort_by_key(|item| match item {
            Item::Node(id) => (self.order.get(id).copied(), 0),
            Item::Attribute(id, number) => (self.order.get(id).copied(), number + 1),
        });
        nodes.dedup();
        nodes
    }

    /// Nodes along an axis, those first that are nearest.
    fn along(&self, item: Item, axis: Axis) -> Vec<Item> {
        let document = self.document;
        let id = match item {
            Item::Node(id) => id,
            Item::Attribute(id, _) => {
                return match axis {
                    Axis::Itself | Axis::DescendantOrSelf => vec![item],
                    Axis::Parent => vec![Item::Node(id)],
                    Axis::Ancestor => self.along(Item::Node(id), Axis::AncestorOrSelf),
                    Axis::AncestorOrSelf => {
                        let above = self.along(Item::Node(id), Axis::AncestorOrSelf);
                        [item].into_iter().chain(above).collect()
                    }
                    _ => vec![],
                };
            }
        };
        let nodes = |ids: &[Id]| ids.iter().map(|id| Item::Node(*id)).collect::<Vec<_>>();
        let siblings = || document.parent(id).map(|parent| document.children(parent)).unwrap_or_default();
        let at = || siblings().iter().position(|sibling| *sibling == id).unwrap_or(0);
        let ancestors = || std::iter::successors(document.parent(id), |above| document.parent(*above));
        match axis {
            Axis::Itself => vec![item],
            Axis::Child => nodes(document.children(id)),
            Axis::Parent => document.parent(id).map(Item::Node).into_iter().collect(),
            Axis::Attribute => {
                let count = document.element(id).map_or(0, |element| element.attributes.len());
                (0..count).map(|number| Item::Attribute(id, number)).collect()
            }
            Axis::Ancestor => ancestors().map(Item::Node).collect(),
            Axis::AncestorOrSelf => [id].into_iter().chain(ancestors()).map(Item::Node).collect(),
            Axis::Descendant => self.below(id).into_iter().skip(1).map(Item::Node).collect(),
            Axis::DescendantOrSelf => nodes(&self.below(id)),
            Axis::FollowingSibling => nodes(siblings().get(at() + 1..).unwrap_or_default()),
            Axis::PrecedingSibling => {
                siblings().iter().take(at()).rev().map(|sibling| Item::Node(*sibling)).collect()
            }
            Axis::Following => [id]
                .into_iter()
                .chain(ancestors())
                .flat_map(|from| self.along(Item::Node(from), Axis::FollowingSibling))
                .flat_map(|sibling| self.along(sibling, Axis::DescendantOrSelf))
                .collect(),
            Axis::Preceding => [id]
                .into_iter()
                .chain(ancestors())
                .flat_map(|from| self.along(Item::Node(from), Axis::PrecedingSibling))
                .flat_map(|sibling| {
                    let mut below = self.along(sibling, Axis::DescendantOrSelf);
                    below.reverse();
                    below
                })
                .collect(),
        }
    }

    /// A node and all that is in it.
    fn below(&self, id: Id) -> Vec<Id> {
        let mut all = Vec::new();
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            all.push(id);
            todo.extend(self.document.children(id).iter().rev());
        }
        all
    }

    fn fits(&self, item: Item, step: &Step) -> Result<bool, String> {
        let (name, is_text, is_comment, target) = match item {
            Item::Attribute(..) => (self.name_of(item), false, false, None),
            Item::Node(id) => match self.document.kind(id) {
                Kind::Element(_) if step.axis != Axis::Attribute => (self.name_of(item), false, false, None),
                Kind::Text { .. } => (None, true, false, None),
                Kind::Comment(_) => (None, false, true, None),
                Kind::Instruction { target, .. } => (None, false, false, Some(target)),
                _ => (None, false, false, None),
            },
        };
        let namespace = |prefix: &Option<String>| match prefix {
            None => Ok(None),
            Some(prefix) if prefix == "xml" => Ok(Some("http://www.w3.org/XML/1998/namespace")),
            Some(prefix) => {
                let known = self.namespaces.iter().find(|(known, _)| known == prefix);
                known.map(|(_, uri)| Some(uri.as_str())).ok_or("Undefined namespace prefix")
            }
        };
        Ok(match &step.test {
            Test::Node => true,
            Test::Text => is_text,
            Test::Comment => is_comment,
            Test::Instruction(wanted) => {
                target.is_some_and(|target| wanted.as_ref().is_none_or(|wanted| wanted == target))
            }
            Test::Any(None) => name.is_some(),
            Test::Any(prefix) => {
                let wanted = namespace(prefix)?;
                name.is_some_and(|name| name.namespace.as_deref() == wanted)
            }
            Test::Name(prefix, local) => {
                let wanted = namespace(prefix)?;
                name.is_some_and(|name| name.local == *local && name.namespace.as_deref() == wanted)
            }
        })
    }

    fn name_of(&self, item: Item) -> Option<&Name> {
        match item {
            Item::Node(id) => self.document.element(id).map(|element| &element.name),
            Item::Attribute(id, number) => Some(&self.document.element(id)?.attributes.get(number)?.name),
        }
    }

    fn text_of(&self, item: Item) -> String {
        match item {
            Item::Node(id) => self.document.content(id),
            Item::Attribute(id, number) => {
                let attribute = self.document.element(id).and_then(|element| element.attributes.get(number));
                attribute.map(|attribute| attribute.value.clone()).unwrap_or_default()
            }
        }
    }

    fn truth(&self, value: &Object) -> bool {
        match value {
            Object::Number(number) => *number != 0.0 && !number.is_nan(),
            other => other.is_something(),
        }
    }

    fn number(&self, value: &Object) -> f64 {
        match value {
            Object::Number(number) => *number,
            Object::Truth(truth) => f64::from(u8::from(*truth)),
            Object::Text(text) => text.trim().parse().unwrap_or(f64::NAN),
            Object::Nodes(_) => self.number(&Object::Text(self.text(value))),
        }
    }

    fn text(&self, value: &Object) -> String {
        match value {
            Object::Text(text) => text.clone(),
            Object::Truth(truth) => truth.to_string(),
            Object::Nodes(nodes) => nodes.first().map(|node| self.text_of(*node)).unwrap_or_default(),
            Object::Number(number) if number.is_infinite() => {
                if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
            }
            // -0 is 0.
            Object::Number(number) => (number + 0.0).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;

    #[test]
    fn expressions_come_to_what_lxml_makes_of_them() {
        let text = "<a n='1'><b>x</b><b m='2'>y<c/>z</b><d>3</d><!--c--><e>4</e></a>";
        let document = Document::read(text, Options::default()).expect("a document");
        let shown = |xpath: &str| {
            let found = XPath::read(xpath).and_then(|read| read.ask(&document, document.root(), &[]));
            match found {
                Ok(Object::Nodes(nodes)) => {
                    let names = nodes.iter().map(|node| match node {
                        Item::Node(id) => document.path(*id),
                        Item::Attribute(id, number) => format!("{}@{number}", document.path(*id)),
                    });
                    names.collect::<Vec<_>>().join(" ")
                }
                Ok(other) => format!("{other:?}"),
                Err(why) => why,
            }
        };
        for (xpath, expected) in [
            ("/a/b", "/a/b[1] /a/b[2]"),
            ("b[2]", "/a/b[2]"),
            ("//b[last()]/c/..", "/a/b[2]"),
            ("//@*", "/a@0 /a/b[2]@0"),
            ("//*[@m='2']/following-sibling::*[1]", "/a/d"),
            ("//e/preceding::*[1]", "/a/d"),
            ("(//b)[1] | //e", "/a/b[1] /a/e"),
            ("//*[. = 3 or . = '4'][2]", "/a/e"),
            ("//*[. = 'x'][2]", ""),
            ("(//*[. = 3 or . = '4'])[2]", "/a/e"),
            ("//b/text()", "/a/b[1]/text() /a/b[2]/text()[1] /a/b[2]/text()[2]"),
            ("//comment()", "/a/comment()"),
            ("sum(//d | //e) - 1", "Number(6.0)"),
            ("3 * 2 mod 4 div 2", "Number(1.0)"),
            ("- - 2", "Number(2.0)"),
            ("concat('a', 1 div 0, -0, 1.50, true())", "Text(\"aInfinity01.5true\")"),
            ("substring('12345', 1.5, 2.6)", "Text(\"234\")"),
            ("count(/a/*) >= 4 and not(//nothing)", "Truth(true)"),
            ("//b != //d", "Truth(true)"),
            ("a[", "Invalid expression"),
            ("q:a", "Undefined namespace prefix"),
            ("nothing()", "Unregistered function"),
        ] {
            assert_eq!(shown(xpath), expected, "{xpath}");
        }
    }
}
