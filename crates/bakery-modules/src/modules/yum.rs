//! `yum` and `dnf`: packages of Red Hat's family, through dnf or yum and rpm.

use bakery_host::command::find_program;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

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
    enablerepo: Option<Vec<String>>,
    /// Repositories not to use.
    disablerepo: Option<Vec<String>>,
    /// Packages to leave alone.
    exclude: Option<Vec<String>>,
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
    disable_plugin: Option<Vec<String>>,
    /// Plugins to use.
    enable_plugin: Option<Vec<String>>,
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
    if let Some(what) = &args.list {
        return list(host, program, what);
    }
    let state = args.state.as_deref().unwrap_or(if args.autoremove { "absent" } else { "present" });
    let names = args.name.clone().unwrap_or_default();
    let removing = matches!(state, "absent" | "removed");
    let is_installed = |name: &String| {
        !name.starts_with('@')
            && !name.contains("://")
            && host.try_run(&["rpm", "-q", "--whatprovides", name.as_str()]).is_ok_and(|o| o.success())
    };
    let todo: Vec<String> = match state {
        "latest" => names.clone(),
        _ if removing => names.iter().filter(|n| is_installed(n)).cloned().collect(),
        _ => names.iter().filter(|n| !is_installed(n)).cloned().collect(),
    };
    if todo.is_empty() && !args.autoremove && !args.update_cache {
        return Ok(Outcome::unchanged().msg("Nothing to do").with("rc", 0).with("results", vec![]));
    }
    let mut argv: Vec<String> = vec![program.into(), "-y".into()];
    let mut option = |text: String| argv.push(text);
    for repo in args.enablerepo.iter().flatten() {
        option(format!("--enablerepo={repo}"));
    }
    for repo in args.disablerepo.iter().flatten() {
        option(format!("--disablerepo={repo}"));
    }
    for name in args.exclude.iter().flatten() {
        option(format!("--exclude={name}"));
    }
    for name in args.disable_plugin.iter().flatten() {
        option(format!("--disableplugin={name}"));
    }
    for name in args.enable_plugin.iter().flatten() {
        option(format!("--enableplugin={name}"));
    }
    for (name, value) in [("disableexcludes", &args.disable_excludes), ("downloaddir", &args.download_dir)] {
        if let Some(value) = value {
            option(format!("--{name}={value}"));
        }
    }
    for (on, text) in [
        (args.disable_gpg_check, "--nogpgcheck"),
        (args.update_cache, "--refresh"),
        (args.security, "--security"),
        (args.bugfix, "--bugfix"),
        (args.allowerasing, "--allowerasing"),
        (args.skip_broken, "--skip-broken"),
        (args.download_only, "--downloadonly"),
        (!args.install_weak_deps, "--setopt=install_weak_deps=False"),
        (!args.validate_certs || !args.sslverify, "--setopt=sslverify=False"),
        (args.best == Some(true) || args.nobest == Some(false), "--best"),
        (args.nobest == Some(true) || args.best == Some(false), "--nobest"),
        (args.cacheonly, "--cacheonly"),
    ] {
        if on {
            option(text.into());
        }
    }
    for (value, name) in
        [(&args.installroot, "installroot"), (&args.releasever, "releasever"), (&args.conf_file, "config")]
    {
        if let Some(value) = value {
            option(format!("--{name}={value}"));
        }
    }
    let verb = match state {
        "latest" if names.iter().any(|n| n == "*") || args.update_only => "upgrade",
        _ if removing && todo.is_empty() => "autoremove",
        _ if removing => "remove",
        _ => "install",
    };
    argv.push(verb.into());
    argv.extend(todo.iter().filter(|n| *n != "*").cloned());
    if host.check {
        return Ok(Outcome::changed(true).msg(format!("Check mode: would run {}", argv.join(" "))));
    }
    let output = host.try_run(&argv)?;
    if !output.success() {
        return Err(Failure::new(format!("Failed to {verb}: {}", output.error_text().trim()))
            .with("rc", output.code)
            .with("results", vec![output.text().into()]));
    }
    let changed = !output.text().contains("Nothing to do");
    Ok(Outcome::changed(changed).msg("").with("rc", 0).with("results", vec![output.text().into()]))
}

/// What `list` asks for (`dnf.py`, `list_items`).
fn list(host: &Host, program: &str, what: &str) -> Run {
    if matches!(what, "repos" | "repositories") {
        let text = host.run(&[program, "-q", "repolist", "--enabled"])?.text();
        let ids = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        let entry = |id: &str| Value::map([("repoid", Value::from(id)), ("state", "enabled".into())]);
        return Ok(Outcome::unchanged().msg("").with("results", ids.map(entry).collect::<Vec<_>>()));
    }
    const FIELDS: [&str; 7] = ["name", "arch", "epoch", "release", "version", "repo", "yumstate"];
    let query = |select: &[&str], state: &str| -> Result<Vec<Value>, Failure> {
        let format = "%{name}|%{arch}|%{epoch}|%{release}|%{version}|%{reponame}\n";
        let argv = [&[program, "-q", "repoquery", "--queryformat", format], select].concat();
        let text = host.run(&argv)?.text();
        let entry = |line: &str| {
            let words: Vec<&str> = line.split('|').chain([state]).collect();
            let [name, arch, epoch, release, version, repo, _] = words[..] else { return None };
            let nevra = format!("{name}-{epoch}:{version}-{release}.{arch}");
            let map: Map = FIELDS.into_iter().zip(words.iter().map(|w| Value::from(*w))).collect();
            map.set("envra", format!("{epoch}:{name}-{version}-{release}.{arch}"));
            map.set("nevra", nevra);
            map.set("repo", repo.trim_start_matches('@'));
            Some(Value::Map(map))
        };
        Ok(text.lines().filter_map(entry).collect())
    };
    let results = match what {
        "installed" => query(&["--installed"], "installed")?,
        "updates" | "upgrades" => query(&["--upgrades"], "available")?,
        "available" => query(&["--available"], "available")?,
        name => {
            let mut all = query(&["--installed", name], "installed")?;
            all.extend(query(&["--available", name], "available")?);
            all
        }
    };
    Ok(Outcome::unchanged().msg("").with("results", results))
}

module!("yum", "ansible.builtin", Args, run);
