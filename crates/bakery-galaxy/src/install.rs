//! Brings what is wanted into place.
//!
//! Everything is fetched, checked and written beside its place first. Then each folder is exchanged for the new one in
//! a single step, so an install that is killed leaves the old role or the new one.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakery_events::{Reporter, Step};
use bakery_host::{fs, signal};
use bakery_lang::{Value, yaml};
use serde::{Deserialize, Serialize};

use crate::fetch::{Fetcher, Listed, side_by_side};
use crate::lock::{LockFile, Pin};
use crate::project::{self, Preferences, Resolved};
use crate::requirements::{Kind, Requirement, Source};
use crate::signature::Keyring;
use crate::tree::{Entry, Tree, digest_of};
use crate::version::Version;
use crate::{Error, Result, collection, scm};

/// Where things go.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder of roles.
    pub roles: PathBuf,
    /// The folder that has or gets `ansible_collections`.
    pub collections: PathBuf,
}

impl Places {
    /// The folder of namespaces.
    pub fn namespaces(&self) -> PathBuf {
        if self.collections.ends_with("ansible_collections") {
            self.collections.clone()
        } else {
            self.collections.join("ansible_collections")
        }
    }

    /// Where a role or collection is, or would be.
    pub fn place(&self, kind: Kind, name: &str) -> PathBuf {
        match kind {
            Kind::Role => self.roles.join(name),
            Kind::Collection => self.namespaces().join(name.replacen('.', "/", 1)),
        }
    }

    /// Folders with what is known of a collection's origin: `NAMESPACE.NAME-VERSION.info`.
    pub fn info_folders(&self, name: &str) -> Vec<PathBuf> {
        let (prefix, all) = (format!("{name}-"), fs::read_dir(self.namespaces()).unwrap_or_default());
        let is = |path: &PathBuf| {
            let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            file.starts_with(&prefix) && file.ends_with(".info")
        };
        all.into_iter().filter(is).collect()
    }
}

/// Which pins of the lock move on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
}

/// How to install.
#[derive(Debug, Default)]
pub struct Options {
    /// Which kinds are installed; the lock keeps what it says of others.
    pub kinds: Vec<Kind>,
    /// Where the lock is; without one nothing is locked.
    pub lock: Option<PathBuf>,
    /// Whether the lock must be there and answer the requirements.
    pub locked: bool,
    /// What moves on.
    pub upgrade: Upgrade,
    /// Whether a tag that moved or an archive that changed is taken.
    pub accept_changed: bool,
    /// Whether what is there is replaced, whatever it is.
    pub force: bool,
    /// Whether what is needed by others is replaced, too.
    pub force_with_deps: bool,
    /// Whether only what is asked for by name is taken.
    pub no_deps: bool,
    /// Whether what cannot be had is left out.
    pub ignore_errors: bool,
    /// Keys that signatures are checked with.
    pub keyring: Option<Keyring>,
}

/// What was done with a role or collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It is new, or another one than before.
    Installed,
    /// It was there.
    Unchanged,
    /// Something else is there, and stays.
    LeftAlone,
}

/// What an installed role or collection is and came from; kept with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which of the two.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it came from.
    pub source: String,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The digest of its files.
    pub digest: String,
    /// Its files, each as `MODE SHA256` or `link TARGET`; for collections their own list says it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// A role or collection after an install.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it is.
    pub pin: Pin,
    /// What was done.
    pub done: Done,
    /// Where it is.
    pub place: PathBuf,
}

pub(crate) const NOTE: &str = "meta/.galaxy_install_info";
pub(crate) const RECORD: &str = "meta/.bakery_install.json";
const COLLECTION_RECORD: &str = "BAKERY.json";

