//! A root file system of its own for a program: fresh mount, process, host name and IPC namespaces, a minimal /dev,
//! and no capability that reaches the host (devices, modules, mounts, clock, reboot).
//!
//! The helper process that [`enter`] runs in is started by [`command`]; it becomes the parent of the namespace's
//! first process, so that whatever was started inside ends with it.
#![allow(unsafe_code)]

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind,
    mount_bind_recursive, mount_change, mount_remount, move_mount, open_tree,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::Cmd;
use crate::cgroup::{Groups, Limits};
use crate::fs::{At as _, Result, create_dir_all, read_to_string, symlink, write_atomic};
use crate::namespace::is_own_root;

/// The hidden verb under which a program calls [`enter`].
pub const VERB: &str = "internal-sandbox";

/// Variables that are the same inside: proxies, and the date of builds that must come out the same anywhere.
const PASSED: [&str; 7] =
    ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SOURCE_DATE_EPOCH"];

/// What the inside looks like.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// The folder that becomes `/`.
    pub root: PathBuf,
    /// Folders of the host to show inside at the same path, read-only.
    pub binds: Vec<PathBuf>,
    /// Files of the host to show inside at another path, read-only.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The working folder inside.
    pub cwd: PathBuf,
    /// The host name inside.
    pub hostname: String,
    /// How much may be taken inside.
    pub limits: Limits,
}

impl Sandbox {
    /// The command that runs `program args` inside, through this program's hidden verb, with an environment of its own:
    /// nothing of the host's but its proxies.
    pub fn command(&self, program: &str, args: &[String]) -> Result<Cmd> {
        let exe = std::env::current_exe().at("find", "this program")?;
        let mut cmd = Cmd::new(exe).arg(VERB).arg("--root").arg(&self.root);
        for bind in &self.binds {
            cmd = cmd.arg("--bind").arg(bind);
        }
        for (from, to) in &self.files {
            cmd = cmd.arg("--file").arg(format!("{}={}", from.display(), to.display()));
        }
        cmd = cmd.arg("--cwd").arg(&self.cwd).arg("--hostname").arg(&self.hostname);
        for (name, limit) in [("--memory", self.limits.memory), ("--processes", self.limits.processes)] {
            if let Some(limit) = limit {
                cmd = cmd.arg(name).arg(limit.to_string());
            }
        }
        cmd = cmd.arg("--").arg(program).args(args).env_clear();
        for (name, value) in [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
            ("DEBIAN_FRONTEND", "noninteractive"),
        ] {
            cmd = cmd.env(name, value);
        }
        for name in PASSED {
            if let Ok(value) = std::env::var(name) {
                cmd = cmd.env(name, value);
            }
        }
        Ok(cmd)
    }

    /// Reads the arguments that [`Sandbox::command`] wrote.
    pub fn from_args(args: &[String]) -> Option<(Self, Vec<String>)> {
        let mut sandbox = Self {
            root: PathBuf::new(),
            binds: vec![],
            files: vec![],
            cwd: "/".into(),
            hostname: "localhost".into(),
            limits: Limits::default(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--root" => sandbox.root = args.next()?.into(),
                "--bind" => sandbox.binds.push(args.next()?.into()),
                "--file" => {
                    let (from, to) = args.next()?.split_once('=')?;
                    sandbox.files.push((from.into(), to.into()));
                }
                "--cwd" => sandbox.cwd = args.next()?.into(),
                "--hostname" => sandbox.hostname = args.next()?.clone(),
                "--memory" => sandbox.limits.memory = args.next()?.parse().ok(),
                "--processes" => sandbox.limits.processes = args.next()?.parse().ok(),
                "--" => return Some((sandbox, args.cloned().collect())),
                _ => return None,
            }
        }
        None
    }
}

/// Something of the host's that is to be seen inside, held until its place there is known.
struct Shown {
    tree: OwnedFd,
    inside: PathBuf,
    is_dir: bool,
    writable: bool,
}

fn hold(from: &Path, inside: impl Into<PathBuf>, writable: bool) -> Result<Shown> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, from, flags).at("show", from)?;
    Ok(Shown { tree, inside: inside.into(), is_dir: from.is_dir(), writable })
}

