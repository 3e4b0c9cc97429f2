//! `unarchive`: an archive into a folder. Nothing in an archive is written outside that folder.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use bakery_host::fs;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, describe};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Unpacks an archive (tar, plain or compressed by gzip, bzip2, xz or zstd; zip through unzip).
#[derive(ModuleArgs)]
struct Args {
    /// The archive; on the controller unless `remote_src`; an address is fetched.
    #[arg(required)]
    src: String,
    /// The folder to unpack into.
    #[arg(required)]
    dest: String,
    /// Whether `src` is on the target.
    remote_src: bool,
    /// Whether the archive is on the controller; the opposite of `remote_src`.
    #[arg(default = "true")]
    copy: bool,
    /// A path that, when there, means that nothing needs to be done.
    creates: Option<String>,
    /// Names to leave out.
    exclude: Option<Vec<String>>,
    /// Names to take, nothing else.
    include: Option<Vec<String>>,
    /// More options; `--strip-components=N` is known.
    extra_opts: Option<Vec<String>>,
    /// Whether files that are newer than the archive's are kept.
    keep_newer: bool,
    /// Whether the names are returned.
    list_files: bool,
    /// Whether certificates are checked.
    #[arg(default = "true")]
    validate_certs: bool,
    /// Accepted; decryption is done by the controller.
    #[arg(default = "true")]
    decrypt: bool,
    /// The most bytes to hold at a time.
    #[arg(default = "65536")]
    io_buffer_size: i64,
    /// Used internally: the archive in base64, from the controller.
    #[arg(name = "_data")]
    data: Option<String>,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

fn run(args: Args, host: &mut Host) -> Run {
    let dest = host.path(&args.dest);
    if let Some(creates) = &args.creates
        && super::command::glob_exists(host, creates)
    {
        return Ok(Outcome::unchanged()
            .with("skipped", true)
            .msg(format!("skipped, since {creates} exists")));
    }
    if !dest.is_dir() {
        return Err(Failure::new(format!("dest '{}' must be an existing dir", args.dest)));
    }
    let bytes = match &args.data {
        Some(data) => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(data).map_err(|e| Failure::new(e.to_string()))?
        }
        None if args.src.contains("://") => fs::read(super::get_url::to_temporary(host, &args.src)?)?,
        None => fs::read(host.path(&args.src)).map_err(|e| {
            if e.is_not_found() {
                Failure::new(format!("Source '{}' does not exist", args.src))
            } else {
                e.into()
            }
        })?,
    };
    let strip = args
        .extra_opts
        .iter()
        .flatten()
        .find_map(|o| o.strip_prefix("--strip-components=").or(o.strip_prefix("--strip=")))
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let mut names = Vec::new();
    let changed = if bytes.starts_with(b"PK\x03\x04") {
        zip(host, &bytes, &dest, &args, &mut names)?
    } else {
        untar(host, &args, &bytes, &dest, strip, &mut names)?
    };
    let handler = if bytes.starts_with(b"PK\x03\x04") { "ZipArchive" } else { "TgzArchive" };
    let mut outcome = Outcome::changed(changed)
        .with("dest", dest.display().to_string())
        .with("src", args.src.as_str())
        .with("handler", handler);
    if args.list_files {
        outcome = outcome.with("files", Value::strings(names));
    }
    outcome.fields.extend(&describe(&dest));
    Ok(outcome)
}

/// A decompressor by what the bytes start with.
fn reader<'a>(host: &Host, bytes: &'a [u8]) -> Result<Box<dyn Read + 'a>, Failure> {
    let through = |program: &str| -> Result<Box<dyn Read>, Failure> {
        let output = host
            .cmd(program)
            .arg("-dc")
            .input(bytes)
            .run()
            .map_err(|e| Failure::new(format!("cannot unpack with {program}: {e}")))?;
        Ok(Box::new(std::io::Cursor::new(output.stdout)))
    };
    Ok(match bytes {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        [b'B', b'Z', b'h', ..] => through("bzip2")?,
        [0xfd, b'7', b'z', b'X', b'Z', ..] => through("xz")?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => through("zstd")?,
        _ => Box::new(bytes),
    })
}

/// The path under the folder that an entry is written to, or why it may not be.
fn inside(dest: &Path, name: &Path, strip: usize) -> Result<Option<PathBuf>, Failure> {
    let mut parts = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            _ => {
                return Err(Failure::new(format!(
                    "the archive has an entry outside of itself: {}",
                    name.display()
                )));
            }
        }
    }
    if parts.len() <= strip {
        return Ok(None);
    }
    let path = parts[strip..].iter().fold(dest.to_path_buf(), |path, part| path.join(part));
    // No folder on the way may be a link that leads elsewhere.
    let mut folder = path.parent();
    while let Some(current) = folder.filter(|f| f.starts_with(dest) && *f != dest) {
        if current.is_symlink()
            && !fs::canonicalize(current)
                .is_ok_and(|real| fs::canonicalize(dest).is_ok_and(|d| real.starts_with(d)))
        {
            return Err(Failure::new(format!(
                "the archive writes through a link that leads outside: {}",
                name.display()
            )));
        }
        folder = current.parent();
    }
    Ok(Some(path))
}

