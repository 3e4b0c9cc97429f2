//! The functions of XPath 1.0.

use super::super::Kind;
use super::{Item, Object, Place, Scene};

impl Scene<'_> {
    pub(super) fn call(&self, name: &str, args: &[Object], place: Place) -> Result<Object, String> {
        let here = Object::Nodes(vec![place.item]);
        // Many are about the node that they are asked at, if they are told nothing.
        let first = args.first().unwrap_or(&here);
        let text = |at: usize| {
            args.get(at).map(|arg| self.text(arg)).ok_or_else(|| "Invalid number of arguments".to_owned())
        };
        let nodes = |value: &Object| match value {
            Object::Nodes(nodes) => Ok(nodes.clone()),
            _ => Err("Invalid type".to_owned()),
        };
        let truth = |is: bool| Ok(Object::Truth(is));
        let number = |number: f64| Ok(Object::Number(number));
        let said = |text: String| Ok(Object::Text(text));
        match name {
            "last" => number(place.size as f64),
            "position" => number(place.position as f64),
            "count" => number(nodes(first)?.len() as f64),
            "sum" => {
                let values =
                    nodes(first)?.into_iter().map(|node| self.number(&Object::Text(self.text_of(node))));
                number(values.sum())
            }
            "local-name" | "name" | "namespace-uri" => {
                let node = nodes(first)?.first().copied();
                let target = node.and_then(|node| match node {
                    Item::Node(id) => match self.document.kind(id) {
                        Kind::Instruction { target, .. } => Some(target.clone()),
                        _ => None,
                    },
                    Item::Attribute(..) => None,
                });
                let found = node.and_then(|node| self.name_of(node)).map(|found| match name {
                    "name" => found.qualified(),
                    "local-name" => found.local.clone(),
                    _ => found.namespace.clone().unwrap_or_default(),
                });
                said(found.or(target.filter(|_| name != "namespace-uri")).unwrap_or_default())
            }
            "string" => said(self.text(first)),
            "concat" => said(args.iter().map(|arg| self.text(arg)).collect()),
            "starts-with" => truth(text(0)?.starts_with(&text(1)?)),
            "contains" => truth(text(0)?.contains(&text(1)?)),
            "substring-before" => {
                let (whole, mark) = (text(0)?, text(1)?);
                said(whole.split_once(&mark).map(|(before, _)| before.to_owned()).unwrap_or_default())
            }
            "substring-after" => {
                let (whole, mark) = (text(0)?, text(1)?);
                said(whole.split_once(&mark).map(|(_, behind)| behind.to_owned()).unwrap_or_default())
            }
            "substring" => {
                let start = args.get(1).map_or(f64::NAN, |arg| round(self.number(arg)));
                let end = args.get(2).map_or(f64::INFINITY, |arg| start + round(self.number(arg)));
                let letters =
                    text(0)?.chars().enumerate().map(|(at, c)| (at as f64 + 1.0, c)).collect::<Vec<_>>();
                said(
                    letters.into_iter().filter(|(at, _)| *at >= start && *at < end).map(|(_, c)| c).collect(),
                )
            }
            "string-length" => number(self.text(first).chars().count() as f64),
            "normalize-space" => {
                said(self.text(first).split_ascii_whitespace().collect::<Vec<_>>().join(" "))
            }
            "translate" => {
                let (from, to): (Vec<char>, Vec<char>) =
                    (text(1)?.chars().collect(), text(2)?.chars().collect());
                let letter = |c: char| match from.iter().position(|known| *known == c) {
                    Some(at) => to.get(at).copied(),
                    None => Some(c),
                };
                said(text(0)?.chars().filter_map(letter).collect())
            }
            "boolean" => truth(self.truth(first)),
            "not" => truth(!self.truth(first)),
            "true" => truth(true),
            "false" => truth(false),
            "number" => number(self.number(first)),
            "floor" => number(self.number(first).floor()),
            "ceiling" => number(self.number(first).ceil()),
            "round" => number(round(self.number(first))),
            "lang" => {
                let wanted = text(0)?.to_lowercase();
                let (Item::Node(mut id) | Item::Attribute(mut id, _)) = place.item;
                loop {
                    let attributes = self.document.element(id).map(|element| &element.attributes);
                    let lang = attributes.into_iter().flatten().find(|attribute| {
                        attribute.name.local == "lang" && attribute.name.prefix.as_deref() == Some("xml")
                    });
                    if let Some(lang) = lang {
                        let lang = lang.value.to_lowercase();
                        return truth(lang == wanted || lang.starts_with(&format!("{wanted}-")));
                    }
                    match self.document.parent(id) {
                        Some(parent) => id = parent,
                        None => return truth(false),
                    }
                }
            }
            _ => Err("Unregistered function".to_owned()),
        }
    }
}

/// Halves go up.
fn round(number: f64) -> f64 {
    (number + 0.5).floor()
}
