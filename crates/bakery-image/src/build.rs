//! A build from its builder to its artifacts: what every builder has in common.

use std::path::PathBuf;

use bakery_ansible::Callback;
use bakery_events::{Reporter, Step};
use bakery_host::fs;
use bakery_packer::{Build, Component, Template};
use bakery_store::{Image, Store};
use serde::Serialize;

use crate::bake::{BakeOptions, bake};
use crate::machine::Ssh;
use crate::plan::plan;
use crate::provision::{self, Place};
use crate::{Error, Result, post, qemu};

/// Something that a builder or a post-processor made.
#[derive(Debug, Clone, Serialize)]
pub struct Artifact {
    /// Who made it, as Packer's machine-readable output says it.
    pub builder_id: String,
    /// Its name at whoever keeps it, such as an image's id.
    pub id: String,
    /// What it is, in a sentence.
    pub text: String,
    /// Its names in registries, if it is a container's image that was given any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Its files; none if it has no files.
    pub files: Vec<PathBuf>,
    /// Whether its files may be removed when something else was made of them: not those of the store.
    #[serde(skip)]
    pub is_disposable: bool,
}

/// What a build came to.
#[derive(Debug, Clone)]
pub struct Built {
    /// The artifacts that are left, the builder's first.
    pub artifacts: Vec<Artifact>,
    /// The image in the store, if it is one.
    pub image: Option<Image>,
    /// Whether nothing had to be made.
    pub cached: bool,
}

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// How to bake.
    pub bake: BakeOptions,
    /// Whether templates for AMIs are baked here.
    pub local: bool,
    /// What to start from instead of what the builder says.
    pub base: Option<String>,
    /// Whether files that are in the way are replaced.
    pub force: bool,
    /// A name for the run, as `PACKER_RUN_UUID` has it.
    pub run: String,
}

/// Whether a build makes trees, which hold files of many users.
pub fn makes_trees(build: &Build, local: bool) -> bool {
    match build.builder.kind.as_str() {
        "null" | "file" => false,
        "qemu" => local,
        _ => true,
    }
}

/// Builds.
///
/// # Errors
/// What failed; the build's `error-cleanup-provisioner` has run then.
pub fn build(
    store: &Store,
    template: &Template,
    build: &Build,
    options: &BuildOptions,
    reporter: &dyn Reporter,
    callback: &mut dyn Callback,
) -> Result<Built> {
    let place = Place {
        template,
        builder: &build.builder,
        store,
        agent: &options.bake.agent,
        engine: "",
        recall: !options.bake.refresh,
        probe: false,
        in_place: false,
        limits: options.bake.limits,
        http: None,
        reporter,
    };
    let mut built = match build.builder.kind.as_str() {
        "null" => {
            on_machine(build, &place, callback)?;
            let text = "Did not export anything. This is the null builder";
            let artifacts = vec![artifact("fnoeding.null", "Null", text, vec![])];
            Built { artifacts, image: None, cached: false }
        }
        "file" => written(build, &place, options.force, callback)?,
        "qemu" if !options.local => {
            let artifacts = vec![qemu::build(build, &place, options.force, callback)?];
            Built { artifacts, image: None, cached: false }
        }
        _ => {
            let made = baked(store, template, build, options, reporter, callback);
            made.inspect_err(|_| provision::clean_up(build, &place, None, callback))?
        }
    };
    built.artifacts = post::process(build, &place, &options.run, built.artifacts)?;
    Ok(built)
}

pub(crate) fn artifact(builder_id: &str, id: &str, text: &str, files: Vec<PathBuf>) -> Artifact {
    let (builder_id, id, text) = (builder_id.to_owned(), id.to_owned(), text.to_owned());
    Artifact { builder_id, id, text, names: vec![], files, is_disposable: true }
}

fn baked(
    store: &Store,
    template: &Template,
    build: &Build,
    options: &BuildOptions,
    reporter: &dyn Reporter,
    callback: &mut dyn Callback,
) -> Result<Built> {
    let agent = &options.bake.agent;
    let planned = plan(store, template, build, options.local, options.base.as_deref(), agent)?;
    let baked = bake(store, template, &planned, &options.bake, reporter, callback)?;
    let folder = store.images().folder(&baked.image.id);
    let mut files: Vec<PathBuf> = baked.image.files.iter().map(|(_, name)| folder.join(name)).collect();
    if let Some(path) = build.builder.text("export_path") {
        let to = template.folder.join(path);
        for file in &files {
            fs::copy(file, &to)?;
        }
        files = vec![to];
    }
    let text = format!("An image was created: {} ({})", baked.image.id, baked.image.name);
    let made = Artifact {
        is_disposable: false,
        ..artifact(&format!("bakery.{}", build.builder.kind), &baked.image.id, &text, files)
    };
    Ok(Built { artifacts: vec![made], image: Some(baked.image), cached: baked.cached })
}

/// Runs the provisioners on the builder's machine, if it has one.
fn on_machine(build: &Build, place: &Place<'_>, callback: &mut dyn Callback) -> Result<()> {
    let machine = match build.builder.text("communicator").as_deref() {
        Some("none") => None,
        None | Some("ssh") => {
            let ssh = Ssh::of(&build.builder, &place.template.folder)?;
            let step =
                Step::start(place.reporter, "connect", &format!("{}@{}:{}", ssh.user, ssh.host, ssh.port));
            ssh.wait(&mut || Ok(()))?;
            step.finish("done");
            Some(ssh)
        }
        Some(other) => {
            return Err(Error::new(format!(
                "the communicator `{other}` does not run here (known: ssh, none)"
            )));
        }
    };
    provision::all_on_machine(build, place, machine.as_ref(), callback)
}

/// The builder `file`: a file, from a text or another file.
fn written(build: &Build, place: &Place<'_>, force: bool, callback: &mut dyn Callback) -> Result<Built> {
    let builder: &Component = &build.builder;
    let folder = &place.template.folder;
    let target = builder.text("target").ok_or_else(|| Error::new("the builder `file` needs a `target`"))?;
    let path = folder.join(&target);
    let content = match (builder.text("content"), builder.text("source")) {
        (Some(_), Some(_)) => {
            return Err(Error::new("the builder `file` takes `content` or `source`, not both"));
        }
        (None, Some(source)) => fs::read(folder.join(source))?,
        (content, None) => content.unwrap_or_default().into_bytes(),
    };
    if force && path.is_file() {
        fs::remove_file(&path)?;
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write_atomic_mode(&path, content, 0o600)?;
    let none = Component {
        config: [("communicator".to_owned(), "none".into())].into_iter().collect(),
        ..builder.clone()
    };
    on_machine(&Build { builder: none, ..build.clone() }, place, callback)?;
    let made =
        artifact("packer.file", "File", &format!("Stored file: {target}"), vec![PathBuf::from(target)]);
    Ok(Built { artifacts: vec![made], image: None, cached: false })
}
