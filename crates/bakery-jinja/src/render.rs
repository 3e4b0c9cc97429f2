//! Carrying out statements: output, loops, assignments, macros, includes and inheritance.

use std::sync::Arc;

use bakery_lang::{Map, Value};

use crate::ast::{Block, Expr, Node, Target};
use crate::eval::{Callable, Evaluator, Frame, Sees, check};
use crate::lexer::Syntax;
use crate::{Arguments, Error, Result, Template, helpers, ops};

/// What a loop body asks of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
}

/// A recursive loop that `loop(…)` can enter again.
#[derive(Debug, Clone)]
pub(crate) struct Recursive {
    target: Target,
    filter: Option<Expr>,
    body: Arc<Vec<Node>>,
    depth: usize,
}

/// How deep templates may extend each other, and their blocks call each other.
const MAX_EXTENDS: usize = 60;

/// The most text that one template may produce, in bytes.
const MAX_OUTPUT: usize = 256 * 1024 * 1024;

impl Evaluator<'_> {
    pub(crate) fn render_root(&mut self, template: &Template) -> Result<String> {
        let mut out = String::new();
        self.template(template, &mut out)?;
        Ok(out)
    }

    /// Renders a template and those that it extends, with blocks of its own.
    fn template(&mut self, template: &Template, out: &mut String) -> Result<()> {
        let before = (
            std::mem::take(&mut self.blocks),
            std::mem::take(&mut self.inside),
            self.parent.take(),
            std::mem::take(&mut self.is_silent),
            std::mem::replace(&mut self.base, self.frames.len() - 1),
            std::mem::replace(&mut self.syntax, Arc::clone(&template.syntax)),
            self.depth,
        );
        let mut template = template.clone();
        let result = loop {
            // Templates that bring each other in count as those do that extend each other.
            self.depth += 1;
            if self.depth > MAX_EXTENDS {
                break Err(Error::new("templates extend or include each other too deep"));
            }
            let place = |error: Error| match error.origin {
                None => error.or_at(&template.source.at_offset(0)),
                Some(_) => error,
            };
            let result = self.own_blocks(&template.nodes).and_then(|()| self.located(&template, out));
            if let Err(error) = result {
                break Err(place(error));
            }
            // What is set by now is seen by the template that this one extends, whose output counts.
            self.is_silent = false;
            match self.parent.take() {
                Some(parent) => template = parent,
                None => break Ok(()),
            }
        };
        (self.blocks, self.inside, self.parent, self.is_silent, self.base, self.syntax, self.depth) = before;
        result
    }

    /// Makes the blocks of a template known, behind those of the templates that extend it.
    fn own_blocks(&mut self, nodes: &[Node]) -> Result<()> {
        let mut own = Vec::new();
        collect(nodes, &mut own);
        let mut seen: Vec<&str> = Vec::new();
        for block in &own {
            if seen.contains(&block.name.as_str()) {
                return Err(Error::told(format!(
                    "Syntax error in template: block '{}' defined twice",
                    block.name
                )));
            }
            seen.push(&block.name);
        }
        for block in own {
            self.blocks.entry(block.name.clone()).or_default().push(block);
        }
        Ok(())
    }

    /// The text of the version of the block being rendered that is this many further out.
    pub(crate) fn older_block(&mut self, further: usize) -> Result<Value> {
        let missing = || Error::undefined("there is no parent block called 'super'.");
        let (name, at) = self.inside.last().cloned().ok_or_else(missing)?;
        let older = self.blocks.get(&name).and_then(|all| all.get(at + further)).cloned();
        let older =
            older.ok_or_else(|| Error::undefined(format!("there is no parent block called '{name}'.")))?;
        let mut out = String::new();
        self.block(&older, at + further, &mut out)?;
        Ok(out.into())
    }

    /// Whether what an expression makes is not escaped again: text of macros and blocks, and of filters that escape.
    fn is_safe(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Filter(_, name, _) => {
                matches!(
                    name.as_str(),
                    "safe" | "e" | "escape" | "forceescape" | "tojson" | "urlize" | "xmlattr"
                )
            }
            Expr::Call(function, _) => match function.as_ref() {
                Expr::Name(name) => name == "super" || self.find_macro(name).is_some(),
                Expr::Attr(object, _) => matches!(object.as_ref(), Expr::Name(name)
                    if matches!(name.as_str(), "self" | "super") || self.find_module(name).is_some()),
                _ => false,
            },
            _ => false,
        }
    }

    /// The text of a block by its name (`self.name()`).
    pub(crate) fn block_text(&mut self, name: &str) -> Result<Value> {
        let block = self.blocks.get(name).and_then(|all| all.first()).cloned();
        let block = block.ok_or_else(|| {
            Error::undefined(format!("object of type 'TemplateReference' has no attribute '{name}'"))
        })?;
        let mut out = String::new();
        self.block(&block, 0, &mut out)?;
        Ok(out.into())
    }

    fn block(&mut self, block: &Block, version: usize, out: &mut String) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_EXTENDS {
            return Err(Error::new("blocks call each other too deep"));
        }
        // Unless it says so, a block sees the template's own names, and not those of loops around it.
        let hidden = if block.is_scoped { vec![] } else { self.frames.split_off(self.base + 1) };
        self.frames.push(Frame::default());
        self.inside.push((block.name.clone(), version));
        let was_silent = std::mem::take(&mut self.is_silent);
        let result = self.nodes(&block.body, out);
        self.is_silent = was_silent;
        self.inside.pop();
        self.frames.pop();
        self.frames.extend(hidden);
        self.depth -= 1;
        result.map(|_| ())
    }

    fn located(&mut self, template: &Template, out: &mut String) -> Result<()> {
        for node in template.nodes.iter() {
            let line = match node {
                Node::Output(_, line) => Some(*line),
                _ => None,
            };
            self.nodes(std::slice::from_ref(node), out).map_err(|error| match line {
                Some(line) => error.or_at(&bakery_lang::Origin {
                    source: Arc::clone(&template.source),
                    line,
                    column: 1,
                }),
                None => error,
            })?;
        }
        Ok(())
    }

    fn load(&self, name: &str) -> Result<Template> {
        let source = self.scope.load(name)?;
        // It is written as the one that brings it in. As Ansible configures Jinja2, its last newline is not kept.
        let syntax =
            Syntax { keep_trailing_newline: false, escape_backslashes: false, ..(*self.syntax).clone() };
        self.environment.parse(&source, &syntax)
    }

    pub(crate) fn nodes(&mut self, nodes: &[Node], out: &mut String) -> Result<Flow> {
        for node in nodes {
            let flow = self.node(node, out)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
            if out.len() > MAX_OUTPUT {
                return Err(Error::new("the template's output is larger than 256 MiB"));
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, out: &mut String) -> Result<Flow> {
        match node {
            // Of a template that extends another one, only what is no output counts.
            Node::Text(_) | Node::Output(..) | Node::Block(_) if self.is_silent => {}
            Node::Text(text) => {
                self.chunks += usize::from(!text.is_empty());
                out.push_str(text);
            }
            Node::Output(expr, _) => {
                let value = self.full(expr)?;
                let escapes = self.escapes && !self.is_safe(expr);
                self.chunks += 1;
                self.last = Some(value.clone());
                // An inline if without else, and none, are empty inside longer text.
                match &value {
                    Value::None => {}
                    Value::Undefined(u) if u.message.starts_with("the inline if") => {}
                    _ => {
                        // All of it is written, so all of it is made now.
                        let value = check(value)?.forced();
                        if let Some(missing) =
                            value.first_undefined().filter(|_| self.scope.is_strict_inside())
                        {
                            return Err(Error::of_undefined(&missing));
                        }
                        let text = value.to_string();
                        out.push_str(if escapes { crate::filters::escape(&text) } else { text }.as_str());
                    }
                }
            }
            Node::If(branches, or_else) => {
                for (condition, body) in branches {
                    if self.truth(condition)? {
                        return self.nodes(body, out);
                    }
                }
                return self.nodes(or_else, out);
            }
            Node::For { target, iter, filter, body, or_else, recursive } => {
                let items = self.eval(iter).and_then(check).map(|items| self.structure(items))?;
                let recursion = Recursive {
                    target: target.clone(),
                    filter: filter.clone(),
                    body: Arc::new(body.clone()),
                    depth: 0,
                };
                if *recursive {
                    self.loops.push(recursion.clone());
                }
                let ran = self.each(&recursion, &items, out);
                if *recursive {
                    self.loops.pop();
                }
                if !ran? {
                    return self.nodes(or_else, out);
                }
            }
            Node::Set(targets, expr) => {
                let value = self.eval(expr)?;
                for target in targets {
                    self.assign(target, value.clone())?;
                }
            }
            Node::SetBlock(target, filters, body) => {
                let was_silent = std::mem::take(&mut self.is_silent);
                let text = self.captured(body);
                self.is_silent = was_silent;
                let mut value = Value::from(text?);
                for (name, args) in filters {
                    let args = self.args(args)?;
                    value = self.filter(name, &value, &args)?;
                }
                self.assign(target, value)?;
            }
            Node::With(pairs, body) => {
                let values: Vec<Value> =
                    pairs.iter().map(|(_, expr)| self.eval(expr)).collect::<Result<_>>()?;
                self.frames.push(Frame::default());
                let result = pairs
                    .iter()
                    .zip(values)
                    .try_for_each(|((target, _), value)| self.assign(target, value))
                    .and_then(|()| self.nodes(body, out));
                self.frames.pop();
                return result;
            }
            Node::Macro(definition) => {
                let sees = Sees::Around(self.frames.len());
                let callable = Callable { definition: Arc::clone(definition), sees };
                if let Some(frame) = self.frames.last_mut() {
                    frame.values.remove(&definition.name);
                    frame.macros.insert(definition.name.clone(), callable);
                }
            }
            Node::CallBlock(caller, call) => {
                let sees = Sees::Then(Arc::new(self.frames.clone()));
                let caller = Callable { definition: Arc::clone(caller), sees };
                let text = self.call_with(call, caller)?.to_string();
                if !self.is_silent {
                    out.push_str(&text);
                }
            }
            Node::FilterBlock(filters, body) => {
                let mut value = Value::from(self.captured(body)?);
                for (name, args) in filters {
                    let args = self.args(args)?;
                    value = self.filter(name, &value, &args)?;
                }
                out.push_str(&value.to_string());
            }
            Node::Include { name, ignore_missing, with_context } => {
                let names = self.used(name)?;
                let names = names.as_items().unwrap_or_else(|| vec![names.clone()]);
                let mut missing = None;
                for name in &names {
                    match self.load(&name.to_string()) {
                        Ok(template) => {
                            self.frames.push(Frame { barrier: !with_context, ..Frame::default() });
                            let mut text = String::new();
                            let is_silent = self.is_silent;
                            let result = self.template(&template, &mut text);
                            self.frames.pop();
                            result?;
                            if !is_silent {
                                out.push_str(&text);
                            }
                            return Ok(Flow::Next);
                        }
                        Err(error) => missing = Some(error),
                    }
                }
                if let (Some(error), false) = (missing, ignore_missing) {
                    return Err(error);
                }
            }
            Node::Import { name, alias, with_context } => {
                let module = self.module(name, *with_context)?;
                if let Some(frame) = self.frames.last_mut() {
                    frame.modules.insert(alias.clone(), module);
                }
            }
            Node::FromImport { name, names, with_context } => {
                let module = self.module(name, *with_context)?;
                for (name, alias) in names {
                    let Some(frame) = self.frames.last_mut() else { break };
                    if let Some(found) = module.macros.get(name) {
                        let sees = Sees::Module(Arc::clone(&module));
                        let callable = Callable { definition: Arc::clone(&found.definition), sees };
                        frame.macros.insert(alias.clone(), callable);
                    } else {
                        let value = module.values.get(name).cloned().unwrap_or_else(|| {
                            Value::undefined(format!(
                                "the imported template does not export the name '{name}'"
                            ))
                        });
                        frame.values.insert(alias.clone(), value);
                    }
                }
            }
            Node::Extends(name) => {
                if self.parent.is_some() {
                    return Err(Error::new("extended multiple times"));
                }
                let name = self.used(name)?.to_string();
                self.parent = Some(self.load(&name)?);
                self.is_silent = true;
            }
            Node::Block(block) => {
                let versions = self.blocks.get(&block.name).cloned().unwrap_or_default();
                if block.is_required && versions.len() <= 1 {
                    return Err(Error::new(format!("Required block '{}' not found", block.name)));
                }
                let newest = versions.first().cloned().unwrap_or_else(|| Arc::clone(block));
                // Where it stands decides whether it sees what is around it.
                let newest = Block { is_scoped: block.is_scoped, ..newest.as_ref().clone() };
                self.block(&newest, 0, out)?;
            }
            Node::Autoescape(wanted, body) => {
                let escapes = self.truth(wanted)?;
                let before = std::mem::replace(&mut self.escapes, escapes);
                self.frames.push(Frame::default());
                let result = self.nodes(body, out);
                self.frames.pop();
                self.escapes = before;
                return result;
            }
            Node::Do(expr) => {
                self.eval(expr)?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn captured(&mut self, body: &[Node]) -> Result<String> {
        self.frames.push(Frame::default());
        let mut out = String::new();
        let result = self.nodes(body, &mut out);
        self.frames.pop();
        result.map(|_| out)
    }

    fn call_with(&mut self, call: &Expr, caller: Callable) -> Result<Value> {
        let Expr::Call(function, args) = call else {
            return Err(Error::new("`call` needs a call of a macro"));
        };
        let args = self.args(args)?;
        let found = match function.as_ref() {
            Expr::Name(name) => self.frames.iter().rev().find_map(|f| f.macros.get(name).cloned()),
            Expr::Attr(object, name) => match object.as_ref() {
                Expr::Name(module) => {
                    self.frames.iter().rev().find_map(|f| f.modules.get(module).cloned()).and_then(|module| {
                        module
                            .macros
                            .get(name)
                            .cloned()
                            .map(|found| Callable { sees: Sees::Module(module), ..found })
                    })
                }
                _ => None,
            },
            _ => None,
        };
        let found = found.ok_or_else(|| Error::new("`call` needs a macro that is defined"))?;
        self.call_macro(&found, &args, Some(caller))
    }

    fn module(&mut self, name: &Expr, with_context: bool) -> Result<Arc<Frame>> {
        let name = self.used(name)?.to_string();
        let template = self.load(&name)?;
        let outer = with_context.then(|| Arc::new(self.visible()));
        self.frames.push(Frame { barrier: true, outer, ..Frame::default() });
        let mut dropped = String::new();
        let result = self.template(&template, &mut dropped);
        let frame = self.frames.pop().unwrap_or_default();
        result?;
        Ok(Arc::new(frame))
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<()> {
        match target {
            Target::Name(name) => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.macros.remove(name);
                    frame.values.insert(name.clone(), value);
                }
            }
            Target::Attr(object, name) => match self.lookup(object) {
                Some(Value::Map(map)) if helpers::is_namespace(&map) => map.set(name, value),
                _ => return Err(Error::new("cannot assign attribute on non-namespace object")),
            },
            Target::Tuple(targets) => {
                let items = ops::iterate(&check(value)?)?;
                if items.len() != targets.len() {
                    let side = if items.len() > targets.len() { "too many" } else { "not enough" };
                    return Err(Error::new(format!("{side} values to unpack (expected {})", targets.len())));
                }
                for (target, item) in targets.iter().zip(items) {
                    let item = self.shallow(item)?;
                    self.assign(target, item)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn recurse(&mut self, items: &Value) -> Result<Value> {
        let Some(mut recursion) = self.loops.last().cloned() else {
            return Err(Error::new("the loop is not recursive"));
        };
        self.depth += 1;
        if self.depth > 60 {
            return Err(Error::new("the recursive loop nests too deep"));
        }
        recursion.depth += 1;
        let mut out = String::new();
        self.loops.push(recursion.clone());
        let result = self.each(&recursion, items, &mut out);
        self.loops.pop();
        self.depth -= 1;
        result.map(|_| Value::from(out))
    }

    fn each(&mut self, recursion: &Recursive, items: &Value, out: &mut String) -> Result<bool> {
        let mut items = ops::iterate(items)?;
        if let Some(filter) = &recursion.filter {
            let mut kept = Vec::new();
            for item in items {
                self.frames.push(Frame::default());
                let keep = self.assign(&recursion.target, item.clone()).and_then(|()| self.truth(filter));
                self.frames.pop();
                if keep? {
                    kept.push(item);
                }
            }
            items = kept;
        }
        let length = items.len();
        let previous_changed = Value::list(vec![]);
        for (index, item) in items.iter().enumerate() {
            let info = Map::new();
            info.set("index", index + 1);
            info.set("index0", index);
            info.set("revindex", length - index);
            info.set("revindex0", length - index - 1);
            info.set("first", index == 0);
            info.set("last", index + 1 == length);
            info.set("length", length);
            info.set("depth", recursion.depth + 1);
            info.set("depth0", recursion.depth);
            let neighbour = |at: Option<usize>, word: &str| {
                at.and_then(|at| items.get(at).cloned())
                    .unwrap_or_else(|| Value::undefined(format!("there is no {word} item")))
            };
            info.set("previtem", neighbour(index.checked_sub(1), "previous"));
            info.set("nextitem", neighbour(Some(index + 1), "next"));
            info.set("__changed", previous_changed.clone());
            let mut frame = Frame::default();
            frame.values.insert("loop".into(), info.into());
            self.frames.push(frame);
            let result =
                self.assign(&recursion.target, item.clone()).and_then(|()| self.nodes(&recursion.body, out));
            self.frames.pop();
            if result? == Flow::Break {
                break;
            }
        }
        Ok(length > 0)
    }
}

/// The blocks of nodes, at any depth.
fn collect(nodes: &[Node], out: &mut Vec<Arc<Block>>) {
    for node in nodes {
        if let Node::Block(block) = node {
            out.push(Arc::clone(block));
        }
        node.inner().into_iter().for_each(|inner| collect(inner, out));
    }
}

/// Calls a filter for each item, as `map` does.
pub(crate) fn per_item(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    item: &Value,
    rest: &[Value],
    named: &[(String, Value)],
) -> Result<Value> {
    let args = Arguments { positional: rest.to_vec(), named: named.to_vec() };
    evaluator.filter(name, item, &args)
}
