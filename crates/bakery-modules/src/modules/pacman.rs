//! `pacman`: packages of Arch Linux (community.general `pacman.py`).

use std::collections::{BTreeMap, BTreeSet};

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Installs, upgrades and removes packages of Arch Linux.
#[derive(ModuleArgs)]
#[args(one_of = "name,update_cache,upgrade", exclusive = "name,upgrade")]
struct Args {
    /// Packages, groups, files or addresses.
    #[arg(alias = "package,pkg")]
    name: Option<Vec<String>>,
    /// What shall be.
    #[arg(default = "present", choices = "present,installed,latest,absent,removed")]
    state: String,
    /// Whether it is done in spite of what pacman would rather ask.
    force: bool,
    /// Whether no copies of changed configuration are kept on removal.
    remove_nosave: bool,
    /// The program.
    #[arg(default = "pacman")]
    executable: String,
    /// Further options.
    #[arg(default = "")]
    extra_args: String,
    /// Whether the lists are fetched first.
    #[arg(alias = "update-cache")]
    update_cache: Option<bool>,
    /// Further options for fetching the lists.
    #[arg(default = "")]
    update_cache_extra_args: String,
    /// Whether all packages are upgraded.
    upgrade: Option<bool>,
    /// Further options for upgrading.
    #[arg(default = "")]
    upgrade_extra_args: String,
    /// The folder of another system whose packages are meant.
    root: Option<String>,
    /// The folder with packages that were fetched; for another `root` only.
    cachedir: Option<String>,
    /// Another configuration than the system's.
    config: Option<String>,
    /// Whether a package is kept for its own sake, or because another needs it.
    #[arg(choices = "explicit,dependency")]
    reason: Option<String>,
    /// Whose reason is set: that of new packages, or of all.
    #[arg(default = "new", choices = "all,new")]
    reason_for: String,
}

/// What pacman knows.
#[derive(Default)]
struct Inventory {
    installed: BTreeMap<String, String>,
    available: BTreeMap<String, String>,
    available_groups: BTreeMap<String, BTreeSet<String>>,
    upgradable: BTreeMap<String, (String, String)>,
    reasons: BTreeMap<String, &'static str>,
}

/// A package that was asked for.
#[derive(Clone, PartialEq)]
struct Wanted {
    name: String,
    source: String,
    is_file: bool,
}

struct Pacman<'a> {
    args: &'a Args,
    host: &'a Host,
    /// The program, and the options that all commands get.
    base: Vec<String>,
    result: Outcome,
    messages: Vec<String>,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

