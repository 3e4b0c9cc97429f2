//! `archive`: files and folders into an archive (community.general `archive.py`).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace, describe};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes an archive of files and folders.
#[derive(ModuleArgs)]
struct Args {
    /// What to put in; shell patterns allowed.
    #[arg(required)]
    path: Vec<String>,
    /// The archive; needed unless one file is only compressed.
    dest: Option<String>,
    /// How it is compressed.
    #[arg(default = "gz", choices = "gz,tar")]
    format: String,
    /// What to leave out.
    exclude_path: Option<Vec<String>>,
    /// Patterns of names to leave out.
    exclusion_patterns: Option<Vec<String>>,
    /// Whether one file becomes an archive too.
    force_archive: bool,
    /// Whether what was put in is removed.
    remove: bool,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

fn run(args: Args, host: &mut Host) -> Run {
    let roots: Vec<PathBuf> = args.path.iter().map(|p| host.path(p)).collect();
    let missing: Vec<String> =
        roots.iter().filter(|p| !p.exists()).map(|p| p.display().to_string()).collect();
    if missing.len() == roots.len() {
        return Err(Failure::new(format!("Error, no source paths were found: {}", missing.join(", "))));
    }
    let dest = match &args.dest {
        Some(dest) => host.path(dest),
        None if roots.len() == 1 && roots[0].is_file() => PathBuf::from(format!("{}.gz", roots[0].display())),
        None => return Err("Error, must specify \"dest\" when archiving multiple files or trees".into()),
    };
    let single = roots.len() == 1 && roots[0].is_file() && !args.force_archive;
    let exclude: Vec<PathBuf> = args.exclude_path.iter().flatten().map(|p| host.path(p)).collect();
    let mut archived = Vec::new();
    let plain = if single {
        archived.push(Value::from(roots[0].display().to_string()));
        fs::read(&roots[0])?
    } else {
        let mut builder = tar::Builder::new(Vec::new());
        builder.follow_symlinks(false);
        let failed = |e: std::io::Error| Failure::new(format!("cannot write the archive: {e}"));
        for root in roots.iter().filter(|p| p.exists()) {
            // Names are relative to the folder itself when only one folder is given, as in Ansible.
            let base = if root.is_dir() && roots.len() == 1 {
                root.clone()
            } else {
                root.parent().unwrap_or(Path::new("/")).to_path_buf()
            };
            let paths = if root.is_dir() { fs::walk(root)? } else { vec![root.clone()] };
            for path in paths {
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                let out = exclude.iter().any(|e| path.starts_with(e))
                    || args.exclusion_patterns.iter().flatten().any(|p| super::find::wildcard(p, &name));
                if out || path == dest {
                    continue;
                }
                let relative = path.strip_prefix(&base).unwrap_or(&path);
                if path.is_dir() && !path.is_symlink() {
                    builder.append_dir(relative, &path).map_err(failed)?;
                } else if path.is_symlink() || path.is_file() {
                    builder.append_path_with_name(&path, relative).map_err(failed)?;
                    archived.push(Value::from(path.display().to_string()));
                }
            }
        }
        builder.into_inner().map_err(failed)?
    };
    let bytes = if args.format == "gz" {
        // No time and no name in the header: the same files give the same archive.
        let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(&plain).and_then(|()| encoder.finish()).map_err(|e| Failure::new(e.to_string()))?
    } else {
        plain
    };
    let (mut changed, _) = host.replace(&dest, &bytes, &Replace::default())?;
    if dest.exists() {
        changed |= host.attributes(&dest, &args.attributes)?;
    }
    if args.remove {
        for root in &roots {
            changed = true;
            if !host.check {
                fs::remove_all(root)?;
            }
        }
    }
    let outcome = Outcome::changed(changed)
        .with("dest", dest.display().to_string())
        .with("archived", archived)
        .with("missing", Value::strings(missing));
    outcome.fields.extend(&describe(&dest));
    Ok(outcome)
}

module!("archive", "community.general", Args, run);
