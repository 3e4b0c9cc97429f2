//! What a provisioner acts on: a tree that is being baked, or a machine that is reached by ssh.

use std::path::Path;
use std::time::{Duration, Instant};

use bakery_host::Cmd;
use bakery_packer::Component;

use crate::provision::{duration, interrupted};
use crate::rootfs::Rootfs;
use crate::{Error, Result};

/// Something that runs lines of shell.
pub(crate) trait Machine {
    /// The command that runs a line there; its standard input is the line's.
    fn shell(&self, line: &str) -> Result<Cmd>;
}

/// A tree and the agent to enter it with.
pub(crate) struct Tree<'a> {
    pub(crate) rootfs: &'a Rootfs,
    pub(crate) agent: &'a Path,
}

impl Machine for Tree<'_> {
    fn shell(&self, line: &str) -> Result<Cmd> {
        Ok(self.rootfs.sandbox(self.agent)?.command("/bin/sh", &["-c".into(), line.into()])?)
    }
}

/// A machine behind ssh, as a builder's `ssh_*` options say.
#[derive(Debug, Clone)]
pub(crate) struct Ssh {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) key: Option<String>,
    limit: Duration,
}

impl Ssh {
    /// Reads a builder's options.
    pub(crate) fn of(builder: &Component, folder: &Path) -> Result<Self> {
        let needs = |key: &str| Error::new(format!("the builder `{}` needs `{key}`", builder.kind));
        let port = builder.text("ssh_port").map_or(Ok(22), |p| p.parse());
        Ok(Self {
            host: builder.text("ssh_host").ok_or_else(|| needs("ssh_host"))?,
            port: port.map_err(|_| Error::new("`ssh_port` must be a number"))?,
            user: builder.text("ssh_username").ok_or_else(|| needs("ssh_username"))?,
            key: builder.text("ssh_private_key_file").map(|key| folder.join(key).display().to_string()),
            limit: duration(&builder.text("ssh_timeout").unwrap_or_else(|| "5m".into()))?,
        })
    }

    /// Waits until somebody can log in.
    pub(crate) fn wait(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            interrupted()?;
            let output = self.shell("true")?.timeout(Duration::from_secs(30)).output()?;
            if output.success() {
                return Ok(());
            }
            if started.elapsed() > self.limit {
                let said = output.error_text();
                return Err(Error::new(format!(
                    "{}@{}:{} cannot be reached: {}",
                    self.user,
                    self.host,
                    self.port,
                    said.trim()
                ))
                .hint("`ssh_timeout` says how long it is waited for"));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Machine for Ssh {
    fn shell(&self, line: &str) -> Result<Cmd> {
        // A machine that is thrown away has a new key each time.
        let mut cmd = Cmd::new("ssh")
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "LogLevel=ERROR",
            ])
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "IdentitiesOnly=yes"])
            .args(["-p", &self.port.to_string()]);
        if let Some(key) = &self.key {
            cmd = cmd.args(["-i", key]);
        }
        Ok(cmd.arg(format!("{}@{}", self.user, self.host)).arg("--").arg(line))
    }
}
