//! Evaluation of HCL expressions and templates.
//!
//! What is not known before something else exists is [`Value::Undefined`]: it flows through expressions, and the
//! caller decides whether it is an error.

use std::ops::Range;
use std::sync::Arc;

use hcl_edit::Span;
use hcl_edit::expr::{BinaryOperator, Expression, ObjectKey, Traversal, TraversalOperator, UnaryOperator};
use hcl_edit::structure::Body;
use hcl_edit::template::{Directive, Element, Strip, Template};

use super::functions;
use super::types::Type;
use crate::{Diagnostic, Map, Origin, Source, Value};

/// Names and functions that an expression can use.
pub trait Scope {
    /// The value of a root name, such as `var` or `aws_instance`.
    fn variable(&self, name: &str) -> Option<Value>;

    /// A function of the caller's own, tried before the built-in ones.
    fn function(&self, _name: &str, _args: &[Value]) -> Option<Result<Value, String>> {
        None
    }

    /// The names that [`Scope::variable`] knows, for hints.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A scope with a few more names in front of another one.
struct Inner<'a> {
    names: Vec<(String, Value)>,
    outer: &'a dyn Scope,
}

impl Scope for Inner<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        let own = self.names.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        own.or_else(|| self.outer.variable(name))
    }
    fn function(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        self.outer.function(name, args)
    }
}

/// Evaluates an expression.
///
/// # Errors
/// An unknown name, function or a type that does not fit, with its place.
pub fn evaluate(expr: &Expression, scope: &dyn Scope, source: &Arc<Source>) -> Result<Value, Diagnostic> {
    Evaluator { scope, source }.expr(expr)
}

/// Renders template text, as `templatefile` does.
///
/// # Errors
/// As [`evaluate`].
pub fn render_template(source: &Arc<Source>, scope: &dyn Scope) -> Result<String, Diagnostic> {
    let template: Template = source.text.parse().map_err(|error: hcl_edit::parser::Error| {
        let at = error.location();
        let origin =
            Origin { source: Arc::clone(source), line: at.line() as u32, column: at.column() as u32 };
        Diagnostic::at(&origin, error.message().to_owned())
    })?;
    Evaluator { scope, source }.template(&template).map(|value| value.to_string())
}

/// A block, one that a `dynamic` block makes included.
#[derive(Debug)]
pub struct Expanded<'b> {
    /// Its kind.
    pub kind: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// What is in it.
    pub body: &'b Body,
    /// Names that only it sees.
    pub names: Vec<(String, Value)>,
    /// Where it begins, in bytes.
    pub start: usize,
}

/// A scope with more names in front of another one.
pub fn with_names<'a>(names: &[(String, Value)], outer: &'a dyn Scope) -> impl Scope + use<'a> {
    Inner { names: names.to_vec(), outer }
}

/// The blocks of a body in order; `dynamic` ones as often as they say.
///
/// # Errors
/// As [`evaluate`]; a `dynamic` block without `for_each` or `content`.
pub fn blocks<'b>(
    body: &'b Body,
    scope: &dyn Scope,
    source: &Arc<Source>,
) -> Result<Vec<Expanded<'b>>, Diagnostic> {
    let mut out = Vec::new();
    for block in body.blocks() {
        let start = block.span().map_or(0, |s| s.start);
        let labels: Vec<String> = block.labels.iter().map(|l| l.as_str().to_owned()).collect();
        let kind = block.ident.as_str();
        if kind != "dynamic" {
            out.push(Expanded { kind: kind.to_owned(), labels, body: &block.body, names: vec![], start });
            continue;
        }
        let wrong = |message: &str| Diagnostic::at(&source.at_offset(start), message);
        let made = labels.first().ok_or_else(|| wrong("a dynamic block needs the kind of its blocks"))?;
        let each =
            block.body.get_attribute("for_each").ok_or_else(|| wrong("a dynamic block needs `for_each`"))?;
        let content = block.body.get_blocks("content").next();
        let content = content.ok_or_else(|| wrong("a dynamic block needs `content`"))?;
        let iterator = match block.body.get_attribute("iterator").map(|a| &a.value) {
            Some(Expression::Variable(name)) => name.as_str().to_owned(),
            Some(other) => evaluate(other, scope, source)?.to_string(),
            None => made.clone(),
        };
        for (key, value) in pairs(&evaluate(&each.value, scope, source)?) {
            let names = vec![(iterator.clone(), Value::map([("key", key), ("value", value)]))];
            let labels = match block.body.get_attribute("labels") {
                Some(labels) => {
                    let labels = evaluate(&labels.value, &with_names(&names, scope), source)?;
                    labels.as_items().unwrap_or_default().iter().map(ToString::to_string).collect()
                }
                None => vec![],
            };
            out.push(Expanded { kind: made.clone(), labels, body: &content.body, names, start });
        }
    }
    Ok(out)
}

