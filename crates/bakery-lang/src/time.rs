//! Python's `datetime`, `date`, `time` and `timedelta`, which templates make with `now()` and `to_datetime`.
//!
//! They live within expressions: what leaves a template is text in ISO 8601, and a span of time cannot leave it at all
//! (`ansible/_internal/_templating/_engine.py`).

use std::cmp::Ordering;
use std::fmt;

use jiff::civil::{Date, DateTime, Time as Clock};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};

use crate::Value;

const MICROS_A_SECOND: i128 = 1_000_000;
const MICROS_A_DAY: i128 = 86_400 * MICROS_A_SECOND;

/// A moment, a day, a time of day, or a span between moments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Time {
    /// `datetime`: in no time zone, or at an offset from UTC.
    Moment(DateTime, Option<Offset>),
    /// `date`.
    Day(Date),
    /// `time`.
    Clock(Clock),
    /// `timedelta`, in microseconds.
    Span(i128),
}

impl Time {
    /// Reads a moment as Python's `datetime.strptime(text, format)`.
    ///
    /// # Errors
    /// With Python's sentence, for text that does not match.
    pub fn parse(text: &str, format: &str) -> Result<Self, String> {
        let wrong = || format!("time data {} does not match format {}", quoted(text), quoted(format));
        // Names of time zones are read and not looked at, as Python does.
        let named = ["UTC", "GMT"].into_iter().find(|name| text.contains(name)).unwrap_or_default();
        let format = format.replace("%Z", named);
        let (parts, used) = BrokenDownTime::parse_prefix(&format, text).map_err(|_| wrong())?;
        if used < text.len() {
            return Err(format!("unconverted data remains: {}", &text[used..]));
        }
        let mut parts = parts;
        let mut set = || {
            if parts.year().is_none() {
                parts.set_year(Some(1900))?;
            }
            if parts.month().is_none() && parts.day_of_year().is_none() {
                parts.set_month(Some(1))?;
            }
            if parts.day().is_none() && parts.day_of_year().is_none() {
                parts.set_day(Some(1))?;
            }
            parts.to_date()
        };
        let date = set().map_err(|_| wrong())?;
        let time = parts.to_time().unwrap_or(Clock::midnight());
        Ok(Self::Moment(date.to_datetime(time), parts.offset()))
    }

    /// Reads a moment or a day as YAML 1.1 writes them (`!!timestamp`); `None` for other text.
    pub fn of_yaml(text: &str) -> Option<Self> {
        let parts = Timestamp::of(text)?;
        let number = |text: &str| text.parse::<i8>().ok();
        let day = Date::new(parts.day[0].parse().ok()?, number(parts.day[1])?, number(parts.day[2])?).ok()?;
        let Some(clock) = parts.clock else { return Some(Self::Day(day)) };
        let fraction = format!("{:0<6.6}", parts.fraction).parse::<i32>().ok()?;
        let clock =
            Clock::new(number(clock[0])?, number(clock[1])?, number(clock[2])?, fraction * 1000).ok()?;
        let offset = match parts.offset {
            None => None,
            Some((sign, hours, minutes)) => {
                let seconds = i32::from(number(hours)?) * 3600 + i32::from(number(minutes)?) * 60;
                Some(Offset::from_seconds(if sign == '-' { -seconds } else { seconds }).ok()?)
            }
        };
        Some(Self::Moment(day.to_datetime(clock), offset))
    }

    /// The present, in no time zone: that of this machine, or UTC.
    pub fn now(utc: bool) -> Self {
        Self::of(jiff::Timestamp::now(), if utc { TimeZone::UTC } else { TimeZone::system() })
    }