/// The record of an installed role or collection.
pub fn record(places: &Places, kind: Kind, name: &str) -> Option<Record> {
    let path = match kind {
        Kind::Role => places.place(kind, name).join(RECORD),
        Kind::Collection => places.info_folders(name).into_iter().next()?.join(COLLECTION_RECORD),
    };
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// The files of an installed role without its records.
pub(crate) fn role_files(place: &Path) -> Result<BTreeMap<String, String>> {
    Ok(Tree::from_folder(place)?.filtered(|p| p != NOTE && p != RECORD).listing())
}

/// The version that ansible-galaxy noted.
pub(crate) fn noted_version(place: &Path) -> Option<String> {
    let text = fs::read_to_string(place.join(NOTE)).ok()?;
    let value = yaml::parse_data(NOTE, &text).ok()?.get("version")?;
    Some(if value.is_none() { String::new() } else { value.to_string() })
}

/// What is to be done with a pin.
enum Plan {
    Keep,
    LeaveAlone(String),
    Write,
}

fn plan(resolved: &Resolved, places: &Places, force: bool) -> Result<Plan> {
    let pin = &resolved.pin;
    let place = places.place(pin.kind, &pin.name);
    if !place.is_dir() {
        if place.symlink_metadata().is_ok() {
            return Err(Error::new(format!("{} is there, and it is no folder", place.display())));
        }
        return Ok(Plan::Write);
    }
    if force {
        return Ok(Plan::Write);
    }
    let replaced = |edited: Vec<String>| -> Result<Plan> {
        if edited.is_empty() {
            return Ok(Plan::Write);
        }
        Err(Error::new(format!(
            "the {} {} was edited by hand ({}), and {} is to replace it; --force does so",
            pin.kind,
            pin.name,
            edited.iter().take(3).cloned().collect::<Vec<_>>().join(", "),
            if pin.version.is_empty() { "a newer one" } else { &pin.version }
        )))
    };
    match (record(places, pin.kind, &pin.name), pin.kind) {
        (Some(record), _) if record.digest == pin.digest => Ok(Plan::Keep),
        (Some(record), Kind::Role) => replaced(differing(&record.files, &role_files(&place)?)),
        (record, Kind::Collection) => {
            let tree = Tree::from_folder(&place)?;
            let Ok(about) = collection::about(&tree) else {
                return Ok(Plan::LeaveAlone(format!("{} holds something else", place.display())));
            };
            if record.is_none() && about.version == pin.version {
                return Ok(Plan::Keep);
            }
            replaced(collection::changed(&tree).unwrap_or_default())
        }
        (None, Kind::Role) => match noted_version(&place) {
            Some(version) if version == pin.version => Ok(Plan::Keep),
            Some(version) => Ok(Plan::LeaveAlone(format!(
                "{} ({version}) is already installed, not by bakery - use --force to change version to {}",
                pin.name,
                if pin.version.is_empty() { "unspecified" } else { &pin.version }
            ))),
            None => Ok(Plan::LeaveAlone(format!(
                "{} is there already and was not installed; it is left alone (--force replaces it)",
                pin.name
            ))),
        },
    }
}

/// Paths that are not the same in two listings.
pub(crate) fn differing(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let mut paths: Vec<String> =
        before.keys().chain(now.keys()).filter(|p| before.get(*p) != now.get(*p)).cloned().collect();
    paths.sort();
    paths.dedup();
    paths
}

/// A pin's files: those just read, those of the cache, or fetched again and compared with the lock.
fn files_of(resolved: &Resolved, fetcher: &Fetcher) -> Result<(Arc<Tree>, Option<Listed>)> {
    let pin = &resolved.pin;
    if let Some(fetched) = &resolved.fetched {
        return Ok((Arc::clone(&fetched.tree), fetched.listed.clone()));
    }
    if let Some(tree) = fetcher.cache.tree(&pin.digest) {
        let listed = pin.artifact.as_deref().filter(|_| pin.kind == Kind::Collection);
        return Ok((Arc::new(tree), listed.and_then(|artifact| fetcher.remembered(artifact))));
    }
    let about =
        |e: Error| e.about(format!("the {} {} could not be had from {}", pin.kind, pin.name, pin.source));
    let mut at = pin.version.as_str();
    if let (Source::Git(url, _), Some(commit)) = (&pin.source, &pin.commit) {
        if !fetcher.offline {
            let moved = scm::refs(url, fetcher.scm).map_err(about)?;
            let moved = moved.into_iter().find(|r| r.is_tag && r.name == pin.version && r.commit != *commit);
            if let Some(moved) = moved {
                return Err(Error::new(format!(
                    "the tag {} of {} has moved: it was locked at {commit} and is now at {}; \
                     `--upgrade {} --accept-changed` takes it",
                    pin.version, pin.source, moved.commit, pin.name
                )));
            }
        }
        at = commit;
    }
    let fetched = fetcher.fetch(pin.kind, &pin.source, &Version::new(at)).map_err(about)?;
    if fetched.digest != pin.digest {
        return Err(changed(pin, fetched.artifact.as_deref(), &fetched.digest));
    }
    Ok((fetched.tree, fetched.listed))
}

fn changed(pin: &Pin, artifact: Option<&str>, digest: &str) -> Error {
    let both = match (&pin.artifact, artifact) {
        (Some(before), Some(now)) if before != now => {
            format!("its archive was sha256:{before} and is now sha256:{now}")
        }
        _ => format!("it was {} and is now {digest}", pin.digest),
    };
    Error::new(format!(
        "the {} {} {} of {} has changed: {both}; `--upgrade {} --accept-changed` takes it",
        pin.kind, pin.name, pin.version, pin.source, pin.name
    ))
}

/// Fails when a version that was locked now means something else: a tag that moved, an archive that changed.
fn check_moved(before: &LockFile, now: &[Resolved], fetcher: &Fetcher) -> Result<()> {
    for resolved in now {
        let pin = &resolved.pin;
        let Some(old) = before.get(pin.kind, &pin.name) else { continue };
        if old.source != pin.source || old.version != pin.version || old.digest == pin.digest {
            continue;
        }
        match &pin.source {
            // Folders are what they are now, and branches move.
            Source::Folder(_) | Source::Hg(_) => {}
            Source::Git(url, _) => {
                if scm::refs(url, fetcher.scm)?.iter().any(|r| r.is_tag && r.name == pin.version) {
                    return Err(Error::new(format!(
                        "the tag {} of {} has moved: it was locked at {} and is now at {}; --accept-changed takes it",
                        pin.version,
                        pin.source,
                        old.commit.as_deref().unwrap_or(&old.digest),
                        pin.commit.as_deref().unwrap_or(&pin.digest)
                    )));
                }
            }
            _ => return Err(changed(old, pin.artifact.as_deref(), &pin.digest)),
        }
    }
    Ok(())
}

/// Installs what is wanted and what that needs.
///
/// # Errors
/// What cannot be had, does not fit together, has moved or was edited by hand: then nothing was changed.
pub fn install(
    wanted: &[Requirement],
    places: &Places,
    options: &Options,
    fetcher: &Fetcher,
    reporter: &dyn Reporter,
) -> Result<Vec<Outcome>> {
    let _lock = fetcher.cache.project(&places.roles)?;
    sweep(&places.roles);
    sweep(&places.namespaces());
    let mut before = match &options.lock {
        Some(path) => LockFile::read(path)?,
        None => None,
    };
    let mut others = Vec::new();
    if let Some(lock) = &mut before {
        (lock.pins, others) = lock.pins.drain(..).partition(|pin| options.kinds.contains(&pin.kind));
    }
    let drift = before.as_ref().map(|lock| lock.drift(wanted));
    let edited = before.as_ref().map(|lock| edited_folders(lock, fetcher)).unwrap_or_default();
    if options.locked {
        let path = options.lock.as_deref().unwrap_or(Path::new("the lock file")).display();
        match &drift {
            None => return Err(Error::new(format!("there is no {path}, and --locked wants it"))),
            Some(drift) if !drift.is_empty() => {
                return Err(Error::new(format!(
                    "{path} does not answer the requirements: {}",
                    drift.join("; ")
                )));
            }
            Some(_) => {}
        }
        if let Some((pin, now)) = edited.first() {
            return Err(changed(pin, None, now));
        }
    }
    let edited: Vec<String> = edited.into_iter().map(|(pin, _)| pin.name.clone()).collect();
    let resolved = match &before {
        Some(lock)
            if options.upgrade == Upgrade::None
                && edited.is_empty()
                && drift.as_ref().is_some_and(Vec::is_empty) =>
        {
            as_locked(lock, wanted)
        }
        _ => {
            let step = Step::start(reporter, "resolve", "");
            let preferences = preferences(before.as_ref(), wanted, places, options, &edited);
            let resolved = project::resolve(wanted, fetcher, &preferences, reporter)?;
            step.finish("done");
            if let Some(before) = before.as_ref().filter(|_| !options.accept_changed) {
                check_moved(before, &resolved, fetcher)?;
            }
            resolved
        }
    };
    let outcomes = put(&resolved, places, options, fetcher, reporter)?;
    if let Some(path) = options.lock.as_ref().filter(|_| !options.locked && !options.no_deps) {
        let lock = LockFile::new(resolved.into_iter().map(|r| r.pin).chain(others).collect());
        if let Err(error) = lock.write(path) {
            reporter.warn(&format!("the lock file could not be written: {error}"));
        }
    }
    Ok(outcomes)
}

/// Pins of folders on this machine that hold something else now, and what: such a folder is somebody's work, and is meant
/// as it is.
fn edited_folders<'a>(lock: &'a LockFile, fetcher: &Fetcher) -> Vec<(&'a Pin, String)> {
    let folders = lock.pins.iter().filter(|pin| matches!(&pin.source, Source::Folder(path) if path.is_dir()));
    let now = folders.filter_map(|pin| {
        let fetched = fetcher.fetch(pin.kind, &pin.source, &Version::new(&pin.version)).ok()?;
        (fetched.digest != pin.digest).then_some((pin, fetched.digest))
    });
    now.collect()
}

