//! Tokens to a tree, with Jinja2's grammar and precedence (`jinja2/parser.py`).

use std::sync::Arc;

use bakery_lang::{Source, Value};

use crate::ast::{Args, Binary, Block, Comparison, Expr, Macro, Node, Target};
use crate::lexer::{Segment, Syntax, Token, expression_tokens, segments};
use crate::{Error, Result};

/// How deep expressions may nest.
const MAX_DEPTH: usize = 120;

/// Parses a template.
pub(crate) fn template(source: &Arc<Source>, syntax: &Syntax) -> Result<Vec<Node>> {
    let mut segments = segments(source, syntax)?.into_iter().peekable();
    let (nodes, end) = Statements { source, segments: &mut segments, depth: 0 }.until(&[])?;
    match end {
        None => Ok(nodes),
        Some((name, _, line)) => {
            Err(Error::syntax(source, line, format!("Encountered unknown tag '{name}'.")))
        }
    }
}

/// Parses a bare expression.
pub(crate) fn expression(source: &Arc<Source>) -> Result<Expr> {
    let tokens = expression_tokens(source)?;
    let mut parser = Parser { source: Arc::clone(source), tokens, at: 0, line: 1, depth: 0 };
    let expr = parser.tuple(true)?;
    parser.end()?;
    Ok(expr)
}

type End = Option<(String, Parser, u32)>;

struct Statements<'a, I: Iterator<Item = Segment>> {
    source: &'a Arc<Source>,
    segments: &'a mut std::iter::Peekable<I>,
    depth: usize,
}

