//! The only door from modules to the system: changes made through it honour check mode and record diffs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bakery_host::{Cmd, Output, fs, users};
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use base64::Engine as _;
use rustix::fs::{Mode, OFlags};
use std::os::unix::fs::MetadataExt as _;

use crate::Failure;

/// When a module runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// On a running machine.
    #[default]
    Live,
    /// While an image is made: nothing runs yet, so what concerns running things is written down for its boot.
    Bake,
}

/// The system that a module works on.
#[derive(Debug, Default)]
pub struct Host {
    /// Whether nothing may be changed.
    pub check: bool,
    /// Whether diffs are wanted.
    pub diff: bool,
    /// When this is.
    pub phase: Phase,
    /// The task's environment.
    pub environment: Vec<(String, String)>,
    /// Whether the module runs in the background, where nobody reads what it prints.
    pub in_background: bool,
    /// Whether a file that cannot be replaced is written in place (`unsafe_writes`).
    pub unsafe_writes: bool,
    /// The folder that relative paths start from.
    pub cwd: Option<PathBuf>,
    diffs: Vec<Value>,
    left_to_boot: Vec<String>,
    warnings: Vec<String>,
    scratch: std::sync::OnceLock<tempfile::TempDir>,
}

/// Permissions and ownership, as most file modules take them.
#[derive(Debug, Clone, Default, ModuleArgs)]
pub struct FileAttributes {
    /// Permissions: octal (`0644`), symbolic (`u=rw,g=r`) or `preserve`.
    pub mode: Option<Value>,
    /// The owner's name or number.
    pub owner: Option<String>,
    /// The group's name or number.
    pub group: Option<String>,
    /// Flags as chattr(1) takes them.
    #[arg(alias = "attr")]
    pub attributes: Option<String>,
    /// SELinux level; applied where SELinux is on.
    pub selevel: Option<String>,
    /// SELinux role.
    pub serole: Option<String>,
    /// SELinux type.
    pub setype: Option<String>,
    /// SELinux user.
    pub seuser: Option<String>,
    /// Whether the file may be written in place where it cannot be replaced.
    pub unsafe_writes: bool,
}

/// How a file's content is replaced.
#[derive(Debug, Clone, Default)]
pub struct Replace {
    /// Whether a dated copy of the old file is kept.
    pub backup: bool,
    /// A command line with `%s` that must accept the new file first.
    pub validate: Option<String>,
    /// Whether a link is replaced by a file; else the file that it leads to is.
    pub instead_of_link: bool,
    /// Whether it is for its owner alone: a new file is made so, and no diff shows it.
    pub secret: bool,
}

/// From how many bytes on a content is not shown as a difference, nor held as a whole.
const SHOWN: u64 = 1 << 20;

/// A file with a new content for another one.
#[derive(Debug)]
pub enum Content<'a> {
    /// One that stays.
    Of(&'a Path),
    /// One that may take the other's place: it was made in that one's folder.
    Staged(tempfile::NamedTempFile),
}

impl Replace {
    /// The path that is written to, and whether that is a link which goes.
    fn place(&self, path: &Path) -> (PathBuf, bool) {
        let instead = self.instead_of_link && path.is_symlink();
        match fs::canonicalize(path) {
            Ok(real) if !instead => (real, false),
            _ => (path.to_path_buf(), instead),
        }
    }
}

impl FileAttributes {
    /// A mode, and nothing else.
    pub fn of_mode(mode: impl Into<Value>) -> Self {
        Self { mode: Some(mode.into()), ..Self::default() }
    }
}

/// What the controller sent along, from base64.
///
/// # Errors
/// When it is none.
pub fn received(data: &str) -> Result<Vec<u8>, Failure> {
    base64::engine::general_purpose::STANDARD
        .decode(data)
        .map_err(|e| Failure::new(format!("the content did not arrive whole: {e}")))
}

