//! The lookup `sequence` (`ansible/plugins/lookup/sequence.py`).

use bakery_jinja::ops::{Binary, binary};
use bakery_jinja::{Error, Result};
use bakery_lang::regex::{Flags, compile};
use bakery_lang::{Map, Value};

const FIELDS: &[&str] = &["start", "end", "stride", "count", "format"];

/// `[start-]end[/stride][:format]`, numbers also in hexadecimal and octal.
const SHORTCUT: &str = r"^((0?x?[0-9a-f]+)-)?(0?x?[0-9a-f]+)(/(0?x?[0-9a-f]+))?(:(.+))?$";

/// As many items as one sequence may have, so that a wrong number does not take the memory.
const MOST: usize = 10_000_000;

pub(super) fn run(terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    let only_options = [Value::from("")];
    let terms = if terms.is_empty() && !options.is_empty() { &only_options } else { terms };
    for term in terms {
        let settings = options.copied();
        let text = term.to_string();
        if !shortcut(&text, &settings)? {
            let given = crate::playbook::parse_key_values(&text, None, None);
            for field in FIELDS {
                if let Some(value) = given.remove(field) {
                    settings.set(field, value);
                }
            }
            if !given.is_empty() {
                let names: Value = given.keys().into();
                return Err(Error::new(format!("unrecognized arguments to with_sequence: {names}")));
            }
        }
        one(&settings, &mut out)?;
    }
    Ok(out)
}

/// Reads the short form; whether it is one.
fn shortcut(text: &str, settings: &Map) -> Result<bool> {
    let regex = compile(SHORTCUT, Flags { ignore_case: true, ..Flags::default() }).map_err(Error::new)?;
    let Some(found) = regex.captures(text).ok().flatten() else { return Ok(false) };
    for (name, group) in [("start", 2), ("end", 3), ("stride", 5), ("format", 7)] {
        if let Some(part) = found.get(group) {
            settings.set(name, part.as_str());
        }
    }
    Ok(true)
}

/// A number in decimal, hexadecimal (`0x…`) or octal (`0…`).
fn number(text: &str) -> Option<i128> {
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let value = match digits.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None if digits.len() > 1 && digits.starts_with('0') => i128::from_str_radix(digits, 8).ok(),
        None => digits.parse().ok(),
    };
    value.map(|value| sign * value)
}

fn one(settings: &Map, out: &mut Vec<Value>) -> Result<()> {
    let int = |name: &str| -> Result<Option<i128>> {
        match settings.get(name).filter(|v| !v.is_none()) {
            None => Ok(None),
            Some(value) => match value.as_int().or_else(|| number(&value.to_string())) {
                Some(number) => Ok(Some(number)),
                None => Err(Error::new(format!("sequence option '{name}' has an invalid value {value}"))),
            },
        }
    };
    let (start, stride) = (int("start")?.unwrap_or(1), int("stride")?.unwrap_or(1));
    let end = match (int("end")?, int("count")?) {
        (None, None) => return Err(Error::new("must specify count or end in with_sequence")),
        (Some(_), Some(_)) => return Err(Error::new("can't specify both count and end in with_sequence")),
        (Some(end), None) => end,
        (None, Some(0)) => return Ok(()),
        (None, Some(count)) => start + count * stride - 1,
    };
    if stride > 0 && end < start {
        return Err(Error::new("to count backwards make stride negative"));
    }
    if stride < 0 && end > start {
        return Err(Error::new("to count forward don't make stride negative"));
    }
    if stride == 0 {
        return Ok(());
    }
    let format = settings.get("format").map_or_else(|| "%d".to_owned(), |v| v.to_string());
    if format.matches('%').count() != 1 {
        return Err(Error::new(format!("bad formatting string: {format}")));
    }
    let mut at = start;
    while if stride > 0 { at <= end } else { at >= end } {
        if out.len() == MOST {
            return Err(Error::new(format!("a sequence may have {MOST} items at the most")));
        }
        let item = binary(Binary::Mod, &format.as_str().into(), &Value::Int(at))
            .map_err(|_| Error::new(format!("problem formatting {at} with '{format}'")))?;
        out.push(item);
        at += stride;
    }
    Ok(())
}
