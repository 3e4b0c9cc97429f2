//! The debugger that a task stops in (`ansible/plugins/strategy/__init__.py`, its `Debugger`): what the task is, what it sees
//! and what came of it can be shown and changed, and the task be done again. Its expressions are those of templates.

use bakery_lang::repr::repr;
use bakery_lang::{Diagnostic, Map, Value};

use super::context::Context;
use super::run::{HostProgress, Runner};
use super::task::End;
use crate::Templar;
use crate::callback::{Status, TaskInfo};
use crate::playbook::Task;

/// When a task stops in the debugger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Never,
    Failed,
    Unreachable,
    Skipped,
}

const WORDS: &[(&str, When)] = &[
    ("always", When::Always),
    ("never", When::Never),
    ("on_failed", When::Failed),
    ("on_skipped", When::Skipped),
    ("on_unreachable", When::Unreachable),
];

const HELP: &str = "\
Commands:
  p, pprint EXPRESSION   show a value: task, task.args, task_vars['name'], host, result._result
  task.args['key'] = EXPRESSION, task_vars['key'] = EXPRESSION
                         change what the task is given or sees
  u, update_task         the task as it is written again, its arguments with the variables as they are now
  r, redo                do the task again
  c, continue            go on to the next task
  q, quit                end the run
  h, help                this text
";

/// What is said to the debugger.
enum Said {
    Redo,
    Continue,
    Quit,
}

/// A task that stopped.
struct Stopped {
    written: Task,
    task: Task,
    /// What expressions see, beside the variables of the task.
    scope: Map,
    vars: Map,
    templar: Templar,
}

