//! What a provisioner acts on: a tree that is being baked, or a machine that is reached by ssh.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bakery_host::{Cmd, fs};
use bakery_lang::quote::shell_word;
use bakery_packer::Component;

use crate::provision::{duration, interrupted};
use crate::rootfs::Rootfs;
use crate::{Error, Result};

/// Something that runs lines of shell.
pub(crate) trait Machine {
    /// The command that runs a line there; its standard input is the line's.
    fn shell(&self, line: &str) -> Result<Cmd>;

    /// The same for a line that wants a terminal, if the machine gives one; it has no standard input.
    fn terminal(&self, line: &str) -> Result<Cmd> {
        self.shell(line)
    }
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
    pub(crate) password: Option<Password>,
    /// The public key that the machine should let in, if it is known.
    pub(crate) public_key: Option<String>,
    /// Options of ssh that `ssh_*` come to, besides those above.
    pub(crate) options: Vec<String>,
    /// The socket of the session that all connections share.
    session: Option<PathBuf>,
    agent: bool,
    pty: bool,
    limit: Duration,
}

/// A password, in a file that no name leads to.
#[derive(Debug, Clone)]
pub(crate) struct Password {
    file: Arc<std::fs::File>,
}

impl Password {
    fn new(text: &str) -> Result<Self> {
        Ok(Self { file: Arc::new(fs::in_memory(text.as_bytes())?) })
    }

    /// The password.
    pub(crate) fn text(&self) -> Result<String> {
        Ok(fs::read_to_string(fs::path_of(&self.file))?)
    }
}

/// How long a server may take to greet before it is tried again.
const GREETING: Duration = Duration::from_secs(2);
/// The sessions that connections to a machine share are kept so long.
const PERSIST: &str = "120s";

impl Ssh {
    /// Reads a builder's options.
    pub(crate) fn of(builder: &Component, folder: &Path) -> Result<Self> {
        let host = builder
            .text("ssh_host")
            .ok_or_else(|| Error::new(format!("the builder `{}` needs `ssh_host`", builder.kind)))?;
        Self::at(host, builder, folder)
    }

    /// The same for a machine of our own, which nobody knows a host of: it is told with [`Ssh::reached_at`]. Who names
    /// neither a password nor a key gets a key for this build; it is made in the folder of the work.
    pub(crate) fn of_guest(builder: &Component, folder: &Path, work: &Path) -> Result<Self> {
        let host = builder.text("ssh_host").unwrap_or_default();
        let mut ssh = Self::at(host, builder, folder)?;
        if ssh.key.is_none() && ssh.password.is_none() && !ssh.agent {
            let key = work.join("key");
            let kind = builder.text("temporary_key_pair_type").unwrap_or_else(|| "ed25519".into());
            let bits = builder.text("temporary_key_pair_bits").filter(|bits| bits != "0");
            Cmd::new("ssh-keygen")
                .args(["-q", "-N", "", "-C", "packer", "-t", &kind])
                .args(bits.iter().flat_map(|bits| ["-b", bits]))
                .arg("-f")
                .arg(&key)
                .run()?;
            ssh.key = Some(key.display().to_string());
        }
        if let Some(key) = &ssh.key {
            let public = Cmd::new("ssh-keygen").args(["-y", "-P", "", "-f", key]).output()?;
            ssh.public_key = public.success().then(|| public.text().trim().to_owned());
        }
        ssh.session = Some(work.join("ssh"));
        Ok(ssh)
    }

    fn at(host: String, builder: &Component, folder: &Path) -> Result<Self> {
        let port = builder.text("ssh_port").map_or(Ok(22), |p| p.parse());
        let needs = |key: &str| Error::new(format!("the builder `{}` needs `{key}`", builder.kind));
        Ok(Self {
            host,
            port: port.map_err(|_| Error::new("`ssh_port` must be a number"))?,
            user: builder.text("ssh_username").ok_or_else(|| needs("ssh_username"))?,
            key: builder.text("ssh_private_key_file").map(|key| folder.join(key).display().to_string()),
            password: builder.text("ssh_password").map(|text| Password::new(&text)).transpose()?,
            public_key: None,
            options: bastion(builder, folder),
            session: None,
            agent: builder.flag("ssh_agent_auth", false),
            pty: builder.flag("ssh_pty", false),
            limit: duration(&builder.text("ssh_timeout").unwrap_or_else(|| "5m".into()))?,
        })
    }

