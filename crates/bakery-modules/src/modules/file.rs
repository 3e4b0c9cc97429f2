//! `file`: files, folders, links and their attributes.

use std::path::{Path, PathBuf};

use bakery_host::{fs, users};
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::os::unix::fs::MetadataExt as _;

use crate::host::FileAttributes;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes, removes and sets the attributes of files, folders and links.
#[derive(ModuleArgs)]
struct Args {
    /// The path.
    #[arg(required, alias = "dest,name")]
    path: String,
    /// What shall be there; without it, `file` if the path exists, else `directory` with `recurse`, else `file`.
    #[arg(choices = "absent,directory,file,hard,link,touch")]
    state: Option<String>,
    /// What a link points to.
    src: Option<String>,
    /// Whether attributes are set on everything in a folder.
    recurse: bool,
    /// Whether a link replaces something else, or points to nothing yet.
    force: bool,
    /// Whether the attributes are those of the target of a link.
    #[arg(default = "true")]
    follow: bool,
    /// Used internally: the file name of the source.
    #[arg(name = "_original_basename")]
    original_basename: Option<String>,
    /// Used internally: only whether the file looks like a binary one is returned.
    #[arg(name = "_diff_peek")]
    diff_peek: Option<bool>,
    /// The time of the last change: `preserve`, `now` or a time.
    modification_time: Option<String>,
    /// How `modification_time` is written.
    #[arg(default = "%Y%m%d%H%M.%S")]
    modification_time_format: String,
    /// The time of the last access: `preserve`, `now` or a time.
    access_time: Option<String>,
    /// How `access_time` is written.
    #[arg(default = "%Y%m%d%H%M.%S")]
    access_time_format: String,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

fn run(args: Args, host: &mut Host) -> Run {
    let mut path = host.path(&args.path);
    // In a folder, a file of the source's name is meant.
    if !matches!(args.state.as_deref(), Some("link" | "absent"))
        && path.is_dir()
        && let Some(name) = args.original_basename.as_deref().or_else(|| args.src.as_deref().map(base_name))
        && !name.is_empty()
    {
        path = path.join(name);
    }
    if args.diff_peek.is_some() {
        let head = fs::read(&path).unwrap_or_default();
        let is_binary = head[..head.len().min(8192)].contains(&0);
        return Ok(Outcome::unchanged().with("path", args.path).with("appears_binary", is_binary));
    }
    let meta = path.symlink_metadata().ok();
    let state = match (args.state.as_deref(), &meta) {
        (Some(state), _) => state,
        (None, Some(meta)) => kind(meta),
        (None, None) if args.recurse => "directory",
        (None, None) => "file",
    };
    if host.check && state != "absent" {
        warn_of_strangers(host, &args.attributes);
    }
    if args.src.is_some() && !matches!(state, "link" | "hard") {
        return Err(Failure::new("src option requires state to be 'link' or 'hard'").with("path", args.path));
    }
    if args.recurse && state != "directory" {
        return Err(Failure::new("recurse option requires state to be 'directory'").with("path", args.path));
    }
    if args.follow && path.is_symlink() && matches!(state, "file" | "directory" | "touch") {
        path = fs::canonicalize(&path).unwrap_or(path);
    }
    let before = meta.as_ref().map_or("absent", kind);
    let led = fs::read_link(&path).ok().map(|target| target.display().to_string());
    let diff = Diff::of(&path);
    let listed =
        if state == "absent" && host.diff && before == "directory" { content(&path) } else { Map::new() };
    let changed = match state {
        "absent" => absent(host, &path)?,
        "directory" => directory(host, &path, &args, &diff)?,
        "touch" => touch(host, &path, &args, &diff)?,
        "link" => link(host, &path, &args)?,
        "hard" => hard_link(host, &path, &args)?,
        _ => existing(host, &path, &args, &diff)?,
    };
    if state == "absent" && before == "directory" {
        diff.before.set("path_content", listed);
    }
    if before != state {
        diff.before.set("state", before);
        diff.after.set("state", state);
    }
    let src = args.src.as_deref().filter(|_| matches!(state, "link" | "hard"));
    if changed && let Some(src) = src {
        diff.before.set("src", led);
        diff.after.set("src", src);
    }
    let sides = [("before", Value::from(diff.before)), ("after", diff.after.into())];
    let mut outcome = Outcome::changed(changed);
    if host.diff && (state != "absent" || changed) {
        outcome = outcome.with("diff", Value::map(sides));
    }
    if state == "absent" {
        return Ok(outcome.with("path", path.display().to_string()).with("state", "absent"));
    }
    let name = if matches!(state, "file" | "directory") { "path" } else { "dest" };
    outcome = outcome.with(name, path.display().to_string());
    if matches!(state, "link" | "hard") {
        let led = fs::read_link(&path).ok().filter(|_| args.follow).map(|p| p.display().to_string());
        outcome = outcome.with("src", args.src.or(led));
    }
    Ok(outcome)
}

/// In check mode, an owner or group that there is not may be one that an earlier task would have made.
fn warn_of_strangers(host: &mut Host, wanted: &FileAttributes) {
    for (name, kind, is_known) in [
        (&wanted.owner, "user", wanted.owner.as_deref().is_none_or(|name| users::find_user(name).is_some())),
        (
            &wanted.group,
            "group",
            wanted.group.as_deref().is_none_or(|name| users::find_group(name).is_some()),
        ),
    ] {
        if let Some(name) = name.as_ref().filter(|_| !is_known) {
            let by = match name.parse::<u32>() {
                Ok(_) if kind == "user" => "with uid ",
                Ok(_) => "with gid ",
                Err(_) => "",
            };
            let made = if kind == "user" { "Create user" } else { "Create group" };
            host.warn(format!("failed to look up {kind} {by}{name}. {made} up to this point in real play"));
        }
    }
}

/// The folders and files that go with a folder.
fn content(path: &Path) -> Map {
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = fs::walk(path)
        .unwrap_or_default()
        .into_iter()
        .filter(|inner| inner != path)
        .partition(|inner| inner.is_dir() && !inner.is_symlink());
    let shown = |paths: Vec<PathBuf>| Value::strings(paths.iter().map(|path| path.display().to_string()));
    Map::from_iter([("directories", shown(folders)), ("files", shown(files))])
}

/// What the result tells of before and after.
struct Diff {
    before: Map,
    after: Map,
}

impl Diff {
    fn of(path: &Path) -> Self {
        let side = || Map::from_iter([("path", Value::from(path.display().to_string()))]);
        Self { before: side(), after: side() }
    }
}

fn kind(meta: &std::fs::Metadata) -> &'static str {
    if meta.is_dir() {
        "directory"
    } else if meta.is_symlink() {
        "link"
    } else if meta.nlink() > 1 {
        "hard"
    } else {
        "file"
    }
}

