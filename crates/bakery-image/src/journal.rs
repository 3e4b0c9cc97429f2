//! What a playbook asked of the tree while it was baked, remembered call by call.
//!
//! A call's key is that of the state before it, what is asked, and as whom. A playbook is always run by the engine:
//! conditions, templates, loops, handlers and registered results are evaluated each time, and what they lead to is in
//! the calls. As long as the calls are the ones made before, their answers are remembered and nothing is done; the first
//! one that is not is made on the state that was kept last, after the calls between the two.
//!
//! States are kept when enough work was done since the last one, and at the end. A call that goes on in the background
//! ends what can be remembered until then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bakery_ansible::connection::{Asked, Channel, Escalation, Unreachable};
use bakery_host::command;
use bakery_host::sandbox::Sandbox;
use bakery_protocol::Request;
use bakery_store::record::{self, Record};
use bakery_store::{Key, Store};
use serde_json::Value as Json;

use crate::rootfs::Rootfs;
use crate::state::State;
use crate::{Error, Result};

/// Work that is worth a state of its own: so much, or this part of all work so far, so that a long playbook does not
/// leave a thousand layers.
const WORTH: Duration = Duration::from_millis(400);
const WORTH_PART: u32 = 20;

type Reached<T> = std::result::Result<T, Unreachable>;

impl From<Error> for Unreachable {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// A call made since the last state was kept.
#[derive(Debug)]
struct Made {
    key: Key,
    request: Request,
    escalation: Option<Escalation>,
    limit: Option<Duration>,
    answer: Json,
}

/// The memory of one run of a playbook.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<Tape>);

#[derive(Debug)]
struct Tape {
    store: Store,
    rootfs: Rootfs,
    /// The key of the state now.
    key: Key,
    /// The layers of the state that was kept last.
    kept: Vec<Key>,
    since: Vec<Made>,
    /// The last call's record: it is written when the run goes on after it.
    unwritten: Option<(Key, Record)>,
    /// Whether answers are remembered.
    recall: bool,
    /// Whether the first call that is not remembered ends the run.
    probe: bool,
    /// Whether the tree is in the state of `key`, so that calls are made in it.
    live: bool,
    /// Whether states may be kept: nothing goes on in the background.
    keep: bool,
    /// Whether what was remembered turned out not to be so.
    stale: bool,
    /// Work since the last state, and all of it.
    spent: (Duration, Duration),
    /// The calls so far and those of the last run, in words.
    calls: Vec<record::Asked>,
    before: Vec<record::Asked>,
    recalled: usize,
    missed: Option<String>,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) state: State,
    pub(crate) calls: usize,
    pub(crate) recalled: usize,
    /// Whether any call was made.
    pub(crate) anew: bool,
    /// What the first call that was not remembered is, and why.
    pub(crate) missed: Option<String>,
}

