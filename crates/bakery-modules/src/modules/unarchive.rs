//! `unarchive`: an archive into a folder. Nothing in an archive is written outside that folder.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Stdio};

use bakery_host::{fs, users};
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, received};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Unpacks an archive (tar, plain or compressed by gzip, bzip2, xz or zstd; zip through unzip).
#[derive(ModuleArgs)]
#[args(exclusive = "include,exclude")]
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
    /// More options: `--strip-components=N`, `--no-same-owner`, and those that say how it is done here anyway. Of zip
    /// archives only the latter.
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
    /// Used internally: the archive's path on the controller, where the module runs beside it.
    #[arg(name = "_path")]
    path: Option<String>,
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
    if !args.dest.starts_with(['/', '~', '$']) {
        let absolute = dest.display();
        host.warn(format!(
            "Relative destination path '{}' was resolved to absolute path '{absolute}'.",
            args.dest
        ));
    }
    if !dest.is_dir() {
        return Err(Failure::new(format!("dest '{}' must be an existing dir", args.dest)));
    }
    let mut archive = match &args.data {
        Some(data) => fs::in_memory(&received(data)?)?,
        None if args.path.is_some() => fs::open(args.path.as_deref().unwrap_or_default())?,
        None if args.src.contains("://") => {
            fs::open(super::get_url::to_temporary(host, &args.src, args.validate_certs)?)?
        }
        None => fs::open(host.path(&args.src)).map_err(|e| {
            if e.is_not_found() {
                Failure::new(format!("Source '{}' does not exist", args.src))
            } else {
                e.into()
            }
        })?,
    };
    let mut start = [0; 4];
    let unreadable = |e: std::io::Error| Failure::new(format!("Source '{}' cannot be read: {e}", args.src));
    let count = archive.rewind().and_then(|()| archive.read(&mut start)).map_err(unreadable)?;
    archive.rewind().map_err(unreadable)?;
    let start = &start[..count];
    let is_zip = start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06");
    let options = Options::read(args.extra_opts.as_deref().unwrap_or_default(), is_zip)?;
    let mut unpacking = Unpacking { host, args: &args, dest: &dest, options, names: vec![], folders: vec![] };
    let changed = if is_zip { unpacking.zip(archive)? } else { unpacking.tar(archive, start)? };
    unpacking.date_folders()?;
    let names = unpacking.names;
    let handler = match start {
        [b'P', b'K', 3, 4] => "ZipArchive",
        // GNU tar finds out about the compression itself; the first handler of Ansible's that succeeds is asked.
        [0x1f, 0x8b, ..] => "TgzArchive",
        _ => "TarArchive",
    };
    let mut changed = changed;
    if !host.check {
        // The whole archive and the folders at its top have the attributes, too.
        let mut paths: Vec<PathBuf> =
            names.iter().map(|name| dest.join(name.trim_start_matches('/'))).collect();
        paths.extend(names.iter().filter_map(|n| n.split_once('/')).map(|(top, _)| dest.join(top)));
        for path in paths.iter().filter(|p| p.symlink_metadata().is_ok()) {
            changed |= host.attributes(path, &args.attributes)?;
        }
    }
    let mut outcome = Outcome::changed(changed)
        .with("dest", dest.display().to_string())
        .with("src", args.src.as_str())
        .with("handler", handler);
    if args.list_files {
        outcome = outcome.with("files", Value::strings(names));
    }
    Ok(outcome)
}

/// What `extra_opts` says.
#[derive(Default)]
struct Options {
    /// How many folders names lose at their start.
    strip: usize,
    /// Whether everything becomes ours.
    no_owner: bool,
}

impl Options {
    /// What says how unpacking is done here anyway, for tar(1) and for unzip(1).
    const USUAL: &[&str] = &[
        "--same-owner",
        "--same-permissions",
        "--preserve-permissions",
        "-p",
        "--overwrite",
        "--sparse",
        "-S",
        "--no-overwrite-dir",
        "--wildcards",
        "--no-acls",
        "--no-selinux",
        "--no-xattrs",
        "--force-local",
        "-v",
        "--verbose",
        "-z",
        "--gzip",
        "-j",
        "--bzip2",
        "-J",
        "--xz",
        "--zstd",
        "-a",
        "--auto-compress",
    ];
    const USUAL_OF_ZIP: &[&str] = &["-o", "-q", "-qq", "-n", "-u"];

