//! Where modules run: in this process, or in an agent at the other end of frames.

use std::collections::HashMap;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bakery_host::{Cmd, sandbox::Sandbox, signal, users};
use bakery_lang::{Map, Value, json};
use bakery_modules::{Host, Phase};
use bakery_protocol::{Hello, Request, Response};

/// A module call.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The module.
    pub module: &'a str,
    /// Its arguments.
    pub args: &'a Map,
    /// Whether nothing may be changed.
    pub check: bool,
    /// Whether diffs are wanted.
    pub diff: bool,
    /// The task's environment.
    pub environment: Vec<(String, String)>,
    /// The user to become.
    pub become_user: Option<String>,
    /// How long it may take; then it is killed, and the result says so.
    pub limit: Option<Duration>,
}

/// How a target is reached.
#[derive(Debug, Clone)]
pub enum Target {
    /// This machine.
    Local {
        /// The folder for relative paths.
        cwd: Option<PathBuf>,
    },
    /// A root file system, in fresh namespaces.
    Rootfs(Sandbox, String),
}

/// Open channels to the targets of a run.
#[derive(Debug)]
pub struct Connections {
    /// Where hosts of the inventory are.
    pub target: Target,
    /// Where `localhost` of `delegate_to` and `local_action` is.
    pub controller: Target,
    /// When this is.
    pub phase: Phase,
    agents: HashMap<(bool, String), Agent>,
}

#[derive(Debug)]
struct Agent {
    child: Child,
    stdin: BufWriter<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A target that could not be reached.
#[derive(Debug, Clone)]
pub struct Unreachable(pub String);

impl Connections {
    /// Everything on this machine.
    pub fn local(cwd: Option<PathBuf>) -> Self {
        let target = Target::Local { cwd };
        Self { target: target.clone(), controller: target, phase: Phase::Live, agents: HashMap::new() }
    }

    /// A root file system as the target while an image is baked.
    pub fn bake(target: Target, controller: Target) -> Self {
        Self { target, controller, phase: Phase::Bake, agents: HashMap::new() }
    }

    /// Runs a module on the target, or on the controller.
    ///
    /// # Errors
    /// When the agent cannot be started, or ended.
    pub fn run(&mut self, on_controller: bool, call: &Call<'_>) -> Result<Value, Unreachable> {
        let target = if on_controller { &self.controller } else { &self.target }.clone();
        let phase = if on_controller { Phase::Live } else { self.phase };
        let me = users::effective_uid();
        let user = call.become_user.clone().filter(|name| users::find_user(name).map(|u| u.uid) != Some(me));
        match (&target, user) {
            (Target::Local { cwd }, None) if call.limit.is_none() => {
                let mut host = Host::default();
                host.check = call.check;
                host.diff = call.diff;
                host.phase = phase;
                host.environment.clone_from(&call.environment);
                host.cwd.clone_from(cwd);
                Ok(bakery_modules::run(call.module, call.args, &mut host))
            }
            (_, user) => self.remote(&target, on_controller, phase, user.unwrap_or_default(), call),
        }
    }

    fn remote(
        &mut self,
        target: &Target,
        on_controller: bool,
        phase: Phase,
        user: String,
        call: &Call<'_>,
    ) -> Result<Value, Unreachable> {
        let key = (on_controller, user.clone());
        if !self.agents.contains_key(&key) {
            let agent = start(target, &user)?;
            self.agents.insert(key.clone(), agent);
        }
        let Some(agent) = self.agents.get_mut(&key) else { return Err(Unreachable("no agent".into())) };
        let cwd = match target {
            Target::Local { cwd } => cwd.as_ref().map(|c| c.display().to_string()),
            Target::Rootfs(sandbox, _) => Some(sandbox.cwd.display().to_string()),
        };
        let request = Request {
            module: call.module.to_owned(),
            args: json::to_json(&Value::Map(call.args.clone())),
            check: call.check,
            diff: call.diff,
            bake: phase == Phase::Bake,
            environment: call.environment.clone(),
            cwd,
        };
        let timed_out = Arc::new(AtomicBool::new(false));
        let (done, waits) = mpsc::channel::<()>();
        if let Some(limit) = call.limit {
            let (flag, pid) = (Arc::clone(&timed_out), agent.child.id());
            std::thread::spawn(move || {
                if waits.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    flag.store(true, Ordering::Relaxed);
                    signal::kill(pid as i32, 9);
                }
            });
        }
        let answer = bakery_protocol::write(&mut agent.stdin, &request)
            .and_then(|()| bakery_protocol::read::<Response>(&mut agent.stdout));
        drop(done);
        match answer {
            Err(_) if timed_out.load(Ordering::Relaxed) => {
                self.agents.remove(&key);
                let seconds = call.limit.map_or(0, |l| l.as_secs());
                Ok(Value::map([
                    ("failed", Value::Bool(true)),
                    ("changed", false.into()),
                    ("msg", format!("Timed out after {seconds} second(s).").into()),
                    ("timedout", Value::map([("period", Value::from(seconds))])),
                ]))
            }
            Ok(response) => Ok(json::from_json(&response.result)),
            Err(error) => {
                self.agents.remove(&key);
                Err(Unreachable(error.to_string()))
            }
        }
    }
}

fn start(target: &Target, user: &str) -> Result<Agent, Unreachable> {
    let failed = |e: bakery_host::Error| Unreachable(e.to_string());
    let cmd = match target {
        Target::Rootfs(sandbox, agent) => {
            let mut args = vec!["serve".to_owned()];
            if !user.is_empty() {
                args.extend(["--user".to_owned(), user.to_owned()]);
            }
            sandbox.command(agent, &args).map_err(failed)?
        }
        Target::Local { .. } => {
            let exe = std::env::current_exe().map_err(|e| Unreachable(e.to_string()))?;
            if user.is_empty() {
                Cmd::new(exe).arg("serve")
            } else if users::effective_uid() == 0 {
                Cmd::new(exe).args(["serve", "--user", user])
            } else {
                Cmd::new("sudo").args(["-n", "-H", "-u", user]).arg(exe).arg("serve")
            }
        }
    };
    let mut child = cmd.spawn_piped().map_err(failed)?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Unreachable("the agent has no channel".into()));
    };
    let mut agent = Agent { child, stdin: BufWriter::new(stdin), stdout: BufReader::new(stdout) };
    let hello: Hello = bakery_protocol::read(&mut agent.stdout)
        .map_err(|e| Unreachable(format!("the agent did not start: {e}")))?;
    if hello.protocol != bakery_protocol::VERSION {
        return Err(Unreachable(format!(
            "the agent speaks protocol {} and this program {}",
            hello.protocol,
            bakery_protocol::VERSION
        )));
    }
    Ok(agent)
}
