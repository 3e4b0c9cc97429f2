//! `apk`: packages of Alpine Linux (community.general `apk.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Installs, upgrades and removes packages of Alpine Linux.
#[derive(ModuleArgs)]
#[args(one_of = "name,update_cache,upgrade", exclusive = "name,upgrade")]
struct Args {
    /// Packages.
    name: Option<Vec<String>>,
    /// What shall be.
    #[arg(default = "present", choices = "present,installed,absent,removed,latest")]
    state: String,
    /// Whether no index is kept.
    no_cache: bool,
    /// Repositories to use instead of the configured ones.
    repository: Option<Vec<String>>,
    /// Whether the indexes are fetched first.
    update_cache: Option<bool>,
    /// Whether all packages are upgraded.
    upgrade: Option<bool>,
    /// Whether packages may go back to what the repositories have.
    available: bool,
    /// The file that names the packages that were asked for.
    #[arg(default = "/etc/apk/world")]
    world: String,
}

struct Apk<'a> {
    host: &'a Host,
    base: Vec<String>,
}

impl Apk<'_> {
    fn run(&self, words: &[&str]) -> Result<bakery_host::Output, Failure> {
        let argv: Vec<&str> = self.base.iter().map(String::as_str).chain(words.iter().copied()).collect();
        self.host.try_run(&argv)
    }

    /// Does what changes the system, or tries it in check mode; with what is said and which packages it concerned.
    fn change(&self, words: &[&str], names: &[String], failed: &str) -> Result<Outcome, Failure> {
        let mut argv = words.to_vec();
        if self.host.check {
            argv.push("--simulate");
        }
        argv.extend(names.iter().map(String::as_str));
        let output = self.run(&argv)?;
        let packages = Value::strings(packages(&output.text()));
        if !output.success() {
            return Err(Failure::new(failed)
                .with("stdout", output.text())
                .with("stderr", output.error_text())
                .with("packages", packages));
        }
        Ok(Outcome::changed(true)
            .with("stdout", output.text())
            .with("stderr", output.error_text())
            .with("packages", packages))
    }

    fn is_installed(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.run(&["-v", "info", "--installed", name])?.success())
    }

    /// Whether there is nothing newer than what is installed.
    fn is_latest(&self, name: &str) -> Result<bool, Failure> {
        let text = self.run(&["version", name])?.text();
        let of_package = |line: &&str| {
            let version = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        };
        Ok(!text.lines().filter(of_package).any(|line| line.split_whitespace().nth(1) == Some("<")))
    }

    /// What a group made by `apk add --virtual` stands for; nothing if the name is not one.
    fn members(&self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        let told = self.run(&["-v", "info", "--description", name])?.text();
        if !told.lines().any(|line| line.starts_with(&format!("{name}: virtual meta package"))) {
            return Ok(None);
        }
        let told = self.run(&["-v", "info", "--depends", name])?.text();
        Ok(Some(told.split_whitespace().skip(1).map(str::to_owned).collect()))
    }
}

/// Names of packages in lines such as `(1/2) Installing name (1.0-r0)`.
fn packages(text: &str) -> Vec<String> {
    let name = |line: &str| {
        // Since apk-tools 3, `( 1/12)` has the numbers right-aligned.
        let (count, rest) = line.strip_prefix('(')?.split_once(')')?;
        let is_counted = count.contains('/') && rest.starts_with(char::is_whitespace);
        rest.split_whitespace().nth(1).filter(|_| is_counted).map(str::to_owned)
    };
    text.lines().filter_map(name).collect()
}

/// Python's text of a list of texts, as messages of this module have it.
fn shown(names: &[String]) -> String {
    Value::strings(names).to_string()
}

