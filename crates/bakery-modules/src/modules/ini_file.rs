//! `ini_file`: one option of an INI file (community.general `ini_file.py`).

use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets or removes an option, or a section, of an INI file.
#[derive(ModuleArgs)]
struct Args {
    /// The file.
    #[arg(required, alias = "dest")]
    path: String,
    /// The section; without it the option stands before all sections.
    section: Option<String>,
    /// The option.
    option: Option<String>,
    /// Its value.
    value: Option<String>,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Whether there is no space around `=`.
    no_extra_spaces: bool,
    /// Whether an option without a value is allowed.
    allow_no_value: bool,
    /// Whether a missing file is made.
    #[arg(default = "true")]
    create: bool,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

/// Where a section's lines are: from the line after its header to the next header.
fn section_range(lines: &[String], section: Option<&str>) -> Option<(usize, usize)> {
    let is_header = |line: &String| line.trim_start().starts_with('[');
    let start = match section {
        None | Some("") => 0,
        Some(name) => lines.iter().position(|l| l.trim() == format!("[{name}]"))? + 1,
    };
    let end = lines[start..].iter().position(is_header).map_or(lines.len(), |at| start + at);
    Some((start, end))
}

fn option_name(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';', '[']) {
        return None;
    }
    Some(line.split(['=', ':']).next().unwrap_or(line).trim())
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.path);
    let existing = host.read_optional(&path)?;
    if existing.is_none() && (!args.create || args.state == "absent") {
        if args.state == "absent" {
            return Ok(Outcome::unchanged().msg("OK"));
        }
        return Err(Failure::new(format!("Destination {} does not exist!", args.path)).with("rc", 257));
    }
    let text = String::from_utf8_lossy(&existing.unwrap_or_default()).into_owned();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let section = args.section.as_deref();
    let mut message = "OK";
    match (&args.option, args.state.as_str()) {
        (Some(option), "present") => {
            let separator = if args.no_extra_spaces { "=" } else { " = " };
            let line = match &args.value {
                Some(value) => format!("{option}{separator}{value}").trim_end().to_owned(),
                None if args.allow_no_value => option.clone(),
                None => return Err("value must be set unless allow_no_value is true".into()),
            };
            if section_range(&lines, section).is_none() {
                if lines.last().is_some_and(|l| !l.is_empty()) {
                    lines.push(String::new());
                }
                lines.push(format!("[{}]", section.unwrap_or_default()));
            }
            let (start, end) = section_range(&lines, section).unwrap_or((0, lines.len()));
            match (start..end).find(|at| option_name(&lines[*at]) == Some(option)) {
                Some(at) if same(&lines[at], &line) => {}
                Some(at) => {
                    lines[at] = line;
                    message = "option changed";
                }
                None => {
                    let mut at = end;
                    while at > start && lines[at - 1].trim().is_empty() {
                        at -= 1;
                    }
                    lines.insert(at, line);
                    message = "option added";
                }
            }
        }
        (Some(option), _) => {
            if let Some((start, end)) = section_range(&lines, section) {
                let before = lines.len();
                let mut at = 0;
                lines.retain(|line| {
                    at += 1;
                    !(start < at && at <= end && option_name(line) == Some(option))
                });
                if lines.len() != before {
                    message = "option changed";
                }
            }
        }
        (None, "present") => {
            if section_range(&lines, section).is_none() {
                lines.push(format!("[{}]", section.unwrap_or_default()));
                message = "section and option added";
            }
        }
        (None, _) => {
            if let (Some((start, end)), true) = (section_range(&lines, section), section.is_some()) {
                lines.drain(start - 1..end);
                message = "section removed";
            }
        }
    }
    let mut new = lines.join("\n");
    if !new.is_empty() {
        new.push('\n');
    }
    let (mut changed, _) =
        host.replace(&path, new.as_bytes(), &Replace { backup: args.backup, validate: None })?;
    if path.exists() {
        changed |= host.attributes(&path, &args.attributes)?;
    }
    Ok(Outcome::changed(changed).msg(message).with("path", args.path))
}

fn same(now: &str, wanted: &str) -> bool {
    let parts = |line: &str| line.split_once('=').map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()));
    match (parts(now), parts(wanted)) {
        (Some(a), Some(b)) => a == b,
        _ => now.trim() == wanted.trim(),
    }
}

module!("ini_file", "community.general", Args, run);