impl<I: Iterator<Item = Segment>> Statements<'_, I> {
    fn parser(&self, tokens: Vec<Token>, line: u32) -> Parser {
        Parser { source: Arc::clone(self.source), tokens, at: 0, line, depth: 0 }
    }

    /// Nodes up to one of the tags in `ends`, which is returned with what follows its name.
    fn until(&mut self, ends: &[&str]) -> Result<(Vec<Node>, End)> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::syntax(self.source, 1, "blocks nest too deep"));
        }
        let mut nodes = Vec::new();
        while let Some(segment) = self.segments.next() {
            match segment {
                Segment::Text(text) => nodes.push(Node::Text(text)),
                Segment::Variable(tokens, line) => {
                    let mut parser = self.parser(tokens, line);
                    if parser.is_at_end() {
                        return Err(parser.error("Expected an expression, got 'end of print statement'"));
                    }
                    let expr = parser.tuple(true)?;
                    parser.end()?;
                    nodes.push(Node::Output(expr, line));
                }
                Segment::Block(tokens, line) => {
                    let mut parser = self.parser(tokens, line);
                    let name = parser.name()?;
                    if ends.contains(&name.as_str()) {
                        self.depth -= 1;
                        return Ok((nodes, Some((name, parser, line))));
                    }
                    if let Some(node) = self.statement(&name, parser, line)? {
                        nodes.push(node);
                    }
                }
            }
        }
        self.depth -= 1;
        if ends.is_empty() {
            Ok((nodes, None))
        } else {
            let last = self.source.text.lines().count() as u32;
            let message =
                format!("Unexpected end of template. Jinja was looking for '{}'", ends.join("' or '"));
            Err(Error::syntax(self.source, last, message))
        }
    }

    fn body(&mut self, end: &str) -> Result<Vec<Node>> {
        self.until(&[end]).map(|(nodes, _)| nodes)
    }

    fn statement(&mut self, name: &str, mut p: Parser, line: u32) -> Result<Option<Node>> {
        let node = match name {
            "if" => {
                let mut branches = Vec::new();
                let mut condition = p.tuple(true)?;
                p.end()?;
                loop {
                    let (body, end) = self.until(&["elif", "else", "endif"])?;
                    branches.push((condition, body));
                    let Some((tag, mut parser, _)) = end else { break };
                    match tag.as_str() {
                        "elif" => {
                            condition = parser.tuple(true)?;
                            parser.end()?;
                        }
                        "else" => {
                            let or_else = self.body("endif")?;
                            return Ok(Some(Node::If(branches, or_else)));
                        }
                        _ => break,
                    }
                }
                Node::If(branches, vec![])
            }
            "for" => {
                let target = p.target()?;
                p.keyword("in")?;
                let iter = p.tuple(false)?;
                let filter = if p.eat_name("if") { Some(p.expr()?) } else { None };
                let recursive = p.eat_name("recursive");
                p.end()?;
                let (body, end) = self.until(&["else", "endfor"])?;
                let or_else = match end {
                    Some((tag, _, _)) if tag == "else" => self.body("endfor")?,
                    _ => vec![],
                };
                Node::For { target, iter, filter, body, or_else, recursive }
            }
            "set" => {
                let target = p.target()?;
                if p.eat("=") {
                    let mut targets = vec![target];
                    let mut expr = p.tuple(true)?;
                    while p.eat("=") {
                        targets.push(to_target(&expr).ok_or_else(|| p.error("cannot assign to this"))?);
                        expr = p.tuple(true)?;
                    }
                    p.end()?;
                    Node::Set(targets, expr)
                } else {
                    let mut filters = Vec::new();
                    while p.eat("|") {
                        filters.push((p.dotted()?, p.optional_args()?));
                    }
                    p.end()?;
                    Node::SetBlock(target, filters, self.body("endset")?)
                }
            }
            "with" => {
                let mut pairs = Vec::new();
                while !p.is_at_end() {
                    let target = p.target()?;
                    p.expect("=")?;
                    pairs.push((target, p.expr()?));
                    if !p.eat(",") {
                        break;
                    }
                }
                p.end()?;
                Node::With(pairs, self.body("endwith")?)
            }
            "macro" => {
                let name = p.name()?;
                let params = p.signature()?;
                p.end()?;
                let body = self.body("endmacro")?;
                Node::Macro(Arc::new(Macro { name, params, body }))
            }
            "call" => {
                let params = if p.peek_op("(") { p.signature()? } else { vec![] };
                let call = p.expr()?;
                p.end()?;
                let body = self.body("endcall")?;
                Node::CallBlock(Arc::new(Macro { name: "caller".into(), params, body }), call)
            }
            "filter" => {
                let mut filters = vec![(p.dotted()?, p.optional_args()?)];
                while p.eat("|") {
                    filters.push((p.dotted()?, p.optional_args()?));
                }
                p.end()?;
                Node::FilterBlock(filters, self.body("endfilter")?)
            }
            "include" => {
                let name = p.expr()?;
                let ignore_missing = p.eat_name("ignore");
                if ignore_missing {
                    p.keyword("missing")?;
                }
                let with_context = p.context(true)?;
                p.end()?;
                Node::Include { name, ignore_missing, with_context }
            }
            "import" => {
                let name = p.expr()?;
                p.keyword("as")?;
                let alias = p.name()?;
                let with_context = p.context(false)?;
                p.end()?;
                Node::Import { name, alias, with_context }
            }
            "from" => {
                let name = p.expr()?;
                p.keyword("import")?;
                let mut names = Vec::new();
                let mut with_context = false;
                while !p.is_at_end() {
                    let original = p.name()?;
                    if original == "with" || original == "without" {
                        p.keyword("context")?;
                        with_context = original == "with";
                        break;
                    }
                    let alias = if p.eat_name("as") { p.name()? } else { original.clone() };
                    names.push((original, alias));
                    p.eat(",");
                }
                Node::FromImport { name, names, with_context }
            }
            "extends" => {
                let name = p.expr()?;
                p.end()?;
                Node::Extends(name)
            }
            "block" => {
                let name = p.name()?;
                let (is_scoped, is_required) = (p.eat_name("scoped"), p.eat_name("required"));
                p.end()?;
                let (body, end) = self.until(&["endblock"])?;
                if let Some((_, mut parser, _)) = end {
                    parser.eat_name(&name);
                    parser.end()?;
                }
                let blank = |node: &Node| matches!(node, Node::Text(text) if text.trim().is_empty());
                if is_required && !body.iter().all(blank) {
                    return Err(p.error("Required blocks can only contain comments or whitespace"));
                }
                Node::Block(Arc::new(Block { name, body, is_scoped, is_required }))
            }
            "print" => {
                let expr = p.tuple(true)?;
                p.end()?;
                Node::Output(expr, line)
            }
            "do" => {
                let expr = p.tuple(true)?;
                p.end()?;
                Node::Do(expr)
            }
            "break" => Node::Break,
            "continue" => Node::Continue,
            "autoescape" => {
                let wanted = p.expr()?;
                p.end()?;
                Node::Autoescape(wanted, self.body("endautoescape")?)
            }
            other => {
                return Err(Error::syntax(self.source, line, format!("Encountered unknown tag '{other}'.")));
            }
        };
        Ok(Some(node))
    }
}

