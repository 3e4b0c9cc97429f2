//! `copy` on the target: content or a file that is there already (what the controller sent, or `remote_src`) to a
//! destination. Also what `template` and `assemble` end in.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_macros::ModuleArgs;
use std::os::unix::fs::MetadataExt as _;

use crate::host::{Content, FileAttributes, Replace, received};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run, digests};

/// Puts a file, a folder or given content at a destination.
#[derive(ModuleArgs)]
struct Args {
    /// The source; on the controller unless `remote_src`.
    src: Option<String>,
    /// The content itself.
    content: Option<String>,
    /// Where to put it; ends in `/` for a folder.
    #[arg(required)]
    dest: String,
    /// Whether `src` is on the target.
    remote_src: bool,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// Whether a file that differs is replaced.
    #[arg(default = "true", alias = "thirsty")]
    force: bool,
    /// A command line with `%s` that must accept the new file first.
    validate: Option<String>,
    /// The mode of folders that are made.
    directory_mode: Option<bakery_lang::Value>,
    /// Whether links in the source are copied as links.
    local_follow: Option<bool>,
    /// Whether a link at the destination is followed.
    follow: bool,
    /// SHA-1 that the source must have.
    checksum: Option<String>,
    /// Accepted; decryption is done by the controller.
    #[arg(default = "true")]
    decrypt: bool,
    /// Used internally: content in base64, from the controller.
    #[arg(name = "_data")]
    data: Option<String>,
    /// Used internally: the file of the controller that has the content, where the module runs beside it.
    #[arg(name = "_path")]
    path: Option<String>,
    /// Used internally: the file name of the source.
    #[arg(name = "_original_basename")]
    original_basename: Option<String>,
    /// Used internally: the mode of the source, for `mode: preserve`.
    #[arg(name = "_source_mode")]
    source_mode: Option<i64>,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

fn run(mut args: Args, host: &mut Host) -> Run {
    let mut dest = host.path(&args.dest);
    let source = args.src.as_deref().map(|src| host.path(src));
    if args.data.is_none() && args.path.is_none() && args.content.is_none() {
        let Some(source) = &source else { return Err("src (or content) is required".into()) };
        let meta = fs::metadata(source)
            .map_err(|_| Failure::new(format!("Source {} not found", source.display())))?;
        if meta.is_dir() {
            return copy_folder(&args, host, source, &dest);
        }
        if !meta.is_file() {
            let source = source.display();
            return Err(Failure::new(format!("Cannot copy invalid source '{source}': not a file")));
        }
        args.source_mode = Some(i64::from(meta.mode() & 0o7777));
    }
    let carried = args.path.clone().map(PathBuf::from);
    let content = match (&args.data, &args.content, carried.as_ref().or(source.as_ref())) {
        (Some(data), _, _) => Given::Bytes(received(data)?),
        (None, Some(content), _) => Given::Bytes(content.clone().into_bytes()),
        (None, None, Some(source)) => Given::File(source),
        (None, None, None) => return Err("src (or content) is required".into()),
    };
    if args.attributes.mode.as_ref().and_then(|m| m.as_str()) == Some("preserve") {
        args.attributes.mode = args.source_mode.map(bakery_lang::Value::from);
    }
    if args.dest.ends_with('/') || dest.is_dir() {
        let name = args
            .original_basename
            .clone()
            .or_else(|| source.as_ref().and_then(|s| s.file_name()).map(|n| n.to_string_lossy().into_owned()))
            .ok_or("can not use content with a dir as dest")?;
        if !dest.exists() {
            make_folders(host, &dest, &args)?;
        }
        dest = dest.join(name);
    }
    if args.follow && dest.is_symlink() {
        dest = fs::canonicalize(&dest).unwrap_or(dest);
    }
    let base = |outcome: Outcome| {
        let outcome = outcome.with("dest", dest.display().to_string());
        match &args.src {
            Some(src) => outcome.with("src", src.as_str()),
            None => outcome,
        }
    };
    if dest.exists() && !args.force {
        return Ok(base(Outcome::unchanged()).msg("file already exists"));
    }
    if host.check && !args.remote_src && content.replace(host, &dest, &Replace::default())?.0 {
        return Ok(Outcome::changed(true));
    }
    let [sum, md5] = content.sums()?;
    if let Some(wanted) = args.checksum.as_deref().filter(|wanted| *wanted != sum) {
        return Err(Failure::new("Copied file does not match the expected checksum. Transfer failed.")
            .with("checksum", sum)
            .with("expected_checksum", wanted));
    }
    if let Some(folder) = dest.parent()
        && !folder.is_dir()
    {
        if args.dest.ends_with('/') && host.check {
            let msg = format!("dest directory {} would be created", folder.display());
            return Ok(Outcome::changed(true).msg(msg));
        }
        return Err(Failure::new(format!("Destination directory {} does not exist", folder.display())));
    }
    let how = Replace {
        backup: args.backup,
        validate: args.validate.clone(),
        instead_of_link: true,
        ..Replace::default()
    };
    let (mut changed, backup) = content.replace(host, &dest, &how)?;
    if changed && !host.check && args.remote_src && args.attributes.mode.is_none() {
        // What is copied on the target keeps its mode, as `shutil.copystat` does it.
        args.attributes.mode = args.source_mode.map(bakery_lang::Value::from);
    }
    let outcome = base(Outcome::unchanged()).with("checksum", sum.as_str()).with("md5sum", md5);
    if !changed && !args.remote_src {
        // The module `file` answers for a file that was not copied, with another name for it.
        outcome.fields.set("path", dest.display().to_string());
        outcome.fields.remove("md5sum");
    }
    changed |= host.attributes(&dest, &args.attributes)?;
    outcome.fields.set("changed", changed);
    Ok(match backup {
        Some(backup) => outcome.with("backup_file", backup.display().to_string()),
        None => outcome,
    })
}

/// What is copied: held here, or in a file of any size.
enum Given<'a> {
    Bytes(Vec<u8>),
    File(&'a Path),
}

impl Given<'_> {
    fn replace(
        &self,
        host: &mut Host,
        dest: &Path,
        how: &Replace,
    ) -> Result<(bool, Option<PathBuf>), Failure> {
        match self {
            Self::Bytes(bytes) => host.replace(dest, bytes, how),
            Self::File(path) => host.replace_by(dest, Content::Of(path), how),
        }
    }

