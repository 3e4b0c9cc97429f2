//! Evaluates text over variables: the scope that templates see.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bakery_host::fs;
use bakery_jinja::{Arguments, Environment, Error as JinjaError, Result as JinjaResult, Scope, Syntax};
use bakery_lang::{Diagnostic, Map, Source, Text, Time, Value};

use crate::playbook::Loader;
use crate::plugins::{Call, Kind};
use crate::vars::Layers;
use crate::{addresses, filters, literal, lookups, tests};

/// What is said of text that no person wrote where an expression is expected.
const UNTRUSTED: &str = "Encountered untrusted template or expression.";

/// What is said of a span of time that would become the value of a variable.
const SPAN: &str = "Type 'timedelta' is unsupported for variable storage.";

/// How deep variables may refer to each other.
const MAX_DEPTH: usize = 60;

/// Variables that are made when they are asked for.
pub trait Names: std::fmt::Debug + Send + Sync {
    /// The value of a name.
    fn variable(&self, name: &str) -> Option<Value>;
    /// Every name.
    fn names(&self) -> Vec<String>;
    /// The value of a name that nothing else has.
    fn fallback(&self, _name: &str) -> Option<Value> {
        None
    }
    /// The hosts that a pattern means.
    fn hosts(&self, _pattern: &str) -> Vec<String> {
        vec![]
    }
}

/// Evaluates text for one task on one host.
#[derive(Debug)]
pub struct Templar {
    /// Parsed templates.
    pub environment: Arc<Environment>,
    /// Variables.
    pub layers: Layers,
    /// Folders to search files and templates in, nearest first.
    pub search: Vec<PathBuf>,
    /// Variables above all others.
    pub magic: Option<Arc<dyn Names>>,
    /// Whether a condition must be true or false, and text is nothing but text.
    pub strict: bool,
    /// The loop of `with_first_found` that this is for: what is not defined is left out of it, and files are searched
    /// in this folder, which the task's action decides on.
    pub first_found: Option<&'static str>,
    /// What reads files and opens vaults.
    pub loader: Option<Arc<Loader>>,
    warnings: Mutex<Vec<String>>,
    depth: AtomicUsize,
}

/// What people mean by a word as a condition.
fn as_bool(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "" | "false" | "no" | "off" | "0" | "none" | "n" | "f" => Some(false),
        "true" | "yes" | "on" | "1" | "y" | "t" => Some(true),
        _ => None,
    }
}

impl Templar {
    /// A templar over variables.
    pub fn new(environment: Arc<Environment>, layers: Layers, search: Vec<PathBuf>) -> Self {
        Self {
            environment,
            layers,
            search,
            magic: None,
            strict: false,
            first_found: None,
            loader: None,
            warnings: Mutex::default(),
            depth: AtomicUsize::new(0),
        }
    }

    /// This one with more variables above its own.
    pub(crate) fn with(&self, vars: &Map) -> Self {
        let mut top = Layers::default();
        top.push(vars);
        Self {
            magic: self.magic.clone(),
            strict: self.strict,
            first_found: self.first_found,
            loader: self.loader.clone(),
            ..Self::new(Arc::clone(&self.environment), top.over(&self.layers), self.search.clone())
        }
    }

    /// The warnings of what was evaluated, once.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The value with every template in it evaluated; omitted items are dropped.
    ///
    /// # Errors
    /// What an expression in it says, with its place.
    pub fn value(&self, value: &Value) -> Result<Value, Diagnostic> {
        let value_or_error =
            self.evaluate(value).map(|v| v.forced()).and_then(|v| match v.first_undefined() {
                Some(missing) => Err(JinjaError::of_undefined(&missing)),
                None => Ok(v),
            });
        value_or_error.map_err(|e| diagnostic(e, value))
    }

