//! `archive`: files and folders into an archive (community.general `archive.py`).

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bakery_host::fs;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::{Content, FileAttributes, Replace};
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
    #[arg(default = "gz", choices = "bz2,gz,tar,xz,zip,zstd")]
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
    let given: Vec<PathBuf> = args.path.iter().flat_map(|p| expanded(host, p)).collect();
    let exclude: Vec<PathBuf> = args.exclude_path.iter().flatten().flat_map(|p| expanded(host, p)).collect();
    let mut roots: Vec<PathBuf> = given.iter().filter(|p| !exclude.contains(p)).cloned().collect();
    roots.sort();
    roots.dedup();
    let (there, missing): (Vec<&PathBuf>, Vec<&PathBuf>) =
        roots.iter().partition(|p| p.symlink_metadata().is_ok());
    if roots.is_empty() {
        return Err("Error, no source paths were found".into());
    }
    let folder = roots[0].is_dir();
    let must_archive = args.force_archive || roots.len() > 1 || folder || args.path[0].contains(['*', '?']);
    let dest = match &args.dest {
        Some(dest) => host.path(dest),
        None if !must_archive => PathBuf::from(format!("{}.{}", roots[0].display(), args.format)),
        None => return Err("Error, must specify \"dest\" when archiving multiple files or trees".into()),
    };
    if args.remove && roots.iter().any(|root| root.is_dir() && dest.starts_with(root)) {
        return Err("Error, created archive can not be contained in source paths when remove=true".into());
    }
    let arcroot = common_root(&roots);
    let plan = Plan { args: &args, arcroot: &arcroot, dest: &dest, exclude: &exclude };
    let mut archived: Vec<PathBuf> = Vec::new();
    let mut changed = false;
    let compressed = !must_archive && matches!(args.format.as_str(), "gz" | "bz2" | "xz" | "zstd");
    if there.is_empty() {
        // Nothing to put in: an archive of an earlier run stays as it is.
    } else if host.check {
        changed = must_archive || !dest.is_file();
    } else {
        let folder = dest.parent().unwrap_or(Path::new("/"));
        let mut staged = fs::stage(folder)?;
        if !compressed {
            archived = plan.members(&there)?;
        }
        if args.format == "zip" {
            zip(&plan, &archived, staged.as_file_mut())?;
        } else {
            let mut packer = Packer::new(host, &args.format, staged.as_file())?;
            if compressed {
                archived.push(roots[0].clone());
                std::io::copy(&mut fs::open(&roots[0])?, &mut packer).map_err(failed)?;
            } else {
                tarball(&plan, &archived, &mut packer)?;
            }
            packer.finish()?;
        }
        // The same files give the same bytes: nothing of the time of packing is in them.
        (changed, _) = host.replace_by(&dest, Content::Staged(staged), &Replace::default())?;
        if args.remove {
            for path in archived.iter().chain(roots.iter().filter(|p| p.is_dir())) {
                fs::remove_all(path)?;
            }
        }
    }
    if dest.exists() {
        changed |= host.attributes(&dest, &args.attributes)?;
    }
    let state = match (dest.exists(), compressed, missing.is_empty()) {
        (false, ..) => "absent",
        (true, true, _) => "compress",
        (true, false, true) => "archive",
        (true, false, false) => "incomplete",
    };
    let names = |paths: &[PathBuf]| Value::strings(paths.iter().map(|p| p.display().to_string()));
    Ok(Outcome::changed(changed)
        .with("dest", dest.display().to_string())
        .with("dest_state", state)
        .with("arcroot", format!("{}/", arcroot.display().to_string().trim_end_matches('/')))
        .with("archived", names(&archived))
        .with("missing", Value::strings(missing.iter().map(|p| p.display().to_string())))
        .with("expanded_paths", names(&given))
        .with("expanded_exclude_paths", names(&exclude)))
}

/// The paths that a path with shell patterns in it means; itself without any.
fn expanded(host: &Host, path: &str) -> Vec<PathBuf> {
    let path = host.path(path);
    let text = path.display().to_string();
    if !text.contains(['*', '?']) {
        return vec![path];
    }
    glob::glob(&text).map(|found| found.flatten().collect()).unwrap_or_default()
}

