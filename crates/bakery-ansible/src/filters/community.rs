//! Filters of the collection `community.general` (`plugins/filter`).

use bakery_jinja::{Arguments, Error, Result, ops};
use bakery_lang::regex::{Flags, compile};
use bakery_lang::{Map, Value, ini, repr};
use unicode_normalization::UnicodeNormalization as _;

use super::core::seeded;
use super::lists::{dedup, merge_into};
use super::query::search;
use crate::lookups::rows;
use crate::tests::compare;

/// Runs a filter; `None` for one that is not known here.
pub(super) fn call(name: &str, value: &Value, args: &Arguments) -> Option<Result<Value>> {
    Some(match name {
        "accumulate" => accumulate(value),
        "counter" => counter(value),
        "crc32" => {
            text_of(value, "crc32").map(|text| format!("{:x}", crc32fast::hash(text.as_bytes())).into())
        }
        "dict" => ops::to_map(value),
        "dict_kv" => args.need(0, "key").map(|key| {
            let map = Map::new();
            map.insert(key, value.clone());
            map.into()
        }),
        "from_csv" => from_csv(value, args),
        "from_ini" => from_ini(value),
        "groupby_as_dict" => args.need(0, "attribute").and_then(|key| group(value, &key)),
        "json_query" => args.need(0, "expr").and_then(|query| search(value, &query.to_string())),
        "keep_keys" | "remove_keys" => keys(name == "keep_keys", value, args),
        "replace_keys" => rename(value, args),
        "lists_union" | "lists_intersect" | "lists_difference" | "lists_symmetric_difference" => {
            lists(name, value, args)
        }
        "lists_mergeby" => merge_lists(value, args),
        "random_mac" => random_mac(value, args),
        "to_time_unit" => in_unit(value, &args.text(0, "unit", "ms"), args),
        "to_ini" => to_ini(value),
        "unicode_normalize" => normalize(value, &args.text(0, "form", "NFC")),
        "version_sort" => version_sort(value, args),
        _ => match UNITS.iter().find(|unit| name.strip_prefix("to_") == Some(unit.plural)) {
            Some(unit) => in_unit(value, unit.short, args),
            None => return None,
        },
    })
}

fn text_of(value: &Value, name: &str) -> Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| {
        Error::new(format!(
            "Invalid value type (<class '{}'>) for {name} ({})",
            value.type_name(),
            repr::repr(value)
        ))
    })
}

/// The items of a list, or the letters of a text.
fn sequence(value: &Value, otherwise: impl Fn() -> String) -> Result<Vec<Value>> {
    match value {
        Value::Str(text) => Ok(text.as_str().chars().map(|c| c.to_string().into()).collect()),
        _ => value.as_items().ok_or_else(|| Error::new(otherwise())),
    }
}

fn accumulate(value: &Value) -> Result<Value> {
    let items = sequence(value, || {
        format!("Invalid value type (<class '{}'>) for accumulate ({})", value.type_name(), repr::repr(value))
    })?;
    let mut sums: Vec<Value> = Vec::new();
    for item in items {
        let sum = match sums.last() {
            Some(sum) => ops::add(sum, &item)?,
            None => item,
        };
        sums.push(sum);
    }
    Ok(Value::list(sums))
}

fn counter(value: &Value) -> Result<Value> {
    let items = sequence(value, || {
        format!(
            "Argument for community.general.counter must be a sequence (string or list). {} is <class '{}'>",
            value,
            value.type_name()
        )
    })?;
    let counts = Map::new();
    for item in items {
        if matches!(item, Value::List(_) | Value::Map(_)) {
            return Err(Error::new(format!(
                "community.general.counter needs a sequence with hashable elements (int, float or str) - unhashable type: '{}'",
                item.type_name()
            )));
        }
        let count = counts.get_value(&item).and_then(|c| c.as_int()).unwrap_or(0);
        counts.insert(item, Value::Int(count + 1));
    }
    Ok(counts.into())
}

