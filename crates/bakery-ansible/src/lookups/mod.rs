//! Lookups, and the loops of `with_` keywords that are made of them (`ansible/plugins/lookup/`).

mod config;
mod password;
mod sequence;
mod tables;
mod url;

use bakery_host::{Cmd, fs};
use bakery_jinja::{Arguments, Error, Result, Scope as _};
use bakery_lang::random::Random;
use bakery_lang::{Map, Value};

use crate::Templar;
use crate::plugins::{Call, Kind};
pub(crate) use tables::rows;

/// The lookups of this crate.
pub(crate) const NAMES: &[&str] = &[
    "config",
    "csvfile",
    "dict",
    "env",
    "file",
    "fileglob",
    "filetree",
    "first_found",
    "flattened",
    "indexed_items",
    "ini",
    "inventory_hostnames",
    "items",
    "lines",
    "list",
    "nested",
    "password",
    "pipe",
    "random_choice",
    "sequence",
    "subelements",
    "template",
    "together",
    "unvault",
    "url",
    "varnames",
    "vars",
];

/// What `undef()` says that is given no text.
pub(crate) const NO_TEXT: &str = "Mandatory variable has not been overridden";

/// `lookup(name, …)`, or `query(name, …)` for a list.
pub(crate) fn call(templar: &Templar, args: &Arguments, wantlist: bool) -> Result<Value> {
    let name = args.need(0, "plugin")?.to_string();
    let terms: Vec<Value> = args.positional[1..].to_vec();
    let options: Map = args.named.iter().cloned().collect();
    let wantlist = wantlist || options.remove("wantlist").is_some_and(|v| v.is_true());
    let errors = options.remove("errors").map_or_else(|| "strict".to_owned(), |v| v.to_string());
    let name = bakery_modules::canonical_name(&name);
    // Lookups do not get to see what is not there, but for a default of `env`.
    let given = options.pairs().into_iter().filter(|_| name != "env").map(|(_, value)| value);
    if let Some(marker) = terms.iter().cloned().chain(given).find(Value::is_undefined) {
        return Ok(marker);
    }
    // A loop gives `list` its items; here it gives its terms back as they are.
    let terms = if name == "list" { vec![Value::list(terms)] } else { terms };
    let found = match run(templar, name, &terms, &options) {
        Ok(found) => found,
        Err(error) if errors == "strict" => return Err(error),
        Err(error) => {
            if errors == "warn" {
                templar.warn(error.message);
            }
            return Ok(if wantlist { vec![].into() } else { Value::None });
        }
    };
    if wantlist {
        return Ok(found.into());
    }
    Ok(match found.as_slice() {
        [] => vec![].into(),
        [one] => one.clone(),
        many if many.iter().all(|v| v.as_str().is_some()) => {
            many.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into()
        }
        many => many.to_vec().into(),
    })
}

/// Terms as a list: a single list stands for its items.
fn listify(terms: &[Value]) -> Vec<Value> {
    match terms {
        [one] => one.as_items().unwrap_or_else(|| vec![one.clone()]),
        many => many.to_vec(),
    }
}

fn flatten_once(terms: &[Value]) -> Vec<Value> {
    terms.iter().flat_map(|t| t.as_items().unwrap_or_else(|| vec![t.clone()])).collect()
}

/// Runs a lookup over terms.
///
/// # Errors
/// With its name and what it says, whatever that came from; or that there is no such lookup.
pub(crate) fn run(templar: &Templar, name: &str, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    // Python is started for what is not known here alone.
    let in_python =
        || templar.loader.as_ref().is_some_and(|loader| loader.plugins.has(loader, Kind::Lookup, name));
    if !NAMES.contains(&name) && !in_python() {
        let hint = bakery_lang::suggest(name, NAMES.iter().copied());
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        return Err(Error::told(format!("The lookup plugin '{name}' was not found.{hint}")));
    }
    let broken = format!("The lookup plugin '{name}' failed to load");
    found(templar, name, terms, options).map_err(|error| {
        if error.message.starts_with(&broken) {
            return error;
        }
        Error::told(format!("The lookup plugin '{name}' failed: {}", error.message))
    })
}