    pub(crate) fn evaluate(&self, value: &Value) -> JinjaResult<Value> {
        match value {
            Value::Str(text) if text.is_template() => {
                let value = self.resolve(text).and_then(|value| self.environment.deep(value, self))?;
                if matches!(&value, Value::Time(time) if matches!(**time, Time::Span(_))) {
                    return Err(JinjaError::new(SPAN).saying(bakery_jinja::RENDERING));
                }
                if value.is_undefined() { Err(JinjaError::of_undefined(&value)) } else { Ok(value) }
            }
            Value::List(_) | Value::Map(_) | Value::Tuple(_) if value.has_template() => {
                // One environment pass per container keeps laziness out of what is handed on.
                match value {
                    Value::Map(map) => {
                        let out = bakery_lang::Map::new();
                        for (k, v) in map.pairs() {
                            let v = self.evaluate(&v)?;
                            if !matches!(v, Value::Omit) {
                                out.insert(self.evaluate(&k)?, v);
                            }
                        }
                        Ok(out.into())
                    }
                    _ => {
                        let items: Vec<Value> = value
                            .as_items()
                            .unwrap_or_default()
                            .iter()
                            .map(|v| self.evaluate(v))
                            .collect::<JinjaResult<_>>()?;
                        Ok(Value::list(items.into_iter().filter(|v| !matches!(v, Value::Omit)).collect()))
                    }
                }
            }
            Value::Undefined(_) => Err(JinjaError::of_undefined(value)),
            other => Ok(other.clone()),
        }
    }

    /// Text with every template in it evaluated.
    ///
    /// # Errors
    /// As [`Templar::value`].
    pub fn text(&self, value: &Value) -> Result<String, Diagnostic> {
        self.value(value).map(|v| v.to_string())
    }

    /// A condition: an expression, with old forms accepted: braces, and text that says yes or no.
    ///
    /// # Errors
    /// As [`Templar::value`].
    pub fn condition(&self, condition: &Value) -> Result<bool, Diagnostic> {
        let failed = |e: JinjaError| {
            let is_undefined = e.undefined;
            let mut d = diagnostic(e, condition);
            if is_undefined {
                d.message = format!("Error while evaluating conditional: {}", d.message);
            }
            d
        };
        let value = match condition {
            Value::Str(text) => {
                let expression = text.as_str().trim();
                if expression.is_empty() {
                    return self.empty_condition(condition);
                }
                if text.origin().is_none() && !matches!(expression.to_lowercase().as_str(), "true" | "false")
                {
                    return Err(failed(JinjaError::told(UNTRUSTED)));
                }
                let inner = expression
                    .strip_prefix("{{")
                    .and_then(|e| e.strip_suffix("}}"))
                    .filter(|e| !e.contains("{{"));
                match inner {
                    Some(inner) => match self.environment.expression(inner, self).map_err(failed)? {
                        // A variable may hold the condition, as a person wrote it; what was computed is none.
                        Value::Str(text) if text.origin().is_some() && as_bool(text.as_str()).is_none() => {
                            self.environment.expression(text.as_str(), self).map_err(failed)?
                        }
                        Value::Str(_) if self.strict => return Err(failed(JinjaError::told(UNTRUSTED))),
                        other => other,
                    },
                    None if expression.contains("{{") || expression.contains("{%") => {
                        match self.environment.condition(expression, self) {
                            // Braces outside of its texts: it becomes an expression by being rendered. What a module
                            // returned may be in it now, and must not get to call anything.
                            Err(error) if error.message.starts_with("Syntax error") => {
                                match self.value(condition)? {
                                    Value::Str(_) if self.strict => {
                                        return Err(failed(JinjaError::told(UNTRUSTED)));
                                    }
                                    Value::Str(text) => self
                                        .environment
                                        .expression(text.as_str(), &NoFunctions(self))
                                        .map_err(failed)?,
                                    other => other,
                                }
                            }
                            other => other.map_err(failed)?,
                        }
                    }
                    None => self.environment.expression(expression, self).map_err(failed)?,
                }
            }
            Value::None => return self.empty_condition(condition),
            other => self.value(other)?,
        };
        match &value {
            Value::Undefined(_) => Err(failed(JinjaError::of_undefined(&value))),
            Value::Bool(b) => Ok(*b),
            other if self.strict => Err(failed(JinjaError::new(format!(
                "Conditional result ({}) was derived from value of type '{}'. Conditionals must have a boolean result.",
                if other.is_true() { "True" } else { "False" },
                other.type_name()
            )))),
            Value::Str(text) => {
                self.warn(format!(
                    "the condition '{condition}' is text, not true or false; it is read as people mean it"
                ));
                Ok(as_bool(text.as_str()).unwrap_or(true))
            }
            other => Ok(other.is_true()),
        }
    }

    /// A condition that says nothing holds, unless conditions must be true or false.
    fn empty_condition(&self, condition: &Value) -> Result<bool, Diagnostic> {
        if self.strict {
            let error = JinjaError::new("Empty conditional expression was evaluated as True.");
            return Err(diagnostic(error, condition));
        }
        Ok(true)
    }

