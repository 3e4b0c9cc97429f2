//! The grammar of XPath 1.0.

/// What begins a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Start {
    /// The node that it is asked at.
    Here,
    /// The document.
    Top,
    /// Nodes of an expression.
    Of(Box<Expr>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Negated(Box<Expr>),
    Path(Start, Vec<Step>),
    /// Nodes of an expression that predicates leave.
    Filtered(Box<Expr>, Vec<Expr>),
    Text(String),
    Number(f64),
    Call(String, Vec<Expr>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) axis: Axis,
    pub(super) test: Test,
    pub(super) predicates: Vec<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Ancestor,
    AncestorOrSelf,
    Attribute,
    Child,
    Descendant,
    DescendantOrSelf,
    Following,
    FollowingSibling,
    Parent,
    Preceding,
    PrecedingSibling,
    Itself,
}

const AXES: &[(&str, Axis)] = &[
    ("ancestor", Axis::Ancestor),
    ("ancestor-or-self", Axis::AncestorOrSelf),
    ("attribute", Axis::Attribute),
    ("child", Axis::Child),
    ("descendant", Axis::Descendant),
    ("descendant-or-self", Axis::DescendantOrSelf),
    ("following", Axis::Following),
    ("following-sibling", Axis::FollowingSibling),
    ("parent", Axis::Parent),
    ("preceding", Axis::Preceding),
    ("preceding-sibling", Axis::PrecedingSibling),
    ("self", Axis::Itself),
];

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// `*`, or `prefix:*`.
    Any(Option<String>),
    /// `name` or `prefix:name`.
    Name(Option<String>, String),
    Node,
    Text,
    Comment,
    Instruction(Option<String>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(f64),
    /// An operator or a sign.
    Sign(&'static str),
}

/// Signs, the longer ones first.
const SIGNS: &[&str] = &[
    "//", "::", "..", "!=", "<=", ">=", "(", ")", "[", "]", ".", "@", ",", "/", "|", "+", "-", "=", "<", ">",
    "*", ":", "$",
];
/// Names that are operators behind something.
const WORDS: &[&str] = &["and", "or", "mod", "div"];
/// Operators from those that bind least.
const LEVELS: &[&[&str]] =
    &[&["or"], &["and"], &["=", "!="], &["<", "<=", ">", ">="], &["+", "-"], &["**", "div", "mod"]];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        // Behind what ends an operand, a name and `*` are operators.
        let behind_operand = match tokens.last() {
            None => false,
            Some(Token::Sign(sign)) => matches!(*sign, ")" | "]" | "." | ".." | "*"),
            Some(_) => true,
        };
        let used;
        if first == '"' || first == '\'' {
            let end = rest[1..].find(first).ok_or("Unfinished literal")?;
            tokens.push(Token::Text(rest[1..=end].to_owned()));
            used = end + 2;
        } else if first.is_ascii_digit()
            || first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())
        {
            used = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            tokens.push(Token::Number(rest[..used].parse().map_err(|_| "Invalid number")?));
        } else if first.is_alphabetic() || first == '_' {
            used = rest
                .find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.'))
                .unwrap_or(rest.len());
            let name = &rest[..used];
            match WORDS.iter().find(|word| behind_operand && **word == name) {
                Some(word) => tokens.push(Token::Sign(word)),
                None => tokens.push(Token::Name(name.to_owned())),
            }
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign)).ok_or("Invalid expression")?;
            used = sign.len();
            tokens.push(Token::Sign(if *sign == "*" && behind_operand { "**" } else { sign }));
        }
        rest = rest[used..].trim_start();
    }
    Ok(tokens)
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.binary(0)?;
    if parser.at < parser.tokens.len() { Err("Invalid expression".to_owned()) } else { Ok(expr) }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn sign(&self) -> Option<&'static str> {
        match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) => Some(sign),
            _ => None,
        }
    }

    fn is_next(&self, ahead: usize, sign: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some(Token::Sign(found)) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let is = self.is_next(0, sign);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err("Invalid expression".to_owned()) }
    }

    fn name(&mut self) -> Option<String> {
        let Some(Token::Name(name)) = self.tokens.get(self.at) else { return None };
        let name = name.clone();
        self.at += 1;
        Some(name)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, String> {
        let Some(operators) = LEVELS.get(level) else { return self.negated() };
        // Each bracket comes by here.
        self.depth += 1;
        if self.depth > 600 {
            return Err("the expression is nested too deeply".to_owned());
        }
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.sign().filter(|sign| operators.contains(sign)) {
            self.at += 1;
            let right = self.binary(level + 1)?;
            left = Expr::Binary(operator, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn negated(&mut self) -> Result<Expr, String> {
        let mut is_negated = None;
        while self.take("-") {
            is_negated = Some(!is_negated.unwrap_or(false));
        }
        let mut left = self.path()?;
        while self.take("|") {
            left = Expr::Binary("|", Box::new(left), Box::new(self.path()?));
        }
        Ok(match is_negated {
            Some(true) => Expr::Negated(Box::new(left)),
            // Twice is a number all the same.
            Some(false) => Expr::Negated(Box::new(Expr::Negated(Box::new(left)))),
            None => left,
        })
    }

    fn path(&mut self) -> Result<Expr, String> {
        if let Some(primary) = self.primary()? {
            let predicates = self.predicates()?;
            let primary =
                if predicates.is_empty() { primary } else { Expr::Filtered(Box::new(primary), predicates) };
            if !self.is_next(0, "/") && !self.is_next(0, "//") {
                return Ok(primary);
            }
            return Ok(Expr::Path(Start::Of(Box::new(primary)), self.further_steps()?));
        }
        if self.is_next(0, "//") {
            return Ok(Expr::Path(Start::Top, self.further_steps()?));
        }
        if self.take("/") {
            let begins = match self.tokens.get(self.at) {
                Some(Token::Name(_)) => true,
                Some(Token::Sign(sign)) => matches!(*sign, "." | ".." | "@" | "*"),
                _ => false,
            };
            let mut steps = Vec::new();
            if begins {
                steps.push(self.step()?);
                steps.extend(self.further_steps()?);
            }
            return Ok(Expr::Path(Start::Top, steps));
        }
        let mut steps = vec![self.step()?];
        steps.extend(self.further_steps()?);
        Ok(Expr::Path(Start::Here, steps))
    }

    fn further_steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        loop {
            if self.take("//") {
                steps.push(Step { axis: Axis::DescendantOrSelf, test: Test::Node, predicates: vec![] });
            } else if !self.take("/") {
                return Ok(steps);
            }
            steps.push(self.step()?);
        }
    }

    fn primary(&mut self) -> Result<Option<Expr>, String> {
        let expr = match self.tokens.get(self.at) {
            Some(Token::Text(text)) => Expr::Text(text.clone()),
            Some(Token::Number(number)) => Expr::Number(*number),
            Some(Token::Sign("(")) => {
                self.at += 1;
                let inner = self.binary(0)?;
                self.expect(")")?;
                return Ok(Some(inner));
            }
            Some(Token::Sign("$")) => return Err("Undefined variable".to_owned()),
            Some(Token::Name(name))
                if self.is_next(1, "(")
                    && !matches!(name.as_str(), "node" | "text" | "comment" | "processing-instruction") =>
            {
                let name = name.clone();
                self.at += 2;
                let mut args = Vec::new();
                while !self.take(")") {
                    if !args.is_empty() {
                        self.expect(",")?;
                    }
                    args.push(self.binary(0)?);
                }
                return Ok(Some(Expr::Call(name, args)));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(expr))
    }

    fn step(&mut self) -> Result<Step, String> {
        let step = |axis| Step { axis, test: Test::Node, predicates: vec![] };
        if self.take(".") {
            return Ok(step(Axis::Itself));
        }
        if self.take("..") {
            return Ok(step(Axis::Parent));
        }
        let axis = if self.take("@") {
            Axis::Attribute
        } else if self.is_next(1, "::") {
            let name = self.name().ok_or("Invalid expression")?;
            self.at += 1;
            let axis = AXES.iter().find(|(known, _)| *known == name);
            axis.ok_or_else(|| format!("there is no axis {name}"))?.1
        } else {
            Axis::Child
        };
        let test = self.test()?;
        Ok(Step { axis, test, predicates: self.predicates()? })
    }

    fn test(&mut self) -> Result<Test, String> {
        if self.take("*") {
            return Ok(Test::Any(None));
        }
        let name = self.name().ok_or("Invalid expression")?;
        if self.take("(") {
            let test = match name.as_str() {
                "node" => Test::Node,
                "text" => Test::Text,
                "comment" => Test::Comment,
                "processing-instruction" => {
                    let target = match self.tokens.get(self.at) {
                        Some(Token::Text(text)) => Some(text.clone()),
                        _ => None,
                    };
                    self.at += usize::from(target.is_some());
                    Test::Instruction(target)
                }
                _ => return Err("Invalid expression".to_owned()),
            };
            self.expect(")")?;
            return Ok(test);
        }
        if self.take(":") {
            if self.take("*") || self.take("**") {
                return Ok(Test::Any(Some(name)));
            }
            let local = self.name().ok_or("Invalid expression")?;
            return Ok(Test::Name(Some(name), local));
        }
        Ok(Test::Name(None, name))
    }

    fn predicates(&mut self) -> Result<Vec<Expr>, String> {
        let mut predicates = Vec::new();
        while self.take("[") {
            predicates.push(self.binary(0)?);
            self.expect("]")?;
        }
        Ok(predicates)
    }
}
