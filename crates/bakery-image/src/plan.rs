//! What a build will do, and the key of each step: known before anything runs, so that a build with nothing changed is
//! recognised at once.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_packer::{Component, Template};
use bakery_store::Key;

use crate::base::Base;
use crate::{Error, Result};

/// A step: a provisioner with its key.
#[derive(Debug, Clone)]
pub struct Step {
    /// The provisioner.
    pub component: Component,
    /// The key of the layer that it makes.
    pub key: Key,
}

/// What a build will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The image's name.
    pub name: String,
    /// The builder.
    pub builder: Component,
    /// What it starts from.
    pub base: Base,
    /// The steps that make layers.
    pub steps: Vec<Step>,
    /// The key of the sealed tree.
    pub seal: Key,
    /// The key of the image.
    pub image: Key,
    /// The disk's size in bytes.
    pub size: u64,
    /// The formats to make.
    pub formats: Vec<String>,
    /// More words for the kernel's command line.
    pub kernel_args: String,
    /// What was substituted, for the user to see.
    pub notes: Vec<String>,
}

/// Files that are no input of a build.
fn skipped(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    matches!(name.as_str(), ".git" | ".bakery" | ".terraform" | "target" | ".svn" | ".hg")
        || name.ends_with(".retry")
        || name.ends_with(".tfstate")
        || name.ends_with(".tfstate.backup")
        || name == "packer-manifest.json"
}

/// Plans the build of one builder. With `local`, a builder of AMIs is baked here from `base`.
///
/// # Errors
/// A builder that cannot be run here, an option that cannot be understood, a base that is not there.
pub fn plan(
    template: &Template,
    builder: &Component,
    local: bool,
    base: Option<&str>,
    agent: &Path,
) -> Result<Plan> {
    let mut notes = Vec::new();
    let is_ami = builder.kind.starts_with("amazon-");
    if builder.kind != "disk" && !(is_ami && local) {
        let error = Error::new(format!("the builder `{}` does not run on this machine", builder.kind));
        return Err(if is_ami {
            error.hint("bake it here with `--local`, from a base of your choice with `--base` (default debian:bookworm)")
        } else {
            error.hint("use the builder `disk`")
        });
    }
    let base_name =
        base.map(str::to_owned).or_else(|| builder.text("base")).unwrap_or_else(|| "debian:bookworm".into());
    if is_ami {
        let source = builder.text("source_ami").unwrap_or_else(|| "a filter".into());
        notes.push(format!("source_ami {source} is replaced by the base {base_name}"));
        notes.push(format!(
            "builder {} is replaced by the builder disk; no cloud account is used",
            builder.kind
        ));
        if let Some(user) = builder.text("ssh_username") {
            notes.push(format!("ssh_username {user} is not needed: provisioners run in the image as root"));
        }
    }
    let name = builder
        .text("image_name")
        .or_else(|| builder.text("ami_name"))
        .unwrap_or_else(|| builder.name.clone());
    let base = Base::parse(&base_name, &builder.list("include"), builder.text("mirror").as_deref())?;
    let engine = blake3::hash(&fs::read(agent)?).to_hex().to_string();
    let project = Key::new("project").with_tree("files", &template.folder, &skipped)?;
    let mut key = base.key()?;
    let mut steps = Vec::new();
    for provisioner in template.provisioners.iter().filter(|p| p.applies_to(builder)) {
        let config = bakery_lang::json::dumps(&provisioner.config.clone().into(), 0, true);
        key = Key::new("step")
            .with("engine", &engine)
            .with("parent", key.as_str())
            .with("kind", &provisioner.kind)
            .with("config", config)
            .with("build", format!("{} {}", builder.name, builder.kind))
            .with("project", project.as_str());
        for file in outside_files(template, provisioner) {
            key = key.with("file", fs::read(&file)?);
        }
        if provisioner.kind != "shell-local" {
            steps.push(Step { component: provisioner.clone(), key: key.clone() });
        } else {
            steps.push(Step {
                component: provisioner.clone(),
                key: Key::new("no layer").with("after", key.as_str()),
            });
        }
    }
    let kernel_args = builder.text("kernel_args").unwrap_or_default();
    let size = builder.text("size").map_or(Ok(4 << 30), |text| bytes(&text))?;
    let mut formats = builder.list("formats");
    if formats.is_empty() {
        formats = vec!["raw".into(), "qcow2".into()];
    }
    if let Some(unknown) = formats.iter().find(|f| !matches!(f.as_str(), "raw" | "qcow2")) {
        return Err(Error::new(format!("unknown format `{unknown}` (known: raw, qcow2)")));
    }
    let seal = Key::new("seal")
        .with("engine", &engine)
        .with("parent", key.as_str())
        .with("version", crate::seal::VERSION)
        .with("kernel", &kernel_args);
    let image = Key::new("image")
        .with("seal", seal.as_str())
        .with("size", size.to_string())
        .with("formats", formats.join(","))
        .with("name", &name);
    Ok(Plan { name, builder: builder.clone(), base, steps, seal, image, size, formats, kernel_args, notes })
}

/// Files that a provisioner reads from outside the project.
fn outside_files(template: &Template, provisioner: &Component) -> Vec<PathBuf> {
    let mut names: Vec<String> = ["playbook_file", "script", "inventory_file", "galaxy_file", "source"]
        .iter()
        .filter_map(|k| provisioner.text(k))
        .collect();
    names.extend(provisioner.list("scripts"));
    names.extend(provisioner.list("playbook_files"));
    names
        .into_iter()
        .map(|n| template.folder.join(n))
        .filter(|p| p.is_file() && !p.starts_with(&template.folder))
        .collect()
}

/// A size: a number with K, M, G or T, powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<u64> {
    let text = text.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[split..].trim().to_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1u64 << 40,
        other => return Err(Error::new(format!("unknown unit `{other}` in the size `{text}`"))),
    };
    let number: u64 = text[..split]
        .parse()
        .map_err(|_| Error::new(format!("`{text}` is no size (expected something like 4G)")))?;
    Ok(number * factor)
}