/// The last part of a path; empty when it ends in a slash.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn absent(host: &Host, path: &Path) -> Result<bool, Failure> {
    if path.symlink_metadata().is_err() {
        return Ok(false);
    }
    if !host.check {
        fs::remove_all(path)?;
    }
    Ok(true)
}

fn directory(host: &mut Host, path: &Path, args: &Args, diff: &Diff) -> Result<bool, Failure> {
    let mut changed = false;
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => {}
        Ok(meta) => {
            return Err(Failure::new(format!("{} already exists as a {}", path.display(), kind(&meta)))
                .with("path", path.display().to_string()));
        }
        Err(_) => {
            changed = true;
            if path.as_os_str().is_empty() && !host.check {
                let why = "There was an issue creating  as requested: No such file or directory";
                return Err(Failure::new(why).with("path", ""));
            }
            // Every folder that is made gets the attributes, as in Ansible.
            let missing: Vec<PathBuf> =
                path.ancestors().take_while(|p| !p.exists()).map(Path::to_path_buf).collect();
            for folder in missing.iter().rev() {
                if !host.check {
                    fs::create_dir_all(folder)?;
                    host.attributes(folder, &args.attributes)?;
                }
            }
        }
    }
    changed |= host.attributes(path, &args.attributes)? | times(host, path, args, "preserve", diff)?;
    if args.recurse && path.is_dir() {
        for inner in fs::walk(path)? {
            changed |= host.attributes(&inner, &args.attributes)?
                | times(host, &inner, args, "preserve", &Diff::of(&inner))?;
            // What links lead to, if they are followed; a link back to where it is would have no end.
            if args.follow && inner.is_symlink() {
                let Ok(led) = fs::canonicalize(&inner) else { continue };
                let around = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
                if led.is_dir() && !around.starts_with(&led) && !led.starts_with(&around) {
                    changed |= directory(host, &led, args, &Diff::of(&led))?;
                } else if led.is_file() {
                    changed |= host.attributes(&led, &args.attributes)?;
                }
            }
        }
    }
    Ok(changed)
}

