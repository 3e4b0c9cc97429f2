//! Jinja2 with Python's object semantics: lexer, parser, evaluator, core filters, tests and methods.
//!
//! Invariant: this crate knows no Ansible plugin. Variables, more filters, tests and functions, and the text of
//! included templates come through a [`Scope`].
//!
//! Flow: text → `lexer` → `parser` → `ast` → `eval` (expressions) and `render` (statements).

mod ast;
mod environment;
mod error;
mod eval;
mod filters;
mod format;
mod helpers;
mod lexer;
mod links;
mod methods;
pub mod ops;
mod parser;
mod pretty;
mod render;
mod scope;
mod structures;
mod tests;
mod text;

pub use environment::{Environment, RENDERING, Template};
pub use error::{Error, Result};
pub use filters::NAMES as FILTERS;
pub use lexer::{Syntax, unescaped};
pub use pretty::pretty;
pub use scope::{Arguments, MapScope, Scope};
pub use tests::NAMES as TESTS;
