//! `pamd`: rules of a service of PAM (`community.general`, `pamd.py`).
//!
//! Comments and empty lines stay where they are; the module in Python loses those next to a rule that it inserts.

use bakery_lang::regex::{Flags, compile};
use bakery_macros::ModuleArgs;

use crate::host::Replace;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Changes, inserts and removes rules of a service of PAM, and their arguments.
#[derive(ModuleArgs)]
struct Args {
    /// The service, a file in the folder.
    #[arg(required)]
    name: String,
    /// The type of the rule that is looked for.
    #[arg(
        required,
        name = "type",
        choices = "account,-account,auth,-auth,password,-password,session,-session"
    )]
    kind: String,
    /// Its control; one in brackets is compared with one blank between its parts.
    #[arg(required)]
    control: String,
    /// Its module.
    #[arg(required)]
    module_path: String,
    /// The type that it gets, or that of the rule to insert.
    #[arg(choices = "account,-account,auth,-auth,password,-password,session,-session")]
    new_type: Option<String>,
    /// The control that it gets.
    new_control: Option<String>,
    /// The module that it gets.
    new_module_path: Option<String>,
    /// Its arguments, or those to add or to remove.
    module_arguments: Option<Vec<String>>,
    /// What is done: `updated` changes the rule, `before` and `after` insert one beside it.
    #[arg(default = "updated", choices = "absent,after,args_absent,args_present,before,updated")]
    state: String,
    /// The folder.
    #[arg(default = "/etc/pam.d")]
    path: String,
    /// Whether a dated copy of the file is kept.
    backup: bool,
}

const CONTROLS: &str = "required requisite sufficient optional include substack definitive";
const RESULTS: &str = "success open_err symbol_err service_err system_err buf_err perm_denied auth_err cred_insufficient \
    authinfo_unavail user_unknown maxtries new_authtok_reqd acct_expired session_err cred_unavail cred_expired cred_err \
    no_module_data conv_err authtok_err authtok_recover_err authtok_lock_busy authtok_disable_aging try_again ignore abort \
    authtok_expired module_unknown bad_item conv_again incomplete default";
const ACTIONS: &str = "ignore bad die ok done reset";

#[derive(Clone, PartialEq)]
struct Rule {
    kind: String,
    control: String,
    path: String,
    args: Vec<String>,
}

enum Line {
    Rule(Rule),
    /// An inclusion, or what is no rule: the directives of authselect's templates.
    Other(String),
    /// A comment, or nothing.
    Note(String),
}

/// The words of arguments; what is in brackets is one.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = match rest.rfind(']') {
            Some(end) if rest.starts_with('[') => end + 1,
            _ => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        words.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    words
}

impl Rule {
    fn new(kind: &str, control: &str, path: &str, args: Vec<String>) -> Self {
        let control = if control.starts_with('[') {
            format!("[{}]", control.replace(" = ", "=").replace(['[', ']'], ""))
        } else {
            control.to_owned()
        };
        Self { kind: kind.to_owned(), control, path: path.to_owned(), args }
    }

    fn text(&self) -> String {
        let Self { kind, control, path, args } = self;
        let args = if args.is_empty() { String::new() } else { format!(" {}", args.join(" ")) };
        format!("{kind: <11}{control} {path}{args}")
    }

    fn is(&self, kind: &str, control: &str, path: &str) -> bool {
        self.kind == kind && self.control == control && self.path == path
    }

    fn check(&self) -> Result<(), Failure> {
        let is_of = |all: &str, word: &str| all.split(' ').any(|one| one == word);
        let wrong = |what: &str, value: &str| {
            Err(Failure::new(format!("Rule {what}, {value}, is not valid in rule {}", self.text())))
        };
        let Some(parts) = self.control.strip_prefix('[').and_then(|control| control.strip_suffix(']')) else {
            return if is_of(CONTROLS, &self.control) { Ok(()) } else { wrong("control", &self.control) };
        };
        for part in parts.split(' ') {
            let (result, action) = part.split_once('=').unwrap_or((part, ""));
            if !is_of(RESULTS, result) {
                return wrong("control value", result);
            }
            if !is_of(ACTIONS, action) && action.parse::<u64>().is_err() {
                return wrong("control action", action);
            }
        }
        Ok(())
    }

    /// Adds arguments that are missing, and gives those with another value the new one.
    fn add(&mut self, wanted: &[String]) {
        for argument in wanted {
            let name = argument.split_once('=').map(|(name, _)| name);
            let is_it = |own: &&mut String| match name {
                Some(name) => own.split_once('=').is_some_and(|(own, _)| own == name),
                None => *own == argument,
            };
            match self.args.iter_mut().find(is_it) {
                Some(own) => own.clone_from(argument),
                None => self.args.push(argument.clone()),
            }
        }
    }
}

fn read(text: &str) -> Result<Vec<Line>, Failure> {
    let pattern = r"(-?(?:auth|account|session|password))\s+(\[.*\]|\S*)\s+(\S*)\s*(.*)";
    let pattern = compile(pattern, Flags::default())?;
    let line = |line: &str| {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return Ok(Line::Note(line.to_owned()));
        }
        if line.trim_start().starts_with("@include") {
            return Ok(Line::Other(line.to_owned()));
        }
        let found = pattern.captures(line).ok().flatten();
        let Some(found) = found else { return Ok(Line::Other(line.to_owned())) };
        let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
        Ok(Line::Rule(Rule::new(part(1), part(2), part(3), words(part(4)))))
    };
    text.lines().map(line).collect()
}

