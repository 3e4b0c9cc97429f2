//! Where modules run: in this process, or in an agent at the other end of frames.
//!
//! `agent` is one channel, `ssh` how hosts are reached, `escalation` how an agent comes to run as another user,
//! `journal` what may answer a call of a bake in its stead.

mod agent;
mod escalation;
mod journal;
mod ssh;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bakery_host::{Cmd, sandbox::Sandbox, users};
use bakery_lang::{Map, Value, json};
use bakery_modules::{Host, Phase};
use bakery_protocol::Request;

use agent::{Agent, Answer};
pub use escalation::Escalation;
pub use journal::{Asked, Channel, Journal};
pub use ssh::{ASKPASS, Ssh, ask_password};

/// A module call.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The task that makes it, as it is shown; empty for calls that no task wrote.
    pub task: &'a str,
    /// Whether its arguments and result must not be kept anywhere (`no_log`).
    pub secret: bool,
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
    /// The user to become, and how.
    pub escalation: Option<Escalation>,
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

/// Whose call it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Hosts of the inventory that are where the run's target is.
    Target,
    /// `localhost` of `delegate_to` and `local_action`.
    Controller,
    /// Another machine.
    Ssh(Ssh),
}

/// A word that must not be seen; it is shown as stars.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("********")
    }
}

/// The channels of an endpoint are those of one user each.
type Key = (Endpoint, Option<Escalation>);

/// Open channels to the targets of a run, shared by the hosts that are at work.
#[derive(Debug)]
pub struct Connections {
    /// Where hosts of the inventory are.
    pub target: Target,
    /// Where `localhost` of `delegate_to` and `local_action` is.
    pub controller: Target,
    /// When this is.
    pub phase: Phase,
    /// What may answer calls to the target in its stead.
    journal: Option<Arc<dyn Journal>>,
    /// Agents that wait for work; one that works belongs to the call that it works for.
    idle: Mutex<HashMap<Key, Vec<Agent>>>,
}

/// A target that could not be reached.
#[derive(Debug, Clone)]
pub struct Unreachable(pub String);

impl From<bakery_host::fs::Error> for Unreachable {
    fn from(error: bakery_host::fs::Error) -> Self {
        Self(error.to_string())
    }
}

impl Connections {
    /// Everything on this machine, but for hosts that are reached by ssh.
    pub fn local(cwd: Option<PathBuf>) -> Self {
        let target = Target::Local { cwd };
        Self {
            target: target.clone(),
            controller: target,
            phase: Phase::Live,
            journal: None,
            idle: Mutex::default(),
        }
    }

    /// A root file system as the target while an image is baked, and what remembers its calls.
    pub fn bake(target: Target, controller: Target, journal: Arc<dyn Journal>) -> Self {
        Self { target, controller, phase: Phase::Bake, journal: Some(journal), idle: Mutex::default() }
    }