    /// SHA-1 and MD5.
    fn sums(&self) -> Result<[String; 2], Failure> {
        let algorithms = ["sha1", "md5"];
        let sums = match self {
            Self::Bytes(bytes) => algorithms.map(|algorithm| digests::hex(algorithm, bytes)),
            Self::File(path) => digests::of_file(path, algorithms)?,
        };
        Ok(sums.map(Option::unwrap_or_default))
    }
}

fn make_folders(host: &mut Host, folder: &Path, args: &Args) -> Result<(), Failure> {
    if host.check {
        return Ok(());
    }
    let missing: Vec<PathBuf> =
        folder.ancestors().take_while(|p| !p.exists()).map(Path::to_path_buf).collect();
    fs::create_dir_all(folder)?;
    let attributes = FileAttributes { mode: args.directory_mode.clone(), ..args.attributes.clone() };
    for folder in missing.iter().rev() {
        host.attributes(folder, &attributes)?;
    }
    Ok(())
}

/// `src: dir/` copies what is in the folder, `src: dir` the folder itself. Modes are those of the sources, the owner is
/// that of all that is there afterwards, and the other attributes are the destination's alone (`copy_directory`).
fn copy_folder(args: &Args, host: &mut Host, source: &Path, dest: &Path) -> Run {
    let contents_only = args.src.as_deref().is_some_and(|s| s.ends_with('/'));
    let root =
        if contents_only { dest.to_path_buf() } else { dest.join(source.file_name().unwrap_or_default()) };
    let mut changed = false;
    if args.dest.ends_with('/') && !dest.exists() {
        if host.check {
            let msg = format!("dest directory {} would be created", args.dest.trim_end_matches('/'));
            return Ok(Outcome::changed(true).msg(msg).with("src", args.src.clone().unwrap_or_default()));
        }
        make_folders(host, dest, args)?;
        changed = true;
    }
    let named = if dest.is_dir() {
        dest.join(super::file::base_name(args.src.as_deref().unwrap_or_default()))
    } else {
        dest.to_path_buf()
    };
    let owner = FileAttributes {
        owner: args.attributes.owner.clone(),
        group: args.attributes.group.clone(),
        ..FileAttributes::default()
    };
    let mut all = vec![source.to_path_buf()];
    all.extend(fs::walk(source)?);
    let follow_links = args.local_follow == Some(true);
    for path in all {
        let target = root.join(path.strip_prefix(source).unwrap_or(&path));
        let meta = if follow_links { fs::metadata(&path)? } else { fs::symlink_metadata(&path)? };
        let mode = FileAttributes::of_mode(meta.mode() & 0o7777);
        if meta.is_dir() {
            if !target.is_dir() {
                changed = true;
                if !host.check {
                    fs::create_dir_all(&target)?;
                    host.attributes(&target, &mode)?;
                }
            }
        } else if meta.is_symlink() {
            let link = fs::read_link(&path)?;
            if fs::read_link(&target).ok().as_ref() != Some(&link) {
                changed = true;
                if !host.check {
                    fs::remove_all(&target)?;
                    fs::symlink(&link, &target)?;
                }
            }
        } else {
            if target.exists() && !args.force {
                continue;
            }
            let (differs, _) = host.replace_by(&target, Content::Of(&path), &Replace::default())?;
            if differs && !host.check {
                host.attributes(&target, &mode)?;
            }
            changed |= differs;
        }
        if target.symlink_metadata().is_ok() {
            changed |= host.attributes(&target, &owner)?;
        }
    }
    changed |= host.attributes(&named, &args.attributes)?;
    let outcome = Outcome::changed(changed).with("dest", named.display().to_string());
    Ok(outcome.with("src", args.src.clone().unwrap_or_default()))
}

module!("copy", "ansible.builtin", Args, run);
