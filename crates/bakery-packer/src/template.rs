//! A template as both syntaxes give it.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::{Diagnostic, Map, Origin, Source};

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

    /// Whether `only` and `except` let a provisioner run for a build.
    pub fn applies_to(&self, build: &Component) -> bool {
        let names = [build.name.clone(), build.kind.clone(), format!("{}.{}", build.kind, build.name)];
        let hit = |key: &str| self.list(key).iter().any(|n| names.contains(n));
        let only = self.list("only");
        (only.is_empty() || hit("only")) && !hit("except")
    }
}

/// A template.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its file or folder.
    pub path: PathBuf,
    /// The folder that its paths are relative to.
    pub folder: PathBuf,
    /// What is built.
    pub builders: Vec<Component>,
    /// What is done to it, in order.
    pub provisioners: Vec<Component>,
    /// What is done with the result: sequences.
    pub post_processors: Vec<Vec<Component>>,
    /// Names of variables whose values are not shown.
    pub sensitive: Vec<String>,
}

/// Values of variables from the command line.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// `-var name=value`, in order.
    pub values: Vec<(String, String)>,
    /// `-var-file`, in order.
    pub files: Vec<PathBuf>,
}

/// Reads a template: a JSON file, an HCL file, or a folder of HCL files. Without a path, what the current folder holds.
///
/// # Errors
/// What is wrong, with its place.
pub fn load(path: Option<&Path>, variables: &Variables) -> Result<Template> {
    let path = match path {
        Some(path) => path.to_path_buf(),
        None => find(Path::new("."))?,
    };
    if path.is_dir() {
        let files: Vec<PathBuf> =
            fs::read_dir(&path)?.into_iter().filter(|p| p.to_string_lossy().ends_with(".pkr.hcl")).collect();
        if files.is_empty() {
            let inner = find(&path)?;
            return load(Some(&inner), variables);
        }
        return hcl::load(&path, &files, variables);
    }
    let name = path.to_string_lossy().into_owned();
    if name.ends_with(".hcl") {
        return hcl::load(&path, std::slice::from_ref(&path), variables);
    }
    let text = fs::read_to_string(&path)?;
    let source = Source::new(name, text);
    json::load(&path, &source, variables)
}

/// The template of a folder.
fn find(folder: &Path) -> Result<PathBuf> {
    if fs::read_dir(folder)?.iter().any(|p| p.to_string_lossy().ends_with(".pkr.hcl")) {
        return Ok(folder.to_path_buf());
    }
    for name in ["packer.json", "template.json"] {
        if folder.join(name).is_file() {
            return Ok(folder.join(name));
        }
    }
    Err(Error::from(
        Diagnostic::new(format!("there is no Packer template in {}", folder.display()))
            .hint("name one: `bakery bake packer.json`"),
    ))
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
