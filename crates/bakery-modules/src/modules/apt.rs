//! `apt`: packages of Debian and its relatives, through apt-get and dpkg (`ansible/modules/apt.py`).

use std::time::{Duration, SystemTime};

use bakery_host::fs;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Phase, Run};

/// Installs, upgrades and removes Debian packages.
#[derive(ModuleArgs)]
#[args(exclusive = "deb,package,upgrade")]
struct Args {
    /// Packages, `name=version` and patterns allowed.
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
    /// Upgrades everything: `safe`/`yes`, `full` or `dist`.
    #[arg(choices = "dist,full,no,safe,yes")]
    upgrade: Option<String>,
    /// Options for dpkg, comma-separated.
    #[arg(default = "force-confdef,force-confold")]
    dpkg_options: String,
    /// A package file, or its address.
    deb: Option<String>,
    /// Whether packages that nothing needs any more are removed.
    autoremove: bool,
    /// Whether package files that cannot be fetched any more are removed.
    autoclean: bool,
    /// Whether fetched package files are removed.
    clean: bool,
    /// Whether only packages that are installed already are touched.
    only_upgrade: bool,
    /// Whether missing packages are an error for `build-dep`.
    fail_on_autoremove: bool,
    /// Whether apt-get is used even if aptitude is there; it always is.
    force_apt_get: bool,
    /// Seconds to wait for another package manager.
    #[arg(default = "60")]
    lock_timeout: i64,
    /// What to do when package scripts want to start something: an exit code for policy-rc.d.
    policy_rc_d: Option<i64>,
    /// Accepted and without meaning: no Python is needed.
    auto_install_module_deps: Option<bool>,
}

const STAMPS: &[&str] = &["/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists"];

fn lists_age() -> Option<Duration> {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + lists_stamp()?).ok()
}

/// When the lists were fetched, since 1970.
fn lists_stamp() -> Option<Duration> {
    let newest = STAMPS.iter().filter_map(|p| fs::metadata(p).ok()?.modified().ok()).max()?;
    newest.duration_since(SystemTime::UNIX_EPOCH).ok()
}

fn lists_are_there() -> bool {
    fs::read_dir("/var/lib/apt/lists")
        .is_ok_and(|entries| entries.iter().any(|e| e.to_string_lossy().ends_with("Release")))
}

struct Apt<'a> {
    host: &'a Host,
    args: &'a Args,
}

