//! `debops.debops.dpkg_divert`: DebOps' own module for files of packages that go elsewhere (debops.debops `dpkg_divert.py`).
//! Other options than those of `community.general.dpkg_divert`, and another default name.

use bakery_host::{Output, fs};
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Diverts a file of a package to another name, or ends that.
#[derive(ModuleArgs)]
struct Args {
    /// The file.
    #[arg(required, alias = "name")]
    path: String,
    /// Whether it shall be diverted.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// The package that keeps the name for itself; `LOCAL` for none.
    #[arg(default = "LOCAL")]
    package: String,
    /// The other name; `.dpkg-divert` is added if not given, `.distrib` for a package's diversion.
    divert: Option<String>,
    /// Whether the file itself is renamed, which never replaces another one.
    #[arg(default = "true")]
    rename: bool,
    /// With `state: absent`, removes the file that has taken the name before the diverted one gets it back.
    delete: bool,
    /// Ends a diversion of another package or to another name first.
    force: bool,
}

/// What is run, by its words: `dpkg-divert` with a locale whose language is known.
struct Command {
    prefix: [String; 3],
    words: Vec<String>,
}

impl Command {
    fn shown(&self) -> String {
        [self.prefix.as_slice(), &self.words].concat().join(" ")
    }

    fn argv(&self) -> Vec<String> {
        [self.prefix.as_slice(), &self.words].concat()
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let program = host.program("dpkg-divert")?;
    let path = host.path(&args.path).display().to_string();
    let prefix = [host.program("env")?, "LC_ALL=C".to_owned(), program.clone()];
    let command = |words: Vec<&str>, test: bool| {
        let test = test.then_some("--test");
        let words = test.into_iter().chain(words).map(str::to_owned).collect();
        Command { prefix: prefix.clone(), words }
    };
    let present = args.state == "present";
    let is_local = args.package == "LOCAL";
    let target = args.divert.as_ref().map(|divert| host.path(divert).display().to_string());
    let default = if is_local { "dpkg-divert" } else { "distrib" };
    let target = target.or_else(|| (!args.package.is_empty()).then(|| format!("{path}.{default}")));
    let mut words = match args.package.as_str() {
        "" => Vec::new(),
        "LOCAL" => vec!["--local"],
        package => vec!["--package", package],
    };
    words.extend(target.iter().flat_map(|target| ["--divert", target.as_str()]));
    words.extend(args.rename.then_some("--rename"));
    words.extend([if present { "--add" } else { "--remove" }, path.as_str()]);
    let wanted = command(words.clone(), host.check);
    let holder = host.try_run(&[program.as_str(), "--listpackage", &path])?.text();
    let test = host.try_run(&command(words, true).argv())?;
    let is_diverted = !holder.is_empty();

    if test.success() || !args.force || !is_diverted {
        let deletes = !present && args.delete && is_diverted;
        // Its own test says no as long as the file is there that would be removed.
        if host.check && deletes && std::path::Path::new(&path).exists() {
            let of = if is_local { "local diversion of" } else { "diversion of" };
            let said = format!("Deleting {path} and removing {of} {path} to {}", target.unwrap_or_default());
            return Ok(outcome(&said, "", wanted.shown().into()));
        }
        if deletes && !host.check {
            fs::remove_file(&path).or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })?;
        }
        let output = checked(host, &wanted)?;
        let is_as_before = ["Leaving", "No diversion"].iter().any(|word| output.text().starts_with(word));
        let mut outcome = outcome(&output.text(), &output.error_text(), wanted.shown().into());
        outcome.changed = !is_as_before;
        return Ok(outcome);
    }

    // Neither the package nor the other name of a diversion can be changed: it is ended first, whosever it is.
    let mut words: Vec<&str> = args.rename.then_some("--rename").into_iter().collect();
    words.extend(host.check.then_some("--test"));
    words.extend(["--remove", path.as_str()]);
    let removal = command(words, false);
    if !present {
        let output = checked(host, &removal)?;
        return Ok(outcome(&output.text(), &output.error_text(), removal.shown().into()));
    }
    let old = host.try_run(&[program.as_str(), "--truename", &path])?.text().trim_end().to_owned();
    let removed = checked(host, &removal)?.text();
    let commands = Value::strings([removal.shown(), wanted.shown()]);
    if host.check {
        let said = "The next step can't be actually performed - even dry-run - without error (since the previous removal didn't happen) but is supposed to achieve the task.";
        let said = Value::strings([removed.as_str(), "*** RUNNING IN CHECK MODE ***", said]);
        return Ok(Outcome::changed(true).with("cmd", commands).with("msg", said));
    }
    // The diverted file goes with the name, for dpkg-divert left it where the file that took its name is still there.
    let is_file = |name: &str| std::path::Path::new(name).is_file();
    let moved = target.filter(|new| args.rename && is_file(&old) && !is_file(new));
    if let Some(new) = &moved {
        fs::rename(&old, new)?;
    }
    let output = host.try_run(&wanted.argv())?;
    if output.success() {
        let said = Value::strings([removed, output.text()]);
        return Ok(outcome(&output.text(), &output.error_text(), commands).with("msg", said));
    }
    if let Some(new) = moved.filter(|new| !is_file(&old) && is_file(new)) {
        fs::rename(&new, &old)?;
    }
    let mut words: Vec<&str> = args.rename.then_some("--rename").into_iter().collect();
    match holder.trim_end() {
        "LOCAL" => words.push("--local"),
        package => words.extend(["--package", package]),
    }
    words.extend(["--divert", &old, &path]);
    checked(host, &command(words, false))?;
    let failure = Failure::new("The diversion could not be changed; it is what it was before.");
    Err(failure.with_output(&output).with("changed", true).with("cmd", commands))
}

fn outcome(stdout: &str, stderr: &str, cmd: Value) -> Outcome {
    Outcome::changed(true).with("stdout", stdout).with("stderr", stderr).with("cmd", cmd)
}

/// What a command printed, unless it failed.
fn checked(host: &Host, command: &Command) -> Result<Output, Failure> {
    let output = host.try_run(&command.argv())?;
    if output.success() {
        return Ok(output);
    }
    Err(Failure::new(output.error_text().trim_end()).with_output(&output).with("cmd", command.shown()))
}

module!("dpkg_divert", "debops.debops", Args, run);
