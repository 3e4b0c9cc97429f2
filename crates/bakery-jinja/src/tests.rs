//! Jinja2's own tests (`jinja2/tests.py`).

use bakery_lang::Value;

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
        "integer" => Ok(matches!(value, Value::Int(_))),
        "float" => Ok(matches!(value, Value::Float(_))),
        "number" => Ok(matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_))),
        "string" => Ok(value.as_str().is_some()),
        "mapping" => Ok(value.as_map().is_some()),
        "sequence" | "iterable" => {
            Ok(matches!(value, Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Map(_)))
        }
        "callable" | "escaped" => Ok(false),
        "odd" | "even" => {
            let rest = value.as_int().map(|i| i.rem_euclid(2) as f64);
            let rest = rest.or_else(|| value.as_float().map(|f| f.rem_euclid(2.0)));
            let wanted = if name == "odd" { 1.0 } else { 0.0 };
            rest.map(|rest| (rest - wanted).abs() < f64::EPSILON).ok_or_else(|| {
                Error::new(format!("not all arguments converted: {} is not a number", value.type_name()))
            })
        }
        "divisibleby" => match (value.as_int(), args.positional.first().and_then(Value::as_int)) {
            (Some(a), Some(b)) if b != 0 => Ok(a % b == 0),
            (None, Some(b)) if b != 0 && value.as_float().is_some() => {
                Ok(value.as_float().is_some_and(|a| a % b as f64 == 0.0))
            }
            _ => Err(Error::new("divisibleby needs two integers, the second not zero")),
        },
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
