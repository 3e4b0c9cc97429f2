//! Hosts that are reached by the system's `ssh`, so that people's own configuration, agents and jump hosts hold
//! (`ansible/plugins/connection/ssh.py`).
//!
//! The agent is copied once, under a name with its digest, and stays; afterwards a connection is one `ssh` process, and a
//! task one round trip through it. Connections to the same host share one session (`ControlMaster`).

use std::fmt::Write as _;
use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bakery_host::{Cmd, fs};
use bakery_lang::quote::shell_word;

use super::agent::Agent;
use super::{Escalation, Secret, Unreachable};
use crate::playbook::split_words;

/// The variable that names the file with the password, for this program as ssh's `SSH_ASKPASS`.
pub const ASKPASS: &str = "BAKERY_ASKPASS";

/// What the remote side's lines begin with, to be told from what a login prints.
const MARK: &str = "bakery-agent:";

/// What stands for the agent's path until the shell knows it.
const AGENT: &str = "BAKERY-AGENT";

/// How much a login may print before it is given up, in bytes.
const NOISE: u64 = 64 * 1024;

/// A host and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ssh {
    /// The name or address.
    pub host: String,
    /// The port, if it is not what ssh's configuration says.
    pub port: Option<String>,
    /// The user, if it is not what ssh's configuration says.
    pub user: Option<String>,
    /// The file of the private key.
    pub key: Option<String>,
    /// The password of the user.
    pub password: Option<Secret>,
    /// Options before all others (`ssh_args`).
    pub args: String,
    /// Options after all others (`ssh_common_args`, `ssh_extra_args`).
    pub more_args: Vec<String>,
    /// The program.
    pub executable: String,
    /// Whether a host's key must be known.
    pub check_host_key: bool,
    /// The folder of the sessions' sockets.
    pub control_folder: PathBuf,
    /// Seconds before a connection is given up.
    pub timeout: u64,
    /// How often it is tried again.
    pub retries: u64,
}

impl Ssh {
    /// The options, without the host.
    fn options(&self) -> Vec<String> {
        let mut words = split_words(&self.args);
        let mut set = |option: String| words.extend(["-o".to_owned(), option]);
        if self.args.contains("ControlPersist") && !self.args.contains("ControlPath") {
            let name = format!("{}-{:?}-{:?}", self.host, self.port, self.user);
            let name = &blake3::hash(name.as_bytes()).to_hex()[..10];
            set(format!("ControlPath=\"{}\"", self.control_folder.join(name).display()));
        }
        if !self.check_host_key {
            set("StrictHostKeyChecking=no".into());
        }
        if let Some(port) = &self.port {
            set(format!("Port={port}"));
        }
        if let Some(key) = &self.key {
            set(format!("IdentityFile=\"{key}\""));
        }
        if self.password.is_some() {
            set("NumberOfPasswordPrompts=1".into());
        } else {
            set("KbdInteractiveAuthentication=no".into());
            set("PreferredAuthentications=gssapi-with-mic,gssapi-keyex,hostbased,publickey".into());
            set("PasswordAuthentication=no".into());
        }
        if let Some(user) = &self.user {
            set(format!("User=\"{user}\""));
        }
        set(format!("ConnectTimeout={}", self.timeout));
        words.extend(self.more_args.iter().flat_map(|args| split_words(args)));
        words
    }

    /// Starts the agent on the host, as a user.
    ///
    /// # Errors
    /// What ssh, the host or the escalation says.
    pub(super) fn agent(&self, escalation: Option<&Escalation>) -> Result<Agent, Unreachable> {
        let mut tries = 0;
        loop {
            match self.agent_once(escalation) {
                Err(_) if tries < self.retries => tries += 1,
                done => return done,
            }
        }
    }

    fn agent_once(&self, escalation: Option<&Escalation>) -> Result<Agent, Unreachable> {
        fs::create_private_dir(&self.control_folder)?;
        let mut cmd = Cmd::new(&self.executable).args(self.options());
        // The file lives as long as this function: until somebody has asked, or nobody will.
        let hidden;
        if let Some(password) = &self.password {
            hidden = fs::in_memory(password.0.as_bytes())?;
            let exe = std::env::current_exe().map_err(|e| Unreachable(e.to_string()))?;
            cmd = cmd
                .env("SSH_ASKPASS", exe)
                .env("SSH_ASKPASS_REQUIRE", "force")
                .env("DISPLAY", ":0")
                .env(ASKPASS, fs::path_of(&hidden));
        }
        let program = Program::find()?;
        let script = script(&program, escalation)?;
        let mut agent = Agent::open(cmd.arg(&self.host).arg(format!("/bin/sh -c {}", shell_word(&script))))?;
        let first = self.hear(&mut agent)?;
        if let Some(system) = first.strip_prefix("need ") {
            let own = format!("Linux {}", std::env::consts::ARCH);
            let program = if system == own { program } else { Program::of(system, &self.host)? };
            let bytes = fs::read(&program.path)?;
            let sent = writeln!(agent.stdin, "{} {}", bytes.len(), program.digest)
                .and_then(|()| agent.stdin.write_all(&bytes))
                .and_then(|()| agent.stdin.flush());
            sent.map_err(|e| agent.failed(&format!("the agent could not be copied: {e}")))?;
            let second = self.hear(&mut agent)?;
            if second != "have" {
                return Err(Unreachable(format!("{}: the agent could not be copied: {second}", self.host)));
            }
        }
        agent.greet(escalation.and_then(|e| e.password.as_ref()))?;
        Ok(agent)
    }

