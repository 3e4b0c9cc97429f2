//! `django_manage`: commands of a Django application (`community.general`, `django_manage.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Runs a command of a Django application's `manage.py`.
#[derive(ModuleArgs)]
struct Args {
    /// The command, with options of its own.
    #[arg(required)]
    command: String,
    /// The folder with `manage.py`.
    #[arg(required, alias = "app_path,chdir")]
    project_path: String,
    /// The module with the settings.
    settings: Option<String>,
    /// A folder for Python's path.
    #[arg(alias = "python_path")]
    pythonpath: Option<String>,
    /// The virtual environment.
    #[arg(alias = "virtual_env")]
    virtualenv: Option<String>,
    /// Applications, with blanks between them, for `test` and `migrate`.
    apps: Option<String>,
    /// The table for `createcachetable`.
    cache_table: Option<String>,
    /// Whether `collectstatic` removes what is there first.
    clear: bool,
    /// The database.
    database: Option<String>,
    /// Whether `test` ends at the first failure.
    #[arg(alias = "fail_fast")]
    failfast: bool,
    /// Files for `loaddata`, with blanks between them.
    fixtures: Option<String>,
    /// The class that runs tests.
    #[arg(alias = "test_runner")]
    testrunner: Option<String>,
    /// Whether `migrate` skips missing migrations.
    skip: bool,
    /// Whether `migrate` runs migrations out of order.
    merge: bool,
    /// Whether `collectstatic` makes links.
    link: bool,
}

/// What a command takes of the options that only some take.
fn takes(command: &str) -> &'static [&'static str] {
    match command {
        "createcachetable" | "flush" => &["database"],
        "loaddata" => &["database", "fixtures"],
        "test" => &["failfast", "testrunner", "apps"],
        "migrate" => &["apps", "database"],
        "collectstatic" => &["clear"],
        _ => &[],
    }
}

/// Whether a command says that it has changed something.
fn has_changed(command: &str, said: &str) -> bool {
    let installed = |line: &str| line.contains("Installed") && !line.contains("Installed 0 object");
    match command {
        "createcachetable" => !said.contains("already exists"),
        "flush" | "loaddata" => said.lines().any(installed),
        "migrate" => said
            .lines()
            .any(|line| line.contains("Migrating forwards ") || installed(line) || line.contains("Applying")),
        "collectstatic" => said.lines().any(|line| !line.is_empty() && !line.contains("0 static files")),
        _ => false,
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("django_manage"));
    }
    let words = super::command::split_line(&args.command)?;
    let command = words.first().ok_or("command is empty")?.as_str();
    let set = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
    let given = [
        ("apps", set(&args.apps)),
        ("clear", args.clear),
        ("database", set(&args.database)),
        ("failfast", args.failfast),
        ("fixtures", set(&args.fixtures)),
        ("testrunner", set(&args.testrunner)),
    ];
    if let Some((name, _)) = given.iter().find(|(name, given)| *given && !takes(command).contains(name)) {
        return Err(format!("{name} param is incompatible with command={command}").into());
    }
    if command == "loaddata" && !set(&args.fixtures) {
        return Err(format!("fixtures param is required for command={command}").into());
    }
    let project = host.path(&args.project_path);
    let environment = args.virtualenv.as_deref().map(|path| host.path(path));
    let mut argv = vec!["./manage.py".to_owned()];
    argv.extend(words.iter().cloned());
    let asks = matches!(command, "flush" | "migrate" | "test" | "collectstatic");
    if asks && !words.iter().any(|word| word == "--noinput") {
        argv.push("--noinput".to_owned());
    }
    let valued =
        [("settings", &args.settings), ("pythonpath", &args.pythonpath), ("database", &args.database)];
    for (name, value) in valued {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            argv.push(format!("--{name}={value}"));
        }
    }
    let switches = [
        ("clear", args.clear),
        ("failfast", args.failfast),
        ("skip", args.skip),
        ("merge", args.merge),
        ("link", args.link),
    ];
    argv.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| format!("--{name}")));
    argv.extend(super::command::split_line(args.apps.as_deref().unwrap_or_default())?);
    argv.extend(args.cache_table.iter().filter(|table| !table.is_empty()).cloned());
    argv.extend(super::command::split_line(args.fixtures.as_deref().unwrap_or_default())?);

    let mut path = std::env::var("PATH").unwrap_or_default();
    let mut program = host.cmd("./manage.py").args(&argv[1..]).current_dir(&project);
    if let Some(environment) = &environment {
        let programs = environment.join("bin");
        if !programs.join("activate").exists() {
            return Err(
                format!("{} does not point to a valid virtual environment", environment.display()).into()
            );
        }
        path = format!("{}:{path}", programs.display());
        program = program.env("PATH", &path).env("VIRTUAL_ENV", environment);
    }
    let output = program.output()?;
    let (mut said, wrong) = (output.text(), output.error_text());
    if !output.success() {
        if command == "createcachetable" && wrong.contains("table") && wrong.contains("already exists") {
            "already exists.".clone_into(&mut said);
        } else {
            let unknown = format!("Unknown django command: {command}");
            let (out, err) =
                if wrong.contains("Unknown command:") { (&wrong, &unknown) } else { (&said, &wrong) };
            let mut message = String::new();
            if !out.is_empty() {
                message.push_str(&format!("stdout: {out}"));
            }
            if !err.is_empty() {
                message.push_str(&format!("\n:stderr: {err}"));
            }
            return Err(Failure::new(message).with("cmd", Value::strings(&argv)).with("path", path));
        }
    }
    let project = project.display().to_string();
    Ok(Outcome::changed(has_changed(command, &said))
        .with("out", said)
        .with("cmd", Value::strings(&argv))
        .with("app_path", project.as_str())
        .with("project_path", project)
        .with("virtualenv", environment.map(|path| path.display().to_string()))
        .with("settings", args.settings.clone())
        .with("pythonpath", args.pythonpath.clone()))
}

module!("django_manage", "community.general", Args, run);