fn existing(host: &mut Host, path: &Path, args: &Args, diff: &Diff) -> Result<bool, Failure> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => {
            Err(Failure::new(format!("file ({}) is directory, cannot continue", path.display()))
                .with("path", path.display().to_string())
                .with("state", "directory"))
        }
        Ok(_) => Ok(host.attributes(path, &args.attributes)? | times(host, path, args, "preserve", diff)?),
        Err(_) => Err(Failure::new(format!("file ({}) is absent, cannot continue", path.display()))
            .with("path", path.display().to_string())
            .with("state", "absent")),
    }
}

/// Sets the times of access and change that were asked for; those that were not are `default`.
fn times(host: &Host, path: &Path, args: &Args, default: &str, diff: &Diff) -> Result<bool, Failure> {
    let wanted = |given: &Option<String>, format: &str| -> Result<(Timespec, bool), Failure> {
        Ok(match given.as_deref().unwrap_or(default) {
            "preserve" => (Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, false),
            "now" => (Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }, true),
            text => {
                let time = jiff::civil::DateTime::strptime(format, text)
                    .and_then(|t| t.to_zoned(jiff::tz::TimeZone::system()))
                    .map_err(|e| {
                        Failure::new(format!(
                            "Error while obtaining timestamp for time {text} using format {format}: {e}"
                        ))
                    })?;
                (Timespec { tv_sec: time.timestamp().as_second(), tv_nsec: 0 }, false)
            }
        })
    };
    let (access, access_now) = wanted(&args.access_time, &args.access_time_format)?;
    let (change, change_now) = wanted(&args.modification_time, &args.modification_time_format)?;
    let Ok(meta) = fs::metadata(path) else { return Ok(false) };
    let is = |time: &Timespec, seconds: i64, nanoseconds: i64| {
        time.tv_nsec == UTIME_OMIT || time.tv_sec == seconds && time.tv_nsec == nanoseconds
    };
    let same = is(&access, meta.atime(), meta.atime_nsec()) && is(&change, meta.mtime(), meta.mtime_nsec());
    if same && !access_now && !change_now {
        return Ok(false);
    }
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    let seconds = |whole: i64, nano: i64| whole as f64 + nano as f64 / 1e9;
    for (name, wanted, has) in [
        ("mtime", &change, seconds(meta.mtime(), meta.mtime_nsec())),
        ("atime", &access, seconds(meta.atime(), meta.atime_nsec())),
    ] {
        let will = match wanted.tv_nsec {
            UTIME_OMIT => has,
            UTIME_NOW => now,
            _ => wanted.tv_sec as f64,
        };
        if (will - has).abs() > f64::EPSILON {
            diff.before.set(name, has);
            diff.after.set(name, will);
        }
    }
    if !host.check {
        let times = Timestamps { last_access: access, last_modification: change };
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).map_err(|e| {
            Failure::new(format!("Error while updating modification or access time: {e}"))
                .with("path", path.display().to_string())
        })?;
    }
    Ok(true)
}

fn touch(host: &mut Host, path: &Path, args: &Args, diff: &Diff) -> Result<bool, Failure> {
    let mut changed = false;
    if !path.exists() {
        if host.check {
            return Ok(true);
        }
        drop(fs::append(path)?);
        changed = true;
    }
    let finished = times(host, path, args, "now", diff)
        .and_then(|touched| Ok(touched | host.attributes(path, &args.attributes)?));
    if changed && finished.is_err() {
        // A file that could not become what it should be is none.
        fs::remove_file(path)?;
    }
    Ok(changed | finished?)
}

