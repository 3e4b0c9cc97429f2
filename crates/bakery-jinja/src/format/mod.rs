//! Python's `%` formatting and `str.format` (the library reference: "printf-style String Formatting", "Format String
//! Syntax"). Every form is compared with Python's answers in `tests/cases.json`.

mod number;
mod spec;

use std::iter::Peekable;
use std::str::Chars;

use bakery_lang::whole::BigInt;
use bakery_lang::{Value, repr};

use self::number::{digits, float};
use self::spec::Spec;
use crate::{Arguments, Error, Result};

/// How deep fields of `str.format` may have fields in their specification, as in Python.
const NESTED: usize = 2;

/// `format % args`.
pub(crate) fn percent(format: &str, args: &Value) -> Result<String> {
    let list = match args {
        Value::Tuple(items) => items.to_vec(),
        other => vec![other.clone()],
    };
    let mut left = list.into_iter();
    let mut has_keys = false;
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if out.len() > crate::ops::MOST_TEXT {
            return Err(Error::new("the text is too long"));
        }
        let mut next = || left.next().ok_or_else(|| Error::new("not enough arguments for format string"));
        let keyed = match chars.next_if_eq(&'(') {
            Some(_) => {
                has_keys = true;
                let key = key(&mut chars)?;
                let Value::Map(map) = args else { return Err(Error::new("format requires a mapping")) };
                Some(map.get(&key).ok_or_else(|| Error::new(format!("KeyError: '{key}'")))?)
            }
            None => None,
        };
        let mut flags = String::new();
        while let Some(flag) = chars.next_if(|c| "-+ #0".contains(*c)) {
            flags.push(flag);
        }
        let mut width = counted(&mut chars, &mut next)?.unwrap_or(0);
        if width < 0 {
            flags.push('-');
            width = -width;
        }
        let precision = match chars.next_if_eq(&'.') {
            Some(_) => Some(counted(&mut chars, &mut next)?.unwrap_or(0).max(0)),
            None => None,
        };
        // Lengths of C are read and mean nothing.
        while chars.next_if(|c| "hlL".contains(*c)).is_some() {}
        let verb = chars.next().ok_or_else(|| Error::new("incomplete format"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = match keyed {
            Some(value) => value,
            None => next()?,
        };
        let field = Field { flags: &flags, width: size(width)?, precision: precision.map(size).transpose()? };
        out.push_str(&field.render(&value, verb)?);
    }
    if !has_keys && left.next().is_some() && !matches!(args, Value::Map(_)) {
        return Err(Error::new("not all arguments converted during string formatting"));
    }
    Ok(out)
}

/// A key in parentheses, which may hold others.
fn key(chars: &mut Peekable<Chars<'_>>) -> Result<String> {
    let mut key = String::new();
    let mut depth = 1;
    for c in chars.by_ref() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return Ok(key);
        }
        key.push(c);
    }
    Err(Error::new("incomplete format key"))
}

/// A width or a precision: digits, or the next argument for `*`.
fn counted(chars: &mut Peekable<Chars<'_>>, next: &mut dyn FnMut() -> Result<Value>) -> Result<Option<i128>> {
    if chars.next_if_eq(&'*').is_some() {
        return next()?.as_int().map(Some).ok_or_else(|| Error::new("* wants int"));
    }
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    if digits.is_empty() {
        return Ok(None);
    }
    digits.parse().map(Some).map_err(|_| Error::new("width too big"))
}

/// A width or a precision that memory can hold.
fn size(number: i128) -> Result<usize> {
    let size = usize::try_from(number).ok().filter(|size| *size <= crate::ops::MOST_TEXT);
    size.ok_or_else(|| Error::new("width too big"))
}

/// What stands between `%` and the letter of its type.
struct Field<'a> {
    flags: &'a str,
    width: usize,
    precision: Option<usize>,
}

