//! What runs at bake and what at boot, from the same conditions, for two sets of variables.
//!
//! Conditions are evaluated with what is known before a run: the play's and roles' variables and the given ones. What
//! depends on facts or on results of other tasks is said to be unknown, with the name that it depends on.

use std::sync::Arc;

use bakery_jinja::Environment;
use bakery_lang::{Map, Value};

use crate::Templar;
use crate::playbook::{Entry, Keywords, Loader, Play, Playbook, Task};
use crate::vars::{Around, HostVars, layers};

/// Whether a task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Runs,
    /// It does not, because of this condition.
    Skipped(String),
    /// It cannot be known; why.
    Unknown(String),
}

/// A task with its verdicts.
#[derive(Debug, Clone)]
pub struct Line {
    /// The play.
    pub play: String,
    /// `role : name`.
    pub name: String,
    /// The action.
    pub action: String,
    /// Where it is written.
    pub place: String,
    /// One verdict for each set of variables.
    pub verdicts: Vec<Verdict>,
    /// Whether the task acts on the machine that bakes.
    pub on_controller: bool,
}

/// Explains every task of a playbook for some sets of variables.
pub fn explain(playbook: &Playbook, loader: &Loader, sets: &[Map]) -> Vec<Line> {
    let mut lines = Vec::new();
    for play in &playbook.plays {
        let walk = Walk { play, loader, sets, environment: Arc::new(Environment::new()) };
        for entries in [&play.pre_tasks, &play.roles, &play.tasks, &play.post_tasks] {
            walk.entries(entries, &State::default(), &mut lines);
        }
        for entry in &play.handlers {
            walk.handler(entry, &mut lines);
        }
    }
    lines
}

#[derive(Debug, Clone, Default)]
struct State {
    when: Vec<Value>,
    around: Around,
}

struct Walk<'a> {
    play: &'a Play,
    loader: &'a Loader,
    sets: &'a [Map],
    environment: Arc<Environment>,
}

impl Walk<'_> {
    fn enter(state: &State, keywords: &Keywords) -> State {
        let mut inner = state.clone();
        inner.when.extend(keywords.when.iter().cloned());
        if !keywords.vars.is_empty() {
            inner.around.blocks.insert(0, keywords.vars.clone());
        }
        inner
    }

    fn entries(&self, entries: &[Entry], state: &State, lines: &mut Vec<Line>) {
        for entry in entries {
            match entry {
                Entry::Task(task) => {
                    let inner = Self::enter(state, &task.keywords);
                    lines.push(self.line(task, &inner, None));
                }
                Entry::Block(block) => {
                    let mut inner = Self::enter(state, &block.keywords);
                    if block.role.is_some() {
                        inner.around.role.clone_from(&block.role);
                    }
                    for part in [&block.block, &block.rescue, &block.always] {
                        self.entries(part, &inner, lines);
                    }
                }
            }
        }
    }

    fn handler(&self, entry: &Entry, lines: &mut Vec<Line>) {
        match entry {
            Entry::Task(task) => {
                let state = Self::enter(&State::default(), &task.keywords);
                lines.push(self.line(
                    task,
                    &state,
                    Some("a handler: runs if a task that notifies it changed something"),
                ));
            }
            Entry::Block(block) => block.block.iter().for_each(|inner| self.handler(inner, lines)),
        }
    }

    fn line(&self, task: &Task, state: &State, unknown: Option<&str>) -> Line {
        let mut around = state.around.clone();
        if task.role.is_some() {
            around.role.clone_from(&task.role);
        }
        let role = around.role.as_ref().map(|r| format!("{} : ", r.role.name)).unwrap_or_default();
        let name = task.name.as_ref().map_or_else(|| task.action.clone(), std::string::ToString::to_string);
        let verdicts = self
            .sets
            .iter()
            .map(|set| {
                let verdict = self.verdict(&state.when, &around, set);
                match (verdict, unknown) {
                    (Verdict::Runs, Some(why)) => Verdict::Unknown(why.to_owned()),
                    (other, _) => other,
                }
            })
            .collect();
        let delegated = task.keywords.delegate_to.as_ref().map(std::string::ToString::to_string);
        Line {
            play: self.play.name.clone(),
            name: format!("{role}{name}"),
            action: task.action.clone(),
            place: task.origin.to_string(),
            verdicts,
            on_controller: delegated.is_some_and(|d| matches!(d.as_str(), "localhost" | "127.0.0.1")),
        }
    }

    fn verdict(&self, when: &[Value], around: &Around, set: &Map) -> Verdict {
        let magic = Map::new();
        magic.set("playbook_dir", self.loader.playbook_dir.display().to_string());
        magic.set("inventory_hostname", "localhost");
        magic.set("ansible_check_mode", false);
        let stack =
            layers(set, around, &HostVars::default(), (&self.play.keywords.vars, &self.play.public_roles));
        let templar = Templar::new(Arc::clone(&self.environment), stack, vec![]).with(&magic);
        // A false condition decides even when another one cannot be known.
        let mut unknown = None;
        for condition in when {
            match templar.condition(condition) {
                Ok(true) => {}
                Ok(false) => return Verdict::Skipped(condition.to_string()),
                Err(error) => {
                    // Text `a and not b.c` with a false first half is false whatever the rest is: Jinja decided it
                    // already; here the unknown part was reached.
                    let message =
                        error.message.rsplit("The error was: ").next().unwrap_or_default().to_owned();
                    unknown.get_or_insert(format!("`{condition}`: {message}"));
                }
            }
        }
        unknown.map_or(Verdict::Runs, Verdict::Unknown)
    }
}
