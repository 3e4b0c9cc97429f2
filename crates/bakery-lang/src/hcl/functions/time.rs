//! Dates: HCL's own letters, Go's durations.

use jiff::{SignedDuration, Timestamp, Zoned};

use super::args::Args;
use crate::{Map, Value};

pub(super) fn call(args: &Args<'_>) -> Option<Result<Value, String>> {
    Some(match args.name {
        "timestamp" => Ok(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()),
        "formatdate" => args.string(0).and_then(|f| Ok(format(&f, &zoned(&args.string(1)?)?)?.into())),
        "timeadd" => args.string(0).and_then(|time| {
            let moved = zoned(&time)? + go_duration(&args.string(1)?)?;
            Ok(rfc3339(&moved).into())
        }),
        "legacy_isotime" => match args.values.first() {
            None => Ok(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()),
            Some(_) => {
                args.string(0).map(|layout| Timestamp::now().strftime(&go_layout(&layout)).to_string().into())
            }
        },
        "legacy_strftime" => args.string(0).map(|f| Timestamp::now().strftime(&f).to_string().into()),
        "rfc3339_parse" => args.string(0).and_then(|time| Ok(parts(&zoned(&time)?))),
        "unix_timestamp_parse" => args.num(0).and_then(|seconds| {
            let time = Timestamp::from_second(seconds as i64).map_err(|e| e.to_string())?;
            Ok(parts(&time.to_zoned(jiff::tz::TimeZone::UTC)))
        }),
        _ => return None,
    })
}

fn zoned(time: &str) -> Result<Zoned, String> {
    let bad = || format!("not a valid RFC3339 timestamp: `{time}`");
    let stamp: Timestamp = time.parse().map_err(|_| bad())?;
    // The offset that is written is the zone that is meant.
    let offset = match time.char_indices().rev().find(|(_, c)| matches!(c, '+' | '-' | 'Z' | 'z')) {
        Some((_, 'Z' | 'z')) | None => jiff::tz::Offset::UTC,
        Some((at, sign)) => {
            let (hours, minutes) = time[at + 1..].split_once(':').ok_or_else(bad)?;
            let seconds = hours.parse::<i32>().map_err(|_| bad())? * 3600
                + minutes.parse::<i32>().map_err(|_| bad())? * 60;
            jiff::tz::Offset::from_seconds(if sign == '-' { -seconds } else { seconds }).map_err(|_| bad())?
        }
    };
    Ok(stamp.to_zoned(jiff::tz::TimeZone::fixed(offset)))
}

fn rfc3339(time: &Zoned) -> String {
    let text = time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    text.strip_suffix("+00:00").map_or(text.clone(), |t| format!("{t}Z"))
}

/// A time as Go writes it (`ParseDuration` in its package `time`): `1h30m`, `-10s`, `1.5h`.
///
/// # Errors
/// What is no such time, in a sentence.
pub fn go_duration(text: &str) -> Result<SignedDuration, String> {
    if text == "0" {
        return Ok(SignedDuration::ZERO);
    }
    let bad = || format!("`{text}` is no duration (expected something like 1h30m)");
    let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |r| (true, r));
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..split].parse().map_err(|_| bad())?;
        let unit: String = rest[split..].chars().take_while(|c| !c.is_ascii_digit()).collect();
        seconds += number
            * match unit.as_str() {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(bad()),
            };
        rest = &rest[split + unit.len()..];
    }
    if text.is_empty() {
        return Err(bad());
    }
    SignedDuration::try_from_secs_f64(if negative { -seconds } else { seconds }).map_err(|_| bad())
}

fn parts(time: &Zoned) -> Value {
    let map = Map::new();
    for (name, value) in [
        ("year", i64::from(time.year())),
        ("month", i64::from(time.month())),
        ("day", i64::from(time.day())),
        ("hour", i64::from(time.hour())),
        ("minute", i64::from(time.minute())),
        ("second", i64::from(time.second())),
        ("unix", time.timestamp().as_second()),
        ("year_day", i64::from(time.day_of_year())),
    ] {
        map.set(name, value);
    }
    map.set("month_name", time.strftime("%B").to_string());
    map.set("weekday_name", time.strftime("%A").to_string());
    map.into()
}

/// Letters in groups stand for parts of the date; text in quotes for itself (`formatdate`'s documentation).
fn format(layout: &str, time: &Zoned) -> Result<String, String> {
    let mut out = String::new();
    let letters: Vec<char> = layout.chars().collect();
    let mut at = 0;
    while at < letters.len() {
        let c = letters[at];
        if c == '\'' {
            at += 1;
            loop {
                match letters.get(at) {
                    None => return Err("unterminated literal '".into()),
                    Some('\'') if letters.get(at + 1) == Some(&'\'') => {
                        out.push('\'');
                        at += 2;
                    }
                    Some('\'') => break,
                    Some(other) => {
                        out.push(*other);
                        at += 1;
                    }
                }
            }
            at += 1;
            continue;
        }
        if !c.is_ascii_alphabetic() {
            out.push(c);
            at += 1;
            continue;
        }
        let length = letters[at..].iter().take_while(|l| **l == c).count();
        let verb: String = letters[at..at + length].iter().collect();
        let strf = match verb.as_str() {
            "YYYY" => "%Y",
            "YY" => "%y",
            "MMMM" => "%B",
            "MMM" => "%b",
            "MM" => "%m",
            "M" => "%-m",
            "DD" => "%d",
            "D" => "%-d",
            "EEEE" => "%A",
            "EEE" => "%a",
            "hh" => "%H",
            "h" => "%-H",
            "HH" => "%I",
            "H" => "%-I",
            "AA" => "%p",
            "aa" => "%P",
            "mm" => "%M",
            "m" => "%-M",
            "ss" => "%S",
            "s" => "%-S",
            "ZZZZZ" => "%:z",
            "ZZZZ" | "ZZZ" | "Z" => {
                let is_utc = time.offset().seconds() == 0;
                match verb.as_str() {
                    "Z" if is_utc => "Z",
                    "ZZZ" if is_utc => "UTC",
                    "Z" => "%:z",
                    _ => "%z",
                }
            }
            _ => return Err(format!("invalid date format verb \"{verb}\"")),
        };
        out.push_str(&time.strftime(strf).to_string());
        at += length;
    }
    Ok(out)
}

/// Go's reference time as strftime's letters.
pub fn go_layout(layout: &str) -> String {
    // Longer ones first: `January` begins with `Jan`.
    let pairs = [
        ("2006", "%Y"),
        ("January", "%B"),
        ("Jan", "%b"),
        ("Monday", "%A"),
        ("Mon", "%a"),
        ("MST", "UTC"),
        ("Z07:00", "Z"),
        ("-0700", "+0000"),
        ("-07:00", "+00:00"),
        ("15", "%H"),
        ("01", "%m"),
        ("02", "%d"),
        ("03", "%I"),
        ("04", "%M"),
        ("05", "%S"),
        ("06", "%y"),
        ("PM", "%p"),
        ("pm", "%P"),
        ("_2", "%e"),
        ("1", "%-m"),
        ("2", "%-d"),
        ("3", "%-I"),
        ("4", "%-M"),
        ("5", "%-S"),
    ];
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        match pairs.iter().find(|(go, _)| rest.starts_with(go)) {
            Some((go, strf)) => {
                out.push_str(strf);
                rest = &rest[go.len()..];
            }
            None => {
                out.push_str(if c == '%' { "%%" } else { &rest[..c.len_utf8()] });
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}
