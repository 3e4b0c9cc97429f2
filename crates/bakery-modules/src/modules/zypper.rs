//! `zypper`: packages of SUSE (community.general `zypper.py`).

use std::collections::BTreeMap;
use std::path::Path;

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Installs, upgrades and removes packages of SUSE.
#[derive(ModuleArgs)]
struct Args {
    /// Packages, files or addresses; `*` for all; `-` and `+` before a name remove or install it whatever the state.
    #[arg(required, alias = "pkg")]
    name: Vec<String>,
    /// What shall be.
    #[arg(default = "present", choices = "absent,installed,latest,present,removed,dist-upgrade")]
    state: String,
    /// What the names are.
    #[arg(
        name = "type",
        default = "package",
        choices = "package,patch,pattern,product,srcpackage,application"
    )]
    kind: String,
    /// Options before the command.
    extra_args_precommand: Option<String>,
    /// Whether signatures are not checked.
    disable_gpg_check: bool,
    /// Whether keys are taken as they come.
    auto_import_keys: bool,
    /// Whether only what is needed is installed.
    #[arg(default = "true")]
    disable_recommends: bool,
    /// Whether what is recommended is installed; goes before `disable_recommends`.
    install_recommends: Option<bool>,
    /// Whether it is installed again.
    force: bool,
    /// Whether zypper finds a way out itself.
    force_resolution: bool,
    /// Whether the lists are fetched first.
    #[arg(alias = "refresh")]
    update_cache: bool,
    /// Whether an older version may replace a newer one.
    oldpackage: bool,
    /// Options after the command.
    extra_args: Option<String>,
    /// Whether packages may change their vendor.
    allow_vendor_change: bool,
    /// Whether files of other packages may be replaced.
    replacefiles: bool,
    /// Whether what nothing needs any more is removed as well.
    clean_deps: bool,
    /// Whether only zypper's messages are told.
    simple_errors: bool,
    /// Whether zypper says little.
    #[arg(default = "true")]
    quiet: bool,
    /// Whether errors of scripts after an installation are tried again.
    skip_post_errors: bool,
}

/// A package that was asked for.
struct Wanted {
    prefix: char,
    name: String,
    version: String,
}

impl Wanted {
    /// Reads `name`, `-name`, `name>=1.2`.
    fn of(text: &str, removing: bool) -> Self {
        let (sign, rest) = match text.chars().next() {
            Some(sign @ ('-' | '~' | '+')) => (Some(sign), &text[1..]),
            _ => (None, text),
        };
        let prefix = match sign {
            Some('+') => '+',
            Some(_) => '-',
            None if removing => '-',
            None => '+',
        };
        let versions = |c: char| c.is_alphanumeric() || "_.:+~-".contains(c);
        let at = rest.find(['<', '>', '=']);
        let split = at.filter(|at| rest[*at..].trim_start_matches(['<', '>', '=']).chars().all(versions));
        let (name, version) = rest.split_at(split.unwrap_or(rest.len()));
        Self { prefix, name: name.into(), version: version.into() }
    }
}

/// What zypper told of a package.
struct Told {
    group: String,
    version: String,
    old_version: String,
}

/// What a command of zypper left.
#[derive(Default)]
struct Done {
    packages: BTreeMap<String, Told>,
    code: i32,
    stdout: String,
    stderr: String,
    command: Option<Vec<String>>,
}

/// Whether the system is changed by transactions only, as SUSE's MicroOS.
fn is_transactional() -> bool {
    let mounts = bakery_host::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let root =
        mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|f| f.get(1) == Some(&"/"));
    Path::new("/usr/sbin/transactional-update").exists()
        && root.is_some_and(|f| {
            f.get(2) == Some(&"btrfs") && f.get(3).is_some_and(|o| o.split(',').any(|o| o == "ro"))
        })
}