    /// Says where the machine is.
    pub(crate) fn reached_at(&mut self, host: &str, port: u16) {
        host.clone_into(&mut self.host);
        self.port = port;
    }

    /// Waits until somebody can log in. `check` says when that is of no use any more.
    pub(crate) fn wait(&self, check: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let started = Instant::now();
        loop {
            interrupted()?;
            check()?;
            let mut said = "nobody speaks ssh there".to_owned();
            if !self.options.is_empty() || self.greets() {
                let output = self.shell("true")?.timeout(Duration::from_secs(30)).output()?;
                if output.success() {
                    return Ok(());
                }
                said = output.error_text();
            }
            if started.elapsed() > self.limit {
                return Err(Error::new(format!(
                    "{}@{}:{} cannot be reached: {}",
                    self.user,
                    self.host,
                    self.port,
                    said.trim()
                ))
                .hint("`ssh_timeout` says how long it is waited for"));
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// Whether a server greets. A machine that boots behind a forwarded port is connected to long before that; ssh itself
    /// would wait for it as long as for one that is slow.
    fn greets(&self) -> bool {
        // What has a name only is asked for by ssh, which knows names.
        let Ok(address) = self.host.parse::<IpAddr>() else { return true };
        let address = SocketAddr::new(address, self.port);
        let greeting = TcpStream::connect_timeout(&address, GREETING).and_then(|mut stream| {
            stream.set_read_timeout(Some(GREETING))?;
            let mut start = [0; 4];
            stream.read_exact(&mut start).map(|()| start)
        });
        greeting.is_ok_and(|start| start == *b"SSH-")
    }

    fn command(&self) -> Result<Cmd> {
        // A machine that is thrown away has a new key each time.
        let mut cmd = Cmd::new("ssh")
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"])
            .args(["-p", &self.port.to_string()])
            .args(&self.options);
        if let Some(socket) = &self.session {
            let path = format!("ControlPath=\"{}\"", socket.display());
            let persist = format!("ControlPersist={PERSIST}");
            cmd = cmd.args(["-o", "ControlMaster=auto", "-o", &path, "-o", &persist]);
        }
        if !self.agent {
            cmd = cmd.args(["-o", "IdentitiesOnly=yes"]);
        }
        if let Some(key) = &self.key {
            cmd = cmd.args(["-i", key]);
        }
        Ok(match &self.password {
            None => cmd.args(["-o", "BatchMode=yes"]),
            Some(password) => {
                let exe = std::env::current_exe().map_err(|e| Error::new(e.to_string()))?;
                cmd.args(["-o", "NumberOfPasswordPrompts=1"])
                    .env("SSH_ASKPASS", exe)
                    .env("SSH_ASKPASS_REQUIRE", "force")
                    .env("DISPLAY", ":0")
                    .env(bakery_ansible::connection::ASKPASS, fs::path_of(&password.file))
            }
        })
    }
}

/// What leads through the host that `ssh_bastion_*` name.
fn bastion(builder: &Component, folder: &Path) -> Vec<String> {
    let Some(host) = builder.text("ssh_bastion_host") else { return vec![] };
    let mut line =
        "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR".to_owned();
    if let Some(key) = builder.text("ssh_bastion_private_key_file") {
        line.push_str(&format!(" -i {}", shell_word(&folder.join(key).display().to_string())));
    }
    let port = builder.text("ssh_bastion_port").unwrap_or_else(|| "22".into());
    let user = builder.text("ssh_bastion_username").map(|user| format!("{user}@")).unwrap_or_default();
    line.push_str(&format!(" -p {port} -W %h:%p {}", shell_word(&format!("{user}{host}"))));
    vec!["-o".into(), format!("ProxyCommand={line}")]
}

impl Machine for Ssh {
    fn shell(&self, line: &str) -> Result<Cmd> {
        Ok(self.command()?.arg(format!("{}@{}", self.user, self.host)).arg("--").arg(line))
    }

    fn terminal(&self, line: &str) -> Result<Cmd> {
        let cmd = self.command()?.args(self.pty.then_some("-tt"));
        Ok(cmd.arg(format!("{}@{}", self.user, self.host)).arg("--").arg(line))
    }
}
