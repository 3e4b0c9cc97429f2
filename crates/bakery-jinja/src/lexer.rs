//! Template text to segments of tokens, with Jinja2's white-space control.

use std::sync::Arc;

use bakery_lang::{Source, Value, whole};

use crate::{Error, Result};

/// Delimiters and white-space rules; the defaults are Ansible's (`trim_blocks` on, trailing newline kept).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are Jinja2's own")]
pub struct Syntax {
    pub block_start: String,
    pub block_end: String,
    pub variable_start: String,
    pub variable_end: String,
    pub comment_start: String,
    pub comment_end: String,
    pub trim_blocks: bool,
    pub lstrip_blocks: bool,
    pub keep_trailing_newline: bool,
    pub line_statement_prefix: Option<String>,
    pub line_comment_prefix: Option<String>,
    /// Whether a backslash in the texts of `{{ }}` is one and nothing else, as Ansible has it where templates are values:
    /// what people write there are regular expressions. Statements and files of templates have Python's escapes.
    pub escape_backslashes: bool,
}

impl Default for Syntax {
    fn default() -> Self {
        Self {
            block_start: "{%".into(),
            block_end: "%}".into(),
            variable_start: "{{".into(),
            variable_end: "}}".into(),
            comment_start: "{#".into(),
            comment_end: "#}".into(),
            trim_blocks: true,
            lstrip_blocks: false,
            keep_trailing_newline: true,
            line_statement_prefix: None,
            line_comment_prefix: None,
            escape_backslashes: false,
        }
    }
}

/// A token inside a tag.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Name(String),
    Int(Value),
    Float(f64),
    Str(String),
    Op(&'static str),
}

/// A piece of the template.
#[derive(Debug)]
pub(crate) enum Segment {
    Text(String),
    Variable(Vec<Token>, u32),
    Block(Vec<Token>, u32),
}

