//! `replace`: every match of a pattern in a file (`ansible/modules/replace.py`).

use bakery_lang::regex::{Flags, compile, replace};
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Replaces every match of a pattern in a file.
#[derive(ModuleArgs)]
struct Args {
    /// The file.
    #[arg(required, alias = "dest,destfile,name")]
    path: String,
    /// The pattern; `^` and `$` match at lines.
    #[arg(required)]
    regexp: String,
    /// What to put instead; empty removes.
    #[arg(default = "")]
    replace: String,
    /// Only what follows the first match of this pattern is searched.
    after: Option<String>,
    /// Only what precedes the first match of this pattern is searched.
    before: Option<String>,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// A command line with `%s` that must accept the new file first.
    validate: Option<String>,
    /// Text encoding; only UTF-8 is known.
    #[arg(default = "utf-8")]
    encoding: String,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.path);
    if path.is_dir() {
        return Err(Failure::new(format!("Path {} is a directory !", args.path)).with("rc", 256));
    }
    let Some(bytes) = host.read_optional(&path)? else {
        return Err(Failure::new(format!("Path {} does not exist !", args.path)).with("rc", 257));
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let section = |pattern: &str| compile(pattern, Flags { dot_all: true, ..Flags::default() });
    let mut from = 0;
    let mut to = text.len();
    if let Some(after) = &args.after {
        match section(after)?.find(&text) {
            Ok(Some(found)) => from = found.end(),
            _ => return Ok(no_section(&args)),
        }
    }
    if let Some(before) = &args.before {
        match section(before)?.find(&text[from..]) {
            Ok(Some(found)) => to = from + found.start(),
            _ => return Ok(no_section(&args)),
        }
    }
    bakery_lang::regex::check_replacement(&args.replace)
        .map_err(|e| Failure::new(format!("Unable to process replace due to error: {e}")))?;
    let regex = compile(&args.regexp, Flags { multiline: true, ..Flags::default() })?;
    let (middle, count) = replace(&regex, &text[from..to], &args.replace, 0)?;
    let new = format!("{}{middle}{}", &text[..from], &text[to..]);
    let how = Replace { backup: args.backup, validate: args.validate.clone(), ..Replace::default() };
    let (mut changed, backup) = host.replace(&path, new.as_bytes(), &how)?;
    let mut message = if changed { format!("{count} replacements made") } else { String::new() };
    if host.attributes(&path, &args.attributes)? {
        if changed {
            message.push_str(" and ");
        }
        changed = true;
        message.push_str("ownership, perms or SE linux context changed");
    }
    let outcome = Outcome::changed(changed).msg(message).with("rc", 0);
    Ok(match backup {
        Some(backup) => outcome.with("backup_file", backup.display().to_string()),
        None => outcome,
    })
}

/// What is said when `after` and `before` are not found: the pattern that Ansible makes of them.
fn no_section(args: &Args) -> Outcome {
    let pattern = match (&args.after, &args.before) {
        (Some(after), Some(before)) => format!("{after}(?P<subsection>.*?){before}"),
        (Some(after), None) => format!("{after}(?P<subsection>.*)"),
        (None, before) => format!("(?P<subsection>.*){}", before.as_deref().unwrap_or_default()),
    };
    Outcome::unchanged()
        .msg(format!("Pattern for before/after params did not match the given file: {pattern}"))
        .with("rc", 0)
}

module!("replace", "ansible.builtin", Args, run);