impl Field<'_> {
    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    fn render(&self, value: &Value, verb: char) -> Result<String> {
        let wrong =
            |what: &str| Error::new(format!("%{verb} format: {what} is required, not {}", value.type_name()));
        let (prefix, body) = match verb {
            's' | 'r' | 'a' => {
                let text = if verb == 's' { value.to_string() } else { repr::repr(value) };
                let text = match self.precision {
                    Some(most) => text.chars().take(most).collect(),
                    None => text,
                };
                return Ok(pad(&text, self.width, if self.has('-') { '<' } else { '>' }, ' '));
            }
            'c' => {
                let text = match value {
                    Value::Str(text) if text.as_str().chars().count() == 1 => text.as_str().to_owned(),
                    Value::Int(_) | Value::Big(_) | Value::Bool(_) => value
                        .as_int()
                        .and_then(|number| u32::try_from(number).ok())
                        .and_then(char::from_u32)
                        .ok_or_else(|| Error::new("%c arg not in range(0x110000)"))?
                        .to_string(),
                    _ => return Err(Error::new("%c requires int or char")),
                };
                return Ok(pad(&text, self.width, if self.has('-') { '<' } else { '>' }, ' '));
            }
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
                let number = match value {
                    Value::Int(_) | Value::Big(_) | Value::Bool(_) => value.as_whole().unwrap_or_default(),
                    Value::Float(number) if "diu".contains(verb) => number::whole(*number)?,
                    _ if "diu".contains(verb) => return Err(wrong("a real number")),
                    _ => return Err(wrong("an integer")),
                };
                let mut text = digits(&number, verb);
                let missing = self.precision.unwrap_or(0).saturating_sub(text.len());
                text.insert_str(0, &"0".repeat(missing));
                let prefix = match verb {
                    'x' | 'X' | 'o' if self.has('#') => format!("0{verb}"),
                    _ => String::new(),
                };
                (sign(number < BigInt::default(), self.flags) + &prefix, text)
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let number = value.as_float().ok_or_else(|| {
                    let kind = value.type_name();
                    Error::new(format!("must be real number, not {kind}"))
                })?;
                let text = float(number.abs(), verb, self.precision.unwrap_or(6), self.has('#'))?;
                (sign(number.is_sign_negative() && !number.is_nan(), self.flags), text)
            }
            other => {
                return Err(Error::new(format!(
                    "unsupported format character '{other}' (0x{:x})",
                    u32::from(other)
                )));
            }
        };
        let missing = self.width.saturating_sub(prefix.len() + body.len());
        Ok(match (self.has('-'), self.has('0')) {
            (true, _) => format!("{prefix}{body}{}", " ".repeat(missing)),
            (false, true) => format!("{prefix}{}{body}", "0".repeat(missing)),
            (false, false) => format!("{}{prefix}{body}", " ".repeat(missing)),
        })
    }
}

/// The sign of a number under flags.
fn sign(is_negative: bool, flags: &str) -> String {
    match is_negative {
        true => "-".into(),
        false if flags.contains('+') => "+".into(),
        false if flags.contains(' ') => " ".into(),
        false => String::new(),
    }
}

/// A text in a width that is counted in characters.
pub(crate) fn pad(body: &str, width: usize, align: char, fill: char) -> String {
    let missing = width.min(crate::ops::MOST_TEXT).saturating_sub(body.chars().count());
    let fills = |n: usize| std::iter::repeat_n(fill, n).collect::<String>();
    match align {
        '<' => format!("{body}{}", fills(missing)),
        '^' => format!("{}{body}{}", fills(missing / 2), fills(missing - missing / 2)),
        _ => format!("{}{body}", fills(missing)),
    }
}

/// `text.format(…)`.
pub(crate) fn format(text: &str, args: &Arguments) -> Result<String> {
    fields(text, args, &mut Numbering::default(), NESTED)
}

/// Whether fields are counted by themselves or have numbers: not both.
#[derive(Default)]
struct Numbering {
    next: usize,
    by_hand: bool,
}

