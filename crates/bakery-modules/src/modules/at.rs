//! `at`: commands that run once, later (ansible.posix `at.py`), by at(1).

use std::path::Path;

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Has a command or a script run once at a later time, by at(1).
#[derive(ModuleArgs)]
#[args(exclusive = "command,script_file", one_of = "command,script_file")]
struct Args {
    /// A command that is run.
    command: Option<String>,
    /// A script on the machine that is run.
    script_file: Option<String>,
    /// In how many units it runs.
    count: Option<i64>,
    /// The units.
    #[arg(choices = "minutes,hours,days,weeks")]
    units: Option<String>,
    /// Whether it is to be run, or not any more.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Whether it is enough that a job with the same lines waits already.
    unique: bool,
}

/// The numbers of the jobs that hold a script's lines. Those of atq(1) are the user's own, of every queue.
fn matching(host: &Host, at: &str, script: &Path) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let script = bakery_host::fs::read_to_string(script)?;
    for line in host.run(&["atq"])?.text().lines() {
        let Some(number) = line.split_whitespace().next() else { continue };
        if host.run(&[at, "-c", number])?.text().contains(script.trim()) {
            found.push(number.to_owned());
        }
    }
    Ok(found)
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("ansible.posix.at"));
    }
    let at = host.program("at")?;
    let is_wanted = args.state == "present";
    let when = match (args.count, &args.units) {
        (Some(count), Some(units)) if count != 0 => format!("now + {count} {units}"),
        _ if is_wanted => return Err("present state requires count and units".into()),
        _ => String::new(),
    };
    let path = match &args.command {
        Some(command) => {
            let path = host.scratch()?.join("at");
            bakery_host::fs::write_atomic_mode(&path, format!("{command}\n").as_bytes(), 0o600)?;
            path
        }
        None => host.path(args.script_file.as_deref().unwrap_or_default()),
    };
    let outcome = |changed| Outcome::changed(changed).with("state", args.state.as_str());
    if !is_wanted {
        let jobs = matching(host, &at, &path)?;
        for job in &jobs {
            host.run(&[at.as_str(), "-r", job])?;
        }
        return Ok(outcome(!jobs.is_empty()));
    }
    if args.unique && !matching(host, &at, &path)?.is_empty() {
        return Ok(outcome(false));
    }
    let script = path.display().to_string();
    let mut words = vec![at.as_str(), "-f", &script];
    words.extend(when.split(' '));
    host.run(&words)?;
    Ok(outcome(true)
        .with("script_file", script)
        .with("count", args.count.unwrap_or_default())
        .with("units", args.units.as_deref().unwrap_or_default()))
}

module!("at", "ansible.posix", Args, run);