/// The folder that names in the archive start from.
fn common_root(paths: &[PathBuf]) -> PathBuf {
    let mut root = paths[0].parent().unwrap_or(Path::new("/")).to_path_buf();
    while !paths.iter().all(|p| p.starts_with(&root)) {
        root = root.parent().unwrap_or(Path::new("/")).to_path_buf();
    }
    root
}

struct Plan<'a> {
    args: &'a Args,
    arcroot: &'a Path,
    dest: &'a Path,
    exclude: &'a [PathBuf],
}

impl Plan<'_> {
    /// What goes into the archive, in an order that does not depend on the file system.
    fn members(&self, roots: &[&PathBuf]) -> Result<Vec<PathBuf>, Failure> {
        let mut members = Vec::new();
        for root in roots {
            let real_folder = root.is_dir() && !root.is_symlink();
            let inner = if real_folder { fs::walk(root)? } else { vec![(*root).clone()] };
            members.extend(inner.into_iter().filter(|path| {
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                let patterns = self.args.exclusion_patterns.iter().flatten();
                let out = self.exclude.iter().any(|e| path.starts_with(e))
                    || patterns.into_iter().any(|p| super::find::wildcard(p, &name));
                !out && path != self.dest
            }));
        }
        Ok(members)
    }

    fn name(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.arcroot).unwrap_or(path).to_path_buf()
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot write the archive: {error}"))
}

fn tarball(plan: &Plan<'_>, members: &[PathBuf], out: &mut Packer) -> Result<(), Failure> {
    let mut builder = tar::Builder::new(out);
    builder.follow_symlinks(false);
    // Not everybody who unpacks it knows of files with holes.
    builder.sparse(false);
    for path in members {
        if path.is_dir() && !path.is_symlink() {
            builder.append_dir(plan.name(path).join(""), path).map_err(failed)?;
        } else {
            builder.append_path_with_name(path, plan.name(path)).map_err(failed)?;
        }
    }
    builder.finish().map_err(failed)
}

fn zip(plan: &Plan<'_>, members: &[PathBuf], out: &mut File) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let mut writer = zip::ZipWriter::new(out);
    for path in members {
        let meta = fs::metadata(path)?;
        let options = zip::write::SimpleFileOptions::default()
            .unix_permissions(meta.mode() & 0o7777)
            .large_file(meta.len() >= u64::from(u32::MAX));
        let name = plan.name(path).display().to_string();
        if meta.is_dir() {
            writer.add_directory(name, options).map_err(failed)?;
        } else {
            writer.start_file(name, options).map_err(failed)?;
            std::io::copy(&mut fs::open(path)?, &mut writer).map_err(failed)?;
        }
    }
    writer.finish().map(drop).map_err(failed)
}

/// Where an archive is written to, on its way into a file.
enum Packer {
    Plain(File),
    Gzip(flate2::write::GzEncoder<File>),
    /// A program that reads what is written to it, and its name.
    Program(std::process::Child, String),
}

impl Packer {
    fn new(host: &Host, format: &str, file: &File) -> Result<Self, Failure> {
        let file = file.try_clone().map_err(failed)?;
        match format {
            "gz" => {
                // No time and no name in the header.
                let level = flate2::Compression::new(6);
                Ok(Self::Gzip(flate2::GzBuilder::new().mtime(0).write(file, level)))
            }
            "bz2" | "xz" | "zstd" => {
                let program = if format == "bz2" { "bzip2" } else { format };
                let mut cmd = host.cmd(&host.program(program)?).arg("-c");
                cmd.raw().stdin(Stdio::piped()).stdout(file);
                Ok(Self::Program(cmd.spawn()?, program.to_owned()))
            }
            _ => Ok(Self::Plain(file)),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(encoder) => encoder.finish().map(drop).map_err(failed),
            Self::Program(mut child, program) => {
                drop(child.stdin.take());
                let status = child.wait().map_err(failed)?;
                if status.success() { Ok(()) } else { Err(failed(format!("{program} failed: {status}"))) }
            }
        }
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Program(child, _) => child
                .stdin
                .as_mut()
                .map_or(Err(std::io::ErrorKind::BrokenPipe.into()), |pipe| pipe.write(bytes)),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

module!("archive", "community.general", Args, run);
