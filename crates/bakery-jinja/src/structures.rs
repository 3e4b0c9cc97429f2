//! Text that looks like a list, a mapping or a truth value, and is used as one.
//!
//! Until ansible-core 2.19 the text that a template gave became what it looked like (`ansible_eval_concat` in
//! `ansible/template/native_helpers.py` of ansible-core 2.14). Now it stays text, so here it stays text for whoever
//! wants text, and is read where only the other meaning makes sense: what that is, the [`crate::Scope`] knows.

use bakery_lang::Value;

use crate::ast::{Comparison, Expr};
use crate::eval::Evaluator;

/// Filters whose text was never read (`STRING_TYPE_FILTERS` in `ansible/config/base.yml` of ansible-core 2.14).
const TEXTS: &[&str] = &["string", "to_json", "to_nice_json", "to_yaml", "to_nice_yaml", "ppretty", "json"];

/// Filters that take lists or mappings, and are of no use with the letters of a text.
const TAKERS: &[&str] = &[
    "batch",
    "combinations",
    "combine",
    "count",
    "dict2items",
    "dictsort",
    "difference",
    "extract",
    "first",
    "flatten",
    "groupby",
    "intersect",
    "items",
    "items2dict",
    "join",
    "json_query",
    "last",
    "length",
    "list",
    "map",
    "max",
    "min",
    "permutations",
    "product",
    "random",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "shuffle",
    "slice",
    "sort",
    "subelements",
    "sum",
    "symmetric_difference",
    "ternary",
    "union",
    "unique",
    "zip",
    "zip_longest",
];

/// Methods of lists and mappings that texts do not have.
const METHODS: &[&str] = &[
    "append",
    "clear",
    "copy",
    "extend",
    "get",
    "insert",
    "items",
    "iteritems",
    "iterkeys",
    "itervalues",
    "keys",
    "pop",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
    "values",
];

/// The value of a template, or of the one expression in it, with a note if it is text that looks like something else.
pub(crate) fn noted(value: Value, expr: Option<&Expr>) -> Value {
    let Value::Str(text) = value else { return value };
    let looks = match text.as_str().as_bytes() {
        [b'[' | b'{', ..] => true,
        chars => matches!(chars, b"True" | b"False"),
    };
    let is_wanted = matches!(expr, Some(Expr::Filter(_, name, _)) if TEXTS.contains(&short(name)));
    // What came out of a vault keeps its seal.
    Value::Str(if looks && !is_wanted && text.vault().is_none() { text.rendered() } else { text })
}

fn short(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, short)| short)
}

/// Whether a filter takes lists or mappings.
pub(crate) fn takes(filter: &str) -> bool {
    TAKERS.contains(&short(filter))
}

/// Whether a method is one of lists or mappings alone.
pub(crate) fn has(method: &str) -> bool {
    METHODS.contains(&method)
}

impl Evaluator<'_> {
    /// A value that is about to be used as a list, a mapping or a truth value.
    pub(crate) fn structure(&self, value: Value) -> Value {
        match &value {
            Value::Str(text) if text.is_rendered() => self.scope.structure(text).unwrap_or(value),
            _ => value,
        }
    }

    /// Both sides of an operator: text is read where the other side is no text.
    pub(crate) fn alike(&self, left: Value, right: Value) -> (Value, Value) {
        match (left.as_str().is_some(), right.as_str().is_some()) {
            (true, false) => (self.structure(left), right),
            (false, true) => (left, self.structure(right)),
            _ => (left, right),
        }
    }

    /// Both sides of `+`: two texts that are lists make one list.
    pub(crate) fn addends(&self, left: Value, right: Value) -> (Value, Value) {
        if let (Value::Str(_), Value::Str(_)) = (&left, &right)
            && let (Value::List(first), Value::List(second)) =
                (self.structure(left.clone()), self.structure(right.clone()))
        {
            return (Value::List(first), Value::List(second));
        }
        self.alike(left, right)
    }

    /// Both sides of a comparison; part of a text is looked for in the text.
    pub(crate) fn compared(&self, operator: Comparison, left: Value, right: Value) -> (Value, Value) {
        match operator {
            Comparison::In | Comparison::NotIn if left.as_str().is_some() => (left, right),
            _ => self.alike(left, right),
        }
    }
}
