//! `composer`: packages of PHP (community.general `composer.py`).

use bakery_lang::json;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Runs a command of Composer, PHP's package manager.
#[derive(ModuleArgs)]
struct Args {
    /// The command.
    #[arg(default = "install")]
    command: String,
    /// Further arguments.
    #[arg(default = "")]
    arguments: String,
    /// The program `php`.
    #[arg(alias = "php_path")]
    executable: Option<String>,
    /// The project's folder.
    working_dir: Option<String>,
    /// Whether it is for the user, not for a project.
    global_command: bool,
    /// Whether sources are preferred.
    prefer_source: bool,
    /// Whether archives are preferred.
    prefer_dist: bool,
    /// Whether what is only needed for development is left out.
    #[arg(default = "true")]
    no_dev: bool,
    /// Whether scripts are not run.
    no_scripts: bool,
    /// Whether plugins are not used.
    no_plugins: bool,
    /// Whether APCu caches classes.
    apcu_autoloader: bool,
    /// Whether the autoloader is made for production.
    #[arg(default = "true")]
    optimize_autoloader: bool,
    /// Whether only the map of classes is used.
    classmap_authoritative: bool,
    /// Whether what the platform has is not looked at.
    ignore_platform_reqs: bool,
    /// The program `composer`.
    composer_executable: Option<String>,
}

/// A text with all white space as single spaces.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn composer(
    args: &Args,
    host: &Host,
    words: &[&str],
    options: &[String],
) -> Result<bakery_host::Output, Failure> {
    let program = |given: &Option<String>, name: &str| match given {
        Some(path) => Ok(host.path(path).display().to_string()),
        None => host.program(name),
    };
    let mut command = host.cmd(&program(&args.executable, "php")?);
    command = command.arg(program(&args.composer_executable, "composer")?);
    if args.global_command {
        command = command.arg("global");
    }
    command = command.args(words).args(options);
    if let (Some(folder), false) = (&args.working_dir, args.global_command) {
        command = command.arg("--working-dir").arg(host.path(folder));
    }
    Ok(command
        .args(super::command::split_line(if words[0] == "help" { "" } else { &args.arguments })?)
        .output()?)
}

fn run(args: Args, host: &mut Host) -> Run {
    if !args.global_command && args.working_dir.is_none() {
        return Err("global_command is False but all of the following are missing: working_dir".into());
    }
    if args.command.contains(char::is_whitespace) {
        return Err("Use the 'arguments' param for passing arguments with the 'command'".into());
    }
    let asked = ["--no-interaction".to_owned(), "--format=json".to_owned()];
    let help = composer(&args, host, &["help", &args.command], &asked)?;
    if !help.success() {
        return Err(Failure::new(in_one_line(&help.error_text())));
    }
    let help = json::parse(&help.text()).map_err(|e| Failure::new(format!("composer help: {e}")))?;
    let known = help.get("definition").and_then(|d| d.get("options")).unwrap_or_default();
    let known = |option: &str| known.as_map().is_some_and(|map| map.contains(option));
    let wanted = [
        (true, "no-ansi"),
        (true, "no-interaction"),
        (true, "no-progress"),
        (args.prefer_source, "prefer-source"),
        (args.prefer_dist, "prefer-dist"),
        (args.no_dev, "no-dev"),
        (args.no_scripts, "no-scripts"),
        (args.no_plugins, "no-plugins"),
        (args.apcu_autoloader, "apcu-autoloader"),
        (args.optimize_autoloader, "optimize-autoloader"),
        (args.classmap_authoritative, "classmap-authoritative"),
        (args.ignore_platform_reqs, "ignore-platform-reqs"),
    ];
    let chosen = wanted.into_iter().filter(|(on, option)| *on && known(option));
    let mut options: Vec<String> = chosen.map(|(_, option)| format!("--{option}")).collect();
    if host.check {
        if !known("dry-run") {
            let msg = format!("command '{}' does not support check mode, skipping", args.command);
            return Ok(Outcome::unchanged().with("skipped", true).msg(msg));
        }
        options.push("--dry-run".into());
    }
    let output = composer(&args, host, &[&args.command], &options)?;
    if !output.success() {
        let said = output.error_text();
        return Err(Failure::new(in_one_line(&said)).with("stdout", said));
    }
    let said = output.text() + &output.error_text();
    let msg = in_one_line(&said);
    let nothing = ["Nothing to install or update", "Nothing to install, update or remove"];
    let changed = !nothing.iter().any(|sentence| msg.contains(sentence));
    Ok(Outcome::changed(changed).msg(msg).with("stdout", said))
}

module!("composer", "community.general", Args, run);