fn command(args: &Args, host: &Host, verb: &str, oldpackage: bool) -> Result<Vec<String>, Failure> {
    let installs = matches!(verb, "install" | "update" | "patch" | "dist-upgrade");
    let refreshes = verb == "refresh";
    let mut words = Vec::new();
    if is_transactional() {
        words.push(host.program("transactional-update")?);
        words.extend(["--continue", "--drop-if-no-change", "--quiet", "run"].map(str::to_owned));
    }
    words.push(host.program("zypper")?);
    let mut flag = |on: bool, text: &str| words.extend(on.then(|| text.to_owned()));
    flag(true, "--non-interactive");
    flag(true, "--xmlout");
    flag(args.quiet, "--quiet");
    for word in args.extra_args_precommand.iter().flat_map(|words| words.split_whitespace()) {
        flag(true, word);
    }
    flag((installs || refreshes) && args.disable_gpg_check, "--no-gpg-checks");
    flag(installs && args.auto_import_keys, "--gpg-auto-import-keys");
    flag(verb == "search", "--disable-repositories");
    flag(true, verb);
    if !matches!(verb, "patch" | "dist-upgrade" | "refresh") {
        flag(true, "--type");
        flag(true, &args.kind);
    }
    flag(host.check && verb != "search", "--dry-run");
    flag(installs, "--auto-agree-with-licenses");
    let recommended = args.install_recommends.or((args.disable_recommends).then_some(false));
    flag(installs && recommended == Some(true), "--recommends");
    flag(installs && recommended == Some(false), "--no-recommends");
    flag(installs && args.force, "--force");
    flag(installs && args.force_resolution, "--force-resolution");
    flag(installs && (args.oldpackage || oldpackage), "--oldpackage");
    flag(installs && args.replacefiles, "--replacefiles");
    flag(verb == "remove" && args.clean_deps, "--clean-deps");
    flag(verb == "dist-upgrade" && args.allow_vendor_change, "--allow-vendor-change");
    words.extend(args.extra_args.iter().flat_map(|words| words.split(' ')).map(str::to_owned));
    Ok(words)
}

/// Runs zypper and reads what it tells; names that it does not know are an error only if that is wished.
fn zypper(
    args: &Args,
    host: &Host,
    words: Vec<String>,
    unknown_fails: bool,
    again: bool,
) -> Result<Done, Failure> {
    let output = host.try_run(&words)?;
    let (stdout, stderr) = (output.text(), output.error_text());
    let failed = |msg: String| {
        Failure::new(msg)
            .with("rc", output.code)
            .with("stdout", stdout.as_str())
            .with("stderr", stderr.as_str())
            .with("cmd", Value::strings(&words))
    };
    let document = roxmltree::Document::parse(stdout.trim_start())
        .map_err(|e| failed(format!("Failed to parse zypper xml output: {e}")))?;
    let messages: Vec<&str> =
        document.descendants().filter(|n| n.has_tag_name("message")).filter_map(|n| n.text()).collect();
    match output.code {
        // No package of that name.
        104 if unknown_fails => return Err(failed(messages.last().copied().unwrap_or_default().to_owned())),
        104 => return Ok(Done { code: 104, stdout, stderr, command: Some(words), ..Done::default() }),
        // Done; restart needed; zypper itself was renewed; a signature; a script failed.
        0 | 102 | 103 | 106 | 107 => {}
        code => return Err(failed(format!("Zypper run command failed with return code {code}."))),
    }
    let mut packages = BTreeMap::new();
    for node in document.descendants().filter(|n| n.has_tag_name("solvable")) {
        let read = |name: &str| node.attribute(name).unwrap_or_default().to_owned();
        let group = node.parent().map(|parent| parent.tag_name().name().to_owned()).unwrap_or_default();
        packages
            .insert(read("name"), Told { group, version: read("edition"), old_version: read("edition-old") });
    }
    if again && (output.code == 103 || output.code == 107 && args.skip_post_errors) {
        let mut done = zypper(args, host, words, unknown_fails, false)?;
        packages.append(&mut done.packages);
        return Ok(Done { packages, ..done });
    }
    let stdout =
        if args.simple_errors && !messages.is_empty() { messages.join(" \n") } else { stdout.clone() };
    Ok(Done { packages, code: output.code, stdout, stderr, command: Some(words) })
}

fn installed(args: &Args, host: &Host, names: &[&str]) -> Result<Vec<String>, Failure> {
    let mut words = command(args, host, "search", false)?;
    words.extend(["--match-exact", "--details", "--installed-only"].map(str::to_owned));
    words.extend(names.iter().map(|name| (*name).to_owned()));
    Ok(zypper(args, host, words, false, true)?.packages.into_keys().collect())
}

fn install(args: &Args, host: &Host, names: &[String]) -> Result<Done, Failure> {
    let is_file = |name: &&String| name.contains("://") || name.ends_with(".rpm");
    let (files, names): (Vec<&String>, Vec<&String>) = names.iter().partition(is_file);
    let mut wanted: Vec<Wanted> = names.iter().map(|name| Wanted::of(name, false)).collect();
    let oldpackage = wanted.iter().any(|w| !w.version.is_empty());
    if args.state != "latest" {
        let plain: Vec<&str> =
            wanted.iter().filter(|w| w.version.is_empty()).map(|w| w.name.as_str()).collect();
        let there = if plain.is_empty() { vec![] } else { installed(args, host, &plain)? };
        wanted.retain(|w| (w.prefix == '+') != there.contains(&w.name));
    }
    if wanted.is_empty() && files.is_empty() {
        return Ok(Done::default());
    }
    let mut words = command(args, host, "install", oldpackage)?;
    words.push("--".into());
    words.extend(files.into_iter().cloned());
    words.extend(wanted.iter().map(|w| format!("{}{}{}", w.prefix, w.name, w.version)));
    zypper(args, host, words, true, true)
}

