//! The built-in functions that Packer and Terraform share and that need no file system.
//!
//! Behaviour follows the functions' reference pages; what reads files or the clock comes from the caller's scope.

use base64::Engine as _;
use sha2::Digest as _;

use super::eval::{from_number, number, text};
use crate::{Map, Value, json, yaml};

mod args;
mod more;
mod net;
mod time;

use args::Args;
pub use time::{go_duration, go_layout};

/// Calls a function by name.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let given = Args { name, values: args };
    let (arg, string) = (|i: usize| given.any(i), |i: usize| given.string(i));
    let (num, items, map) = (|i: usize| given.num(i), |i: usize| given.items(i), |i: usize| given.map(i));
    let b64 = base64::engine::general_purpose::STANDARD;
    Ok(match name {
        "upper" => string(0)?.to_uppercase().into(),
        "lower" => string(0)?.to_lowercase().into(),
        "title" => string(0)?
            .split(' ')
            .map(|w| w[..w.len().min(1)].to_uppercase() + w.get(1..).unwrap_or(""))
            .collect::<Vec<_>>()
            .join(" ")
            .into(),
        "trim" => string(0)?.trim_matches(|c| string(1).is_ok_and(|set| set.contains(c))).into(),
        "trimspace" => string(0)?.trim().into(),
        "trimprefix" => string(0)?.strip_prefix(&string(1)?).map_or(arg(0)?, Value::from),
        "trimsuffix" => string(0)?.strip_suffix(&string(1)?).map_or(arg(0)?, Value::from),
        "chomp" => string(0)?.trim_end_matches(['\n', '\r']).into(),
        "replace" => string(0)?.replace(&string(1)?, &string(2)?).into(),
        "split" => Value::strings(string(1)?.split(&string(0)?)),
        "join" => {
            let separator = string(0)?;
            let parts: Vec<String> = items(1)?.iter().map(|v| text(v).unwrap_or_default()).collect();
            parts.join(&separator).into()
        }
        "substr" => {
            let letters: Vec<char> = string(0)?.chars().collect();
            // From the end if it is negative.
            let from = num(1)? as i64;
            let from = if from < 0 { (letters.len() as i64 + from).max(0) } else { from } as usize;
            let count = num(2)?;
            let count = if count < 0.0 { usize::MAX } else { count as usize };
            letters.into_iter().skip(from).take(count).collect::<String>().into()
        }
        "startswith" => string(0)?.starts_with(&string(1)?).into(),
        "endswith" => string(0)?.ends_with(&string(1)?).into(),
        "strcontains" => string(0)?.contains(&string(1)?).into(),
        "indent" => string(1)?.replace('\n', &format!("\n{}", " ".repeat(num(0)? as usize))).into(),
        "format" => format(&string(0)?, &args[1..])?.into(),
        "length" => match arg(0)? {
            Value::Str(s) => s.as_str().chars().count().into(),
            Value::Map(m) => m.len().into(),
            other => other.as_items().ok_or("`length` needs text, a list or a map")?.len().into(),
        },
        "concat" => {
            let mut out = Vec::new();
            for i in 0..args.len() {
                out.extend(items(i)?);
            }
            out.into()
        }
        "compact" => items(0)?.into_iter().filter(Value::is_true).collect::<Vec<_>>().into(),
        "distinct" | "toset" => {
            let mut out: Vec<Value> = Vec::new();
            for item in items(0)? {
                if !out.contains(&item) {
                    out.push(item);
                }
            }
            out.into()
        }
        "flatten" => {
            let mut out = Vec::new();
            flatten(&arg(0)?, &mut out);
            out.into()
        }
        "contains" => items(0)?.contains(&arg(1)?).into(),
        "index" => items(0)?.iter().position(|v| Some(v) == args.get(1)).ok_or("item not found")?.into(),
        "element" => {
            let list = items(0)?;
            if list.is_empty() {
                return Err("`element` needs a list that is not empty".into());
            }
            list[num(1)? as usize % list.len()].clone()
        }
        "slice" => {
            let list = items(0)?;
            list.get(num(1)? as usize..num(2)? as usize).ok_or("slice out of range")?.to_vec().into()
        }
        "reverse" => items(0)?.into_iter().rev().collect::<Vec<_>>().into(),
        "sort" => {
            let mut list: Vec<String> = items(0)?.iter().map(ToString::to_string).collect();
            list.sort();
            Value::strings(list)
        }
        "range" => {
            let (from, to) = if args.len() > 1 { (num(0)?, num(1)?) } else { (0.0, num(0)?) };
            let step = if args.len() > 2 { num(2)? } else { (to - from).signum() };
            if step == 0.0 && from < to || (to - from) * step < 0.0 {
                return Err("`range` would not end with this step".into());
            }
            let mut out = Vec::new();
            let mut at = from;
            while if step > 0.0 { at < to } else { at > to } {
                if out.len() == 1024 {
                    return Err("`range` would have more than 1024 elements".into());
                }
                out.push(from_number(at));
                at += step;
            }
            out.into()
        }
        "keys" => {
            let mut keys: Vec<String> = map(0)?.keys().iter().map(ToString::to_string).collect();
            keys.sort();
            Value::strings(keys)
        }
        "values" => {
            let mut pairs = map(0)?.pairs();
            pairs.sort_by_key(|(k, _)| k.to_string());
            pairs.into_iter().map(|(_, v)| v).collect::<Vec<_>>().into()
        }
        "lookup" => match (map(0)?.get(&string(1)?), args.get(2)) {
            (Some(found), _) => found,
            (None, Some(default)) => default.clone(),
            (None, None) => return Err(format!("no key `{}` in the map", string(1)?)),
        },
        "merge" => {
            let out = Map::new();
            for i in 0..args.len() {
                out.extend(&map(i)?);
            }
            out.into()
        }
        "zipmap" => items(0)?.iter().map(ToString::to_string).zip(items(1)?).collect::<Map>().into(),
        "coalesce" => args
            .iter()
            .find(|v| !v.is_none() && v.as_str() != Some(""))
            .cloned()
            .ok_or("no argument of `coalesce` has a value")?,
        "min" | "max" => {
            let mut best = num(0)?;
            for i in 1..args.len() {
                best = if name == "min" { best.min(num(i)?) } else { best.max(num(i)?) };
            }
            from_number(best)
        }
        "abs" => from_number(num(0)?.abs()),
        "ceil" => from_number(num(0)?.ceil()),
        "floor" => from_number(num(0)?.floor()),
        "pow" => from_number(num(0)?.powf(num(1)?)),
        "signum" => from_number(if num(0)? == 0.0 { 0.0 } else { num(0)?.signum() }),
        "parseint" => i128::from_str_radix(&string(0)?, num(1)? as u32).map_err(|e| e.to_string())?.into(),
        "tostring" => match arg(0)? {
            Value::None => Value::None,
            other => text(&other).map_or(other, Value::from),
        },
        "tonumber" => from_number(num(0)?),
        "tobool" => super::eval::truth(&arg(0)?)?.into(),
        "tolist" => items(0)?.into(),
        "tomap" => map(0)?.into(),
        "alltrue" => items(0)?.iter().all(|v| v.to_string().to_lowercase() == "true").into(),
        "anytrue" => items(0)?.iter().any(|v| v.to_string().to_lowercase() == "true").into(),
        "jsonencode" => serde_json::to_string(&json::to_json(&arg(0)?)).map_err(|e| e.to_string())?.into(),
        "jsondecode" => json::parse(&string(0)?).map_err(|e| e.to_string())?,
        "yamlencode" => {
            let mut out = String::new();
            yaml_block(&arg(0)?, 0, &mut out);
            out.trim_start_matches('\n').into()
        }
        "yamldecode" => yaml::parse_data("yamldecode", &string(0)?).map_err(|e| e.message)?,
        "base64encode" => b64.encode(string(0)?).into(),
        "base64decode" => String::from_utf8(b64.decode(string(0)?).map_err(|e| e.to_string())?)
            .map_err(|e| e.to_string())?
            .into(),
        "md5" => hex(&md5::Md5::digest(string(0)?)).into(),
        "sha1" => hex(&sha1::Sha1::digest(string(0)?)).into(),
        "sha256" => hex(&sha2::Sha256::digest(string(0)?)).into(),
        "sha512" => hex(&sha2::Sha512::digest(string(0)?)).into(),
        "uuidv4" | "uuid" => uuid::Uuid::new_v4().to_string().into(),
        "basename" => {
            let path = string(0)?;
            path.trim_end_matches('/').rsplit('/').next().unwrap_or("").into()
        }
        "dirname" => string(0)?.rsplit_once('/').map_or(".".into(), |(dir, _)| dir.into()),
        "sensitive" | "nonsensitive" => arg(0)?,
        _ => {
            if let Some(result) =
                net::call(&given).or_else(|| time::call(&given)).or_else(|| more::call(&given))
            {
                return result;
            }
            let hint =
                crate::suggest(name, NAMES.iter().copied()).map(|h| format!(" ({h})")).unwrap_or_default();
            return Err(format!("unknown function `{name}`{hint}"));
        }
    })
}

