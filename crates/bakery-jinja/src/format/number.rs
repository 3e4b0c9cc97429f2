//! Digits of numbers, as Python writes them in a format.

use bakery_lang::repr;
use bakery_lang::whole::{self, BigInt};

use crate::{Error, Result};

/// Digits behind the point that this program writes at most; a double has no more than 1,074.
const MOST_DIGITS: usize = 1100;

/// The digits of a whole number, without its sign.
pub(super) fn digits(number: &BigInt, verb: char) -> String {
    let number = number.magnitude();
    match verb {
        'x' => format!("{number:x}"),
        'X' => format!("{number:X}"),
        'o' => format!("{number:o}"),
        'b' => format!("{number:b}"),
        _ => number.to_string(),
    }
}

/// The whole part of a double.
pub(super) fn whole(number: f64) -> Result<BigInt> {
    if number.is_nan() {
        return Err(Error::new("cannot convert float NaN to integer"));
    }
    let whole = whole::truncated(number).and_then(|whole| whole.as_whole());
    whole.ok_or_else(|| Error::new("cannot convert float infinity to integer"))
}

/// A double that is not negative, as `e`, `f`, `g`, or `r` for what `str` writes; `alternate` keeps the point and, of `g`,
/// the zeros at the end (`Python/pystrtod.c`, `PyOS_double_to_string`).
pub(super) fn float(number: f64, verb: char, precision: usize, alternate: bool) -> Result<String> {
    if precision > i32::MAX as usize {
        return Err(Error::new("precision too big"));
    }
    let upper = verb.is_ascii_uppercase();
    let text = if number.is_nan() {
        "nan".into()
    } else if number.is_infinite() {
        "inf".into()
    } else {
        match verb.to_ascii_lowercase() {
            'f' => fixed(number, precision, alternate),
            'e' => exponential(number, precision, alternate),
            'r' => {
                let mut text = repr::float(number);
                if alternate && !text.contains('.') {
                    text.insert(text.find('e').unwrap_or(text.len()), '.');
                }
                text
            }
            _ => general(number, precision, alternate, 0),
        }
    };
    Ok(if upper { text.to_uppercase() } else { text })
}

fn fixed(number: f64, precision: usize, alternate: bool) -> String {
    let exact = precision.min(MOST_DIGITS);
    let mut text = format!("{number:.exact$}");
    // What comes behind is nothing: a double ends before.
    text.push_str(&"0".repeat(precision - exact));
    if alternate && precision == 0 {
        text.push('.');
    }
    text
}

fn exponential(number: f64, precision: usize, alternate: bool) -> String {
    let exact = precision.min(MOST_DIGITS);
    let text = format!("{number:.exact$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
    let zeros = "0".repeat(precision - exact);
    let point = if alternate && precision == 0 { "." } else { "" };
    format!("{mantissa}{zeros}{point}e{sign}{digits:0>2}")
}

/// `g`: the shorter of both, with so many digits that count. Where nothing says how, numbers keep a digit behind the
/// point; these have an `extra` of one.
pub(super) fn general(number: f64, precision: usize, alternate: bool, extra: usize) -> String {
    let digits = precision.max(1);
    let scientific = exponential(number, digits - 1, alternate);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let size: i64 = exponent.parse().unwrap_or(0);
    let shorter = |text: &str| -> String {
        if alternate || !text.contains('.') {
            return text.to_owned();
        }
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if size < -4 || size + extra as i64 >= digits as i64 {
        return format!("{}e{exponent}", shorter(mantissa));
    }
    let behind = usize::try_from(digits as i64 - 1 - size).unwrap_or(0);
    let text = shorter(&fixed(number, behind, alternate));
    if extra > 0 && !text.contains('.') { format!("{text}.0") } else { text }
}
