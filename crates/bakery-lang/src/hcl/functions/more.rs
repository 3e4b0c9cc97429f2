//! Lists as sets and products, regular expressions, codes.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::args::Args;
use crate::hcl::eval::from_number;
use crate::{Map, Value};

pub(super) fn call(args: &Args<'_>) -> Option<Result<Value, String>> {
    Some(match args.name {
        "chunklist" => chunks(args),
        "coalescelist" => (0..args.values.len())
            .find_map(|i| match args.items(i) {
                Ok(items) if items.is_empty() => None,
                other => Some(other.map(Value::from)),
            })
            .unwrap_or_else(|| Err("no non-null and non-empty argument".into())),
        "setunion" => sets(args, |all, set| {
            let new: Vec<Value> = set.into_iter().filter(|v| !all.contains(v)).collect();
            all.extend(new);
        }),
        "setintersection" => sets(args, |all, set| all.retain(|v| set.contains(v))),
        "setproduct" => product(args),
        "sum" => args.items(0).and_then(|items| {
            let numbers: Option<Vec<f64>> = items.iter().map(crate::hcl::eval::number).collect();
            let numbers =
                numbers.filter(|n| !n.is_empty()).ok_or("`sum` needs a list of numbers that is not empty")?;
            Ok(from_number(numbers.iter().sum()))
        }),
        "log" => args.num(0).and_then(|n| Ok(from_number(n.log(args.num(1)?)))),
        "strrev" => args.string(0).map(|s| s.chars().rev().collect::<String>().into()),
        "formatlist" => formats(args),
        "regex" => regex(args).and_then(|(regex, text)| {
            let found = regex.captures(text.as_str()).map_err(|e| e.to_string())?;
            found
                .map(|c| captured(&regex, &c))
                .ok_or_else(|| "pattern did not match any part of the given string".into())
        }),
        "regexall" => regex(args).and_then(|(regex, text)| {
            let all = regex
                .captures_iter(text.as_str())
                .map(|c| c.map(|c| captured(&regex, &c)).map_err(|e| e.to_string()));
            all.collect::<Result<Vec<_>, _>>().map(Value::from)
        }),
        "regex_replace" => args.string(0).and_then(|text| {
            let regex = compiled(&args.string(1)?)?;
            Ok(regex.replace_all(&text, args.string(2)?.as_str()).into_owned().into())
        }),
        "base64gzip" => args.string(0).and_then(|text| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            let bytes = encoder
                .write_all(text.as_bytes())
                .and_then(|()| encoder.finish())
                .map_err(|e| e.to_string())?;
            Ok(STANDARD.encode(bytes).into())
        }),
        "textencodebase64" => args.string(0).and_then(|text| {
            let bytes = match args.string(1)?.to_uppercase().as_str() {
                "UTF-8" => text.into_bytes(),
                "UTF-16LE" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                "UTF-16BE" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
                other => {
                    return Err(format!(
                        "the encoding {other} is not known (known: UTF-8, UTF-16LE, UTF-16BE)"
                    ));
                }
            };
            Ok(STANDARD.encode(bytes).into())
        }),
        "textdecodebase64" => args.string(0).and_then(|code| {
            let bytes = STANDARD.decode(code).map_err(|e| e.to_string())?;
            let pairs = |join: fn([u8; 2]) -> u16| {
                let units: Vec<u16> = bytes.chunks_exact(2).map(|c| join([c[0], c[1]])).collect();
                String::from_utf16(&units).map_err(|e| e.to_string())
            };
            Ok(match args.string(1)?.to_uppercase().as_str() {
                "UTF-8" => String::from_utf8(bytes).map_err(|e| e.to_string())?,
                "UTF-16LE" => pairs(u16::from_le_bytes)?,
                "UTF-16BE" => pairs(u16::from_be_bytes)?,
                other => {
                    return Err(format!(
                        "the encoding {other} is not known (known: UTF-8, UTF-16LE, UTF-16BE)"
                    ));
                }
            }
            .into())
        }),
        "urlencode" => args.string(0).map(|text| crate::quote::form_value(&text).into()),
        "csvdecode" => args.string(0).and_then(|text| csv(&text)),
        "uuidv5" => args.string(0).and_then(|space| {
            let space = match space.as_str() {
                "dns" => uuid::Uuid::NAMESPACE_DNS,
                "url" => uuid::Uuid::NAMESPACE_URL,
                "oid" => uuid::Uuid::NAMESPACE_OID,
                "x500" => uuid::Uuid::NAMESPACE_X500,
                other => other.parse().map_err(|_| format!("`{other}` is no UUID and no namespace"))?,
            };
            Ok(uuid::Uuid::new_v5(&space, args.string(1)?.as_bytes()).to_string().into())
        }),
        "vault" | "consul_key" | "aws_secretsmanager" | "aws_secretsmanager_raw" | "rsadecrypt" => {
            Err(format!(
                "`{}` asks a service or a key that a bake here does not; give the value as a variable",
                args.name
            ))
        }
        _ => return None,
    })
}

