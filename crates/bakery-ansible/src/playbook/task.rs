//! One task or block from its YAML (`ansible/playbook/task.py`, `ansible/parsing/mod_args.py`).

use std::path::Path;
use std::sync::Arc;

use bakery_lang::yaml::Node;
use bakery_lang::{Diagnostic, Map, Value, suggest};

use super::{Keywords, Loop, RoleUse, Task, parse_key_values};
use crate::{Error, Result, actions};

/// Keywords that blocks and tasks share.
const SHARED: &[&str] = &[
    "any_errors_fatal",
    "become",
    "become_exe",
    "become_flags",
    "become_method",
    "become_user",
    "check_mode",
    "collections",
    "connection",
    "debugger",
    "delegate_facts",
    "delegate_to",
    "diff",
    "environment",
    "ignore_errors",
    "ignore_unreachable",
    "module_defaults",
    "name",
    "no_log",
    "notify",
    "port",
    "remote_user",
    "run_once",
    "tags",
    "throttle",
    "timeout",
    "vars",
    "when",
    "sudo",
    "sudo_user",
    "su",
    "su_user",
    "always_run",
];

/// Keywords of tasks alone.
const TASK: &[&str] = &[
    "action",
    "args",
    "async",
    "changed_when",
    "delay",
    "failed_when",
    "listen",
    "local_action",
    "loop",
    "loop_control",
    "poll",
    "register",
    "retries",
    "until",
];

/// Options that command-like modules take among their words.
const COMMAND_OPTIONS: &[&str] =
    &["creates", "removes", "chdir", "executable", "warn", "stdin", "stdin_add_newline", "strip_empty_ends"];

/// Whether an action or module takes text that is not `key=value` words.
pub(crate) fn is_free_form(name: &str) -> bool {
    FREE_FORM.contains(&bakery_modules::canonical_name(name))
}

/// Modules whose text is not `key=value` words.
const FREE_FORM: &[&str] = &[
    "command",
    "shell",
    "raw",
    "script",
    "win_command",
    "win_shell",
    "include",
    "include_tasks",
    "import_tasks",
    "include_vars",
    "import_playbook",
    "meta",
    "add_host",
    "group_by",
    "set_fact",
    "expect",
];

/// What a reader of tasks needs to know.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) file: &'a Path,
    pub(super) role: Option<&'a Arc<RoleUse>>,
    /// Modules that come with the playbook or role.
    pub(super) library: &'a dyn Fn(&str) -> bool,
}

pub(super) fn list(node: &Node) -> Vec<Value> {
    match node.as_list() {
        Some(items) => items.iter().map(Node::to_value).collect(),
        None if node.is_none() => vec![],
        None => vec![node.to_value()],
    }
}

/// The keywords of a mapping, and the keys that are none.
pub(super) fn keywords<'a>(node: &'a Node, own: &[&str]) -> Result<(Keywords, Vec<(&'a Node, &'a Node)>)> {
    let mut k = Keywords::default();
    let mut rest = Vec::new();
    for (key, value) in node.as_map().unwrap_or_default() {
        let Some(name) = key.as_str() else {
            return Err(Error::parse(Diagnostic::at(&key.origin, "a keyword must be text")));
        };
        let v = || Some(value.to_value()).filter(|v| !v.is_none());
        match name {
            "when" => k.when = list(value),
            "tags" => k.tags = tags(value),
            "vars" => k.vars = vars(value)?,
            "environment" => k.environment = list(value),
            "become" | "sudo" | "su" => k.r#become = v(),
            "become_user" | "sudo_user" | "su_user" => k.become_user = v(),
            "become_method" => k.become_method = v(),
            "become_exe" => k.become_exe = v(),
            "become_flags" => k.become_flags = v(),
            "connection" => k.connection = v(),
            "delegate_to" => k.delegate_to = v(),
            "delegate_facts" => k.delegate_facts = v(),
            "run_once" => k.run_once = v(),
            "ignore_errors" => k.ignore_errors = v(),
            "ignore_unreachable" => k.ignore_unreachable = v(),
            "any_errors_fatal" => k.any_errors_fatal = v(),
            "check_mode" => k.check_mode = v(),
            // `always_run: true` of old roles means: also in check mode.
            "always_run" => k.check_mode = v().map(|v| Value::Bool(!v.is_true())),
            "diff" => k.diff = v(),
            "no_log" => k.no_log = v(),
            "throttle" => k.throttle = v(),
            "timeout" => k.timeout = v(),
            "debugger" => k.debugger = v(),
            "module_defaults" => k.module_defaults = list(value),
            "collections" => k.collections = list(value),
            "notify" => k.notify = list(value),
            "remote_user" | "user" if name == "remote_user" || own.contains(&"user") => k.remote_user = v(),
            "port" => k.port = v(),
            "name" => {}
            _ => rest.push((key, value)),
        }
    }
    Ok((k, rest))
}

