//! What a build will do, and a key over all that it may read, so that a build with nothing changed is recognised at
//! once.

use std::path::Path;

use bakery_host::fs;
use bakery_packer::{Build, Component, Template};
use bakery_store::{Key, Store};

use crate::base::{self, Asked, Base};
use crate::disk::{Extra, FileSystem, export};
use crate::{Error, Result, epoch, provision};

/// What a build will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The image's name.
    pub name: String,
    /// The builder.
    pub builder: Component,
    /// What it starts from.
    pub base: Base,
    /// The key of that.
    pub(crate) base_key: Key,
    /// The digest of the agent, which runs in the image.
    pub engine: String,
    /// The provisioners, in order.
    pub steps: Vec<Component>,
    /// A key over everything that the build may read: nothing changed if it did not. None with playbooks: what they read is
    /// only known when they run (an environment, files elsewhere, what a program says).
    pub inputs: Option<Key>,
    /// The disk's size in bytes.
    pub size: u64,
    /// The formats to make.
    pub formats: Vec<String>,
    /// The root's file system.
    pub filesystem: FileSystem,
    /// Partitions besides those that every disk has.
    pub(crate) extras: Vec<Extra>,
    /// What the images have in common that follow one another.
    pub lineage: Key,
    /// More words for the kernel's command line.
    pub kernel_args: String,
    /// What was substituted, for the user to see.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether the image becomes a disk, in some format.
    pub fn is_disk(&self) -> bool {
        self.formats.iter().any(|format| export::is_disk(format))
    }
}

/// Plans the build of one builder. With `local`, a builder of AMIs or machines is baked here. A base that is
/// `given` takes the place of what the builder says.
///
/// # Errors
/// A builder that cannot be run here, an option that cannot be understood, a base that is not there.
pub fn plan(
    store: &Store,
    template: &Template,
    build: &Build,
    local: bool,
    given: Option<&str>,
    agent: &Path,
) -> Result<Plan> {
    let builder = &build.builder;
    let mut notes = Vec::new();
    let is_ami = builder.kind.starts_with("amazon-");
    let is_guest = builder.kind == "qemu";
    let is_container = builder.kind == "docker";
    if builder.kind != "disk" && !is_container && !((is_ami || is_guest) && local) {
        let error = Error::new(format!("the builder `{}` does not run on this machine", builder.kind));
        return Err(if is_ami {
            error.hint("bake it here with `--local`, from a base of your choice with `--base` (default debian:bookworm)")
        } else {
            error.hint("use the builder `disk`")
        });
    }
    let usual = match builder.kind.as_str() {
        "docker" => builder.text("image"),
        // A machine's disk is a base, an installer is none.
        "qemu" if builder.flag("disk_image", false) => {
            builder.text("iso_url").or_else(|| builder.list("iso_urls").first().cloned())
        }
        "qemu" => None,
        _ => builder.text("base"),
    };
    let base_name =
        given.map(str::to_owned).or_else(|| usual.clone()).unwrap_or_else(|| "debian:bookworm".into());
    if is_ami || is_guest {
        let source = match builder.text(if is_ami { "source_ami" } else { "iso_url" }) {
            Some(source) => source,
            None if is_ami => "a filter".into(),
            None => "iso_urls".into(),
        };
        if usual.is_none() || given.is_some() {
            let key = if is_ami { "source_ami" } else { "iso_url" };
            notes.push(format!("{key} {source} is replaced by the base {base_name}"));
        }
        notes.push(format!(
            "builder {} is replaced by the builder disk; no {} is used",
            builder.kind,
            if is_ami { "cloud account" } else { "machine" }
        ));
        if let Some(user) = builder.text("ssh_username") {
            notes.push(format!("ssh_username {user} is not needed: provisioners run in the image as root"));
        }
    }
    let name = builder
        .text("image_name")
        .or_else(|| builder.text("ami_name"))
        .or_else(|| builder.text("vm_name").filter(|_| is_guest))
        .unwrap_or_else(|| builder.name.clone());
    let mut engine = blake3::hash(&fs::read(agent)?).to_hex().to_string();
    if let Some(date) = epoch::given() {
        engine.push_str(&format!(" {date}"));
    }
    let steps = build.provisioners.clone();
    let kernel_args = builder.text("kernel_args").unwrap_or_default();
    let size = match builder.text("disk_size").filter(|_| is_guest) {
        Some(text) => crate::qemu::disk_size(&text)?,
        None => builder.text("size").map_or(Ok(4 << 30), |text| bytes(&text))?,
    };
    let named = builder.text("filesystem").unwrap_or_else(|| "ext4".into());
    let filesystem = FileSystem::named(&named)
        .ok_or_else(|| Error::new(format!("unknown file system `{named}` (known: ext4, xfs)")))?;
    let extras = Extra::all(builder)?;
    let mut formats = builder.list("formats");
    if formats.is_empty() {
        formats = vec![match () {
            () if is_container && builder.config.contains("export_path") => "tar".into(),
            () if is_container => "oci".into(),
            () if is_guest => builder.text("format").unwrap_or_else(|| "qcow2".into()),
            () => "qcow2".into(),
        }];
    }
    let known = export::names();
    if let Some(unknown) = formats.iter().find(|f| !known.contains(&f.as_str())) {
        return Err(Error::new(format!("unknown format `{unknown}` (known: {})", known.join(", "))));
    }
    let mut packages = builder.list("include");
    if formats.iter().any(|format| export::is_disk(format)) {
        packages.splice(0..0, base::BOOT_PACKAGES.iter().map(|p| (*p).to_owned()));
        if filesystem == FileSystem::Xfs {
            packages.extend(base::XFS_PACKAGES.iter().map(|p| (*p).to_owned()));
        }
    }
    let asked = Asked {
        name: &base_name,
        // Of what the builder names; whoever names another base means that.
        checksum: builder
            .text(if is_guest { "iso_checksum" } else { "base_checksum" })
            .filter(|_| given.is_none()),
        folder: &template.folder,
        packages: &packages,
        mirror: builder.text("mirror"),
        is_container,
    };
    let base = Base::parse(store, &asked)?;
    let base_key = base.key()?;
    let lineage = Key::new("lineage")
        .with("base", base_key.as_str())
        .with("build", format!("{} {}", builder.name, builder.kind))
        .with("disk", format!("{size} {}", filesystem.name()))
        .with("partitions", extras.iter().map(Extra::shown).collect::<Vec<_>>().join(","));
    let inputs = if steps.iter().any(provision::is_playbook) {
        None
    } else {
        let inputs = Key::new("build")
            .with("engine", &engine)
            .with("lineage", lineage.as_str())
            .with("kernel", &kernel_args)
            .with("formats", formats.join(","))
            .with("changes", builder.list("changes").join("\n"));
        let mut inputs = provision::with_project(inputs, &template.folder, store)?;
        for step in &steps {
            inputs = inputs
                .with("kind", &step.kind)
                .with("config", bakery_lang::json::dumps(&step.config.clone().into(), 0, true));
            for file in provision::outside(step, &template.folder) {
                inputs = inputs.with_file("file", &file)?;
            }
        }
        Some(inputs)
    };
    Ok(Plan {
        name,
        builder: builder.clone(),
        base,
        base_key,
        engine,
        steps,
        inputs,
        size,
        filesystem,
        extras,
        lineage,
        formats,
        kernel_args,
        notes,
    })
}

/// A size: a number with K, M, G or T, powers of 1024.
///
/// # Errors
/// What is no size.
pub fn bytes(text: &str) -> Result<u64> {
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
