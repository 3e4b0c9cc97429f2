//! Runs a plan: what is in the store is taken, what is missing is made.

use std::path::{Path, PathBuf};

use bakery_ansible::Callback;
use bakery_events::{Reporter, Step};
use bakery_host::cgroup::Limits;
use bakery_host::{command::find_program, fs, lock::Lock, namespace};
use bakery_packer::{Component, Template};
use bakery_store::record::Asked;
use bakery_store::{Image, Key, Store};

use crate::archive::Merged;
use crate::base::Wish;
use crate::disk::blocks::{self, Blocks};
use crate::disk::{self, Disk, export};
use crate::journal::why;
use crate::plan::Plan;
use crate::provision::{self, Place, interrupted};
use crate::rootfs::Rootfs;
use crate::state::State;
use crate::{Error, Result, epoch, oci, seal};

/// How to bake.
#[derive(Debug, Clone, Default)]
pub struct BakeOptions {
    /// The static agent to put into the image.
    pub agent: PathBuf,
    /// Make everything anew.
    pub no_cache: bool,
    /// Make the base anew.
    pub refresh: bool,
    /// Write the disk from the first block on, so that it depends on its tree alone.
    pub fresh_disk: bool,
    /// How much a provisioner may take.
    pub limits: Limits,
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
    let recall = !options.no_cache && !options.refresh;
    if recall && let Some(image) = known(store, plan)? {
        return Ok(Baked { image, cached: true });
    }
    for (tool, package) in TOOLS {
        if find_program(tool).is_none() {
            return Err(Error::new(format!("the program {tool} (package {package}) is not installed"))
                .hint("`bakery doctor` says what is missing and the command that installs it"));
        }
    }
    needs_root()?;
    let _in_use = store.in_use()?;
    namespace::private_mounts()?;
    let wish = match (options.no_cache, options.refresh) {
        (true, _) => Wish::Anew,
        (false, true) => Wish::Unmoved,
        (false, false) => Wish::Known,
    };
    let mut state = plan.base.state(store, &plan.base_key, wish, reporter)?;
    let mut place = Place {
        template,
        builder: &plan.builder,
        store,
        agent: &options.agent,
        engine: &plan.engine,
        recall,
        probe: false,
        in_place: recall && !options.fresh_disk && epoch::given().is_none(),
        limits: options.limits,
        http: None,
        reporter,
    };
    let mut history = History::of(store, template, plan);
    for component in &plan.steps {
        interrupted()?;
        state = step(component, &mut place, state, &mut history, callback)?;
    }
    store.keep_run(&history.build, &history.now)?;
    interrupted()?;
    let seal = seal_key(plan, &state);
    let disk = Disk {
        size: plan.size,
        filesystem: plan.filesystem,
        extras: &plan.extras,
        lineage: &plan.lineage,
        date: epoch::given(),
    };
    let state = sealed(&place, plan, &state, seal, &disk)?;
    interrupted()?;
    let key = image_key(plan, &state.key);
    let _lock = Lock::wait(store.lock(key.as_str()))?;
    let known = if place.recall { store.images().by_key(key.as_str())? } else { None };
    let cached = known.is_some();
    let image = match known {
        Some(image) if image.name == plan.name => image,
        Some(image) => renamed(store, &image, plan)?,
        None => publish(&place, plan, &state, &key, &disk)?,
    };
    if let Some(inputs) = &plan.inputs {
        State { key, layers: state.layers }.keep(store, inputs)?;
    }
    Ok(Baked { image, cached })
}

/// The image of a build whose inputs have not changed.
fn known(store: &Store, plan: &Plan) -> Result<Option<Image>> {
    let made = plan.inputs.as_ref().and_then(|inputs| State::known(store, inputs));
    let Some(made) = made else { return Ok(None) };
    match store.images().by_key(made.key.as_str())? {
        Some(image) if image.name != plan.name => renamed(store, &image, plan).map(Some),
        other => Ok(other),
    }
}

/// The steps of a build, in words, now and in the run before.
struct History {
    build: Key,
    now: Vec<Asked>,
    before: Vec<Asked>,
}

impl History {
    fn of(store: &Store, template: &Template, plan: &Plan) -> Self {
        let build = Key::new("steps")
            .with("folder", template.folder.as_os_str().as_encoded_bytes())
            .with("build", format!("{} {}", plan.builder.name, plan.builder.kind));
        Self { before: store.last_run(&build), build, now: vec![] }
    }