/// Tags, comma-separated text split.
fn tags(node: &Node) -> Vec<Value> {
    list(node)
        .into_iter()
        .flat_map(|v| match &v {
            Value::Str(s) if !s.as_str().contains("{{") => {
                s.as_str().split(',').map(|t| Value::from(t.trim())).collect::<Vec<_>>()
            }
            _ => vec![v],
        })
        .collect()
}

/// A mapping of variables; old files give a list of mappings.
pub(super) fn vars(node: &Node) -> Result<Map> {
    match node.to_value() {
        Value::Map(map) => Ok(map),
        Value::None => Ok(Map::new()),
        Value::List(items) => {
            let map = Map::new();
            for item in items.items() {
                match item {
                    Value::Map(inner) => map.extend(&inner),
                    _ => {
                        return Err(Error::parse(Diagnostic::at(
                            &node.origin,
                            "Vars in a list must be dictionaries",
                        )));
                    }
                }
            }
            Ok(map)
        }
        _ => Err(Error::parse(Diagnostic::at(
            &node.origin,
            "Vars must be specified as a dictionary, or a list of dictionaries",
        ))),
    }
}

/// Whether a mapping is a block.
pub(super) fn is_block(node: &Node) -> bool {
    ["block", "rescue", "always"].iter().any(|key| node.get(key).is_some())
}

/// The keywords of a block, checked.
pub(super) fn block_keywords(node: &Node) -> Result<Keywords> {
    let (keywords, rest) = keywords(node, &[])?;
    for (key, _) in rest {
        let name = key.as_str().unwrap_or_default();
        if !matches!(name, "block" | "rescue" | "always") {
            let known = SHARED.iter().copied().chain(["block", "rescue", "always"]);
            return Err(Error::parse(
                Diagnostic::at(&key.origin, format!("'{name}' is not a valid attribute for a Block"))
                    .maybe_hint(suggest(name, known)),
            ));
        }
    }
    Ok(keywords)
}

