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

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if text.len() >= 2 && text.starts_with(quote) && text.ends_with(quote) {
            return &text[1..text.len() - 1];
        }
    }
    text
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
        let key_end = word.find('=').filter(|at| {
            *at > 0 && word[..*at].chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
        });
        match key_end {
            Some(at) if free_form.is_none_or(|known| known.contains(&&word[..at])) => {
                map.set(&word[..at], value(&unquote(&word[at + 1..]).replace("\\n", "\n")));
            }
            _ => raw.push(word),
        }
    }
    if !raw.is_empty() {
        // Text without any option keeps its own blanks and newlines.
        let whole = if map.is_empty() { text.trim().to_owned() } else { raw.join(" ") };
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
