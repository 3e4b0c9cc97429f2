//! `npm`: packages of Node.js (community.general `npm.py`).

use bakery_lang::{Map, Value, json};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Installs packages of Node.js, for everybody or in a folder.
#[derive(ModuleArgs)]
struct Args {
    /// The package; without one, what the folder's `package.json` asks for.
    name: Option<String>,
    /// The folder.
    path: Option<String>,
    /// The version.
    version: Option<String>,
    /// Whether it is for everybody.
    global: bool,
    /// Whether what is only needed for development is left out.
    production: bool,
    /// The program.
    executable: Option<String>,
    /// The registry.
    registry: Option<String>,
    /// What shall be.
    #[arg(default = "present", choices = "present,absent,latest")]
    state: String,
    /// Whether scripts of packages are not run.
    ignore_scripts: bool,
    /// Whether scripts run as root.
    unsafe_perm: bool,
    /// Whether exactly what the lock file says is installed.
    ci: bool,
    /// Whether optional packages are left out.
    no_optional: bool,
    /// Whether no links to programs are made.
    no_bin_links: bool,
    /// Whether it is done though npm warns.
    force: bool,
}

struct Npm<'a> {
    args: &'a Args,
    host: &'a Host,
    program: Vec<String>,
}

impl Npm<'_> {
    /// Runs npm with the options that all of its commands get; whatever the exit code if that is not asked for.
    fn run(&self, verb: &[&str], with_name: bool, must_succeed: bool) -> Result<String, Failure> {
        let args = self.args;
        let mut argv = self.program.clone();
        argv.extend(verb.iter().map(|w| (*w).to_owned()));
        let flags = [
            (args.global, "--global"),
            (args.production && matches!(verb[0], "install" | "update" | "ci"), "--production"),
            (args.ignore_scripts, "--ignore-scripts"),
            (args.unsafe_perm, "--unsafe-perm"),
        ];
        argv.extend(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| (*flag).to_owned()));
        if with_name {
            argv.extend(self.name_with_version());
        }
        if let Some(registry) = &args.registry {
            argv.extend(["--registry".to_owned(), registry.clone()]);
        }
        for (on, flag) in [
            (args.no_optional, "--no-optional"),
            (args.no_bin_links, "--no-bin-links"),
            (args.force, "--force"),
        ] {
            if on {
                argv.push(flag.into());
            }
        }
        let mut command = self.host.cmd(&argv[0]).args(&argv[1..]);
        if let Some(path) = &args.path {
            let path = self.host.path(path);
            if !path.exists() {
                bakery_host::fs::create_dir_all(&path)?;
            }
            if !path.is_dir() {
                return Err(Failure::new(format!("path {} is not a directory", path.display())));
            }
            command = command.current_dir(path);
        }
        let output = command.output()?;
        if must_succeed && !output.success() {
            return Err(Failure::new(output.error_text().trim().to_owned()).with_output(&output));
        }
        Ok(output.text())
    }

    fn name_with_version(&self) -> Option<String> {
        let name = self.args.name.as_ref()?;
        let version = self.args.version.as_ref().filter(|_| self.args.state != "absent");
        Some(version.map_or_else(|| name.clone(), |version| format!("{name}@{version}")))
    }

    /// What is there, by name and by name and version, and whether something is missing.
    fn list(&self) -> Result<(Vec<String>, bool), Failure> {
        let said = self.run(&["list", "--json", "--long"], false, false)?;
        // Warnings and notices may stand around it, each on lines of its own.
        let start = said.lines().position(|line| line.trim_start_matches([' ', '\t']).starts_with('{'));
        let lines: Vec<&str> = said.lines().skip(start.unwrap_or(0)).collect();
        let end =
            lines.iter().rposition(|line| line.trim_end().ends_with('}')).map_or(lines.len(), |at| at + 1);
        let told = lines[..end].join("\n");
        let data = json::parse(if said.is_empty() { "{}" } else { &told }).map_err(|_| {
            Failure::new(format!("Failed to parse NPM output with error: it is no JSON: {}", said.trim()))
        })?;
        let Some(dependencies) = data.get("dependencies") else { return Ok((vec![], true)) };
        let (mut there, mut missing) = (Vec::new(), false);
        for (name, entry) in dependencies.as_map().map(Map::pairs).unwrap_or_default() {
            let read = |key: &str| entry.get(key).filter(Value::is_true);
            if read("missing").is_some() || read("invalid").is_some() {
                missing = true;
                continue;
            }
            there.push(name.to_string());
            if let Some(version) = read("version") {
                there.push(format!("{name}@{version}"));
            }
        }
        missing |= self.name_with_version().is_some_and(|wanted| !there.contains(&wanted));
        Ok((there, missing))
    }

    fn outdated(&self) -> Result<bool, Failure> {
        let said = self.run(&["outdated"], false, false)?;
        Ok(said.lines().any(|line| !line.is_empty()))
    }

    fn change(&self, verb: &str) -> Result<(), Failure> {
        if !self.host.check {
            self.run(&[verb], true, true)?;
        }
        Ok(())
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.state == "absent" && args.name.is_none() {
        return Err("state is absent but all of the following are missing: name".into());
    }
    if args.path.is_none() && !args.global {
        return Err("path must be specified when not using global".into());
    }
    let program = match &args.executable {
        Some(executable) => executable.split(' ').map(str::to_owned).collect(),
        None => vec![host.program("npm")?],
    };
    let npm = Npm { args: &args, host, program };
    if args.ci {
        npm.change("ci")?;
        return Ok(Outcome::changed(true));
    }
    let (there, missing) = npm.list()?;
    let changed = match args.state.as_str() {
        "absent" => {
            let there = args.name.as_ref().is_some_and(|name| there.contains(name));
            if there {
                npm.change("uninstall")?;
            }
            there
        }
        state => {
            let outdated = state == "latest" && npm.outdated()?;
            if missing {
                npm.change("install")?;
            }
            if outdated {
                npm.change("update")?;
            }
            outdated || missing
        }
    };
    Ok(Outcome::changed(changed))
}

module!("npm", "community.general", Args, run);
