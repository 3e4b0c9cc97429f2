//! Machines that were launched: what is known of them, and how they are doing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bakery_host::lock::Lock;
use bakery_host::{Cmd, fs, signal};
use bakery_store::Store;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    /// `i-` and seventeen hexadecimal digits.
    pub id: String,
    /// Its address in its configuration, such as `aws_instance.box`.
    pub address: String,
    /// The folder of its configuration.
    pub configuration: PathBuf,
    /// The image's id.
    pub image: String,
    /// The image's name.
    pub image_name: String,
    /// Its type.
    pub instance_type: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The key that may log in.
    pub public_key: String,
    /// What the meta-data service accepts.
    pub imds_token: String,
    /// Attached volumes.
    pub volumes: Vec<Attached>,
    /// Ports of the machine, and those of this host that lead to them.
    pub ports: Vec<(u16, u16)>,
    /// The UUID that its firmware shows.
    pub uuid: String,
}

/// A volume attached to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The volume's id.
    pub volume: String,
    /// The device name.
    pub device: String,
}

/// How a machine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootState {
    /// It does not run.
    Stopped,
    /// It runs, and its boot is not finished.
    Booting,
    /// Its boot is finished.
    Ready,
    /// Something of its boot failed.
    Failed(String),
}

impl BootState {
    /// A word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
        }
    }
}

impl Instance {
    /// The folder of an instance.
    pub fn folder(store: &Store, id: &str) -> PathBuf {
        store.root().join("instances").join(id)
    }

    pub(crate) fn read_folder(folder: &Path) -> Result<Self> {
        let text = fs::read_to_string(folder.join("instance.json"))?;
        serde_json::from_str(&text)
            .map_err(|e| Error::new(format!("{} cannot be understood: {e}", folder.display())))
    }

    pub(crate) fn save(&self, store: &Store) -> Result<()> {
        let folder = Self::folder(store, &self.id);
        Ok(fs::write_atomic_mode(
            folder.join("instance.json"),
            serde_json::to_string_pretty(self).unwrap_or_default(),
            0o600,
        )?)
    }

