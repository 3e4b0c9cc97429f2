//! `git_config`: settings of git (community.general `git_config.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets or removes a setting of git.
#[derive(ModuleArgs)]
struct Args {
    /// The setting, such as `user.email`.
    #[arg(required)]
    name: String,
    /// The repository, for the scope `local`.
    repo: Option<String>,
    /// The file, for the scope `file`.
    file: Option<String>,
    /// Whether a value is added to others, or takes their place.
    #[arg(default = "replace-all", choices = "add,replace-all")]
    add_mode: String,
    /// Whose setting it is; the system's if not given.
    #[arg(choices = "file,local,global,system")]
    scope: Option<String>,
    /// Whether it shall be set.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// The value.
    value: Option<String>,
}

fn run(args: Args, host: &mut Host) -> Run {
    let scope = args.scope.as_deref().unwrap_or("system");
    let missing =
        |what: &str, name: &str| Failure::new(format!("{what} but all of the following are missing: {name}"));
    let unset = args.state == "absent";
    match (scope, &args.repo, &args.file) {
        ("local", None, _) => return Err(missing("scope is local", "repo")),
        ("file", _, None) => return Err(missing("scope is file", "file")),
        _ => {}
    }
    if !unset && args.value.is_none() {
        return Err(missing("state is present", "value"));
    }
    let value = args.value.clone().unwrap_or_default();
    let git = host.program("git")?;
    let folder = match (scope, &args.repo) {
        ("local", Some(repo)) => host.path(repo),
        // A repository that we happen to stand in has no say.
        _ => "/".into(),
    };
    let mut base = vec![git, "config".to_owned(), "--includes".to_owned()];
    match (scope, &args.file) {
        ("file", Some(file)) => base.extend(["-f".to_owned(), host.path(file).display().to_string()]),
        _ => base.push(format!("--{scope}")),
    }
    let run = |words: &[&str]| -> Result<(String, bakery_host::Output), Failure> {
        let argv: Vec<&str> = base.iter().map(String::as_str).chain(words.iter().copied()).collect();
        let command = host.cmd(argv[0]).args(&argv[1..]).env("LC_ALL", "C");
        Ok((argv.join(" "), command.current_dir(&folder).output()?))
    };
    let (line, output) = run(&["--get-all", &args.name])?;
    // 1 says that it is not set.
    if !matches!(output.code, 0 | 1) {
        return Err(Failure::new(output.error_text()).with("rc", output.code).with("cmd", line));
    }
    let text = output.text();
    let before: Vec<String> = text.lines().map(str::to_owned).collect();
    if unset && text.is_empty() {
        return Ok(Outcome::unchanged().msg("no setting to unset"));
    }
    let adds = args.add_mode == "add";
    if !unset && before.contains(&value) && (before.len() == 1 || adds) {
        return Ok(Outcome::unchanged().msg(""));
    }
    let add_mode = format!("--{}", args.add_mode);
    let words: Vec<&str> =
        if unset { vec!["--unset-all", &args.name] } else { vec![&add_mode, &args.name, &value] };
    let header = base.iter().map(String::as_str).chain(words.iter().copied()).collect::<Vec<_>>().join(" ");
    if !host.check {
        let (line, output) = run(&words)?;
        if !output.stderr.is_empty() || !output.success() {
            return Err(Failure::new(output.error_text()).with("rc", output.code).with("cmd", line));
        }
    }
    let after = match (unset, adds) {
        (true, _) => vec![],
        (false, true) => before.iter().cloned().chain([value]).collect(),
        (false, false) => vec![value],
    };
    let shown = |values: &[String]| match values {
        [] => Value::from("\n"),
        [one] => format!("{one}\n").into(),
        many => Value::strings(many),
    };
    Ok(Outcome::changed(true).msg("setting changed").with(
        "diff",
        Value::map([
            ("before_header", Value::from(header.as_str())),
            ("before", shown(&before)),
            ("after_header", Value::from(header)),
            ("after", shown(&after)),
        ]),
    ))
}

module!("git_config", "community.general", Args, run);
