//! YAML 1.1 as PyYAML with LibYAML reads it, with a position for every value.
//!
//! `events` wraps the parser, `compose` builds the tree, `resolve` types the scalars, `emit` writes, `json` reads what is JSON
//! first.

mod compose;
mod emit;
mod json;
mod resolve;

pub use compose::{Node, NodeKind, parse, parse_all, parse_data};
pub use emit::{Style, emit};
pub use json::{marked, parse_json_or_yaml};
pub use resolve::resolve_plain;
