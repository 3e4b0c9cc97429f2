//! Python literals (`ast.literal_eval`): values in INI inventories, and text of templates that is used as a list.

use bakery_jinja::ops;
use bakery_lang::{Map, Source, Text, Value, whole};

/// How deep lists and dictionaries may be in each other.
const MAX_DEPTH: usize = 100;

/// The value of a Python literal, else the text itself, which may be a template (`ansible/plugins/inventory/ini.py`).
///
/// Types that variables do not have are text or lists: bytes and complex numbers, sets and tuples.
pub(crate) fn literal(text: &str) -> Value {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, text, is_written: true };
    match reader.value(0) {
        Some(value) if reader.is_at_end() => value,
        _ => reader.written(text),
    }
}

/// The list, mapping or truth value that text of a template looks like, with the words of JSON (`ansible_eval_concat`
/// in `ansible/template/native_helpers.py` of ansible-core 2.14). No text in it is a template.
pub(crate) fn structure(text: &str) -> Option<Value> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, text, is_written: false };
    let value = reader.value(0).filter(|_| reader.is_at_end())?;
    matches!(value, Value::List(_) | Value::Map(_) | Value::Bool(_)).then_some(value)
}

struct Reader<'a> {
    chars: Vec<char>,
    at: usize,
    text: &'a str,
    /// Whether a person wrote it, so that texts may be templates; else a template gave it.
    is_written: bool,
}

impl Reader<'_> {
    fn written(&self, chars: &str) -> Value {
        if !self.is_written {
            return Value::from(chars);
        }
        let origin = Source::new("inventory", self.text).at_offset(0);
        Value::Str(Text::written(chars, origin))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.spaces();
        self.at == self.chars.len()
    }

    /// Goes past a text, if it comes next.
    fn take(&mut self, text: &str) -> bool {
        let comes = text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        if comes {
            self.at += text.chars().count();
        }
        comes
    }

    fn word(&self) -> String {
        self.chars[self.at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect()
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.spaces();
        let first = self.peek()?;
        match first {
            '[' => self.items(']', depth).map(|(items, _)| Value::list(items)),
            '(' => {
                let (mut items, has_comma) = self.items(')', depth)?;
                if items.len() == 1 && !has_comma { items.pop() } else { Some(Value::list(items)) }
            }
            '{' => self.braces(depth),
            '\'' | '"' => self.texts(),
            '.' if self.take("...") => Some(Value::from("...")),
            '0'..='9' | '.' | '+' | '-' => self.number(),
            _ => {
                let word = self.word();
                if matches!(self.chars.get(self.at + word.chars().count()), Some('\'' | '"')) {
                    return self.texts();
                }
                self.at += word.chars().count();
                match word.as_str() {
                    "True" => Some(Value::Bool(true)),
                    "False" => Some(Value::Bool(false)),
                    "None" => Some(Value::None),
                    "true" if !self.is_written => Some(Value::Bool(true)),
                    "false" if !self.is_written => Some(Value::Bool(false)),
                    "null" if !self.is_written => Some(Value::None),
                    "set" if self.take("()") => Some(Value::list(vec![])),
                    _ => None,
                }
            }
        }
    }

    /// What is between brackets, and whether there was a comma.
    fn items(&mut self, close: char, depth: usize) -> Option<(Vec<Value>, bool)> {
        self.at += 1;
        let (mut items, mut has_comma) = (Vec::new(), false);
        loop {
            self.spaces();
            if self.peek()? == close {
                self.at += 1;
                return Some((items, has_comma));
            }
            if !items.is_empty() && !has_comma {
                return None;
            }
            items.push(self.value(depth + 1)?);
            self.spaces();
            let comma = self.take(",");
            has_comma |= comma;
            if !comma && self.peek()? != close {
                return None;
            }
        }
    }

    /// A dictionary or a set.
    fn braces(&mut self, depth: usize) -> Option<Value> {
        let start = self.at;
        self.at += 1;
        let map = Map::new();
        loop {
            self.spaces();
            if self.take("}") {
                return Some(map.into());
            }
            let key = self.value(depth + 1)?;
            self.spaces();
            if !self.take(":") {
                // The first item of a set.
                self.at = start;
                return map.is_empty().then(|| self.items('}', depth))?.map(|(items, _)| Value::list(items));
            }
            if matches!(key, Value::List(_) | Value::Map(_)) {
                return None;
            }
            map.insert(key, self.value(depth + 1)?);
            self.spaces();
            if !self.take(",") && self.peek()? != '}' {
                return None;
            }
        }
    }

    /// Texts, one behind the other, with their prefixes.
    fn texts(&mut self) -> Option<Value> {
        let mut out = String::new();
        loop {
            let prefix = self.word().to_lowercase();
            if !matches!(prefix.as_str(), "" | "b" | "u" | "r" | "br" | "rb") {
                return None;
            }
            let quote = *self.chars.get(self.at + prefix.len())?;
            self.at += prefix.len();
            let triple: String = std::iter::repeat_n(quote, 3).collect();
            let end = if self.take(&triple) { triple } else { quote.to_string() };
            if end.len() == 1 {
                self.at += 1;
            }
            let start = self.at;
            loop {
                if self.take(&end) {
                    break;
                }
                match self.peek()? {
                    '\n' if end.len() == 1 => return None,
                    '\\' => self.at += 2,
                    _ => self.at += 1,
                }
            }
            let inner: String = self.chars.get(start..self.at - end.len())?.iter().collect();
            if prefix.contains('r') {
                out.push_str(&inner);
            } else {
                out.push_str(&bakery_jinja::unescaped(&inner)?);
            }
            self.spaces();
            let follows = self.word().chars().count();
            if !matches!(self.chars.get(self.at + follows), Some('\'' | '"')) {
                return Some(self.written(&out));
            }
        }
    }

    /// A number with its sign; of a complex one the text.
    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        let is_negative = self.peek() == Some('-');
        if matches!(self.peek(), Some('+' | '-')) {
            self.at += 1;
            self.spaces();
        }
        let digits_at = self.at;
        while let Some(c) = self.peek() {
            let after_exponent = matches!(c, '+' | '-')
                && self.at > digits_at
                && matches!(self.chars[self.at - 1], 'e' | 'E')
                && !matches!(self.chars.get(digits_at + 1), Some('x' | 'X'));
            if !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || after_exponent) {
                break;
            }
            self.at += 1;
        }
        let digits: String = self.chars[digits_at..self.at].iter().collect();
        if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
            return None;
        }
        let digits = digits.replace('_', "").to_lowercase();
        let float = |text: &str| -> Option<f64> {
            let fits = text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-'));
            text.parse().ok().filter(|_| fits)
        };
        if let Some(imaginary) = digits.strip_suffix('j') {
            float(imaginary)?;
            return Some(Value::from(self.chars[start..self.at].iter().collect::<String>()));
        }
        let radix = match digits.get(..2) {
            Some("0x") => 16,
            Some("0o") => 8,
            Some("0b") => 2,
            _ => 10,
        };
        if radix != 10 {
            let number = whole::parse(&digits[2..], radix)?;
            return if is_negative { ops::negate(&number).ok() } else { Some(number) };
        }
        if digits.chars().all(|c| c.is_ascii_digit()) {
            if digits.starts_with('0') && digits.chars().any(|c| c != '0') {
                return None;
            }
            let number = whole::parse(&digits, 10)?;
            return if is_negative { ops::negate(&number).ok() } else { Some(number) };
        }
        float(&digits).map(|number| Value::Float(if is_negative { -number } else { number }))
    }
}