fn fields(text: &str, args: &Arguments, numbering: &mut Numbering, depth: usize) -> Result<String> {
    if depth == 0 {
        return Err(Error::new("Max string recursion exceeded"));
    }
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.next_if_eq(&c).is_some() => out.push(c),
            '}' => return Err(Error::new("Single '}' encountered in format string")),
            '{' => {
                let inner = inner(&mut chars)?;
                out.push_str(&replaced(&inner, args, numbering, depth)?);
                if out.len() > crate::ops::MOST_TEXT {
                    return Err(Error::new("the text is too long"));
                }
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// What stands between the braces of a field, which may hold fields itself.
fn inner(chars: &mut Peekable<Chars<'_>>) -> Result<String> {
    if chars.peek().is_none() {
        return Err(Error::new("Single '{' encountered in format string"));
    }
    let mut inner = String::new();
    let mut depth = 1;
    let mut in_index = false;
    for c in chars.by_ref() {
        match c {
            '[' if depth == 1 => in_index = true,
            ']' => in_index = false,
            '{' if !in_index => depth += 1,
            '}' if !in_index => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(inner);
        }
        inner.push(c);
    }
    Err(Error::new("expected '}' before end of string"))
}

/// A field: `name.attribute[index]!conversion:specification`.
fn replaced(inner: &str, args: &Arguments, numbering: &mut Numbering, depth: usize) -> Result<String> {
    let mut in_index = false;
    let end = inner.find(|c: char| {
        in_index = (in_index || c == '[') && c != ']';
        !in_index && (c == '!' || c == ':')
    });
    let (name, rest) = inner.split_at(end.unwrap_or(inner.len()));
    let (conversion, spec) = match rest.strip_prefix('!') {
        Some(rest) => {
            let (conversion, spec) = rest.split_once(':').unwrap_or((rest, ""));
            (Some(conversion), spec)
        }
        None => (None, rest.strip_prefix(':').unwrap_or("")),
    };
    let value = named(name, args, numbering)?;
    let value = match conversion {
        None => value,
        Some("s") => value.to_string().into(),
        Some("r" | "a") => repr::repr(&value).into(),
        Some("") => return Err(Error::new("end of string while looking for conversion specifier")),
        Some(other) => return Err(Error::new(format!("Unknown conversion specifier {other}"))),
    };
    if spec.is_empty() {
        return Ok(value.to_string());
    }
    formatted(&value, &fields(spec, args, numbering, depth - 1)?)
}

/// The value that a field names.
fn named(name: &str, args: &Arguments, numbering: &mut Numbering) -> Result<Value> {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(end);
    let by_hand = !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit());
    let index = if first.is_empty() {
        if numbering.by_hand {
            let text = "cannot switch from manual field specification to automatic field numbering";
            return Err(Error::new(text));
        }
        numbering.next += 1;
        Some(numbering.next - 1)
    } else {
        first.parse::<usize>().ok().filter(|_| by_hand)
    };
    if by_hand {
        if numbering.next > 0 {
            let text = "cannot switch from automatic field numbering to manual field specification";
            return Err(Error::new(text));
        }
        numbering.by_hand = true;
    }
    let mut value = match index {
        Some(index) => args.positional.get(index).cloned().ok_or_else(|| {
            Error::new(format!("Replacement index {index} out of range for positional args tuple"))
        })?,
        None => args.named(first).ok_or_else(|| Error::new(format!("KeyError: '{first}'")))?,
    };
    while !rest.is_empty() {
        let (part, after) = match rest.strip_prefix('[') {
            Some(inside) => {
                inside.split_once(']').ok_or_else(|| Error::new("Missing ']' in format string"))?
            }
            None => {
                let attribute = rest
                    .strip_prefix('.')
                    .ok_or_else(|| Error::new("Only '.' or '[' may follow ']' in format field specifier"))?;
                attribute.split_at(attribute.find(['.', '[']).unwrap_or(attribute.len()))
            }
        };
        if part.is_empty() {
            return Err(Error::new("Empty attribute in format string"));
        }
        let found = match (part.parse::<usize>(), &value) {
            (_, Value::Time(time)) => time.attribute(part),
            (Ok(index), Value::List(_) | Value::Tuple(_)) => {
                value.as_items().and_then(|items| items.get(index).cloned())
            }
            (Ok(index), Value::Str(text)) => text.as_str().chars().nth(index).map(|c| c.to_string().into()),
            _ => value.get(part),
        };
        value = found.ok_or_else(|| {
            Error::new(format!("'{}' has no attribute or item '{part}'", value.type_name()))
        })?;
        rest = after;
    }
    Ok(value)
}

/// `format(value, spec)`.
fn formatted(value: &Value, spec: &str) -> Result<String> {
    if spec.is_empty() {
        return Ok(value.to_string());
    }
    match value {
        Value::Str(text) => Spec::parse(spec, "str")?.text(text.as_str()),
        Value::Int(_) | Value::Big(_) | Value::Bool(_) => {
            Spec::parse(spec, value.type_name())?.integer(value)
        }
        Value::Float(number) => Spec::parse(spec, "float")?.float(*number),
        Value::Time(time) => Ok(time.format(spec)),
        other => {
            let kind = other.type_name();
            Err(Error::new(format!("unsupported format string passed to {kind}.__format__")))
        }
    }
}
