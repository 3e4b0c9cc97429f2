//! Mount namespaces and the overlays in them. Mounts made in a private namespace vanish with the process, however it
//! ends, so nothing that is killed leaves one behind.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

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