    /// The time of this machine that a clock gave, as of a file (`datetime.fromtimestamp`).
    pub fn local(time: std::time::SystemTime) -> Self {
        Self::of(jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH), TimeZone::system())
    }

    fn of(at: jiff::Timestamp, zone: TimeZone) -> Self {
        let now = at.to_zoned(zone).datetime();
        // Python's clock has microseconds.
        let micros = i32::from(now.millisecond()) * 1000 + i32::from(now.microsecond());
        Self::Moment(now.with().subsec_nanosecond(micros * 1000).build().unwrap_or(now), None)
    }

    /// The text of a moment in a format (`strftime`); what is no directive stays as it is.
    pub fn format(&self, format: &str) -> String {
        let parts = match self {
            Self::Moment(moment, offset) => {
                let mut parts = BrokenDownTime::from(*moment);
                parts.set_offset(*offset);
                parts
            }
            Self::Day(day) => BrokenDownTime::from(day.to_datetime(Clock::midnight())),
            Self::Clock(clock) => BrokenDownTime::from(Date::constant(1900, 1, 1).to_datetime(*clock)),
            Self::Span(_) => return self.to_string(),
        };
        let seconds = match self {
            Self::Moment(moment, offset) => instant(*moment, *offset).map(jiff::Timestamp::as_second),
            _ => None,
        };
        strftime(&parts, format, seconds)
    }

    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Moment(..) => "datetime",
            Self::Day(_) => "date",
            Self::Clock(_) => "time",
            Self::Span(_) => "timedelta",
        }
    }

    /// Python's `bool(value)`: only a span of nothing is false.
    pub fn is_true(&self) -> bool {
        *self != Self::Span(0)
    }

    /// ISO 8601, which is what it becomes outside of templates.
    pub fn iso(&self) -> String {
        self.text('T')
    }

    /// Python's `repr()`.
    pub fn repr(&self) -> String {
        let fields = |out: &mut Vec<String>, clock: &Clock| {
            let micros = micros(clock);
            out.extend([clock.hour(), clock.minute()].map(|n| n.to_string()));
            if clock.second() != 0 || micros != 0 {
                out.push(clock.second().to_string());
            }
            if micros != 0 {
                out.push(micros.to_string());
            }
        };
        let mut out = Vec::new();
        let day = |out: &mut Vec<String>, day: &Date| {
            out.extend([day.year().to_string(), day.month().to_string(), day.day().to_string()]);
        };
        match self {
            Self::Moment(moment, offset) => {
                day(&mut out, &moment.date());
                fields(&mut out, &moment.time());
                match offset {
                    Some(offset) if offset.is_zero() => out.push("tzinfo=datetime.timezone.utc".into()),
                    Some(offset) => out.push(format!(
                        "tzinfo=datetime.timezone({})",
                        Self::Span(i128::from(offset.seconds()) * MICROS_A_SECOND).repr()
                    )),
                    None => {}
                }
            }
            Self::Day(date) => day(&mut out, date),
            Self::Clock(clock) => fields(&mut out, clock),
            Self::Span(span) => {
                let (days, seconds, micros) = parts(*span);
                let named = [("days", days), ("seconds", seconds), ("microseconds", micros)];
                out.extend(named.iter().filter(|(_, n)| *n != 0).map(|(name, n)| format!("{name}={n}")));
                if out.is_empty() {
                    out.push("0".into());
                }
            }
        }
        format!("datetime.{}({})", self.type_name(), out.join(", "))
    }

    /// The value of an attribute; `None` if it has none of this name.
    pub fn attribute(&self, name: &str) -> Option<Value> {
        let of_day = |day: &Date| match name {
            "year" => Some(i64::from(day.year()).into()),
            "month" => Some(i64::from(day.month()).into()),
            "day" => Some(i64::from(day.day()).into()),
            _ => None,
        };
        let of_clock = |clock: &Clock| match name {
            "hour" => Some(i64::from(clock.hour()).into()),
            "minute" => Some(i64::from(clock.minute()).into()),
            "second" => Some(i64::from(clock.second()).into()),
            "microsecond" => Some(i64::from(micros(clock)).into()),
            _ => None,
        };
        match self {
            Self::Moment(moment, offset) => {
                of_day(&moment.date()).or_else(|| of_clock(&moment.time())).or_else(|| {
                    (name == "tzinfo").then(|| offset.map_or(Value::None, |offset| zone(offset).into()))
                })
            }
            Self::Day(day) => of_day(day),
            Self::Clock(clock) => of_clock(clock),
            Self::Span(span) => {
                let (days, seconds, micros) = parts(*span);
                match name {
                    "days" => Some(days.into()),
                    "seconds" => Some(seconds.into()),
                    "microseconds" => Some(micros.into()),
                    _ => None,
                }
            }
        }
    }

    /// Calls a method; `None` if it has none of this name.
    ///
    /// # Errors
    /// Arguments that do not fit.
    pub fn call(
        &self,
        name: &str,
        args: &[Value],
        named: &[(String, Value)],
    ) -> Option<Result<Value, String>> {
        let text = |at: usize| args.get(at).map(ToString::to_string).unwrap_or_default();
        let weekday = |day: Date| i64::from(day.weekday().to_monday_zero_offset());
        let made = match (self, name) {
            (Self::Moment(..) | Self::Day(_) | Self::Clock(_), "strftime") => self.format(&text(0)).into(),
            (Self::Moment(..), "isoformat") if !args.is_empty() => {
                self.text(text(0).chars().next().unwrap_or('T')).into()
            }
            (Self::Moment(..) | Self::Day(_) | Self::Clock(_), "isoformat") => self.iso().into(),
            (Self::Moment(..) | Self::Day(_), "ctime") => self.format("%a %b %e %H:%M:%S %Y").into(),
            (Self::Moment(moment, _), "date") => Self::Day(moment.date()).into(),
            (Self::Moment(moment, _), "time") => Self::Clock(moment.time()).into(),
            (Self::Moment(moment, offset), "timestamp") => match instant(*moment, *offset) {
                Some(at) => (at.as_microsecond() as f64 / 1e6).into(),
                None => return Some(Err("the time is out of range".into())),
            },
            (Self::Moment(_, offset), "utcoffset") => offset.map_or(Value::None, |offset| {
                Self::Span(i128::from(offset.seconds()) * MICROS_A_SECOND).into()
            }),
            (Self::Moment(_, offset), "tzname") => offset.map(zone).into(),
            (Self::Moment(moment, _), "weekday") => weekday(moment.date()).into(),
            (Self::Moment(moment, _), "isoweekday") => (weekday(moment.date()) + 1).into(),
            (Self::Day(day), "weekday") => weekday(*day).into(),
            (Self::Day(day), "isoweekday") => (weekday(*day) + 1).into(),
            (Self::Moment(..) | Self::Day(_) | Self::Clock(_), "replace") => {
                return Some(self.replaced(args, named).map(Value::from));
            }
            (Self::Span(span), "total_seconds") => (*span as f64 / 1e6).into(),
            _ => return None,
        };
        Some(Ok(made))
    }

    /// One with other fields.
    fn replaced(&self, args: &[Value], named: &[(String, Value)]) -> Result<Self, String> {
        const FIELDS: [&str; 7] = ["year", "month", "day", "hour", "minute", "second", "microsecond"];
        let from = if matches!(self, Self::Clock(_)) { 3 } else { 0 };
        let positional = args.iter().enumerate().filter_map(|(at, v)| Some((*FIELDS.get(from + at)?, v)));
        let (mut moment, offset) = match self {
            Self::Moment(moment, offset) => (*moment, *offset),
            Self::Day(day) => (day.to_datetime(Clock::midnight()), None),
            Self::Clock(clock) => (Date::constant(1900, 1, 1).to_datetime(*clock), None),
            Self::Span(_) => return Err("a timedelta has nothing to replace".into()),
        };
        for (name, value) in positional.chain(named.iter().map(|(name, value)| (name.as_str(), value))) {
            let wrong = || format!("{name} is out of range");
            let number = value.as_int().ok_or_else(|| format!("{name} must be a number"))?;
            let small = || i8::try_from(number).map_err(|_| wrong());
            let with = moment.with();
            let with = match name {
                "year" => with.year(i16::try_from(number).map_err(|_| wrong())?),
                "month" => with.month(small()?),
                "day" => with.day(small()?),
                "hour" => with.hour(small()?),
                "minute" => with.minute(small()?),
                "second" => with.second(small()?),
                "microsecond" => {
                    with.subsec_nanosecond(i32::try_from(number.saturating_mul(1000)).map_err(|_| wrong())?)
                }
                other => return Err(format!("'{other}' is an invalid keyword argument for replace()")),
            };
            moment = with.build().map_err(|_| wrong())?;
        }
        Ok(match self {
            Self::Day(_) => Self::Day(moment.date()),
            Self::Clock(_) => Self::Clock(moment.time()),
            _ => Self::Moment(moment, offset),
        })
    }

    /// The order of two of the same kind; `None` if they have none.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Moment(a, None), Self::Moment(b, None)) => Some(a.cmp(b)),
            (Self::Moment(a, Some(x)), Self::Moment(b, Some(y))) => {
                Some(instant(*a, Some(*x))?.cmp(&instant(*b, Some(*y))?))
            }
            (Self::Day(a), Self::Day(b)) => Some(a.cmp(b)),
            (Self::Clock(a), Self::Clock(b)) => Some(a.cmp(b)),
            (Self::Span(a), Self::Span(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// `self + other`; `None` if Python does not add these.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Span(a), Self::Span(b)) => Some(Self::Span(a.checked_add(*b)?)),
            (Self::Span(_), _) => other.plus(self),
            (Self::Moment(moment, offset), Self::Span(span)) => {
                Some(Self::Moment(moment.checked_add(duration(*span)?).ok()?, *offset))
            }
            (Self::Day(day), Self::Span(span)) => {
                let days = span.div_euclid(MICROS_A_DAY) * MICROS_A_DAY;
                let moment = day.to_datetime(Clock::midnight()).checked_add(duration(days)?).ok()?;
                Some(Self::Day(moment.date()))
            }
            _ => None,
        }
    }

    /// `self - other`; `None` if Python does not subtract these.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        let between = |a: DateTime, b: DateTime| {
            let zero = |moment| instant(moment, Some(Offset::UTC)).map(|t| i128::from(t.as_microsecond()));
            Some(Self::Span(zero(a)? - zero(b)?))
        };
        match (self, other) {
            (_, Self::Span(span)) => self.plus(&Self::Span(span.checked_neg()?)),
            (Self::Moment(a, None), Self::Moment(b, None)) => between(*a, *b),
            (Self::Moment(a, Some(x)), Self::Moment(b, Some(y))) => Some(Self::Span(i128::from(
                instant(*a, Some(*x))?.as_microsecond() - instant(*b, Some(*y))?.as_microsecond(),
            ))),
            (Self::Day(a), Self::Day(b)) => {
                between(a.to_datetime(Clock::midnight()), b.to_datetime(Clock::midnight()))
            }
            _ => None,
        }
    }

    fn text(&self, separator: char) -> String {
        match self {
            Self::Moment(moment, offset) => {
                let offset = offset.map(|offset| {
                    let seconds = offset.seconds();
                    let (sign, seconds) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
                    format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
                });
                let (day, clock) = (Self::Day(moment.date()), Self::Clock(moment.time()));
                format!("{day}{separator}{clock}{}", offset.unwrap_or_default())
            }
            Self::Day(day) => day.to_string(),
            Self::Clock(clock) => {
                let micros = micros(clock);
                let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
                format!("{:02}:{:02}:{:02}{fraction}", clock.hour(), clock.minute(), clock.second())
            }
            Self::Span(span) => {
                let (days, seconds, micros) = parts(*span);
                let days = match days {
                    0 => String::new(),
                    1 | -1 => format!("{days} day, "),
                    _ => format!("{days} days, "),
                };
                let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
                format!("{days}{}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60)
            }
        }
    }
}

