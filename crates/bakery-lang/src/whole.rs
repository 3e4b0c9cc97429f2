//! Whole numbers of any size, as Python has them: those beyond 127 bits are [`Value::Big`], and no others.

use std::cmp::Ordering;

pub use num_bigint::BigInt;
use num_bigint::Sign;
use num_traits::{FromPrimitive, ToPrimitive};

use crate::Value;

/// How many decimal digits are read, and no more: Python's `sys.int_info.default_max_str_digits`. Others want time that
/// grows with the square of their number.
const MOST_DIGITS: usize = 4300;

/// The largest whole number below which a double holds each.
const EXACT: u128 = 1 << 53;

/// Digits of a base, which may have a sign before them; `None` where they are no number, or more than
/// `MOST_DIGITS` in decimals.
pub fn parse(digits: &str, radix: u32) -> Option<Value> {
    if let Ok(number) = i128::from_str_radix(digits, radix) {
        return Some(Value::Int(number));
    }
    // The crate takes underscores for spaces between digits.
    if digits.contains('_') || (!radix.is_power_of_two() && digits.len() > MOST_DIGITS) {
        return None;
    }
    BigInt::parse_bytes(digits.as_bytes(), radix).map(Value::from)
}

/// The number of these bytes, the highest first, which is not negative.
pub fn from_bytes(bytes: &[u8]) -> Value {
    BigInt::from_bytes_be(Sign::Plus, bytes).into()
}

/// A double without its fraction; `None` for what is not finite.
pub fn truncated(number: f64) -> Option<Value> {
    BigInt::from_f64(number).map(Value::from)
}

/// The nearest double, infinity where it is larger than all.
pub(crate) fn to_float(number: &BigInt) -> f64 {
    number.to_f64().unwrap_or(f64::NAN)
}

/// How a value stands to a double, exactly: `None` where it is no whole number, `Some(None)` for NaN.
pub(crate) fn order(whole: &Value, float: f64) -> Option<Option<Ordering>> {
    if let Some(small) = whole.as_int()
        && small.unsigned_abs() < EXACT
    {
        return Some((small as f64).partial_cmp(&float));
    }
    let whole = whole.as_whole()?;
    let Some(floor) = BigInt::from_f64(float.floor()) else { return Some(0.0.partial_cmp(&float)) };
    let behind = if float.fract() == 0.0 { Ordering::Equal } else { Ordering::Less };
    Some(Some(whole.cmp(&floor).then(behind)))
}

/// The quotient towards minus infinity and the rest with the divisor's sign, which is not zero.
pub fn div_mod(a: &BigInt, b: &BigInt) -> (BigInt, BigInt) {
    let (quotient, rest) = (a / b, a % b);
    if rest.sign() != Sign::NoSign && rest.sign() != b.sign() {
        return (quotient - 1, rest + b);
    }
    (quotient, rest)
}

/// The number with so many digits at its end made zeros, the nearest such or of two the one that ends evenly.
pub fn rounded(number: BigInt, digits: u32) -> BigInt {
    if digits == 0 {
        return number;
    }
    let power = BigInt::from(10).pow(digits);
    let (quotient, rest) = div_mod(&number, &power);
    let twice: BigInt = rest * 2;
    let is_up = match twice.cmp(&power) {
        Ordering::Less => false,
        Ordering::Equal => quotient.bit(0),
        Ordering::Greater => true,
    };
    (quotient + u8::from(is_up)) * power
}

/// The double that is nearest to `a / b`, for a `b` that is not zero; `None` where it is larger than all.
pub fn quotient(a: &BigInt, b: &BigInt) -> Option<f64> {
    let exact =
        |number: &BigInt| i128::try_from(number).ok().filter(|n| n.unsigned_abs() <= EXACT).map(|n| n as f64);
    if let (Some(a), Some(b)) = (exact(a), exact(b)) {
        return Some(a / b);
    }
    // 66 bits of the quotient or one more, and whether anything comes behind them: these say how to round.
    let shift = 66 + i64::try_from(b.bits()).ok()? - i64::try_from(a.bits()).ok()?;
    let (mut scaled, mut divisor) = (a.magnitude().clone(), b.magnitude().clone());
    match usize::try_from(shift) {
        Ok(shift) => scaled <<= shift,
        Err(_) => divisor <<= usize::try_from(-shift).ok()?,
    }
    let whole = &scaled / &divisor;
    let behind = (&whole * &divisor) != scaled;
    let nearest = u128::try_from(whole).ok()? | u128::from(behind);
    // A power of two is taken off without another rounding, in two steps as it may be smaller than any double.
    let (first, second) = (-shift / 2, -shift - -shift / 2);
    let power = |exponent: i64| {
        2f64.powi(i32::try_from(exponent).unwrap_or(if exponent < 0 { i32::MIN } else { i32::MAX }))
    };
    let found = nearest as f64 * power(first) * power(second);
    let found = if a.sign() == b.sign() { found } else { -found };
    found.is_finite().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn big(digits: &str) -> BigInt {
        digits.parse().unwrap_or_default()
    }

    /// Recorded from CPython 3.11.
    #[test]
    fn large_numbers_are_what_python_makes_of_them() {
        let power = "1606938044258990275541962092341162602522202993782792835301376";
        assert_eq!(parse(power, 10).map(|value| value.to_string()).as_deref(), Some(power));
        assert_eq!(parse("-170141183460469231731687303715884105728", 10), Some(Value::Int(i128::MIN)));
        assert_eq!(parse("1_0", 10), None);
        assert_eq!(from_bytes(&[1, 0]), Value::Int(256));
        let before: BigInt = big(power) - 1;
        assert_eq!(from_bytes(&[0xff; 25]), Value::from(before));
        assert_eq!(parse(&"9".repeat(4301), 10), None);
        let (quotient_of, rest) = div_mod(&big(&format!("-{power}")), &big("7"));
        assert_eq!(rest, big("3"));
        assert_eq!(quotient_of, big("-229562577751284325077423156048737514646028999111827547900197"));
        assert_eq!(quotient(&big(power), &big("3")), Some(5.356_460_147_529_967e59));
        assert_eq!(quotient(&big("3"), &big(power)), Some(1.866_904_583_358_342_5e-60));
        assert_eq!(quotient(&big("-9007199254740993"), &big("1")), Some(-9_007_199_254_740_992.0));
        assert_eq!(quotient(&(big(power) << 1000), &big("1")), None);
    }

    #[test]
    fn doubles_are_compared_to_the_last_digit() {
        assert_ne!(Value::Int((1 << 53) + 1), Value::Float(9_007_199_254_740_992.0));
        assert_eq!(Value::Int(1 << 53), Value::Float(9_007_199_254_740_992.0));
        let power = Value::from(BigInt::from(1) << 200);
        assert_eq!(power, Value::Float(2f64.powi(200)));
        assert_eq!(order(&power, 2f64.powi(200) * 1.5), Some(Some(Ordering::Less)));
        assert_eq!(order(&power, f64::NEG_INFINITY), Some(Some(Ordering::Greater)));
        assert_eq!(order(&power, f64::NAN), Some(None));
        assert_eq!(order(&Value::Int(-3), -2.5), Some(Some(Ordering::Less)));
        assert_eq!(order(&"3".into(), 3.0), None);
    }
}
