//! Input variables: defaults, then the environment, then files of values, then the command line; each as its type.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakery_host::fs;
use bakery_lang::hcl::hcl_edit::expr::Expression;
use bakery_lang::hcl::{self, Type};
use bakery_lang::{Diagnostic, Map, Origin, Source, Value, json, suggest};

use super::{File, Names};
use crate::template::Variable;
use crate::{Error, Result, Variables};

/// A variable that is declared.
struct Declared {
    variable: Variable,
    kind: Option<Type>,
    origin: Origin,
}

/// The variables of a template with their values.
pub(super) fn read(
    files: &[File],
    folder: &Path,
    given: &Variables,
    notes: &mut Vec<String>,
) -> Result<Vec<Variable>> {
    let mut all = declared(files, folder)?;
    for one in &mut all {
        if let Ok(text) = std::env::var(format!("PKR_VAR_{}", one.variable.name)) {
            let value = from_text(&text, one.kind.as_ref(), &format!("PKR_VAR_{}", one.variable.name))?;
            one.set(value, "the environment")?;
        }
    }
    let is_auto = |p: &PathBuf| {
        let name = p.to_string_lossy().into_owned();
        name.ends_with(".auto.pkrvars.hcl") || name.ends_with(".auto.pkrvars.json")
    };
    let auto = fs::read_dir(folder)?.into_iter().filter(is_auto);
    for path in auto.chain(given.files.iter().cloned()) {
        for (name, value) in values(&path, folder)?.pairs() {
            let name = name.to_string();
            match all.iter_mut().find(|d| d.variable.name == name) {
                Some(one) => one.set(value, &path.display().to_string())?,
                None => {
                    let hint = suggest(&name, all.iter().map(|d| d.variable.name.as_str()));
                    let hint = hint.map(|h| format!(" ({h})")).unwrap_or_default();
                    notes.push(format!("{}: the variable `{name}` is not declared{hint}", path.display()));
                }
            }
        }
    }
    for (name, text) in &given.values {
        let Some(at) = all.iter().position(|d| d.variable.name == *name) else {
            let hint = suggest(name, all.iter().map(|d| d.variable.name.as_str()));
            return Err(Diagnostic::new(format!("undefined -var variable `{name}`")).maybe_hint(hint).into());
        };
        let value = from_text(text, all[at].kind.as_ref(), &format!("-var {name}"))?;
        all[at].set(value, "the command line")?;
    }
    let unset: Vec<&Declared> = all.iter().filter(|d| d.variable.value.is_none()).collect();
    if let [first, more @ ..] = unset.as_slice()
        && !given.lenient
    {
        let name = &first.variable.name;
        let more: String = more.iter().map(|d| format!(", `{}`", d.variable.name)).collect();
        let many = if more.is_empty() { "" } else { "s" };
        let message = format!("unset variable{many} `{name}`{more}");
        let hint = format!("give it with `-var {name}=…`, in a file with `-var-file`, or as PKR_VAR_{name}");
        return Err(Diagnostic::at(&first.origin, message).hint(hint).into());
    }
    Ok(all.into_iter().map(|d| d.variable).collect())
}

impl Declared {
    fn set(&mut self, value: Value, from: &str) -> Result<()> {
        let converted = self.kind.as_ref().map_or(Ok(value.clone()), |kind| kind.convert(&value));
        let value = converted.map_err(|why| {
            let message = format!(
                "the value of the variable `{}` from {from} does not fit its type: {why}",
                self.variable.name
            );
            Error::from(Diagnostic::at(&self.origin, message))
        })?;
        self.variable.value = Some(value);
        Ok(())
    }
}