impl Apt<'_> {
    fn options(&self) -> Vec<String> {
        let a = self.args;
        let mut options: Vec<String> = vec!["-y".into(), "-q".into()];
        options.push("-o".into());
        options.push(format!("DPkg::Lock::Timeout={}", a.lock_timeout));
        for option in a.dpkg_options.split(',').filter(|o| !o.is_empty()) {
            options.push("-o".into());
            options.push(format!("Dpkg::Options::=--{option}"));
        }
        if a.force || a.allow_unauthenticated {
            options.push("--allow-unauthenticated".into());
        }
        if a.force || a.allow_downgrade {
            options.push("--allow-downgrades".into());
        }
        if a.force || a.allow_change_held_packages {
            options.push("--allow-change-held-packages".into());
        }
        if a.only_upgrade {
            options.push("--only-upgrade".into());
        }
        if a.autoremove {
            options.push("--auto-remove".into());
        }
        if a.purge {
            options.push("--purge".into());
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

    fn get(&self, verb: &str, packages: &[String], simulate: bool) -> Result<bakery_host::Output, Failure> {
        let mut cmd = self
            .host
            .cmd("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("DEBIAN_PRIORITY", "critical")
            .env("LC_ALL", "C.UTF-8");
        cmd = cmd.args(self.options());
        if simulate {
            cmd = cmd.arg("-s");
        }
        let output = cmd.arg(verb).args(packages).output()?;
        if output.success() {
            return Ok(output);
        }
        let said = output.error_text();
        let unknown = said.lines().find_map(|l| l.strip_prefix("E: Unable to locate package "));
        if let Some(name) = unknown {
            return Err(Failure::new(format!("No package matching '{name}' is available")));
        }
        if said.contains("was not found") {
            return Err(Failure::new(format!(
                "no available installation candidate for {}",
                packages.join(" ")
            )));
        }
        Err(Failure::new(format!(
            "'apt-get {verb} {}' failed: {}",
            packages.join(" "),
            output.error_text().trim()
        ))
        .with_output(&output))
    }

    fn update(&self) -> Result<(), Failure> {
        let mut last = None;
        for attempt in 0..self.args.update_cache_retries.max(1) {
            if attempt > 0 {
                let pause =
                    (1u64 << attempt.min(10)).min(self.args.update_cache_retry_max_delay.max(1) as u64);
                std::thread::sleep(Duration::from_secs(pause));
            }
            let output = self
                .host
                .cmd("apt-get")
                .env("LC_ALL", "C.UTF-8")
                .args(["update", "-q", "-o", "APT::Update::Error-Mode=any"])
                .output()?;
            if output.success() {
                return Ok(());
            }
            last = Some(output.error_text());
        }
        Err(Failure::new(format!("Failed to update apt cache: {}", last.unwrap_or_default().trim())))
    }

    /// Installed versions by name.
    fn installed(&self) -> std::collections::HashMap<String, String> {
        let output =
            self.host.try_run(&["dpkg-query", "-W", "-f", "${Package}\t${Version}\t${db:Status-Status}\n"]);
        let text = output.map(|o| o.text()).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let mut parts = line.split('\t');
                let (name, version, status) = (parts.next()?, parts.next()?, parts.next()?);
                (status == "installed").then(|| (name.to_owned(), version.to_owned()))
            })
            .collect()
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let apt = Apt { host, args: &args };
    let packages: Vec<String> =
        args.package.clone().unwrap_or_default().into_iter().filter(|p| !p.trim().is_empty()).collect();
    let mut changed = false;
    let mut updated = false;
    // Nothing is installed, removed or upgraded.
    let alone =
        packages.is_empty() && args.deb.is_none() && args.upgrade.as_deref().is_none_or(|u| u == "no");
    let wants_lists = args.update_cache.unwrap_or(args.cache_valid_time > 0);
    let fresh = args.cache_valid_time > 0
        && lists_are_there()
        && lists_age().is_some_and(|age| age.as_secs() as i64 <= args.cache_valid_time);
    if wants_lists && !fresh {
        let before = lists_stamp();
        if !host.check {
            apt.update()?;
        }
        // Lists that were new already are no change.
        updated = host.check || before != lists_stamp();
        changed |= updated && alone;
    }
    let mut stdout = String::new();
    let mut stderr = String::new();
    let mut keep = |output: &bakery_host::Output| {
        stdout.push_str(&output.text());
        stderr.push_str(&output.error_text());
    };
    if let Some(upgrade) = args.upgrade.as_deref().filter(|u| *u != "no") {
        let verb = if matches!(upgrade, "dist" | "full") { "dist-upgrade" } else { "upgrade" };
        let output = apt.get(verb, &[], host.check)?;
        changed |= !output.text().contains("0 upgraded, 0 newly installed");
        keep(&output);
    }
    if let Some(deb) = &args.deb {
        let file =
            if deb.contains("://") { super::get_url::to_temporary(host, deb)? } else { host.path(deb) };
        let field = |name: &str| {
            host.run(&["dpkg-deb", "-f", &file.display().to_string(), name])
                .map(|o| o.text().trim().to_owned())
        };
        let (name, version) = (field("Package")?, field("Version")?);
        if apt.installed().get(&name) != Some(&version) {
            changed = true;
            keep(&apt.get("install", &[file.display().to_string()], host.check)?);
        }
    }
    if !packages.is_empty() {
        let installed = apt.installed();
        match args.state.as_str() {
            "absent" => {
                let gone: Vec<String> = packages
                    .iter()
                    .map(|p| p.split('=').next().unwrap_or(p).to_owned())
                    .filter(|p| installed.contains_key(base(p)) || p.contains('*'))
                    .collect();
                if !gone.is_empty() {
                    let output = apt.get("remove", &gone, host.check)?;
                    changed |= !output.text().contains(" 0 to remove");
                    keep(&output);
                }
            }
            state => {
                let verb = if state == "build-dep" { "build-dep" } else { "install" };
                let wanted: Vec<String> =
                    packages.iter().filter(|p| state != "present" || needs(p, &installed)).cloned().collect();
                if !wanted.is_empty() {
                    if !lists_are_there() && !updated && !host.check {
                        // An image has no lists; installing needs them.
                        apt.update()?;
                    }
                    let output = apt.get(verb, &wanted, host.check)?;
                    changed |= !(output.text().contains("0 upgraded, 0 newly installed, 0 to remove")
                        || output.text().contains("0 upgraded, 0 newly installed, 0 downgraded"));
                    keep(&output);
                }
            }
        }
    } else if args.autoremove {
        let output = apt.get("autoremove", &[], host.check)?;
        changed |= !output.text().contains(" 0 to remove");
        keep(&output);
    }
    if args.autoclean && packages.is_empty() {
        let output = apt.get("autoclean", &[], host.check)?;
        changed |= output.text().lines().any(|l| l.starts_with("Del "));
        keep(&output);
    }
    if args.clean {
        if !host.check {
            keep(&host.run(&["apt-get", "clean"])?);
        }
        if alone {
            return Ok(Outcome::changed(true).msg("").with("stdout", stdout).with("stderr", stderr));
        }
    }
    if host.phase == Phase::Bake && changed && args.state != "absent" {
        host.leave_to_boot("services of newly installed packages start at boot");
    }
    let stamp = lists_stamp();
    let mut outcome = Outcome::changed(changed)
        .with("cache_updated", updated)
        .with("cache_update_time", stamp.map_or(Value::Int(0), |t| t.as_secs().into()));
    if !stdout.is_empty() {
        outcome = outcome.with("stdout", stdout).with("stderr", stderr);
    }
    Ok(outcome)
}

/// The name without its architecture.
fn base(package: &str) -> &str {
    package.split(':').next().unwrap_or(package)
}

fn needs(package: &str, installed: &std::collections::HashMap<String, String>) -> bool {
    if package.contains('*') || package.contains('/') {
        return true;
    }
    match package.split_once('=') {
        Some((name, version)) => match installed.get(base(name.trim())) {
            Some(have) => !super::find::wildcard(version.trim(), have),
            None => true,
        },
        None => !installed.contains_key(base(package)),
    }
}

module!("apt", "ansible.builtin", Args, run);
