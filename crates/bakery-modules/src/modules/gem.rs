//! `gem`: packages of Ruby (community.general `gem.py`).

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Installs and removes gems.
#[derive(ModuleArgs)]
#[args(exclusive = "gem_source,repository", exclusive = "gem_source,version")]
struct Args {
    /// The gem.
    #[arg(required)]
    name: String,
    /// What shall be.
    #[arg(default = "present", choices = "present,absent,latest")]
    state: String,
    /// The program.
    executable: Option<String>,
    /// The gem's file.
    gem_source: Option<String>,
    /// Whether what it depends on comes along.
    #[arg(default = "true")]
    include_dependencies: bool,
    /// Where gems come from.
    #[arg(alias = "source")]
    repository: Option<String>,
    /// Whether it goes into the user's home.
    #[arg(default = "true")]
    user_install: bool,
    /// Whether the user's folder that `gem environment` names is given, where the system's own settings would have another.
    override_platform_install_dir: bool,
    /// The folder it goes into.
    install_dir: Option<String>,
    /// The folder its programs go into.
    bindir: Option<String>,
    /// Whether `.gemrc` is left alone.
    #[arg(default = "true")]
    norc: bool,
    /// Whether a version before its release will do.
    pre_release: bool,
    /// Whether its documentation comes along.
    include_doc: bool,
    /// Whether its programs are started by `env`.
    env_shebang: bool,
    /// The version.
    version: Option<String>,
    /// Options for what is compiled.
    build_flags: Option<String>,
    /// Whether it is done all the same.
    force: bool,
}

struct Gem<'a> {
    args: &'a Args,
    host: &'a Host,
    program: Vec<String>,
    /// The version of the program.
    rubygems: (u32, u32, u32),
    /// The user's folder that is given instead of the system's own settings.
    user_folder: Option<String>,
}

