//! Evaluation of expressions.
//!
//! Containers are passed around as they are; text that may be a template is evaluated when a name, attribute or item
//! yields it, and containers that hold such text are evaluated as a whole before a filter, test, call or operator
//! sees them. So a variable that is never used is never evaluated.

use std::collections::HashMap;
use std::sync::Arc;

use bakery_lang::{Map, Scan, Source, Value};

use crate::ast::{Args, Binary, Comparison, Expr, Macro};
use crate::{
    Arguments, Environment, Error, Result, Scope, Syntax, filters, helpers, methods, ops, structures, tests,
};

/// A macro with what it sees.
#[derive(Debug, Clone)]
pub(crate) struct Callable {
    pub(crate) definition: Arc<Macro>,
    pub(crate) sees: Sees,
}

/// What a macro sees beside its own names.
#[derive(Debug, Clone)]
pub(crate) enum Sees {
    /// The blocks around its definition, which are this many.
    Around(usize),
    /// The names of the module that it comes from.
    Module(Arc<Frame>),
    /// What could be seen where it was written, as of the body of a `call` block.
    Then(Arc<Vec<Frame>>),
}

/// Names of one block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    pub(crate) values: HashMap<String, Value>,
    pub(crate) macros: HashMap<String, Callable>,
    pub(crate) modules: HashMap<String, Arc<Frame>>,
    /// Whether names of the frames below are hidden, as in a macro of another module.
    pub(crate) barrier: bool,
    /// What there was where a module was imported with its context.
    pub(crate) outer: Option<Arc<Frame>>,
}

pub(crate) struct Evaluator<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) scope: &'a dyn Scope,
    pub(crate) frames: Vec<Frame>,
    pub(crate) depth: usize,
    /// The versions of blocks, the newest first.
    pub(crate) blocks: HashMap<String, Vec<Arc<crate::ast::Block>>>,
    pub(crate) loops: Vec<crate::render::Recursive>,
    /// The blocks that are being rendered, and which of their versions.
    pub(crate) inside: Vec<(String, usize)>,
    /// The template that the one being rendered extends.
    pub(crate) parent: Option<crate::Template>,
    /// Whether output is dropped: the template extends another one.
    pub(crate) is_silent: bool,
    /// How the template being rendered is written.
    pub(crate) syntax: Arc<Syntax>,
    /// Whether output is escaped for HTML.
    pub(crate) escapes: bool,
    /// The frame of the template's own names.
    pub(crate) base: usize,
    /// Whether literal text is a template of its own.
    pub(crate) literals: bool,
    /// How many pieces were written, and the value of the last that an expression gave.
    pub(crate) chunks: usize,
    pub(crate) last: Option<Value>,
}

/// How deep templates may call each other.
const MAX_CALLS: usize = 60;

impl<'a> Evaluator<'a> {
    pub(crate) fn new(environment: &'a Environment, scope: &'a dyn Scope) -> Self {
        Self {
            environment,
            scope,
            frames: vec![Frame::default()],
            depth: 0,
            blocks: HashMap::new(),
            loops: Vec::new(),
            inside: Vec::new(),
            parent: None,
            is_silent: false,
            syntax: Arc::default(),
            escapes: false,
            base: 0,
            literals: false,
            chunks: 0,
            last: None,
        }
    }

    /// The value with every template inside it evaluated.
    pub(crate) fn full(&mut self, expr: &Expr) -> Result<Value> {
        let value = self.eval(expr)?;
        self.deep(value)
    }

    pub(crate) fn shallow(&self, value: Value) -> Result<Value> {
        match &value {
            Value::Str(text) if text.is_template() => self.scope.resolve(text),
            _ => Ok(value),
        }
    }

    pub(crate) fn deep(&self, value: Value) -> Result<Value> {
        match value.scan() {
            Scan::Plain => return Ok(value),
            Scan::Template => {}
            Scan::TooLarge => return Err(Error::new("the value is too large, or holds itself")),
        }
        match &value {
            Value::Str(text) => self.scope.resolve(text).and_then(|value| self.deep(value)),
            Value::List(list) => {
                let items: Vec<Value> =
                    list.items().into_iter().map(|v| self.inner(v)).collect::<Result<_>>()?;
                Ok(Value::list(items.into_iter().filter(|v| !matches!(v, Value::Omit)).collect()))
            }
            Value::Tuple(items) => {
                items.iter().map(|v| self.inner(v.clone())).collect::<Result<_>>().map(Value::tuple)
            }
            Value::Map(map) => {
                let out = Map::new();
                for (key, value) in map.pairs() {
                    let value = self.inner(value)?;
                    if !matches!(value, Value::Omit) {
                        out.insert(self.deep(key)?, value);
                    }
                }
                Ok(out.into())
            }
            _ => Ok(value),
        }
    }

