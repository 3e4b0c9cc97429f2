//! Runs a plan: what is in the store is taken, what is missing is made.

use std::path::{Path, PathBuf};

use bakery_ansible::Callback;
use bakery_events::{Reporter, Step};
use bakery_host::{Cmd, command::find_program, fs, lock::Lock, namespace, signal};
use bakery_packer::Template;
use bakery_store::{Image, Key, Store};

use crate::disk::{self, Disk};
use crate::plan::Plan;
use crate::provision::{self, Place};
use crate::rootfs::Rootfs;
use crate::{Error, Result, seal};

/// How to bake.
#[derive(Debug, Clone, Default)]
pub struct BakeOptions {
    /// The static agent to put into the image.
    pub agent: PathBuf,
    /// Make everything anew.
    pub no_cache: bool,
    /// Make the base anew.
    pub refresh: bool,
}

/// A finished bake.
#[derive(Debug, Clone)]
pub struct Baked {
    /// The image.
    pub image: Image,
    /// Whether it was there already.
    pub cached: bool,
}

/// Programs that a bake needs, and the Debian packages that have them.
pub const TOOLS: &[(&str, &str)] = &[
    ("mke2fs", "e2fsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("qemu-img", "qemu-utils"),
    ("tar", "tar"),
];

/// Bakes.
///
/// # Errors
/// What failed, and where its remains can be looked at. The store is as it was, but for layers that are whole.
pub fn bake(
    store: &Store,
    template: &Template,
    plan: &Plan,
    options: &BakeOptions,
    reporter: &dyn Reporter,
    callback: &mut dyn Callback,
) -> Result<Baked> {
    for note in &plan.notes {
        reporter.note(note);
    }
    if !options.no_cache
        && !options.refresh
        && let Some(image) = store.images().by_key(plan.image.as_str())?
    {
        return Ok(Baked { image, cached: true });
    }
    for (tool, package) in TOOLS {
        if find_program(tool).is_none() {
            return Err(Error::new(format!("the program {tool} (package {package}) is not installed"))
                .hint("`bakery doctor` says what is missing and the command that installs it"));
        }
    }
    if bakery_host::users::effective_uid() != 0 {
        return Err(Error::new("baking needs root: it mounts overlays and enters namespaces")
            .hint("run it with sudo"));
    }
    let _lock = Lock::take(
        store.root().join(format!("lock-{}", plan.image.as_str())),
        &format!("bake {}", plan.name),
    )?;
    namespace::private_mounts()?;
    let interrupted = || -> Result<()> {
        match signal::caught() {
            Some(_) => Err(Error::new("interrupted; nothing was published")),
            None => Ok(()),
        }
    };
    let base = plan.base.layer(store, options.refresh || options.no_cache, reporter)?;
    interrupted()?;
    let mut layers = vec![base];
    let mut cold = options.no_cache || options.refresh;
    for planned in &plan.steps {
        let kind = planned.component.kind.as_str();
        let step = Step::start(reporter, kind, &planned.component.text("playbook_file").unwrap_or_default());
        if !cold && store.layer(&planned.key).is_some() {
            layers.push(planned.key.clone());
            step.finish("cached");
            continue;
        }
        cold = true;
        let rootfs = Rootfs::mount(store, &layers)?;
        let place = Place {
            template,
            builder: &plan.builder,
            rootfs: &rootfs,
            store,
            agent: &options.agent,
            reporter,
        };
        let result = provision::run(&planned.component, &place, callback).and_then(|()| interrupted());
        if let Err(error) = result {
            let failed = Error::new(format!("the provisioner `{kind}` failed: {error}"));
            return Err(match rootfs.keep_failed(store) {
                Ok(path) => failed.hint(format!("the files that it changed are in {}; the layers below are kept, so the next bake starts there", path.display())),
                Err(_) => failed,
            });
        }
        rootfs.commit(store, &planned.key, kind, options.no_cache || options.refresh)?;
        layers.push(planned.key.clone());
        step.finish("done");
    }
    let root_uuid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, plan.seal.as_str().as_bytes()).to_string();
    layers.push(sealed(store, plan, &layers, &root_uuid, cold, options, reporter)?);
    interrupted()?;
    let image = publish(store, plan, &layers, &root_uuid, options, reporter)?;
    Ok(Baked { image, cached: false })
}

fn sealed(
    store: &Store,
    plan: &Plan,
    layers: &[Key],
    root_uuid: &str,
    cold: bool,
    options: &BakeOptions,
    reporter: &dyn Reporter,
) -> Result<Key> {
    let step = Step::start(reporter, "seal", "");
    if !cold && store.layer(&plan.seal).is_some() {
        step.finish("cached");
        return Ok(plan.seal.clone());
    }
    let rootfs = Rootfs::mount(store, layers)?;
    let output = rootfs.run(
        &options.agent,
        crate::rootfs::SELF_INSIDE,
        &[seal::VERB, root_uuid, &plan.kernel_args],
    )?;
    if !output.success() {
        return Err(Error::new(format!("the image could not be sealed: {}", output.error_text().trim())));
    }
    rootfs.commit(store, &plan.seal, "seal", options.no_cache || options.refresh)?;
    step.finish("done");
    Ok(plan.seal.clone())
}

fn publish(
    store: &Store,
    plan: &Plan,
    layers: &[Key],
    root_uuid: &str,
    options: &BakeOptions,
    reporter: &dyn Reporter,
) -> Result<Image> {
    let step = Step::start(reporter, "disk", &plan.formats.join(", "));
    let work = store.work()?;
    let raw = work.path().join("disk.raw");
    let rootfs = Rootfs::mount(store, layers)?;
    disk::write(
        &raw,
        &rootfs,
        &options.agent,
        &Disk { size: plan.size, root_uuid, seed: plan.image.as_str() },
    )?;
    drop(rootfs);
    let mut files = Vec::new();
    for format in &plan.formats {
        let name = format!("disk.{format}");
        if format == "qcow2" {
            convert(&raw, &work.path().join(&name))?;
        }
        files.push((format.clone(), name));
    }
    if !plan.formats.iter().any(|f| f == "raw") {
        fs::remove_file(&raw)?;
    }
    let image = Image {
        id: format!("ami-{}", &plan.image.as_str()[..17]),
        name: plan.name.clone(),
        key: plan.image.as_str().to_owned(),
        created: bakery_store::now(),
        base: plan.base.shown(),
        layers: layers.iter().map(|k| k.as_str().to_owned()).collect(),
        disk_size: plan.size,
        files,
        root_uuid: root_uuid.to_owned(),
        notes: plan.notes.clone(),
    };
    store.images().publish(work, &image)?;
    step.finish("done");
    Ok(image)
}

fn convert(raw: &Path, qcow2: &Path) -> Result<()> {
    Cmd::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .arg(raw)
        .arg(qcow2)
        .run()
        .map_err(|e| Error::new(format!("the qcow2 file could not be made: {e}")))?;
    Ok(())
}