fn as_locked(lock: &LockFile, wanted: &[Requirement]) -> Vec<Resolved> {
    let signatures = |pin: &Pin| {
        let found = wanted.iter().find(|w| w.kind == pin.kind && w.name == pin.name);
        found.map(|w| w.signatures.clone()).unwrap_or_default()
    };
    let resolved = |pin: &Pin| Resolved { pin: pin.clone(), fetched: None, signatures: signatures(pin) };
    lock.pins.iter().map(resolved).collect()
}

fn preferences(
    before: Option<&LockFile>,
    wanted: &[Requirement],
    places: &Places,
    options: &Options,
    edited: &[String],
) -> Preferences {
    let upgraded = |pin: &Pin| match &options.upgrade {
        _ if edited.contains(&pin.name) => true,
        Upgrade::None => {
            // What is asked for in another way than it is locked is looked up again.
            wanted.iter().any(|w| {
                w.kind == pin.kind
                    && w.name == pin.name
                    && (w.source != pin.source || pin.wanted.as_deref() != Some(w.wanted.text()))
            })
        }
        Upgrade::All => true,
        Upgrade::Named(names) => names.contains(&pin.name),
    };
    let mut installed = HashMap::new();
    // Without a lock, collections that are there and fit stay, as for ansible-galaxy.
    if before.is_none() && options.upgrade == Upgrade::None && !options.force_with_deps {
        for (name, version) in crate::installed::collections(places) {
            let asked = wanted.iter().any(|w| w.kind == Kind::Collection && w.name == name);
            if !(options.force && asked) {
                installed.insert(name, Version::new(version));
            }
        }
    }
    Preferences {
        kept: project::kept_of(before, upgraded),
        installed,
        no_deps: options.no_deps,
        ignore_errors: options.ignore_errors,
    }
}