fn to_target(expr: &Expr) -> Option<Target> {
    match expr {
        Expr::Name(name) => Some(Target::Name(name.clone())),
        Expr::Tuple(items) => items.iter().map(to_target).collect::<Option<_>>().map(Target::Tuple),
        Expr::Attr(object, attr) => match object.as_ref() {
            Expr::Name(name) => Some(Target::Attr(name.clone(), attr.clone())),
            _ => None,
        },
        _ => None,
    }
}

/// A parser over the tokens of one tag.
struct Parser {
    source: Arc<Source>,
    tokens: Vec<Token>,
    at: usize,
    line: u32,
    depth: usize,
}

fn show(token: Option<&Token>) -> String {
    match token {
        None => "'end of statement block'".into(),
        Some(Token::Name(name)) => format!("'{name}'"),
        Some(Token::Int(i)) => format!("'{i}'"),
        Some(Token::Float(f)) => format!("'{f}'"),
        Some(Token::Str(s)) => bakery_lang::repr::quote(s),
        Some(Token::Op(op)) => format!("'{op}'"),
    }
}

impl Parser {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::syntax(&self.source, self.line, message)
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn end(&self) -> Result<()> {
        // Who is used to Python may write a colon.
        if self.is_at_end() || self.tokens[self.at..] == [Token::Op(":")] {
            return Ok(());
        }
        Err(self.error(format!(
            "expected token 'end of statement block', got {}",
            show(self.tokens.get(self.at))
        )))
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn peek_op(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Token::Op(found)) if *found == op)
    }

    fn peek_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    fn eat(&mut self, op: &str) -> bool {
        let found = self.peek_op(op);
        self.at += usize::from(found);
        found
    }

    fn eat_name(&mut self, name: &str) -> bool {
        let found = self.peek_name(name);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, op: &str) -> Result<()> {
        if self.eat(op) {
            return Ok(());
        }
        Err(self.error(format!("expected token '{op}', got {}", show(self.peek()))))
    }

    fn keyword(&mut self, name: &str) -> Result<()> {
        if self.eat_name(name) {
            return Ok(());
        }
        Err(self.error(format!("expected token '{name}', got {}", show(self.peek()))))
    }

    fn name(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            other => Err(self.error(format!("expected a name, got {}", show(other)))),
        }
    }

    fn dotted(&mut self) -> Result<String> {
        let mut name = self.name()?;
        while self.eat(".") {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name)
    }

    fn context(&mut self, default: bool) -> Result<bool> {
        for (word, value) in [("with", true), ("without", false)] {
            if self.eat_name(word) {
                self.keyword("context")?;
                return Ok(value);
            }
        }
        Ok(default)
    }

    fn target(&mut self) -> Result<Target> {
        let parenthesized = self.eat("(");
        let mut targets = Vec::new();
        loop {
            if self.peek_op("(") {
                targets.push(self.target()?);
            } else {
                let name = self.name()?;
                if matches!(name.to_lowercase().as_str(), "true" | "false" | "none") {
                    return Err(self.error("can't assign to 'const'"));
                }
                targets.push(if self.eat(".") {
                    Target::Attr(name, self.name()?)
                } else {
                    Target::Name(name)
                });
            }
            if !self.eat(",") {
                break;
            }
            if self.peek_name("in") || self.peek_op("=") || self.peek_op(")") {
                break;
            }
        }
        if parenthesized {
            self.expect(")")?;
        }
        Ok(if targets.len() == 1 { targets.remove(0) } else { Target::Tuple(targets) })
    }

    fn signature(&mut self) -> Result<Vec<(String, Option<Expr>)>> {
        self.expect("(")?;
        let mut params: Vec<(String, Option<Expr>)> = Vec::new();
        while !self.eat(")") {
            let name = self.name()?;
            let default = if self.eat("=") { Some(self.expr()?) } else { None };
            if default.is_none() && params.last().is_some_and(|(_, default)| default.is_some()) {
                return Err(self.error("non-default argument follows default argument"));
            }
            if default.is_none() && name == "caller" {
                return Err(self.error(
                    "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a default.",
                ));
            }
            params.push((name, default));
            if !self.peek_op(")") {
                self.expect(",")?;
            }
        }
        Ok(params)
    }

    fn tuple(&mut self, with_condition: bool) -> Result<Expr> {
        let item = |p: &mut Self| if with_condition { p.expr() } else { p.or() };
        let first = item(self)?;
        if !self.peek_op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.eat(",") {
            if self.is_at_end() || self.peek_op(")") || self.peek_op("=") || self.peek_name("if") {
                break;
            }
            items.push(item(self)?);
        }
        Ok(Expr::Tuple(items))
    }

    fn expr(&mut self) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("expressions nest too deep"));
        }
        let mut expr = self.or()?;
        while self.eat_name("if") {
            let condition = self.or()?;
            let or_else = if self.eat_name("else") { Some(Box::new(self.expr()?)) } else { None };
            expr = Expr::If(Box::new(condition), Box::new(expr), or_else);
        }
        self.depth -= 1;
        Ok(expr)
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        while self.eat_name("or") {
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.eat_name("and") {
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        if self.eat_name("not") {
            return Ok(Expr::Not(Box::new(self.not()?)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.peek() {
                Some(Token::Op("==")) => Comparison::Eq,
                Some(Token::Op("!=")) => Comparison::Ne,
                Some(Token::Op("<")) => Comparison::Lt,
                Some(Token::Op("<=")) => Comparison::Le,
                Some(Token::Op(">")) => Comparison::Gt,
                Some(Token::Op(">=")) => Comparison::Ge,
                Some(Token::Name(name)) if name == "in" => Comparison::In,
                Some(Token::Name(name))
                    if name == "not"
                        && matches!(self.tokens.get(self.at + 1), Some(Token::Name(n)) if n == "in") =>
                {
                    self.at += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.at += 1;
            rest.push((operator, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn sum(&mut self) -> Result<Expr> {
        let mut left = self.concat()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Op("+")) => Binary::Add,
                Some(Token::Op("-")) => Binary::Sub,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.concat()?));
        }
    }

    fn concat(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.peek_op("~") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.eat("~") {
            items.push(self.product()?);
        }
        Ok(Expr::Concat(items))
    }

    fn product(&mut self) -> Result<Expr> {
        let mut left = self.power()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Op("*")) => Binary::Mul,
                Some(Token::Op("/")) => Binary::Div,
                Some(Token::Op("//")) => Binary::FloorDiv,
                Some(Token::Op("%")) => Binary::Mod,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.power()?));
        }
    }

    fn power(&mut self) -> Result<Expr> {
        let mut left = self.unary(true)?;
        while self.eat("**") {
            left = Expr::Binary(Binary::Pow, Box::new(left), Box::new(self.unary(true)?));
        }
        Ok(left)
    }

    fn unary(&mut self, with_filter: bool) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("expressions nest too deep"));
        }
        let mut node = if self.eat("-") {
            Expr::Neg(Box::new(self.unary(false)?))
        } else if self.eat("+") {
            Expr::Pos(Box::new(self.unary(false)?))
        } else {
            self.primary()?
        };
        node = self.postfix(node)?;
        if with_filter {
            node = self.filters(node)?;
        }
        self.depth -= 1;
        Ok(node)
    }

    fn primary(&mut self) -> Result<Expr> {
        let token = self.peek().cloned();
        self.at += 1;
        match token {
            Some(Token::Name(name)) => Ok(match name.as_str() {
                "true" | "True" => Expr::Const(Value::Bool(true)),
                "false" | "False" => Expr::Const(Value::Bool(false)),
                "none" | "None" => Expr::Const(Value::None),
                _ => Expr::Name(name),
            }),
            Some(Token::Int(number)) => Ok(Expr::Const(number)),
            Some(Token::Float(f)) => Ok(Expr::Const(Value::Float(f))),
            Some(Token::Str(mut text)) => {
                while let Some(Token::Str(more)) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                Ok(Expr::Const(Value::from(text)))
            }
            Some(Token::Op("(")) => {
                if self.eat(")") {
                    return Ok(Expr::Tuple(vec![]));
                }
                let expr = self.tuple(true)?;
                self.expect(")")?;
                Ok(expr)
            }
            Some(Token::Op("[")) => {
                let mut items = Vec::new();
                while !self.eat("]") {
                    items.push(self.expr()?);
                    if !self.peek_op("]") {
                        self.expect(",")?;
                    }
                }
                Ok(Expr::List(items))
            }
            Some(Token::Op("{")) => {
                let mut pairs = Vec::new();
                while !self.eat("}") {
                    let key = self.expr()?;
                    self.expect(":")?;
                    pairs.push((key, self.expr()?));
                    if !self.peek_op("}") {
                        self.expect(",")?;
                    }
                }
                Ok(Expr::Dict(pairs))
            }
            other => {
                self.at -= 1;
                Err(self.error(format!("unexpected {}", show(other.as_ref()))))
            }
        }
    }

    fn postfix(&mut self, mut node: Expr) -> Result<Expr> {
        loop {
            if self.eat(".") {
                node = match self.peek().cloned() {
                    Some(Token::Int(index)) => {
                        self.at += 1;
                        Expr::Item(Box::new(node), Box::new(Expr::Const(index)))
                    }
                    Some(Token::Float(f)) => {
                        // `a.0.1` lexes as a float; split it back.
                        self.at += 1;
                        let mut node = node;
                        for part in f.to_string().split('.') {
                            let index = part.parse().unwrap_or_default();
                            node = Expr::Item(Box::new(node), Box::new(Expr::Const(Value::Int(index))));
                        }
                        node
                    }
                    _ => Expr::Attr(Box::new(node), self.name()?),
                };
            } else if self.eat("[") {
                node = self.subscript(node)?;
            } else if self.peek_op("(") {
                let args = self.args()?;
                node = Expr::Call(Box::new(node), args);
            } else {
                return Ok(node);
            }
        }
    }

    fn subscript(&mut self, node: Expr) -> Result<Expr> {
        let mut parts: [Option<Box<Expr>>; 3] = [None, None, None];
        let mut slice = false;
        let mut at = 0;
        loop {
            if self.eat("]") {
                break;
            }
            if self.eat(":") {
                slice = true;
                at += 1;
                if at > 2 {
                    return Err(self.error("too many `:` in a slice"));
                }
                continue;
            }
            parts[at] = Some(Box::new(self.tuple(true)?));
            if !self.peek_op("]") && !self.peek_op(":") {
                return Err(self.error(format!("expected token ']', got {}", show(self.peek()))));
            }
        }
        if slice {
            return Ok(Expr::Slice(Box::new(node), parts));
        }
        match parts {
            [Some(index), None, None] => Ok(Expr::Item(Box::new(node), index)),
            _ => Err(self.error("expected a subscript")),
        }
    }

    fn filters(&mut self, mut node: Expr) -> Result<Expr> {
        loop {
            if self.eat("|") {
                let name = self.dotted()?;
                let args = self.optional_args()?;
                node = Expr::Filter(Box::new(node), name, args);
            } else if self.eat_name("is") {
                node = self.test(node)?;
            } else if self.peek_op("(") {
                let args = self.args()?;
                node = Expr::Call(Box::new(node), args);
            } else {
                return Ok(node);
            }
        }
    }

    fn test(&mut self, value: Expr) -> Result<Expr> {
        let negated = self.eat_name("not");
        let name = self.dotted()?;
        let mut args = Args::default();
        if self.peek_op("(") {
            args = self.args()?;
        } else {
            let starts_argument = match self.peek() {
                Some(Token::Name(next)) => {
                    !matches!(next.as_str(), "else" | "or" | "and" | "is" | "if" | "in" | "not" | "recursive")
                }
                Some(Token::Int(_) | Token::Float(_) | Token::Str(_) | Token::Op("[" | "{")) => true,
                _ => false,
            };
            if starts_argument {
                let primary = self.primary()?;
                args.positional.push(self.postfix(primary)?);
            }
        }
        Ok(Expr::Test { value: Box::new(value), name, args, negated })
    }

    fn optional_args(&mut self) -> Result<Args> {
        if self.peek_op("(") { self.args() } else { Ok(Args::default()) }
    }

    fn args(&mut self) -> Result<Args> {
        self.expect("(")?;
        let mut args = Args::default();
        while !self.eat(")") {
            if self.eat("**") {
                args.double_star = Some(Box::new(self.expr()?));
            } else if self.eat("*") {
                args.star = Some(Box::new(self.expr()?));
            } else if matches!(
                (self.peek(), self.tokens.get(self.at + 1)),
                (Some(Token::Name(_)), Some(Token::Op("=")))
            ) {
                let name = self.name()?;
                self.at += 1;
                // Python compiles no call that gives an argument twice.
                if args.named.iter().any(|(known, _)| *known == name) {
                    return Err(self.error(format!("keyword argument repeated: {name}")));
                }
                args.named.push((name, self.expr()?));
            } else {
                args.positional.push(self.expr()?);
            }
            if !self.peek_op(")") {
                self.expect(",")?;
            }
        }
        Ok(args)
    }
}
