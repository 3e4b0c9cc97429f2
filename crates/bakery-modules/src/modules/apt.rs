//! `apt`: packages of Debian and its relatives, through apt-get and dpkg (`ansible/modules/apt.py`).

use std::time::{Duration, Instant, SystemTime};

use bakery_host::{Output, fs, signal};
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::debian::{self, Installed};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Phase, Run};

/// Installs, upgrades and removes Debian packages.
#[derive(ModuleArgs)]
#[args(exclusive = "deb,package,upgrade")]
struct Args {
    /// Packages; `name=1.0*`, `name>=1.0`, patterns of names, and `*` for all that are installed.
    #[arg(name = "package", alias = "name,pkg")]
    package: Option<Vec<String>>,
    /// What shall be: `latest` also upgrades, `build-dep` installs what building needs, `fixed` mends.
    #[arg(
        default = "present",
        choices = "absent,build-dep,fixed,latest,present",
        formerly = "installed=present,removed=absent"
    )]
    state: String,
    /// Whether the lists are fetched first.
    #[arg(alias = "update-cache")]
    update_cache: Option<bool>,
    /// Seconds for which fetched lists are new enough.
    #[arg(default = "0")]
    cache_valid_time: i64,
    /// How often fetching the lists is tried.
    #[arg(default = "5")]
    update_cache_retries: i64,
    /// The most seconds between tries.
    #[arg(default = "12")]
    update_cache_retry_max_delay: i64,
    /// Whether configuration is removed too.
    purge: bool,
    /// The release to take packages from.
    #[arg(alias = "default-release")]
    default_release: Option<String>,
    /// Whether recommended packages are installed; apt's own setting if not given.
    #[arg(alias = "install-recommends")]
    install_recommends: Option<bool>,
    /// Whether unauthenticated packages are accepted and held ones removed.
    force: bool,
    /// Whether unauthenticated packages are accepted.
    #[arg(alias = "allow-unauthenticated")]
    allow_unauthenticated: bool,
    /// Whether an older version may replace a newer one.
    #[arg(alias = "allow-downgrade,allow_downgrades,allow-downgrades")]
    allow_downgrade: bool,
    /// Whether held packages may change.
    allow_change_held_packages: bool,
    /// Upgrades everything: `safe`/`yes`, `full` or `dist`; by aptitude where it is installed, but for `dist`.
    #[arg(choices = "dist,full,no,safe,yes")]
    upgrade: Option<String>,
    /// Options for dpkg, comma-separated.
    #[arg(default = "force-confdef,force-confold")]
    dpkg_options: String,
    /// Package files with commas between them, or their addresses.
    deb: Option<String>,
    /// Whether packages that nothing needs any more are removed.
    autoremove: bool,
    /// Whether package files that cannot be fetched any more are removed.
    autoclean: bool,
    /// Whether fetched package files are removed.
    clean: bool,
    /// Whether only packages that are installed already are touched.
    only_upgrade: bool,
    /// Whether it is an error if packages would have to be removed.
    fail_on_autoremove: bool,
    /// Whether apt-get is used even if aptitude is there.
    force_apt_get: bool,
    /// Seconds to wait for another package manager.
    #[arg(default = "60")]
    lock_timeout: i64,
    /// What to do when package scripts want to start something: an exit code for policy-rc.d.
    policy_rc_d: Option<i64>,
    /// Accepted and without meaning: no Python is needed.
    auto_install_module_deps: Option<bool>,
}

const LISTS: &str = "/var/lib/apt/lists";
const STAMP: &str = "/var/lib/apt/periodic/update-success-stamp";
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Where a policy of the machine's own stands aside.
const POLICY_ASIDE: &str = "/usr/sbin/policy-rc.d.before-bakery";
const POLICY_MARK: &str = "# A policy of bakery's for one task: it is removed when that ends.";
const NOTHING: &str = "0 upgraded, 0 newly installed, 0 to remove";
const NOTHING_OF_APTITUDE: &str = "0 packages upgraded, 0 newly installed, 0 to remove";

