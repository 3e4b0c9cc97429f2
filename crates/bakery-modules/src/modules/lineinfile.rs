//! `lineinfile`: one line of a file (`ansible/modules/lineinfile.py`).

use bakery_host::fs;
use bakery_lang::regex::{Flags, compile, expand};
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes sure that a line is, or is not, in a file.
#[derive(ModuleArgs)]
#[args(exclusive = "regexp,search_string")]
struct Args {
    /// The file.
    #[arg(required, alias = "dest,destfile,name")]
    path: String,
    /// Whether the line shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// The pattern of the line to replace or remove; the last match counts.
    #[arg(alias = "regex")]
    regexp: Option<String>,
    /// The text of the line to replace or remove, instead of a pattern.
    search_string: Option<String>,
    /// The line.
    #[arg(alias = "value")]
    line: Option<String>,
    /// Whether `\1` in the line stands for groups of the pattern.
    backrefs: bool,
    /// The pattern to add a line after, or `EOF`.
    insertafter: Option<String>,
    /// The pattern to add a line before, or `BOF`.
    insertbefore: Option<String>,
    /// Whether the first match of the insert patterns counts, instead of the last.
    firstmatch: bool,
    /// Whether a missing file is made.
    create: bool,
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
    warn_of_empty(&args, host);
    let path = host.path(&args.path);
    if path.is_dir() {
        return Err(Failure::new(format!("Path {} is a directory !", args.path)).with("rc", 256));
    }
    let existing = host.read_optional(&path)?;
    if existing.is_none() && (args.state == "absent") {
        return Ok(Outcome::unchanged().msg("file not present"));
    }
    if existing.is_none() && !args.create {
        return Err(Failure::new(format!("Destination {} does not exist !", args.path)).with("rc", 257));
    }
    let text = String::from_utf8_lossy(&existing.unwrap_or_default()).into_owned();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let regex = args.regexp.as_deref().map(|r| compile(r, Flags::default())).transpose()?;
    let bare = |line: &str| line.trim_end_matches(['\r', '\n']).to_owned();
    let matches = |line: &str| {
        let line = bare(line);
        match (&regex, &args.search_string) {
            (Some(regex), _) => regex.is_match(&line).unwrap_or(false),
            (None, Some(search)) => line.contains(search.as_str()),
            (None, None) => {
                args.line.as_deref().is_some_and(|wanted| wanted.trim_end_matches(['\r', '\n']) == line)
            }
        }
    };
    let message;
    let mut count = 0;
    if args.state == "absent" {
        if regex.is_none() && args.search_string.is_none() && args.line.is_none() {
            return Err("one of line, search_string, or regexp is required with state=absent".into());
        }
        let before = lines.len();
        lines.retain(|line| !matches(line));
        count = before - lines.len();
        message = format!("{count} line(s) removed");
    } else {
        let Some(line) = &args.line else { return Err("line is required with state=present".into()) };
        if args.backrefs && regex.is_none() {
            return Err("regexp is required with backrefs=true".into());
        }
        message = present(&args, &mut lines, line, regex.as_ref(), &matches)?;
    }
    let new: String = lines.concat();
    let how = Replace { backup: args.backup, validate: args.validate.clone(), ..Replace::default() };
    let mut outcome_msg = message;
    let (mut changed, backup) = if new == text && path.exists() {
        outcome_msg.clear();
        (false, None)
    } else {
        if let Some(folder) = path.parent()
            && !folder.exists()
            && !host.check
        {
            fs::create_dir_all(folder)?;
        }
        host.replace(&path, new.as_bytes(), &how)?
    };
    if args.state == "present"
        && (path.exists() || !host.check)
        && host.attributes(&path, &args.attributes)?
    {
        if outcome_msg.is_empty() {
            outcome_msg = "ownership, perms or SE linux context changed".into();
        } else {
            outcome_msg.push_str(" and ownership, perms or SE linux context changed");
        }
        changed = true;
    }
    let outcome = Outcome::changed(changed)
        .msg(outcome_msg)
        .with("backup", backup.map(|b| b.display().to_string()).unwrap_or_default());
    Ok(if args.state == "absent" { outcome.with("found", count) } else { outcome })
}

/// Warns of a pattern that is found in every line.
fn warn_of_empty(args: &Args, host: &mut Host) {
    for (given, what) in [(&args.regexp, "regular expression"), (&args.search_string, "search string")] {
        if given.as_deref() != Some("") {
            continue;
        }
        let mut text = format!(
            "The {what} is an empty string, which will match every line in the file. This may have unintended consequences, such as replacing the last line in the file rather than appending."
        );
        if what == "regular expression" {
            text.push_str(
                " If this is desired, use '^' to match every line in the file and avoid this warning.",
            );
        }
        host.warn(text);
    }
}

fn present(
    args: &Args,
    lines: &mut Vec<String>,
    line: &str,
    regex: Option<&fancy_regex::Regex>,
    matches: &dyn Fn(&str) -> bool,
) -> Result<String, Failure> {
    let ending = lines.first().filter(|l| l.ends_with("\r\n")).map_or("\n", |_| "\r\n");
    let bare = |line: &str| line.trim_end_matches(['\r', '\n']).to_owned();
    let with_ending =
        |line: &str| if line.ends_with('\n') { line.to_owned() } else { format!("{line}{ending}") };
    let found = lines.iter().rposition(|l| matches(l));
    if let Some(at) = found {
        let mut new = line.to_owned();
        if let (true, Some(regex)) = (args.backrefs, regex) {
            let old = bare(&lines[at]);
            if let Ok(Some(captures)) = regex.captures(old.as_str()) {
                // As `match.expand`: the rest of the line around the match is dropped only when it was matched.
                new = expand(line, &captures);
            }
        }
        if bare(&lines[at]) != bare(&new) {
            lines[at] = with_ending(&new);
            return Ok("line replaced".into());
        }
        return Ok(String::new());
    }
    if args.backrefs {
        return Ok(String::new());
    }
    // A line that is there already, although the pattern does not match it, is not added twice.
    let exact = lines.iter().any(|l| bare(l) == bare(line));
    if regex.is_none() && exact || exact && (args.regexp.is_some() || args.search_string.is_some()) {
        return Ok(String::new());
    }
    let search = |pattern: &str| -> Result<Option<usize>, Failure> {
        let regex = compile(pattern, Flags::default())?;
        let hit = |l: &String| regex.is_match(&bare(l)).unwrap_or(false);
        Ok(if args.firstmatch { lines.iter().position(hit) } else { lines.iter().rposition(hit) })
    };
    let at = match (args.insertbefore.as_deref(), args.insertafter.as_deref()) {
        (Some("BOF"), _) => Some(0),
        (Some(pattern), _) => search(pattern)?,
        (None, None | Some("EOF")) => None,
        (None, Some(pattern)) => search(pattern)?.map(|at| at + 1),
    };
    match at {
        Some(at) if at < lines.len() => {
            lines.insert(at, with_ending(line));
        }
        _ => {
            if let Some(last) = lines.last_mut()
                && !last.ends_with('\n')
            {
                last.push_str(ending);
            }
            lines.push(with_ending(line));
        }
    }
    Ok("line added".into())
}

module!("lineinfile", "ansible.builtin", Args, run);
