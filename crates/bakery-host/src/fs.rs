//! File access whose errors name the path, and writes that are whole or not at all.
#![allow(clippy::disallowed_methods, reason = "this is the one place that may call std::fs")]

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// A result whose error names a path or a command.
pub type Result<T> = std::result::Result<T, Error>;

/// What could not be done, with what, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`: {source}", path.display())]
pub struct Error {
    /// A verb, such as `read`.
    pub action: &'static str,
    /// The path or command line.
    pub path: PathBuf,
    /// The system's reason.
    pub source: std::io::Error,
}

impl Error {
    /// An error about a path.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self { action, path: path.into(), source }
    }

    /// Whether the cause is that the path does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::NotFound
    }

    /// The cause alone, in the system's words, such as `Permission denied`.
    pub fn reason(&self) -> String {
        let text = self.source.to_string();
        text.split(" (os error").next().unwrap_or_default().to_owned()
    }
}

/// Attaches a verb and a path to a system error.
pub trait At<T> {
    /// Attaches them.
    ///
    /// # Errors
    /// The same, with the path.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::new(action, path.as_ref(), source))
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::new(action, path.as_ref(), source.into()))
    }
}

/// A file without a name, in memory: for what a program may read and nobody may find.
pub fn in_memory(bytes: &[u8]) -> Result<std::fs::File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file: std::fs::File = rustix::fs::memfd_create("bakery", flags).at("create", "memory")?.into();
    file.write_all(bytes).at("write", "memory")?;
    Ok(file)
}

/// Where programs of the same user find an open file.
pub fn path_of(file: &std::fs::File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

/// The bytes of a file.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    std::fs::read(&path).at("read", path)
}

/// The first bytes of a file, at most `count`.
pub fn read_start(path: impl AsRef<Path>, count: u64) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    let file = std::fs::File::open(&path).at("open", &path)?;
    file.take(count).read_to_end(&mut start).at("read", path)?;
    Ok(start)
}

/// The text of a file, with anything that is no UTF-8 replaced.
pub fn read_to_string(path: impl AsRef<Path>) -> Result<String> {
    read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Held by whoever writes a file, and alone by whoever starts a program: between fork and exec the new process holds every
/// file that is open here, and the kernel runs no program that is open for writing ("text file busy").
pub(crate) static WRITING: RwLock<()> = RwLock::new(());

fn writing() -> RwLockReadGuard<'static, ()> {
    WRITING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a whole file through a temporary one in the same folder, then renames it, keeping mode, owner, ACL and other
/// attributes of a file that is there already. Killed at any point, the old or the new content is there, with them. A pipe
/// or a device such as `/dev/null` is written to: nothing takes its place.
pub fn write_atomic(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    let path = path.as_ref();
    write_from(path, &mut bytes.as_ref(), Keep::All)
}

/// What becomes of a file's attributes when it gets another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// They stay; a new file is made with mode 0644.
    All,
    /// A new file as programs make it, with what the process's mask leaves of `rw` for all.
    Nothing,
    /// A new file with a mode.
    Mode(u32),
}

/// Gives a file what a reader gives, unless it has that already; whether it was another content. Of any size: nothing but
/// a piece of it is held at a time. Killed at any point, the old or the new content is there.
pub fn write_changed(path: impl AsRef<Path>, new: &mut dyn std::io::Read, keep: Keep) -> Result<bool> {
    let path = path.as_ref();
    let Some(Difference { equal, piece }) = difference(path, new)? else { return Ok(false) };
    let rest = std::io::Cursor::new(piece).chain(new);
    // What was found to be the same is taken from the old file, for the reader has given it away.
    match equal {
        0 => write_from(path, &mut { rest }, keep)?,
        _ => write_from(path, &mut open(path)?.take(equal).chain(rest), keep)?,
    }
    Ok(true)
}

/// Gives a file what a reader gives, of any size and in a moment.
pub fn write_from(path: impl AsRef<Path>, new: &mut dyn std::io::Read, keep: Keep) -> Result<()> {
    let path = path.as_ref();
    let (mode, existing) = keep.of(path);
    replace(path, new, mode, existing.as_ref())
}

/// A file in a folder, for its owner alone, that is to take another one's place in that folder; it goes when it is dropped.
pub fn stage(folder: impl AsRef<Path>) -> Result<tempfile::NamedTempFile> {
    let folder = folder.as_ref();
    scratch(Path::new("staged"), folder, 0o600).at("write into", folder)
}

