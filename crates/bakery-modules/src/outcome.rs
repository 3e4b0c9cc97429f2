//! What a module says when it is done.

use bakery_lang::{Map, Value};

/// The result of a module's `run`.
pub type Run = Result<Outcome, Failure>;

/// A module that did what it was asked.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Whether the system was changed (or would be, in check mode).
    pub changed: bool,
    /// The module's own return values.
    pub fields: Map,
}

impl Outcome {
    /// Nothing had to be done.
    pub fn unchanged() -> Self {
        Self::default()
    }

    /// Something was done, or not.
    pub fn changed(changed: bool) -> Self {
        Self { changed, fields: Map::new() }
    }

    /// What a module says in check mode that has none.
    pub fn no_check_mode(module: &str) -> Self {
        Self::unchanged()
            .with("skipped", true)
            .msg(format!("remote module ({module}) does not support check mode"))
    }

    /// Adds a return value.
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.set(name, value);
        self
    }

    /// Adds a message.
    pub fn msg(self, text: impl Into<String>) -> Self {
        self.with("msg", text.into())
    }
}

/// A module that could not.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The sentence to show.
    pub msg: String,
    /// Further return values.
    pub fields: Map,
}

impl Failure {
    /// A sentence.
    pub fn new(msg: impl Into<String>) -> Self {
        Self { msg: msg.into(), fields: Map::new() }
    }

    /// Adds a return value.
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.set(name, value);
        self
    }

    /// Adds how a program ended and what it said: `rc`, `stdout` and `stderr`.
    pub fn with_output(self, output: &bakery_host::Output) -> Self {
        self.with("rc", output.code).with("stdout", output.text()).with("stderr", output.error_text())
    }
}

impl From<String> for Failure {
    fn from(msg: String) -> Self {
        Self::new(msg)
    }
}

impl From<&str> for Failure {
    fn from(msg: &str) -> Self {
        Self::new(msg)
    }
}

impl From<bakery_host::Error> for Failure {
    fn from(error: bakery_host::Error) -> Self {
        Self::new(error.to_string())
    }
}
