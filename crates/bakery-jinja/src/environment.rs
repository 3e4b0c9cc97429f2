//! Compiled templates and their cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bakery_lang::{Source, Value};

use crate::ast::{Expr, Node};
use crate::eval::Evaluator;
use crate::lexer::Syntax;
use crate::structures;
use crate::{Result, Scope, parser};

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    pub(crate) source: Arc<Source>,
    pub(crate) nodes: Arc<Vec<Node>>,
    /// How it is written, which is how those that it brings in are written.
    pub(crate) syntax: Arc<Syntax>,
}

/// Parses and evaluates; every text is parsed once.
#[derive(Debug, Default)]
pub struct Environment {
    templates: Mutex<HashMap<(String, Syntax), Template>>,
    expressions: Mutex<HashMap<String, Arc<Expr>>>,
}

/// What comes before the words of an error that no plugin has made.
pub const RENDERING: &str = "Error rendering template";

impl Environment {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses a template.
    ///
    /// # Errors
    /// A syntax error with its line.
    pub fn parse(&self, source: &Arc<Source>, syntax: &Syntax) -> Result<Template> {
        let key = (source.text.clone(), syntax.clone());
        if let Some(found) = self.templates.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(found.clone());
        }
        let nodes = Arc::new(parser::template(source, syntax)?);
        let template = Template { source: Arc::clone(source), nodes, syntax: Arc::new(syntax.clone()) };
        self.templates.lock().unwrap_or_else(PoisonError::into_inner).insert(key, template.clone());
        Ok(template)
    }

    /// Renders a template to text.
    ///
    /// # Errors
    /// What its expressions say, with the line.
    pub fn render(&self, template: &Template, scope: &dyn Scope) -> Result<String> {
        Evaluator::new(self, scope).render_root(template).map_err(|error| error.saying(RENDERING))
    }

    /// Renders a template to text, and says whether it is: nothing at all, or one value of another type, is none.
    ///
    /// # Errors
    /// As [`Environment::render`].
    pub fn output(&self, template: &Template, scope: &dyn Scope) -> Result<(String, bool)> {
        let mut evaluator = Evaluator::new(self, scope);
        let text = evaluator.render_root(template).map_err(|error| error.saying(RENDERING))?;
        let is_text = match &evaluator.last {
            Some(value) if evaluator.chunks == 1 => value.as_str().is_some(),
            _ => evaluator.chunks > 0,
        };
        Ok((text, is_text))
    }

    /// The value of a template: of the one expression that it consists of, else its text; none when it put out nothing.
    ///
    /// # Errors
    /// As [`Environment::render`].
    pub fn native(&self, template: &Template, scope: &dyn Scope) -> Result<Value> {
        if let [Node::Output(expr, _)] = template.nodes.as_slice() {
            let mut evaluator = Evaluator::new(self, scope);
            let value = evaluator.full(expr).map_err(|error| error.saying(RENDERING));
            return value.map(|value| structures::noted(value, Some(expr)));
        }
        let mut evaluator = Evaluator::new(self, scope);
        let text = evaluator.render_root(template).map_err(|error| error.saying(RENDERING))?;
        // Statements around one piece leave it what it is.
        match evaluator.last.take() {
            _ if evaluator.chunks == 0 && !template.source.text.is_empty() => Ok(Value::None),
            Some(value) if evaluator.chunks == 1 && (value.is_none() || value.to_string() == text) => {
                Ok(structures::noted(value, None))
            }
            _ => Ok(structures::noted(Value::from(text), None)),
        }
    }

    /// As [`Environment::native`], but templates inside of a list or mapping stay what they are until they are used.
    ///
    /// # Errors
    /// As [`Environment::render`].
    pub fn lazy(&self, template: &Template, scope: &dyn Scope) -> Result<Value> {
        let [Node::Output(expr, _)] = template.nodes.as_slice() else { return self.native(template, scope) };
        let mut evaluator = Evaluator::new(self, scope);
        let value = evaluator.eval(expr).and_then(|value| evaluator.shallow(value));
        value.map(|value| structures::noted(value, Some(expr))).map_err(|error| error.saying(RENDERING))
    }

    /// The value with every template inside of it evaluated.
    ///
    /// # Errors
    /// As [`Environment::render`].
    pub fn deep(&self, value: Value, scope: &dyn Scope) -> Result<Value> {
        Evaluator::new(self, scope).deep(value)
    }

    /// The value of a bare expression, such as a condition.
    ///
    /// # Errors
    /// As [`Environment::render`].
    pub fn expression(&self, text: &str, scope: &dyn Scope) -> Result<Value> {
        self.value_of(text, scope, false)
    }

    /// As [`Environment::expression`], with text in it that has braces rendered first, as conditions have it.
    ///
    /// # Errors
    /// As [`Environment::render`].
    pub fn condition(&self, text: &str, scope: &dyn Scope) -> Result<Value> {
        self.value_of(text, scope, true)
    }

    fn value_of(&self, text: &str, scope: &dyn Scope, literals: bool) -> Result<Value> {
        self.evaluated(text, scope, literals).map_err(|mut error| {
            if let Some(rest) = error.message.strip_prefix("Syntax error in template") {
                error.message = format!("Syntax error in expression{rest}");
            }
            error.saying("Error rendering expression")
        })
    }

    fn evaluated(&self, text: &str, scope: &dyn Scope, literals: bool) -> Result<Value> {
        let cached = self.expressions.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
        let expr = match cached {
            Some(expr) => expr,
            None => {
                let expr = Arc::new(parser::expression(&Source::new("<expression>", text))?);
                self.expressions
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(text.to_owned(), Arc::clone(&expr));
                expr
            }
        };
        let mut evaluator = Evaluator::new(self, scope);
        evaluator.literals = literals;
        evaluator.full(&expr)
    }
}