    fn read(given: &[String], is_zip: bool) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut words = given.iter().flat_map(|option| option.split_whitespace());
        while let Some(word) = words.next() {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            match name {
                "--strip-components" | "--strip" if !is_zip => {
                    let number = value.or_else(|| words.next()).and_then(|n| n.parse().ok());
                    options.strip = number.ok_or_else(|| Failure::new(format!("{name} wants a number")))?;
                }
                "--no-same-owner" if !is_zip => options.no_owner = true,
                "--warning" if !is_zip => {}
                name if (if is_zip { Self::USUAL_OF_ZIP } else { Self::USUAL }).contains(&name) => {}
                _ => {
                    let program = if is_zip { "unzip" } else { "tar" };
                    return Err(Failure::new(format!(
                        "Unable to list files in the archive: /usr/bin/{program}: unrecognized option '{word}': archives are unpacked without {program} here, and options that would change how are few (bakery doc unarchive)"
                    )));
                }
            }
        }
        Ok(options)
    }
}

/// A decompressor by what the bytes start with.
fn reader(host: &Host, archive: File, start: &[u8]) -> Result<Box<dyn Read>, Failure> {
    let through = |program: &str, archive: File| -> Result<Box<dyn Read>, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::new(format!("cannot unpack with {program}: {e}"));
        let mut cmd = host.cmd(&host.program(program)?).arg("-dc");
        cmd.raw().stdin(archive).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = cmd.spawn().map_err(|e| failed(&e))?;
        Ok(Box::new(Unpacked { child, program: program.to_owned() }))
    };
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(archive))),
        [b'B', b'Z', b'h', ..] => through("bzip2", archive)?,
        [0xfd, b'7', b'z', b'X', ..] => through("xz", archive)?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => through("zstd", archive)?,
        _ => Box::new(BufReader::new(archive)),
    })
}

/// What a program unpacks.
struct Unpacked {
    child: Child,
    program: String,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.child.stdout.as_mut().map_or(Ok(0), |pipe| pipe.read(buffer))?;
        // What was cut off is not taken for the end.
        if count == 0 && !buffer.is_empty() && !self.child.wait()?.success() {
            return Err(std::io::Error::other(format!("{} cannot unpack it", self.program)));
        }
        Ok(count)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path under the folder that an entry is written to, or why it may not be.
fn inside(dest: &Path, name: &Path, strip: usize) -> Result<Option<PathBuf>, Failure> {
    let mut parts = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            // It counts as one that can be stripped.
            Component::CurDir => parts.push(".".as_ref()),
            _ => {
                return Err(Failure::new(format!(
                    "the archive has an entry outside of itself: {}",
                    name.display()
                )));
            }
        }
    }
    if parts.len() <= strip {
        return Ok((strip == 0).then(|| dest.to_path_buf()));
    }
    let kept = parts[strip..].iter().filter(|part| **part != ".");
    let path = kept.fold(dest.to_path_buf(), |path, part| path.join(part));
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

/// One entry of an archive.
struct Entry<'a> {
    name: PathBuf,
    kind: Kind<'a>,
    mode: u32,
    /// The owner and group that it had; archives of some kinds do not say.
    owner: Option<(u32, u32)>,
    /// Seconds since 1970.
    modified: i64,
}

enum Kind<'a> {
    Folder,
    File(&'a mut dyn Read),
    Link(PathBuf),
    Hard(PathBuf),
}

struct Unpacking<'a> {
    host: &'a mut Host,
    args: &'a Args,
    dest: &'a Path,
    options: Options,
    /// The names that were taken.
    names: Vec<String>,
    /// Folders with the dates that they get at the end.
    folders: Vec<(PathBuf, i64)>,
}

