//! Lookups, and the loops of `with_` keywords that are made of them (`ansible/plugins/lookup/`).

use bakery_host::{Cmd, fs};
use bakery_jinja::{Arguments, Error, Result, Scope as _};
use bakery_lang::{Map, Source, Value};

use crate::Templar;

/// The lookups of this crate.
pub(crate) const NAMES: &[&str] = &[
    "dict",
    "env",
    "file",
    "fileglob",
    "filetree",
    "first_found",
    "flattened",
    "indexed_items",
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
                let map = term.as_map().ok_or_else(|| Error::new("with_dict expects a dict"))?;
                out.extend(map.pairs().into_iter().map(|(k, v)| Value::map([("key", k), ("value", v)])));
            }
            out
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
        "file" | "unvault" => {
            let mut out = Vec::new();
            for name in texts() {
                let path = templar
                    .find_file("files", &name)
                    .ok_or_else(|| Error::new(format!("could not locate file in lookup: {name}")))?;
                let text = fs::read_to_string(path).map_err(|e| Error::new(e.to_string()))?;
                let strip = options.get("rstrip").is_none_or(|v| v.is_true());
                out.push(if strip { text.trim_end() } else { &text }.into());
            }
            out
        }
        "template" => {
            let mut out = Vec::new();
            for name in texts() {
                let path = templar.find_file("templates", &name).ok_or_else(|| {
                    Error::new(format!("the template file {name} could not be found for the lookup"))
                })?;
                let text = fs::read_to_string(&path).map_err(|e| Error::new(e.to_string()))?;
                let source = Source::new(path.display().to_string(), text);
                out.push(
                    templar
                        .template(&source, &bakery_jinja::Syntax::default())
                        .map_err(|d| Error::new(d.message))?
                        .into(),
                );
            }
            out
        }
        "fileglob" => {
            let mut out = Vec::new();
            for pattern in texts() {
                let (folder, _) = pattern.rsplit_once('/').unwrap_or((".", &pattern));
                let base = templar.find_file("files", folder).unwrap_or_else(|| folder.into());
                let full = format!("{}/{}", base.display(), pattern.rsplit('/').next().unwrap_or(&pattern));
                let found = templar
                    .filter("fileglob", &full.into(), &Arguments::default())
                    .unwrap_or_else(|| Ok(Value::None))?;
                out.extend(found.as_items().unwrap_or_default());
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
            for name in texts() {
                let found = templar.variable(&name).or_else(|| options.get("default"));
                let found = found
                    .ok_or_else(|| Error::undefined(format!("No variable found with this name: {name}")))?;
                out.push(templar.evaluate(&found)?);
            }
            out
        }
        "varnames" => {
            let mut out = Vec::new();
            for pattern in texts() {
                let regex = bakery_lang::regex::compile(&pattern, bakery_lang::regex::Flags::default())
                    .map_err(Error::new)?;
                out.extend(
                    templar
                        .names()
                        .into_iter()
                        .filter(|n| regex.is_match(n.as_str()).unwrap_or(false))
                        .map(Value::from),
                );
            }
            out
        }
        "inventory_hostnames" => {
            let groups = templar.variable("groups").unwrap_or_default();
            texts()
                .iter()
                .flat_map(|t| groups.get(t).and_then(|g| g.as_items()).unwrap_or_default())
                .collect()
        }
        other => {
            let hint = bakery_lang::suggest(other, NAMES.iter().copied())
                .map(|h| format!(" ({h})"))
                .unwrap_or_default();
            return Err(Error::new(format!("lookup plugin ({other}) not found{hint}")));
        }
    })
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
    Err(Error::new(format!("No file was found when using first_found: {}", candidates.join(", "))))
}

fn sequence(terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let settings = options.copied();
    for term in terms {
        let text = term.to_string();
        if let Some((range, rest)) =
            text.split_once('/').or(Some((text.as_str(), ""))).filter(|(r, _)| !r.contains('='))
        {
            if let Some((a, b)) = range.split_once('-') {
                settings.set("start", a);
                settings.set("end", b.split(':').next().unwrap_or(b));
            }
            if !rest.is_empty() {
                settings.set("stride", rest);
            }
        } else {
            settings.extend(&crate::playbook::parse_key_values(&text, None, None));
        }
    }
    let int = |name: &str| settings.get(name).and_then(|v| v.as_int().or_else(|| v.to_string().parse().ok()));
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
