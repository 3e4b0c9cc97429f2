//! HCL2 templates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakery_host::fs;
use bakery_lang::hcl::hcl_edit::Span as _;
use bakery_lang::hcl::hcl_edit::structure::{Block, Body};
use bakery_lang::hcl::{self, Scope};
use bakery_lang::{Diagnostic, Map, Origin, Source, Value, suggest};

use crate::template::folder_of;
use crate::{Component, Error, Result, Template, Variables};

/// Names in expressions.
struct Names {
    map: Map,
    folder: PathBuf,
    env: bool,
}

impl Scope for Names {
    fn variable(&self, name: &str) -> Option<Value> {
        match name {
            // Only known while a build runs.
            "build" => Some(Value::undefined("`build` is only known while a build runs")),
            _ => self.map.get(name),
        }
    }

    fn names(&self) -> Vec<String> {
        self.map.keys().iter().map(ToString::to_string).collect()
    }

    fn function(&self, name: &str, args: &[Value]) -> Option<std::result::Result<Value, String>> {
        let text = |at: usize| args.get(at).map(std::string::ToString::to_string).unwrap_or_default();
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).map_err(|e| e.to_string());
        match name {
            "file" => Some(read(&text(0)).map(Value::from)),
            "fileexists" => Some(Ok(self.folder.join(text(0)).is_file().into())),
            "abspath" => Some(Ok(self.folder.join(text(0)).display().to_string().into())),
            "pathexpand" => {
                Some(Ok(text(0).replacen('~', &std::env::var("HOME").unwrap_or_default(), 1).into()))
            }
            "timestamp" => Some(Ok(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())),
            "formatdate" => Some(Ok(format_date(&text(0), &text(1)).into())),
            "legacy_isotime" => {
                Some(Ok(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()))
            }
            "env" if self.env => Some(Ok(std::env::var(text(0)).unwrap_or_default().into())),
            "env" => Some(Err("`env` can only be used in the default of a variable".into())),
            "templatefile" => {
                let path = self.folder.join(text(0));
                let vars = args.get(1).and_then(|v| v.as_map().cloned()).unwrap_or_default();
                let render = || -> std::result::Result<Value, String> {
                    let source = Source::new(
                        path.display().to_string(),
                        fs::read_to_string(&path).map_err(|e| e.to_string())?,
                    );
                    let names = Names { map: vars, folder: self.folder.clone(), env: false };
                    hcl::render_template(&source, &names).map(Value::from).map_err(|d| d.to_string())
                };
                Some(render())
            }
            _ => None,
        }
    }
}

fn format_date(layout: &str, time: &str) -> String {
    let pairs = [("YYYY", "%Y"), ("MM", "%m"), ("DD", "%d"), ("hh", "%H"), ("mm", "%M"), ("ss", "%S")];
    let format = pairs.iter().fold(layout.to_owned(), |text, (from, to)| text.replace(from, to));
    time.parse::<jiff::Timestamp>().map_or_else(|_| time.to_owned(), |t| t.strftime(&format).to_string())
}

struct File {
    source: Arc<Source>,
    body: Body,
}

fn read(path: &Path) -> Result<File> {
    let source = Source::new(path.display().to_string(), fs::read_to_string(path)?);
    let body = hcl::parse(&source)?;
    Ok(File { source, body })
}

fn origin(file: &File, block: &Block) -> Origin {
    file.source.at_offset(block.span().map_or(0, |s| s.start))
}

const BLOCKS: &[&str] = &["build", "data", "local", "locals", "packer", "source", "variable", "variables"];

