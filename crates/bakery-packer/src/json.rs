//! JSON templates.

use std::path::Path;
use std::sync::Arc;

use bakery_lang::{Diagnostic, Map, Origin, Source, Value, json, suggest};

use crate::gotemplate::{Functions, render, render_value};
use crate::template::folder_of;
use crate::{Component, Error, Result, Template, Variables};

const KEYS: &[&str] = &[
    "builders",
    "description",
    "error-cleanup-provisioner",
    "min_packer_version",
    "post-processors",
    "provisioners",
    "push",
    "sensitive-variables",
    "variables",
];

pub(crate) fn load(path: &Path, source: &Arc<Source>, given: &Variables) -> Result<Template> {
    let root = json::parse(&source.text).map_err(|error| {
        let origin = Origin {
            source: Arc::clone(source),
            line: error.line().max(1) as u32,
            column: error.column().max(1) as u32,
        };
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        Error::from(Diagnostic::at(&origin, format!("the template is not valid JSON: {message}")))
    })?;
    let Some(map) = root.as_map() else {
        return Err(Diagnostic::at(&source.at_offset(0), "a template must be a JSON object").into());
    };
    for key in map.keys() {
        let key = key.to_string();
        if !key.starts_with('_') && !KEYS.contains(&key.as_str()) {
            return Err(Diagnostic::at(&place(source, &key), format!("unknown root-level key `{key}`"))
                .maybe_hint(suggest(&key, KEYS.iter().copied()))
                .into());
        }
    }
    let folder = folder_of(path);
    let folder_text = folder.display().to_string();
    let now = jiff::Timestamp::now();
    let user = variables(map, source, given, &folder_text, now)?;
    let functions = Functions { user: &user, env: false, folder: &folder_text, build: None, now };
    let list = |name: &str| map.get(name).and_then(|v| v.as_items()).unwrap_or_default();
    let component = |value: &Value, what: &str| -> Result<Component> {
        let value = match value {
            Value::Str(kind) => Value::map([("type", Value::from(kind.as_str()))]),
            other => other.clone(),
        };
        let kind = value.get("type").map(|t| t.to_string()).ok_or_else(|| {
            Error::from(Diagnostic::at(&place(source, what), format!("an entry of `{what}` has no `type`")))
        })?;
        let origin = place(source, &kind);
        let rendered =
            render_value(&value, &functions).map_err(|m| Error::from(Diagnostic::at(&origin, m)))?;
        let config = rendered.as_map().cloned().unwrap_or_default();
        config.remove("type");
        let name = config.remove("name").map_or_else(|| kind.clone(), |n| n.to_string());
        Ok(Component { kind, name, config, origin: Some(origin) })
    };
    let mut post_processors = Vec::new();
    for entry in list("post-processors") {
        let sequence = match &entry {
            Value::List(items) => items.items(),
            other => vec![other.clone()],
        };
        post_processors
            .push(sequence.iter().map(|e| component(e, "post-processors")).collect::<Result<_>>()?);
    }
    let builders: Vec<Component> =
        list("builders").iter().map(|b| component(b, "builders")).collect::<Result<_>>()?;
    if builders.is_empty() {
        return Err(Diagnostic::at(&source.at_offset(0), "at least one builder must be defined").into());
    }
    Ok(Template {
        path: path.to_path_buf(),
        folder,
        builders,
        provisioners: list("provisioners")
            .iter()
            .map(|p| component(p, "provisioners"))
            .collect::<Result<_>>()?,
        post_processors,
        sensitive: list("sensitive-variables").iter().map(ToString::to_string).collect(),
    })
}

/// Where a quoted word stands in the text.
fn place(source: &Arc<Source>, word: &str) -> Origin {
    source.at_offset(source.text.find(&format!("\"{word}\"")).unwrap_or(0))
}

fn variables(
    map: &Map,
    source: &Arc<Source>,
    given: &Variables,
    folder: &str,
    now: jiff::Timestamp,
) -> Result<Map> {
    let user = Map::new();
    let declared = map.get("variables").and_then(|v| v.as_map().cloned()).unwrap_or_default();
    let mut required = Vec::new();
    for (name, default) in declared.pairs() {
        let name = name.to_string();
        if default.is_none() {
            required.push(name);
            continue;
        }
        let functions = Functions { user: &user, env: true, folder, build: None, now };
        let value = render(&default.to_string(), &functions)
            .map_err(|m| Error::from(Diagnostic::at(&place(source, &name), m)))?;
        user.set(&name, value);
    }
    for file in &given.files {
        let text = bakery_host::fs::read_to_string(file)?;
        let values = json::parse(&text)
            .map_err(|e| Error::from(Diagnostic::new(format!("{}: {e}", file.display()))))?;
        if let Value::Map(values) = values {
            user.extend(&values);
        }
    }
    for (name, value) in &given.values {
        user.set(name, value.as_str());
    }
    if let Some(name) = required.iter().find(|n| !user.contains(n)) {
        return Err(Diagnostic::at(&place(source, name), format!("required variable not set: {name}"))
            .hint(format!("give it with `-var {name}=…` or in a file with `-var-file`"))
            .into());
    }
    Ok(user)
}