/// Writes everything beside its place, then exchanges.
fn put(
    all: &[Resolved],
    places: &Places,
    options: &Options,
    fetcher: &Fetcher,
    reporter: &dyn Reporter,
) -> Result<Vec<Outcome>> {
    let mut plans = Vec::new();
    for resolved in all {
        let force = options.force_with_deps || (options.force && resolved.pin.wanted.is_some());
        let plan = plan(resolved, places, force)?;
        if let Plan::LeaveAlone(why) = &plan {
            reporter.warn(why);
        }
        plans.push((resolved, plan));
    }
    let writes: Vec<&Resolved> =
        plans.iter().filter(|(_, p)| matches!(p, Plan::Write)).map(|(r, _)| *r).collect();
    let mut stages: BTreeMap<Kind, PathBuf> = BTreeMap::new();
    for resolved in &writes {
        let root = match resolved.pin.kind {
            Kind::Role => places.roles.clone(),
            Kind::Collection => places.namespaces(),
        };
        stages
            .entry(resolved.pin.kind)
            .or_insert_with(|| root.join(format!(".bakery-{}", std::process::id())));
    }
    for stage in stages.values() {
        fs::remove_all(stage)?;
        fs::create_dir_all(stage)?;
    }
    let staged = side_by_side(&writes, |resolved| -> Result<()> {
        if signal::caught().is_some() {
            return Err(Error::new("interrupted"));
        }
        let step = Step::start(reporter, &resolved.pin.kind.to_string(), &resolved.pin.name);
        stage(resolved, &stages[&resolved.pin.kind].join(&resolved.pin.name), options, fetcher)?;
        step.finish("fetched");
        Ok(())
    });
    let result: Result<Vec<()>> = staged.into_iter().collect();
    let result = result.and_then(|_| {
        for resolved in &writes {
            let staged = stages[&resolved.pin.kind].join(&resolved.pin.name);
            exchange(&staged.join("files"), &places.place(resolved.pin.kind, &resolved.pin.name))?;
            if resolved.pin.kind == Kind::Collection {
                put_info(&staged, places, &resolved.pin)?;
            }
        }
        Ok(())
    });
    for stage in stages.values() {
        fs::remove_all(stage)?;
    }
    result?;
    let done = |plan: &Plan| match plan {
        Plan::Keep => Done::Unchanged,
        Plan::LeaveAlone(_) => Done::LeftAlone,
        Plan::Write => Done::Installed,
    };
    Ok(plans
        .iter()
        .map(|(resolved, plan)| Outcome {
            pin: resolved.pin.clone(),
            done: done(plan),
            place: places.place(resolved.pin.kind, &resolved.pin.name),
        })
        .collect())
}