impl Host {
    /// A diff to show, unless diffs are not wanted.
    pub fn record_diff(&mut self, path: &Path, before: &[u8], after: &[u8]) {
        if !self.diff {
            return;
        }
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) if (bytes.len() as u64) < SHOWN => text.to_owned(),
            _ => "(the content is binary or large)\n".to_owned(),
        };
        let name = path.display().to_string();
        self.diffs.push(Value::map([
            ("before_header", Value::from(name.as_str())),
            ("after_header", Value::from(name)),
            ("before", text(before).into()),
            ("after", text(after).into()),
        ]));
    }

    pub(crate) fn take_diffs(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.diffs)
    }

    /// Notes work that only the booted machine can do; shown in the result.
    pub fn leave_to_boot(&mut self, what: impl Into<String>) {
        self.left_to_boot.push(what.into());
    }

    pub(crate) fn take_left_to_boot(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_to_boot)
    }

    /// Notes something that the user should know.
    pub fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(what.into());
    }

    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// A new folder for files that are of no use when the module has ended: it goes then.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn scratch(&self) -> Result<PathBuf, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("no folder for temporary files: {error}"));
        if self.scratch.get().is_none() {
            let _ = self.scratch.set(tempfile::tempdir().map_err(failed)?);
        }
        let all = self.scratch.get().map_or(Path::new(""), tempfile::TempDir::path);
        Ok(tempfile::tempdir_in(all).map_err(failed)?.keep())
    }

    pub(crate) fn clear_scratch(&mut self) {
        self.scratch.take();
    }

    /// A text with the values of `$NAME` and `${NAME}`, as Python's `expandvars`; what is not set stays as it is.
    pub fn expand(&self, word: &str) -> String {
        let lookup = |name: &str| {
            let own = self.environment.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.clone());
            own.or_else(|| std::env::var(name).ok())
        };
        let mut out = String::new();
        let mut rest = word;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            let braced = tail.starts_with('{');
            let body = tail.trim_start_matches('{');
            let length = body.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(body.len());
            let name = &body[..length];
            let end = at + 1 + if braced { length + 2 } else { length };
            match lookup(name) {
                Some(value) if !name.is_empty() => out.push_str(&value),
                _ => out.push_str(&rest[at..end.min(rest.len())]),
            }
            rest = &rest[end.min(rest.len())..];
        }
        out.push_str(rest);
        out
    }

    /// An absolute path; `~` is the home folder, and `$NAME` a variable's value.
    pub fn path(&self, path: &str) -> PathBuf {
        let path = &self.expand(path);
        let expanded = match path.strip_prefix('~') {
            Some(rest) => {
                let (name, tail) = rest.split_once('/').unwrap_or((rest, ""));
                let home = if name.is_empty() {
                    std::env::var("HOME").ok().or_else(|| {
                        users::find_user(&rustix::process::geteuid().as_raw().to_string()).map(|u| u.home)
                    })
                } else {
                    users::find_user(name).map(|u| u.home)
                };
                match home {
                    Some(home) if tail.is_empty() => PathBuf::from(home),
                    Some(home) => Path::new(&home).join(tail),
                    None => PathBuf::from(path),
                }
            }
            None => PathBuf::from(path),
        };
        match &self.cwd {
            // No path leads nowhere, not to the folder that one is in: who removes it removes nothing.
            Some(cwd) if expanded.is_relative() && !expanded.as_os_str().is_empty() => cwd.join(expanded),
            _ => expanded,
        }
    }

    /// A program with the task's environment.
    pub fn cmd(&self, program: &str) -> Cmd {
        let mut cmd = Cmd::new(program).envs(self.environment.iter().map(|(k, v)| (k.into(), v.into())));
        if let Some(cwd) = &self.cwd
            && cwd.is_dir()
        {
            cmd = cmd.current_dir(cwd);
        }
        cmd
    }

    /// The path of a program that the module cannot do without.
    ///
    /// # Errors
    /// Names the program that is not on `PATH`.
    pub fn program(&self, name: &str) -> Result<String, Failure> {
        match bakery_host::command::find_program(name) {
            Some(path) => Ok(path.display().to_string()),
            None => Err(Failure::new(format!("Failed to find required executable \"{name}\""))),
        }
    }

    /// Runs a program of the system and fails with what it said unless its exit code is zero.
    ///
    /// # Errors
    /// With `rc`, `stdout` and `stderr`.
    pub fn run<S: AsRef<str>>(&self, argv: &[S]) -> Result<Output, Failure> {
        let output = self.try_run(argv)?;
        if output.success() {
            return Ok(output);
        }
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let said = if output.stderr.is_empty() { output.text() } else { output.error_text() };
        Err(Failure::new(format!("'{}' failed: {}", argv.join(" "), said.trim())).with_output(&output))
    }

    /// Runs a program of the system, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn try_run<S: AsRef<str>>(&self, argv: &[S]) -> Result<Output, Failure> {
        let (program, args) = argv.split_first().ok_or("no command given")?;
        Ok(self
            .cmd(program.as_ref())
            .env("LC_ALL", "C.UTF-8")
            // Programs in Python look here first.
            .env("LANGUAGE", "C.UTF-8")
            .args(args.iter().map(AsRef::as_ref))
            .timeout(Duration::from_hours(1))
            .output()?)
    }

    /// The content of a file, or nothing when it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_optional(&self, path: &Path) -> Result<Option<Vec<u8>>, Failure> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file this content, whole or not at all; whether that is a change. The backup's path is returned.
    ///
    /// # Errors
    /// When it cannot be written, or the validation refuses it.
    pub fn replace(
        &mut self,
        path: &Path,
        content: &[u8],
        how: &Replace,
    ) -> Result<(bool, Option<PathBuf>), Failure> {
        let (path, instead) = &how.place(path);
        let instead = *instead;
        let before = self.read_optional(path)?;
        let existed = before.is_some();
        if before.as_deref() == Some(content) && !instead {
            return Ok((false, None));
        }
        if !how.secret {
            self.record_diff(path, before.as_deref().unwrap_or_default(), content);
        }
        if self.check {
            return Ok((true, None));
        }
        if let Some(command) = &how.validate {
            self.validate(command, path, content)?;
        }
        let backup = match &before {
            Some(_) if how.backup => Some(Self::back_up(path)?),
            _ => None,
        };
        let written = match before {
            Some(_) if !instead => fs::write_atomic(path, content),
            _ if how.secret => fs::write_atomic_mode(path, content, 0o600),
            _ => fs::write_new(path, content),
        };
        match written {
            Err(_) if self.unsafe_writes && existed && !instead => {
                fs::write_in_place(path, &mut &*content)?;
            }
            written => written?,
        }
        Ok((true, backup))
    }

    /// The same with a file that has the content, of any size: nothing but a piece of it is held at a time.
    ///
    /// # Errors
    /// As for [`Host::replace`].
    pub fn replace_by(
        &mut self,
        path: &Path,
        content: Content<'_>,
        how: &Replace,
    ) -> Result<(bool, Option<PathBuf>), Failure> {
        let source = match &content {
            Content::Of(path) => (*path).to_path_buf(),
            Content::Staged(file) => file.path().to_path_buf(),
        };
        if fs::metadata(&source)?.len() < SHOWN {
            return self.replace(path, &fs::read(&source)?, how);
        }
        let (path, instead) = &how.place(path);
        let is_kept = path.is_file() && !instead;
        if is_kept && !fs::differs(path, &mut fs::open(&source)?)? {
            return Ok((false, None));
        }
        if !how.secret {
            let large = [0xff];
            self.record_diff(path, if path.exists() { &large } else { &[] }, &large);
        }
        if self.check {
            return Ok((true, None));
        }
        if let Some(command) = &how.validate {
            self.validated(command, &source)?;
        }
        let backup = if path.exists() && how.backup { Some(Self::back_up(path)?) } else { None };
        let keep = match (is_kept, how.secret) {
            (true, _) => fs::Keep::All,
            (false, true) => fs::Keep::Mode(0o600),
            (false, false) => fs::Keep::Nothing,
        };
        let written = match content {
            Content::Staged(file) if !(self.unsafe_writes && is_kept) => fs::write_staged(path, file, keep),
            _ => fs::write_from(path, &mut fs::open(&source)?, keep),
        };
        match written {
            Err(_) if self.unsafe_writes && is_kept => {
                fs::write_in_place(path, &mut fs::open(&source)?)?;
            }
            written => written?,
        }
        Ok((true, backup))
    }

    /// Makes a dated copy of a file, and says where it is.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn back_up(path: &Path) -> Result<PathBuf, Failure> {
        let stamp = jiff::Zoned::now().strftime("%Y-%m-%d@%H:%M:%S~").to_string();
        let copy = PathBuf::from(format!("{}.{}.{stamp}", path.display(), std::process::id()));
        fs::copy_whole(path, &copy)?;
        Ok(copy)
    }

    fn validate(&self, command: &str, path: &Path, content: &[u8]) -> Result<(), Failure> {
        let folder = tempfile::tempdir().map_err(|e| Failure::new(e.to_string()))?;
        let file = folder.path().join(path.file_name().unwrap_or("content".as_ref()));
        fs::write_atomic_mode(&file, content, 0o600)?;
        self.validated(command, &file)
    }

    /// Runs the command that must accept a file.
    fn validated(&self, command: &str, file: &Path) -> Result<(), Failure> {
        if !command.contains("%s") {
            return Err(Failure::new(format!("validate must contain %s: {command}")));
        }
        let line = command.replace("%s", &file.display().to_string());
        let output = self.try_run(&["/bin/sh", "-c", &line])?;
        if output.success() {
            return Ok(());
        }
        Err(Failure::new("failed to validate")
            .with("exit_status", output.code)
            .with("stdout", output.text())
            .with("stderr", output.error_text()))
    }

    /// Gives a path this mode and owner; whether that is a change.
    ///
    /// # Errors
    /// For an unknown user, group or mode.
    pub fn attributes(&mut self, path: &Path, wanted: &FileAttributes) -> Result<bool, Failure> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.is_not_found() && self.check => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let mut changed = false;
        let uid = wanted.owner.as_deref().map(owner_id).transpose()?;
        let gid = wanted.group.as_deref().map(group_id).transpose()?;
        let owner = uid.filter(|uid| *uid != meta.uid());
        let group = gid.filter(|gid| *gid != meta.gid());
        if owner.is_some() || group.is_some() {
            changed = true;
            if !self.check {
                fs::lchown(path, owner, group)?;
            }
        }
        if let Some(mode) = wanted.mode.as_ref().filter(|m| m.as_str() != Some("preserve"))
            && !meta.file_type().is_symlink()
        {
            let now = fs::symlink_metadata(path)?.mode() & 0o7777;
            let mode = parse_mode(mode, now, meta.is_dir())?;
            if mode != now {
                changed = true;
                if !self.check {
                    self.chmod(path, mode)?;
                }
            }
        }
        if let Some(flags) = &wanted.attributes
            && !self.check
            && self.phase == Phase::Live
            && meta.is_file()
        {
            let flags = if flags.starts_with(['+', '-', '=']) { flags.clone() } else { format!("={flags}") };
            self.run(&["chattr", flags.as_str(), &path.display().to_string()])?;
        }
        Ok(changed)
    }

    /// Sets the mode through a file descriptor of the very object, so that no link can be slipped in between.
    fn chmod(&self, path: &Path, mode: u32) -> Result<(), Failure> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
                .map_err(|e| Failure::new(format!("cannot change the mode of `{}`: {e}", path.display()))),
            Err(_) => Ok(fs::chmod(path, mode)?),
        }
    }
}

