//! Python's `str()` and `repr()` of a value, which templates write into configuration files.

use crate::Value;

/// Python's `str(value)`; the empty text for what is not there.
pub fn str(value: &Value) -> String {
    match value {
        Value::Str(text) => text.as_str().to_owned(),
        Value::Time(time) => time.to_string(),
        Value::Undefined(_) => String::new(),
        other => repr(other),
    }
}

/// Python's `repr(value)`.
pub fn repr(value: &Value) -> String {
    match value {
        Value::None => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Int(i) => i.to_string(),
        Value::Big(i) => i.to_string(),
        Value::Float(f) => float(*f),
        Value::Str(text) => quote(text.as_str()),
        Value::List(list) => format!("[{}]", join(&list.items())),
        Value::Tuple(items) if items.len() == 1 => format!("({},)", repr(&items[0])),
        Value::Tuple(items) => format!("({})", join(items)),
        Value::Map(map) => {
            let pairs: Vec<String> =
                map.pairs().iter().map(|(k, v)| format!("{}: {}", repr(k), repr(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Time(time) => time.repr(),
        Value::Undefined(_) => "Undefined".into(),
        Value::Omit => "<<Omit>>".into(),
    }
}

fn join(items: &[Value]) -> String {
    items.iter().map(repr).collect::<Vec<_>>().join(", ")
}

/// Python's `repr(float)`: the shortest text that reads back, with an exponent below 1e-4 and from 1e16.
pub fn float(f: f64) -> String {
    if f.is_nan() {
        return "nan".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf" } else { "-inf" }.into();
    }
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{f:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |d| ("-", d));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    let text = f.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

/// Python's quoting: single quotes unless the text has some and no double ones.
pub fn quote(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() && (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_floats_as_python_writes_them() {
        // Recorded from CPython 3.11.
        let value = Value::list(vec!["x".into(), "y'z".into(), true.into(), Value::Float(1.5), Value::None]);
        assert_eq!(repr(&value), r#"['x', "y'z", True, 1.5, None]"#);
        for (f, text) in [(1e20, "1e+20"), (1e-7, "1e-07"), (0.1, "0.1"), (100.0, "100.0"), (1e16, "1e+16")] {
            assert_eq!(float(f), text);
        }
    }
}