/// Lets a file that was written in the same folder take another one's place, in a moment.
pub fn write_staged(path: impl AsRef<Path>, staged: tempfile::NamedTempFile, keep: Keep) -> Result<()> {
    let path = path.as_ref();
    if takes_nothing_in_its_place(path) {
        return write_from(path, &mut open(staged.path())?, keep);
    }
    let (mode, existing) = keep.of(path);
    // As programs make it: what the process's mask leaves of `rw` for all.
    let mode = mode.unwrap_or_else(|| 0o666 & !umask());
    let _open = writing();
    settle(staged, path, Some(mode), existing.as_ref())
}

/// The process's mask, which can only be asked for by setting it; the kernel tells it, too.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022)
}

impl Keep {
    /// The mode that a new file gets, unless that is left to the process's mask, and the old one whose attributes stay.
    fn of(self, path: &Path) -> (Option<u32>, Option<std::fs::Metadata>) {
        match self {
            Self::All => {
                let existing = std::fs::metadata(path).ok();
                (Some(existing.as_ref().map_or(0o644, |m| m.mode() & 0o7777)), existing)
            }
            Self::Nothing => (None, None),
            Self::Mode(mode) => (Some(mode), None),
        }
    }
}

/// Whether a file has what a reader gives, which is read to where it differs.
pub fn differs(path: impl AsRef<Path>, new: &mut dyn std::io::Read) -> Result<bool> {
    Ok(difference(path.as_ref(), new)?.is_some())
}

/// Where a file and a reader differ: so many bytes are equal, then the reader gave a piece that is not.
struct Difference {
    equal: u64,
    piece: Vec<u8>,
}

fn difference(path: &Path, new: &mut dyn std::io::Read) -> Result<Option<Difference>> {
    const PIECE: usize = 256 << 10;
    // Neither a pipe nor a device is read; what is no file is another content in any case.
    let mut old = std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file())
        .then(|| std::fs::File::open(path))
        .transpose()
        .at("open", path)?;
    let mut equal = 0;
    let (mut piece, mut held) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let count = fill(new, &mut piece).at("read the new content of", path)?;
        let same = match &mut old {
            Some(old) => {
                let there = fill(old, &mut held[..count.max(1)]).at("read", path)?;
                there == count && held[..there] == piece[..count]
            }
            None => false,
        };
        if !same {
            piece.truncate(count);
            return Ok(Some(Difference { equal, piece }));
        }
        if count == 0 {
            return Ok(None);
        }
        equal += count as u64;
    }
}

/// Reads until a buffer is full or nothing is left; how much was read.
fn fill(from: &mut dyn std::io::Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match from.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// The same for a file as programs make it: with what the process's mask leaves of `rw` for all, and nothing kept of an
/// old one.
pub fn write_new(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    write_from(path, &mut bytes.as_ref(), Keep::Nothing)
}

/// Writes over a file that is there, where it cannot be replaced: the mount of one file, or a folder that cannot be written.
/// Killed in the middle, half of it is there.
pub fn write_in_place(path: impl AsRef<Path>, new: &mut dyn std::io::Read) -> Result<()> {
    let path = path.as_ref();
    let _open = writing();
    let mut file = std::fs::File::options().write(true).truncate(true).open(path).at("open", path)?;
    std::io::copy(new, &mut file).and_then(|_| file.sync_all()).at("write", path)
}

/// The same with a mode for the new file, and nothing kept of an old one.
pub fn write_atomic_mode(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    write_from(path, &mut bytes.as_ref(), Keep::Mode(mode))
}

/// The same for what can be made again: nobody waits until it is on the disk, so a power cut may leave it empty.
pub fn write_lightly(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    let path = path.as_ref();
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _open = writing();
    let mut file = scratch(path, folder, 0o600).at("write", path)?;
    file.write_all(bytes.as_ref()).at("write", path)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).at("change the mode of", path)?;
    file.persist(path).map_err(|error| Error::new("write", path, error.error))?;
    Ok(())
}

