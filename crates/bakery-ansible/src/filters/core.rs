//! ansible-core's own filters (`ansible/plugins/filter/{core,mathstuff,urls,urlsplit}.py`).

use bakery_jinja::{Arguments, Error, Result, Scope as _};
use bakery_lang::random::Random;
use bakery_lang::regex::{Flags, compile, expand, replace};
use bakery_lang::{Map, Time, Value, json, repr, units, yaml};
use sha2::Digest as _;

use super::lists::{choose, combine, dedup, flatten, items, subelements};
use super::marks;
use super::texts::{base64_filter, comment, human_to_bytes, urlsplit, yaml_style};
use crate::Templar;

/// Runs a filter; `None` for one that is not known here.
pub(crate) fn call(templar: &Templar, name: &str, value: &Value, args: &Arguments) -> Option<Result<Value>> {
    const KNOWN: &[&str] = &[
        "b64decode",
        "b64encode",
        "basename",
        "bool",
        "checksum",
        "combinations",
        "commonpath",
        "normpath",
        "rekey_on_member",
        "unvault",
        "vault",
        "combine",
        "comment",
        "dict2items",
        "difference",
        "dirname",
        "expanduser",
        "expandvars",
        "extract",
        "fileglob",
        "flatten",
        "from_json",
        "from_yaml",
        "from_yaml_all",
        "hash",
        "human_readable",
        "human_to_bytes",
        "intersect",
        "items2dict",
        "log",
        "mandatory",
        "md5",
        "password_hash",
        "path_join",
        "permutations",
        "pow",
        "product",
        "quote",
        "random",
        "realpath",
        "regex_escape",
        "regex_findall",
        "regex_replace",
        "regex_search",
        "relpath",
        "root",
        "sha1",
        "shuffle",
        "split",
        "splitext",
        "strftime",
        "subelements",
        "symmetric_difference",
        "ternary",
        "to_datetime",
        "to_json",
        "to_nice_json",
        "to_nice_yaml",
        "to_uuid",
        "to_yaml",
        "type_debug",
        "union",
        "urldecode",
        "urlsplit",
        "win_basename",
        "win_dirname",
        "zip",
        "zip_longest",
    ];
    if !KNOWN.contains(&name) {
        return None;
    }
    if value.is_undefined() && !(name == "unvault" && value.vault().is_some()) {
        if name == "mandatory" {
            let message = args.get(0, "msg").filter(|m| !m.is_none()).map(|m| m.to_string());
            let unnamed = || Error::new(mandatory(value));
            return Some(Err(message.map_or_else(unnamed, Error::new)));
        }
        if name != "type_debug" {
            return Some(Err(Error::of_undefined(value)));
        }
    }
    // What is written out must be there, however deep.
    if matches!(name, "to_json" | "to_nice_json" | "to_yaml" | "to_nice_yaml" | "combine")
        && let Some(missing) = std::iter::once(value).chain(&args.positional).find_map(Value::first_undefined)
    {
        return Some(Err(Error::of_undefined(&missing)));
    }
    Some(run(templar, name, value, args))
}

fn hex(bytes: &[u8]) -> Value {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into()
}