fn owner_id(name: &str) -> Result<u32, Failure> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    users::find_user(name)
        .map(|u| u.uid)
        .ok_or_else(|| Failure::new(format!("chown failed: failed to look up user {name}")))
}

fn group_id(name: &str) -> Result<u32, Failure> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    users::find_group(name)
        .map(|g| g.gid)
        .ok_or_else(|| Failure::new(format!("chgrp failed: failed to look up group {name}")))
}

/// The permission bits that a `mode` argument asks for, from the bits that are there.
///
/// # Errors
/// When it is neither octal nor symbolic.
pub fn parse_mode(mode: &Value, now: u32, is_dir: bool) -> Result<u32, Failure> {
    if let Some(number) = mode.as_int() {
        return Ok(number as u32 & 0o7777);
    }
    let text = mode.to_string();
    if let Ok(octal) = u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        return Ok(octal & 0o7777);
    }
    let mut bits = now & 0o7777;
    for clause in text.split(',') {
        let bad = || {
            Failure::new("mode must be in octal or symbolic form")
                .with("details", format!("bad symbolic permission for mode: {clause}"))
        };
        let is_operator = |c: char| matches!(c, '=' | '+' | '-');
        let split = clause.find(is_operator).ok_or_else(bad)?;
        // Without anybody all are meant, but for what the process's mask keeps from them.
        let (who, mask) = match &clause[..split] {
            "" => ("ugo", umask()),
            "a" => ("ugo", 0),
            who => (who, 0),
        };
        let mut rest = &clause[split..];
        while let Some(operator) = rest.chars().next() {
            let end = rest[1..].find(is_operator).map_or(rest.len(), |at| at + 1);
            let permissions = &rest[1..end];
            rest = &rest[end..];
            for who in who.chars() {
                let (shift, special) = match who {
                    'u' => (6, 0o4000),
                    'g' => (3, 0o2000),
                    'o' => (0, 0o1000),
                    _ => return Err(bad()),
                };
                let mut set = 0;
                for permission in permissions.chars() {
                    set |= match permission {
                        'r' => 4 << shift & !mask,
                        'w' => 2 << shift & !mask,
                        'x' => 1 << shift & !mask,
                        'X' => u32::from(is_dir || bits & 0o111 != 0) << shift,
                        's' if who != 'o' => special,
                        't' if who == 'o' => special,
                        's' | 't' => 0,
                        'u' => ((bits >> 6) & 7) << shift,
                        'g' => ((bits >> 3) & 7) << shift,
                        'o' => (bits & 7) << shift,
                        _ => return Err(bad()),
                    };
                }
                bits = match operator {
                    '+' => bits | set,
                    '-' => bits & !set,
                    _ => bits & !(7 << shift | special) | set,
                };
            }
        }
    }
    Ok(bits & 0o7777)
}

