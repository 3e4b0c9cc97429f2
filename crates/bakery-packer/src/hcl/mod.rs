//! HCL2 templates: every build gets its own provisioners, evaluated with what is known of it.
//!
//! `scope` is what expressions can name, `variables` how input variables get their values; here are locals, data
//! sources, sources and builds.

mod data;
mod json;
mod scope;
mod variables;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakery_host::fs;
use bakery_lang::hcl::hcl_edit::Span as _;
use bakery_lang::hcl::hcl_edit::expr::Expression;
use bakery_lang::hcl::hcl_edit::structure::{Block, Body};
use bakery_lang::hcl::{self, Expanded, Scope, with_names};
use bakery_lang::{Diagnostic, Map, Origin, Source, Value, suggest};

use crate::template::{Listed, Syntax, Variable, folder_of};
use crate::{Build, Component, Error, Result, Template, Variables};
pub use data::{Fetch, Request, Response};
pub(crate) use scope::Names;

/// A file of a template.
pub(crate) struct File {
    pub(crate) source: Arc<Source>,
    pub(crate) body: Body,
}

pub(crate) fn read(path: &Path) -> Result<File> {
    let mut text = fs::read_to_string(path)?;
    if path.to_string_lossy().ends_with(".json") {
        text = json::as_hcl(path, &text)?;
    }
    let source = Source::new(path.display().to_string(), text);
    let body = hcl::parse(&source)?;
    Ok(File { source, body })
}

impl File {
    fn origin(&self, block: &Block) -> Origin {
        self.at(block.span().map_or(0, |s| s.start))
    }

    fn at(&self, start: usize) -> Origin {
        self.source.at_offset(start)
    }
}

/// What stands for a value that nobody has given, where that is no error.
pub(crate) const UNKNOWN: &str = "<unknown>";

const BLOCKS: &[&str] = &["build", "data", "local", "locals", "packer", "source", "variable", "variables"];

/// A template's names: its variables, locals and data, and where they come from.
pub(crate) struct Read {
    pub(crate) files: Vec<File>,
    pub(crate) names: Names,
    pub(crate) variables: Vec<Variable>,
    pub(crate) notes: Vec<String>,
}

/// Reads files up to the values of their locals.
pub(crate) fn names(paths: &[PathBuf], folder: &Path, given: &Variables) -> Result<Read> {
    let files: Vec<File> = paths.iter().map(|p| read(p)).collect::<Result<_>>()?;
    for file in &files {
        for block in file.body.blocks() {
            let kind = block.ident.as_str();
            if !BLOCKS.contains(&kind) && kind != "dynamic" {
                let message = format!("unsupported block type `{kind}`");
                let hint = suggest(kind, BLOCKS.iter().copied());
                return Err(Diagnostic::at(&file.origin(block), message).maybe_hint(hint).into());
            }
        }
        if let Some(attribute) = file.body.attributes().next() {
            let message = format!("unsupported argument `{}`", attribute.key.as_str());
            let hint =
                "the root of a template holds blocks; values belong into `locals` or `variable` blocks";
            return Err(Diagnostic::at(&file.at(attribute.span().map_or(0, |s| s.start)), message)
                .hint(hint)
                .into());
        }
    }
    let mut notes = Vec::new();
    let variables = variables::read(&files, folder, given, &mut notes)?;
    let names = Names::new(folder, false);
    names.set(
        "var",
        variables
            .iter()
            .map(|v| (v.name.clone(), v.value.clone().unwrap_or_else(|| UNKNOWN.into())))
            .collect::<Map>()
            .into(),
    );
    variables::check(&files, &names)?;
    locals_and_data(&files, &names, given)?;
    Ok(Read { files, names, variables, notes })
}

pub(crate) fn load(path: &Path, paths: &[PathBuf], given: &Variables) -> Result<Template> {
    let folder = folder_of(path);
    let read = names(paths, &folder, given)?;
    let sources = sources(&read)?;
    let mut template = Template {
        path: path.to_path_buf(),
        folder,
        syntax: Syntax::Hcl,
        description: None,
        variables: read.variables.clone(),
        locals: read.names.variable("local").and_then(|v| v.as_map().cloned()).unwrap_or_default(),
        builds: vec![],
        listed: vec![],
        notes: read.notes.clone(),
    };
    for file in &read.files {
        for block in file.body.blocks().filter(|b| b.ident.as_str() == "build") {
            build(file, block, &read.names, &sources, &mut template)?;
        }
    }
    if template.builds.is_empty() {
        let message = format!("{}: there is no `build` block with sources", path.display());
        return Err(Diagnostic::new(message).into());
    }
    Ok(template)
}