fn run(templar: &Templar, name: &str, value: &Value, args: &Arguments) -> Result<Value> {
    let text = || value.to_string();
    let other = || args.need(0, "b").and_then(|v| items(&v));
    // No path is a list, and writing one out takes its time.
    let is_container = matches!(value, Value::List(_) | Value::Tuple(_) | Value::Map(_));
    let path = if is_container { String::new() } else { text() };
    let indent = |default: i128| {
        args.named("indent").and_then(|v| v.as_int()).unwrap_or(default).clamp(0, 16) as usize
    };
    let sort = |default: bool| args.named("sort_keys").map_or(default, |v| v.is_true());
    Ok(match name {
        "b64encode" | "b64decode" => base64_filter(name, &text(), args)?,
        "basename" => path.rsplit('/').next().unwrap_or("").into(),
        "dirname" => path.rsplit_once('/').map_or("", |(d, _)| if d.is_empty() { "/" } else { d }).into(),
        "win_basename" => path.rsplit(['\\', '/']).next().unwrap_or("").into(),
        "win_dirname" => path.rsplit_once(['\\', '/']).map_or("", |(d, _)| d).into(),
        "expanduser" => path
            .strip_prefix('~')
            .map_or(path.clone(), |rest| std::env::var("HOME").unwrap_or_default() + rest)
            .into(),
        "expandvars" => path.into(),
        "realpath" => bakery_host::fs::canonicalize(&path).map_or(path, |p| p.display().to_string()).into(),
        "relpath" => path.strip_prefix(&(args.text(0, "start", "") + "/")).unwrap_or(&path).into(),
        "splitext" => {
            let dot = path.rfind('.').filter(|at| *at > path.rfind('/').map_or(0, |s| s + 1));
            let (head, tail) = dot.map_or((path.as_str(), ""), |at| path.split_at(at));
            Value::tuple(vec![head.into(), tail.into()])
        }
        "path_join" => {
            if value.as_str().is_none() && value.as_items().is_none() {
                return Err(Error::new(format!(
                    "|path_join expects string or sequence, got {} instead.",
                    value.type_name()
                )));
            }
            let parts = value.as_items().unwrap_or_else(|| vec![value.clone()]);
            let joined = parts.iter().fold(std::path::PathBuf::new(), |p, part| p.join(part.to_string()));
            joined.display().to_string().into()
        }
        "fileglob" => {
            let (folder, pattern) = path.rsplit_once('/').unwrap_or((".", &path));
            let found = bakery_host::fs::read_dir(folder).unwrap_or_default();
            let fits = |p: &&std::path::PathBuf| {
                p.is_file() && p.file_name().is_some_and(|n| lookup_glob(pattern, &n.to_string_lossy()))
            };
            Value::strings(found.iter().filter(fits).map(|p| p.display().to_string()))
        }
        "bool" => match value {
            Value::Bool(b) => Value::Bool(*b),
            Value::Float(f) => Value::Bool((*f - 1.0).abs() < f64::EPSILON),
            _ => matches!(text().to_lowercase().as_str(), "yes" | "on" | "1" | "true" | "y" | "t").into(),
        },
        "checksum" | "sha1" => hex(&sha1::Sha1::digest(text())),
        "md5" => hex(&md5::Md5::digest(text())),
        "hash" => {
            let kind = args.text(0, "hashtype", "sha1");
            let hash = bakery_modules::digests::hex(&kind, text().as_bytes());
            hash.ok_or_else(|| Error::new(format!("unsupported hash type {kind}")))?.into()
        }
        "password_hash" => {
            if value.as_str().is_none() && value.as_int().is_none() {
                return Err(Error::new(format!("password_hash needs text, not {}", value.type_name())));
            }
            let salt_size = args.get(2, "salt_size").filter(|size| !size.is_none());
            if salt_size.as_ref().is_some_and(|size| size.as_int().is_none()) {
                return Err(Error::new("salt_size must be an integer"));
            }
            let text_of =
                |at: usize, name: &str| args.get(at, name).filter(|v| !v.is_none()).map(|v| v.to_string());
            let wanted = bakery_modules::passwords::Wanted {
                algorithm: text_of(0, "hashtype").unwrap_or_else(|| "sha512".into()),
                salt: text_of(1, "salt"),
                salt_size: salt_size.and_then(|size| usize::try_from(size.as_int()?).ok()),
                rounds: args
                    .get(3, "rounds")
                    .and_then(|v| v.as_int().or_else(|| v.to_string().parse().ok()))
                    .map(|r| r as u32),
                ident: text_of(4, "ident"),
            };
            bakery_modules::passwords::hash(&text(), &wanted).map_err(Error::new)?.into()
        }
        "vault" | "unvault" => {
            let secret = args.need(0, "secret")?.to_string();
            let id = args.text(2, "vault_id", "filter_default");
            let secrets = [crate::vault::Secret::new(&id, secret)];
            // Of a value that was written as a vault, that one is meant, and not what is in it.
            let text = match value.vault() {
                Some(vault) if name == "unvault" => vault.trim().to_owned(),
                _ => text(),
            };
            let made = if name == "vault" {
                crate::vault::encrypt(
                    text.as_bytes(),
                    &secrets[0],
                    Some(&id),
                    args.get(1, "salt").filter(|v| !v.is_none()).map(|v| v.to_string()).as_deref(),
                )
            } else if !crate::vault::is_encrypted(text.as_bytes()) {
                return Ok(value.clone());
            } else {
                crate::vault::decrypt(text.as_bytes(), &secrets, false)
                    .map(|b| String::from_utf8_lossy(&b).into_owned())
            };
            let made = made.map_err(|e| Error::new(e.diagnostic.message))?;
            if name == "vault" && args.flag(3, "wrap_object", false) {
                let origin = bakery_lang::Source::new("vault", text.as_str()).at_offset(0);
                return Ok(Value::Str(bakery_lang::Text::unlocked(text, origin, &made)));
            }
            made.into()
        }
        "commonpath" => {
            let parts: Vec<Vec<String>> = value
                .as_items()
                .ok_or_else(|| {
                    Error::new(format!("|commonpath expects sequence, got {} instead.", value.type_name()))
                })?
                .iter()
                .map(|p| p.to_string().split('/').map(str::to_owned).collect())
                .collect();
            let first = parts.first().cloned().unwrap_or_default();
            let shared =
                (0..first.len()).take_while(|at| parts.iter().all(|p| p.get(*at) == first.get(*at))).count();
            let joined = first[..shared].join("/");
            if joined.is_empty() && text().contains("'/") { "/".into() } else { joined.into() }
        }
        "normpath" => {
            let mut out: Vec<String> = Vec::new();
            let path = text();
            for part in path.split('/') {
                match part {
                    "" | "." => {}
                    ".." if out.last().is_some_and(|l| l != "..") => {
                        out.pop();
                    }
                    ".." if path.starts_with('/') => {}
                    other => out.push(other.to_owned()),
                }
            }
            let joined = out.join("/");
            if path.starts_with('/') {
                format!("/{joined}").into()
            } else if joined.is_empty() {
                ".".into()
            } else {
                joined.into()
            }
        }
        "rekey_on_member" => {
            let key = args.need(0, "key")?.to_string();
            let duplicates = args.text(1, "duplicates", "error");
            if !matches!(duplicates.as_str(), "error" | "overwrite") {
                return Err(Error::new(format!(
                    "duplicates parameter to rekey_on_member has unknown value {}",
                    repr::quote(&duplicates)
                )));
            }
            let items = match value {
                Value::Map(map) => map.pairs().into_iter().map(|(_, v)| v).collect(),
                other => {
                    other.as_items().ok_or_else(|| Error::new("Type is not a valid list, set, or dict"))?
                }
            };
            let out = Map::new();
            for item in items {
                let map = item.as_map().ok_or_else(|| Error::new("List item is not a valid dict"))?;
                let own = map
                    .get(&key)
                    .ok_or_else(|| Error::new(format!("Key {} was not found.", repr::quote(&key))))?;
                if out.contains_value(&own) && duplicates == "error" {
                    return Err(Error::new(format!("Key {own:?} is not unique, cannot convert to dict.")));
                }
                out.insert(own, item);
            }
            out.into()
        }
        "combine" => combine(value, args)?,
        "comment" => comment(&text(), args)?.into(),
        "dict2items" => {
            let (key, val) = (args.text(0, "key_name", "key"), args.text(1, "value_name", "value"));
            let map = value.as_map().ok_or_else(|| Error::new("dict2items requires a dictionary"))?;
            Value::list(
                map.pairs()
                    .into_iter()
                    .map(|(k, v)| Value::map([(key.clone(), k), (val.clone(), v)]))
                    .collect(),
            )
        }
        "items2dict" => {
            let (key, val) = (args.text(0, "key_name", "key"), args.text(1, "value_name", "value"));
            let map = Map::new();
            let list = value.as_items().ok_or_else(|| {
                Error::new(format!("items2dict requires a list, got {} instead.", value.type_name()))
            })?;
            for item in list {
                if item.as_map().is_none() {
                    return Err(Error::new(format!(
                        "items2dict requires a list of dictionaries, got {value} instead."
                    )));
                }
                let (Some(k), Some(v)) = (item.get(&key), item.get(&val)) else {
                    return Err(Error::new(format!(
                        "items2dict requires each dictionary in the list to contain the keys '{key}' and '{val}', got {value} instead."
                    )));
                };
                map.insert(k, v);
            }
            map.into()
        }
        "union" => dedup(items(value)?.into_iter().chain(other()?).collect()).into(),
        "intersect" => {
            let b = other()?;
            dedup(items(value)?.into_iter().filter(|v| b.contains(v)).collect()).into()
        }
        "difference" => {
            let b = other()?;
            dedup(items(value)?.into_iter().filter(|v| !b.contains(v)).collect()).into()
        }
        "symmetric_difference" => {
            let (a, b) = (items(value)?, other()?);
            let only = a.iter().filter(|v| !b.contains(v)).chain(b.iter().filter(|v| !a.contains(v)));
            dedup(only.cloned().collect()).into()
        }
        "flatten" => {
            let levels = args.get(0, "levels").and_then(|v| v.as_int()).unwrap_or(i128::MAX);
            let skip_nulls = args.flag(1, "skip_nulls", true);
            let mut out = Vec::new();
            flatten(value, levels, skip_nulls, &mut out);
            out.into()
        }
        "product" => {
            let mut rows: Vec<Vec<Value>> = vec![vec![]];
            for list in std::iter::once(value).chain(&args.positional) {
                let list = items(list)?;
                rows = rows
                    .iter()
                    .flat_map(|row| list.iter().map(move |v| [row.clone(), vec![v.clone()]].concat()))
                    .collect();
            }
            rows.into_iter().map(Value::tuple).collect::<Vec<_>>().into()
        }
        "zip" | "zip_longest" => {
            let lists: Vec<Vec<Value>> =
                std::iter::once(value).chain(&args.positional).map(items).collect::<Result<_>>()?;
            let fill = args.named("fillvalue").unwrap_or_default();
            let length = lists.iter().map(Vec::len);
            let length = if name == "zip" { length.min() } else { length.max() }.unwrap_or(0);
            (0..length)
                .map(|at| {
                    Value::tuple(
                        lists.iter().map(|l| l.get(at).cloned().unwrap_or_else(|| fill.clone())).collect(),
                    )
                })
                .collect::<Vec<_>>()
                .into()
        }
        "combinations" | "permutations" => {
            let list = items(value)?;
            let size = args.get(0, "r").and_then(|v| v.as_int()).unwrap_or(list.len() as i128) as usize;
            let mut out = Vec::new();
            choose(&list, size, name == "permutations", &mut vec![], &mut out);
            out.into()
        }
        "subelements" => subelements(value, args)?,
        "extract" => {
            let container = args.need(0, "container")?;
            let mut found = container
                .as_map()
                .and_then(|m| m.get_value(value))
                .or_else(|| container.as_items()?.get(value.as_int()? as usize).cloned())
                .unwrap_or_else(|| Value::undefined(format!("no key {value:?}")));
            for key in
                args.get(1, "morekeys").map(|v| v.as_items().unwrap_or_else(|| vec![v])).unwrap_or_default()
            {
                found = found
                    .as_map()
                    .and_then(|m| m.get_value(&key))
                    .unwrap_or_else(|| Value::undefined(format!("no key {key:?}")));
            }
            match &found {
                Value::Str(text) if text.is_template() => templar.resolve(text)?,
                _ => found,
            }
        }
        "from_json" => marks::from_json(templar, value, args)?,
        // What is no text is not read, but for none of it at all.
        "from_yaml_all" if value.is_none() => Value::list(vec![]),
        "from_yaml" | "from_yaml_all" if value.as_str().is_none() => value.clone(),
        "from_yaml" | "from_yaml_all" => {
            let source = bakery_lang::Source::new(name, text());
            let read = |mut node: yaml::Node| {
                node.read_times();
                node.to_value().untrusted()
            };
            let wrong = |e: bakery_lang::Diagnostic| Error::new(e.to_string());
            match name {
                "from_yaml" => read(yaml::parse(&source).map_err(wrong)?),
                _ => Value::list(yaml::parse_all(&source).map_err(wrong)?.into_iter().map(read).collect()),
            }
        }
        "to_json" => json::dumps(&marks::for_json(value, args)?, indent(0), sort(false)).into(),
        "to_nice_json" => json::dumps(&marks::for_json(value, args)?, indent(4), sort(true)).into(),
        "to_yaml" => yaml::emit(value, yaml_style(args, 2, true)?).into(),
        "to_nice_yaml" => yaml::emit(value, yaml_style(args, 4, false)?).into(),
        "human_readable" => units::human(
            value.as_float().ok_or_else(|| Error::new("human_readable() failed on bad input"))?,
            args.flag(0, "isbits", false),
            args.get(1, "unit").filter(|u| !u.is_none()).map(|u| u.to_string()).as_deref(),
        )
        .into(),
        "human_to_bytes" => human_to_bytes(&text())?,
        "log" => {
            let n = value.as_float().ok_or_else(|| Error::new("log() can only be used on numbers"))?;
            match args.get(0, "base").and_then(|b| b.as_float()) {
                Some(base) if (base - 10.0).abs() < f64::EPSILON => n.log10(),
                Some(base) => n.log(base),
                None => n.ln(),
            }
            .into()
        }
        "pow" => value
            .as_float()
            .zip(args.get(0, "y").and_then(|v| v.as_float()))
            .map(|(a, b)| Value::Float(a.powf(b)))
            .ok_or_else(|| Error::new("pow() can only be used on numbers"))?,
        "root" => {
            let base = args.get(0, "base").and_then(|v| v.as_float()).unwrap_or(2.0);
            Value::Float(
                value
                    .as_float()
                    .ok_or_else(|| Error::new("root() can only be used on numbers"))?
                    .powf(1.0 / base),
            )
        }
        "mandatory" => value.clone(),
        "quote" if value.is_none() => "''".into(),
        "quote" => bakery_lang::quote::shell_word(&text()).into(),
        "regex_escape" => {
            let is_escaped: fn(char) -> bool = match args.text(0, "re_type", "python").as_str() {
                "python" => |c| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_',
                "posix_basic" => |c| "[].^$*\\".contains(c),
                // ansible-core refuses it in these words (`regex_escape` in `ansible/plugins/filter/core.py`).
                "posix_extended" => {
                    return Err(Error::new("Regex type (posix_extended) not yet implemented"));
                }
                other => return Err(Error::new(format!("Invalid regex type ({other})"))),
            };
            let escaped = |c| if is_escaped(c) { format!("\\{c}") } else { c.to_string() };
            text().chars().map(escaped).collect::<String>().into()
        }
        "regex_replace" => {
            let regex = compile(&args.text(0, "pattern", ""), flags(args)).map_err(Error::new)?;
            let count = args.named("count").and_then(|v| v.as_int()).unwrap_or(0).max(0) as usize;
            let (made, times) =
                replace(&regex, &text(), &args.text(1, "replacement", ""), count).map_err(Error::new)?;
            let mandatory = args.named("mandatory_count").and_then(|v| v.as_int()).unwrap_or(0);
            if mandatory != 0 && mandatory != times as i128 {
                return Err(Error::new(format!(
                    "'{}' should match {mandatory} times, but matches {times} times in '{}'",
                    args.text(0, "pattern", ""),
                    text()
                )));
            }
            made.into()
        }
        "regex_search" => {
            let regex = compile(&args.text(0, "regex", ""), flags(args)).map_err(Error::new)?;
            let subject = text();
            if args.positional.iter().skip(1).any(|group| !group.to_string().starts_with('\\')) {
                return Err(Error::new("Unknown argument"));
            }
            let Ok(Some(found)) = regex.captures(subject.as_str()) else { return Ok(Value::None) };
            let groups: Vec<Value> = args
                .positional
                .iter()
                .skip(1)
                .map(|g| {
                    let pattern = g.to_string();
                    expand(&pattern, &found).into()
                })
                .collect();
            if groups.is_empty() {
                found.get(0).map_or(Value::None, |m| m.as_str().into())
            } else {
                groups.into()
            }
        }
        "regex_findall" => {
            let regex = compile(&args.text(0, "regex", ""), flags(args)).map_err(Error::new)?;
            let subject = text();
            let mut out = Vec::new();
            for captures in bakery_lang::regex::find_all(&regex, subject.as_str()).map_err(Error::new)? {
                let group = |at: usize| Value::from(captures.get(at).map_or("", |m| m.as_str()));
                out.push(match captures.len() {
                    1 => group(0),
                    2 => group(1),
                    n => Value::list((1..n).map(group).collect()),
                });
            }
            out.into()
        }
        "random" => random(value, args)?,
        "shuffle" => {
            // What cannot be put into another order stays as it is, and an empty seed is none.
            let seed = args.get(0, "seed").filter(Value::is_true);
            let (Ok(mut items), Ok(mut random)) = (items(value), seeded(seed.as_ref())) else {
                return Ok(value.clone());
            };
            random.shuffle(&mut items);
            items.into()
        }
        "split" => Value::strings(match args.get(0, "sep").filter(|v| !v.is_none()) {
            Some(separator) => text().split(&separator.to_string()).map(str::to_owned).collect::<Vec<_>>(),
            None => text().split_whitespace().map(str::to_owned).collect(),
        }),
        "strftime" => {
            let wrong = |second: &Value| Error::new(format!("Invalid value for epoch value ({second})"));
            let seconds = match args.get(0, "second").filter(|v| !v.is_none()) {
                Some(v) => Some(
                    v.as_float().or_else(|| v.to_string().trim().parse().ok()).ok_or_else(|| wrong(&v))?,
                ),
                None => None,
            };
            bakery_lang::time::strftime_of(&text(), seconds, args.flag(1, "utc", false))
                .ok_or_else(|| Error::new("the time is out of range"))?
                .into()
        }
        "to_datetime" => {
            let format = args.text(0, "format", "%Y-%m-%d %H:%M:%S");
            Time::parse(&text(), &format).map_err(Error::new)?.into()
        }
        "ternary" => match value {
            Value::None if args.get(2, "none_val").is_some() => args.get(2, "none_val").unwrap_or_default(),
            _ => args.need(
                usize::from(!value.is_true()),
                if value.is_true() { "true_val" } else { "false_val" },
            )?,
        },
        "to_uuid" => {
            let space = args.text(0, "namespace", "361e6d51-faec-444a-9079-341386da8e2e");
            let space = uuid::Uuid::parse_str(&space)
                .map_err(|e| Error::new(format!("Invalid value '{space}' for 'namespace': {e}")))?;
            uuid::Uuid::new_v5(&space, text().as_bytes()).to_string().into()
        }
        "type_debug" => value.type_name().into(),
        "urldecode" => {
            let mut bytes = Vec::new();
            let source = text().replace('+', " ");
            let mut rest = source.bytes();
            while let Some(b) = rest.next() {
                if b == b'%' {
                    let pair: Vec<u8> = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&String::from_utf8_lossy(&pair), 16).unwrap_or(b'%'));
                } else {
                    bytes.push(b);
                }
            }
            String::from_utf8_lossy(&bytes).into_owned().into()
        }
        "urlsplit" => urlsplit(&text(), args)?,
        other => return Err(Error::new(format!("No filter named '{other}'."))),
    })
}

