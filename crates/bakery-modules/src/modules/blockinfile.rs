//! `blockinfile`: a block of lines between two markers (`ansible/modules/blockinfile.py`).

use bakery_lang::regex::{Flags, compile};
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Keeps a block of lines between two marker lines in a file.
#[derive(ModuleArgs)]
struct Args {
    /// The file.
    #[arg(required, alias = "dest,destfile,name")]
    path: String,
    /// Whether the block shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// The text between the markers; empty removes the block.
    #[arg(default = "", alias = "content")]
    block: String,
    /// The marker lines, `{mark}` standing for begin and end.
    #[arg(default = "# {mark} ANSIBLE MANAGED BLOCK")]
    marker: String,
    /// What stands for `{mark}` at the begin.
    #[arg(default = "BEGIN")]
    marker_begin: String,
    /// What stands for `{mark}` at the end.
    #[arg(default = "END")]
    marker_end: String,
    /// The pattern to put a new block after, or `EOF`.
    insertafter: Option<String>,
    /// The pattern to put a new block before, or `BOF`.
    insertbefore: Option<String>,
    /// Whether a missing file is made.
    create: bool,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// A command line with `%s` that must accept the new file first.
    validate: Option<String>,
    /// Whether an empty line goes before the block.
    prepend_newline: bool,
    /// Whether an empty line goes after the block.
    append_newline: bool,
    /// Text encoding; only UTF-8 is known.
    #[arg(default = "utf-8")]
    encoding: String,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.path);
    let existing = host.read_optional(&path)?;
    if existing.is_none() {
        if !args.create {
            return Err(Failure::new(format!("Path {} does not exist !", args.path)).with("rc", 257));
        }
        if let Some(folder) = path.parent().filter(|f| !host.check && !f.exists()) {
            bakery_host::fs::create_dir_all(folder)?;
        }
    }
    let text = String::from_utf8_lossy(&existing.clone().unwrap_or_default()).into_owned();
    // A carriage return at a line's end belongs to the line.
    let split = |text: &str| -> Vec<String> {
        text.split_inclusive('\n').map(|l| l.strip_suffix('\n').unwrap_or(l).to_owned()).collect()
    };
    let mut lines = split(&text);
    let begin = args.marker.replace("{mark}", &args.marker_begin);
    let end = args.marker.replace("{mark}", &args.marker_end);
    let wanted = args.state == "present" && !args.block.is_empty();
    let mut block: Vec<String> = Vec::new();
    if wanted {
        block.push(begin.clone());
        block.extend(split(args.block.strip_suffix('\n').unwrap_or(&args.block)));
        block.push(end.clone());
    }
    let first = lines.iter().rposition(|l| l.trim_end_matches('\r') == begin);
    let last = lines.iter().rposition(|l| l.trim_end_matches('\r') == end);
    let at = match (first, last) {
        (Some(first), Some(last)) if first <= last => {
            lines.drain(first..=last);
            first
        }
        _ if !wanted => return Ok(Outcome::unchanged().msg("")),
        _ => {
            let search = |pattern: &str| -> Result<Option<usize>, Failure> {
                let regex = compile(pattern, Flags::default())?;
                Ok(lines.iter().rposition(|l| regex.is_match(l).unwrap_or(false)))
            };
            // A pattern over several lines is looked for in the whole text.
            let line_of = |pattern: &str, end: bool| -> Result<Option<usize>, Failure> {
                let found = compile(pattern, Flags::default())?.find(&text).ok().flatten();
                let at = found.map(|found| if end { found.end() } else { found.start() });
                Ok(at.map(|at| text[..at].matches('\n').count()))
            };
            let is_long = |pattern: &str| {
                let flags = pattern.strip_prefix("(?").and_then(|rest| rest.split_once(')'));
                flags.is_some_and(|(flags, _)| {
                    flags.bytes().all(|b| b.is_ascii_alphabetic()) && flags.contains('m')
                })
            };
            match (args.insertbefore.as_deref(), args.insertafter.as_deref()) {
                (Some("BOF"), _) => 0,
                (Some(pattern), _) if is_long(pattern) => line_of(pattern, false)?.unwrap_or(lines.len()),
                (Some(pattern), _) => search(pattern)?.unwrap_or(lines.len()),
                (None, None | Some("EOF")) => lines.len(),
                (None, Some(pattern)) if is_long(pattern) => {
                    line_of(pattern, true)?.map_or(lines.len(), |at| (at + 1).min(lines.len()))
                }
                (None, Some(pattern)) => search(pattern)?.map_or(lines.len(), |at| at + 1),
            }
        }
    };
    if wanted && args.prepend_newline && at > 0 && lines.get(at - 1).is_some_and(|l| !l.is_empty()) {
        block.insert(0, String::new());
    }
    if wanted && args.append_newline && lines.get(at).is_some_and(|l| !l.is_empty()) {
        block.push(String::new());
    }
    lines.splice(at..at, block);
    let mut new = lines.join("\n");
    if !new.is_empty() && (wanted || text.ends_with('\n')) {
        new.push('\n');
    }
    let how = Replace { backup: args.backup, validate: args.validate.clone(), ..Replace::default() };
    let (mut changed, backup) = host.replace(&path, new.as_bytes(), &how)?;
    let mut message = match (changed, wanted, existing.is_none()) {
        (false, ..) => "",
        (true, true, true) => "File created",
        (true, true, false) => "Block inserted",
        (true, false, _) => "Block removed",
    }
    .to_owned();
    if path.exists() && host.attributes(&path, &args.attributes)? {
        if changed {
            message.push_str(" and ");
        }
        changed = true;
        message.push_str("ownership, perms or SE linux context changed");
    }
    let outcome = Outcome::changed(changed).msg(message);
    Ok(match backup {
        Some(backup) => outcome.with("backup_file", backup.display().to_string()),
        None => outcome,
    })
}

module!("blockinfile", "ansible.builtin", Args, run);