fn found(templar: &Templar, name: &str, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let name_is_file = name == "file";
    let texts = || terms.iter().map(ToString::to_string).collect::<Vec<_>>();
    Ok(match name {
        "items" => flatten_once(&listify(terms)),
        "list" => listify(terms),
        "flattened" => {
            fn deep(value: &Value, out: &mut Vec<Value>) {
                match value.as_items() {
                    Some(items) => items.iter().for_each(|v| deep(v, out)),
                    None => out.push(value.clone()),
                }
            }
            let mut out = Vec::new();
            terms.iter().for_each(|t| deep(t, &mut out));
            out
        }
        "indexed_items" => flatten_once(&listify(terms))
            .into_iter()
            .enumerate()
            .map(|(i, v)| Value::list(vec![i.into(), v]))
            .collect(),
        "dict" => {
            let mut out = Vec::new();
            for term in terms {
                let map = term.as_map().ok_or_else(|| {
                    Error::new(format!(
                        "the 'dict' lookup plugin expects a dictionary, got '{term}' of type {}",
                        term.type_name()
                    ))
                })?;
                out.extend(map.pairs().into_iter().map(|(k, v)| Value::map([("key", k), ("value", v)])));
            }
            out
        }
        "together" if listify(terms).is_empty() => {
            return Err(Error::new("with_together requires at least one element in each list"));
        }
        "together" => {
            let lists: Vec<Vec<Value>> =
                listify(terms).iter().map(|t| t.as_items().unwrap_or_else(|| vec![t.clone()])).collect();
            let length = lists.iter().map(Vec::len).max().unwrap_or(0);
            (0..length)
                .map(|at| Value::list(lists.iter().map(|l| l.get(at).cloned().unwrap_or_default()).collect()))
                .collect()
        }
        "nested" | "cartesian" => {
            let mut rows: Vec<Vec<Value>> = vec![vec![]];
            for list in listify(terms) {
                let list = list.as_items().unwrap_or_else(|| vec![list.clone()]);
                rows = rows
                    .iter()
                    .flat_map(|row| list.iter().map(move |v| [row.clone(), vec![v.clone()]].concat()))
                    .collect();
            }
            rows.into_iter().map(Value::list).collect()
        }
        "subelements" => tables::subelements(&listify(terms))?,
        "sequence" => sequence::run(terms, options)?,
        "random_choice" => Random::of_system().choice(&listify(terms)).cloned().into_iter().collect(),
        "env" => texts()
            .iter()
            .map(|name| {
                let loader = templar.loader.as_ref();
                let value = loader.map_or_else(|| std::env::var(name).ok(), |l| l.settings.variable(name));
                match (value, options.get("default")) {
                    (Some(value), _) => value.into(),
                    (None, None) => "".into(),
                    // What `undef()` says without a text of its own.
                    (None, Some(Value::Undefined(missing))) if missing.message == NO_TEXT => {
                        Value::undefined(format!("The environment variable '{name}' is not set."))
                    }
                    (None, Some(default)) => default,
                }
            })
            .collect(),
        "ini" => tables::ini_values(templar, terms, options)?,
        "csvfile" if terms.is_empty() => return Err(Error::new("Search key is required but was not found")),
        "csvfile" => tables::csv(templar, terms, options)?,
        "url" => url::url(templar, terms, options)?,
        "config" => config::run(templar, terms, options)?,
        "file" | "unvault" => {
            let mut out = Vec::new();
            for name in texts() {
                let path = templar.find_file("files", &name).ok_or_else(|| {
                    Error::new(format!(
                        "Unable to access the file '{name}': File not found. Use -vvvvv to see paths searched."
                    ))
                })?;
                let text = text_of(templar, &path)?;
                let flag = |name: &str, default: bool| {
                    options
                        .get(name)
                        .map_or(default, |v| bakery_modules::args::boolean(&v).unwrap_or(default))
                };
                let text = if flag("lstrip", false) { text.trim_start() } else { &text };
                out.push(if flag("rstrip", name_is_file) { text.trim_end() } else { text }.into());
            }
            out
        }
        "template" => {
            let mut out = Vec::new();
            for name in texts() {
                out.push(crate::actions::render_lookup(templar, &name, options)?);
            }
            out
        }
        "fileglob" => {
            let mut out = Vec::new();
            for pattern in texts() {
                let (folder, last) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
                let bases: Vec<std::path::PathBuf> = if folder.starts_with('/') {
                    vec![folder.into()]
                } else {
                    let search = templar.search.iter();
                    search.flat_map(|base| [base.join("files").join(folder), base.join(folder)]).collect()
                };
                for base in bases.iter().filter(|base| base.is_dir()) {
                    let found = glob::glob(&format!("{}/{last}", base.display()))
                        .map_err(|e| Error::new(e.to_string()))?;
                    let found: Vec<Value> = found
                        .flatten()
                        .filter(|p| p.is_file())
                        .map(|p| Value::from(p.display().to_string()))
                        .collect();
                    if !found.is_empty() {
                        out.extend(found);
                        break;
                    }
                }
            }
            out
        }
        "first_found" => return first_found(templar, terms, options),
        "lines" | "pipe" => {
            let mut out = Vec::new();
            for line in texts() {
                let output = Cmd::new("/bin/sh")
                    .arg("-c")
                    .arg(&line)
                    .output()
                    .map_err(|e| Error::new(e.to_string()))?;
                if !output.success() {
                    return Err(Error::new(format!("lookup_plugin.{name}({line}) returned {}", output.code)));
                }
                let text = output.text();
                if name == "pipe" {
                    out.push(text.trim_end().into());
                } else {
                    out.extend(text.lines().map(Value::from));
                }
            }
            out
        }
        "password" => {
            texts().iter().map(|term| password::run(templar, term, options)).collect::<Result<_>>()?
        }
        "vars" => {
            let mut out = Vec::new();
            for term in terms {
                let Some(name) = term.as_str() else {
                    return Err(Error::new(format!(
                        "Variable name must be 'str' not '{}'.",
                        term.type_name()
                    )));
                };
                let found = templar.variable(name).or_else(|| options.get("default"));
                let found = found
                    .ok_or_else(|| Error::undefined(format!("No variable named '{name}' was found.")))?;
                out.push(templar.evaluate(&found)?);
            }
            out
        }
        "varnames" => {
            let mut out = Vec::new();
            for term in terms {
                let Some(pattern) = term.as_str() else {
                    return Err(Error::new(format!(
                        "Invalid setting identifier, \"{term}\" is not a string, it is a <class '{}'>",
                        term.type_name()
                    )));
                };
                let unusable = |why: &str| {
                    Error::new(format!("Unable to use \"{pattern}\" as a search parameter: {why}"))
                };
                if pattern.starts_with(['*', '+', '?']) {
                    return Err(unusable("nothing to repeat at position 0"));
                }
                let regex = bakery_lang::regex::compile(pattern, bakery_lang::regex::Flags::default())
                    .map_err(|e| unusable(&e))?;
                let names = templar.names().into_iter();
                out.extend(names.filter(|n| regex.is_match(n.as_str()).unwrap_or(false)).map(Value::from));
            }
            out
        }
        "inventory_hostnames" => match &templar.magic {
            Some(magic) => texts().iter().flat_map(|pattern| magic.hosts(pattern)).map(Value::from).collect(),
            None => vec![],
        },
        other => {
            let Some(loader) = &templar.loader else { return Ok(vec![]) };
            let call = Call {
                args: terms.to_vec(),
                named: options.clone(),
                variables: templar.everything(),
                ..Call::new(Kind::Lookup, other)
            };
            let found = loader.plugins.run(loader, &call)?;
            return Ok(found.as_items().unwrap_or_else(|| vec![found]));
        }
    })
}

