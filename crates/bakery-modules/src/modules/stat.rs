//! `stat`: everything about a path.

use bakery_host::{fs, users};
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use crate::registry::module;
use crate::{Host, Outcome, Run, digests};

/// Returns everything about a path, in `stat`.
#[derive(ModuleArgs)]
struct Args {
    /// The path.
    #[arg(required, alias = "dest,name")]
    path: String,
    /// Whether a link is followed.
    follow: bool,
    /// Whether a checksum of a file's content is returned.
    #[arg(default = "true")]
    get_checksum: bool,
    /// The checksum's kind.
    #[arg(
        default = "sha1",
        alias = "checksum,checksum_algo",
        choices = "md5,sha1,sha224,sha256,sha384,sha512"
    )]
    checksum_algorithm: String,
    /// Whether the MIME type is returned; asks file(1).
    #[arg(default = "true", alias = "mime,mime_type,mime-type")]
    get_mime: bool,
    /// Whether the flags of lsattr(1) are returned.
    #[arg(default = "true", alias = "attr,attributes")]
    get_attributes: bool,
    /// Accepted and without meaning.
    get_md5: bool,
    /// Accepted and without meaning.
    get_selinux_context: bool,
}

/// What `stat` and `find` both say of a path.
pub(super) fn about(meta: &std::fs::Metadata) -> Map {
    let kind = meta.file_type();
    let mode = meta.mode();
    let bit = |bit: u32| mode & bit != 0;
    let time = |seconds: i64, nanos: i64| seconds as f64 + nanos as f64 / 1e9;
    let pairs: Vec<(&str, Value)> = vec![
        ("mode", format!("{:04o}", mode & 0o7777).into()),
        ("isdir", kind.is_dir().into()),
        ("ischr", kind.is_char_device().into()),
        ("isblk", kind.is_block_device().into()),
        ("isreg", kind.is_file().into()),
        ("isfifo", kind.is_fifo().into()),
        ("islnk", kind.is_symlink().into()),
        ("issock", kind.is_socket().into()),
        ("uid", meta.uid().into()),
        ("gid", meta.gid().into()),
        ("size", meta.size().into()),
        ("inode", meta.ino().into()),
        ("dev", meta.dev().into()),
        ("nlink", meta.nlink().into()),
        ("atime", time(meta.atime(), meta.atime_nsec()).into()),
        ("mtime", time(meta.mtime(), meta.mtime_nsec()).into()),
        ("ctime", time(meta.ctime(), meta.ctime_nsec()).into()),
        ("wusr", bit(0o200).into()),
        ("rusr", bit(0o400).into()),
        ("xusr", bit(0o100).into()),
        ("wgrp", bit(0o020).into()),
        ("rgrp", bit(0o040).into()),
        ("xgrp", bit(0o010).into()),
        ("woth", bit(0o002).into()),
        ("roth", bit(0o004).into()),
        ("xoth", bit(0o001).into()),
        ("isuid", bit(0o4000).into()),
        ("isgid", bit(0o2000).into()),
    ];
    let map = Map::from_iter(pairs);
    if let Some(user) = users::find_user(&meta.uid().to_string()) {
        map.set("pw_name", user.name);
    }
    if let Some(group) = users::find_group(&meta.gid().to_string()) {
        map.set("gr_name", group.name);
    }
    map
}

/// The flags that lsattr(1) shows, in its order, with Ansible's names (`FILE_ATTRIBUTES` in `basic.py`).
fn flags(path: &std::path::Path) -> Vec<(char, &'static str)> {
    use rustix::fs::IFlags;
    let open = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, open, rustix::fs::Mode::empty()) else { return vec![] };
    let set = rustix::fs::ioctl_getflags(&file).unwrap_or(IFlags::empty());
    let known: [(u32, char, &'static str); 17] = [
        (0x1, 's', "zero"),
        (0x2, 'u', "undelete"),
        (0x8, 'S', "synchronous"),
        (0x10000, 'D', "dirsync"),
        (0x10, 'i', "immutable"),
        (0x20, 'a', "append"),
        (0x40, 'd', "nodump"),
        (0x80, 'A', "noatime"),
        (0x4, 'c', "compressed"),
        (0x800, 'E', "encrypted"),
        (0x4000, 'j', "journalled"),
        (0x1000, 'I', "indexed"),
        (0x8000, 't', "notail"),
        (0x20000, 'T', "blockroot"),
        (0x80000, 'e', "extents"),
        (0x0080_0000, 'C', "nocow"),
        (0x1000_0000, 'N', "inline"),
    ];
    known.iter().filter(|(bit, ..)| set.bits() & bit != 0).map(|(_, letter, name)| (*letter, *name)).collect()
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.path);
    let meta = if args.follow { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
    let stat = Map::new();
    let meta = match meta {
        Ok(meta) => meta,
        Err(error) if error.is_not_found() => {
            stat.set("exists", false);
            return Ok(Outcome::unchanged().with("stat", stat));
        }
        Err(error) => return Err(error.into()),
    };
    let kind = meta.file_type();
    let access = |access| rustix::fs::access(&path, access).is_ok();
    stat.set("exists", true);
    stat.set("path", if args.path.starts_with('~') { path.display().to_string() } else { args.path.clone() });
    stat.extend(&about(&meta));
    stat.set("blocks", meta.blocks());
    stat.set("block_size", meta.blksize());
    stat.set("device_type", meta.rdev());
    stat.set("readable", access(rustix::fs::Access::READ_OK));
    stat.set("writeable", access(rustix::fs::Access::WRITE_OK));
    stat.set("executable", access(rustix::fs::Access::EXEC_OK));
    if args.get_attributes {
        let flags = if kind.is_file() || kind.is_dir() { flags(&path) } else { vec![] };
        stat.set("attr_flags", flags.iter().map(|(letter, _)| *letter).collect::<String>());
        stat.set("attributes", Value::strings(flags.iter().map(|(_, name)| *name)));
    }
    if kind.is_symlink() {
        let target = fs::read_link(&path)?;
        stat.set("lnk_target", target.display().to_string());
        stat.set(
            "lnk_source",
            fs::canonicalize(&path).unwrap_or_else(|_| path.with_file_name(&target)).display().to_string(),
        );
    }
    if kind.is_file() && args.get_checksum {
        let [sum] = digests::of_file(&path, [&args.checksum_algorithm])?;
        stat.set("checksum", sum);
    }
    if args.get_mime {
        let path = path.display().to_string();
        let mut said = None;
        if bakery_host::command::find_program("file").is_some() {
            let output =
                host.try_run(&["file", "--mime-type", "--mime-encoding", "--brief", path.as_str()])?;
            said = output.text().trim().split_once("; charset=").map(|(m, c)| (m.to_owned(), c.to_owned()));
        }
        let (mime, charset) = said.unwrap_or_else(|| ("unknown".into(), "unknown".into()));
        stat.set("mimetype", mime);
        stat.set("charset", charset);
    }
    Ok(Outcome::unchanged().with("stat", stat))
}

module!("stat", "ansible.builtin", Args, run);
