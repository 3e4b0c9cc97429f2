//! Filters that lay text out, as Jinja2 and Python's `textwrap` and `str` do.

use bakery_lang::{Value, whole};

use crate::{Arguments, Error, Result};

/// The text of a value that must be text.
pub(crate) fn only(value: &Value, filter: &str) -> Result<String> {
    match value {
        Value::Str(text) => Ok(text.as_str().to_owned()),
        Value::Undefined(_) => Err(Error::of_undefined(value)),
        other => Err(Error::new(format!("{filter} needs text, not '{}'", other.type_name()))),
    }
}

/// `str.center`: an odd blank goes to the left when the width is odd, too.
pub(crate) fn center(text: &str, width: usize, fill: char) -> String {
    let missing = width.min(crate::ops::MOST_TEXT).saturating_sub(text.chars().count());
    let left = missing / 2 + (missing & width & 1);
    let fills = |n: usize| std::iter::repeat_n(fill, n).collect::<String>();
    format!("{}{text}{}", fills(left), fills(missing - left))
}

/// The filter `title`: words begin after blanks, hyphens and opening brackets.
pub(crate) fn title(text: &str) -> String {
    let mut out = String::new();
    let mut begins = true;
    for c in text.chars() {
        if c.is_whitespace() || "-({[<".contains(c) {
            out.push(c);
            begins = true;
        } else if begins {
            out.extend(c.to_uppercase());
            begins = false;
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// `str.expandtabs`.
pub(crate) fn expand_tabs(text: &str, size: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if size == 0 => {}
            '\t' => {
                let blanks = size - column % size;
                out.push_str(&" ".repeat(blanks));
                column += blanks;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    out
}

/// The filter `wordcount`: runs of letters, digits and underscores.
pub(crate) fn word_count(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
}

/// The filter `truncate`.
pub(crate) fn truncate(value: &Value, args: &Arguments) -> Result<Value> {
    let length = args.int(0, "length", 255);
    let end = args.text(2, "end", "...");
    let leeway = args.int(3, "leeway", 5);
    let room = length - end.chars().count() as i128;
    if room < 0 || leeway < 0 {
        return Err(Error::new(format!("expected length >= {}, got {length}", end.chars().count())));
    }
    let text = match value {
        Value::Str(text) => text.as_str(),
        Value::List(_) | Value::Tuple(_) | Value::Map(_) => {
            // What has a length that fits stays as it is.
            let items = crate::ops::iterate(value)?.len() as i128;
            return if items <= length + leeway {
                Ok(value.clone())
            } else {
                only(value, "truncate").map(Value::from)
            };
        }
        other => return only(other, "truncate").map(Value::from),
    };
    if text.chars().count() as i128 <= length + leeway {
        return Ok(value.clone());
    }
    let cut: String = text.chars().take(room as usize).collect();
    let kept = if args.flag(1, "killwords", false) {
        cut.as_str()
    } else {
        cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head)
    };
    Ok(format!("{kept}{end}").into())
}

/// The filter `wordwrap`.
pub(crate) fn word_wrap(text: &str, args: &Arguments) -> String {
    let width = args.int(0, "width", 79).max(1) as usize;
    let break_long = args.flag(1, "break_long_words", true);
    let glue =
        args.get(2, "wrapstring").filter(|w| !w.is_none()).map_or_else(|| "\n".into(), |w| w.to_string());
    let hyphens = args.flag(3, "break_on_hyphens", true);
    let lines = text.lines().map(|line| wrap(line, width, break_long, hyphens).join(&glue));
    lines.collect::<Vec<_>>().join(&glue)
}

/// Python's `textwrap.wrap` without changing blanks.
fn wrap(line: &str, width: usize, break_long: bool, hyphens: bool) -> Vec<String> {
    let count = |s: &str| s.chars().count();
    let mut chunks = chunks(line, hyphens);
    chunks.reverse();
    let mut lines: Vec<String> = Vec::new();
    while !chunks.is_empty() {
        // Blanks at the beginning of a line that is not the first are dropped.
        if !lines.is_empty() && chunks.last().is_some_and(|c| c.trim().is_empty()) {
            chunks.pop();
        }
        let mut current: Vec<String> = Vec::new();
        let mut used = 0;
        while let Some(chunk) = chunks.last() {
            if used + count(chunk) > width {
                break;
            }
            used += count(chunk);
            current.extend(chunks.pop());
        }
        if let Some(chunk) = chunks.last().filter(|c| count(c) > width).cloned() {
            if break_long {
                let room = (width - used).max(usize::from(current.is_empty()));
                let mut at = room;
                if hyphens && count(&chunk) > room {
                    // Rather after a hyphen than in the middle of a word.
                    let head: String = chunk.chars().take(room).collect();
                    if let Some(hyphen) = head.rfind('-').filter(|h| head[..*h].contains(|c| c != '-')) {
                        at = head[..=hyphen].chars().count();
                    }
                }
                current.push(chunk.chars().take(at).collect());
                let rest: String = chunk.chars().skip(at).collect();
                chunks.pop();
                if !rest.is_empty() {
                    chunks.push(rest);
                }
            } else if current.is_empty() {
                current.extend(chunks.pop());
            }
        }
        if current.last().is_some_and(|c| c.trim().is_empty()) {
            current.pop();
        }
        if !current.is_empty() {
            lines.push(current.concat());
        }
    }
    lines
}

/// Words, the blanks between them, and parts of words after hyphens between letters.
fn chunks(line: &str, hyphens: bool) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let chars: Vec<char> = line.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|b| chars[b]);
        let same = before.is_some_and(|b| b.is_whitespace() == c.is_whitespace());
        let letter =
            |at: Option<usize>| at.and_then(|a| chars.get(a)).is_some_and(|c| c.is_alphabetic() || *c == '_');
        let after_hyphen = hyphens
            && before == Some('-')
            && letter(Some(at))
            && letter(at.checked_sub(2))
            && (letter(at.checked_sub(3)) || letter(Some(at + 1)));
        match out.last_mut() {
            Some(last) if same && !after_hyphen => last.push(*c),
            _ => out.push(c.to_string()),
        }
    }
    out
}

