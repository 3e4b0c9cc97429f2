//! `deploy_helper`: folders of releases, and a link to the one that is used (community.general `deploy_helper.py`).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::host::FileAttributes;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Keeps a project's folder of releases: makes it, switches to a finished release, and clears old ones away.
#[derive(ModuleArgs)]
struct Args {
    /// The project's folder.
    #[arg(required, alias = "dest")]
    path: String,
    /// The release; a time stamp if not given.
    release: Option<String>,
    /// The folder of releases in it.
    #[arg(default = "releases")]
    releases_path: String,
    /// The folder of what releases share.
    #[arg(default = "shared")]
    shared_path: String,
    /// The link to the release that is used.
    #[arg(default = "current")]
    current_path: String,
    /// How many old releases are kept.
    #[arg(default = "5")]
    keep_releases: i64,
    /// Whether old releases are cleared away when one is finished.
    #[arg(default = "true")]
    clean: bool,
    /// The file that says that a release is not finished.
    #[arg(default = "DEPLOY_UNFINISHED")]
    unfinished_filename: String,
    /// What shall be done.
    #[arg(default = "present", choices = "present,absent,clean,finalize,query")]
    state: String,
    #[arg(flatten)]
    attributes: FileAttributes,
}

struct Project<'a> {
    args: &'a Args,
    host: &'a mut Host,
    path: PathBuf,
    releases: PathBuf,
    release: Option<String>,
}

impl Project<'_> {
    fn remove(&self, path: &Path) -> Result<bool, Failure> {
        if fs::symlink_metadata(path).is_err() {
            return Ok(false);
        }
        if !path.is_dir() {
            return Err(Failure::new(format!("{} exists but is not a directory", path.display())));
        }
        if !self.host.check {
            fs::remove_all(path)?;
        }
        Ok(true)
    }

    fn make(&mut self, path: &Path) -> Result<bool, Failure> {
        let there = fs::symlink_metadata(path).is_ok();
        if there && !path.is_dir() {
            return Err(Failure::new(format!("{} exists but is not a directory", path.display())));
        }
        if !there && !self.host.check {
            fs::create_dir_all(path)?;
        }
        Ok(self.host.attributes(path, &self.args.attributes)? || !there)
    }

    /// Points a link to a release, at once.
    fn link(&self, source: &Path, link: &Path) -> Result<bool, Failure> {
        if !link.is_symlink() {
            if !self.host.check {
                fs::symlink(source, link)?;
            }
            return Ok(true);
        }
        if real(source) == real(link) {
            return Ok(false);
        }
        if !self.host.check {
            if fs::symlink_metadata(source).is_err() {
                return Err(Failure::new(format!("the symlink target {} doesn't exists", source.display())));
            }
            let scratch = PathBuf::from(format!("{}.{}", link.display(), self.args.unfinished_filename));
            if scratch.is_symlink() {
                fs::remove_file(&scratch)?;
            }
            fs::symlink(source, &scratch)?;
            fs::rename(&scratch, link)?;
        }
        Ok(true)
    }

    /// Clears away what is not finished, and old releases but for some; whether something was there to clear.
    fn clean(&self) -> Result<bool, Failure> {
        let mut changed = false;
        if let Some(release) = &self.release {
            let link = self.path.join(format!("{release}.{}", self.args.unfinished_filename));
            if !self.host.check && link.exists() {
                fs::remove_file(&link)?;
                changed = true;
            }
        }
        let entries = fs::read_dir(&self.releases)?;
        let (unfinished, finished): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|path| path.join(&self.args.unfinished_filename).is_file());
        for path in unfinished {
            changed |= self.remove(&path)?;
        }
        let reserved = self.release.as_ref().map(|release| self.releases.join(release));
        let mut old: Vec<(i64, i64, PathBuf)> = finished
            .into_iter()
            .filter(|path| path.is_dir() && Some(path) != reserved.as_ref())
            .filter_map(|path| fs::metadata(&path).ok().map(|m| (m.ctime(), m.ctime_nsec(), path)))
            .collect();
        old.sort_by(|a, b| b.cmp(a));
        for (_, _, path) in old.iter().skip(usize::try_from(self.args.keep_releases).unwrap_or(0)) {
            changed |= self.remove(path)?;
        }
        Ok(changed)
    }
}

