//! What goes wrong in a template.

use bakery_lang::{Origin, Source, Value};
use std::sync::Arc;

/// A result of template code.
pub type Result<T> = std::result::Result<T, Error>;

/// An error in a template, with the place once it is known.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// A sentence in the words of Jinja2 or Ansible.
    pub message: String,
    /// Where in a template or playbook.
    pub origin: Option<Origin>,
    /// Whether the cause is something that is not there.
    pub undefined: bool,
    /// Whether the sentence says what failed, so that nothing is put before it.
    pub told: bool,
}

impl Error {
    /// An error of any kind.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), origin: None, undefined: false, told: false }
    }

    /// The use of something that is not there.
    pub fn undefined(message: impl Into<String>) -> Self {
        Self { message: message.into(), origin: None, undefined: true, told: true }
    }

    /// An error whose sentence says what failed.
    pub fn told(message: impl Into<String>) -> Self {
        Self { told: true, ..Self::new(message) }
    }

    /// The failure of a plugin, unless it passes on what something else says
    /// (`ansible/_internal/_templating/_jinja_plugins.py`).
    pub fn of_plugin(self, kind: &str, name: &str) -> Self {
        let full = if name.contains('.') { name.to_owned() } else { format!("ansible.builtin.{name}") };
        self.saying(&format!("The {kind} plugin '{full}' failed"))
    }

    /// The same with `what` before its sentence, unless that says what failed.
    pub fn saying(self, what: &str) -> Self {
        if self.told {
            return self;
        }
        Self { message: format!("{what}: {}", self.message), told: true, ..self }
    }

    /// A syntax error on a line of a template.
    pub fn syntax(source: &Arc<Source>, line: u32, message: impl Into<String>) -> Self {
        let origin = Origin { source: Arc::clone(source), line, column: 1 };
        Self {
            message: format!("Syntax error in template: {}", message.into()),
            origin: Some(origin),
            undefined: false,
            told: true,
        }
    }

    /// The same, placed, unless it has a place already.
    pub fn or_at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// The error of using a value that is not there.
    pub fn of_undefined(value: &Value) -> Self {
        match value {
            // A vault that cannot be opened is more than a name that is not there.
            Value::Undefined(undefined) if undefined.vault.is_some() => Self::new(undefined.message.clone()),
            Value::Undefined(undefined) => Self::undefined(undefined.message.clone()),
            other => Self::new(format!("unexpected {}", other.type_name())),
        }
    }
}
