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
}

impl Error {
    /// An error of any kind.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), origin: None, undefined: false }
    }

    /// The use of something that is not there.
    pub fn undefined(message: impl Into<String>) -> Self {
        Self { message: message.into(), origin: None, undefined: true }
    }

    /// A syntax error on a line of a template.
    pub fn syntax(source: &Arc<Source>, line: u32, message: impl Into<String>) -> Self {
        let origin = Origin { source: Arc::clone(source), line, column: 1 };
        Self {
            message: format!("Syntax error in template: {}", message.into()),
            origin: Some(origin),
            undefined: false,
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
            Value::Undefined(undefined) => Self::undefined(undefined.message.clone()),
            other => Self::new(format!("unexpected {}", other.type_name())),
        }
    }
}