/// The attributes of a body as a mapping; nested blocks become lists of mappings under their name.
///
/// # Errors
/// As [`evaluate`].
pub fn body(body: &Body, scope: &dyn Scope, source: &Arc<Source>) -> Result<Map, Diagnostic> {
    let map = Map::new();
    for attribute in body.attributes() {
        map.set(attribute.key.as_str(), evaluate(&attribute.value, scope, source)?);
    }
    for block in blocks(body, scope, source)? {
        let inner = self::body(block.body, &with_names(&block.names, scope), source)?;
        for label in &block.labels {
            inner.set("__label", label.as_str());
        }
        let list = map.get(&block.kind).unwrap_or_else(|| Value::list(vec![]));
        if let Value::List(list) = &list {
            list.update(|items| items.push(inner.into()));
        }
        map.set(&block.kind, list);
    }
    Ok(map)
}

struct Evaluator<'a> {
    scope: &'a dyn Scope,
    source: &'a Arc<Source>,
}

impl Evaluator<'_> {
    fn error(&self, span: Option<Range<usize>>, message: impl Into<String>) -> Diagnostic {
        match span {
            Some(span) => Diagnostic::at(&self.source.at_offset(span.start), message),
            None => Diagnostic::new(format!("{}: {}", self.source.name, message.into())),
        }
    }

    fn expr(&self, expr: &Expression) -> Result<Value, Diagnostic> {
        Ok(match expr {
            Expression::Null(_) => Value::None,
            Expression::Bool(b) => Value::Bool(*b.value()),
            Expression::Number(n) => {
                let n = n.value();
                n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or_default()), Value::from)
            }
            Expression::String(s) => Value::from(s.as_str()),
            Expression::Array(items) => {
                Value::list(items.iter().map(|item| self.expr(item)).collect::<Result<_, _>>()?)
            }
            Expression::Object(object) => {
                let map = Map::new();
                for (key, value) in object {
                    let key = match key {
                        ObjectKey::Ident(name) => Value::from(name.as_str()),
                        ObjectKey::Expression(expr) => self.expr(expr)?,
                    };
                    map.set(&key.to_string(), self.expr(value.expr())?);
                }
                map.into()
            }
            Expression::StringTemplate(template) => self.template(template)?,
            Expression::HeredocTemplate(heredoc) => {
                let mut heredoc = heredoc.clone();
                heredoc.dedent();
                self.template(&heredoc.template)?
            }
            Expression::Parenthesis(inner) => self.expr(inner.inner())?,
            Expression::Variable(name) => self.scope.variable(name.as_str()).ok_or_else(|| {
                let names = self.scope.names();
                let hint = crate::suggest(name.as_str(), names.iter().map(String::as_str));
                self.error(name.span(), format!("unknown name `{}`", name.as_str())).maybe_hint(hint)
            })?,
            Expression::Conditional(conditional) => match self.expr(&conditional.cond_expr)? {
                Value::Undefined(u) => Value::Undefined(u),
                condition => {
                    if truth(&condition).map_err(|m| self.error(expr.span(), m))? {
                        self.expr(&conditional.true_expr)?
                    } else {
                        self.expr(&conditional.false_expr)?
                    }
                }
            },
            Expression::FuncCall(call) => {
                let name = call.name.name.as_str();
                if name == "try" || name == "can" {
                    return self.attempt(name, call);
                }
                if let ("convert", [value, kind]) = (name, call.args.iter().collect::<Vec<_>>().as_slice()) {
                    let value = self.expr(value)?;
                    let converted = Type::parse(kind).and_then(|kind| kind.convert(&value));
                    return converted.map_err(|message| self.error(call.span(), message));
                }
                let mut args = Vec::new();
                for arg in &call.args {
                    args.push(self.expr(arg)?);
                }
                if call.args.expand_final() {
                    let last = args.pop().and_then(|last| last.as_items()).unwrap_or_default();
                    args.extend(last);
                }
                if let Some(unknown) = args.iter().find(|arg| arg.is_undefined()) {
                    return Ok(unknown.clone());
                }
                let result = self.scope.function(name, &args).unwrap_or_else(|| functions::call(name, &args));
                result.map_err(|message| self.error(call.span(), message))?
            }
            Expression::Traversal(traversal) => self.traversal(traversal)?,
            Expression::UnaryOp(op) => match (op.operator.value(), self.expr(&op.expr)?) {
                (_, Value::Undefined(u)) => Value::Undefined(u),
                (UnaryOperator::Not, v) => Value::Bool(!truth(&v).map_err(|m| self.error(expr.span(), m))?),
                (UnaryOperator::Neg, v) => number(&v)
                    .map(|n| from_number(-n))
                    .ok_or_else(|| self.error(expr.span(), "expected a number after `-`"))?,
            },
            Expression::BinaryOp(op) => {
                let (left, right) = (self.expr(&op.lhs_expr)?, self.expr(&op.rhs_expr)?);
                binary(*op.operator.value(), &left, &right).map_err(|m| self.error(expr.span(), m))?
            }
            Expression::ForExpr(each) => self.for_expr(each)?,
        })
    }

    fn attempt(&self, name: &str, call: &hcl_edit::expr::FuncCall) -> Result<Value, Diagnostic> {
        let mut last = None;
        for arg in &call.args {
            match self.expr(arg) {
                Ok(value) if !value.is_undefined() => {
                    return Ok(if name == "can" { Value::Bool(true) } else { value });
                }
                Ok(_) => {}
                Err(error) => last = Some(error),
            }
        }
        if name == "can" {
            return Ok(Value::Bool(false));
        }
        Err(last.unwrap_or_else(|| self.error(call.span(), "no argument of `try` has a value")))
    }

    fn traversal(&self, traversal: &Traversal) -> Result<Value, Diagnostic> {
        let mut value = self.expr(&traversal.expr)?;
        for (at, operator) in traversal.operators.iter().enumerate() {
            if value.is_undefined() {
                return Ok(value);
            }
            let span = || operator.span().or_else(|| traversal.span());
            value = match operator.value() {
                TraversalOperator::GetAttr(name) => value.get(name.as_str()).ok_or_else(|| {
                    let keys: Vec<String> = value
                        .as_map()
                        .map(Map::keys)
                        .unwrap_or_default()
                        .iter()
                        .map(ToString::to_string)
                        .collect();
                    let hint = crate::suggest(name.as_str(), keys.iter().map(String::as_str));
                    self.error(span(), format!("no attribute `{}` here", name.as_str())).maybe_hint(hint)
                })?,
                TraversalOperator::Index(index) => {
                    let index = self.expr(index)?;
                    element(&value, &index)
                        .ok_or_else(|| self.error(span(), format!("no element `{index}`")))?
                }
                TraversalOperator::LegacyIndex(index) => element(&value, &Value::from(*index.value()))
                    .ok_or_else(|| self.error(span(), format!("no element `{}`", index.value())))?,
                TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                    let items = match &value {
                        Value::None => vec![],
                        other => other.as_items().unwrap_or_else(|| vec![other.clone()]),
                    };
                    let mut out = Vec::new();
                    for item in items {
                        let mut item = item;
                        for rest in &traversal.operators[at + 1..] {
                            item = match rest.value() {
                                TraversalOperator::GetAttr(name) => {
                                    item.get(name.as_str()).unwrap_or_default()
                                }
                                TraversalOperator::Index(i) => {
                                    element(&item, &self.expr(i)?).unwrap_or_default()
                                }
                                _ => item,
                            };
                        }
                        out.push(item);
                    }
                    return Ok(Value::list(out));
                }
            };
        }
        Ok(value)
    }

    fn for_expr(&self, each: &hcl_edit::expr::ForExpr) -> Result<Value, Diagnostic> {
        let collection = self.expr(&each.intro.collection_expr)?;
        if collection.is_undefined() {
            return Ok(collection);
        }
        let mut list = Vec::new();
        let map = Map::new();
        for (key, value) in pairs(&collection) {
            let mut names = vec![(each.intro.value_var.as_str().to_owned(), value)];
            if let Some(key_var) = &each.intro.key_var {
                names.push((key_var.as_str().to_owned(), key));
            }
            let scope = Inner { names, outer: self.scope };
            let inner = Evaluator { scope: &scope, source: self.source };
            if let Some(condition) = &each.cond
                && !truth(&inner.expr(&condition.expr)?).map_err(|m| self.error(each.span(), m))?
            {
                continue;
            }
            let value = inner.expr(&each.value_expr)?;
            match &each.key_expr {
                Some(key) => {
                    let key = inner.expr(key)?.to_string();
                    if each.grouping {
                        let group = map.get(&key).unwrap_or_else(|| Value::list(vec![]));
                        if let Value::List(items) = &group {
                            items.update(|items| items.push(value));
                        }
                        map.set(&key, group);
                    } else {
                        map.set(&key, value);
                    }
                }
                None => list.push(value),
            }
        }
        Ok(if each.key_expr.is_some() { map.into() } else { Value::list(list) })
    }

    /// A template of one interpolation keeps its value's type, as in HCL.
    fn template(&self, template: &Template) -> Result<Value, Diagnostic> {
        if template.len() == 1
            && let Some(Element::Interpolation(only)) = template.get(0)
        {
            return self.expr(&only.expr);
        }
        let mut out = String::new();
        let mut strip_next = false;
        for element in template {
            match element {
                Element::Literal(text) => {
                    let text = text.as_str();
                    out.push_str(if strip_next { text.trim_start() } else { text });
                    strip_next = false;
                }
                Element::Interpolation(interpolation) => {
                    if matches!(interpolation.strip, Strip::Start | Strip::Both) {
                        out.truncate(out.trim_end().len());
                    }
                    let value = self.expr(&interpolation.expr)?;
                    if value.is_undefined() {
                        return Ok(value);
                    }
                    out.push_str(&text(&value).ok_or_else(|| {
                        self.error(
                            interpolation.expr.span(),
                            format!("a {} cannot be put into text", value.type_name()),
                        )
                    })?);
                    strip_next = matches!(interpolation.strip, Strip::End | Strip::Both);
                }
                Element::Directive(directive) => {
                    let rendered = self.directive(directive, &mut out)?;
                    out.push_str(&rendered);
                    strip_next = match directive.as_ref() {
                        Directive::If(i) => matches!(i.endif_expr.strip, Strip::End | Strip::Both),
                        Directive::For(f) => matches!(f.endfor_expr.strip, Strip::End | Strip::Both),
                    };
                }
            }
        }
        Ok(Value::from(out))
    }

    fn directive(&self, directive: &Directive, before: &mut String) -> Result<String, Diagnostic> {
        let starts = |s: Strip| matches!(s, Strip::Start | Strip::Both);
        let ends = |s: Strip| matches!(s, Strip::End | Strip::Both);
        let mut out = String::new();
        match directive {
            Directive::If(choice) => {
                if starts(choice.if_expr.strip) {
                    before.truncate(before.trim_end().len());
                }
                let condition = truth(&self.expr(&choice.if_expr.cond_expr)?)
                    .map_err(|m| self.error(choice.if_expr.cond_expr.span(), m))?;
                let next = choice.else_expr.as_ref().map_or(choice.endif_expr.strip, |e| e.strip);
                if condition {
                    out = self.part(
                        &choice.if_expr.template,
                        ends(choice.if_expr.strip),
                        starts(next),
                        self.scope,
                    )?;
                } else if let Some(other) = &choice.else_expr {
                    let last = starts(choice.endif_expr.strip);
                    out = self.part(&other.template, ends(other.strip), last, self.scope)?;
                }
            }
            Directive::For(each) => {
                let head = &each.for_expr;
                if starts(head.strip) {
                    before.truncate(before.trim_end().len());
                }
                for (key, value) in pairs(&self.expr(&head.collection_expr)?) {
                    let mut names = vec![(head.value_var.as_str().to_owned(), value)];
                    if let Some(key_var) = &head.key_var {
                        names.push((key_var.as_str().to_owned(), key));
                    }
                    let scope = Inner { names, outer: self.scope };
                    out.push_str(&self.part(
                        &head.template,
                        ends(head.strip),
                        starts(each.endfor_expr.strip),
                        &scope,
                    )?);
                }
            }
        }
        Ok(out)
    }

    fn part(
        &self,
        template: &Template,
        left: bool,
        right: bool,
        scope: &dyn Scope,
    ) -> Result<String, Diagnostic> {
        let text = Evaluator { scope, source: self.source }.template(template)?;
        let text = text.to_string();
        let text = if left { text.trim_start() } else { &text };
        Ok(if right { text.trim_end() } else { text }.to_owned())
    }
}

