//! The specification of a field of `str.format`: `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`.

use bakery_lang::Value;
use bakery_lang::whole::BigInt;

use super::number::{digits, float, general};
use super::{pad, sign, size};
use crate::{Error, Result};

/// A specification for a value of a type.
pub(super) struct Spec<'a> {
    kind: &'a str,
    fill: char,
    align: Option<char>,
    sign: Option<char>,
    no_negative_zero: bool,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    verb: Option<char>,
}

impl<'a> Spec<'a> {
    /// Reads a specification for a value of a Python type.
    pub(super) fn parse(text: &str, kind: &'a str) -> Result<Self> {
        let chars: Vec<char> = text.chars().collect();
        let is_align = |at: usize| chars.get(at).is_some_and(|c| "<>^=".contains(*c));
        let (fill, mut align, mut at) = match (is_align(1), is_align(0)) {
            (true, _) => (Some(chars[0]), Some(chars[1]), 2),
            (false, true) => (None, Some(chars[0]), 1),
            (false, false) => (None, None, 0),
        };
        let mut taken = |wanted: &str| {
            let found = chars.get(at).copied().filter(|c| wanted.contains(*c));
            at += usize::from(found.is_some());
            found
        };
        let sign = taken("+- ");
        let no_negative_zero = taken("z").is_some();
        let alternate = taken("#").is_some();
        let zero = taken("0").is_some();
        if zero && align.is_none() && kind != "str" {
            align = Some('=');
        }
        let fill = fill.unwrap_or(if zero { '0' } else { ' ' });
        let number = |taken: &mut dyn FnMut(&str) -> Option<char>| -> Result<Option<usize>> {
            let mut digits = String::new();
            while let Some(digit) = taken("0123456789") {
                digits.push(digit);
            }
            if digits.is_empty() {
                return Ok(None);
            }
            let number =
                digits.parse().map_err(|_| Error::new("Too many decimal digits in format string"))?;
            size(number).map(Some)
        };
        let width = number(&mut taken)?.unwrap_or(0);
        let grouping = taken(",_");
        if let (Some(first), Some(second)) = (grouping, taken(",_")) {
            let text = if first == second { "Cannot specify" } else { "Cannot specify both" };
            let what =
                if first == second { format!("'{first}' with '{second}'.") } else { "',' and '_'.".into() };
            return Err(Error::new(format!("{text} {what}")));
        }
        let precision = match taken(".") {
            Some(_) => {
                Some(number(&mut taken)?.ok_or_else(|| Error::new("Format specifier missing precision"))?)
            }
            None => None,
        };
        let rest = &chars[at..];
        if rest.len() > 1 {
            return Err(Error::new(format!("Invalid format specifier '{text}' for object of type '{kind}'")));
        }
        let verb = rest.first().copied();
        Ok(Self { kind, fill, align, sign, no_negative_zero, alternate, width, grouping, precision, verb })
    }

    fn unknown(&self) -> Error {
        let verb = self.verb.unwrap_or(' ');
        Error::new(format!("Unknown format code '{verb}' for object of type '{}'", self.kind))
    }

    /// A text.
    pub(super) fn text(&self, text: &str) -> Result<String> {
        if !matches!(self.verb, None | Some('s')) {
            return Err(self.unknown());
        }
        let wrong = |what: &str| Err(Error::new(format!("{what} not allowed in string format specifier")));
        match (self.sign, self.align) {
            (Some(' '), _) => return wrong("Space"),
            (Some(_), _) => return wrong("Sign"),
            (None, Some('=')) => return wrong("'=' alignment"),
            _ if self.no_negative_zero => return wrong("Negative zero coercion (z)"),
            _ if self.alternate => return wrong("Alternate form (#)"),
            _ => {}
        }
        if let Some(grouping) = self.grouping {
            return Err(Error::new(format!("Cannot specify '{grouping}' with 's'.")));
        }
        let text: String = text.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
        Ok(pad(&text, self.width, self.align.unwrap_or('<'), self.fill))
    }