/// The part of a task that a name stands for.
enum Part<'a> {
    One(&'a mut Option<Value>),
    Many(&'a mut Vec<Value>),
    Names(&'a mut Map),
}

/// What can be shown and changed of a task, beside its name and action.
fn parts(task: &mut Task) -> [(&'static str, Part<'_>); 18] {
    use Part::{Many, Names, One};
    let k = &mut task.keywords;
    [
        ("args", Names(&mut task.args)),
        ("vars", Names(&mut k.vars)),
        ("when", Many(&mut k.when)),
        ("environment", Many(&mut k.environment)),
        ("notify", Many(&mut k.notify)),
        ("changed_when", Many(&mut task.changed_when)),
        ("failed_when", Many(&mut task.failed_when)),
        ("until", Many(&mut task.until)),
        ("retries", One(&mut task.retries)),
        ("delay", One(&mut task.delay)),
        ("become", One(&mut k.r#become)),
        ("become_user", One(&mut k.become_user)),
        ("delegate_to", One(&mut k.delegate_to)),
        ("ignore_errors", One(&mut k.ignore_errors)),
        ("ignore_unreachable", One(&mut k.ignore_unreachable)),
        ("check_mode", One(&mut k.check_mode)),
        ("timeout", One(&mut k.timeout)),
        ("no_log", One(&mut k.no_log)),
    ]
}

impl Stopped {
    fn new(written: &Task, task: &Task, host: &str, templar: Templar, result: &Map) -> Self {
        let layers = &templar.layers;
        let vars: Map = layers.names().iter().filter_map(|n| Some((n.as_str(), layers.get(n)?))).collect();
        let outcome = Map::from_iter([
            ("_result", Value::Map(result.clone())),
            ("_return_data", result.clone().into()),
        ]);
        let scope = Map::from_iter([
            ("task_vars", Value::Map(vars.clone())),
            ("host", host.into()),
            ("result", outcome.into()),
        ]);
        let mut stopped = Self { written: written.clone(), task: task.clone(), scope, vars, templar };
        stopped.show();
        stopped
    }

    /// Puts the task where expressions see it.
    fn show(&mut self) {
        let shown = Map::new();
        shown.set("name", self.task.name.clone().unwrap_or_default());
        shown.set("action", self.task.action.as_str());
        for (name, part) in parts(&mut self.task) {
            match part {
                Part::One(value) => shown.set(name, value.clone().unwrap_or_default()),
                Part::Many(values) => shown.set(name, values.clone()),
                Part::Names(map) => shown.set(name, map.copied()),
            }
        }
        self.scope.set("task", shown);
    }

    /// Takes over what was changed of the task.
    fn take(&mut self) {
        let Some(Value::Map(shown)) = self.scope.get("task") else { return };
        if let Some(action) = shown.get("action") {
            self.task.action = action.to_string();
        }
        for (name, part) in parts(&mut self.task) {
            let value = shown.get(name).unwrap_or_default();
            match (part, value) {
                (Part::One(own), Value::None) => *own = None,
                (Part::One(own), value) => *own = Some(value),
                (Part::Many(own), Value::None) => own.clear(),
                (Part::Many(own), value) => *own = value.as_items().unwrap_or_else(|| vec![value]),
                (Part::Names(own), Value::Map(map)) => *own = map,
                (Part::Names(own), _) => *own = Map::new(),
            }
        }
    }

    /// What an expression says.
    fn evaluate(&self, text: &str) -> Result<Value, String> {
        let templar = self.templar.with(&self.vars).with(&self.scope);
        match templar.environment.expression(text, &templar) {
            Ok(Value::Undefined(why)) => Err(format!("***NameError: {}", why.message)),
            Ok(value) => Ok(value),
            Err(error) => Err(format!("***Error: {}", error.message)),
        }
    }

    /// The same with all templates in it evaluated that can be.
    fn evaluate_fully(&self, text: &str) -> Result<Value, String> {
        let value = self.evaluate(text)?;
        Ok(self.templar.with(&self.vars).value(&value).unwrap_or(value))
    }

    /// A line that is no command: a value to show, or something to change.
    fn execute(&self, line: &str) -> Result<Option<String>, String> {
        let Some((target, value)) = assignment(line) else {
            return self.evaluate_fully(line).map(|value| Some(repr(&value)));
        };
        let value = self.evaluate(value)?;
        let mut steps = steps(target)
            .ok_or_else(|| format!("***SyntaxError: nothing can be put into '{target}'"))?
            .into_iter();
        let mut key = Value::from(steps.next().unwrap_or_default());
        // What a template gives is nobody's to change: the values are looked for as they are written.
        let mut holder = self.scope.clone();
        for step in steps {
            let found = holder.get_value(&key).or_else(|| self.vars.get_value(&key));
            let Some(Value::Map(found)) = found else {
                return Err(format!("***TypeError: '{key}' is no mapping"));
            };
            holder = found;
            key = self.evaluate(&step)?;
        }
        holder.insert(key, value);
        Ok(None)
    }
}

/// What leads to a place: the name, then the expressions of its keys. `a.b['c']` is `a`, `'b'`, `'c'`.
fn steps(target: &str) -> Option<Vec<String>> {
    let end = target.find(['.', '[']).unwrap_or(target.len());
    let (name, mut rest) = target.split_at(end);
    let mut steps = vec![name.to_owned()];
    while !rest.is_empty() {
        let (step, left) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').map(|(key, left)| (key.to_owned(), left))?,
            None => {
                let inner = rest.strip_prefix('.')?;
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                (format!("'{}'", &inner[..end]), &inner[end..])
            }
        };
        steps.push(step);
        rest = left;
    }
    crate::vars::is_name(name).then_some(steps)
}

/// The two sides of `TARGET = EXPRESSION`: the sign is not in a text, and is no comparison.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let bytes = line.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (Some(open), close) if open == close => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'(') => return None,
            (None, b'=') => {
                let compared = bytes.get(at + 1) == Some(&b'=')
                    || at > 0 && matches!(bytes[at - 1], b'=' | b'!' | b'<' | b'>');
                return (!compared).then(|| (line[..at].trim(), line[at + 1..].trim()));
            }
            _ => {}
        }
    }
    None
}