    /// The way to the target, for what a journal does by itself.
    pub fn channel(&self) -> Channel<'_> {
        Channel { connections: self, endpoint: &Endpoint::Target }
    }

    /// Whether a journal hears of calls to the target.
    pub fn is_remembered(&self) -> bool {
        self.journal.is_some()
    }

    /// Runs a module at an endpoint.
    ///
    /// # Errors
    /// When the agent cannot be started, or ended.
    pub fn run(&self, endpoint: &Endpoint, call: &Call<'_>) -> Result<Value, Unreachable> {
        let phase = if *endpoint == Endpoint::Target { self.phase } else { Phase::Live };
        let here = self.here(endpoint);
        // Who we are already need not be become.
        let me = users::effective_uid();
        let escalation = call.escalation.clone().filter(|wanted| {
            here.is_none() || users::find_user(&wanted.user).map(|user| user.uid) != Some(me)
        });
        if let (Some(Target::Local { cwd }), None, None) = (here, &escalation, call.limit) {
            let mut host = Host::default();
            host.check = call.check;
            host.diff = call.diff;
            host.phase = phase;
            host.environment.clone_from(&call.environment);
            host.cwd.clone_from(cwd);
            return Ok(bakery_modules::run(call.module, call.args, &mut host));
        }
        let request = Request {
            module: call.module.to_owned(),
            args: json::to_json(&Value::Map(call.args.clone())),
            check: call.check,
            diff: call.diff,
            bake: phase == Phase::Bake,
            environment: call.environment.clone(),
            cwd: match here {
                Some(Target::Local { cwd }) => cwd.as_ref().map(|c| c.display().to_string()),
                Some(Target::Rootfs(sandbox, _)) => Some(sandbox.cwd.display().to_string()),
                None => None,
            },
        };
        let answer = match &self.journal {
            Some(journal) if *endpoint == Endpoint::Target => {
                let asked = Asked {
                    request: &request,
                    escalation: escalation.as_ref(),
                    limit: call.limit,
                    task: call.task,
                    secret: call.secret,
                };
                journal.call(&self.channel(), &asked)?
            }
            _ => self.ask(endpoint, &request, escalation.as_ref(), call.limit)?,
        };
        Ok(json::from_json(&answer))
    }

    /// Sends a request to an agent at an endpoint, which is started if none waits there.
    fn ask(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        escalation: Option<&Escalation>,
        limit: Option<Duration>,
    ) -> Result<serde_json::Value, Unreachable> {
        let key = (endpoint.clone(), escalation.cloned());
        let waiting = self.idle().get_mut(&key).and_then(Vec::pop);
        let mut agent = match waiting {
            Some(agent) => agent,
            None => match start(endpoint, self.here(endpoint), escalation) {
                Ok(agent) => agent,
                // Who is not let in has reached the host all the same.
                Err(why) => match escalation.and_then(|wanted| wanted.refusal(&why.0)) {
                    Some(text) => {
                        return Ok(serde_json::json!({ "failed": true, "changed": false, "msg": text }));
                    }
                    None => return Err(why),
                },
            },
        };
        match agent.ask(request, limit) {
            Ok(Answer::Result(result)) => {
                self.idle().entry(key).or_default().push(agent);
                Ok(result)
            }
            Ok(Answer::TimedOut(seconds)) => Ok(serde_json::json!({
                "failed": true,
                "changed": false,
                "msg": format!("Timed out after {seconds} second(s)."),
                "timedout": { "period": seconds },
            })),
            Err(unreachable) => Err(unreachable),
        }
    }

    fn here(&self, endpoint: &Endpoint) -> Option<&Target> {
        match endpoint {
            Endpoint::Target => Some(&self.target),
            Endpoint::Controller => Some(&self.controller),
            Endpoint::Ssh(_) => None,
        }
    }

    /// Closes the channels of an endpoint; the next call opens new ones.
    pub fn reset(&self, endpoint: &Endpoint) {
        self.idle().retain(|(other, _), _| other != endpoint);
        if let Endpoint::Ssh(ssh) = endpoint {
            ssh.close();
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Vec<Agent>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(
    endpoint: &Endpoint,
    here: Option<&Target>,
    escalation: Option<&Escalation>,
) -> Result<Agent, Unreachable> {
    match (endpoint, here) {
        (Endpoint::Ssh(ssh), _) => ssh.agent(escalation),
        (_, Some(Target::Rootfs(sandbox, agent))) => {
            let mut args = vec!["serve".to_owned()];
            args.extend(escalation.iter().flat_map(|e| ["--user".to_owned(), e.user.clone()]));
            Agent::start(sandbox.command(agent, &args)?, None)
        }
        _ => {
            let exe = std::env::current_exe().map_err(|e| Unreachable(e.to_string()))?;
            match escalation {
                None => Agent::start(Cmd::new(exe).arg("serve"), None),
                // Root becomes anyone by itself.
                Some(wanted) if users::effective_uid() == 0 && !wanted.is_particular() => {
                    Agent::start(Cmd::new(exe).args(["serve", "--user", &wanted.user]), None)
                }
                Some(wanted) => {
                    let exe = ssh::shared_program(exe)?.display().to_string();
                    let sync = wanted.password.as_ref().map(|_| "--sync");
                    let program: Vec<&str> = [exe.as_str(), "serve"].into_iter().chain(sync).collect();
                    let words = wanted.command(&program)?;
                    let cmd = Cmd::new(&words[0]).args(&words[1..]);
                    Agent::start(cmd, wanted.password.as_ref())
                }
            }
        }
    }
}
