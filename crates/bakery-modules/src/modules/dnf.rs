//! `dnf` and `yum`: packages of Red Hat's family, through dnf's own program, or the yum before it, and rpm.
//!
//! What is there already is seen by rpm alone, in a few milliseconds; dnf is started where something is to be done.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::path::PathBuf;

use bakery_host::Output;
use bakery_host::command::find_program;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::rpm::{
    self, Evr, Installed, Package, Transaction, failure, missing, no_group, unknown_repository,
};
use crate::{Failure, Host, Outcome, Run, http};

/// Installs, upgrades and removes RPM packages.
#[derive(ModuleArgs)]
#[args(exclusive = "name,list", exclusive = "best,nobest")]
struct Args {
    /// Packages, groups (`@name`), files or addresses; `*` for all.
    #[arg(alias = "pkg")]
    name: Option<Vec<String>>,
    /// What shall be.
    #[arg(choices = "absent,installed,latest,present,removed")]
    state: Option<String>,
    /// Repositories to use besides.
    enablerepo: Vec<String>,
    /// Repositories not to use.
    disablerepo: Vec<String>,
    /// Packages to leave alone.
    exclude: Vec<String>,
    /// Whether signatures are not checked.
    disable_gpg_check: bool,
    /// Whether the lists are fetched first.
    #[arg(alias = "expire-cache")]
    update_cache: bool,
    /// Whether only installed packages are touched.
    update_only: bool,
    /// Whether packages that nothing needs any more are removed.
    autoremove: bool,
    /// Whether only security updates are taken.
    security: bool,
    /// Whether only bug fixes are taken.
    bugfix: bool,
    /// Whether an older version may replace a newer one.
    allow_downgrade: bool,
    /// Whether conflicting packages are removed.
    allowerasing: bool,
    /// Whether packages that cannot be installed are left out.
    skip_broken: bool,
    /// Whether weak dependencies are installed.
    #[arg(default = "true")]
    install_weak_deps: bool,
    /// Whether packages are only fetched.
    download_only: bool,
    /// Another root folder.
    installroot: Option<String>,
    /// The release of the distribution.
    releasever: Option<String>,
    /// Another configuration file.
    conf_file: Option<String>,
    /// Whether certificates are checked.
    #[arg(default = "true")]
    validate_certs: bool,
    /// Seconds to wait for another package manager.
    #[arg(default = "30")]
    lock_timeout: i64,
    /// Whether the best version is wanted even where it cannot be had.
    best: Option<bool>,
    /// Whether a version that can be had will do.
    nobest: Option<bool>,
    /// Whether only what was fetched before is used.
    cacheonly: bool,
    /// Repositories whose exclusions do not hold: their ids, `all` or `main`.
    disable_excludes: Option<String>,
    /// Plugins not to use.
    disable_plugin: Vec<String>,
    /// Plugins to use.
    enable_plugin: Vec<String>,
    /// The folder that packages are fetched into.
    download_dir: Option<String>,
    /// Accepted and without meaning.
    #[arg(default = "true")]
    install_repoquery: bool,
    /// What to list instead: `installed`, `updates`, `available`, `repos` or a package.
    list: Option<String>,
    /// Whether certificates are checked.
    #[arg(default = "true")]
    sslverify: bool,
    /// Accepted and without meaning.
    use_backend: Option<String>,
}

fn run(args: Args, host: &mut Host) -> Run {
    let program = ["dnf", "dnf5", "microdnf", "yum"].into_iter().find(|p| find_program(p).is_some());
    let Some(program) = program else {
        return Err("neither dnf nor yum is on this system; use the `apt` or `package` module here".into());
    };
    Dnf { host, program, repositories: RefCell::new(separated(&args.enablerepo)), results: vec![], args }
        .run()
}