/// When the lists were fetched, since 1970.
fn lists_stamp() -> Option<Duration> {
    let modified = |path: &str| fs::metadata(path).ok()?.modified().ok();
    modified(STAMP).or_else(|| modified(LISTS))?.duration_since(SystemTime::UNIX_EPOCH).ok()
}

fn lists_are_there() -> bool {
    fs::read_dir_unsorted(LISTS)
        .is_ok_and(|entries| entries.iter().any(|e| e.to_string_lossy().ends_with("Release")))
}

/// Answers package scripts that ask whether they may start something, until it is dropped.
struct PolicyOfOneTask;

impl PolicyOfOneTask {
    fn new(args: &Args, host: &Host) -> Result<Option<Self>, Failure> {
        // One that a killed task left behind.
        if fs::read_to_string(POLICY).is_ok_and(|text| text.contains(POLICY_MARK)) {
            Self::end()?;
        }
        let Some(code) = args.policy_rc_d.filter(|_| !host.check && host.phase != Phase::Bake) else {
            // While an image is baked nothing starts anyway.
            return Ok(None);
        };
        if fs::symlink_metadata(POLICY).is_ok() {
            fs::rename(POLICY, POLICY_ASIDE)?;
        }
        fs::write_atomic_mode(POLICY, format!("#!/bin/sh\n{POLICY_MARK}\nexit {code}\n"), 0o755)?;
        Ok(Some(Self))
    }

    fn end() -> Result<(), bakery_host::Error> {
        if fs::symlink_metadata(POLICY_ASIDE).is_ok() {
            fs::rename(POLICY_ASIDE, POLICY)
        } else {
            fs::remove_file(POLICY)
        }
    }
}

impl Drop for PolicyOfOneTask {
    fn drop(&mut self) {
        let _ = Self::end();
    }
}

struct Apt<'a> {
    host: &'a mut Host,
    args: &'a Args,
}