fn remove(args: &Args, host: &Host, names: &[String]) -> Result<Done, Failure> {
    if names.iter().any(|name| name.starts_with('+')) {
        return Err("Can not combine '+' prefix with state=remove/absent.".into());
    }
    if names.iter().any(|name| name.contains("://") || name.ends_with(".rpm")) {
        return Err("Can not remove via URL.".into());
    }
    if args.kind == "patch" {
        return Err("Can not remove patches.".into());
    }
    let wanted: Vec<Wanted> = names.iter().map(|name| Wanted::of(name, true)).collect();
    let there = installed(args, host, &wanted.iter().map(|w| w.name.as_str()).collect::<Vec<_>>())?;
    let todo: Vec<String> = wanted
        .iter()
        .filter(|w| there.contains(&w.name))
        .map(|w| format!("{}{}", w.name, w.version))
        .collect();
    if todo.is_empty() {
        return Ok(Done::default());
    }
    let mut words = command(args, host, "remove", false)?;
    words.extend(todo);
    zypper(args, host, words, true, true)
}

fn run(args: Args, host: &mut Host) -> Run {
    let names: Vec<String> = args.name.iter().filter(|name| !name.is_empty()).cloned().collect();
    if args.update_cache && !host.check {
        let words = command(&args, host, "refresh", false)?;
        let done = zypper(&args, host, words, true, true)?;
        if done.code != 0 {
            return Err(Failure::new("Zypper refresh run failed.")
                .with("rc", done.code)
                .with("stdout", done.stdout)
                .with("stderr", done.stderr));
        }
    }
    let is_all = names == ["*"];
    let done = match args.state.as_str() {
        "latest" | "dist-upgrade" if is_all => {
            let verb = match (args.kind.as_str(), args.state.as_str()) {
                ("patch", _) => "patch",
                (_, "dist-upgrade") => "dist-upgrade",
                _ => "update",
            };
            zypper(&args, host, command(&args, host, verb, false)?, true, true)?
        }
        "dist-upgrade" => return Err("Can not dist-upgrade specific packages.".into()),
        "absent" | "removed" => remove(&args, host, &names)?,
        _ => install(&args, host, &names)?,
    };
    let changed = matches!(done.code, 0 | 102) && !done.packages.is_empty();
    let with_command = |mut fields: Outcome| {
        if let Some(words) = &done.command {
            fields = fields.with("cmd", Value::strings(words));
        }
        fields.with("rc", done.code)
    };
    if !matches!(done.code, 0 | 102) {
        let fields = with_command(Outcome::unchanged()).fields;
        return Err(Failure { msg: "Zypper run failed.".into(), fields }
            .with("stdout", done.stdout)
            .with("stderr", done.stderr));
    }
    let mut outcome = with_command(Outcome::changed(changed))
        .with("name", Value::strings(names))
        .with("state", args.state)
        .with("update_cache", args.update_cache);
    if changed {
        let mut said = String::new();
        for (title, group) in
            [("installed", "to-install"), ("removed", "to-remove"), ("upgraded", "to-upgrade")]
        {
            let of_group = done.packages.iter().filter(|(_, told)| told.group == group);
            let names: Vec<String> = of_group
                .map(|(name, told)| match group {
                    "to-upgrade" => format!("{name} ({} => {})", told.old_version, told.version),
                    _ => name.clone(),
                })
                .collect();
            if !names.is_empty() {
                said.push_str(&format!("{title}: {}\n", names.join(", ")));
            }
        }
        outcome = outcome
            .with("stdout", done.stdout)
            .with("stderr", done.stderr)
            .with("diff", Value::map([("prepared", Value::from(said))]));
    }
    Ok(outcome)
}

module!("zypper", "community.general", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_signs_and_versions() {
        let read = |text: &str| {
            let wanted = Wanted::of(text, false);
            (wanted.prefix, wanted.name, wanted.version)
        };
        assert_eq!(read("vim"), ('+', "vim".into(), String::new()));
        assert_eq!(read("-exim"), ('-', "exim".into(), String::new()));
        assert_eq!(read("docker>=1.10"), ('+', "docker".into(), ">=1.10".into()));
        assert_eq!(read("a=2.1~rc1-lp153.1"), ('+', "a".into(), "=2.1~rc1-lp153.1".into()));
        assert_eq!(read("a=b/c"), ('+', "a=b/c".into(), String::new()));
    }
}