fn untar(
    host: &mut Host,
    args: &Args,
    bytes: &[u8],
    dest: &Path,
    strip: usize,
    names: &mut Vec<String>,
) -> Result<bool, Failure> {
    let bad = |e: std::io::Error| {
        Failure::new(format!("Failed to find handler for \"{}\": not a readable archive: {e}", args.src))
    };
    let mut archive = tar::Archive::new(reader(host, bytes)?);
    let mut changed = false;
    let is_root = rustix::process::geteuid().is_root();
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        let name = entry.path().map_err(bad)?.into_owned();
        let text = name.display().to_string();
        let listed = |list: &Option<Vec<String>>| {
            list.as_ref().is_some_and(|l| {
                l.iter().any(|p| {
                    text.trim_start_matches("./").starts_with(p.trim_start_matches("./"))
                        || super::find::wildcard(p, &text)
                })
            })
        };
        if listed(&args.exclude) || (args.include.is_some() && !listed(&args.include)) {
            continue;
        }
        let Some(path) = inside(dest, &name, strip)? else { continue };
        names.push(text.clone());
        let header = entry.header().clone();
        let kind = header.entry_type();
        let mode = header.mode().unwrap_or(0o644) & 0o7777;
        let mut entry_changed = false;
        if kind.is_dir() {
            if !path.is_dir() {
                entry_changed = true;
                if !host.check {
                    fs::create_dir_all(&path)?;
                    fs::chmod(&path, mode)?;
                }
            }
        } else if kind.is_symlink() {
            let target = entry.link_name().map_err(bad)?.unwrap_or_default().into_owned();
            if fs::read_link(&path).ok().as_deref() != Some(&*target) {
                entry_changed = true;
                if !host.check {
                    make_parent(&path)?;
                    fs::remove_all(&path)?;
                    fs::symlink(&target, &path)?;
                }
            }
        } else if kind.is_hard_link() {
            let target = entry.link_name().map_err(bad)?.unwrap_or_default().into_owned();
            let Some(source) = inside(dest, &target, strip)? else { continue };
            let same = fs::read(&source).ok().is_some_and(|a| fs::read(&path).ok() == Some(a));
            if !same {
                entry_changed = true;
                if !host.check {
                    fs::remove_all(&path)?;
                    fs::hard_link(&source, &path)?;
                }
            }
        } else if kind.is_file() || kind.is_contiguous() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(bad)?;
            if host.read_optional(&path).ok().flatten().as_ref() != Some(&content) {
                entry_changed = true;
                if !host.check {
                    make_parent(&path)?;
                    if path.is_symlink() {
                        fs::remove_file(&path)?;
                    }
                    fs::write_atomic_mode(&path, &content, mode)?;
                }
            } else if !host.check {
                fs::chmod(&path, mode)?;
            }
        } else if kind.is_block_special() || kind.is_character_special() || kind.is_fifo() {
            return Err(Failure::new(format!(
                "the archive has a device or pipe, which is not unpacked: {text}"
            )));
        } else {
            continue;
        }
        if !host.check && path.symlink_metadata().is_ok() {
            if entry_changed && is_root && args.attributes.owner.is_none() {
                let (uid, gid) = (header.uid().unwrap_or(0) as u32, header.gid().unwrap_or(0) as u32);
                fs::lchown(&path, Some(uid), Some(gid))?;
            }
            entry_changed |= host.attributes(&path, &args.attributes)?;
        }
        changed |= entry_changed;
    }
    Ok(changed)
}

fn make_parent(path: &Path) -> Result<(), Failure> {
    path.parent().map_or(Ok(()), |folder| fs::create_dir_all(folder).map_err(Into::into))
}

fn zip(
    host: &Host,
    bytes: &[u8],
    dest: &Path,
    args: &Args,
    names: &mut Vec<String>,
) -> Result<bool, Failure> {
    let file = ::tempfile::NamedTempFile::new().map_err(|e| Failure::new(e.to_string()))?;
    fs::write_atomic_mode(file.path(), bytes, 0o600)?;
    let archive = file.path().display().to_string();
    let listed = host.try_run(&["unzip", "-Z1", &archive]).map_err(|f| Failure {
        msg: format!("Unable to find required 'unzip' or 'zipinfo' binary in the path: {}", f.msg),
        ..f
    })?;
    if !listed.success() {
        return Err(Failure::new(format!("unzip cannot read it: {}", listed.error_text())));
    }
    for name in listed.text().lines() {
        inside(dest, Path::new(name), 0)?;
        names.push(name.to_owned());
    }
    let missing = names.iter().any(|n| !dest.join(n).exists());
    if missing && !host.check {
        let folder = dest.display().to_string();
        let mut argv = vec!["unzip", "-o", "-q", &archive];
        argv.extend(args.include.iter().flatten().map(String::as_str));
        argv.extend(["-d", &folder]);
        host.run(&argv)?;
    }
    Ok(missing)
}

module!("unarchive", "ansible.builtin", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_inside() {
        let dest = Path::new("/nonexistent/dest");
        for name in ["/etc/passwd", "../x", "a/../../x"] {
            assert!(inside(dest, Path::new(name), 0).is_err(), "{name}");
        }
        assert_eq!(inside(dest, Path::new("./a/b"), 1).ok().flatten(), Some(dest.join("b")));
    }
}