    /// As [`Evaluator::deep`], of what is inside of a list or mapping: there something may be missing.
    fn inner(&self, value: Value) -> Result<Value> {
        match self.deep(value) {
            Err(error) if error.undefined && !self.scope.is_strict_inside() => {
                Ok(Value::undefined(error.message))
            }
            made => made,
        }
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Value> {
        for frame in self.frames.iter().rev() {
            if let Some(value) = frame.values.get(name) {
                return Some(value.clone());
            }
            // A macro can be asked whether it is there.
            if frame.macros.contains_key(name) {
                return Some(Value::from(format!("<Macro '{name}'>")));
            }
            if frame.barrier {
                if let Some(value) = frame.outer.as_ref().and_then(|outer| outer.values.get(name)) {
                    return Some(value.clone());
                }
                break;
            }
        }
        self.scope.variable(name)
    }

    /// What templates have set that can be seen from here.
    pub(crate) fn visible(&self) -> Frame {
        let from = self.frames.iter().rposition(|frame| frame.barrier).unwrap_or(0);
        let mut seen = Frame::default();
        let outer = self.frames.get(from).and_then(|frame| frame.outer.as_deref());
        for frame in outer.into_iter().chain(&self.frames[from..]) {
            seen.values.extend(frame.values.clone());
            seen.macros.extend(frame.macros.clone());
            seen.modules.extend(frame.modules.clone());
        }
        seen
    }

    pub(crate) fn find_macro(&self, name: &str) -> Option<Callable> {
        for frame in self.frames.iter().rev() {
            if let Some(found) = frame.macros.get(name) {
                return Some(found.clone());
            }
            // What is no macro here hides one further out.
            if frame.values.contains_key(name) {
                return None;
            }
            if frame.barrier {
                return frame.outer.as_ref().and_then(|outer| outer.macros.get(name)).cloned();
            }
        }
        None
    }

    pub(crate) fn find_module(&self, name: &str) -> Option<Arc<Frame>> {
        self.frames.iter().rev().find_map(|frame| {
            let outer = || frame.outer.as_ref().and_then(|outer| outer.modules.get(name)).cloned();
            frame.modules.get(name).cloned().or_else(outer)
        })
    }

    pub(crate) fn eval(&mut self, expr: &Expr) -> Result<Value> {
        Ok(match expr {
            Expr::Const(Value::Str(text)) if self.literals && text.as_str().contains("{{") => {
                let template =
                    self.environment.parse(&Source::new("<text>", text.as_str()), &Syntax::default())?;
                self.environment.render(&template, self.scope)?.into()
            }
            Expr::Const(value) => value.clone(),
            Expr::Name(name) => match self.lookup(name) {
                Some(value) => self.shallow(value)?,
                None if name == "omit" => Value::Omit,
                None => Value::undefined(format!("'{name}' is undefined")),
            },
            Expr::List(items) => Value::list(self.all(items)?),
            Expr::Tuple(items) => Value::tuple(self.all(items)?),
            Expr::Dict(pairs) => {
                let map = Map::new();
                for (key, value) in pairs {
                    let key = self.used(key)?;
                    let value = self.eval(value)?;
                    map.insert(key, value);
                }
                map.into()
            }
            Expr::Attr(object, name) => {
                if let Expr::Name(module) = object.as_ref()
                    && let Some(module) = self.find_module(module)
                {
                    return Ok(module.values.get(name).cloned().unwrap_or_else(|| {
                        Value::undefined(format!("the imported template has no attribute '{name}'"))
                    }));
                }
                let object = self.eval(object).map(|object| self.structure(object))?;
                self.shallow(attribute(&object, name)?)?
            }
            Expr::Item(object, index) => {
                let object = self.eval(object).map(|object| self.structure(object))?;
                let index = self.used(index)?;
                self.shallow(item(&object, &index)?)?
            }
            Expr::Slice(object, parts) => {
                let object = self.used(object).map(|object| self.structure(object))?;
                let mut bounds = [None, None, None];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    if let Some(part) = part {
                        *bound = self.used(part)?.as_int();
                    }
                }
                ops::slice(&object, bounds)?
            }
            Expr::Call(function, args) => self.call(function, args)?,
            Expr::Filter(value, name, args) => {
                let value = self.eval(value).and_then(|value| self.deep(value));
                let lenient = matches!(name.as_str(), "default" | "d");
                let value = match value {
                    Err(error) if lenient && error.undefined => Value::undefined(error.message),
                    other => other?,
                };
                let args = self.args(args)?;
                self.filter(name, &value, &args)?
            }
            Expr::Test { value, name, args, negated } => {
                let value = self.eval(value).and_then(|value| {
                    if matches!(name.as_str(), "defined" | "undefined") {
                        Ok(value)
                    } else {
                        self.deep(value)
                    }
                });
                let value = match value {
                    Err(error) if error.undefined && matches!(name.as_str(), "defined" | "undefined") => {
                        Value::undefined(error.message)
                    }
                    other => other?,
                };
                let args = self.args(args)?;
                Value::Bool(self.test(name, &value, &args)? != *negated)
            }
            Expr::Neg(inner) => ops::negate(&self.used(inner)?)?,
            Expr::Pos(inner) => self.used(inner)?,
            Expr::Not(inner) => Value::Bool(!self.truth(inner)?),
            Expr::And(left, right) => {
                let left = self.eval(left).map(|left| self.structure(left))?;
                if check(left.clone())?.is_true() { self.eval(right)? } else { left }
            }
            Expr::Or(left, right) => {
                let left = self.eval(left).map(|left| self.structure(left))?;
                if check(left.clone())?.is_true() { left } else { self.eval(right)? }
            }
            Expr::Binary(operator, left, right) => {
                let (left, right) = (self.used(left)?, self.used(right)?);
                let (left, right) = match operator {
                    Binary::Add => self.addends(left, right),
                    _ => (left, right),
                };
                ops::binary(*operator, &left, &right)?
            }
            Expr::Compare(first, rest) => {
                let mut left = self.used(first)?;
                for (operator, right) in rest {
                    let right = self.used(right)?;
                    let (one, right) = self.compared(*operator, left, right);
                    left = one;
                    if !compare(*operator, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            Expr::Concat(items) => {
                let mut out = String::new();
                for item in items {
                    out.push_str(&self.used(item)?.to_string());
                }
                Value::from(out)
            }
            Expr::If(condition, then, or_else) => {
                if self.truth(condition)? {
                    self.eval(then)?
                } else {
                    match or_else {
                        Some(or_else) => self.eval(or_else)?,
                        None => Value::undefined(
                            "the inline if-expression evaluated to false and no else section was defined.",
                        ),
                    }
                }
            }
        })
    }

    /// A value that is about to be used: evaluated in full, and there.
    pub(crate) fn used(&mut self, expr: &Expr) -> Result<Value> {
        self.full(expr).and_then(check)
    }

    pub(crate) fn truth(&mut self, expr: &Expr) -> Result<bool> {
        self.eval(expr).and_then(check).map(|value| self.structure(value).is_true())
    }

    fn all(&mut self, items: &[Expr]) -> Result<Vec<Value>> {
        items.iter().map(|item| self.eval(item)).collect()
    }

    pub(crate) fn args(&mut self, args: &Args) -> Result<Arguments> {
        let mut out = Arguments::default();
        for arg in &args.positional {
            out.positional.push(self.full(arg)?);
        }
        if let Some(star) = &args.star {
            out.positional.extend(ops::iterate(&self.used(star)?)?);
        }
        for (name, arg) in &args.named {
            out.named.push((name.clone(), self.full(arg)?));
        }
        if let Some(star) = &args.double_star {
            let map = self.used(star)?;
            for (key, value) in map.as_map().map(Map::pairs).unwrap_or_default() {
                out.named.push((key.to_string(), value));
            }
        }
        Ok(out)
    }

    pub(crate) fn filter(&mut self, name: &str, value: &Value, args: &Arguments) -> Result<Value> {
        let is_text = |value: &Value| matches!(value, Value::Str(text) if text.is_rendered());
        if (is_text(value) || args.positional.iter().any(is_text)) && structures::takes(name) {
            let positional = args.positional.iter().map(|arg| self.structure(arg.clone())).collect();
            let args = Arguments { positional, named: args.named.clone() };
            return self.filtered(name, &self.structure(value.clone()), &args);
        }
        self.filtered(name, value, args)
    }

    fn filtered(&mut self, name: &str, value: &Value, args: &Arguments) -> Result<Value> {
        if let Some(result) = self.scope.filter(name, value, args) {
            return result.map_err(|error| error.of_plugin("filter", name));
        }
        if let Some(result) = filters::call(self, self.scope.own_name(name), value, args) {
            return result.map_err(|error| error.of_plugin("filter", name));
        }
        Err(Error::told(format!("Syntax error in template: No filter named '{name}'.")))
    }

    pub(crate) fn test(&mut self, name: &str, value: &Value, args: &Arguments) -> Result<bool> {
        if let Some(result) = self.scope.test(name, value, args) {
            return result.map_err(|error| error.of_plugin("test", name));
        }
        if let Some(result) = tests::call(self, self.scope.own_name(name), value, args) {
            return result.map_err(|error| error.of_plugin("test", name));
        }
        Err(Error::told(format!("Syntax error in template: No test named '{name}'.")))
    }

    fn call(&mut self, function: &Expr, args: &Args) -> Result<Value> {
        match function {
            Expr::Name(name) => {
                if name == "loop" && !self.loops.is_empty() {
                    let args = self.args(args)?;
                    return self.recurse(&args.need(0, "iterable")?);
                }
                if let Some(found) = self.find_macro(name) {
                    let args = self.args(args)?;
                    return self.call_macro(&found, &args, None);
                }
                if name == "super" {
                    return self.older_block(1);
                }
                let written = args;
                let is_lookup = matches!(name.as_str(), "lookup" | "query" | "q");
                // Literals of lookups keep their types, wherever they stand.
                let literals = self.literals;
                self.literals &= !is_lookup;
                let args = self.args(written);
                self.literals = literals;
                let mut args = args?;
                if is_lookup {
                    self.template_terms(written, &mut args)?;
                }
                if let Some(result) = self.scope.function(name, &args) {
                    return result;
                }
                match name.as_str() {
                    "range" => ops::range(&args),
                    "dict" => {
                        let map = Map::new();
                        if let Some(first) = args.positional.first() {
                            map.extend(ops::to_map(first)?.as_map().unwrap_or(&Map::new()));
                        }
                        args.named.into_iter().for_each(|(k, v)| map.set(&k, v));
                        Ok(map.into())
                    }
                    "namespace" => {
                        let map =
                            args.positional.first().and_then(Value::as_map).cloned().unwrap_or_default();
                        args.named.into_iter().for_each(|(k, v)| map.set(&k, v));
                        helpers::make_namespace(&map);
                        Ok(map.into())
                    }
                    "joiner" => Ok(helpers::joiner(&args)),
                    "cycler" => helpers::cycler(&args),
                    _ => match self.lookup(name) {
                        Some(value) => helpers::called(&value).ok_or_else(|| {
                            Error::new(format!("'{}' object is not callable", value.type_name()))
                        }),
                        None => Err(Error::undefined(format!("'{name}' is undefined"))),
                    },
                }
            }
            Expr::Attr(object, name) if matches!(object.as_ref(), Expr::Name(of) if of == "self" && self.lookup(of).is_none()) => {
                self.block_text(name)
            }
            Expr::Attr(object, name) if name == "super" && supers(object).is_some() => {
                self.older_block(supers(object).unwrap_or_default() + 1)
            }
            Expr::Attr(object, method) => {
                if let Expr::Name(name) = object.as_ref()
                    && let Some(module) = self.find_module(name)
                    && let Some(found) = module.macros.get(method).cloned()
                {
                    let args = self.args(args)?;
                    return self.call_macro(&Callable { sees: Sees::Module(module), ..found }, &args, None);
                }
                let mut object = self.eval(object)?;
                if structures::has(method) {
                    object = self.structure(object);
                }
                if let Some(given) = helpers::method(&object, method) {
                    return Ok(given);
                }
                let object = match &object {
                    Value::List(_) | Value::Map(_) if methods::mutates(method) => object,
                    _ => self.deep(object)?,
                };
                let object = check(object)?;
                let args = self.args(args)?;
                methods::call(&object, method, &args)
            }
            other => {
                let value = self.used(other)?;
                Err(Error::new(format!("'{}' object is not callable", value.type_name())))
            }
        }
    }

    /// Literal text with braces among what a lookup is given, though not its name, is a template of its own, as in
    /// ansible-core. What variables hold never becomes one here.
    fn template_terms(&mut self, written: &Args, args: &mut Arguments) -> Result<()> {
        let positional = written.positional.iter().zip(&mut args.positional).skip(1);
        let named =
            written.named.iter().map(|(_, expr)| expr).zip(args.named.iter_mut().map(|(_, value)| value));
        for (expr, value) in positional.chain(named) {
            *value = self.template_term(expr, value.clone())?;
        }
        Ok(())
    }

    /// A value that an expression gave, with its literals rendered.
    fn template_term(&mut self, expr: &Expr, value: Value) -> Result<Value> {
        match (expr, &value) {
            (Expr::Const(Value::Str(text)), _) if text.as_str().contains("{{") => {
                let source = Source::new("<term>", text.as_str());
                let template = self.environment.parse(&source, &Syntax::default())?;
                // What is not there is for the lookup to judge.
                match self.environment.lazy(&template, self.scope) {
                    Err(error) if error.undefined => Ok(Value::undefined(error.message)),
                    made => made,
                }
            }
            (Expr::List(exprs), Value::List(items)) if exprs.len() == items.len() => {
                let pairs = exprs.iter().zip(items.items());
                Ok(Value::list(pairs.map(|(e, v)| self.template_term(e, v)).collect::<Result<_>>()?))
            }
            (Expr::Dict(exprs), Value::Map(map)) if exprs.len() == map.len() => {
                let pairs = exprs.iter().zip(map.pairs());
                let made = pairs.map(|((_, e), (k, v))| Ok((k, self.template_term(e, v)?)));
                Ok(made.collect::<Result<Map>>()?.into())
            }
            _ => Ok(value),
        }
    }

    pub(crate) fn call_macro(
        &mut self,
        callable: &Callable,
        args: &Arguments,
        caller: Option<Callable>,
    ) -> Result<Value> {
        self.depth += 1;
        if self.depth > MAX_CALLS {
            return Err(Error::new("macros call each other too deep"));
        }
        let definition = &callable.definition;
        let mut frame = Frame::default();
        // A macro does not see what is around its call.
        let hidden = match &callable.sees {
            Sees::Around(depth) => self.frames.split_off((*depth).min(self.frames.len())),
            Sees::Then(frames) => std::mem::replace(&mut self.frames, frames.to_vec()),
            Sees::Module(module) => {
                frame.barrier = true;
                frame.values.clone_from(&module.values);
                // Those of one module see each other as it does.
                frame.macros.extend(module.macros.iter().map(|(name, found)| {
                    let sees = match &found.sees {
                        Sees::Around(_) => Sees::Module(Arc::clone(module)),
                        other => other.clone(),
                    };
                    (name.clone(), Callable { sees, ..found.clone() })
                }));
                frame.modules.clone_from(&module.modules);
                frame.outer.clone_from(&module.outer);
                vec![]
            }
        };
        let is_called = caller.is_some();
        match caller {
            Some(caller) => {
                frame.macros.insert("caller".into(), caller);
            }
            None if matches!(callable.sees, Sees::Then(_)) => {}
            None => {
                frame.values.insert("caller".into(), Value::undefined("No caller defined"));
            }
        }
        let named: HashMap<&str, &Value> = args.named.iter().map(|(n, v)| (n.as_str(), v)).collect();
        let mut defaults = Vec::new();
        for (at, (name, default)) in definition.params.iter().enumerate() {
            let given = args.positional.get(at).or_else(|| named.get(name.as_str()).copied());
            if name == "caller" && is_called {
                continue;
            }
            match (given, default) {
                (Some(value), _) => {
                    frame.values.insert(name.clone(), value.clone());
                }
                (None, Some(default)) => defaults.push((name.clone(), default)),
                (None, None) => {
                    let missing = Value::undefined(format!("parameter '{name}' was not provided"));
                    frame.values.insert(name.clone(), missing);
                }
            }
        }
        let known = |name: &str| definition.params.iter().any(|(n, _)| n == name);
        let rest = args.positional.iter().skip(definition.params.len()).cloned().collect();
        frame.values.insert("varargs".into(), Value::tuple(rest));
        let kwargs: Map = args.named.iter().filter(|(n, _)| !known(n)).map(|(n, v)| (n, v.clone())).collect();
        frame.values.insert("kwargs".into(), kwargs.into());
        self.frames.push(frame);
        let mut out = String::new();
        let mut result = Ok(());
        for (name, default) in defaults {
            match self.eval(default) {
                Ok(value) => {
                    if let Some(frame) = self.frames.last_mut() {
                        frame.values.insert(name, value);
                    }
                }
                Err(error) => result = Err(error),
            }
        }
        let before = (std::mem::take(&mut self.chunks), self.last.take());
        let was_silent = std::mem::take(&mut self.is_silent);
        let result = result.and_then(|()| self.nodes(&definition.body, &mut out).map(|_| ()));
        let only = self.last.take().filter(|_| self.chunks == 1 && self.scope.has_native_macros());
        (self.chunks, self.last) = before;
        self.is_silent = was_silent;
        self.frames.pop();
        match &callable.sees {
            Sees::Around(_) => self.frames.extend(hidden),
            Sees::Then(_) => self.frames = hidden,
            Sees::Module(_) => {}
        }
        self.depth -= 1;
        result.map(|()| match only {
            Some(value) if value.is_none() || value.to_string() == out => value,
            _ => Value::from(out),
        })
    }
}

/// How many versions further out `super.super` means; `None` for what is another object.
fn supers(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Name(name) if name == "super" => Some(1),
        Expr::Attr(object, name) if name == "super" => supers(object).map(|n| n + 1),
        _ => None,
    }
}

/// An error for a value that is not there.
pub(crate) fn check(value: Value) -> Result<Value> {
    if value.is_undefined() { Err(Error::of_undefined(&value)) } else { Ok(value) }
}

fn compare(operator: Comparison, left: &Value, right: &Value) -> Result<bool> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    Ok(match operator {
        Comparison::Eq => left == right,
        Comparison::Ne => left != right,
        Comparison::In => ops::contains(right, left)?,
        Comparison::NotIn => !ops::contains(right, left)?,
        Comparison::Lt => ops::order(left, right, "<")? == Some(Less),
        Comparison::Gt => ops::order(left, right, ">")? == Some(Greater),
        Comparison::Le => matches!(ops::order(left, right, "<=")?, Some(Less | Equal)),
        Comparison::Ge => matches!(ops::order(left, right, ">=")?, Some(Greater | Equal)),
    })
}

/// `object.name`: a key of a mapping, else not there.
pub(crate) fn attribute(object: &Value, name: &str) -> Result<Value> {
    match object {
        Value::Undefined(_) => Err(Error::of_undefined(object)),
        Value::Map(map) => Ok(map
            .get(name)
            .unwrap_or_else(|| Value::undefined(format!("object of type 'dict' has no attribute '{name}'")))),
        // What `groupby` gives are tuples with names.
        Value::Tuple(pair) if pair.len() == 2 && matches!(name, "grouper" | "list") => {
            Ok(pair[usize::from(name == "list")].clone())
        }
        Value::Time(time) if time.attribute(name).is_some() => Ok(time.attribute(name).unwrap_or_default()),
        other => {
            Ok(Value::undefined(format!("object of type '{}' has no attribute '{name}'", other.type_name())))
        }
    }
}

/// `object[index]`.
pub(crate) fn item(object: &Value, index: &Value) -> Result<Value> {
    let kind = object.type_name();
    // ansible-core has its own sentence for every index but those that are false, whose sentence is Jinja2's.
    let missing = || {
        Value::undefined(match index {
            Value::Str(text) if text.as_str().is_empty() => format!("'{kind} object' has no attribute ''"),
            index if !index.is_true() => format!("{kind} object has no element {index:?}"),
            index => format!("object of type '{kind}' has no attribute {index:?}"),
        })
    };
    Ok(match object {
        Value::Undefined(_) => return Err(Error::of_undefined(object)),
        Value::Map(map) => map.get_value(index).unwrap_or_else(missing),
        Value::List(_) | Value::Tuple(_) | Value::Str(_) => match index.as_int() {
            Some(at) => {
                let items = ops::iterate(object)?;
                let at = if at < 0 { at + items.len() as i128 } else { at };
                usize::try_from(at).ok().and_then(|at| items.get(at).cloned()).unwrap_or_else(missing)
            }
            None => missing(),
        },
        _ => missing(),
    })
}
