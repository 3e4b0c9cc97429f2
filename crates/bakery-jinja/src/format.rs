//! Python's `%` formatting and `str.format`.

use bakery_lang::{Value, repr};

use crate::{Arguments, Error, Result};

/// `format % args`.
pub(crate) fn percent(format: &str, args: &Value) -> Result<String> {
    let list = match args {
        Value::Tuple(items) => items.to_vec(),
        other => vec![other.clone()],
    };
    let mut args_left = list.into_iter();
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut key = None;
        if chars.next_if_eq(&'(').is_some() {
            let mut name = String::new();
            for c in chars.by_ref() {
                if c == ')' {
                    break;
                }
                name.push(c);
            }
            key = Some(name);
        }
        let mut spec = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_digit() || "-+ #0.*".contains(*c)) {
            spec.push(c);
        }
        let verb = chars.next().ok_or_else(|| Error::new("incomplete format"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = match key {
            Some(key) => args.get(&key).ok_or_else(|| Error::new(format!("KeyError: '{key}'")))?,
            None => args_left.next().ok_or_else(|| Error::new("not enough arguments for format string"))?,
        };
        out.push_str(&field(&value, &spec, verb)?);
    }
    if args_left.next().is_some() && !matches!(args, Value::Map(_)) {
        return Err(Error::new("not all arguments converted during string formatting"));
    }
    Ok(out)
}

fn field(value: &Value, spec: &str, verb: char) -> Result<String> {
    let flags: String = spec.chars().take_while(|c| "-+ #0".contains(*c)).collect();
    let rest = &spec[flags.len()..];
    let (width, precision) =
        rest.split_once('.').map_or((rest, None), |(w, p)| (w, Some(p.parse().unwrap_or(0))));
    let width: usize = width.parse().unwrap_or(0);
    let number = || {
        value.as_float().ok_or_else(|| {
            Error::new(format!("%{verb} format: a real number is required, not {}", value.type_name()))
        })
    };
    let int = || number().map(|f| value.as_int().unwrap_or(f.trunc() as i128));
    let mut body = match verb {
        's' => value.to_string(),
        'r' | 'a' => repr::repr(value),
        'd' | 'i' | 'u' => int()?.to_string(),
        'x' => format!("{:x}", int()?),
        'X' => format!("{:X}", int()?),
        'o' => format!("{:o}", int()?),
        'f' | 'F' => format!("{:.*}", precision.unwrap_or(6), number()?),
        'e' => {
            let text = format!("{:.*e}", precision.unwrap_or(6), number()?);
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        'g' => repr::float(number()?).trim_end_matches(".0").to_owned(),
        'c' => {
            value.as_int().and_then(|i| char::from_u32(i as u32)).map_or(value.to_string(), |c| c.to_string())
        }
        other => return Err(Error::new(format!("unsupported format character '{other}'"))),
    };
    if let (Some(precision), 's' | 'r') = (precision, verb) {
        body = body.chars().take(precision).collect();
    }
    if flags.contains('+') && !body.starts_with('-') && "dif".contains(verb) {
        body.insert(0, '+');
    }
    Ok(pad(
        &body,
        width,
        if flags.contains('-') { '<' } else { '>' },
        if flags.contains('0') && !flags.contains('-') { '0' } else { ' ' },
    ))
}

pub(crate) fn pad(body: &str, width: usize, align: char, fill: char) -> String {
    let missing = width.min(crate::ops::MOST_TEXT).saturating_sub(body.chars().count());
    let fills = |n: usize| std::iter::repeat_n(fill, n).collect::<String>();
    match align {
        '<' => format!("{body}{}", fills(missing)),
        '^' => format!("{}{body}{}", fills(missing / 2), fills(missing - missing / 2)),
        _ if fill == '0' && body.starts_with(['-', '+']) => {
            format!("{}{}{}", &body[..1], fills(missing), &body[1..])
        }
        _ => format!("{}{body}", fills(missing)),
    }
}

/// `text.format(…)`.
pub(crate) fn format(text: &str, args: &Arguments) -> Result<String> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        match c {
            '{' if chars.next_if_eq(&'{').is_some() => out.push('{'),
            '}' => {
                chars.next_if_eq(&'}');
                out.push('}');
            }
            '{' => {
                let mut inner = String::new();
                for c in chars.by_ref() {
                    if c == '}' {
                        break;
                    }
                    inner.push(c);
                }
                let (name, spec) = inner.split_once(':').unwrap_or((&inner, ""));
                let (name, conversion) = name.split_once('!').unwrap_or((name, ""));
                let mut parts = name.split(['.', '[']);
                let first = parts.next().unwrap_or("");
                let mut value = if first.is_empty() {
                    next += 1;
                    args.positional.get(next - 1).cloned()
                } else if let Ok(index) = first.parse::<usize>() {
                    args.positional.get(index).cloned()
                } else {
                    args.named(first)
                };
                for part in parts {
                    let part = part.trim_end_matches(']');
                    value = value.and_then(|v| match part.parse::<usize>() {
                        Ok(index) => v.as_items().and_then(|items| items.get(index).cloned()),
                        Err(_) => v.get(part),
                    });
                }
                let value =
                    value.ok_or_else(|| Error::new(format!("format() has no value for `{{{inner}}}`")))?;
                let value = if conversion == "r" { Value::from(repr::repr(&value)) } else { value };
                out.push_str(&spec_field(&value, spec)?);
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

fn spec_field(value: &Value, spec: &str) -> Result<String> {
    let chars: Vec<char> = spec.chars().collect();
    let (fill, align, mut at) = match chars.as_slice() {
        [fill, align, ..] if "<>^=".contains(*align) => (*fill, Some(*align), 2),
        [align, ..] if "<>^=".contains(*align) => (' ', Some(*align), 1),
        _ => (' ', None, 0),
    };
    let mut fill = fill;
    if chars.get(at) == Some(&'0') {
        fill = '0';
        at += 1;
    }
    let rest: String = chars[at.min(chars.len())..].iter().collect();
    let verb = rest.chars().last().filter(char::is_ascii_alphabetic);
    let digits = rest.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (width, precision) = digits.split_once('.').map_or((digits, ""), |(w, p)| (w, p));
    let inner = if precision.is_empty() { String::new() } else { format!(".{precision}") };
    let numeric = value.as_float().is_some();
    if !spec.is_empty()
        && matches!(
            value,
            Value::None | Value::Undefined(_) | Value::List(_) | Value::Tuple(_) | Value::Map(_)
        )
    {
        return Err(Error::new(format!(
            "unsupported format string passed to {}.__format__",
            value.type_name()
        )));
    }
    // A truth value with a format is the number that it is.
    let as_number = match value {
        Value::Bool(b) if !spec.is_empty() => Some(Value::Int(i128::from(*b))),
        _ => None,
    };
    let value = as_number.as_ref().unwrap_or(value);
    let body = match verb {
        Some(verb) => field(value, &inner, verb)?,
        None if !precision.is_empty() && numeric => field(value, &inner, 'f')?,
        None => value.to_string(),
    };
    let align = align.unwrap_or(if numeric { '>' } else { '<' });
    Ok(pad(&body, width.replace(',', "").parse().unwrap_or(0), align, fill))
}