/// Reads a task.
pub(super) fn task(node: &Node, place: &Place<'_>) -> Result<Task> {
    if node.as_map().is_none() {
        return Err(Error::parse(
            Diagnostic::at(&node.origin, format!("a task must be a mapping, found {}", node.kind_name()))
                .hint("each task is a list item such as `- name: …` with a module's name below it"),
        ));
    }
    let (keywords, rest) = keywords(node, &[])?;
    let mut task = Task {
        name: node.get("name").map(Node::to_value).filter(|v| !v.is_none()),
        keywords,
        file: place.file.to_path_buf(),
        role: place.role.cloned(),
        ..Task::new(node.origin.clone())
    };
    let mut control = Map::new();
    let mut extra_args = None;
    let mut is_static = None;
    let mut found: Option<(&Node, String)> = None;
    let mut unknown: Vec<(&Node, &Node)> = Vec::new();
    for (key, value) in rest {
        let name = key.as_str().unwrap_or_default();
        let v = || Some(value.to_value()).filter(|v| !v.is_none());
        match name {
            "register" => {
                let name = value.to_value().to_string();
                if !crate::vars::is_name(&name) {
                    return Err(Error::parse(
                        Diagnostic::at(&value.origin, format!("Invalid variable name in 'register' specified: '{name}'."))
                            .hint("a name starts with a letter or underscore and contains only letters, numbers and underscores"),
                    ));
                }
                task.register = Some(name);
            }
            "changed_when" => task.changed_when = list(value),
            "failed_when" => task.failed_when = list(value),
            "until" => task.until = list(value),
            "retries" => task.retries = v(),
            "delay" => task.delay = v(),
            "async" => task.r#async = v(),
            "poll" => task.poll = v(),
            "listen" => task.listen = list(value),
            "loop_control" => control = vars(value)?,
            "loop" => task.r#loop = Some(Loop { lookup: None, items: value.to_value(), control: Map::new() }),
            "args" => extra_args = Some(value.to_value()),
            "static" => is_static = Some((key, value.to_value().is_true())),
            "action" | "local_action" => {
                let (action, args) = old_action(value)?;
                task.args = args;
                if name == "local_action" {
                    task.keywords.delegate_to = Some("localhost".into());
                }
                set_action(&mut found, key, action)?;
            }
            _ if name.starts_with("with_") => {
                task.r#loop = Some(Loop {
                    lookup: Some(name["with_".len()..].to_owned()),
                    items: value.to_value(),
                    control: Map::new(),
                });
            }
            _ if actions::is_known(name) || (place.library)(name) => {
                task.args = arguments(name, value)?;
                set_action(&mut found, key, name.to_owned())?;
            }
            _ => unknown.push((key, value)),
        }
    }
    let modules = || bakery_modules::all().iter().map(|m| m.name).chain(actions::NAMES.iter().copied());
    // A role is for many machines, and may name what only some of them have: that is an error when it runs. What is like
    // a name that is known is a slip of the pen.
    if let ([(key, value)], None, Some(_)) = (&unknown[..], &found, place.role)
        && let Some(name) = key.as_str().filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        && suggest(name, modules().chain(SHARED.iter().chain(TASK).copied())).is_none()
    {
        task.args = arguments(name, value)?;
        set_action(&mut found, key, name.to_owned())?;
        unknown.clear();
    }
    if let Some((key, _)) = unknown.first() {
        let name = key.as_str().unwrap_or_default();
        let known = SHARED.iter().chain(TASK).copied();
        let diagnostic = if found.is_some() {
            Diagnostic::at(&key.origin, format!("'{name}' is not a valid attribute for a Task"))
                .maybe_hint(suggest(name, known))
        } else {
            Diagnostic::at(
                &key.origin,
                format!(
                    "couldn't resolve module/action '{name}'. This often indicates a misspelling, missing collection, or incorrect module path."
                ),
            )
            .maybe_hint(suggest(name, modules().chain(known)))
        };
        return Err(Error::parse(diagnostic));
    }
    let Some((_, action)) = found else {
        return Err(Error::parse(Diagnostic::at(&node.origin, "no module/action detected in task.")));
    };
    task.action = action;
    match is_static {
        Some((_, is_static)) if bakery_modules::canonical_name(&task.action) == "include" => {
            task.include_is_static = Some(is_static);
        }
        // It was an attribute of the old `include` alone (ansible-core up to 2.11).
        Some((key, _)) => {
            let message = "'static' is not a valid attribute for a Task";
            return Err(Error::parse(Diagnostic::at(&key.origin, message)));
        }
        None => {}
    }
    if let Some(Value::Map(extra)) = extra_args {
        // `args:` fills in what the task itself does not say.
        for (key, value) in extra.pairs() {
            if task.args.get_value(&key).is_none() {
                task.args.insert(key, value);
            }
        }
    } else if let Some(text @ Value::Str(_)) = extra_args {
        task.args.set("_variable_params", text);
    }
    if let Some(each) = &mut task.r#loop {
        each.control = control;
    }
    if matches!(bakery_modules::canonical_name(&task.action), "include_role" | "import_role") {
        for name in ["tasks_from", "vars_from", "defaults_from", "handlers_from"] {
            if let Some(value) = task.args.get(name).filter(|v| v.as_str().is_none()) {
                let kind = value.type_name();
                let text = format!("Expected a string for {name} but got <class '{kind}'> instead");
                return Err(Error::parse(Diagnostic::at(&task.origin, text)));
            }
        }
    }
    Ok(task)
}

