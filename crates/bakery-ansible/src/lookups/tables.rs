//! Lookups in tables: `ini`, `csvfile` and `subelements` (`ansible/plugins/lookup/{ini,csvfile,subelements}.py`).

use bakery_jinja::{Error, Result};
use bakery_lang::regex::{Flags, compile};
use bakery_lang::{Map, Value, encoding, ini};

use super::{file_bytes, file_text};
use crate::Templar;

/// A term of the old form, `key option=value …`: its key, and the options with those of the term above the given ones.
fn inline(term: &str, options: &Map, known: &[&str]) -> Result<(String, Map)> {
    let all = options.copied();
    if !term.contains('=') && !term.trim().contains(' ') {
        return Ok((term.to_owned(), all));
    }
    let mut key: Option<String> = None;
    for word in crate::playbook::split_args(term) {
        let unquoted = |text: &str| text.trim_matches(['"', '\'']).to_owned();
        match word.split_once('=') {
            Some((name, value)) if known.contains(&name) => all.set(name, unquoted(value)),
            Some((name, _)) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                return Err(Error::new(format!("'{name}' is not a valid option.")));
            }
            _ => key = Some(key.map_or_else(|| word.clone(), |k| format!("{k} {word}"))),
        }
    }
    let key = key.ok_or_else(|| {
        Error::new(format!(
            "No key to look up was provided as first term within string inline options: {term}"
        ))
    })?;
    Ok((key, all))
}

fn text(options: &Map, name: &str, default: &str) -> String {
    options.get(name).filter(|v| !v.is_none()).map_or_else(|| default.to_owned(), |v| v.to_string())
}

fn flag(options: &Map, name: &str) -> bool {
    options.get(name).is_some_and(|v| bakery_modules::args::boolean(&v).unwrap_or(false))
}

/// The text of a file in an encoding.
fn encoded_text(templar: &Templar, name: &str, encoding: &str) -> Result<String> {
    if matches!(encoding.to_lowercase().as_str(), "utf-8" | "utf8") {
        return file_text(templar, name);
    }
    let text = encoding::decode(encoding, &file_bytes(templar, name)?).map_err(Error::new)?;
    text.ok_or_else(|| Error::new(format!("the file '{name}' is not in the encoding {encoding}")))
}

/// Every element of a list with each of those of a list inside it.
pub(super) fn subelements(terms: &[Value]) -> Result<Vec<Value>> {
    let wrong =
        |why: &str| Error::new(format!("subelements lookup expects a list of two or three items, {why}"));
    let (Some(first), Some(key), true) = (terms.first(), terms.get(1), terms.len() <= 3) else {
        return Err(wrong(""));
    };
    let elements = match (first, key) {
        (Value::Map(map), Value::Str(_)) if map.get("skipped").is_some_and(|s| s != Value::Bool(false)) => {
            return Ok(vec![]);
        }
        (Value::Map(map), Value::Str(_)) => map.pairs().into_iter().map(|(_, v)| v).collect(),
        (Value::List(_) | Value::Tuple(_), Value::Str(_)) => first.as_items().unwrap_or_default(),
        _ => return Err(wrong("first a dict or a list, second a string pointing to the subkey")),
    };
    let skip_missing = match terms.get(2) {
        Some(Value::Map(flags)) if flags.keys().iter().all(|k| k.as_str() == Some("skip_missing")) => {
            flag(flags, "skip_missing")
        }
        Some(_) => return Err(wrong("the optional third item must be a dict with flags ('skip_missing',)")),
        None => false,
    };
    let key = key.to_string();
    let path: Vec<&str> = key.split('.').collect();
    let mut out = Vec::new();
    for element in elements {
        let Value::Map(map) = &element else {
            return Err(Error::new(format!("subelements lookup expects a dictionary, got '{element}'")));
        };
        if map.get("skipped").is_some_and(|s| s != Value::Bool(false)) {
            continue;
        }
        let mut inner = map.clone();
        let mut found = None;
        for (at, part) in path.iter().enumerate() {
            let last = at + 1 == path.len();
            let problem = match inner.get(part) {
                None => {
                    format!("could not find '{part}' key in iterated item '{}'", Value::Map(inner.clone()))
                }
                Some(Value::Map(deeper)) if !last => {
                    inner = deeper;
                    continue;
                }
                Some(list) if last && list.as_items().is_some() => {
                    found = list.as_items();
                    break;
                }
                Some(other) if last => {
                    return Err(Error::new(format!("the key {part} should point to a list, got '{other}'")));
                }
                Some(other) => format!("the key {part} should point to a dictionary, got '{other}'"),
            };
            if !skip_missing {
                return Err(Error::new(problem));
            }
        }
        // The element is told without the list that it is told with each item of.
        if found.is_some() {
            let last = path.last().copied().unwrap_or_default();
            let rest = without(map, &path[..path.len() - 1], last);
            out.extend(
                found.unwrap_or_default().into_iter().map(|item| Value::list(vec![rest.clone(), item])),
            );
        }
    }
    Ok(out)
}