fn file_path(templar: &Templar, name: &str) -> Result<std::path::PathBuf> {
    templar.find_file("files", name).ok_or_else(|| {
        Error::new(format!(
            "Unable to access the file '{name}': No such file or directory in the search paths"
        ))
    })
}

/// The bytes of a file in the search folders.
fn file_bytes(templar: &Templar, name: &str) -> Result<Vec<u8>> {
    fs::read(file_path(templar, name)?).map_err(|e| Error::new(e.to_string()))
}

/// The text of a file in the search folders, opened if it is a vault.
fn file_text(templar: &Templar, name: &str) -> Result<String> {
    text_of(templar, &file_path(templar, name)?)
}

fn text_of(templar: &Templar, path: &std::path::Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::new(e.to_string()))?;
    match &templar.loader {
        Some(loader) => loader.decrypted(path, bytes).map_err(|e| Error::new(e.diagnostic.message)),
        None => String::from_utf8(bytes).map_err(|e| Error::new(e.to_string())),
    }
}

fn first_found(templar: &Templar, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let mut skip = options.get("skip").is_some_and(|v| v.is_true());
    let files = match options.get("files") {
        Some(files) if terms.is_empty() => vec![files],
        _ => terms.to_vec(),
    };
    let mut candidates = Vec::new();
    first_found_terms(&files, options, &mut skip, &mut candidates)?;
    // A loop looks into one folder, and beside it; what else there is depends on who asks.
    let all = ["files", "templates", "vars", "tasks"];
    let folders = templar.first_found.as_ref().map_or(&all[..], std::slice::from_ref);
    for kind in folders {
        if let Some(found) = candidates.iter().find_map(|c| templar.find_file(kind, c)) {
            return Ok(vec![found.display().to_string().into()]);
        }
    }
    if skip {
        return Ok(vec![]);
    }
    Err(Error::new(format!(
        "No file was found when using first_found. Searched for: {}",
        candidates.join(", ")
    )))
}