/// The process's mask for new files, which the kernel tells without changing it.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022)
}

/// The facts about a path that file modules return: owner, group, mode, size, state.
pub fn describe(path: &Path) -> Map {
    let map = Map::new();
    let Ok(meta) = fs::symlink_metadata(path) else {
        map.set("state", "absent");
        return map;
    };
    let name = |found: Option<String>, id: u32| found.unwrap_or_else(|| id.to_string());
    map.set("uid", meta.uid());
    map.set("gid", meta.gid());
    map.set("owner", name(users::find_user(&meta.uid().to_string()).map(|u| u.name), meta.uid()));
    map.set("group", name(users::find_group(&meta.gid().to_string()).map(|g| g.name), meta.gid()));
    map.set("mode", format!("0{:03o}", meta.mode() & 0o7777));
    map.set("size", meta.size());
    let kind = meta.file_type();
    let state = if kind.is_symlink() {
        "link"
    } else if kind.is_dir() {
        "directory"
    } else if meta.nlink() > 1 {
        "hard"
    } else {
        "file"
    };
    map.set("state", state);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_octal_and_symbolic() {
        for (mode, now, is_dir, expected) in [
            ("0644", 0, false, 0o644),
            ("u=rwx,g=rx,o=", 0o777, false, 0o750),
            ("a+X", 0o640, true, 0o751),
            ("u+s", 0o755, false, 0o4755),
            ("g-w,o-rwx", 0o666, false, 0o640),
            ("u=rwX,g=rX", 0o604, false, 0o644),
        ] {
            assert_eq!(parse_mode(&mode.into(), now, is_dir).ok(), Some(expected), "{mode}");
        }
        assert_eq!(parse_mode(&Value::Int(0o755), 0, false).ok(), Some(0o755));
        assert!(parse_mode(&"rwx?".into(), 0, false).is_err());
    }
}