fn sources(read: &Read) -> Result<Vec<Component>> {
    let mut sources: Vec<Component> = Vec::new();
    for file in &read.files {
        for block in hcl::blocks(&file.body, &read.names, &file.source)?.iter().filter(|b| b.kind == "source")
        {
            let [kind, name] = block.labels.as_slice() else {
                let message = "a source needs a type and a name";
                return Err(Diagnostic::at(&file.at(block.start), message).into());
            };
            if sources.iter().any(|s| s.kind == *kind && s.name == *name) {
                let message = format!("there are two sources {kind}.{name}");
                return Err(Diagnostic::at(&file.at(block.start), message).into());
            }
            let scope = with_names(&block.names, &read.names);
            sources.push(Component {
                kind: kind.clone(),
                name: name.clone(),
                config: hcl::body(block.body, &scope, &file.source)?,
                origin: Some(file.at(block.start)),
            });
        }
    }
    Ok(sources)
}

const IN_BUILD: &[&str] = &[
    "dynamic",
    "error-cleanup-provisioner",
    "hcp_packer_registry",
    "post-processor",
    "post-processors",
    "provisioner",
    "source",
];

fn build(
    file: &File,
    block: &Block,
    names: &Names,
    sources: &[Component],
    template: &mut Template,
) -> Result<()> {
    let text = |key: &str| -> Result<Option<String>> {
        let attribute = block.body.get_attribute(key);
        Ok(attribute
            .map(|a| hcl::evaluate(&a.value, names, &file.source))
            .transpose()?
            .map(|v| v.to_string()))
    };
    let title = text("name")?;
    let inner = hcl::blocks(&block.body, names, &file.source)?;
    if let Some(other) = inner.iter().find(|b| !IN_BUILD.contains(&b.kind.as_str())) {
        let message = format!("unsupported block type `{}` in a build", other.kind);
        let hint = suggest(&other.kind, IN_BUILD.iter().copied());
        return Err(Diagnostic::at(&file.at(other.start), message).maybe_hint(hint).into());
    }
    let mut listed = Listed { name: title.clone(), description: text("description")?, ..Listed::default() };
    let mut builders: Vec<Component> = Vec::new();
    if let Some(list) = block.body.get_attribute("sources") {
        for name in hcl::evaluate(&list.value, names, &file.source)?.as_items().unwrap_or_default() {
            let found = find(sources, &name.to_string(), &file.origin(block))?;
            listed.sources.push(format!("{}.{}", found.kind, found.name));
            builders.push(found.clone());
        }
    }
    for one in inner.iter().filter(|b| b.kind == "source") {
        // A source with what this build says differently.
        let label = one.labels.first().cloned().unwrap_or_default();
        let found = find(sources, &label, &file.at(one.start))?;
        let config = found.config.copied();
        config.extend(&hcl::body(one.body, &with_names(&one.names, names), &file.source)?);
        let name = config.remove("name").map_or_else(|| found.name.clone(), |n| n.to_string());
        listed.sources.push(format!("{}.{}", found.kind, found.name));
        builders.push(Component { name, config, ..found.clone() });
    }
    for builder in builders {
        let own = [(
            "source".to_owned(),
            Value::map([
                ("name", Value::from(builder.name.as_str())),
                ("type", builder.kind.as_str().into()),
            ]),
        )];
        let component = |one: &Expanded<'_>| -> Result<Component> {
            let label = one.labels.first().cloned().unwrap_or_default();
            let more: Vec<_> = own.iter().chain(&one.names).cloned().collect();
            let config = hcl::body(one.body, &with_names(&more, names), &file.source)?;
            let name = config.remove("name").map_or_else(|| label.clone(), |n| n.to_string());
            Ok(Component { kind: label, name, config, origin: Some(file.at(one.start)) })
        };
        let title = title.as_ref().map(|t| format!("{t}.")).unwrap_or_default();
        let mut build = Build {
            name: format!("{title}{}.{}", builder.kind, builder.name),
            builder,
            provisioners: vec![],
            post_processors: vec![],
            error_cleanup: None,
        };
        let mut kinds = Listed::default();
        for one in &inner {
            match one.kind.as_str() {
                "provisioner" => {
                    let made = component(one)?;
                    kinds.provisioners.push(made.kind.clone());
                    build.provisioners.push(made);
                }
                "error-cleanup-provisioner" => build.error_cleanup = Some(component(one)?),
                "post-processor" => {
                    let made = component(one)?;
                    kinds.post_processors.push(vec![made.kind.clone()]);
                    build.post_processors.push(vec![made]);
                }
                "post-processors" => {
                    let blocks = hcl::blocks(one.body, &with_names(&one.names, names), &file.source)?;
                    let sequence = blocks.iter().map(&component).collect::<Result<Vec<_>>>()?;
                    kinds.post_processors.push(sequence.iter().map(|c| c.kind.clone()).collect());
                    build.post_processors.push(sequence);
                }
                _ => {}
            }
        }
        (listed.provisioners, listed.post_processors) = (kinds.provisioners, kinds.post_processors);
        template.builds.push(build.for_itself());
    }
    template.listed.push(listed);
    Ok(())
}