fn set_action<'a>(found: &mut Option<(&'a Node, String)>, key: &'a Node, action: String) -> Result<()> {
    if let Some((_, other)) = found {
        return Err(Error::parse(Diagnostic::at(
            &key.origin,
            format!("conflicting action statements: {other}, {action}"),
        )));
    }
    *found = Some((key, action));
    Ok(())
}

/// `action: module key=value` and `action: {module: …}`.
fn old_action(node: &Node) -> Result<(String, Map)> {
    if let Some(text) = node.as_str() {
        let text = text.trim();
        let name = super::split_args(text).into_iter().next().unwrap_or_default();
        let rest = text.strip_prefix(&name).unwrap_or_default().trim();
        return Ok((name.clone(), words(&name, rest, node)));
    }
    let map = node.to_value().as_map().cloned().unwrap_or_default();
    let Some(name) = map.remove("module") else {
        return Err(Error::parse(Diagnostic::at(&node.origin, "'action' needs a 'module'")));
    };
    let name = name.to_string();
    let first = super::split_args(&name).into_iter().next().unwrap_or_default();
    let rest = name.strip_prefix(&first).unwrap_or_default().trim().to_owned();
    let name = first;
    // What is below `args` goes before the words behind the name, and those before what stands beside them.
    let own = map.remove("args");
    let args = map;
    args.extend(&words(&name, &rest, node));
    args.extend(own.as_ref().and_then(Value::as_map).unwrap_or(&Map::new()));
    Ok((name, args))
}

fn words(name: &str, text: &str, node: &Node) -> Map {
    if text.trim().is_empty() {
        return Map::new();
    }
    let short = bakery_modules::canonical_name(name);
    let free = match short {
        "command" | "shell" | "script" | "raw" | "win_command" | "win_shell" => Some(COMMAND_OPTIONS),
        _ => None,
    };
    parse_key_values(text, Some(&node.origin), free)
}

/// The arguments below a module's name.
fn arguments(name: &str, node: &Node) -> Result<Map> {
    let args = given(name, node)?;
    let internal =
        args.keys().into_iter().map(|key| key.to_string()).find(|key| key.starts_with("_ansible_"));
    let is_raw = matches!(bakery_modules::canonical_name(name), "command" | "shell" | "script" | "raw");
    if let Some(key) = internal.filter(|_| !is_raw) {
        return Err(Error::parse(Diagnostic::at(
            &node.origin,
            format!(
                "Invalid parameter specified beginning with keyword '_ansible_' for action '{name}': '{key}'. The prefix '_ansible_' is reserved for internal use only."
            ),
        )));
    }
    Ok(args)
}

fn given(name: &str, node: &Node) -> Result<Map> {
    let short = bakery_modules::canonical_name(name);
    match node.to_value() {
        Value::None => Ok(Map::new()),
        Value::Map(map) => {
            // `command: {cmd: …}` is the same as its text.
            if let (true, Some(cmd)) =
                (matches!(short, "command" | "shell" | "script" | "raw"), map.get("cmd"))
                && !map.contains("_raw_params")
            {
                map.remove("cmd");
                map.set("_raw_params", cmd);
            }
            Ok(map)
        }
        Value::Str(text) => Ok(words(name, text.as_str(), node)),
        other if FREE_FORM.contains(&short) => {
            let map = Map::new();
            map.set("_raw_params", other);
            Ok(map)
        }
        other => Err(Error::parse(Diagnostic::at(
            &node.origin,
            format!("unexpected parameter type in action: {}", other.type_name()),
        ))),
    }
}
