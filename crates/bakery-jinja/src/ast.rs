//! The tree of a parsed template.

use std::sync::Arc;

use bakery_lang::Value;

/// An expression.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Const(Value),
    Name(String),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attr(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Args),
    Filter(Box<Expr>, String, Args),
    Test { value: Box<Expr>, name: String, args: Args, negated: bool },
    Neg(Box<Expr>),
    Pos(Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    Concat(Vec<Expr>),
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

/// The arguments of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Expr>,
    pub(crate) named: Vec<(String, Expr)>,
    pub(crate) star: Option<Box<Expr>>,
    pub(crate) double_star: Option<Box<Expr>>,
}

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// The target of an assignment.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Name(String),
    Tuple(Vec<Target>),
    Attr(String, String),
}

/// A macro, or the body of a `call` block.
#[derive(Debug, Clone)]
pub(crate) struct Macro {
    pub(crate) name: String,
    pub(crate) params: Vec<(String, Option<Expr>)>,
    pub(crate) body: Vec<Node>,
}

/// A block that templates which extend this one may replace.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) name: String,
    pub(crate) body: Vec<Node>,
    /// Whether it sees the variables of the loops and blocks around it.
    pub(crate) is_scoped: bool,
    /// Whether another template must replace it.
    pub(crate) is_required: bool,
}

/// A statement or a piece of text.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    Output(Expr, u32),
    If(Vec<(Expr, Vec<Node>)>, Vec<Node>),
    For {
        target: Target,
        iter: Expr,
        filter: Option<Expr>,
        body: Vec<Node>,
        or_else: Vec<Node>,
        recursive: bool,
    },
    Set(Vec<Target>, Expr),
    SetBlock(Target, Vec<(String, Args)>, Vec<Node>),
    With(Vec<(Target, Expr)>, Vec<Node>),
    Macro(Arc<Macro>),
    CallBlock(Arc<Macro>, Expr),
    FilterBlock(Vec<(String, Args)>, Vec<Node>),
    Include {
        name: Expr,
        ignore_missing: bool,
        with_context: bool,
    },
    Import {
        name: Expr,
        alias: String,
        with_context: bool,
    },
    FromImport {
        name: Expr,
        names: Vec<(String, String)>,
        with_context: bool,
    },
    Extends(Expr),
    Block(Arc<Block>),
    Autoescape(Expr, Vec<Node>),
    Do(Expr),
    Break,
    Continue,
}

impl Node {
    /// The nodes within it that belong to the same template's flow: those of macros do not.
    pub(crate) fn inner(&self) -> Vec<&[Node]> {
        match self {
            Self::If(branches, or_else) => {
                branches.iter().map(|(_, body)| body.as_slice()).chain([or_else.as_slice()]).collect()
            }
            Self::For { body, or_else, .. } => vec![body, or_else],
            Self::With(_, body)
            | Self::SetBlock(_, _, body)
            | Self::FilterBlock(_, body)
            | Self::Autoescape(_, body) => vec![body],
            Self::Block(block) => vec![&block.body],
            Self::Macro(definition) | Self::CallBlock(definition, _) => vec![&definition.body],
            _ => vec![],
        }
    }
}
