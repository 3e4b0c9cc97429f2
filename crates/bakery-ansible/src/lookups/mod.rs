//! Lookups, and the loops of `with_` keywords that are made of them (`ansible/plugins/lookup/`).

mod tables;

use bakery_host::{Cmd, fs};
use bakery_jinja::{Arguments, Error, Result, Scope as _};
use bakery_lang::{Map, Value};

use crate::Templar;
use crate::plugins::{Call, Kind};

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

/// `lookup(name, …)`, or `query(name, …)` for a list.
pub(crate) fn call(templar: &Templar, args: &Arguments, wantlist: bool) -> Result<Value> {
    let name = args.need(0, "plugin")?.to_string();
    let terms: Vec<Value> = args.positional[1..].to_vec();
    let options: Map = args.named.iter().cloned().collect();
    let wantlist = wantlist || options.remove("wantlist").is_some_and(|v| v.is_true());
    let errors = options.remove("errors").map_or_else(|| "strict".to_owned(), |v| v.to_string());
    let found = match run(templar, bakery_modules::canonical_name(&name), &terms, &options) {
        Ok(found) => found,
        Err(error) if errors == "strict" => {
            return Err(Error::new(format!("The lookup plugin '{name}' failed: {}", error.message)));
        }
        Err(error) => {
            if errors == "warn" {
                templar.warn(format!("The lookup plugin '{name}' failed: {}", error.message));
            }
            return Ok(if wantlist { vec![].into() } else { Value::None });
        }
    };
    if wantlist {
        return Ok(found.into());
    }
    Ok(match found.as_slice() {
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
pub(crate) fn run(templar: &Templar, name: &str, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
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
        "subelements" => {
            let terms = listify(terms);
            let (Some(list), Some(key)) = (terms.first(), terms.get(1)) else {
                return Err(Error::new("subelements lookup expects a list of two or three items"));
            };
            let skip = terms.get(2).and_then(|o| o.get("skip_missing")).is_some_and(|v| v.is_true());
            let args = Arguments::of(vec![key.clone(), skip.into()]);
            templar
                .filter("subelements", list, &args)
                .unwrap_or_else(|| Ok(Value::None))?
                .as_items()
                .unwrap_or_default()
        }
        "sequence" => sequence(terms, options)?,
        "random_choice" => {
            let list = listify(terms);
            let nanos = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |d| d.subsec_nanos());
            list.get(nanos as usize % list.len().max(1)).cloned().into_iter().collect()
        }
        "env" => texts()
            .iter()
            .map(|name| {
                std::env::var(name)
                    .map_or_else(|_| options.get("default").unwrap_or_else(|| "".into()), Value::from)
            })
            .collect(),
        "ini" => tables::ini(templar, terms, options)?,
        "csvfile" if terms.is_empty() => return Err(Error::new("Search key is required but was not found")),
        "csvfile" => tables::csv(templar, terms, options)?,
        "url" => url(terms, options)?,
        "config" => config(templar, terms, options)?,
        "file" | "unvault" => {
            let mut out = Vec::new();
            for name in texts() {
                let text = file_text(templar, &name)?;
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
        "password" => texts().iter().map(|term| password(term)).collect::<Result<_>>()?,
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
            if let Some(loader) = &templar.loader
                && loader.plugins.has(loader, Kind::Lookup, other)
            {
                let call = Call {
                    args: terms.to_vec(),
                    named: options.clone(),
                    variables: templar.everything(),
                    ..Call::new(Kind::Lookup, other)
                };
                let found = loader.plugins.run(loader, &call).map_err(Error::new)?;
                return Ok(found.as_items().unwrap_or_else(|| vec![found]));
            }
            let hint = bakery_lang::suggest(other, NAMES.iter().copied())
                .map(|h| format!(" ({h})"))
                .unwrap_or_default();
            return Err(Error::new(format!("lookup plugin ({other}) not found{hint}")));
        }
    })
}

/// The text of a file in the search folders, opened if it is a vault.
fn file_text(templar: &Templar, name: &str) -> Result<String> {
    let path = templar.find_file("files", name).ok_or_else(|| {
        Error::new(format!("Unable to access the file '{name}': it was not found in the search paths"))
    })?;
    let bytes = fs::read(&path).map_err(|e| Error::new(e.to_string()))?;
    match &templar.loader {
        Some(loader) => loader.decrypted(&path, bytes).map_err(|e| Error::new(e.diagnostic.message)),
        None => String::from_utf8(bytes).map_err(|e| Error::new(e.to_string())),
    }
}

/// What is at a URL, as lines or as one text.
fn url(terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    for term in terms {
        let mut headers: Vec<(String, String)> = Vec::new();
        if let Some(Value::Map(map)) = options.get("headers") {
            headers.extend(map.pairs().into_iter().map(|(k, v)| (k.to_string(), v.to_string())));
        }
        let text = |name: &str| options.get(name).filter(|v| !v.is_none()).map(|v| v.to_string());
        if let Some(user) = text("username") {
            use base64::Engine as _;
            let pair = format!("{user}:{}", text("password").unwrap_or_default());
            let basic = base64::engine::general_purpose::STANDARD.encode(pair);
            headers.push(("Authorization".into(), format!("Basic {basic}")));
        }
        let body = bakery_modules::http::get(&term.to_string(), &headers)
            .map_err(|e| Error::new(format!("Failed lookup url for {term} : {e}")))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if options.get("split_lines").is_none_or(|v| bakery_modules::args::boolean(&v).unwrap_or(true)) {
            out.extend(body.lines().map(Value::from));
        } else {
            out.push(body.into());
        }
    }
    Ok(out)
}

/// A setting of the configuration, by the names that matter here.
fn config(templar: &Templar, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let missing = options.get("on_missing").map_or_else(|| "error".to_owned(), |v| v.to_string());
    let mut out = Vec::new();
    for term in terms {
        let Some(name) = term.as_str() else {
            return Err(Error::new(format!("Invalid setting identifier, \"{term}\" is not a string")));
        };
        let found = templar.loader.as_ref().and_then(|loader| loader.settings.named(name));
        match found {
            Some(value) => out.push(value),
            None if missing == "error" => {
                return Err(Error::new(format!("Unable to find setting {name}")));
            }
            None => {
                if missing == "warn" {
                    templar.warn(format!("Skipping, did not find setting {name}"));
                }
            }
        }
    }
    Ok(out)
}

fn first_found(templar: &Templar, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let mut candidates = Vec::new();
    let mut skip = options.get("skip").is_some_and(|v| v.is_true());
    let list = |v: Option<Value>| {
        v.map(|v| {
            v.as_items()
                .unwrap_or_else(|| v.to_string().split([',', ';']).map(|s| Value::from(s.trim())).collect())
        })
        .unwrap_or_default()
    };
    let mut combine = |files: Vec<Value>, paths: Vec<Value>| {
        for file in &files {
            if paths.is_empty() {
                candidates.push(file.to_string());
            }
            for path in &paths {
                candidates.push(format!("{}/{file}", path.to_string().trim_end_matches('/')));
            }
        }
    };
    if options.contains("files") {
        combine(list(options.get("files")), list(options.get("paths")));
    }
    for term in listify(terms) {
        match &term {
            Value::Map(map) => {
                skip |= map.get("skip").is_some_and(|v| v.is_true());
                combine(list(map.get("files")), list(map.get("paths")));
            }
            other => combine(vec![other.clone()], list(options.get("paths"))),
        }
    }
    for kind in ["files", "templates", "vars", "tasks"] {
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

/// A number in decimal, hexadecimal (`0x…`) or octal (`0…`).
fn number(text: &str) -> Option<i128> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => i128::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

fn sequence(terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let settings = options.copied();
    for term in terms {
        let text = term.to_string();
        // `[start-]end[/stride][:format]`, numbers also in hexadecimal and octal.
        if !text.contains('=') {
            let (rest, format) = text.split_once(':').map_or((text.as_str(), None), |(r, f)| (r, Some(f)));
            let (range, stride) = rest.split_once('/').map_or((rest, None), |(r, s)| (r, Some(s)));
            let (start, end) = range.split_once('-').map_or((None, range), |(a, b)| (Some(a), b));
            settings.set("end", end);
            for (name, value) in [("start", start), ("stride", stride), ("format", format)] {
                if let Some(value) = value {
                    settings.set(name, value);
                }
            }
        } else {
            settings.extend(&crate::playbook::parse_key_values(&text, None, None));
        }
    }
    let int = |name: &str| settings.get(name).and_then(|v| v.as_int().or_else(|| number(&v.to_string())));
    let start = int("start").unwrap_or(1);
    let stride = int("stride").unwrap_or(1);
    let end = match (int("end"), int("count")) {
        (Some(end), _) => end,
        (None, Some(count)) => start + (count - 1) * stride,
        (None, None) => return Err(Error::new("must specify count or end in with_sequence")),
    };
    let format = settings.get("format").map_or_else(|| "%d".to_owned(), |v| v.to_string());
    let mut out = Vec::new();
    let mut at = start;
    while stride != 0 && ((stride > 0 && at <= end) || (stride < 0 && at >= end)) && out.len() < 1_000_000 {
        out.push(bakery_jinja::ops::binary(
            bakery_jinja::ops::Binary::Mod,
            &format.as_str().into(),
            &Value::Int(at),
        )?);
        at += stride;
    }
    Ok(out)
}

/// A password kept in a file, made on first use.
fn password(term: &str) -> Result<Value> {
    let mut words = term.split_whitespace();
    let path = words.next().unwrap_or("/dev/null");
    let mut length = 20;
    let mut chars: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain(".,:-_".chars()).collect();
    for word in words {
        match word.split_once('=') {
            Some(("length", n)) => length = n.parse().unwrap_or(20),
            Some(("chars", set)) => {
                chars = set
                    .split(',')
                    .flat_map(|name| match name {
                        "ascii_letters" => ('a'..='z').chain('A'..='Z').collect::<Vec<_>>(),
                        "ascii_lowercase" => ('a'..='z').collect(),
                        "ascii_uppercase" => ('A'..='Z').collect(),
                        "digits" => ('0'..='9').collect(),
                        "hexdigits" => "0123456789abcdefABCDEF".chars().collect(),
                        other => other.chars().collect(),
                    })
                    .collect();
            }
            _ => {}
        }
    }
    if path != "/dev/null"
        && let Ok(text) = fs::read_to_string(path)
    {
        return Ok(text.lines().next().unwrap_or("").split(" salt=").next().unwrap_or("").into());
    }
    let mut random = fs::open("/dev/urandom").map_err(|e| Error::new(e.to_string()))?;
    let mut made = String::new();
    while made.len() < length {
        let mut byte = [0u8];
        std::io::Read::read_exact(&mut random, &mut byte).map_err(|e| Error::new(e.to_string()))?;
        // Bytes past the last whole multiple would favour the first letters.
        if usize::from(byte[0]) < 256 / chars.len() * chars.len() {
            made.push(chars[usize::from(byte[0]) % chars.len()]);
        }
    }
    if path != "/dev/null" {
        let target = std::path::Path::new(path);
        let write = || -> bakery_host::Result<()> {
            fs::create_dir_all(target.parent().unwrap_or(target))?;
            fs::write_atomic_mode(target, format!("{made}\n"), 0o600)
        };
        write().map_err(|e| Error::new(e.to_string()))?;
    }
    Ok(made.into())
}