fn chunks(args: &Args<'_>) -> Result<Value, String> {
    let (items, size) = (args.items(0)?, args.count(1)?);
    if size == 0 {
        return Ok(vec![Value::from(items)].into());
    }
    Ok(items.chunks(size).map(|c| Value::from(c.to_vec())).collect::<Vec<_>>().into())
}

/// Sets are shown sorted.
fn sets(args: &Args<'_>, join: impl Fn(&mut Vec<Value>, Vec<Value>)) -> Result<Value, String> {
    let mut all: Vec<Value> = Vec::new();
    for item in args.items(0)? {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    for i in 1..args.values.len() {
        join(&mut all, args.items(i)?);
    }
    all.sort_by_key(ToString::to_string);
    Ok(all.into())
}

fn product(args: &Args<'_>) -> Result<Value, String> {
    let mut rows: Vec<Vec<Value>> = vec![vec![]];
    for i in 0..args.values.len() {
        let items = args.items(i)?;
        if rows.len() * items.len() > 100_000 {
            return Err("`setproduct` would have more than 100,000 elements".into());
        }
        rows = rows
            .iter()
            .flat_map(|row| items.iter().map(|item| row.iter().cloned().chain([item.clone()]).collect()))
            .collect();
    }
    Ok(rows.into_iter().map(Value::from).collect::<Vec<_>>().into())
}

/// Lists give an element a row, everything else itself.
fn formats(args: &Args<'_>) -> Result<Value, String> {
    let pattern = args.string(0)?;
    let lists: Vec<Option<Vec<Value>>> = args.values[1..].iter().map(Value::as_items).collect();
    let mut lengths = lists.iter().flatten().map(Vec::len);
    let length = lengths.next().unwrap_or(1);
    if lengths.any(|other| other != length) {
        return Err("the lists of `formatlist` must be of one length".into());
    }
    let row = |at: usize| {
        let row: Vec<Value> = lists
            .iter()
            .zip(&args.values[1..])
            .map(|(list, value)| list.as_ref().map_or_else(|| value.clone(), |l| l[at].clone()))
            .collect();
        super::format(&pattern, &row).map(Value::from)
    };
    (0..length).map(row).collect::<Result<Vec<_>, _>>().map(Value::from)
}

fn compiled(pattern: &str) -> Result<fancy_regex::Regex, String> {
    fancy_regex::Regex::new(pattern).map_err(|e| format!("`{pattern}` is no regular expression: {e}"))
}

fn regex(args: &Args<'_>) -> Result<(fancy_regex::Regex, String), String> {
    Ok((compiled(&args.string(0)?)?, args.string(1)?))
}

/// The whole match; a list if there are groups, a map if they have names.
fn captured(regex: &fancy_regex::Regex, captures: &fancy_regex::Captures<'_, str>) -> Value {
    let group = |i: usize| captures.get(i).map_or(Value::None, |m| m.as_str().into());
    let names: Vec<Option<&str>> = regex.capture_names().skip(1).collect();
    if names.is_empty() {
        return group(0);
    }
    if names.iter().any(Option::is_some) {
        let named =
            names.iter().enumerate().filter_map(|(i, name)| Some(((*name)?.to_owned(), group(i + 1))));
        return named.collect::<Map>().into();
    }
    (1..=names.len()).map(group).collect::<Vec<_>>().into()
}

fn csv(text: &str) -> Result<Value, String> {
    let mut rows = csv_rows(text)?.into_iter();
    let head = rows.next().unwrap_or_default();
    let mut out = Vec::new();
    for row in rows {
        if row.len() != head.len() {
            return Err(format!("a row has {} fields and the header {}", row.len(), head.len()));
        }
        out.push(Value::from(head.iter().cloned().zip(row.into_iter().map(Value::from)).collect::<Map>()));
    }
    Ok(out.into())
}

/// RFC 4180: fields in quotes may hold anything, a quote twice.
fn csv_rows(text: &str) -> Result<Vec<Vec<String>>, String> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let (mut quoted, mut started) = (false, false);
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => {
                quoted = !quoted;
                started = true;
            }
            ',' if !quoted => {
                row.push(std::mem::take(&mut field));
                started = true;
            }
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                if started || !field.is_empty() {
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
                started = false;
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err("a quoted field does not end".into());
    }
    if started || !field.is_empty() {
        row.push(field);
        rows.push(row);
    }
    Ok(rows)
}