const OPERATORS: &[&str] = &[
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{",
    "}", ",", ".", ":", "|",
];

/// Splits a template into its segments.
pub(crate) fn segments(source: &Arc<Source>, syntax: &Syntax) -> Result<Vec<Segment>> {
    let owned = source.text.replace("\r\n", "\n");
    let mut text = owned.as_str();
    if !syntax.keep_trailing_newline {
        text = text.strip_suffix('\n').unwrap_or(text);
    }
    let mut out = Vec::new();
    let mut at = 0;
    let mut pending = String::new();
    let line_of = |at: usize| text[..at].matches('\n').count() as u32 + 1;
    while at < text.len() {
        let found = next_tag(&text[at..], syntax).map(|(start, kind)| (at + start, kind));
        if let Some(line) = next_line(text, at, syntax, found) {
            pending.push_str(&text[at..line.start]);
            if line.is_statement {
                if !pending.is_empty() {
                    out.push(Segment::Text(std::mem::take(&mut pending)));
                }
                let (tokens, end) = line_tokens(text, line.inner, (source, line_of(line.start)))?;
                out.push(Segment::Block(tokens, line_of(line.start)));
                at = end;
            } else {
                at = line.inner + text[line.inner..].find('\n').unwrap_or(text.len() - line.inner);
            }
            continue;
        }
        let Some((start, kind)) = found else {
            pending.push_str(&text[at..]);
            break;
        };
        let (open, close) = match kind {
            'v' => (&syntax.variable_start, &syntax.variable_end),
            'b' => (&syntax.block_start, &syntax.block_end),
            _ => (&syntax.comment_start, &syntax.comment_end),
        };
        let mut inner = start + open.len();
        let sign = text[inner..].chars().next().filter(|c| matches!(c, '-' | '+'));
        let at_line_start = pending.is_empty() && (at == 0 || text[..at].ends_with('\n'));
        pending.push_str(&text[at..start]);
        match sign {
            Some('-') => pending.truncate(pending.trim_end().len()),
            None if syntax.lstrip_blocks && kind != 'v' => lstrip(&mut pending, at_line_start),
            _ => {}
        }
        inner += usize::from(sign.is_some());
        let line = line_of(start);
        if kind == 'c' {
            let Some(length) = text[inner..].find(close.as_str()) else {
                return Err(Error::syntax(source, line, "Missing end of comment tag"));
            };
            let end = inner + length;
            let trimmed = text[inner..end].ends_with('-');
            let trims_newline = syntax.trim_blocks && !text[inner..end].ends_with('+');
            at = after(text, end + close.len(), trimmed, trims_newline);
            continue;
        }
        let (tokens, end, last) =
            tokens(text, inner, close, (source, line), syntax.escape_backslashes && kind == 'v')?;
        at = end;
        if kind == 'b' && tokens == [Token::Name("raw".into())] {
            at = after(text, end, last == Some('-'), false);
            let (body, next) = raw(text, at, syntax, source, line)?;
            pending.push_str(&body);
            at = next;
            continue;
        }
        if !pending.is_empty() {
            out.push(Segment::Text(std::mem::take(&mut pending)));
        }
        if kind == 'v' {
            at = after(text, end, last == Some('-'), false);
            out.push(Segment::Variable(tokens, line));
        } else {
            at = after(text, at, last == Some('-'), syntax.trim_blocks && last != Some('+'));
            out.push(Segment::Block(tokens, line));
        }
    }
    if !pending.is_empty() {
        out.push(Segment::Text(pending));
    }
    Ok(out)
}

fn next_tag(text: &str, syntax: &Syntax) -> Option<(usize, char)> {
    [(&syntax.comment_start, 'c'), (&syntax.block_start, 'b'), (&syntax.variable_start, 'v')]
        .into_iter()
        .filter_map(|(open, kind)| text.find(open.as_str()).map(|at| (at, usize::MAX - open.len(), kind)))
        .min()
        .map(|(at, _, kind)| (at, kind))
}

fn lstrip(pending: &mut String, first: bool) {
    let line_start = pending.rfind('\n').map_or(0, |at| at + 1);
    if (line_start > 0 || first) && pending[line_start..].chars().all(|c| c == ' ' || c == '\t') {
        pending.truncate(line_start);
    }
}

fn after(text: &str, end: usize, strip: bool, trim_newline: bool) -> usize {
    let rest = &text[end..];
    if strip {
        end + (rest.len() - rest.trim_start().len())
    } else if trim_newline && rest.starts_with('\n') {
        end + 1
    } else {
        end
    }
}

fn raw(text: &str, from: usize, syntax: &Syntax, source: &Arc<Source>, line: u32) -> Result<(String, usize)> {
    let mut at = from;
    while let Some(found) = text[at..].find(&syntax.block_start) {
        let start = at + found;
        let inner = &text[start + syntax.block_start.len()..];
        let strip_left = inner.starts_with('-');
        let trimmed = inner.trim_start_matches(['-', '+']).trim_start();
        if let Some(rest) = trimmed.strip_prefix("endraw") {
            let tail = rest.trim_start();
            let strip_right = tail.starts_with('-');
            if let Some(after_close) =
                tail.trim_start_matches(['-', '+']).strip_prefix(syntax.block_end.as_str())
            {
                let body = &text[from..start];
                let mut body = if strip_left { body.trim_end() } else { body }.to_owned();
                if syntax.lstrip_blocks && !strip_left {
                    lstrip(&mut body, false);
                }
                let end = text.len() - after_close.len();
                return Ok((body, after(text, end, strip_right, syntax.trim_blocks)));
            }
        }
        at = start + syntax.block_start.len();
    }
    Err(Error::syntax(source, line, "Missing end of raw directive"))
}

type Tokens = (Vec<Token>, usize, Option<char>);

fn tokens(
    text: &str,
    from: usize,
    close: &str,
    (source, line): (&Arc<Source>, u32),
    literal: bool,
) -> Result<Tokens> {
    let mut out = Vec::new();
    let mut at = from;
    let mut depth = 0usize;
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if trimmed.is_empty() {
            return Err(Error::syntax(
                source,
                line,
                format!("unexpected end of template, expected '{close}'"),
            ));
        }
        if depth == 0 {
            if trimmed.starts_with(close) {
                return Ok((out, at + close.len(), None));
            }
            for sign in ['-', '+'] {
                if trimmed.starts_with(sign) && trimmed[1..].starts_with(close) {
                    return Ok((out, at + 1 + close.len(), Some(sign)));
                }
            }
        }
        at += push(trimmed, literal, &mut out, &mut depth)
            .ok_or_else(|| unexpected(trimmed, at, source, line))?;
    }
}