/// Whether YAML 1.1 reads plain text as a moment or a day, though there may be no such day.
pub fn is_timestamp(text: &str) -> bool {
    Timestamp::of(text).is_some()
}

/// The parts of a `!!timestamp` (PyYAML's `resolver.py`).
struct Timestamp<'a> {
    day: [&'a str; 3],
    clock: Option<[&'a str; 3]>,
    fraction: &'a str,
    /// Its sign, hours and minutes; UTC has none.
    offset: Option<(char, &'a str, &'a str)>,
}

impl<'a> Timestamp<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let is = |part: &&str, least: usize, most: usize| {
            (least..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        };
        let three = |text: &'a str, at: char| -> Option<[&'a str; 3]> {
            text.split(at).collect::<Vec<_>>().try_into().ok()
        };
        let Some(at) = text.find(['T', 't', ' ', '\t']) else {
            let day = three(text, '-')?;
            let fits = is(&day[0], 4, 4) && is(&day[1], 2, 2) && is(&day[2], 2, 2);
            return fits.then_some(Self { day, clock: None, fraction: "", offset: None });
        };
        let day = three(&text[..at], '-')?;
        let blank = |c| c == ' ' || c == '\t';
        let rest = if text[at..].starts_with(blank) {
            text[at..].trim_start_matches(blank)
        } else {
            &text[at + 1..]
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.')).unwrap_or(rest.len());
        let (time, zone) = (&rest[..end], rest[end..].trim_start_matches(blank));
        let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
        let clock = three(time, ':')?;
        let offset = match zone.chars().next() {
            None => None,
            Some('Z') if zone.len() == 1 => Some(('+', "0", "0")),
            Some(sign @ ('+' | '-')) => {
                let (hours, minutes) = zone[1..].split_once(':').unwrap_or((&zone[1..], "00"));
                (is(&hours, 1, 2) && is(&minutes, 2, 2)).then_some(Some((sign, hours, minutes)))?
            }
            Some(_) => return None,
        };
        let fits = is(&day[0], 4, 4)
            && is(&day[1], 1, 2)
            && is(&day[2], 1, 2)
            && is(&clock[0], 1, 2)
            && is(&clock[1], 2, 2)
            && is(&clock[2], 2, 2)
            && is(&fraction, 0, usize::MAX);
        fits.then_some(Self { day, clock: Some(clock), fraction, offset })
    }
}

