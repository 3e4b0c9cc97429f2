//! `composer`: packages of PHP (community.general `composer.py`).

use std::path::PathBuf;

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
    /// Whether `create-project` is run where a project is already.
    force: bool,
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
    arguments: &str,
) -> Result<bakery_host::Output, Failure> {
    let program = |given: &Option<String>, name: &str| match given {
        Some(path) => Ok(host.path(path).display().to_string()),
        None => host.program(name),
    };
    let mut command = host.cmd(&program(&args.executable, "php")?);
    command = command.arg(program(&args.composer_executable, "composer")?);
    match &args.working_dir {
        _ if args.global_command => command = command.arg("global"),
        Some(folder) => command = command.arg(format!("--working-dir={}", host.path(folder).display())),
        None => {}
    }
    Ok(command.args(words).args(super::command::split_line(arguments)?).output()?)
}

/// The files that the command `config` changes, with what is in them.
fn config_files(args: &Args, host: &Host) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    let folder = match &args.working_dir {
        Some(folder) if !args.global_command => host.path(folder),
        _ => {
            let home = composer(args, host, &["config", "--no-interaction", "home"], "")?;
            PathBuf::from(home.text().trim())
        }
    };
    ["composer.json", "auth.json"].into_iter().map(|name| host.read_optional(&folder.join(name))).collect()
}

fn run(args: Args, host: &mut Host) -> Run {
    if !args.global_command && args.working_dir.is_none() {
        return Err("global_command is False but all of the following are missing: working_dir".into());
    }
    if args.command.contains(char::is_whitespace) {
        return Err("Use the 'arguments' param for passing arguments with the 'command'".into());
    }
    let help = composer(&args, host, &["help", &args.command, "--no-interaction", "--format=json"], "")?;
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
    let options: Vec<String> = chosen.map(|(_, option)| format!("--{option}")).collect();
    let mut words = vec![args.command.as_str()];
    words.extend(options.iter().map(String::as_str));
    if args.command == "create-project"
        && !args.force
        && args.working_dir.as_ref().is_some_and(|folder| host.path(folder).join("composer.json").exists())
    {
        let msg = "composer.json already exists in working_dir, skipping create-project";
        return Ok(Outcome::unchanged().msg(msg));
    }
    if host.check {
        if !known("dry-run") {
            let msg = format!("command '{}' does not support check mode, skipping", args.command);
            return Ok(Outcome::unchanged().with("skipped", true).msg(msg));
        }
        words.push("--dry-run");
    }
    // This command says nothing of what it changed.
    let configures = args.command == "config" && !host.check;
    let before = configures.then(|| config_files(&args, host)).transpose()?;
    let output = composer(&args, host, &words, &args.arguments)?;
    let said = output.error_text();
    for line in said.lines().filter(|line| line.contains("Do not run Composer as root/super user")) {
        host.warn(in_one_line(line));
    }
    if !output.success() {
        return Err(Failure::new(in_one_line(&said)).with("stdout", said));
    }
    let said = output.text() + &said;
    let msg = in_one_line(&said);
    let nothing = ["Nothing to install or update", "Nothing to install, update or remove"];
    let changed = match before {
        Some(before) => before != config_files(&args, host)?,
        None => !nothing.iter().any(|sentence| msg.contains(sentence)),
    };
    Ok(Outcome::changed(changed).msg(msg).with("stdout", said))
}

module!("composer", "community.general", Args, run);