fn unexpected(text: &str, at: usize, source: &Arc<Source>, line: u32) -> Error {
    let c = text.chars().next().unwrap_or(' ');
    let message = format!("unexpected char {} at {at}", bakery_lang::repr::quote(&c.to_string()));
    Error::syntax(source, line, message)
}

/// Reads the next token behind others; how long it is.
fn push(text: &str, literal: bool, out: &mut Vec<Token>, depth: &mut usize) -> Option<usize> {
    let (token, length) = match out.last() {
        // After a point there is no fraction: `x.0.1` is the second item of the first.
        Some(Token::Op(".")) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            (Token::Int(whole::parse(&text[..end], 10)?), end)
        }
        _ => token(text, literal)?,
    };
    match &token {
        Token::Op("(" | "[" | "{") => *depth += 1,
        Token::Op(")" | "]" | "}") => *depth = depth.saturating_sub(1),
        _ => {}
    }
    out.push(token);
    Some(length)
}

/// A statement or a comment that a line is.
struct Line {
    /// Where it starts, with the blanks before it.
    start: usize,
    /// Where its prefix ends.
    inner: usize,
    is_statement: bool,
}

/// The next statement or comment that is marked by a prefix, if it comes before the tag.
fn next_line(text: &str, from: usize, syntax: &Syntax, tag: Option<(usize, char)>) -> Option<Line> {
    let blank = |c: char| c.is_whitespace() && c != '\n';
    let statement = syntax.line_statement_prefix.as_deref().and_then(|prefix| {
        text[from..].match_indices(prefix).find_map(|(found, _)| {
            let before = text[..from + found].trim_end_matches(blank);
            let is_first = before.is_empty() || before.ends_with('\n');
            (is_first && before.len() >= from).then(|| Line {
                start: before.len(),
                inner: from + found + prefix.len(),
                is_statement: true,
            })
        })
    });
    let comment = syntax.line_comment_prefix.as_deref().and_then(|prefix| {
        let found = from + text[from..].find(prefix)?;
        let start = text[..found].trim_end_matches(blank).len().max(from);
        Some(Line { start, inner: found + prefix.len(), is_statement: false })
    });
    // Of two that start at one place, the longer prefix is meant.
    let line = [statement, comment]
        .into_iter()
        .flatten()
        .min_by_key(|line| (line.start, std::cmp::Reverse(line.inner)))?;
    match tag {
        Some((start, kind)) => {
            let open = match kind {
                'v' => &syntax.variable_start,
                'b' => &syntax.block_start,
                _ => &syntax.comment_start,
            };
            let prefix =
                if line.is_statement { &syntax.line_statement_prefix } else { &syntax.line_comment_prefix };
            let is_longer = open.len() >= prefix.as_deref().unwrap_or_default().len();
            (line.start < start || line.start == start && !is_longer).then_some(line)
        }
        None => Some(line),
    }
}

/// The tokens of a statement that a line is: up to its end outside of brackets, with the blank lines behind it.
fn line_tokens(text: &str, from: usize, (source, line): (&Arc<Source>, u32)) -> Result<(Vec<Token>, usize)> {
    let (mut out, mut at, mut depth) = (Vec::new(), from, 0);
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start().len();
        if depth == 0 && blank == rest.len() {
            return Ok((out, text.len()));
        }
        if depth == 0
            && let Some(newline) = rest[..blank].rfind('\n')
        {
            return Ok((out, at + newline + 1));
        }
        at += blank;
        at += push(&text[at..], false, &mut out, &mut depth)
            .ok_or_else(|| unexpected(&text[at..], at, source, line))?;
    }
}