/// The numbers of the argument `seed`, or the system's.
pub(super) fn seeded(seed: Option<&Value>) -> Result<Random> {
    Random::seeded(seed.unwrap_or(&Value::None)).map_err(Error::new)
}

/// An item of a sequence, or one of the numbers below a number.
fn random(value: &Value, args: &Arguments) -> Result<Value> {
    let given =
        |position, name: &str| args.get(position, name).filter(Value::is_true).and_then(|v| v.as_int());
    let (start, step) = (given(0, "start"), given(1, "step"));
    let mut random = seeded(args.get(2, "seed").as_ref())?;
    match value.as_int() {
        Some(end) => {
            let (start, step) = (start.unwrap_or(0), step.unwrap_or(1));
            let count = (end - start + step - step.signum()) / step;
            let empty = || Error::new(format!("empty range for randrange() ({start}, {end}, {step})"));
            let count = u128::try_from(count).ok().filter(|count| *count > 0).ok_or_else(empty)?;
            Ok(Value::Int(start + step * random.below(count) as i128))
        }
        None if start.is_some() || step.is_some() => {
            Err(Error::new("start and step can only be used with integer values"))
        }
        None => {
            let items = bakery_jinja::ops::iterate(value)
                .map_err(|_| Error::new("random can only be used on sequences and integers"))?;
            random.choice(&items).cloned().ok_or_else(|| Error::new("Cannot choose from an empty sequence"))
        }
    }
}