/// The text of all lines, with a mark in the second that says when.
fn write(lines: &[Line]) -> String {
    let text = |line: &Line| match line {
        Line::Rule(rule) => rule.text(),
        Line::Other(text) | Line::Note(text) => text.clone(),
    };
    let mut texts: Vec<String> = lines.iter().map(text).collect();
    let mark = format!("# Updated by Ansible - {}", jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.6f"));
    match texts.get_mut(1) {
        Some(second) if second.starts_with("# Updated by Ansible") => *second = mark,
        Some(_) => texts.insert(1, mark),
        None => {
            texts.insert(0, String::new());
            texts.insert(1, mark);
        }
    }
    texts.join("\n") + "\n"
}

/// Puts a rule beside each that was found, unless it stands there; how often.
fn insert(lines: &mut Vec<Line>, found: &[usize], rule: &Rule, is_before: bool) -> usize {
    let is_note = |line: &&Line| matches!(line, Line::Note(_));
    let is_there = |line: Option<&Line>| matches!(line, Some(Line::Rule(own)) if own.is(&rule.kind, &rule.control, &rule.path));
    let mut count = 0;
    for at in found.iter().rev() {
        let neighbour = if is_before {
            lines[..*at].iter().rev().find(|line| !is_note(line))
        } else {
            lines[at + 1..].iter().find(|line| !is_note(line))
        };
        if !is_there(neighbour) {
            lines.insert(if is_before { *at } else { at + 1 }, Line::Rule(rule.clone()));
            count += 1;
        }
    }
    count
}

fn run(args: Args, host: &mut Host) -> Run {
    let new = [
        ("new_control", &args.new_control),
        ("new_type", &args.new_type),
        ("new_module_path", &args.new_module_path),
    ];
    let missing = match args.state.as_str() {
        "before" | "after" => {
            new.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect()
        }
        "args_present" | "args_absent" if args.module_arguments.is_none() => vec!["module_arguments"],
        _ => vec![],
    };
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(format!("state is {} but all of the following are missing: {missing}", args.state).into());
    }
    let file = host.path(&args.path).join(&args.name);
    let text = bakery_host::fs::read_to_string(&file).map_err(|error| {
        let number = error.source.raw_os_error().unwrap_or(0);
        let reason = format!("[Errno {number}] {}: '{}'", error.reason(), file.display());
        Failure::new(format!("Unable to open/read PAM module file {} with error {reason}.", file.display()))
    })?;
    let mut lines = read(&text)?;
    let wanted: Option<Vec<String>> =
        args.module_arguments.as_ref().map(|all| all.iter().flat_map(|argument| words(argument)).collect());
    let arguments = wanted.as_deref().unwrap_or_default();
    if args.state == "args_present" && arguments.iter().any(|argument| argument.starts_with('[')) {
        return Err(
            "Unable to process bracketed '[' complex arguments with 'args_present'. Please use 'updated'."
                .into(),
        );
    }
    let is_it = |line: &Line| matches!(line, Line::Rule(rule) if rule.is(&args.kind, &args.control, &args.module_path));
    let found: Vec<usize> = (0..lines.len()).filter(|at| is_it(&lines[*at])).collect();
    let mut count = 0;
    match args.state.as_str() {
        "absent" => {
            lines.retain(|line| !is_it(line));
            count = found.len();
        }
        "before" | "after" => {
            let [control, kind, path] = new.map(|(_, value)| value.as_deref().unwrap_or_default());
            let rule = Rule::new(kind, control, path, arguments.to_vec());
            count = insert(&mut lines, &found, &rule, args.state == "before");
        }
        state => {
            for at in found {
                let Line::Rule(rule) = &mut lines[at] else { continue };
                let before = rule.clone();
                match state {
                    "args_present" => rule.add(arguments),
                    "args_absent" => rule.args.retain(|own| !arguments.contains(own)),
                    _ => {
                        let kind = args.new_type.as_ref().unwrap_or(&before.kind);
                        let control = args.new_control.as_ref().unwrap_or(&before.control);
                        let path = args.new_module_path.as_ref().unwrap_or(&before.path);
                        *rule = Rule::new(kind, control, path, wanted.clone().unwrap_or(before.args.clone()));
                    }
                }
                count += usize::from(*rule != before);
            }
        }
    }
    for line in &lines {
        if let Line::Rule(rule) = line {
            rule.check()?;
        }
    }
    let mut backup = None;
    if count > 0 {
        let how = Replace { backup: args.backup, ..Replace::default() };
        backup = host.replace(&file, write(&lines).as_bytes(), &how)?.1;
    }
    Ok(Outcome::changed(count > 0)
        .with("change_count", count)
        .with("backupdest", backup.map(|path| path.display().to_string()).unwrap_or_default()))
}

module!("pamd", "community.general", Args, run);
