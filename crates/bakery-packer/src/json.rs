//! JSON templates.

use std::path::Path;
use std::sync::Arc;

use bakery_lang::{Diagnostic, Map, Origin, Source, Value, json, suggest};

use crate::gotemplate::{Functions, render, render_value};
use crate::template::{Syntax, Variable, folder_of};
use crate::{Build, Component, Error, Result, Template, Variables, fix};

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

/// A template as it is written, old options mended.
pub(crate) struct Raw {
    pub(crate) source: Arc<Source>,
    pub(crate) map: Map,
    pub(crate) notes: Vec<String>,
}

/// Reads a template's text.
pub(crate) fn read(source: &Arc<Source>) -> Result<Raw> {
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
            let message = format!("unknown root-level key `{key}`");
            let hint = suggest(&key, KEYS.iter().copied());
            return Err(Diagnostic::at(&place(source, &key), message).maybe_hint(hint).into());
        }
    }
    let notes = fix::fix(map);
    Ok(Raw { source: Arc::clone(source), map: map.clone(), notes })
}

impl Raw {
    pub(crate) fn list(&self, name: &str) -> Vec<Value> {
        self.map.get(name).and_then(|v| v.as_items()).unwrap_or_default()
    }

    /// The post-processors as sequences.
    pub(crate) fn sequences(&self) -> Vec<Vec<Value>> {
        let entries = self.list("post-processors");
        entries.iter().map(|entry| entry.as_items().unwrap_or_else(|| vec![entry.clone()])).collect()
    }

    /// A component's options, evaluated as far as they can be.
    fn component(&self, value: &Value, what: &str, functions: &Functions<'_>) -> Result<Component> {
        let value = match value {
            Value::Str(kind) => Value::map([("type", Value::from(kind.as_str()))]),
            other => other.clone(),
        };
        let kind = kind_of(&value).ok_or_else(|| {
            let message = format!("an entry of `{what}` has no `type`");
            Error::from(Diagnostic::at(&place(&self.source, what), message))
        })?;
        let origin = place(&self.source, &kind);
        let rendered =
            render_value(&value, functions).map_err(|m| Error::from(Diagnostic::at(&origin, m)))?;
        let config = rendered.as_map().cloned().unwrap_or_default();
        config.remove("type");
        let name = config.remove("name").map_or_else(|| kind.clone(), |n| n.to_string());
        Ok(Component { kind, name, config, origin: Some(origin) })
    }
}

/// The type of a component.
pub(crate) fn kind_of(value: &Value) -> Option<String> {
    match value {
        Value::Str(kind) => Some(kind.as_str().to_owned()),
        other => other.get("type").map(|t| t.to_string()),
    }
}

pub(crate) fn load(path: &Path, source: &Arc<Source>, given: &Variables) -> Result<Template> {
    let raw = read(source)?;
    let folder = folder_of(path);
    let folder_text = folder.display().to_string();
    let now = jiff::Timestamp::now();
    let user = variables(&raw.map, source, given, &folder_text, now)?;
    let functions = Functions { user: &user, env: false, folder: &folder_text, build: None, now };
    let mut builds: Vec<Build> = Vec::new();
    for value in raw.list("builders") {
        let builder = raw.component(&value, "builders", &functions)?;
        if builds.iter().any(|b| b.name == builder.name) {
            let message = format!("there are two builders of the name `{}`", builder.name);
            let error = Diagnostic::at(&place(source, &builder.kind), message);
            return Err(error.hint("give one of them a `name`").into());
        }
        // What is done for a build may name it.
        let functions = Functions { build: Some((&builder.name, &builder.kind)), ..functions };
        let all = |name: &str| -> Result<Vec<Component>> {
            raw.list(name).iter().map(|v| raw.component(v, name, &functions)).collect()
        };
        let sequence = |values: &Vec<Value>| -> Result<Vec<Component>> {
            values.iter().map(|v| raw.component(v, "post-processors", &functions)).collect()
        };
        let cleanup = raw.map.get("error-cleanup-provisioner");
        let cleanup =
            cleanup.map(|v| raw.component(&v, "error-cleanup-provisioner", &functions)).transpose()?;
        let build = Build {
            name: builder.name.clone(),
            provisioners: all("provisioners")?,
            post_processors: raw.sequences().iter().map(sequence).collect::<Result<_>>()?,
            error_cleanup: cleanup,
            builder: raw.component(&value, "builders", &functions)?,
        };
        builds.push(build.for_itself());
    }
    if builds.is_empty() {
        return Err(Diagnostic::at(&source.at_offset(0), "at least one builder must be defined").into());
    }
    let sensitive: Vec<String> = raw.list("sensitive-variables").iter().map(ToString::to_string).collect();
    let variables = user.pairs().into_iter().map(|(name, value)| {
        let name = name.to_string();
        Variable { sensitive: sensitive.contains(&name), name, value: Some(value), description: None }
    });
    Ok(Template {
        path: path.to_path_buf(),
        folder,
        syntax: Syntax::Json,
        description: raw.map.get("description").map(|d| d.to_string()),
        variables: variables.collect(),
        locals: Map::new(),
        listed: vec![],
        builds,
        notes: raw.notes,
    })
}

/// Where a quoted word stands in the text.
fn place(source: &Arc<Source>, word: &str) -> Origin {
    source.at_offset(source.text.find(&format!("\"{word}\"")).unwrap_or(0))
}

/// The values of a template's variables.
pub(crate) fn variables(
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
