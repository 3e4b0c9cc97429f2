//! The `key=value` syntax of arguments (`ansible/parsing/splitter.py`).

use bakery_lang::{Map, Origin, Text, Value};

/// Splits text at blanks outside of quotes and template braces, keeping the quotes.
pub fn split_args(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut depth = 0usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quote.is_some() => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            '\'' | '"' if depth == 0 => match quote {
                Some(open) if open == c => quote = None,
                None => quote = Some(c),
                _ => {}
            },
            '{' if matches!(chars.peek(), Some('{' | '%' | '#')) => depth += 1,
            '}' if chars.peek() == Some(&'}') => {
                depth = depth.saturating_sub(1);
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            '%' | '#' if depth > 0 && chars.peek() == Some(&'}') => {
                depth = depth.saturating_sub(1);
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            c if c.is_whitespace() && quote.is_none() && depth == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Text without the quotes around it.
pub(crate) fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if text.len() >= 2 && text.starts_with(quote) && text.ends_with(quote) {
            return &text[1..text.len() - 1];
        }
    }
    text
}

/// Escapes as in Python's text: `\n`, `\t`, `\xhh`, `\uhhhh` and the like; others stay.
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let rest = chars.as_str();
        let digits = match rest.chars().next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => 0,
        };
        let code = rest.get(1..=digits).filter(|_| digits > 0).and_then(|d| u32::from_str_radix(d, 16).ok());
        if let Some(decoded) = code.and_then(char::from_u32) {
            out.push(decoded);
            chars = rest[1 + digits..].chars();
            continue;
        }
        let plain = match rest.chars().next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some(quote @ ('\\' | '\'' | '"')) => quote,
            _ => {
                out.push('\\');
                continue;
            }
        };
        out.push(plain);
        chars.next();
    }
    out
}

/// Reads `key=value` words. With `free_form`, words that are no options of the command are its raw parameters, kept as
/// they were written.
pub fn parse_key_values(text: &str, origin: Option<&Origin>, free_form: Option<&[&str]>) -> Map {
    let map = Map::new();
    let value = |text: &str| match origin {
        Some(origin) => Value::Str(Text::written(text, origin.clone())),
        None => Value::from(text),
    };
    let mut raw = Vec::new();
    for word in split_args(text) {
        // An equals sign after a backslash is none.
        let equals =
            word.match_indices('=').map(|(at, _)| at).find(|at| *at > 0 && !word[..*at].ends_with('\\'));
        match equals {
            Some(at) if free_form.is_none_or(|known| known.contains(&&word[..at])) => {
                map.set(word[..at].trim(), value(&decoded(unquote(word[at + 1..].trim()))));
            }
            None if word.contains("\\=") => raw.push(word.replace("\\=", "=")),
            _ => raw.push(word),
        }
    }
    if !raw.is_empty() {
        // Text without any option keeps its own blanks and newlines.
        let whole = if map.is_empty() { text.to_owned() } else { raw.join(" ") };
        map.set("_raw_params", value(&whole));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_templates() {
        let map = parse_key_values(r#"src="a b" dest={{ x | default('c d') }} mode=0644"#, None, None);
        assert_eq!(map.get("src"), Some("a b".into()));
        assert_eq!(map.get("dest"), Some("{{ x | default('c d') }}".into()));
        assert_eq!(map.get("mode"), Some("0644".into()));
        let map = parse_key_values("echo a=b chdir=/tmp", None, Some(&["chdir"]));
        assert_eq!(map.get("_raw_params"), Some("echo a=b".into()));
        assert_eq!(map.get("chdir"), Some("/tmp".into()));
    }
}
