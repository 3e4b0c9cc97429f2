//! What the modules of databases share: names in statements, and the sessions with servers.

pub mod accounts;
pub mod mysql;
pub mod postgresql;
pub mod privileges;

use bakery_lang::{Map, Value, repr};

use crate::Failure;

/// Where a name in backticks or double quotes ends, counted from behind its first quote; doubled quotes are part of it.
fn end_of_quoted(name: &str, quote: char) -> Option<usize> {
    let mut chars = name.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            continue;
        }
        match chars.peek() {
            Some((_, next)) if *next == quote => {
                chars.next();
            }
            _ => return Some(at),
        }
    }
    None
}

/// The parts of a name with dots, each in quotes (`module_utils/database.py`, `_identifier_parse`).
fn parts(name: &str, quote: char) -> Result<Vec<String>, Failure> {
    if name.is_empty() {
        return Err("Identifier name unspecified or unquoted trailing dot".into());
    }
    let quoted = |part: &str| format!("{quote}{}{quote}", part.replace(quote, &format!("{quote}{quote}")));
    if let Some(inner) = name.strip_prefix(quote)
        && let Some(end) = end_of_quoted(inner, quote)
    {
        let (part, rest) = name.split_at(end + 2 * quote.len_utf8());
        if rest.is_empty() {
            return Ok(vec![part.to_owned()]);
        }
        let Some(rest) = rest.strip_prefix('.') else {
            return Err("User escaped identifiers must escape extra quotes".into());
        };
        let mut all = vec![part.to_owned()];
        all.extend(parts(rest, quote)?);
        return Ok(all);
    }
    match name.find('.') {
        Some(dot) if dot > 0 && dot + 1 < name.len() => {
            let mut all = vec![quoted(&name[..dot])];
            all.extend(parts(&name[dot + 1..], quote)?);
            Ok(all)
        }
        _ => Ok(vec![quoted(name)]),
    }
}

/// A name for a statement, in the server's quotes, of so many parts at most.
///
/// # Errors
/// When it has more parts, or quotes that do not fit.
fn identifier(name: &str, quote: char, most: usize, server: &str, kind: &str) -> Result<String, Failure> {
    let parts = parts(name, quote)?;
    if parts.len() > most {
        return Err(Failure::new(format!("{server} does not support {kind} with more than {most} dots")));
    }
    Ok(parts.join("."))
}

/// A statement with values in the places of its `%s`, as Python's `%` puts them.
///
/// # Errors
/// In Python's words, when there are more or fewer values than places.
pub fn filled(statement: &str, values: &[Value], literal: fn(&Value) -> String) -> Result<String, String> {
    let mut next = values.iter();
    let out = places(statement, |name| match name {
        None => next.next().map(literal).ok_or_else(|| "not enough arguments for format string".to_owned()),
        Some(_) => Err("format requires a mapping".into()),
    })?;
    match next.next() {
        None => Ok(out),
        Some(_) => Err("not all arguments converted during string formatting".into()),
    }
}

/// A statement with values in the places of its `%(name)s`.
///
/// # Errors
/// In Python's words, when a value is missing.
pub fn filled_by_name(
    statement: &str,
    values: &Map,
    literal: fn(&Value) -> String,
) -> Result<String, String> {
    places(statement, |name| match name {
        Some(name) => values.get(name).map(|v| literal(&v)).ok_or_else(|| repr::quote(name)),
        None => Err("not enough arguments for format string".into()),
    })
}

/// Replaces the places of a statement: `%s` has no name, `%(name)s` one, and `%%` is a percent sign.
fn places(
    statement: &str,
    mut fill: impl FnMut(Option<&str>) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = statement;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('%') {
            out.push('%');
            rest = after;
        } else if let Some(after) = tail.strip_prefix('s') {
            out.push_str(&fill(None)?);
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|inner| inner.split_once(")s")) {
            out.push_str(&fill(Some(name))?);
            rest = after;
        } else {
            let found = tail.chars().next().map_or_else(
                || "incomplete format".to_owned(),
                |c| format!("unsupported format character '{c}' (0x{:x}) at index {}", c as u32, at + 1),
            );
            return Err(found);
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Refuses texts that may be more than a name, for those who do not trust where they come from
/// (`module_utils/database.py`, `check_input`).
///
/// # Errors
/// Names them.
pub fn refuse_dangerous<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
    use std::sync::LazyLock;
    static PATTERNS: LazyLock<Vec<fancy_regex::Regex>> = LazyLock::new(|| {
        let patterns = [
            r#"('|").*--"#,
            r"(?i)(UNION|INTERSECT|EXCEPT).*SELECT",
            r"(?i);.*(SELECT|UPDATE|INSERT|DELETE|DROP|TRUNCATE|ALTER)",
        ];
        patterns.iter().filter_map(|p| fancy_regex::Regex::new(p).ok()).collect()
    });
    let is_dangerous = |text: &&str| PATTERNS.iter().any(|p| p.is_match(text).unwrap_or(true));
    let dangerous: Vec<&str> = texts.into_iter().filter(is_dangerous).collect();
    if dangerous.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("Passed input '{}' is potentially dangerous", dangerous.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_quotes() {
        let quoted = |name: &str| identifier(name, '"', 2, "PostgreSQL", "schema").ok();
        for (name, expected) in [
            ("plain", "\"plain\""),
            ("a.b", "\"a\".\"b\""),
            ("\"a.b\"", "\"a.b\""),
            ("\"a\".b", "\"a\".\"b\""),
            ("we\"ird", "\"we\"\"ird\""),
            ("end.", "\"end.\""),
        ] {
            assert_eq!(quoted(name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(quoted("a.b.c"), None);
        assert_eq!(quoted("\"a\"b"), None);
        assert_eq!(quoted(""), None);
    }

    #[test]
    fn statements_in_names_are_refused() {
        assert!(refuse_dangerous(["db", "it's"]).is_ok());
        assert!(refuse_dangerous(["x'; DROP TABLE y; --"]).is_err());
        assert!(refuse_dangerous(["a UNION all SELECT 1"]).is_err());
    }
}