/// A mapping without the key at the end of a path.
fn without(map: &Map, path: &[&str], key: &str) -> Value {
    let copy = map.copied();
    match path.split_first() {
        None => drop(copy.remove(key)),
        Some((first, rest)) => {
            if let Some(Value::Map(inner)) = copy.get(first) {
                copy.set(first, without(&inner, rest, key));
            }
        }
    }
    copy.into()
}

/// The values of a key in a section of an INI file, or of a properties file.
pub(super) fn ini_values(templar: &Templar, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    const OPTIONS: &[&str] = &[
        "type",
        "file",
        "section",
        "re",
        "encoding",
        "default",
        "case_sensitive",
        "interpolation",
        "allow_no_value",
        "allow_none",
    ];
    let mut out = Vec::new();
    for term in terms {
        let (key, options) = inline(&term.to_string(), options, OPTIONS)?;
        let file = text(&options, "file", "ansible.ini");
        let content = encoded_text(templar, &file, &text(&options, "encoding", "utf-8"))?;
        let properties = text(&options, "type", "ini") == "properties";
        let section =
            if properties { "java_properties".to_owned() } else { text(&options, "section", "global") };
        let case = flag(&options, "case_sensitive");
        let bare = flag(&options, "allow_no_value") || flag(&options, "allow_none");
        let rules = ini::Rules { case_sensitive: case, allow_no_value: bare };
        let content = if properties { format!("[{section}]\n{content}") } else { content };
        let read =
            ini::parse(&content, rules).map_err(|error| match error.strip_prefix("Duplicate option") {
                Some(_) => Error::new(format!("Duplicate option in '{file}'.")),
                None => Error::new(error),
            })?;
        if !read.has_section(&section) {
            return Err(Error::new(format!("No section '{section}' in '{file}'.")));
        }
        let pairs = read.options(&section);
        let interpolate =
            options.get("interpolation").is_none_or(|v| bakery_modules::args::boolean(&v).unwrap_or(true));
        let value = |value: Option<&str>| match value {
            Some(text) if interpolate => {
                read.interpolated(&section, text).map(Value::from).map_err(Error::new)
            }
            other => Ok(other.into()),
        };
        if flag(&options, "re") {
            let regex = compile(&key, Flags::default()).map_err(Error::new)?;
            let fits = |name: &str| regex.find(name).ok().flatten().is_some_and(|found| found.start() == 0);
            for (_, found) in pairs.iter().filter(|(name, _)| fits(name)) {
                out.push(value(*found)?);
            }
            continue;
        }
        let wanted = if case { key } else { key.to_lowercase() };
        match pairs.iter().find(|(name, _)| *name == wanted) {
            Some((_, Some(found))) => out.push(value(Some(found))?),
            Some((_, None)) => {}
            None => out.push(options.get("default").unwrap_or_else(|| "".into())),
        }
    }
    Ok(out)
}

/// The values of a column in the rows whose key column is the term.
pub(super) fn csv(templar: &Templar, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    const OPTIONS: &[&str] = &["col", "keycol", "default", "delimiter", "file", "encoding"];
    let mut out = Vec::new();
    for term in terms {
        let (key, options) = inline(&term.to_string(), options, OPTIONS).map_err(|error| {
            if error.message.starts_with("No key") {
                Error::new("Search key is required but was not found")
            } else {
                error
            }
        })?;
        let delimiter = text(&options, "delimiter", "TAB");
        let delimiter = match delimiter.as_str() {
            "TAB" | "\\t" => '\t',
            other => other.chars().next().unwrap_or('\t'),
        };
        let number = |name: &str, default: usize| -> Result<usize> {
            match options.get(name) {
                None => Ok(default),
                Some(v) => v.to_string().trim().parse().map_err(|_| {
                    Error::new(format!("the option '{name}' has an invalid value: '{v}' is not an integer"))
                }),
            }
        };
        let (column, key_column) = (number("col", 1)?, number("keycol", 0)?);
        let file = text(&options, "file", "ansible.csv");
        let content = encoded_text(templar, &file, &text(&options, "encoding", "utf-8"))?;
        let found = rows(&content, delimiter).into_iter().find(|row| row.get(key_column) == Some(&key));
        match found {
            Some(row) => {
                out.push(row.get(column).map(|cell| Value::from(cell.as_str())).ok_or_else(|| {
                    Error::new(format!(
                        "csvfile: list index out of range: the row of {key} has no column {column}"
                    ))
                })?);
            }
            None => match options.get("default") {
                Some(Value::List(items)) => out.extend(items.items()),
                Some(default) if !default.is_none() => out.push(default),
                _ => {}
            },
        }
    }
    Ok(out)
}

/// Rows of cells; `"` quotes, and `""` in quotes is one.
pub(crate) fn rows(content: &str, delimiter: char) -> Vec<Vec<String>> {
    let mut rows = vec![];
    let mut row = vec![];
    let mut cell = String::new();
    let mut quoted = false;
    let mut chars = content.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                cell.push('"');
                chars.next();
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c if c == delimiter && !quoted => row.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}