/// For suggestions.
const NAMES: &[&str] = &[
    "abs",
    "abspath",
    "alltrue",
    "anytrue",
    "basename",
    "base64decode",
    "base64encode",
    "base64gzip",
    "bcrypt",
    "can",
    "ceil",
    "chomp",
    "chunklist",
    "cidrhost",
    "cidrnetmask",
    "cidrsubnet",
    "cidrsubnets",
    "coalesce",
    "coalescelist",
    "compact",
    "concat",
    "contains",
    "convert",
    "csvdecode",
    "dirname",
    "distinct",
    "element",
    "endswith",
    "env",
    "file",
    "filebase64",
    "fileexists",
    "fileset",
    "flatten",
    "floor",
    "format",
    "formatdate",
    "formatlist",
    "indent",
    "index",
    "join",
    "jsondecode",
    "jsonencode",
    "keys",
    "legacy_isotime",
    "legacy_strftime",
    "length",
    "log",
    "lookup",
    "lower",
    "max",
    "md5",
    "merge",
    "min",
    "parseint",
    "pathexpand",
    "pow",
    "range",
    "regex",
    "regex_replace",
    "regexall",
    "replace",
    "reverse",
    "rfc3339_parse",
    "setintersection",
    "setproduct",
    "setunion",
    "sha1",
    "sha256",
    "sha512",
    "signum",
    "slice",
    "sort",
    "split",
    "startswith",
    "strcontains",
    "strrev",
    "substr",
    "sum",
    "templatefile",
    "textdecodebase64",
    "textencodebase64",
    "timeadd",
    "timestamp",
    "title",
    "tobool",
    "tolist",
    "tomap",
    "tonumber",
    "toset",
    "tostring",
    "trim",
    "trimprefix",
    "trimspace",
    "trimsuffix",
    "try",
    "unix_timestamp_parse",
    "upper",
    "urlencode",
    "uuidv4",
    "uuidv5",
    "values",
    "yamldecode",
    "yamlencode",
    "zipmap",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// YAML as `cty` writes it: keys and text in quotes, lists not indented.
fn yaml_block(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Map(map) if !map.is_empty() => {
            let mut pairs = map.pairs();
            pairs.sort_by_key(|(key, _)| key.to_string());
            for (at, (key, item)) in pairs.iter().enumerate() {
                // The first key of a list's element stands beside its dash.
                let lead = if at == 0 && out.ends_with("- ") { "" } else { pad.as_str() };
                out.push_str(&format!(
                    "{lead}{}:",
                    json::dumps_readable(&key.to_string().as_str().into(), 0)
                ));
                let is_list = matches!(item, Value::List(_));
                yaml_item(item, if is_list { depth } else { depth + 1 }, " ", out);
            }
        }
        other => match other.as_items() {
            Some(items) if !items.is_empty() && !matches!(other, Value::Map(_)) => {
                for item in items {
                    out.push_str(&format!("{pad}-"));
                    yaml_item(&item, depth + 1, " ", out);
                }
            }
            _ => yaml_item(value, depth, "", out),
        },
    }
}