fn find<'a>(sources: &'a [Component], name: &str, origin: &Origin) -> Result<&'a Component> {
    let wanted = name.strip_prefix("source.").unwrap_or(name);
    sources.iter().find(|s| format!("{}.{}", s.kind, s.name) == wanted).ok_or_else(|| {
        let known: Vec<String> = sources.iter().map(|s| format!("source.{}.{}", s.kind, s.name)).collect();
        let hint = suggest(name, known.iter().map(String::as_str));
        Error::from(Diagnostic::at(origin, format!("unknown source `{name}`")).maybe_hint(hint))
    })
}

/// Locals and data sources may refer to each other in any order: what cannot be evaluated yet waits.
fn locals_and_data(files: &[File], names: &Names, given: &Variables) -> Result<()> {
    enum What<'a> {
        Local(&'a Expression),
        Data(&'a str, &'a Body, Origin),
    }
    let (locals, data) = (Map::new(), Map::new());
    names.set("local", locals.clone().into());
    names.set("data", data.clone().into());
    let mut pending = Vec::new();
    for file in files {
        for block in file.body.blocks() {
            let label = |i: usize| {
                block
                    .labels
                    .get(i)
                    .map(bakery_lang::hcl::hcl_edit::structure::BlockLabel::as_str)
                    .unwrap_or_default()
            };
            match block.ident.as_str() {
                "locals" => {
                    let all = block.body.attributes();
                    pending.extend(all.map(|a| (a.key.as_str(), What::Local(&a.value), file)));
                }
                "local" => {
                    let value = block.body.get_attribute("expression");
                    pending.extend(value.map(|a| (label(0), What::Local(&a.value), file)));
                }
                "data" if matches!(label(0), "null" | "http") => {
                    pending.push((label(1), What::Data(label(0), &block.body, file.origin(block)), file));
                }
                "data" => {
                    let message =
                        format!("the data source `{}` asks a service, which a bake here does not", label(0));
                    let error = Diagnostic::at(&file.origin(block), message);
                    return Err(error.hint("put the value in a variable").into());
                }
                _ => {}
            }
        }
    }
    while !pending.is_empty() {
        let before = pending.len();
        let mut last = None;
        pending.retain(|(name, what, file)| {
            let value = match what {
                What::Local(value) => hcl::evaluate(value, names, &file.source),
                What::Data(kind, body, origin) => hcl::body(body, names, &file.source).and_then(|config| {
                    data::read(kind, &config, given.fetch).map_err(|why| Diagnostic::at(origin, why))
                }),
            };
            match (value, what) {
                (Ok(value), What::Local(_)) => locals.set(name, value),
                (Ok(value), What::Data(kind, ..)) => {
                    let of_kind = data.get(kind).and_then(|v| v.as_map().cloned()).unwrap_or_default();
                    of_kind.set(name, value);
                    data.set(kind, of_kind);
                }
                (Err(error), _) => {
                    last = Some(error);
                    return true;
                }
            }
            false
        });
        if pending.len() == before
            && let Some(error) = last
        {
            if !given.lenient {
                return Err(error.into());
            }
            for (name, what, ..) in pending.drain(..) {
                if let What::Local(_) = what {
                    locals.set(name, UNKNOWN);
                }
            }
        }
    }
    Ok(())
}
