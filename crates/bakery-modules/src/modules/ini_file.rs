//! `ini_file`: options of an INI file (community.general `ini_file.py`).

use bakery_host::fs;
use bakery_lang::Map;
use bakery_macros::ModuleArgs;

use crate::args::string_list;
use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets or removes an option, or a section, of an INI file.
#[derive(ModuleArgs)]
#[args(exclusive = "value,values")]
struct Args {
    /// The file.
    #[arg(required, alias = "dest")]
    path: String,
    /// The section; without it the option stands before all sections.
    section: Option<String>,
    /// What the section must contain to be the one that is meant: mappings of `option` and `value` or `values`.
    section_has_values: Vec<Map>,
    /// The option.
    option: Option<String>,
    /// Its value.
    value: Option<String>,
    /// Its values, one a line.
    values: Vec<String>,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Whether other lines of the same option go.
    #[arg(default = "true")]
    exclusive: bool,
    /// Whether there is no space around `=`.
    no_extra_spaces: bool,
    /// Whether a line that differs in its spaces only stays.
    ignore_spaces: bool,
    /// Whether an option without a value is allowed.
    allow_no_value: bool,
    /// Whether a line that is commented out is taken for the option.
    #[arg(default = "true")]
    modify_inactive_option: bool,
    /// Whether a missing file is made.
    #[arg(default = "true")]
    create: bool,
    /// Whether a link's target is edited; else the link is replaced by a file.
    follow: bool,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

/// A line's value and whether it is commented out, if the line is that of an option.
fn matching<'a>(option: &str, line: &'a str) -> Option<(&'a str, bool)> {
    let blank = |c| c == ' ' || c == '\t';
    let line = line.trim_start_matches(blank);
    let (inactive, line) = match line.strip_prefix(['#', ';']) {
        Some(rest) => (true, rest.trim_start_matches(blank)),
        None => (false, line),
    };
    let rest = line.strip_prefix(option)?.trim_start_matches(blank);
    if rest.is_empty() {
        return Some(("", inactive));
    }
    Some((rest.strip_prefix('=')?.trim_start_matches(blank), inactive))
}

/// The value of a line that counts: one that is commented out does not, without spaces before it.
fn active<'a>(option: &str, line: &'a str) -> Option<&'a str> {
    matching(option, line).filter(|(_, inactive)| !inactive).map(|(value, _)| value)
}

/// Options that a section must have, with the values that one of them must be; any, when there are none.
struct Condition {
    option: String,
    values: Vec<String>,
}

fn conditions(given: &[Map]) -> Result<Vec<Condition>, Failure> {
    given
        .iter()
        .map(|map| {
            let option =
                map.get("option").ok_or("missing required arguments: option found in section_has_values")?;
            let values = match (map.get("value"), map.get("values")) {
                (Some(value), _) if !value.is_none() => vec![value.to_string()],
                (_, Some(values)) if !values.is_none() => string_list(&values)?,
                _ => vec![],
            };
            Ok(Condition { option: option.to_string(), values })
        })
        .collect()
}

fn holds(conditions: &[Condition], lines: &[String]) -> bool {
    conditions.iter().all(|condition| {
        lines.iter().any(|line| {
            matching(&condition.option, line).is_some_and(|(value, _)| {
                condition.values.is_empty() || condition.values.iter().any(|v| v == value)
            })
        })
    })
}

/// Where a section's lines are: from its header to the next one. Before all sections without a name.
fn find_section(lines: &[String], name: Option<&str>, conditions: &[Condition]) -> Option<(usize, usize)> {
    let end_of = |start: usize| {
        lines[start..].iter().position(|l| l.starts_with('[')).map_or(lines.len(), |at| start + at)
    };
    let Some(name) = name.map(str::trim).filter(|n| !n.is_empty()) else {
        return Some((0, end_of(0)));
    };
    let is_header = |line: &String| {
        let inner = line.strip_prefix('[').map(str::trim_start).and_then(|l| l.strip_prefix(name));
        inner.is_some_and(|rest| rest.trim_start().starts_with(']'))
    };
    (0..lines.len())
        .filter(|at| is_header(&lines[*at]))
        .map(|at| (at, end_of(at + 1)))
        .find(|(start, end)| holds(conditions, &lines[*start..*end]))
}