    /// The next line that is the script's.
    fn hear(&self, agent: &mut Agent) -> Result<String, Unreachable> {
        let mut left = NOISE;
        loop {
            let mut line = Vec::new();
            let read = agent.stdout.by_ref().take(left).read_until(b'\n', &mut line).unwrap_or(0);
            left = left.saturating_sub(read as u64);
            if read == 0 || left == 0 {
                return Err(agent.failed(&format!("the connection to {} ended", self.host)));
            }
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if let Some(word) = line.strip_prefix(MARK) {
                return Ok(word.to_owned());
            }
        }
    }

    /// Ends the session that connections to the host share.
    pub(super) fn close(&self) {
        // There may be none.
        let _ = Cmd::new(&self.executable).args(self.options()).args(["-O", "stop", &self.host]).output();
    }
}

/// What finds the agent on the host or receives it, and becomes it.
///
/// It lies where the user who is become may run it, in a folder that is this user's alone to write.
fn script(program: &Program, escalation: Option<&Escalation>) -> Result<String, Unreachable> {
    let mut script = String::new();
    let folder =
        if escalation.is_none() { "\"${HOME:-/tmp}/.bakery\"" } else { "\"/var/tmp/.bakery-$(id -u)\"" };
    // Others may copy theirs at the same time: what `find` saw may be gone.
    // `read` takes no more than its line, and nothing follows the program's bytes until it has arrived.
    let _ = write!(
        script,
        r#"d={folder}; a="$d/agent-{digest}"; umask 022
mkdir -p "$d" && [ ! -h "$d" ] && [ -O "$d" ] || {{ echo "{MARK}$d is not ours"; exit 1; }}
if [ ! -x "$a" ]; then
echo "{MARK}need $(uname -s) $(uname -m)"; read -r n g || exit 1; a="$d/agent-$g"
t=$(mktemp "$a.XXXXXX") && head -c "$n" > "$t" && [ "$(wc -c < "$t")" -eq "$n" ] && chmod 755 "$t" && mv -f "$t" "$a" && {{ find "$d" -name "agent-*" -mtime +7 -delete 2>/dev/null || :; }} || {{ rm -f "$t"; echo "{MARK}no room in $d"; exit 1; }}
fi
echo "{MARK}have"
exec "#,
        digest = program.digest,
    );
    match escalation {
        None => script.push_str("\"$a\" serve"),
        Some(wanted) => {
            let serve: &[&str] =
                if wanted.password.is_some() { &[AGENT, "serve", "--sync"] } else { &[AGENT, "serve"] };
            // Only the shell knows where the agent is; the word that it is in holds nothing else to be quoted.
            let words = wanted.command(serve)?.into_iter().map(|word| {
                if word.contains(AGENT) {
                    format!("\"{}\"", word.replace(AGENT, "$a"))
                } else {
                    shell_word(&word)
                }
            });
            script.push_str(&words.collect::<Vec<_>>().join(" "));
        }
    }
    Ok(script)
}

/// An agent's program.
#[derive(Debug, Clone)]
struct Program {
    path: PathBuf,
    digest: String,
}

impl Program {
    fn at(path: PathBuf) -> Result<Self, Unreachable> {
        let bytes = fs::read(&path)?;
        Ok(Self { path, digest: blake3::hash(&bytes).to_hex()[..16].to_owned() })
    }

    /// The agent of this machine's kind: the one beside this program, else this program itself.
    fn find() -> Result<Self, Unreachable> {
        static OWN: OnceLock<Result<Program, Unreachable>> = OnceLock::new();
        OWN.get_or_init(|| {
            let own = std::env::current_exe().map_err(|e| Unreachable(e.to_string()))?;
            let beside = own.with_file_name("bakery-agent");
            Self::at(if beside.is_file() { beside } else { own })
        })
        .clone()
    }

    /// The agent for another kind of machine, beside this program.
    fn of(system: &str, host: &str) -> Result<Self, Unreachable> {
        let own = std::env::current_exe().map_err(|e| Unreachable(e.to_string()))?;
        let machine = system.strip_prefix("Linux ").ok_or_else(|| {
            Unreachable(format!("{host} runs {system}, for which there is no agent; bakery reaches Linux"))
        })?;
        let path = own.with_file_name(format!("bakery-agent-{machine}"));
        if !path.is_file() {
            return Err(Unreachable(format!(
                "{host} is a {machine} machine, and {} is not there; build the agent for it",
                path.display()
            )));
        }
        Self::at(path)
    }
}

/// The program where every user of this machine may run it: itself, or a copy of it.
pub(super) fn shared_program(own: PathBuf) -> Result<PathBuf, Unreachable> {
    use std::os::unix::fs::PermissionsExt as _;
    let open = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
    if own.ancestors().all(open) {
        return Ok(own);
    }
    let folder = PathBuf::from(format!("/var/tmp/.bakery-{}", bakery_host::namespace::outer_uid()));
    let program = Program::at(own)?;
    let copy = folder.join(format!("agent-{}", program.digest));
    fs::create_dir_all(&folder)?;
    if !fs::is_ours(&folder) {
        return Err(Unreachable(format!("{} is not ours", folder.display())));
    }
    fs::chmod(&folder, 0o755)?;
    if !copy.is_file() {
        fs::write_atomic_mode(&copy, fs::read(&program.path)?, 0o755)?;
    }
    Ok(copy)
}

/// This program as ssh's `SSH_ASKPASS`: the password, if that is what is asked for.
pub fn ask_password() -> Option<String> {
    let file = std::env::var_os(ASKPASS)?;
    let prompt = std::env::args().nth(1).unwrap_or_default().to_lowercase();
    if !prompt.contains("password") && !prompt.contains("passphrase") {
        return Some(String::new());
    }
    fs::read_to_string(file).ok()
}