fn pairs(collection: &Value) -> Vec<(Value, Value)> {
    match collection {
        Value::Map(map) => map.pairs(),
        other => other
            .as_items()
            .unwrap_or_default()
            .into_iter()
            .enumerate()
            .map(|(i, v)| (Value::from(i), v))
            .collect(),
    }
}

fn element(value: &Value, index: &Value) -> Option<Value> {
    match value {
        Value::Map(map) => map.get(&index.to_string()),
        other => {
            let index = number(index)? as usize;
            other.as_items()?.get(index).cloned()
        }
    }
}

/// HCL's conversion to text: scalars only.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(b) => Some(b.to_string()),
        Value::Int(_) | Value::Big(_) | Value::Str(_) => Some(value.to_string()),
        Value::Float(f) => Some(f.to_string()),
        _ => None,
    }
}

/// HCL's conversion to a number.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(_) => None,
        Value::Str(s) => s.as_str().trim().parse().ok(),
        other => other.as_float(),
    }
}

#[allow(clippy::float_cmp, reason = "whole numbers are exact")]
pub(super) fn from_number(n: f64) -> Value {
    if n == n.trunc() && n.abs() < 1e18 { Value::Int(n as i128) } else { Value::Float(n) }
}

pub(super) fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(b) => Ok(*b),
        Value::Str(s) if s.as_str() == "true" => Ok(true),
        Value::Str(s) if s.as_str() == "false" => Ok(false),
        other => Err(format!("expected true or false, found {}", other.type_name())),
    }
}

