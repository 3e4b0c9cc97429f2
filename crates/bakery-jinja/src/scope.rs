//! The door between templates and the rest: variables, plugins and files.

use bakery_lang::{Map, Source, Text, Value};
use std::sync::Arc;

use crate::{Error, Result};

/// The arguments of a call, evaluated.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// In order.
    pub positional: Vec<Value>,
    /// By name.
    pub named: Vec<(String, Value)>,
}

impl Arguments {
    /// Positional arguments only.
    pub fn of(positional: Vec<Value>) -> Self {
        Self { positional, named: Vec::new() }
    }

    /// The argument at a position or of a name.
    pub fn get(&self, position: usize, name: &str) -> Option<Value> {
        self.positional.get(position).cloned().or_else(|| self.named(name))
    }

    /// The argument of a name.
    pub fn named(&self, name: &str) -> Option<Value> {
        self.named.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    /// The argument at a position or of a name, which must be there.
    ///
    /// # Errors
    /// Names the argument that is missing.
    pub fn need(&self, position: usize, name: &str) -> Result<Value> {
        self.get(position, name).ok_or_else(|| Error::new(format!("missing argument `{name}`")))
    }

    /// Text at a position or of a name, or the default.
    pub fn text(&self, position: usize, name: &str, default: &str) -> String {
        self.get(position, name).map_or_else(|| default.to_owned(), |v| v.to_string())
    }

    /// A truth value at a position or of a name, or the default.
    pub fn flag(&self, position: usize, name: &str, default: bool) -> bool {
        self.get(position, name).map_or(default, |v| v.is_true())
    }

    /// An integer at a position or of a name, or the default.
    pub fn int(&self, position: usize, name: &str, default: i128) -> i128 {
        self.get(position, name)
            .and_then(|v| v.as_int().or_else(|| v.as_str().and_then(|s| s.trim().parse().ok())))
            .unwrap_or(default)
    }
}

/// What a template can reach.
pub trait Scope {
    /// The value of a name, not yet evaluated if it is itself a template.
    fn variable(&self, name: &str) -> Option<Value>;

    /// The value of text that may be a template; called when such text is used.
    ///
    /// # Errors
    /// What the template's own evaluation says.
    fn resolve(&self, text: &Text) -> Result<Value> {
        Ok(Value::Str(text.clone()))
    }

    /// Whether a list with something that is not there is an error once it is written; Jinja2 itself writes `Undefined`.
    fn is_strict_inside(&self) -> bool {
        false
    }

    /// What text that a template gave is where a list, a mapping or a truth value is wanted; Jinja2 itself has text.
    fn structure(&self, _text: &Text) -> Option<Value> {
        None
    }

    /// Whether a macro that writes one value and no text gives that value, of any type; Jinja2 itself gives text.
    fn has_native_macros(&self) -> bool {
        false
    }

    /// The name under which Jinja2 itself has a filter or test, of one that may be longer.
    fn own_name<'n>(&self, name: &'n str) -> &'n str {
        name
    }

    /// A filter that Jinja2 itself does not have, or has differently.
    fn filter(&self, _name: &str, _value: &Value, _args: &Arguments) -> Option<Result<Value>> {
        None
    }

    /// A test that Jinja2 itself does not have, or has differently.
    fn test(&self, _name: &str, _value: &Value, _args: &Arguments) -> Option<Result<bool>> {
        None
    }

    /// A function that Jinja2 itself does not have.
    fn function(&self, _name: &str, _args: &Arguments) -> Option<Result<Value>> {
        None
    }

    /// The text of a template that another one includes.
    ///
    /// # Errors
    /// When there is no such template.
    fn load(&self, name: &str) -> Result<Arc<Source>> {
        Err(Error::new(format!("template not found: {name}")))
    }

    /// Every name with its raw value, for `vars` and debugging.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A scope over a mapping, with no plugins.
#[derive(Debug, Default)]
pub struct MapScope(pub Map);

impl Scope for MapScope {
    fn variable(&self, name: &str) -> Option<Value> {
        self.0.get(name)
    }
}
