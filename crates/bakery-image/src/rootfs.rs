//! A stack of layers, mounted to be changed or looked at, and programs run inside it.

use std::path::{Path, PathBuf};

use bakery_host::cgroup::Limits;
use bakery_host::namespace::{Overlay, detach};
use bakery_host::sandbox::Sandbox;
use bakery_host::{Output, fs};
use bakery_store::{Key, Store, Work};

use crate::{Error, Result, epoch};

/// Where the agent and bakery itself are seen inside.
pub(crate) const AGENT_INSIDE: &str = "/dev/bakery/agent";
pub(crate) const SELF_INSIDE: &str = "/dev/bakery/bakery";

/// A mounted stack.
#[derive(Debug)]
pub(crate) struct Rootfs {
    store: Store,
    work: Work,
    merged: PathBuf,
    /// The layers below the changes, the lowest first.
    layers: Vec<Key>,
    /// How much may be taken inside.
    pub(crate) limits: Limits,
}

impl Rootfs {
    /// Mounts layers, the lowest first, with a fresh place for changes on top.
    pub(crate) fn mount(store: &Store, layers: &[Key]) -> Result<Self> {
        let work = store.work()?;
        let merged = work.path().join("merged");
        let mut rootfs =
            Self { store: store.clone(), work, merged, layers: vec![], limits: Limits::default() };
        rootfs.overlay(layers)?;
        Ok(rootfs)
    }

    fn overlay(&mut self, layers: &[Key]) -> Result<()> {
        let mut lower = Vec::new();
        for key in layers.iter().rev() {
            let gone = || Error::new(format!("the layer {} is gone from the store", key.as_str()));
            lower.push(self.store.layer(key).ok_or_else(gone)?);
        }
        let overlay = Overlay { lower, upper: Some(self.upper()), work: self.work.path().join("scratch") };
        overlay.mount(&self.merged)?;
        self.layers = layers.to_vec();
        Ok(())
    }

    /// Mounts other layers instead; the changes so far are dropped.
    pub(crate) fn remount(&mut self, layers: &[Key]) -> Result<()> {
        detach(&self.merged)?;
        fs::remove_all(self.upper())?;
        self.overlay(layers)
    }

    fn upper(&self) -> PathBuf {
        self.work.path().join("upper")
    }

    /// The layers below the changes, the lowest first.
    pub(crate) fn layers(&self) -> &[Key] {
        &self.layers
    }

    /// Whether anything was changed.
    fn is_changed(&self) -> bool {
        fs::read_dir(self.upper()).is_ok_and(|entries| !entries.is_empty())
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
        Ok(Sandbox {
            root: self.merged.clone(),
            binds: vec![],
            files: vec![
                (agent.to_path_buf(), PathBuf::from(AGENT_INSIDE)),
                (exe, PathBuf::from(SELF_INSIDE)),
                (side.join("policy-rc.d"), PathBuf::from("/usr/sbin/policy-rc.d")),
                (side.join("resolv.conf"), PathBuf::from("/etc/resolv.conf")),
            ],
            cwd: "/".into(),
            hostname: "localhost".into(),
            limits: self.limits,
        })
    }

    /// Runs a program of our own inside and collects what it says; the policy against daemons is out of its way.
    pub(crate) fn run(&self, agent: &Path, program: &str, args: &[&str]) -> Result<Output> {
        let args: Vec<String> = args.iter().map(|s| (*s).to_owned()).collect();
        let mut sandbox = self.sandbox(agent)?;
        sandbox.files.retain(|(_, inside)| inside.starts_with("/dev"));
        Ok(sandbox.command(program, &args)?.output()?)
    }

    /// Gives everything that was changed after a date that date.
    pub(crate) fn clamp(&self, seconds: i64) -> Result<()> {
        epoch::clamp(&self.upper(), seconds)
    }

    /// Keeps the changes as a layer, if there are any, and goes on over it. Nothing may run inside meanwhile.
    pub(crate) fn commit(&mut self, made_by: &str) -> Result<Vec<Key>> {
        if self.is_changed() {
            detach(&self.merged)?;
            if let Some(date) = epoch::given() {
                self.clamp(date)?;
            }
            let id = self.store.publish_layer(&self.upper(), self.layers.last(), made_by)?;
            // The layer may have been there already; then its copy is in the way.
            fs::remove_all(self.upper())?;
            let layers: Vec<Key> = self.layers.iter().cloned().chain([id]).collect();
            self.overlay(&layers)?;
        }
        Ok(self.layers.clone())
    }

    /// Keeps the changes where people can look at them, in place of the last ones that failed.
    pub(crate) fn keep_failed(&self) -> Result<PathBuf> {
        detach(&self.merged)?;
        let place = self.store.failed();
        fs::remove_all(&place)?;
        fs::rename(self.upper(), &place)?;
        Ok(place)
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        // Already gone after a failure; the namespace's end takes it otherwise.
        let _ = detach(&self.merged);
    }
}