#[cfg(test)]
mod tests {
    use super::literal;

    /// What Python's `ast.literal_eval` gives, with the rules of the INI plugin for types that variables do not have.
    #[test]
    fn reads_what_python_reads() {
        let cases = [
            ("True", "True"),
            ("1_000", "1000"),
            ("-0x1F", "-31"),
            ("007", "'007'"),
            ("0", "0"),
            ("1.5e3", "1500.0"),
            (".5", "0.5"),
            ("1j", "'1j'"),
            ("b'single'", "'single'"),
            ("'a' \"b\"", "'ab'"),
            ("r'a\\n'", "'a\\\\n'"),
            ("...", "'...'"),
            ("(1)", "1"),
            ("(1,)", "[1]"),
            ("()", "[]"),
            ("{1, 2}", "[1, 2]"),
            ("{}", "{}"),
            ("set()", "[]"),
            ("[..., 1j, set(), {1, 2}, b'x']", "['...', '1j', [], [1, 2], 'x']"),
            ("{'a': [1, None], }", "{'a': [1, None]}"),
            ("[1 2]", "'[1 2]'"),
            ("[,]", "'[,]'"),
            ("{1: 2, 3}", "'{1: 2, 3}'"),
            ("host-01.internal", "'host-01.internal'"),
            ("1.2.3.4", "'1.2.3.4'"),
            ("'open", "\"'open\""),
            ("'\\", "\"'\\\\\""),
            ("", "''"),
        ];
        for (text, expected) in cases {
            assert_eq!(format!("{:?}", literal(text)), expected, "{text}");
        }
    }
}