impl Apt<'_> {
    /// Options of apt-get, and of aptitude where it has them.
    fn options(&self, is_aptitude: bool, verb: &str) -> Vec<String> {
        let a = self.args;
        let mut options: Vec<String> = vec!["-y".into(), "-q".into()];
        options.push("-o".into());
        options.push(format!("DPkg::Lock::Timeout={}", a.lock_timeout));
        for option in a.dpkg_options.split(',').filter(|o| !o.is_empty()) {
            options.push("-o".into());
            options.push(format!("Dpkg::Options::=--{option}"));
        }
        let mut add = |wanted: bool, option: &str| {
            if wanted {
                options.push(option.to_owned());
            }
        };
        add(self.host.check, "--simulate");
        if is_aptitude {
            add(a.force, "--allow-untrusted");
        } else {
            add(a.force || a.allow_unauthenticated, "--allow-unauthenticated");
            add(a.force || a.allow_downgrade, "--allow-downgrades");
            add(a.force || a.allow_change_held_packages, "--allow-change-held-packages");
            // What `--force-yes` allowed besides.
            add(a.force, "--allow-remove-essential");
            add(a.only_upgrade, "--only-upgrade");
            add(a.autoremove, "--auto-remove");
            add(a.purge && matches!(verb, "remove" | "autoremove" | "autoclean"), "--purge");
            add(a.fail_on_autoremove, "--no-remove");
            add(a.state == "fixed", "--fix-broken");
        }
        if let Some(release) = &a.default_release {
            options.push("-t".into());
            options.push(release.clone());
        }
        match a.install_recommends {
            Some(true) => options.extend(["-o".into(), "APT::Install-Recommends=yes".into()]),
            Some(false) => options.extend(["-o".into(), "APT::Install-Recommends=no".into()]),
            None => {}
        }
        options
    }

    /// Runs apt-get or aptitude without questions.
    fn run(&mut self, program: &str, verb: &[&str], packages: &[String]) -> Result<Output, Failure> {
        let _policy = PolicyOfOneTask::new(self.args, self.host)?;
        let output = self
            .host
            .cmd(program)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("DEBIAN_PRIORITY", "critical")
            .env("LC_ALL", "C.UTF-8")
            .args(self.options(program == "aptitude", verb.first().unwrap_or(&"")))
            .args(verb)
            .args(packages)
            .output()?;
        if output.success() {
            return Ok(output);
        }
        let command = [&[program], verb].concat().join(" ");
        let (packages, said) = (packages.join(" "), output.error_text());
        Err(Failure::new(format!("'{}' failed: {}", format!("{command} {packages}").trim(), said.trim()))
            .with_output(&output))
    }

    fn get(&mut self, verb: &str, packages: &[String]) -> Result<Output, Failure> {
        self.run("apt-get", &[verb], packages)
    }

    /// A result with what the program said; what it would do is the difference.
    fn said(&self, changed: bool, output: &Output) -> Outcome {
        let text = output.text();
        let outcome = Outcome::changed(changed).with("stderr", output.error_text());
        let outcome = if self.host.diff && changed {
            outcome.with("diff", Value::map([("prepared", Value::from(difference(&text)))]))
        } else {
            outcome
        };
        outcome.with("stdout", text)
    }

    fn update(&mut self) -> Result<(), Failure> {
        let locked_until = Instant::now() + Duration::from_secs(self.args.lock_timeout.max(0).unsigned_abs());
        let (tries, longest) =
            (self.args.update_cache_retries, self.args.update_cache_retry_max_delay.max(0));
        let mut last = String::new();
        let mut attempt = 0;
        while attempt < tries {
            let output = self
                .host
                .cmd("apt-get")
                .env("LC_ALL", "C.UTF-8")
                .args(["update", "-q", "-o", "APT::Update::Error-Mode=any"])
                .output()?;
            if output.success() {
                return Ok(());
            }
            last = output.error_text().trim().to_owned();
            if last.contains("Could not get lock") {
                let has_ended = !signal::sleep(Duration::from_millis(500));
                if has_ended || Instant::now() >= locked_until {
                    return Err(format!("Failed to lock apt for exclusive operation: {last}").into());
                }
                continue;
            }
            attempt += 1;
            self.host.warn(format!("Failed to update cache after {attempt} retries due to {last}, retrying"));
            if attempt < tries {
                let pause = (1u64 << (attempt - 1).min(10)).min(longest.unsigned_abs());
                self.host.warn(format!(
                    "Sleeping for {pause} seconds, before attempting to refresh the cache again"
                ));
                if !signal::sleep(Duration::from_secs(pause)) {
                    break;
                }
            }
        }
        let last = if last.is_empty() { "unknown reason" } else { &last };
        Err(Failure::new(format!("Failed to update apt cache after {tries} retries: {last}")))
    }

    /// Fetches the lists if they are wanted and older than they may be; whether they are other ones now.
    fn bring_lists_up_to_date(&mut self) -> Result<bool, Failure> {
        let before = lists_stamp();
        let limit = Duration::from_secs(self.args.cache_valid_time.max(0).unsigned_abs());
        let age =
            before.and_then(|stamp| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + stamp).ok());
        // An image has no lists, however new their folder is.
        if age.is_some_and(|age| age <= limit) && lists_are_there() {
            return Ok(false);
        }
        if self.host.check {
            return Ok(true);
        }
        self.update()?;
        Ok(before != lists_stamp())
    }

    /// Names that patterns stand for, `apt*` or `apt*:i386`; the other words stay as they are.
    fn expand(&self, words: &[String]) -> Result<Vec<String>, Failure> {
        let mut names: Option<Vec<String>> = None;
        let mut expanded = Vec::new();
        for word in words {
            let (pattern, _) = debian::split(word);
            if !pattern.contains(['*', '?', '[', ']', '!']) {
                expanded.push(word.clone());
                continue;
            }
            if names.is_none() {
                let mut known: Vec<String> =
                    self.host.run(&["apt-cache", "pkgnames"])?.text().lines().map(str::to_owned).collect();
                known.sort();
                names = Some(known);
            }
            let (base, architecture) = pattern.split_once(':').map_or((pattern, None), |(b, a)| (b, Some(a)));
            let fits = super::find::Wildcard::new(base);
            let mut found: Vec<String> =
                names.iter().flatten().filter(|name| fits.matches(name)).cloned().collect();
            if let Some(architecture) = architecture {
                let named: Vec<String> = found.iter().map(|name| format!("{name}:{architecture}")).collect();
                let words: Vec<&str> = named.iter().map(String::as_str).collect();
                let known = debian::policies(self.host, &words, None)?;
                found = named.into_iter().filter(|name| known.of(name).is_some()).collect();
            }
            if found.is_empty() {
                return Err(format!("No package(s) matching '{pattern}' available").into());
            }
            expanded.extend(found);
        }
        Ok(expanded)
    }

    /// The words that apt-get shall install, as Ansible's `package_status` and `install` choose them.
    fn wanted(&mut self, words: &[String]) -> Result<Vec<String>, Failure> {
        let a = self.args;
        if a.state == "build-dep" {
            return Ok(words.to_vec());
        }
        let installed = Installed::read(self.host)?;
        let is_there = |word: &String| {
            let (name, version) = debian::split(word);
            version.is_none() && a.state != "latest" && installed.version(name).is_some()
        };
        let open: Vec<&String> = words.iter().filter(|word| !is_there(word)).collect();
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = open.iter().map(|word| debian::split(word).0).collect();
        let mut policies = debian::policies(self.host, &names, a.default_release.as_deref())?;
        let is_unknown = |name: &&str| {
            installed.version(name).is_none() && policies.of(name).is_none_or(|p| p.candidate.is_none())
        };
        if !lists_are_there() && !self.host.check && names.iter().any(is_unknown) {
            // An image has no lists; installing needs them.
            self.update()?;
            policies = debian::policies(self.host, &names, a.default_release.as_deref())?;
        }
        let mut wanted = Vec::new();
        for (word, name) in open.into_iter().zip(names) {
            let (_, version) = debian::split(word);
            let policy = policies.of(name).filter(|policy| !policy.versions.is_empty());
            let Some(policy) = policy else {
                let providers = debian::providers(self.host, name)?;
                match &providers[..] {
                    [] => return Err(format!("No package matching '{name}' is available").into()),
                    [one] if installed.version(one).is_some() => {}
                    _ if a.only_upgrade => {}
                    _ => wanted.push(word.clone()),
                }
                continue;
            };
            let present = installed.version(name);
            if present.is_none() && a.only_upgrade {
                continue;
            }
            let fits = |candidate: &str| match version {
                None => Ok(true),
                Some((">=", least)) => debian::is(self.host, candidate, "ge", least),
                Some((_, pattern)) => Ok(super::find::wildcard(pattern, candidate)),
            };
            // A version that is asked for wins over every pin.
            let mut best = match version {
                Some(("=", _)) => policy.versions.iter().find(|v| fits(v).unwrap_or(false)).cloned(),
                _ => policy.candidate.clone(),
            };
            let is_right = present.map(fits).transpose()?.unwrap_or(false);
            if let (Some(present), Some(candidate)) = (present, &best)
                && (present == candidate || !fits(candidate)?)
            {
                best = None;
            }
            if !is_right && best.is_none() {
                return Err(format!("no available installation candidate for {word}").into());
            }
            let Some(best) = best else { continue };
            if present.is_none() || a.state == "latest" || !is_right {
                wanted.push(format!("{name}={best}"));
            } else if version.is_some_and(|(how, _)| how == "=") {
                wanted.push(word.clone());
            }
        }
        Ok(wanted)
    }

    /// Packages that were installed for others are wanted for themselves from now on.
    fn mark_as_manual(&self, words: &[String]) -> Result<(), Failure> {
        let states = fs::read_to_string("/var/lib/apt/extended_states").unwrap_or_default();
        let is_automatic = |name: &str| {
            let base = name.split(':').next().unwrap_or(name);
            states.split("\n\n").any(|paragraph| {
                paragraph.contains("Auto-Installed: 1")
                    && paragraph.lines().any(|line| line.strip_prefix("Package: ") == Some(base))
            })
        };
        let names = words.iter().map(|word| debian::split(word).0).filter(|name| is_automatic(name));
        let argv: Vec<&str> = ["apt-mark", "manual"].into_iter().chain(names).collect();
        if argv.len() > 2 {
            self.host.run(&argv)?;
        }
        Ok(())
    }

    fn install(&mut self, words: &[String], updated: bool) -> Run {
        let words = self.expand(words)?;
        let wanted = self.wanted(&words)?;
        let mut outcome = Outcome::unchanged();
        if !wanted.is_empty() {
            let is_build = self.args.state == "build-dep";
            let output = self.get(if is_build { "build-dep" } else { "install" }, &wanted)?;
            outcome = self.said(!is_build || !output.text().contains(NOTHING), &output);
        }
        if self.args.state != "build-dep" && !self.host.check {
            self.mark_as_manual(&words)?;
        }
        let stamp = lists_stamp();
        Ok(outcome
            .with("cache_updated", updated)
            .with("cache_update_time", stamp.map_or(Value::Int(0), |t| t.as_secs().into())))
    }

    fn remove(&mut self, words: &[String]) -> Run {
        let words = self.expand(words)?;
        let installed = Installed::read(self.host)?;
        let mut gone = Vec::new();
        for word in words {
            let (name, version) = debian::split(&word);
            let fits = match (installed.version(name), version) {
                (Some(present), Some((">=", least))) => debian::is(self.host, present, "ge", least)?,
                (Some(present), Some((_, pattern))) => super::find::wildcard(pattern, present),
                (present, _) => present.is_some(),
            };
            if fits || (self.args.purge && installed.has_leftovers(name)) {
                gone.push(word);
            }
        }
        if gone.is_empty() {
            return Ok(Outcome::unchanged());
        }
        let output = self.get("remove", &gone)?;
        Ok(self.said(true, &output))
    }

    fn upgrade(&mut self, mode: &str) -> Run {
        let has_aptitude = bakery_host::command::find_program("aptitude").is_some();
        let by_aptitude = has_aptitude && !self.args.force_apt_get && mode != "dist";
        let output = match (mode, by_aptitude) {
            ("full", true) => self.run("aptitude", &["full-upgrade"], &[])?,
            (_, true) => self.run("aptitude", &["safe-upgrade"], &[])?,
            ("dist" | "full", false) => self.get("dist-upgrade", &[])?,
            (_, false) => self.run("apt-get", &["upgrade", "--with-new-pkgs"], &[])?,
        };
        if by_aptitude {
            for (option, is_set) in [
                ("fail_on_autoremove", self.args.fail_on_autoremove),
                ("allow_downgrade", self.args.allow_downgrade),
            ] {
                if is_set {
                    self.host.warn(format!("aptitude knows nothing like '{option}', which is ignored"));
                }
            }
        }
        let text = output.text();
        let nothing = if by_aptitude { NOTHING_OF_APTITUDE } else { NOTHING };
        let changed = !text.contains(nothing);
        Ok(self.said(changed, &output).msg(text))
    }

    /// Installs package files, and what they need.
    fn install_files(&mut self, files: &str) -> Run {
        if self.args.state != "present" {
            return Err("deb only supports state=present".into());
        }
        let installed = Installed::read(self.host)?;
        let mut wanted = Vec::new();
        for file in files.split(',') {
            let path = if file.contains("://") {
                super::get_url::to_temporary(self.host, file, true)?
            } else {
                self.host.path(file)
            };
            let path = path.display().to_string();
            let field = |name: &str| {
                let output = self.host.run(&["dpkg-deb", "--field", &path, name]);
                output.map(|said| said.text().trim().to_owned()).map_err(|mut failure| {
                    failure.msg = format!("Unable to install package: {}", failure.msg);
                    failure
                })
            };
            let (name, version, architecture) =
                (field("Package")?, field("Version")?, field("Architecture")?);
            if let Some(present) = installed.version(&format!("{name}:{architecture}")) {
                if debian::is(self.host, present, "eq", &version)? {
                    continue;
                }
                let may_be_older = self.args.force || self.args.allow_downgrade;
                if !may_be_older && debian::is(self.host, present, "gt", &version)? {
                    return Err("A later version is already installed".into());
                }
            }
            wanted.push(path);
        }
        if wanted.is_empty() {
            return Ok(Outcome::unchanged().with("stdout", "").with("stderr", ""));
        }
        let output = self.get("install", &wanted)?;
        Ok(self.said(true, &output))
    }

    fn clean_up(&mut self, operation: &str) -> Run {
        let output = self.get(operation, &[])?;
        let mark = if operation == "autoclean" { "Del " } else { "The following packages will be REMOVED" };
        Ok(self.said(output.text().contains(mark), &output))
    }
}