/// Python's `str()`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(' '))
    }
}

/// The text of a moment in seconds since 1970 in a format; without one, the present (`time.strftime`).
pub fn strftime_of(format: &str, seconds: Option<f64>, utc: bool) -> Option<String> {
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    let at = match seconds {
        Some(seconds) => jiff::Timestamp::from_microsecond((seconds * 1e6) as i64).ok()?,
        None => jiff::Timestamp::now(),
    };
    Some(strftime(&BrokenDownTime::from(&at.to_zoned(zone)), format, Some(at.as_second())))
}

fn strftime(parts: &BrokenDownTime, format: &str, seconds: Option<i64>) -> String {
    let mut ours = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '%' { letters.next() } else { None }) {
            // Python's fraction has always six digits.
            ('%', Some('f')) => ours.push_str("%6f"),
            // Seconds since 1970, which the C library knows.
            ('%', Some('s')) if seconds.is_some() => ours.push_str(&seconds.unwrap_or_default().to_string()),
            (letter, directive) => ours.extend([Some(letter), directive].into_iter().flatten()),
        }
    }
    let format = ours;
    let config = jiff::fmt::strtime::Config::new().lenient(true);
    parts.to_string_with_config(&config, &format).unwrap_or(format)
}

fn quoted(text: &str) -> String {
    crate::repr::quote(text)
}