fn from_csv(value: &Value, args: &Arguments) -> Result<Value> {
    let text = value.to_string();
    let dialect = args.text(0, "dialect", "excel");
    let tab = match dialect.as_str() {
        "excel" | "unix" => ',',
        "excel-tab" => '\t',
        other => {
            return Err(Error::new(format!("Dialect '{other}' is not supported by your version of python.")));
        }
    };
    let given = args.get(2, "delimiter").filter(|d| !d.is_none()).map(|d| d.to_string());
    let delimiter = given.and_then(|d| d.chars().next()).unwrap_or(tab);
    let skip_space = args.flag(3, "skipinitialspace", false);
    let mut rows =
        rows(text.trim_start_matches('\u{feff}'), delimiter).into_iter().filter(|row| row != &[""]);
    let names = match args.get(1, "fieldnames").filter(|n| !n.is_none()) {
        Some(names) => ops::iterate(&names)?.iter().map(ToString::to_string).collect(),
        None => rows.next().unwrap_or_default(),
    };
    let cell =
        |text: &str| if skip_space { text.trim_start_matches(' ').to_owned() } else { text.to_owned() };
    let names: Vec<String> = names.iter().map(|n| cell(n)).collect();
    let out = rows.map(|row| {
        let map = Map::new();
        for (at, name) in names.iter().enumerate() {
            map.set(name, row.get(at).map_or(Value::None, |text| cell(text).into()));
        }
        if row.len() > names.len() {
            map.insert(Value::None, Value::strings(row[names.len()..].iter().map(|t| cell(t))));
        }
        Value::from(map)
    });
    Ok(Value::list(out.collect()))
}

fn from_ini(value: &Value) -> Result<Value> {
    let Some(text) = value.as_str() else {
        return Err(Error::new(format!("from_ini requires a str, got <class '{}'>", value.type_name())));
    };
    let file = ini::parse(text, ini::Rules { case_sensitive: true, allow_no_value: false })
        .map_err(|e| Error::new(format!("from_ini failed to parse given string: {e}")))?;
    // Defaults come first, with a section's own values in their place.
    let section = |name: &str| {
        let options = Map::new();
        for (key, value) in file.options("DEFAULT").into_iter().chain(file.options(name)) {
            options.set(key, value.unwrap_or_default());
        }
        Value::from(options)
    };
    let out = Map::new();
    for name in file.sections() {
        out.set(name, section(name));
    }
    if file.has_section("DEFAULT") {
        out.set("DEFAULT", section("DEFAULT"));
    }
    Ok(out.into())
}

/// The text of sections with their options; the last of its empty lines is left out.
fn to_ini(value: &Value) -> Result<Value> {
    let Some(map) = value.as_map() else {
        return Err(Error::new(format!("to_ini requires a dict, got <class '{}'>", value.type_name())));
    };
    if map.is_empty() {
        return Err(Error::new("to_ini received an empty dict. An empty dict cannot be converted."));
    }
    let mut out = String::new();
    let mut pairs = map.pairs();
    // The section of defaults comes first.
    pairs.sort_by_key(|(name, _)| name.as_str() != Some("DEFAULT"));
    for (name, options) in pairs {
        let options = options.as_map().ok_or_else(|| {
            Error::new(format!(
                "to_ini failed to parse given dict:'{}' object has no attribute 'items'",
                options.type_name()
            ))
        })?;
        out.push_str(&format!("[{name}]\n"));
        for (key, value) in options.pairs() {
            out.push_str(&format!("{key} = {}\n", value.to_string().replace('\n', "\n\t")));
        }
        out.push('\n');
    }
    out.pop();
    Ok(out.into())
}

fn group(value: &Value, key: &Value) -> Result<Value> {
    let out = Map::new();
    let items = value.as_items().ok_or_else(|| Error::new("Input is not a sequence"))?;
    for (at, item) in items.iter().enumerate() {
        let map =
            item.as_map().ok_or_else(|| Error::new(format!("Sequence element #{at} is not a mapping")))?;
        let found = map
            .get_value(key)
            .ok_or_else(|| Error::new(format!("Attribute not contained in element #{at} of sequence")))?;
        if out.contains_value(&found) {
            let shown = repr::repr(&found);
            return Err(Error::new(format!("Multiple sequence entries have attribute value {shown}")));
        }
        out.insert(found, item.clone());
    }
    Ok(out.into())
}