fn yaml_item(item: &Value, depth: usize, lead: &str, out: &mut String) {
    let is_map = matches!(item, Value::Map(map) if !map.is_empty());
    let is_list = !is_map && item.as_items().is_some_and(|i| !i.is_empty());
    if is_map && out.ends_with('-') {
        out.push(' ');
        yaml_block(item, depth, out);
    } else if is_map || is_list {
        out.push('\n');
        yaml_block(item, depth, out);
    } else {
        out.push_str(lead);
        out.push_str(&json::dumps_readable(item, 0));
        out.push('\n');
    }
}

fn flatten(value: &Value, out: &mut Vec<Value>) {
    match value.as_items() {
        Some(items) => items.iter().for_each(|item| flatten(item, out)),
        None => out.push(value.clone()),
    }
}

/// A width or a number of digits that texts may have.
fn within(size: usize) -> Result<usize, String> {
    const MOST: usize = 65_535;
    if size > MOST { Err(format!("`format` writes at most {MOST} characters for a value")) } else { Ok(size) }
}

fn format(pattern: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '0')) {
            spec.push(c);
        }
        let verb = chars.next().ok_or("`format` ends in `%`")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args.next().ok_or("`format` has more verbs than arguments")?;
        let body = match verb {
            's' | 'v' => text(arg).unwrap_or_else(|| json::dumps(arg, 0, false)),
            'q' => json::dumps(arg, 0, false),
            'd' => (number(arg).ok_or("`%d` needs a number")? as i128).to_string(),
            'x' => format!("{:x}", number(arg).ok_or("`%x` needs a number")? as i128),
            'f' => {
                let digits = spec.split_once('.').and_then(|(_, d)| d.parse().ok()).unwrap_or(6);
                let digits: usize = within(digits)?;
                format!("{:.*}", digits, number(arg).ok_or("`%f` needs a number")?)
            }
            't' => super::eval::truth(arg)?.to_string(),
            other => return Err(format!("`format` does not know `%{other}`")),
        };
        let width: usize = spec.split('.').next().unwrap_or("").trim_start_matches('-').parse().unwrap_or(0);
        let width = within(width)?;
        let fill = if spec.starts_with('0') { "0" } else { " " };
        let pad = fill.repeat(width.saturating_sub(body.chars().count()));
        if spec.starts_with('-') {
            out.push_str(&body);
            out.push_str(&pad);
        } else {
            out.push_str(&pad);
            out.push_str(&body);
        }
    }
    Ok(out)
}
