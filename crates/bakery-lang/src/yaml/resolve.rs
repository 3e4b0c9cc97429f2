//! The type of a plain scalar by PyYAML's YAML 1.1 rules (`yaml/resolver.py`, `yaml/constructor.py`).

use crate::{Value, whole};

/// The value of an unquoted scalar, or `None` where it is text.
pub fn resolve_plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::None),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Some(Value::Bool(true));
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Some(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    let (negative, body) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if matches!(body, ".inf" | ".Inf" | ".INF") {
        return Some(Value::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY }));
    }
    if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(number) = integer(body) {
        return if negative { number.as_whole().map(|number| (-number).into()) } else { Some(number) };
    }
    float(body).map(|f| Value::Float(if negative { -f } else { f }))
}

fn integer(body: &str) -> Option<Value> {
    let digits: String = body.chars().filter(|c| *c != '_').collect();
    if let Some(rest) = body.strip_prefix("0b") {
        let ok = !rest.is_empty() && rest.chars().all(|c| matches!(c, '0' | '1' | '_'));
        return if ok { whole::parse(&digits[2..], 2) } else { None };
    }
    if let Some(rest) = body.strip_prefix("0x") {
        let ok = !rest.is_empty() && rest.chars().all(|c| c.is_ascii_hexdigit() || c == '_');
        return if ok { whole::parse(&digits[2..], 16) } else { None };
    }
    if body == "0" {
        return Some(Value::Int(0));
    }
    if let Some(rest) = body.strip_prefix('0') {
        let ok = rest.chars().all(|c| matches!(c, '0'..='7' | '_'));
        return if ok {
            whole::parse(digits.trim_start_matches('0'), 8).or(Some(Value::Int(0)))
        } else {
            None
        };
    }
    if body.contains(':') {
        return sexagesimal(&digits).map(Value::Int);
    }
    let ok = body.starts_with(|c: char| c.is_ascii_digit())
        && body.chars().all(|c| c.is_ascii_digit() || c == '_');
    if ok { whole::parse(&digits, 10) } else { None }
}

/// `1:30:00`, in base 60.
fn sexagesimal(digits: &str) -> Option<i128> {
    let mut parts = digits.split(':');
    let number = |part: &str| part.parse().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit()));
    let mut total: i128 = number(parts.next()?)?;
    for part in parts {
        let part = number(part).filter(|n| *n < 60 && part.len() <= 2)?;
        total = total.checked_mul(60)?.checked_add(part)?;
    }
    Some(total)
}

fn float(body: &str) -> Option<f64> {
    // A float needs a dot, and a sign in its exponent: `1e3` and `1.5e3` are text.
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let (whole, fraction) = mantissa.split_once('.')?;
    let digits = |s: &str| s.chars().all(|c| c.is_ascii_digit() || c == '_');
    if !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    if whole.contains(':') && exponent.is_none() {
        let base = sexagesimal(&whole.replace('_', "")).filter(|_| !whole.starts_with('_'))?;
        return format!("{base}.{}", fraction.replace('_', "")).parse().ok();
    }
    if !digits(whole) || whole.starts_with('_') || (whole.is_empty() && fraction.starts_with('_')) {
        return None;
    }
    if let Some(exponent) = exponent {
        let rest = exponent.strip_prefix(['+', '-'])?;
        if rest.is_empty() || !rest.chars().all(|c| c.is_ascii_digit()) {
            return None;
        }
    }
    let text: String = body.chars().filter(|c| *c != '_').collect();
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_have_the_type_that_pyyaml_gives_them() {
        // Recorded from PyYAML 6.0.3.
        let int = |i| Some(Value::Int(i));
        for (text, value) in [
            ("0755", int(493)),
            ("08", None),
            ("1:30", int(90)),
            ("0x1F", int(31)),
            ("1_000", int(1000)),
            ("1e3", None),
            ("1.5e3", None),
            ("1.5e+3", Some(Value::Float(1500.0))),
            ("190:20:30.15", Some(Value::Float(685_230.15))),
            ("-.INF", Some(Value::Float(f64::NEG_INFINITY))),
            ("yes", Some(Value::Bool(true))),
            ("y", None),
            ("1.2.3", None),
            ("-", None),
            ("0b11", int(3)),
            ("00", int(0)),
        ] {
            assert_eq!(resolve_plain(text), value, "{text}");
        }
    }
}
