//! The `key=value` syntax of arguments (`ansible/parsing/splitter.py`).

use bakery_lang::{Map, Origin, Text, Value};

/// Splits text at blanks outside of quotes and template braces, keeping the quotes.
pub fn split_args(text: &str) -> Vec<String> {
    let words = parts(text).into_iter().map(|part| part.trim_end_matches([' ', '\n']).to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

/// How deep in template braces, and in which quotes, a place in the text is.
#[derive(Default)]
struct Inside {
    quote: Option<char>,
    braces: [usize; 3],
}

impl Inside {
    fn is_template(&self) -> bool {
        self.braces.iter().any(|depth| *depth > 0)
    }

    /// Goes over the quotes of a token; those behind a backslash are none.
    fn quotes(&mut self, token: &str) {
        let mut before = None;
        for c in token.chars() {
            if matches!(c, '"' | '\'') && before != Some('\\') {
                match self.quote {
                    Some(open) if open == c => self.quote = None,
                    None => self.quote = Some(c),
                    _ => {}
                }
            }
            before = Some(c);
        }
    }

    /// Goes over the braces of a token; whether any were opened or closed.
    fn braces(&mut self, token: &str) -> bool {
        let mut changed = false;
        for (depth, (open, close)) in self.braces.iter_mut().zip([("{{", "}}"), ("{%", "%}"), ("{#", "#}")]) {
            let (opened, closed) = (token.matches(open).count(), token.matches(close).count());
            let now = (*depth + opened).saturating_sub(closed);
            changed |= now != *depth;
            *depth = now;
        }
        changed
    }
}

/// The parts that `split_args` makes: each with the blanks and newlines behind it, so that they can be put together again;
/// a backslash at the end of a line takes its newline along.
fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut add = |text: &str, is_new: bool| match parts.last_mut() {
        Some(last) if !is_new => last.push_str(text),
        _ => parts.push(text.to_owned()),
    };
    let mut inside = Inside::default();
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let mut goes_on = false;
        for (at, token) in line.split(' ').enumerate() {
            if token.is_empty() && at > 0 {
                add(" ", false);
                continue;
            }
            let was_quoted = inside.quote.is_some();
            if token == "\\" && !was_quoted {
                goes_on = true;
                continue;
            }
            inside.quotes(token);
            let (is_quoted, was_template) = (inside.quote.is_some(), inside.is_template());
            let changed = inside.braces(token);
            if is_quoted && !was_quoted && !was_template {
                add(token, true);
            } else if was_template || is_quoted || was_quoted {
                let blank = if at == 0 { "" } else { " " };
                add(&format!("{blank}{token}"), false);
            } else if changed || !token.is_empty() {
                add(token, true);
            }
        }
        if lines.peek().is_some() && !goes_on {
            add("\n", false);
        }
    }
    parts
}