/// What is done to the lines of a section.
struct Edit<'a> {
    args: &'a Args,
    lines: Vec<String>,
    done: Vec<bool>,
    changed: bool,
    message: &'static str,
}

impl Edit<'_> {
    fn assignment(&self, option: &str, value: &str) -> String {
        format!("{option}{}{value}", if self.args.no_extra_spaces { "=" } else { " = " })
    }

    /// Whether a line is the option's, commented out or not as the arguments say; with its value.
    fn matches(&self, option: &str, at: usize) -> Option<String> {
        let (value, inactive) = matching(option, &self.lines[at])?;
        let plain = !self.lines[at].starts_with([' ', '\t']) && !inactive;
        (plain || self.args.modify_inactive_option).then(|| value.to_owned())
    }

    /// Whether a line sets the option, or did before it was commented out. A comment that only names it does not.
    fn sets(&self, option: &str, at: usize) -> bool {
        let line = self.lines[at].trim_matches([' ', '\t']);
        let is_remark = line.starts_with(['#', ';']) && line.ends_with(option);
        self.matches(option, at).is_some_and(|value| !(is_remark && value.is_empty()))
    }

    fn set(&mut self, option: &str, at: usize, line: String) {
        self.done[at] = true;
        let same = match (matching(option, &self.lines[at]), matching(option, &line)) {
            (Some((old, false)), Some((new, _))) if self.args.ignore_spaces => old == new,
            _ => self.lines[at] == line,
        };
        if !same {
            self.lines[at] = line;
            self.changed = true;
            self.message = "option changed";
        }
    }

    fn present(&mut self, option: &str, mut values: Vec<String>) {
        let mut bare = false;
        for at in 0..self.lines.len() {
            let Some(value) = self.matches(option, at) else { continue };
            if let Some(found) = values.iter().position(|v| *v == value) {
                values.remove(found);
                bare = value.is_empty() && self.args.allow_no_value;
                let line = if bare { option.to_owned() } else { self.assignment(option, &value) };
                self.set(option, at, line);
            } else if values.is_empty() && self.args.allow_no_value {
                self.set(option, at, option.to_owned());
                bare = true;
                break;
            }
        }
        if self.args.exclusive && !self.args.allow_no_value {
            for at in 0..self.lines.len() {
                if !values.is_empty() && !self.done[at] && self.sets(option, at) {
                    let line = self.assignment(option, &values.remove(0));
                    self.set(option, at, line);
                }
            }
            for at in (1..self.lines.len()).rev() {
                if !self.done[at] && self.sets(option, at) {
                    self.lines.remove(at);
                    self.done.remove(at);
                    self.changed = true;
                    self.message = "option changed";
                }
            }
        }
        // What is still missing comes after the last line that says something.
        let says = |line: &String| {
            let line = line.trim_start_matches([' ', '\t']);
            !line.is_empty() && !line.starts_with(['#', ';'])
        };
        let at = self.lines.iter().rposition(says).map_or(0, |at| at + 1);
        let mut added: Vec<String> = values.iter().map(|v| self.assignment(option, v)).collect();
        if added.is_empty()
            && self.args.allow_no_value
            && !bare
            && values.is_empty()
            && self.done.iter().all(|d| !d)
        {
            added.push(option.to_owned());
        }
        if !added.is_empty() {
            self.lines.splice(at..at, added);
            self.changed = true;
            self.message = "option added";
        }
    }

    fn absent(&mut self, option: &str, values: &[String]) {
        let count = self.lines.len();
        let goes = |line: &String| match active(option, line) {
            Some(_) if line.starts_with([' ', '\t']) => false,
            Some(value) => self.args.exclusive || values.iter().any(|v| v == value),
            None => false,
        };
        let kept: Vec<String> = self.lines.iter().filter(|l| !goes(l)).cloned().collect();
        self.lines = kept;
        if self.lines.len() != count {
            self.changed = true;
            self.message = "option changed";
        }
    }
}