    /// Whether all conditions hold; the first that does not is returned.
    ///
    /// # Errors
    /// As [`Templar::condition`].
    pub fn all(&self, conditions: &[Value]) -> Result<Option<Value>, Diagnostic> {
        for condition in conditions {
            if !condition.is_none() && !self.condition(condition)? {
                return Ok(Some(condition.clone()));
            }
        }
        Ok(None)
    }

    pub(crate) fn warn(&self, text: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// The path of a file that a task names: absolute, or in one of the search folders (below `kind` first).
    pub fn find_file(&self, kind: &str, name: &str) -> Option<PathBuf> {
        let direct = PathBuf::from(name);
        if direct.is_absolute() {
            return direct.exists().then_some(direct);
        }
        self.search
            .iter()
            .flat_map(|folder| [folder.join(kind).join(name), folder.join(name)])
            .find(|path| path.exists())
    }

    /// Runs a filter or test that is written in Python; `None` when there is none of this name.
    fn plugin(&self, kind: Kind, name: &str, value: &Value, args: &Arguments) -> Option<JinjaResult<Value>> {
        let loader = self.loader.as_ref()?;
        if !loader.plugins.has(loader, kind, name) {
            return None;
        }
        let call = Call {
            value: value.clone(),
            args: args.positional.clone(),
            named: args.named.iter().cloned().collect(),
            ..Call::new(kind, name)
        };
        Some(loader.plugins.run(loader, &call))
    }

    /// Every variable that can be evaluated now, evaluated.
    pub(crate) fn everything(&self) -> Map {
        self.names()
            .into_iter()
            .filter(|name| !matches!(name.as_str(), "hostvars" | "vars"))
            .filter_map(|name| {
                let value = self.value(&self.variable(&name)?).ok()?;
                Some((name, value))
            })
            .collect()
    }

    /// The value of a template file: of the one expression that it consists of, else its text.
    ///
    /// # Errors
    /// As [`Templar::value`].
    pub fn template_value(&self, source: &Arc<Source>, syntax: &Syntax) -> Result<Value, Diagnostic> {
        self.environment
            .parse(source, syntax)
            .and_then(|template| self.environment.native(&template, self))
            .map_err(|e| Diagnostic { message: e.message, origin: e.origin, hint: None })
    }

    /// Renders a template file, and says whether that is text: nothing at all, or one value of another type, is none.
    ///
    /// # Errors
    /// As [`Templar::value`].
    pub fn template(&self, source: &Arc<Source>, syntax: &Syntax) -> Result<(String, bool), Diagnostic> {
        self.environment
            .parse(source, syntax)
            .and_then(|template| self.environment.output(&template, self))
            .map_err(|e| Diagnostic { message: e.message, origin: e.origin, hint: None })
    }
}

/// An error with the place of the value that it came from, unless it has one.
fn diagnostic(error: JinjaError, value: &Value) -> Diagnostic {
    let origin = value.origin().cloned().or(error.origin);
    Diagnostic { message: error.message, origin, hint: None }
}

/// A templar whose expressions call no lookups.
struct NoFunctions<'a>(&'a Templar);

impl Scope for NoFunctions<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        self.0.variable(name)
    }

    fn resolve(&self, text: &Text) -> JinjaResult<Value> {
        self.0.resolve(text)
    }

    fn is_strict_inside(&self) -> bool {
        true
    }

    fn structure(&self, text: &Text) -> Option<Value> {
        self.0.structure(text)
    }

    fn has_native_macros(&self) -> bool {
        true
    }

    fn own_name<'n>(&self, name: &'n str) -> &'n str {
        self.0.own_name(name)
    }

    fn filter(&self, name: &str, value: &Value, args: &Arguments) -> Option<JinjaResult<Value>> {
        Scope::filter(self.0, name, value, args)
    }

    fn test(&self, name: &str, value: &Value, args: &Arguments) -> Option<JinjaResult<bool>> {
        Scope::test(self.0, name, value, args)
    }

    fn function(&self, name: &str, _: &Arguments) -> Option<JinjaResult<Value>> {
        matches!(name, "lookup" | "query" | "q").then(|| Err(JinjaError::told(UNTRUSTED)))
    }
}

impl Scope for Templar {
    fn variable(&self, name: &str) -> Option<Value> {
        if name == "vars" {
            let names = self.names();
            return Some(Value::map(names.iter().filter_map(|n| self.variable(n).map(|v| (n.clone(), v)))));
        }
        let magic = self.magic.as_ref().and_then(|magic| magic.variable(name));
        magic
            .or_else(|| self.layers.get(name))
            .or_else(|| self.magic.as_ref().and_then(|magic| magic.fallback(name)))
    }

