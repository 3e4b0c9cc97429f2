//! Python's `re` on top of `fancy-regex`: the pattern's syntax, and the replacement's.

pub use fancy_regex::Regex;
use fancy_regex::{Captures, RegexBuilder};

/// Flags of `re.compile`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// `re.IGNORECASE`.
    pub ignore_case: bool,
    /// `re.MULTILINE`.
    pub multiline: bool,
    /// `re.DOTALL`.
    pub dot_all: bool,
}

/// Compiles a pattern in Python's syntax.
///
/// # Errors
/// The engine's message about the pattern.
pub fn compile(pattern: &str, flags: Flags) -> Result<Regex, String> {
    let mut prefix = String::new();
    for (on, letter) in [(flags.ignore_case, 'i'), (flags.multiline, 'm'), (flags.dot_all, 's')] {
        if on {
            prefix.push(letter);
        }
    }
    let body = translate(pattern, flags.multiline || pattern.starts_with("(?m)"));
    let full = if prefix.is_empty() { body } else { format!("(?{prefix}){body}") };
    RegexBuilder::new(&full)
        .build()
        .map_err(|error| format!("invalid regular expression `{pattern}`: {error}"))
}

/// Python to fancy-regex: `\Z`, and `$`, which also matches before a final newline.
fn translate(pattern: &str, multiline: bool) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    let mut in_set = false;
    let mut set_start = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                match chars.next() {
                    Some('Z') => out.push_str("\\z"),
                    Some(other) => {
                        out.push('\\');
                        out.push(other);
                    }
                    None => out.push('\\'),
                }
                set_start = false;
            }
            '[' if !in_set => {
                in_set = true;
                set_start = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            '[' => {
                // Inside a set Python takes it literally.
                out.push_str("\\[");
                set_start = false;
            }
            ']' if in_set && set_start => {
                out.push_str("\\]");
                set_start = false;
            }
            ']' if in_set => {
                in_set = false;
                out.push(']');
            }
            '&' | '~' if in_set && chars.peek() == Some(&c) => {
                out.push('\\');
                out.push(c);
            }
            '$' if !in_set && !multiline => out.push_str("(?=\\n?\\z)"),
            other => {
                out.push(other);
                set_start = false;
            }
        }
    }
    out
}

/// A replacement in Python's syntax: `\1`, `\g<1>`, `\g<name>`, `\n`, `\\`.
pub fn expand(replacement: &str, captures: &Captures<'_, str>) -> String {
    let group = |name: &str| {
        let found = name.parse::<usize>().map_or_else(|_| captures.name(name), |at| captures.get(at));
        found.map_or("", |m| m.as_str())
    };
    let mut out = String::new();
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('g') if chars.next_if_eq(&'<').is_some() => {
                let name: String = chars.by_ref().take_while(|c| *c != '>').collect();
                out.push_str(group(&name));
            }
            Some(digit) if digit.is_ascii_digit() => {
                let mut number = digit.to_string();
                if let Some(second) = chars.next_if(char::is_ascii_digit) {
                    number.push(second);
                }
                out.push_str(group(&number));
            }
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some('\\') => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

/// Whether Python takes a replacement: a backslash before a letter that means nothing is an error.
///
/// # Errors
/// Which letter, and where.
pub fn check_replacement(replacement: &str) -> Result<(), String> {
    let mut chars = replacement.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            continue;
        }
        match chars.next() {
            Some((_, letter)) if letter.is_ascii_alphabetic() && !"abfgnrtv".contains(letter) => {
                return Err(format!("bad escape \\{letter} at position {at}"));
            }
            Some(_) => {}
            None => return Err(format!("bad escape (end of pattern) at position {at}")),
        }
    }
    Ok(())
}

/// All matches, as `re.finditer` of Python 3.7 and later goes through them: after a match that is not empty an empty one may
/// follow at once, after an empty one one that is not.
///
/// # Errors
/// When matching gives up.
pub fn find_all<'t>(regex: &Regex, text: &'t str) -> Result<Vec<Captures<'t, str>>, String> {
    let mut found = Vec::new();
    // The same pattern where a match of nothing does not count.
    let mut not_empty = None;
    let (mut at, mut was_empty) = (0, false);
    loop {
        let wanted = if was_empty {
            let pattern = || Regex::new(&format!("(?:{})(?!\\G)", regex.as_str())).map_err(|e| e.to_string());
            match &not_empty {
                Some(regex) => regex,
                None => not_empty.insert(pattern()?),
            }
        } else {
            regex
        };
        let captures = wanted.captures_from_pos(text, at).map_err(|e| e.to_string())?;
        let Some((captures, whole)) = captures.and_then(|c| c.get(0).map(|whole| (c, whole))) else {
            return Ok(found);
        };
        (at, was_empty) = (whole.end(), whole.start() == whole.end());
        found.push(captures);
    }
}

/// `re.sub(pattern, replacement, text, count)`; a count of 0 replaces all. Also how many were replaced.
///
/// # Errors
/// When matching gives up.
pub fn replace(
    regex: &Regex,
    text: &str,
    replacement: &str,
    count: usize,
) -> Result<(String, usize), String> {
    let mut out = String::new();
    let mut last = 0;
    let mut replaced = 0;
    for captures in find_all(regex, text)? {
        let Some(whole) = captures.get(0) else { continue };
        if count > 0 && replaced == count {
            break;
        }
        out.push_str(&text[last..whole.start()]);
        out.push_str(&expand(replacement, &captures));
        last = whole.end();
        replaced += 1;
    }
    out.push_str(&text[last..]);
    Ok((out, replaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_replacements_as_in_python() {
        // Recorded from CPython 3.11's `re`.
        for (pattern, text, replacement, expected) in [
            (r"(\w+) (\w+)", "a b", r"\2 \1", "b a"),
            (r"x$", "x\n", "y", "y\n"),
            (r"(?P<n>\d+)", "v12", r"<\g<n>>", "v<12>"),
            (r"[]a]", "a]", "-", "--"),
            (r"(?<=a)b", "ab", "c", "ac"),
            (r"^#?\s*Port.*", "#Port 22", "Port 1", "Port 1"),
            (r"[^\/]*", "var/uploads", "..", "..../...."),
            (r"x*", "abxxc", "-", "-a-b--c-"),
            (r"x*|b", "abc", r"<\g<0>>", "<>a<><b><>c<>"),
            (r"", "äb", "-", "-ä-b-"),
            (r"$", "a\n", "-", "a-\n-"),
            (r"\b|\w+", "ab c", "-", "--- ---"),
            (r"(?i)A*", "aB", "-", "--B-"),
        ] {
            let regex = compile(pattern, Flags::default()).expect("valid");
            assert_eq!(replace(&regex, text, replacement, 0).expect("matches").0, expected, "{pattern}");
        }
    }
}
