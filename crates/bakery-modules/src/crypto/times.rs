//! Moments as options and results have them.

use crate::Failure;

/// Seconds since 1970 that a text means (`get_relative_time_option` in `module_utils/_time.py`).
pub(crate) fn moment(text: &str, option: &str, now: i64) -> Result<i64, Failure> {
    let invalid = || Failure::new(format!("The time spec \"{text}\" for {option} is invalid"));
    if let Some(rest) = text.strip_prefix(['+', '-']) {
        let (mut seconds, mut digits, mut units) = (0_i64, String::new(), "wdhms".chars());
        if rest.is_empty() {
            return Err(invalid());
        }
        let add = |digits: &mut String, unit: char, seconds: &mut i64| -> Option<()> {
            let length = match unit {
                'w' => 604_800,
                'd' => 86_400,
                'h' => 3600,
                'm' => 60,
                _ => 1,
            };
            *seconds = digits.parse::<i64>().ok()?.checked_mul(length)?.checked_add(*seconds)?;
            digits.clear();
            Some(())
        };
        for letter in rest.chars() {
            if letter.is_ascii_digit() {
                digits.push(letter);
                continue;
            }
            // Each unit once, the longer ones first.
            let unit = letter.to_ascii_lowercase();
            units.find(|known| *known == unit).ok_or_else(invalid)?;
            add(&mut digits, unit, &mut seconds).ok_or_else(invalid)?;
        }
        if !digits.is_empty() {
            units.find(|known| *known == 's').ok_or_else(invalid)?;
            add(&mut digits, 's', &mut seconds).ok_or_else(invalid)?;
        }
        let seconds = if text.starts_with('-') { -seconds } else { seconds };
        return now.checked_add(seconds).ok_or_else(invalid);
    }
    let zoned = |format: &str| jiff::Zoned::strptime(format, text).map(|at| at.timestamp().as_second());
    let plain = |format: &str| {
        let at = jiff::civil::DateTime::strptime(format, text);
        at.and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC)).map(|at| at.timestamp().as_second())
    };
    match text.len() {
        15 => plain("%Y%m%d%H%M%SZ"),
        13 => plain("%Y%m%d%H%MZ"),
        19 => zoned("%Y%m%d%H%M%S%z"),
        17 => zoned("%Y%m%d%H%M%z"),
        _ => return Err(invalid()),
    }
    .map_err(|_| invalid())
}

/// A time as results have it.
pub(crate) fn shown(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    at.strftime("%Y%m%d%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::moment;

    /// What `get_relative_time_option` gives.
    #[test]
    fn moments_are_absolute_or_relative() {
        assert_eq!(moment("+1w2d3h4m5s", "t", 0).ok(), Some(788_645));
        assert_eq!(moment("-10", "t", 100).ok(), Some(90));
        assert_eq!(moment("20200101000000Z", "t", 0).ok(), Some(1_577_836_800));
        assert_eq!(moment("202001010000+0100", "t", 0).ok(), Some(1_577_833_200));
        for wrong in ["+", "+1s1d", "tomorrow", "+1y", "2020"] {
            assert!(moment(wrong, "t", 0).is_err(), "{wrong}");
        }
    }
}
