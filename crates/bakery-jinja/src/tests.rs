//! Jinja2's own tests (`jinja2/tests.py`).

use bakery_lang::Value;

use crate::ast::Binary;
use crate::eval::Evaluator;
use crate::{Arguments, Error, Result, ops};

/// The tests of this crate.
pub const NAMES: &[&str] = &[
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Runs a test; `None` for one that is not known here.
pub(crate) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    value: &Value,
    args: &Arguments,
) -> Option<Result<bool>> {
    let other = || args.need(0, "other");
    let order = |symbol: &str, accept: fn(std::cmp::Ordering) -> bool| {
        other().and_then(|other| ops::order(value, &other, symbol)).map(|order| order.is_some_and(accept))
    };
    Some(match name {
        "defined" => Ok(!value.is_undefined()),
        "undefined" => Ok(value.is_undefined()),
        _ if !NAMES.contains(&name) => return None,
        _ if value.is_undefined() => Err(Error::of_undefined(value)),
        "none" => Ok(value.is_none()),
        "boolean" => Ok(matches!(value, Value::Bool(_))),
        "true" => Ok(matches!(value, Value::Bool(true))),
        "false" => Ok(matches!(value, Value::Bool(false))),
        "integer" => Ok(value.is_int()),
        "float" => Ok(matches!(value, Value::Float(_))),
        "number" => Ok(value.as_float().is_some()),
        "string" => Ok(value.as_str().is_some()),
        "mapping" => Ok(value.as_map().is_some()),
        "sequence" | "iterable" => {
            Ok(matches!(value, Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Map(_)))
        }
        "callable" | "escaped" => Ok(false),
        "odd" | "even" => {
            let wanted = Value::Int(i128::from(name == "odd"));
            ops::binary(Binary::Mod, value, &Value::Int(2)).map(|rest| rest == wanted)
        }
        "divisibleby" => other()
            .and_then(|other| ops::binary(Binary::Mod, value, &other))
            .map(|rest| rest == Value::Int(0)),
        "eq" | "equalto" | "==" => other().map(|other| *value == other),
        "ne" | "!=" => other().map(|other| *value != other),
        "sameas" => other().map(|other| same(value, &other)),
        "lt" | "lessthan" | "<" => order("<", std::cmp::Ordering::is_lt),
        "le" | "<=" => order("<=", std::cmp::Ordering::is_le),
        "gt" | "greaterthan" | ">" => order(">", std::cmp::Ordering::is_gt),
        "ge" | ">=" => order(">=", std::cmp::Ordering::is_ge),
        "in" => other().and_then(|other| ops::contains(&other, value)),
        "lower" | "upper" => {
            let text = value.to_string();
            let (is, not): (fn(char) -> bool, fn(char) -> bool) = match name {
                "lower" => (char::is_lowercase, char::is_uppercase),
                _ => (char::is_uppercase, char::is_lowercase),
            };
            Ok(text.contains(is) && !text.contains(not))
        }
        "filter" | "test" => {
            let name = value.to_string();
            let none = Arguments::default();
            let known = if value.as_str().is_none() {
                false
            } else if name == "filter" {
                crate::filters::NAMES.contains(&name.as_str())
                    || evaluator.scope.filter(&name, &Value::None, &none).is_some()
            } else {
                NAMES.contains(&name.as_str()) || evaluator.scope.test(&name, &Value::None, &none).is_some()
            };
            Ok(known)
        }
        _ => return None,
    })
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.is(b),
        (Value::Map(a), Value::Map(b)) => a.is(b),
        _ => a.type_name() == b.type_name() && a == b,
    }
}
