//! What is in a template, for people, as `packer inspect` shows it.

use std::fmt::Write as _;
use std::path::Path;

use bakery_host::fs;
use bakery_lang::{Source, Value};

use crate::console::shown;
use crate::hcl::UNKNOWN;
use crate::{Result, Syntax, Template, Variables, json, load};

/// Says what a template has.
///
/// # Errors
/// As [`load`]; a JSON template may lack values for its variables.
pub fn inspect(path: Option<&Path>, given: &Variables) -> Result<String> {
    let path = crate::template::found(path)?;
    if !crate::template::is_hcl(&path) {
        return inspect_json(&path);
    }
    let template = load(Some(&path), &Variables { lenient: true, ..given.clone() })?;
    debug_assert!(template.syntax == Syntax::Hcl);
    Ok(inspect_hcl(&template))
}

fn inspect_hcl(template: &Template) -> String {
    let mut out = String::from("Packer Inspect: HCL2 mode\n\n> input-variables:\n\n");
    let mut variables: Vec<_> = template.variables.iter().collect();
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    for variable in variables {
        let value = if variable.sensitive {
            "\"<sensitive>\"".to_owned()
        } else {
            variable.value.as_ref().map_or_else(|| format!("\"{UNKNOWN}\""), quoted)
        };
        let _ = writeln!(out, "var.{}: {value}", variable.name);
    }
    out.push_str("\n> local-variables:\n\n");
    let mut locals = template.locals.pairs();
    locals.sort_by_key(|(name, _)| name.to_string());
    let secrets = template.secrets();
    for (name, value) in locals {
        let text = quoted(&value);
        let text = secrets.iter().fold(text, |text, secret| text.replace(secret, "<sensitive>"));
        let _ = writeln!(out, "local.{name}: {text}");
    }
    out.push_str("\n> builds:\n\n");
    for (at, listed) in template.listed.iter().enumerate() {
        let name = listed.name.clone().unwrap_or_else(|| format!("<unnamed build {at}>"));
        let _ = writeln!(out, "  > {name}:\n");
        if let Some(description) = &listed.description {
            let _ = writeln!(out, "  > Description: {description}\n");
        }
        let group = |out: &mut String, title: &str, names: &[String]| {
            let _ = writeln!(out, "    {title}:\n");
            if names.is_empty() {
                let _ = writeln!(out, "      <no {}>\n", title.trim_end_matches('s'));
            }
        };
        group(&mut out, "sources", &listed.sources);
        for source in &listed.sources {
            let _ = writeln!(out, "      {source}\n");
        }
        group(&mut out, "provisioners", &listed.provisioners);
        for kind in &listed.provisioners {
            let _ = writeln!(out, "      {kind}");
        }
        if !listed.provisioners.is_empty() {
            out.push('\n');
        }
        let flat: Vec<String> = listed.post_processors.iter().flatten().cloned().collect();
        group(&mut out, "post-processors", &flat);
        for (at, sequence) in listed.post_processors.iter().enumerate() {
            let _ = writeln!(out, "      {at}:");
            for kind in sequence {
                let _ = writeln!(out, "        {kind}");
            }
            out.push('\n');
        }
    }
    out
}

/// As Go's `%q` has it.
fn quoted(value: &Value) -> String {
    bakery_lang::json::dumps_readable(&Value::from(shown(value)), 0)
}

fn inspect_json(path: &Path) -> Result<String> {
    let source = Source::new(path.display().to_string(), fs::read_to_string(path)?);
    let raw = json::read(&source)?;
    let mut out = String::from("Packer Inspect: JSON mode\n");
    if let Some(description) = raw.map.get("description").map(|d| d.to_string()).filter(|d| !d.is_empty()) {
        let _ = write!(out, "Description:\n\n{description}\n\n");
    }
    let sensitive: Vec<String> = raw.list("sensitive-variables").iter().map(ToString::to_string).collect();
    let declared = raw.map.get("variables").and_then(|v| v.as_map().cloned()).unwrap_or_default();
    let mut variables: Vec<(String, Value)> =
        declared.pairs().into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    if variables.is_empty() {
        out.push_str("Variables:\n\n  <No variables>\n");
    } else {
        let (required, optional): (Vec<_>, Vec<_>) = variables.iter().partition(|(_, v)| v.is_none());
        if !required.is_empty() {
            out.push_str("Required variables:\n\n");
            for (name, _) in required {
                let _ = writeln!(out, "  {name}");
            }
            out.push('\n');
        }
        if !optional.is_empty() {
            out.push_str("Optional variables and their defaults:\n\n");
            let width = optional.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            for (name, value) in optional {
                let value = if sensitive.contains(name) { "<sensitive>".into() } else { value.to_string() };
                let _ = writeln!(out, "  {name:width$} = {value}");
            }
        }
    }
    out.push_str("\nBuilders:\n\n");
    let mut builders: Vec<(String, String)> = Vec::new();
    for value in raw.list("builders") {
        let kind = json::kind_of(&value).unwrap_or_default();
        builders.push((value.get("name").map_or_else(|| kind.clone(), |n| n.to_string()), kind));
    }
    builders.sort();
    if builders.is_empty() {
        out.push_str("  <No builders>\n");
    }
    let width = builders.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, kind) in &builders {
        if name == kind {
            let _ = writeln!(out, "  {name:width$}");
        } else {
            let _ = writeln!(out, "  {name:width$} ({kind})");
        }
    }
    out.push_str("\nProvisioners:\n\n");
    let provisioners = raw.list("provisioners");
    if provisioners.is_empty() {
        out.push_str("  <No provisioners>\n");
    }
    for value in &provisioners {
        let _ = writeln!(out, "  {}", json::kind_of(value).unwrap_or_default());
    }
    out.push_str(
        "\nNote: names with variables or functions such as `timestamp` in them are\nshown as they are written; they get their values when a build runs.\n",
    );
    Ok(out)
}