fn micros(clock: &Clock) -> i32 {
    clock.subsec_nanosecond() / 1000
}

/// Days, seconds and microseconds of a span, the last two never negative.
fn parts(span: i128) -> (i128, i128, i128) {
    let rest = span.rem_euclid(MICROS_A_DAY);
    (span.div_euclid(MICROS_A_DAY), rest / MICROS_A_SECOND, rest % MICROS_A_SECOND)
}

fn duration(micros: i128) -> Option<jiff::SignedDuration> {
    Some(jiff::SignedDuration::from_micros(i64::try_from(micros).ok()?))
}

/// When a moment is; one in no time zone is in this machine's.
fn instant(moment: DateTime, offset: Option<Offset>) -> Option<jiff::Timestamp> {
    match offset {
        Some(offset) => offset.to_timestamp(moment).ok(),
        None => moment.to_zoned(TimeZone::system()).ok().map(|zoned| zoned.timestamp()),
    }
}

fn zone(offset: Offset) -> String {
    if offset.is_zero() {
        return "UTC".into();
    }
    let seconds = offset.seconds().abs();
    let sign = if offset.is_negative() { '-' } else { '+' };
    format!("UTC{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3.11's `datetime` answers.
    #[test]
    fn times_are_pythons() {
        let at = |text: &str| Time::parse(text, "%Y-%m-%d %H:%M:%S").expect("parses");
        let (a, b) = (at("2016-08-14 20:00:12"), at("2015-12-25 00:00:00"));
        let span = a.minus(&b).expect("a span");
        assert_eq!(span.to_string(), "233 days, 20:00:12");
        assert_eq!(b.minus(&a).expect("a span").to_string(), "-234 days, 3:59:48");
        assert_eq!(span.call("total_seconds", &[], &[]), Some(Ok(20_203_212.0.into())));
        assert_eq!(a.minus(&span).expect("a moment").to_string(), "2015-12-25 00:00:00");
        assert_eq!(a.repr(), "datetime.datetime(2016, 8, 14, 20, 0, 12)");
        assert_eq!(a.iso(), "2016-08-14T20:00:12");
        assert_eq!(a.format("%d.%m.%y %j %f %%s"), "14.08.16 227 000000 %s");
        assert_eq!(a.call("ctime", &[], &[]), Some(Ok("Sun Aug 14 20:00:12 2016".into())));
        assert_eq!(Time::parse("x", "%Y"), Err("time data 'x' does not match format '%Y'".into()));
        assert_eq!(Time::parse("2020x", "%Y"), Err("unconverted data remains: x".into()));
        let zoned = Time::of_yaml("2001-12-14t21:59:43.10-05:00").expect("a moment");
        assert_eq!(zoned.iso(), "2001-12-14T21:59:43.100000-05:00");
        assert_eq!(
            Time::of_yaml("2002-12-14").map(|day| day.repr()),
            Some("datetime.date(2002, 12, 14)".into())
        );
        for text in ["2002-1-14", "2002-12", "12:30:45", "2002-12-14 1:2:3", "2002-13-45"] {
            assert_eq!(Time::of_yaml(text), None, "{text}");
        }
        assert!(is_timestamp("2002-13-45") && !is_timestamp("2002-12-14x"));
    }
}