/// A section that is not there yet.
fn new_section(
    args: &Args,
    conditions: &[Condition],
    mut values: Vec<String>,
) -> (Vec<String>, &'static str) {
    let line = |option: &str, value: &str| {
        format!("{option}{}{value}", if args.no_extra_spaces { "=" } else { " = " })
    };
    let mut lines = vec![format!("[{}]", args.section.as_deref().unwrap_or_default())];
    for condition in conditions {
        if Some(&condition.option) != args.option.as_ref() {
            lines.extend(condition.values.iter().map(|v| line(&condition.option, v)));
            if condition.values.is_empty() && args.allow_no_value {
                lines.push(condition.option.clone());
            }
        } else if !args.exclusive {
            let more: Vec<String> =
                condition.values.iter().filter(|v| !values.contains(v)).cloned().collect();
            values.extend(more);
        }
    }
    match &args.option {
        Some(option) if !values.is_empty() => lines.extend(values.iter().map(|v| line(option, v))),
        Some(option) if args.allow_no_value => lines.push(option.clone()),
        _ => return (lines, "only section added"),
    }
    (lines, "section and option added")
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.state == "present" && !args.allow_no_value && args.value.is_none() && args.values.is_empty() {
        return Err("Parameter 'value(s)' must be defined if state=present and allow_no_value=False.".into());
    }
    let conditions = conditions(&args.section_has_values)?;
    let mut values: Vec<String> = Vec::new();
    for value in args.value.iter().chain(&args.values) {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    let path = host.path(&args.path);
    let existing = host.read_optional(&path)?;
    if existing.is_none() {
        if !args.create {
            return Err(Failure::new(format!("Destination {} does not exist!", args.path)).with("rc", 257));
        }
        if let Some(folder) = path.parent()
            && !host.check
        {
            fs::create_dir_all(folder)?;
        }
    }
    let text = String::from_utf8_lossy(&existing.unwrap_or_default()).into_owned();
    let text = text.trim_start_matches('\u{feff}');
    let mut changed = !text.is_empty() && !text.ends_with('\n');
    // An empty file is one empty line.
    let mut lines: Vec<String> =
        if text.is_empty() { vec![String::new()] } else { text.lines().map(str::to_owned).collect() };
    let mut message = "OK";
    match find_section(&lines, args.section.as_deref(), &conditions) {
        Some((start, end)) => {
            let inner: Vec<String> = lines[start..end].to_vec();
            let done = vec![false; inner.len()];
            let mut edit = Edit { args: &args, lines: inner, done, changed: false, message };
            match (&args.option, args.state.as_str()) {
                (Some(option), "present") => edit.present(option, values),
                (Some(option), _) => edit.absent(option, &values),
                (None, "absent") if end > start => {
                    edit.lines.clear();
                    edit.changed = true;
                    edit.message = "section removed";
                }
                (None, _) => {}
            }
            (message, changed) = (edit.message, changed | edit.changed);
            lines.splice(start..end, edit.lines);
        }
        None if args.state == "present" => {
            let (added, said) = new_section(&args, &conditions, values);
            lines.extend(added);
            (message, changed) = (said, true);
        }
        None => {}
    }
    let mut outcome = Outcome::unchanged().msg(message).with("path", path.display().to_string());
    if changed {
        let how = Replace { backup: args.backup, instead_of_link: !args.follow, ..Replace::default() };
        let (_, backup) = host.replace(&path, (lines.join("\n") + "\n").as_bytes(), &how)?;
        if let Some(backup) = backup {
            outcome = outcome.with("backup_file", backup.display().to_string());
        }
    }
    if path.exists() && !host.check {
        changed |= host.attributes(&path, &args.attributes)?;
    }
    outcome.changed = changed;
    Ok(outcome)
}

module!("ini_file", "community.general", Args, run);