/// Puts it where a path leads inside; called when `/` is the inside already, so that no link leads out.
fn show(shown: &Shown) -> Result<()> {
    let mut inside = shown.inside.clone();
    // The place behind a link is made, not the link replaced: a package's own link stays.
    for _ in 0..8 {
        let Ok(target) = crate::fs::read_link(&inside) else { break };
        inside = inside.parent().unwrap_or(Path::new("/")).join(target);
    }
    if shown.is_dir {
        create_dir_all(&inside)?;
    } else {
        if let Some(folder) = inside.parent() {
            create_dir_all(folder)?;
        }
        if !inside.exists() {
            write_atomic(&inside, "")?;
        }
    }
    move_mount(&shown.tree, "", CWD, &inside, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("show", &inside)?;
    if !shown.writable {
        read_only(&inside).at("make read-only", &inside)?;
    }
    Ok(())
}

/// Makes a mount read-only. What else it does not allow stays so: who is root of a user namespace only may not take that
/// back (mount_namespaces(7)), and must say it again.
fn read_only(path: &Path) -> rustix::io::Result<()> {
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    let has = rustix::fs::statvfs(path)?.f_flag;
    for (there, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if has.contains(there) {
            flags |= flag;
        }
    }
    mount_remount(path, flags, c"")
}

/// Carries out the hidden verb: enters the namespaces, runs the program as their first process, and gives its exit
/// code.
pub fn enter(sandbox: &Sandbox, program: &[String]) -> Result<i32> {
    // An image does not depend on the mask of whoever bakes it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let groups = Groups::enter(sandbox.limits)?;
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC;
    // SAFETY: no memory or file descriptors are unshared; the process has one thread.
    unsafe { unshare_unsafe(flags) }.at("make namespaces for", &sandbox.root)?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).at("make private", "/")?;
    rustix::system::sethostname(sandbox.hostname.as_bytes()).at("set the host name in", &sandbox.root)?;
    let mut shown = Vec::new();
    for node in ["null", "zero", "full", "random", "urandom", "tty"] {
        let path = Path::new("/dev").join(node);
        shown.push(hold(&path, &path, true)?);
    }
    if is_own_root() {
        // The kernel gives a new view of processes to who has one already; it lies below the new one.
        shown.push(hold(Path::new("/proc"), "/proc", true)?);
    }
    for bind in &sandbox.binds {
        shown.push(hold(bind, bind, false)?);
    }
    for (from, to) in &sandbox.files {
        shown.push(hold(from, to, false)?);
    }
    let root = &sandbox.root;
    mount_bind_recursive(root, root).at("bind", root)?;
    rustix::process::chdir(root).at("enter", root)?;
    rustix::process::pivot_root(".", ".").at("enter", root)?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).at("leave the host for", root)?;
    rustix::process::chdir("/").at("enter", root)?;
    let tmpfs = |path: &str, options: &std::ffi::CStr| -> Result<()> {
        create_dir_all(path)?;
        mount("tmpfs", path, "tmpfs", MountFlags::NOSUID, Some(options)).at("mount", path)
    };
    tmpfs("/dev", c"mode=755,size=1m")?;
    for (target, link) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ] {
        symlink(target, Path::new("/dev").join(link))?;
    }
    create_dir_all("/dev/pts")?;
    mount(
        "devpts",
        "/dev/pts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"newinstance,ptmxmode=0666,mode=620"),
    )
    .at("mount", "/dev/pts")?;
    tmpfs("/dev/shm", c"mode=1777")?;
    create_dir_all("/proc")?;
    create_dir_all("/run/lock")?;
    for one in &shown {
        show(one)?;
    }
    let code = run_inside(sandbox, program);
    groups.leave();
    code
}

#[allow(clippy::disallowed_methods, reason = "needs its own steps between fork and exec")]
fn run_inside(sandbox: &Sandbox, program: &[String]) -> Result<i32> {
    let Some((name, args)) = program.split_first() else { return Ok(2) };
    let mut command = std::process::Command::new(name);
    command.args(args);
    let cwd = sandbox.cwd.clone();
    let step = move || -> std::io::Result<()> {
        // The first process of the namespace: kill it when the helper dies, and all inside die with it.
        // SAFETY: plain prctl.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        mount(
            "proc",
            "/proc",
            "proc",
            MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV,
            None::<&std::ffi::CStr>,
        )?;
        // What reaches the running kernel is read-only or out of sight.
        for part in ["sys", "sysrq-trigger", "irq", "bus"] {
            let path = Path::new("/proc").join(part);
            if path.exists() {
                mount_bind(&path, &path)?;
                read_only(&path)?;
            }
        }
        for part in ["kcore", "keys", "timer_list"] {
            let path = Path::new("/proc").join(part);
            if path.exists() {
                mount_bind("/dev/null", &path)?;
            }
        }
        rustix::process::chdir(&cwd).or_else(|_| rustix::process::chdir("/"))?;
        drop_capabilities()
    };
    // SAFETY: the helper has one thread, so allocating between fork and exec is sound.
    unsafe { command.pre_exec(step) };
    let mut child = command.spawn().at("run", PathBuf::from(name))?;
    let status = child.wait().at("run", PathBuf::from(name))?;
    Ok(status.code().unwrap_or(137))
}

/// What package scripts and playbooks need; everything else (devices, modules, mounts, raw I/O, clock, reboot,
/// tracing, network set-up …) is dropped for good.
const KEPT: &[u32] = &[
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    2,  // DAC_READ_SEARCH
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    18, // SYS_CHROOT
    29, // AUDIT_WRITE
    31, // SETFCAP
];

fn drop_capabilities() -> std::io::Result<()> {
    for capability in 0..64u32 {
        if !KEPT.contains(&capability) {
            // SAFETY: prctl with integer arguments; EINVAL past the last capability is fine.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
    }
    let mask = KEPT.iter().fold(0u64, |mask, bit| mask | (1 << bit));
    let header = [0x2008_0522u32, 0];
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    let data = [low, low, 0, high, high, 0];
    // SAFETY: capset reads the two arrays, laid out as the kernel's version 3 structures.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// The system's DNS configuration as it is, for a file to show inside.
pub fn resolv_conf() -> String {
    read_to_string("/etc/resolv.conf").unwrap_or_default()
}