/// How names of keys are compared.
enum Matching {
    Equal(Vec<String>),
    Start(Vec<String>),
    End(Vec<String>),
    Regex(Vec<fancy_regex::Regex>),
}

impl Matching {
    fn of(args: &Arguments, texts: Vec<String>) -> Result<Self> {
        Ok(match args.text(1, "matching_parameter", "equal").as_str() {
            "equal" => Self::Equal(texts),
            "starts_with" => Self::Start(texts),
            "ends_with" => Self::End(texts),
            "regex" => {
                let all: std::result::Result<Vec<_>, String> =
                    texts.iter().map(|text| compile(text, Flags::default())).collect();
                Self::Regex(all.map_err(|_| {
                    Error::new("The target must be a valid regex if matching_parameter=regex.")
                })?)
            }
            other => {
                return Err(Error::new(format!(
                    "The matching_parameter must be one of ['equal', 'starts_with', 'ends_with', 'regex']. matching_parameter={other}"
                )));
            }
        })
    }

    /// Which of the texts a name is like.
    fn position(&self, name: &str) -> Option<usize> {
        match self {
            Self::Equal(texts) => texts.iter().position(|t| name == t),
            Self::Start(texts) => texts.iter().position(|t| name.starts_with(t)),
            Self::End(texts) => texts.iter().position(|t| name.ends_with(t)),
            Self::Regex(all) => {
                all.iter().position(|r| r.find(name).ok().flatten().is_some_and(|found| found.start() == 0))
            }
        }
    }
}

fn maps(value: &Value) -> Result<Vec<Map>> {
    let items = value.as_items().ok_or_else(|| {
        Error::new(format!("First argument must be a list. {value} is <class '{}'>", value.type_name()))
    })?;
    let map = |item: &Value| {
        item.as_map().cloned().ok_or_else(|| {
            Error::new(format!(
                "The data items must be dictionaries. {item} is <class '{}'>",
                item.type_name()
            ))
        })
    };
    items.iter().map(map).collect()
}

fn keys(keep: bool, value: &Value, args: &Arguments) -> Result<Value> {
    let target = args.need(0, "target")?;
    let texts = match &target {
        Value::Str(text) => vec![text.as_str().to_owned()],
        other => ops::iterate(other)?.iter().map(ToString::to_string).collect(),
    };
    if texts.iter().all(String::is_empty) {
        return Err(Error::new("The target can't be empty."));
    }
    let matching = Matching::of(args, texts)?;
    let each = |map: &Map| {
        let kept =
            map.pairs().into_iter().filter(|(k, _)| matching.position(&k.to_string()).is_some() == keep);
        let out = Map::new();
        kept.for_each(|(key, value)| out.insert(key, value));
        Value::from(out)
    };
    Ok(Value::list(maps(value)?.iter().map(each).collect()))
}

fn rename(value: &Value, args: &Arguments) -> Result<Value> {
    let target = maps(&args.need(0, "target")?)?;
    let texts = |name: &str| -> Result<Vec<String>> {
        let missing = || Error::new("All dictionaries in target must include attributes: after, before.");
        target.iter().map(|map| map.get(name).map(|v| v.to_string()).ok_or_else(missing)).collect()
    };
    let (before, after) = (texts("before")?, texts("after")?);
    let matching = Matching::of(args, before)?;
    let each = |map: &Map| {
        let out = Map::new();
        for (key, value) in map.pairs() {
            let name = matching.position(&key.to_string()).and_then(|at| after.get(at));
            out.insert(name.map_or(key, |name| name.as_str().into()), value);
        }
        Value::from(out)
    };
    Ok(Value::list(maps(value)?.iter().map(each).collect()))
}