impl Unpacking<'_> {
    fn is_wanted(&self, name: &str) -> bool {
        let listed = |list: &[String]| {
            list.iter().any(|p| {
                name.trim_start_matches("./").starts_with(p.trim_start_matches("./"))
                    || super::find::wildcard(p, name)
            })
        };
        !listed(self.args.exclude.as_deref().unwrap_or_default())
            && self.args.include.as_deref().is_none_or(listed)
    }

    /// Brings what is there to what an entry says; whether that was a change. What counts as one is what `tar --diff`
    /// reports: content, mode, owner, date of a file; mode of a folder; target of a link.
    fn put(&mut self, mut entry: Entry<'_>) -> Result<bool, Failure> {
        let text = entry.name.display().to_string();
        if !self.is_wanted(&text) {
            return Ok(false);
        }
        let Some(path) = inside(self.dest, &entry.name, self.options.strip)? else { return Ok(false) };
        self.names.push(if matches!(entry.kind, Kind::Folder) && !text.ends_with('/') {
            text + "/"
        } else {
            text
        });
        let meta = path.symlink_metadata().ok();
        let own = &self.args.attributes;
        let other_mode = meta.as_ref().is_some_and(|m| own.mode.is_none() && m.mode() & 0o7777 != entry.mode);
        if let (Some(meta), true) = (&meta, self.args.keep_newer)
            && !meta.is_dir()
            // One of the same age counts as newer, as GNU tar has it.
            && meta.mtime() >= entry.modified
        {
            // What is kept is another one than the archive's all the same, which Ansible takes for a change every time.
            return match &mut entry.kind {
                Kind::File(content) => Ok(fs::differs(&path, content)?),
                _ => Ok(false),
            };
        }
        let changed = match &mut entry.kind {
            Kind::Folder => {
                let missing = !path.is_dir();
                if missing && !self.host.check {
                    fs::create_dir_all(&path)?;
                }
                missing || other_mode
            }
            Kind::Link(target) => {
                let differs = fs::read_link(&path).ok().as_ref() != Some(target);
                if differs && !self.host.check {
                    make_parent(&path)?;
                    fs::remove_all(&path)?;
                    fs::symlink(target, &path)?;
                }
                differs
            }
            Kind::Hard(target) => {
                let Some(source) = inside(self.dest, target, self.options.strip)? else { return Ok(false) };
                let differs = !fs::same_bytes(&source, &path);
                if differs && !self.host.check {
                    fs::remove_all(&path)?;
                    fs::hard_link(&source, &path)?;
                }
                differs
            }
            Kind::File(content) => {
                let owned = meta.as_ref().is_some_and(|m| {
                    entry.owner.is_none_or(|(uid, gid)| {
                        (own.owner.is_some() || m.uid() == uid) && (own.group.is_some() || m.gid() == gid)
                    })
                });
                let dated = meta.as_ref().is_some_and(|m| m.mtime() == entry.modified);
                let differs = if self.host.check {
                    fs::differs(&path, content)?
                } else {
                    make_parent(&path)?;
                    fs::write_changed(&path, content, fs::Keep::Mode(entry.mode))?
                };
                differs || other_mode || !owned || !dated
            }
        };
        if changed && !self.host.check {
            if let Some((uid, gid)) = entry.owner {
                fs::lchown(&path, Some(uid), Some(gid))?;
            }
            match &entry.kind {
                Kind::Link(_) | Kind::Hard(_) => {}
                Kind::Folder => {
                    fs::chmod(&path, entry.mode)?;
                    self.folders.push((path, entry.modified));
                }
                Kind::File(_) => {
                    fs::chmod(&path, entry.mode)?;
                    fs::set_mtime(&path, entry.modified)?;
                }
            }
        }
        Ok(changed)
    }

    /// Folders get their dates when nothing is written into them any more.
    fn date_folders(&self) -> Result<(), Failure> {
        self.folders.iter().try_for_each(|(path, time)| Ok(fs::set_mtime(path, *time)?))
    }

    fn tar(&mut self, archive: File, start: &[u8]) -> Result<bool, Failure> {
        let src = self.args.src.clone();
        let bad = |e: std::io::Error| {
            Failure::new(format!("Failed to find handler for \"{src}\": not a readable archive: {e}"))
        };
        let mut archive = tar::Archive::new(reader(self.host, archive, start)?);
        let is_root = rustix::process::geteuid().is_root();
        let mut changed = false;
        for entry in archive.entries().map_err(bad)? {
            let mut entry = entry.map_err(bad)?;
            let name = entry.path().map_err(bad)?.into_owned();
            let header = entry.header().clone();
            let kind = header.entry_type();
            let kind = if kind.is_dir() {
                Kind::Folder
            } else if kind.is_symlink() {
                Kind::Link(entry.link_name().map_err(bad)?.unwrap_or_default().into_owned())
            } else if kind.is_hard_link() {
                Kind::Hard(entry.link_name().map_err(bad)?.unwrap_or_default().into_owned())
            } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
                let records = entry.pax_extensions().map_err(bad)?.into_iter().flatten().flatten();
                if records.filter_map(|record| record.key().ok()).any(|key| key.starts_with("GNU.sparse.")) {
                    return Err(Failure::new(format!(
                        "the archive has a file with holes as only GNU tar writes it into a POSIX archive: {}; pack it with --format=gnu",
                        name.display()
                    )));
                }
                Kind::File(&mut entry)
            } else if kind.is_block_special() || kind.is_character_special() || kind.is_fifo() {
                return Err(Failure::new(format!(
                    "the archive has a device or pipe, which is not unpacked: {}",
                    name.display()
                )));
            } else {
                continue;
            };
            // As tar does it: by name where the system knows it, else by number.
            let user = header.username().ok().flatten().and_then(users::find_user).map(|u| u.uid);
            let group = header.groupname().ok().flatten().and_then(users::find_group).map(|g| g.gid);
            let uid = user.unwrap_or_else(|| header.uid().unwrap_or(0) as u32);
            let gid = group.unwrap_or_else(|| header.gid().unwrap_or(0) as u32);
            changed |= self.put(Entry {
                name,
                kind,
                mode: header.mode().unwrap_or(0o644) & 0o7777,
                owner: (is_root && !self.options.no_owner).then_some((uid, gid)),
                modified: header.mtime().unwrap_or(0) as i64,
            })?;
        }
        Ok(changed)
    }

    fn zip(&mut self, archive: File) -> Result<bool, Failure> {
        let src = self.args.src.clone();
        let bad = |e: &dyn std::fmt::Display| {
            Failure::new(format!("Failed to find handler for \"{src}\": not a readable zip archive: {e}"))
        };
        let mut archive = zip::ZipArchive::new(BufReader::new(archive)).map_err(|e| bad(&e))?;
        let mut changed = false;
        for at in 0..archive.len() {
            let mut file = archive.by_index(at).map_err(|e| bad(&e))?;
            let name = PathBuf::from(file.name());
            let mode = file.unix_mode();
            let usual = if file.is_dir() { 0o755 } else { 0o644 };
            let modified = file.last_modified().and_then(local_time).unwrap_or(0);
            let kind = match mode.map(|m| m & 0o170_000) {
                _ if file.is_dir() => Kind::Folder,
                Some(0o120_000) => {
                    let mut target = Vec::new();
                    file.read_to_end(&mut target).map_err(|e| bad(&e))?;
                    Kind::Link(PathBuf::from(String::from_utf8_lossy(&target).into_owned()))
                }
                _ => Kind::File(&mut file),
            };
            let mode = mode.map_or(usual, |m| m & 0o7777);
            changed |= self.put(Entry { name, mode, kind, owner: None, modified })?;
        }
        Ok(changed)
    }
}

/// A zip's time, which is that of some clock on a wall, in two seconds.
fn local_time(time: zip::DateTime) -> Option<i64> {
    let narrow = |n: u8| i8::try_from(n).ok();
    let civil = jiff::civil::DateTime::new(
        i16::try_from(time.year()).ok()?,
        narrow(time.month())?,
        narrow(time.day())?,
        narrow(time.hour())?,
        narrow(time.minute())?,
        narrow(time.second())?,
        0,
    );
    Some(civil.ok()?.to_zoned(jiff::tz::TimeZone::system()).ok()?.timestamp().as_second())
}

fn make_parent(path: &Path) -> Result<(), Failure> {
    path.parent().map_or(Ok(()), |folder| fs::create_dir_all(folder).map_err(Into::into))
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
        // As GNU tar strips them: `.` counts.
        for (name, strip, left) in [("a/b", 1, "b"), ("./a/b", 1, "a/b"), ("./a/b", 2, "b")] {
            assert_eq!(inside(dest, Path::new(name), strip).ok().flatten(), Some(dest.join(left)), "{name}");
        }
        assert_eq!(inside(dest, Path::new("./a"), 2).ok().flatten(), None);
    }
}
