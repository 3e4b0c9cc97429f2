//! Verbs that look: `list`, `info`, `verify`, `outdated`.

use std::io::Write;
use std::path::{Path, PathBuf};

use bakery_events::exit;
use bakery_host::fs;
use bakery_lang::{Value, json, yaml};

use super::{FileArgs, ListArgs, Paths, ServerArgs, Surroundings, VerifyArgs, put, wanted};
use crate::install::{Places, record};
use crate::installed;
use crate::lock::{self, LockFile, Pin};
use crate::requirements::{Kind, Source};
use crate::version::Version;
use crate::{Error, Result, scm};

/// Folders to look in: the one that was named, else all that are configured.
fn folders(named: Option<&PathBuf>, configured: &[PathBuf]) -> Vec<PathBuf> {
    named.map_or_else(|| configured.to_vec(), |one| vec![one.clone()])
}

pub(super) fn list(
    args: &ListArgs,
    kinds: &[Kind],
    around: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<i32> {
    let mut found = false;
    // `ansible-galaxy list` lists roles.
    let kind = if kinds == [Kind::Collection] { Kind::Collection } else { Kind::Role };
    let mut shown = Vec::new();
    if kind == Kind::Role {
        for folder in folders(args.paths.roles_path.as_ref(), &around.roles) {
            if !folder.is_dir() {
                around.reporter.warn(&format!("the configured path {} does not exist.", folder.display()));
                continue;
            }
            found = true;
            let mut roles = installed::roles(&folder)?;
            roles.retain(|r| args.name.as_ref().is_none_or(|n| *n == r.name));
            let rows =
                roles.into_iter().map(|r| (r.name, r.version.unwrap_or_else(|| "(unknown version)".into())));
            shown.push((folder, rows.collect::<Vec<_>>()));
        }
    } else {
        let named = args.paths.collections_path.as_ref().or(args.paths.roles_path.as_ref());
        for folder in folders(named, &around.collections) {
            let places = Places { roles: PathBuf::new(), collections: folder };
            if !places.namespaces().is_dir() {
                continue;
            }
            found = true;
            let mut all = installed::collections(&places);
            all.retain(|(name, _)| args.name.as_ref().is_none_or(|n| n == name));
            shown.push((places.namespaces(), all));
        }
    }
    if !found {
        return Err(Error::new(format!("none of the paths of {kind}s is there; say which with -p")));
    }
    if let Some(name) = args.name.as_ref().filter(|_| shown.iter().all(|(_, rows)| rows.is_empty())) {
        around.reporter.warn(&format!("the {kind} {name} was not found"));
    }
    if around.json || args.format != "human" {
        let one = |rows: &[(String, String)]| {
            Value::map(
                rows.iter().map(|(n, v)| (n.clone(), Value::map([("version", Value::from(v.as_str()))]))),
            )
        };
        let all = Value::map(shown.iter().map(|(folder, rows)| (folder.display().to_string(), one(rows))));
        if around.json {
            around.result("list", json::to_json(&all));
        } else if args.format == "json" {
            put(out, &json::dumps(&all, 0, false));
        } else {
            put(out, yaml::emit(&all, yaml::Style::default()).trim_end());
        }
        return Ok(exit::OK);
    }
    for (folder, rows) in shown {
        if kind == Kind::Role {
            put(out, &format!("# {}", folder.display()));
            for (name, version) in rows {
                put(out, &format!("- {name}, {version}"));
            }
            continue;
        }
        if rows.is_empty() {
            continue;
        }
        let width = |least: usize, texts: &dyn Fn(&(String, String)) -> usize| {
            rows.iter().map(texts).max().unwrap_or(0).max(least)
        };
        let (names, versions) = (width(10, &|r| r.0.len()), width(7, &|r| r.1.len()));
        put(out, &format!("\n# {}", folder.display()));
        put(out, &format!("{:names$} {:versions$}", "Collection", "Version"));
        put(out, &format!("{} {}", "-".repeat(names), "-".repeat(versions)));
        for (name, version) in &rows {
            put(out, &format!("{name:names$} {version:versions$}"));
        }
    }
    Ok(exit::OK)
}

pub(super) fn info(
    names: &[String],
    paths: &Paths,
    server: &ServerArgs,
    kinds: &[Kind],
    around: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<i32> {
    let kind = if kinds == [Kind::Collection] { Kind::Collection } else { Kind::Role };
    let fetcher = around.fetcher(server);
    let mut code = exit::OK;
    for name in names {
        let mut lines: Vec<(String, String)> = Vec::new();
        let all = match kind {
            Kind::Role => folders(paths.roles_path.as_ref(), &around.roles),
            Kind::Collection => {
                folders(paths.collections_path.as_ref().or(paths.roles_path.as_ref()), &around.collections)
            }
        };
        for folder in all {
            let places = Places { roles: folder.clone(), collections: folder.clone() };
            let place = places.place(kind, name);
            if !place.is_dir() {
                continue;
            }
            lines.push(("path".into(), place.display().to_string()));
            if let Some(record) = record(&places, kind, name) {
                lines.push(("installed_version".into(), record.version));
                lines.push(("source".into(), record.source));
                lines.extend(record.commit.map(|c| ("commit".into(), c)));
                lines.push(("digest".into(), record.digest));
            } else if let Some(version) = crate::install::noted_version(&place) {
                lines.push(("installed_version".into(), version));
            }
            lines.extend(described(&place, kind));
            break;
        }
        if !server.offline {
            let source = Source::Galaxy(name.clone(), None);
            match fetcher.versions(&source, kind) {
                Ok(versions) => {
                    let texts: Vec<&str> = versions.iter().rev().take(10).map(Version::text).collect();
                    lines.push(("newest versions".into(), texts.join(", ")));
                }
                // What is installed from elsewhere need not be on a server.
                Err(error) if lines.is_empty() => around.reporter.warn(&error.to_string()),
                Err(_) => {}
            }
        }
        if lines.is_empty() {
            put(out, &format!("- the {kind} {name} was not found"));
            code = exit::ERROR;
            continue;
        }
        if around.json {
            let map: serde_json::Map<String, serde_json::Value> =
                lines.into_iter().map(|(k, v)| (k, v.into())).collect();
            around.result("info", serde_json::json!({ "kind": kind, "name": name, "about": map }));
            continue;
        }
        let title = if kind == Kind::Role { "Role" } else { "Collection" };
        put(out, &format!("\n{title}: {name}"));
        for (key, value) in lines {
            put(out, &format!("\t{key}: {value}"));
        }
    }
    Ok(code)
}

/// What a role or collection says of itself.
fn described(place: &Path, kind: Kind) -> Vec<(String, String)> {
    let read = |name: &str| fs::read_to_string(place.join(name)).ok();
    let map = match kind {
        Kind::Role => read("meta/main.yml")
            .or_else(|| read("meta/main.yaml"))
            .and_then(|text| yaml::parse_data("meta/main.yml", &text).ok())
            .and_then(|value| value.get("galaxy_info")),
        Kind::Collection => read("MANIFEST.json")
            .and_then(|text| json::parse(&text).ok())
            .and_then(|value| value.get("collection_info")),
    };
    let pairs = map.and_then(|m| m.as_map().map(bakery_lang::Map::pairs)).unwrap_or_default();
    let shown = |v: &Value| {
        v.as_items().map_or_else(
            || v.to_string(),
            |items| items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        )
    };
    pairs
        .iter()
        .filter(|(_, v)| !v.is_none() && v.is_true())
        .map(|(k, v)| (k.to_string(), shown(v)))
        .collect()
}

pub(super) fn verify(
    args: &VerifyArgs,
    kinds: &[Kind],
    around: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<i32> {
    let places = around.places(&args.paths, kinds);
    let mut names: Vec<(Kind, String)> = Vec::new();
    if !args.names.is_empty() || args.file.requirements.is_some() {
        let all = wanted(&args.names, args.file.requirements.as_deref(), kinds)?;
        names.extend(all.into_iter().map(|r| (r.kind, r.name)));
    } else {
        if kinds.contains(&Kind::Role) && places.roles.is_dir() {
            names.extend(installed::roles(&places.roles)?.into_iter().map(|r| (Kind::Role, r.name)));
        }
        if kinds.contains(&Kind::Collection) {
            names.extend(installed::collections(&places).into_iter().map(|(n, _)| (Kind::Collection, n)));
        }
    }
    let fetcher = around.fetcher(&args.server);
    let (mut code, mut rows) = (exit::OK, Vec::new());
    for (kind, name) in names {
        let changed = match kind {
            Kind::Role => installed::changed_role(&places.roles, &name),
            Kind::Collection => installed::changed_collection(&places, &name).map(Some).and_then(|changed| {
                let foreign = !args.server.offline && differs_from_server(&places, &name, &fetcher)?;
                Ok(changed.map(|mut c| {
                    c.extend(foreign.then(|| "MANIFEST.json".to_owned()));
                    c
                }))
            }),
        };
        let changed = match changed {
            Ok(changed) => changed,
            Err(error) if args.ignore_errors => {
                around.reporter.warn(&format!("{name} could not be verified: {error}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        rows.push(serde_json::json!({ "kind": kind, "name": name, "changed": changed }));
        if changed.as_ref().is_some_and(|c| !c.is_empty()) {
            code = exit::ERROR;
        }
        if around.json {
            continue;
        }
        match changed {
            None => {
                put(out, &format!("the {kind} {name} was not installed by bakery: nobody knows what it was"));
            }
            Some(changed) if changed.is_empty() => {
                put(out, &format!("the {kind} {name} is what was installed"));
            }
            Some(changed) => {
                let title = if kind == Kind::Role { "Role" } else { "Collection" };
                put(out, &format!("{title} {name} contains modified content in the following files:"));
                for path in changed {
                    put(out, &format!("    {path}"));
                }
            }
        }
    }
    if around.json {
        around.result("verify", rows.into());
    }
    Ok(code)
}

/// Whether a collection's manifest is another one than its server has for that version. What did not come from a
/// server is not asked for there.
fn differs_from_server(places: &Places, name: &str, fetcher: &crate::fetch::Fetcher) -> Result<bool> {
    if !places.info_folders(name).iter().any(|folder| folder.join("GALAXY.yml").is_file()) {
        return Ok(false);
    }
    let version = installed::collections(places).into_iter().find(|(n, _)| n == name).map(|(_, v)| v);
    let fetched = fetcher.fetch(
        Kind::Collection,
        &Source::Galaxy(name.to_owned(), None),
        &Version::new(version.unwrap_or_default()),
    )?;
    let here = fs::read(places.place(Kind::Collection, name).join("MANIFEST.json"))?;
    Ok(fetched.tree.bytes("MANIFEST.json") != Some(&here))
}

pub(super) fn outdated(
    file: &FileArgs,
    server: &ServerArgs,
    around: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<i32> {
    let file = file.requirements.clone().unwrap_or_else(|| PathBuf::from("requirements.yml"));
    let path = lock::path_of(&file);
    let lock = LockFile::read(&path)?.ok_or_else(|| {
        Error::new(format!("there is no {}; `bakery galaxy install` makes it", path.display()))
    })?;
    let fetcher = around.fetcher(server);
    let rows = crate::fetch::side_by_side(&lock.pins, |pin| newer(pin, &fetcher));
    let (mut any, mut json) = (false, Vec::new());
    for (pin, newer) in lock.pins.iter().zip(rows) {
        let Some(newer) = newer? else { continue };
        any = true;
        let now =
            if pin.version.is_empty() { pin.commit.clone().unwrap_or_default() } else { pin.version.clone() };
        json.push(serde_json::json!({ "kind": pin.kind, "name": pin.name, "locked": now, "newest": newer }));
        if !around.json {
            put(out, &format!("{:<10} {:<32} {now} -> {newer}", pin.kind.to_string(), pin.name));
        }
    }
    if around.json {
        around.result("outdated", json.into());
    } else if !any {
        put(out, "everything is up to date");
    }
    Ok(exit::OK)
}

/// The newest version of a source, or the commit that a branch leads to, if that is not what is locked.
fn newer(pin: &Pin, fetcher: &crate::fetch::Fetcher) -> Result<Option<String>> {
    let locked = Version::new(&pin.version);
    if !locked.is_number()
        && let (Source::Git(url, _), Some(commit)) = (&pin.source, &pin.commit)
    {
        let name = if pin.version.is_empty() { "HEAD" } else { &pin.version };
        let now = scm::refs(url, fetcher.scm)?.into_iter().find(|r| r.name == name);
        return Ok(now.map(|r| r.commit).filter(|c| c != commit));
    }
    let versions = fetcher.versions(&pin.source, pin.kind)?;
    let newest = versions.into_iter().rev().find(|v| !v.is_pre_release() || locked.is_pre_release());
    Ok(newest.filter(|n| *n > locked).map(|n| n.text().to_owned()))
}