impl Journal {
    /// A journal over a mounted state, which `build` tells from other builds. Without `recall` everything is done anew.
    /// With `probe` the first call that is not remembered ends the run.
    pub(crate) fn new(
        store: &Store,
        rootfs: Rootfs,
        start: Key,
        build: &Key,
        recall: bool,
        probe: bool,
    ) -> Self {
        Self(Mutex::new(Tape {
            kept: rootfs.layers().to_vec(),
            before: store.last_run(build),
            store: store.clone(),
            rootfs,
            key: start,
            since: vec![],
            unwritten: None,
            recall,
            probe,
            live: !recall,
            keep: true,
            stale: false,
            spent: (Duration::ZERO, Duration::ZERO),
            calls: vec![],
            recalled: 0,
            missed: None,
        }))
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way into the tree.
    pub(crate) fn sandbox(&self, agent: &Path) -> Result<Sandbox> {
        self.tape().rootfs.sandbox(agent)
    }

    /// The end of a run that went well: its state is kept.
    pub(crate) fn finish(&self, target: &Channel<'_>, build: &Key) -> Result<Finished> {
        self.tape().finish(target, build)
    }

    /// Whether what was remembered turned out not to be so; the next run does that part anew.
    pub(crate) fn is_stale(&self) -> bool {
        self.tape().stale
    }

    /// What the first call that was not remembered is, and why.
    pub(crate) fn missed(&self) -> Option<String> {
        self.tape().missed.clone()
    }

    /// Keeps what a failed run changed where people can look at it.
    pub(crate) fn keep_failed(&self) -> Option<PathBuf> {
        let tape = self.tape();
        tape.live.then(|| tape.rootfs.keep_failed().ok()).flatten()
    }
}

impl bakery_ansible::connection::Journal for Journal {
    fn call(&self, target: &Channel<'_>, asked: &Asked<'_>) -> Reached<Json> {
        self.tape().call(target, asked)
    }
}

impl Tape {
    fn call(&mut self, target: &Channel<'_>, asked: &Asked<'_>) -> Reached<Json> {
        self.write()?;
        let bytes = serde_json::to_vec(asked.request).unwrap_or_default();
        let user = asked.escalation.map_or("", |e| e.user.as_str());
        let key = self.key.clone().with("call", &bytes).with("user", user);
        let question = [self.key.as_str().as_bytes(), &bytes].concat();
        self.calls.push(in_words(asked, user));
        let mut made = Made {
            key: key.clone(),
            request: asked.request.clone(),
            escalation: asked.escalation.cloned(),
            limit: asked.limit,
            answer: Json::Null,
        };
        if !self.live {
            if let Some(answer) = self.remembered(&key, &question) {
                made.answer = answer.clone();
                self.key = key.clone();
                self.recalled += 1;
                match self.store.state(&key) {
                    Some((_, layers)) => {
                        self.kept = layers;
                        self.since.clear();
                    }
                    None => self.since.push(made),
                }
                return Ok(answer);
            }
            self.missed = Some(why(&self.calls, &self.before));
            if self.probe {
                return Err(Unreachable("not remembered".into()));
            }
            self.catch_up(target)?;
        }
        let started = Instant::now();
        let answer = match target.ask(asked.request, asked.escalation, asked.limit) {
            Ok(answer) => answer,
            Err(unreachable) => {
                // Nobody knows what it has done; a run that goes on all the same is not remembered from here.
                self.key = key.with("unanswered", started.elapsed().as_nanos().to_string());
                self.keep = false;
                return Err(unreachable);
            }
        };
        self.spent.0 += started.elapsed();
        self.spent.1 += started.elapsed();
        self.key = key.clone();
        made.answer = answer.clone();
        self.since.push(made);
        if asked.request.module == "async_wrapper" {
            self.keep = false;
        }
        if self.keep {
            let sealed = record::seal(&question, &serde_json::to_vec(&answer).unwrap_or_default());
            self.unwritten = Some((key, Record { answer: Some(sealed), ..Record::default() }));
            let worth = WORTH.max(self.spent.1 / WORTH_PART);
            if self.spent.0 >= worth && answer["failed"] != true && !command::has_strays() {
                self.keep_state(target)?;
            }
        }
        Ok(answer)
    }

    fn remembered(&self, key: &Key, question: &[u8]) -> Option<Json> {
        if !self.recall {
            return None;
        }
        let sealed = self.store.record(key)?.answer?;
        serde_json::from_slice(&record::open(question, &sealed)?).ok()
    }

    /// Brings the tree into the state of `key`: the state kept last, and the calls since.
    fn catch_up(&mut self, target: &Channel<'_>) -> Reached<()> {
        self.live = true;
        target.close();
        self.rootfs.remount(&self.kept)?;
        let started = Instant::now();
        for made in &self.since {
            let answer = target.ask(&made.request, made.escalation.as_ref(), made.limit)?;
            let differs = ["failed", "changed", "rc"].iter().any(|name| answer[name] != made.answer[name]);
            if differs {
                // The run has already acted on an answer that does not hold: these calls are forgotten, and it starts again.
                self.stale = true;
                for made in &self.since {
                    self.store.keep_record(&made.key, &Record::default()).map_err(Error::from)?;
                }
                return Err(Unreachable(format!(
                    "{} comes out otherwise than it is remembered",
                    made.request.module
                )));
            }
        }
        self.spent = (started.elapsed(), started.elapsed());
        Ok(())
    }