    /// Every instance, the oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(store: &Store) -> Result<Vec<Self>> {
        let mut all: Vec<Self> = fs::read_dir(store.root().join("instances"))?
            .iter()
            .filter_map(|p| Self::read_folder(p).ok())
            .collect();
        all.sort_by(|a, b| a.created.cmp(&b.created));
        Ok(all)
    }

    /// The instance of an id.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn of_id(store: &Store, id: &str) -> Result<Self> {
        Self::list(store)?
            .into_iter()
            .find(|i| i.id == id)
            .ok_or_else(|| Error::new(format!("there is no instance `{id}`")))
    }

    /// The instance that a user at `folder` means: by its id, the start of one, or its address; the only one if nothing
    /// is named. Those of configurations at or below the folder come before all others of the store.
    ///
    /// # Errors
    /// When there is none, or several and it is not clear which.
    pub fn find(store: &Store, wanted: Option<&str>, folder: &Path) -> Result<Self> {
        let all = Self::list(store)?;
        let is_meant = |i: &&Self| {
            wanted.is_none_or(|wanted| {
                i.id == wanted
                    || i.address == wanted
                    || i.address.ends_with(&format!(".{wanted}"))
                    || (wanted.len() > 3 && i.id.starts_with(wanted))
            })
        };
        let mut meant: Vec<&Self> = all.iter().filter(is_meant).collect();
        if meant.iter().any(|i| i.configuration.starts_with(folder)) {
            meant.retain(|i| i.configuration.starts_with(folder));
        }
        let list = |of: &[&Self]| {
            let shown = |i: &&Self| format!("{} ({} of {})", i.id, i.address, i.configuration.display());
            format!("known: {}", of.iter().map(shown).collect::<Vec<_>>().join(", "))
        };
        match (meant.as_slice(), wanted) {
            ([one], _) => Ok((*one).clone()),
            ([], _) if all.is_empty() => {
                Err(Error::new("there are no instances").hint("make one with `bakery apply main.tf --local`"))
            }
            ([], wanted) => Err(Error::new(format!("there is no instance `{}`", wanted.unwrap_or_default()))
                .hint(list(&all.iter().collect::<Vec<_>>()))),
            (several, Some(wanted)) => {
                Err(Error::new(format!("`{wanted}` may be one of several instances; give an id"))
                    .hint(list(several)))
            }
            (several, None) => Err(Error::new("there are several instances; name one").hint(list(several))),
        }
    }

    /// The process that runs it.
    pub fn pid(&self, store: &Store) -> Option<i32> {
        let text = fs::read_to_string(Self::folder(store, &self.id).join("pid")).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        // The number may be another program's by now.
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (signal::is_alive(pid) && line.contains(&self.id)).then_some(pid)
    }

    /// What it wrote to its console.
    pub fn console(&self, store: &Store) -> PathBuf {
        Self::folder(store, &self.id).join("console.log")
    }

    /// How it is doing.
    pub fn state(&self, store: &Store) -> BootState {
        let text = fs::read_to_string(self.console(store)).unwrap_or_default();
        let start = fs::read_to_string(Self::folder(store, &self.id).join("console-start"))
            .ok()
            .and_then(|t| t.trim().parse::<usize>().ok())
            .unwrap_or(0);
        let text = text.get(start..).unwrap_or(&text);
        if self.pid(store).is_none() {
            return BootState::Stopped;
        }
        let mut state = BootState::Booting;
        let mut error = String::new();
        for line in text.lines() {
            if let Some(found) = line.split("bakery: error: ").nth(1) {
                found.trim().clone_into(&mut error);
            }
            if line.contains("BAKERY-PHASE boot done") {
                state = BootState::Ready;
            } else if line.contains("BAKERY-PHASE boot failed") {
                state = BootState::Failed(error.clone());
            } else if line.contains("BAKERY-PHASE boot start") {
                state = BootState::Booting;
            } else if line.contains("Kernel panic") {
                state = BootState::Failed("the kernel panicked; see `bakery logs`".into());
            }
        }
        state
    }

    /// Waits until its boot is finished.
    ///
    /// # Errors
    /// When it failed, stopped, or time is up.
    pub fn wait(&self, store: &Store, limit: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            match self.state(store) {
                BootState::Ready => return Ok(()),
                BootState::Failed(why) => {
                    return Err(Error::new(format!("the boot of {} failed: {why}", self.address))
                        .hint(format!("`bakery logs {}` shows it", self.id)));
                }
                BootState::Stopped => {
                    let said = fs::read_to_string(Self::folder(store, &self.id).join("qemu.log"))
                        .unwrap_or_default();
                    return Err(Error::new(format!(
                        "the machine of {} stopped before its boot was finished: {}",
                        self.address,
                        said.trim()
                    )));
                }
                BootState::Booting if signal::caught().is_some() => {
                    return Err(Error::new("interrupted; the machine goes on booting"));
                }
                BootState::Booting if started.elapsed() > limit => {
                    return Err(Error::new(format!(
                        "the boot of {} was not finished within {} s",
                        self.address,
                        limit.as_secs()
                    ))
                    .hint(format!("`bakery logs -f {}` shows where it is", self.id)));
                }
                BootState::Booting => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// The port of this host that leads to one of the machine.
    pub fn host_port(&self, guest: u16) -> Option<u16> {
        self.ports.iter().find(|(g, _)| *g == guest).map(|(_, h)| *h)
    }
}

/// Waits until a machine's ssh server greets: one that just booted may not have started it yet.
fn wait_for_ssh(port: u16, limit: Duration) {
    use std::io::Read as _;
    let started = Instant::now();
    while started.elapsed() < limit && signal::caught().is_none() {
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
            let mut greeting = [0; 4];
            let heard = stream
                .set_read_timeout(Some(Duration::from_secs(5)))
                .and_then(|()| stream.read_exact(&mut greeting));
            if heard.is_ok() && &greeting == b"SSH-" {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// How a playbook reaches an instance, as variables of a host, once its server answers, or a minute has passed.
///
/// # Errors
/// When its port 22 is not forwarded.
pub fn ssh_variables(store: &Store, instance: &Instance) -> Result<Vec<(&'static str, String)>> {
    let port = ssh_port(instance)?;
    Ok(vec![
        ("ansible_host", "127.0.0.1".into()),
        ("ansible_port", port.to_string()),
        ("ansible_user", "root".into()),
        ("ansible_host_key_checking", "false".into()),
        ("ansible_ssh_private_key_file", key(store)?.display().to_string()),
    ])
}

fn ssh_port(instance: &Instance) -> Result<u16> {
    let port = instance
        .host_port(22)
        .ok_or_else(|| Error::new(format!("{} does not answer on port 22", instance.id)))?;
    wait_for_ssh(port, Duration::from_secs(60));
    Ok(port)
}

/// The ssh command for an instance, with the store's own key; once its server answers, or a minute has passed.
///
/// # Errors
/// When its port 22 is not forwarded.
pub fn ssh_command(store: &Store, instance: &Instance) -> Result<Cmd> {
    let port = ssh_port(instance)?;
    let folder = Instance::folder(store, &instance.id);
    Ok(Cmd::new("ssh")
        .arg("-i")
        .arg(key(store)?)
        .args([
            "-p",
            &port.to_string(),
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ConnectTimeout=30",
            "-o",
        ])
        .arg(format!("UserKnownHostsFile={}", folder.join("known_hosts").display()))
        .arg("root@127.0.0.1"))
}

/// The store's key, made on first use.
pub(crate) fn key(store: &Store) -> Result<PathBuf> {
    let path = store.root().join("id_ed25519");
    // Several machines may be the first.
    let _lock = Lock::wait(store.lock("id_ed25519"))?;
    // The public part comes last: without it the key is not whole.
    if !path.with_extension("pub").exists() {
        fs::remove_all(&path)?;
        Cmd::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "bakery", "-f"])
            .arg(&path)
            .run()?;
    }
    Ok(path)
}