/// Without a mode, the new file has what the process's mask leaves of `rw` for all.
fn replace(
    path: &Path,
    new: &mut dyn std::io::Read,
    mode: Option<u32>,
    like: Option<&std::fs::Metadata>,
) -> Result<()> {
    if takes_nothing_in_its_place(path) {
        let mut file = std::fs::File::options().write(true).open(path).at("open", path)?;
        return std::io::copy(new, &mut file).map(drop).at("write", path);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _open = writing();
    let mut file = scratch(path, folder, if mode.is_some() { 0o600 } else { 0o666 }).at("write", path)?;
    std::io::copy(new, &mut file).at("write", path)?;
    settle(file, path, mode, like)
}

/// Whether a path is a pipe or a device such as `/dev/null`, which is written to.
fn takes_nothing_in_its_place(path: &Path) -> bool {
    let kind = std::fs::symlink_metadata(path).map(|m| m.file_type());
    kind.is_ok_and(|kind| kind.is_char_device() || kind.is_fifo())
}

/// Gives a file its attributes and then its name.
fn settle(
    file: tempfile::NamedTempFile,
    path: &Path,
    mode: Option<u32>,
    like: Option<&std::fs::Metadata>,
) -> Result<()> {
    if let Some(like) = like {
        match std::os::unix::fs::fchown(file.as_file(), Some(like.uid()), Some(like.gid())) {
            // Who may replace another one's file becomes its owner, as in Ansible.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            done => done.at("change the owner of", path)?,
        }
    }
    // After the owner: changing that takes the set-uid bit.
    if let Some(mode) = mode {
        let permissions = std::fs::Permissions::from_mode(mode);
        file.as_file().set_permissions(permissions).at("change the mode of", path)?;
    }
    if like.is_some() {
        copy_attributes(path, file.as_file());
    }
    file.as_file().sync_all().at("write", path)?;
    file.persist(path).map_err(|error| Error::new("write", path, error.error))?;
    Ok(())
}

/// How many may write the same file at a time under names that are found again.
const WRITERS: usize = 4;

/// A file beside another one, to be renamed over it. It has names of its own for each file: what somebody left who was
/// killed is found by whoever writes that file next, and removed. Who writes holds a lock on it.
fn scratch(path: &Path, folder: &Path, mode: u32) -> std::io::Result<tempfile::NamedTempFile> {
    use rustix::fs::{FlockOperation, flock};
    use std::os::unix::fs::OpenOptionsExt as _;
    let name = |number: usize| {
        let mut name = std::ffi::OsString::from(".bakery-");
        name.push(path.file_name().unwrap_or_default());
        if number > 0 {
            name.push(format!(".{number}"));
        }
        folder.join(name)
    };
    let mut options = std::fs::File::options();
    options.read(true).write(true).create_new(true).mode(mode);
    for number in 0..WRITERS {
        let own = name(number);
        let mut opened = options.open(&own);
        let is_there = matches!(&opened, Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists);
        if is_there && is_left_behind(&own) {
            std::fs::remove_file(&own)?;
            opened = options.open(&own);
        }
        match opened {
            Ok(file) => {
                // Where a file system has no locks, nobody takes the file for one that was left.
                let _ = flock(&file, FlockOperation::LockExclusive);
                // Others were at it once, too, and may have been killed.
                for further in (number + 1..WRITERS).map(name).filter(|name| is_left_behind(name)) {
                    let _ = std::fs::remove_file(&further);
                }
                let kept = tempfile::TempPath::try_from_path(&own)?;
                return Ok(tempfile::NamedTempFile::from_parts(file, kept));
            }
            // Somebody is at it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            // The name is too long: any other name does.
            Err(_) => break,
        }
    }
    let mut others = tempfile::Builder::new();
    others.prefix(".bakery-").permissions(std::fs::Permissions::from_mode(mode)).tempfile_in(folder)
}

/// Whether a file is ours, nobody writes it any more, and it is this very one: not what somebody else put here, and not
/// what has got its name meanwhile.
fn is_left_behind(name: &Path) -> bool {
    use rustix::fs::{FlockOperation, flock};
    use std::os::unix::fs::OpenOptionsExt as _;
    let Ok(file) =
        std::fs::File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(name)
    else {
        return false;
    };
    let (Ok(held), Ok(named)) = (file.metadata(), std::fs::symlink_metadata(name)) else { return false };
    let is_old = held.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() >= 1));
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        && held.is_file()
        && held.uid() == crate::users::effective_uid()
        && held.nlink() == 1
        && (held.dev(), held.ino()) == (named.dev(), named.ino())
        && is_old
}