pub(crate) fn load(path: &Path, paths: &[PathBuf], given: &Variables) -> Result<Template> {
    let files: Vec<File> = paths.iter().map(|p| read(p)).collect::<Result<_>>()?;
    let folder = folder_of(path);
    for file in &files {
        for block in file.body.blocks() {
            let kind = block.ident.as_str();
            if !BLOCKS.contains(&kind) {
                return Err(Diagnostic::at(&origin(file, block), format!("unsupported block type `{kind}`"))
                    .maybe_hint(suggest(kind, BLOCKS.iter().copied()))
                    .into());
            }
            if kind == "data" {
                return Err(Diagnostic::at(
                    &origin(file, block),
                    "data sources ask a cloud, which a local bake does not",
                )
                .hint("put the value in a variable")
                .into());
            }
        }
    }
    let (variables, sensitive) = variables(&files, &folder, given)?;
    let names = Names { map: Map::new(), folder: folder.clone(), env: false };
    names.map.set("var", variables);
    names.map.set(
        "path",
        Value::map(
            [
                ("root", folder.display().to_string()),
                ("cwd", std::env::current_dir().map(|p| p.display().to_string()).unwrap_or_default()),
            ]
            .map(|(k, v)| (k, Value::from(v))),
        ),
    );
    names.map.set("packer", Value::map([("version", Value::from("1.11.0"))]));
    locals(&files, &names)?;
    let mut sources = Vec::new();
    for file in &files {
        for block in file.body.blocks().filter(|b| b.ident.as_str() == "source") {
            let [kind, name] = block.labels.as_slice() else {
                return Err(Diagnostic::at(&origin(file, block), "a source needs a type and a name").into());
            };
            let config = hcl::body(&block.body, &names, &file.source)?;
            sources.push(Component {
                kind: kind.as_str().to_owned(),
                name: name.as_str().to_owned(),
                config,
                origin: Some(origin(file, block)),
            });
        }
    }
    let mut template = Template {
        path: path.to_path_buf(),
        folder,
        builders: vec![],
        provisioners: vec![],
        post_processors: vec![],
        sensitive,
    };
    for file in &files {
        for block in file.body.blocks().filter(|b| b.ident.as_str() == "build") {
            build(file, block, &names, &sources, &mut template)?;
        }
    }
    if template.builders.is_empty() {
        return Err(
            Diagnostic::new(format!("{}: there is no `build` block with sources", path.display())).into()
        );
    }
    Ok(template)
}

fn build(
    file: &File,
    block: &Block,
    names: &Names,
    sources: &[Component],
    template: &mut Template,
) -> Result<()> {
    if let Some(list) = block.body.get_attribute("sources") {
        let value = hcl::evaluate(&list.value, names, &file.source)?;
        for name in value.as_items().unwrap_or_default() {
            let name = name.to_string();
            let wanted = name.strip_prefix("source.").unwrap_or(&name).to_owned();
            let found =
                sources.iter().find(|s| format!("{}.{}", s.kind, s.name) == wanted).ok_or_else(|| {
                    let known: Vec<String> =
                        sources.iter().map(|s| format!("source.{}.{}", s.kind, s.name)).collect();
                    Error::from(
                        Diagnostic::at(&origin(file, block), format!("unknown source `{name}`"))
                            .maybe_hint(suggest(&name, known.iter().map(String::as_str))),
                    )
                })?;
            template.builders.push(found.clone());
        }
    }
    for inner in block.body.blocks() {
        let label = inner.labels.first().map(|l| l.as_str().to_owned()).unwrap_or_default();
        let component = |inner: &Block, label: &str| -> Result<Component> {
            let config = hcl::body(&inner.body, names, &file.source)?;
            let name = config.remove("name").map_or_else(|| label.to_owned(), |n| n.to_string());
            Ok(Component { kind: label.to_owned(), name, config, origin: Some(origin(file, inner)) })
        };
        match inner.ident.as_str() {
            "provisioner" => template.provisioners.push(component(inner, &label)?),
            "post-processor" => template.post_processors.push(vec![component(inner, &label)?]),
            "post-processors" => {
                let mut sequence = Vec::new();
                for one in inner.body.blocks() {
                    let label = one.labels.first().map(|l| l.as_str().to_owned()).unwrap_or_default();
                    sequence.push(component(one, &label)?);
                }
                template.post_processors.push(sequence);
            }
            "source" => {
                // A source with what this build says differently.
                let wanted = label.strip_prefix("source.").unwrap_or(&label).to_owned();
                let found =
                    sources.iter().find(|s| format!("{}.{}", s.kind, s.name) == wanted).ok_or_else(|| {
                        Error::from(Diagnostic::at(&origin(file, inner), format!("unknown source `{label}`")))
                    })?;
                let config = found.config.copied();
                config.extend(&hcl::body(&inner.body, names, &file.source)?);
                let name = config.remove("name").map_or_else(|| found.name.clone(), |n| n.to_string());
                template.builders.push(Component { name, config, ..found.clone() });
            }
            "error-cleanup-provisioner" | "hcp_packer_registry" => {}
            other => {
                let known = [
                    "provisioner",
                    "post-processor",
                    "post-processors",
                    "source",
                    "error-cleanup-provisioner",
                ];
                return Err(Diagnostic::at(
                    &origin(file, inner),
                    format!("unsupported block type `{other}` in a build"),
                )
                .maybe_hint(suggest(other, known))
                .into());
            }
        }
    }
    Ok(())
}