    /// Writes the last call's record: the run has gone on after it.
    fn write(&mut self) -> Result<()> {
        if let Some((key, record)) = self.unwritten.take() {
            self.store.keep_record(&key, &record)?;
        }
        Ok(())
    }

    /// Keeps the tree as the state after the last call.
    fn keep_state(&mut self, target: &Channel<'_>) -> Result<()> {
        target.close();
        let made_by = self.calls.last().map(|c| format!("{} [{}]", c.module, c.task)).unwrap_or_default();
        self.kept = self.rootfs.commit(&made_by)?;
        if let Some((_, record)) = &mut self.unwritten {
            record.layers = Some(self.kept.clone());
        }
        self.since.clear();
        self.spent.0 = Duration::ZERO;
        Ok(())
    }

    fn finish(&mut self, target: &Channel<'_>, build: &Key) -> Result<Finished> {
        if !self.live && !self.since.is_empty() {
            // The run is a shorter one than those before: this state was never kept.
            self.catch_up(target).map_err(|why| Error::new(why.0))?;
            if let Some(last) = self.since.last() {
                let mut record = self.store.record(&last.key).unwrap_or_default();
                record.layers = None;
                self.unwritten = Some((last.key.clone(), record));
            }
        }
        if self.live {
            self.keep_state(target)?;
        }
        self.write()?;
        self.store.keep_run(build, &self.calls)?;
        Ok(Finished {
            state: State { key: self.key.clone(), layers: self.kept.clone() },
            calls: self.calls.len(),
            recalled: self.recalled,
            anew: self.live,
            missed: self.missed.take(),
        })
    }
}

/// A call in words that give nothing away.
fn in_words(asked: &Asked<'_>, user: &str) -> record::Asked {
    let request = asked.request;
    let mut parts = BTreeMap::new();
    if !asked.secret {
        let mut part = |name: String, value: &Json| {
            let digest = Key::new("part").with("task", asked.task).with(&name, value.to_string());
            parts.insert(name, digest.as_str()[..16].to_owned());
        };
        if let Json::Object(args) = &request.args {
            for (name, value) in args {
                part(format!("the argument `{name}`"), value);
            }
        }
        for (name, value) in &request.environment {
            part(format!("the environment variable `{name}`"), &Json::from(value.as_str()));
        }
        part("the check mode".into(), &request.check.into());
        part("the diff mode".into(), &request.diff.into());
    }
    record::Asked {
        task: asked.task.to_owned(),
        module: request.module.clone(),
        user: user.to_owned(),
        parts,
    }
}

/// Why the last call, or step, was not remembered: what is different from the one at the same place in the run before.
pub(crate) fn why(calls: &[record::Asked], before: &[record::Asked]) -> String {
    let Some(now) = calls.last() else { return String::new() };
    let called = |asked: &record::Asked| match asked.task.as_str() {
        "" => asked.module.clone(),
        task => format!("{} [{task}]", asked.module),
    };
    let task = called(now);
    let Some(then) = before.get(calls.len() - 1) else {
        let what = if before.is_empty() { "no run before it is known" } else { "it is new" };
        return format!("{task}: {what}");
    };
    if (&then.module, &then.task) != (&now.module, &now.task) {
        return format!("{task}: in its place was {}", called(then));
    }
    if then.user != now.user {
        return format!("{task}: it runs as another user");
    }
    let mut changed: Vec<&str> = Vec::new();
    for name in now.parts.keys().chain(then.parts.keys()) {
        if now.parts.get(name) != then.parts.get(name) && !changed.contains(&name.as_str()) {
            changed.push(name);
        }
    }
    match changed.as_slice() {
        [] if now.parts.is_empty() => {
            format!("{task}: something changed; `no_log` keeps what from being known")
        }
        [] => format!("{task}: the state before it, or what it came to, is not kept any more"),
        [one] => format!("{task}: {one} changed"),
        several => format!("{task}: {} changed", several.join(", ")),
    }
}