/// Gives a file the extended attributes of another one: ACLs, SELinux's context, a user's own.
fn copy_attributes(from: &Path, to: &std::fs::File) {
    let mut names = vec![0u8; 64 << 10];
    // A file system without attributes has none to keep, and those of others than us cannot be set.
    let Ok(length) = rustix::fs::listxattr(from, &mut names) else { return };
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let Ok(name) = std::ffi::CString::new(name) else { continue };
        let mut value = vec![0u8; 64 << 10];
        if let Ok(length) = rustix::fs::getxattr(from, &name, &mut value) {
            let _ = rustix::fs::fsetxattr(to, &name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
}

/// Makes a folder and those above it.
pub fn create_dir_all(path: impl AsRef<Path>) -> Result<()> {
    std::fs::create_dir_all(&path).at("create", path)
}

/// Makes a folder that only its owner can enter.
pub fn create_private_dir(path: impl AsRef<Path>) -> Result<()> {
    create_dir_all(&path)?;
    chmod(path, 0o700)
}

/// Makes a folder and those above it; those that were not there only their owner can enter.
pub fn create_private_dirs(path: impl AsRef<Path>) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).at("create", path)
}

/// Makes an empty file; whether it was not there before.
pub fn create_new(path: impl AsRef<Path>) -> Result<bool> {
    match std::fs::File::create_new(&path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).at("create", path),
    }
}

/// Creates a file that must not be there, with a mode that the umask is taken from.
pub fn create_new_with(path: impl AsRef<Path>, mode: u32) -> Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(path.as_ref()).at("create", path)
}

/// Whether a folder itself, not a link to it, belongs to this process's user.
pub fn is_ours(path: impl AsRef<Path>) -> bool {
    let meta = std::fs::symlink_metadata(path);
    meta.is_ok_and(|meta| meta.is_dir() && meta.uid() == crate::users::effective_uid())
}

/// Sets the permission bits.
pub fn chmod(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).at("change the mode of", path)
}

/// Sets owner and group of what the path names, not of what a link points to.
pub fn lchown(path: impl AsRef<Path>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    std::os::unix::fs::lchown(&path, uid, gid).at("change the owner of", path)
}

/// Removes a file or a link.
pub fn remove_file(path: impl AsRef<Path>) -> Result<()> {
    std::fs::remove_file(&path).at("remove", path)
}

/// Removes a file or a tree, and is content when nothing is there.
pub fn remove_all(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let result = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}

/// Moves a path within a file system.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    std::fs::rename(&from, &to).at("move", from)
}

/// Exchanges two paths of a file system in one step (`RENAME_EXCHANGE` in renameat2(2)).
pub fn exchange(one: impl AsRef<Path>, other: impl AsRef<Path>) -> Result<()> {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, one.as_ref(), rustix::fs::CWD, other.as_ref(), flags)
        .map_err(std::io::Error::from)
        .at("exchange", one)
}

/// Copies a file's bytes and mode.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    std::fs::copy(&from, &to).map(|_| ()).at("copy", from)
}

/// Copies a file with its mode, owner and times.
pub fn copy_whole(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let meta = metadata(from)?;
    std::fs::copy(from, to).at("copy", from)?;
    std::os::unix::fs::chown(to, Some(meta.uid()), Some(meta.gid())).at("change the owner of", to)?;
    std::fs::set_permissions(to, meta.permissions()).at("change the mode of", to)?;
    let times = std::fs::FileTimes::new()
        .set_accessed(meta.accessed().at("look at", from)?)
        .set_modified(meta.modified().at("look at", from)?);
    let file = std::fs::File::options().append(true).open(to).at("open", to)?;
    file.set_times(times).at("set the times of", to)
}

/// Makes a symbolic link.
pub fn symlink(target: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
    std::os::unix::fs::symlink(target, &link).at("link", link)
}

/// Makes a hard link.
pub fn hard_link(source: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
    std::fs::hard_link(source, &link).at("link", link)
}

/// Where a symbolic link points.
pub fn read_link(path: impl AsRef<Path>) -> Result<PathBuf> {
    std::fs::read_link(&path).at("read the link", path)
}

/// Meta-data of what the path names, links not followed.
pub fn symlink_metadata(path: impl AsRef<Path>) -> Result<std::fs::Metadata> {
    std::fs::symlink_metadata(&path).at("look at", path)
}

/// Meta-data, links followed.
pub fn metadata(path: impl AsRef<Path>) -> Result<std::fs::Metadata> {
    std::fs::metadata(&path).at("look at", path)
}

/// The absolute path without links.
pub fn canonicalize(path: impl AsRef<Path>) -> Result<PathBuf> {
    std::fs::canonicalize(&path).at("find", path)
}