fn lookup_glob(pattern: &str, name: &str) -> bool {
    let regex: String = pattern
        .chars()
        .map(|c| match c {
            '*' => ".*".to_owned(),
            '?' => ".".to_owned(),
            c if c.is_alphanumeric() => c.to_string(),
            c => format!("\\{c}"),
        })
        .collect();
    compile(&format!("^{regex}\\Z"), Flags::default()).is_ok_and(|r| r.is_match(name).unwrap_or(false))
}

fn flags(args: &Arguments) -> Flags {
    let on = |name: &str| args.named(name).is_some_and(|v| v.is_true());
    Flags { ignore_case: on("ignorecase"), multiline: on("multiline"), dot_all: false }
}

/// `now(utc, fmt)`.
pub(crate) fn now(args: &Arguments) -> Value {
    let time = Time::now(args.flag(0, "utc", false));
    match args.get(1, "fmt").filter(Value::is_true) {
        Some(format) => time.format(&format.to_string()).into(),
        None => time.into(),
    }
}

/// What `mandatory` says of a value that is not there, with its name if it has one.
fn mandatory(value: &Value) -> String {
    let message = Error::of_undefined(value).message;
    match message.strip_suffix(" is undefined") {
        Some(name) => format!("Mandatory variable {name} not defined."),
        None => "Mandatory variable not defined.".into(),
    }
}