/// What apt-get or aptitude says of what changes: from where it has read its lists to the line of numbers.
fn difference(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let at = |mark: &str| lines.iter().position(|line| *line == mark).map(|at| at + 1);
    let start = at("Resolving dependencies...").or_else(|| at("Reading state information...")).unwrap_or(0);
    let is_end = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take(3).collect();
        words.first().is_some_and(|count| count.parse::<u32>().is_ok())
            && (words.get(1).is_some_and(|w| w.starts_with("upgraded"))
                || (words.get(1) == Some(&"packages")
                    && words.get(2).is_some_and(|w| w.starts_with("upgraded"))))
    };
    let end = lines.iter().position(|line| is_end(line)).map_or(lines.len(), |at| at + 1);
    lines.get(start..end).unwrap_or_default().join("\n")
}

fn run(args: Args, host: &mut Host) -> Run {
    let mut apt = Apt { host, args: &args };
    let words: Vec<String> = args
        .package
        .iter()
        .flatten()
        .filter(|word| *word != "*")
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    let names_all = args.package.iter().flatten().any(|word| word == "*");
    let upgrade = args.upgrade.as_deref().filter(|mode| *mode != "no");
    let is_alone = args.package.as_ref().is_none_or(Vec::is_empty) && args.deb.is_none() && upgrade.is_none();
    if args.clean {
        let output = (!apt.host.check).then(|| apt.host.run(&["apt-get", "clean"])).transpose()?;
        if is_alone {
            let outcome = Outcome::changed(true).msg("").with("stdout", "").with("stderr", "");
            return Ok(output.map_or(outcome, |output| apt.said(true, &output).msg(output.text())));
        }
    }
    let mut updated = false;
    if args.update_cache == Some(true) || args.cache_valid_time != 0 {
        updated = apt.bring_lists_up_to_date()?;
        if is_alone {
            let stamp = lists_stamp().map_or(Value::Int(0), |stamp| stamp.as_secs().into());
            return Ok(Outcome::changed(updated)
                .with("cache_updated", updated)
                .with("cache_update_time", stamp));
        }
    }
    let outcome = if let Some(mode) = upgrade {
        apt.upgrade(mode)?
    } else if let Some(files) = &args.deb {
        apt.install_files(files)?
    } else if args.state == "latest" && names_all {
        if !words.is_empty() {
            return Err("unable to install additional packages when upgrading all installed packages".into());
        }
        apt.upgrade("yes")?
    } else if let Some(word) = words.iter().find(|word| word.matches('=').count() > 1) {
        return Err(format!("invalid package spec: {word}").into());
    } else if words.is_empty() && args.autoclean {
        apt.clean_up("autoclean")?
    } else if words.is_empty() && args.autoremove {
        apt.clean_up("autoremove")?
    } else if args.state == "absent" {
        apt.remove(&words)?
    } else {
        apt.install(&words, updated)?
    };
    if host.phase == Phase::Bake && outcome.changed && args.state != "absent" {
        host.leave_to_boot("services of newly installed packages start at boot");
    }
    Ok(outcome)
}

module!("apt", "ansible.builtin", Args, run);
