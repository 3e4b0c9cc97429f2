//! Ansible's tests (`ansible/plugins/test/{core,files,mathstuff}.py`).

use bakery_jinja::{Arguments, Error, Result};
use bakery_lang::Value;
use bakery_lang::regex::{Flags, compile};

/// Runs a test; `None` for one that is not known here.
pub(crate) fn call(name: &str, value: &Value, args: &Arguments) -> Option<Result<bool>> {
    let flag = |key: &str| {
        if value.is_undefined() {
            return Err(Error::of_undefined(value));
        }
        value
            .as_map()
            .map(|map| map.get(key).is_some_and(|v| v.is_true()))
            .ok_or_else(|| Error::new(format!("The '{name}' test expects a dictionary")))
    };
    let path = || std::path::PathBuf::from(value.to_string());
    let list = |v: Option<Value>| v.and_then(|v| v.as_items()).unwrap_or_default();
    Some(match name {
        "failed" | "failure" => flag("failed"),
        "succeeded" | "success" | "successful" => flag("failed").map(|f| !f),
        "changed" | "change" => match value.as_map() {
            // The results of a loop are changed when one of them is.
            Some(map) if !map.contains("changed") && map.contains("results") => {
                let results = list(map.get("results"));
                Ok(results.iter().any(|r| r.get("changed").is_some_and(|c| c.is_true())))
            }
            _ => flag("changed"),
        },
        "skipped" | "skip" => flag("skipped"),
        "unreachable" => flag("unreachable"),
        "reachable" => flag("unreachable").map(|f| !f),
        "finished" | "started" if value.as_map().is_some_and(|map| !map.contains(name)) => Ok(true),
        "finished" => flag("finished"),
        "started" => flag("started"),
        "timedout" => flag("timedout"),
        "truthy" | "falsy" => {
            let convert = args.flag(0, "convert_bool", false);
            let truth = if convert {
                bakery_modules::args::boolean(value).unwrap_or_else(|_| value.is_true())
            } else {
                value.is_true()
            };
            Ok(truth == (name == "truthy"))
        }
        "match" | "search" | "regex" => {
            let flags = Flags {
                ignore_case: args.flag(1, "ignorecase", false),
                multiline: args.flag(2, "multiline", false),
                dot_all: false,
            };
            let pattern = args.text(0, "pattern", "");
            compile(&pattern, flags).map_err(Error::new).and_then(|regex| {
                let text = value.to_string();
                let found = regex.find(text.as_str()).map_err(|e| Error::new(e.to_string()))?;
                let anchored =
                    name == "match" || (name == "regex" && args.text(3, "match_type", "search") == "match");
                Ok(found.is_some_and(|m| !anchored || m.start() == 0))
            })
        }
        "version" | "version_compare" => version(value, args),
        "file" | "is_file" => Ok(path().is_file()),
        "directory" | "is_dir" => Ok(path().is_dir()),
        "link" | "is_link" => Ok(path().is_symlink()),
        "exists" => Ok(path().exists()),
        "link_exists" => Ok(path().symlink_metadata().is_ok()),
        "same_file" | "is_same_file" => {
            let other = std::path::PathBuf::from(args.text(0, "path", ""));
            let real = |p: &std::path::Path| bakery_host::fs::canonicalize(p).ok();
            Ok(real(&path()).is_some() && real(&path()) == real(&other))
        }
        "vaulted_file" => Ok(bakery_host::fs::read(path()).is_ok_and(|b| crate::vault::is_encrypted(&b))),
        "abs" | "is_abs" => Ok(path().is_absolute()),
        "mount" | "is_mount" => {
            let text = bakery_host::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            Ok(text.lines().any(|l| l.split(' ').nth(1) == Some(value.to_string().as_str())))
        }
        "subset" | "issubset" => {
            let other = list(args.get(0, "b"));
            Ok(list(Some(value.clone())).iter().all(|v| other.contains(v)))
        }
        "superset" | "issuperset" => {
            let own = list(Some(value.clone()));
            Ok(list(args.get(0, "b")).iter().all(|v| own.contains(v)))
        }
        "contains" => args.need(0, "item").and_then(|item| bakery_jinja::ops::contains(value, &item)),
        "any" => Ok(list(Some(value.clone())).iter().any(Value::is_true)),
        "all" => Ok(list(Some(value.clone())).iter().all(Value::is_true)),
        "nan" | "isnan" => Ok(value.as_float().is_some_and(f64::is_nan)),
        "uri" | "url" | "urn" => {
            let text = value.to_string();
            let (scheme, rest) = match text.split_once(':') {
                Some((scheme, rest))
                    if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) =>
                {
                    (scheme.to_lowercase(), rest)
                }
                _ => (String::new(), text.as_str()),
            };
            let schemes: Vec<String> = list(args.get(0, "schemes")).iter().map(ToString::to_string).collect();
            let allowed = schemes.is_empty() || schemes.contains(&scheme);
            let has_host =
                rest.strip_prefix("//").is_some_and(|r| !r.split('/').next().unwrap_or("").is_empty());
            Ok(match name {
                "uri" => allowed,
                "url" => allowed && (has_host || scheme == "file"),
                _ => scheme == "urn",
            })
        }
        "tagged_with" => {
            args.need(0, "tag_name").and_then(|tag| crate::filters::is_tagged(value, &tag.to_string()))
        }
        "vault_encrypted" => Ok(value.vault().is_some()),
        _ => return None,
    })
}

