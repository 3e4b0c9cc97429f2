//! Type constraints: what a variable may hold, and the conversions of HCL (`cty`'s `convert` package).

use hcl_edit::expr::{Expression, ObjectKey};

use super::eval::{from_number, number, text, truth};
use crate::{Map, Value};

/// A type constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Anything.
    Any,
    /// Text.
    String,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// A list of one type.
    List(Box<Type>),
    /// The same without order and duplicates.
    Set(Box<Type>),
    /// Keys and values of one type.
    Map(Box<Type>),
    /// Attributes with types of their own.
    Object(Vec<Attribute>),
    /// Elements with types of their own.
    Tuple(Vec<Type>),
}

/// An attribute of an object's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// Whether it may be missing.
    pub optional: bool,
}

impl Type {
    /// Reads a constraint such as `list(string)`; old files have it as text.
    ///
    /// # Errors
    /// What is no type.
    pub fn parse(expr: &Expression) -> Result<Self, String> {
        match expr {
            Expression::String(name) => Self::named(name.as_str()),
            Expression::Variable(name) => Self::named(name.as_str()),
            Expression::FuncCall(call) => {
                let name = call.name.name.as_str();
                let arg = call
                    .args
                    .iter()
                    .next()
                    .ok_or_else(|| format!("`{name}` needs the type of its elements"))?;
                let inner = || Self::parse(arg).map(Box::new);
                match (name, arg) {
                    ("list", _) => inner().map(Self::List),
                    ("set", _) => inner().map(Self::Set),
                    ("map", _) => inner().map(Self::Map),
                    ("tuple", Expression::Array(items)) => {
                        items.iter().map(Self::parse).collect::<Result<_, _>>().map(Self::Tuple)
                    }
                    ("object", Expression::Object(object)) => {
                        let mut attributes = Vec::new();
                        for (key, value) in object {
                            let ObjectKey::Ident(name) = key else {
                                return Err("an attribute's name must be a plain word".into());
                            };
                            let (kind, optional) = match value.expr() {
                                Expression::FuncCall(call) if call.name.name.as_str() == "optional" => {
                                    let kind = call.args.iter().next().ok_or("`optional` needs a type")?;
                                    (Self::parse(kind)?, true)
                                }
                                kind => (Self::parse(kind)?, false),
                            };
                            attributes.push(Attribute { name: name.as_str().to_owned(), kind, optional });
                        }
                        Ok(Self::Object(attributes))
                    }
                    _ => Err(format!("`{name}` is no type")),
                }
            }
            _ => Err("this is no type".into()),
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "any" => Self::Any,
            "string" => Self::String,
            "number" => Self::Number,
            "bool" => Self::Bool,
            "list" => Self::List(Box::new(Self::Any)),
            "set" => Self::Set(Box::new(Self::Any)),
            "map" => Self::Map(Box::new(Self::Any)),
            other => {
                let known = ["any", "string", "number", "bool", "list", "set", "map", "object", "tuple"];
                let hint = crate::suggest(other, known).map(|h| format!(" ({h})")).unwrap_or_default();
                return Err(format!("`{other}` is no type{hint}"));
            }
        })
    }

    /// Whether text for it, from an environment or a command line, is an expression and not the text itself.
    pub fn is_complex(&self) -> bool {
        !matches!(self, Self::Any | Self::String | Self::Number | Self::Bool)
    }

    /// A value as this type.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn convert(&self, value: &Value) -> Result<Value, String> {
        if value.is_none() || value.is_undefined() {
            return Ok(value.clone());
        }
        let wanted = |what: &str| format!("{what} required, and this is a {}", value.type_name());
        let items = || value.as_items().ok_or_else(|| wanted("a list"));
        let map = || value.as_map().cloned().ok_or_else(|| wanted("a map"));
        match self {
            Self::Any => Ok(value.clone()),
            Self::String => text(value).map(Value::from).ok_or_else(|| wanted("a string")),
            Self::Number => number(value).map(from_number).ok_or_else(|| wanted("a number")),
            Self::Bool => truth(value).map(Value::Bool).map_err(|_| wanted("a bool")),
            Self::List(kind) => {
                items()?.iter().map(|v| kind.convert(v)).collect::<Result<Vec<_>, _>>().map(Value::from)
            }
            Self::Set(kind) => {
                let mut out: Vec<Value> = Vec::new();
                for item in items()? {
                    let item = kind.convert(&item)?;
                    if !out.contains(&item) {
                        out.push(item);
                    }
                }
                Ok(out.into())
            }
            Self::Map(kind) => {
                let out = Map::new();
                for (key, item) in map()?.pairs() {
                    out.insert(key, kind.convert(&item)?);
                }
                Ok(out.into())
            }
            Self::Object(attributes) => {
                let (given, out) = (map()?, Map::new());
                for attribute in attributes {
                    let value = match given.get(&attribute.name) {
                        Some(value) => attribute
                            .kind
                            .convert(&value)
                            .map_err(|why| format!("attribute \"{}\": {why}", attribute.name))?,
                        None if attribute.optional => Value::None,
                        None => return Err(format!("attribute \"{}\" is required", attribute.name)),
                    };
                    out.set(&attribute.name, value);
                }
                Ok(out.into())
            }
            Self::Tuple(kinds) => {
                let given = items()?;
                if given.len() != kinds.len() {
                    return Err(format!("a tuple of {} elements required", kinds.len()));
                }
                let pairs = kinds.iter().zip(&given);
                pairs.map(|(kind, v)| kind.convert(v)).collect::<Result<Vec<_>, _>>().map(Value::from)
            }
        }
    }
}