/// The filter `filesizeformat`.
pub(crate) fn file_size(value: &Value, binary: bool) -> Result<String> {
    let bytes = match value {
        Value::Str(text) => text.as_str().trim().replace('_', "").parse().ok(),
        other => other.as_float(),
    };
    let bytes: f64 = bytes.ok_or_else(|| Error::new(format!("could not convert {value:?} to float")))?;
    let base: i128 = if binary { 1024 } else { 1000 };
    if (bytes - 1.0).abs() < f64::EPSILON {
        return Ok("1 Byte".into());
    }
    if bytes < base as f64 {
        return Ok(format!("{} Bytes", whole::truncated(bytes).unwrap_or_default()));
    }
    let units = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let next = |unit: usize| base.pow(unit as u32 + 2) as f64;
    let unit = (0..units.len()).find(|unit| bytes < next(*unit)).unwrap_or(units.len() - 1);
    let (size, name) = (base as f64 * bytes / next(unit), units[unit]);
    Ok(if binary { format!("{size:.1} {}iB", name.to_uppercase()) } else { format!("{size:.1} {name}B") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_and_hyphens_are_wrapped_as_python_does() {
        // Recorded from Python's textwrap.wrap.
        assert_eq!(wrap("Hello World", 4, true, true), ["Hell", "o Wo", "rld"]);
        assert_eq!(wrap("well-known facts", 6, true, true), ["well-", "known", "facts"]);
        assert_eq!(wrap("abcdefgh ij", 3, false, true), ["abcdefgh", "ij"]);
    }
}