/// The lists that a filter is given; with `flatten`, lists of lists among them are taken apart.
fn given(value: &Value, rest: &[Value], flatten: bool) -> Result<Vec<Vec<Value>>> {
    let mut out = Vec::new();
    for list in std::iter::once(value).chain(rest) {
        let items = list.as_items().ok_or_else(|| {
            Error::new(format!("All arguments must be lists. {list} is <class '{}'>", list.type_name()))
        })?;
        let inner: Option<Vec<Vec<Value>>> = items.iter().map(Value::as_items).collect();
        match inner {
            _ if flatten && items.is_empty() => {}
            Some(inner) if flatten => out.extend(inner),
            _ => out.push(items),
        }
    }
    Ok(out)
}

fn lists(name: &str, value: &Value, args: &Arguments) -> Result<Value> {
    let flatten = args.named("flatten").is_some_and(|v| v.is_true());
    let mut lists = given(value, &args.positional, flatten)?.into_iter();
    let Some(first) = lists.next() else { return Ok(Value::list(vec![])) };
    if lists.len() == 0 {
        return Ok(Value::list(first));
    }
    let mut found = if matches!(name, "lists_intersect" | "lists_difference") { dedup(first) } else { first };
    for list in lists {
        match name {
            "lists_union" => found.extend(list),
            "lists_intersect" => found.retain(|item| list.contains(item)),
            "lists_difference" => found.retain(|item| !list.contains(item)),
            _ => {
                let both: Vec<Value> = found.iter().filter(|item| list.contains(item)).cloned().collect();
                found.extend(list);
                found = dedup(found);
                found.retain(|item| !both.contains(item));
            }
        }
    }
    Ok(Value::list(if name == "lists_union" { dedup(found) } else { found }))
}

