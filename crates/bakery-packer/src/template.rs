//! A template as both syntaxes give it.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::{Diagnostic, Map, Origin, Source, Value};

use crate::hcl::Fetch;
use crate::{Error, Result, hcl, json};

/// A builder, provisioner or post-processor.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its type, such as `amazon-ebs`.
    pub kind: String,
    /// Its name; the type if it has none.
    pub name: String,
    /// Its options, evaluated.
    pub config: Map,
    /// Where it is written.
    pub origin: Option<Origin>,
}

impl Component {
    /// The text of an option.
    pub fn text(&self, key: &str) -> Option<String> {
        self.config.get(key).filter(|v| !v.is_none()).map(|v| v.to_string()).filter(|s| !s.is_empty())
    }

    /// The texts of an option; one text is split at commas, as Packer does.
    pub fn list(&self, key: &str) -> Vec<String> {
        match self.config.get(key) {
            Some(v) => match v.as_items() {
                Some(items) => items.iter().map(ToString::to_string).collect(),
                None if v.is_true() => v.to_string().split(',').map(|s| s.trim().to_owned()).collect(),
                None => vec![],
            },
            None => vec![],
        }
    }

    /// An option that is true, also as text.
    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.config
            .get(key)
            .map_or(default, |v| matches!(v.to_string().to_lowercase().as_str(), "true" | "1" | "yes"))
    }

    /// Whether `only` and `except` let it run for a build of these names.
    fn applies_to(&self, names: &[String]) -> bool {
        let hit = |key: &str| self.list(key).iter().any(|n| names.contains(n));
        (self.list("only").is_empty() || hit("only")) && !hit("except")
    }
}

/// One build: a builder, what is done to its machine, what is done with the result.
#[derive(Debug, Clone)]
pub struct Build {
    /// Its name as `-only` and messages have it: `type.name`, in a JSON template the builder's name.
    pub name: String,
    /// What is built.
    pub builder: Component,
    /// What is done to it, in order.
    pub provisioners: Vec<Component>,
    /// What is done with the result: sequences.
    pub post_processors: Vec<Vec<Component>>,
    /// What is done when something failed.
    pub error_cleanup: Option<Component>,
}

impl Build {
    /// With what `only`, `except` and `override` leave for this build.
    pub(crate) fn for_itself(mut self) -> Self {
        let builder = &self.builder;
        let names = [builder.name.clone(), format!("{}.{}", builder.kind, builder.name), self.name.clone()];
        let keep = |component: &Component| component.applies_to(&names);
        self.provisioners.retain(keep);
        for sequence in &mut self.post_processors {
            sequence.retain(keep);
        }
        self.post_processors.retain(|sequence| !sequence.is_empty());
        for component in self.provisioners.iter_mut().chain(&mut self.error_cleanup) {
            for key in ["only", "except"] {
                component.config.remove(key);
            }
            if let Some(overrides) = component.config.remove("override") {
                // In HCL it may be a block.
                let overrides = overrides.as_items().and_then(|i| i.first().cloned()).unwrap_or(overrides);
                for name in &names {
                    if let Some(more) = overrides.get(name).and_then(|v| v.as_map().cloned()) {
                        component.config.extend(&more);
                    }
                }
            }
        }
        self
    }

    /// Whether one of some patterns, as `-only` takes them, fits its name.
    pub fn is_named(&self, patterns: &[String]) -> bool {
        fits(patterns, &[&self.name])
    }

    /// Whether one of some patterns fits its builder's name or type: for who does not know the build's own.
    pub fn is_called(&self, patterns: &[String]) -> bool {
        let builder = &self.builder;
        fits(patterns, &[&builder.name, &builder.kind, &format!("{}.{}", builder.kind, builder.name)])
    }
}

fn fits(patterns: &[String], names: &[&str]) -> bool {
    let fits = |pattern: &String| {
        glob::Pattern::new(pattern).is_ok_and(|glob| names.iter().any(|name| glob.matches(name)))
    };
    patterns.iter().any(fits)
}

/// The syntax of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// JSON.
    Json,
    /// HCL2.
    Hcl,
}

/// An input variable.
#[derive(Debug, Clone, Default)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<Value>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether its value must not be shown.
    pub sensitive: bool,
}