impl Runner<'_> {
    /// When this task stops in the debugger on a host, by itself or because tasks do that fail.
    ///
    /// # Errors
    /// A word that says nothing, or that cannot be evaluated.
    fn stops(&self, context: &Context, host: &str) -> Result<Option<When>, Diagnostic> {
        let Some(written) = &context.debugger else { return Ok(None) };
        let value = self.templar(host, context, Map::new(), None).value(written)?;
        let word = match value {
            Value::Str(word) if !word.as_str().is_empty() => word,
            _ => return Ok(None),
        };
        match WORDS.iter().find(|(known, _)| *known == word.as_str()) {
            Some((_, when)) => Ok(Some(*when)),
            None => {
                let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
                let message = format!(
                    "Error processing keyword 'debugger': '{}' is not a valid value for debugger. Must be one of {}",
                    word.as_str(),
                    words.join(", ")
                );
                let hint = bakery_lang::suggest(word.as_str(), words);
                Err(Diagnostic { message, origin: written.origin().cloned(), hint: None }.maybe_hint(hint))
            }
        }
    }

    /// Checks when a task stops in the debugger.
    ///
    /// # Errors
    /// A word that says nothing.
    pub(super) fn check_debugger(&self, context: &Context, host: &str) -> Result<(), Diagnostic> {
        self.stops(context, host).map(|_| ())
    }

    /// How far hosts have come, if a task may stop in the debugger there.
    pub(super) fn before_debugger(&self, context: &Context, hosts: &[String]) -> Option<Vec<HostProgress>> {
        let may_stop = context.debugger.is_some() || self.progress().debugging;
        may_stop.then(|| hosts.iter().map(|host| self.mark(host, |state| state.clone())).collect())
    }

    fn needs_debugger(&self, context: &Context, host: &str, end: &End) -> bool {
        let settings = &self.loader().settings;
        let name = "task_debugger_ignore_errors";
        let forgives = settings.flag("ANSIBLE_TASK_DEBUGGER_IGNORE_ERRORS", "defaults", name, true);
        let failed = end.status == Status::Failed && !(end.ignored && forgives);
        let unreachable = end.status == Status::Unreachable;
        match self.stops(context, host).ok().flatten() {
            None => self.progress().debugging && (failed || unreachable),
            Some(When::Always) => true,
            Some(When::Never) => false,
            Some(When::Failed) => failed,
            Some(When::Unreachable) => unreachable,
            Some(When::Skipped) => end.status == Status::Skipped,
        }
    }

    /// Lets people look at a task that ended, change it and do it again, as often as they like.
    pub(super) fn debug(
        &self,
        written: &Task,
        info: &TaskInfo,
        (outer, context): (&Context, &Context),
        host: &str,
        mut end: End,
        before: &HostProgress,
    ) -> End {
        let mut context = context.clone();
        let mut task = written.clone();
        while bakery_host::signal::caught().is_none() && self.needs_debugger(&context, host, &end) {
            let templar = self.templar(host, &context, Map::new(), Some(&task));
            let mut stopped = Stopped::new(written, &task, host, templar, &end.result);
            let vars = stopped.vars.copied();
            let shown = info.name.as_str();
            match self.talk(&mut stopped, &format!("[{host}] TASK: {shown} (debug)> "), shown) {
                Said::Continue => break,
                Said::Quit => {
                    self.callback().verbose(0, "User interrupted execution");
                    // It ends the run as Ctrl-C does.
                    bakery_host::signal::interrupt();
                    break;
                }
                Said::Redo => {}
            }
            let is_new = |(name, value): &(Value, Value)| vars.get_value(name).as_ref() != Some(value);
            let debugged = context.debugged.copied();
            debugged.extend(&stopped.vars.pairs().into_iter().filter(is_new).collect());
            task = stopped.task;
            context = outer.enter_role(task.role.as_ref()).enter(&task.keywords);
            context.debugged = debugged;
            self.mark(host, |state| *state = before.clone());
            end = self.run_task(&task, info, host, &context);
            self.finish(info, &context, host, &end);
        }
        end
    }

    /// Reads commands until one of them ends the stop.
    fn talk(&self, stopped: &mut Stopped, prompt: &str, name: &str) -> Said {
        loop {
            let Some(line) = self.callback().command(prompt) else { return Said::Quit };
            let line = line.trim();
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let rest = rest.trim();
            let shown = match (word, rest) {
                ("", _) => continue,
                ("r" | "redo", "") => {
                    stopped.take();
                    return Said::Redo;
                }
                ("c" | "continue", "") => return Said::Continue,
                ("q" | "quit" | "EOF", "") => return Said::Quit,
                ("u" | "update_task", "") => {
                    stopped.task = stopped.written.clone();
                    stopped.show();
                    continue;
                }
                ("h" | "help" | "?", _) => Ok(Some(HELP.trim_end().to_owned())),
                ("p" | "pprint", "task") => Ok(Some(format!("TASK: {name}"))),
                ("p" | "pprint", text) => {
                    stopped.evaluate_fully(text).map(|value| Some(bakery_jinja::pretty(&value)))
                }
                _ => stopped.execute(line),
            };
            match shown {
                Ok(Some(text)) | Err(text) => self.callback().verbose(0, &text),
                Ok(None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{assignment, steps};

    #[test]
    fn an_assignment_is_told_from_a_comparison() {
        assert_eq!(assignment("task.args['a=b'] = 1"), Some(("task.args['a=b']", "1")));
        assert_eq!(assignment("x=[1]"), Some(("x", "[1]")));
        for line in ["a == b", "a != b", "a <= b", "f(x=1)", "task"] {
            assert_eq!(assignment(line), None, "{line}");
        }
    }

    #[test]
    fn a_place_is_a_name_and_keys() {
        let found = steps("task.args['that'][x]");
        assert_eq!(found, Some(["task", "'args'", "'that'", "x"].map(str::to_owned).to_vec()));
        assert_eq!(steps("x"), Some(vec!["x".to_owned()]));
        assert_eq!(steps("1 + x"), None);
        assert_eq!(steps("a[b"), None);
    }
}
