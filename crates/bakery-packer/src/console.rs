//! Expressions tried out: against a template's variables and locals, or Packer's functions alone.

use std::path::{Path, PathBuf};

use bakery_lang::hcl::hcl_edit::expr::Expression;
use bakery_lang::hcl::{self, Scope as _};
use bakery_lang::{Diagnostic, Map, Source, Value};

use crate::gotemplate::{Functions, render};
use crate::template::folder_of;
use crate::{Error, Result, Variables, hcl as templates, json};

/// What expressions are evaluated against.
pub struct Console(Kind);

enum Kind {
    Hcl(templates::Names),
    Json { user: Map, folder: String },
}

impl Console {
    /// A console over a template, or over nothing: then expressions are of HCL.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn new(path: Option<&Path>, given: &Variables) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self(Kind::Hcl(templates::Names::new(Path::new("."), false))));
        };
        let folder = folder_of(path);
        if crate::template::is_hcl(path) {
            let files: Vec<PathBuf> = crate::template::hcl_files(path)?;
            return Ok(Self(Kind::Hcl(templates::names(&files, &folder, given)?.names)));
        }
        let source = Source::new(path.display().to_string(), bakery_host::fs::read_to_string(path)?);
        let raw = json::read(&source)?;
        let folder = folder.display().to_string();
        let user = json::variables(&raw.map, &source, given, &folder, jiff::Timestamp::now())?;
        Ok(Self(Kind::Json { user, folder }))
    }

    /// Evaluates a line; the text to show.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn evaluate(&self, line: &str) -> Result<String> {
        match &self.0 {
            Kind::Json { user, folder } => {
                let functions =
                    Functions { user, env: false, folder, build: None, now: jiff::Timestamp::now() };
                render(line, &functions).map_err(|m| Error::from(Diagnostic::new(m)))
            }
            Kind::Hcl(names) => {
                if line == "variables" {
                    return Ok(["var", "local"]
                        .iter()
                        .filter_map(|root| names.variable(root)?.as_map().cloned().map(|map| (root, map)))
                        .flat_map(|(root, map)| {
                            let lines =
                                map.pairs().into_iter().map(|(k, v)| format!("{root}.{k}: {}", shown(&v)));
                            lines.collect::<Vec<_>>()
                        })
                        .collect::<Vec<_>>()
                        .join("\n"));
                }
                let source = Source::new("console", line);
                let expr: Expression = line.parse().map_err(|error: hcl::hcl_edit::parser::Error| {
                    Error::from(Diagnostic::new(error.message().to_owned()))
                })?;
                let value = hcl::evaluate(&expr, names, &source)?;
                Ok(shown(&value))
            }
        }
    }
}

/// A value as a console shows it: text as it is, everything in lists and maps on a line of its own.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => text.as_str().to_owned(),
        other => nested(other, 0),
    }
}

fn nested(value: &Value, depth: usize) -> String {
    let pad = "  ".repeat(depth + 1);
    let end = "  ".repeat(depth);
    match value {
        Value::None => "null".into(),
        Value::Undefined(_) => "<unknown>".into(),
        Value::Bool(b) => b.to_string(),
        Value::Float(f) if f.abs() >= 1e15 => format!("{f:e}").replace('e', "e+"),
        Value::Float(f) => {
            // Decimal fractions are exact in HCL: what a double is off by is not shown.
            let text = format!("{f:.12}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Value::Int(n) if *n >= 10i128.pow(18) => format!("{:e}", *n as f64).replace('e', "e+"),
        Value::Str(text) => bakery_lang::json::dumps(&Value::from(text.as_str()), 0, false),
        Value::Map(map) => {
            let mut pairs = map.pairs();
            pairs.sort_by_key(|(key, _)| key.to_string());
            let lines =
                pairs.iter().map(|(key, item)| format!("{pad}\"{key}\" = {}\n", nested(item, depth + 1)));
            format!("{{\n{}{end}}}", lines.collect::<String>())
        }
        other => match other.as_items() {
            Some(items) => {
                let lines = items.iter().map(|item| format!("{pad}{},\n", nested(item, depth + 1)));
                format!("[\n{}{end}]", lines.collect::<String>())
            }
            None => other.to_string(),
        },
    }
}