    fn is_strict_inside(&self) -> bool {
        self.first_found.is_none()
    }

    /// Read as before ansible-core 2.19.
    fn structure(&self, text: &Text) -> Option<Value> {
        let value =
            (!self.strict && text.is_rendered()).then(|| literal::structure(text.as_str())).flatten()?;
        self.warn(format!(
            "text that a template gave is used as the {} that it looks like; ansible-core 2.19 and later want a value of that type",
            match value {
                Value::List(_) => "list",
                Value::Map(_) => "mapping",
                _ => "truth value",
            }
        ));
        Some(value)
    }

    fn resolve(&self, text: &Text) -> JinjaResult<Value> {
        let depth = self.depth.load(Ordering::Relaxed);
        if depth > MAX_DEPTH {
            return Err(JinjaError::new(format!("Recursive loop detected in template: {}", text.as_str())));
        }
        self.depth.store(depth + 1, Ordering::Relaxed);
        let source = match text.origin() {
            Some(origin) => Source::new(origin.source.name.clone(), text.as_str()),
            None => Source::new("<template>", text.as_str()),
        };
        let result = self
            .environment
            .parse(
                &source,
                &Syntax { keep_trailing_newline: false, escape_backslashes: true, ..Syntax::default() },
            )
            .and_then(|template| self.environment.lazy(&template, self))
            .map(|value| match &value {
                // The last newline belongs to text; a list or a number does not end with one.
                Value::Str(made) if text.as_str().ends_with('\n') && !made.as_str().ends_with('\n') => {
                    let is_rendered = made.is_rendered();
                    let made = Text::plain(format!("{}\n", made.as_str()));
                    Value::Str(if is_rendered { made.rendered() } else { made })
                }
                _ => value,
            })
            .map_err(|mut error| {
                // The place in the file is that of the text, not the line within it.
                if let Some(origin) = text.origin() {
                    error.origin = Some(origin.clone());
                }
                error
            });
        self.depth.store(depth, Ordering::Relaxed);
        result
    }

    fn has_native_macros(&self) -> bool {
        true
    }

    fn own_name<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("ansible.legacy.")).unwrap_or(name)
    }

    fn filter(&self, name: &str, value: &Value, args: &Arguments) -> Option<JinjaResult<Value>> {
        if let Some(result) = filters::call(self, name, value, args) {
            return Some(result);
        }
        if !bakery_jinja::FILTERS.contains(&name)
            && let Some(result) = self.plugin(Kind::Filter, name, value, args)
        {
            return Some(result);
        }
        // Old roles use tests as filters: `result|succeeded`, `version|version_compare('2', '<')`.
        let short = bakery_modules::canonical_name(name);
        if bakery_jinja::FILTERS.contains(&short) {
            return None;
        }
        tests::call(short, value, args).map(|r| r.map(Value::Bool))
    }

    fn test(&self, name: &str, value: &Value, args: &Arguments) -> Option<JinjaResult<bool>> {
        let short = bakery_modules::canonical_name(name);
        let short = short.strip_prefix("ansible._protomatter.").unwrap_or(short);
        if let Some(of_addresses) = name.strip_prefix("ansible.utils.")
            && let Some(result) = addresses::test(of_addresses, value, args)
        {
            return Some(result);
        }
        if let Some(result) = tests::call(short, value, args) {
            return Some(result);
        }
        if bakery_jinja::TESTS.contains(&name) {
            return None;
        }
        self.plugin(Kind::Test, name, value, args).map(|r| r.map(|v| v.is_true()))
    }

    fn function(&self, name: &str, args: &Arguments) -> Option<JinjaResult<Value>> {
        match name {
            "lookup" => Some(lookups::call(self, args, false)),
            "query" | "q" => Some(lookups::call(self, args, true)),
            "now" => Some(Ok(filters::now(args))),
            "undef" => Some(Ok(Value::undefined(args.text(0, "hint", lookups::NO_TEXT)))),
            _ => None,
        }
    }

    fn load(&self, name: &str) -> JinjaResult<Arc<Source>> {
        let path = self
            .find_file("templates", name)
            .ok_or_else(|| JinjaError::new(format!("template not found: {name}")))?;
        let text = fs::read_to_string(&path).map_err(|e| JinjaError::new(e.to_string()))?;
        Ok(Source::new(path.display().to_string(), text))
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.layers.names();
        names.extend(self.magic.as_ref().map(|magic| magic.names()).unwrap_or_default());
        names.sort();
        names.dedup();
        names
    }
}