impl Gem<'_> {
    fn run(&self, words: &[String]) -> Result<bakery_host::Output, Failure> {
        let mut command = self.host.cmd(&self.program[0]).args(&self.program[1..]).args(words);
        if let Some(folder) = &self.args.install_dir {
            command = command.env("GEM_HOME", self.host.path(folder));
        }
        let output = command.output()?;
        if !output.success() {
            return Err(Failure::new(output.error_text().trim().to_owned()).with_output(&output));
        }
        Ok(output)
    }

    /// A verb with the options that all of them get.
    fn words(&self, verb: &str) -> Vec<String> {
        let mut words = vec![verb.to_owned()];
        if self.args.norc && self.rubygems >= (2, 5, 2) {
            words.push("--norc".into());
        }
        words
    }

    /// The options that say which folders are meant.
    fn folders(&self, programs: Option<&String>) -> Vec<String> {
        let gems = self.user_folder.as_ref().or(self.args.install_dir.as_ref());
        let given = [("--install-dir", gems), ("--bindir", programs)];
        let given = given.into_iter().filter_map(|(name, folder)| Some((name, folder?)));
        given
            .flat_map(|(name, folder)| [name.to_owned(), self.host.path(folder).display().to_string()])
            .collect()
    }

    fn versions(&self, remote: bool) -> Result<Vec<String>, Failure> {
        let mut words = self.words("list");
        if remote {
            words.push("--remote".into());
            words.extend(self.args.repository.iter().flat_map(|r| ["--source".to_owned(), r.clone()]));
        }
        words.push(format!("^{}$", self.args.name));
        let text = self.run(&words)?.text();
        let inside = |line: &str| -> Option<String> {
            let (_, rest) = line.split_once('(')?;
            let (versions, _) = rest.rsplit_once(')')?;
            Some(versions.strip_prefix("default: ").unwrap_or(versions).to_owned())
        };
        let all = text.lines().filter_map(inside);
        let split = |versions: String| {
            let first = |v: &str| v.split_whitespace().next().map(str::to_owned);
            versions.split(", ").filter_map(first).collect::<Vec<_>>()
        };
        Ok(all.flat_map(split).collect())
    }

    fn is_there(&self, version: Option<&String>) -> Result<bool, Failure> {
        let installed = self.versions(false)?;
        Ok(version.map_or(!installed.is_empty(), |version| installed.contains(version)))
    }

    fn install(&self, version: Option<&String>) -> Result<(), Failure> {
        let args = self.args;
        let is_old = self.rubygems < (2, 0, 0);
        let mut words = self.words("install");
        let mut option = |name: &str, value: Option<&String>| {
            words.extend(value.into_iter().flat_map(|v| [name.to_owned(), v.clone()]));
        };
        option("--version", version);
        option("--source", args.repository.as_ref());
        let mut flag = |on: bool, name: &str| words.extend(on.then(|| name.to_owned()));
        flag(!args.include_dependencies, "--ignore-dependencies");
        flag(args.include_dependencies && is_old, "--include-dependencies");
        let by_user = args.user_install && self.user_folder.is_none();
        flag(true, if by_user { "--user-install" } else { "--no-user-install" });
        let programs = self.user_folder.as_ref().map(|folder| format!("{folder}/bin"));
        words.extend(self.folders(args.bindir.as_ref().or(programs.as_ref())));
        let mut flag = |on: bool, name: &str| words.extend(on.then(|| name.to_owned()));
        flag(args.pre_release, "--pre");
        flag(!args.include_doc && is_old, "--no-rdoc");
        flag(!args.include_doc && is_old, "--no-ri");
        flag(!args.include_doc && !is_old, "--no-document");
        flag(args.env_shebang, "--env-shebang");
        flag(true, args.gem_source.as_ref().unwrap_or(&args.name));
        if let Some(flags) = &args.build_flags {
            words.extend(["--".to_owned(), flags.clone()]);
        }
        if args.force {
            words.push("--force".into());
        }
        self.run(&words).map(drop)
    }

    fn uninstall(&self) -> Result<(), Failure> {
        let args = self.args;
        let mut words = self.words("uninstall");
        words.extend(self.folders(args.bindir.as_ref()));
        match &args.version {
            Some(version) => words.extend(["--version".to_owned(), version.clone()]),
            None => words.push("--all".into()),
        }
        words.push("--executable".into());
        words.extend(args.force.then(|| "--force".to_owned()));
        words.push(args.name.clone());
        let output = self.run(&words)?;
        if self.is_there(args.version.as_ref())? {
            return Err(Failure::new(format!(
                "Failed to uninstall gem '{}': it is still present after 'gem uninstall'. This usually happens with default or system gems provided by the OS, which cannot be removed with the gem command.",
                args.name
            ))
            .with_output(&output));
        }
        Ok(())
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.version.is_some() && args.state == "latest" {
        return Err("Cannot specify version when state=latest".into());
    }
    if args.gem_source.is_some() && args.state == "latest" {
        return Err("Cannot maintain state=latest when installing from local source".into());
    }
    if args.user_install && args.install_dir.is_some() {
        return Err("install_dir requires user_install=false".into());
    }
    if args.override_platform_install_dir && !args.user_install {
        return Err("override_platform_install_dir requires user_install=true".into());
    }
    let program = match &args.executable {
        Some(executable) => executable.split(' ').map(str::to_owned).collect(),
        None => vec![host.program("gem")?],
    };
    let mut gem = Gem { args: &args, host, program, rubygems: (0, 0, 0), user_folder: None };
    let version = gem.run(&["--version".to_owned()])?.text();
    let mut numbers = version.trim().split('.').map(|n| n.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    gem.rubygems = (next(), next(), next());
    if args.override_platform_install_dir {
        let environment = gem.run(&["environment".to_owned()])?.text();
        let folder = environment.lines().find_map(|line| line.split_once("USER INSTALLATION DIRECTORY:"));
        gem.user_folder = folder.map(|(_, folder)| folder.trim().to_owned());
    }
    let latest = if args.state == "latest" { gem.versions(true)?.into_iter().next() } else { None };
    let version = args.version.clone().or(latest);
    let there = gem.is_there(version.as_ref())?;
    let wanted = args.state != "absent";
    if there != wanted && !host.check {
        if wanted {
            gem.install(version.as_ref())?;
        } else {
            gem.uninstall()?;
        }
    }
    let outcome = Outcome::changed(there != wanted).with("name", args.name).with("state", args.state);
    Ok(match version {
        Some(version) => outcome.with("version", version),
        None => outcome,
    })
}

module!("gem", "community.general", Args, run);
