//! Limits on memory and processes, by control groups of either version.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::fs::{At as _, Error, Result};
use crate::signal;

/// How much what runs in a sandbox may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// Processes and threads at a time.
    pub processes: Option<u64>,
}

/// The groups that this process entered.
#[derive(Debug, Default)]
pub struct Groups {
    /// The folders above, and the names in them.
    entered: Vec<(OwnedFd, String)>,
}

const ROOT: &str = "/sys/fs/cgroup";

/// The folder of this process's own group for a controller, and the names of the files that limit memory and processes.
fn own(controller: &str) -> Option<PathBuf> {
    let unified = Path::new(ROOT).join("cgroup.controllers").exists();
    let text = crate::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it =
            if unified { controllers.is_empty() } else { controllers.split(',').any(|c| c == controller) };
        is_it.then(|| path.trim_start_matches('/').to_owned())
    })?;
    let root = Path::new(ROOT);
    Some(if unified { root.join(path) } else { root.join(controller).join(path) })
}

impl Groups {
    /// Puts this process, and what it starts, into groups of their own with limits.
    pub fn enter(limits: Limits) -> Result<Self> {
        let mut groups = Self::default();
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let memory = if unified { "memory.max" } else { "memory.limit_in_bytes" };
        let name = format!("bakery-{}", std::process::id());
        for (controller, file, limit) in
            [("memory", memory, limits.memory), ("pids", "pids.max", limits.processes)]
        {
            let Some(limit) = limit else { continue };
            let folder = own(controller).ok_or_else(|| {
                let why = "this system has no control group for it";
                Error::new("limit", controller, std::io::Error::other(why))
            })?;
            sweep(&folder);
            let group = folder.join(&name);
            crate::fs::create_dir_all(&group)?;
            // The kernel's files are written in one go, and not replaced.
            let write = |file: &str, text: &str| {
                let path = group.join(file);
                let mut file = crate::fs::open_rw(&path)?;
                std::io::Write::write_all(&mut file, text.as_bytes()).at("limit by", &path)
            };
            write(file, &limit.to_string())?;
            write("cgroup.procs", &std::process::id().to_string())?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let above = rustix::fs::openat(CWD, &folder, flags, Mode::empty()).at("open", &folder)?;
            // In the unified hierarchy both limits are of one group.
            if !unified || groups.entered.is_empty() {
                groups.entered.push((above, name.clone()));
            }
        }
        Ok(groups)
    }

    /// Leaves them, after all that ran in them has ended, and removes them.
    pub fn leave(self) {
        for (above, name) in self.entered {
            // What cannot be removed now is removed by the next one that is made there.
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            if let Ok(procs) = rustix::fs::openat(&above, "cgroup.procs", flags, Mode::empty()) {
                let _ = rustix::io::write(&procs, std::process::id().to_string().as_bytes());
            }
            let _ = rustix::fs::unlinkat(&above, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes groups whose makers were killed.
fn sweep(folder: &Path) {
    for path in crate::fs::read_dir(folder).unwrap_or_default() {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let owner = name.strip_prefix("bakery-").and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid| !signal::is_alive(pid)) {
            let _ = rustix::fs::unlinkat(CWD, &path, AtFlags::REMOVEDIR);
        }
    }
}
