//! `pam_limits`: a limit of resources for users (community.general `pam_limits.py`).

use bakery_macros::ModuleArgs;

use crate::host::Replace;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Keeps a limit of users' resources in `limits.conf`.
#[derive(ModuleArgs)]
struct Args {
    /// The user, `@group`, `*`, or a range.
    #[arg(required)]
    domain: String,
    /// Whether it is the limit itself, or what it starts with.
    #[arg(required, choices = "hard,soft,-")]
    limit_type: String,
    /// What is limited.
    #[arg(
        required,
        choices = "core,data,fsize,memlock,nofile,rss,stack,cpu,nproc,as,maxlogins,maxsyslogins,priority,locks,sigpending,msgqueue,nice,rtprio,chroot"
    )]
    limit_item: String,
    /// The limit: a number, or `unlimited`, `infinity` or `-1`.
    #[arg(required)]
    value: String,
    /// Whether the larger of the old and the new one is kept.
    use_max: bool,
    /// Whether the smaller of the old and the new one is kept.
    use_min: bool,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// The file.
    #[arg(default = "/etc/security/limits.conf")]
    dest: String,
    /// A comment.
    #[arg(default = "")]
    comment: String,
}

fn is_unlimited(value: &str) -> bool {
    matches!(value, "unlimited" | "infinity" | "-1")
}

/// Whether a text can be a limit: `nice` and `priority` may be negative.
fn check(item: &str, value: &str) -> Result<(), Failure> {
    let number = value.parse::<i64>();
    let fits = match item {
        "nice" | "priority" => number.as_ref().is_ok_and(|n| (-20..=19).contains(n)),
        _ => number.as_ref().is_ok_and(|n| *n >= 0) || is_unlimited(value),
    };
    if fits {
        return Ok(());
    }
    Err(Failure::new(format!(
        "Argument 'value' can be one of 'unlimited', 'infinity', '-1' or positive number. Refer to manual pages for more details: {value}"
    )))
}

/// Which of two limits is kept.
fn choose(old: &str, new: &str, larger: bool) -> String {
    let rank = |value: &str| if is_unlimited(value) { i64::MAX } else { value.parse().unwrap_or(0) };
    let keep_new = if larger { rank(new) > rank(old) } else { rank(new) < rank(old) };
    (if keep_new { new } else { old }).to_owned()
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.use_max && args.use_min {
        return Err("Cannot use use_min and use_max at the same time.".into());
    }
    check(&args.limit_item, &args.value)?;
    let path = host.path(&args.dest);
    let existing = host.read_optional(&path)?;
    if existing.is_none() && path.parent().is_none_or(|folder| !folder.is_dir()) {
        return Err(Failure::new(format!(
            "directory {} is not writable (check presence, access rights, use sudo)",
            path.parent().unwrap_or(&path).display()
        )));
    }
    let text = String::from_utf8_lossy(&existing.unwrap_or_default()).into_owned();
    let mut lines: Vec<String> = Vec::new();
    let mut found = false;
    let mut value = args.value.clone();
    let mut message = String::new();
    let comment = if args.comment.is_empty() { String::new() } else { format!("\t#{}", args.comment) };
    let line =
        |value: &str| format!("{}\t{}\t{}\t{value}{comment}", args.domain, args.limit_type, args.limit_item);
    for old in text.lines() {
        let body = old.split('#').next().unwrap_or_default();
        let words: Vec<&str> = body.split_whitespace().collect();
        let [domain, kind, item, now] = words[..] else {
            lines.push(old.to_owned());
            continue;
        };
        if (domain, kind, item) != (args.domain.as_str(), args.limit_type.as_str(), args.limit_item.as_str())
        {
            lines.push(old.to_owned());
            continue;
        }
        found = true;
        if args.use_max || args.use_min {
            value = choose(now, &args.value, args.use_max);
        }
        message = line(&value) + "\n";
        lines.push(if value == now { old.to_owned() } else { line(&value) });
    }
    if !found {
        message = line(&value) + "\n";
        lines.push(line(&value));
    }
    let mut new = lines.join("\n");
    if !new.is_empty() {
        new.push('\n');
    }
    let how = Replace { backup: args.backup, ..Replace::default() };
    let (changed, backup) =
        if new == text { (false, None) } else { host.replace(&path, new.as_bytes(), &how)? };
    let outcome = Outcome::changed(changed).msg(message);
    Ok(match backup {
        Some(backup) => outcome.with("backup_file", backup.display().to_string()),
        None => outcome,
    })
}

module!("pam_limits", "community.general", Args, run);