/// Tokens of a bare expression, as conditions are.
pub(crate) fn expression_tokens(source: &Arc<Source>) -> Result<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = source.text.trim();
    while !rest.is_empty() {
        let (token, length) = token(rest, false).ok_or_else(|| {
            let c = rest.chars().next().unwrap_or(' ');
            Error::syntax(source, 1, format!("unexpected char {}", bakery_lang::repr::quote(&c.to_string())))
        })?;
        out.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(out)
}

fn token(text: &str, literal: bool) -> Option<(Token, usize)> {
    let first = text.chars().next()?;
    if first == '"' || first == '\'' {
        return string(text, first, literal);
    }
    if first.is_ascii_digit() {
        return Some(number(text));
    }
    if first.is_alphabetic() || first == '_' {
        let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        return Some((Token::Name(text[..length].to_owned()), length));
    }
    OPERATORS.iter().find(|op| text.starts_with(**op)).map(|op| (Token::Op(op), op.len()))
}

fn number(text: &str) -> (Token, usize) {
    let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(s.len());
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = text.strip_prefix(prefix) {
            let length = rest.find(|c: char| !c.is_digit(radix) && c != '_').unwrap_or(rest.len());
            if let Some(value) = whole::parse(&rest[..length].replace('_', ""), radix) {
                return (Token::Int(value), 2 + length);
            }
        }
    }
    let mut length = digits(text);
    let mut float = false;
    let bytes = text.as_bytes();
    if bytes.get(length) == Some(&b'.') && bytes.get(length + 1).is_some_and(u8::is_ascii_digit) {
        float = true;
        length += 1 + digits(&text[length + 1..]);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(&text[length + 1 + sign..]);
        if exponent > 0 {
            float = true;
            length += 1 + sign + exponent;
        }
    }
    // A number does not begin with a zero, unless it is nothing but zeros.
    if !float && text.starts_with('0') {
        length = text.find(|c| c != '0' && c != '_').unwrap_or(text.len()).min(length);
    }
    let body = text[..length].replace('_', "");
    match whole::parse(&body, 10) {
        Some(int) if !float => (Token::Int(int), length),
        _ => (Token::Float(body.parse().unwrap_or(f64::INFINITY)), length),
    }
}

/// A Python string literal with its escapes, or with backslashes that are letters as any other.
fn string(text: &str, quote: char, literal: bool) -> Option<(Token, usize)> {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let inner = &text[1..at];
            let made = if literal { inner.to_owned() } else { unescaped(inner)? };
            return Some((Token::Str(made), at + 1));
        }
        if c == '\\' {
            chars.next()?;
        }
    }
    None
}

/// The text that a Python string literal means, given what is between its quotes; `None` if an escape is cut off.
pub fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escape = chars.next()?;
        if let Some(first) = escape.to_digit(8) {
            // Up to three octal digits, the first of which is read.
            let more = chars.clone().take(2).map_while(|c| c.to_digit(8)).collect::<Vec<_>>();
            for _ in &more {
                chars.next();
            }
            out.push(char::from_u32(more.iter().fold(first, |number, digit| number * 8 + digit))?);
            continue;
        }
        let mut hex = |n: usize| -> Option<char> {
            let digits: String = (0..n).map(|_| chars.next()).collect::<Option<_>>()?;
            char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
        };
        match escape {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'v' => out.push('\u{b}'),
            'x' => out.push(hex(2)?),
            'u' => out.push(hex(4)?),
            'U' => out.push(hex(8)?),
            '\n' => {}
            '\\' | '\'' | '"' => out.push(escape),
            other => out.extend(['\\', other]),
        }
    }
    Some(out)
}
