//! `supervisorctl`: programs that supervisord runs (community.general `supervisorctl.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::Phase;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds, removes, starts and stops programs and groups of supervisord.
#[derive(ModuleArgs)]
struct Args {
    /// The program, a group with a colon at its end, or `all`.
    #[arg(required)]
    name: String,
    /// supervisord's configuration.
    config: Option<String>,
    /// Where supervisord listens.
    server_url: Option<String>,
    /// The user to log in as.
    username: Option<String>,
    /// The user's password.
    #[arg(secret)]
    password: Option<String>,
    /// The program `supervisorctl`.
    supervisorctl_path: Option<String>,
    /// What shall be.
    #[arg(required, choices = "present,started,restarted,stopped,absent,signalled")]
    state: String,
    /// Whether it is stopped before it is removed.
    stop_before_removing: bool,
    /// The signal to send.
    signal: Option<String>,
}

struct Supervisor<'a> {
    args: &'a Args,
    host: &'a Host,
    base: Vec<String>,
    name: &'a str,
}

impl Supervisor<'_> {
    fn run(&self, words: &[&str], must_succeed: bool) -> Result<String, Failure> {
        let argv: Vec<&str> = self.base.iter().map(String::as_str).chain(words.iter().copied()).collect();
        let output = if must_succeed { self.host.run(&argv)? } else { self.host.try_run(&argv)? };
        Ok(output.text())
    }

    /// Names and states of the programs that are meant.
    fn processes(&self) -> Result<Vec<(String, String)>, Failure> {
        let is_group = self.args.name.ends_with(':');
        let text = self.run(&["status"], false)?;
        let parse = |line: &str| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        };
        let meant = |process: &str| match (is_group, process.split_once(':')) {
            (true, group) => group.is_some_and(|(group, _)| group == self.name),
            (false, _) => process == self.name || self.name == "all",
        };
        Ok(text.lines().filter_map(parse).filter(|(process, _)| meant(process)).collect())
    }

    /// Does something to those that are in a state, and sees to it that it is done.
    fn act(
        &self,
        processes: &[(String, String)],
        concerns: impl Fn(&str) -> bool,
        verb: &[&str],
        expected: &str,
    ) -> Result<Vec<String>, Failure> {
        let concerned: Vec<String> =
            processes.iter().filter(|(_, state)| concerns(state)).map(|(name, _)| name.clone()).collect();
        if !self.host.check {
            for name in &concerned {
                let said = self.run(&[verb, &[name]].concat(), true)?;
                if !said.contains(&format!("{name}: {expected}")) {
                    return Err(Failure::new(said));
                }
            }
        }
        Ok(concerned)
    }

    fn outcome(&self, changed: bool) -> Outcome {
        let outcome = Outcome::changed(changed);
        if self.host.check && changed {
            return outcome;
        }
        outcome.with("name", self.name).with("state", self.args.state.as_str())
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.state == "signalled" && args.signal.is_none() {
        return Err("state is signalled but all of the following are missing: signal".into());
    }
    if host.phase == Phase::Bake {
        // supervisord starts what its configuration names when it starts itself.
        host.leave_to_boot(format!("supervisord: {} is {} at boot", args.name, args.state));
        return Ok(Outcome::unchanged().with("name", args.name).with("state", args.state));
    }
    let program = match &args.supervisorctl_path {
        Some(path) if rustix::fs::access(host.path(path), rustix::fs::Access::EXEC_OK).is_ok() => {
            path.clone()
        }
        Some(path) => {
            return Err(Failure::new(format!(
                "Provided path to supervisorctl does not exist or isn't executable: {path}"
            )));
        }
        None => host.program("supervisorctl")?,
    };
    let mut base = vec![program];
    for (option, value) in
        [("-c", &args.config), ("-s", &args.server_url), ("-u", &args.username), ("-p", &args.password)]
    {
        base.extend(value.iter().flat_map(|value| [option.to_owned(), value.clone()]));
    }
    let name = args.name.trim_end_matches(':');
    let supervisor = Supervisor { args: &args, host, base, name };
    if args.state == "restarted" {
        supervisor.run(&["update"], true)?;
    }
    let processes = supervisor.processes()?;
    // One that is tried again and again is at work, too.
    let running = |state: &str| matches!(state, "RUNNING" | "STARTING" | "BACKOFF");
    let added = |word: &str, said: String| {
        if said.contains(&format!("{name}: {word} process group")) {
            Ok(supervisor.outcome(true))
        } else {
            Err(Failure::new(said).with("name", name).with("state", args.state.as_str()))
        }
    };
    match args.state.as_str() {
        "absent" | "present" if processes.is_empty() == (args.state == "absent") => {
            return Ok(supervisor.outcome(false));
        }
        "absent" | "present" => {
            if args.state == "absent" && args.stop_before_removing {
                supervisor.act(&processes, running, &["stop"], "stopped")?;
            }
            if host.check {
                return Ok(Outcome::changed(true));
            }
            supervisor.run(&["reread"], true)?;
            let (verb, word) = if args.state == "present" { ("add", "added") } else { ("remove", "removed") };
            return added(word, supervisor.run(&[verb, name], false)?);
        }
        "started" | "stopped" | "restarted" if args.name == "all" => {
            let concerns = |state: &str| match args.state.as_str() {
                "started" => !running(state),
                "stopped" => running(state),
                _ => true,
            };
            let concerned =
                processes.iter().filter(|(_, state)| concerns(state)).map(|(name, _)| name.clone());
            let affected: Vec<String> = concerned.collect();
            let outcome = supervisor.outcome(!affected.is_empty());
            if affected.is_empty() || host.check {
                return Ok(outcome);
            }
            let verb = match args.state.as_str() {
                "stopped" => "stop",
                "started" => "start",
                _ => "restart",
            };
            supervisor.run(&[verb, "all"], true)?;
            return Ok(outcome.with("affected", Value::strings(affected)));
        }
        _ if processes.is_empty() && args.name != "all" => {
            return Err(Failure::new("ERROR (no such process)").with("name", name));
        }
        _ => {}
    }
    let signal = args.signal.clone().unwrap_or_default();
    let affected = match args.state.as_str() {
        "started" => supervisor.act(&processes, |state| !running(state), &["start"], "started")?,
        "stopped" => supervisor.act(&processes, running, &["stop"], "stopped")?,
        "signalled" => {
            supervisor.act(&processes, |state| state == "RUNNING", &["signal", &signal], "signalled")?
        }
        _ => supervisor.act(&processes, |_| true, &["restart"], "started")?,
    };
    let outcome = supervisor.outcome(!affected.is_empty());
    Ok(if affected.is_empty() || host.check {
        outcome
    } else {
        outcome.with("affected", Value::strings(affected))
    })
}

module!("supervisorctl", "community.general", Args, run);