fn variables(files: &[File], folder: &Path, given: &Variables) -> Result<(Map, Vec<String>)> {
    let values = Map::new();
    let mut sensitive = Vec::new();
    let mut required: Vec<(String, Origin)> = Vec::new();
    let mut known = Vec::new();
    let names = Names { map: Map::new(), folder: folder.to_path_buf(), env: true };
    for file in files {
        for block in file.body.blocks() {
            match block.ident.as_str() {
                "variable" => {
                    let name = block.labels.first().map(|l| l.as_str().to_owned()).unwrap_or_default();
                    known.push(name.clone());
                    match block.body.get_attribute("default") {
                        Some(default) => {
                            values.set(&name, hcl::evaluate(&default.value, &names, &file.source)?);
                        }
                        None => required.push((name.clone(), origin(file, block))),
                    }
                    if let Some(flag) = block.body.get_attribute("sensitive")
                        && hcl::evaluate(&flag.value, &names, &file.source)?.is_true()
                    {
                        sensitive.push(name);
                    }
                }
                "variables" => {
                    for (name, value) in hcl::body(&block.body, &names, &file.source)?.pairs() {
                        known.push(name.to_string());
                        values.insert(name, value);
                    }
                }
                _ => {}
            }
        }
    }
    for name in &known {
        if let Ok(value) = std::env::var(format!("PKR_VAR_{name}")) {
            values.set(name, value);
        }
    }
    let mut var_files: Vec<PathBuf> = fs::read_dir(folder)?
        .into_iter()
        .filter(|p| p.to_string_lossy().ends_with(".auto.pkrvars.hcl"))
        .collect();
    var_files.extend(given.files.iter().cloned());
    for path in var_files {
        let file = read(&path)?;
        values.extend(&hcl::body(&file.body, &names, &file.source)?);
    }
    for (name, value) in &given.values {
        if !known.contains(name) {
            return Err(Diagnostic::new(format!("undefined -var variable `{name}`"))
                .maybe_hint(suggest(name, known.iter().map(String::as_str)))
                .into());
        }
        values.set(name, value.as_str());
    }
    if let Some((name, origin)) = required.iter().find(|(n, _)| !values.contains(n)) {
        return Err(Diagnostic::at(origin, format!("unset variable `{name}`"))
            .hint(format!("give it with `-var {name}=…`, in a file with `-var-file`, or as PKR_VAR_{name}"))
            .into());
    }
    Ok((values, sensitive))
}

/// Locals may refer to each other in any order.
fn locals(files: &[File], names: &Names) -> Result<()> {
    let locals = Map::new();
    names.map.set("local", locals.clone());
    let mut pending = Vec::new();
    for file in files {
        for block in file.body.blocks() {
            match block.ident.as_str() {
                "locals" => pending.extend(
                    block.body.attributes().map(|a| (a.key.as_str().to_owned(), a.value.clone(), file)),
                ),
                "local" => {
                    let name = block.labels.first().map(|l| l.as_str().to_owned()).unwrap_or_default();
                    pending.extend(
                        block.body.get_attribute("expression").map(|a| (name, a.value.clone(), file)),
                    );
                }
                _ => {}
            }
        }
    }
    while !pending.is_empty() {
        let before = pending.len();
        let mut last = None;
        pending.retain(|(name, value, file)| match hcl::evaluate(value, names, &file.source) {
            Ok(value) => {
                locals.set(name, value);
                false
            }
            Err(error) => {
                last = Some(error);
                true
            }
        });
        if pending.len() == before
            && let Some(error) = last
        {
            return Err(error.into());
        }
    }
    Ok(())
}
