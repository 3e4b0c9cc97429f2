//! A stack of layers, mounted to be changed or looked at, and programs run inside it.

use std::path::{Path, PathBuf};

use bakery_host::namespace::{Overlay, detach};
use bakery_host::sandbox::Sandbox;
use bakery_host::{Output, fs};
use bakery_store::{Key, Layer, Store, Work};

use crate::{Error, Result};

/// Where the agent and bakery itself are seen inside.
pub(crate) const AGENT_INSIDE: &str = "/run/bakery/agent";
pub(crate) const SELF_INSIDE: &str = "/run/bakery/bakery";

/// A mounted stack.
#[derive(Debug)]
pub(crate) struct Rootfs {
    work: Work,
    merged: PathBuf,
    parent: Key,
}

impl Rootfs {
    /// Mounts layers, the lowest first, with a fresh place for changes on top.
    pub(crate) fn mount(store: &Store, layers: &[Key]) -> Result<Self> {
        let work = store.work()?;
        let mut lower = Vec::new();
        for key in layers.iter().rev() {
            lower.push(
                store.layer(key).ok_or_else(|| {
                    Error::new(format!("the layer {} is gone from the store", key.as_str()))
                })?,
            );
        }
        let merged = work.path().join("merged");
        let overlay =
            Overlay { lower, upper: Some(work.path().join("upper")), work: work.path().join("scratch") };
        overlay.mount(&merged)?;
        let parent = layers.last().cloned().unwrap_or_else(|| Key::new("nothing"));
        Ok(Self { work, merged, parent })
    }

    /// The mounted tree.
    pub(crate) fn path(&self) -> &Path {
        &self.merged
    }

    /// The sandbox over the tree, with the agent, this program, the host's DNS and a policy against starting daemons.
    pub(crate) fn sandbox(&self, agent: &Path) -> Result<Sandbox> {
        let side = self.work.path().join("side");
        fs::create_dir_all(&side)?;
        fs::write_atomic_mode(side.join("policy-rc.d"), "#!/bin/sh\nexit 101\n", 0o755)?;
        fs::write_atomic(side.join("resolv.conf"), bakery_host::sandbox::resolv_conf())?;
        let exe = std::env::current_exe().map_err(|e| Error::new(e.to_string()))?;
        let mut files = vec![
            (agent.to_path_buf(), PathBuf::from(AGENT_INSIDE)),
            (exe, PathBuf::from(SELF_INSIDE)),
            (side.join("policy-rc.d"), PathBuf::from("/usr/sbin/policy-rc.d")),
        ];
        // The image's own file is a link into /run once systemd-resolved is there.
        let place = match fs::read_link(self.merged.join("etc/resolv.conf")) {
            Ok(link) if link.to_string_lossy().contains("run/systemd/resolve") => {
                "/run/systemd/resolve/stub-resolv.conf"
            }
            Ok(_) => "/run/bakery/resolv.conf",
            Err(_) => "/etc/resolv.conf",
        };
        files.push((side.join("resolv.conf"), PathBuf::from(place)));
        Ok(Sandbox {
            root: self.merged.clone(),
            binds: vec![],
            files,
            cwd: "/".into(),
            hostname: "localhost".into(),
        })
    }

    /// Runs a program of our own inside and collects what it says; the policy against daemons is out of its way.
    pub(crate) fn run(&self, agent: &Path, program: &str, args: &[&str]) -> Result<Output> {
        let args: Vec<String> = args.iter().map(|s| (*s).to_owned()).collect();
        let mut sandbox = self.sandbox(agent)?;
        sandbox.files.retain(|(_, inside)| inside.starts_with("/run"));
        Ok(sandbox.command(program, &args)?.output()?)
    }

    /// Ends the mount and keeps the changes as a layer.
    pub(crate) fn commit(self, store: &Store, key: &Key, made_by: &str, replace: bool) -> Result<()> {
        detach(&self.merged)?;
        let layer = Layer {
            key: key.as_str().to_owned(),
            parent: Some(self.parent.as_str().to_owned()),
            made_by: made_by.to_owned(),
        };
        store.publish_layer(&self.work.path().join("upper"), &layer, replace)?;
        Ok(())
    }

    /// Keeps the changes where people can look at them, in place of the last ones that failed.
    pub(crate) fn keep_failed(self, store: &Store) -> Result<PathBuf> {
        detach(&self.merged)?;
        let place = store.failed();
        fs::remove_all(&place)?;
        fs::rename(self.work.path().join("upper"), &place)?;
        Ok(place)
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        // Already gone after `commit`; the namespace's end takes it otherwise.
        let _ = detach(&self.merged);
    }
}