fn binary(operator: BinaryOperator, left: &Value, right: &Value) -> Result<Value, String> {
    if let Some(unknown) = [left, right].into_iter().find(|v| v.is_undefined()) {
        return Ok(unknown.clone());
    }
    let numbers = || match (number(left), number(right)) {
        (Some(a), Some(b)) => Ok((a, b)),
        _ => Err(format!("`{}` needs two numbers", operator.as_str())),
    };
    Ok(match operator {
        BinaryOperator::Eq => Value::Bool(left == right),
        BinaryOperator::NotEq => Value::Bool(left != right),
        BinaryOperator::And => Value::Bool(truth(left)? && truth(right)?),
        BinaryOperator::Or => Value::Bool(truth(left)? || truth(right)?),
        BinaryOperator::LessEq => numbers().map(|(a, b)| Value::Bool(a <= b))?,
        BinaryOperator::GreaterEq => numbers().map(|(a, b)| Value::Bool(a >= b))?,
        BinaryOperator::Less => numbers().map(|(a, b)| Value::Bool(a < b))?,
        BinaryOperator::Greater => numbers().map(|(a, b)| Value::Bool(a > b))?,
        BinaryOperator::Plus => numbers().map(|(a, b)| from_number(a + b))?,
        BinaryOperator::Minus => numbers().map(|(a, b)| from_number(a - b))?,
        BinaryOperator::Mul => numbers().map(|(a, b)| from_number(a * b))?,
        BinaryOperator::Div | BinaryOperator::Mod => {
            let (a, b) = numbers()?;
            if b == 0.0 {
                return Err("division by zero".into());
            }
            from_number(if operator == BinaryOperator::Div { a / b } else { a % b })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names(Map);
    impl Scope for Names {
        fn variable(&self, name: &str) -> Option<Value> {
            self.0.get(name)
        }
    }

    fn eval(text: &str) -> Result<Map, Diagnostic> {
        let source = Source::new("t.hcl", text);
        let parsed = crate::hcl::parse(&source)?;
        let names = Names(
            crate::json::parse(r#"{"var": {"n": 3, "l": ["a", "b"], "m": {"k": "v"}}}"#)
                .expect("json")
                .as_map()
                .expect("map")
                .clone(),
        );
        body(&parsed, &names, &source)
    }

    #[test]
    fn expressions_templates_and_old_syntax() {
        let map = eval(
            r#"
a = "${var.n + 1}"
b = "x-${upper(var.l[0])}-%{ for k, v in var.m ~} ${k}=${v} %{ endfor ~}"
c = [for i, s in var.l : "${i}${s}" if s != "a"]
d = { for s in var.l : s => length(s) }
e = var.n > 2 ? "big" : "small"
f = try(var.missing, "fallback")
vars { old = true }
"#,
        )
        .expect("valid");
        assert_eq!(map.get("a"), Some(Value::Int(4)));
        assert_eq!(map.get("c"), Some(Value::strings(["1b"])));
        assert_eq!(map.get("e"), Some(Value::from("big")));
        assert_eq!(map.get("f"), Some(Value::from("fallback")));
        assert!(map.get("b").expect("b").to_string().starts_with("x-A-"));
    }

    #[test]
    fn unknown_names_say_where() {
        let error = eval("a = vra.n\n").expect_err("unknown");
        assert_eq!(error.origin.expect("origin").to_string(), "t.hcl:1:5");
    }
}