impl Pacman<'_> {
    fn argv<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        self.base.iter().map(String::as_str).chain(words.iter().copied()).collect()
    }

    fn try_run(&self, words: &[&str]) -> Result<bakery_host::Output, Failure> {
        self.host.try_run(&self.argv(words))
    }

    fn text(&self, words: &[&str]) -> Result<String, Failure> {
        Ok(self.host.run(&self.argv(words))?.text())
    }

    /// Does something, and keeps what was said for the result.
    fn act(&mut self, words: &[&str], failed: &str) -> Result<(), Failure> {
        let output = self.try_run(words)?;
        if !output.success() {
            return Err(Failure::new(failed)
                .with("cmd", Value::strings(self.argv(words)))
                .with("stdout", output.text())
                .with("stderr", output.error_text()));
        }
        for (kept, said) in [(&mut self.stdout, output.text()), (&mut self.stderr, output.error_text())] {
            if !said.is_empty() {
                kept.push(said);
            }
        }
        Ok(())
    }

    fn set(&self, name: &str, value: impl Into<Value>) {
        self.result.fields.set(name, value);
    }

    fn set_diff(&self, before: &[String], after: &[String]) {
        let text = |lines: &[String]| if lines.is_empty() { String::new() } else { lines.join("\n") + "\n" };
        self.set("diff", Value::map([("before", text(before).into()), ("after", text(after).into())]));
    }

    fn inventory(&self) -> Result<Inventory, Failure> {
        let pairs = |text: String| -> Vec<(String, String)> {
            let pair = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                (words.len() == 2).then(|| (words[0].to_owned(), words[1].to_owned()))
            };
            text.lines().filter_map(pair).collect()
        };
        let mut known = Inventory {
            installed: pairs(self.text(&["--query"])?).into_iter().collect(),
            ..Inventory::default()
        };
        for line in self.text(&["--sync", "--list"])?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, name, version, ..] = words[..] {
                known.available.insert(name.into(), version.into());
            }
        }
        for (group, package) in pairs(self.text(&["--sync", "--groups", "--groups"])?) {
            known.available_groups.entry(group).or_default().insert(package);
        }
        let upgrades = self.try_run(&["--query", "--upgrades"])?;
        // 1 says that there are none.
        if upgrades.code > 1 || upgrades.code == 1 && !upgrades.stdout.is_empty() {
            return Err(Failure::new("Couldn't get list of packages available for upgrade")
                .with("stdout", upgrades.text())
                .with("stderr", upgrades.error_text()));
        }
        for line in upgrades.text().lines().filter(|line| !line.contains("[ignored")) {
            // Helpers for packages of users add how old one is: `[9d2h]`.
            let is_age = |word: &str| {
                word.starts_with('[') && ["d]", "h]", "m]"].iter().any(|end| word.ends_with(end))
            };
            let mut words: Vec<&str> = line.split_whitespace().collect();
            words.truncate(words.len() - usize::from(words.len() == 5 && is_age(words[4])));
            if let [name, now, _, then] = words[..] {
                known.upgradable.insert(name.into(), (now.into(), then.into()));
            }
        }
        for (option, reason) in [("--explicit", "explicit"), ("--deps", "dependency")] {
            let listed = self.try_run(&["--query", option])?;
            known.reasons.extend(pairs(listed.text()).into_iter().map(|(name, _)| (name, reason)));
        }
        Ok(known)
    }

    /// The packages that names, groups, files and addresses stand for.
    fn wanted(&self, known: &Inventory, absent: bool) -> Result<Vec<Wanted>, Failure> {
        let mut wanted = Vec::new();
        for name in self.args.name.iter().flatten().filter(|name| !name.is_empty()) {
            let plain = |name: &String| Wanted { name: name.clone(), source: name.clone(), is_file: false };
            if let Some(group) = known.available_groups.get(name) {
                wanted.extend(group.iter().map(plain));
                continue;
            }
            if known.available.contains_key(name) || known.installed.contains_key(name) {
                wanted.push(plain(name));
                continue;
            }
            let synced = self.try_run(&["--sync", "--print-format", "%n", name])?;
            if synced.success() {
                let found = synced.text().trim().to_owned();
                wanted.push(Wanted { name: found, source: name.clone(), is_file: false });
                continue;
            }
            let file = self.try_run(&["--upgrade", "--print-format", "%n", name])?;
            if file.success() {
                let found = file.text().lines().last().unwrap_or_default().trim().to_owned();
                wanted.push(Wanted { name: found, source: name.clone(), is_file: true });
            } else if !absent {
                return Err(Failure::new(format!("Failed to list package {name}"))
                    .with("stdout", file.text())
                    .with("stderr", file.error_text())
                    .with("rc", file.code));
            }
        }
        Ok(wanted)
    }

    fn update(&mut self) -> Result<(), Failure> {
        if self.host.check {
            self.messages.push("Would have updated the package db".into());
            self.result.changed = true;
            self.set("cache_updated", true);
            return Ok(());
        }
        let list = |pacman: &Self| -> Result<BTreeSet<String>, Failure> {
            Ok(pacman.text(&["--sync", "--list"])?.lines().map(str::to_owned).collect())
        };
        let args = self.args;
        let before = if args.force { BTreeSet::new() } else { list(self)? };
        let mut words = vec!["--sync", "--refresh"];
        words.extend(args.update_cache_extra_args.split_whitespace());
        words.extend(args.force.then_some("--refresh"));
        self.act(&words, "could not update package db")?;
        let updated = args.force || before != list(self)?;
        self.set("cache_updated", updated);
        self.result.changed |= updated;
        self.messages.push("Updated package db".into());
        Ok(())
    }

    fn upgrade(&mut self, known: &Inventory) -> Result<(), Failure> {
        if known.upgradable.is_empty() {
            self.messages.push("Nothing to upgrade".into());
            return Ok(());
        }
        self.result.changed = true;
        let lines = |of: fn(&(String, String)) -> &String| -> Vec<String> {
            known.upgradable.iter().map(|(name, versions)| format!("{name}-{}", of(versions))).collect()
        };
        self.set_diff(&lines(|v| &v.0), &lines(|v| &v.1));
        self.set("packages", Value::strings(known.upgradable.keys()));
        if self.host.check {
            self.messages.push(format!("{} packages would have been upgraded", known.upgradable.len()));
            return Ok(());
        }
        let args = self.args;
        let mut words = vec!["--sync", "--sysupgrade", "--quiet", "--noconfirm"];
        words.extend(args.upgrade_extra_args.split_whitespace());
        self.act(&words, "Could not upgrade")?;
        self.messages.push("System upgraded".into());
        Ok(())
    }

    fn install(&mut self, known: &Inventory, wanted: &[Wanted], latest: bool) -> Result<(), Failure> {
        let args = self.args;
        let (mut plain, mut files, mut reason) = (Vec::new(), Vec::new(), Vec::new());
        for package in wanted {
            let there = known.installed.contains_key(&package.name);
            let todo = if package.is_file { &mut files } else { &mut plain };
            // What is done about files and addresses is pacman's to say.
            if package.is_file || !there || latest && known.upgradable.contains_key(&package.name) {
                todo.push(package.clone());
            }
            let held = known.reasons.get(&package.name);
            if let Some(wished) = &args.reason
                && (held.is_none() || args.reason_for == "all" && held != Some(&wished.as_str()))
            {
                reason.push(package.name.clone());
            }
        }
        if plain.is_empty() && files.is_empty() && reason.is_empty() {
            self.set("packages", Value::list(vec![]));
            self.messages.push("package(s) already installed".into());
            return Ok(());
        }
        let mut base = vec!["--noconfirm", "--noprogressbar", "--needed"];
        base.extend(args.extra_args.split_whitespace());
        let (mut before, mut after, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (verb, packages) in [("--sync", &plain), ("--upgrade", &files)] {
            if packages.is_empty() {
                continue;
            }
            let mut words = base.clone();
            words.extend([verb, "--print-format", "%n %v"]);
            words.extend(packages.iter().map(|p| p.source.as_str()));
            let output = self.try_run(&words)?;
            if !output.success() {
                return Err(Failure::new("Failed to list package(s) to install")
                    .with("stdout", output.text())
                    .with("stderr", output.error_text()));
            }
            // Of files it also says that it loads them.
            for line in output.text().lines().filter(|line| !line.contains("loading packages")) {
                let parts: Vec<&str> = line.split_whitespace().collect();
                let [name, version] = parts[..] else { continue };
                if let (Some(now), Some(why)) = (known.installed.get(name), known.reasons.get(name)) {
                    before.push(format!("{name}-{now}-{why}"));
                }
                let why = if reason.iter().any(|r| r == name) {
                    args.reason.as_deref()
                } else {
                    known.reasons.get(name).copied()
                };
                after.push(
                    why.map_or_else(|| format!("{name}-{version}"), |why| format!("{name}-{version}-{why}")),
                );
                names.push(name.to_owned());
            }
        }
        if names.is_empty() && reason.is_empty() {
            self.set("packages", Value::list(vec![]));
            self.messages.push("package(s) already installed".into());
            return Ok(());
        }
        self.result.changed = true;
        before.sort();
        after.sort();
        self.set_diff(&before, &after);
        let mut all = names.clone();
        all.extend(reason.iter().filter(|name| !names.contains(name)).cloned());
        all.sort();
        self.set("packages", Value::strings(&all));
        if self.host.check {
            self.messages.push(format!("Would have installed {} packages", all.len()));
            return Ok(());
        }
        for (verb, packages) in [("--sync", &plain), ("--upgrade", &files)] {
            if !packages.is_empty() {
                let mut words = base.clone();
                words.push(verb);
                words.extend(packages.iter().map(|p| p.source.as_str()));
                self.act(&words, "Failed to install package(s)")?;
            }
        }
        if !reason.is_empty() {
            let flag = if args.reason.as_deref() == Some("dependency") { "--asdeps" } else { "--asexplicit" };
            let mut words = vec!["--noconfirm", "--database", flag];
            words.extend(reason.iter().map(String::as_str));
            self.act(&words, "Failed to install package(s)")?;
        }
        self.messages.push(format!("Installed {} package(s)", all.len()));
        Ok(())
    }

    fn remove(&mut self, known: &Inventory, wanted: &[Wanted]) -> Result<(), Failure> {
        let args = self.args;
        let names: Vec<&str> = wanted
            .iter()
            .map(|p| p.name.as_str())
            .filter(|name| known.installed.contains_key(*name))
            .collect();
        if names.is_empty() {
            self.set("packages", Value::list(vec![]));
            self.messages.push("package(s) already absent".into());
            return Ok(());
        }
        self.result.changed = true;
        let mut base = vec!["--remove", "--noconfirm", "--noprogressbar"];
        base.extend(args.extra_args.split_whitespace());
        if args.force {
            base.extend(["--nodeps", "--nodeps"]);
        }
        let listed = self.try_run(&[&base[..], &["--print-format", "%n-%v"], &names[..]].concat())?;
        if !listed.success() {
            return Err(Failure::new("failed to list package(s) to remove")
                .with("stdout", listed.text())
                .with("stderr", listed.error_text()));
        }
        let removed: Vec<String> = listed.text().split_whitespace().map(str::to_owned).collect();
        self.set("packages", Value::strings(&removed));
        self.set_diff(&removed, &[]);
        if self.host.check {
            self.messages.push(format!("Would have removed {} packages", removed.len()));
            return Ok(());
        }
        let nosave: &[&str] = if args.remove_nosave { &["--nosave"] } else { &[] };
        self.act(&[&base[..], nosave, &names[..]].concat(), "failed to remove package(s)")?;
        self.messages.push(format!("Removed {} package(s)", removed.len()));
        Ok(())
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let mut base = vec![host.program(&args.executable)?];
    let cachedir = args.cachedir.as_ref().filter(|_| args.root.is_some());
    for (option, path) in
        [("--config", args.config.as_ref()), ("--root", args.root.as_ref()), ("--cachedir", cachedir)]
    {
        base.extend(
            path.into_iter().flat_map(|path| [option.to_owned(), host.path(path).display().to_string()]),
        );
    }
    let mut pacman = Pacman {
        args: &args,
        base,
        host,
        result: Outcome::unchanged(),
        messages: vec![],
        stdout: vec![],
        stderr: vec![],
    };
    let upgrade = args.upgrade.unwrap_or(false);
    let has_names = args.name.as_ref().is_some_and(|names| !names.is_empty());
    if args.update_cache.unwrap_or(false) {
        pacman.update()?;
    }
    let only_lists = args.update_cache.unwrap_or(false) && !upgrade && !has_names;
    if !only_lists {
        let known = pacman.inventory()?;
        if upgrade {
            pacman.upgrade(&known)?;
        } else if has_names {
            let absent = matches!(args.state.as_str(), "absent" | "removed");
            let wanted = pacman.wanted(&known, absent)?;
            if absent {
                pacman.remove(&known, &wanted)?;
            } else {
                pacman.install(&known, &wanted, args.state == "latest")?;
            }
        } else {
            pacman.messages.push("Nothing to do".into());
        }
    }
    let Pacman { result, messages, stdout, stderr, .. } = pacman;
    let mut result = result.msg(messages.join("\n"));
    for (name, said) in [("stdout", stdout), ("stderr", stderr)] {
        if !said.is_empty() {
            result = result.with(name, said.join("\n"));
        }
    }
    Ok(result)
}

module!("pacman", "community.general", Args, run);