    /// A whole number.
    pub(super) fn integer(&self, value: &Value) -> Result<String> {
        let number = value.as_whole().unwrap_or_default();
        let verb = self.verb.unwrap_or('d');
        if "eEfFgG%".contains(verb) {
            let double = value.as_float().filter(|double| double.is_finite());
            return self.float(double.ok_or_else(|| Error::new("int too large to convert to float"))?);
        }
        if !"bcdoxXn".contains(verb) {
            return Err(self.unknown());
        }
        if self.precision.is_some() {
            return Err(Error::new("Precision not allowed in integer format specifier"));
        }
        if self.no_negative_zero {
            return Err(Error::new(
                "Negative zero coercion (z) not allowed in format specifier with integer",
            ));
        }
        if verb == 'c' {
            if self.sign.is_some() {
                return Err(Error::new("Sign not allowed with integer format specifier 'c'"));
            }
            let letter = u32::try_from(&number).ok().and_then(char::from_u32);
            let letter = letter.ok_or_else(|| Error::new("%c arg not in range(0x110000)"))?;
            return Ok(pad(&letter.to_string(), self.width, self.align.unwrap_or('<'), self.fill));
        }
        if let (Some(','), 'b' | 'o' | 'x' | 'X' | 'n') = (self.grouping, verb) {
            return Err(Error::new(format!("Cannot specify ',' with '{verb}'.")));
        }
        let prefix = if self.alternate && "boxX".contains(verb) { format!("0{verb}") } else { String::new() };
        let group = if "boxX".contains(verb) { 4 } else { 3 };
        Ok(self.number(number < BigInt::default(), &prefix, &digits(&number, verb), "", group))
    }

    /// A double.
    pub(super) fn float(&self, number: f64) -> Result<String> {
        let verb = self.verb.unwrap_or('r');
        if !"eEfFgG%nr".contains(verb) || self.verb == Some('r') {
            return Err(self.unknown());
        }
        let (value, precision) = (number.abs(), self.precision.unwrap_or(6));
        let text = match (verb, self.precision) {
            ('r', None) => float(value, 'r', 0, self.alternate)?,
            ('r', Some(precision)) if value.is_finite() => general(value, precision, self.alternate, 1),
            ('%', _) => float(value * 100.0, 'f', precision, self.alternate)? + "%",
            ('n' | 'r', _) => float(value, 'g', precision, self.alternate)?,
            _ => float(value, verb, precision, self.alternate)?,
        };
        let is_zero =
            !text.split(['e', 'E']).next().unwrap_or("").contains(|c: char| ('1'..='9').contains(&c));
        let is_negative = number.is_sign_negative()
            && !number.is_nan()
            && !(self.no_negative_zero && is_zero && number.is_finite());
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (before, behind) = text.split_at(end);
        Ok(self.number(is_negative, "", before, behind, 3))
    }

    /// A number of its parts, in its width.
    fn number(&self, is_negative: bool, prefix: &str, before: &str, behind: &str, group: usize) -> String {
        let sign = sign(is_negative, &self.sign.map(String::from).unwrap_or_default());
        let align = self.align.unwrap_or('>');
        let around = sign.len() + prefix.len() + behind.chars().count();
        let grouped = match self.grouping {
            Some(separator) => {
                // Zeros that fill a number are grouped as its digits are.
                let least =
                    if align == '=' && self.fill == '0' { self.width.saturating_sub(around) } else { 0 };
                grouped(before, separator, group, least)
            }
            None => before.to_owned(),
        };
        let body = format!("{grouped}{behind}");
        if align == '=' {
            let missing = self.width.saturating_sub(sign.len() + prefix.len() + body.chars().count());
            let fill: String = std::iter::repeat_n(self.fill, missing).collect();
            return format!("{sign}{prefix}{fill}{body}");
        }
        pad(&format!("{sign}{prefix}{body}"), self.width, align, self.fill)
    }
}

/// Digits in groups, with zeros before them until they are so many characters.
fn grouped(digits: &str, separator: char, group: usize, least: usize) -> String {
    let mut reversed = String::new();
    let mut count = 0;
    let mut letters = digits.chars().rev();
    loop {
        let next = letters.next();
        if next.is_none() && (digits.is_empty() || reversed.len() >= least) {
            break;
        }
        if count > 0 && count % group == 0 {
            reversed.push(separator);
        }
        reversed.push(next.unwrap_or('0'));
        count += 1;
    }
    reversed.chars().rev().collect()
}