/// Splits a line of an inventory, or options of a program, at blanks outside of quotes and template braces, keeping the
/// quotes.
pub(crate) fn split_words(text: &str) -> Vec<String> {
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
    let mut raw = String::new();
    let mut keep = |part: &str| {
        if !raw.is_empty() && !raw.ends_with('\n') {
            raw.push(' ');
        }
        raw.push_str(part);
    };
    for part in parts(text) {
        let word = decoded(&part);
        // An equals sign after a backslash is none.
        let equals =
            word.match_indices('=').map(|(at, _)| at).find(|at| *at > 0 && !word[..*at].ends_with('\\'));
        match equals {
            Some(at) if free_form.is_none_or(|known| known.contains(&&word[..at])) => {
                map.set(word[..at].trim(), value(unquote(word[at + 1..].trim())));
            }
            None if word.contains("\\=") => keep(&word.replace("\\=", "=")),
            _ => keep(&part),
        }
    }
    if !raw.is_empty() {
        map.set("_raw_params", value(&raw));
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

    /// Text, as words, and as a command that takes `chdir`, `creates`; recorded from ansible-core's `parse_kv`.
    #[test]
    fn as_ansible_reads_them() {
        let cases = [
            (
                r#""echo this is a \\\n\"multiline echo\" \\\n\"with a new line\nin quotes\" \\\n| cat""#,
                r#"{"_raw_params": "echo this is a \"multiline echo\" \"with a new line\nin quotes\" | cat"}"#,
                r#"{"_raw_params": "echo this is a \"multiline echo\" \"with a new line\nin quotes\" | cat"}"#,
            ),
            (
                r#""a=1  b=\"x  y\" c""#,
                r#"{"a": "1", "b": "x  y", "_raw_params": "c"}"#,
                r#"{"_raw_params": "a=1  b=\"x  y\" c"}"#,
            ),
            (
                r#""echo  two   spaces  chdir=/tmp""#,
                r#"{"chdir": "/tmp", "_raw_params": "echo  two   spaces "}"#,
                r#"{"chdir": "/tmp", "_raw_params": "echo  two   spaces "}"#,
            ),
            (
                r#""cat <<EOF\n  a\n   b\nEOF\n""#,
                r#"{"_raw_params": "cat <<EOF\n  a\n   b\nEOF\n"}"#,
                r#"{"_raw_params": "cat <<EOF\n  a\n   b\nEOF\n"}"#,
            ),
            (
                r#""creates=/x\necho \"test\"\n""#,
                r#"{"creates": "/x", "_raw_params": "echo \"test\"\n"}"#,
                r#"{"creates": "/x", "_raw_params": "echo \"test\"\n"}"#,
            ),
            (
                r#""echo {{ a b }} c={{ x | default(\"y z\") }} d""#,
                r#"{"c": "{{ x | default(\"y z\") }}", "_raw_params": "echo {{ a b }} d"}"#,
                r#"{"_raw_params": "echo {{ a b }} c={{ x | default(\"y z\") }} d"}"#,
            ),
            (r#""  lead""#, r#"{"_raw_params": "  lead"}"#, r#"{"_raw_params": "  lead"}"#),
            (
                r#""echo a\\=b x=\\\"q\\\" y=\"\\n\"""#,
                r#"{"x": "q", "y": "\n", "_raw_params": "echo a=b"}"#,
                r#"{"_raw_params": "echo a=b x=\\\"q\\\" y=\"\\n\""}"#,
            ),
            (r#""a=\"b\nc\" d=e""#, r#"{"a": "b\nc", "d": "e"}"#, r#"{"_raw_params": "a=\"b\nc\" d=e"}"#),
            (
                r#""x={{ y }}{{ z }} w=\"{{ a }} {{ b }}\"""#,
                r#"{"x": "{{ y }}{{ z }}", "w": "{{ a }} {{ b }}"}"#,
                r#"{"_raw_params": "x={{ y }}{{ z }} w=\"{{ a }} {{ b }}\""}"#,
            ),
            (
                r#""echo 'it''s' k='v v'""#,
                r#"{"k": "v v", "_raw_params": "echo 'it''s'"}"#,
                r#"{"_raw_params": "echo 'it''s' k='v v'"}"#,
            ),
            (
                r#""echo \"a=b\" c""#,
                r#"{"\"a": "b\"", "_raw_params": "echo c"}"#,
                r#"{"_raw_params": "echo \"a=b\" c"}"#,
            ),
            (r#""a = b""#, r#"{"_raw_params": "a = b"}"#, r#"{"_raw_params": "a = b"}"#),
        ];
        let json = |text: &str| bakery_lang::json::parse(text).expect("JSON");
        for (text, words, command) in cases {
            let text = json(text).to_string();
            assert_eq!(Value::from(parse_key_values(&text, None, None)), json(words), "{text}");
            let known = ["chdir", "creates"];
            assert_eq!(Value::from(parse_key_values(&text, None, Some(&known))), json(command), "{text}");
        }
    }
}
