//! Python's operators on values.

use std::cmp::Ordering;

use bakery_lang::whole::{self, BigInt};
use bakery_lang::{Map, Time, Value};

use crate::{Arguments, Error, Result};

pub use crate::ast::{Binary, Comparison};

fn unsupported(operator: &str, left: &Value, right: &Value) -> Error {
    Error::new(format!(
        "unsupported operand type(s) for {operator}: '{}' and '{}'",
        left.type_name(),
        right.type_name()
    ))
}

/// `left + right`.
///
/// # Errors
/// For values that cannot be added.
pub fn add(left: &Value, right: &Value) -> Result<Value> {
    binary(Binary::Add, left, right)
}

/// `left operator right`.
///
/// # Errors
/// Python's `TypeError`, `ZeroDivisionError` or `OverflowError`, or an integer of more than [`MOST_BITS`].
pub fn binary(operator: Binary, left: &Value, right: &Value) -> Result<Value> {
    let symbol = match operator {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::FloorDiv => "//",
        Binary::Mod => "%",
        Binary::Pow => "**",
    };
    match (operator, left, right) {
        (Binary::Add, Value::Str(a), Value::Str(b)) => {
            if a.as_str().len() + b.as_str().len() > MOST_TEXT {
                return Err(Error::new("the text is too long"));
            }
            return Ok(format!("{}{}", a.as_str(), b.as_str()).into());
        }
        (Binary::Add, Value::Str(_), other) => {
            return Err(Error::new(format!(
                "can only concatenate str (not \"{}\") to str",
                other.type_name()
            )));
        }
        (Binary::Add, Value::List(a), Value::List(b)) => {
            if a.len() + b.len() > MOST_ITEMS {
                return Err(Error::new("the list is too long"));
            }
            return Ok(Value::list(a.items().into_iter().chain(b.items()).collect()));
        }
        (Binary::Add, Value::Tuple(a), Value::Tuple(b)) => {
            return Ok(Value::tuple(a.iter().chain(b.iter()).cloned().collect()));
        }
        (Binary::Mul, Value::Str(s), n) | (Binary::Mul, n, Value::Str(s)) => {
            let n = n.as_int().ok_or_else(|| unsupported(symbol, left, right))?.max(0) as usize;
            if s.as_str().len().saturating_mul(n) > MOST_TEXT {
                return Err(Error::new("the repeated text is too long"));
            }
            return Ok(s.as_str().repeat(n).into());
        }
        (Binary::Mul, Value::List(list), n) | (Binary::Mul, n, Value::List(list)) => {
            let n = times(n.as_int().ok_or_else(|| unsupported(symbol, left, right))?, list.len())?;
            let items = list.items();
            return Ok(Value::list(std::iter::repeat_n(items, n).flatten().collect()));
        }
        (Binary::Mul, Value::Tuple(items), n) | (Binary::Mul, n, Value::Tuple(items)) => {
            let n = times(n.as_int().ok_or_else(|| unsupported(symbol, left, right))?, items.len())?;
            return Ok(Value::tuple(std::iter::repeat_n(items.to_vec(), n).flatten().collect()));
        }
        (_, Value::Time(_), _) | (_, _, Value::Time(_)) => {
            return of_times(operator, left, right).ok_or_else(|| unsupported(symbol, left, right));
        }
        (Binary::Mod, Value::Str(format), args) => {
            return crate::format::percent(format.as_str(), args).map(Value::from);
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        if b == 0 && matches!(operator, Binary::Div | Binary::FloorDiv | Binary::Mod) {
            return Err(Error::new("division by zero"));
        }
        let small = match operator {
            Binary::Add => a.checked_add(b),
            Binary::Sub => a.checked_sub(b),
            Binary::Mul => a.checked_mul(b),
            Binary::FloorDiv => {
                a.checked_div_euclid(b).map(|q| q - i128::from(b < 0 && a.rem_euclid(b) != 0))
            }
            Binary::Mod => {
                a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
            }
            Binary::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            Binary::Div => None,
        };
        if let Some(small) = small {
            return Ok(Value::Int(small));
        }
    }
    let is_of_doubles = operator == Binary::Pow
        && right.is_int()
        && right.order_of_numbers(&Value::Int(0)) == Some(Some(Ordering::Less));
    if let (Some(a), Some(b), false) = (left.as_whole(), right.as_whole(), is_of_doubles) {
        return of_wholes(operator, &a, &b);
    }
    let (Some(a), Some(b)) = (left.as_float(), right.as_float()) else {
        return Err(unsupported(symbol, left, right));
    };
    if [left, right].iter().any(|side| side.is_int() && side.as_float().is_some_and(f64::is_infinite)) {
        return Err(Error::new("int too large to convert to float"));
    }
    if a == 0.0 && b < 0.0 && operator == Binary::Pow {
        return Err(Error::new("zero to a negative power"));
    }
    if b == 0.0 && matches!(operator, Binary::Div | Binary::FloorDiv | Binary::Mod) {
        return Err(Error::new("float division by zero"));
    }
    Ok(Value::Float(match operator {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::FloorDiv => div_mod(a, b).0,
        Binary::Mod => div_mod(a, b).1,
        Binary::Pow => a.powf(b),
    }))
}

/// `divmod` of doubles, of which the divisor is not zero (`Objects/floatobject.c`, `_float_div_mod`).
fn div_mod(a: f64, b: f64) -> (f64, f64) {
    let rest = a % b;
    let quotient = (a - rest) / b;
    let (quotient, rest) = if rest == 0.0 {
        (quotient, 0f64.copysign(b))
    } else if (rest < 0.0) == (b < 0.0) {
        (quotient, rest)
    } else {
        (quotient - 1.0, rest + b)
    };
    if quotient == 0.0 {
        return (0f64.copysign(a / b), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

/// How many bits a whole number may have: Python has no bound, and takes all memory and time for `9**9**9`.
const MOST_BITS: u64 = 1 << 20;

/// What Python's operators make of whole numbers of any size.
fn of_wholes(operator: Binary, a: &BigInt, b: &BigInt) -> Result<Value> {
    let zero = BigInt::default();
    let within = |bits: Option<u64>| {
        bits.filter(|bits| *bits <= MOST_BITS).ok_or_else(|| Error::new("integer too large"))
    };
    Ok(match operator {
        Binary::Div | Binary::FloorDiv | Binary::Mod if *b == zero => {
            return Err(Error::new("division by zero"));
        }
        Binary::Add => (a + b).into(),
        Binary::Sub => (a - b).into(),
        Binary::Mul => {
            within(a.bits().checked_add(b.bits()))?;
            (a * b).into()
        }
        Binary::Div => {
            let quotient = whole::quotient(a, b);
            Value::Float(quotient.ok_or_else(|| Error::new("integer division result too large for a float"))?)
        }
        Binary::FloorDiv => whole::div_mod(a, b).0.into(),
        Binary::Mod => whole::div_mod(a, b).1.into(),
        Binary::Pow => {
            // Powers of 0, 1 and -1 do not grow.
            let exponent = if a.bits() < 2 {
                Some(u32::from(b.bit(0)) + 2 * u32::from(*b > zero))
            } else {
                u32::try_from(b).ok()
            };
            let exponent = exponent.ok_or_else(|| Error::new("integer too large"))?;
            within(a.bits().checked_mul(u64::from(exponent)))?;
            a.pow(exponent).into()
        }
    })
}

/// What Python's operators make of times: sums and differences, and spans times or by numbers and each other.
fn of_times(operator: Binary, left: &Value, right: &Value) -> Option<Value> {
    let scaled = |span: i128, by: f64| Value::from(Time::Span((span as f64 * by).round_ties_even() as i128));
    let span = |value: &Value| match value {
        Value::Time(time) => match **time {
            Time::Span(span) => Some(span),
            _ => None,
        },
        _ => None,
    };
    match (operator, left, right) {
        (Binary::Add, Value::Time(a), Value::Time(b)) => a.plus(b).map(Value::from),
        (Binary::Sub, Value::Time(a), Value::Time(b)) => a.minus(b).map(Value::from),
        (Binary::Mul, Value::Time(_), by) | (Binary::Mul, by, Value::Time(_)) => {
            let span = span(left).or_else(|| span(right))?;
            match by.as_int() {
                Some(by) => Some(Time::Span(span.checked_mul(by)?).into()),
                None => Some(scaled(span, by.as_float()?)),
            }
        }
        (Binary::Div | Binary::FloorDiv, Value::Time(_), Value::Time(_)) => {
            let (a, b) = (span(left)?, span(right).filter(|b| *b != 0)?);
            Some(match operator {
                Binary::Div => Value::Float(a as f64 / b as f64),
                _ => Value::Int(a.div_euclid(b) - i128::from(b < 0 && a.rem_euclid(b) != 0)),
            })
        }
        (Binary::Div, Value::Time(_), by) => {
            by.as_float().filter(|by| *by != 0.0).and_then(|by| Some(scaled(span(left)?, 1.0 / by)))
        }
        _ => None,
    }
}

/// `-value`.
///
/// # Errors
/// When it is no number.
pub fn negate(value: &Value) -> Result<Value> {
    match value {
        Value::Float(f) => Ok(Value::Float(-f)),
        Value::Time(time) if matches!(**time, Time::Span(_)) => binary(Binary::Mul, value, &Value::Int(-1)),
        other => other
            .as_whole()
            .map(|number| (-number).into())
            .ok_or_else(|| Error::new(format!("bad operand type for unary -: '{}'", value.type_name()))),
    }
}

/// Python's ordering; `None` for NaN.
///
/// # Errors
/// When the two have no order.
pub fn order(left: &Value, right: &Value, symbol: &str) -> Result<Option<Ordering>> {
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => Ok(Some(a.as_str().cmp(b.as_str()))),
        (Value::List(_), Value::List(_)) | (Value::Tuple(_), Value::Tuple(_)) => {
            let (a, b) = (left.as_items().unwrap_or_default(), right.as_items().unwrap_or_default());
            for (x, y) in a.iter().zip(&b) {
                if x != y {
                    return order(x, y, symbol);
                }
            }
            Ok(Some(a.len().cmp(&b.len())))
        }
        (Value::Time(a), Value::Time(b)) if a.order(b).is_some() => Ok(a.order(b)),
        _ => left.order_of_numbers(right).ok_or_else(|| {
            Error::new(format!(
                "'{symbol}' not supported between instances of '{}' and '{}'",
                left.type_name(),
                right.type_name()
            ))
        }),
    }
}

/// `needle in haystack`.
///
/// # Errors
/// When the haystack holds nothing.
pub fn contains(haystack: &Value, needle: &Value) -> Result<bool> {
    match haystack {
        Value::Str(text) => match needle {
            Value::Str(needle) => Ok(text.as_str().contains(needle.as_str())),
            other => Err(Error::new(format!(
                "'in <string>' requires string as left operand, not {}",
                other.type_name()
            ))),
        },
        Value::Map(map) => Ok(map.contains_value(needle)),
        Value::List(_) | Value::Tuple(_) => Ok(haystack.as_items().unwrap_or_default().contains(needle)),
        other => Err(Error::new(format!("argument of type '{}' is not iterable", other.type_name()))),
    }
}

/// What `for` goes over: items, keys or characters.
///
/// # Errors
/// When there is nothing to go over.
pub fn iterate(value: &Value) -> Result<Vec<Value>> {
    match value {
        Value::List(list) => Ok(list.items()),
        Value::Tuple(items) => Ok(items.to_vec()),
        Value::Map(map) => Ok(map.keys()),
        Value::Str(text) if text.as_str().len() > MOST_ITEMS => {
            Err(Error::new("the text is too long to be taken letter by letter"))
        }
        Value::Str(text) => Ok(text.as_str().chars().map(|c| Value::from(c.to_string())).collect()),
        Value::Undefined(_) => Err(Error::of_undefined(value)),
        other => Err(Error::new(format!("'{}' object is not iterable", other.type_name()))),
    }
}

/// How long a text may become, in bytes.
pub const MOST_TEXT: usize = 64 * 1024 * 1024;

/// How many items an expression may make out of a text or by repeating a list.
const MOST_ITEMS: usize = 10_000_000;

/// `parts` with `separator` between them.
///
/// # Errors
/// When that takes more than [`MOST_TEXT`].
pub(crate) fn join(parts: &[String], separator: &str) -> Result<Value> {
    let length = parts.iter().map(String::len).sum::<usize>() + parts.len().saturating_mul(separator.len());
    if length > MOST_TEXT {
        return Err(Error::new("the text is too long"));
    }
    Ok(parts.join(separator).into())
}

/// How often a sequence is repeated, unless that takes the memory.
pub(crate) fn times(n: i128, length: usize) -> Result<usize> {
    // Nothing is nothing however often.
    let n = if length == 0 { 0 } else { usize::try_from(n.max(0)).unwrap_or(usize::MAX) };
    if n.saturating_mul(length) > MOST_ITEMS {
        return Err(Error::new("the repeated list is too long"));
    }
    Ok(n)
}

/// `dict(value)`: a mapping, or pairs.
///
/// # Errors
/// When it is neither.
pub fn to_map(value: &Value) -> Result<Value> {
    if let Value::Map(map) = value {
        return Ok(map.copied().into());
    }
    let map = Map::new();
    for pair in iterate(value)? {
        let items = iterate(&pair)?;
        let [key, value] = items.as_slice() else {
            return Err(Error::new("dictionary update sequence needs pairs"));
        };
        map.insert(key.clone(), value.clone());
    }
    Ok(map.into())
}

/// `range(…)`, at most a million items.
///
/// # Errors
/// A step of zero, or too many items.
pub fn range(args: &Arguments) -> Result<Value> {
    let int = |at: usize| args.positional.get(at).and_then(Value::as_int);
    let (start, stop, step) = match args.positional.len() {
        1 => (0, int(0).unwrap_or(0), 1),
        _ => (int(0).unwrap_or(0), int(1).unwrap_or(0), int(2).unwrap_or(1)),
    };
    if step == 0 {
        return Err(Error::new("range() arg 3 must not be zero"));
    }
    let mut items = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        items.push(Value::Int(at));
        if items.len() > 1_000_000 {
            return Err(Error::new("the range has more than a million items"));
        }
        at += step;
    }
    Ok(Value::list(items))
}

/// `text` with the first `most` places of `from` as `to`; with none given, all.
///
/// # Errors
/// When that takes more than [`MOST_TEXT`].
pub(crate) fn replace(text: &str, from: &str, to: &str, most: Option<usize>) -> Result<Value> {
    let places = text.matches(from).take(most.unwrap_or(usize::MAX)).count();
    if text.len().saturating_add(places.saturating_mul(to.len())) > MOST_TEXT {
        return Err(Error::new("the text is too long"));
    }
    Ok(text.replacen(from, to, places).into())
}

/// `value[start:stop:step]`.
///
/// # Errors
/// When it cannot be sliced.
pub fn slice(value: &Value, bounds: [Option<i128>; 3]) -> Result<Value> {
    match value {
        Value::Str(text) => {
            let letters: Vec<char> = text.as_str().chars().collect();
            Ok(slice_of(&letters, bounds)?.into_iter().collect::<String>().into())
        }
        Value::List(list) => Ok(Value::list(slice_of(&list.items(), bounds)?)),
        Value::Tuple(items) => Ok(Value::tuple(slice_of(items, bounds)?)),
        other => Err(Error::new(format!("'{}' object is not subscriptable", other.type_name()))),
    }
}

fn slice_of<T: Clone>(items: &[T], [start, stop, step]: [Option<i128>; 3]) -> Result<Vec<T>> {
    let length = items.len() as i128;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::new("slice step cannot be zero"));
    }
    let clamp = |at: i128, low: i128, high: i128| (if at < 0 { at + length } else { at }).clamp(low, high);
    let mut out = Vec::new();
    if step > 0 {
        let (mut at, stop) = (clamp(start.unwrap_or(0), 0, length), clamp(stop.unwrap_or(length), 0, length));
        while at < stop {
            out.push(items[at as usize].clone());
            at += step;
        }
    } else {
        let mut at = start.map_or(length - 1, |s| clamp(s, -1, length - 1));
        let stop = stop.map_or(-1, |s| clamp(s, -1, length - 1));
        while at > stop {
            out.push(items[at as usize].clone());
            at += step;
        }
    }
    Ok(out)
}
