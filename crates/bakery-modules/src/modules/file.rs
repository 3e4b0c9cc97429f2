//! `file`: files, folders, links and their attributes.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, describe};
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
    let meta = path.symlink_metadata().ok();
    let state = match args.state.as_deref() {
        Some(state) => state,
        None if args.recurse => "directory",
        None if meta.as_ref().is_some_and(std::fs::Metadata::is_dir) => "directory",
        None => "file",
    };
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
    let changed = match state {
        "absent" => absent(host, &path)?,
        "directory" => directory(host, &path, &args)?,
        "touch" => touch(host, &path, &args)?,
        "link" | "hard" => link(host, &path, &args, state)?,
        _ => existing(host, &path, &args)?,
    };
    let mut outcome = Outcome::changed(changed);
    if host.diff && changed {
        let side = |state: &str, src: Option<&str>| {
            let map = Map::new();
            map.set("path", path.display().to_string());
            map.set("state", state);
            if let Some(src) = src {
                map.set("src", src);
            }
            Value::Map(map)
        };
        let src = args.src.as_deref().filter(|_| matches!(state, "link" | "hard"));
        let diff = [("before", side(before, led.as_deref())), ("after", side(state, src))];
        outcome = outcome.with("diff", Value::map(diff));
    }
    if state == "absent" || state == "directory" && !path.exists() {
        outcome = outcome.with("path", path.display().to_string()).with("state", "absent");
        return Ok(outcome);
    }
    let name = if matches!(state, "file" | "directory") { "path" } else { "dest" };
    outcome = outcome.with(name, path.display().to_string());
    outcome.fields.extend(&describe(&path));
    if let Some(src) = args.src {
        outcome = outcome.with("src", src);
    }
    Ok(outcome)
}

fn kind(meta: &std::fs::Metadata) -> &'static str {
    if meta.is_dir() {
        "directory"
    } else if meta.is_symlink() {
        "link"
    } else {
        "file"
    }
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

fn directory(host: &mut Host, path: &Path, args: &Args) -> Result<bool, Failure> {
    let mut changed = false;
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => {
            return Err(Failure::new(format!("{} already exists as a {}", path.display(), "file"))
                .with("path", path.display().to_string()));
        }
        Err(_) => {
            changed = true;
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
    changed |= host.attributes(path, &args.attributes)?;
    if args.recurse && path.is_dir() {
        for inner in fs::walk(path)? {
            changed |= host.attributes(&inner, &args.attributes)?;
        }
    }
    Ok(changed)
}

fn existing(host: &mut Host, path: &Path, args: &Args) -> Result<bool, Failure> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => {
            Err(Failure::new(format!("file ({}) is directory, cannot continue", path.display()))
                .with("path", path.display().to_string())
                .with("state", "directory"))
        }
        Ok(_) => host.attributes(path, &args.attributes),
        Err(_) => Err(Failure::new(format!("file ({}) is absent, cannot continue", path.display()))
            .with("path", path.display().to_string())
            .with("state", "absent")),
    }
}

fn touch(host: &mut Host, path: &Path, args: &Args) -> Result<bool, Failure> {
    let keep = |time: &Option<String>| time.as_deref() == Some("preserve");
    let mut changed = false;
    if !path.exists() {
        if host.check {
            return Ok(true);
        }
        drop(fs::append(path)?);
        changed = true;
    } else if !(keep(&args.modification_time) && keep(&args.access_time)) {
        changed = true;
        if !host.check {
            let time = |given: &Option<String>, format: &str| -> Result<rustix::fs::Timespec, Failure> {
                let nsec = match given.as_deref() {
                    Some("preserve") => rustix::fs::UTIME_OMIT,
                    None | Some("now") => rustix::fs::UTIME_NOW,
                    Some(text) => {
                        let time = jiff::civil::DateTime::strptime(format, text)
                            .and_then(|t| t.to_zoned(jiff::tz::TimeZone::system()))
                            .map_err(|e| {
                                Failure::new(format!("Error while obtaining timestamp for time {text}: {e}"))
                            })?;
                        return Ok(rustix::fs::Timespec { tv_sec: time.timestamp().as_second(), tv_nsec: 0 });
                    }
                };
                Ok(rustix::fs::Timespec { tv_sec: 0, tv_nsec: nsec })
            };
            let times = rustix::fs::Timestamps {
                last_access: time(&args.access_time, &args.access_time_format)?,
                last_modification: time(&args.modification_time, &args.modification_time_format)?,
            };
            rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty())
                .map_err(|e| Failure::new(format!("cannot set the times of `{}`: {e}", path.display())))?;
        }
    }
    Ok(changed | host.attributes(path, &args.attributes)?)
}

fn link(host: &mut Host, path: &Path, args: &Args, state: &str) -> Result<bool, Failure> {
    let Some(src) = &args.src else {
        if path.is_symlink() {
            return host.attributes(path, &args.attributes);
        }
        return Err(Failure::new("src is required for creating new links"));
    };
    let mut path = path.to_path_buf();
    let real_folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
    if real_folder && !args.force {
        if state == "link" && path.is_dir() && args.original_basename.is_some() {
            path = path.join(args.original_basename.as_deref().unwrap_or_default());
        } else {
            return Err(Failure::new(format!(
                "refusing to convert from directory to symlink for {}",
                path.display()
            )));
        }
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    if state == "link" {
        if !folder.join(src).exists() && !args.force {
            return Err(Failure::new(format!(
                "src file does not exist, use \"force=yes\" if you really want to create the link: {}",
                folder.join(src).display()
            )));
        }
        if fs::read_link(&path).is_ok_and(|now| now == Path::new(src)) {
            return Ok(false);
        }
    } else {
        use std::os::unix::fs::MetadataExt as _;
        let source = fs::metadata(src)?;
        if path.metadata().is_ok_and(|m| m.ino() == source.ino() && m.dev() == source.dev()) {
            return Ok(false);
        }
    }
    if path.symlink_metadata().is_ok_and(|m| !m.is_symlink()) && !args.force {
        return Err(Failure::new(format!(
            "refusing to convert from file to {} for {}",
            if state == "link" { "symlink" } else { "hard" },
            path.display()
        )));
    }
    if host.check {
        return Ok(true);
    }
    if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        fs::remove_all(&path)?;
    }
    // Made beside its place and renamed into it, so that the path never names nothing.
    let temporary = path.with_file_name(format!(".bakery-link-{}", std::process::id()));
    fs::remove_all(&temporary)?;
    if state == "link" {
        fs::symlink(src, &temporary)?;
    } else {
        fs::hard_link(src, &temporary)?;
    }
    fs::rename(&temporary, &path)?;
    if args.follow && state == "link" && args.attributes.mode.is_some() && path.exists() {
        // The mode of a link is that of the file that it leads to.
        let target = fs::canonicalize(&path)?;
        host.attributes(&target, &FileAttributes { owner: None, group: None, ..args.attributes.clone() })?;
    }
    if args.attributes.owner.is_some() || args.attributes.group.is_some() {
        host.attributes(&path, &FileAttributes { mode: None, ..args.attributes.clone() })?;
    }
    Ok(true)
}

module!("file", "ansible.builtin", Args, run);