/// The entries of a folder, sorted by name.
pub fn read_dir(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let mut entries = read_dir_unsorted(path)?;
    entries.sort();
    Ok(entries)
}

/// The entries of a folder in the order that the file system has them in.
pub fn read_dir_unsorted(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let path = path.as_ref();
    std::fs::read_dir(path)
        .at("list", path)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<_>>()
        .at("list", path)
}

/// Opens a file for reading.
pub fn open(path: impl AsRef<Path>) -> Result<std::fs::File> {
    std::fs::File::open(&path).at("open", path)
}

/// Creates or truncates a file.
pub fn create(path: impl AsRef<Path>) -> Result<std::fs::File> {
    std::fs::File::create(&path).at("create", path)
}

/// Opens a file for reading and writing.
pub fn open_rw(path: impl AsRef<Path>) -> Result<std::fs::File> {
    std::fs::OpenOptions::new().read(true).write(true).open(&path).at("open", path)
}

/// Opens a file for appending, creating it.
pub fn append(path: impl AsRef<Path>) -> Result<std::fs::File> {
    std::fs::OpenOptions::new().create(true).append(true).open(&path).at("open", path)
}

/// Whether two files hold the same bytes; not if one cannot be read.
pub fn same_bytes(one: impl AsRef<Path>, other: impl AsRef<Path>) -> bool {
    let (Ok(mut one), Ok(mut other)) = (std::fs::File::open(one), std::fs::File::open(other)) else {
        return false;
    };
    let (mut left, mut right) = (vec![0u8; 1 << 16], vec![0u8; 1 << 16]);
    loop {
        let Ok(length) = one.read(&mut left) else { return false };
        if length == 0 {
            return matches!(other.read(&mut right), Ok(0));
        }
        if other.read_exact(&mut right[..length]).is_err() || left[..length] != right[..length] {
            return false;
        }
    }
}

/// Makes what hides a path of the layers below in an overlay's delta.
pub fn make_whiteout(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::empty(), 0).at("hide", path)
}

/// Marks a folder of an overlay's delta, so that nothing that the layers below have in it is seen.
pub fn set_opaque(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let name = format!("{}opaque", overlay_notes());
    rustix::fs::lsetxattr(path, name, b"y", rustix::fs::XattrFlags::empty()).at("mark", path)
}

/// The attribute of a folder of an overlay's delta that hides what the layers below have in it.
pub const OPAQUE: &str = "trusted.overlay.opaque";

/// What the names of an overlay's notes begin with. Without the system's root it takes them among the attributes of users
/// (`userxattr` in the kernel's documentation).
fn overlay_notes() -> &'static str {
    if crate::namespace::is_own_root() { "user.overlay." } else { "trusted.overlay." }
}

/// The name that a note of the overlay has with the system's root; nothing if the attribute is a file's own.
pub fn overlay_attribute(name: &str) -> Option<String> {
    name.strip_prefix(overlay_notes()).map(|note| format!("trusted.overlay.{note}"))
}

/// Whether a folder of an overlay's delta hides what the layers below have in it.
///
/// # Errors
/// When its attributes cannot be read.
pub fn is_opaque(path: impl AsRef<Path>) -> Result<bool> {
    Ok(xattrs(path)?.iter().any(|(name, _)| overlay_attribute(name).as_deref() == Some(OPAQUE)))
}

/// Sets the time of change of a path itself, in seconds since 1970.
pub fn set_mtime(path: impl AsRef<Path>, seconds: i64) -> Result<()> {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path.as_ref(), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .at("set the time of", path.as_ref())
}

/// The extended attributes of a path itself, sorted by name.
pub fn xattrs(path: impl AsRef<Path>) -> Result<Vec<(String, Vec<u8>)>> {
    let path = path.as_ref();
    let io = |e: rustix::io::Errno| Error::new("read the attributes of", path, e.into());
    let mut names = vec![0u8; 4096];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(io(error)),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).map_err(io)?;
        value.truncate(length);
        found.push((String::from_utf8_lossy(name).into_owned(), value));
    }
    found.sort();
    Ok(found)
}