fn run(args: Args, host: &mut Host) -> Run {
    let names = args.name.clone().unwrap_or_default();
    if names.iter().any(|name| name.trim().is_empty()) {
        return Err("Package name(s) cannot be empty or whitespace-only".into());
    }
    let mut base = vec![host.program("apk")?];
    base.extend(args.no_cache.then(|| "--no-cache".to_owned()));
    for repository in args.repository.iter().flatten() {
        base.extend(["--repository", repository, "--repositories-file", "/dev/null"].map(str::to_owned));
    }
    let apk = Apk { host, base };
    let upgrade = args.upgrade.unwrap_or(false);
    if args.update_cache.unwrap_or(false) {
        let output = apk.run(&["update"])?;
        if !output.success() {
            return Err(Failure::new("could not update package db")
                .with("stdout", output.text())
                .with("stderr", output.error_text()));
        }
        if names.is_empty() && !upgrade {
            return Ok(Outcome::changed(true)
                .msg("updated repository indexes")
                .with("stdout", output.text())
                .with("stderr", output.error_text()));
        }
    }
    if upgrade {
        let words: &[&str] = if args.available { &["upgrade", "--available"] } else { &["upgrade"] };
        let mut outcome = apk.change(words, &[], "failed to upgrade packages")?;
        // What hooks of the system print besides is none of it.
        outcome.changed = outcome.fields.get("packages").is_some_and(|names| names.is_true());
        let msg = if outcome.changed { "upgraded packages" } else { "packages already upgraded" };
        return Ok(outcome.msg(msg));
    }
    if matches!(args.state.as_str(), "absent" | "removed") {
        let mut there = Vec::new();
        for name in names {
            if apk.is_installed(&name)? {
                there.push(name);
            }
        }
        if there.is_empty() {
            return Ok(Outcome::unchanged().msg("package(s) already removed"));
        }
        let failed = format!("failed to remove {} package(s)", shown(&there));
        let outcome = apk.change(&["del", "--purge"], &there, &failed)?;
        for name in &there {
            // A package that another one needs stays.
            if !host.check && apk.is_installed(name)? {
                return Err(Failure { msg: failed, fields: outcome.fields });
            }
        }
        return Ok(outcome.msg(format!("removed {} package(s)", shown(&there))));
    }
    let latest = args.state == "latest";
    let world = String::from_utf8_lossy(&bakery_host::fs::read(host.path(&args.world))?).into_owned();
    let asked_for = |name: &str| {
        let of_name = |word: &str| {
            word.strip_prefix(name).is_some_and(|rest| {
                rest.is_empty() || rest.len() > 1 && rest.starts_with(['@', '=', '<', '>', '~'])
            })
        };
        world.split_whitespace().any(of_name)
    };
    let (mut install, mut renew) = (Vec::new(), Vec::new());
    for name in names {
        if let Some(members) = apk.members(&name)? {
            for member in members {
                if latest && !apk.is_latest(&member)? {
                    renew.push(member);
                }
            }
        } else if !asked_for(&name) {
            install.push(name);
        } else if latest && !apk.is_latest(&name)? {
            renew.push(name);
        }
    }
    if install.is_empty() && renew.is_empty() {
        return Ok(Outcome::unchanged().msg("package(s) already installed"));
    }
    let words: &[&str] = if renew.is_empty() { &["add"] } else { &["add", "--upgrade"] };
    let todo: Vec<String> = install.into_iter().chain(renew).collect();
    let outcome = apk.change(words, &todo, &format!("failed to install {}", shown(&todo)))?;
    Ok(outcome.msg(format!("installed {} package(s)", shown(&todo))))
}

module!("apk", "community.general", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_what_apk_says() {
        let said =
            "(1/2) Installing libfoo (1.2-r0)\n(2/2) Installing foo (1.2-r0)\nOK: 8 MiB in 16 packages\n";
        assert_eq!(packages(said), ["libfoo", "foo"]);
        let said =
            "( 1/12) Upgrading foo (1.2-r0 -> 1.3-r0)\n(12/12) Upgrading bar (1-r0 -> 2-r0)\nOK: 8 MiB\n";
        assert_eq!(packages(said), ["foo", "bar"]);
    }
}