/// The words of a list whose entries may be lists with commas.
fn separated(list: &[String]) -> Vec<String> {
    let words = list.iter().flat_map(|entry| entry.split(',')).map(|word| word.trim().to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

/// How a name that a task gives is meant (`dnf.py`, `_parse_spec_group_file`).
enum Kind<'a> {
    /// A package in a file.
    File(Package, String),
    /// A group, an environment of groups, or a module.
    Group(&'a str),
    /// A package by its name, version, what it provides, or a pattern.
    Spec(String),
}

/// What is installed of what a name stands for.
enum Found {
    /// Nothing.
    Nothing,
    /// It is.
    Present,
    /// A newer version is.
    Newer,
}

struct Dnf<'a> {
    args: Args,
    host: &'a mut Host,
    program: &'static str,
    /// Repositories that are switched on.
    repositories: RefCell<Vec<String>>,
    results: Vec<String>,
}

impl Dnf<'_> {
    fn run(self) -> Run {
        let names = separated(self.args.name.as_deref().unwrap_or_default());
        if names.iter().any(|name| name.contains(' ') && !name.contains(['@', '>', '<', '='])) {
            return Err(
                "It appears that a space separated string of packages was passed in as an argument. To \
                        operate on several packages, pass a comma separated string of packages or a list of \
                        packages."
                    .into(),
            );
        }
        let is_absent = match self.args.state.as_deref() {
            None => self.args.autoremove,
            Some(state) => matches!(state, "absent" | "removed"),
        };
        if self.args.autoremove && !is_absent {
            return Err(
                Failure::new("Autoremove should be used alone or with state=absent").with("results", vec![])
            );
        }
        if let Some(what) = &self.args.list {
            return self.list(what);
        }
        if let Some(file) = &self.args.conf_file
            && rustix::fs::access(self.host.path(file), rustix::fs::Access::READ_OK).is_err()
        {
            return Err(Failure::new("cannot read configuration file")
                .with("conf_file", file.as_str())
                .with("results", vec![]));
        }
        if self.args.update_cache && names.is_empty() {
            // Where nothing is changed, what dnf keeps for itself is not either.
            if !self.host.check {
                let output = self.call(&["makecache", "--refresh"], &[])?;
                if !output.success() {
                    return Err(failure(&output));
                }
            }
            return Ok(Outcome::unchanged().msg("Cache updated").with("rc", 0).with("results", vec![]));
        }
        if !self.args.download_only && !rustix::process::geteuid().is_root() {
            return Err(
                Failure::new("This command has to be run under the root user.").with("results", vec![])
            );
        }
        if is_absent { self.remove(&names) } else { self.install(&names) }
    }

    fn installed(&self) -> Installed<'_> {
        Installed::below(self.host, self.args.installroot.as_deref())
    }

    /// What a name is meant as.
    fn kind<'n>(&self, name: &'n str) -> Result<Option<Kind<'n>>, Failure> {
        if name.contains("://") || name.ends_with(".rpm") {
            let refused = |why: &str| {
                Failure::new(format!("Error occurred attempting remote rpm operation: {why}"))
                    .with("rc", 1)
                    .with("results", vec![])
            };
            let path = if name.contains("://") { self.fetched(name)? } else { self.host.path(name) };
            let path = std::path::absolute(path).map_err(|e| refused(&e.to_string()))?.display().to_string();
            let package = rpm::of_file(self.host, &path).map_err(|said| refused(&said.msg))?;
            return Ok(Some(Kind::File(package, path)));
        }
        if name.starts_with('/') {
            // One that provides it already is meant, not any other that would.
            return Ok(match self.installed().providing(name)?.first() {
                Some(package) => Some(Kind::Spec(package.name.clone())),
                None if self.args.update_only => None,
                None => Some(Kind::Spec(name.to_owned())),
            });
        }
        if let Some(group) = name.strip_prefix('@') {
            return Ok(Some(Kind::Group(group.trim())));
        }
        Ok(Some(Kind::Spec(name.to_owned())))
    }

    fn fetched(&self, url: &str) -> Result<PathBuf, Failure> {
        if let Some(path) = url.strip_prefix("file://").map(PathBuf::from) {
            let missing = || Failure::new(format!("Failure downloading {url}, there is no such file"));
            return Some(path).filter(|path| path.is_file()).ok_or_else(missing);
        }
        super::get_url::to_temporary(self.host, url, self.args.validate_certs).map_err(|mut failure| {
            failure.msg = format!("Failure downloading {}, {}", http::masked(url), failure.msg);
            failure
        })
    }

    /// What is installed of a name that is no pattern (`dnf.py`, `_is_newer_version_installed`, `_is_installed`).
    fn found(&self, spec: &str) -> Result<Found, Failure> {
        if let Some((name, operator, wanted)) = comparison(spec) {
            let wanted = Evr::read(wanted);
            let called = self.installed().called(name)?;
            let is = called.iter().any(|package| holds(package.evr.compared(&wanted), operator));
            return Ok(if is { Found::Present } else { Found::Nothing });
        }
        if !self.installed().called(spec)?.is_empty() {
            return Ok(Found::Present);
        }
        if self.has_newer(spec)? {
            return Ok(Found::Newer);
        }
        // A package that is called so is meant rather than one that provides as much.
        let is_provided = !spec.starts_with('/')
            && !self.installed().providing(spec)?.is_empty()
            && self.available(spec)?.is_empty();
        Ok(if is_provided { Found::Present } else { Found::Nothing })
    }

    /// Whether a newer version is installed than that of a name with a version.
    fn has_newer(&self, spec: &str) -> Result<bool, Failure> {
        // The version has no hyphen, the release behind it has none either.
        for (at, _) in spec.rmatch_indices('-').take(2) {
            let name = &spec[..at];
            let installed = self.installed().called(name)?;
            let Some(newest) = newest(installed.iter().filter(|package| package.name == name)) else {
                continue;
            };
            // Only repositories know the epoch.
            let available = self.available(spec)?;
            let newer = |other: &Evr| newest.compared(other) == Ordering::Greater;
            return Ok(!available.is_empty() && available.iter().all(newer));
        }
        Ok(false)
    }

    /// Versions that repositories have of packages that are called so. Where they cannot be asked nothing is guessed: an older
    /// version might be installed then.
    fn available(&self, spec: &str) -> Result<Vec<Evr>, Failure> {
        let format = "%{epoch}:%{version}-%{release}\n";
        let output =
            self.call(&["-q", "repoquery", "--available", "--queryformat", format], &[spec.to_owned()])?;
        // The yum before dnf has another program for this, and installs no older version by itself.
        if !output.success() && self.program != "yum" {
            return Err(failure(&output));
        }
        Ok(output.text().lines().filter(|line| line.contains(':')).map(Evr::read).collect())
    }

    fn install(mut self, names: &[String]) -> Run {
        let is_latest = self.args.state.as_deref() == Some("latest");
        if is_latest && names == ["*"] {
            return self.transact(&[("upgrade", vec![])], &[]);
        }
        let is_plain = |name: &String| !name.contains(['@', '/', '<', '>', '=']) && !rpm::is_pattern(name);
        if !is_latest && names.iter().all(is_plain) && self.installed().has(names)? {
            return self.transact(&[], &[]);
        }
        let (mut install, mut upgrade, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            match self.kind(name)? {
                None => {}
                Some(Kind::File(package, path)) => {
                    let installed = self.installed().called(&format!("{}.{}", package.name, package.arch))?;
                    let order = newest(installed.iter()).map(|evr| evr.compared(&package.evr));
                    let is_wanted = match order {
                        None => !self.args.update_only,
                        Some(Ordering::Less) => true,
                        Some(Ordering::Equal) => false,
                        Some(Ordering::Greater) => self.args.allow_downgrade,
                    };
                    self.results.push(format!("Installed {path}"));
                    install.extend(is_wanted.then_some(path));
                }
                Some(Kind::Group(group)) => {
                    groups.push(group.to_owned());
                    install.push(format!("@{group}"));
                }
                Some(Kind::Spec(spec)) if rpm::is_pattern(&spec) => {
                    let is_installed = !self.installed().called(&spec)?.is_empty();
                    match (self.args.update_only, is_installed) {
                        (false, _) => install.push(spec),
                        (true, true) => upgrade.push(spec),
                        (true, false) => self.results.push(not_updated(&spec)),
                    }
                }
                Some(Kind::Spec(spec)) => match self.found(&spec)? {
                    Found::Nothing if self.args.update_only => self.results.push(not_updated(&spec)),
                    Found::Nothing => install.push(spec),
                    Found::Newer if self.args.allow_downgrade => install.push(spec),
                    Found::Present if is_latest || self.args.update_only => upgrade.push(spec),
                    Found::Present | Found::Newer => {}
                },
            }
        }
        self.transact(&[("install", install), ("upgrade", upgrade)], &groups)
    }

    /// The first of some groups that is none, nor a module: of what dnf removes it does not say.
    fn unknown_group<'n>(&self, groups: &[&'n str]) -> Result<Option<&'n str>, Failure> {
        if groups.is_empty() {
            return Ok(None);
        }
        let output = self.call(&[&["-q", "group", "info"], groups].concat(), &[])?;
        let said = output.error_text();
        let is_none = |group: &&&str| said.contains(&format!("Group {group} does not exist"));
        for group in groups.iter().filter(is_none) {
            let module = group.split([':', '/']).next().unwrap_or(group);
            if !self.call(&["-q", "module", "list", module], &[])?.success() {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    fn remove(mut self, names: &[String]) -> Run {
        let mut remove = Vec::new();
        let groups: Vec<&str> =
            names.iter().filter_map(|name| Some(name.strip_prefix('@')?.trim())).collect();
        if let Some(unknown) = self.unknown_group(&groups)? {
            return Err(no_group(unknown));
        }
        for name in names {
            if name.contains("://") || name.ends_with(".rpm") {
                return Err(Failure::new("Cannot remove paths -- please specify package name.")
                    .with("results", vec![]));
            }
            match self.kind(name)? {
                Some(Kind::Group(group)) => remove.push(format!("@{group}")),
                Some(Kind::Spec(spec)) => {
                    let is_there = !self.installed().called(&spec)?.is_empty()
                        || (!rpm::is_pattern(&spec) && !self.installed().providing(&spec)?.is_empty());
                    if is_there {
                        remove.push(spec);
                    } else {
                        self.results.push(format!("No match for argument: {spec}"));
                    }
                }
                Some(Kind::File(..)) | None => {}
            }
        }
        let unneeded = if self.args.autoremove { Some(("autoremove", vec![])) } else { None };
        let steps: Vec<_> = [("remove", remove)].into_iter().chain(unneeded).collect();
        self.transact(&steps, &[])
    }

    /// Options of every call, before its verb.
    fn options(&self) -> Vec<String> {
        let args = &self.args;
        let mut options = Vec::new();
        let mut each = |name: &str, values: &[String]| {
            options.extend(values.iter().map(|value| format!("--{name}={value}")));
        };
        each("disablerepo", &separated(&args.disablerepo));
        each("enablerepo", &self.repositories.borrow());
        each("exclude", &separated(&args.exclude));
        each("disableplugin", &separated(&args.disable_plugin));
        each("enableplugin", &separated(&args.enable_plugin));
        let given = [
            ("disableexcludes", &args.disable_excludes),
            ("installroot", &args.installroot),
            ("releasever", &args.releasever),
            ("config", &args.conf_file),
        ];
        for (name, value) in given {
            options
                .extend(value.iter().filter(|value| *value != "/").map(|value| format!("--{name}={value}")));
        }
        if self.program == "microdnf" {
            // It knows no more than this, and checks signatures as its configuration says.
            options.extend((!args.install_weak_deps).then(|| "--setopt=install_weak_deps=0".to_owned()));
            return options;
        }
        // Ansible has signatures checked whatever the configuration says of them; a repository's own word counts.
        let checks = if args.disable_gpg_check { "0" } else { "1" };
        options.push(format!("--setopt=gpgcheck={checks}"));
        options.push(format!("--setopt=localpkg_gpgcheck={checks}"));
        // What others needed stays, unless it is asked to go.
        options.push(format!("--setopt=clean_requirements_on_remove={}", u8::from(args.autoremove)));
        for (on, option) in [
            (args.disable_gpg_check, "--nogpgcheck"),
            (args.security, "--security"),
            (args.bugfix, "--bugfix"),
            (args.allowerasing, "--allowerasing"),
            (args.skip_broken, "--setopt=strict=0"),
            (!args.install_weak_deps, "--setopt=install_weak_deps=0"),
            (!args.sslverify, "--setopt=sslverify=0"),
            (args.best == Some(true) || args.nobest == Some(false), "--setopt=best=1"),
            (args.nobest == Some(true) || args.best == Some(false), "--setopt=best=0"),
            (args.cacheonly, "--cacheonly"),
        ] {
            options.extend(on.then(|| option.to_owned()));
        }
        options
    }

    /// Calls dnf. Ansible asks for repositories where there are some, and for nothing where there are none: one that dnf does
    /// not know is no longer asked for.
    fn call(&self, words: &[&str], names: &[String]) -> Result<Output, Failure> {
        loop {
            let mut argv = vec![self.program.to_owned()];
            argv.extend(self.options());
            argv.extend(words.iter().map(|word| (*word).to_owned()));
            argv.extend(names.iter().cloned());
            let output = self.host.try_run(&argv)?;
            let mut repositories = self.repositories.borrow_mut();
            match unknown_repository(&output).filter(|unknown| repositories.contains(unknown)) {
                Some(unknown) => repositories.retain(|known| *known != unknown),
                None => return Ok(output),
            }
        }
    }

    /// Carries out steps, each a verb of dnf's with what it is for; one that is for nothing goes by unless it is for all.
    fn transact(mut self, steps: &[(&str, Vec<String>)], groups: &[String]) -> Run {
        let is_for_all = |verb: &str| verb == "autoremove" || (steps.len() == 1 && verb == "upgrade");
        let steps: Vec<_> =
            steps.iter().filter(|(verb, names)| !names.is_empty() || is_for_all(verb)).collect();
        const WOULD: &str = "Check mode: No changes made, but would have if not in check mode";
        if self.host.check && self.program == "microdnf" && !steps.is_empty() {
            // It cannot say what it would do.
            return Ok(Outcome::changed(true).msg(WOULD).with("rc", 0).with("results", texts(&self.results)));
        }
        // rpm reads all that it has for this.
        let before = if steps.is_empty() { vec![] } else { self.installed().all()? };
        let mut planned = Transaction::default();
        for (number, (verb, names)) in steps.iter().enumerate() {
            let mut words = vec![if self.host.check { "--assumeno" } else { "--assumeyes" }];
            words.extend((self.args.update_cache && number == 0).then_some("--refresh"));
            let folder =
                self.args.download_dir.as_deref().map(|folder| self.host.path(folder).display().to_string());
            let folder = folder.map(|folder| format!("--downloaddir={folder}"));
            if self.args.download_only {
                words.push("--downloadonly");
                // dnf would make it even where it is to change nothing.
                words.extend(folder.as_deref().filter(|_| !self.host.check));
            }
            words.push(verb);
            let output = self.call(&words, names)?;
            let transaction = Transaction::read(&output.text());
            let is_planned = self.host.check && output.error_text().contains("Operation aborted");
            let is_nothing = output.error_text().contains("No packages marked for");
            if !output.success() && !is_planned && !is_nothing {
                return Err(failure(&output));
            }
            if *verb == "install" {
                let missing = missing(&output.text());
                // The yum before dnf installs the others and calls that a success.
                if !missing.is_empty() && !self.args.skip_broken {
                    return Err(failure(&output));
                }
                self.results.extend(missing);
            }
            planned.installed.extend(transaction.installed);
            planned.removed.extend(transaction.removed);
            planned.has_modules |= transaction.has_modules;
        }
        let (installed, removed) = if steps.is_empty() {
            (vec![], vec![])
        } else if self.host.check || self.args.download_only {
            // Versions make room for others of theirs.
            let makes_room = |old: &&Package| {
                let is_replaced =
                    |new: &Package| new.name == old.name && new.arch == old.arch && new.evr != old.evr;
                planned.installed.iter().any(is_replaced) && !planned.removed.contains(old)
            };
            let mut removed = planned.removed.clone();
            removed.extend(before.iter().filter(makes_room).cloned());
            (planned.installed.clone(), removed)
        } else {
            let after = self.installed().all()?;
            let without = |some: &[Package], others: &[Package]| -> Vec<Package> {
                some.iter().filter(|package| !others.contains(package)).cloned().collect()
            };
            (without(&after, &before), without(&before, &after))
        };
        let (installed, removed) = (sorted(&installed), sorted(&removed));
        let changed = !installed.is_empty() || !removed.is_empty() || planned.has_modules;
        for group in groups {
            self.results.push(format!("Group {group} installed."));
        }
        let comes = if self.args.download_only { "Downloaded" } else { "Installed" };
        self.results.extend(installed.iter().map(|package| format!("{comes}: {package}")));
        self.results.extend(removed.iter().map(|package| format!("Removed: {package}")));
        let msg = match (changed, self.host.check) {
            (false, _) => "Nothing to do",
            (true, true) => WOULD,
            (true, false) => "",
        };
        Ok(Outcome::changed(changed).msg(msg).with("rc", 0).with("results", texts(&self.results)))
    }

    /// What `list` asks for (`dnf.py`, `list_items`).
    fn list(&self, what: &str) -> Run {
        let results = match what {
            "repos" | "repositories" => {
                let text = self.call(&["-q", "repolist", "--enabled"], &[])?.text();
                let ids = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
                let entry = |id: &str| Value::map([("repoid", Value::from(id)), ("state", "enabled".into())]);
                ids.map(entry).collect()
            }
            "installed" => self.listed(self.installed().all()?),
            "updates" | "upgrades" => self.query(&["--upgrades"])?,
            "available" => self.query(&["--available"])?,
            name => {
                let mut all = self.listed(self.installed().called(name)?);
                all.extend(self.query(&["--available", name])?);
                all
            }
        };
        Ok(Outcome::unchanged().msg("").with("results", results))
    }

    fn listed(&self, installed: Vec<Package>) -> Vec<Value> {
        installed.iter().map(|package| entry(package, "@System", "installed")).collect()
    }

    /// What repositories have.
    fn query(&self, words: &[&str]) -> Result<Vec<Value>, Failure> {
        let format = "%{name}|%{arch}|%{evr}|%{repoid}\n";
        let output = self.call(&[&["-q", "repoquery", "--queryformat", format], words].concat(), &[])?;
        if !output.success() {
            return Err(failure(&output));
        }
        let package = |line: &str| {
            let [name, arch, evr, repository] = line.split('|').collect::<Vec<_>>()[..] else { return None };
            let package = Package { name: name.to_owned(), arch: arch.to_owned(), evr: Evr::read(evr) };
            Some(entry(&package, repository, "available"))
        };
        Ok(output.text().lines().filter_map(package).collect())
    }
}

/// A package as `list` gives it (`dnf.py`, `_package_dict`).
fn entry(package: &Package, repository: &str, state: &str) -> Value {
    let Package { name, arch, evr: Evr { epoch, version, release } } = package;
    let release = release.as_deref().unwrap_or_default();
    let envra = format!("{epoch}:{name}-{version}-{release}.{arch}");
    Value::map([
        ("name", Value::from(name.as_str())),
        ("arch", arch.as_str().into()),
        ("epoch", epoch.to_string().into()),
        ("release", release.into()),
        ("version", version.as_str().into()),
        ("repo", repository.into()),
        ("envra", envra.as_str().into()),
        ("nevra", envra.as_str().into()),
        ("yumstate", state.into()),
    ])
}

fn sorted(packages: &[Package]) -> Vec<String> {
    let mut names: Vec<String> = packages.iter().map(Package::nevra).collect();
    names.sort();
    names
}

/// What was asked for but is not installed, and shall not be.
fn not_updated(spec: &str) -> String {
    format!("Packages providing {spec} not installed due to update_only specified")
}

fn texts(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| Value::from(line.as_str())).collect()
}

/// The newest of some versions.
fn newest<'a>(packages: impl Iterator<Item = &'a Package>) -> Option<&'a Evr> {
    packages.map(|package| &package.evr).max_by(|one, two| one.compared(two))
}

/// A name that a version is asked of, as in `name >= 1.0`.
fn comparison(spec: &str) -> Option<(&str, &str, &str)> {
    let start = spec.find(['<', '>', '='])?;
    let (name, rest) = spec.split_at(start);
    let end = rest.find(|c| !matches!(c, '<' | '>' | '='))?;
    Some((name.trim(), &rest[..end], rest[end..].trim()))
}

fn holds(order: Ordering, operator: &str) -> bool {
    match order {
        Ordering::Less => operator.contains('<'),
        Ordering::Equal => operator.contains('='),
        Ordering::Greater => operator.contains('>'),
    }
}

module!("dnf", "ansible.builtin", Args, run);