/// Writes one with its records into a folder of its own.
fn stage(resolved: &Resolved, folder: &Path, options: &Options, fetcher: &Fetcher) -> Result<()> {
    let pin = &resolved.pin;
    let (tree, listed) = files_of(resolved, fetcher)?;
    let listing = tree.listing();
    if digest_of(&listing) != pin.digest {
        return Err(changed(pin, None, &digest_of(&listing)));
    }
    let mut record = Record {
        kind: pin.kind,
        name: pin.name.clone(),
        version: pin.version.clone(),
        source: pin.source.to_string(),
        commit: pin.commit.clone(),
        digest: pin.digest.clone(),
        files: BTreeMap::new(),
    };
    let files = folder.join("files");
    if pin.kind == Kind::Role {
        record.files = listing;
        let mut tree = Arc::unwrap_or_clone(tree);
        tree.insert(NOTE, note(&tree, pin));
        let text = serde_json::to_string_pretty(&record).unwrap_or_default();
        tree.insert(RECORD, Entry::File { bytes: text.into(), executable: false, modified: 0 });
        return tree.write(&files);
    }
    if let Some(keyring) = &options.keyring {
        let mut signatures: Vec<String> = Vec::new();
        for at in &resolved.signatures {
            signatures.push(fetcher.text(at)?);
        }
        let from_server = listed.iter().flat_map(|l| &l.signatures);
        signatures.extend(from_server.filter_map(|s| s.get("signature")?.as_str().map(str::to_owned)));
        let manifest = tree.bytes(collection::MANIFEST).unwrap_or_default();
        keyring.check(&pin.name, manifest, &signatures)?;
    }
    tree.write(&files)?;
    let mut info = Tree::default();
    let text = serde_json::to_string_pretty(&record).unwrap_or_default();
    info.insert(COLLECTION_RECORD, Entry::File { bytes: text.into(), executable: false, modified: 0 });
    if let Some(listed) = listed {
        info.insert("GALAXY.yml", galaxy_info(pin, &listed));
    }
    info.write(&folder.join("info"))
}