/// A value without anything in it that is not defined (`_recurse_terms` in `ansible/plugins/lookup/first_found.py`).
///
/// # Errors
/// Expressions that fail for another reason.
pub(crate) fn defined(templar: &Templar, value: &Value) -> Result<Value> {
    let made = match value {
        Value::Str(_) => match templar.evaluate(value) {
            Err(error) if error.undefined => return Ok(Value::undefined(error.message)),
            made => made?,
        },
        other => other.clone(),
    };
    match &made {
        Value::Map(map) => {
            let out = Map::new();
            for (key, value) in map.pairs() {
                let value = defined(templar, &value)?;
                if !value.is_undefined() {
                    out.insert(key, value);
                }
            }
            Ok(out.into())
        }
        Value::List(_) | Value::Tuple(_) => {
            let items = made.as_items().unwrap_or_default();
            let kept = items.iter().map(|item| defined(templar, item)).filter(|item| match item {
                Ok(item) => !item.is_undefined(),
                Err(_) => true,
            });
            kept.collect::<Result<Vec<_>>>().map(Value::list)
        }
        _ => Ok(made),
    }
}

/// The paths that terms name, in order: texts, mappings with options of their own, lists of both.
fn first_found_terms(
    terms: &[Value],
    options: &Map,
    skip: &mut bool,
    candidates: &mut Vec<String>,
) -> Result<()> {
    let split = |value: Option<Value>, at: &[char]| -> Vec<String> {
        let items = value.map(|v| v.as_items().unwrap_or_else(|| vec![v])).unwrap_or_default();
        let texts = items.iter().map(ToString::to_string).collect::<Vec<_>>();
        texts
            .iter()
            .flat_map(|t| t.split(at))
            .map(|t| t.trim().to_owned())
            .filter(|t| !t.is_empty())
            .collect()
    };
    for term in terms {
        let (files, own) = match term {
            Value::Map(map) => {
                *skip = map.get("skip").map_or(*skip, |v| v.is_true());
                (map.get("files"), map)
            }
            Value::Str(_) => (Some(term.clone()), options),
            Value::List(_) | Value::Tuple(_) => {
                first_found_terms(&term.as_items().unwrap_or_default(), options, skip, candidates)?;
                continue;
            }
            Value::Undefined(_) => return Err(Error::of_undefined(term)),
            other => {
                return Err(Error::new(format!(
                    "Invalid term supplied. A string, dict or list is required, not '{}').",
                    other.type_name()
                )));
            }
        };
        let paths = split(own.get("paths").or_else(|| options.get("paths")), &[',', ':', ';']);
        for file in split(files, &[',', ';']) {
            if paths.is_empty() {
                candidates.push(file.clone());
            }
            candidates.extend(paths.iter().map(|path| format!("{}/{file}", path.trim_end_matches('/'))));
        }
    }
    Ok(())
}