/// Makes or changes a symbolic link; without `src`, sets the attributes of the one that is there.
fn link(host: &mut Host, path: &Path, args: &Args) -> Result<bool, Failure> {
    let meta = path.symlink_metadata().ok();
    let before = meta.as_ref().map_or("absent", kind);
    let folder = if before == "directory" { path } else { path.parent().unwrap_or(Path::new("/")) };
    if let Some(src) = &args.src
        && !args.force
        && !folder.join(src).exists()
    {
        return Err(Failure::new(format!(
            "src file does not exist, use 'force=yes' if you really want to create the link: {}",
            folder.join(src).display()
        )));
    }
    let refusal = match before {
        "directory" if args.force => {
            let full = !fs::read_dir(path)?.is_empty();
            full.then(|| format!("the directory {} is not empty, refusing to convert it", path.display()))
        }
        "directory" | "file" | "hard" if !args.force => {
            Some(format!("refusing to convert from {before} to symlink for {}", path.display()))
        }
        _ => None,
    };
    if let Some(refusal) = refusal {
        return Err(Failure::new(refusal).with("path", path.display().to_string()));
    }
    let mut changed = false;
    match &args.src {
        None if before != "link" => return Err(Failure::new("src is required for creating new symlinks")),
        Some(src) if fs::read_link(path).ok().as_deref() != Some(Path::new(src)) => {
            changed = true;
            if !host.check {
                if before == "directory" {
                    fs::remove_all(path)?;
                }
                in_its_place(path, |temporary| fs::symlink(src, temporary))?;
            }
        }
        _ => {}
    }
    if host.check && !path.exists() {
        return Ok(changed);
    }
    if !args.follow {
        return Ok(changed | host.attributes(path, &args.attributes)?);
    }
    match fs::canonicalize(path) {
        Ok(target) => Ok(changed | host.attributes(&target, &args.attributes)?),
        Err(_) => {
            host.warn(
                "Cannot set fs attributes on a non-existent symlink target. follow should be set to False to avoid this.",
            );
            Ok(changed)
        }
    }
}

/// Makes or changes a hard link; without `src`, sets the attributes of the file that is there.
fn hard_link(host: &mut Host, path: &Path, args: &Args) -> Result<bool, Failure> {
    let meta = path.symlink_metadata().ok();
    let before = meta.as_ref().map_or("absent", kind);
    let failed = |msg: String| {
        Failure::new(msg)
            .with("dest", path.display().to_string())
            .with("src", args.src.clone().unwrap_or_default())
    };
    let Some(src) = &args.src else {
        return match before {
            "hard" => host.attributes(path, &args.attributes),
            _ => Err(Failure::new("src is required for creating new hardlinks")),
        };
    };
    let Ok(source) = fs::metadata(src) else { return Err(failed("src does not exist".to_owned())) };
    let same = meta.as_ref().is_some_and(|m| m.ino() == source.ino() && m.dev() == source.dev());
    let changed = !same;
    if changed && !args.force {
        match before {
            "hard" => {
                return Err(failed("Cannot link, different hard link exists at destination".to_owned()));
            }
            "file" => return Err(failed("Cannot link, file exists at destination".to_owned())),
            "directory" => {
                return Err(failed("Cannot link: different hard link exists at destination".to_owned()));
            }
            _ => {}
        }
    }
    if changed && !host.check {
        let real = if args.follow { fs::canonicalize(src)? } else { PathBuf::from(src) };
        in_its_place(path, |temporary| fs::hard_link(&real, temporary))?;
    }
    if host.check && !path.exists() {
        return Ok(changed);
    }
    Ok(changed | host.attributes(path, &args.attributes)?)
}

/// Makes something beside its place and renames it into it, so that the path never names nothing.
fn in_its_place(
    path: &Path,
    make: impl FnOnce(&Path) -> Result<(), bakery_host::Error>,
) -> Result<(), Failure> {
    let temporary = path.with_file_name(format!(".bakery-link-{}", std::process::id()));
    fs::remove_all(&temporary)?;
    make(&temporary)?;
    if let Err(error) = fs::rename(&temporary, path) {
        fs::remove_all(&temporary)?;
        return Err(error.into());
    }
    Ok(())
}

module!("file", "ansible.builtin", Args, run);