/// `meta/.galaxy_install_info` as ansible-galaxy writes it, but that its date is that of the newest file: the same
/// role makes the same bytes, so that an image does not change because of it.
fn note(tree: &Tree, pin: &Pin) -> Entry {
    let times = tree.entries().filter_map(|(_, entry)| match entry {
        Entry::File { modified, .. } => Some(*modified),
        _ => None,
    });
    let newest = times.max().unwrap_or(0);
    let date = jiff::Timestamp::from_second(i64::try_from(newest).unwrap_or(0)).unwrap_or_default();
    let date = date.strftime("%a %b %e %H:%M:%S %Y").to_string();
    let version = if pin.version.is_empty() { Value::from("") } else { pin.version.as_str().into() };
    let text = yaml::emit(
        &Value::map([("install_date", date.into()), ("version", version)]),
        yaml::Style::default(),
    );
    Entry::File { bytes: text.into(), executable: false, modified: 0 }
}

/// `GALAXY.yml` beside a collection's namespace (`get_galaxy_artifact_source_info`).
fn galaxy_info(pin: &Pin, listed: &Listed) -> Entry {
    let (namespace, name) = pin.name.split_once('.').unwrap_or((&pin.name, ""));
    let value = serde_json::json!({
        "format_version": "1.0.0", "namespace": namespace, "name": name, "version": pin.version,
        "server": listed.server, "version_url": listed.page, "download_url": listed.download,
        "signatures": listed.signatures,
    });
    let style = yaml::Style { sort_keys: true, ..yaml::Style::default() };
    let text = yaml::emit(&bakery_lang::json::from_json(&value), style);
    Entry::File { bytes: text.into(), executable: false, modified: 0 }
}

fn put_info(staged: &Path, places: &Places, pin: &Pin) -> Result<()> {
    let place = places.namespaces().join(format!("{}-{}.info", pin.name, pin.version));
    for old in places.info_folders(&pin.name) {
        if old != place {
            fs::remove_all(old)?;
        }
    }
    exchange(&staged.join("info"), &place)
}

/// Puts a folder in place of another one in one step; the other one is then where the new one was.
fn exchange(new: &Path, place: &Path) -> Result<()> {
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder)?;
    }
    if place.symlink_metadata().is_err() {
        return Ok(fs::rename(new, place)?);
    }
    if fs::exchange(new, place).is_ok() {
        return Ok(());
    }
    // File systems that cannot exchange: the old one steps aside first, and running again mends a kill in between.
    let aside = new.with_extension("old");
    fs::rename(place, &aside)?;
    fs::rename(new, place)?;
    Ok(())
}

/// Removes what installs that died have left.
fn sweep(folder: &Path) {
    for path in fs::read_dir(folder).unwrap_or_default() {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let pid = name.strip_prefix(".bakery-").and_then(|pid| pid.parse::<i32>().ok());
        if pid.is_some_and(|pid| !signal::is_alive(pid)) {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_all(&path);
        }
    }
}