/// The stretches of a file that have data, as start and length in bytes; what is between them was never written.
///
/// # Errors
/// When the file cannot be read.
pub fn data_of(path: impl AsRef<Path>) -> Result<Vec<(u64, u64)>> {
    use rustix::fs::SeekFrom;
    let path = path.as_ref();
    let file = open(path)?;
    let (mut out, mut at) = (Vec::new(), 0);
    loop {
        match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(start) => {
                at = rustix::fs::seek(&file, SeekFrom::Hole(start)).at("look for holes in", path)?;
                out.push((start, at - start));
            }
            // Nothing is behind it.
            Err(rustix::io::Errno::NXIO) => return Ok(out),
            Err(error) => return Err(error).at("look for data in", path),
        }
    }
}

/// Every path under a folder, parents before children, sorted; links are not followed.
pub fn walk(root: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let mut pending = vec![root.as_ref().to_path_buf()];
    while let Some(folder) = pending.pop() {
        let mut folders = Vec::new();
        for path in read_dir(&folder)? {
            if symlink_metadata(&path)?.is_dir() {
                folders.push(path.clone());
            }
            out.push(path);
        }
        pending.extend(folders.into_iter().rev());
    }
    out.sort();
    Ok(out)
}

/// Sets the kernel's host name.
pub fn set_hostname(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).at("set the host name to", name)
}

/// Flushes everything to disk.
pub fn sync() {
    rustix::fs::sync();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree may hold the layers of somebody else's overlay, whose notes are content.
    #[test]
    fn notes_of_other_overlays_are_attributes_like_others() {
        let both = ["trusted.overlay.opaque", "user.overlay.opaque"].map(overlay_attribute);
        assert_eq!(both.iter().flatten().collect::<Vec<_>>(), [OPAQUE]);
        assert_eq!(overlay_attribute("user.note"), None);
    }

    /// Wherever the two begin to differ, before, at or after the end of a piece: the file has what the reader gave.
    #[test]
    fn a_file_gets_what_a_reader_gives_if_that_is_another_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        let long: Vec<u8> = (0..600_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        let at = |at: usize| {
            let mut other = long.clone();
            other[at] ^= 0xff;
            other
        };
        let end = 256 << 10;
        for new in
            [at(0), at(end - 1), at(end), at(2 * end), at(long.len() - 1), long[..end].to_vec(), vec![]]
        {
            for (before, after) in [(&long, &new), (&new, &long)] {
                std::fs::write(&file, before).expect("written");
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("set");
                assert!(differs(&file, &mut after.as_slice()).expect("read"));
                assert!(!differs(&file, &mut before.as_slice()).expect("read"));
                assert!(write_changed(&file, &mut after.as_slice(), Keep::All).expect("written"));
                assert_eq!(&std::fs::read(&file).expect("read"), after);
                assert!(!write_changed(&file, &mut after.as_slice(), Keep::Nothing).expect("compared"));
                assert_eq!(metadata(&file).expect("there").mode() & 0o777, 0o640);
            }
        }
        // What is no file has another content in any case, and a reader that breaks leaves the old one.
        let link = folder.path().join("link");
        symlink("/dev/zero", &link).expect("made");
        assert!(write_changed(&link, &mut long.as_slice(), Keep::Mode(0o600)).expect("written"));
        assert!(link.symlink_metadata().expect("there").is_file());
        struct Broken;
        impl std::io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("broken"))
            }
        }
        let mut broken = std::io::Read::chain(&long[..1000], Broken);
        std::fs::write(&file, "old").expect("written");
        assert!(write_changed(&file, &mut broken, Keep::All).is_err());
        assert_eq!(std::fs::read(&file).expect("read"), b"old");
        assert_eq!(read_dir(folder.path()).expect("read").len(), 2);
    }

    #[test]
    fn a_pipe_is_written_to_and_stays_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).expect("a pipe");
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || read(pipe)
        });
        write_atomic(&pipe, "through").expect("written");
        assert_eq!(reader.join().expect("ends").expect("read"), b"through");
        assert!(symlink_metadata(&pipe).expect("there").file_type().is_fifo());
    }

    #[test]
    fn what_others_put_in_the_place_of_a_scratch_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        // A pipe that nobody writes to would hold up whoever opens it.
        let pipe = folder.path().join(".bakery-f");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rustix::fs::Mode::from_bits_retain(0o600), 0)
            .unwrap();
        write_atomic(&path, "one").unwrap();
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
        std::fs::remove_file(&pipe).unwrap();
        std::os::unix::fs::symlink("elsewhere", &pipe).unwrap();
        write_atomic(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert!(pipe.is_symlink());
        assert!(!folder.path().join("elsewhere").exists());
    }
}