/// A part of a version: a number, or a word.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

/// The parts of a version as `LooseVersion` splits it.
fn parts(version: &str) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    let mut current = String::new();
    let finish = |current: &mut String, out: &mut Vec<Part>| {
        if !current.is_empty() {
            let part = std::mem::take(current);
            out.push(part.parse().map_or_else(|_| Part::Word(part.clone()), Part::Number));
        }
    };
    for c in version.chars() {
        let kind_changes =
            current.chars().last().is_some_and(|last| last.is_ascii_digit() != c.is_ascii_digit());
        if kind_changes || !c.is_alphanumeric() {
            finish(&mut current, &mut out);
        }
        if c.is_alphanumeric() {
            current.push(c);
        }
    }
    finish(&mut current, &mut out);
    out
}

pub(crate) fn compare(left: &str, right: &str) -> std::cmp::Ordering {
    parts(left).cmp(&parts(right))
}

/// A version whose release comes after its pre-releases: the numbers, then what comes before a release, then the rest.
/// Build metadata does not count.
fn released(version: &str) -> (Vec<u64>, u8, Vec<Part>) {
    let version = version.trim_start_matches('v').split('+').next().unwrap_or_default();
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut numbers: Vec<u64> = version[..end].split('.').filter_map(|n| n.parse().ok()).collect();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    let rest = version[end..].trim_start_matches(['-', '.', '_']);
    let rank = match rest {
        "" => 2,
        post if post.starts_with("post") => 3,
        dev if dev.starts_with("dev") => 0,
        _ => 1,
    };
    (numbers, rank, parts(rest))
}

fn version(value: &Value, args: &Arguments) -> Result<bool> {
    let (left, right) = (value.to_string(), args.need(0, "version")?.to_string());
    if left.is_empty() {
        return Err(Error::new("Input version value cannot be empty"));
    }
    if right.is_empty() {
        return Err(Error::new("Version parameter to compare against cannot be empty"));
    }
    let is_strict = |text: &str| {
        let (numbers, rest) = match text.find(|c: char| !c.is_ascii_digit() && c != '.') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let parts: Vec<&str> = numbers.split('.').collect();
        let rest_fits = rest.is_empty()
            || rest.len() > 1 && rest.starts_with(['a', 'b']) && rest[1..].parse::<u64>().is_ok();
        matches!(parts.len(), 2 | 3) && parts.iter().all(|p| !p.is_empty()) && rest_fits
    };
    if args.get(2, "strict").is_some_and(|s| s.is_true())
        && let Some(bad) = [&left, &right].into_iter().find(|v| !is_strict(v))
    {
        return Err(Error::new(format!("Version comparison failed: invalid version number '{bad}'")));
    }
    let kind = args.get(3, "version_type").filter(|v| !v.is_none()).map(|v| v.to_string());
    if kind.is_some() && args.get(2, "strict").is_some_and(|s| !s.is_none()) {
        return Err(Error::new("Cannot specify both 'strict' and 'version_type'"));
    }
    let order = match kind.as_deref() {
        None | Some("loose" | "strict") => compare(&left, &right),
        Some("semver" | "semantic")
            if [&left, &right].iter().any(|v| !v.starts_with(|c: char| c.is_ascii_digit())) =>
        {
            return Err(Error::new(format!(
                "Version comparison failed: '{left}' or '{right}' is no semantic version"
            )));
        }
        Some("semver" | "semantic" | "pep440") => released(&left).cmp(&released(&right)),
        Some(other) => {
            return Err(Error::new(format!(
                "Invalid version type ({other}). Must be one of loose, strict, semver, semantic, pep440"
            )));
        }
    };
    let operator = args.text(1, "operator", "eq");
    Ok(match operator.as_str() {
        "==" | "=" | "eq" => order.is_eq(),
        "!=" | "<>" | "ne" => order.is_ne(),
        "<" | "lt" => order.is_lt(),
        "<=" | "le" => order.is_le(),
        ">" | "gt" => order.is_gt(),
        ">=" | "ge" => order.is_ge(),
        other => {
            return Err(Error::new(format!(
                "Invalid operator type ({other}). Must be one of ==, =, eq, !=, <>, ne, >, gt, >=, ge, <, lt, <=, le"
            )));
        }
    })
}