    /// Adds a step, and says what is different about it.
    fn add(&mut self, asked: Asked) -> String {
        self.now.push(asked);
        why(&self.now, &self.before)
    }
}

/// The key of the sealed tree of a state.
fn seal_key(plan: &Plan, state: &State) -> Key {
    Key::new("seal")
        .with("engine", &plan.engine)
        .with("parent", state.key.as_str())
        .with("version", seal::VERSION)
        .with("kernel", &plan.kernel_args)
        .with("root", plan.lineage.as_str())
        .with("disk", plan.is_disk().to_string())
}

/// The key of an image of a sealed tree.
fn image_key(plan: &Plan, seal: &Key) -> Key {
    Key::new("disk")
        .with("tree", seal.as_str())
        .with("lineage", plan.lineage.as_str())
        .with("formats", plan.formats.join(","))
        .with("changes", plan.builder.list("changes").join("\n"))
}

/// Goes from a state to the one that a provisioner leads to.
fn step(
    component: &Component,
    place: &mut Place<'_>,
    state: State,
    history: &mut History,
    callback: &mut dyn Callback,
) -> Result<State> {
    let kind = component.kind.as_str();
    let is_playbook = provision::is_playbook(component);
    let step = Step::start(place.reporter, kind, &component.text("playbook_file").unwrap_or_default());
    let (key, reason) = match provision::key(component, place, &state)? {
        Some((key, asked)) => (Some(key), history.add(asked)),
        None => (None, String::new()),
    };
    // Bakes that have come to the same state would do the same: one does it, the others wait and take it.
    let lock = Key::new("after").with("state", state.key.as_str());
    let acts_inside = key.is_some() || is_playbook;
    let _lock = acts_inside.then(|| Lock::wait(place.store.lock(lock.as_str()))).transpose()?;
    if let Some(key) = key.as_ref().filter(|_| place.recall)
        && let Some(state) = State::known(place.store, key)
    {
        step.finish("cached");
        return Ok(state);
    }
    if place.probe && !is_playbook {
        // What acts outside of the image leaves it as it is.
        return if key.is_none() { Ok(state) } else { Err(Error::new(reason)) };
    }
    if key.is_some() && place.recall && !history.before.is_empty() {
        place.reporter.note(&reason);
    }
    let run = provision::run(component, place, &state, key.as_ref(), callback);
    let (next, anew) =
        run.map_err(|error| if place.probe { error } else { provision::failed(component, error) })?;
    if let Some(key) = key.as_ref().filter(|_| !place.probe) {
        next.keep(place.store, key)?;
    }
    // What was done anew may have come out otherwise; what stands on it is not taken from before.
    place.recall &= !anew;
    step.finish(if anew { "done" } else { "cached" });
    Ok(next)
}

/// What a bake would have to make, and why: the first thing that is not remembered. `None` if there is nothing.
///
/// # Errors
/// A project that cannot be read.
pub fn first_missed(store: &Store, template: &Template, plan: &Plan, agent: &Path) -> Result<Option<String>> {
    if known(store, plan)?.is_some() {
        return Ok(None);
    }
    let Some(mut state) = State::known(store, &plan.base_key) else {
        return Ok(Some(format!(
            "the base {}: it was not made yet, or is not kept any more",
            plan.base.shown()
        )));
    };
    needs_root()?;
    namespace::private_mounts()?;
    let mut place = Place {
        template,
        builder: &plan.builder,
        store,
        agent,
        engine: &plan.engine,
        recall: true,
        probe: true,
        in_place: false,
        limits: Limits::default(),
        http: None,
        reporter: &bakery_events::Silent,
    };
    let mut history = History::of(store, template, plan);
    for component in &plan.steps {
        match step(component, &mut place, state, &mut history, &mut bakery_ansible::callback::Quiet) {
            Ok(next) => state = next,
            Err(why) => return Ok(Some(why.message)),
        }
    }
    let key = image_key(plan, &seal_key(plan, &state));
    Ok(match store.images().by_key(key.as_str())? {
        Some(_) => None,
        None => Some("the image itself: all of its steps are remembered, its files are not there".into()),
    })
}

fn needs_root() -> Result<()> {
    if bakery_host::users::effective_uid() == 0 {
        return Ok(());
    }
    Err(Error::new("baking needs root, or a user namespace: it mounts overlays").hint("run it with sudo"))
}