fn declared(files: &[File], folder: &Path) -> Result<Vec<Declared>> {
    let names = Names::new(folder, true);
    let mut all: Vec<Declared> = Vec::new();
    for file in files {
        for block in file.body.blocks() {
            let origin = file.origin(block);
            match block.ident.as_str() {
                "variable" => {
                    let name = block.labels.first().map(|l| l.as_str().to_owned()).unwrap_or_default();
                    if all.iter().any(|d| d.variable.name == name) {
                        return Err(Diagnostic::at(
                            &origin,
                            format!("the variable `{name}` is declared twice"),
                        )
                        .into());
                    }
                    let attribute = |key: &str| block.body.get_attribute(key).map(|a| &a.value);
                    let evaluated = |key: &str| -> Result<Option<Value>> {
                        Ok(attribute(key).map(|e| hcl::evaluate(e, &names, &file.source)).transpose()?)
                    };
                    let kind = attribute("type").map(Type::parse).transpose();
                    let kind = kind.map_err(|why| {
                        Error::from(Diagnostic::at(&origin, format!("the type of `{name}`: {why}")))
                    })?;
                    let default = evaluated("default")?;
                    // Without a type, the default says what is meant.
                    let kind = kind.or_else(|| default.as_ref().and_then(implied));
                    let mut one = Declared {
                        variable: Variable {
                            name,
                            value: None,
                            description: evaluated("description")?.map(|d| d.to_string()),
                            sensitive: evaluated("sensitive")?.is_some_and(|s| s.is_true()),
                        },
                        kind,
                        origin,
                    };
                    if let Some(default) = default {
                        one.set(default, "its default")?;
                    }
                    all.push(one);
                }
                "variables" => {
                    for (name, value) in hcl::body(&block.body, &names, &file.source)?.pairs() {
                        let variable =
                            Variable { name: name.to_string(), value: Some(value), ..Variable::default() };
                        all.push(Declared { variable, kind: None, origin: origin.clone() });
                    }
                }
                _ => {}
            }
        }
    }
    Ok(all)
}

fn implied(default: &Value) -> Option<Type> {
    Some(match default {
        Value::Str(_) => Type::String,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) | Value::Float(_) => Type::Number,
        Value::List(_) => Type::List(Box::new(Type::Any)),
        Value::Map(_) => Type::Any,
        _ => return None,
    })
}

/// Text of an environment or a command line: an expression where the type wants more than a scalar.
fn from_text(text: &str, kind: Option<&Type>, from: &str) -> Result<Value> {
    if !kind.is_some_and(Type::is_complex) {
        return Ok(text.into());
    }
    let source = Source::new(from, text);
    let expr: Expression = text.parse().map_err(|error: hcl::hcl_edit::parser::Error| {
        let message = format!("{from}: expected an expression: {}", error.message());
        Error::from(Diagnostic::new(message))
    })?;
    Ok(hcl::evaluate(&expr, &Names::new(Path::new("."), false), &source)?)
}

/// The values that a file gives, in HCL or JSON.
fn values(path: &Path, folder: &Path) -> Result<Map> {
    if path.extension().is_some_and(|e| e == "json") {
        let text = fs::read_to_string(path)?;
        let value = json::parse(&text)
            .map_err(|e| Error::from(Diagnostic::new(format!("{}: {e}", path.display()))))?;
        return Ok(value.as_map().cloned().unwrap_or_default());
    }
    let source: Arc<Source> = Source::new(path.display().to_string(), fs::read_to_string(path)?);
    let body = hcl::parse(&source)?;
    Ok(hcl::body(&body, &Names::new(folder, false), &source)?)
}

/// Checks what `validation` blocks demand.
pub(super) fn check(files: &[File], names: &Names) -> Result<()> {
    for file in files {
        for block in file.body.blocks().filter(|b| b.ident.as_str() == "variable") {
            for validation in block.body.get_blocks("validation") {
                let asked = |key: &str| -> Result<Option<Value>> {
                    let attribute = validation.body.get_attribute(key);
                    Ok(attribute.map(|a| hcl::evaluate(&a.value, names, &file.source)).transpose()?)
                };
                if asked("condition")?.is_some_and(|c| !c.is_true()) {
                    let message = asked("error_message")?.map(|m| m.to_string()).unwrap_or_default();
                    let name = block
                        .labels
                        .first()
                        .map(bakery_lang::hcl::hcl_edit::structure::BlockLabel::as_str)
                        .unwrap_or_default();
                    let message = format!("invalid value for the variable `{name}`: {message}");
                    return Err(Diagnostic::at(&file.origin(validation), message).into());
                }
            }
        }
    }
    Ok(())
}
