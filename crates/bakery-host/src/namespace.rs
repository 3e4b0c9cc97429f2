//! Mount namespaces and the overlays in them. Mounts made in a private namespace vanish with the process, however it
//! ends, so nothing that is killed leaves one behind.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::fs::{At as _, Error, Result};

/// Moves the calling process into a mount namespace of its own. Call it before starting threads.
pub fn private_mounts() -> Result<()> {
    // SAFETY: only the mount namespace changes; no memory or file descriptors are unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.at("make a mount namespace for", "this process")?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).at("make private", "/")
}

/// Whether root is root of a user namespace only, and somebody else outside ([`become_own_root`]).
pub fn is_own_root() -> bool {
    static OWN: OnceLock<bool> = OnceLock::new();
    *OWN.get_or_init(|| {
        let map = crate::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let whole: Vec<&str> = map.split_whitespace().collect();
        whole != ["0", "0", "4294967295"]
    })
}

/// The user that this process is outside of its user namespace.
pub fn outer_uid() -> u32 {
    let uid = crate::users::effective_uid();
    if !is_own_root() {
        return uid;
    }
    // Lines of: the first inside, the first outside, how many.
    let map = crate::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let lines = map.lines().filter_map(|line| {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        <[u32; 3]>::try_from(numbers).ok()
    });
    let mut held = lines.filter(|[inside, _, count]| (*inside..inside.saturating_add(*count)).contains(&uid));
    held.next().map_or(uid, |[inside, outside, _]| outside + (uid - inside))
}

/// The command that starts another as root of a user namespace of its own, in which the subordinate ids of the user
/// (subuid(5)) are the other users.
fn as_own_root() -> crate::Cmd {
    crate::Cmd::new("unshare").args(["--user", "--map-root-user", "--map-auto"])
}

/// Whether this user can be root of a user namespace of its own.
///
/// # Errors
/// What is missing.
pub fn can_become_own_root() -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::new("bake without root as", "this user", std::io::Error::other(why.to_owned())))
    };
    for (program, package) in [("unshare", "util-linux"), ("newuidmap", "uidmap")] {
        if crate::command::find_program(program).is_none() {
            return refuse(&format!("the program {program} (package {package}) is not installed"));
        }
    }
    let output = as_own_root().arg("true").output()?;
    if output.success() {
        return Ok(());
    }
    refuse(&format!(
        "no user namespace of its own can be had: {} (subordinate ids are given by `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`)",
        output.error_text().trim()
    ))
}

/// Replaces this process by one of the same program and arguments that is root of a user namespace of its own. Returns
/// only if that cannot be; nothing for who is root already. `settings` are added to the environment.
///
/// # Errors
/// What is missing.
pub fn become_own_root(settings: &[(&str, &Path)]) -> Result<()> {
    if crate::users::effective_uid() == 0 {
        return Ok(());
    }
    can_become_own_root()?;
    let exe = std::env::current_exe().at("find", "this program")?;
    // Programs that make file systems are where only root looks.
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    let mut cmd = as_own_root().arg("--").arg(exe).args(std::env::args_os().skip(1)).env("PATH", path);
    for (name, value) in settings {
        cmd = cmd.env(name, value);
    }
    Err(cmd.exec())
}

/// An overlay: layers from the top down, and where changes go.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// Read-only layers, the topmost first.
    pub lower: Vec<PathBuf>,
    /// The folder that receives changes; without it the overlay is read-only.
    pub upper: Option<PathBuf>,
    /// The kernel's scratch folder, on the same file system as `upper`.
    pub work: PathBuf,
}

impl Overlay {
    /// Mounts it.
    pub fn mount(&self, target: &Path) -> Result<()> {
        crate::fs::create_dir_all(target)?;
        let mut lower = self.lower.clone();
        if lower.len() == 1 && self.upper.is_none() {
            // An overlay needs two layers; an empty one below changes nothing.
            crate::fs::create_dir_all(self.work.join("empty"))?;
            lower.push(self.work.join("empty"));
        }
        let mut names: Vec<String> = lower.iter().map(|p| p.display().to_string()).collect();
        let mut open = Vec::new();
        if names.iter().map(|n| n.len() + 1).sum::<usize>() > 3000 {
            // The kernel takes a page of options: many layers are named by short links to them.
            use std::os::fd::AsRawFd as _;
            for (name, path) in names.iter_mut().zip(&lower) {
                let folder =
                    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at("open", path)?;
                *name = format!("/proc/self/fd/{}", folder.as_raw_fd());
                open.push(folder);
            }
        }
        let mut options = format!("lowerdir={}", names.join(":"));
        if let Some(upper) = &self.upper {
            let work = self.work.join("work");
            crate::fs::create_dir_all(upper)?;
            crate::fs::create_dir_all(&work)?;
            options.push_str(&format!(",upperdir={},workdir={}", upper.display(), work.display()));
        }
        if is_own_root() {
            options.push_str(",userxattr");
        }
        if options.len() > 4000 {
            return Err(Error::new(
                "mount",
                target,
                std::io::Error::other("too many layers for one overlay"),
            ));
        }
        let options = std::ffi::CString::new(options).unwrap_or_default();
        mount("bakery", target, "overlay", MountFlags::empty(), Some(options.as_c_str()))
            .at("mount an overlay at", target)
    }
}

/// Unmounts a path, waiting for nobody.
pub fn detach(target: &Path) -> Result<()> {
    unmount(target, UnmountFlags::DETACH).at("unmount", target)
}