fn sealed(place: &Place<'_>, plan: &Plan, state: &State, key: Key, disk: &Disk<'_>) -> Result<State> {
    let step = Step::start(place.reporter, "seal", "");
    let _lock = Lock::wait(place.store.lock(key.as_str()))?;
    if place.recall
        && let Some(state) = State::known(place.store, &key)
    {
        step.finish("cached");
        return Ok(state);
    }
    let mut rootfs = Rootfs::mount(place.store, &state.layers)?;
    // What becomes no disk needs nothing to boot with.
    let filesystem = if plan.is_disk() { disk.filesystem.name() } else { seal::NO_DISK };
    let args = [seal::VERB, &disk.root_uuid(), filesystem, &disk.fstab(), &plan.kernel_args];
    let output = rootfs.run(place.agent, crate::rootfs::SELF_INSIDE, &args)?;
    if !output.success() {
        return Err(Error::new(format!("the image could not be sealed: {}", output.error_text().trim())));
    }
    // What is sealed again is the same: its files are as old as the base.
    rootfs.clamp(epoch::of(place.store, &state.layers))?;
    let layers = rootfs.commit("seal")?;
    let state = State { key, layers };
    state.keep(place.store, &state.key)?;
    step.finish("done");
    Ok(state)
}

fn publish(place: &Place<'_>, plan: &Plan, state: &State, key: &Key, disk: &Disk<'_>) -> Result<Image> {
    let store = place.store;
    let step = Step::start(place.reporter, "disk", &plan.formats.join(", "));
    let work = store.work()?;
    let made = if plan.is_disk() {
        Some(disk::make(store, &state.layers, place.agent, disk, !place.in_place)?)
    } else {
        None
    };
    let mut files = Vec::new();
    let settings = oci::settings(plan.base.settings(store, &plan.base_key).as_ref(), &plan.builder)?;
    for format in &plan.formats {
        interrupted()?;
        let name = export::file_name(format);
        let to = work.path().join(&name);
        match (format.as_str(), &made) {
            ("tar", _) => tarball(store, &state.layers, &to)?,
            ("oci", _) => {
                oci::write(
                    store,
                    &state.layers,
                    &settings,
                    &plan.name,
                    epoch::of(store, &state.layers),
                    &to,
                )?;
            }
            (_, Some(made)) => export::write(&made.raw, format, &to)?,
            _ => {}
        }
        files.push((format.clone(), name));
    }
    if let Some(made) = &made {
        let blocks = Blocks::of(&made.raw)?;
        fs::write_atomic(work.path().join(blocks::FILE), serde_json::to_vec(&blocks).unwrap_or_default())?;
    }
    let image = Image {
        id: format!("ami-{}", &key.as_str()[..17]),
        name: plan.name.clone(),
        key: key.as_str().to_owned(),
        created: epoch::given().map_or_else(bakery_store::now, bakery_store::time),
        base: plan.base.shown(),
        layers: state.layers.clone(),
        disk_size: plan.size,
        files,
        root_uuid: disk.root_uuid(),
        notes: plan.notes.clone(),
        settings: (!plan.is_disk()).then_some(settings),
    };
    store.images().publish(work, &image)?;
    step.finish(if made.is_some_and(|made| made.edited) { "changed in place" } else { "done" });
    Ok(image)
}

/// The tree as a tar archive: what any program unpacks, and a base for other images.
fn tarball(store: &Store, layers: &[Key], to: &Path) -> Result<()> {
    let deltas: Vec<_> = layers.iter().filter_map(|id| store.layer(id)).collect();
    Merged::of(&deltas)?.write(std::io::BufWriter::new(fs::create(to)?), false)
}

/// The same image under another name: its files are the same ones.
fn renamed(store: &Store, image: &Image, plan: &Plan) -> Result<Image> {
    let key = Key::new("name").with("of", &image.key).with("name", &plan.name);
    let id = format!("ami-{}", &key.as_str()[..17]);
    let work = store.work()?;
    let folder = store.images().folder(&image.id);
    for (_, name) in &image.files {
        fs::hard_link(folder.join(name), work.path().join(name))?;
    }
    if folder.join(blocks::FILE).is_file() {
        fs::hard_link(folder.join(blocks::FILE), work.path().join(blocks::FILE))?;
    }
    let image = Image { id, name: plan.name.clone(), created: bakery_store::now(), ..image.clone() };
    store.images().publish(work, &image)?;
    Ok(image)
}