/// What a `build` block, or a JSON template, lists, before `only` and `except`.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Types and names of its sources.
    pub sources: Vec<String>,
    /// Types of its provisioners.
    pub provisioners: Vec<String>,
    /// Types of its post-processors.
    pub post_processors: Vec<Vec<String>>,
}

/// A template.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its file or folder.
    pub path: PathBuf,
    /// The folder that its paths are relative to.
    pub folder: PathBuf,
    /// Its syntax.
    pub syntax: Syntax,
    /// What it is for.
    pub description: Option<String>,
    /// Its input variables.
    pub variables: Vec<Variable>,
    /// Its locals.
    pub locals: Map,
    /// What is built.
    pub builds: Vec<Build>,
    /// What is written, for whoever looks at it.
    pub listed: Vec<Listed>,
    /// What the user should know: old options that were mended, values that nobody wanted.
    pub notes: Vec<String>,
}

impl Template {
    /// The texts that must not be shown.
    pub fn secrets(&self) -> Vec<String> {
        let values = self.variables.iter().filter(|v| v.sensitive).filter_map(|v| v.value.as_ref());
        values.map(ToString::to_string).filter(|text| !text.is_empty()).collect()
    }
}

/// Values of variables from the command line.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// `-var name=value`, in order.
    pub values: Vec<(String, String)>,
    /// `-var-file`, in order.
    pub files: Vec<PathBuf>,
    /// Who asks servers for data sources; without it a template that has such is refused.
    pub fetch: Option<Fetch>,
    /// Whether what has no value is `<unknown>`, and no error: for who only looks.
    pub lenient: bool,
}

/// Reads a template: a JSON file, an HCL file, or a folder of HCL files. Without a path, what the current folder holds.
///
/// # Errors
/// What is wrong, with its place.
pub fn load(path: Option<&Path>, variables: &Variables) -> Result<Template> {
    let path = found(path)?;
    let mut template = if is_hcl(&path) {
        hcl::load(&path, &hcl_files(&path)?, variables)?
    } else {
        let source = Source::new(path.to_string_lossy().into_owned(), fs::read_to_string(&path)?);
        json::load(&path, &source, variables)?
    };
    template.settle_folder();
    Ok(template)
}

impl Template {
    /// Paths are relative to where Packer is run, which mostly is the template's folder. A template whose files are only
    /// found from here is one that is run from here; all others work from anywhere.
    fn settle_folder(&mut self) {
        let Ok(here) = std::env::current_dir() else { return };
        let keys =
            ["playbook_file", "script", "scripts", "source", "sources", "galaxy_file", "inventory_file"];
        let names: Vec<String> = self
            .builds
            .iter()
            .flat_map(|build| &build.provisioners)
            .flat_map(|component| keys.iter().flat_map(|key| component.list(key)))
            .collect();
        let only_here = |name: &String| !self.folder.join(name).exists() && here.join(name).exists();
        if names.iter().any(only_here) {
            self.folder = here;
        }
    }
}

/// The files of an HCL template.
pub(crate) fn hcl_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let is_template = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with(".pkr.hcl") || name.ends_with(".pkr.json")
    };
    Ok(fs::read_dir(path)?.into_iter().filter(is_template).collect())
}

/// Whether a path is that of a template in HCL: a folder, or a file in one of HCL's two forms.
pub(crate) fn is_hcl(path: &Path) -> bool {
    let name = path.to_string_lossy();
    path.is_dir() || name.ends_with(".hcl") || name.ends_with(".pkr.json")
}

/// The template that is meant: the one that is named, or that of a folder.
pub(crate) fn found(path: Option<&Path>) -> Result<PathBuf> {
    let folder = match path {
        Some(path) if !path.is_dir() => return Ok(path.to_path_buf()),
        other => other.unwrap_or(Path::new(".")),
    };
    if !hcl_files(folder)?.is_empty() {
        return Ok(folder.to_path_buf());
    }
    let named = ["packer.json", "template.json"].map(|name| folder.join(name));
    named.into_iter().find(|p| p.is_file()).ok_or_else(|| {
        Error::from(
            Diagnostic::new(format!("there is no Packer template in {}", folder.display()))
                .hint("name one: `bakery bake packer.json`"),
        )
    })
}

/// The folder of a template's file.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    };
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf())
}