fn merge_lists(value: &Value, args: &Arguments) -> Result<Value> {
    let recursive = args.named("recursive").is_some_and(|v| v.is_true());
    let list_merge = args.named("list_merge").map_or_else(|| "replace".to_owned(), |v| v.to_string());
    let Some((index, rest)) = args.positional.split_last() else {
        return Err(Error::new("At least one list and index are needed."));
    };
    let lists = given(value, rest, true)?;
    let Some(index) = index.as_str() else {
        return Err(Error::new(format!(
            "First argument after the lists for community.general.lists_mergeby must be string. {index} is <class '{}'>",
            index.type_name()
        )));
    };
    if let [only] = lists.as_slice() {
        return Ok(Value::list(only.clone()));
    }
    let merged = Map::new();
    for item in lists.iter().flatten() {
        let map = item.as_map().ok_or_else(|| {
            Error::new(format!(
                "Elements of list arguments for lists_mergeby must be dictionaries. {item} is <class '{}'>",
                item.type_name()
            ))
        })?;
        if let Some(key) = map.get(index) {
            let out = merged.get_value(&key).and_then(|m| m.as_map().cloned()).unwrap_or_default();
            merge_into(&out, map, recursive, &list_merge);
            merged.insert(key, out.into());
        }
    }
    let mut pairs = merged.pairs();
    let mut wrong = None;
    pairs.sort_by(|(a, _), (b, _)| {
        ops::order(a, b, "<")
            .unwrap_or_else(|e| {
                wrong = Some(e);
                None
            })
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    match wrong {
        Some(error) => Err(error),
        None => Ok(Value::list(pairs.into_iter().map(|(_, value)| value).collect())),
    }
}

/// The address of a network card that begins with what is given.
fn random_mac(value: &Value, args: &Arguments) -> Result<Value> {
    let prefix = text_of(value, "random_mac")?.to_lowercase();
    let invalid = |why: String| Error::new(format!("Invalid value ({prefix}) for random_mac: {why}"));
    let parts: Vec<&str> = prefix.split(':').collect();
    if parts.len() > 5 {
        return Err(invalid("5 colon(:) separated items max".into()));
    }
    let is_byte = |part: &str| part.len() >= 2 && part.chars().take(2).all(|c| c.is_ascii_hexdigit());
    let wrong: Vec<String> = parts
        .iter()
        .filter(|part| !is_byte(part))
        .map(|part| if part.is_empty() { "empty item".into() } else { format!("{part} not hexa byte") })
        .collect();
    if !wrong.is_empty() {
        return Err(invalid(wrong.join(",")));
    }
    const LEAST: u128 = 0x10_0000_0000;
    const MOST: u128 = 0xff_ffff_ffff;
    let number = LEAST + seeded(args.get(0, "seed").as_ref())?.below(MOST - LEAST + 1);
    let digits = format!("{number:x}");
    let rest: String = (0..6 - parts.len()).map(|at| format!(":{}", &digits[2 * at..2 * at + 2])).collect();
    Ok(format!("{prefix}{rest}").into())
}

/// A unit of time.
struct Unit {
    plural: &'static str,
    short: &'static str,
    names: &'static [&'static str],
    milliseconds: f64,
}

const UNITS: &[Unit] = &[
    Unit {
        plural: "milliseconds",
        short: "ms",
        names: &["millisecond", "msec", "msecond"],
        milliseconds: 1.0,
    },
    Unit { plural: "seconds", short: "s", names: &["sec", "second"], milliseconds: 1000.0 },
    Unit { plural: "minutes", short: "m", names: &["min", "minute"], milliseconds: 60_000.0 },
    Unit { plural: "hours", short: "h", names: &["hour"], milliseconds: 3_600_000.0 },
    Unit { plural: "days", short: "d", names: &["day"], milliseconds: 86_400_000.0 },
    Unit { plural: "weeks", short: "w", names: &["week"], milliseconds: 604_800_000.0 },
    Unit { plural: "months", short: "mo", names: &["month"], milliseconds: 2_592_000_000.0 },
    Unit { plural: "years", short: "y", names: &["year"], milliseconds: 31_536_000_000.0 },
];

/// A length of time as people write it, `1h 30m`, in a unit; `year` and `month` say how many days those have.
fn in_unit(value: &Value, unit: &str, args: &Arguments) -> Result<Value> {
    let text = value.to_string();
    if text == "0" {
        return Ok(Value::Int(0));
    }
    let of_unit = |name: &str| -> Option<f64> {
        let singular = name.trim_end_matches('s');
        let unit = UNITS.iter().find(|u| u.short == name || u.names.contains(&singular))?;
        let days = match unit.short {
            "y" => args.named("year"),
            "mo" => args.named("month"),
            _ => None,
        };
        Some(days.and_then(|d| d.as_float()).map_or(unit.milliseconds, |days| days * 86_400_000.0))
    };
    let unknown = || {
        let names: Vec<&str> = UNITS.iter().flat_map(|u| u.names).copied().collect();
        let shorts: Vec<&str> = UNITS.iter().map(|u| u.short).collect();
        Error::new(format!(
            "to_time_unit() can not convert to the following unit: {unit}. Available units (singular or plural): {}. Available short units: {}",
            names.join(", "),
            shorts.join(", ")
        ))
    };
    let target = of_unit(unit).ok_or_else(unknown)?;
    let mut sum = 0.0;
    for part in text.split_whitespace() {
        let wrong = || Error::new(format!("to_time_unit() can not interpret following string: {text}"));
        let digits = part.strip_prefix('-').unwrap_or(part);
        let end = part.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, name) = part.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let word: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        sum += number * of_unit(&word).ok_or_else(wrong)?;
    }
    let rounded = format!("{:.12}", sum / target);
    Ok(Value::Float(rounded.parse().unwrap_or(sum / target)))
}

fn normalize(value: &Value, form: &str) -> Result<Value> {
    let Some(text) = value.as_str() else {
        return Err(Error::new(format!("<class '{}'> is not a valid input type", value.type_name())));
    };
    Ok(match form {
        "NFC" => text.nfc().collect::<String>(),
        "NFD" => text.nfd().collect(),
        "NFKC" => text.nfkc().collect(),
        "NFKD" => text.nfkd().collect(),
        other => return Err(Error::new(format!("{other} is not a valid form"))),
    }
    .into())
}

fn version_sort(value: &Value, args: &Arguments) -> Result<Value> {
    let mut items = ops::iterate(value)?;
    let reverse = args.flag(0, "reverse", false);
    // Equal ones keep their order in both directions.
    items.sort_by(|a, b| {
        let order = compare(&a.to_string(), &b.to_string());
        if reverse { order.reverse() } else { order }
    });
    Ok(Value::list(items))
}