/// A path with its links followed as far as there is something, as Python's `realpath`.
fn real(path: &Path) -> PathBuf {
    if let Ok(found) = fs::canonicalize(path) {
        return found;
    }
    let parent = path.parent().map(real).unwrap_or_default();
    match (fs::read_link(path), path.file_name()) {
        // A link that leads back to itself would never end.
        (Ok(target), _) if target != path && parent.join(&target) != path => real(&parent.join(target)),
        (_, Some(name)) => parent.join(name),
        _ => path.to_path_buf(),
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.state == "finalize" && args.release.is_none() {
        return Err("state is finalize but all of the following are missing: release".into());
    }
    let path = host.path(&args.path);
    let (current, releases) = (path.join(&args.current_path), path.join(&args.releases_path));
    let shared = (!args.shared_path.is_empty()).then(|| path.join(&args.shared_path));
    let release = args.release.clone().or_else(|| {
        matches!(args.state.as_str(), "query" | "present")
            .then(|| jiff::Zoned::now().strftime("%Y%m%d%H%M%S").to_string())
    });
    let previous = fs::symlink_metadata(&current).is_ok().then(|| real(&current));
    let text = |path: &Path| Value::from(path.display().to_string());
    let optional = |path: Option<&PathBuf>| path.map_or(Value::None, |path| text(path));
    let name = previous.as_ref().and_then(|path| path.file_name());
    let fresh = release.as_ref().map(|release| releases.join(release));
    let facts = Map::from_iter([
        ("project_path", text(&path)),
        ("current_path", text(&current)),
        ("releases_path", text(&releases)),
        ("shared_path", optional(shared.as_ref())),
        ("previous_release", name.map_or(Value::None, |n| n.to_string_lossy().as_ref().into())),
        ("previous_release_path", optional(previous.as_ref())),
        ("new_release", release.clone().map_or(Value::None, Value::from)),
        ("new_release_path", optional(fresh.as_ref())),
        ("unfinished_filename", args.unfinished_filename.as_str().into()),
    ]);
    let mut project = Project { args: &args, host, path, releases, release };
    let mut changed = false;
    let mut told = None;
    match args.state.as_str() {
        "query" => told = Some(Value::Map(facts)),
        "present" => {
            if fs::symlink_metadata(&current).is_ok() && !current.is_symlink() {
                return Err(Failure::new(format!("{} exists but is not a symbolic link", current.display())));
            }
            let folders = [Some(project.path.clone()), Some(project.releases.clone()), shared];
            for folder in folders.into_iter().flatten() {
                changed |= project.make(&folder)?;
            }
            told = Some(Value::Map(facts));
        }
        "finalize" => {
            if args.keep_releases <= 0 {
                return Err("'keep_releases' should be at least 1".into());
            }
            let fresh = fresh.unwrap_or_default();
            let unfinished = fresh.join(&args.unfinished_filename);
            if fs::symlink_metadata(&unfinished).is_ok() {
                changed = true;
                if !project.host.check {
                    fs::remove_file(&unfinished)?;
                }
            }
            changed |= project.link(&fresh, &current)?;
            if args.clean {
                changed |= project.clean()?;
            }
        }
        "clean" => changed = project.clean()?,
        _ => {
            told = Some(Value::list(vec![]));
            let path = project.path.clone();
            changed = project.remove(&path)?;
        }
    }
    let outcome = Outcome::changed(changed).with("state", args.state.as_str());
    Ok(match told {
        Some(facts) => outcome.with("ansible_facts", Value::map([("deploy_helper", facts)])),
        None => outcome,
    })
}

module!("deploy_helper", "community.general", Args, run);
